// The service's own notes page: its cells come alive in place. Without this script they are there to read.
//
// It runs in the service's origin, which all notebooks share: what is kept there may have been written by any of them, and is
// shown to the visitor before it is used (work.js).

const GOES_ON = _("Your notebook is still running: continue where you were");
const LOST = _("The earlier output of these examples is no longer shown: the notebook that ran them has ended, or is not known here");

// What is kept with this entry of the browser's history, and with those that links within the page make of it.
class HistoryEntry {
  constructor() {
    this._remembered = { ...history.state };
    addEventListener("hashchange", () => history.replaceState({ ...history.state, ...this._remembered }, ""));
  }

  /** @param {string} what @returns {Kept<Untrusted>} */
  place(what) {
    return {
      read: () => this._remembered[what] ?? "",
      write: (value) => {
        this._remembered[what] = value;
        history.replaceState({ ...history.state, [what]: value }, "");
      },
    };
  }
}

class NotesPage {
  /** @param {HTMLElement} main */
  constructor(main) {
    const { workshop = "", document: start = "", kernel = "", language = "", key = "", session = "" } = main.dataset;
    this._main = main;
    this._start = start;
    this._kernelName = kernel;
    this._language = language || kernel;
    this._sessionId = session;
    this._service = new Service(BASE);
    this._announcer = new Announcer();
    this._messages = new Messages(BASE);
    this._entry = new HistoryEntry();
    this._work = new Work(this._entry.place("work"), { session, key });
    this._again = this._entry.place("again"); // which cell, or "lab", the visitor is to be led to when the page is loaded again
    /** @type {AbortController | null} of opening JupyterLab, which may mean waiting in line */
    this._opening = null;
    this._isInLine = false; // since before the page was reloaded
    this._claim = this._newClaim({ workshop, key, reload: true });
    this._runner = new Runner({
      service: this._service,
      language: this._language,
      claim: this._claim,
      place: () => ({ path: start, name: kernel, language: this._language }),
      announce: this._announcer.say,
      changed: (words) => this._changed(words),
      onstale: () => this._loadAgain(this._runner.latest ? this._runner.cells.indexOf(this._runner.latest) : ""),
    });
    const barLink = make("a", "tn-button tn-quiet");
    this._pageLink = /** @type {HTMLAnchorElement} */ (document.getElementById("tn-open"));
    this._spawn = this._pageLink.href;
    this._links = [barLink, this._pageLink];
    for (const link of this._links) {
      link.addEventListener("click", (event) => this._openLab(event));
      link.addEventListener("auxclick", (event) => this._openLab(event));
    }
    this._bar = new NotesBar({ language: this._language, stop: () => this._stop(), restart: () => void this._runner.restart() }, barLink);
    this._lifetime = this._newLifetime(barLink);
    this._bar.element.prepend(this._lifetime.element);
  }

  /** @param {object} wish */
  _newClaim(wish) {
    // Launch pages that wait in line need no other notebook (visit.js): they hear that there is one, and nothing else.
    const others = window.BroadcastChannel ? new BroadcastChannel("tmpnb-visit") : null;
    // The page itself says, by its key, whether its visitor has a session.
    const ownSession = { read: () => null, write: (/** @type {SessionInfo | null} */ fresh) => void (fresh && others?.postMessage("")) };
    const session = FRAMED ? framedSession : ownSession;
    const claim = new Claim(this._service, { wish, session, ticket: this._entry.place("ticket"), once: this._entry.place("once") });
    claim.onsession = (found) => {
      this._work.belongsTo(found);
      afterwards(() => {
        if (claim.session !== found) return;
        this._lifetime.follow(found);
        this._messages.follow(found);
      });
    };
    return claim;
  }

  /** @param {HTMLAnchorElement} barLink */
  _newLifetime(barLink) {
    return new Lifetime(this._service, {
      shown: (hadFocus) => {
        this._bar.showIfNeeded(this._facts());
        if (hadFocus) barLink.focus();
      },
      say: (said, isAnswer) => (isAnswer ? this._tell(said, "done") : this._announcer.say(said)),
      works: () => this._runner.isBusy,
      own: () => this._claim.get(() => {}, new AbortController().signal),
      ended: (said) => {
        if (this._runner.kernel) return; // which finds out for itself
        this._claim.forget(this._claim.session);
        this._tell(_("{problem} Run again for a new one.", { problem: said }), "failed");
      },
    });
  }

  // --- how it goes

  _facts() {
    return {
      hasKernel: this._runner.kernel !== null,
      isBusy: this._runner.isBusy,
      isWaiting: this._opening !== null || this._isInLine,
      isTimeShown: this._lifetime.isShown,
    };
  }

  /** @param {string} [message] @param {string} [state] */
  _changed(message, state) {
    this._bar.show({ message, state, ...this._facts() });
    for (const link of this._links) link.href = this._claim.session ? this._claim.session.open_url : this._spawn;
  }

  /** @param {string} message @param {string} [state] */
  _tell(message, state = "running") {
    this._changed(message, state);
    this._announcer.say(message);
  }

  _stop() {
    if (this._opening) this._opening.abort();
    else if (this._isInLine) this._claim.giveUp();
    else void this._runner.interrupt();
  }

  // --- loading the page again

  /**
   * The visitor got a notebook in another tab after this page was made. Loaded again it may use that; what was changed here
   * is kept. Nothing runs by itself then: nobody but the visitor decides what runs.
   * @param {number | string} at a cell's index, or "lab"
   */
  _loadAgain(at) {
    this._again.write(at);
    location.reload();
  }

  _goOn() {
    const at = this._again.read();
    if (at === "") return;
    this._again.write("");
    if (at !== "lab") return this._runner.cells[at]?.call(_("Your notebook was found: run this again"));
    this._pageLink.focus();
    this._tell(_("Your notebook was found: open it in JupyterLab again"), "done");
  }

  // --- JupyterLab

  /**
   * What was changed here is there, too.
   * @param {MouseEvent} event
   */
  async _openLab(event) {
    if (event.button > 1 || !this._runner.cells.some((cell) => cell.isEdited)) return;
    event.preventDefault();
    const isAside = FRAMED || event.button === 1 || event.ctrlKey || event.metaKey || event.shiftKey;
    const tab = isAside ? window.open("", "_blank") : null; // now, as browsers allow it only in answer to a click
    if (tab) tab.opener = null;
    this._opening?.abort();
    const own = (this._opening = new AbortController());
    /** @type {SessionInfo | null} */
    let session = null;
    try {
      this._tell(_("Taking your changes to JupyterLab …"));
      session = await this._claim.get((said) => void (own.signal.aborted || this._tell(said)), own.signal);
      await carryOver(this._service, this._runner, this._start, session);
      this._opening = null;
      this._changed();
      (tab || window).location.assign(session.open_url);
    } catch (error) {
      tab?.close();
      if (this._opening !== own) return; // it was clicked once more
      this._opening = null;
      await this._notOpened(problemOf(error, NOT_TAKEN), session);
    }
  }

  /** @param {Problem} problem @param {SessionInfo | null} session */
  async _notOpened(problem, session) {
    if (problem.stale) return this._loadAgain("lab");
    const ended = session && (await this._service.ended(session).catch(() => ""));
    if (ended) this._claim.forget(session);
    const said = ended ? _("{problem} Please try again for a new one.", { problem: ended }) : problem.message;
    this._tell(_("{problem} Your changes are still on this page.", { problem: said }), "failed");
  }

  // --- the beginning

  begin() {
    drawFormulas(this._main);
    const elements = /** @type {HTMLElement[]} */ ([...this._main.querySelectorAll(".tn-cell")]);
    // Changes are kept twice: with this entry of the history, and in the tab for who comes to this page anew.
    const drafts = new Drafts(() => sessionStorage, `tmpnb-drafts:${location.pathname}`);
    const found = elements.map((element, index) => this._enliven(element, index, drafts));
    if (!elements.length) return;
    const hint = document.getElementById("tn-hint");
    if (hint) hint.hidden = false;
    document.body.append(this._bar.element, this._announcer.element, this._messages.element);
    this._bringBack(found);
    this._goOn();
    void this._claim.resume((said, state) => {
      this._isInLine = state === "running";
      if (said) this._tell(said, state);
      else this._changed();
    });
  }

  /**
   * Make a cell of an element. Returns what was kept of the visitor's changes: by this page itself, or by another.
   * @param {HTMLElement} element @param {number} index @param {Drafts} drafts
   */
  _enliven(element, index, drafts) {
    const number = element.dataset.cell ?? "";
    const code = element.querySelector(".tn-source")?.textContent ?? "";
    const stored = drafts.of(number, code);
    const work = this._work;
    const cell = new Cell(element, this._runner, {
      code,
      draft: {
        get code() {
          return null; // what was kept comes with all the others: see _bringBack
        },
        set code(changed) {
          stored.code = changed;
          work.keepDraft(number, changed === null ? null : { original: code, code: changed });
        },
      },
      kept: { record: () => work.record(number), said: (words, state) => work.said(number, words, state) },
      name: _("example {number}", { number: index + 1 }),
      language: this._language,
      theme: "auto",
      mayFail: "mayFail" in element.dataset,
    });
    for (const note of element.querySelectorAll(".tn-interactive")) {
      note.append(" ", button(_("Run up to here"), "tn-button", () => this._runToHere(cell)));
    }
    const own = work.draft(number, code);
    const other = stored.code === code ? "" : (stored.code ?? "");
    const isOurs = Boolean(own) && work.isOurs;
    return { cell, code: isOurs ? own : other || own, isOurs };
  }

  /**
   * What was saved without its scripts needs what the cells above it made.
   * @param {Cell} cell
   */
  _runToHere(cell) {
    this._runner.run([...this._runner.above(cell).filter((one) => !one.isDone), cell]);
  }

  /** @param {(FoundDraft & { isOurs: boolean })[]} drafts "" as the code where there is none */
  _bringBack(drafts) {
    for (const isOurs of [true, false]) {
      const found = drafts.filter((one) => one.code && one.isOurs === isOurs);
      if (found.length) this._main.prepend(new Changes(found, isOurs, this._announcer.say).element);
    }
    const { outputs, isLost } = this._work.outputs();
    for (const cell of this._runner.cells) {
      const kept = outputs.get(cell.element.dataset.cell ?? "");
      if (kept) cell.restore(kept);
    }
    this._work.begin();
    if (this._sessionId) {
      this._lifetime.follow({ id: this._sessionId });
      this._messages.follow({ id: this._sessionId });
    }
    if (outputs.size) this._changed(GOES_ON, "done");
    else if (isLost) this._tell(LOST, "failed");
  }
}

new NotesPage(/** @type {HTMLElement} */ (document.querySelector("main[data-document]"))).begin();
