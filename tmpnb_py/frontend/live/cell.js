// A cell in a page: code that can be edited, a bar with buttons and a word on how it goes, and its outputs.

class Cell {
  // `element` is a .tn-cell whose `pre` holds the code, as the notes page has it, or an empty one; `draft` (see Drafts)
  // keeps what the visitor makes of it; `kept` is told what is to be seen again when the page is loaded again.
  constructor(element, runner, { code, name, language, theme, draft, kept = null, mayFail = false, isSetup = false, alone = false }) {
    this.element = element;
    this.name = name;
    this.mayFail = mayFail;
    this.isSetup = isSetup; // runs before all others
    this.failure = "";
    this._runner = runner;
    this.original = code;
    this.carried = null; // what JupyterLab was given of it, and in which session
    this._draft = draft;
    this._kept = kept;
    this._language = language.toLowerCase();
    this._theme = theme;
    this._alone = alone; // the page has no bar with what concerns all its cells
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

  _build(element) {
    element.setAttribute("role", "group");
    element.setAttribute("aria-label", this.name);
    // What is said here is English, in a page of whichever language; what a program prints is in that of the page.
    const tongue = element.parentElement?.closest("[lang]")?.lang || document.documentElement.lang;
    Object.assign(element, { lang: "en", dir: "ltr" });
    this._shown = element.querySelector(".tn-source") || make("pre", "tn-source");
    this._shown.setAttribute("aria-hidden", "true");
    if (!this._shown.firstElementChild) this._shown.append(make("code"));
    this._first = [...this._shown.firstElementChild.childNodes];
    this._field = make("textarea", "tn-field");
    Object.assign(this._field, { value: this.original, spellcheck: false, autocapitalize: "off", autocomplete: "off", wrap: "off", rows: 1 });
    this._field.setAttribute("autocorrect", "off");
    this._field.setAttribute("aria-label", `Code of ${this.name}`);
    this._field.addEventListener("input", () => this._edited());
    this._field.addEventListener("keydown", (event) => this._key(event));
    const editor = make("div", "tn-editor");
    const sheet = make("div", "tn-sheet");
    this._outputs = element.querySelector(".tn-outputs") || make("div", "tn-outputs");
    if (tongue) this._outputs.lang = this._field.lang = this._shown.lang = tongue;
    // What the author folded stays so, until the reader opens it or there is something new to see.
    const code = element.querySelector(".tn-fold-code");
    this._folded = element.querySelector(".tn-fold-output");
    sheet.append(this._shown, this._field);
    editor.append(sheet);
    code?.append(editor);
    element.append(code || editor, this._bar(), this._folded || this._outputs);
    if (!this._first.length) this._colour();
  }

  // The visitor's code, as if it had just been written.
  take(code) {
    this._field.value = code;
    this._edited();
  }

  // What it put out before the page was loaded again. null for `items`: it is not there any more.
  restore({ items, words, state }) {
    if (items) {
      const sink = this._open((Cell.absent ||= new NoKernel()));
      for (const { kind, content } of items) sink.receive(kind, content);
      sink.flush();
    }
    this._say(words, state);
  }

  _bar() {
    const bar = make("div", "tn-bar");
    this._run = button("Run", "tn-button tn-run", () => (this.isBusy ? this._runner.interrupt() : this._runner.run([this])));
    this._run.setAttribute("aria-label", `Run ${this.name}`);
    this._above = button("Run all above", "tn-button tn-quiet", () => this._runner.run(this._runner.above(this)));
    this._all = button("Run all", "tn-button tn-quiet", () => this._runner.run(this._runner.cells));
    this._all.setAttribute("aria-label", `Run all examples in ${this._language || "this language"}`);
    this._reset = button("Undo my changes", "tn-button tn-quiet", () => {
      this.take(this.original);
      this._field.focus();
    });
    this._reset.hidden = true;
    this._above.hidden = this._runner.cells.length === 0;
    this._restart = button("Restart", "tn-button tn-quiet", () => this._runner.restart());
    this._restart.title = "Forget everything that ran, and begin anew";
    this._lab = make("a", "tn-button tn-quiet", "Open in JupyterLab");
    this._lab.target = "_blank";
    this._lab.rel = "noopener";
    this._status = make("span", "tn-status");
    bar.append(this._run, this._above, this._all, this._reset, this._restart, this._lab, this._status);
    this.refresh();
    return bar;
  }

  _edited() {
    this._reset.hidden = !this.isEdited;
    this._colour();
    this._draft.code = this.isEdited ? this.code : null;
  }

  _colour() {
    const code = this._shown.firstElementChild;
    if (!this.isEdited && this._first.length) code.replaceChildren(...this._first);
    else code.replaceChildren(highlighted(this.code, this._language));
    if (/(^|\n)$/.test(this.code)) code.append(" "); // an empty last line has a height, too
  }

  // Tab goes on to the next thing, as everywhere: whoever has no mouse must be able to leave.
  _key(event) {
    if (event.key === "Enter" && (event.shiftKey || event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      if (!this.isBusy) this._runner.run([this]);
    } else if (event.key === "Enter" && !event.altKey && !event.isComposing) {
      const before = this.code.slice(0, this._field.selectionStart);
      const indent = /^[ \t]*/.exec(before.slice(before.lastIndexOf("\n") + 1))[0];
      const more = /[:{(\[]$/.test(before.trimEnd()) && before.trimEnd().length ? " ".repeat(LANGUAGES[canonical(this._language)]?.indent ?? 4) : "";
      if (indent || more) {
        event.preventDefault();
        insert(this._field, `\n${indent}${more}`);
      }
    }
  }

  // --- how it goes; called by the runner

  refresh() {
    this._all.hidden = !this._alone || this._runner.cells[0] !== this || this._runner.cells.length < 2;
    const kernel = this._alone && this.element.dataset.state ? this._runner.kernel : null;
    this._restart.hidden = this._lab.hidden = !kernel;
    if (kernel) this._lab.href = kernel.session.open_url;
  }

  _say(words, state, { mayStop = state === "running" } = {}) {
    this._status.textContent = words;
    this.element.dataset.state = state;
    this._kept?.said(words, state);
    this.isBusy = mayStop;
    this._run.textContent = this.isBusy ? "Stop" : "Run";
    this._run.setAttribute("aria-label", `${this._run.textContent} ${this.name}`);
    this._run.disabled = state === "waiting" && !mayStop;
  }

  // Asks the visitor to run it.
  call(words) {
    this.remark(words);
    this._run.focus();
  }

  focus() {
    this._run.focus();
  }

  // Says something without a change of how it goes.
  remark(words) {
    this._status.textContent = words;
  }

  wait(words, { mayStop = false } = {}) {
    // A button that has the focus keeps it: it is only disabled for the mouse.
    this._say(`${words.replace(/[.…\s]+$/, "")} …`, "waiting", { mayStop });
    if (this.element.getRootNode().activeElement === this._run) this._run.disabled = false;
  }

  // It was to be stopped, and runs on: all that helps is to restart.
  resist() {
    this._say("Does not stop: Restart ends it, and forgets what ran", "running");
    this._restart.hidden = false;
  }

  begin(kernel) {
    this._open(kernel);
    this._say("Runs …", "running");
    return this._sink;
  }

  _open(kernel) {
    this.failure = "";
    if (this._folded) this._folded.open = true;
    this._sink = new Outputs(this._outputs, { name: this.name, theme: this._theme, kernel, home: this._run, failed: (words) => (this.failure = words) });
    this._sink.clear();
    this._sink.record = this._kept?.record() || null;
    return this._sink;
  }

  end(status, seconds) {
    const took = seconds < 10 ? seconds.toFixed(1) : Math.round(seconds);
    if (status === "ok") this._say(seconds < 0.1 ? "Done" : `Done in ${took} s`, "done");
    else this._say(status === "error" ? (/KeyboardInterrupt|interrupt/i.test(this.failure) ? "Stopped" : "There was an error") : "Stopped", "failed");
  }

  stop(words) {
    this._sink?.flush();
    this._sink?.withdraw();
    this._say(words, "failed");
  }

  forget() {
    if (this.element.dataset.state === "done") this._say("", "");
  }
}

// What a visitor made of a page's cells, for when the page is loaded again. `store` gives the storage that it is kept in.
class Drafts {
  constructor(store, key) {
    this._store = store;
    this._key = key;
  }

  // The draft of the cell of this number, while its original is this: `code`, null where there is none.
  of(number, original) {
    const drafts = this;
    return {
      get code() {
        const kept = drafts._read()[number];
        return kept?.original === original && typeof kept.code === "string" ? kept.code : null;
      },
      set code(code) {
        drafts._write(number, code === null ? undefined : { original, code });
      },
    };
  }

  _read() {
    try {
      return { ...JSON.parse(this._store().getItem(this._key)) };
    } catch {
      return {}; // there is nothing, or the page may keep nothing
    }
  }

  _write(number, own) {
    try {
      this._store().setItem(this._key, JSON.stringify({ ...this._read(), [number]: own }));
    } catch {
      // then it lasts until the page is left
    }
  }
}

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
    this.say = (words) => (this.element.textContent = words);
  }
}
