// A cell in a page: code that can be edited, a bar with buttons and a word on how it goes, and its outputs.

class Cell {
  // `element` is a .tn-cell whose `pre` holds the code, as the notes page has it, or an empty one; `draft` (see Drafts)
  // keeps what the visitor makes of it.
  constructor(element, runner, { code, name, language, theme, draft, mayFail = false, alone = false }) {
    this.element = element;
    this.name = name;
    this.mayFail = mayFail;
    this.failure = "";
    this._runner = runner;
    this.original = code;
    this.draft = draft;
    this._language = language.toLowerCase();
    this._theme = theme;
    this._alone = alone; // the page has no bar with what concerns all its cells
    this._build(element);
    runner.cells.push(this);
  }

  get code() {
    return this._field.value;
  }

  get isEdited() {
    return this.code !== this.original;
  }

  _build(element) {
    element.setAttribute("role", "group");
    element.setAttribute("aria-label", this.name);
    this._shown = element.querySelector(".tn-source") || make("pre", "tn-source");
    this._shown.setAttribute("aria-hidden", "true");
    if (!this._shown.firstElementChild) this._shown.append(make("code"));
    this._first = [...this._shown.firstElementChild.childNodes];
    this._field = make("textarea", "tn-field");
    Object.assign(this._field, { value: this.draft.code ?? this.original, spellcheck: false, autocapitalize: "off", autocomplete: "off", wrap: "off", rows: 1 });
    this._field.setAttribute("autocorrect", "off");
    this._field.setAttribute("aria-label", `Code of ${this.name}`);
    this._field.addEventListener("input", () => this._edited());
    this._field.addEventListener("keydown", (event) => this._key(event));
    const editor = make("div", "tn-editor");
    const sheet = make("div", "tn-sheet");
    this._outputs = element.querySelector(".tn-outputs") || make("div", "tn-outputs");
    sheet.append(this._shown, this._field);
    editor.append(sheet);
    element.append(editor, this._bar(), this._outputs);
    if (!this._first.length || this.isEdited) this._edited();
  }

  _bar() {
    const bar = make("div", "tn-bar");
    this._run = button("Run", "tn-button tn-run", () => (this.isBusy ? this._runner.interrupt() : this._runner.run([this])));
    this._run.setAttribute("aria-label", `Run ${this.name}`);
    this._above = button("Run all above", "tn-button tn-quiet", () => this._runner.run(this._runner.above(this)));
    this._reset = button("Undo my changes", "tn-button tn-quiet", () => {
      this._field.value = this.original;
      this._edited();
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
    bar.append(this._run, this._above, this._reset, this._restart, this._lab, this._status);
    this.refresh();
    return bar;
  }

  _edited() {
    this._reset.hidden = !this.isEdited;
    this._colour();
    this.draft.code = this.isEdited ? this.code : null;
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
      const more = /[:{(\[]$/.test(before.trimEnd()) && before.trimEnd().length ? "    ".slice(0, this._language === "r" ? 2 : 4) : "";
      if (indent || more) {
        event.preventDefault();
        insert(this._field, `\n${indent}${more}`);
      }
    }
  }

  // --- how it goes; called by the runner

  refresh() {
    const kernel = this._alone && this.element.dataset.state ? this._runner.kernel : null;
    this._restart.hidden = this._lab.hidden = !kernel;
    if (kernel) this._lab.href = kernel.session.open_url;
  }

  _say(words, state, { mayStop = state === "running" } = {}) {
    this._status.textContent = words;
    this.element.dataset.state = state;
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

  // Says something without a change of how it goes.
  remark(words) {
    this._status.textContent = words;
  }

  wait(words, { mayStop = false } = {}) {
    // A button that has the focus keeps it: it is only disabled for the mouse.
    this._say(`${words.replace(/[.…\s]+$/, "")} …`, "waiting", { mayStop });
    if (this.element.getRootNode().activeElement === this._run) this._run.disabled = false;
  }

  begin(displays) {
    this.failure = "";
    this._sink = new Outputs(this._outputs, { name: this.name, theme: this._theme, displays, home: this._run, failed: (words) => (this.failure = words) });
    this._sink.clear();
    this._say("Runs …", "running");
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

// What a visitor made of a page's cells, for when the page is loaded again. `store` is the page's own storage.
class Drafts {
  constructor(store, key) {
    this._store = store;
    this._key = key;
    try {
      this._all = JSON.parse(store().getItem(key)) || {};
    } catch {
      this._all = {}; // there is nothing, or the page may keep nothing
    }
  }

  // The draft of the cell of this number: `code`, and the code that was `carried` to JupyterLab; null where there is none.
  of(number, original) {
    const drafts = this;
    const kept = this._all[number];
    const own = kept?.original === original ? kept : { original, code: null, carried: null };
    const text = (value) => (typeof value === "string" ? value : null);
    return {
      get code() {
        return text(own.code);
      },
      set code(code) {
        if (own.code === code) return;
        own.code = code;
        drafts._write(number, own);
      },
      get carried() {
        return text(own.carried);
      },
      set carried(code) {
        own.carried = code;
        drafts._write(number, own);
      },
    };
  }

  _write(number, own) {
    this._all[number] = own;
    try {
      this._store().setItem(this._key, JSON.stringify(this._all));
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
