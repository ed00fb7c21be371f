"use strict";
// /frame.js, for pages of other sites that show notes in a frame: it becomes as high as the notes are, and links within them
// scroll the page around it. It runs in that site's origin, and hears only frames of the service that it came from. See
// docs/embedding.md.
(() => {
  const { src } = /** @type {HTMLScriptElement} */ (document.currentScript);
  const { origin } = new URL(src);
  const HIGHEST = 200000; // pixels
  addEventListener("message", ({ source, origin: from, data }) => {
    if (from !== origin) return;
    const frame = [...document.querySelectorAll("iframe")].find((one) => one.contentWindow === source);
    if (frame && data?.tmpnb === "height" && data.height > 0) frame.style.height = `${Math.min(data.height, HIGHEST)}px`;
    if (frame && data?.tmpnb === "place" && data.top >= 0) scrollTo(scrollX, scrollY + frame.getBoundingClientRect().top + data.top);
  });
})();
