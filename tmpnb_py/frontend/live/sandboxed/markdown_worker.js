// Markdown as HTML, by markdown-it, whose file stands before this one: together they are a worker of a page without an
// origin (sandbox.js), as Markdown is anybody's text. What it makes is what tmpnb_py/workshops/notes/markdown.py and math.py make of saved outputs.

const MAX_MARKDOWN = 100_000; // characters
const VERBATIM = /^<(\/?)(?:code|kbd|pre|samp|script|style|textarea)\b/i;
const HTML_TAG = /(<[A-Za-z/!?](?:[^<>"']|"[^"]*"|'[^']*')*>)/;
const parser = globalThis.markdownit({ html: true, linkify: true, maxNesting: 20, xhtmlOut: true });
const escapeHtml = parser.utils.escapeHtml;

/** @param {Formula} formula */
function element({ tex, display }) {
  return `<code class="tn-latex${display ? " tn-display" : ""}">${escapeHtml(tex.trim())}</code>`;
}

// A source whose formulas are words, which no rule of Markdown takes for anything else.
class Masked {
  /** @param {string} source */
  constructor(source) {
    const formulas = formulasIn(source, true);
    const mark = crypto.getRandomValues(new Uint32Array(3)).join(""); // nobody can write it, not as a character reference either
    let at = 0;
    this.text = "";
    formulas.forEach(({ start, end }, number) => {
      this.text += `${source.slice(at, start)}tnmath${mark}x${number}x`;
      at = end;
    });
    this.text += source.slice(at);
    this.formulas = formulas;
    this._originals = formulas.map(({ start, end }) => source.slice(start, end));
    this._word = new RegExp(`tnmath${mark}x([0-9]+)x`, "g");
  }

  /** @param {string} text */
  restored(text) {
    return this.formulas.length ? text.replace(this._word, (_, number) => this._originals[Number(number)]) : text;
  }

  /**
   * The text in pieces, every other of which is a formula.
   * @param {string} text @returns {(string | Formula)[]}
   */
  pieces(text) {
    return text.split(this._word).map((piece, at) => (at % 2 ? this.formulas[Number(piece)] : piece)).filter((piece) => piece !== "");
  }
}

parser.core.ruler.push("formulas", ({ tokens, env: { masked } }) => {
  for (const token of tokens) {
    if (token.type === "inline") token.children = inline(token.children ?? [], masked);
    else if (token.type !== "html_block") restore(token, masked);
  }
});

/** @param {MarkdownToken[]} children @param {Masked} masked @returns {MarkdownToken[]} */
function inline(children, masked) {
  let verbatim = 0;
  return children.flatMap((token) => {
    if (token.type === "text" && verbatim <= 0) return masked.pieces(token.content).map((piece) => tokenOf(piece, token));
    const found = token.type === "html_inline" ? VERBATIM.exec(token.content) : null;
    if (found) verbatim += found[1] ? -1 : 1;
    restore(token, masked);
    return [token];
  });
}

/** @param {string | Formula} piece @param {MarkdownToken} like */
function tokenOf(piece, { constructor: Token }) {
  const made = new Token(typeof piece === "string" ? "text" : "formula", "", 0);
  if (typeof piece === "string") made.content = piece;
  else made.meta = piece;
  return made;
}

/** @param {MarkdownToken} token @param {Masked} masked */
function restore(token, masked) {
  token.content = masked.restored(token.content);
  token.info = masked.restored(token.info);
  token.attrs = token.attrs?.map(([name, value]) => [name, masked.restored(value)]) ?? null;
  for (const child of token.children || []) restore(child, masked); // of a picture: its words
}

/** @param {string} source @param {Masked} masked */
function inHtml(source, masked) {
  let verbatim = 0;
  return source.split(HTML_TAG).map((piece, at) => {
    const made = at % 2 || verbatim > 0 ? masked.restored(piece) : masked.pieces(piece).map((one) => (typeof one === "string" ? one : element(one))).join("");
    const found = at % 2 ? VERBATIM.exec(piece) : null;
    if (found) verbatim += found[1] ? -1 : 1;
    return made;
  }).join("");
}

// Boxes that are ticked or not, at the beginning of a list's items.
parser.core.ruler.after("inline", "tasks", ({ tokens }) => {
  tokens.forEach((token, at) => {
    const isItem = token.type === "inline" && tokens[at - 1].type === "paragraph_open" && tokens[at - 2]?.type === "list_item_open";
    const text = isItem ? token.children?.[0] : null;
    if (text?.type === "text") text.content = text.content.replace(/^\[( |x|X)\] /, (_, box) => `${box === " " ? "\u2610" : "\u2611"} `);
  });
});

const { rules } = parser.renderer;
rules.formula = (tokens, at) => element(tokens[at].meta);
rules.html_block = (tokens, at, _, { masked }) => inHtml(tokens[at].content, masked);
rules.table_open = () => '<div class="tn-wide"><table>';
rules.table_close = () => "</table></div>";
rules.fence = (tokens, at) => {
  const [language] = tokens[at].info.trim().split(" ");
  return `<pre><code data-language="${escapeHtml(language)}">${escapeHtml(tokens[at].content)}</code></pre>\n`;
};

/** @param {string} source */
function rendered(source) {
  const masked = new Masked(source.slice(0, MAX_MARKDOWN));
  const env = { masked };
  const tokens = parser.parse(masked.text, env);
  for (const token of tokens) {
    if (/^heading_(open|close)$/.test(token.type)) token.tag = `h${Math.max(4, Number(token.tag[1]))}`;
    const style = /^t[hd]_open$/.test(token.type) ? token.attrGet("style") : null;
    if (style) token.attrs = [["align", style.replace("text-align:", "")]];
  }
  return parser.renderer.render(tokens, parser.options, env);
}

/** @param {MessageEvent<{ number: number, source: string }[]>} event */
onmessage = ({ data }) => {
  for (const { number, source } of data) {
    postMessage({ at: number });
    try {
      postMessage({ number, html: rendered(source) });
    } catch (error) {
      postMessage({ number, error: String(error instanceof Error ? error.message : error).slice(0, 200) });
    }
  }
  postMessage({ done: true });
};
