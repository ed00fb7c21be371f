/*
 * A notebook's limits: memory and disk in the status bar, and an explanation if a limit killed a kernel or a kernel's
 * program. Loaded by remoteEntry.js once JupyterLab is shown.
 *
 * Asks the notebook's own server (tmpnb_limits.py) every half minute while the tab is visible, and when a kernel or a
 * cell has ended; asking is no activity.
 */

import { _, figure } from "./words.js";

const EVERY = 30000; // milliseconds
const NOT_BEFORE = 3000; // after the last answer, when a cell has ended
const SETTLE = 300; // milliseconds that the system takes to count what it killed
const NEARLY = 0.9;
const STYLE = `
  .tmpnb-Limits { padding: 0 6px; white-space: nowrap; }
  .tmpnb-Limits.tmpnb-mod-nearly { font-weight: bold; background: var(--jp-warn-color1); color: #000; }
  @media (max-width: 600px) { .tmpnb-Limits:not(.tmpnb-mod-nearly) { display: none; } }
`;

/**
 * `context` is {lab, app, shared, url, token}: JupyterLab's modules and application, and the server to ask.
 * @param {LimitsContext} context JupyterLab's modules and application, and where to ask
 */
export async function begin(context) {
  const { IStatusBar } = await context.shared("@jupyterlab/statusbar");
  const bar = await context.app.resolveOptionalService(IStatusBar);
  new Limits(context).begin(bar);
}

class Limits {
  /** @param {LimitsContext} context */
  constructor({ lab, app, url, token }) {
    this.lab = lab;
    this.app = app;
    this.url = `${url}?no_track_activity=1`;
    /** @type {HeadersInit} */
    this.headers = token ? { Authorization: `token ${token}` } : {};
    /** @type {number | null} of the last answer */
    this.kills = null;
    /** @type {WeakSet<SessionContext>} those that are watched */
    this.known = new WeakSet();
    /** @type {{ name?: string } | null} whose kernel has just ended */
    this.ended = null;
    this.asked = 0;
    this.item = new lab.Widget();
  }

  /** @param {StatusBar | null} bar */
  begin(bar) {
    this.item.addClass("jp-StatusBar-TextItem");
    this.item.addClass("tmpnb-Limits");
    const style = document.createElement("style");
    style.textContent = STYLE;
    document.head.append(style);
    bar?.registerStatusItem("tmpnb-session:limits", { item: this.item, align: "left", rank: 3 });
    this.app.shell.layoutModified?.connect(() => this.watch());
    document.addEventListener("visibilitychange", () => void this.look());
    setInterval(() => void this.look(), EVERY);
    this.watch();
    void this.look();
  }

  /**
   * Null without an answer, and in a hidden tab.
   * @returns {Promise<Limited | null>}
   */
  async look() {
    if (document.hidden) {
      return null;
    }
    this.asked = Date.now();
    const response = await fetch(this.url, { headers: this.headers, cache: "no-store" }).catch(() => null);
    const found = response?.ok ? await response.json().catch(() => null) : null;
    if (found) {
      this.show(found);
      this.compare(found.memory);
    }
    return found;
  }

  /** @param {Limited} found */
  show({ memory, disk }) {
    const known = [{ name: _("Memory"), ...memory }, { name: _("Disk"), ...disk }].filter(({ limit }) => limit !== undefined);
    const text = known.map(({ name, used = 0, limit = 0 }) => _("{name} {used} of {limit} MB", { name, used: megabytes(used), limit: megabytes(limit) }));
    this.item.node.textContent = text.join(" · ");
    this.item.node.title = _("What this notebook uses of what it may use. Your files count as memory, too.");
    this.item.toggleClass("tmpnb-mod-nearly", known.some(({ used = 0, limit = 0 }) => used > NEARLY * limit));
    this.item.setHidden(!text.length);
  }

  /**
   * Report once that something was killed for lack of memory since the last check.
   * @param {Limited["memory"]} memory
   */
  compare(memory) {
    const before = this.kills;
    this.kills = memory?.kills ?? 0;
    if (!memory || before === null || this.kills <= before) {
      return;
    }
    const name = this.ended?.name;
    const facts = { name, size: megabytes(memory.limit) };
    const message = name
      ? `${_("The kernel of {name} was ended: it needed more memory than this notebook has ({size} MB).", facts)} ${_("What the kernel knew is lost. Load less data at a time, or shut down other kernels, and run the cells again.")}`
      : `${_("A program in this notebook was ended: it needed more memory than this notebook has ({size} MB).", facts)} ${_("Load less data at a time, or shut down other kernels. If cells fail now, restart their kernel.")}`;
    this.ended = null;
    this.lab.Notification.error(message, { autoClose: false });
    // JupyterLab's own dialog says only that the kernel appears to have died.
    this.lab.Dialog.tracker.forEach(({ node }) => {
      const header = node.querySelector(".jp-Dialog-header")?.textContent ?? "";
      if (header.includes("Kernel Restarting")) {
        const paragraph = document.createElement("p");
        paragraph.textContent = message;
        node.querySelector(".jp-Dialog-body")?.append(paragraph);
      }
    });
  }

  /** Check when a kernel of an open document ends, or has run code. */
  watch() {
    for (const { sessionContext } of this.app.shell.widgets("main")) {
      if (sessionContext && !this.known.has(sessionContext)) {
        this.known.add(sessionContext);
        sessionContext.statusChanged.connect((_context, status) => this.changed(sessionContext, status));
      }
    }
  }

  /** @param {SessionContext} context @param {string} status */
  changed({ path }, status) {
    if (status === "autorestarting" || status === "dead") {
      this.ended = { name: path.split("/").pop() };
      setTimeout(() => void this.look().then(() => (this.ended = null)), SETTLE);
    } else if (status === "idle" && Date.now() - this.asked > NOT_BEFORE) {
      void this.look();
    }
  }
}

/** @param {number} bytes */
function megabytes(bytes) {
  return figure(Math.round(bytes / 1048576));
}
