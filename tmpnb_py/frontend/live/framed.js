// The notes page in a frame of another site (the option frame_ancestors): the browser shows it there only if each page
// around it is allowed, so whoever hears it is. There no cookie of ours is sent: the notebook is known by its token.

const FRAMED = window.parent !== window;

// Until the tab is closed, as on other sites' pages (live.js). Browsers part it by the site around the frame.
const framedSession = {
  key: "tmpnb-framed",
  read() {
    try {
      return ownSession(parsedJson(sessionStorage.getItem(this.key)));
    } catch {
      return null; // a browser that keeps nothing for frames: a reload begins afresh
    }
  },
  /** @param {SessionInfo | null} fresh */
  write(fresh) {
    try {
      if (fresh) sessionStorage.setItem(this.key, JSON.stringify(essentials(fresh)));
      else sessionStorage.removeItem(this.key);
    } catch {
      // as above
    }
  },
};

if (FRAMED) {
  document.documentElement.classList.add("tn-in-frame");
  // All but the notes can be shown in no frame, and so can most other sites.
  const opensHere = (/** @type {URL} */ url) => url.origin === location.origin && url.href.startsWith(`${BASE}workshops/`);
  addEventListener("click", ({ target }) => {
    const link = target instanceof Element && /** @type {HTMLAnchorElement | null} */ (target.closest("a[href]"));
    if (!link) return;
    if (!opensHere(new URL(link.href))) link.setAttribute("target", "_blank");
    else if (link.hash) setTimeout(() => show(link.hash)); // once the page has gone there itself
  }, true);

  const say = (/** @type {object} */ message) => window.parent.postMessage(message, location.ancestorOrigins?.[0] ?? "*");
  // In a frame that is as high as the notes it is the page around it that scrolls.
  const show = (/** @type {string} */ hash) => {
    const element = document.getElementById(decodeURIComponent(hash.slice(1)));
    if (element) say({ tmpnb: "place", top: element.getBoundingClientRect().top + scrollY });
  };

  let told = 0;
  const tell = () => {
    const height = Math.ceil(document.body.getBoundingClientRect().height);
    if (height === told) return;
    told = height;
    say({ tmpnb: "height", height });
  };
  new ResizeObserver(tell).observe(document.body);
}
