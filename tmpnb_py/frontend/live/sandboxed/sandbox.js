// The document that a library works in (sandbox.html): it reads what kernels and authors wrote, and answers with trees of
// elements, of which the page builds what it knows (renderer.js). It has no origin and can reach nothing. The work is done in
// a worker (SOURCE), which is ended when a text keeps it busy for too long: that text is given up, the others begin anew.
"use strict";

(() => {
  const REMEMBERS = ORDERED; // what comes first decides what the rest means, as macros do
  const MAX_SECONDS = 10; // without a sign of life
  const MAX_START = 60; // seconds until the first one: the library is large, and the reader's machine may be slow
  const MAX_KEPT = 5000;
  const MAX_ELEMENTS = 20_000; // of one text
  const address = URL.createObjectURL(new Blob([SOURCE], { type: "text/javascript" }));
  const page = parent;
  /** @type {Worker | null} */
  let worker = null;
  let isAlive = false;
  let timer = 0;
  let batches = 0; // that are not done
  /** @type {SandboxItem[]} by which a new worker begins */
  let items = [];
  /** @type {number | null} the number of the one that is worked on */
  let current = null;

  const tell = (/** @type {object} */ message) => page.postMessage({ tmpnb: "made", ...message }, "*");

  function watch() {
    clearTimeout(timer);
    timer = batches > 0 ? setTimeout(giveUp, (isAlive ? MAX_SECONDS : MAX_START) * 1000) : 0;
  }

  /** @param {SandboxItem[]} batch */
  function send(batch) {
    batches += 1;
    worker ||= begin();
    worker.postMessage(batch);
    watch();
  }

  function begin() {
    const made = new Worker(address);
    isAlive = false;
    made.onmessage = ({ data }) => made === worker && hear(data);
    made.onerror = (event) => {
      event.preventDefault();
      if (made === worker) giveUp();
    };
    return made;
  }

  /** @param {SandboxAnswer} answer of the worker */
  function hear({ at, number, html, made, error, done }) {
    isAlive = true;
    if (at !== undefined) current = at;
    if (done) batches -= 1;
    if (number !== undefined) {
      if (!REMEMBERS || error) items = items.filter((item) => item.number !== number);
      try {
        tell({ number, made: html === undefined ? made : parsed(html), error });
      } catch {
        tell({ number, error: "too large" });
      }
    }
    watch();
  }

  function giveUp() {
    worker?.terminate();
    worker = null;
    batches = 0;
    clearTimeout(timer);
    const given = items.length ? (current ?? items[0].number) : null;
    if (given === null) return;
    items = items.filter((item) => item.number !== given);
    current = null;
    tell({ number: given, error: "it takes too long" });
    if (items.length) send(items);
  }

  /** @param {string} html */
  function parsed(html) {
    const source = new DOMParser().parseFromString(html, "text/html"); // nothing in it runs or loads
    const budget = { elements: MAX_ELEMENTS };
    return Array.from(source.body.childNodes, (child) => plain(child, budget, 0));
  }

  /**
   * An element as [name, attributes, children], in which a text is a string.
   * @param {Node} node @param {{ elements: number }} budget @param {number} depth @returns {PlainNode}
   */
  function plain(node, budget, depth) {
    if (node instanceof Text) return node.data;
    if (!(node instanceof Element) || depth > 100) return "";
    if (--budget.elements < 0) throw new Error("too large");
    const attributes = Object.fromEntries(Array.from(node.attributes, ({ name, value }) => [name, value]));
    return [node.localName, attributes, Array.from(node.childNodes, (child) => plain(child, budget, depth + 1))];
  }

  addEventListener("message", ({ source, data }) => {
    if (source !== page || !Array.isArray(data)) return;
    items = [...items, ...data].slice(-MAX_KEPT);
    send(data);
  });
  tell({ ready: true });
})();
