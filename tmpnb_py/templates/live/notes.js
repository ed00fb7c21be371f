// The notes page: its cells come alive in place. Without this script they are there to read.

const NOT_TAKEN = "Your changes could not be taken along to JupyterLab. Please try again.";

(() => {
  const main = document.querySelector("main[data-document]");
  const { workshop, document: start, kernel: name, language, key } = main.dataset;
  const service = new Service(new URL("/", location.href).href);
  const announcer = new Announcer();
  const links = [make("a", "tn-button tn-quiet"), document.getElementById("tn-open")];
  const [open, { href: spawn }] = links;

  // What is kept with this entry of the browser's history: no other page is shown it.
  const kept = (what) => ({
    read: () => history.state?.[what] ?? "",
    write: (value) => history.replaceState({ ...history.state, [what]: value }, ""),
  });
  // The page itself says, by its key, whether its visitor has a session.
  const session = { read: () => null, write: () => {} };
  const claim = new Claim(service, { wish: { workshop, key: key || "", reload: true }, session, ticket: kept("ticket") });

  const bar = make("div", "tn-status-bar");
  const words = make("span", "tn-status-words");
  const stop = button("Stop", "tn-button", () => runner.interrupt());
  const restart = button("Restart", "tn-button tn-quiet", () => runner.restart());
  open.append(make("span", "tn-long", "Open in "), "JupyterLab");
  const controls = make("span", "tn-controls");
  controls.append(stop, restart, open);
  bar.append(words, controls);
  bar.hidden = true;
  bar.setAttribute("role", "region");
  bar.setAttribute("aria-label", "Kernel");

  function changed(message, state) {
    bar.hidden = !runner.kernel && !message;
    controls.hidden = !runner.kernel;
    stop.hidden = !runner.isBusy;
    for (const link of links) link.href = claim.session ? claim.session.open_url : spawn;
    words.textContent = message || (runner.isBusy ? `${spoken(language || name)} works` : `${spoken(language || name)} is ready`);
    bar.dataset.state = state || (runner.kernel ? (runner.isBusy ? "running" : "done") : "failed");
  }

  function tell(message, state = "running") {
    changed(message, state);
    announcer.say(message);
  }

  const place = () => ({ path: start, name, language: language || name });
  const runner = new Runner({ service, language: language || name, claim, place, announce: announcer.say, changed, onstale: loadAgain });

  // The visitor got a notebook in another tab after this page was made. Loaded again it may use that; what was changed
  // here stays. Nothing runs by itself then: nobody but the visitor decides what runs.
  function loadAgain() {
    kept("again").write(runner.cells.indexOf(runner.latest));
    location.reload();
  }

  // What was changed here is there, too.
  async function openLab(event) {
    if (event.button > 1 || !runner.cells.some((cell) => cell.isEdited)) return;
    event.preventDefault();
    const isAside = event.button === 1 || event.ctrlKey || event.metaKey || event.shiftKey;
    const tab = isAside ? window.open("", "_blank") : null; // now, as browsers allow it only in answer to a click
    if (tab) tab.opener = null;
    try {
      tell("Takes your changes along …");
      await claim.get(tell);
      await carryOver();
      changed();
      (tab || window).location.assign(claim.session.open_url);
    } catch (error) {
      tab?.close();
      if (error.stale) return loadAgain();
      if (!(error instanceof Problem)) console.error(error);
      const ended = claim.session && (await service.ended(claim.session).catch(() => ""));
      if (ended) claim.forget();
      const said = error instanceof Problem ? error.message : NOT_TAKEN;
      tell(`${ended ? `${ended} Please try again for a fresh one.` : said} Your changes are still on this page.`, "failed");
    }
  }

  async function carryOver() {
    const { url, token } = claim.session;
    const path = `${url}api/contents/${start.split("/").map(encodeURIComponent).join("/")}`;
    const found = await service.ask("GET", path, { token });
    const content = found.value?.content;
    if (!found.ok || !Array.isArray(content?.cells)) throw new Problem(NOT_TAKEN);
    const edited = runner.cells.filter((cell) => cell.isEdited);
    for (const cell of edited) carry(cell, content);
    const put = await service.ask("PUT", path, { token, body: { type: "notebook", format: "json", content } });
    if (!put.ok) throw new Problem(NOT_TAKEN);
    for (const cell of edited) cell.draft.carried = cell.code;
  }

  // The notebook is the visitor's own, and may be another by now: only what still reads as it did here is replaced.
  // What does not stays, and the change becomes a cell below it.
  function carry(cell, { cells, nbformat_minor: minor }) {
    const at = find(cell, cells);
    if (at >= 0) {
      cells[at].source = cell.code;
    } else if (!cells.some((one) => isCode(one, cell.code))) {
      const above = runner.above(cell).map((one) => find(one, cells));
      const after = Math.max(...above, Math.min(Number(cell.element.dataset.cell), cells.length - 1));
      const fresh = { cell_type: "code", source: cell.code, metadata: {}, outputs: [], execution_count: null };
      cells.splice(after + 1, 0, minor >= 5 ? { id: hex(4), ...fresh } : fresh);
    }
  }

  // Where a cell of this page is in the notebook, as it was taken there or as it was written; -1 where it cannot be told.
  function find(cell, cells) {
    for (const text of [cell.draft.carried, cell.original]) {
      if (text === null) continue;
      const places = [...cells.keys()].filter((index) => isCode(cells[index], text));
      if (places.includes(Number(cell.element.dataset.cell))) return Number(cell.element.dataset.cell);
      if (places.length === 1) return places[0];
    }
    return -1;
  }

  const isCode = (one, text) => one?.cell_type === "code" && one.source === text;

  for (const link of links) {
    link.addEventListener("click", openLab);
    link.addEventListener("auxclick", openLab);
  }

  const drafts = new Drafts(() => sessionStorage, `tmpnb-drafts:${location.pathname}`);
  const cells = [...main.querySelectorAll(".tn-cell")];
  cells.forEach((element, index) => {
    const code = element.querySelector(".tn-source").textContent;
    new Cell(element, runner, {
      code,
      draft: drafts.of(element.dataset.cell, code),
      name: `example ${index + 1}`,
      language: language || name,
      theme: "auto",
      mayFail: "mayFail" in element.dataset,
    });
  });
  if (cells.length) {
    document.getElementById("tn-hint").hidden = false;
    document.body.append(bar, announcer.element);
    runner.cells[kept("again").read()]?.call("Your notebook was found: run this again");
    if (history.state?.again !== undefined) kept("again").write(undefined);
  }
})();
