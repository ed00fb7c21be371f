// A cell in a page: code that can be edited, a bar with buttons and a word on how it goes, and its outputs.

class Cell {
  /**
   * `element` is a .tn-cell whose `pre` holds the code, as the notes page has it, or an empty one; `draft` (see Drafts)
   * keeps what the visitor makes of it; `kept` is told what is to be seen again when the page is loaded again; `alone`: the
   * page has no bar with what concerns all its cells.
   * @param {HTMLElement} element @param {Runner} runner
   * @param {{ code: string, name: string, language: string, theme: string, draft: Draft, kept?: CellKeeper | null,
   *   mayFail?: boolean, isSetup?: boolean, alone?: boolean }} options
   */
  constructor(element, runner, { code, name, language, theme, draft, kept = null, mayFail = false, isSetup = false, alone = false }) {
    this.element = element;
    this.name = name;
    this.mayFail = mayFail;
    this.isSetup = isSetup; // runs before all others
    this.failure = "";
    this._runner = runner;
    this.original = code;
    /** @type {{ id: string, code: string } | null} what JupyterLab was given of it, and in which session */
    this.carried = null;
    this._draft = draft;
    this._kept = kept;
    this._language = language.toLowerCase();
    this._theme = theme;
    this._alone = alone;
    this.isBusy = false;
    /** @type {Outputs | null} */
    this._sink = null;
    this._shown = /** @type {HTMLElement} */ (element.querySelector(".tn-source")) || make("pre", "tn-source");
    this._code = /** @type {HTMLElement} */ (this._shown.firstElementChild) || this._shown.appendChild(make("code"));
    this._first = [...this._code.childNodes]; // as the page came, in its own colours
    this._field = make("textarea", "tn-field");
    this._outputs = /** @type {HTMLElement} */ (element.querySelector(".tn-outputs")) || make("div", "tn-outputs");
    // What the author folded stays so, until the reader opens it or there is something new to see.
    this._folded = /** @type {HTMLDetailsElement | null} */ (element.querySelector(".tn-fold-output"));
    this._run = button(_("Run"), "tn-button tn-run", () => (this.isBusy ? this._runner.interrupt() : this._runner.run([this])));
    this._above = button(_("Run all above"), "tn-button tn-quiet", () => this._runner.run(this._runner.above(this)));
    this._all = button(_("Run all"), "tn-button tn-quiet", () => this._runner.run(this._runner.cells));
    this._reset = button(_("Undo my changes"), "tn-button tn-quiet", () => this._undo());
    this._restart = button(_("Restart"), "tn-button tn-quiet", () => this._runner.restart());
    this._lab = make("a", "tn-button tn-quiet", _("Open in JupyterLab"));
    this._status = make("span", "tn-status");
    this._build(element);
    if (draft.code !== null && draft.code !== code) this.take(draft.code);
    runner.cells.push(this);
    runner.cells[0].refresh();
  }

  get code() {
    return this._field.value;
  }

  get isDone() {
    return this.element.dataset.state === "done";
  }

  get isEdited() {
    return this.code !== this.original;
  }

  /** @param {HTMLElement} element */
  _build(element) {
    element.setAttribute("role", "group");
    element.setAttribute("aria-label", this.name);
    // What is said here is in our own language, in a page of whichever; what a program prints is in that of the page.
    const around = /** @type {HTMLElement | null | undefined} */ (element.parentElement?.closest("[lang]"));
    const tongue = around?.lang || document.documentElement.lang;
    Object.assign(element, { lang: WORDS.tag, dir: WORDS.dir });
    // Nobody runs anything without coming here first, by mouse or keyboard.
    for (const coming of ["pointerenter", "focusin"]) element.addEventListener(coming, () => this._runner.approach());
    this._shown.setAttribute("aria-hidden", "true");
    if (tongue) this._outputs.lang = this._field.lang = this._shown.lang = tongue;
    this._buildField();
    const editor = make("div", "tn-editor");
    const sheet = make("div", "tn-sheet");
    sheet.append(this._shown, this._field);
    editor.append(sheet);
    const foldedCode = element.querySelector(".tn-fold-code");
    foldedCode?.append(editor);
    element.append(foldedCode || editor, this._bar(), this._folded || this._outputs);
    if (!this._first.length) this._colour();
  }

  _buildField() {
    Object.assign(this._field, { value: this.original, spellcheck: false, autocapitalize: "off", autocomplete: "off", wrap: "off", rows: 1 });
    this._field.setAttribute("autocorrect", "off");
    this._field.setAttribute("aria-label", _("Code of {name}", { name: this.name }));
    this._field.addEventListener("input", () => {
      this._edited();
      this._runner.prepare();
    });
    this._field.addEventListener("keydown", (event) => this._key(event));
  }

  /**
   * The visitor's code, as if it had just been written.
   * @param {string} code
   */
  take(code) {
    this._field.value = code;
    this._edited();
  }

  /**
   * What it put out before the page was loaded again. null for `items`: it is not there any more.
   * @param {KeptOutputs} kept
   */
  restore({ items, words, state }) {
    if (items) {
      const sink = this._open(noKernel());
      for (const { kind, content } of items) sink.receive(kind, content);
      sink.flush();
    }
    this._say(words, state);
  }

  _bar() {
    const bar = make("div", "tn-bar");
    this._run.setAttribute("aria-label", _("Run {name}", { name: this.name }));
    const language = this._language;
    this._all.setAttribute("aria-label", language ? _("Run all examples in {language}", { language }) : _("Run all examples in this language"));
    this._reset.hidden = true;
    this._above.hidden = this._runner.cells.length === 0;
    this._restart.title = _("Start the kernel again, with nothing of what ran");
    this._lab.target = "_blank";
    this._lab.rel = "noopener";
    for (const one of [this._run, this._above, this._all]) one.addEventListener("pointerdown", (event) => this._pressed(event));
    bar.append(this._run, this._above, this._all, this._reset, this._restart, this._lab, this._status);
    this.refresh();
    return bar;
  }

  /**
   * A click follows in a tenth of a second. Not of a finger: that may as well begin to scroll.
   * @param {PointerEvent} event
   */
  _pressed({ pointerType, button: which }) {
    if (pointerType !== "mouse" || which !== 0) return;
    press();
    this._runner.prepare({ isPressed: true });
  }

  _undo() {
    this.take(this.original);
    this._field.focus();
  }

  _edited() {
    this._reset.hidden = !this.isEdited;
    this._colour();
    this._draft.code = this.isEdited ? this.code : null;
  }

  _colour() {
    if (!this.isEdited && this._first.length) this._code.replaceChildren(...this._first);
    else this._code.replaceChildren(highlighted(this.code, this._language));
    if (/(^|\n)$/.test(this.code)) this._code.append(" "); // an empty last line has a height, too
  }

  /**
   * Tab goes on to the next thing, as everywhere: whoever has no mouse must be able to leave.
   * @param {KeyboardEvent} event
   */
  _key(event) {
    if (event.key === "Enter" && (event.shiftKey || event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      if (!this.isBusy) this._runner.run([this]);
    } else if (event.key === "Enter" && !event.altKey && !event.isComposing) {
      const indent = this._indent();
      if (!indent) return;
      event.preventDefault();
      insert(this._field, `\n${indent}`);
    }
  }

  // What a new line begins with: the blanks of the line before, and more where that opens a block.
  _indent() {
    const before = this.code.slice(0, this._field.selectionStart);
    const [indent] = /^[ \t]*/.exec(before.slice(before.lastIndexOf("\n") + 1)) ?? [""];
    const isOpening = /[:{([]$/.test(before.trimEnd());
    return isOpening ? indent + " ".repeat(LANGUAGES[canonical(this._language)]?.indent ?? 4) : indent;
  }

  // --- how it goes; called by the runner

  refresh() {
    this._all.hidden = !this._alone || this._runner.cells[0] !== this || this._runner.cells.length < 2;
    const kernel = this._alone && this.element.dataset.state ? this._runner.kernel : null;
    this._restart.hidden = this._lab.hidden = !kernel;
    if (kernel) this._lab.href = kernel.session.open_url;
  }

  /** @param {string} words @param {string} state @param {{ mayStop?: boolean }} [options] */
  _say(words, state, { mayStop = state === "running" } = {}) {
    this._status.textContent = words;
    this.element.dataset.state = state;
    this._kept?.said(words, state);
    this.isBusy = mayStop;
    const { name } = this;
    this._run.textContent = this.isBusy ? _("Stop") : _("Run");
    this._run.setAttribute("aria-label", this.isBusy ? _("Stop {name}", { name }) : _("Run {name}", { name }));
    this._run.disabled = state === "waiting" && !mayStop;
  }

  /**
   * Asks the visitor to run it.
   * @param {string} words
   */
  call(words) {
    this.remark(words);
    this._run.focus();
  }

  focus() {
    this._run.focus();
  }

  /**
   * Says something without a change of how it goes.
   * @param {string} words
   */
  remark(words) {
    this._status.textContent = words;
  }

  /** @param {string} words @param {{ mayStop?: boolean }} [options] */
  wait(words, { mayStop = false } = {}) {
    // A button that has the focus keeps it: it is only disabled for the mouse.
    this._say(`${words.replace(/[.…\s]+$/, "")} …`, "waiting", { mayStop });
    if (rootOf(this.element).activeElement === this._run) this._run.disabled = false;
  }

  // It was to be stopped, and runs on: all that helps is to restart.
  resist() {
    this._say(_("It does not stop. Restart ends it, and everything that ran is lost"), "running");
    this._restart.hidden = false;
  }

  /** @param {OutputKernel} kernel */
  begin(kernel) {
    const sink = this._open(kernel);
    this._say(_("Running …"), "running");
    return sink;
  }

  /** @param {OutputKernel} kernel */
  _open(kernel) {
    this.failure = "";
    if (this._folded) this._folded.open = true;
    const failed = (/** @type {string} */ words) => void (this.failure = words);
    const sink = new Outputs(this._outputs, { name: this.name, theme: this._theme, kernel, home: this._run, failed });
    sink.clear();
    sink.record = this._kept?.record() || null;
    return (this._sink = sink);
  }

  /** @param {string} status @param {number} seconds */
  end(status, seconds) {
    const digits = seconds < 10 ? 1 : 0;
    const took = seconds.toLocaleString(WORDS.tag, { minimumFractionDigits: digits, maximumFractionDigits: digits, useGrouping: false });
    if (status === "ok") this._say(seconds < 0.1 ? _("Done") : _("Done in {seconds} s", { seconds: took }), "done");
    else this._say(status !== "error" || /KeyboardInterrupt|interrupt/i.test(this.failure) ? _("Stopped") : _("There was an error"), "failed");
  }

  /** @param {string} words */
  stop(words) {
    this._sink?.flush();
    this._sink?.withdraw();
    this._say(words, "failed");
  }

  forget() {
    if (this.element.dataset.state === "done") this._say("", "");
  }
}

/** @type {NoKernel | null} */
let absentKernel = null;

/** In place of a kernel, for outputs that are shown again; the same one for all cells. */
function noKernel() {
  return (absentKernel ||= new NoKernel());
}

// What a visitor made of a page's cells, for when the page is loaded again.
class Drafts {
  /** @param {() => Storage} store the storage that it is kept in @param {string} key */
  constructor(store, key) {
    this._store = store;
    this._key = key;
  }

  /**
   * The draft of the cell of this number, while its original is this: `code`, null where there is none.
   * @param {number | string} number @param {string} original @returns {Draft}
   */
  of(number, original) {
    const read = () => {
      const kept = this._read()[number];
      return kept?.original === original && typeof kept.code === "string" ? kept.code : null;
    };
    const write = (/** @type {string | null} */ code) => this._write(number, code === null ? undefined : { original, code });
    return {
      get code() {
        return read();
      },
      set code(code) {
        write(code);
      },
    };
  }

  /** @returns {{ [number: string]: Untrusted }} */
  _read() {
    try {
      return { ...parsedJson(this._store().getItem(this._key)) };
    } catch {
      return {}; // the page may keep nothing
    }
  }

  /** @param {number | string} number @param {KeptDraft | undefined} own */
  _write(number, own) {
    try {
      this._store().setItem(this._key, JSON.stringify({ ...this._read(), [number]: own }));
    } catch {
      // then it lasts until the page is left
    }
  }
}

/** @param {HTMLTextAreaElement} field @param {string} text */
function insert(field, text) {
  // The deprecated way is the only one that the browser's own undo knows.
  if (!document.execCommand?.("insertText", false, text)) {
    field.setRangeText(text, field.selectionStart, field.selectionEnd, "end");
    field.dispatchEvent(new Event("input"));
  }
}

// Says sentences to who listens to the page, one after the other.
class Announcer {
  constructor() {
    this.element = make("div", "tn-said");
    this.element.setAttribute("role", "status");
    this.element.setAttribute("aria-live", "polite");
    this.say = (/** @type {string} */ words) => void (this.element.textContent = words);
  }
}
