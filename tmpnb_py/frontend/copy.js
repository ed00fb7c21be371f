"use strict";
// Links to share become buttons that copy. Without JavaScript they are links, which any browser can copy.
(() => {
  const said = document.getElementById("said");
  const copy = async (text) => {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const field = document.createElement("textarea"); // a page without TLS has no other way
    field.value = text;
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    if (!done) throw new Error("refused");
  };
  for (const link of document.querySelectorAll("a.copy")) {
    link.setAttribute("role", "button");
    link.textContent = "Copy link";
    const act = async (event) => {
      event.preventDefault();
      try {
        await copy(link.href);
        link.textContent = said.textContent = "Link copied";
      } catch {
        location.href = link.href;
      }
      setTimeout(() => { link.textContent = "Copy link"; said.textContent = ""; }, 3000);
    };
    link.addEventListener("click", act);
    link.addEventListener("keydown", (event) => { if (event.key === " ") act(event); });
  }
})();
