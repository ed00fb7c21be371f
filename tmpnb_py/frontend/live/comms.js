// The controls of ipywidgets: between what shows them in frames (widgets.js, beside html-manager) and the kernel. What
// the kernel says of them is kept, so that a frame that comes later knows the controls that there are; what a frame says
// goes to the kernel that it is of, if it is a message about controls, and to nobody else.

const MAX_COMMS = 2000; // of a kernel
const MAX_COMM = 4_000_000; // characters or bytes of one message of a frame
const MAX_UNANSWERED = 500; // messages of frames that the kernel has not dealt with
const COMM_ID = /^[\w-]{1,64}$/;
const OUTPUT_MODEL = "OutputModel";

class Comms {
  constructor(kernel) {
    this._kernel = kernel;
    this._open = new Map(); // by the comm's id: how it was opened, and what became of it
    this._collecting = new Set(); // of those that show outputs
    this._frames = new Set();
    this._sent = new Map(); // by the message's id: the frame whose it is, until the kernel is done with it
  }

  clear() {
    this._open.clear();
    this._collecting.clear();
    this._sent.clear();
  }

  // A frame that shows controls from now on. It hears of those that there are, in their order.
  join(frame) {
    this._frames.add(frame);
    for (const [id, { opened }] of this._open) frame.send(relayed("comm_open", id, opened));
    for (const [id, { later }] of this._open) {
      if (Object.keys(later).length) frame.send(relayed("comm_msg", id, { data: { method: "update", state: later } }));
    }
  }

  // --- what the kernel says

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
    } else if (!this._open.has(id)) {
      return;
    } else if (kind === "comm_close") {
      this._open.delete(id);
      this._collecting.delete(id);
      this._tell(kind, id, { data }, parent);
    } else {
      if (state) Object.assign(this._open.get(id).later, state);
      this._tell(kind, id, state ? { data: { ...data, state, buffer_paths: [] } } : { data, buffers }, parent);
    }
  }

  _tell(kind, id, content, parent) {
    for (const frame of this._frames) {
      if (frame.isGone) this._frames.delete(frame);
      else frame.send(relayed(kind, id, content, parent?.msg_id));
    }
  }

  // The kernel is done with a message of a frame.
  answered(id, content) {
    const sent = this._sent.get(id);
    if (!sent) return;
    sent.frame.send({ tmpnb: "comm", kind: "status", parent: id, content });
    if (content.execution_state === "idle") this._sent.delete(id);
  }

  // An output that a control shows rather than the cell: true if there is one that does.
  capture(parent, kind, content) {
    if (!parent) return false;
    for (const id of this._collecting) {
      const one = this._open.get(id);
      const state = { ...one.opened.data.state, ...one.later };
      if (state.msg_id !== parent) continue;
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

  send(frame, { kind, id, comm, content, buffers }) {
    if (!["comm_open", "comm_msg", "comm_close"].includes(kind) || !COMM_ID.test(comm) || !/^[0-9a-f]{32}$/.test(id)) return;
    if (kind === "comm_open" ? content?.target_name !== "jupyter.widget" : !this._open.has(comm)) return;
    buffers = Array.isArray(buffers) ? buffers.filter((one) => one instanceof ArrayBuffer) : [];
    const size = buffers.reduce((sum, one) => sum + one.byteLength, json(content?.data ?? null).length);
    if (size > MAX_COMM || this._sent.size >= MAX_UNANSWERED) return;
    const asked = { comm_id: comm, data: content?.data ?? {} };
    if (kind === "comm_open") Object.assign(asked, { target_name: "jupyter.widget" });
    if (!this._kernel.send(kind, asked, { id, buffers, metadata: kind === "comm_open" ? { version: "2.1.0" } : {} })) return;
    this._sent.set(id, { frame });
    this._kernel.hearLater(id, frame.outputs);
    if (kind === "comm_msg" && content.data?.method === "update") Object.assign(this._open.get(comm).later, content.data.state);
  }
}

function relayed(kind, comm, content, parent = "") {
  return { tmpnb: "comm", kind, comm, content, parent };
}

// The state that a message holds, with its buffers where they belong; null if it holds none.
function placed({ state, buffer_paths: paths }, buffers = []) {
  if (!state || typeof state !== "object") return null;
  for (const [index, path] of Array.isArray(paths) ? paths.entries() : []) {
    let place = state;
    for (const key of Array.isArray(path) ? path.slice(0, -1) : []) place = Object.hasOwn(Object(place), key) ? place[key] : null;
    const last = Array.isArray(path) ? path.at(-1) : "";
    if (place && typeof place === "object" && buffers[index] && last !== "__proto__") place[last] = new DataView(buffers[index]);
  }
  return state;
}

// A list of outputs as a notebook's file has it, with one more.
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
