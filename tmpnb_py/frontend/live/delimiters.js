// Where mathematics is in a text, as in tmpnb_py/workshops/notes/delimiters.py, which says why; tests/unit/math_vectors.json holds
// for both.

const MAX_FORMULA = 10_000; // characters
const MAX_STEPS = 200_000; // of looking for ends

const OPENING = (code) => `${code}|\\\\begin\\{(?<name>[A-Za-z]{1,20}\\*?)\\}|(?<reference>\\\\(?:eq)?ref\\{[^{}\\n]{1,200}\\})|\\\\[^\\n]|(?<dollars>\\$\\$?)`;
const MARKDOWN_OPENING = OPENING(
  "(?<fence>^[ \\t>]*(?:(?:[-*+]|[0-9]{1,9}[.)])[ \\t]+)?(?:`{3,}(?=[^`\\n]*$)|~{3,}))|(?<ticks>`+)|(?<brackets>\\\\\\\\[(\\[])",
);
const LATEX_OPENING = OPENING("(?<brackets>\\\\[(\\[])");
// LaTeX's environments for text, which mean nothing to MathJax.
const TEXT_ENVIRONMENTS = "center description document enumerate figure itemize longtable quotation quote table tabular tabularx verbatim".split(" ");

function escaped(text) {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
}

// The formulas of Markdown, or of what a kernel sent as LaTeX: { start, end, tex, display }.
function formulasIn(source, isMarkdown) {
  const opening = new RegExp(isMarkdown ? MARKDOWN_OPENING : LATEX_OPENING, "gmu");
  const formulas = [];
  let steps = 0;
  let paragraphEnd = -1;
  for (let found; steps < MAX_STEPS && (found = opening.exec(source)); ) {
    const { ticks, fence, dollars } = found.groups;
    const formula = ticks || fence ? null : formulaAt(found);
    if (ticks) opening.lastIndex = afterCode(found);
    else if (fence) opening.lastIndex = afterFence(found);
    else if (formula) {
      formulas.push(formula);
      opening.lastIndex = formula.end;
    } else if (dollars) opening.lastIndex = found.index + 1;
  }
  return formulas;

  function formulaAt({ 0: { length }, index: start, groups: { reference, name, dollars, brackets } }) {
    const from = start + length;
    if (reference) return { start, end: from, tex: reference, display: false };
    if (TEXT_ENVIRONMENTS.includes(name)) return null;
    if (name) {
      const inside = ending(from, `\\\\end\\{${escaped(name)}\\}`, `\\begin{${name}}`);
      return inside && { start, end: inside[1], tex: textOf(start, inside[1]), display: true };
    }
    if (dollars) return inDollars(start, from, dollars === "$$");
    if (!brackets) return null; // anything else is escaped
    const inside = ending(from, escaped(brackets.replace("(", ")").replace("[", "]")));
    return inside && { start, end: inside[1], tex: textOf(from, inside[0]), display: brackets.endsWith("[") };
  }

  function inDollars(start, from, isDouble) {
    const inside = ending(from, isDouble ? "\\$\\$" : "\\$");
    if (!inside) return null;
    const tex = textOf(from, inside[0]);
    if (isMarkdown && !isDouble && !isFormula(source.slice(Math.max(0, start - 20), start), tex, source.slice(inside[1], inside[1] + 2))) return null;
    return tex.trim() ? { start, end: inside[1], tex, display: isDouble } : null;
  }

  // Where the delimiter that closes a formula begins and ends: outside of braces, or else (they do not match) the first.
  function ending(at, closing, nested = "") {
    const parts = new RegExp(`(?<closing>${closing})|(?<nested>${nested ? escaped(nested) : "(?!)"})|\\\\[^\\n]|(?<brace>[{}])`, "gu");
    const text = source.slice(at, Math.min(at + MAX_FORMULA, endOfParagraph(at)));
    let depth = 0;
    let first = null;
    for (const { 0: { length }, index, groups } of text.matchAll(parts)) {
      steps += 1;
      if (groups.closing) {
        const found = [at + index, at + index + length];
        if (depth <= 0) return found;
        first ||= found;
        if (nested) depth -= 1;
      } else if (groups.nested || groups.brace) depth += groups.brace === "}" ? -1 : 1;
    }
    return first;
  }

  function endOfParagraph(at) {
    if (paragraphEnd < at) paragraphEnd = foundFrom(/\n[ \t>]*\n/g, at)?.index ?? source.length;
    return paragraphEnd;
  }

  function foundFrom(pattern, at) {
    pattern.lastIndex = at;
    return pattern.exec(source);
  }

  // Without the marks of a quotation, in which a formula may be.
  function textOf(start, end) {
    const text = source.slice(start, end);
    const line = source.lastIndexOf("\n", start - 1) + 1;
    return text.includes("\n") && /^[ \t]*>/.test(source.slice(line, line + 100)) ? text.replace(/\n[ \t]*>/g, "\n") : text;
  }

  function afterCode({ 0: ticks, index }) {
    steps += 20;
    const from = index + ticks.length;
    const text = source.slice(0, Math.min(from + MAX_FORMULA, endOfParagraph(from)));
    const closing = new RegExp(`(?<!\`)${ticks}(?!\`)`, "g");
    closing.lastIndex = from;
    return closing.exec(text) ? closing.lastIndex : from;
  }

  function afterFence({ 0: { length }, index, groups: { fence } }) {
    steps += 20;
    const mark = fence.replace(/^[ \t>\-*+0-9.)]*/, "");
    const closing = new RegExp(`^[ \\t>]*${mark}${mark[0]}*[ \\t]*$`, "gm");
    const found = foundFrom(closing, index + length);
    return found ? found.index + found[0].length : source.length;
  }
}

// Whether the text between two dollars is a formula. `before` and `after` are what stands next to them.
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

// Whether these dollars belong to amounts, or to names such as $HOME. `content` has no command of TeX.
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
