// Reading a block of code in a page, however its site's generator has written it: its language and its text.

const MARKED = /^(?:language|lang|highlight-source|highlight|brush:?|src|source)-([\w+#.-]+)$/i; // highlight.js, Sphinx, Jekyll, org
const NO_LANGUAGES = new Set(["highlight-default", "highlight-text", "highlight-none"]); // of Sphinx: the author said nothing
const LEVELS = 4; // from a block to the element that says its language

/**
 * The language that a block says it is in; "" where it says nothing.
 * @param {HTMLElement} block @returns {string}
 */
function languageOf(block) {
  if (block.dataset.language) return block.dataset.language;
  /** @type {HTMLElement | null} */
  let element = block.querySelector("code") || block;
  for (let level = 0; element && level <= LEVELS; level++, element = element.parentElement) {
    const found = element.dataset?.lang || element.dataset?.language || languageIn([...element.classList]);
    if (found) return found;
  }
  return "";
}

/** @param {string[]} classes @returns {string} */
function languageIn(classes) {
  for (const name of classes) {
    const marked = NO_LANGUAGES.has(name) ? null : MARKED.exec(name);
    if (marked) return marked[1];
  }
  // pandoc's "sourceCode r", R Markdown's "r": a name alone counts only where it is one that is known here.
  return classes.find((name) => LANGUAGE_NAMES.has(name.toLowerCase())) || "";
}

/**
 * The code of a block, without what its site put around it: line numbers, buttons, prompts with their output.
 * @param {HTMLElement} block @param {string} language
 */
function codeOf(block, language) {
  const copy = /** @type {HTMLElement} */ (block.cloneNode(true));
  for (const needless of copy.querySelectorAll("button, .linenos, .lineno, .linenodiv, .ln, .line-number")) needless.remove();
  const isConsole = copy.querySelector(".gp");
  for (const needless of isConsole ? copy.querySelectorAll(".gp, .go, .gt") : []) needless.remove();
  for (const end of copy.querySelectorAll("br")) end.replaceWith("\n");
  const text = copy.textContent.replace(/\r\n?/g, "\n").replace(/\u00a0/g, " ");
  const trimmed = text.replace(/^(?:[ \t]*\n)+/, "").replace(/\s+$/, "");
  return isConsole ? trimmed.replace(/\n{2,}/g, "\n") : withoutPrompts(trimmed, canonical(language));
}

/**
 * Of a transcript of a session the input alone; anything else as it is.
 * @param {string} text @param {string} language
 */
function withoutPrompts(text, language) {
  const { prompt = "", continuation = "" } = LANGUAGES[language] ?? {};
  if (!prompt || !new RegExp(`^${prompt}`).test(text)) return text;
  const input = new RegExp(`^(?:${continuation ? `${prompt}|${continuation}` : prompt})`);
  const lines = text.split("\n").filter((line) => input.test(line));
  return lines.map((line) => line.replace(input, "")).join("\n");
}
