// Colours for code while it is edited: comments, words, strings, numbers. The service colours a notes page's code itself,
// more finely (tmpnb_py/workshops/notes/code.py).

const MAX_COLOURED = 50_000; // characters

/** @param {string} code @param {string} language in lower case */
function highlighted(code, language) {
  const fragment = document.createDocumentFragment();
  const syntax = syntaxOf(language);
  if (!syntax?.keywords || code.length > MAX_COLOURED) {
    fragment.append(code);
    return fragment;
  }
  const parts = [
    `(?<c>${syntax.comment})`,
    `(?<s>${syntax.string})`,
    "(?<n>(?<![\\w.])\\d[\\w.]*)",
    `(?<k>(?<![\\w.])(?:${syntax.keywords.replaceAll(" ", "|")})(?![\\w.]))`,
  ];
  let end = 0;
  for (const found of code.matchAll(new RegExp(parts.join("|"), "g"))) {
    const groups = /** @type {{ [name: string]: string | undefined }} */ (found.groups);
    const kind = Object.keys(groups).find((name) => groups[name] !== undefined);
    fragment.append(code.slice(end, found.index), make("span", `tn-${kind}`, found[0]));
    end = found.index + found[0].length;
  }
  fragment.append(code.slice(end));
  return fragment;
}
