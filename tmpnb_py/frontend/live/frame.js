// What a kernel sent for scripts to draw, in a frame that can do nothing to the page: its origin is opaque (sandbox without
// allow-same-origin, and the same in its own policy), it may load nothing from anywhere, open nothing, ask nobody and go
// nowhere (see keeper.html, which it is in). It is a document of its own address, not a srcdoc one, because that would
// inherit the policy of the page it is in: strict, so that no plot with a script would draw, or lax, so that it could call home.
//
// What it needs it is given as text: libraries that the service keeps or that the kernel's own packages bring along,
// and what earlier outputs prepared (Shared), as all outputs of a notebook share one page in Jupyter.

const FIRST_HEIGHT = 450; // pixels, in which what fills its frame is drawn; whatever has a height of its own says so
const MAX_HEIGHT = 2000; // pixels; what is longer scrolls inside
const MAX_CHANGES = 200; // of a height, then it stays: a hostile or badly made frame may grow with its own height
const MAX_PARTS = 100; // of a frame
const MAX_SHARED = 24_000_000; // characters of what earlier outputs prepared, for each frame after them
const MAX_HOSTS = 3; // that are named where something was not loaded

/** @type {Set<Frame>} */
const openFrames = new Set();

class Frame {
  /**
   * `kernel` is asked for libraries, knows what earlier outputs prepared and hears what is done with widgets; what it says
   * then goes to `outputs`.
   * @param {Part} part the first that it shows @param {string} title @param {string} theme @param {OutputKernel} kernel
   * @param {Outputs} outputs
   */
  constructor(part, title, theme, kernel, outputs) {
    this.element = make("div", "tn-framed");
    this._frame = make("iframe", "tn-frame");
    this._frame.setAttribute("sandbox", "allow-scripts");
    this._frame.title = title;
    this._frame.height = String(FIRST_HEIGHT);
    this._frame.src = new URL(FRAME, BASE).href;
    this.element.append(this._frame);
    this.outputs = outputs;
    this._isAlone = part.isAlone;
    this._kernel = kernel;
    this._before = kernel.shared.parts;
    this._dark = theme === "dark" || (theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
    /** @type {Set<string>} */
    this._libraries = new Set();
    this._count = 0;
    this._changes = 0;
    /** @type {Set<string>} */
    this._hosts = new Set();
    /** @type {HTMLElement | null} */
    this._note = null;
    const { promise, resolve } = /** @type {PromiseWithResolvers<void>} */ (Promise.withResolvers());
    this._last = promise;
    this._begin = resolve;
    this.add(part);
    openFrames.add(this);
  }

  // Whether another part can be shown in it, below those before.
  get isOpen() {
    return !this._isAlone && this.element.isConnected && this._count < MAX_PARTS;
  }

  /** @param {Part} part */
  add(part) {
    this._count += 1;
    this._last = this._last.then(() => this._add(part)).catch((error) => console.error(error));
  }

  /** @param {Part} part */
  async _add(part) {
    const { library = "", html, script } = part;
    const isNew = library !== "" && !this._libraries.has(library);
    const scripts = await this._scripts(library, isNew);
    if (!scripts) return this.element.append(make("p", "tn-note", LACKS[library]));
    if (isNew) this._libraries.add(library);
    if (part.isPreparation && library) {
      for (const one of [...scripts.map((text) => ({ script: text })), part]) this._kernel.shared.keep(one);
    }
    this.send({ tmpnb: "part", scripts, before: this._before, part: { html, script }, dark: this._dark });
    this._before = [];
    if (isNew && library === "widgets") this._kernel.comms?.join(this);
    this._missInner(html);
  }

  /**
   * The texts of a library that this frame has not had yet; null where they cannot be had.
   * @param {string} library @param {boolean} isNew @returns {Promise<string[] | null>}
   */
  async _scripts(library, isNew) {
    if (library === "widgets" && !this._kernel.comms) return null; // nobody would answer them
    return isNew ? this._kernel.libraries.get(library).catch(() => null) : [];
  }

  /**
   * A document in this one cannot say what it was not given, and is empty then.
   * @param {string} [html]
   */
  _missInner(html = "") {
    const missing = innerAddresses(html);
    for (const address of missing) this._miss(address);
    if (missing.length && this._count === 1) this._frame.hidden = true;
  }

  /** @param {object} message */
  send(message) {
    this._frame.contentWindow?.postMessage(message, "*"); // its origin is opaque
  }

  get isGone() {
    return this._frame.contentWindow === null;
  }

  /** @param {MessageEventSource | null} window */
  isOf(window) {
    return this._frame.contentWindow === window;
  }

  /**
   * `data` is whatever a container's script chose to send.
   * @param {Untrusted} data
   */
  receive(data) {
    if (data.tmpnb === "ready") this._begin();
    else if (data.tmpnb === "height" && Number.isFinite(data.height) && this._changes < MAX_CHANGES) {
      this._changes += 1;
      this._frame.height = String(Math.min(MAX_HEIGHT, Math.max(1, Math.ceil(data.height))));
    } else if (data.tmpnb === "blocked") this._miss(String(data.address));
    else if (data.tmpnb === "comm" && this._libraries.has("widgets")) this._kernel.comms?.send(this, data);
  }

  /**
   * Something was not loaded: the policy of the frame forbids it.
   * @param {string} address
   */
  _miss(address) {
    const url = URL.canParse(address) ? new URL(address) : null;
    if (!url || !/^https?:$/.test(url.protocol) || url.href.startsWith(BASE)) return;
    if (this._hosts.has(url.host) || this._hosts.size >= MAX_HOSTS) return;
    this._hosts.add(url.host);
    this._note ||= this.element.appendChild(make("p", "tn-note"));
    const hosts = [...this._hosts].join(", ");
    this._note.textContent = _("Part of this output is missing: it would be loaded from {hosts}, and outputs on this page cannot load anything. JupyterLab shows it.", { hosts });
  }
}

/**
 * The addresses that a document within a document (folium's maps) begins with.
 * @param {string} html
 */
function innerAddresses(html) {
  const start = html.indexOf("srcdoc=");
  const found = start < 0 ? [] : html.slice(start, start + 20_000).matchAll(/(?:src|href)=(?:&quot;|&#34;|["'])(https?:\/\/[\w.:/@-]{1,200})/g);
  return [...found].map(([, address]) => address);
}

window.addEventListener("message", (event) => {
  if (!event.data || typeof event.data !== "object") return;
  for (const frame of openFrames) {
    if (frame.isGone) openFrames.delete(frame); // it was removed
    else if (frame.isOf(event.source)) frame.receive(event.data);
  }
});

// What outputs leave for those after them, as they show nothing themselves: plotly's and Bokeh's scripts, settings.
class Shared {
  constructor() {
    /** @type {Part[]} */
    this.parts = [];
    this._size = 0;
  }

  /** @param {Part} part */
  keep(part) {
    const text = part.html ?? part.script ?? "";
    if (this._size + text.length > MAX_SHARED || this.parts.some((one) => (one.html ?? one.script) === text)) return;
    this._size += text.length;
    this.parts = [...this.parts, { html: part.html, script: part.script }];
  }
}

/** @type {{ [library: string]: string }} */
const LACKS = {
  plotly: _("This plot needs plotly.js, which the notebook's Python package plotly should have brought along. JupyterLab may show it."),
  bokeh: _("This plot needs BokehJS, which the notebook's Python package bokeh should have brought along. JupyterLab may show it."),
  vega: _("The script that draws this plot could not be loaded. Please run it again."),
  widgets: _("This control belongs to a notebook that is no longer connected. Please run it again."),
};

// Scripts that outputs need, as texts: ours (LIBRARIES, with their addresses), or those of the kernel's own packages.
// Only what a page needs is loaded, once.
/** @type {{ [library: string]: string }} */
const BROUGHT = {
  plotly: "__import__('plotly.offline', fromlist=['get_plotlyjs']).get_plotlyjs()",
  bokeh: "'\\n'.join(__import__('bokeh.resources', fromlist=['INLINE']).INLINE.js_raw)",
};
const LIBRARY = "application/vnd.tmpnb.library";
/** @type {Map<string, Promise<string[]>>} */
const loadedLibraries = new Map();

class Libraries {
  /** @param {{ ask(code: string): Promise<Untrusted[]> }} kernel */
  constructor(kernel) {
    this._kernel = kernel;
    /** @type {Map<string, Promise<string[]>>} */
    this._brought = new Map();
  }

  /**
   * The texts of a library. Rejects where there is none.
   * @param {string} name @returns {Promise<string[]>}
   */
  get(name) {
    const isBrought = Object.hasOwn(BROUGHT, name);
    const known = isBrought ? this._brought : loadedLibraries;
    const found = known.get(name);
    if (found) return found;
    const texts = isBrought ? this._bring(name) : Promise.all((LIBRARIES[name] ?? []).map(fetchedText));
    known.set(name, texts);
    texts.catch(() => known.delete(name)); // next time, perhaps
    return texts;
  }

  /** @param {string} name */
  async _bring(name) {
    const code = `__import__('IPython.display', fromlist=['display']).display({'${LIBRARY}': ${BROUGHT[name]}}, raw=True)`;
    const found = (await this._kernel.ask(code)).map(({ data }) => data?.[LIBRARY]).find((one) => typeof one === "string" && one);
    if (!found) throw new Problem(LACKS[name]);
    return [found];
  }
}

// In place of a kernel, for outputs that a page kept when it was left: what they need of one is said to be missing.
class NoKernel {
  constructor() {
    /** @type {OutputKernel["displays"]} */
    this.displays = new Map();
    this.shared = new Shared();
    this.libraries = new Libraries(this);
    this.comms = undefined;
  }

  /** @returns {Promise<Untrusted[]>} */
  async ask() {
    return [];
  }
}

/** @param {string} path below the base of all addresses */
async function fetchedText(path) {
  const answer = await fetch(new URL(path, BASE), { credentials: "omit" });
  if (!answer.ok) throw new Problem(`${path}: ${answer.status}`);
  return answer.text();
}
