// In a preview every page loads again when a file of the folder is saved, and says what is wrong in the folder.
"use strict";

(() => {
  const changes = new EventSource(new URL("preview/changes", new URL(document.documentElement.dataset.base, location.href)));
  let first = null;
  changes.addEventListener("message", ({ data }) => {
    const { version, problems } = JSON.parse(data);
    if (first !== null && first !== version) return location.reload();
    first = version;
    show(problems);
  });
  addEventListener("pagehide", () => changes.close()); // a page that is kept for going back needs none
  addEventListener("pageshow", ({ persisted }) => persisted && location.reload());

  function show(problems) {
    const banner = document.createElement("aside");
    banner.className = "banner preview";
    banner.setAttribute("aria-label", "Preview");
    banner.setAttribute("role", "status");
    const lines = problems.length ? problems : ["Preview: this page follows your folder as you save."];
    for (const line of lines) {
      const words = document.createElement("p");
      words.textContent = line;
      banner.append(words);
    }
    banner.classList.toggle("wrong", problems.length > 0);
    document.querySelector("aside.preview")?.remove();
    document.querySelector("a.skip").after(banner);
  }
})();
