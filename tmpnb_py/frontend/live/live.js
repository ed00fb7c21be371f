// Other sites' pages: `<pre data-executable data-language="r">` come alive. See docs/embedding.md. All of it begins when
// `inTongue` has the texts.
//
// It runs in the origin of the site that has its tag, and keeps what it must in that site's storage; no cookie of the service
// comes along. Each block is a cell in a shadow root, so that neither side's styles reach the other.

class LivePage {
  /** @param {DOMStringMap} options of the script's tag */
  constructor(options) {
    const { workshop = "", pool = "", language = "", kernel = "", theme = "light" } = options;
    const { selector = "pre[data-executable]", storage = "session" } = options;
    this._workshop = workshop;
    this._usual = language; // of blocks that do not say theirs
    this._kernelName = kernel;
    this._theme = theme;
    this._selector = selector;
    this._service = new Service(BASE);
    this._announcer = new Announcer();
    this._sheet = new CSSStyleSheet();
    this._sheet.replaceSync(STYLE);
    /** @type {Map<string, Runner>} by language */
    this._runners = new Map();
    /** @type {Cell | null} the one that ran last: there the time that is left is shown, once for the page */
    this._latest = null;
    this._count = 0;
    // Of several tags in a page each takes the blocks that name its workshop, or else are in its language.
    this._isAlone = document.querySelectorAll('script[src$="/live.js"]').length < 2;
    const store = new PageStore(storage === "local");
    const key = `tmpnb:${BASE}${workshop}${pool && "@" + pool}`;
    this._drafts = new Drafts(() => store.storage, `${key}:drafts:${location.pathname}${location.search}`);
    this._session = {
      read: () => ownSession(store.place(key).read()),
      write: (/** @type {SessionInfo | null} */ fresh) => store.place(key).write(fresh && essentials(fresh)),
    };
    this._claim = new Claim(this._service, {
      wish: { ...(workshop && { workshop }), ...(pool && { pool }) },
      session: this._session,
      ticket: store.place(`${key}:ticket`),
      once: store.place(`${key}:once`),
    });
    this._lifetime = this._newLifetime();
    this._claim.onsession = (session) => afterwards(() => this._claim.session === session && this._lifetime.follow(session));
  }

  get _all() {
    return [...this._runners.values()];
  }

  _newLifetime() {
    /** @type {Lifetime} */
    const lifetime = new Lifetime(this._service, {
      shown: (hadFocus) => {
        const cell = this._latest;
        if (lifetime.isShown && cell && !cell.element.contains(lifetime.element)) cell.element.append(lifetime.element);
        if (hadFocus) cell?.focus();
      },
      say: (said, isAnswer) => {
        if (isAnswer) this._latest?.remark(said);
        this._announcer.say(said);
      },
      works: () => this._all.some((one) => one.isBusy),
      ended: (said) => {
        if (this._all.some((one) => one.kernel)) return; // which find out for themselves
        this._claim.forget(this._claim.session);
        const words = _("{problem} Run again for a new one.", { problem: said });
        this._latest?.remark(words);
        this._announcer.say(words);
      },
    });
    return lifetime;
  }

  // --- kernels

  /** @param {string} language @returns {Runner} */
  _runnerOf(language) {
    const name = canonical(language);
    const known = this._runners.get(name);
    if (known) return known;
    /** @type {Runner} */
    const made = new Runner({
      service: this._service,
      language: name,
      isNamed: Boolean(language || this._kernelName),
      claim: this._claim,
      place: (session) => ({ path: kernelPath(language, session), name: this._kernelName, language }),
      announce: this._announcer.say,
      changed: (words) => {
        this._latest = made.latest || this._latest;
        if (words) made.latest?.remark(words); // there is no bar for all cells here
      },
    });
    this._runners.set(name, made);
    return made;
  }

  // --- blocks

  /** @param {HTMLElement} block @returns {ShadowRoot} */
  _enliven(block) {
    const number = ++this._count;
    const language = languageOf(block) || this._usual;
    const host = make("div");
    host.hidden = block.hidden;
    const root = host.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [this._sheet];
    const element = make("div", `tn-cell tn-${["light", "dark"].includes(this._theme) ? this._theme : "auto"}`);
    root.append(element);
    const code = codeOf(block, language);
    new Cell(element, this._runnerOf(language), {
      code,
      draft: this._drafts.of(number, code),
      name: _("example {number}", { number }),
      language: canonical(language),
      theme: this._theme,
      alone: true,
      mayFail: "mayFail" in block.dataset,
      isSetup: "setup" in block.dataset,
    });
    block.replaceWith(host);
    return root;
  }

  /** @param {HTMLElement} block */
  _isMine(block) {
    if (block.dataset.executable === "false" || !block.isConnected) return false;
    if (block.dataset.workshop) return block.dataset.workshop === this._workshop;
    const language = languageOf(block);
    return this._isAlone || !this._usual || !language || canonical(language) === canonical(this._usual);
  }

  begin() {
    const found = /** @type {HTMLElement[]} */ ([...document.querySelectorAll(this._selector)]);
    const blocks = new Set(found.map((block) => block.closest("pre") || block));
    const roots = [...blocks].filter((block) => this._isMine(block)).map((block) => this._enliven(block));
    if (!roots.length || this._announcer.element.isConnected) return;
    roots[0].append(this._announcer.element);
    this._waitOn(/** @type {HTMLElement} */ (roots[0].firstElementChild));
    this._latest ||= this._all[0].cells[0];
    const session = this._session.read();
    if (session) this._lifetime.follow(session);
  }

  /**
   * The reader was in line when the page was left: above the first block it is said how that goes.
   * @param {HTMLElement} cell
   */
  _waitOn(cell) {
    const bar = make("div", "tn-bar");
    const words = make("span", "tn-note");
    const stop = button(_("Stop"), "tn-button", () => this._claim.giveUp());
    stop.setAttribute("aria-label", _("Stop waiting for a notebook"));
    bar.append(words, stop);
    void this._claim.resume((said, state) => {
      words.textContent = said;
      stop.hidden = state !== "running";
      if (said) this._announcer.say(said);
      if (!said) bar.remove();
      else if (!bar.isConnected) cell.prepend(bar);
    });
  }

  /** Pages may add blocks when they are there already, or show another article without being loaded again. */
  watch() {
    let isDue = false;
    new MutationObserver((changes) => {
      if (isDue || !changes.some(({ addedNodes }) => [...addedNodes].some((node) => node.nodeType === Node.ELEMENT_NODE))) return;
      isDue = true;
      nextFrame(() => {
        isDue = false;
        this.begin();
      });
    }).observe(document.documentElement, { childList: true, subtree: true });
  }
}

// All is kept in this page's own storage: a cookie of the service is not sent from here.
class PageStore {
  /** @param {boolean} isLocal rather than the tab's */
  constructor(isLocal) {
    this._isLocal = isLocal;
    /** @type {{ [key: string]: Untrusted }} of a page that may keep nothing: it lasts until that is left */
    this._unkept = {};
  }

  get storage() {
    return this._isLocal ? localStorage : sessionStorage;
  }

  /** @param {string} key @returns {Kept<Untrusted>} */
  place(key) {
    return {
      read: () => {
        try {
          return JSON.parse(this.storage.getItem(key) ?? "null");
        } catch {
          return this._unkept[key] ?? null;
        }
      },
      write: (value) => {
        try {
          if (value) this.storage.setItem(key, JSON.stringify(value));
          else this.storage.removeItem(key);
        } catch {
          this._unkept[key] = value;
        }
      },
    };
  }
}

/**
 * Where the kernel of a page's language begins: where the workshop's files are, and under a name of the page's own, by which
 * it is found again after a reload.
 * @param {string} language @param {SessionInfo} session
 */
function kernelPath(language, session) {
  const target = decodeURIComponent(new URL(session.open_url).pathname.slice(new URL(session.url).pathname.length));
  const folder = target.startsWith("lab/tree/") && target.includes(".") ? target.slice(9).replace(/[^/]*$/, "") : "";
  let hash = 5381;
  for (const character of location.host + location.pathname) hash = ((hash * 33) ^ (character.codePointAt(0) ?? 0)) >>> 0;
  return `${folder}live-${language.toLowerCase().replace(/[^a-z0-9]/g, "") || "page"}-${hash.toString(36)}.ipynb`;
}

const page = new LivePage(SCRIPT.dataset);
page.watch();
if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", () => page.begin());
else page.begin();
