// Small things that the other parts use. The parts are put together into one function by web/live_script.py: what is
// declared here is seen by all of them, and by nobody else.

const SCRIPT = document.currentScript || document.querySelector('script[src$="/live.js"]');
const BASE = new URL(UP, SCRIPT.src).href; // of the service's addresses, with a slash at the end

class Problem extends Error {
  // What a visitor is told. `gone`: the notebook is no more, so that the next run begins afresh; `stale`: the page was
  // made before the visitor had the notebook that they have now, and has to be loaded again.
  constructor(message, { gone = false, stale = false, cause } = {}) {
    super(message, { cause });
    this.gone = gone;
    this.stale = stale;
  }
}

function make(name, className = "", text = "") {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

function button(label, className, onclick) {
  const element = make("button", className, label);
  element.type = "button";
  element.addEventListener("click", onclick);
  return element;
}

// Where a page demands trusted types, this is for parsing into documents that are never shown, and for nothing else.
const PARSED = (() => {
  const plain = { createHTML: (html) => html };
  try {
    return window.trustedTypes ? window.trustedTypes.createPolicy("tmpnb-parse", plain) : plain;
  } catch {
    return plain;
  }
})();

function hex(bytes) {
  return Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// Ends early when `signal` is aborted.
function sleep(milliseconds, signal) {
  return new Promise((resolve) => {
    setTimeout(resolve, signal?.aborted ? 0 : milliseconds);
    signal?.addEventListener("abort", resolve, { once: true });
  });
}

// Rejects once `signal` is aborted.
function aborted(signal) {
  return new Promise((resolve, reject) => {
    const stop = () => reject(new Problem(STOPPED));
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
  });
}

// The next moment in which the page is drawn; in a tab that nobody sees, where none comes, a moment later.
function nextFrame(action) {
  let done = false;
  const once = () => {
    if (!done) {
      done = true;
      action();
    }
  };
  requestAnimationFrame(once);
  setTimeout(once, 250);
}
