// The languages that kernels run. The table is tmpnb_py/core/languages.py's: LANGUAGES has it by the languages' names.

// Whatever a page may call code, with the name of the language in whose kernel it runs.
const LANGUAGE_NAMES = new Map(
  Object.entries(LANGUAGES).flatMap(([name, one]) =>
    one ? [...one.names, ...one.dialects, ...one.transcripts].map((known) => /** @type {[string, string]} */ ([known, name])) : [],
  ),
);

/**
 * The name by which a language's blocks share a kernel. A language that is not in the table counts as it is written.
 * @param {string} language
 */
function canonical(language) {
  const name = language.toLowerCase();
  return LANGUAGE_NAMES.get(name) || name;
}

/** @param {string} language @returns {string} as people write it */
function spoken(language) {
  const name = language.toLowerCase();
  const known = Object.values(LANGUAGES).find((one) => one?.names.includes(name));
  return known?.title || language || _("the kernel");
}

/** @param {string} language in lower case @returns {PageLanguage | undefined} whose syntax code of it has */
function syntaxOf(language) {
  return Object.values(LANGUAGES).find((one) => one?.names.includes(language) || one?.dialects.includes(language));
}
