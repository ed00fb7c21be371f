// Controls of ipywidgets in the frame of an output (output.js has its origin): html-manager, whose file comes before, shows
// them. The page tells of them, and what is done with them goes to the page (comms.js), which checks it.
"use strict";

window.tmpnbWidgets = (() => {
  /** @type {{ HTMLManager: new (options: object) => HtmlManager }} */
  const { HTMLManager } = window.tmpnbModules["@jupyter-widgets/html-manager"];
  const page = parent;
  /** @type {Map<string, Comm>} */
  const comms = new Map();
  /** @type {Map<string, WidgetCallbacks>} by the message's id, until the kernel is done with it */
  const callbacks = new Map();

  const randomId = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const bytes = (/** @type {ArrayBuffer | ArrayBufferView} */ view) =>
    view instanceof ArrayBuffer ? view : view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);

  // What a widget speaks to the kernel through.
  class Comm {
    /** @param {string} id */
    constructor(id) {
      this.comm_id = id;
      this.target_name = "jupyter.widget";
      /** @type {(message: WidgetMessage) => void} */
      this.heard = () => {};
      /** @type {(message: WidgetMessage) => void} */
      this.closed = () => {};
      comms.set(id, this);
    }

    /** @param {any} data of a widget @param {WidgetCallbacks | null} called @param {unknown} _metadata @param {(ArrayBuffer | ArrayBufferView)[]} [buffers] */
    open(data, called, _metadata, buffers) {
      return this._send("comm_open", { target_name: this.target_name, data }, called, buffers);
    }

    /** @param {any} data of a widget @param {WidgetCallbacks | null} called @param {unknown} _metadata @param {(ArrayBuffer | ArrayBufferView)[]} [buffers] */
    send(data, called, _metadata, buffers) {
      return this._send("comm_msg", { data }, called, buffers);
    }

    /** @param {any} data of a widget @param {WidgetCallbacks | null} called @param {unknown} _metadata @param {(ArrayBuffer | ArrayBufferView)[]} [buffers] */
    close(data, called, _metadata, buffers) {
      comms.delete(this.comm_id);
      return this._send("comm_close", { data: data || {} }, called, buffers);
    }

    /** @param {(message: WidgetMessage) => void} action */
    on_msg(action) {
      this.heard = action;
    }

    /** @param {(message: WidgetMessage) => void} action */
    on_close(action) {
      this.closed = action;
    }

    /** @param {string} kind @param {object} content @param {WidgetCallbacks | null} called @param {(ArrayBuffer | ArrayBufferView)[]} [buffers] */
    _send(kind, content, called, buffers = []) {
      const id = randomId();
      if (called) callbacks.set(id, called);
      // As text first: what cannot be sent to a kernel cannot be sent to a page either.
      const plain = JSON.parse(JSON.stringify(content));
      page.postMessage({ tmpnb: "comm", kind, id, comm: this.comm_id, content: plain, buffers: (buffers || []).map(bytes) }, "*");
      return id;
    }
  }

  class Manager extends HTMLManager {
    /** @param {string} _target @param {string} id @param {any} data @param {unknown} _metadata @param {(ArrayBuffer | ArrayBufferView)[]} [buffers] */
    async _create_comm(_target, id, data, _metadata, buffers) {
      const comm = new Comm(id || randomId());
      if (data !== undefined) comm.open(data, null, _metadata, buffers);
      return comm;
    }
  }

  const manager = new Manager({
    loader: async (/** @type {string} */ module, /** @type {string} */ version) => {
      throw new Error(`This control is made with ${module} ${version}, which this page does not have. JupyterLab shows it.`);
    },
  });

  /** @param {any} data what the page says of the kernel's comm @returns {WidgetMessage} */
  const messageOf = ({ kind, content, parent: asked }) => ({
    header: { msg_type: kind },
    parent_header: { msg_id: asked },
    metadata: content.metadata || {},
    content,
    buffers: (content.buffers || []).map((/** @type {ArrayBuffer} */ one) => new DataView(one)),
  });

  /** @param {string} id @param {WidgetMessage} message */
  const opened = (id, message) => {
    if (comms.has(id)) return; // opened from here
    message.content.comm_id = id;
    const made = { ...message, metadata: { version: "2.1.0", ...message.metadata } };
    manager.handle_comm_open(new Comm(id), made).catch((/** @type {unknown} */ error) => console.error(error));
  };

  addEventListener("message", ({ source, data }) => {
    if (source !== page || data?.tmpnb !== "comm") return;
    const { kind, comm: id, content, parent: asked } = data;
    const message = messageOf(data);
    if (kind === "status") {
      callbacks.get(asked)?.iopub?.status?.(message);
      if (content.execution_state === "idle") callbacks.delete(asked);
    } else if (kind === "comm_open") {
      opened(id, message);
    } else if (kind === "comm_msg") {
      comms.get(id)?.heard(message);
    } else if (kind === "comm_close") {
      comms.get(id)?.closed(message);
      comms.delete(id);
    }
  });

  const icons = document.createElement("style");
  icons.textContent = window.tmpnbIcons.map(([weight, source]) => `@font-face { font-family: "Font Awesome 5 Free"; font-weight: ${weight}; src: url(${source}); }`).join("");

  /**
   * The page tells of the controls after it asks to show one.
   * @param {string} id
   */
  async function known(id) {
    for (let count = 0; !manager.has_model(id); count++) {
      if (count > 100) throw new Error("The notebook does not say what this control is.");
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  return {
    /** @param {string} id @param {HTMLElement} element */
    async show(id, element) {
      try {
        await known(id);
        document.head.append(icons); // last, as the styles before it name files that are not there
        await manager.display_view(manager.create_view(await manager.get_model(id)), element);
      } catch (error) {
        element.textContent = `This control cannot be shown here. ${error instanceof Error ? error.message : error} JupyterLab may show it.`;
      }
    },
  };
})();
