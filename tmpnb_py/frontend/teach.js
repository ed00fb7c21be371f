"use strict";
// The teacher's page of a class (web/pages/classes.py): it follows the numbers, and posts its forms without leaving the page.
// All that it shows it writes as text. Its address is the permission, and goes nowhere but to the service.
(() => {
  const here = location.pathname;
  const SAID_EVERY = 15000; // milliseconds between two reports to screen readers, which would read nothing else
  const STAGES = { planned: _("It has not begun yet."), on: _("It is on."), over: _("It is over.") };
  const NUMBERS = /** @type {const} */ (["came", "working", "waiting", "left"]);
  /** @param {string} id of an element that the page has */
  const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
  /** @type {EventSource | null} */
  let source = null;
  let told = "", toldAt = 0;

  /** @param {string} id @param {string} text */
  const write = (id, text) => {
    if (byId(id).textContent !== text) byId(id).textContent = text;
  };
  /** @param {string} text what went wrong, "" for nothing */
  const complain = (text) => {
    write("problem", text);
    byId("problem").hidden = !text;
  };

  /** @param {ClassState} state */
  const show = (state) => {
    for (const name of NUMBERS) write(name, String(state[name]));
    write("when", state.when);
    write("stage-words", STAGES[state.state]);
    byId("shut").hidden = !state.shut_out;
    byId("stage").classList.toggle("good", state.state === "on");
    showMessages(state.messages);
    const { came, people, working, waiting } = state;
    const said = _("{came} of {people} have come, {working} are at work, {waiting} wait.", { came, people, working, waiting });
    if (said !== told && Date.now() - toldAt >= SAID_EVERY) {
      told = said;
      toldAt = Date.now();
      write("said", said);
    }
    if (state.state === "over") stop();
  };

  /** @param {ToldMessage[]} messages */
  const showMessages = (messages) => {
    const list = byId("messages");
    const shown = JSON.stringify(messages.map(({ id }) => id));
    if (list.dataset.shown === shown) return;
    list.dataset.shown = shown;
    const focused = list.contains(document.activeElement);
    list.replaceChildren(...messages.map(row));
    if (focused) byId("text").focus();
  };

  /** @param {ToldMessage} message */
  const row = ({ id, text }) => {
    const item = document.createElement("li"), words = document.createElement("span"), button = document.createElement("button");
    words.textContent = text;
    button.type = "button";
    button.className = "plain";
    button.textContent = _("Take back");
    button.setAttribute("aria-label", _("Take back: {message}", { message: text }));
    button.addEventListener("click", () => void post("/messages/" + id + "/withdraw", new URLSearchParams()));
    item.append(words, " ", button);
    return item;
  };

  /** @param {string} path @param {URLSearchParams} body @returns {Promise<boolean>} whether it was done */
  const post = async (path, body) => {
    const answer = await fetch(here + path, { method: "POST", body, headers: { Accept: "application/json" } }).catch(() => null);
    const state = (await answer?.json().catch(() => null)) ?? null;
    if (answer?.ok && state) {
      complain("");
      show(state);
      return true;
    }
    complain(state?.message ? _(state.message) : _("The service cannot be reached. Please try again."));
    return false;
  };

  const stop = () => {
    source?.close();
    source = null;
  };
  const follow = () => {
    stop();
    if (document.hidden) return; // a browser has few connections for one host
    source = new EventSource(here + "/events");
    source.onmessage = ({ data }) => show(JSON.parse(data));
  };

  byId("tell").addEventListener("submit", async (event) => {
    event.preventDefault();
    const field = /** @type {HTMLTextAreaElement} */ (byId("text"));
    if (await post("/messages", new URLSearchParams({ text: field.value }))) {
      field.value = "";
      write("said", _("Everybody is shown your message."));
    }
  });
  byId("longer").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (await post("/longer", new URLSearchParams())) write("said", _("The class lasts twenty minutes longer: {when}", { when: byId("when").textContent }));
  });
  document.addEventListener("visibilitychange", follow);
  follow();
})();
