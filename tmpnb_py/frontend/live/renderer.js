// Draws mathematics (MathJax) and Markdown (markdown-it), saved and live, for notes pages and for other sites' (formulas.js).
// A module of its own, with what web/pages/live_script.py puts before it, in the origin of the page that imports it. Both libraries work in sandboxed frames (sandbox.html); what these send is built anew here, out of known elements with
// known attributes: neither a kernel nor a flaw of a library can put anything else into the page.

const SVG = "http://www.w3.org/2000/svg";
const MATHML = "http://www.w3.org/1998/Math/MathML";
const words = (/** @type {string} */ text) => new Set(text.split(" "));
const SVG_ELEMENTS = words("a ellipse g line path polygon rect svg text");
const SVG_ATTRIBUTES = words("class cx cy d data-frame data-line fill font-family font-size height href id points preserveAspectRatio rx ry stroke stroke-dasharray stroke-linecap stroke-width transform viewBox width x x1 x2 y y1 y2");
const MATHML_ELEMENTS = words("math menclose merror mfrac mi mlabeledtr mmultiscripts mn mo mover mpadded mphantom mprescripts mroot mrow ms mspace msqrt mstyle msub msubsup msup mtable mtd mtext mtr munder munderover none");
const MATHML_ATTRIBUTES = words("accent accentunder columnalign display displaystyle fence form height largeop linethickness lspace mathvariant maxsize minsize movablelimits notation rspace scriptlevel separator stretchy symmetric width");
const STYLES = words("min-width vertical-align");
const VALUE = /^(?!.*url)[\w\s.,#%()+-]*$/is;
const EQUATION = /^#?mjx-eqn:[\w:.-]{1,100}$/; // what \label names, and \eqref leads to
/** @type {Map<string, RegExp>} */
const KNOWN_VALUES = new Map(Object.entries({ id: EQUATION, href: EQUATION, class: /^mjx-(?:solid|dashed|dotted)$/ }));
const ALLOWED_TAGS = new Set(TAGS);
const DROPPED = words("script style template noscript svg math title textarea");
const PICTURE = /^data:image\/(?:png|jpeg|gif|webp|svg\+xml);base64,[A-Za-z0-9+/=\s]+$/;

/** @type {(text: string, values?: { [name: string]: string }) => string} the texts of the page (words.js) */
let _ = (text) => text;

/** @type {HTMLElement[]} formulas that are drawn and not looked at yet */
const placed = [];

const sheet = new CSSStyleSheet();
sheet.replaceSync(STYLE);

// A frame with a library in it, and those who wait for it.
class Sandbox {
  /** @param {string} address beside this script */
  constructor(address) {
    this._address = new URL(address, import.meta.url).href;
    /** @type {Map<number, Made>} */
    this._waiting = new Map();
    /** @type {object[]} */
    this._unsent = [];
    /** @type {HTMLIFrameElement | null} */
    this._frame = null;
    this._isReady = false;
    this._count = 0;
    addEventListener("message", (event) => {
      if (this._frame && event.source === this._frame.contentWindow && event.data?.tmpnb === "made") this._hear(event.data);
    });
  }

  /**
   * `made` is called with what became of an item.
   * @param {object} item @param {Made} made
   */
  ask(item, made) {
    if (!this._frame?.isConnected) this._begin();
    const number = this._count++;
    this._waiting.set(number, made);
    this._unsent.push({ ...item, number });
    if (this._unsent.length === 1 && this._isReady) queueMicrotask(() => this._send());
  }

  _begin() {
    this._isReady = false;
    this._unsent = [];
    this._waiting.clear();
    const frame = (this._frame = document.createElement("iframe"));
    frame.setAttribute("sandbox", "allow-scripts");
    frame.hidden = true;
    frame.style.display = "none"; // whatever the page's own styles say of frames
    frame.title = _("Mathematics");
    frame.src = this._address;
    document.body.append(frame);
  }

  _send() {
    if (!this._unsent.length) return;
    this._frame?.contentWindow?.postMessage(this._unsent, "*"); // its origin is opaque
    this._unsent = [];
  }

  /** @param {Untrusted} answer */
  _hear({ ready, number, made, error }) {
    if (ready) {
      this._isReady = true;
      this._send();
      return;
    }
    const waiting = this._waiting.get(number);
    this._waiting.delete(number);
    waiting?.(made, error);
  }
}

export class Renderer {
  /** @param {(code: string, language: string) => DocumentFragment} highlighted @param {typeof _} texts */
  constructor(highlighted, texts) {
    _ = texts;
    this._highlighted = highlighted;
    this._math = new Sandbox(FRAMES.math);
    this._markdown = new Sandbox(FRAMES.markdown);
  }

  /**
   * Draw the formulas whose sources are in an element, in their order. `again`: equations that were there keep their numbers.
   * @param {HTMLElement} element @param {boolean} [again]
   */
  draw(element, again = false) {
    const root = /** @type {Document | ShadowRoot} */ (element.getRootNode());
    if (root.adoptedStyleSheets && !root.adoptedStyleSheets.includes(sheet)) root.adoptedStyleSheets = [...root.adoptedStyleSheets, sheet];
    const sources = /** @type {NodeListOf<HTMLElement>} */ (element.querySelectorAll(".tn-latex:not(.tn-drawn)"));
    for (const source of sources) {
      source.classList.add("tn-drawn"); // or soon
      const display = source.classList.contains("tn-display");
      this._math.ask({ tex: source.textContent, display, again }, (made, error) => {
        if (error || !Array.isArray(made)) source.title = _("This formula cannot be drawn: {error}", { error: String(error) });
        else place(source, made, display);
      });
    }
  }

  /**
   * Show what a kernel sent, in place of what is there. LaTeX without mathematics in it stays what is there.
   * @param {string} kind @param {string} source @param {HTMLElement} element
   */
  show(kind, source, element) {
    if (kind === "latex") {
      const made = latexText(source);
      if (made) this._put(element, [made]);
      return;
    }
    this._markdown.ask({ source }, (made) => {
      if (Array.isArray(made)) this._put(element, html(made));
    });
  }

  /** @param {HTMLElement} element @param {(Node | string)[]} nodes */
  _put(element, nodes) {
    element.className = "tn-text";
    element.replaceChildren(...nodes);
    const codes = /** @type {NodeListOf<HTMLElement>} */ (element.querySelectorAll("code[data-language]"));
    for (const code of codes) {
      code.replaceChildren(this._highlighted(code.textContent, (code.dataset.language ?? "").toLowerCase()));
      delete code.dataset.language;
    }
    this.draw(element, true);
  }
}

/** @param {HTMLElement} source @param {Untrusted[]} made @param {boolean} display */
function place(source, [picture, mathml], display) {
  const made = document.createElement("span");
  made.className = display ? "tn-math tn-display" : "tn-math";
  const drawn = container(picture);
  const read = document.createElement("mjx-assistive-mml");
  read.append(...built([mathml], MATHML, MATHML_ELEMENTS, MATHML_ATTRIBUTES));
  drawn.append(read);
  made.append(drawn);
  source.replaceWith(made);
  placed.push(made);
  if (placed.length === 1) setTimeout(fit, 50);
}

// What is wider than its place scrolls in a box of its own. Looked at together, as each look lays out the page.
function fit() {
  const drawn = placed.splice(0).filter((one) => one.isConnected);
  const long = drawn.filter((one) => {
    const box = one.parentElement?.closest("p, li, td, th, div");
    return !one.classList.contains("tn-display") && box && one.getBoundingClientRect().width > box.clientWidth;
  });
  for (const one of long) one.classList.add("tn-scrolls");
  for (const one of drawn.filter(({ scrollWidth, clientWidth }) => scrollWidth > clientWidth && clientWidth)) {
    one.tabIndex = 0; // so that it can be scrolled with the keyboard
    one.setAttribute("role", "group");
    one.setAttribute("aria-label", _("Formula"));
  }
}

/** @param {Untrusted} node */
function container([, attributes, children]) {
  const made = document.createElement("mjx-container");
  for (const name of ["jax", "display", "width"]) {
    if (VALUE.test(attributes[name] ?? ":")) made.setAttribute(name, attributes[name]);
  }
  styled(made, attributes.style);
  made.append(...built(children, SVG, SVG_ELEMENTS, SVG_ATTRIBUTES));
  made.firstElementChild?.setAttribute("aria-hidden", "true"); // MathML says it
  return made;
}

/** @param {Untrusted} nodes @param {string} namespace @param {Set<string>} elements @param {Set<string>} attributes @param {number} [depth] @returns {(Element | string)[]} */
function built(nodes, namespace, elements, attributes, depth = 0) {
  if (!Array.isArray(nodes) || depth > 200) return [];
  return nodes.flatMap((node) => {
    if (typeof node === "string") return [node];
    if (!Array.isArray(node)) return [];
    const [name, given, children] = node;
    if (!elements.has(name)) return built(children, namespace, elements, attributes, depth + 1);
    const made = /** @type {SVGElement | MathMLElement} */ (document.createElementNS(namespace, name === "mlabeledtr" ? "mtr" : name));
    for (const [key, value] of Object.entries(given || {})) {
      const isKnown = (KNOWN_VALUES.get(key) ?? VALUE).test(decoded(String(value)));
      if (attributes.has(key) && isKnown) made.setAttribute(key, String(value));
    }
    if (name === "a") made.setAttribute("tabindex", "-1"); // nothing in what is hidden from screen readers takes the focus
    styled(made, given?.style);
    made.append(...built(children, namespace, elements, attributes, depth + 1));
    return [made];
  });
}

/** @param {string} value */
function decoded(value) {
  try {
    return decodeURIComponent(value);
  } catch {
    return value; // it has a percent sign of its own
  }
}

/** @param {HTMLElement | SVGElement | MathMLElement} element @param {Untrusted} [text] */
function styled(element, text = "") {
  for (const one of String(text).split(";")) {
    const [name, value] = one.split(":").map((part) => part.trim());
    if (STYLES.has(name) && VALUE.test(value)) element.style.setProperty(name, value);
  }
}

// --- HTML, by the rules of notes pages (tmpnb_py/workshops/notes/allowed.py)

/** @param {Untrusted} nodes @returns {(Node | string)[]} */
function html(nodes) {
  if (!Array.isArray(nodes)) return [];
  return nodes.flatMap((node) => {
    if (typeof node === "string") return [node];
    if (!Array.isArray(node)) return [];
    const [name, given, children] = node;
    if (DROPPED.has(name)) return [];
    return instead(name, given ?? {}) ?? (ALLOWED_TAGS.has(name) ? [allowed(name, given ?? {}, children)] : html(children));
  });
}

/**
 * What stands for an element that a page must not have as it is; null where there is nothing of the kind.
 * @param {string} name @param {Untrusted} given its attributes
 */
function instead(name, given) {
  const played = playedAs(name);
  const source = given.src || given.data || "";
  if (played) return linked(played, source, given.title);
  if (name === "input" && given.type === "checkbox") return ["checked" in given ? "\u2611" : "\u2610"];
  if (name === "img" && !PICTURE.test(given.src || "")) return linked(_("Picture"), given.src || "", given.alt, given.alt || "");
  return null;
}

/** @param {string} name of an element @returns {string} what it plays or shows, "" for all others */
function playedAs(name) {
  if (name === "iframe") return _("Embedded page");
  if (name === "video") return _("Video");
  if (name === "audio") return _("Recording");
  return name === "embed" || name === "object" ? _("Embedded file") : "";
}

/** @param {string} name @param {Untrusted} given @param {Untrusted} children */
function allowed(name, given, children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(given)) if (isAllowed(name, key, value)) made.setAttribute(key, String(value));
  if (name === "code" && /^[\w+#.-]{1,40}$/.test(given["data-language"] || "")) made.dataset.language = given["data-language"];
  const classes = String(given.class || "").split(/\s+/).filter((one) => CLASSES[name]?.includes(one));
  if (classes.length) made.className = classes.join(" ");
  if (made instanceof HTMLAnchorElement) leadTo(made, String(given.href || "").trim());
  if (made.className === "tn-wide") {
    made.tabIndex = 0;
    made.setAttribute("role", "region");
    made.setAttribute("aria-label", _("Table"));
  }
  made.append(...html(children));
  return made;
}

/** @param {string} name of an element @param {string} key @param {Untrusted} value */
function isAllowed(name, key, value) {
  const isKnown = EVERYWHERE.includes(key) || ATTRIBUTES[name]?.includes(key);
  const form = FORMS[key];
  return isKnown && key !== "href" && (!form || new RegExp(`^(?:${form})$`).test(value)); // `href`: see leadTo
}

/** @param {HTMLAnchorElement} link @param {string} address */
function leadTo(link, address) {
  if (/^(?:https?:\/\/[^/]|mailto:|#)/i.test(address)) link.href = address;
  link.rel = "noopener noreferrer";
}

/**
 * What would be loaded from elsewhere, as a link to it.
 * @param {string} what @param {string} address @param {string} [said] @param {string} [without] @returns {(Node | string)[]}
 */
function linked(what, address, said = "", without = "") {
  if (!/^(?:https?:)?\/\//i.test(address)) return without ? [without] : [];
  let url;
  try {
    url = new URL(address, "https://x/");
  } catch {
    return [];
  }
  const watched = /^https?:\/\/(?:www\.)?youtube(?:-nocookie)?\.com\/embed\/([\w-]{1,40})/.exec(url.href);
  if (watched) url = new URL(`https://www.youtube.com/watch?v=${watched[1]}`);
  const made = document.createElement("a");
  made.href = url.href;
  made.rel = "noopener noreferrer";
  made.textContent = said.trim() ? `${what}: ${said} (${url.hostname})` : `${what} (${url.hostname})`;
  return [made];
}

/**
 * A paragraph with formulas; null where there are none, or where there are commands around them, which are no mathematics.
 * @param {string} source
 */
function latexText(source) {
  const formulas = formulasIn(source, false);
  const made = document.createElement("p");
  let at = 0;
  let between = "";
  for (const { start, end, tex, display } of formulas) {
    between += source.slice(at, start);
    const code = document.createElement("code");
    code.className = display ? "tn-latex tn-display" : "tn-latex";
    code.textContent = tex.trim();
    made.append(source.slice(at, start), code);
    at = end;
  }
  made.append(source.slice(at));
  return formulas.length && !(between + source.slice(at)).includes("\\") ? made : null;
}
