// Formulas as pictures (SVG) and as MathML, by MathJax, whose files stand before this one: together they are a worker of
// a page without an origin (sandbox.js), as formulas are anybody's text. Formulas come in their order on the page, as macros, labels and numbers do.

const PACKAGES = [
  "base", "ams", "newcommand", "textmacros", "noundefined", "configmacros", "amscd", "bbox", "boldsymbol", "braket",
  "bussproofs", "cancel", "cases", "centernot", "color", "colortbl", "empheq", "enclose", "extpfeil", "gensymb", "mathtools",
  "mhchem", "tagformat", "textcomp", "units", "upgreek", "verb",
]; // JupyterLab's, but those that put attributes on elements or load something: action, html, require, unicode
const MAX_ELEMENTS = 20_000; // of one formula
const MAX_REMEMBERED = 5000; // equations
const MAX_SIZE = 2000; // of its width and height, in heights of an x

const { MathJaxTexFont } = MathJax._.output.fonts["mathjax-tex"].svg_ts;
const adaptor = MathJax._.adaptors.liteAdaptor.liteAdaptor();
const output = new MathJax._.output.svg_ts.SVG({ fontData: MathJaxTexFont, fontCache: "none", linebreaks: { inline: false } });
const input = new MathJax._.input.tex_ts.TeX({
  packages: PACKAGES,
  tags: "ams", // as in LaTeX, and in the pages that nbconvert makes
  ignoreDuplicateLabels: true, // a cell may run again
  maxMacros: 5000,
  macros: { bm: ["\\boldsymbol{#1}", 1], require: ["", 1] },
  /** @param {unknown} _ @param {Error} error */
  formatError(_, error) {
    throw error;
  },
});
const page = new MathJax._.handlers.html.HTMLDocument.HTMLDocument(adaptor.createDocument(), adaptor, { InputJax: input, OutputJax: output });
const mathml = new MathJax._.core.MmlTree.SerializedMmlVisitor.SerializedMmlVisitor();

/**
 * An element as [name, attributes, children], in which a text is a string.
 * @param {LiteNode} node @param {{ elements: number }} budget @returns {PlainNode}
 */
function plain(node, budget) {
  if (node.kind === "#text") return node.value;
  if (node.kind === "#comment") return "";
  if (--budget.elements < 0) throw new Error("too large");
  return [node.kind, node.attributes, node.children.map((child) => plain(child, budget))];
}

/** @param {string} text */
function parsed(text) {
  return adaptor.firstChild(adaptor.body(adaptor.parse(text, "text/html")));
}

/**
 * A label outside of any environment names a number, too, as in an equation.
 * @param {string} tex @param {boolean} display
 */
function numbered(tex, display) {
  return display && /\\label\s*\{/.test(tex) && !/\\(?:tag|notag|nonumber)\b|\\begin\s*\{(?:align|equation|eqnarray|flalign|gather|multline)/.test(tex)
    ? `\\begin{equation}${tex}\\end{equation}`
    : tex;
}

/** @param {MathItem} item @param {(math: MathJaxItem) => void} action */
function attempt(item, action) {
  if (item.error) return;
  postMessage({ at: item.number }); // should this one take for ever, it is known which one it was
  try {
    action(item.math);
  } catch (error) {
    item.error = String(error instanceof Error ? error.message : error).slice(0, 200);
  }
}

/** @type {Map<string, number>} the number before the first one that an equation has, by its source */
const firsts = new Map();

/**
 * A cell that runs again has the numbers that it had.
 * @param {MathItem} item
 */
function read(item) {
  const { tags } = input.parseOptions;
  const last = tags.allCounter;
  if (item.again && firsts.has(item.tex)) tags.allCounter = firsts.get(item.tex) ?? last;
  else if (firsts.size < MAX_REMEMBERED) firsts.set(item.tex, last);
  attempt(item, (math) => math.compile(page));
  tags.allCounter = Math.max(last, tags.allCounter);
}

/** @param {MathItem} item */
function draw(item) {
  attempt(item, (math) => {
    math.typeset(page);
    const { width, height } = adaptor.firstChild(math.typesetRoot).attributes;
    if (parseFloat(height) > MAX_SIZE || (!/%$/.test(width) && parseFloat(width) > MAX_SIZE)) throw new Error("too large");
    const budget = { elements: MAX_ELEMENTS };
    item.made = [math.typesetRoot, parsed(mathml.visitTree(math.root).replace(/\n */g, ""))].map((root) => plain(root, budget));
  });
  postMessage({ number: item.number, made: item.made, error: item.error });
}

/** @param {MessageEvent<{ number: number, tex: string, display: boolean, again?: boolean }[]>} event */
onmessage = ({ data }) => {
  /** @type {MathItem[]} */
  const items = data.map(({ number, tex, display, again = false }) => {
    const math = new page.options.MathItem(numbered(tex, display), input, display);
    math.setMetrics(16, 8, 80 * 16, 1);
    return { number, math, tex, again };
  });
  items.forEach(read);
  for (const item of items) { // those that refer to what comes later
    const { math } = item;
    if (math.inputData.recompile === undefined) continue;
    const { recompile } = math.inputData;
    math.state(recompile.state);
    math.inputData.recompile = recompile;
    attempt(item, () => math.compile(page));
  }
  items.forEach(draw);
  postMessage({ done: true });
};
