"use strict";
// Going on with a saved archive: a notebook is taken, the archive goes straight to it, and what was open in it opens.
//
// An archive comes from a place where it was kept, a function that sets up its part of the page and calls `restore`
// with a File. Today there is one: the visitor's own disk. Another must not be readable by scripts of notebooks.
(() => {
  const section = document.getElementById("keeping");
  if (!section) return;
  const { base } = document.documentElement.dataset;
  const { key } = section.dataset;
  const part = (name) => document.getElementById("keeping-" + name);
  const form = section.querySelector("form"), way = part("way"), problem = part("problem");
  let wish = "", ticket = "", session = null, upload = null, cancelled = false;

  const fromDisk = (restore) => {
    section.hidden = false;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      restore(part("file").files[0]);
    });
  };

  const pause = (seconds) => new Promise((resolve) => { setTimeout(resolve, seconds * 1000); });
  const doing = (text) => { if (part("doing").textContent !== text) part("doing").textContent = text; };
  const isArchive = async (file) => {
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
  const asked = async (path, init) => {
    const answer = await fetch(base + path, init).catch(() => { throw new Error("The service cannot be reached. Please try again."); });
    const state = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(state.message || "That did not work. Please try again.");
    return state;
  };

  // What is too large is not sent at all: that may take minutes.
  const checkRoom = async (file) => {
    const headers = { Authorization: "token " + session.token };
    const answer = await fetch(session.url + "tmpnb/restore", { headers }).catch(() => null);
    const { room } = answer && answer.ok ? await answer.json() : {};
    const words = (bytes) => (bytes / 1e6).toFixed(1) + " MB";
    if (file.size > room) {
      throw new Error("This archive has " + words(file.size) + ", and a notebook has room for " + words(room) + ". Nothing was restored.");
    }
  };

  const sent = (file) => new Promise((resolve, reject) => {
    const bar = part("progress");
    upload = new XMLHttpRequest();
    upload.open("POST", session.url + "tmpnb/restore?name=" + encodeURIComponent(file.name));
    upload.setRequestHeader("Authorization", "token " + session.token);
    upload.setRequestHeader("Content-Type", "application/zip");
    upload.responseType = "json";
    upload.upload.onprogress = ({ loaded, total }) => {
      bar.hidden = false;
      bar.value = total ? loaded / total : 0;
      if (loaded === total) doing("Restoring…");
    };
    upload.onload = () => {
      const told = upload.response || {};
      if (upload.status === 200) resolve(told);
      else reject(new Error(told.message || "The notebook did not take it. Please try again."));
    };
    upload.onerror = () => reject(new Error("The upload was interrupted, and nothing was restored. Please try again."));
    upload.onabort = () => resolve(null);
    upload.send(file);
  });

  const restore = async (file) => {
    cancelled = false;
    problem.hidden = form.hidden = true;
    way.hidden = false;
    doing("Looking at your archive…");
    way.querySelector("button").focus();
    try {
      if (!await isArchive(file)) throw new Error("This file is no ZIP archive. Please choose another one.");
      if (!session) {
        doing("Getting your notebook…");
        session = await notebook();
      }
      if (cancelled) return shown("");
      doing("Sending your archive…");
      await checkRoom(file);
      const told = await sent(file);
      if (!told) return shown("");
      doing("Opening your notebook…");
      const front = told.open.at(-1);
      const target = front ? "lab/tree/" + front.split("/").map(encodeURIComponent).join("/") : "lab";
      location.assign(session.url + target + "?token=" + encodeURIComponent(session.token));
    } catch (error) {
      shown(error.message);
    }
  };

  // Back to the form, with what went wrong. A notebook that was taken for it is used the next time.
  const shown = (message) => {
    way.hidden = part("progress").hidden = true;
    form.hidden = false;
    problem.hidden = !message;
    problem.textContent = message;
    part("without").hidden = !session;
    if (session) part("without").firstChild.href = session.open_url;
    part("file").focus();
  };
  way.querySelector("button").addEventListener("click", () => {
    cancelled = true;
    wish = "";
    leave();
    if (upload) upload.abort();
  });
  const leave = () => { if (ticket) navigator.sendBeacon(base + "api/tickets/" + ticket + "/leave"); };
  addEventListener("pagehide", leave);
  addEventListener("pageshow", (event) => { if (event.persisted) shown(""); });

  fromDisk(restore);
})();
