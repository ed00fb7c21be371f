// The document of an output that scripts draw (output.html), in a frame of keeper.html. It has no origin, may load nothing and
// go nowhere; what it shows and what that needs comes from the page as text (frame.js). Whatever runs here may be hostile,
// and may say anything to the page, which reads it as such.
"use strict";

(() => {
  const page = parent;
  const tell = (/** @type {object} */ message) => page.postMessage(message, "*");
  // :where has no weight, so that whatever the content says of itself counts.
  const USUAL = `
    :where(body) { margin: 0; font: 14px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; overflow-wrap: break-word; }
    :where(table) { border-collapse: collapse; font-size: 13px; }
    :where(th, td) { padding: 4px 12px 4px 0; text-align: left; border-bottom: 1px solid #8884; vertical-align: top; }
    :where(img, svg) { max-width: 100%; }
    :where(pre) { overflow-x: auto; }
    :where(.dl-inline > dd) { margin: 0; }`;

  /**
   * Scripts run in their order, each after those before it were loaded.
   * @param {(string | HTMLScriptElement)[]} scripts
   */
  async function run(scripts) {
    for (const old of scripts) {
      const script = document.createElement("script");
      for (const { name, value } of typeof old === "string" ? [] : old.attributes) script.setAttribute(name, value);
      script.textContent = typeof old === "string" ? old : old.textContent;
      const loaded = script.src ? new Promise((resolve) => (script.onload = script.onerror = resolve)) : null;
      if (typeof old !== "string" && old.isConnected) old.replaceWith(script);
      else document.head.append(script);
      await loaded;
    }
  }

  /** @param {Part} part */
  async function add({ html, script }) {
    const place = document.createElement("div");
    document.body?.append(place);
    if (html !== undefined) {
      place.innerHTML = String(html); // whose scripts do not run by themselves
      await run([...place.querySelectorAll("script")]);
    }
    if (script !== undefined) await call(script, place);
  }

  /**
   * As Jupyter does: `element` is where a script may show something.
   * @param {string} script @param {HTMLElement} element
   */
  function call(script, element) {
    window.tmpnbElement = element;
    return run([`{ const element = window.tmpnbElement;\n${script}\n}`]);
  }

  /** @type {Promise<void> | null} what is being added */
  let last = null;
  let look = () => {}; // tells the height, if it is another

  /** @param {{ scripts: string[], part: Part, before: Part[], dark: boolean }} message */
  function receive({ scripts, part, before, dark }) {
    if (!last) {
      show(scripts, before, part, dark);
      last = part.html === undefined ? add(part) : Promise.resolve();
    } else {
      last = last.then(() => run(scripts)).then(() => add(part));
    }
    last = last.catch((error) => console.error(error)).then(() => look());
  }

  function watch() {
    let told = 0;
    const tellHeight = () => {
      const height = document.body ? Math.ceil(Math.max(document.body.getBoundingClientRect().bottom, document.body.scrollHeight)) : 0;
      if (height !== told) tell({ tmpnb: "height", height: (told = height) });
    };
    new ResizeObserver(tellHeight).observe(document.documentElement);
    if (document.body) new ResizeObserver(tellHeight).observe(document.body);
    addEventListener("load", tellHeight);
    // No observer is called while the frame is not in view.
    for (const milliseconds of [0, 100, 500, 2000]) setTimeout(tellHeight, milliseconds);
    tellHeight();
    return tellHeight;
  }

  /** @param {string[]} scripts @param {Part[]} before @param {Part} part @param {boolean} dark */
  function show(scripts, before, { html }, dark) {
    // Written, not inserted: scripts run in their order and see the document become ready, as they expect.
    document.open();
    listen(); // no listener outlives that
    document.write('<!doctype html><html lang="en"><head>');
    const style = document.createElement("style");
    style.textContent = `:root { color-scheme: ${dark ? "dark" : "light"}; } ${USUAL}`;
    document.head.append(style);
    for (const text of scripts) void run([text]);
    for (const earlier of before) {
      if (earlier.html !== undefined) document.write(earlier.html);
      else if (earlier.script !== undefined) void call(earlier.script, document.createElement("div"));
    }
    document.write(html === undefined ? "<body>" : String(html).replace(/^\s*<!doctype[^>]*>/i, ""));
    document.close();
    look = watch();
  }

  function listen() {
    addEventListener("message", ({ source, data }) => {
      if (source === page && data?.tmpnb === "part") receive(data);
    });
    document.addEventListener("securitypolicyviolation", ({ blockedURI }) => tell({ tmpnb: "blocked", address: blockedURI }));
  }

  listen();
  tell({ tmpnb: "ready" });
})();
