// In a frame, after html-manager, whose manager shows the controls of ipywidgets: it is told of them by the page, and what
// is done with them goes to the page (comms.js).
"use strict";

window.tmpnbWidgets = (() => {
  const { HTMLManager } = window.tmpnbModules["@jupyter-widgets/html-manager"];
  const page = parent;
  const comms = new Map();
  const callbacks = new Map(); // by the message's id, until the kernel is done with it

  const hex = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const bytes = (view) => (view instanceof ArrayBuffer ? view : view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));

  // What a widget speaks to the kernel through.
  class Comm {
    constructor(id) {
      this.comm_id = id;
      this.target_name = "jupyter.widget";
      this.heard = () => {};
      this.closed = () => {};
      comms.set(id, this);
    }

    open(data, called, metadata, buffers) {
      return this._send("comm_open", { target_name: this.target_name, data }, called, buffers);
    }

    send(data, called, metadata, buffers) {
      return this._send("comm_msg", { data }, called, buffers);
    }

    close(data, called, metadata, buffers) {
      comms.delete(this.comm_id);
      return this._send("comm_close", { data: data || {} }, called, buffers);
    }

    on_msg(action) {
      this.heard = action;
    }

    on_close(action) {
      this.closed = action;
    }

    _send(kind, content, called, buffers = []) {
      const id = hex();
      if (called) callbacks.set(id, called);
      // As text first: what cannot be sent to a kernel cannot be sent to a page either.
      const plain = JSON.parse(JSON.stringify(content));
      page.postMessage({ tmpnb: "comm", kind, id, comm: this.comm_id, content: plain, buffers: (buffers || []).map(bytes) }, "*");
      return id;
    }
  }

  class Manager extends HTMLManager {
    async _create_comm(target, id, data, metadata, buffers) {
      const comm = new Comm(id || hex());
      if (data !== undefined) comm.open(data, null, metadata, buffers);
      return comm;
    }
  }

  const manager = new Manager({
    loader: async (module, version) => {
      throw new Error(`This control is made with ${module} ${version}, which this page does not have. JupyterLab shows it.`);
    },
  });

  addEventListener("message", ({ source, data }) => {
    if (source !== page || data?.tmpnb !== "comm") return;
    const { kind, comm: id, content, parent: asked } = data;
    const message = { header: { msg_type: kind }, parent_header: { msg_id: asked }, metadata: content.metadata || {}, content, buffers: (content.buffers || []).map((one) => new DataView(one)) };
    if (kind === "status") {
      callbacks.get(asked)?.iopub?.status?.(message);
      if (content.execution_state === "idle") callbacks.delete(asked);
    } else if (kind === "comm_open") {
      if (comms.has(id)) return; // opened from here
      content.comm_id = id;
      manager.handle_comm_open(new Comm(id), { ...message, metadata: { version: "2.1.0", ...message.metadata } }).catch((error) => console.error(error));
    } else if (kind === "comm_msg") {
      comms.get(id)?.heard(message);
    } else if (kind === "comm_close") {
      comms.get(id)?.closed(message);
      comms.delete(id);
    }
  });

  const icons = document.createElement("style");
  icons.textContent = window.tmpnbIcons.map(([weight, source]) => `@font-face { font-family: "Font Awesome 5 Free"; font-weight: ${weight}; src: url(${source}); }`).join("");

  // The page tells of the controls after it asks to show one.
  async function known(id) {
    for (let count = 0; !manager.has_model(id); count++) {
      if (count > 100) throw new Error("The notebook does not say what this control is.");
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  return {
    async show(id, element) {
      try {
        await known(id);
        document.head.append(icons); // last, as the styles before it name files that are not there
        await manager.display_view(manager.create_view(await manager.get_model(id)), element);
      } catch (error) {
        element.textContent = `This control cannot be shown here. ${error.message || error} JupyterLab may show it.`;
      }
    },
  };
})();
