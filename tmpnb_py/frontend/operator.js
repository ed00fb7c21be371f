"use strict";
(() => {
  const PERIOD = 2000;
  const MOST_SESSIONS = 500;
  const KEPT = "tmpnb-operator-token";
  const at = (id) => document.getElementById(id);
  const needsToken = document.body.dataset.needsToken === "yes";
  let token = "";
  let timer = 0;
  let sizeShown = null;

  function make(name, text, attributes) {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
    return element;
  }

  function span(seconds) {
    const whole = Math.max(0, Math.round(seconds));
    if (whole < 60) return whole + " s";
    if (whole < 3600) return Math.floor(whole / 60) + " min";
    const minutes = Math.floor((whole % 3600) / 60);
    return Math.floor(whole / 3600) + " h" + (minutes ? " " + minutes + " min" : "");
  }

  class Refused extends Error {}

  async function call(method, path, body) {
    const headers = { Accept: "application/json" };
    if (token) headers.Authorization = "token " + token;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const response = await fetch(path, {
      method, headers, credentials: "omit", cache: "no-store", redirect: "error",
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const answer = await response.json().catch(() => ({}));
    if (response.status === 401) throw new Refused(token ? "This is not the right token." : "The service demands a token.");
    if (!response.ok) throw new Error(answer.message || "The service answered " + response.status + ".");
    const said = Date.parse(response.headers.get("Date") || "");
    return { answer, now: Number.isNaN(said) ? Date.now() : said };
  }

  // What an action was refused for stays until the next action; an answer that comes again clears the rest.
  function complain(text, source) {
    const box = at("problem");
    if (!text && source === "refresh" && box.dataset.source === "action") return;
    box.dataset.source = source;
    if (box.textContent !== text) box.textContent = text;
    box.hidden = !text;
  }

  function setText(id, text, grade) {
    const element = at(id);
    if (element.textContent !== text) element.textContent = text;
    element.className = grade || "";
  }

  function setFigure(id, number, detail) {
    const element = at(id);
    if (element.dataset.shown === number + detail) return;
    element.dataset.shown = number + detail;
    element.replaceChildren(String(number), " ", make("small", detail));
  }

  function show({ answer, now }) {
    const since = (moment) => (now - Date.parse(moment)) / 1000;
    const pool = answer.pool;
    setText("name", answer.name);
    setFigure("ready", pool.ready, "of " + pool.size);
    setFigure("starting", pool.starting, pool.removing ? pool.removing + " being removed" : "");
    setFigure("claimed", pool.claimed, "of " + pool.max_containers + " in all");
    const longest = answer.waiting_seconds.length ? "first for " + span(answer.waiting_seconds[0]) : "";
    setFigure("waiting", pool.waiting, longest);
    setText("engine", answer.engine_up ? "answers" : "silent", answer.engine_up ? "good" : "bad");
    setText("newcomers", pool.closed ? "turned away" : "let in", pool.closed ? "warn" : "good");
    setText("gate", pool.closed ? "Open to newcomers" : "Close to newcomers", "plain");
    at("gate").dataset.closed = pool.closed ? "yes" : "no";
    if (sizeShown !== pool.size && document.activeElement !== at("size")) {
      sizeShown = pool.size;
      at("size").value = pool.size;
    }
    showStarts(answer.starts.map((one) => one.seconds));
    showFailures(answer.failures, answer.failure, since);
    showSessions(answer.sessions, now);
    setText("about", "tmpnb-py " + answer.stats.version + ", up for " + span(since(answer.up_since)) +
      ", image " + answer.stats.container_image, "soft");
    at("board").hidden = false;
  }

  function showStarts(seconds) {
    const sorted = [...seconds].sort((a, b) => a - b);
    const pick = (share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))].toFixed(2);
    const text = sorted.length
      ? "The last " + sorted.length + " took " + pick(0.5) + " s in the middle, " + pick(1) + " s at most."
      : "No notebook has been started yet.";
    setText("starts-text", text, "soft");
    const chart = at("starts");
    chart.toggleAttribute("hidden", !sorted.length);
    const shown = seconds.join();
    if (chart.dataset.shown === shown || !sorted.length) return;
    chart.dataset.shown = shown;
    const most = sorted[sorted.length - 1];
    chart.replaceChildren(...seconds.map((value, index) => {
      const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      const height = Math.max(1, 40 * value / most);
      for (const [key, number] of Object.entries({ x: index * 10, y: 40 - height, width: 7, height })) {
        bar.setAttribute(key, number.toFixed(1));
      }
      return bar;
    }));
  }

  function showFailures(failures, present, since) {
    at("no-failures").hidden = failures.length > 0;
    const box = at("failures");
    const shown = JSON.stringify([failures, present]);
    if (box.dataset.shown !== shown) {
      const open = new Set([...box.querySelectorAll("details[open]")].map((one) => one.dataset.key));
      const focused = document.activeElement && document.activeElement.parentElement
        ? document.activeElement.parentElement.dataset.key : undefined;
      box.dataset.shown = shown;
      box.replaceChildren(...failures.map((one) => {
        const key = one.cause + one.message + one.log_lines.join();
        const now = present && present.at === one.at && present.message === one.message;
        const details = make("details", undefined, { "data-key": key });
        const summary = make("summary");
        summary.append(make("strong", one.cause, now ? { class: "bad" } : {}), ": " + one.message + " ",
          make("span", "", { class: "soft when", "data-at": one.at }));
        details.append(summary, make("pre", one.log_lines.length ? one.log_lines.join("\n") : "It said nothing."));
        details.open = open.has(key);
        return details;
      }));
      for (const one of box.children) if (one.dataset.key === focused) one.firstChild.focus();
    }
    for (const when of box.querySelectorAll(".when")) when.textContent = span(since(when.dataset.at)) + " ago";
  }

  function showSessions(sessions, now) {
    const ago = (moment) => (moment ? span((now - Date.parse(moment)) / 1000) : "–");
    const left = (moment) => (moment ? span((Date.parse(moment) - now) / 1000) : "never");
    // One that only its kernel keeps alive "ends now", for as long as that is at work.
    const ends = (one) => one.expires_at && Date.parse(one.expires_at) <= now
      ? "busy" + (one.ends_at ? ", " + left(one.ends_at) + " at most" : "") : left(one.expires_at);
    at("no-sessions").hidden = sessions.length > 0;
    at("sessions").hidden = !sessions.length;
    const shown = sessions.slice(0, MOST_SESSIONS);
    setText("sessions-caption", shown.length < sessions.length
      ? "The " + shown.length + " oldest of " + sessions.length : sessions.length + " in all, the oldest first");
    const body = at("sessions").tBodies[0];
    const rows = new Map([...body.rows].map((row) => [row.dataset.id, row]));
    shown.forEach((one, index) => {
      const row = rows.get(one.id) || newRow(one.id);
      rows.delete(one.id);
      const texts = [ago(one.started), one.visited ? ago(one.last_activity) : "not opened", ends(one),
        String(one.open_connections)];
      texts.forEach((text, cell) => {
        if (row.cells[cell + 1].textContent !== text) row.cells[cell + 1].textContent = text;
      });
      if (body.rows[index] !== row) body.insertBefore(row, body.rows[index] || null);
    });
    for (const gone of rows.values()) {
      const focused = gone.contains(document.activeElement);
      gone.remove();
      if (focused) document.querySelector(".scroll").focus();
    }
  }

  function newRow(id) {
    const row = make("tr", undefined, { "data-id": id });
    const first = make("td");
    first.append(make("code", id));
    row.append(first);
    for (const label of ["Age", "Active", "Ends in", "Connections"]) row.append(make("td", "", { "data-label": label }));
    const last = make("td");
    const button = make("button", "End", { type: "button", class: "danger", "aria-label": "End session " + id });
    button.addEventListener("click", () => act("End this session? Its visitor loses the notebook.", "End it",
      () => call("DELETE", "/api/sessions/" + id)));
    last.append(button);
    row.append(last);
    return row;
  }

  // One question at a time; asking the next one answers the one before with no. The dialog's own events come late: its
  // "close" may arrive when it is open again.
  let settle = () => undefined;

  function confirmed(text, yes) {
    const dialog = at("ask");
    settle(false);
    at("ask-text").textContent = text;
    at("ask-yes").textContent = yes;
    if (!dialog.open) dialog.showModal();
    return new Promise((resolve) => { settle = resolve; });
  }

  async function act(text, yes, work) {
    if (text && !(await confirmed(text, yes))) return;
    try {
      await work();
      complain("", "action");
    } catch (error) {
      complain(error.message, "action");
      return;
    }
    await refresh();
  }

  async function refresh() {
    clearTimeout(timer);
    try {
      show(await call("GET", "/api/status"));
      setText("freshness", "Live: asked every 2 seconds.", "soft");
      complain("", "refresh");
    } catch (error) {
      if (error instanceof Refused) {
        forget();
        complain(error.message, "refresh");
        return;
      }
      setText("freshness", "Not live.", "bad");
      complain("The service does not answer: " + error.message, "refresh");
    }
    timer = setTimeout(() => (document.hidden ? undefined : refresh()), PERIOD);
  }

  function forget() {
    clearTimeout(timer);
    token = "";
    sessionStorage.removeItem(KEPT);
    at("board").hidden = true;
    at("forget").hidden = true;
    at("token-form").hidden = false;
    setText("freshness", "Waiting for the token.", "soft");
    at("token").focus();
  }

  function begin() {
    at("token-form").hidden = true;
    at("forget").hidden = !token;
    refresh();
  }

  at("ask").addEventListener("submit", (event) => settle(event.submitter !== null && event.submitter.value === "yes"));
  at("ask").addEventListener("close", () => { if (!at("ask").open) settle(false); });
  at("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    token = at("token").value.trim();
    at("token").value = "";
    if (at("keep").checked) sessionStorage.setItem(KEPT, token);
    begin();
  });
  at("forget").addEventListener("click", forget);
  at("resize-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const size = Number(at("size").value);
    sizeShown = size;
    act("", "", () => call("PATCH", "/api/pool", { size }));
  });
  at("drain").addEventListener("click", () => act(
    "Replace every ready notebook by a new one? Sessions go on; newcomers may have to wait a moment.", "Replace them",
    () => call("DELETE", "/api/pool")));
  at("gate").addEventListener("click", () => {
    if (at("gate").dataset.closed === "yes") return act("", "", () => call("POST", "/api/open"));
    return act("Turn newcomers away? Sessions go on; whoever waits in line is told.", "Close",
      () => call("POST", "/api/close"));
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && at("token-form").hidden) refresh();
  });

  token = needsToken ? sessionStorage.getItem(KEPT) || "" : "";
  if (needsToken && !token) forget(); else begin();
})();
