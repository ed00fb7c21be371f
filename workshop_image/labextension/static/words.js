/*
 * The extension's texts in the visitor's language. Loaded by all other files but remoteEntry.js, once JupyterLab is shown.
 *
 * The language is JupyterLab's own where a language pack was chosen in it, else the first of the browser's for which there
 * are texts here (words-<tag>.json, which `python -m tests.words` makes of tmpnb_py/words/catalogues); else English.
 */

/** @typedef {{ tag: string, dir: string, plurals: { [category: string]: number }, texts: { [text: string]: string | string[] | undefined } }} Texts */

const TAGS = ["de"];
const WAIT = 5000; // milliseconds, after which English has to do

/** @type {Texts} */
const ENGLISH = { tag: "en", dir: "ltr", plurals: { one: 0, other: 1 }, texts: {} };

/** The first language that there is, as RFC 4647 has it ("lookup"). @param {readonly string[]} wanted */
function firstOf(wanted) {
  for (const one of wanted) {
    for (let range = one.replaceAll("_", "-"); range; range = range.replace(/(?:^|-)[^-]*$/, "")) {
      const found = ["en", ...TAGS].find((tag) => tag.toLowerCase() === range.toLowerCase());
      if (found) return found;
    }
  }
  return "en";
}

/** @returns {Promise<Texts>} */
async function load() {
  const { language = "en" } = window._JUPYTERLAB["tmpnb-session"];
  const tag = firstOf(firstOf([language]) === "en" ? navigator.languages : [language]);
  if (tag === "en") return ENGLISH;
  const answer = await fetch(new URL(`words-${tag}.json`, import.meta.url), { signal: AbortSignal.timeout(WAIT) }).catch(() => null);
  return answer?.ok ? answer.json().catch(() => ENGLISH) : ENGLISH;
}

const WORDS = await load();

/** The attributes of an element with such a text: the document's own language is JupyterLab's. */
export const TONGUE = { lang: WORDS.tag, dir: WORDS.dir };

/** @typedef {{ [name: string]: string | number | null | undefined }} Values */

/**
 * A text with its values in the places in braces.
 * @param {string} text @param {Values} [values]
 */
export function _(text, values) {
  return inPlaces(formOf(WORDS.texts[text], 0) || text, values);
}

/**
 * A text that depends on a number, which is its {count}.
 * @param {string} one @param {string} several @param {number} count @param {Values} [values]
 */
export function ngettext(one, several, count, values) {
  const index = WORDS.plurals[new Intl.PluralRules(WORDS.tag).select(count)] ?? 0;
  return inPlaces(formOf(WORDS.texts[one], index) || (count === 1 ? one : several), { count: figure(count), ...values });
}

/** A number in the language's form. @param {number} value @param {number} [digits] after the point */
export function figure(value, digits = 0) {
  return value.toLocaleString(WORDS.tag, { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** @param {number} moment in milliseconds */
export function timeOfDay(moment) {
  return new Date(moment).toLocaleTimeString(WORDS.tag, { hour: "numeric", minute: "2-digit" });
}

/** @param {string | string[] | undefined} forms @param {number} index */
function formOf(forms, index) {
  return typeof forms === "string" ? forms : forms?.[index];
}

/** @param {string} text @param {Values} [values] */
function inPlaces(text, values = {}) {
  return text.replace(/\{([a-z_]+)\}/g, (place, name) => String(values[name] ?? place));
}
