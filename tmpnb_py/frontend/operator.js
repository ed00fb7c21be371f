"use strict";
// The operator's page (web/admin/page.py): what the pool is doing, and what an operator can do about it. It has no cookie and
// no other authority than the token that the operator types in; all that it shows it writes as text.
/* global OperatorsAgenda, OperatorsWords */
(() => {
  const { span, bytes, figure, conditionOf, eachOf, warmthOf } = OperatorsWords;
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
  const choice = /** @type {HTMLSelectElement} */ (at("pool"));
  /** An endpoint for the pool that is shown; for all where none is chosen. @param {string} path */
  const chosen = (path) => path + (choice.value ? "?pool=" + encodeURIComponent(choice.value) : "");

  /** @template {keyof HTMLElementTagNameMap} Name @param {Name} name @param {string} [text] @param {{ [name: string]: string }} [attributes] */
  function make(name, text, attributes) {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
    return element;
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
    if (response.status === 401) throw new Refused(token ? _("This is not the right token.") : _("The service demands a token."));
    if (response.status === 404 && path.includes("?pool=")) choice.value = ""; // it has gone
    if (!response.ok) throw new Error(answer.message ? _(answer.message) : _("The service answered {status}.", { status: response.status }));
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

  /** @param {string} id @param {number | string} number @param {string} detail */
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
    showPools(answer.pools, answer.warnings);
    setFigure("ready", pool.ready, pgettext("after a number", "of {size}", { size: pool.size }));
    setFigure("starting", pool.starting, pool.removing ? _("{count} being removed", { count: pool.removing }) : "");
    setFigure("claimed", pool.claimed, _("of {size} in all", { size: pool.max_containers }));
    const longest = answer.waiting_seconds.length ? _("first for {duration}", { duration: span(answer.waiting_seconds[0]) }) : "";
    setFigure("waiting", pool.waiting, longest);
    setText("engine", answer.engine_up ? pgettext("of the engine", "answers") : pgettext("of the engine", "silent"), answer.engine_up ? "good" : "bad");
    showGate(pool);
    if (sizeShown !== pool.base && document.activeElement !== at("size")) {
      sizeShown = pool.base;
      input("size").value = String(pool.base);
    }
    showTimetable(pool);
    showWarm(pool.warm);
    showStarts(answer.starts.map((one) => one.seconds));
    showFailures(answer.failures, answer.failure, since);
    showNodes(answer.nodes);
    showSessions(answer.sessions, now);
    const about = { version: answer.stats.version, duration: span(since(answer.up_since)), image: answer.stats.container_image, process: answer.pid };
    setText("about", answer.pools.length > 1 && !choice.value
      ? _("tmpnb-py {version}, up for {duration}, process {process}", about)
      : _("tmpnb-py {version}, up for {duration}, image {image}, process {process}", about), "soft");
    showPredecessors(answer.predecessors, since);
    at("board").hidden = false;
  }

  /** @param {PoolFigures} pool whether newcomers are let in, and what changes that */
  function showGate(pool) {
    setFigure("newcomers", pool.closed ? _("turned away") : _("let in"), !pool.closed ? "" : pool.closed_to_classes ? _("classes, too") : _("but for classes"));
    at("newcomers").className = pool.closed ? "warn" : "good";
    const byHand = pool.closed && !pool.shut_by_timetable;
    setText("gate", byHand ? _("Open to newcomers") : _("Close to newcomers"), "plain");
    at("gate").dataset.closed = byHand ? "yes" : "no";
    at("gate-classes").hidden = !byHand || pool.closed_to_classes;
  }

  /** @param {Predecessor[]} predecessors the newest first @param {(moment: string) => number} since */
  function showPredecessors(predecessors, since) {
    at("before").hidden = !predecessors.length;
    setText("before", predecessors.map((one) => ngettext(
      "Before it: tmpnb-py {version}, process {process}, followed {duration} ago, still serves {count} connection ({websockets} of them WebSockets).",
      "Before it: tmpnb-py {version}, process {process}, followed {duration} ago, still serves {count} connections ({websockets} of them WebSockets).",
      one.connections, { version: one.version, process: one.pid, duration: span(since(one.since)), websockets: one.websockets })).join(" "), "soft");
  }

  /** @param {string} moment */
  function local(moment) {
    return new Date(moment).toLocaleString(WORDS.tag, { weekday: "short", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
  }

  /** @param {PoolFigures} pool what is on, what is being prepared, what comes next, and why it is of its size */
  function showTimetable({ because, timetable: entries, shut_by_timetable: shut, opens_at: opensAt }) {
    setText("because", because ? _("Size: {reason}.", { reason: because }) : "", "soft");
    at("because").hidden = !because;
    const closed = opensAt ? _("The timetable lets nobody in until {time}.", { time: local(opensAt) }) : _("The timetable lets nobody in, and no further time is known.");
    setText("shut", shut ? closed : "", "warn");
    at("timetable-part").hidden = !entries.length && !shut;
    const list = at("timetable"), shown = JSON.stringify(entries);
    if (list.dataset.shown === shown) return;
    list.dataset.shown = shown;
    const words = { on: _("On now"), preparing: _("Being prepared"), next: pgettext("of the timetable", "Next") };
    list.replaceChildren(...entries.map((one) => {
      const item = make("li");
      item.append(make("strong", words[one.state]), ": " + (choice.options.length > 2 ? one.pool + ", " : "") + _("{size} ready, {begins} to {ends}", { size: one.pool_size, begins: local(one.begins), ends: local(one.ends) }) + " ",
        make("small", "(" + one.text + ")", { class: "soft" }));
      return item;
    }));
  }

  /** @param {WarmKernels[]} kernels those that are ready before visitors come */
  function showWarm(kernels) {
    const texts = kernels.map((one) => (choice.options.length > 2 ? one.pool + ", " : "") + warmthOf(one) + (one.problem ? "; " + _("it failed: {problem}", { problem: one.problem }) : ""));
    setText("warm", texts.length ? _("Warm kernels: {list}.", { list: texts.join("; ") }) : "", kernels.some((one) => one.problem) ? "warn" : "soft");
    at("warm").hidden = !texts.length;
  }

  /** @param {ServicePool[]} pools @param {string[]} warnings */
  function showPools(pools, warnings) {
    at("pools-part").hidden = pools.length < 2;
    at("resize-form").hidden = pools.length > 1 && !choice.value;
    at("warnings").hidden = !warnings.length;
    setText("warnings", warnings.join(" "), "notice");
    fill("pools", pools.map((one) => ({ ...one, id: one.name })), newPool, (row, one) => write(row, [
      [_("{ready} of {size}", { ready: one.pool.ready, size: one.pool.size })], [String(one.pool.starting)], [String(one.pool.claimed)],
      [String(one.pool.waiting)], conditionOf(one), [one.image], [eachOf(one)],
    ]));
    const names = pools.map((one) => one.name);
    const options = [...choice.options].slice(1);
    if (options.map((one) => one.value).join() !== names.join()) {
      for (const one of options) one.remove();
      const before = choice.value;
      choice.append(...names.map((name) => make("option", name, { value: name })));
      if (names.includes(before)) choice.value = before;
    }
  }

  /** @param {{ id: string }} pool */
  function newPool({ id }) {
    return newRow(make("th", id, { scope: "row" }), [_("Ready"), pgettext("number of notebooks", "Starting"), _("In use"), _("In line"), _("State"), _("Image"), _("Each notebook")]);
  }

  /** @param {number[]} seconds */
  function showStarts(seconds) {
    const sorted = [...seconds].sort((a, b) => a - b);
    const pick = (/** @type {number} */ share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
    const text = sorted.length
      ? _("The last {count} took {median} s in the middle, {most} s at most.", { count: sorted.length, median: figure(pick(0.5), 2), most: figure(pick(1), 2) })
      : _("No notebook has been started yet.");
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
      when.textContent = _("{duration} ago", { duration: span(since(when.dataset.at ?? "")) });
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
    details.append(summary, make("pre", lines.length ? lines.join("\n") : _("The log is empty.")));
    details.open = open.has(key);
    return details;
  }

  /** @param {ServiceNode[]} nodes none where the engine has one machine */
  function showNodes(nodes) {
    at("nodes-part").hidden = !nodes.length;
    const active = nodes.filter((one) => one.state === "active").length;
    setText("nodes-caption", _("{active} of {count} take notebooks", { active, count: nodes.length }), active ? "" : "bad");
    fill("nodes", nodes, newNode, (row, one) => {
      write(row, [
        stateOf(one), one.relay ? [_("connected")] : [pgettext("of a relay", "away"), "bad"],
        known(one.image, () => (one.image ? [pgettext("of an image", "there")] : withoutImage(one))),
        known(one.missing, (missing) => (missing.length ? [_("lacks {list}", { list: missing.join(", ") }), "bad"] : [_("verified")])),
        [String(one.claimed)], [String(one.ready)], [String(one.starting)],
        [_("{used} of {size}", { used: bytes(one.reserved_bytes), size: bytes(one.memory_bytes) })],
      ]);
      const button = /** @type {HTMLButtonElement} */ (row.querySelector("button"));
      const paused = one.state === "paused";
      button.dataset.paused = paused ? "yes" : "no";
      button.hidden = one.state !== "active" && !paused;
      const verb = paused ? _("Use again") : _("Drain");
      if (button.textContent !== verb) button.textContent = verb;
      button.setAttribute("aria-label", _("{verb}: node {name}", { verb, name: one.name }));
    });
  }

  /** @template Value @param {Value | null} value @param {(value: Value) => [string, string?]} words @returns {[string, string?]} */
  function known(value, words) {
    return value === null ? [_("not known")] : words(value);
  }

  /** @param {ServiceNode} node @returns {[string, string?]} */
  function withoutImage({ pulling, image_error: error }) {
    if (pulling) return [_("pulling: {progress}", { progress: pulling }), "warn"];
    return [error ? _("cannot be pulled: {error}", { error }) : pgettext("of an image", "missing"), "bad"];
  }

  /** @param {ServiceNode} node what a paused one waits for is the end of its sessions @returns {[string, string?]} */
  function stateOf({ state, claimed, ready, starting }) {
    if (state === "active") return [state, "good"];
    if (state !== "paused") return [state, state === "down" ? "bad" : "warn"];
    if (claimed) return [ngettext("paused, waits for {count} session", "paused, waits for {count} sessions", claimed), "warn"];
    return [ready || starting ? _("paused, its ready ones are being replaced") : _("paused, empty"), "warn"];
  }

  /** @param {ServiceNode} node */
  function newNode({ id, name }) {
    const button = make("button", "", { type: "button", class: "plain" });
    button.addEventListener("click", () => {
      const path = "/api/nodes/" + encodeURIComponent(id);
      if (button.dataset.paused === "yes") return act("", "", () => call("POST", path + "/activate"));
      return act(_("Take {name} out of use? Its sessions go on to their end, its ready notebooks are replaced on other nodes, and it gets no new ones.", { name }), _("Drain it"), () => call("POST", path + "/pause"));
    });
    return newRow(make("th", name, { scope: "row" }),
      [_("State"), _("Relay"), _("Image"), _("Isolation"), _("In use"), _("Ready"), pgettext("number of notebooks", "Starting"), _("Reserved")], button);
  }

  /** @param {HTMLElement} first @param {string[]} labels of the cells that `write` fills @param {HTMLElement} [button] in a last one */
  function newRow(first, labels, button) {
    const row = make("tr");
    row.append(first, ...labels.map((label) => make("td", "", { "data-label": label })));
    if (button) row.insertCell().append(button);
    return row;
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
    const left = (/** @type {string | null} */ moment) => (moment ? span((Date.parse(moment) - now) / 1000) : pgettext("of an end", "never"));
    // One that only its kernel keeps alive "ends now", for as long as that is at work.
    const ends = (/** @type {RunningSession} */ one) => one.expires_at && Date.parse(one.expires_at) <= now
      ? (one.ends_at ? _("busy, {duration} at most", { duration: left(one.ends_at) }) : _("busy")) : left(one.expires_at);
    at("no-sessions").hidden = sessions.length > 0;
    at("sessions").hidden = !sessions.length;
    const shown = sessions.slice(0, MOST_SESSIONS);
    setText("sessions-caption", shown.length < sessions.length
      ? _("The {shown} oldest of {count}", { shown: shown.length, count: sessions.length }) : _("{count} in all, the oldest first", { count: sessions.length }));
    fill("sessions", shown, newSession, (row, one) => write(row, [
      [ago(one.started)], [one.visited ? ago(one.last_activity) : _("not opened")], [ends(one)], [String(one.open_connections)],
      known(one.cpu_ratio, (ratio) => [one.busy ? _("{percent} % for long", { percent: Math.round(100 * ratio) }) : _("{percent} %", { percent: Math.round(100 * ratio) }), one.busy ? "warn" : ""]),
    ]));
  }

  /** @param {RunningSession} session */
  function newSession({ id, pool }) {
    const first = make("td");
    first.append(make("code", id), ...(choice.options.length > 2 ? [" ", make("small", pool, { class: "soft" })] : []));
    const button = make("button", pgettext("button: a session", "End"), { type: "button", class: "danger", "aria-label": _("End session {id}", { id }) });
    button.addEventListener("click", () => act(_("End this session? Its visitor loses the notebook."), _("End it"),
      () => call("DELETE", "/api/sessions/" + id)));
    return newRow(first, [_("Age"), _("Active"), _("Ends in"), _("Connections"), _("CPU")], button);
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

  const arranged = new OperatorsAgenda({ at, input, make, setText, fill, write, newRow, call, act, complain: (error) => complain(wordsOf(error), "action") });

  async function refresh() {
    clearTimeout(timer);
    try {
      const paths = [chosen("/api/status"), "/api/bookings", "/api/announcements"].map((path) => call("GET", path));
      const [status, bookings, announcements] = await Promise.all(paths);
      show(status);
      const names = status.answer.pools.map((/** @type {ServicePool} */ one) => one.name);
      arranged.show(bookings.answer.bookings, announcements.answer.announcements, names.length > 1 ? choice.value : null);
      setText("freshness", _("Live: asked every 2 seconds."), "soft");
      complain("", "refresh");
    } catch (error) {
      if (error instanceof Refused) {
        forget();
        complain(wordsOf(error), "refresh");
        return;
      }
      setText("freshness", _("Not live."), "bad");
      complain(_("The service does not answer: {error}", { error: wordsOf(error) }), "refresh");
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
    setText("freshness", _("Waiting for the token."), "soft");
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
    act("", "", () => call("PATCH", chosen("/api/pool"), { size }));
  });
  at("drain").addEventListener("click", () => act(
    _("Replace every ready notebook by a new one? Sessions go on; newcomers may have to wait a moment."), _("Replace them"),
    () => call("DELETE", chosen("/api/pool"))));
  at("gate").addEventListener("click", () => {
    if (at("gate").dataset.closed === "yes") return act("", "", () => call("POST", chosen("/api/open")));
    return act(_("Turn newcomers away? Sessions go on; whoever waits in line is told. Who has the link of a class that is booked gets in."), pgettext("button: to newcomers", "Close"),
      () => call("POST", chosen("/api/close")));
  });
  at("gate-classes").addEventListener("click", () => act(
    _("Turn the people of classes away, too? Their link opens no notebook until you let newcomers in again."), pgettext("button: to newcomers", "Close"),
    () => call("POST", chosen("/api/close") + (choice.value ? "&" : "?") + "classes=1")));
  choice.addEventListener("change", () => {
    sizeShown = null;
    refresh();
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && at("token-form").hidden) refresh();
  });

  token = needsToken ? sessionStorage.getItem(KEPT) || "" : "";
  if (needsToken && !token) forget();
  else begin();
})();
