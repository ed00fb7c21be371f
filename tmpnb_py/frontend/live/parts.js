// What of an output is for scripts to draw, and hence goes into a frame (frame.js): parts of HTML or of JavaScript, in
// which `element` is where the script shows something, with the name of the library that it needs.

const WIDGET = "application/vnd.jupyter.widget-view+json";
const PLOTLY = "application/vnd.plotly.v1+json";
const VEGA = /^application\/vnd\.vega(lite)?\.v\d+(?:\.\d+)*[.+]json$/;
const BEGINNING = /\s*(?:<(!--|script\b|style\b|link\b|meta\b))?/y;
const LOADED = /<script src="https:\/\/[\w./@-]{1,200}"><\/script>/g;
// plotly.js from elsewhere, as plotly's own HTML has it.
const PLOTLYS = /<script(?: charset="utf-8")? src="https:\/\/cdn\.plot\.ly\/plotly[^<>]{0,200}><\/script>|<script type="module">import "https:\/\/cdn\.plot\.ly\/plotly[^<>]{0,200}<\/script>/g;
const BOKEH_LOAD = "application/vnd.bokehjs_load.v0+json";
const BOKEH_EXEC = "application/vnd.bokehjs_exec.v0+json";

/**
 * The part that an output is, or null. `text(kind)` is one of its forms as text, "" where it has none or too long a one.
 * @param {Untrusted} data @param {Untrusted} metadata @param {(kind: string) => string} text @returns {Part | null}
 */
function partOf(data, metadata, text) {
  const widget = data[WIDGET]?.model_id;
  if (typeof widget === "string") return { library: "widgets", script: `tmpnbWidgets.show(${json(widget)}, element);` };
  if (Array.isArray(data[PLOTLY]?.data) && !isDocument(text("text/html"), metadata)) return { library: "plotly", script: drawPlotly(data[PLOTLY]) };
  const vega = Object.keys(data).find((kind) => VEGA.test(kind));
  if (vega && data[vega] && typeof data[vega] === "object") {
    const mode = /vegalite/.test(vega) ? "vega-lite" : "vega";
    return { library: "vega", script: `vegaEmbed(element, ${json(data[vega])}, { mode: "${mode}", actions: { source: false, editor: false } });` };
  }
  if (text("application/javascript") && !text("text/html")) return javascript(data, text("application/javascript"));
  return null;
}

/**
 * The part of HTML that the page itself does not show.
 * @param {string} html @param {Untrusted} metadata @returns {Part}
 */
function framed(html, metadata) {
  const isAlone = isDocument(html, metadata);
  html = html.replace(LOADED, (script) => (script.toLowerCase().includes("mathjax") ? "" : script)); // plots do without
  const library = html.search(PLOTLYS) >= 0 ? "plotly" : html.includes("vega-embed") ? "vega" : "";
  if (library) html = library === "plotly" ? html.replaceAll(PLOTLYS, "") : `${vegaIsThere(html)}${html}`;
  return { html, library, isAlone, isPreparation: !isAlone && isPreparation(html) };
}

/**
 * R sends each of its widgets as a document of its own.
 * @param {string} html @param {Untrusted} metadata
 */
function isDocument(html, metadata) {
  return metadata?.["text/html"]?.isolated === true || /^\s*<(?:!doctype|html)/i.test(html.slice(0, 1000));
}

/** @param {Untrusted} value @returns {string} */
function json(value) {
  return JSON.stringify(value);
}

/** @param {Untrusted} figure */
function drawPlotly(figure) {
  return `const { data, layout = {}, config = {}, frames } = ${json(figure)};
    Plotly.newPlot(element, data, layout, { responsive: true, ...config }).then(() => frames && Plotly.addFrames(element, frames));`;
}

/**
 * A script belongs to what is shown before it, or prepares for what comes. Bokeh says which; else one that does not
 * look for a place in the document has none.
 * @param {Untrusted} data @param {string} script @returns {Part}
 */
function javascript(data, script) {
  if (BOKEH_EXEC in data) return { script };
  if (BOKEH_LOAD in data) {
    const own = script.replaceAll(/\bjs_urls = \["https?:[^\]]{0,2000}\]/g, "js_urls = []");
    return { script: own, library: own === script ? "" : "bokeh", isPreparation: true };
  }
  return { script, isPreparation: !/\b(?:element|document)\b/.test(script) };
}

/**
 * Whether HTML shows nothing by itself, as it is no more than scripts and the like.
 * @param {string} html
 */
function isPreparation(html) {
  const lower = html.toLowerCase();
  for (let at = 0; ; ) {
    BEGINNING.lastIndex = at;
    const [found, name] = /** @type {RegExpExecArray} */ (BEGINNING.exec(lower)); // which matches nothing, too
    at += found.length;
    if (!name) return at === lower.length;
    const end = name === "!--" ? "-->" : name === "script" || name === "style" ? `</${name}` : "";
    if (end) at = lower.indexOf(end, at);
    if (end !== "-->" && at >= 0) at = lower.indexOf(">", at);
    if (at < 0) return false;
    at += end === "-->" ? 3 : 1;
  }
}

/**
 * Altair's HTML loads what it finds no mark of; it is given that library, and the marks.
 * @param {string} html
 */
function vegaIsThere(html) {
  /** @type {{ [name: string]: string }} */
  const marks = {};
  for (const [, name, version] of html.matchAll(/maybeLoadScript\("([a-z-]{1,20})", "([\w.-]{1,20})"\)/g)) marks[`${name.replace("-", "")}_version`] = version;
  return `<script>var VEGA_DEBUG = ${json(marks)};</script>`;
}
