// Cells of one language that share a kernel: which runs, which wait, and getting the kernel in the first place.

class Runner {
  // `claim` gives a session; `place(session)` what the kernel needs; `announce` says a sentence to who cannot see, and
  // `changed`, which may get one, shows how things are to who can.
  constructor({ service, language, isNamed = true, claim, place, announce, changed, onstale = () => {} }) {
    this.language = language;
    this._isNamed = isNamed; // else nobody knows which kernel the code is for
    this.cells = [];
    this.kernel = null;
    this.latest = null; // the cell that ran last, or runs
    this._service = service;
    this._claim = claim;
    this._place = place;
    this._announce = announce;
    this._onstale = onstale;
    this._changed = (message) => {
      for (const cell of this.cells) cell.refresh();
      changed(message);
    };
    this._queue = [];
    this._running = null;
    this._starting = null;
    this._stopping = null; // for the time before there is a kernel
  }

  get isBusy() {
    return this._running !== null;
  }

  above(cell) {
    return this.cells.slice(0, this.cells.indexOf(cell));
  }

  run(cells) {
    const setup = this.cells.filter((cell) => cell.isSetup && !cell.isDone && !cells.includes(cell));
    for (const cell of [...setup, ...cells]) {
      if (cell === this._running || this._queue.includes(cell)) continue;
      cell.wait(this._running ? "Waits for the cells before it" : "Begins");
      this._queue.push(cell);
    }
    if (!this._running) this._work();
  }

  async _work() {
    while (this._queue.length) {
      const cell = (this._running = this.latest = this._queue.shift());
      this._changed();
      const went = await this._run(cell);
      this._running = null;
      if (!went) this._drop("Not run, as a cell before it did not succeed");
    }
    this._changed();
  }

  async _run(cell) {
    const { signal } = (this._stopping = new AbortController());
    const tell = (words) => signal.aborted || cell.wait(words, { mayStop: true });
    try {
      const kernel = await Promise.race([this.ready(tell, signal), aborted(signal)]);
      const began = performance.now();
      const outputs = cell.begin(kernel);
      this._announce(`${cell.name} runs.`);
      const reply = await kernel.execute(cell.code, outputs);
      const seconds = (performance.now() - began) / 1000;
      cell.end(reply.status, seconds);
      this._announce(reply.status === "ok" ? `${cell.name} is done.` : `${cell.name} failed: ${cell.failure || "it was stopped"}.`);
      return reply.status === "ok" || cell.mayFail;
    } catch (error) {
      const words = error instanceof Problem ? error.message : "Something went wrong in this page. Please try again.";
      if (!(error instanceof Problem)) console.error(error);
      cell.stop(words);
      this._announce(`${cell.name}: ${words}`);
      if (error.stale) this._onstale();
      return false;
    }
  }

  // The kernel, started at the first need.
  ready(tell, signal) {
    this._starting ||= this._start(tell, signal).catch((error) => {
      this._starting = null;
      throw error;
    });
    return this._starting;
  }

  async _start(tell, signal) {
    if (!this._isNamed) throw new Problem("The page does not say in which language this is (data-language).");
    tell("Gets a notebook for you");
    const said = (words) => {
      tell(words);
      this._announce(words);
    };
    const session = await this._claim.get(said, signal);
    tell(`Starts ${spoken(this.language)}`);
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
      if (error.gone) this._claim.forget(session);
      throw error;
    }
    this.kernel = kernel;
    this._changed();
    return kernel;
  }

  // What the kernel knew is gone.
  _forget(words) {
    for (const cell of this.cells) cell.forget();
    this._tell(words);
  }

  _tell(words) {
    this._announce(words);
    this._changed(words);
  }

  _drop(words) {
    for (const cell of this._queue.splice(0)) cell.stop(words);
  }

  async interrupt() {
    this._drop("Not run, as a cell before it was stopped");
    if (!this.kernel) return this._stopping?.abort();
    const cell = this._running;
    try {
      if (!(await this.kernel.interrupt()) && cell && this._running === cell) {
        cell.resist();
        this._announce(`${cell.name} does not stop. Restart ends it.`);
      }
    } catch (error) {
      this._tell(error.message);
    }
  }

  async restart() {
    this._drop("Not run, as the kernel was to be restarted");
    try {
      await this.kernel?.restart();
      this._forget("Restarted: what it knew is gone");
    } catch (error) {
      this._tell(error.message);
    }
  }
}
