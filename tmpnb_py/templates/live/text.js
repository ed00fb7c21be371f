// Text as a terminal shows it: colours (ECMA-48 SGR), carriage returns and backspaces, as progress bars use them.
// It comes from a container that may be hostile: it only ever becomes text nodes, and there is an end to it.

const MAX_TEXT = 1_000_000; // characters of one stream
const MAX_LINE = 20_000; // characters of one line that can still be overwritten
const CUT = "\n… (the rest of this output is not shown)\n";
const COLOURS = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];
const SEQUENCE = /\x1b(?:\[([0-9;:]*)([A-Za-z])|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_=>])/y;

class TerminalText {
  constructor(className) {
    this.element = make("pre", className);
    this._done = make("span"); // lines that are complete
    this._current = make("span"); // the line that may still be overwritten
    this.element.append(this._done, this._current);
    this._line = []; // [character, style] of the current line
    this._column = 0;
    this._style = "";
    this._pending = "";
    this._length = 0;
    this._ended = false;
    this._rest = ""; // an escape sequence that is not complete yet
  }

  write(text) {
    if (this._ended) return;
    if (this._length + text.length > MAX_TEXT) {
      text = text.slice(0, Math.max(0, MAX_TEXT - this._length)) + CUT;
      this._ended = true;
    }
    this._length += text.length;
    this._pending += text;
  }

  // Show what was written since the last time.
  flush() {
    if (!this._pending) return;
    const text = this._rest + this._pending;
    this._pending = this._rest = "";
    if (!/[\x00-\x08\x0b-\x1f\x7f]/.test(text) && !this._style && !this._line.length) this._plain(text);
    else this._interpret(text);
    this._current.replaceChildren(styled(this._line));
  }

  _plain(text) {
    const end = text.lastIndexOf("\n") + 1;
    if (end) this._done.append(text.slice(0, end));
    this._put(text.slice(end));
  }

  _put(text) {
    for (const character of text) {
      this._line[this._column++] = [character, this._style];
      if (this._column >= MAX_LINE) this._newline("");
    }
  }

  _newline(end = "\n") {
    const line = document.createDocumentFragment();
    line.append(styled(this._line), end);
    this._done.append(line);
    this._line = [];
    this._column = 0;
  }

  _interpret(text) {
    let at = 0;
    while (at < text.length) {
      const character = text[at];
      if (character === "\x1b") {
        SEQUENCE.lastIndex = at;
        const found = SEQUENCE.exec(text);
        if (!found) {
          if (text.length - at < 40) {
            this._rest = text.slice(at);
            return;
          }
          at += 1;
          continue;
        }
        at += found[0].length;
        if (found[2] === "m") this._style = restyled(this._style, found[1]);
        else if (found[2] === "K") this._line.length = Math.min(this._line.length, this._column);
        continue;
      }
      if (character === "\n") this._newline();
      else if (character === "\r") this._column = 0;
      else if (character === "\b") this._column = Math.max(0, this._column - 1);
      else if (character >= " " || character === "\t") {
        const end = text.slice(at).search(/[\x00-\x08\x0a-\x1f\x7f]/);
        const run = end < 0 ? text.slice(at) : text.slice(at, at + Math.max(1, end));
        this._put(run);
        at += run.length;
        continue;
      }
      at += 1;
    }
  }
}

function styled(line) {
  const fragment = document.createDocumentFragment();
  let text = "";
  let style = "";
  const end = () => {
    if (!text) return;
    if (style) fragment.append(make("span", style, text));
    else fragment.append(text);
    text = "";
  };
  for (const cell of line) {
    const [character, own] = cell || [" ", ""];
    if (own !== style) {
      end();
      style = own;
    }
    text += character;
  }
  end();
  return fragment;
}

// A style is the names of classes; backgrounds are left out, as no text is unreadable without.
function restyled(style, parameters) {
  let names = new Set(style.split(" ").filter(Boolean));
  const colour = (name) => {
    names = new Set([...names].filter((one) => !one.startsWith("tn-ansi-")));
    if (name) names.add(`tn-ansi-${name}`);
  };
  const codes = parameters.split(/[;:]/).map(Number);
  for (let at = 0; at < codes.length; at++) {
    const code = codes[at];
    if (code === 0) names.clear();
    else if (code === 1) names.add("tn-bold");
    else if (code === 3) names.add("tn-italic");
    else if (code === 4) names.add("tn-underline");
    else if (code === 22) names.delete("tn-bold");
    else if (code === 23) names.delete("tn-italic");
    else if (code === 24) names.delete("tn-underline");
    else if (code >= 30 && code <= 37) colour(COLOURS[code - 30]);
    else if (code >= 90 && code <= 97) colour(COLOURS[code - 90]);
    else if (code === 39) colour("");
    else if (code === 38 || code === 48) {
      if (codes[at + 1] === 5 && code === 38) colour(COLOURS[codes[at + 2] & 7]);
      at += codes[at + 1] === 5 ? 2 : codes[at + 1] === 2 ? 4 : 0;
    }
  }
  return [...names].join(" ");
}
