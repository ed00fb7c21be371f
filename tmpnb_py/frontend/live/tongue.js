// In which language live.js speaks on another site's page: that of the page (its `lang`), else the first of the browser's that
// there is. The texts are fetched once, and kept by browsers; without them it speaks English, as those of the script are.

const WAIT = 3000; // milliseconds after which English has to do

/** Call `begin` when the texts are there. @param {() => void} begin */
function inTongue(begin) {
  const ofPage = document.documentElement.lang;
  const tag = firstOf([ofPage, ...navigator.languages]);
  // The service can tell what the browser prefers, and not what the page is in.
  if (tag !== firstOf(navigator.languages) || ofPage) WORDS.asked = tag;
  const path = TONGUES[tag];
  if (!path) return begin();
  const options = /** @type {RequestInit} */ ({ credentials: "omit", signal: AbortSignal.timeout(WAIT) });
  fetch(new URL(path, BASE), options).then((answer) => answer.json()).then((texts) => Object.assign(WORDS, texts), () => {}).then(begin);
}

/** The first language that there is, as RFC 4647 has it ("lookup"). @param {readonly string[]} wanted */
function firstOf(wanted) {
  for (const one of wanted) {
    for (let range = one; range; range = range.replace(/(?:^|-)[^-]*$/, "")) {
      const found = Object.keys(TONGUES).find((tag) => tag.toLowerCase() === range.toLowerCase());
      if (found) return found;
    }
  }
  return "en";
}
