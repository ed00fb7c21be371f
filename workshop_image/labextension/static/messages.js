/*
 * Messages of the people who run the service, and of a class's teacher, over JupyterLab. Loaded by remoteEntry.js once an
 * orchestrator has answered.
 *
 * The orchestrator sends them as server-sent events (GET /api/sessions/<id>/messages), also under a notebook's own host. It
 * is asked only while the tab is visible, as a browser has few connections for one host; and it is no activity. `fetch` reads
 * the stream, as an EventSource cannot send the token. What comes is shown as text.
 */

import { TONGUE, _ } from "./words.js";

const KEPT = "tmpnb-session:closed-messages";
const RETRIES = [2, 4, 8, 15, 30, 60]; // seconds
const STYLE = `
  .tmpnb-Messages { position: fixed; z-index: 10001; top: 8px; left: 50%; transform: translateX(-50%); display: flex; gap: 8px;
    flex-direction: column; width: min(40rem, calc(100vw - 16px)); max-height: 50vh; overflow: auto; pointer-events: none; }
  .tmpnb-Messages > div { pointer-events: auto; display: flex; gap: 12px; align-items: start; padding: 10px 14px;
    font-family: var(--jp-ui-font-family); font-size: var(--jp-ui-font-size2); line-height: 1.4; color: var(--jp-ui-font-color0);
    background: var(--jp-layout-color1); border: 1px solid var(--jp-brand-color1); border-left-width: 6px; border-radius: 4px;
    box-shadow: var(--jp-elevation-z6); }
  .tmpnb-Messages p { margin: 0; flex: 1; overflow-wrap: anywhere; }
  .tmpnb-Messages small { display: block; font-size: var(--jp-ui-font-size1); color: var(--jp-ui-font-color1); }
  .tmpnb-Messages button { font: inherit; color: var(--jp-ui-font-color0); background: var(--jp-layout-color2);
    border: 1px solid var(--jp-border-color1); border-radius: 4px; min-height: 32px; padding: 2px 12px; cursor: pointer; }
  .tmpnb-Messages button:focus-visible { outline: 2px solid var(--jp-brand-color1); outline-offset: 1px; }
`;

/** @param {{ url: string, headers: HeadersInit }} orchestrator */
export function begin(orchestrator) {
  new Messages(orchestrator).begin();
}

class Messages {
  /** @param {{ url: string, headers: HeadersInit }} orchestrator */
  constructor({ url, headers }) {
    this.url = `${url}/messages`;
    this.headers = headers;
    /** @type {Set<string>} ids of those that the visitor has closed in this tab */
    this.closed = new Set(JSON.parse(sessionStorage.getItem(KEPT) ?? "[]"));
    /** @type {Map<string, HTMLElement>} those that are shown */
    this.shown = new Map();
    /** @type {AbortController | null} of the stream */
    this.stream = null;
    this.timer = 0;
    this.failures = 0;
    this.place = document.createElement("div");
  }

  begin() {
    const style = document.createElement("style");
    style.textContent = STYLE;
    this.place.className = "tmpnb-Messages";
    document.head.append(style);
    document.body.append(this.place);
    document.addEventListener("visibilitychange", () => this.follow());
    addEventListener("online", () => this.follow());
    this.follow();
  }

  /** Begin a stream, or end it where nobody sees the tab. */
  follow() {
    clearTimeout(this.timer);
    this.stream?.abort();
    this.stream = null;
    if (!document.hidden) {
      this.stream = new AbortController();
      void this.read(this.stream.signal);
    }
  }

  /** @param {AbortSignal} signal */
  async read(signal) {
    const answer = await fetch(this.url, { headers: this.headers, cache: "no-store", redirect: "error", signal }).catch(() => null);
    if (answer?.status === 404 || signal.aborted) {
      return; // an older orchestrator, or the session has ended
    }
    if (answer?.ok && answer.body) {
      this.failures = 0;
      await this.hear(answer.body, signal).catch(() => {});
    }
    if (!signal.aborted) {
      this.timer = setTimeout(() => this.follow(), RETRIES[Math.min(this.failures++, RETRIES.length - 1)] * 1000);
    }
  }

  /** @param {ReadableStream<Uint8Array>} body @param {AbortSignal} signal */
  async hear(body, signal) {
    const reader = body.pipeThrough(/** @type {ReadableWritablePair<string, Uint8Array>} */ (new TextDecoderStream())).getReader();
    for (let rest = ""; ; ) {
      const { value, done } = await reader.read();
      if (done || signal.aborted) return;
      const events = (rest + value).split("\n\n");
      rest = events.pop() ?? "";
      for (const event of events) {
        const data = event.split("\n").find((line) => line.startsWith("data: "));
        if (data) this.show(JSON.parse(data.slice(6)).messages);
      }
    }
  }

  /** @param {ToldMessage[]} messages all that there are now */
  show(messages) {
    const current = new Set(messages.map(({ id }) => id));
    for (const [id, element] of this.shown) {
      if (!current.has(id)) {
        element.remove();
        this.shown.delete(id);
      }
    }
    messages.filter(({ id }) => !this.closed.has(id) && !this.shown.has(id)).forEach((message) => this.add(message));
  }

  /** @param {ToldMessage} message */
  add({ id, text, source }) {
    const card = document.createElement("div"), words = document.createElement("p");
    const from = document.createElement("small"), button = document.createElement("button");
    card.setAttribute("role", "alert"); // screen readers read what appears in it
    from.textContent = source === "teacher" ? _("From your teacher") : _("From the people who run this service");
    Object.assign(from, TONGUE);
    words.append(from, text);
    button.type = "button";
    button.textContent = _("Close");
    Object.assign(button, TONGUE);
    button.addEventListener("click", () => {
      card.remove();
      this.shown.delete(id);
      this.closed.add(id);
      sessionStorage.setItem(KEPT, JSON.stringify([...this.closed].slice(-100)));
    });
    card.append(words, button);
    this.shown.set(id, card);
    this.place.append(card);
  }
}
