"use strict";
// The launch page and the waiting page: draw a ticket, follow it, go to the notebook. The forms do the same without it.
//
// Inlined in both pages (web/pages/launch.py), in the service's origin. Notebooks share that origin: what comes over the
// BroadcastChannel may come from any of them, so it only makes the page ask the service.
(() => {
  /** @param {string} id of an element that both pages have */
  const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
  const visit = byId("visit"), busy = byId("busy"), line = byId("line"), handed = byId("handed");
  const choice = document.getElementById("choice"); // the waiting page has none
  const given = (/** @type {string} */ name) => visit.dataset[name] ?? "";
  const path = given("path"), key = given("key");
  const classKey = given("class"); // of a class's link
  const { base = "/" } = document.documentElement.dataset; // of the service's addresses
  const tickets = base + "api/tickets";
  // A page that is reloaded while it gets a notebook makes the same wish again, not another one.
  const kept = history.state ?? {};
  const once = kept.once || given("once");
  // It was loaded again for the notebook that its visitor got in another tab: it goes on, and asks for that no more.
  const again = Boolean(kept.again);
  const title = document.title;
  // The heading in the document, which no server is told of. A file that is saved has none.
  const isFile = path.startsWith("files/");
  const fragment = isFile ? "" : location.hash;
  const SHOWN = 5000; // milliseconds
  const SAID_EVERY = 20000; // milliseconds
  const AT_ONCE = 4; // of the six connections that browsers make to one host
  const AWAY = _("The service cannot be reached. Your place in line is kept; trying again…");
  let ticket = given("ticket");
  let another = given("another"); // the name of the wish for another notebook than the one that runs
  /** @type {EventSource | null} */
  let source = null;
  let timer = 0, furthest = 0, told = "", toldAt = 0;
  let going = false, leaving = false, heard = false;

  // --- What is shown

  /** @param {HTMLElement | null} what */
  const show = (what) => {
    for (const one of [choice, busy, line, handed]) if (one) one.hidden = one !== what;
  };
  /**
   * To screen readers: at once what matters, and the countdown only now and then.
   * @param {string} text @param {boolean} urgent
   */
  const say = (text, urgent) => {
    if (text === told || (!urgent && Date.now() - toldAt < SAID_EVERY)) return;
    told = byId("said").textContent = text;
    toldAt = Date.now();
  };
  /** @param {string} text */
  const doing = (text) => {
    byId("doing").textContent = text;
    show(busy);
    say(text, true);
  };
  const away = () => {
    byId("message").textContent = AWAY;
    say(AWAY, true);
  };
  /** @param {TicketState} state */
  const showPlace = ({ position, message, estimate }) => {
    const moved = told === AWAY || byId("position").textContent !== String(position);
    furthest = Math.max(furthest, position);
    byId("position").textContent = String(position);
    byId("message").textContent = message;
    /** @type {HTMLFormElement} */ (byId("giving-up")).action = base + "spawn/wait/" + ticket;
    const bar = /** @type {HTMLProgressElement} */ (byId("progress"));
    bar.hidden = furthest < 2;
    bar.max = furthest;
    bar.value = furthest - position;
    document.title = _("{position} in line", { position });
    say(message, moved || estimate === null); // no countdown, so news
    show(line);
  };

  // --- Where it goes

  /** @param {() => void} what @param {number} seconds */
  const later = (what, seconds) => {
    clearTimeout(timer);
    timer = setTimeout(what, seconds * 1000);
  };
  const stop = () => {
    clearTimeout(timer);
    source?.close();
    source = null;
  };
  const waitingPage = () => base + "spawn/wait/" + ticket + (path ? "?path=" + encodeURIComponent(path) : "");
  const launchPage = () => classKey ? base + "class/" + classKey : base + "spawn" + (path ? "?urlpath=" + encodeURIComponent(path) : "");
  /**
   * To an address with a fragment that one is at already, a browser goes without asking for it anew.
   * @param {string} url
   */
  const load = (url) => {
    history.replaceState(null, "", url + fragment);
    location.reload();
  };
  /** @param {string} url */
  const go = (url) => {
    if (fragment) return load(url);
    location.replace(url);
    if (isFile) later(() => saved(url), 4); // what a browser saves rather than shows leaves this page where it is
  };
  /** @param {string} url */
  const saved = (url) => {
    /** @type {HTMLAnchorElement} */ (byId("again")).href = url;
    document.title = _("Your file");
    show(handed);
    say(handed.textContent, true);
  };

  // --- Other tabs

  // Tells the browser's other tabs that there is a notebook now, and nothing else: notebooks share this origin, so
  // they hear it, too, and may say it at any time. Who waits loads the page again, and the service knows the rest.
  const others = window.BroadcastChannel ? new BroadcastChannel("tmpnb-visit") : null;
  others?.addEventListener("message", () => {
    if (heard || going || !navigator.cookieEnabled) return; // without cookies the place would be lost
    heard = true; // and not before it has been shown for a while, or it could be kept from being used
    setTimeout(async () => {
      const answer = ticket && !going ? await fetch(tickets + "/" + ticket).catch(() => null) : null;
      if (answer?.ok && !going) location.reload();
      else heard = false;
    }, Math.max(0, SHOWN - performance.now()));
  });

  // --- The ticket

  /** @param {TicketState} state @param {boolean} streamed */
  const settled = async (state, streamed) => {
    going = true;
    stop();
    if (state.status !== "ready" || !state.session) {
      doing(state.message);
      return load(waitingPage()); // the page says it better
    }
    doing(_("Your notebook is ready. Opening it…"));
    // No cookie comes with a stream; without it the other tabs would find nothing.
    if (streamed) await fetch(tickets + "/" + ticket).catch(() => {});
    others?.postMessage("");
    // The waiting page leads there and remembers the notebook; without cookies it would know nobody.
    go(streamed && navigator.cookieEnabled ? waitingPage() : state.session.open_url);
  };

  /** @param {TicketState} state */
  const follow = (state) => {
    // On its way to the notebook of another tab the place is given up: the waiting page must not be loaded once more.
    if (going || (leaving && state.status === "left")) return;
    if (state.status === "waiting") showPlace(state);
    else void settled(state, Boolean(source));
  };

  const watch = () => {
    if (!window.EventSource) return void ask();
    const stream = (source = new EventSource(tickets + "/" + ticket + "/events"));
    let failures = 0, isThrough = false;
    stream.onmessage = (event) => {
      failures = 0;
      isThrough = true;
      follow(JSON.parse(event.data));
    };
    stream.onerror = () => {
      failures += 1;
      if (going || !source) return;
      if (isThrough && failures > 1) away(); // one that never got through tells nothing of the service
      if (stream.readyState !== EventSource.CLOSED && failures < 3) return;
      stop();
      later(ask, 1);
    };
  };

  // Where streams do not get through, the ticket is asked for; it is also how a place that was lost is
  // noticed: whoever sees that joins the line again.
  const ask = async () => {
    const answer = await fetch(tickets + "/" + ticket).catch(() => null);
    if (answer?.status === 404) { // given up while the computer slept, or the service was restarted
      if (document.visibilityState !== "visible") return load(waitingPage());
      ticket = "";
      return start(another);
    }
    const state = answer?.ok ? await answer.json().catch(() => null) : null;
    if (state) follow(state);
    else if (!going) away();
    if (!going) later(ask, 4);
  };

  // --- Files of the notebook's page

  // All notebooks share them, so the browser has them when it comes there. A browser that has the first ones already has
  // all of them. Only some at a time: the page itself must not wait for one of its connections.
  let fetched = false;
  const fetchAhead = async () => {
    const { saveData } = /** @type {{ connection?: { saveData?: boolean } }} */ (navigator).connection ?? {};
    const [place = "", ...names] = fetched || saveData ? [] : given("ahead").split(" ");
    fetched = true;
    const isThere = (/** @type {string} */ url) => {
      const [entry] = /** @type {PerformanceResourceTiming[]} */ (performance.getEntriesByName(new URL(url, location.href).href));
      return entry?.transferSize === 0;
    };
    const some = async () => {
      for (let name = names.shift(); name; name = names.shift()) {
        const answer = await fetch(place + name, /** @type {RequestInit} */ ({ priority: "low" }));
        if (!answer.ok) return;
        await answer.arrayBuffer();
        if (isThere(place + name)) names.length = 0;
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, some)).catch(() => {}); // the notebook's page fetches what is missing
  };

  // --- The wish

  /**
   * Ask for a notebook. `fresh`: the name of the wish, where it is for another notebook than the one that runs; `end`: what
   * ran before is ended for it.
   * @param {string} fresh @param {boolean} [end]
   */
  const start = async (fresh, end = false) => {
    another = fresh;
    doing(_("Getting your notebook…"));
    history.replaceState({ once }, "");
    const retry = (/** @type {number} */ seconds) => later(() => start(fresh, end), seconds);
    const body = JSON.stringify({ path, key, fresh: Boolean(fresh), end, once: fresh || once, reload: !again, class_key: classKey });
    const init = { method: "POST", headers: { "Content-Type": "application/json" }, body };
    const asked = fetch(tickets, init).catch(() => null);
    void fetchAhead();
    const answer = await asked;
    if (answer?.status === 431) return location.replace(tickets); // the page there takes such cookies away
    /** @type {TicketState | Refusal | null} */
    const state = (await answer?.json().catch(() => null)) ?? null;
    if (!answer || !state) {
      doing(_("The service cannot be reached. Trying again…"));
      return retry(3);
    }
    if (answer.status === 201) return drawn(/** @type {TicketState} */ (state));
    refused(answer, /** @type {Refusal} */ (state), retry);
  };

  /** @param {TicketState} state */
  const drawn = (state) => {
    ticket = state.id;
    if (state.status === "waiting") {
      history.replaceState(null, "", waitingPage() + fragment);
      watch();
    }
    follow(state);
  };

  /** @param {Response} answer @param {Refusal} state @param {(seconds: number) => void} retry */
  const refused = ({ status, headers }, state, retry) => {
    const seconds = Number(headers.get("Retry-After"));
    if (status === 429) {
      doing(state.cause === "address"
        ? _("Your network has as many notebooks open as one network may have. Trying again in a moment…")
        : _("The line is full. Trying again in a moment…"));
      return retry(state.retry_after ? Math.min(state.retry_after, 20) : 10);
    }
    if (status === 503 && state.status === "closed") return location.reload(); // the page says it better
    if (status === 409) { // the visitor has had a notebook since this page was made
      history.replaceState({ once, again: true }, "", launchPage() + fragment);
      return location.reload();
    }
    if (status === 503 && seconds) {
      doing(_("The service is not ready yet. Trying again in a moment…"));
      return retry(Math.min(seconds, 20));
    }
    if (!choice) { // there is nothing to go back to
      doing(_("{problem} Trying again…", { problem: _(state.message || "That did not work.") }));
      return retry(5);
    }
    byId("problem").textContent = _(state.message);
    byId("problem").hidden = false;
    show(choice);
  };

  // --- What the visitor and the browser do

  byId("giving-up").addEventListener("submit", () => {
    going = true;
    stop();
  });
  choice?.addEventListener("submit", (event) => {
    event.preventDefault();
    const fields = new FormData(/** @type {HTMLFormElement} */ (event.target));
    void start(fields.get("fresh") ? String(fields.get("once")) : "", fields.has("end"));
  });
  addEventListener("beforeunload", () => {
    leaving = true;
  });
  addEventListener("pagehide", () => {
    if (ticket && !going) navigator.sendBeacon(tickets + "/" + ticket + "/leave");
    stop();
  });
  addEventListener("pageshow", (event) => {
    if (!event.persisted || !handed.hidden) return; // a file that was saved is not saved once more
    going = leaving = false;
    if (ticket) return watch();
    document.title = title;
    show(choice);
  });

  // Only before a visitor's eyes: not while a browser renders a page in advance, nor in a tab in the background.
  const begin = () => {
    if (document.prerendering || document.visibilityState !== "visible") return;
    document.removeEventListener("visibilitychange", begin);
    document.removeEventListener("prerenderingchange", begin);
    void start("");
  };
  const beginWhenSeen = () => {
    document.addEventListener("visibilitychange", begin);
    document.addEventListener("prerenderingchange", begin);
    begin();
  };
  if (ticket) {
    watch();
    void fetchAhead();
  } else if (again || "start" in visit.dataset) beginWhenSeen();
})();
