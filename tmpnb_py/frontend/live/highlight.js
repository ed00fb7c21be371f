// Colours for code while it is edited: comments, words, strings, numbers. The page comes with finer ones.

const MAX_COLOURED = 50_000; // characters

function highlighted(code, language) {
  const fragment = document.createDocumentFragment();
  const syntax = Object.values(LANGUAGES).find(({ names, dialects }) => names.includes(language) || dialects.includes(language));
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
    const kind = Object.keys(found.groups).find((name) => found.groups[name] !== undefined);
    fragment.append(code.slice(end, found.index), make("span", `tn-${kind}`, found[0]));
    end = found.index + found[0].length;
  }
  fragment.append(code.slice(end));
  return fragment;
}
