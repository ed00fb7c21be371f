"use strict";
// The launch page and the waiting page: draw a ticket, follow it, go to the notebook. Nothing here is needed: the
// forms do the same without it.
(() => {
  const byId = (id) => document.getElementById(id);
  const visit = byId("visit"), choice = byId("choice"), busy = byId("busy"), line = byId("line");
  const handed = byId("handed");
  const { path, key } = visit.dataset;
  const { base } = document.documentElement.dataset; // of the service's addresses
  // A page that is reloaded while it gets a notebook makes the same wish again, not another one.
  const once = (history.state && history.state.once) || visit.dataset.once;
  // It was loaded again for the notebook that its visitor got in another tab: it goes on, and asks for that no more.
  const again = Boolean(history.state && history.state.again);
  const title = document.title;
  // The heading in the document, which no server is told of. A file that is saved has none.
  const fragment = path.startsWith("files/") ? "" : location.hash;
  const SHOWN = 5000; // milliseconds
  const AWAY = "The service cannot be reached. Your place in line is kept; trying again…";
  let ticket = visit.dataset.ticket || "", source = null, timer = 0, furthest = 0, told = "", toldAt = 0;
  let going = false, leaving = false, heard = false;
  let another = visit.dataset.another || ""; // the name of the wish for another notebook than the one that runs

  const show = (what) => { for (const one of [choice, busy, line, handed]) if (one) one.hidden = one !== what; };
  const say = (text, urgent) => { // to screen readers: at once what matters, and the countdown only now and then
    if (text === told || (!urgent && Date.now() - toldAt < 20000)) return;
    told = byId("said").textContent = text;
    toldAt = Date.now();
  };
  const doing = (text) => { byId("doing").textContent = text; show(busy); say(text, true); };
  const later = (what, seconds) => { clearTimeout(timer); timer = setTimeout(what, seconds * 1000); };
  // To an address with a fragment that one is at already, a browser goes without asking for it anew.
  const load = (url) => { history.replaceState(null, "", url + fragment); location.reload(); };
  const go = (url) => {
    if (fragment) return load(url);
    location.replace(url);
    // What a browser saves rather than shows leaves this page where it is.
    if (path.startsWith("files/")) later(() => saved(url), 4);
  };
  const saved = (url) => {
    byId("again").href = url;
    document.title = "Your file";
    show(handed);
    say(handed.textContent, true);
  };
  const stop = () => { clearTimeout(timer); if (source) source.close(); source = null; };
  const waiting = () => base + "spawn/wait/" + ticket + (path ? "?path=" + encodeURIComponent(path) : "");
  const launch = () => base + "spawn" + (path ? "?urlpath=" + encodeURIComponent(path) : "");

  // Tells the browser's other tabs that there is a notebook now, and nothing else: notebooks share this origin, so
  // they hear it, too, and may say it at any time. Who waits loads the page again, and the service knows the rest.
  const others = window.BroadcastChannel ? new BroadcastChannel("tmpnb-visit") : null;
  if (others) others.onmessage = () => {
    if (heard || going || !navigator.cookieEnabled) return; // without cookies the place would be lost
    heard = true; // and not before it has been shown for a while, or it could be kept from being used
    setTimeout(async () => {
      const answer = ticket && !going ? await fetch(base + "api/tickets/" + ticket).catch(() => null) : null;
      if (answer && answer.ok && !going) location.reload(); else heard = false;
    }, Math.max(0, SHOWN - performance.now()));
  };

  const settled = async (state, streamed) => {
    going = true;
    stop();
    if (state.status !== "ready") {
      doing(state.message);
      return load(waiting()); // the page says it better
    }
    doing("Your notebook is ready. Opening it…");
    // No cookie comes with a stream; without it the other tabs would find nothing.
    if (streamed) await fetch(base + "api/tickets/" + ticket).catch(() => {});
    if (others) others.postMessage("");
    // The waiting page leads there and remembers the notebook; without cookies it would know nobody.
    go(streamed && navigator.cookieEnabled ? waiting() : state.session.open_url);
  };

  const follow = (state) => {
    // On its way to the notebook of another tab the place is given up: the waiting page must not be loaded once more.
    if (going || (leaving && state.status === "left")) return;
    if (state.status !== "waiting") return settled(state, Boolean(source));
    const moved = told === AWAY || byId("position").textContent !== String(state.position);
    furthest = Math.max(furthest, state.position);
    byId("position").textContent = state.position;
    byId("message").textContent = state.message;
    byId("giving-up").action = base + "spawn/wait/" + ticket;
    const bar = byId("progress");
    bar.hidden = furthest < 2;
    bar.max = furthest;
    bar.value = furthest - state.position;
    document.title = state.position + " in line";
    say(state.message, moved || state.estimate === null); // no countdown, so news
    show(line);
  };

  const away = () => { byId("message").textContent = AWAY; say(AWAY, true); };

  const watch = () => {
    if (!window.EventSource) return ask();
    source = new EventSource(base + "api/tickets/" + ticket + "/events");
    let failures = 0, heard = false;
    source.onmessage = (event) => { failures = 0; heard = true; follow(JSON.parse(event.data)); };
    source.onerror = () => {
      failures += 1;
      if (going || !source) return;
      if (heard && failures > 1) away(); // one that never got through tells nothing of the service
      if (source.readyState !== EventSource.CLOSED && failures < 3) return;
      stop();
      later(ask, 1);
    };
  };
  // Where streams do not get through, the ticket is asked for; it is also how a place that was lost is
  // noticed: whoever sees that joins the line again.
  const ask = async () => {
    try {
      const answer = await fetch(base + "api/tickets/" + ticket);
      if (answer.status === 404) { // given up while the computer slept, or the service was restarted
        if (document.visibilityState !== "visible") return load(waiting());
        ticket = "";
        return start(another);
      }
      if (answer.ok) follow(await answer.json()); else if (!going) away();
    } catch { if (!going) away(); }
    if (!going) later(ask, 4);
  };

  const start = async (fresh, end = false) => { // fresh: as "another", which it is from now on; end: what ran before
    another = fresh;
    doing("Getting your notebook…");
    history.replaceState({ once }, "");
    let answer, state;
    try {
      const body = JSON.stringify({ path, key, fresh: Boolean(fresh), end, once: fresh || once, reload: !again });
      answer = await fetch(base + "api/tickets", { method: "POST", headers: { "Content-Type": "application/json" }, body });
      state = await answer.json();
    } catch {
      doing("The service cannot be reached. Trying again…");
      return later(() => start(fresh, end), 3);
    }
    if (answer.status === 429) {
      doing(state.message[0].toUpperCase() + state.message.slice(1) + ". Trying again in a moment…");
      return later(() => start(fresh, end), state.retry_after ? Math.min(state.retry_after, 20) : 10);
    }
    if (answer.status === 503 && state.status === "closed") return location.reload(); // the page says it better
    if (answer.status === 409) { // the visitor has had a notebook since this page was made
      history.replaceState({ once, again: true }, "", launch() + fragment);
      return location.reload();
    }
    const seconds = Number(answer.headers.get("Retry-After"));
    if (answer.status === 503 && seconds) {
      doing("The service is not ready yet. Trying again in a moment…");
      return later(() => start(fresh, end), Math.min(seconds, 20));
    }
    if (answer.status !== 201) {
      if (!choice) { // the waiting page has none to go back to
        doing((state.message || "That did not work.") + " Trying again…");
        return later(() => start(fresh, end), 5);
      }
      byId("problem").textContent = state.message;
      byId("problem").hidden = false;
      return show(choice);
    }
    ticket = state.id;
    if (state.status === "waiting") {
      history.replaceState(null, "", waiting() + fragment);
      watch();
    }
    follow(state);
  };

  byId("giving-up").addEventListener("submit", () => { going = true; stop(); });
  if (choice) {
    choice.addEventListener("submit", (event) => {
      event.preventDefault();
      const fields = new FormData(event.target);
      start(fields.get("fresh") ? fields.get("once") : "", fields.has("end"));
    });
  }
  addEventListener("beforeunload", () => { leaving = true; });
  addEventListener("pagehide", () => {
    if (ticket && !going) navigator.sendBeacon(base + "api/tickets/" + ticket + "/leave");
    stop();
  });
  addEventListener("pageshow", (event) => {
    if (!event.persisted || !handed.hidden) return; // a file that was saved is not saved once more
    going = leaving = false;
    if (ticket) watch(); else { document.title = title; show(choice); }
  });

  if (ticket) watch();
  else if (again || "start" in visit.dataset) {
    // Only before a visitor's eyes: not while a browser renders a page in advance, nor in a tab in the background.
    const begin = () => {
      if (document.prerendering || document.visibilityState !== "visible") return;
      document.removeEventListener("visibilitychange", begin);
      document.removeEventListener("prerenderingchange", begin);
      start("");
    };
    document.addEventListener("visibilitychange", begin);
    document.addEventListener("prerenderingchange", begin);
    begin();
  }
})();
