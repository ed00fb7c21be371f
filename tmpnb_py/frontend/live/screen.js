// Text as a terminal leaves it: control functions of ECMA-48 applied, as progress bars and colours use them. No DOM here.
// tmpnb_py/workshops/notes/terminal.py does the same for saved outputs; tests/unit/terminal_vectors.json holds both to one reading.

const SCREEN_HEIGHT = 100; // lines that can still be overwritten
const MAX_LINE = 20_000; // characters of one of them
const MAX_SKIP = 300; // columns up to which the cursor gets beyond what is written: wider than terminals are
const MAX_PLACE = 32; // characters that stand in one place; the longest emoji have 15
const LONGEST_SEQUENCE = 4096; // characters of a control string that is waited for
const COLOURS = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];
const PLAIN = { bold: false, dim: false, italic: false, underline: false, strike: false, inverse: false, colour: "", ground: "" };
const SHOWN_STYLES = /** @type {const} */ (["bold", "dim", "italic", "underline", "strike"]);
/** @type {{ [code: number]: string }} */
const SWITCHED_ON = { 1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 9: "strike", 21: "underline" };
/** @type {{ [code: number]: string[] }} */
const SWITCHED_OFF = { 22: ["bold", "dim"], 23: ["italic"], 24: ["underline"], 27: ["inverse"], 29: ["strike"] };
// Control sequences, control strings (OSC, DCS, APC, PM, SOS), escape sequences.
const SEQUENCE = /\x1b(?:\[([0-?]*)[ -/]*([@-~])?|[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?|[ -/]*([0-~])?)/y;
const UNFINISHED = /^\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b\x9c]*\x1b?|[ -/]*)$/;
const WITHOUT_WIDTH = /[\p{Mn}\p{Me}\p{Cf}]/u;
const JOINER = "\u200d";
const CONTROL = /[\x00-\x08\x0a-\x1f\x7f-\x9f]/g;

/** @typedef {[text: string, classes: string]} Piece  text that looks alike */
/** @typedef {{ cells: Piece[], end: string }} Line */
/** @typedef {typeof PLAIN} TextStyle */

class TerminalScreen {
  /**
   * @param {(pieces: Piece[]) => void} scrolled gets each line that can no longer change
   * @param {() => void} cleared called when what scrolled away is to go, too
   */
  constructor(scrolled, cleared) {
    this._scrolled = scrolled;
    this._cleared = cleared;
    this._rest = ""; // a sequence that is not complete yet
    /** @type {Line[]} */
    this._lines = [];
    this._row = 0;
    this._column = 0;
    this._style = PLAIN;
    this._classes = "";
    this._kept = [0, 0];
    this._reset();
  }

  _reset() {
    this._lines = [{ cells: [], end: "\n" }];
    this._row = this._column = 0;
    this._style = PLAIN;
    this._classes = "";
    this._kept = [0, 0];
  }

  /** @param {string} text */
  write(text) {
    text = this._rest + text;
    this._rest = "";
    let at = 0;
    while (at < text.length) {
      if (text[at] === "\x1b") {
        SEQUENCE.lastIndex = at;
        const [all, parameters, final, escape] = /** @type {RegExpExecArray} */ (SEQUENCE.exec(text)); // an ESC alone is one
        if (text.length - at < LONGEST_SEQUENCE && UNFINISHED.test(text.slice(at))) {
          this._rest = text.slice(at);
          return;
        }
        at += all.length;
        if (final) this._control(final, parameters);
        else if (escape) this._escape(escape);
        continue;
      }
      CONTROL.lastIndex = at;
      const end = CONTROL.exec(text)?.index ?? text.length;
      if (end > at) this._put(text.slice(at, end));
      else this._move(text[at]);
      at = Math.max(end, at + 1);
    }
  }

  // The lines that can still change, as pieces that look the same.
  content() {
    /** @type {Piece[]} */
    const pieces = [];
    for (const line of this._lines) pieces.push(...runs(line.cells), [line.end, ""]);
    pieces.pop();
    return joined(pieces);
  }

  // Text without control functions only adds to what is there.
  get isAtEnd() {
    const last = this._lines.length - 1;
    return !this._rest && !this._classes && this._row === last && this._column === this._lines[last].cells.length;
  }

  // All lines are complete: text that follows goes on where they end.
  scrollAway() {
    this._scrolled(this.content());
    this._lines = [{ cells: [], end: "\n" }];
    this._row = this._column = 0;
  }

  /** @param {string} text */
  _put(text) {
    this._column = Math.min(this._column, Math.max(MAX_SKIP, this._lines[this._row].cells.length));
    for (const character of text) {
      const cells = this._lines[this._row].cells;
      const before = cells[this._column - 1];
      if (before && joins(before[0], character)) {
        cells[this._column - 1] = [before[0] + character, before[1]]; // it takes no place of its own
        continue;
      }
      while (cells.length < this._column) cells.push([" ", ""]);
      cells[this._column++] = [character, this._classes];
      if (this._column >= MAX_LINE) {
        this._lines[this._row].end = "";
        this._to(this._row + 1, 0);
      }
    }
  }

  /** @param {string} character */
  _move(character) {
    if ("\n\v\f".includes(character)) this._to(this._row + 1, character === "\n" ? 0 : this._column);
    else if (character === "\r") this._column = 0;
    else if (character === "\b") this._column = Math.max(0, this._column - 1);
  }

  /** @param {string} final @param {string} parameters */
  _control(final, parameters) {
    if (final === "m") {
      this._style = restyled(this._style, parameters);
      this._classes = classesOf(this._style);
      return;
    }
    const numbers = parameters.split(";").filter((one) => /^[0-9]{1,5}$/.test(one)).map(Number);
    const first = numbers[0] ?? 0;
    if (final === "J" || final === "K") this._erase(first, final === "J");
    else if ((final === "s" || final === "u") && !parameters) this._escape(final === "s" ? "7" : "8");
    else if (final === "H" || final === "f") this._toLine(first - 1, (numbers[1] ?? 1) - 1);
    else this._walk(final, Math.max(1, first));
  }

  /** @param {string} final */
  _escape(final) {
    if (final === "7") this._kept = [this._row, this._column];
    else if (final === "8") this._toLine(this._kept[0], this._kept[1]);
    else if (final === "c") {
      this._reset();
      this._cleared();
    }
  }

  /** @param {string} final @param {number} count */
  _walk(final, count) {
    const [row, column] = [this._row, this._column];
    if (final === "A" || final === "F") this._toLine(row - count, final === "F" ? 0 : column);
    else if (final === "B" || final === "E" || final === "e") this._toLine(row + count, final === "E" ? 0 : column);
    else if (final === "C" || final === "a") this._toLine(row, column + count);
    else if (final === "D") this._toLine(row, column - count);
    else if (final === "G" || final === "`") this._toLine(row, count - 1);
    else if (final === "d") this._toLine(count - 1, column);
  }

  /** @param {number} row @param {number} column */
  _toLine(row, column) {
    this._to(Math.min(Math.max(0, row), SCREEN_HEIGHT - 1), Math.min(Math.max(0, column), MAX_LINE - 1));
  }

  /** @param {number} row @param {number} column */
  _to(row, column) {
    while (row >= this._lines.length) this._lines.push({ cells: [], end: "\n" });
    while (this._lines.length > SCREEN_HEIGHT) {
      const [line] = this._lines.splice(0, 1);
      this._scrolled([...runs(line.cells), [line.end, ""]]);
      row -= 1;
    }
    this._row = row;
    this._column = column;
  }

  /** @param {number} what @param {boolean} whole */
  _erase(what, whole) {
    const { cells } = this._lines[this._row];
    if (what === 0) cells.length = Math.min(cells.length, this._column);
    else if (what === 1) cells.fill([" ", ""], 0, this._column + 1);
    else cells.length = 0;
    if (!whole) return;
    if (what >= 1 && what <= 3) for (const line of this._lines.slice(0, this._row)) line.cells.length = 0;
    if (what === 0 || what === 2 || what === 3) this._lines.length = this._row + 1;
    if (what === 3) this._cleared();
  }
}

/**
 * Whether a character takes no place of its own.
 * @param {string} before @param {string} character
 */
function joins(before, character) {
  if (character <= "\x7f" || !(WITHOUT_WIDTH.test(character) || before.endsWith(JOINER))) return false;
  return [...before].length < MAX_PLACE;
}

/** @param {Piece[]} cells @returns {Piece[]} */
function runs(cells) {
  /** @type {Piece[]} */
  const pieces = [];
  for (const [character, classes] of cells) {
    const last = pieces.at(-1);
    if (last && last[1] === classes) last[0] += character;
    else pieces.push([character, classes]);
  }
  return pieces;
}

/**
 * Neighbours that look the same become one; no class shows in the end of a line.
 * @param {Piece[]} pieces
 */
function joined(pieces) {
  /** @type {Piece[]} */
  const made = [];
  for (const [text, classes] of pieces) {
    const last = made.at(-1);
    if (!text) continue;
    if (last && (last[1] === classes || text === "\n")) last[0] += text;
    else made.push([text, text === "\n" ? "" : classes]);
  }
  return made;
}

/** @param {TextStyle} style */
function classesOf(style) {
  const names = SHOWN_STYLES.filter((name) => style[name]).map((name) => `tn-${name}`);
  const [colour, ground] = style.inverse ? [style.ground, style.colour || "text"] : [style.colour, style.ground];
  if (colour) names.push(`tn-ansi-${colour}`);
  if (ground) names.push(`tn-ground-${ground}`);
  return names.join(" ");
}

/**
 * The style after SELECT GRAPHIC RENDITION (ECMA-48, 8.3.117); what is unknown changes nothing.
 * @param {TextStyle} style @param {string} parameters
 */
function restyled(style, parameters) {
  if (/^[<=>?]/.test(parameters)) return style; // private use: xterm's key modifiers, for example
  const codes = parameters.slice(0, 200).split(";").map((code) => code.split(":").map((one) => (/^[0-9]+$/.test(one) ? Number(one) : 0)));
  while (codes.length) {
    const [code, ...own] = codes.splice(0, 1)[0];
    if (code === 38 || code === 48) {
      const count = codes[0]?.[0] === 5 ? 2 : codes[0]?.[0] === 2 ? 4 : 1;
      const details = own.length ? own : codes.splice(0, count).map((one) => one[0]);
      style = { ...style, [code === 38 ? "colour" : "ground"]: nearestColour(details) };
    } else style = switched(style, code, own[0] !== 0);
  }
  return style;
}

/** @param {TextStyle} style @param {number} code @param {boolean} isOn @returns {TextStyle} */
function switched(style, code, isOn) {
  if (code === 0) return PLAIN;
  if (code in SWITCHED_ON) return { ...style, [SWITCHED_ON[code]]: isOn };
  if (code in SWITCHED_OFF) return { ...style, ...Object.fromEntries(SWITCHED_OFF[code].map((name) => [name, false])) };
  if ((code >= 30 && code <= 37) || (code >= 90 && code <= 97)) return { ...style, colour: COLOURS[code % 10] };
  if ((code >= 40 && code <= 47) || (code >= 100 && code <= 107)) return { ...style, ground: COLOURS[code % 10] };
  if (code === 39 || code === 49) return { ...style, [code === 39 ? "colour" : "ground"]: "" };
  return style;
}

/**
 * The page's colour that is nearest to one of 256, or to red, green and blue (ITU-T T.416, 13.1.8).
 * @param {number[]} details
 */
function nearestColour([kind, ...values]) {
  if (kind === 5 && values.length) return of256(values[0]);
  if (kind === 2 && values.length >= 3) return nearest(values.length < 5 ? values.slice(-3) : values.slice(1, 4));
  return "";
}

/** @param {number} number */
function of256(number) {
  if (number < 16) return COLOURS[number % 8];
  if (number >= 232) return number < 244 ? "black" : "white";
  const levels = [Math.floor((number - 16) / 36), Math.floor((number - 16) / 6) % 6, (number - 16) % 6];
  return nearest(levels.map((one) => one * 51));
}

/** @param {number[]} levels of red, green and blue */
function nearest(levels) {
  const [low, high] = [Math.min(...levels), Math.max(...levels)];
  if (high - low < 40) return high < 128 ? "black" : "white";
  return COLOURS[levels.reduce((sum, level, bit) => sum + (2 * level > low + high ? 1 << bit : 0), 0)];
}
