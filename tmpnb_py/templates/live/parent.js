// For pages that show notes in a frame: it becomes as high as the notes are. See docs/embedding.md.
"use strict";
(() => {
  const { origin } = new URL(document.currentScript.src);
  const HIGHEST = 200000; // pixels
  addEventListener("message", ({ source, origin: from, data }) => {
    if (from !== origin || data?.tmpnb !== "height" || !(data.height > 0)) return;
    for (const frame of document.querySelectorAll("iframe")) {
      if (frame.contentWindow === source) frame.style.height = `${Math.min(data.height, HIGHEST)}px`;
    }
  });
})();
