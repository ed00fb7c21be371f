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
  // `kernel` is whose outputs they are, with what of all cells can be changed later, by the names that it gave them.
  // `home` gets the focus back from a question that is answered.
  constructor(element, { name, theme, kernel, home, failed }) {
    this.element = element;
    this._name = name;
    this._theme = theme;
    this._kernel = kernel;
    this._frame = null; // the last output, while what comes next may go into it
    this.record = null; // is told what comes, and keeps it
    this._home = home;
    this._failed = failed; // called with the words of an error
    this._clear_first = false;
    this._texts = new Set();
    this._last = null;
    this._count = 0;
  }

  // An output that was shown earlier, by whichever cell, becomes another.
  static update(displays, { data, metadata, transient }) {
    for (const { place, outputs } of displays.get(transient?.display_id) || []) {
      if (!place.isConnected) continue;
      outputs.record?.update({ data, metadata, transient });
      place.replaceChildren(); // first, as what goes does not count
      const made = outputs._bundle(data, metadata, { isAlone: true });
      place.append(made instanceof Frame ? made.element : made);
    }
  }

  clear() {
    this._texts.clear();
    this._last = this._frame = null;
    this._count = 0;
    this._clear_first = false;
    this.element.replaceChildren();
  }

  flush() {
    for (const text of this._texts) text.flush();
    this._texts.clear();
  }

  // A message on the kernel's channel of outputs (Messaging in Jupyter, "Messages on the IOPub channel").
  receive(kind, content) {
    this.record?.take(kind, content);
    if (kind === "clear_output") {
      if (content.wait) this._clear_first = true;
      else this.clear();
      return;
    }
    if (this._clear_first) this.clear();
    if (this._count > MAX_OUTPUTS && kind !== "error") return;
    if (kind === "stream") this._stream(content.name === "stderr" ? "tn-stderr" : "tn-stdout", String(content.text));
    else if (kind === "error") this._error(content);
    else this._display(content);
  }

  _add(element) {
    this._last = this._frame = null;
    this._count += 1;
    if (this._count < MAX_OUTPUTS) this.element.append(element);
    else if (this._count === MAX_OUTPUTS) this.element.append(make("p", "tn-note", "There is more output than is shown here."));
  }

  _stream(className, text) {
    if (!this._last || this._last.element.className !== className) {
      const last = new TerminalText(className);
      this._add(last.element);
      this._last = last;
    }
    this._last.write(text);
    this._texts.add(this._last);
  }

  _error(content) {
    const traceback = Array.isArray(content.traceback) ? content.traceback.join("\n") : "";
    const words = failureWords(content);
    this._add(terminal(traceback.trim() ? traceback : words, "tn-error"));
    this._failed(words.slice(0, 200));
  }

  _display(content) {
    const place = make("div", "tn-output");
    const id = content.transient?.display_id;
    const made = this._bundle(content.data, content.metadata, { isAlone: typeof id === "string" });
    if (!made) return; // it went to what was shown before
    if (made instanceof Frame) place.append(made.element);
    else place.append(made);
    if (typeof id === "string") {
      const { displays } = this._kernel;
      const places = displays.get(id) || [];
      displays.set(id, [...places.filter((one) => one.place.isConnected).slice(-20), { place, outputs: this }]);
    }
    this._add(place);
    if (made instanceof Frame && typeof id !== "string") this._frame = made;
  }

  // The best of the forms in which the kernel sent something, as an element or a frame. null: it is in the frame that
  // was there, which happens only where it is not to stand alone.
  _bundle(data, metadata, { isAlone }) {
    data = data && typeof data === "object" ? data : {};
    const text = (kind) => {
      const value = Array.isArray(data[kind]) ? data[kind].join("") : data[kind];
      return typeof value === "string" && value.length <= MAX_BUNDLE ? value : "";
    };
    const plain = text("text/plain");
    const part = partOf(data, metadata, text);
    if (part) return this._part(part, plain, isAlone);
    if (text("text/html")) return this._html(text("text/html"), metadata, plain, isAlone);
    const kind = ["markdown", "latex"].find((one) => text(`text/${one}`)); // as JupyterLab ranks them
    const source = kind ? text(`text/${kind}`) : "";
    const said = NAME_ONLY.test(plain) ? source || plain : plain || source;
    if (kind && source.length <= MAX_RICH) {
      return richText(kind, source, this._bundle({ ...data, "text/markdown": "", "text/latex": "", "text/plain": said }, metadata, { isAlone: true }));
    }
    const svg = text("image/svg+xml").replace(/\p{Surrogate}/gu, "\ufffd"); // half a character cannot be encoded
    if (svg) return this._picture(`data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`, {});
    for (const kind of PICTURES) {
      const encoded = text(kind).replace(/\s/g, "");
      if (encoded && /^[A-Za-z0-9+/]+=*$/.test(encoded)) {
        return this._picture(`data:${kind};base64,${encoded}`, { ...metadata, ...metadata?.[kind] });
      }
    }
    if (data["application/json"] !== undefined) return terminal(JSON.stringify(data["application/json"], null, 2).slice(0, MAX_TEXT), "tn-stdout");
    return said ? terminal(said, "tn-stdout") : make("p", "tn-note", "This output is too large, or of a kind that cannot be shown here.");
  }

  _picture(source, { width, height }) {
    const image = make("img");
    image.alt = `Picture drawn by ${this._name}`;
    if (Number.isInteger(width) && width > 0 && width < 10_000) image.width = width;
    if (Number.isInteger(height) && height > 0 && height < 10_000 && image.width) image.height = height;
    image.src = source;
    return image;
  }

  _html(html, metadata, plain, isAlone) {
    const simple = html.length < 2_000_000 ? rebuilt(html) : null;
    return simple || this._part(framed(html, metadata), plain, isAlone);
  }

  // What scripts draw. In Jupyter all outputs are in one document: what follows directly finds what was shown before.
  _part(part, plain, isAlone) {
    isAlone ||= part.isAlone;
    const isMore = !isAlone && this._frame?.isOpen;
    if (!isMore && this.element.querySelectorAll("iframe").length >= MAX_FRAMES) {
      return plain ? terminal(plain, "tn-stdout") : make("p", "tn-note", "There is more output than is shown here.");
    }
    const made = isMore ? null : new Frame(part, `Output of ${this._name}`, this._theme, this._kernel, this);
    if (isMore) this._frame.add(part);
    if (part.isPreparation && !part.library) this._kernel.shared.keep(part); // else together with that
    return made;
  }

  // The kernel asks for a line of text; returns it.
  ask(prompt, isPassword) {
    this.withdraw(); // one question at a time
    return new Promise((resolve) => {
      const form = make("form", "tn-ask");
      const label = make("label", "", prompt || "The program asks for a line of text:");
      const field = make("input");
      field.type = isPassword ? "password" : "text";
      field.autocomplete = "off";
      label.append(field);
      const send = make("button", "tn-button", "Send");
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
      if (form.contains(form.getRootNode().activeElement)) this._home.focus();
      form.remove();
    }
  }
}

function terminal(text, className) {
  const made = new TerminalText(className);
  made.write(text);
  made.flush();
  return made.element;
}

// What pandas and IRkernel send along with tables and lists; the page has styles of its own for those. They are taken
// out before the parser sees them, as the page's policy lets nobody style anything in line, and says so in the console.
const USUAL = [
  [/<style( scoped)?>[^<]*<\/style>/g, (style, scoped) => (scoped || /^<style>\s*\.(?:list|dl)-inline/.test(style) ? "" : style)],
  [/ style=("?)text-align: ?right;?\1(?=[\s>])/g, ' class="tn-right"'],
  [/ style=("?)(?:text-align: ?(?:left|center);?|display:list-item;cursor:pointer|white-space: ?pre-wrap;?)\1(?=[\s>])/g, ""],
];
const HARMLESS = ["class", "border", "colspan", "rowspan", "scope", "title"];

// A table or list built anew: known elements without any attribute but the spans of cells. null for whatever needs more.
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
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    count += 1;
    if (count > MAX_NODES || !SIMPLE.has(node.nodeName)) return null;
    if (![...node.attributes].every(({ name }) => HARMLESS.includes(name))) return null;
  }
  const made = make("div", "tn-html");
  copyChildren(source.body, made, 0);
  return made;
}

function copyChildren(from, to, depth) {
  if (depth > 100) return;
  for (const child of from.childNodes) {
    if (child.nodeType === Node.TEXT_NODE) to.append(child.data);
    else if (child.nodeType === Node.ELEMENT_NODE) {
      const made = make(child.nodeName.toLowerCase());
      for (const name of ["colspan", "rowspan"]) {
        if (/^[0-9]{1,3}$/.test(child.getAttribute(name) || "")) made.setAttribute(name, child.getAttribute(name));
      }
      if (child.classList.contains("tn-right")) made.className = "tn-right";
      if (child.classList.contains("list-inline")) made.className = "tn-inline";
      copyChildren(child, made, depth + 1);
      if (child.classList.contains("dl-inline")) pairUp(made);
      to.append(made);
    }
  }
}

// A named vector of R: each name stands with its value, wherever the line breaks.
function pairUp(list) {
  list.className = "tn-inline tn-pairs";
  for (const term of list.querySelectorAll(":scope > dt")) {
    const pair = make("div");
    term.before(pair);
    pair.append(term);
    while (pair.nextElementSibling?.nodeName === "DD") pair.append(pair.nextElementSibling);
  }
}

// An error in few words. Kernels for shells give an exit status alone, or no name (as `notes/notebook.py` knows).
function failureWords({ ename, evalue }) {
  const [name, value] = [ename, evalue].map((one) => (typeof one === "string" ? one.trim() : ""));
  if (!name && /^[0-9]+$/.test(value)) return `exit status ${value}`;
  return [name, value].filter(Boolean).join(": ") || "error";
}
