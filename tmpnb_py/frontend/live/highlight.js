// Colours for code while it is edited: comments, words, strings, numbers. The page comes with finer ones.

const WORDS = {
  r: "if else for while repeat function in next break TRUE FALSE NULL NA Inf NaN library return",
  python: "and as assert async await break class continue def del elif else except finally for from global if import in is lambda nonlocal not or pass raise return try while with yield True False None",
  octave: "if else elseif end endif for endfor while endwhile do until switch case otherwise function endfunction return break continue try catch end_try_catch unwind_protect",
  bash: "if then else elif fi for while until do done case esac in function return export local set",
  julia: "if else elseif end for while function return break continue try catch finally using import struct module let begin do true false nothing",
};
const COMMENTS = { octave: "[%#][^\\n]*", bash: "(?<![^\\s;])#[^\\n]*" };

function highlighted(code, language) {
  const fragment = document.createDocumentFragment();
  language = { ir: "r", python3: "python", matlab: "octave", sh: "bash", shell: "bash", py: "python" }[language] || language;
  if (!WORDS[language] || code.length > 50_000) {
    fragment.append(code);
    return fragment;
  }
  const quote = language === "octave" ? `"(?:\\\\.|[^"\\\\\\n])*"?|(?<![\\w)\\]}'.])'(?:''|[^'\\n])*'?` : `"(?:\\\\.|[^"\\\\])*"?|'(?:\\\\.|[^'\\\\])*'?`;
  const long = language === "python" ? `"""[^]*?(?:"""|$)|'''[^]*?(?:'''|$)|` : "";
  const parts = [
    `(?<c>${COMMENTS[language] || "#[^\\n]*"})`,
    `(?<s>${long}${quote})`,
    `(?<n>(?<![\\w.])\\d[\\w.]*)`,
    `(?<k>(?<![\\w.])(?:${WORDS[language].replaceAll(" ", "|")})(?![\\w.]))`,
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
