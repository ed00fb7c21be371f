// What a cell puts out. Everything here comes from a container that may be hostile: nothing of it becomes HTML in this
// page. Text becomes text, pictures become <img>, simple tables are built anew out of known elements, and whatever else is
// HTML goes into a frame.

const MAX_OUTPUTS = 300; // of one cell
const MAX_FRAMES = 12; // of one cell
const MAX_RICH = 100_000; // characters of Markdown or LaTeX
const NAME_ONLY = /^\s*<[\w.]+(?: object)?(?: at 0x[0-9a-fA-F]+)?>\s*$/; // all that Python says of some objects, as in notes/interactive.py
const MAX_BUNDLE = 16_000_000; // characters of one output
const PICTURES = ["image/png", "image/jpeg", "image/gif", "image/webp"];
const SIMPLE = new Set(
  "B BR CAPTION CODE DD DETAILS DIV DL DT EM H1 H2 H3 H4 H5 H6 I LI OL P PRE SMALL SPAN STRONG SUB SUMMARY SUP TABLE TBODY TD TFOOT TH THEAD TR UL".split(" "),
);
const MAX_NODES = 20_000; // of a table that is shown in the page

class Outputs {
  /**
   * `kernel` is whose outputs they are, with what of all cells can be changed later, by the names that it gave them.
   * `home` gets the focus back from a question that is answered; `failed` gets the words of an error.
   * @param {HTMLElement} element
   * @param {{ name: string, theme: string, kernel: OutputKernel, home: HTMLElement, failed: (words: string) => void }} context
   */
  constructor(element, { name, theme, kernel, home, failed }) {
    this.element = element;
    this._name = name;
    this._theme = theme;
    this._kernel = kernel;
    /** @type {Frame | null} the last output, while what comes next may go into it */
    this._frame = null;
    /** @type {OutputLog | null} is told what comes, and keeps it */
    this.record = null;
    this._home = home;
    this._failed = failed;
    this._clearFirst = false;
    /** @type {Set<TerminalText>} */
    this._texts = new Set();
    /** @type {TerminalText | null} the last output, while text that comes next may go on in it */
    this._last = null;
    this._count = 0;
  }

  /**
   * An output that was shown earlier, by whichever cell, becomes another.
   * @param {OutputKernel["displays"]} displays @param {Untrusted} content
   */
  static update(displays, { data, metadata, transient }) {
    for (const { place, outputs } of displays.get(transient?.display_id) || []) {
      if (!place.isConnected) continue;
      outputs.record?.update({ data, metadata, transient });
      place.replaceChildren(); // first, as what goes does not count
      const made = outputs._bundle(data, metadata, { isAlone: true });
      place.append(elementOf(made));
    }
  }

  clear() {
    this._texts.clear();
    this._last = this._frame = null;
    this._count = 0;
    this._clearFirst = false;
    this.element.replaceChildren();
  }

  flush() {
    for (const text of this._texts) text.flush();
    this._texts.clear();
  }

  /**
   * A message on the kernel's channel of outputs (Messaging in Jupyter, "Messages on the IOPub channel").
   * @param {string} kind @param {Untrusted} content
   */
  receive(kind, content) {
    this.record?.take(kind, content);
    if (kind === "clear_output") {
      if (content.wait) this._clearFirst = true;
      else this.clear();
      return;
    }
    if (this._clearFirst) this.clear();
    if (this._count > MAX_OUTPUTS && kind !== "error") return;
    if (kind === "stream") this._stream(content.name === "stderr" ? "tn-stderr" : "tn-stdout", String(content.text));
    else if (kind === "error") this._error(content);
    else this._display(content);
  }

  /** @param {HTMLElement} element */
  _add(element) {
    this._last = this._frame = null;
    this._count += 1;
    if (this._count < MAX_OUTPUTS) this.element.append(element);
    else if (this._count === MAX_OUTPUTS) this.element.append(make("p", "tn-note", _("There is more output than is shown here.")));
  }

  /** @param {string} className @param {string} text */
  _stream(className, text) {
    let last = this._last;
    if (!last || last.element.className !== className) {
      last = new TerminalText(className);
      this._add(last.element);
      this._last = last;
    }
    last.write(text);
    this._texts.add(last);
  }

  /** @param {Untrusted} content */
  _error(content) {
    const traceback = Array.isArray(content.traceback) ? content.traceback.join("\n") : "";
    const words = failureWords(content);
    this._add(terminal(traceback.trim() ? traceback : words, "tn-error"));
    this._failed(words.slice(0, 200));
  }

  /** @param {Untrusted} content */
  _display(content) {
    const place = make("div", "tn-output");
    const id = content.transient?.display_id;
    const made = this._bundle(content.data, content.metadata, { isAlone: typeof id === "string" });
    if (!made) return; // it went to what was shown before
    place.append(elementOf(made));
    if (typeof id === "string") {
      const { displays } = this._kernel;
      const places = displays.get(id) || [];
      displays.set(id, [...places.filter((one) => one.place.isConnected).slice(-20), { place, outputs: this }]);
    }
    this._add(place);
    if (made instanceof Frame && typeof id !== "string") this._frame = made;
  }

  /**
   * The best of the forms in which the kernel sent something, as an element or a frame. null: it is in the frame that
   * was there, which happens only where it is not to stand alone.
   * @param {Untrusted} data @param {Untrusted} metadata @param {{ isAlone: boolean }} options @returns {HTMLElement | Frame | null}
   */
  _bundle(data, metadata, { isAlone }) {
    data = data && typeof data === "object" ? data : {};
    const text = (/** @type {string} */ kind) => textOf(data[kind]);
    const plain = text("text/plain");
    const part = partOf(data, metadata, text);
    if (part) return this._part(part, plain, isAlone);
    if (text("text/html")) return this._html(text("text/html"), metadata, plain, isAlone);
    const { kind, source } = richIn(text);
    const said = NAME_ONLY.test(plain) ? source || plain : plain || source;
    if (kind && source.length <= MAX_RICH) {
      const instead = this._bundle({ ...data, "text/markdown": "", "text/latex": "", "text/plain": said }, metadata, { isAlone: true });
      return richText(kind, source, elementOf(instead));
    }
    const picture = pictureIn(text);
    if (picture) return this._picture(picture.source, picture.kind ? { ...metadata, ...metadata?.[picture.kind] } : {});
    const value = data["application/json"];
    if (value !== undefined) return terminal(JSON.stringify(value, null, 2).slice(0, MAX_TEXT), "tn-stdout");
    return said ? terminal(said, "tn-stdout") : make("p", "tn-note", _("This output is too large, or of a kind that cannot be shown here."));
  }

  /** @param {string} source @param {Untrusted} size */
  _picture(source, { width, height }) {
    const image = make("img");
    image.alt = _("Picture drawn by {name}", { name: this._name });
    if (Number.isInteger(width) && width > 0 && width < 10_000) image.width = width;
    if (Number.isInteger(height) && height > 0 && height < 10_000 && image.width) image.height = height;
    image.src = source;
    return image;
  }

  /** @param {string} html @param {Untrusted} metadata @param {string} plain @param {boolean} isAlone */
  _html(html, metadata, plain, isAlone) {
    const simple = html.length < 2_000_000 ? rebuilt(html) : null;
    return simple || this._part(framed(html, metadata), plain, isAlone);
  }

  /**
   * What scripts draw. In Jupyter all outputs are in one document: what follows directly finds what was shown before.
   * @param {Part} part @param {string} plain @param {boolean} isAlone @returns {HTMLElement | Frame | null}
   */
  _part(part, plain, isAlone) {
    isAlone ||= part.isAlone ?? false;
    const open = !isAlone && this._frame?.isOpen ? this._frame : null;
    if (!open && this.element.querySelectorAll("iframe").length >= MAX_FRAMES) {
      return plain ? terminal(plain, "tn-stdout") : make("p", "tn-note", _("There is more output than is shown here."));
    }
    const made = open ? null : new Frame(part, _("Output of {name}", { name: this._name }), this._theme, this._kernel, this);
    open?.add(part);
    if (part.isPreparation && !part.library) this._kernel.shared.keep(part); // else together with that
    return made;
  }

  /**
   * The kernel asks for a line of text; returns it.
   * @param {string} prompt @param {boolean} isPassword @returns {Promise<string>}
   */
  ask(prompt, isPassword) {
    this.withdraw(); // one question at a time
    return new Promise((resolve) => {
      const form = make("form", "tn-ask");
      const label = make("label", "", prompt || _("The program asks for a line of text:"));
      const field = make("input");
      field.type = isPassword ? "password" : "text";
      field.autocomplete = "off";
      label.append(field);
      const send = make("button", "tn-button", _("Send"));
      send.type = "submit";
      form.append(label, send);
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        this.withdraw();
        this._stream("tn-stdout", `${prompt}${isPassword ? "·".repeat(field.value.length) : field.value}\n`);
        this.flush();
        resolve(field.value);
      });
      this.flush();
      this._last = null;
      this.element.append(form);
      field.focus();
    });
  }

  // Nothing is asked any more.
  withdraw() {
    for (const form of this.element.querySelectorAll(".tn-ask")) {
      if (form.contains(rootOf(form).activeElement)) this._home.focus();
      form.remove();
    }
  }
}

/** @param {Untrusted} form of an output, which may be a list of lines @returns {string} "" for what is no text, or too long */
function textOf(form) {
  const value = Array.isArray(form) ? form.join("") : form;
  return typeof value === "string" && value.length <= MAX_BUNDLE ? value : "";
}

/** @param {(kind: string) => string} text the forms of an output @returns what of it is to be drawn; "" where nothing is */
function richIn(text) {
  const kind = ["markdown", "latex"].find((one) => text(`text/${one}`)) ?? ""; // as JupyterLab ranks them
  return { kind, source: kind && text(`text/${kind}`) };
}

/** @param {(kind: string) => string} text the forms of an output @returns {{ kind: string, source: string } | null} `kind` where that may have a size */
function pictureIn(text) {
  const svg = text("image/svg+xml").replace(/\p{Surrogate}/gu, "\ufffd"); // half a character cannot be encoded
  if (svg) return { kind: "", source: `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}` };
  for (const kind of PICTURES) {
    const encoded = text(kind).replace(/\s/g, "");
    if (encoded && /^[A-Za-z0-9+/]+=*$/.test(encoded)) return { kind, source: `data:${kind};base64,${encoded}` };
  }
  return null;
}

/** @param {HTMLElement | Frame | null} made what `_bundle` made; null, for nothing, only where it was not to stand alone */
function elementOf(made) {
  return made instanceof Frame ? made.element : (made ?? "");
}

/** @param {string} text @param {string} className */
function terminal(text, className) {
  const made = new TerminalText(className);
  made.write(text);
  made.flush();
  return made.element;
}

// What pandas and IRkernel send along with tables and lists; the page has styles of its own for those. They are taken
// out before the parser sees them, as the page's policy lets nobody style anything in line, and says so in the console.
/** @type {[RegExp, (...found: string[]) => string][]} */
const USUAL = [
  [/<style( scoped)?>[^<]*<\/style>/g, (style, scoped) => (scoped || /^<style>\s*\.(?:list|dl)-inline/.test(style) ? "" : style)],
  [/ style=("?)text-align: ?right;?\1(?=[\s>])/g, () => ' class="tn-right"'],
  [/ style=("?)(?:text-align: ?(?:left|center);?|display:list-item;cursor:pointer|white-space: ?pre-wrap;?)\1(?=[\s>])/g, () => ""],
];
const HARMLESS = ["class", "border", "colspan", "rowspan", "scope", "title"];

/**
 * A table or list built anew: known elements without any attribute but the spans of cells. null for whatever needs more.
 * @param {string} html
 */
function rebuilt(html) {
  for (const [pattern, instead] of USUAL) html = html.replace(pattern, instead);
  if (/<style|\sstyle\s*=/i.test(html)) return null;
  let source;
  try {
    // It has no window: nothing in it runs or loads.
    source = new DOMParser().parseFromString(PARSED.createHTML(html), "text/html");
  } catch {
    return null; // the page allows no parsing
  }
  if (source.head.children.length) return null;
  const walker = source.createTreeWalker(source.body, NodeFilter.SHOW_ELEMENT);
  let count = 0;
  while (walker.nextNode()) {
    const node = /** @type {Element} */ (walker.currentNode);
    count += 1;
    if (count > MAX_NODES || !SIMPLE.has(node.nodeName)) return null;
    if (![...node.attributes].every(({ name }) => HARMLESS.includes(name))) return null;
  }
  const made = make("div", "tn-html");
  copyChildren(source.body, made, 0);
  return made;
}

/** @param {Element} from @param {HTMLElement} to @param {number} depth */
function copyChildren(from, to, depth) {
  if (depth > 100) return;
  for (const child of from.childNodes) {
    if (child instanceof Text) to.append(child.data);
    else if (child instanceof Element) {
      const made = document.createElement(child.nodeName.toLowerCase());
      for (const name of ["colspan", "rowspan"]) {
        const value = child.getAttribute(name) || "";
        if (/^[0-9]{1,3}$/.test(value)) made.setAttribute(name, value);
      }
      if (child.classList.contains("tn-right")) made.className = "tn-right";
      if (child.classList.contains("list-inline")) made.className = "tn-inline";
      copyChildren(child, made, depth + 1);
      if (child.classList.contains("dl-inline")) pairUp(made);
      to.append(made);
    }
  }
}

/**
 * A named vector of R: each name stands with its value, wherever the line breaks.
 * @param {HTMLElement} list
 */
function pairUp(list) {
  list.className = "tn-inline tn-pairs";
  for (const term of list.querySelectorAll(":scope > dt")) {
    const pair = make("div");
    term.before(pair);
    pair.append(term);
    for (let next = pair.nextElementSibling; next?.nodeName === "DD"; next = pair.nextElementSibling) pair.append(next);
  }
}

/**
 * An error in few words. Kernels for shells give an exit status alone, or no name (as `notes/notebook.py` knows).
 * @param {Untrusted} content
 */
function failureWords({ ename, evalue }) {
  const [name, value] = [ename, evalue].map((one) => (typeof one === "string" ? one.trim() : ""));
  if (!name && /^[0-9]+$/.test(value)) return `exit status ${value}`;
  return [name, value].filter(Boolean).join(": ") || "error";
}
