"use strict";
// The page for a browser whose cookies are too large to be sent (respond.py, 431): pages of a host beside this one can make
// cookies for the whole domain. Those that scripts see are taken away, our own not among them; then it goes on.
(() => {
  const { base = "/" } = document.documentElement.dataset;
  const before = document.cookie;
  const labels = location.hostname.split(".");
  const domains = ["", ...labels.map((_, number) => "; domain=" + labels.slice(number).join("."))];
  const parts = location.pathname.split("/");
  const paths = parts.flatMap((_, number) => {
    const path = parts.slice(0, number + 1).join("/");
    return [path + "/", path || "/"];
  });
  for (const one of before.split("; ")) {
    const name = one.split("=")[0];
    for (const domain of domains) {
      for (const path of paths) {
        document.cookie = name + "=; max-age=0; path=" + path + domain; // one without a name is named by its value
        if (!one.includes("=")) document.cookie = "=; max-age=0; path=" + path + domain;
      }
    }
  }
  const elsewhere = location.pathname.startsWith(base + "api/"); // a page of ours was led here to make it work again
  if (elsewhere) /** @type {HTMLAnchorElement} */ (document.getElementById("again")).href = base;
  if (document.cookie.length >= before.length) return;
  if (elsewhere) location.replace(base);
  else location.reload();
})();
