// Other sites' pages: `<pre data-executable data-language="r">` come alive. See docs/embedding.md.

(() => {
  const { workshop = "", language: usual = "", kernel = "", theme = "light", selector = "pre[data-executable]", storage = "session" } = SCRIPT.dataset;
  const service = new Service(BASE);
  const announcer = new Announcer();
  const KEY = `tmpnb:${BASE}${workshop}`;

  const sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLE);

  // All is kept in this page's own storage: a cookie of the service is not sent from here.
  const store = () => (storage === "local" ? localStorage : sessionStorage);
  const unkept = {}; // of a page that may keep nothing: it lasts until that is left
  const kept = (key) => ({
    read() {
      try {
        return JSON.parse(store().getItem(key));
      } catch {
        return unkept[key] ?? null;
      }
    },
    write(value) {
      try {
        if (value) store().setItem(key, JSON.stringify(value));
        else store().removeItem(key);
      } catch {
        unkept[key] = value;
      }
    },
  });
  const drafts = new Drafts(store, `${KEY}:drafts:${location.pathname}${location.search}`);

  const session = {
    read() {
      const old = kept(KEY).read();
      return old?.id && old.url?.startsWith(BASE) && old.open_url?.startsWith(BASE) ? old : null;
    },
    write(fresh) {
      kept(KEY).write(fresh && { id: fresh.id, url: fresh.url, token: fresh.token, open_url: fresh.open_url });
    },
  };
  const wish = workshop ? { workshop } : {};
  const claim = new Claim(service, { wish, session, ticket: kept(`${KEY}:ticket`), once: kept(`${KEY}:once`) });

  let latest = null; // the cell that ran last: there the time that is left is shown, once for the page
  const lifetime = new Lifetime(service, {
    shown(hadFocus) {
      if (lifetime.isShown && latest && !latest.element.contains(lifetime.element)) latest.element.append(lifetime.element);
      if (hadFocus) latest?.focus();
    },
    say(said, isAnswer) {
      if (isAnswer) latest?.remark(said);
      announcer.say(said);
    },
    works: () => [...runners.values()].some((one) => one.isBusy),
    ended(said) {
      if ([...runners.values()].some((one) => one.kernel)) return; // which find out for themselves
      claim.forget(claim.session);
      const words = `${said} Run again for a fresh one.`;
      latest?.remark(words);
      announcer.say(words);
    },
  });
  claim.onsession = (session) => lifetime.follow(session);

  // Kernels begin where the workshop's files are. Each page has its own, and finds it again after a reload.
  function place(language, session) {
    const target = decodeURIComponent(new URL(session.open_url).pathname.slice(new URL(session.url).pathname.length));
    const folder = target.startsWith("lab/tree/") && target.includes(".") ? target.slice(9).replace(/[^/]*$/, "") : "";
    let hash = 5381;
    for (const character of location.host + location.pathname) hash = ((hash * 33) ^ character.codePointAt(0)) >>> 0;
    return { path: `${folder}live-${language.toLowerCase().replace(/[^a-z0-9]/g, "") || "page"}-${hash.toString(36)}.ipynb`, name: kernel, language };
  }

  const runners = new Map();
  function runnerOf(language) {
    const known = runners.get(canonical(language));
    if (known) return known;
    const changed = (words) => {
      latest = made.latest || latest;
      if (words) made.latest?.remark(words); // there is no bar for all cells here
    };
    const made = new Runner({ service, language: canonical(language), isNamed: Boolean(language || kernel), claim, place: (session) => place(language, session), announce: announcer.say, changed });
    runners.set(canonical(language), made);
    return made;
  }

  function enliven(block, number) {
    const language = languageOf(block) || usual;
    const host = make("div");
    host.hidden = block.hidden;
    const root = host.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [sheet];
    const element = make("div", `tn-cell tn-${["light", "dark"].includes(theme) ? theme : "auto"}`);
    root.append(element);
    const code = codeOf(block, language);
    const draft = drafts.of(number, code);
    new Cell(element, runnerOf(language), {
      code, draft, name: `example ${number}`, language: canonical(language), theme, alone: true,
      mayFail: "mayFail" in block.dataset, isSetup: "setup" in block.dataset,
    });
    block.replaceWith(host);
    return root;
  }

  // The reader was in line when the page was left: above the first block it is said how that goes.
  function waitOn(cell) {
    const bar = make("div", "tn-bar");
    const words = make("span", "tn-note");
    const stop = button("Stop", "tn-button", () => claim.giveUp());
    stop.setAttribute("aria-label", "Stop waiting for a notebook");
    bar.append(words, stop);
    claim.resume((said, state) => {
      words.textContent = said;
      stop.hidden = state !== "running";
      if (said) announcer.say(said);
      if (!said) bar.remove();
      else if (!bar.isConnected) cell.prepend(bar);
    });
  }

  // Of several tags in a page each takes the blocks that name its workshop, or else are in its language.
  const isAlone = document.querySelectorAll('script[src$="/live.js"]').length < 2;
  function isMine(block) {
    if (block.dataset.executable === "false" || !block.isConnected) return false;
    if (block.dataset.workshop) return block.dataset.workshop === workshop;
    const language = languageOf(block);
    return isAlone || !usual || !language || canonical(language) === canonical(usual);
  }

  let count = 0;
  function begin() {
    const blocks = new Set([...document.querySelectorAll(selector)].map((block) => block.closest("pre") || block));
    const roots = [...blocks].filter(isMine).map((block) => enliven(block, ++count));
    if (!roots.length || announcer.element.isConnected) return;
    roots[0].append(announcer.element);
    waitOn(roots[0].firstElementChild);
    latest ||= [...runners.values()][0].cells[0];
    if (session.read()) lifetime.follow(session.read());
  }

  // Pages may add blocks when they are there already, or show another article without being loaded again.
  let isDue = false;
  new MutationObserver((changes) => {
    if (isDue || !changes.some(({ addedNodes }) => [...addedNodes].some((node) => node.nodeType === Node.ELEMENT_NODE))) return;
    isDue = true;
    nextFrame(() => {
      isDue = false;
      begin();
    });
  }).observe(document.documentElement, { childList: true, subtree: true });
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin);
  else begin();
})();
