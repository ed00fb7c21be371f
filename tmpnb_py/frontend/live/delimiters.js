// Where mathematics is in a text, as in tmpnb_py/workshops/notes/delimiters.py, which says why; tests/unit/math_vectors.json holds
// for both.

const MAX_FORMULA = 10_000; // characters
const MAX_STEPS = 200_000; // of looking for ends

const OPENING = (/** @type {string} */ code) => `${code}|\\\\begin\\{(?<name>[A-Za-z]{1,20}\\*?)\\}|(?<reference>\\\\(?:eq)?ref\\{[^{}\\n]{1,200}\\})|\\\\[^\\n]|(?<dollars>\\$\\$?)`;
const MARKDOWN_OPENING = OPENING(
  "(?<fence>^[ \\t>]*(?:(?:[-*+]|[0-9]{1,9}[.)])[ \\t]+)?(?:`{3,}(?=[^`\\n]*$)|~{3,}))|(?<ticks>`+)|(?<brackets>\\\\\\\\[(\\[])",
);
const LATEX_OPENING = OPENING("(?<brackets>\\\\[(\\[])");
// LaTeX's environments for text, which mean nothing to MathJax.
const TEXT_ENVIRONMENTS = "center description document enumerate figure itemize longtable quotation quote table tabular tabularx verbatim".split(" ");

/** @param {RegExpExecArray} found @returns {{ [name: string]: string | undefined }} */
function groupsOf(found) {
  return found.groups ?? {};
}

/** @param {string} text */
function escaped(text) {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
}

/**
 * The formulas of Markdown, or of what a kernel sent as LaTeX.
 * @param {string} source @param {boolean} isMarkdown
 */
function formulasIn(source, isMarkdown) {
  return new FormulaReader(source, isMarkdown).all();
}

class FormulaReader {
  /** @param {string} source @param {boolean} isMarkdown */
  constructor(source, isMarkdown) {
    this._source = source;
    this._isMarkdown = isMarkdown;
    this._steps = 0;
    this._paragraphEnd = -1;
  }

  all() {
    const opening = new RegExp(this._isMarkdown ? MARKDOWN_OPENING : LATEX_OPENING, "gmu");
    /** @type {Formula[]} */
    const formulas = [];
    for (let found = opening.exec(this._source); found && this._steps < MAX_STEPS; found = opening.exec(this._source)) {
      const { ticks, fence, dollars } = groupsOf(found);
      const formula = ticks || fence ? null : this._formulaAt(found);
      if (ticks) opening.lastIndex = this._afterCode(found);
      else if (fence) opening.lastIndex = this._afterFence(found);
      else if (formula) {
        formulas.push(formula);
        opening.lastIndex = formula.end;
      } else if (dollars) opening.lastIndex = found.index + 1;
    }
    return formulas;
  }

  /** @param {RegExpExecArray} found @returns {Formula | null} */
  _formulaAt(found) {
    const { 0: { length }, index: start } = found;
    const { reference, name, dollars, brackets } = groupsOf(found);
    const from = start + length;
    if (reference) return { start, end: from, tex: reference, display: false };
    if (name && TEXT_ENVIRONMENTS.includes(name)) return null;
    if (name) {
      const inside = this._ending(from, `\\\\end\\{${escaped(name)}\\}`, `\\begin{${name}}`);
      return inside && { start, end: inside[1], tex: this._textOf(start, inside[1]), display: true };
    }
    if (dollars) return this._inDollars(start, from, dollars === "$$");
    if (!brackets) return null; // anything else is escaped
    const inside = this._ending(from, escaped(brackets.replace("(", ")").replace("[", "]")));
    return inside && { start, end: inside[1], tex: this._textOf(from, inside[0]), display: brackets.endsWith("[") };
  }

  /** @param {number} start @param {number} from @param {boolean} isDouble @returns {Formula | null} */
  _inDollars(start, from, isDouble) {
    const inside = this._ending(from, isDouble ? "\\$\\$" : "\\$");
    if (!inside) return null;
    const tex = this._textOf(from, inside[0]);
    if (this._isMarkdown && !isDouble && !isFormula(this._source.slice(Math.max(0, start - 20), start), tex, this._source.slice(inside[1], inside[1] + 2))) return null;
    return tex.trim() ? { start, end: inside[1], tex, display: isDouble } : null;
  }

  /**
   * Where the delimiter that closes a formula begins and ends: outside of braces, or else (they do not match) the first.
   * @param {number} at @param {string} closing @param {string} [nested] @returns {[number, number] | null}
   */
  _ending(at, closing, nested = "") {
    const parts = new RegExp(`(?<closing>${closing})|(?<nested>${nested ? escaped(nested) : "(?!)"})|\\\\[^\\n]|(?<brace>[{}])`, "gu");
    const text = this._source.slice(at, Math.min(at + MAX_FORMULA, this._endOfParagraph(at)));
    let depth = 0;
    /** @type {[number, number] | null} */
    let first = null;
    for (const match of text.matchAll(parts)) {
      const { 0: { length }, index } = match;
      const groups = groupsOf(match);
      this._steps += 1;
      if (groups.closing) {
        /** @type {[number, number]} */
        const found = [at + index, at + index + length];
        if (depth <= 0) return found;
        first ||= found;
        if (nested) depth -= 1;
      } else if (groups.nested || groups.brace) depth += groups.brace === "}" ? -1 : 1;
    }
    return first;
  }

  /** @param {number} at */
  _endOfParagraph(at) {
    if (this._paragraphEnd < at) this._paragraphEnd = this._foundFrom(/\n[ \t>]*\n/g, at)?.index ?? this._source.length;
    return this._paragraphEnd;
  }

  /** @param {RegExp} pattern @param {number} at */
  _foundFrom(pattern, at) {
    pattern.lastIndex = at;
    return pattern.exec(this._source);
  }

  /**
   * Without the marks of a quotation, in which a formula may be.
   * @param {number} start @param {number} end
   */
  _textOf(start, end) {
    const text = this._source.slice(start, end);
    const line = this._source.lastIndexOf("\n", start - 1) + 1;
    return text.includes("\n") && /^[ \t]*>/.test(this._source.slice(line, line + 100)) ? text.replace(/\n[ \t]*>/g, "\n") : text;
  }

  /** @param {RegExpExecArray} found */
  _afterCode({ 0: ticks, index }) {
    this._steps += 20;
    const from = index + ticks.length;
    const text = this._source.slice(0, Math.min(from + MAX_FORMULA, this._endOfParagraph(from)));
    const closing = new RegExp(`(?<!\`)${ticks}(?!\`)`, "g");
    closing.lastIndex = from;
    return closing.exec(text) ? closing.lastIndex : from;
  }

  /** @param {RegExpExecArray} opened */
  _afterFence(opened) {
    const { 0: { length }, index } = opened;
    const fence = groupsOf(opened).fence ?? "";
    this._steps += 20;
    const mark = fence.replace(/^[ \t>\-*+0-9.)]*/, "");
    const closing = new RegExp(`^[ \\t>]*${mark}${mark[0]}*[ \\t]*$`, "gm");
    const found = this._foundFrom(closing, index + length);
    return found ? found.index + found[0].length : this._source.length;
  }
}

/**
 * Whether the text between two dollars is a formula. `before` and `after` are what stands next to them.
 * @param {string} before @param {string} content @param {string} after
 */
function isFormula(before, content, after) {
  const inside = content.trim();
  if (!inside) return false;
  const next = String.fromCodePoint(after.codePointAt(0) ?? 32);
  if (/\\[A-Za-z]/.test(inside)) return !(/^\p{Nd}/u.test(inside) && /\p{Nd}/u.test(next) && /\s$/.test(content));
  if (isMoney(before, content, next)) return false;
  if (content === inside) return true;
  const looksLikeOne = [...inside].length === 1 || /[\^_{}]|^[=<>+*-]+$|[=<>+*/|!-]/.test(inside);
  return looksLikeOne && !/(?<![\p{L}\p{N}_])\p{L}{2,}\s+\p{L}{2}/u.test(inside);
}

/**
 * Whether these dollars belong to amounts, or to names such as $HOME. `content` has no command of TeX.
 * @param {string} before @param {string} content @param {string} next
 */
function isMoney(before, content, next) {
  const inside = content.trim();
  const isDigit = /\p{Nd}/u.test(next);
  const isWord = /[\p{L}\p{N}]/u.test(next);
  const isPair = /^\p{Nd}/u.test(inside) && isDigit; // $5 to $6
  const opensAnother = isWord && /\s$/.test(content) && !/^\s/.test(content); // $HOME and $PATH
  if (isPair || opensAnother || /^[0-9][0-9.,]*\s+\p{L}{2}/u.test(inside)) return true;
  if (/[\^_{}]|^[=<>+*-]+$/.test(inside)) return false;
  if (isDigit || (isWord && /[-\u2013\u2014/,;:(]$/.test(inside))) return true;
  if (/^\s/.test(content)) before = before.trimEnd();
  return /\p{Nd}$/u.test(inside) && /\p{Nd}$/u.test(before) && !inside.includes("="); // 5$ or 6$
}
