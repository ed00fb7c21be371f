// Where the script of a page came from. It stands before everything else, while the browser knows which script it runs.

const SCRIPT = /** @type {HTMLScriptElement} */ (document.currentScript || document.querySelector('script[src$="/live.js"]'));
const BASE = new URL(UP, SCRIPT.src).href; // of the service's addresses, with a slash at the end
