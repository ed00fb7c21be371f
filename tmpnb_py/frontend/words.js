// Texts in the reader's language, for scripts. WORDS stands before this (web/assets.py, `spoken`): the texts of one language
// by their English ones, as the catalogues of tmpnb_py/words have them; what it lacks is shown as it is.

/**
 * A text with its values in the places in braces.
 * @param {string} text @param {TextValues} [values]
 */
function _(text, values) {
  return inPlaces(oneOf(WORDS.texts[text], 0) ?? text, values);
}

/**
 * A text whose meaning depends on where it stands.
 * @param {string} context tells translators @param {string} text @param {TextValues} [values]
 */
function pgettext(context, text, values) {
  return inPlaces(oneOf(WORDS.texts[`${context}\u0004${text}`], 0) ?? text, values);
}

/**
 * A text that depends on a number, which is its {count}.
 * @param {string} one @param {string} several @param {number} count @param {TextValues} [values]
 */
function ngettext(one, several, count, values) {
  const forms = WORDS.texts[one];
  const found = forms && oneOf(forms, WORDS.plurals[new Intl.PluralRules(WORDS.tag).select(count)] ?? 0);
  return inPlaces(found || (count === 1 ? one : several), { count: count.toLocaleString(WORDS.tag), ...values });
}

/** @param {string | string[] | undefined} forms @param {number} index */
function oneOf(forms, index) {
  return (typeof forms === "string" ? forms : forms?.[index]) || undefined;
}

/** @param {string} text @param {TextValues} [values] */
function inPlaces(text, values = {}) {
  return text.replace(/\{([a-z_]+)\}/g, (place, name) => String(values[name] ?? place));
}
