// HTML that a kernel sent, in a frame that can do nothing to the page: its origin is opaque (sandbox without
// allow-same-origin, and the same in its own policy), it may load nothing from anywhere, open nothing, ask nobody and go
// nowhere (see keeper.html, which it is in). It is a document of its own address, not a srcdoc one, because that would
// inherit the policy of the page it is in: strict, so that no plot with a script would draw, or lax, so that it could call home.

const MAX_HEIGHT = 2000; // pixels; what is longer scrolls inside
const MAX_CHANGES = 200; // of a height, then it stays: a hostile or badly made frame may grow with its own height

const frames = new Set();

class Frame {
  constructor(html, title, theme) {
    this.element = make("iframe", "tn-frame");
    this.element.setAttribute("sandbox", "allow-scripts");
    this.element.title = title;
    this.element.height = 40;
    this.element.src = new URL(FRAME, SCRIPT.src).href;
    this._content = { html, dark: theme === "dark" || (theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches) };
    this._changes = 0;
    frames.add(this);
  }

  // `data` is whatever a container's script chose to send.
  receive(data) {
    if (data.tmpnb === "ready" && this._content) {
      this.element.contentWindow.postMessage({ tmpnb: "content", ...this._content }, "*"); // its origin is opaque
      this._content = null;
    } else if (data.tmpnb === "height" && Number.isFinite(data.height) && this._changes < MAX_CHANGES) {
      this._changes += 1;
      this.element.height = Math.min(MAX_HEIGHT, Math.max(20, Math.ceil(data.height)));
    }
  }
}

window.addEventListener("message", (event) => {
  if (!event.data || typeof event.data !== "object") return;
  for (const frame of frames) {
    if (frame.element.contentWindow === null) frames.delete(frame); // it was removed
    else if (frame.element.contentWindow === event.source) frame.receive(event.data);
  }
});
