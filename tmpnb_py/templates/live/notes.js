// The notes page: its cells come alive in place. Without this script they are there to read.

const NOT_TAKEN = "Your changes could not be taken along to JupyterLab. Please try again.";

(() => {
  const main = document.querySelector("main[data-document]");
  const { workshop, document: start, kernel: name, language, key } = main.dataset;
  const service = new Service(new URL("/", location.href).href);
  const announcer = new Announcer();
  const links = [make("a", "tn-button tn-quiet"), document.getElementById("tn-open")];
  const [open, { href: spawn }] = links;
  let session = null;
  let claimed = null;

  const claim = (tell) => (claimed ||= claimOnce(tell));
  claim.forget = () => (session = claimed = null);

  async function claimOnce(tell) {
    try {
      return (session = await service.claim({ workshop, ...(key ? { key } : {}) }, tell));
    } catch (error) {
      claimed = null;
      throw error;
    }
  }

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
    for (const link of links) link.href = session ? session.open_url : spawn;
    words.textContent = message || (runner.isBusy ? `${spoken(language || name)} works` : `${spoken(language || name)} is ready`);
    bar.dataset.state = state || (runner.kernel ? (runner.isBusy ? "running" : "done") : "failed");
  }

  function tell(message, state = "running") {
    changed(message, state);
    announcer.say(message);
  }

  const place = () => ({ path: start, name, language: language || name });
  const runner = new Runner({ service, language: language || name, claim, place, announce: announcer.say, changed });

  // What was changed here is there, too.
  async function openLab(event) {
    if (event.ctrlKey || event.metaKey || event.shiftKey || !runner.cells.some((cell) => cell.isEdited)) return;
    event.preventDefault();
    try {
      tell("Takes your changes along …");
      await claim(tell);
      await carryOver();
      changed();
      location.assign(session.open_url);
    } catch (error) {
      if (!(error instanceof Problem)) console.error(error);
      const reason = session && (await service.ended(session).catch(() => ""));
      if (reason) claim.forget();
      const said = error instanceof Problem ? error.message : NOT_TAKEN;
      tell(`${reason ? `Your notebook has ended: ${reason}. Please try again for a fresh one.` : said} Your changes are still on this page.`, "failed");
    }
  }

  async function carryOver() {
    const path = `${session.url}api/contents/${start.split("/").map(encodeURIComponent).join("/")}`;
    const found = await service.ask("GET", path, { token: session.token });
    const content = found.value?.content;
    if (!found.ok || !Array.isArray(content?.cells)) throw new Problem(NOT_TAKEN);
    for (const cell of runner.cells.filter((one) => one.isEdited)) {
      const own = content.cells[Number(cell.element.dataset.cell)];
      if (own?.cell_type !== "code") throw new Problem(NOT_TAKEN);
      own.source = cell.code;
    }
    const put = await service.ask("PUT", path, { token: session.token, body: { type: "notebook", format: "json", content } });
    if (!put.ok) throw new Problem(NOT_TAKEN);
  }
  for (const link of links) link.addEventListener("click", openLab);

  const cells = [...main.querySelectorAll(".tn-cell")];
  cells.forEach((element, index) => {
    new Cell(element, runner, {
      code: element.querySelector(".tn-source").textContent,
      name: `example ${index + 1}`,
      language: language || name,
      theme: "auto",
      mayFail: "mayFail" in element.dataset,
    });
  });
  if (cells.length) {
    document.getElementById("tn-hint").hidden = false;
    document.body.append(bar, announcer.element);
  }
})();
