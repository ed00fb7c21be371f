// A stream of text, shown as a terminal shows it (screen.js). It comes from a container that may be hostile: it only ever
// becomes text nodes, and there is an end to it.

const MAX_TEXT = 1_000_000; // characters of one stream
const CUT = `\n… ${_("(the rest of this output is not shown)")}\n`;

class TerminalText {
  /** @param {string} className */
  constructor(className) {
    this.element = make("pre", className);
    this._done = make("span"); // lines that are complete
    this._current = make("span"); // lines that may still be overwritten
    this.element.append(this._done, this._current);
    this._screen = new TerminalScreen(
      (pieces) => this._done.append(styled(pieces)),
      () => this._done.replaceChildren(),
    );
    this._pending = "";
    this._length = 0;
    this._ended = false;
  }

  /** @param {string} text */
  write(text) {
    if (this._ended) return;
    if (this._length + text.length > MAX_TEXT) {
      text = text.slice(0, Math.max(0, MAX_TEXT - this._length)) + CUT;
      this._ended = true;
    }
    this._length += text.length;
    this._pending += text;
  }

  /** Show what of it can no longer change, which is quick; returns the rest. @param {string} text */
  _plain(text) {
    const end = lastLines(text);
    if (end <= 0 || !this._screen.isAtEnd || /[\x00-\x08\x0b-\x1f\x7f-\x9f]/.test(text)) return text;
    this._screen.scrollAway();
    this._done.append(text.slice(0, end));
    return text.slice(end);
  }

  // Show what was written since the last time.
  flush() {
    if (!this._pending) return;
    this._screen.write(this._plain(this._pending));
    this._pending = "";
    this._current.replaceChildren(styled(this._screen.content()));
  }
}

/**
 * Where a text's last lines begin, as many as can still change.
 * @param {string} text
 */
function lastLines(text) {
  let at = text.length;
  for (let count = 0; count < SCREEN_HEIGHT && at >= 0; count++) at = text.lastIndexOf("\n", at - 1);
  return at + 1;
}

/** @param {Piece[]} pieces */
function styled(pieces) {
  const fragment = document.createDocumentFragment();
  for (const [text, classes] of pieces) fragment.append(classes ? make("span", classes, text) : text);
  return fragment;
}
