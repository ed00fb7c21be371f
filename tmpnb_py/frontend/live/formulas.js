// Mathematics and Markdown: what draws them is loaded by the pages that have some (renderer.js).

/** @type {Promise<RendererModule> | null} */
let renderer = null;

/** @param {(one: RendererLike) => void} action called once the renderer is there; without it the source stays */
function rich(action) {
  renderer ||= import(new URL(RENDERER, BASE).href);
  renderer.then(
    ({ Renderer }) => action((Renderer.one ||= new Renderer(highlighted, _))),
    () => (renderer = null),
  );
}

/**
 * Draw the formulas whose sources are in an element.
 * @param {HTMLElement} element
 */
function drawFormulas(element) {
  if (element.querySelector(".tn-latex")) rich((one) => one.draw(element));
}

/**
 * What a kernel sent as Markdown or LaTeX. Until it is drawn, and where it cannot be, `instead` is there.
 * @param {string} kind @param {string} source @param {string | Node} instead
 */
function richText(kind, source, instead) {
  const element = make("div");
  element.append(instead);
  rich((one) => one.show(kind, source, element));
  return element;
}
