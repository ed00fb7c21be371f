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
      cell.wait(this._running ? "Waiting for the cells before it" : "Starting");
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
      if (!went) this._drop("Not run, because a cell before it failed");
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
      this._announce(`${cell.name} is running.`);
      const reply = await kernel.execute(cell.code, outputs);
      const seconds = (performance.now() - began) / 1000;
      cell.end(reply.status, seconds);
      this._announce(reply.status === "ok" ? `${cell.name} is done.` : `${cell.name} failed: ${cell.failure || "it was stopped"}.`);
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
  ready(tell, signal) {
    this._starting ||= this._start(tell, signal).catch((error) => {
      this._starting = null;
      throw error;
    });
    return this._starting;
  }

  /** @param {Tell} tell @param {AbortSignal} signal */
  async _start(tell, signal) {
    if (!this._isNamed) throw new Problem("The page does not say in which language this is (data-language).");
    tell("Getting a notebook for you");
    const said = (/** @type {string} */ words) => {
      tell(words);
      this._announce(words);
    };
    const session = await this._claim.get(said, signal);
    tell(`Starting ${spoken(this.language)}`);
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
    this._changed();
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
    this._drop("Not run, because a cell before it was stopped");
    if (!this.kernel) return this._stopping?.abort();
    const cell = this._running;
    try {
      if (!(await this.kernel.interrupt()) && cell && this._running === cell) {
        cell.resist();
        this._announce(`${cell.name} does not stop. Restart ends it.`);
      }
    } catch (error) {
      this._tell(problemOf(error, BROKEN).message);
    }
  }

  async restart() {
    this._drop("Not run, because the kernel was restarted");
    try {
      await this.kernel?.restart();
      this._forget("Restarted: all variables are gone");
    } catch (error) {
      this._tell(problemOf(error, BROKEN).message);
    }
  }
}
