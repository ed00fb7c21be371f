// Mathematics and Markdown: what draws them is loaded by the pages that have some (renderer.js).

let renderer = null;

function rich(action) {
  renderer ||= import(new URL(RENDERER, BASE).href);
  renderer.then(({ Renderer }) => action((Renderer.one ||= new Renderer(highlighted))), () => (renderer = null)); // without it the source stays
}

// Draw the formulas whose sources are in an element.
function drawFormulas(element) {
  if (element.querySelector(".tn-latex")) rich((one) => one.draw(element));
}

// What a kernel sent as Markdown or LaTeX. Until it is drawn, and where it cannot be, `instead` is there.
function richText(kind, source, instead) {
  const element = make("div");
  element.append(instead);
  rich((one) => one.show(kind, source, element));
  return element;
}
