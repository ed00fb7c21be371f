/*
 * The time left of a temporary notebook, with choices: keep it, download everything, restore a download, end it now.
 * When the notebook's server has gone, it leads to the page that explains why. Also: cells wait for their kernel, text
 * opens as notebooks, a phone starts with only the notebook, and the status bar shows network, memory and disk.
 *
 * JupyterLab loads this file as the container of a "federated extension": an object with `init` and `get` (webpack's
 * module federation), which finds JupyterLab's own modules in the scope passed to `init`. So it needs no build.
 *
 * It asks the orchestrator (GET /api/sessions/<id>, which is no activity) rarely: when the end could be near, when
 * something failed, when the tab is shown again; never in a hidden tab. It reports the visitor's presence (POST …/keep)
 * at most once a minute, as reading, or writing without saving, sends no request. Without an orchestrator it is silent.
 */
(() => {
  "use strict";

  const NAME = "tmpnb-session";
  const LONGEST_PAUSE = 600; // seconds between two questions
  const PHONE = 600; // pixels
  const LONGEST_START = 60000; // milliseconds that a run cell waits for its kernel
  const REPORT = 60; // seconds between two reports that somebody is there, at most a quarter of the limit
  // Events that only a person causes. Pages can scroll by themselves, but cannot turn the wheel.
  const SIGNS = ["keydown", "pointerdown", "pointermove", "wheel", "touchmove", "drop"];
  const WINDOW = 900; // seconds before the end in which the time is shown, at most a quarter of the limit
  const STYLE = `
    /* On a narrow screen the menus can be scrolled, so that the time left stays visible. */
    #jp-menu-panel { flex: 0 1 auto; min-width: 0; overflow: auto hidden; scrollbar-width: none; }
    .tmpnb-TimeLeft { flex: none; display: flex; align-items: center; margin-left: auto; padding: 0 8px; }
    .tmpnb-TimeLeft[hidden], .tmpnb-TimeLeft.lm-mod-hidden { display: none; }
    .tmpnb-TimeLeft button { font: inherit; font-size: var(--jp-ui-font-size1); color: var(--jp-ui-font-color0);
      background: var(--jp-layout-color2); border: 1px solid var(--jp-warn-color1); border-radius: 4px;
      padding: 1px 8px; cursor: pointer; white-space: nowrap; }
    .tmpnb-TimeLeft button:focus-visible { outline: 2px solid var(--jp-brand-color1); outline-offset: 1px; }
  `;

  const BESIDE = /** @type {HTMLScriptElement | null} */ (document.currentScript)?.src; // what is loaded later lies beside this file

  // Under a host of its own a notebook gets these files from one that all notebooks share. Only a worker's has to be of the
  // page's own origin, where the same files are, too.
  const HOST = new URL(BESIDE ?? location.href).origin;
  const ownFile = (/** @type {string | URL} */ url, { origin, pathname, search } = new URL(url, document.baseURI)) =>
    (origin === HOST ? location.origin + pathname + search : url);
  for (const kind of /** @type {const} */ (["Worker", "SharedWorker"])) {
    if (HOST === location.origin || !window[kind]) continue; // there are no shared ones in Chromium on Android
    window[kind] = /** @type {any} */ (new Proxy(window[kind], {
      construct: (given, [url, ...others], target) => Reflect.construct(given, [ownFile(url), ...others], target),
    }));
  }

  // --- JupyterLab's shared modules

  /** @type {ModuleScope} */
  let scope = {};

  /** @param {string} name @returns {Promise<any>} a module of JupyterLab, as it was loaded */
  async function shared(name) {
    const versions = scope[name] ?? {};
    const newest = Object.keys(versions).sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    // Only a module that is already in use has JupyterLab's own tokens and notifications.
    const version = newest.find((one) => versions[one].loaded) ?? newest[newest.length - 1];
    return (await versions[version].get())();
  }

  async function load() {
    const names = ["apputils", "coreutils", "mainmenu", "services", "settingregistry", "translation"].map((name) => `@jupyterlab/${name}`);
    const [apputils, coreutils, mainmenu, services, settingregistry, translation, widgets] = await Promise.all(
      [...names, "@lumino/widgets"].map((name) => shared(name)),
    );
    /** @type {Lab} */
    const lab = { ...apputils, ...coreutils, ...mainmenu, ServerConnection: services.ServerConnection, Widget: widgets.Widget };
    const plugin = {
      id: `${NAME}:plugin`,
      description: "Shows the time that is left to a temporary notebook.",
      autoStart: true,
      optional: [lab.ICommandPalette, lab.IMainMenu, translation.ITranslator, settingregistry.ISettingRegistry],
      /**
       * @param {LabApp} app @param {CommandPalette | null} palette @param {MainMenu | null} menu
       * @param {Translator | null} translator @param {SettingRegistry | null} settings
       */
      activate: (app, palette, menu, translator, settings) => {
        lab.unreachable = (translator ?? translation.nullTranslator).load("jupyterlab").__("Server Connection Error");
        window._JUPYTERLAB[NAME].language = translator?.languageCode;
        activate(lab, app, palette, menu, settings);
      },
    };
    const plugins = [plugin, await network()];
    return () => ({ __esModule: true, default: plugins });
  }

  /**
   * A renderer for plotly's figures that loads the real one (4.8 MB) for the first of them: where the image keeps that from
   * JupyterLab, which would load it at each start (install-python.sh). One that a visitor installs is JupyterLab's to load.
   */
  async function figures() {
    const [{ PageConfig }, { Panel }] = await Promise.all(["@jupyterlab/coreutils", "@lumino/widgets"].map((name) => shared(name)));
    const installed = JSON.parse(PageConfig.getOption("federated_extensions") || "[]");
    const kept = installed.some((/** @type {{ name: string, mimeExtension?: string }} */ { name, mimeExtension }) => name === "jupyterlab-plotly" && !mimeExtension);
    class Figure extends /** @type {new () => FigurePanel} */ (Panel) {
      /** @param {object} options of the renderer */
      constructor(options) {
        super();
        this.options = options;
      }

      /** @param {object} model */
      async renderModel(model) {
        const { draw } = await import(new URL("plotly.js", BESIDE).href);
        await draw(this, model);
      }
    }
    const mimeTypes = ["application/vnd.plotly.v1+json"];
    const extension = {
      id: `${NAME}:figures`,
      rendererFactory: { safe: true, mimeTypes, createRenderer: (/** @type {object} */ options) => new Figure(options) },
      rank: 2, // as plotly's own: before HTML and pictures
      dataType: "json",
      fileTypes: [{ name: "plotly", mimeTypes, extensions: [".plotly", ".plotly.json"] }],
      documentWidgetFactoryOptions: {
        name: "Plotly",
        primaryFileType: "plotly",
        fileTypes: ["plotly", "json"],
        defaultFor: ["plotly"],
      },
    };
    return () => ({ __esModule: true, default: kept && BESIDE ? [extension] : [] });
  }

  (window._JUPYTERLAB ??= {})[NAME] = {
    init: (/** @type {ModuleScope} */ given) => void (scope = given),
    get: (/** @type {string} */ module) => (module === "./figures" ? figures() : load()),
  };

  /** @type {() => Promise<typeof import("./words.js")>} what is shown, in the visitor's language */
  const texts = () => import(new URL("words.js", BESIDE).href);

  /** Show in the status bar that there is no network, before somebody searches for a fault. */
  async function network() {
    const names = ["@jupyterlab/coreutils", "@jupyterlab/statusbar", "@lumino/widgets"];
    const [{ PageConfig }, { IStatusBar }, { Widget }] = await Promise.all(names.map((name) => shared(name)));
    return {
      id: `${NAME}:network`,
      description: "Says where a notebook has no network.",
      autoStart: true,
      optional: [IStatusBar],
      activate: (/** @type {LabApp} */ app, /** @type {StatusBar | null} */ bar) => {
        if (PageConfig.getOption("tmpnbEgress") !== "none" || !bar) {
          return;
        }
        const item = new Widget();
        item.addClass("jp-StatusBar-TextItem");
        // Not before JupyterLab is shown, which waits for what a plugin's activation returns.
        void app.restored.then(texts).then(({ _, TONGUE }) => {
          Object.assign(item.node, TONGUE, { textContent: _("No network") });
          item.node.title = _("This notebook reaches nothing outside of it: no packages can be installed, and no data fetched");
        });
        bar.registerStatusItem(`${NAME}:network`, { item, align: "right", rank: 900 });
      },
    };
  }

  /** @param {Lab} lab @param {LabApp} app @param {CommandPalette | null} palette @param {MainMenu | null} menu @param {SettingRegistry | null} settings */
  function activate(lab, app, palette, menu, settings) {
    openTextAsNotebooks(lab, app, settings);
    const base = lab.PageConfig.getBaseUrl();
    const found = /^(.*)\/user\/([a-z0-9]+)\/$/.exec(new URL(base, location.href).pathname);
    if (found) {
      const orchestrator = new Orchestrator(found[1], found[2], base, lab.PageConfig.getToken());
      if (takeOnce("blank")) void app.restored.then(() => makeNotebook(app));
      void app.restored.then(() => {
        void new Watch(lab, app, orchestrator).begin(palette, menu);
        if (innerWidth < PHONE) app.shell.collapseLeft?.(); // else the file browser leaves a notebook no room
      });
      beginLimits(lab, app);
      lab.Dialog.tracker.widgetAdded.connect((_, dialog) => preferKernel(dialog.node, app.serviceManager.kernelspecs.specs));
      shared("@jupyterlab/cells").then(({ CodeCell }) => waitForKernels(CodeCell), () => {});
    }
  }

  /**
   * Whether the page's URL requests a one-time action. Removes that from the URL, so that a reload does not repeat it.
   * @param {string} name
   */
  function takeOnce(name) {
    const url = new URL(location.href);
    if (!url.searchParams.has(name)) return false;
    url.searchParams.delete(name);
    history.replaceState(history.state, "", url);
    return true;
  }

  /**
   * Open a new notebook with the server's default kernel, for "Blank notebook" on the first page.
   * @param {LabApp} app
   */
  async function makeNotebook({ commands, serviceManager }) {
    await serviceManager.kernelspecs.ready;
    await commands.execute("notebook:create-new", { kernelName: serviceManager.kernelspecs.specs?.default });
  }

  /**
   * Offer the default kernel for a new notebook; JupyterLab would offer the alphabetically first one.
   * @param {HTMLElement} dialog @param {KernelSpecs | null} specs
   */
  function preferKernel(dialog, specs) {
    const select = /** @type {HTMLSelectElement | null} */ (dialog.querySelector(".jp-KernelSelector select, .jp-Dialog-body select"));
    const group = select?.selectedOptions[0]?.closest("optgroup");
    const offered = [...(group?.querySelectorAll("option") ?? [])].map(({ value }) => /^\{"name":"(.+)"\}$/.exec(value)?.[1]);
    const languages = new Set(offered.map((name) => name && specs?.kernelspecs[name]?.language));
    if (select && specs && languages.size > 1 && offered.includes(specs.default)) {
      select.value = JSON.stringify({ name: specs.default });
    }
  }

  /**
   * Show memory and disk in the status bar, and why a kernel ended, if the notebook's server supports that.
   * @param {Lab} lab @param {LabApp} app
   */
  function beginLimits(lab, app) {
    const url = lab.PageConfig.getOption("tmpnbLimits");
    if (url && BESIDE) {
      const context = { lab, app, shared, url, token: lab.PageConfig.getToken() };
      Promise.all([import(new URL("limits.js", BESIDE).href), app.restored]).then(([{ begin }]) => begin(context), () => {});
    }
  }

  /**
   * R Markdown and Quarto open as notebooks (tmpnb_texts.py reads and saves them). Other text that can be one does where
   * the link says so ("?factory=Notebook"), and by "Open With".
   * @param {Lab} lab @param {LabApp} app @param {SettingRegistry | null} settings
   */
  function openTextAsNotebooks({ PageConfig }, { docRegistry, restored }, settings) {
    const { icon } = docRegistry.getFileType("notebook") ?? {};
    const common = { displayName: "Text Notebook", contentType: "notebook", fileFormat: "json", extensions: [], icon };
    const add = (/** @type {string} */ name, /** @type {object} */ more, factories = ["Notebook"]) => docRegistry.addFileType({ name, ...common, ...more }, factories);
    const opened = PageConfig.getOption("treePath").split("/").pop();
    if (opened && new URLSearchParams(location.search).get("factory") === "Notebook") {
      add("tmpnb-linked", { pattern: `^${opened.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}$` });
    }
    add("tmpnb-markdown", { extensions: [".Rmd", ".qmd"] });
    // After the editors' own types, so that icons and the first choice stay theirs; and after the document manager has read
    // its settings: with each type it reads them again, and has none of them meanwhile.
    const text = { extensions: [".md", ".py", ".R", ".jl", ".sh"], contentType: "file", fileFormat: "text" };
    const read = settings?.load("@jupyterlab/docmanager-extension:plugin").catch(() => {});
    Promise.all([restored, read]).then(() => setTimeout(() => add("tmpnb-text", text, ["Editor", "Notebook"])));
  }

  /**
   * Make early cells wait: JupyterLab silently drops a cell run before its kernel is there, and visitors are that quick.
   * @param {{ execute: Function }} CodeCell
   */
  function waitForKernels(CodeCell) {
    const { execute } = CodeCell;
    CodeCell.execute = async (/** @type {{ setPrompt(text: string): void }} */ cell, /** @type {SessionContext} */ context, /** @type {unknown[]} */ ...more) => {
      if (!context.session?.kernel) {
        cell.setPrompt("*");
        await Promise.race([context.ready, new Promise((resolve) => setTimeout(resolve, LONGEST_START))]).catch(() => {});
        cell.setPrompt("");
      }
      return execute(cell, context, ...more);
    };
  }

  // --- Asking

  /** @typedef {{ state: "running", ahead: number, started: number, active: number, idle: number, ends: number }} RunningFacts */
  /** @typedef {RunningFacts | { state: "ended" | "unknown" | "absent" | "hidden", message?: string }} Facts */

  class Orchestrator {
    /** @param {string} prefix @param {string} id @param {string} base @param {string} token */
    constructor(prefix, id, base, token) {
      this.url = `${prefix}/api/sessions/${id}`;
      this.id = id;
      this.base = base;
      /** @type {HeadersInit} */
      this.headers = token ? { Authorization: `token ${token}` } : {};
      this.known = false; // whether it has ever answered for this session
    }

    /**
     * The session's state: {state: "running" | "ended" | "unknown" | "absent", …}. Never throws.
     * @returns {Promise<Facts>}
     */
    async ask() {
      const answer = await this.call("GET", this.url);
      if (answer?.ok && answer.told?.id === this.id) {
        this.known = true;
        return this.read(answer);
      }
      if (answer?.status === 410) {
        return { state: "ended" };
      }
      return answer && answer.status < 500 ? this.askServer() : { state: "unknown" };
    }

    /** @param {OrchestratorAnswer} answer @returns {Facts} */
    read({ told, clock }) {
      if (told.state !== "claimed") {
        return { state: "ended", message: told.message };
      }
      const seconds = (/** @type {string | null} */ text) => (text ? Date.parse(text) / 1000 : Infinity);
      return {
        state: "running",
        // The browser's clock may be wrong, so only differences of the same clock are used.
        ahead: clock ? Date.now() / 1000 - Date.parse(clock) / 1000 : 0,
        started: seconds(told.started),
        active: seconds(told.last_activity),
        idle: told.idle_timeout ?? Infinity,
        ends: seconds(told.ends_at),
      };
    }

    /**
     * The orchestrator tells nothing of such a session. It may have forgotten it (and with it the token that opens this
     * way where the API demands one), not know it yet, or not be ours at all.
     * @returns {Promise<Facts>}
     */
    async askServer() {
      const answer = await this.call("GET", `${this.base}api?no_track_activity=1`);
      if (answer?.status === 410) {
        return { state: "ended", message: answer.told?.message };
      }
      return { state: answer?.ok && !this.known ? "absent" : "unknown" };
    }

    keep() {
      return this.call("POST", `${this.url}/keep`);
    }

    end() {
      return this.call("DELETE", this.url);
    }

    /**
     * Null without an answer.
     * @param {string} method @param {string} url @returns {Promise<OrchestratorAnswer | null>}
     */
    async call(method, url) {
      try {
        const response = await fetch(url, { method, headers: this.headers, cache: "no-store", redirect: "manual" });
        const told = await response.json().catch(() => null);
        return { ok: response.ok, status: response.status, told, clock: response.headers.get("Date") };
      } catch {
        return null;
      }
    }
  }

  // --- Watching

  class Watch {
    /** @param {Lab} lab @param {LabApp} app @param {Orchestrator} orchestrator */
    constructor(lab, app, orchestrator) {
      this.lab = lab;
      this.app = app;
      this.orchestrator = orchestrator;
      /** @type {typeof import("./words.js")} */
      this.texts = { _: (text) => text, ngettext: (text) => text, figure: String, timeOfDay: String, TONGUE: { lang: "en", dir: "ltr" } };
      this.archive = lab.PageConfig.getOption("tmpnbArchive");
      this.restore = lab.PageConfig.getOption("tmpnbRestore");
      /** @type {RunningFacts | null} */
      this.session = null;
      /** @type {Promise<Facts> | null} the question that is being asked */
      this.asking = null;
      this.asked = 0;
      /** @type {number[]} */
      this.timers = [];
      this.warned = 0;
      /** @type {string | null} the id of the warning that is shown */
      this.notification = null;
      this.over = false;
      this.message = ""; // why it is over
      this.reported = 0;
      this.reporting = 0; // the timer of the next report
      this.sees = true; // the statuses of answers; whether it does is known later
      this.unreached = false;
      /** @type {LuminoWidget | null} */
      this.widget = null;
      this.button = document.createElement("button");
      /** @type {Promise<any> | null} the module keeping.js, with what it keeps of this page */
      this.loading = null;
      this.pointer = "";
      /** @type {Set<string>} paths of the documents that were worked on */
      this.worked = new Set(JSON.parse(sessionStorage.getItem(`${NAME}:${orchestrator.id}`) ?? "[]"));
    }

    /** @param {CommandPalette | null} palette @param {MainMenu | null} menu */
    async begin(palette, menu) {
      this.texts = await texts().catch(() => this.texts);
      // The first answer tells whether there is an orchestrator at all; a restarting one is asked again.
      for (let pause = 5; ; pause = Math.min(2 * pause, LONGEST_PAUSE)) {
        const { state } = await this.look();
        if (state === "absent") {
          return;
        }
        if (state === "running" || state === "ended") {
          break;
        }
        await new Promise((resolve) => setTimeout(resolve, pause * 1000));
      }
      this.show();
      this.offer(palette, menu);
      this.listen();
      this.openRestored();
      if (BESIDE) import(new URL("messages.js", BESIDE).href).then(({ begin }) => begin(this.orchestrator), () => {});
    }

    listen() {
      const again = () => this.lookSoon();
      document.addEventListener("visibilitychange", again);
      addEventListener("online", again);
      SIGNS.forEach((sign) => addEventListener(sign, (event) => this.sign(event), { capture: true, passive: true }));
      this.app.serviceManager.connectionFailure.connect(again);
      this.app.serviceManager.connectionFailure.connect(() => this.untilReached());
      this.app.serviceManager.contents.fileChanged.connect((_, change) => this.note(change));
      // JupyterLab itself asks its server every few seconds: an answer that says "gone", or a proxy's that there is
      // none, is worth a look. Where the browser does not tell statuses, questions are asked more often instead.
      this.sees = "responseStatus" in (window.PerformanceResourceTiming?.prototype ?? {});
      if (this.sees) {
        const base = new URL(this.orchestrator.base, location.href).href;
        const gone = (/** @type {PerformanceEntry} */ one) =>
          one instanceof PerformanceResourceTiming && [410, 502, 503, 504].includes(one.responseStatus) && one.name.startsWith(base);
        new PerformanceObserver((list) => list.getEntries().some(gone) && again()).observe({ type: "resource" });
      }
    }

    /** Close JupyterLab's dialog about an unreachable server when the server is back; it would stay until somebody closes it. */
    async untilReached() {
      if (this.unreached) {
        return;
      }
      this.unreached = true;
      for (let pause = 2; ; pause = Math.min(2 * pause, 10)) {
        await new Promise((resolve) => setTimeout(resolve, pause * 1000));
        const answer = this.over ? null : await this.orchestrator.call("GET", `${this.orchestrator.base}api?no_track_activity=1`);
        if (this.over || answer?.ok) {
          break;
        }
      }
      this.unreached = false;
      const title = (/** @type {DialogWidget} */ dialog) => dialog.node.querySelector(".jp-Dialog-header")?.textContent.trim();
      this.lab.Dialog.tracker.forEach((dialog) => title(dialog) === this.lab.unreachable && dialog.reject());
    }

    /**
     * Report presence at once, and further events within a minute together at its end.
     * @param {Event} event
     */
    sign(event) {
      const still = event instanceof PointerEvent && event.type === "pointermove" && !this.hasMoved(event);
      // Browsers also report pointer moves when only the page beneath moved.
      if (!event.isTrusted || still || this.reporting || this.over) {
        return;
      }
      const wait = Math.min(REPORT, (this.session?.idle ?? REPORT) / 4) * 1000 - (Date.now() - this.reported);
      this.reporting = setTimeout(() => {
        this.reporting = 0;
        this.reported = Date.now();
        void this.orchestrator.keep().then((answer) => answer?.ok && this.keptAt(answer));
      }, Math.max(wait, 0));
    }

    /** @param {PointerEvent} event */
    hasMoved({ screenX, screenY }) {
      const before = this.pointer;
      this.pointer = `${screenX},${screenY}`;
      return this.pointer !== before;
    }

    /**
     * The end is further away. A visible warning, which has buttons, disappears with the next question.
     * @param {OrchestratorAnswer} answer
     */
    keptAt(answer) {
      const found = this.orchestrator.read(answer);
      if (this.session && found.state === "running" && !this.over && !this.warned) {
        this.session = found;
        this.rest();
        this.schedule(found);
      }
    }

    /**
     * Remember the edited documents, even across a reload of the page.
     * @param {FileChange} change
     */
    note({ type, oldValue, newValue }) {
      const renamed = type === "rename" && this.worked.has(oldValue?.path ?? "");
      const path = newValue?.path;
      if (path && (renamed || (type === "save" && this.documents().some(({ context }) => context.path === path)))) {
        this.worked.add(path);
        sessionStorage.setItem(`${NAME}:${this.orchestrator.id}`, JSON.stringify([...this.worked]));
      }
    }

    /** Check at once after a possible sign of the end, but not repeatedly. */
    lookSoon() {
      const wait = this.asked + 1000 - Date.now();
      if (wait <= 0) {
        void this.look();
      } else if (!this.over) {
        this.rest();
        this.timers.push(setTimeout(() => void this.look(), wait));
      }
    }

    /**
     * Ask, update the display, and schedule the next question. One question at a time.
     * @returns {Promise<Facts>}
     */
    look() {
      return (this.asking ??= this.lookOnce().finally(() => (this.asking = null)));
    }

    /** @returns {Promise<Facts>} */
    async lookOnce() {
      this.rest();
      this.asked = Date.now();
      if (this.over || (document.hidden && this.session)) {
        return { state: "hidden" };
      }
      const found = await this.orchestrator.ask();
      if (found.state === "ended") {
        void this.ended(found.message);
      } else if (found.state === "running") {
        this.session = found;
      }
      if (this.session && !this.over) {
        this.schedule(this.session);
      }
      return found;
    }

    /** @param {RunningFacts} session */
    schedule(session) {
      this.tell();
      const { left, window } = this.left(session);
      const longest = this.sees === false ? 60 : LONGEST_PAUSE;
      const pause = left > window ? Math.min(left - window, longest) : Math.min(left / 6, 30);
      this.timers.push(setTimeout(() => void this.look(), Math.max(pause, 2) * 1000));
    }

    rest() {
      this.timers.forEach(clearTimeout);
      this.timers = [];
    }

    /**
     * Seconds until the end without activity; `final` if nothing can prevent it.
     * @param {RunningFacts} session
     */
    left({ ahead, started, active, idle, ends }) {
      const now = Date.now() / 1000 - ahead;
      const idleEnd = Math.max(active, this.kernelsActive(now)) + idle;
      const final = ends <= idleEnd;
      const window = Math.min(WINDOW, (final ? ends - started : idle) / 4);
      // Rounding to whole seconds must not turn an hour into 61 minutes.
      return { left: Math.min(idleEnd - now, ends - now, idle), final, window };
    }

    /**
     * When kernels were last active; a busy one is active now (as the orchestrator sees it). A terminal's moment is
     * that of each reconnection, too: better a warning too many than one too few.
     * @param {number} now
     */
    kernelsActive(now) {
      const moments = [0];
      for (const one of this.app.serviceManager.kernels.running()) {
        const moment = Date.parse(one.last_activity ?? "") / 1000;
        moments.push(one.execution_state === "busy" ? now : Math.min(moment || 0, now));
      }
      return Math.max(...moments);
    }

    // --- Display

    show() {
      const style = document.createElement("style");
      style.textContent = STYLE;
      document.head.append(style);
      this.button.type = "button";
      Object.assign(this.button, this.texts.TONGUE);
      this.button.addEventListener("click", () => void (this.over ? this.say() : this.choose()));
      const widget = (this.widget = new this.lab.Widget());
      widget.id = NAME;
      widget.addClass("tmpnb-TimeLeft");
      widget.node.append(this.button);
      widget.hide();
      this.app.shell.add(widget, "top", { rank: 10000 });
      if (this.session) {
        this.tell();
      }
    }

    /** Update the time in the top bar, and the warnings, after each answer and whenever the text changes. */
    tell() {
      if (!this.widget || !this.session) {
        return;
      }
      const { left, final, window } = this.left(this.session), { _ } = this.texts;
      this.widget.setHidden(left > window);
      if (left > window) {
        this.calm();
        return;
      }
      this.button.textContent = _("{duration} left", { duration: this.words(left) });
      this.button.title = _("Time left: keep, download or end this notebook");
      const stage = left <= window / 15 ? 2 : left <= window / 3 ? 1 : 0;
      if (stage > this.warned) {
        this.calm();
        this.warned = stage;
        this.notification = this.warn(left, final);
      }
      const next = left > 60 ? left % 60 || 60 : Math.max(left - window / 15, 1);
      this.timers.push(setTimeout(() => this.tell(), Math.max(Math.min(next, left), 1) * 1000));
    }

    /** @param {number} seconds */
    words(seconds) {
      const { _, ngettext } = this.texts, minutes = Math.ceil(seconds / 60);
      if (seconds < 60) return _("less than a minute");
      return minutes < 120 ? ngettext("{count} min", "{count} min", minutes) : ngettext("one hour", "{count} hours", Math.floor(minutes / 60));
    }

    calm() {
      this.warned = 0;
      if (this.notification) {
        this.lab.Notification.dismiss(this.notification);
        this.notification = null;
      }
    }

    /** @param {number} left @param {boolean} final */
    warn(left, final) {
      const { _, timeOfDay } = this.texts;
      const facts = { time: timeOfDay(Date.now() + left * 1000), duration: this.words(left) };
      const message = final
        ? _("This notebook ends at {time}, in {duration}: that is the longest time that one may run here. Nothing of it is kept.", facts)
        : _("Nobody has used this notebook for a while. It ends at {time}, in {duration}, and nothing of it is kept, unless you go on.", facts);
      return this.lab.Notification.warning(message, { autoClose: false, actions: this.actions(final).slice(0, 2) });
    }

    /**
     * The best choices first; a notification has room for two.
     * @param {boolean} final
     */
    actions(final) {
      const { _ } = this.texts;
      const names = [
        ...(final ? [] : [{ label: _("Keep it"), command: "tmpnb:keep" }]),
        ...(this.archive ? [{ label: _("Download everything"), command: "tmpnb:download" }] : []),
        { label: _("End now"), command: "tmpnb:end" },
      ];
      return names.map(({ label, command }, index) => ({
        label,
        displayType: index ? "default" : "accent",
        warns: command === "tmpnb:end",
        callback: () => void this.app.commands.execute(command),
      }));
    }

    /** The same choices in the menu of the top bar's time. */
    async choose() {
      if (!this.session) return;
      const { left, final } = this.left(this.session);
      const { Dialog, showDialog } = this.lab, { _ } = this.texts;
      const actions = this.actions(final);
      const result = await showDialog({
        title: _("This notebook ends in {duration}", { duration: this.words(left) }),
        body: final
          ? _("It has then run for the longest time that is possible here. Nothing of it is kept.")
          : _("It ends because nobody uses it, and nothing of it is kept. Going on with your work keeps it, too."),
        buttons: [
          Dialog.cancelButton({ label: _("Close") }),
          ...actions.map(({ label, warns }) => (warns ? Dialog.warnButton({ label }) : Dialog.okButton({ label }))).reverse(),
        ],
      });
      actions.find(({ label }) => result.button.accept && label === result.button.label)?.callback();
    }

    // --- Actions

    /** @param {CommandPalette | null} palette @param {MainMenu | null} menu */
    offer(palette, menu) {
      const { commands } = this.app, { _ } = this.texts;
      commands.addCommand("tmpnb:keep", { label: _("Keep This Notebook"), execute: () => this.keep() });
      commands.addCommand("tmpnb:end", { label: _("End This Notebook Now…"), execute: () => this.end() });
      commands.addCommand("tmpnb:download", {
        label: _("Download Everything"),
        caption: _("All files that you changed or made, as one ZIP archive"),
        isVisible: () => Boolean(this.archive),
        execute: () => this.keeping().then((keeping) => keeping.keep()),
      });
      commands.addCommand("tmpnb:restore", {
        label: _("Restore from a Download…"),
        caption: _("Put the files of a ZIP archive to where they were"),
        isVisible: () => Boolean(this.restore),
        execute: () => this.keeping().then((keeping) => keeping.restore()),
      });
      const names = ["tmpnb:keep", "tmpnb:download", "tmpnb:restore", "tmpnb:end"];
      names.forEach((command) => palette?.addItem({ command, category: _("Temporary Notebook") }));
      menu?.fileMenu.addGroup(
        names.map((command) => ({ command })),
        95,
      );
    }

    async keep() {
      const { Notification } = this.lab, { _ } = this.texts;
      const answer = await this.orchestrator.keep();
      await this.asking;
      const { state } = await this.look();
      if (answer?.ok && state === "running" && this.session) {
        const { left } = this.left(this.session);
        Notification.success(_("Kept: this notebook now ends in {duration} at the earliest.", { duration: this.words(left) }), { autoClose: 8000 });
      } else if (!this.over) {
        Notification.error(_("This notebook could not be kept. Please try again."), { autoClose: false });
      }
    }

    /** Load the module for downloads and restores when needed. */
    async keeping() {
      const places = { archive: this.archive, restore: this.restore };
      this.loading ??= import(new URL("keeping.js", BESIDE).href)
        .then(({ Keeping }) => new Keeping(this.lab, this.app, places))
        .catch((error) => {
          this.loading = null;
          this.lab.Notification.error(this.texts._("The connection was lost. Please try again."), { autoClose: false });
          throw error;
        });
      return this.loading;
    }

    /** Open documents that were restored on the way here, once per tab. */
    openRestored() {
      const told = JSON.parse(this.lab.PageConfig.getOption("tmpnbRestored") || "{}");
      if (told.id && sessionStorage.getItem(`${NAME}:opened`) !== told.id) {
        void this.keeping().then((keeping) => keeping.open(told));
      }
    }

    async end() {
      const { Dialog, Notification, showDialog } = this.lab;
      const { _ } = this.texts, everything = _("Download everything");
      const download = this.archive ? [Dialog.okButton({ label: everything })] : [];
      let result;
      do {
        result = await showDialog({
          title: _("End this notebook now?"),
          body: _("Everything in it is deleted at once: your files, your results, and whatever still runs. A download can be restored in another one."),
          buttons: [Dialog.cancelButton({ label: _("Cancel") }), ...download, Dialog.warnButton({ label: _("End now") })],
          defaultButton: 0,
        });
        if (result.button.label === everything) {
          await this.app.commands.execute("tmpnb:download").catch(() => null);
        }
      } while (result.button.label === everything);
      if (!result.button.accept) {
        return;
      }
      const answer = await this.orchestrator.end();
      if (answer?.ok || answer?.status === 404) {
        this.over = true;
        leave();
      } else if (!this.over) {
        Notification.error(_("This notebook could not be ended. Please try again."), { autoClose: false });
      }
    }

    // --- The end

    /**
     * The server has gone. This page has the last copy of the open documents, so ask before it is lost.
     * @param {string} [message]
     */
    async ended(message) {
      this.over = true;
      this.rest();
      this.calm();
      const { _ } = this.texts;
      this.message = message || _("This notebook has ended.");
      if (!this.documents().length) {
        leave();
        return;
      }
      if (this.widget) {
        this.button.textContent = _("Ended");
        this.button.title = _("This notebook has ended: save what is open, and go on");
        this.widget.show();
      }
      // JupyterLab's own dialogs about a dead kernel and failed saves are pointless now.
      this.lab.Dialog.tracker.forEach((dialog) => dialog.reject());
      await this.say();
    }

    async say() {
      const { Dialog, showDialog } = this.lab, { _ } = this.texts;
      const goOn = _("Go on"), toDisk = _("Save to my computer");
      const documents = this.documents();
      const names = documents.map(({ context }) => context.path.split("/").pop() ?? "");
      for (let told = _("Nothing of it is kept, but what you worked on is still open in this page"); ; ) {
        const result = await showDialog({
          title: _("Save what is open?"),
          body: `${this.message} ${told}: ${names.join(", ")}.`,
          buttons: [Dialog.cancelButton({ label: goOn }), Dialog.okButton({ label: toDisk })],
          defaultButton: 1,
        });
        if (result.button.label === goOn) {
          leave();
        }
        if (result.button.label !== toDisk) {
          return; // Escape: the page stays as it is, and the top bar leads on
        }
        documents.forEach(({ context }, index) => keepCopy(context.model, names[index]));
        told = _("Your browser has been given what was open in this page");
      }
    }

    /** The open documents that this visitor edited, except those not loaded yet. */
    documents() {
      const ready = /** @type {DocumentWidget[]} */ ([...this.app.shell.widgets("main")].filter(({ context }) => context?.isReady));
      return ready.filter(({ context }) => this.worked.has(context.path) || hasWork(context.model));
    }
  }

  // --- Helpers

  /**
   * Only a person's edits count: JupyterLab calls a notebook "dirty" once its kernel has reported its language.
   * @param {DocumentModel} model
   */
  function hasWork(model) {
    if (!model.cells) {
      return model.dirty;
    }
    const ran = (/** @type {LabCell} */ cell) => cell.type === "code" && (cell.executionCount !== null || cell.outputs.length > 0);
    return model.sharedModel.canUndo() || [...model.cells].some((cell) => ran(cell) || cell.sharedModel.canUndo());
  }

  /** @param {string} url @param {string} name */
  function save(url, name) {
    const link = document.createElement("a");
    link.href = url;
    link.download = name;
    document.body.append(link);
    link.click();
    link.remove();
  }

  /** @param {DocumentModel} model @param {string} name */
  function keepCopy(model, name) {
    const url = URL.createObjectURL(new Blob([model.toString()], { type: "application/octet-stream" }));
    save(url, name);
    setTimeout(() => URL.revokeObjectURL(url), 60000);
  }

  /** Go to the page that explains the end, which this document's URL now answers with. */
  function leave() {
    // JupyterLab would ask about unsaved changes, which we have already asked.
    addEventListener("beforeunload", (event) => event.stopImmediatePropagation(), { capture: true });
    location.reload();
  }
})();
