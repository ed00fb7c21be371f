// What a notes page keeps for when it is loaded again: what its visitor changed, and what the cells put out.
//
// It is kept with this page's entry of the browser's history. No other page can read it there, while a tab's storage is
// read by every notebook that is opened in it. A script of a notebook could make such an entry, with this page's address;
// but it knows no key, which only this page and the service do. So what comes with the key was kept by this page, and
// what does not is shown before it is taken. Outputs are messages of a kernel, and go the way that those go.

const MAX_KEPT_CELL = 300_000; // characters of one cell's outputs
const MAX_KEPT = 1_500_000; // and of all; browsers keep several millions with an entry
const KEEP_PAUSE = 400; // milliseconds between two writes, of which browsers allow a hundred in half a minute
const KEEP_AT_ONCE = 10; // in so many seconds as many without a pause
const KEEP_LATER = 5000; // milliseconds after which to try again where one allows no more
const TOO_LONG = _("Ran before this page was reloaded; its output was too long to keep");
const BEFORE = _(", before this page was reloaded");
const BROKEN_OFF = _("Was running while this page was reloaded: run it again to see all of its output");

// What a cell has put out so far, as messages that put it out again.
class OutputLog {
  /** @param {() => void} changed */
  constructor(changed) {
    /** @type {OutputItem[]} */
    this.items = [];
    this.size = 0;
    this._changed = changed;
    this._clearFirst = false;
  }

  /** @param {string} kind @param {Untrusted} content */
  take(kind, content) {
    if (kind === "clear_output") {
      if (content.wait) this._clearFirst = true;
      else this._clear();
      return;
    }
    if (this._clearFirst) this._clear();
    if (!this.isTooLong) this._add(kind, content);
    this._changed();
  }

  /** @param {string} kind @param {Untrusted} content */
  _add(kind, content) {
    const last = this.items.at(-1);
    if (kind === "stream" && last?.kind === "stream" && last.content.name === content.name) {
      last.content.text += String(content.text);
      this.size += String(content.text).length;
    } else {
      const item = { kind, content: essence(kind, content) };
      this.items.push(item);
      this.size += weight(item);
    }
    if (this.isTooLong) this.items = [];
  }

  /**
   * An output that is shown already becomes another.
   * @param {Untrusted} content
   */
  update(content) {
    for (const item of this.items) {
      if (!item.content.transient || item.content.transient.display_id !== content.transient?.display_id) continue;
      this.size -= weight(item);
      item.content = essence("display_data", content);
      this.size += weight(item);
    }
    if (this.isTooLong) this.items = [];
    this._changed();
  }

  get isTooLong() {
    return this.size > MAX_KEPT_CELL;
  }

  _clear() {
    this.items = [];
    this.size = 0;
    this._clearFirst = false;
    this._changed();
  }
}

/** @param {string} kind @param {Untrusted} content */
function essence(kind, { name, text, data, metadata, transient, ename, evalue, traceback }) {
  if (kind === "stream") return { name: String(name), text: String(text) };
  if (kind === "error") return { ename, evalue, traceback };
  return { data, metadata, transient: typeof transient?.display_id === "string" ? { display_id: transient.display_id } : undefined };
}

/** @param {OutputItem} item */
const weight = ({ kind, content }) => (kind === "stream" ? content.text.length : JSON.stringify(content).length);

class Work {
  /**
   * `session` and `key` are of the session that the page was made for.
   * @param {Kept<Untrusted>} place @param {{ session: string, key: string }} page
   */
  constructor(place, { session, key }) {
    const kept = place.read();
    this._place = place;
    /** @type {KeptWork} */
    this._before = kept && typeof kept === "object" ? kept : {};
    this._key = key;
    this._session = session;
    /** @type {Map<string, { words: string, state: string, record: OutputLog }>} by number; the one that changed last is the last */
    this._cells = new Map();
    /** @type {{ [number: string]: KeptDraft }} */
    this._drafts = {};
    this._timer = 0;
    /** @type {number[]} the moments of the last writes */
    this._wrote = [];
    this._isNew = false;
    this._isOpen = false;
    addEventListener("pagehide", () => this._write());
  }

  // All that was kept is on the page again: from now on it is kept anew.
  begin() {
    this._isOpen = true;
    if (this._isNew) this._soon();
  }

  // Whether it was this page that kept what is kept. Where no session is at stake it does not matter.
  get isOurs() {
    return !this._key || this._before.key === this._key;
  }

  /**
   * The code that was kept for a cell, "" where there is none.
   * @param {string} number @param {string} original @returns {string}
   */
  draft(number, original) {
    const kept = this._before.drafts?.[number];
    return kept?.original === original && typeof kept.code === "string" && kept.code !== original ? kept.code : "";
  }

  /** @param {string} number @param {KeptDraft | null} draft */
  keepDraft(number, draft) {
    if (draft) this._drafts[number] = draft;
    else delete this._drafts[number];
    this._soon();
  }

  // What was put out before, by cells' numbers: only what the session that goes on did. `isLost`: there was some, and
  // that has gone.
  outputs() {
    const { cells, session } = this._before;
    const found = Object.entries(cells && typeof cells === "object" ? cells : {}).filter(([, one]) => one && typeof one === "object");
    const goesOn = this._key && this.isOurs && session === this._session;
    return { outputs: new Map(goesOn ? found.map(([number, one]) => [number, readable(one)]) : []), isLost: found.length > 0 && !goesOn };
  }

  /**
   * Another session, or none: what the former one put out is kept no more.
   * @param {SessionInfo | null} session
   */
  belongsTo(session) {
    if (session?.id === this._session && session?.key === this._key) return;
    if (session?.id !== this._session) this._cells.clear();
    this._session = session?.id || "";
    this._key = session?.key || "";
    this._soon();
  }

  /**
   * The outputs of a cell that begins to run.
   * @param {string} number
   */
  record(number) {
    const made = { words: "", state: "running", record: new OutputLog(() => this._soon()) };
    this._touch(number, made);
    return made.record;
  }

  /** @param {string} number @param {string} words @param {string} state */
  said(number, words, state) {
    const known = this._cells.get(number);
    if (!known || !["done", "failed"].includes(state)) return;
    this._touch(number, Object.assign(known, { words, state }));
  }

  /** @param {string} number @param {{ words: string, state: string, record: OutputLog }} one */
  _touch(number, one) {
    this._cells.delete(number);
    this._cells.set(number, one);
    this._soon();
  }

  // At once, as a page that is left may write no more; what follows then together.
  _soon() {
    this._isNew = true;
    const few = this._wrote.length < KEEP_AT_ONCE || this._wrote[0] < performance.now() - 1000 * KEEP_AT_ONCE;
    if (few) this._write();
    else this._timer ||= setTimeout(() => this._write(), KEEP_PAUSE);
  }

  _write() {
    if (!this._isOpen || !this._isNew) return;
    clearTimeout(this._timer);
    this._timer = 0;
    this._isNew = false;
    this._wrote = [...this._wrote, performance.now()].slice(-KEEP_AT_ONCE);
    /** @type {{ [number: string]: KeptOutputs }} */
    const cells = {};
    let left = MAX_KEPT;
    for (const [number, { words, state, record }] of [...this._cells].reverse()) {
      const fits = !record.isTooLong && record.size <= left;
      if (fits) left -= record.size;
      cells[number] = { words, state, items: fits ? record.items : null };
    }
    try {
      this._place.write({ key: this._key, session: this._session, drafts: this._drafts, cells });
    } catch {
      this._isNew = true; // the browser keeps no more, or not so often
      this._timer = setTimeout(() => this._write(), KEEP_LATER);
    }
  }
}

/** @param {Untrusted} kept @returns {KeptOutputs} */
function readable({ words, state, items }) {
  const isDone = ["done", "failed"].includes(state);
  const all = Array.isArray(items) ? items.slice(0, MAX_OUTPUTS) : [];
  return {
    words: items === null ? TOO_LONG : isDone ? `${String(words).slice(0, 300).replace(BEFORE, "")}${BEFORE}` : BROKEN_OFF,
    state: isDone ? state : "failed",
    items: items === null ? null : all.filter((one) => SHOWN.includes(one?.kind) && one.content && typeof one.content === "object"),
  };
}

// Says what became of the visitor's changes, for all cells at once.
class Changes {
  /**
   * `found` are cells with the code that was kept for each. Where this page itself kept it, it is back already.
   * @param {FoundDraft[]} found @param {boolean} isOurs @param {Tell} announce
   */
  constructor(found, isOurs, announce) {
    this._found = found;
    this._announce = announce;
    this._isBack = false;
    this._shown = make("div", "tn-changes-shown");
    this.element = make("section", "tn-changes");
    Object.assign(this.element, { lang: WORDS.tag, dir: WORDS.dir });
    this.element.setAttribute("aria-label", _("Your changes"));
    this._words = make("p");
    this._take = button(_("Bring my changes back"), "tn-button", () => this._bring());
    this._take.setAttribute("aria-label", _("Bring my changes back: {names}", { names: found.map(({ cell }) => cell.name).join(", ") }));
    this._drop = button(_("Discard my changes"), "tn-button tn-quiet", () => this._discard());
    this.element.append(this._words, this._take, this._drop);
    if (isOurs) {
      this._bring({ byClick: false });
    } else {
      this._words.textContent = ngettext(
        "You had changed one example on this page to this:", "You had changed {count} examples on this page to this:", found.length);
      for (const { cell, code } of found) this._shown.append(make("p", "", cell.name), make("pre", "", code));
      this._words.after(this._shown);
      announce(this._words.textContent);
    }
  }

  /** @param {{ byClick?: boolean }} [options] */
  _bring({ byClick = true } = {}) {
    for (const { cell, code } of this._found) if (!cell.isEdited) cell.take(code);
    this._isBack = true;
    const words = ngettext("Your changes to one example are back.", "Your changes to {count} examples are back.", this._found.length);
    this._say(words, this._take, byClick ? this._drop : null);
  }

  _discard() {
    for (const { cell } of this._found) if (this._isBack || !cell.isEdited) cell.take(cell.original);
    this._isBack = false;
    this._say(_("Your changes are discarded."), this._drop, this._take);
  }

  /** @param {string} words @param {HTMLElement} gone @param {HTMLElement | null} next */
  _say(words, gone, next) {
    this._words.textContent = words;
    this._shown.remove();
    this._take.hidden = this._drop.hidden = false;
    gone.hidden = true;
    this._announce(words);
    next?.focus();
  }
}
