// The service that gives notebooks: claiming one (perhaps waiting in line), and asking whether it is still there.

const STARTING = { looks: 10, pause: 2000 }; // how often, and after how many milliseconds
const AWAY = { looks: 60, pause: 2000 }; // about as long as a place in line is kept

class Service {
  constructor(base) {
    this.base = base; // its address, with a slash at the end
  }

  address(path) {
    return new URL(path, this.base).href;
  }

  async ask(method, path, { body, token, quick = false } = {}) {
    const headers = {};
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (token) headers.Authorization = `token ${token}`;
    let response;
    try {
      response = await fetch(this.address(path), {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        credentials: "same-origin",
        cache: "no-store",
        signal: AbortSignal.timeout(quick ? 10_000 : 60_000),
      });
    } catch (error) {
      throw new Problem("The service cannot be reached. Please look at your connection and try again.");
    }
    const text = await response.text();
    let value = null;
    try {
      value = text ? JSON.parse(text) : null;
    } catch {
      // not ours; the status says what there is to say
    }
    return { status: response.status, ok: response.ok, value };
  }

  // A notebook of the visitor's own. `tell` is called with sentences while waiting.
  async claim(wish, tell) {
    const answer = await this._patiently("POST", "api/tickets", { body: wish }, tell);
    if (answer.status === 403) throw new Problem("This site is not among those that may start notebooks there.");
    if (!answer.ok || !answer.value) throw new Problem(answer.value?.message || "No notebook can be had now. Please try again.");
    const ticket = answer.value.status === "waiting" ? await this._wait(answer.value, tell) : answer.value;
    if (ticket.status !== "ready" || !ticket.session) throw new Problem(ticket.message || "No notebook can be had now.");
    return { ...ticket.session, url: this.address(ticket.session.url), open_url: this.address(ticket.session.open_url) };
  }

  // Asks again for a while where the service answers that it is not ready: it is being started again.
  async _patiently(method, path, options, tell) {
    for (let looks = 0; ; looks++) {
      const answer = await this.ask(method, path, options);
      if (answer.status !== 503 || answer.value?.status === "closed" || looks === STARTING.looks) return answer;
      tell("The service is starting again: waits for it");
      await sleep(STARTING.pause);
    }
  }

  async _wait(ticket, tell) {
    const path = `api/tickets/${ticket.id}`;
    const leave = () => navigator.sendBeacon(this.address(`${path}/leave`));
    window.addEventListener("pagehide", leave);
    try {
      tell(ticket.message);
      return (await this._watch(path, tell)) || (await this._look(path, tell));
    } finally {
      window.removeEventListener("pagehide", leave);
    }
  }

  // By server-sent events; null where they do not come through.
  _watch(path, tell) {
    return new Promise((resolve) => {
      const source = new EventSource(this.address(`${path}/events`));
      let failures = 0;
      const end = (value) => {
        source.close();
        resolve(value);
      };
      source.addEventListener("message", (event) => {
        failures = 0;
        const state = JSON.parse(event.data);
        if (state.status === "waiting") tell(state.message);
        else end(state);
      });
      source.addEventListener("error", () => {
        failures += 1;
        if (failures > 3 || source.readyState === EventSource.CLOSED) end(null);
      });
    });
  }

  async _look(path, tell) {
    for (let missed = 0; missed < AWAY.looks; ) {
      await sleep(AWAY.pause);
      const answer = await this._asked(path);
      if (answer.status >= 500) {
        missed += 1;
        tell("The service cannot be reached. Your place in line is kept; tries again");
        continue;
      }
      if (!answer.ok || !answer.value) throw new Problem(answer.value?.message || "The place in line was lost. Please try again.");
      if (answer.value.status !== "waiting") return answer.value;
      missed = 0;
      tell(answer.value.message);
    }
    throw new Problem("The service cannot be reached. Please look at your connection and try again.");
  }

  // As "ask"; where nobody answers it is as if a server in front said so.
  async _asked(path) {
    try {
      return await this.ask("GET", path, { quick: true });
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      return { status: 502, ok: false, value: null };
    }
  }

  // Whether a session is still there to be used. Throws a Problem where nobody can say: it may well be.
  async isThere(session, tell) {
    const { status, ok, value } = await this._patiently("GET", `api/sessions/${session.id}`, { token: session.token, quick: true }, tell);
    if (ok && value) return value.state === "claimed";
    if (status === 404 || status === 410) return false;
    throw new Problem("The service cannot say now whether your notebook is still there. Please try again in a moment.");
  }

  // Why a session is no more; "" while it runs, or while nobody can say.
  async ended(session) {
    const answer = await this.ask("GET", `api/sessions/${session.id}`, { token: session.token, quick: true });
    if (answer.status === 404) return "it was forgotten";
    if (answer.ok && answer.value && answer.value.state !== "claimed") return answer.value.reason || "it was ended";
    return "";
  }
}
