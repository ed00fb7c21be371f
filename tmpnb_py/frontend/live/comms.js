// The controls of ipywidgets: between what shows them in frames (widgets.js, beside html-manager) and the kernel. What
// the kernel says of them is kept, so that a frame that comes later knows the controls that there are; what a frame says
// goes to the kernel that it is of, if it is a message about controls, and to nobody else.

const MAX_COMMS = 2000; // of a kernel
const MAX_COMM = 4_000_000; // characters or bytes of one message of a frame
const MAX_UNANSWERED = 500; // messages of frames that the kernel has not dealt with
const COMM_ID = /^[\w-]{1,64}$/;
const OUTPUT_MODEL = "OutputModel";

class Comms {
  /** @param {Kernel} kernel */
  constructor(kernel) {
    this._kernel = kernel;
    /** @type {Map<string, OpenComm>} by the comm's id: how it was opened, and what became of it */
    this._open = new Map();
    /** @type {Set<string>} the ids of those that show outputs */
    this._collecting = new Set();
    /** @type {Set<Frame>} */
    this._frames = new Set();
    /** @type {Map<string, Frame>} by the message's id: the frame that sent it, until the kernel is done with it */
    this._sent = new Map();
  }

  clear() {
    this._open.clear();
    this._collecting.clear();
    this._sent.clear();
  }

  /**
   * A frame that shows controls from now on. It hears of those that there are, in their order.
   * @param {Frame} frame
   */
  join(frame) {
    this._frames.add(frame);
    for (const [id, { opened }] of this._open) frame.send(relayed("comm_open", id, opened));
    for (const [id, { later }] of this._open) {
      if (Object.keys(later).length) frame.send(relayed("comm_msg", id, { data: { method: "update", state: later } }));
    }
  }

  // --- what the kernel says

  /** @param {KernelMessage} message */
  receive({ msg_type: kind, content, metadata, buffers, parent_header: parent }) {
    const { comm_id: id, data = {} } = content;
    if (typeof id !== "string" || !COMM_ID.test(id)) return;
    const state = placed(data, buffers);
    if (kind === "comm_open") {
      if (content.target_name !== "jupyter.widget" || this._open.size >= MAX_COMMS || !state) return;
      const opened = { data: { ...data, state, buffer_paths: [] }, metadata };
      this._open.set(id, { opened, later: {} });
      if (state._model_name === OUTPUT_MODEL) this._collecting.add(id);
      this._tell("comm_open", id, opened, parent);
      return;
    }
    const one = this._open.get(id);
    if (!one) return;
    if (kind === "comm_close") {
      this._open.delete(id);
      this._collecting.delete(id);
      this._tell(kind, id, { data }, parent);
    } else {
      if (state) Object.assign(one.later, state);
      this._tell(kind, id, state ? { data: { ...data, state, buffer_paths: [] } } : { data, buffers }, parent);
    }
  }

  /** @param {string} kind @param {string} id @param {Untrusted} content @param {KernelMessage["parent_header"]} [parent] */
  _tell(kind, id, content, parent) {
    for (const frame of this._frames) {
      if (frame.isGone) this._frames.delete(frame);
      else frame.send(relayed(kind, id, content, parent?.msg_id));
    }
  }

  /**
   * The kernel is done with a message of a frame.
   * @param {string | undefined} id @param {Untrusted} content
   */
  answered(id, content) {
    const frame = id && this._sent.get(id);
    if (!frame) return;
    frame.send({ tmpnb: "comm", kind: "status", parent: id, content });
    if (content.execution_state === "idle") this._sent.delete(id);
  }

  /**
   * An output that a control shows rather than the cell: true if there is one that does.
   * @param {string | undefined} parent @param {string} kind @param {Untrusted} content
   */
  capture(parent, kind, content) {
    if (!parent) return false;
    for (const id of this._collecting) {
      const one = this._open.get(id);
      const state = { ...one?.opened.data.state, ...one?.later };
      if (!one || state.msg_id !== parent) continue;
      const shown = state.outputs;
      one.later.outputs = collected(Array.isArray(shown) && !one.isToClear ? shown : [], kind, content);
      one.isToClear = kind === "clear_output" && content.wait === true;
      if (one.isToClear) one.later.outputs = shown;
      else this._tell("comm_msg", id, { data: { method: "update", state: { outputs: one.later.outputs }, buffer_paths: [] } });
      return true;
    }
    return false;
  }

  // --- what a frame says

  /** @param {Frame} frame @param {Untrusted} message whatever a script in the frame chose to send */
  send(frame, message) {
    const { kind, id, comm, content } = message;
    const open = this._open.get(comm);
    if (!this._isSound(message, open)) return;
    const buffers = buffersOf(message);
    const data = content?.data ?? {};
    const size = buffers.reduce((sum, one) => sum + one.byteLength, json(content?.data ?? null).length);
    if (size > MAX_COMM || this._sent.size >= MAX_UNANSWERED) return;
    const isNew = kind === "comm_open";
    const asked = { comm_id: comm, data, ...(isNew ? { target_name: "jupyter.widget" } : {}) };
    if (!this._kernel.send(kind, asked, { id, buffers, metadata: isNew ? { version: "2.1.0" } : {} })) return;
    this._sent.set(id, frame);
    this._kernel.hearLater(id, frame.outputs);
    if (open && kind === "comm_msg" && data.method === "update") Object.assign(open.later, data.state);
  }

  /**
   * Whether a frame's message is about controls: about one that there is, or a new one.
   * @param {Untrusted} message @param {OpenComm | undefined} open
   */
  _isSound({ kind, id, comm, content }, open) {
    if (!COMM_ID.test(comm) || !/^[0-9a-f]{32}$/.test(id)) return false;
    if (kind === "comm_open") return content?.target_name === "jupyter.widget";
    return ["comm_msg", "comm_close"].includes(kind) && open !== undefined;
  }
}

/** @param {Untrusted} message @returns {ArrayBuffer[]} */
function buffersOf({ buffers }) {
  return Array.isArray(buffers) ? buffers.filter((one) => one instanceof ArrayBuffer) : [];
}

/** @param {string} kind @param {string} comm @param {Untrusted} content @param {string} [parent] */
function relayed(kind, comm, content, parent = "") {
  return { tmpnb: "comm", kind, comm, content, parent };
}

/**
 * The state that a message holds, with its buffers where they belong; null if it holds none.
 * @param {Untrusted} data @param {ArrayBuffer[]} [buffers] @returns {Untrusted}
 */
function placed({ state, buffer_paths: paths }, buffers = []) {
  if (!state || typeof state !== "object") return null;
  for (const [index, path] of Array.isArray(paths) ? paths.entries() : []) {
    /** @type {Untrusted} */
    let place = state;
    for (const key of Array.isArray(path) ? path.slice(0, -1) : []) place = Object.hasOwn(Object(place), key) ? place[key] : null;
    const last = Array.isArray(path) ? path.at(-1) : "";
    if (place && typeof place === "object" && buffers[index] && last !== "__proto__") place[last] = new DataView(buffers[index]);
  }
  return state;
}

/**
 * A list of outputs as a notebook's file has it, with one more.
 * @param {Untrusted[]} outputs @param {string} kind @param {Untrusted} content
 */
function collected(outputs, kind, content) {
  if (kind === "clear_output") return [];
  if (outputs.length >= MAX_OUTPUTS) return outputs;
  const last = outputs.at(-1);
  if (kind === "stream" && last?.output_type === "stream" && last.name === content.name) {
    return [...outputs.slice(0, -1), { ...last, text: (last.text + content.text).slice(-MAX_TEXT) }];
  }
  if (kind === "stream") return [...outputs, { output_type: kind, name: content.name, text: String(content.text).slice(-MAX_TEXT) }];
  if (kind === "error") return [...outputs, { output_type: kind, ename: content.ename, evalue: content.evalue, traceback: content.traceback }];
  const { data = {}, metadata = {}, execution_count = null } = content;
  return [...outputs, { output_type: kind, data, metadata, ...(kind === "execute_result" ? { execution_count } : {}) }];
}
