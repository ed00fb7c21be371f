"use strict";
// Links to share become buttons that copy, on the first page. Without JavaScript they are links, which any browser can copy.
(() => {
  const said = document.getElementById("said");

  /** @param {string} text */
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

  /** @param {Event} event @param {HTMLAnchorElement} link */
  const act = async (event, link) => {
    event.preventDefault();
    const tell = (/** @type {string} */ words) => {
      if (said) said.textContent = words;
    };
    try {
      await copy(link.href);
      link.textContent = _("Link copied");
      tell(_("Link copied"));
    } catch {
      location.href = link.href;
    }
    setTimeout(() => {
      link.textContent = _("Copy link");
      tell("");
    }, 3000);
  };

  for (const link of /** @type {NodeListOf<HTMLAnchorElement>} */ (document.querySelectorAll("a.copy"))) {
    link.setAttribute("role", "button");
    link.textContent = _("Copy link");
    link.addEventListener("click", (event) => act(event, link));
    link.addEventListener("keydown", (event) => {
      if (event.key === " ") void act(event, link);
    });
  }
})();
