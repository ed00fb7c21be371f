/*
 * Draws plotly's figures with the renderer of plotly's own extension of JupyterLab. Loaded by remoteEntry.js for the first
 * figure, which then also loads the extension's 4.8 MB. Errors are shown in place of the figure.
 */

import { TONGUE, _ } from "./words.js";

const NAME = "jupyterlab-plotly";

/** @type {Promise<{ createRenderer(options: object): NonNullable<FigurePanel["real"]> }> | null} */
let loading = null;

/** The extension's renderer factory. After a failure the next figure tries again. */
function factory() {
  loading ??= (async () => {
    const { default: extensions } = (await window._JUPYTERLAB[NAME].get("./mimeExtension"))();
    return [extensions].flat()[0].rendererFactory;
  })();
  loading.catch(() => (loading = null));
  return loading;
}

/**
 * Draw a model's figure in Lumino's `panel` with the renderer's `options`. Shows failures there instead of raising.
 * @param {FigurePanel} panel @param {object} model
 */
export async function draw(panel, model) {
  try {
    say(panel, _("Loading plotly…"));
    const { createRenderer } = await factory();
    if (panel.isDisposed) {
      return;
    }
    if (!panel.real) {
      panel.addWidget((panel.real = createRenderer(panel.options)));
    }
  } catch {
    say(panel, _("This figure is not shown: plotly's script could not be loaded. Run the cell again, or reload the page."));
    return;
  }
  try {
    say(panel, "");
    await panel.real.renderModel(model);
  } catch (error) {
    say(panel, _("This figure is not shown: plotly cannot draw it ({error}).", { error: error instanceof Error ? error.message : String(error) }));
  }
}

/** @param {FigurePanel} panel @param {string} text */
function say(panel, text) {
  panel.note?.remove();
  const note = (panel.note = document.createElement("p"));
  note.setAttribute("role", "status");
  note.textContent = text;
  Object.assign(note, TONGUE);
  if (text) {
    panel.node.append(note);
  }
}
