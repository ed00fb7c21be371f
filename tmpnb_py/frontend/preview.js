"use strict";
// In a preview (image workshops --preview) every page loads again when a file of the folder is saved, and says what is wrong
// in the folder. Loaded by every page then, from the service's own origin.
(() => {
  const { base = "/" } = document.documentElement.dataset;
  const changes = new EventSource(new URL("preview/changes", new URL(base, location.href)));
  /** @type {string | null} */
  let first = null;
  changes.addEventListener("message", ({ data }) => {
    const { version, problems } = JSON.parse(data);
    if (first !== null && first !== version) return location.reload();
    first = version;
    show(problems);
  });
  addEventListener("pagehide", () => changes.close()); // a page that is kept for going back needs none
  addEventListener("pageshow", ({ persisted }) => {
    if (persisted) location.reload();
  });

  /** @param {string[]} problems */
  function show(problems) {
    const banner = document.createElement("aside");
    banner.className = "banner preview";
    banner.setAttribute("aria-label", _("Preview"));
    banner.setAttribute("role", "status");
    const lines = problems.length ? problems : [_("Preview: this page follows your folder as you save.")];
    for (const line of lines) {
      const words = document.createElement("p");
      words.textContent = line;
      banner.append(words);
    }
    banner.classList.toggle("wrong", problems.length > 0);
    document.querySelector("aside.preview")?.remove();
    document.querySelector("a.skip")?.after(banner);
  }
})();
