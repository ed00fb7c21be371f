// The notes page: its cells come alive in place. Without this script they are there to read.

const NOT_TAKEN = "Your changes could not be taken along to JupyterLab. Please try again.";
const GOES_ON = "Your notebook is still running: go on where you were";
const LOST = "What these examples had put out is not shown any more: the notebook that ran them has ended, or is not known here";

(() => {
  const main = document.querySelector("main[data-document]");
  const { workshop, document: start, kernel: name, language, key = "", session: sessionId = "" } = main.dataset;
  const service = new Service(BASE);
  const announcer = new Announcer();
  const links = [make("a", "tn-button tn-quiet"), document.getElementById("tn-open")];
  const [open, { href: spawn }] = links;

  // What is kept with this entry of the browser's history, and with those that links within the page make of it.
  const remembered = { ...history.state };
  const kept = (what) => ({
    read: () => remembered[what] ?? "",
    write(value) {
      remembered[what] = value;
      history.replaceState({ ...history.state, [what]: value }, "");
    },
  });
  addEventListener("hashchange", () => history.replaceState({ ...history.state, ...remembered }, ""));
  // Launch pages that wait in line need no other notebook (visit.js): they hear that there is one, and nothing else.
  const others = window.BroadcastChannel ? new BroadcastChannel("tmpnb-visit") : null;
  // The page itself says, by its key, whether its visitor has a session.
  const session = FRAMED ? framedSession : { read: () => null, write: (fresh) => fresh && others?.postMessage("") };
  const wish = { workshop, key, reload: true };
  const work = new Work(kept("work"), { session: sessionId, key });
  const claim = new Claim(service, { wish, session, ticket: kept("ticket"), once: kept("once") });

  const bar = make("div", "tn-status-bar");
  const words = make("span", "tn-status-words");
  let opening = null; // JupyterLab, which may mean waiting in line
  let isInLine = false; // since before the page was reloaded
  const stop = button("Stop", "tn-button", () => {
    if (opening) opening.abort();
    else if (isInLine) claim.giveUp();
    else runner.interrupt();
  });
  const restart = button("Restart", "tn-button tn-quiet", () => runner.restart());
  open.append(make("span", "tn-long", "Open in "), "JupyterLab");
  const controls = make("span", "tn-controls");
  controls.append(stop, restart, open);
  const lifetime = new Lifetime(service, {
    shown(hadFocus) {
      showBar();
      if (hadFocus) open.focus();
    },
    say: (said, isAnswer) => (isAnswer ? tell(said, "done") : announcer.say(said)),
    works: () => runner.isBusy,
    own: () => claim.get(() => {}, new AbortController().signal),
    ended(said) {
      if (runner.kernel) return; // which finds out for itself
      claim.forget(claim.session);
      tell(`${said} Run again for a fresh one.`, "failed");
    },
  });
  claim.onsession = (session) => {
    lifetime.follow(session);
    work.belongsTo(session);
  };
  bar.append(lifetime.element, words, controls);
  bar.hidden = true;
  bar.setAttribute("role", "region");
  bar.setAttribute("aria-label", "Kernel");

  let told = "";
  const showBar = () => (bar.hidden = !runner.kernel && !told && !lifetime.isShown);

  function changed(message, state) {
    told = message;
    showBar();
    controls.hidden = !runner.kernel && !opening && !isInLine;
    stop.hidden = !runner.isBusy && !opening && !isInLine;
    restart.hidden = !runner.kernel;
    for (const link of links) link.href = claim.session ? claim.session.open_url : spawn;
    words.textContent = message || (runner.isBusy ? `${spoken(language || name)} works` : `${spoken(language || name)} is ready`);
    bar.dataset.state = state || (runner.kernel ? (runner.isBusy ? "running" : "done") : "failed");
  }

  function tell(message, state = "running") {
    changed(message, state);
    announcer.say(message);
  }

  const place = () => ({ path: start, name, language: language || name });
  const runner = new Runner({ service, language: language || name, claim, place, announce: announcer.say, changed, onstale: () => loadAgain(runner.cells.indexOf(runner.latest)) });

  // The visitor got a notebook in another tab after this page was made. Loaded again it may use that; what was changed
  // here is kept. Nothing runs by itself then: nobody but the visitor decides what runs.
  function loadAgain(at) {
    kept("again").write(at);
    location.reload();
  }

  function goOn(at) {
    if (at === "") return;
    kept("again").write("");
    if (at !== "lab") return runner.cells[at]?.call("Your notebook was found: run this again");
    links[1].focus();
    tell("Your notebook was found: open it in JupyterLab again", "done");
  }

  // What was changed here is there, too.
  async function openLab(event) {
    if (event.button > 1 || !runner.cells.some((cell) => cell.isEdited)) return;
    event.preventDefault();
    const isAside = FRAMED || event.button === 1 || event.ctrlKey || event.metaKey || event.shiftKey;
    const tab = isAside ? window.open("", "_blank") : null; // now, as browsers allow it only in answer to a click
    if (tab) tab.opener = null;
    let session = null;
    opening?.abort();
    const own = (opening = new AbortController());
    try {
      tell("Takes your changes along …");
      session = await claim.get((said) => own.signal.aborted || tell(said), own.signal);
      await carryOver(session);
      opening = null;
      changed();
      (tab || window).location.assign(session.open_url);
    } catch (error) {
      tab?.close();
      if (opening !== own) return; // it was clicked once more
      opening = null;
      if (error.stale) return loadAgain("lab");
      if (!(error instanceof Problem)) console.error(error);
      const ended = session && (await service.ended(session).catch(() => ""));
      if (ended) claim.forget(session);
      const said = error instanceof Problem ? error.message : NOT_TAKEN;
      tell(`${ended ? `${ended} Please try again for a fresh one.` : said} Your changes are still on this page.`, "failed");
    }
  }

  async function carryOver({ id, url, token }) {
    const path = `${url}api/contents/${start.split("/").map(encodeURIComponent).join("/")}`;
    const found = await service.ask("GET", `${path}?type=notebook`, { token }); // also where it is text
    const content = found.value?.content;
    if (!found.ok || !Array.isArray(content?.cells)) throw new Problem(NOT_TAKEN);
    // From the last to the first: what becomes a new cell moves those below it.
    const edited = runner.cells.filter((cell) => cell.isEdited).reverse().map((cell) => ({ cell, code: cell.code }));
    for (const { cell, code } of edited) carry(cell, code, content, id);
    const put = await service.ask("PUT", path, { token, body: { type: "notebook", format: "json", content } });
    if (!put.ok) throw new Problem(NOT_TAKEN);
    for (const { cell, code } of edited) cell.carried = { id, code };
  }

  // The notebook is the visitor's own, and may be another by now: only what still reads as it did here is replaced.
  // What does not stays, and the change becomes a cell below it.
  function carry(cell, code, { cells, nbformat_minor: minor }, id) {
    const at = find(cell, cells, id);
    if (at >= 0) {
      cells[at].source = code;
    } else if (!cells.some((one) => isCode(one, code))) {
      const above = runner.above(cell).map((one) => find(one, cells, id));
      const after = Math.max(...above, Math.min(Number(cell.element.dataset.cell), cells.length - 1));
      const fresh = { cell_type: "code", source: code, metadata: {}, outputs: [], execution_count: null };
      cells.splice(after + 1, 0, minor >= 5 ? { id: hex(4), ...fresh } : fresh);
    }
  }

  // Where a cell of this page is in the notebook, as it was taken there or as it was written; -1 where it cannot be told.
  function find(cell, cells, id) {
    const place = Number(cell.element.dataset.cell);
    for (const text of readings(cell, id)) {
      const places = [...cells.keys()].filter((index) => isCode(cells[index], text));
      if (places.includes(place)) return place;
      const others = runner.cells.filter((one) => one !== cell && readings(one, id).includes(text));
      if (places.length === 1 && !others.length) return places[0];
    }
    return -1;
  }

  const readings = ({ carried, original }, id) => (carried?.id === id ? [carried.code, original] : [original]);

  const isCode = (one, text) => one?.cell_type === "code" && String(one.source).replace(/\r\n?/g, "\n") === text;

  for (const link of links) {
    link.addEventListener("click", openLab);
    link.addEventListener("auxclick", openLab);
  }

  // What was saved without its scripts needs what the cells above it made.
  function runToHere(cell) {
    runner.run([...runner.above(cell).filter((one) => !one.isDone), cell]);
  }

  drawFormulas(main);

  // Changes are kept twice: with this entry of the history, and in the tab for who comes to this page anew.
  const drafts = new Drafts(() => sessionStorage, `tmpnb-drafts:${location.pathname}`);
  const before = { ours: [], others: [] };
  const cells = [...main.querySelectorAll(".tn-cell")];
  cells.forEach((element, index) => {
    const code = element.querySelector(".tn-source").textContent;
    const number = element.dataset.cell;
    const stored = drafts.of(number, code);
    const draft = {
      get code() {
        return null; // what was kept comes with all the others: see below
      },
      set code(changed) {
        stored.code = changed;
        work.keepDraft(number, changed === null ? null : { original: code, code: changed });
      },
    };
    const found = work.draft(number, code);
    const other = stored.code === code ? "" : stored.code;
    const cell = new Cell(element, runner, {
      code,
      draft,
      kept: { record: () => work.record(number), said: (words, state) => work.said(number, words, state) },
      name: `example ${index + 1}`,
      language: language || name,
      theme: "auto",
      mayFail: "mayFail" in element.dataset,
    });
    for (const note of element.querySelectorAll(".tn-interactive")) note.append(" ", button("Run up to here", "tn-button", () => runToHere(cell)));
    if (found && work.isOurs) before.ours.push({ cell, code: found });
    else if (found || other) before.others.push({ cell, code: other || found });
  });

  function bringBack() {
    for (const [found, isOurs] of [[before.ours, true], [before.others, false]]) {
      if (found.length) main.prepend(new Changes(found, isOurs, announcer.say).element);
    }
    const { outputs, isLost } = work.outputs();
    for (const cell of runner.cells) {
      const kept = outputs.get(cell.element.dataset.cell);
      if (kept) cell.restore(kept);
    }
    work.begin();
    if (sessionId) lifetime.follow({ id: sessionId });
    if (outputs.size) changed(GOES_ON, "done");
    else if (isLost) tell(LOST, "failed");
  }

  if (cells.length) {
    document.getElementById("tn-hint").hidden = false;
    document.body.append(bar, announcer.element);
    bringBack();
    goOn(kept("again").read());
    claim.resume((said, state) => {
      isInLine = state === "running";
      if (said) tell(said, state);
      else changed();
    });
  }
})();
