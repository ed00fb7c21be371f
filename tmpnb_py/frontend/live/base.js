// Small helpers for all parts of live.js and notes.js.
//
// web/pages/live_script.py puts the parts together into one function, in one file: what a part declares at its top level all
// parts see, and nobody else does. live.js runs in other sites' pages, in their origin, and trusts nothing of these but what
// their tags say; notes.js runs in the service's own notes pages. Neither trusts what a notebook, a kernel or an output says.

/**
 * An error whose message is for the visitor. `gone`: the notebook has ended, so that the next run begins afresh. `stale`:
 * the page was made before the visitor got the notebook that they have now, and has to be loaded again.
 */
class Problem extends Error {
  /** @param {string} message @param {{ gone?: boolean, stale?: boolean, cause?: unknown }} [facts] */
  constructor(message, { gone = false, stale = false, cause } = {}) {
    super(message, { cause });
    this.gone = gone;
    this.stale = stale;
  }
}

/**
 * A Problem as it is; anything else is an error of ours, which is logged.
 * @param {unknown} error
 * @param {string} words  what the visitor is told of an error of ours
 */
function problemOf(error, words) {
  if (error instanceof Problem) return error;
  console.error(error);
  return new Problem(words);
}

/**
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name @param {string} [className] @param {string} [text]
 */
function make(name, className = "", text = "") {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

/** @param {string} label @param {string} className @param {() => void} onclick */
function button(label, className, onclick) {
  const element = make("button", className, label);
  element.type = "button";
  element.addEventListener("click", onclick);
  return element;
}

/** @param {Element} element the root that it is in, which is a shadow root in other sites' pages */
function rootOf(element) {
  return /** @type {Document | ShadowRoot} */ (element.getRootNode());
}

// Where a page demands trusted types, this is for parsing into documents that are never shown, and for nothing else.
const PARSED = (() => {
  const plain = { createHTML: (/** @type {string} */ html) => html };
  try {
    return window.trustedTypes ? window.trustedTypes.createPolicy("tmpnb-parse", plain) : plain;
  } catch {
    return plain;
  }
})();

/** @param {number} bytes how many random ones */
function hex(bytes) {
  return Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Ends early when `signal` is aborted.
 * @param {number} milliseconds @param {AbortSignal} [signal] @returns {Promise<unknown>}
 */
function sleep(milliseconds, signal) {
  return new Promise((resolve) => {
    setTimeout(resolve, signal?.aborted ? 0 : milliseconds);
    signal?.addEventListener("abort", resolve, { once: true });
  });
}

/**
 * Rejects once `signal` is aborted.
 * @param {AbortSignal} signal @returns {Promise<never>}
 */
function aborted(signal) {
  return new Promise((_, reject) => {
    const stop = () => reject(new Problem(STOPPED));
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
  });
}

/**
 * Call `action` when the page is drawn next; in a tab that nobody sees, where that never happens, a moment later.
 * @param {() => void} action
 */
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

const LONGEST_PRESS = 2000; // milliseconds of a button that is pressed and not let go

/** @type {Promise<void> | null} while a button is pressed, until the click that follows has been heard */
let pressed = null;

/** A button is pressed: whatever moves it meanwhile takes it from under the mouse, and browsers then tell of no click. */
function press() {
  /** @type {Promise<void>} */
  const own = new Promise((done) => {
    for (const type of ["pointerup", "pointercancel"]) addEventListener(type, () => setTimeout(done), { once: true, capture: true });
    setTimeout(done, LONGEST_PRESS);
  });
  pressed = own;
  own.then(() => {
    if (pressed === own) pressed = null;
  });
}

/** Call `action`, which may move what is on the page, at once or when no button is pressed. @param {() => void} action */
function unpressed(action) {
  if (pressed) pressed.then(action);
  else action();
}

/**
 * Call `action` when what waits for the same as its caller has gone on, and no button is pressed: the kernel is asked for
 * first, on the connection that is there (over HTTP/1.1 each of several requests needs one of its own, and a round trip or
 * three to make it).
 * @param {() => void} action
 */
function afterwards(action) {
  setTimeout(() => unpressed(action));
}

/** @param {string | null} text JSON, or nothing @returns {Untrusted} null where it is no JSON */
function parsedJson(text) {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return null;
  }
}
