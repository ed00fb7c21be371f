/*
 * The entry of plotly's extension of JupyterLab, in place of its own: that loads plotly.js (1.4 MB, compressed) whenever a
 * JupyterLab opens, this one when there is the first plot to draw.
 *
 * It is the container of a "federated extension" (webpack's module federation), as ../labextension is; own.js is the
 * container that plotly brought along. When plotly's declares more than this, the build fails (install.py).
 */
(() => {
  "use strict";

  const NAME = "jupyterlab-plotly";
  const TYPE = "application/vnd.plotly.v1+json";
  const OWN = new URL("own.js", document.currentScript.src);
  let scope = {};
  let loading = null;

  async function shared(name) {
    const versions = Object.values(scope[name] ?? {});
    // The one that is in use already: JupyterLab's own.
    return (await (versions.find((one) => one.loaded) ?? versions.at(-1)).get())();
  }

  /** What plotly itself says how its plots are drawn. What failed is tried again with the next plot. */
  function factory() {
    loading ??= load().catch((error) => {
      loading = null;
      throw error;
    });
    return loading;
  }

  async function load() {
    await new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = OWN;
      script.onload = resolve;
      script.onerror = () => reject(new Error("plotly.js could not be loaded. Run the cell again."));
      document.head.append(script);
    });
    const container = window._JUPYTERLAB[NAME];
    await container.init(scope);
    const module = (await container.get("./mimeExtension"))();
    return [module.default ?? module].flat()[0].rendererFactory;
  }

  async function extension() {
    const { Panel } = await shared("@lumino/widgets");

    /** A plot's place, and the plot in it once there is something to draw it with. */
    class Plot extends Panel {
      constructor(options) {
        super();
        this.options = options;
        this.plot = null;
      }

      async renderModel(model) {
        const { createRenderer } = await factory();
        if (this.isDisposed) {
          return;
        }
        if (!this.plot) {
          this.plot = createRenderer(this.options);
          this.plot.node.style.height = "100%"; // in a tab of its own; in an output that is as high as it likes
          this.addWidget(this.plot);
        }
        await this.plot.renderModel(model);
      }
    }

    const plugin = {
      id: "@jupyterlab/plotly-extension:factory",
      rendererFactory: { safe: true, mimeTypes: [TYPE], createRenderer: (options) => new Plot(options) },
      rank: 2,
      dataType: "json",
      fileTypes: [
        { name: "plotly", mimeTypes: [TYPE], extensions: [".plotly", ".plotly.json"], iconClass: "jp-MaterialIcon jp-PlotlyIcon" },
      ],
      documentWidgetFactoryOptions: {
        name: "Plotly",
        primaryFileType: "plotly",
        fileTypes: ["plotly", "json"],
        defaultFor: ["plotly"],
      },
    };
    return () => ({ __esModule: true, default: [plugin] });
  }

  (window._JUPYTERLAB ??= {})[NAME] = { init: (given) => void (scope = given), get: extension };
})();
