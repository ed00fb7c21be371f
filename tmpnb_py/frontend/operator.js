"use strict";
// The operator's page (web/admin/page.py): what the pool is doing, and what an operator can do about it. It has no cookie and
// no other authority than the token that the operator types in; all that it shows it writes as text.
(() => {
  const PERIOD = 2000; // milliseconds between two questions
  const MOST_SESSIONS = 500; // that are shown
  const KEPT = "tmpnb-operator-token";
  /** @param {string} id of an element that the page has */
  const at = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
  const input = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ (at(id));
  const needsToken = document.body.dataset.needsToken === "yes";
  let token = "";
  let timer = 0;
  /** @type {number | null} */
  let sizeShown = null;

  /** @template {keyof HTMLElementTagNameMap} Name @param {Name} name @param {string} [text] @param {{ [name: string]: string }} [attributes] */
  function make(name, text, attributes) {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
    return element;
  }

  /** @param {number} seconds */
  function span(seconds) {
    const whole = Math.max(0, Math.round(seconds));
    if (whole < 60) return whole + " s";
    if (whole < 3600) return Math.floor(whole / 60) + " min";
    const minutes = Math.floor((whole % 3600) / 60);
    return Math.floor(whole / 3600) + " h" + (minutes ? " " + minutes + " min" : "");
  }

  class Refused extends Error {}

  /** @param {string} method @param {string} path @param {object} [body] */
  async function call(method, path, body) {
    /** @type {{ [name: string]: string }} */
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

  /**
   * What an action was refused for stays until the next action; an answer that comes again clears the rest.
   * @param {string} text @param {"action" | "refresh"} source
   */
  function complain(text, source) {
    const box = at("problem");
    if (!text && source === "refresh" && box.dataset.source === "action") return;
    box.dataset.source = source;
    if (box.textContent !== text) box.textContent = text;
    box.hidden = !text;
  }

  /** @param {string} id @param {string} text @param {string} [grade] */
  function setText(id, text, grade) {
    const element = at(id);
    if (element.textContent !== text) element.textContent = text;
    element.className = grade || "";
  }

  /** @param {string} id @param {number} number @param {string} detail */
  function setFigure(id, number, detail) {
    const element = at(id);
    if (element.dataset.shown === number + detail) return;
    element.dataset.shown = number + detail;
    element.replaceChildren(String(number), " ", make("small", detail));
  }

  /** @param {{ answer: ServiceStatus, now: number }} told */
  function show({ answer, now }) {
    const since = (/** @type {string} */ moment) => (now - Date.parse(moment)) / 1000;
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
      input("size").value = String(pool.size);
    }
    showStarts(answer.starts.map((one) => one.seconds));
    showFailures(answer.failures, answer.failure, since);
    showNodes(answer.nodes);
    showSessions(answer.sessions, now);
    setText("about", "tmpnb-py " + answer.stats.version + ", up for " + span(since(answer.up_since)) +
      ", image " + answer.stats.container_image, "soft");
    at("board").hidden = false;
  }

  /** @param {number[]} seconds */
  function showStarts(seconds) {
    const sorted = [...seconds].sort((a, b) => a - b);
    const pick = (/** @type {number} */ share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))].toFixed(2);
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

  /** @param {Failure[]} failures @param {Failure | null} present @param {(moment: string) => number} since */
  function showFailures(failures, present, since) {
    at("no-failures").hidden = failures.length > 0;
    const box = at("failures");
    const shown = JSON.stringify([failures, present]);
    if (box.dataset.shown !== shown) {
      const open = new Set([...box.querySelectorAll("details")].filter((one) => one.open).map((one) => one.dataset.key));
      const focused = document.activeElement?.parentElement?.dataset.key;
      box.dataset.shown = shown;
      const rows = failures.map((one) => failureRow(one, open, present));
      box.replaceChildren(...rows);
      rows.find((one) => one.dataset.key === focused)?.querySelector("summary")?.focus();
    }
    for (const when of /** @type {NodeListOf<HTMLElement>} */ (box.querySelectorAll(".when"))) {
      when.textContent = span(since(when.dataset.at ?? "")) + " ago";
    }
  }

  /** @param {Failure} one @param {Set<string | undefined>} open keys of those that are open @param {Failure | null} present */
  function failureRow({ at: when, cause, message, log_lines: lines }, open, present) {
    const key = cause + message + lines.join();
    const isPresent = present !== null && present.at === when && present.message === message;
    const details = make("details", undefined, { "data-key": key });
    const summary = make("summary");
    summary.append(make("strong", cause, isPresent ? { class: "bad" } : {}), ": " + message + " ",
      make("span", "", { class: "soft when", "data-at": when }));
    details.append(summary, make("pre", lines.length ? lines.join("\n") : "The log is empty."));
    details.open = open.has(key);
    return details;
  }

  /** @param {ServiceNode[]} nodes none where the engine has one machine */
  function showNodes(nodes) {
    at("nodes-part").hidden = !nodes.length;
    const active = nodes.filter((one) => one.state === "active").length;
    setText("nodes-caption", active + " of " + nodes.length + " take notebooks", active ? "" : "bad");
    fill("nodes", nodes, newNode, (row, one) => {
      write(row, [
        stateOf(one), one.relay ? ["connected"] : ["away", "bad"],
        known(one.image, () => (one.image ? ["there"] : withoutImage(one))),
        known(one.missing, (missing) => (missing.length ? ["lacks " + missing.join(", "), "bad"] : ["verified"])),
        [String(one.claimed)], [String(one.ready)], [String(one.starting)],
        [bytes(one.reserved_bytes) + " of " + bytes(one.memory_bytes)],
      ]);
      const button = /** @type {HTMLButtonElement} */ (row.querySelector("button"));
      const paused = one.state === "paused";
      button.dataset.paused = paused ? "yes" : "no";
      button.hidden = one.state !== "active" && !paused;
      const verb = paused ? "Use again" : "Drain";
      if (button.textContent !== verb) button.textContent = verb;
      button.setAttribute("aria-label", verb + ": node " + one.name);
    });
  }

  /** @template Value @param {Value | null} value @param {(value: Value) => [string, string?]} words @returns {[string, string?]} */
  function known(value, words) {
    return value === null ? ["not known"] : words(value);
  }

  /** @param {ServiceNode} node @returns {[string, string?]} */
  function withoutImage({ pulling, image_error: error }) {
    if (pulling) return ["pulling: " + pulling, "warn"];
    return [error ? "cannot be pulled: " + error : "missing", "bad"];
  }

  /** @param {ServiceNode} node what a paused one waits for is the end of its sessions @returns {[string, string?]} */
  function stateOf({ state, claimed, ready, starting }) {
    if (state === "active") return [state, "good"];
    if (state !== "paused") return [state, state === "down" ? "bad" : "warn"];
    if (claimed) return ["paused, waits for " + claimed + (claimed === 1 ? " session" : " sessions"), "warn"];
    return [ready || starting ? "paused, its ready ones are being replaced" : "paused, empty", "warn"];
  }

  /** @param {ServiceNode} node */
  function newNode({ id, name }) {
    const button = make("button", "", { type: "button", class: "plain" });
    button.addEventListener("click", () => {
      const path = "/api/nodes/" + encodeURIComponent(id);
      if (button.dataset.paused === "yes") return act("", "", () => call("POST", path + "/activate"));
      return act("Take " + name + " out of use? Its sessions go on to their end, its ready notebooks are replaced on other nodes, and it " +
        "gets no new ones.", "Drain it", () => call("POST", path + "/pause"));
    });
    return newRow(make("th", name, { scope: "row" }),
      ["State", "Relay", "Image", "Isolation", "In use", "Ready", "Starting", "Reserved"], button);
  }

  /** @param {HTMLElement} first @param {string[]} labels of the cells that `write` fills @param {HTMLElement} button the last one's */
  function newRow(first, labels, button) {
    const row = make("tr"), last = make("td");
    last.append(button);
    row.append(first, ...labels.map((label) => make("td", "", { "data-label": label })), last);
    return row;
  }

  /** @param {number} count */
  function bytes(count) {
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    const power = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, count)) / 10));
    const number = count / 1024 ** power;
    return (power && number < 10 ? number.toFixed(1) : number.toFixed(0)) + " " + units[power];
  }

  /** Write the cells after the first. @param {HTMLTableRowElement} row @param {[string, string?][]} cells text and grade */
  function write(row, cells) {
    cells.forEach(([text, grade], index) => {
      const cell = row.cells[index + 1];
      if (cell.textContent !== text) cell.textContent = text;
      if (cell.className !== (grade || "")) cell.className = grade || "";
    });
  }

  /**
   * Have a table's rows in this order, keeping those that are there: who is in the middle of one stays there.
   * @template {{ id: string }} Value @param {string} table @param {Value[]} values
   * @param {(value: Value) => HTMLTableRowElement} newOne @param {(row: HTMLTableRowElement, value: Value) => void} update
   */
  function fill(table, values, newOne, update) {
    const [body] = /** @type {HTMLTableElement} */ (at(table)).tBodies;
    const rows = new Map([...body.rows].map((row) => [row.dataset.id, row]));
    values.forEach((value, index) => {
      const row = rows.get(value.id) || newOne(value);
      row.dataset.id = value.id;
      rows.delete(value.id);
      update(row, value);
      if (body.rows[index] !== row) body.insertBefore(row, body.rows[index] || null);
    });
    for (const gone of rows.values()) {
      const focused = gone.contains(document.activeElement);
      gone.remove();
      if (focused) /** @type {HTMLElement | null} */ (body.closest(".scroll"))?.focus();
    }
  }

  /** @param {RunningSession[]} sessions @param {number} now */
  function showSessions(sessions, now) {
    const ago = (/** @type {string | null} */ moment) => (moment ? span((now - Date.parse(moment)) / 1000) : "–");
    const left = (/** @type {string | null} */ moment) => (moment ? span((Date.parse(moment) - now) / 1000) : "never");
    // One that only its kernel keeps alive "ends now", for as long as that is at work.
    const ends = (/** @type {RunningSession} */ one) => one.expires_at && Date.parse(one.expires_at) <= now
      ? "busy" + (one.ends_at ? ", " + left(one.ends_at) + " at most" : "") : left(one.expires_at);
    at("no-sessions").hidden = sessions.length > 0;
    at("sessions").hidden = !sessions.length;
    const shown = sessions.slice(0, MOST_SESSIONS);
    setText("sessions-caption", shown.length < sessions.length
      ? "The " + shown.length + " oldest of " + sessions.length : sessions.length + " in all, the oldest first");
    fill("sessions", shown, newSession, (row, one) => write(row, [
      [ago(one.started)], [one.visited ? ago(one.last_activity) : "not opened"], [ends(one)], [String(one.open_connections)],
    ]));
  }

  /** @param {RunningSession} session */
  function newSession({ id }) {
    const first = make("td");
    first.append(make("code", id));
    const button = make("button", "End", { type: "button", class: "danger", "aria-label": "End session " + id });
    button.addEventListener("click", () => act("End this session? Its visitor loses the notebook.", "End it",
      () => call("DELETE", "/api/sessions/" + id)));
    return newRow(first, ["Age", "Active", "Ends in", "Connections"], button);
  }

  // One question at a time; asking the next one answers the one before with no. The dialog's own events come late: its
  // "close" may arrive when it is open again.
  /** @type {(isYes: boolean) => void} */
  let settle = () => undefined;

  const dialog = /** @type {HTMLDialogElement} */ (at("ask"));

  /** @param {string} text @param {string} yes @returns {Promise<boolean>} */
  function confirmed(text, yes) {
    settle(false);
    at("ask-text").textContent = text;
    at("ask-yes").textContent = yes;
    if (!dialog.open) dialog.showModal();
    return new Promise((resolve) => {
      settle = resolve;
    });
  }

  /** @param {string} text @param {string} yes @param {() => Promise<unknown>} work */
  async function act(text, yes, work) {
    if (text && !(await confirmed(text, yes))) return;
    try {
      await work();
      complain("", "action");
    } catch (error) {
      complain(wordsOf(error), "action");
      return;
    }
    await refresh();
  }

  /** @param {unknown} error */
  function wordsOf(error) {
    return error instanceof Error ? error.message : String(error);
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
        complain(wordsOf(error), "refresh");
        return;
      }
      setText("freshness", "Not live.", "bad");
      complain("The service does not answer: " + wordsOf(error), "refresh");
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

  dialog.addEventListener("submit", ({ submitter }) => settle(submitter instanceof HTMLButtonElement && submitter.value === "yes"));
  dialog.addEventListener("close", () => {
    if (!dialog.open) settle(false);
  });
  at("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    token = input("token").value.trim();
    input("token").value = "";
    if (input("keep").checked) sessionStorage.setItem(KEPT, token);
    begin();
  });
  at("forget").addEventListener("click", forget);
  at("resize-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const size = Number(input("size").value);
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
  if (needsToken && !token) forget();
  else begin();
})();
