/*
 * Keeps a visitor's work beyond its notebook, and restores it. Loaded by remoteEntry.js on the first use.
 *
 * The notebook's own server creates and restores archives (workshop_image/server). They are kept in a place: an object
 * with `keep(url)`, which stores the content of a URL, and `take()`, which returns a File, or null if the visitor
 * cancels. Today the only place is the visitor's downloads. Another place must be out of reach of all notebooks'
 * scripts, so this page's storage is unsuitable: all notebooks share its origin.
 */

import { _, figure, ngettext } from "./words.js";

const downloads = {
  /** @param {string} url */
  keep(url) {
    const link = document.createElement("a");
    link.href = url;
    link.download = "";
    document.body.append(link);
    link.click();
    link.remove();
  },

  /** @returns {Promise<File | null>} */
  take() {
    return new Promise((resolve) => {
      const input = document.createElement("input");
      input.type = "file";
      input.accept = ".zip,application/zip";
      input.addEventListener("change", () => resolve(input.files?.[0] ?? null));
      input.addEventListener("cancel", () => resolve(null));
      input.click();
    });
  },
};

const MOST_UNSAVED = 32e6; // characters that are sent to the server for a download
const NAMED = 8; // files that a dialog names

export class Keeping {
  /**
   * `lab` are JupyterLab's modules, `places` the server's URLs.
   * @param {Lab} lab @param {LabApp} app @param {ArchivePlaces} places the server's addresses
   */
  constructor(lab, app, places) {
    this.lab = lab;
    this.app = app;
    this.places = places;
    this.place = downloads;
  }

  // --- Keep

  /** Does not save first, as that may fail: unsaved documents are included as this page has them. */
  async keep() {
    const { unsaved, lacking } = await this.unsaved();
    const told = await this.call(this.places.archive, JSON.stringify({ ...this.layout(), unsaved }), "application/json");
    if (!told.ok) {
      await this.say(_("There is no download"), refusal(told));
      return;
    }
    this.place.keep(told.url);
    const holds = told.files
      ? ngettext("Your download holds the one file that you changed or made ({size}).",
        "Your download holds the {count} files that you changed or made ({size}).", told.files, { size: size(told.bytes) })
      : _("You have not changed or made a file yet: your download only remembers what is open.");
    if (lacking.length || told.left_out_count) {
      const all = [...lacking, ...lines(told.left_out)];
      await this.say(_("Your download does not hold everything"), `${holds} ${_("What is not in it:")}`, all, lacking.length + told.left_out_count);
    } else {
      this.lab.Notification.success(`${holds} ${_("“Restore from a Download…” brings it back.")}`, { autoClose: 10000 });
    }
  }

  documents() {
    return /** @type {DocumentWidget[]} */ ([...this.app.shell.widgets("main")].filter(({ context }) => context?.isReady));
  }

  layout() {
    const paths = this.documents().map(({ context }) => path(context));
    const active = this.app.shell.currentWidget?.context;
    const { origin, pathname } = location;
    return { origin: origin + pathname.replace(/user\/.*/, ""), open: [...new Set(paths)], active: active ? path(active) : "" };
  }

  /**
   * Texts by path, and what could not be had. A notebook that is only looked at is "dirty", too: what is like the image's
   * the server leaves out. What is text on the disk and a notebook here is saved: the server turns one into the other.
   */
  async unsaved() {
    /** @type {{ [path: string]: string }} */
    const unsaved = {};
    /** @type {string[]} */
    const lacking = [];
    let left = MOST_UNSAVED;
    for (const { context } of this.documents().filter(({ context: { model } }) => model.dirty && !model.readOnly)) {
      const name = path(context);
      if (context.model.cells && !name.endsWith(".ipynb")) {
        await context.save().catch(() => lacking.push(_("{name}: its last changes, which could not be saved", { name })));
        continue;
      }
      const text = context.model.toString();
      left -= text.length;
      if (left >= 0) unsaved[name] = text;
      else lacking.push(_("{name}: its unsaved changes, as it is very large", { name }));
    }
    return { unsaved, lacking };
  }

  // --- Restore

  async restore() {
    const { Notification } = this.lab;
    const { commands, status } = this.app;
    const archive = await this.place.take();
    if (!archive) {
      return;
    }
    if (status.isDirty && commands.hasCommand("docmanager:save-all")) {
      await commands.execute("docmanager:save-all").catch(() => null); // else what is open could be taken for untouched
    }
    const { room } = await this.call(this.places.restore);
    if (archive.size > room) {
      const facts = { name: archive.name, size: size(archive.size), room: size(room) };
      await this.say(_("Nothing was restored"), _("{name} has {size}, and there is room for {room} in this notebook.", facts));
      return;
    }
    const notice = Notification.emit(_("Restoring {name}…", { name: archive.name }), "in-progress", { autoClose: false });
    const told = await this.call(`${this.places.restore}?name=${encodeURIComponent(archive.name)}`, archive, "application/zip");
    Notification.dismiss(notice);
    if (!told.ok) {
      await this.say(_("Nothing was restored"), refusal(told));
      return;
    }
    await this.reload(told.replaced);
    await this.open(told);
  }

  /**
   * Reload the open documents from the disk.
   * @param {string[]} paths
   */
  async reload(paths) {
    const stale = this.documents().filter(({ context }) => paths.includes(path(context)) && !context.model.dirty);
    await Promise.all(stale.map(({ context }) => context.revert()));
    if (this.app.commands.hasCommand("filebrowser:refresh")) {
      await this.app.commands.execute("filebrowser:refresh").catch(() => null);
    }
  }

  /**
   * Reopen the documents, the last one in front, and show the result; once per tab, wherever the restore began.
   * @param {ToldRestored} told
   */
  async open(told) {
    sessionStorage.setItem("tmpnb-session:opened", told.id);
    for (const one of told.open) {
      await this.app.commands.execute("docmanager:open", { path: one }).catch(() => null);
    }
    const { restored, kept_both: both, kept_both_count: count, skipped, skipped_count: left, folder, name } = told;
    const done = restored
      ? restoredWords(restored, name, folder)
      : _("All that {name} holds is here already.", { name });
    const beside = Object.entries(both).map(([old, now]) => _("{now}, beside your {old}", { now, old }));
    if (count) {
      await this.say(_("Restored beside your own"), `${done} ${_("What you had changed here is as it was; the restored files have other names:")}`, beside, count);
    }
    if (left) {
      await this.say(_("Not everything was restored"), `${count ? "" : done} ${_("What was not:")}`, lines(skipped), left);
    }
    if (!count && !left) {
      this.lab.Notification.success(done, { autoClose: 10000 });
    }
  }

  /**
   * Uses a dialog, as JupyterLab truncates notifications to two lines.
   * @param {string} title @param {string} text @param {string[]} [entries] @param {number} [count]
   */
  say(title, text, entries = [], count = entries.length) {
    const { Dialog, Widget, showDialog } = this.lab;
    const body = new Widget();
    const paragraph = document.createElement("p");
    paragraph.textContent = text;
    body.node.append(paragraph);
    if (entries.length) {
      const list = document.createElement("ul");
      const more = count > NAMED ? [_("and {count} more", { count: count - NAMED })] : [];
      list.append(...[...entries.slice(0, NAMED), ...more].map((entry) => Object.assign(document.createElement("li"), { textContent: entry })));
      list.style.cssText = "margin: 0.5em 0 0; padding-left: 1.5em; overflow-wrap: anywhere;";
      body.node.append(list);
    }
    return showDialog({ title, body, buttons: [Dialog.okButton({ label: _("OK") })] });
  }

  /**
   * The server's answer with `ok`; a missing or foreign one with a `message`.
   * @param {string} url @param {BodyInit | null} [body] @param {string} [type] @returns {Promise<any>} as that address answers
   */
  async call(url, body = null, type = "") {
    const { ServerConnection } = this.lab;
    const settings = this.app.serviceManager.serverSettings;
    try {
      const init = body === null ? {} : { method: "POST", body, headers: { "Content-Type": type } };
      const response = await ServerConnection.makeRequest(new URL(url, location.href).href, init, settings);
      const told = await response.json().catch(() => ({}));
      return { message: _("The notebook's server answered with an error ({status}).", { status: response.status }), ...told, ok: response.ok };
    } catch {
      return { ok: false, message: _("The connection was lost. Please try again.") };
    }
  }
}

// --- Texts

/** @param {DocumentContext} context */
function path(context) {
  return context.localPath ?? context.path;
}

/** @param {{ message: string, text?: string, values?: { [name: string]: string | number } }} told where numbers are sizes in bytes */
function refusal({ message, text, values = {} }) {
  const shown = Object.entries(values).map(([name, value]) => [name, typeof value === "number" ? size(value) : value]);
  return text ? _(text, Object.fromEntries(shown)) : message;
}

/** @param {Left[]} entries */
function lines(entries) {
  return entries.map((one) => `${one.path}: ${_(one.why)}`);
}

/** @param {number} count @param {string} name of the archive @param {string} folder "" for where it was */
function restoredWords(count, name, folder) {
  return folder
    ? ngettext("Restored one file from {name} in the folder {folder}.", "Restored {count} files from {name} in the folder {folder}.", count, { name, folder })
    : ngettext("Restored one file from {name}.", "Restored {count} files from {name}.", count, { name });
}

/** @param {number} bytes */
function size(bytes) {
  return bytes < 1e6 ? `${figure(Math.ceil(bytes / 1e3))} kB` : `${figure(bytes / 1e6, 1)} MB`;
}
