/*
 * Draws plotly's figures with the renderer of plotly's own extension of JupyterLab. Loaded by remoteEntry.js for the first
 * figure, which then also loads the extension's 4.8 MB. Errors are shown in place of the figure.
 */

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
    say(panel, "Loading plotly…");
    const { createRenderer } = await factory();
    if (panel.isDisposed) {
      return;
    }
    if (!panel.real) {
      panel.addWidget((panel.real = createRenderer(panel.options)));
    }
  } catch {
    say(panel, "This figure is not shown: plotly's script could not be loaded. Run the cell again, or reload the page.");
    return;
  }
  try {
    say(panel, "");
    await panel.real.renderModel(model);
  } catch (error) {
    say(panel, `This figure is not shown: plotly cannot draw it (${error instanceof Error ? error.message : error}).`);
  }
}

/** @param {FigurePanel} panel @param {string} text */
function say(panel, text) {
  panel.note?.remove();
  const note = (panel.note = document.createElement("p"));
  note.setAttribute("role", "status");
  note.textContent = text;
  if (text) {
    panel.node.append(note);
  }
}
