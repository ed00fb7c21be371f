// Cells of one language that share a kernel: which runs, which wait, and getting the kernel in the first place.

class Runner {
  /**
   * `claim` gives a session; `place` what the kernel needs; `announce` says a sentence to screen readers, and `changed`,
   * which may get one, shows how things are. `isNamed`: the page says which kernel the code is for.
   * @param {{ service: Service, language: string, isNamed?: boolean, claim: Claim, place: (session: SessionInfo) => KernelPlace,
   *   announce: Tell, changed: (words?: string) => void, onstale?: () => void }} options
   */
  constructor({ service, language, isNamed = true, claim, place, announce, changed, onstale = () => {} }) {
    this.language = language;
    this._isNamed = isNamed;
    /** @type {Cell[]} */
    this.cells = [];
    /** @type {Kernel | null} */
    this.kernel = null;
    /** @type {Cell | null} the cell that ran last, or runs */
    this.latest = null;
    this._service = service;
    this._claim = claim;
    this._place = place;
    this._announce = announce;
    this._onstale = onstale;
    this._changed = (/** @type {string | undefined} */ message = undefined) => {
      for (const cell of this.cells) cell.refresh();
      changed(message);
    };
    /** @type {Cell[]} */
    this._queue = [];
    /** @type {Cell | null} */
    this._running = null;
    /** @type {Promise<Kernel> | null} */
    this._starting = null;
    /** @type {Promise<void> | undefined} done when there is a kernel before anybody asked for it, or will be none */
    this._prepared = undefined;
    /** @type {AbortController | null} for the time before there is a kernel */
    this._stopping = null;
  }

  get isBusy() {
    return this._running !== null;
  }

  /** @param {Cell} cell */
  above(cell) {
    return this.cells.slice(0, this.cells.indexOf(cell));
  }

  /** @param {Cell[]} cells */
  run(cells) {
    const setup = this.cells.filter((cell) => cell.isSetup && !cell.isDone && !cells.includes(cell));
    for (const cell of [...setup, ...cells]) {
      if (cell === this._running || this._queue.includes(cell)) continue;
      cell.wait(this._running ? _("Waiting for the cells before it") : _("Starting"));
      this._queue.push(cell);
    }
    if (!this._running) this._work();
  }

  async _work() {
    for (let cell = this._queue.shift(); cell; cell = this._queue.shift()) {
      this._running = this.latest = cell;
      this._changed();
      const went = await this._run(cell);
      this._running = null;
      if (!went) this._drop(_("Not run, because a cell before it failed"));
    }
    this._changed();
  }

  /** @param {Cell} cell */
  async _run(cell) {
    const { signal } = (this._stopping = new AbortController());
    const tell = (/** @type {string} */ words) => void (signal.aborted || cell.wait(words, { mayStop: true }));
    try {
      const kernel = await Promise.race([this.ready(tell, signal), aborted(signal)]);
      const began = performance.now();
      const outputs = cell.begin(kernel);
      const { name } = cell;
      this._announce(_("{name} is running.", { name }));
      const reply = await kernel.execute(cell.code, outputs);
      const seconds = (performance.now() - began) / 1000;
      cell.end(reply.status, seconds);
      this._announce(reply.status === "ok" ? _("{name} is done.", { name }) : _("{name} failed: {error}.", { name, error: cell.failure || _("it was stopped") }));
      return reply.status === "ok" || cell.mayFail;
    } catch (error) {
      const problem = problemOf(error, BROKEN);
      cell.stop(problem.message);
      this._announce(`${cell.name}: ${problem.message}`);
      if (problem.stale) this._onstale();
      return false;
    }
  }

  /**
   * The kernel, started at the first need.
   * @param {Tell} tell @param {AbortSignal} signal
   */
  async ready(tell, signal) {
    if (this.kernel) return this.kernel;
    if (!this._isNamed) throw new Problem(_("The page does not say in which language this is (data-language)."));
    tell(_("Getting a notebook for you"));
    const said = (/** @type {string} */ words) => {
      tell(words);
      this._announce(words);
    };
    await this._claim.get(said, signal); // whoever asked for it before: what is said of it is heard here from now on
    tell(_("Starting {language}", { language: spoken(this.language) }));
    await this._prepared; // where that failed, it is tried again, and the visitor told why
    return this._begin(said, signal);
  }

  /** The visitor has come to a cell: whatever they do next, it is asked for without a wait for a connection. */
  approach() {
    if (!this.kernel) this._service.connect();
  }

  /**
   * Start the kernel before anything is to run, and say nothing of it. `isPressed`: Run is being pressed. Else the visitor
   * has begun to change code, which most people then run; for that nobody is put into a line.
   * @param {{ isPressed?: boolean }} [options]
   */
  prepare({ isPressed = false } = {}) {
    if (this._starting || !this._isNamed || !this._claim.isFree || (this._prepared && !isPressed)) return;
    const leaving = new AbortController();
    const said = isPressed ? () => {} : () => leaving.abort();
    this._prepared = this._begin(said, leaving.signal).then(() => {}, () => {});
    if (isPressed) setTimeout(() => leaving.abort(), LONGEST_PRESS); // no click came of it
  }

  /** @param {Tell} said what is said of the claim @param {AbortSignal} signal */
  _begin(said, signal) {
    this._starting ||= this._start(said, signal).catch((error) => {
      this._starting = null;
      throw error;
    });
    return this._starting;
  }

  /** @param {Tell} said @param {AbortSignal} signal */
  async _start(said, signal) {
    const session = await this._claim.get(said, signal);
    const kernel = new Kernel(this._service, session, this._place(session));
    kernel.onended = (problem) => {
      this.kernel = this._starting = null;
      if (problem.gone) this._claim.forget(session);
      this._forget(problem.message);
    };
    kernel.onrestarted = (problem) => this._forget(problem.message);
    try {
      await kernel.start();
    } catch (error) {
      if (error instanceof Problem && error.gone) this._claim.forget(session);
      throw error;
    }
    this.kernel = kernel;
    unpressed(() => this._changed());
    return kernel;
  }

  /**
   * What the kernel knew is gone.
   * @param {string} words
   */
  _forget(words) {
    for (const cell of this.cells) cell.forget();
    this._tell(words);
  }

  /** @param {string} words */
  _tell(words) {
    this._announce(words);
    this._changed(words);
  }

  /** @param {string} words */
  _drop(words) {
    for (const cell of this._queue.splice(0)) cell.stop(words);
  }

  async interrupt() {
    this._drop(_("Not run, because a cell before it was stopped"));
    if (!this.kernel) return this._stopping?.abort();
    const cell = this._running;
    try {
      if (!(await this.kernel.interrupt()) && cell && this._running === cell) {
        cell.resist();
        this._announce(_("{name} does not stop. Restart ends it.", { name: cell.name }));
      }
    } catch (error) {
      this._tell(problemOf(error, BROKEN).message);
    }
  }

  async restart() {
    this._drop(_("Not run, because the kernel was restarted"));
    try {
      await this.kernel?.restart();
      this._forget(_("Restarted: all variables are gone"));
    } catch (error) {
      this._tell(problemOf(error, BROKEN).message);
    }
  }
}
