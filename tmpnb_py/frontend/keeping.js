"use strict";
// Going on with a saved archive, on the first page: a notebook is taken, the archive goes straight to it, and what was open
// in it opens. Inlined there (web/pages/reading.py), in the service's origin.
//
// An archive comes from a place where it was kept, a function that sets up its part of the page and calls `restore`
// with a File. Today there is one: the visitor's own disk. Another must not be readable by scripts of notebooks.
(() => {
  const section = document.getElementById("keeping");
  if (!section) return;
  const { base = "/" } = document.documentElement.dataset;
  const { key } = section.dataset;
  const part = (/** @type {string} */ name) => /** @type {HTMLElement} */ (document.getElementById("keeping-" + name));
  const form = /** @type {HTMLFormElement} */ (section.querySelector("form"));
  const field = /** @type {HTMLInputElement} */ (part("file"));
  const bar = /** @type {HTMLProgressElement} */ (part("progress"));
  const way = part("way"), problem = part("problem");
  const cancel = /** @type {HTMLButtonElement} */ (way.querySelector("button"));
  let wish = "", ticket = "", cancelled = false;
  /** @type {SessionInfo | null} */
  let session = null;
  /** @type {XMLHttpRequest | null} */
  let upload = null;

  /** @param {(file: File) => void} restore */
  const fromDisk = (restore) => {
    section.hidden = false;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (field.files?.length) restore(field.files[0]);
    });
  };

  const pause = (/** @type {number} */ seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  const doing = (/** @type {string} */ text) => {
    if (part("doing").textContent !== text) part("doing").textContent = text;
  };
  const isArchive = async (/** @type {File} */ file) => {
    const start = new Uint8Array(await file.slice(0, 2).arrayBuffer());
    return start[0] === 80 && start[1] === 75; // "PK", as every ZIP file begins
  };

  // A place in line, and the notebook when its turn has come. Throws an Error with words for the visitor.
  const notebook = async () => {
    wish ||= Array.from(crypto.getRandomValues(new Uint8Array(16)), (one) => one.toString(16).padStart(2, "0")).join("");
    const body = JSON.stringify({ path: "lab", key, once: wish }); // the same wish when it is sent again
    const init = { method: "POST", headers: { "Content-Type": "application/json" }, body };
    let state = await asked("api/tickets", init);
    ticket = state.id;
    for (let failures = 0; state.status === "waiting" && !cancelled;) {
      doing(state.message);
      await pause(3);
      try {
        state = await asked("api/tickets/" + ticket);
        failures = 0;
      } catch (error) {
        if ((failures += 1) > 5) throw error;
      }
    }
    ticket = "";
    if (!cancelled && !state.session) throw new Error(state.message);
    return state.session;
  };

  /** @param {string} path @param {RequestInit} [init] @returns {Promise<TicketState>} */
  const asked = async (path, init) => {
    const answer = await fetch(base + path, init).catch(() => null);
    if (!answer) throw new Error(_("The service cannot be reached. Please try again."));
    const state = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(state.message ? _(state.message) : _("That did not work. Please try again."));
    return state;
  };

  /** @param {number} bytes */
  const megabytes = (bytes) =>
    _("{count} MB", { count: (bytes / 1e6).toLocaleString(WORDS.tag, { minimumFractionDigits: 1, maximumFractionDigits: 1 }) });

  /**
   * Why a notebook refused an archive.
   * @param {{ message?: string, text?: string, values?: { [name: string]: string | number } }} told where numbers are sizes in bytes
   */
  const refusal = ({ message, text, values = {} }) => {
    const shown = Object.entries(values).map(([name, value]) => [name, typeof value === "number" ? megabytes(value) : value]);
    if (text) return _(text, Object.fromEntries(shown));
    return message || _("The notebook did not accept the archive. Please try again.");
  };

  /**
   * What is too large is not sent at all: that may take minutes.
   * @param {File} file @param {SessionInfo} session
   */
  const checkRoom = async (file, { url, token }) => {
    const headers = { Authorization: "token " + token };
    const answer = await fetch(url + "tmpnb/restore", { headers }).catch(() => null);
    const { room } = answer && answer.ok ? await answer.json() : {};
    if (file.size > room) {
      throw new Error(_("This archive is {size}, and a notebook has room for {room}. Nothing was restored.", { size: megabytes(file.size), room: megabytes(room) }));
    }
  };

  /**
   * What the notebook says of it; null where the visitor cancelled it.
   * @param {File} file @param {SessionInfo} session @returns {Promise<Restored | null>}
   */
  const sent = (file, { url, token }) => new Promise((resolve, reject) => {
    const request = (upload = new XMLHttpRequest());
    request.open("POST", url + "tmpnb/restore?name=" + encodeURIComponent(file.name));
    request.setRequestHeader("Authorization", "token " + token);
    request.setRequestHeader("Content-Type", "application/zip");
    request.responseType = "json";
    request.upload.onprogress = ({ loaded, total }) => {
      bar.hidden = false;
      bar.value = total ? loaded / total : 0;
      if (loaded === total) doing(_("Restoring…"));
    };
    request.onload = () => {
      const told = request.response || {};
      if (request.status === 200) resolve(told);
      else reject(new Error(refusal(told)));
    };
    request.onerror = () => reject(new Error(_("The upload was interrupted, and nothing was restored. Please try again.")));
    request.onabort = () => resolve(null);
    request.send(file);
  });

  /** @param {File} file */
  const restore = async (file) => {
    cancelled = false;
    problem.hidden = form.hidden = true;
    way.hidden = false;
    doing(_("Checking your archive…"));
    cancel.focus();
    try {
      if (!await isArchive(file)) throw new Error(_("This file is not a ZIP archive. Please choose another one."));
      if (!session) {
        doing(_("Getting your notebook…"));
        session = await notebook();
      }
      if (cancelled || !session) return shown("");
      doing(_("Sending your archive…"));
      await checkRoom(file, session);
      const told = await sent(file, session);
      if (!told) return shown("");
      doing(_("Opening your notebook…"));
      const front = told.open.at(-1);
      const target = front ? "lab/tree/" + front.split("/").map(encodeURIComponent).join("/") : "lab";
      location.assign(session.url + target + "?token=" + encodeURIComponent(session.token ?? ""));
    } catch (error) {
      shown(error instanceof Error ? error.message : String(error));
    }
  };

  /**
   * Back to the form, with what went wrong. A notebook that was taken for it is used the next time.
   * @param {string} message
   */
  const shown = (message) => {
    way.hidden = bar.hidden = true;
    form.hidden = false;
    problem.hidden = !message;
    problem.textContent = message;
    part("without").hidden = !session;
    const without = part("without").querySelector("a");
    if (session && without) without.href = session.open_url;
    field.focus();
  };
  cancel.addEventListener("click", () => {
    cancelled = true;
    wish = "";
    leave();
    upload?.abort();
  });
  const leave = () => {
    if (ticket) navigator.sendBeacon(base + "api/tickets/" + ticket + "/leave");
  };
  addEventListener("pagehide", leave);
  addEventListener("pageshow", (event) => {
    if (event.persisted) shown("");
  });

  fromDisk(restore);
})();
