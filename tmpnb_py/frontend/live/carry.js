// Taking the changes of a notes page's cells along to the visitor's notebook, before JupyterLab opens it.
//
// The notebook is the visitor's own, and may be another by now: only what still reads as it did on this page is replaced.
// What does not stays, and the change becomes a cell below it.

const NOT_TAKEN = _("Your changes could not be taken to JupyterLab. Please try again.");

/**
 * @param {Service} service @param {Runner} runner
 * @param {string} start the notebook's path below the server's files
 * @param {SessionInfo} session
 */
async function carryOver(service, runner, start, { id, url, token }) {
  const path = `${url}api/contents/${start.split("/").map(encodeURIComponent).join("/")}`;
  const found = await service.ask("GET", `${path}?type=notebook`, { token }); // also where it is text
  const content = found.value?.content;
  if (!found.ok || !Array.isArray(content?.cells)) throw new Problem(NOT_TAKEN);
  // From the last to the first: what becomes a new cell moves those below it.
  const edited = runner.cells.filter((cell) => cell.isEdited).reverse().map((cell) => ({ cell, code: cell.code }));
  for (const { cell, code } of edited) carry(cell, code, content, id, runner);
  const put = await service.ask("PUT", path, { token, body: { type: "notebook", format: "json", content } });
  if (!put.ok) throw new Problem(NOT_TAKEN);
  for (const { cell, code } of edited) cell.carried = { id, code };
}

/**
 * @param {Cell} cell @param {string} code @param {{ cells: NotebookCell[], nbformat_minor: number }} notebook
 * @param {string} id of the session @param {Runner} runner
 */
function carry(cell, code, { cells, nbformat_minor: minor }, id, runner) {
  const at = placeIn(cells, cell, id, runner);
  if (at >= 0) {
    cells[at].source = code;
  } else if (!cells.some((one) => isCode(one, code))) {
    const above = runner.above(cell).map((one) => placeIn(cells, one, id, runner));
    const after = Math.max(...above, Math.min(Number(cell.element.dataset.cell), cells.length - 1));
    const fresh = { cell_type: "code", source: code, metadata: {}, outputs: [], execution_count: null };
    cells.splice(after + 1, 0, minor >= 5 ? { id: hex(4), ...fresh } : fresh);
  }
}

/**
 * Where a cell of this page is in the notebook, as it was taken there or as it was written; -1 where it cannot be told.
 * @param {NotebookCell[]} cells @param {Cell} cell @param {string} id @param {Runner} runner
 */
function placeIn(cells, cell, id, runner) {
  const place = Number(cell.element.dataset.cell);
  for (const text of readings(cell, id)) {
    const places = [...cells.keys()].filter((index) => isCode(cells[index], text));
    if (places.includes(place)) return place;
    const others = runner.cells.filter((one) => one !== cell && readings(one, id).includes(text));
    if (places.length === 1 && !others.length) return places[0];
  }
  return -1;
}

/** @param {Cell} cell @param {string} id of the session */
function readings({ carried, original }, id) {
  return carried?.id === id ? [carried.code, original] : [original];
}

/** @param {NotebookCell} one @param {string} text */
function isCode(one, text) {
  return one?.cell_type === "code" && String(one.source).replace(/\r\n?/g, "\n") === text;
}
