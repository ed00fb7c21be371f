// A kernel, by Jupyter's own API: started with a session, spoken to over a WebSocket in "Messaging in Jupyter"'s JSON.
// What it says is taken in bundles, one for each moment in which the page is drawn, and there is an end to what is kept:
// a program that prints without end must not stop the page.

const MAX_MESSAGE = 16_000_000; // characters
const MAX_QUEUED = 48_000_000; // characters of messages that wait to be looked at: each plot of R brings its library along
const FRAME_BUDGET = 10; // milliseconds of each drawing
const DROPPED = { name: "stderr", text: `\n… ${_("(too much output at once: some of it is not shown)")}\n` };
const UNANSWERED = { name: "stderr", text: `\n${_("(The connection was interrupted. If nothing more comes, your answer was lost: press Stop, and run it again.)")}\n` };
const RECONNECT = [300, 1000, 2000, 4000, 8000]; // milliseconds
const MAX_BUFFERS = 1000; // of a message
const HELLO = 500; // milliseconds
const QUIET = 1000; // milliseconds without a word, after which nothing more is expected of a cell that is through
const LONGEST_END = 4000; // milliseconds that the end of a cell may take that goes on printing
const PATIENCE = 4000; // milliseconds for an interrupted kernel
const MAX_LATE = 50; // cells that are done, of which more may be heard
const SHOWN = ["stream", "display_data", "execute_result", "error", "clear_output"];
const NO_REPLY = { name: "stderr", text: `${_("The kernel did not answer. Perhaps a quotation mark or a bracket is not closed.")}\n` };
const MAX_HELLOS = 60;

class Kernel {
  /** @param {Service} service @param {SessionInfo} session @param {KernelPlace} place */
  constructor(service, session, { path, name, language }) {
    this.session = session;
    this.language = language;
    /** @type {OutputKernel["displays"]} */
    this.displays = new Map();
    this.shared = new Shared();
    this.libraries = new Libraries(this);
    this.comms = new Comms(this);
    /** @type {(problem: Problem) => void} */
    this.onended = () => {};
    /** @type {(problem: Problem) => void} */
    this.onrestarted = () => {};
    this._service = service;
    this._path = path;
    this._name = name;
    this._client = hex(16);
    /** @type {Map<string, KernelRequest>} */
    this._requests = new Map();
    /** @type {Map<string, Outputs | Sink>} outputs of requests that are done */
    this._late = new Map();
    /** @type {(string | ArrayBuffer | typeof DROPPED)[]} messages that wait to be looked at */
    this._queue = [];
    this._queued = 0;
    this._scheduled = false;
    this._restarting = false;
    /** @type {Promise<void> | undefined} done when a new connection is there, after a restart */
    this._renewed = undefined;
    /** @type {Promise<void> | undefined} done when a lost connection is there again */
    this._mended = undefined;
    /** @type {Map<string, { came: Set<string>, resolve: (answered: boolean) => void }>} */
    this._hellos = new Map();
    /** @type {WebSocket | null} */
    this._socket = null;
    this._over = false;
    this.id = "";
  }

  async start() {
    // To ask for the list first takes as long as a warm kernel itself. What is not there by this name is looked for in it.
    const likely = this._name || LANGUAGES[canonical(this.language)]?.kernel;
    let answer = await this._create(likely || (await this._nameOf(this.language)));
    if (!answer.ok && likely && answer.status !== 410) answer = await this._create(await this._nameOf(this.language));
    if (!answer.ok || !answer.value?.kernel) throw await this._trouble(_("The kernel could not be started. Please try again."));
    this.id = answer.value.kernel.id;
    await this._connect();
    return this;
  }

  /** @param {string} name @returns {Promise<Answer>} */
  async _create(name) {
    const body = { path: this._path, name: this._path.split("/").pop(), type: "notebook", kernel: { name } };
    return this._call("POST", "api/sessions", { body, plain: true });
  }

  /**
   * The kernel of a language, in which authors write R, r or ir.
   * @param {string} language @returns {Promise<string>}
   */
  async _nameOf(language) {
    const answer = await this._call("GET", "api/kernelspecs", { plain: true });
    const specs = Object.entries(answer.value?.kernelspecs || {});
    const wanted = language.toLowerCase();
    const found =
      specs.find(([name]) => name.toLowerCase() === wanted) ||
      specs.find(([, one]) => String(one.spec?.language).toLowerCase() === wanted) ||
      specs.find(([, one]) => String(one.spec?.display_name).toLowerCase().startsWith(wanted));
    if (!wanted && answer.value?.default) return answer.value.default;
    if (!found) throw new Problem(language ? _("There is no kernel for {language} here.", { language }) : _("There is no kernel for this page here."));
    return found[0];
  }

  /** @param {string} method @param {string} path @param {AskOptions} [options] */
  _call(method, path, options = {}) {
    return this._service.ask(method, this.session.url + path, { ...options, token: this.session.token });
  }

  /** @param {string} words */
  async _trouble(words) {
    const ended = await this._service.ended(this.session).catch(() => "");
    return ended ? new Problem(_("{problem} Everything in it is gone. Run again for a new one.", { problem: ended }), { gone: true }) : new Problem(words);
  }

  // --- the connection

  _connect() {
    const address = new URL(`${this.session.url}api/kernels/${this.id}/channels`);
    address.protocol = address.protocol.replace("http", "ws");
    address.search = String(new URLSearchParams({ session_id: this._client, token: this.session.token ?? "" }));
    return /** @type {Promise<void>} */ (new Promise((resolve, reject) => {
      const socket = new WebSocket(address);
      socket.binaryType = "arraybuffer";
      let opened = false;
      socket.addEventListener("open", () => {
        opened = true;
        this._socket = socket;
        resolve();
      });
      socket.addEventListener("message", (event) => this._take(event.data));
      socket.addEventListener("close", () => {
        if (!opened) reject(new Problem(_("The kernel cannot be reached. Please try again.")));
        else if (this._socket === socket && !this._over) this._mended = this._lost();
      });
    }));
  }

  // Jupyter keeps for a while what is said to a client that comes back by the same name.
  async _lost() {
    for (const pause of RECONNECT) {
      await sleep(pause);
      if (this._over) return;
      try {
        const trouble = await this._trouble("");
        if (trouble.gone) return this._end(trouble);
        await this._connect();
        this._miss();
        return;
      } catch {
        // next time, perhaps
      }
    }
    this._end(new Problem(_("The connection to your notebook was lost. Run again to reconnect."), { gone: false }));
  }

  // What was said while the connection was away may have been said to nobody. The kernel answers in order: when it has
  // answered this, it is through with all that was asked before. A cell may run for long, so there is no end to waiting.
  async _miss() {
    const before = [...this._requests.keys()];
    if (!before.length) return;
    for (const { answered, outputs } of this._requests.values()) {
      if (answered) outputs.receive("stream", UNANSWERED);
      outputs.flush();
    }
    await this._hello();
    this._fail(new Problem(_("The connection was interrupted, so some of the output may be missing. Run it again.")), before);
  }

  /** @param {Problem} problem */
  _end(problem) {
    if (this._over) return;
    this._over = true;
    this._socket?.close();
    this._fail(problem);
    this.onended(problem);
  }

  close() {
    this._over = true;
    this._socket?.close();
  }

  /** @param {Problem} problem @param {string[]} [ids] */
  _fail(problem, ids = [...this._requests.keys()]) {
    for (const id of ids) {
      this._requests.get(id)?.reject(problem);
      this._requests.delete(id);
    }
  }

  // --- messages that come

  /** @param {string | ArrayBuffer} data */
  _take(data) {
    const size = sizeOf(data);
    const isSmall = typeof data === "string" && size < 4000 && !/"msg_type": ?"(stream|display_data|update_display_data)"/.test(data.slice(0, 600));
    if (size > MAX_MESSAGE || (this._queued + size > MAX_QUEUED && !isSmall)) {
      if (this._queue.at(-1) !== DROPPED) this._queue.push(DROPPED);
      this._schedule();
      return;
    }
    this._queue.push(data);
    this._queued += size;
    this._schedule();
  }

  _schedule() {
    if (this._scheduled) return;
    this._scheduled = true;
    nextFrame(() => this._drain());
  }

  _drain() {
    this._scheduled = false;
    const end = performance.now() + FRAME_BUDGET;
    let at = 0;
    while (at < this._queue.length && performance.now() < end) {
      const data = this._queue[at++];
      if (typeof data !== "string" && !(data instanceof ArrayBuffer)) {
        for (const { outputs } of this._requests.values()) outputs.receive("stream", DROPPED);
        continue;
      }
      this._queued -= sizeOf(data);
      try {
        const message = decoded(data);
        if (message) this._receive(message);
      } catch (error) {
        console.error(error); // one that cannot be shown must not keep back those after it
      }
    }
    this._queue.splice(0, at);
    for (const { outputs } of this._requests.values()) outputs.flush();
    for (const outputs of this._late.values()) outputs.flush();
    if (this._queue.length) this._schedule();
  }

  /** @param {KernelMessage} message */
  _receive(message) {
    const { msg_type: kind, content, parent_header: parent } = message;
    const id = parent?.msg_id ?? "";
    if (kind?.startsWith?.("comm_")) return this.comms.receive(message);
    if (SHOWN.includes(kind) && this.comms.capture(id, kind, content)) return;
    if (kind === "status") {
      this.comms.answered(id, content);
      this._status(content.execution_state);
    }
    if (isIdle(message) || kind === "kernel_info_reply") this._heard(id, kind);
    if (kind === "update_display_data") Outputs.update(this.displays, content);
    const request = this._requests.get(id);
    if (request) this._hear(id, request, message);
    else if (SHOWN.includes(kind)) this._late.get(id)?.receive(kind, content);
  }

  /** @param {string} id @param {KernelRequest} request @param {KernelMessage} message about this request */
  _hear(id, request, message) {
    const { msg_type: kind, channel, content } = message;
    request.answered = false;
    request.heard = performance.now();
    if (SHOWN.includes(kind)) request.outputs.receive(kind, content);
    else if (kind === "input_request") this._asked(request, content);
    else if (kind === "execute_reply" && channel === "shell") {
      request.reply = content;
      // Help is shown with the reply (Messaging in Jupyter, "Payloads").
      for (const one of Array.isArray(content.payload) ? content.payload.slice(0, 10) : []) {
        if (one?.source === "page") request.outputs.receive("display_data", { data: one.data });
      }
    } else if (isIdle(message)) request.idle = true;
    if (request.reply && request.idle) this._finish(id, request);
    else if (request.reply || request.idle) this._awaitEnd(id, request);
  }

  /**
   * Either of "reply" and "idle" may never come: ZeroMQ drops what is published faster than it is taken (the socket's
   * high-water mark), "idle" too, and a kernel that fails at some code may send no reply.
   * @param {string} id @param {KernelRequest} request
   */
  async _awaitEnd(id, request) {
    if (request.ending) return;
    request.ending = true;
    const began = (request.heard = performance.now());
    while (performance.now() - (request.heard ?? began) < QUIET && performance.now() - began < LONGEST_END) await sleep(QUIET / 10);
    if (!request.reply && !request.isThrough) {
      await this._hello({ replyOnly: true });
      if (!request.reply && this._requests.get(id) === request) request.outputs.receive("stream", NO_REPLY);
    }
    if (this._requests.get(id) !== request) return;
    if (request.reply && !request.idle) request.outputs.receive("stream", DROPPED);
    this._finish(id, request);
  }

  /** @param {string} id @param {KernelRequest} request */
  _finish(id, request) {
    this._requests.delete(id);
    this.hearLater(id, request.outputs);
    request.outputs.flush();
    request.outputs.withdraw();
    request.resolve(request.reply || { status: request.isThrough ? "aborted" : "error" });
  }

  /**
   * What is still said about a request, or in answer to a control that was moved, goes to these outputs.
   * @param {string} id @param {Outputs | Sink} outputs
   */
  hearLater(id, outputs) {
    this._late.set(id, outputs);
    for (const first of this._late.size > MAX_LATE ? [...this._late.keys()].slice(0, 1) : []) this._late.delete(first);
  }

  /** @param {string} state */
  _status(state) {
    if (this._restarting) return;
    if (state === "restarting" || state === "autorestarting") {
      this._renew();
      const problem = new Problem(_("The kernel died, perhaps because it ran out of memory, and was restarted. All variables are lost: run the cells above again."));
      this._fail(problem);
      this.onrestarted(problem);
    } else if (state === "dead") {
      this._end(new Problem(_("The kernel died and does not start again. Run again for a new one.")));
    }
  }

  /** @param {KernelRequest} request @param {Untrusted} question */
  async _asked(request, { prompt, password }) {
    if (!(request.outputs instanceof Outputs)) return; // nobody is there to answer
    const value = await request.outputs.ask(typeof prompt === "string" ? prompt.slice(0, 1000) : "", password === true);
    await this._mended;
    request.answered = true;
    if (this._socket?.readyState === WebSocket.OPEN) this._send("stdin", "input_reply", { value });
  }

  // --- what is asked of it

  /** @param {string} channel @param {string} kind @param {object} content @param {{ id?: string, metadata?: object, buffers?: ArrayBuffer[] }} [more] */
  _send(channel, kind, content, { id = hex(16), metadata = {}, buffers = [] } = {}) {
    const header = { msg_id: id, msg_type: kind, username: "", session: this._client, date: new Date().toISOString(), version: "5.3" };
    const text = JSON.stringify({ channel, header, parent_header: {}, metadata, content, buffers: [] });
    this._socket?.send(buffers.length ? encoded(text, buffers) : text);
    return id;
  }

  /**
   * Something that no cell says. Returns whether there was a connection to send it by.
   * @param {string} kind @param {object} content @param {{ id?: string, metadata?: object, buffers?: ArrayBuffer[] }} [more]
   */
  send(kind, content, more) {
    const isOpen = !this._over && this._socket?.readyState === WebSocket.OPEN;
    if (isOpen) this._send("shell", kind, content, more);
    return isOpen;
  }

  /**
   * Runs code; its outputs go to `outputs`. Returns the kernel's reply, throws a Problem where none will come.
   * @param {string} code @param {Outputs | Sink} outputs @param {{ silent?: boolean }} [options] @returns {Promise<{ status: string }>}
   */
  async execute(code, outputs, { silent = false } = {}) {
    await this._renewed;
    if (this._over || this._socket?.readyState !== WebSocket.OPEN) throw new Problem(_("The connection to your notebook was lost. Please try again."));
    return new Promise((resolve, reject) => {
      for (const [id, late] of this._late) if (late.element === outputs.element) this._late.delete(id);
      const content = { code, silent, store_history: !silent, user_expressions: {}, allow_stdin: !silent, stop_on_error: !silent };
      this._requests.set(this._send("shell", "execute_request", content), { outputs, resolve, reject });
    });
  }

  /**
   * Runs code that is nobody's, after what was asked before; returns what it displayed.
   * @param {string} code
   */
  async ask(code) {
    /** @type {Untrusted[]} */
    const shown = [];
    /** @type {Sink} */
    const outputs = { receive: (kind, content) => void (kind === "display_data" && shown.push(content)), flush() {}, withdraw() {} };
    for (let count = 0; count < 3; count++) {
      const { status } = await this.execute(code, outputs, { silent: true });
      if (status !== "aborted") break; // as it is when what was asked before it fails
    }
    return shown;
  }

  // Returns whether the kernel stopped what it did, which programs that take the terminal for themselves do not let it.
  async interrupt() {
    const answer = await this._call("POST", `api/kernels/${this.id}/interrupt`);
    if (!answer.ok) throw await this._trouble(_("It could not be interrupted."));
    const asked = [...this._requests];
    if (!(await Promise.race([this._hello({ replyOnly: true }), sleep(PATIENCE)]))) return false;
    for (const [id, request] of asked) {
      request.isThrough = true;
      if (this._requests.get(id) === request) this._awaitEnd(id, request);
    }
    return true;
  }

  // What is sent over the old connection may go to the kernel that is no more.
  _renew() {
    const old = this._socket;
    this._socket = null;
    this._hellos.clear();
    this._late.clear();
    this.comms.clear();
    old?.close();
    this._renewed = this._connect()
      .catch(() => this._lost())
      .then(() => this._greet());
    return this._renewed;
  }

  // What is said to a kernel before it listens is lost, and so is what it says before it is listened to; and Jupyter
  // says "restarting" before there is a new one at all. So it is asked until an answer and its "idle" have come.
  async _greet() {
    /** @type {Promise<boolean>[]} */
    const answers = [];
    for (let count = 0; count < MAX_HELLOS && !this._over; count++) {
      if (this._socket?.readyState === WebSocket.OPEN) answers.push(this._hello());
      if (await Promise.race([...answers, sleep(HELLO)])) return;
    }
  }

  /**
   * Asks the kernel something that does nothing; true once its reply and its "idle" have come, or the reply alone where
   * that is enough to know that it is through with all that was asked before.
   * @param {{ replyOnly?: boolean }} [options] @returns {Promise<boolean>}
   */
  _hello({ replyOnly = false } = {}) {
    if (this._socket?.readyState !== WebSocket.OPEN) return new Promise(() => {});
    const came = new Set(replyOnly ? ["status"] : /** @type {string[]} */ ([]));
    return new Promise((resolve) => this._hellos.set(this._send("shell", "kernel_info_request", {}), { came, resolve }));
  }

  /** @param {string} id @param {string} kind */
  _heard(id, kind) {
    const hello = this._hellos.get(id);
    hello?.came.add(kind);
    if (!hello || hello.came.size < 2) return;
    this._hellos.delete(id);
    hello.resolve(true);
  }

  async restart() {
    this._restarting = true;
    try {
      const answer = await this._call("POST", `api/kernels/${this.id}/restart`);
      if (!answer.ok) throw await this._trouble(_("It could not be restarted."));
      await this._renew();
      this._fail(new Problem(_("The kernel was restarted.")));
    } finally {
      this._restarting = false;
    }
  }
}

/** @param {KernelMessage} message whether it says that a kernel is done with what it was asked */
function isIdle({ msg_type: kind, content }) {
  return kind === "status" && content.execution_state === "idle";
}

/**
 * With buffers a message is bytes: their number, their places, and first the JSON ("Messaging in Jupyter", WebSockets).
 * @param {string | ArrayBuffer} data @returns {KernelMessage | null}
 */
function decoded(data) {
  try {
    const [head, ...buffers] = typeof data === "string" ? [] : partsOf(data);
    const message = JSON.parse(typeof data === "string" ? data : new TextDecoder().decode(head));
    return message && typeof message === "object" && message.content && typeof message.content === "object" ? { ...message, buffers } : null;
  } catch {
    return null;
  }
}

/** @param {ArrayBuffer} data */
function partsOf(data) {
  const view = new DataView(data);
  const count = view.getUint32(0);
  const place = (/** @type {number} */ index) => (index < count ? view.getUint32(4 + 4 * index) : data.byteLength);
  return Array.from({ length: Math.min(count, MAX_BUFFERS) }, (_, index) => data.slice(place(index), place(index + 1)));
}

/** @param {string | ArrayBuffer} data */
function sizeOf(data) {
  return typeof data === "string" ? data.length : data.byteLength;
}

/** @param {string} text @param {ArrayBuffer[]} buffers */
function encoded(text, buffers) {
  const parts = [new TextEncoder().encode(text), ...buffers.map((one) => new Uint8Array(one))];
  const head = new DataView(new ArrayBuffer(4 + 4 * parts.length));
  let at = head.byteLength;
  head.setUint32(0, parts.length);
  for (const [index, part] of parts.entries()) {
    head.setUint32(4 + 4 * index, at);
    at += part.byteLength;
  }
  const whole = new Uint8Array(at);
  at = 0;
  for (const part of [new Uint8Array(head.buffer), ...parts]) {
    whole.set(part, at);
    at += part.byteLength;
  }
  return whole.buffer;
}
