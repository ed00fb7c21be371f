// The service that gives notebooks: claiming one (perhaps waiting in line), and asking whether it is still there.

const UNREACHED = _("The service cannot be reached. Please check your connection and try again.");
const NOT_ALLOWED = _("This site is not allowed to start notebooks on that service.");
const GONE = _("This notebook has ended.");
const STOPPED = _("Stopped: you are no longer waiting for a notebook");
const BROKEN = _("Something went wrong in this page. Please try again.");
const READY = _("Your notebook is ready: run the code again");

const NAME = /^[0-9a-f]{32}$/; // of a ticket or a wish: 128 random bits

const RECONNECTED = 8000; // milliseconds: browsers close a connection that was made and not used after ten seconds
const STARTING = { looks: 10, pause: 2000 }; // how often, and after how many milliseconds
const AWAY = { looks: 60, pause: 2000 }; // about as long as a place in line is kept

class Service {
  /** @param {string} base */
  constructor(base) {
    this.base = base; // its address, with a slash at the end
    this._connected = -Infinity; // when it was last asked for a connection, on the page's clock
  }

  /** The service tells of tickets and sessions in the page's language, where it could not know that. @param {string} path */
  _inLanguage(path) {
    return WORDS.asked && path.startsWith("api/") ? `${path}?lang=${WORDS.asked}` : path;
  }

  /** @param {string} path */
  address(path) {
    return new URL(path, this.base).href;
  }

  /**
   * A connection for the next request (HTML, "preconnect"); none is made where there is one. Who has read for longer than a
   * server keeps it open has none, nor has another site's page, which asks without cookies, and loaded its script with them.
   */
  connect() {
    if (performance.now() - this._connected < RECONNECTED) return;
    this._connected = performance.now();
    const link = make("link");
    link.rel = "preconnect";
    link.href = this.base;
    if (new URL(this.base).origin !== location.origin) link.crossOrigin = "anonymous";
    document.head.append(link);
    setTimeout(() => link.remove(), 1000);
  }

  /**
   * `plain`: from another site's page as a request that the browser sends without asking first (Fetch, "CORS-safelisted"),
   * which saves a round trip. The token is then in the address, as that of the kernel's WebSocket has it, which follows.
   * @param {string} method @param {string} path @param {AskOptions} [options] @returns {Promise<Answer>}
   */
  async ask(method, path, { body, token, quick = false, plain = false } = {}) {
    /** @type {{ [name: string]: string }} */
    const headers = {};
    const address = new URL(this._inLanguage(path), this.base);
    const isPlain = plain && address.origin !== location.origin;
    if (body !== undefined && !isPlain) headers["Content-Type"] = "application/json";
    if (token && isPlain) address.searchParams.set("token", token);
    else if (token) headers.Authorization = `token ${token}`;
    let response, text;
    try {
      response = await fetch(address, {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        credentials: "same-origin",
        cache: "no-store",
        signal: AbortSignal.timeout(quick ? 10_000 : 60_000),
      });
      text = await response.text();
    } catch (cause) {
      throw new Problem(UNREACHED, { cause });
    }
    // What is no JSON is not ours; the status says what there is to say.
    return { status: response.status, ok: response.ok, value: parsedJson(text) };
  }

  /**
   * A notebook of the visitor's own. `tell` gets sentences while the page waits. What a page that is reloaded needs is kept:
   * the `ticket` while it waits, and `once`, the name of a wish whose answer has not come. Aborting `signal` gives it up.
   * @param {object} wish @param {Tell} tell @param {KeptClaim} kept @param {AbortSignal} signal
   */
  async claim(wish, tell, { ticket: place, once }, signal) {
    return this._settled(await this._draw(wish, once, tell, signal), tell, place, signal);
  }

  /**
   * What the ticket is good for that a page kept; null where that is nothing any more.
   * @param {Tell} tell @param {Kept<string>} place @param {AbortSignal} signal
   */
  async resume(tell, place, signal) {
    const ticket = await this._kept(place.read(), tell, signal);
    if (ticket) return this._settled(ticket, tell, place, signal);
    place.write("");
    return null;
  }

  /** @param {TicketState} ticket @param {Tell} tell @param {Kept<string>} place @param {AbortSignal} signal @returns {Promise<SessionInfo>} */
  async _settled(ticket, tell, place, signal) {
    if (ticket.status === "waiting") ticket = await this._wait(ticket, tell, place, signal);
    place.write("");
    if (ticket.status !== "ready" || !ticket.session) throw new Problem(ticket.message || _("No notebook can be had now."));
    return { ...ticket.session, key: ticket.key, url: this.address(ticket.session.url), open_url: this.address(ticket.session.open_url) };
  }

  /**
   * The ticket that this page drew before it was reloaded, if it is still good for something.
   * @param {string} id @param {Tell} tell @param {AbortSignal} signal @returns {Promise<TicketState | null>}
   */
  async _kept(id, tell, signal) {
    if (!NAME.test(id)) return null;
    const { status, ok, value } = await this._patiently("GET", `api/tickets/${id}`, { quick: true }, tell, signal);
    if (status >= 500) throw new Problem(UNREACHED); // it may well be good: no other place is drawn
    return ok && ["waiting", "ready"].includes(value?.status ?? "") ? ticketOf(value) : null;
  }

  /**
   * The service gives one ticket for one name, however often it is asked: an answer may be lost on its way.
   * @param {object} wish @param {Kept<string>} once @param {Tell} tell @param {AbortSignal} signal @returns {Promise<TicketState>}
   */
  async _draw(wish, once, tell, signal) {
    const name = NAME.test(once.read()) ? once.read() : hex(16);
    once.write(name);
    const answer = await this._patiently("POST", "api/tickets", { body: { ...wish, once: name }, plain: true }, tell, signal).catch(async (error) => {
      const isLost = error instanceof Problem && error.cause instanceof TypeError;
      throw isLost && (await this._isRefusal()) ? new Problem(NOT_ALLOWED) : error;
    });
    const { ok, status, value } = answer;
    if (status < 500 && (value || !ok)) once.write(""); // else a ticket may have been drawn
    if (ok && value) return ticketOf(value);
    if (status === 403) throw new Problem(NOT_ALLOWED);
    if (status === 409) throw new Problem(_(value?.message || "Please load this page again."), { stale: true });
    throw new Problem(refusal(value));
  }

  // A browser does not tell a page of another site that it was refused from a service that is away; but this script
  // may be loaded by everybody, and the numbers only be read by pages that are allowed.
  async _isRefusal() {
    if (new URL(this.base).origin === location.origin) return false;
    const reads = (/** @type {string} */ path) => {
      /** @type {RequestInit} */
      const options = { method: "HEAD", cache: "no-store", credentials: "omit", signal: AbortSignal.timeout(5000) };
      return fetch(this.address(path), options).then(({ ok }) => ok, () => false);
    };
    return !(await reads("api/stats")) && reads("live.js");
  }

  /**
   * Asks again for a while where the service answers that it is not ready: it is being started again.
   * @param {string} method @param {string} path @param {AskOptions} options @param {Tell} tell @param {AbortSignal} [signal] @returns {Promise<Answer>}
   */
  async _patiently(method, path, options, tell, signal) {
    for (let looks = 0; ; looks++) {
      const answer = await this.ask(method, path, options);
      if (answer.status !== 503 || answer.value?.status === "closed" || looks === STARTING.looks) return answer;
      tell(_("The service is restarting. Waiting for it"));
      await sleep(STARTING.pause, signal);
      if (signal?.aborted) throw new Problem(STOPPED);
    }
  }

  /** @param {TicketState} ticket @param {Tell} tell @param {Kept<string>} place @param {AbortSignal} signal @returns {Promise<TicketState>} */
  async _wait(ticket, tell, place, signal) {
    const path = `api/tickets/${ticket.id}`;
    const leave = () => navigator.sendBeacon(this.address(`${path}/leave`));
    window.addEventListener("pagehide", leave);
    place.write(ticket.id);
    try {
      tell(ticket.message);
      const told = await this._watch(path, tell, signal);
      if (told) await this._asked(path); // a stream cannot set the cookie by which the visitor is known again
      return told || (await this._look(path, tell, place, signal));
    } finally {
      window.removeEventListener("pagehide", leave);
    }
  }

  /**
   * By server-sent events; null where they do not come through.
   * @param {string} path @param {Tell} tell @param {AbortSignal} signal @returns {Promise<TicketState | null> | null}
   */
  _watch(path, tell, signal) {
    if (signal.aborted) return null;
    return new Promise((resolve) => {
      const source = new EventSource(this.address(this._inLanguage(`${path}/events`)));
      let failures = 0;
      const end = (/** @type {TicketState | null} */ value) => {
        source.close();
        resolve(value);
      };
      source.addEventListener("message", (event) => {
        failures = 0;
        const state = JSON.parse(event.data);
        if (state.status === "waiting") tell(state.message);
        else end(state);
      });
      signal.addEventListener("abort", () => end(null), { once: true });
      source.addEventListener("error", () => {
        failures += 1;
        if (failures > 3 || source.readyState === EventSource.CLOSED) end(null);
      });
    });
  }

  /** @param {string} path @param {Tell} tell @param {Kept<string>} place @param {AbortSignal} signal @returns {Promise<TicketState>} */
  async _look(path, tell, place, signal) {
    for (let missed = 0; missed < AWAY.looks; ) {
      await sleep(AWAY.pause, signal);
      if (signal.aborted) {
        place.write("");
        await this.ask("DELETE", path, { quick: true }).catch(() => {}); // else it lapses by itself
        throw new Problem(STOPPED);
      }
      const answer = await this._asked(path);
      if (answer.status >= 500) {
        missed += 1;
        tell(_("The service cannot be reached. Your place in line is kept. Trying again"));
        continue;
      }
      if (!answer.ok || !answer.value) {
        place.write("");
        throw new Problem(answer.value?.message ? _(answer.value.message) : _("Your place in line was lost. Please try again."));
      }
      const ticket = ticketOf(answer.value);
      if (ticket.status !== "waiting") return ticket;
      missed = 0;
      tell(ticket.message);
    }
    throw new Problem(UNREACHED);
  }

  /**
   * As "ask"; where nobody answers it is as if a server in front said so.
   * @param {string} path @returns {Promise<Answer>}
   */
  async _asked(path) {
    try {
      return await this.ask("GET", path, { quick: true });
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      return { status: 502, ok: false, value: null };
    }
  }

  /**
   * Whether a session is still there to be used. Throws a Problem where nobody can say: it may well be.
   * @param {SessionInfo} session @param {Tell} tell @param {AbortSignal} signal
   */
  async isThere(session, tell, signal) {
    const path = `api/sessions/${session.id}`;
    const { status, ok, value } = await this._patiently("GET", path, { token: session.token, quick: true }, tell, signal);
    if (ok && value) return value.state === "claimed";
    if (status === 404 || status === 410) return false;
    throw new Problem(_("The service cannot tell at the moment whether your notebook is still running. Please try again in a moment."));
  }

  /**
   * That a session is no more, and why, in words; "" while it runs, or while nobody can say.
   * @param {SessionInfo} session @returns {Promise<string>}
   */
  async ended(session) {
    const answer = await this.ask("GET", `api/sessions/${session.id}`, { token: session.token, quick: true });
    if (answer.status === 404) return GONE;
    return answer.ok && answer.value && answer.value.state !== "claimed" ? answer.value.message || GONE : "";
  }
}

// The session of a page: claimed at the first need, and one for all who need it. What is kept over a reload is up to
// the page: `session`, `ticket` and `once` have read() and write().
class Claim {
  /** @param {Service} service @param {{ wish: object } & KeptClaim} options */
  constructor(service, { wish, ...kept }) {
    /** @type {SessionInfo | null} */
    this.session = null;
    this._service = service;
    this._wish = wish;
    this._kept = kept;
    /** @type {ComingSession | null} */
    this._coming = null;
    /** @type {Promise<unknown> | undefined} done when what nobody waited for any more has been given up */
    this._left = undefined;
    /** @type {Set<Tell>} */
    this._tells = new Set();
    /** @type {{ leaving: AbortController, tell: TellState } | null} */
    this._resumed = null;
    /** @type {(session: SessionInfo | null) => void} gets the session, and null when it has ended */
    this.onsession = () => {};
  }

  /** Whether there is a session, or one can be asked for without taking over somebody's wait. */
  get isFree() {
    return this.session !== null || !(this._coming || this._kept.ticket.read());
  }

  /**
   * Who aborts `signal` waits no more; when nobody does, the place in line is given up.
   * @param {Tell} tell @param {AbortSignal} signal
   */
  async get(tell, signal) {
    this._handOver();
    const found = (await this._join(this._again, tell, signal)) || (await this._join(this._fresh, tell, signal));
    return /** @type {SessionInfo} */ (found); // a fresh one, where none was found
  }

  /**
   * At load: waits on in the line that this page was in before, if it was, until there is a notebook, giveUp() is
   * called, or somebody calls get(), whose wait it is then. `tell` gets words, and "running", "done" or "failed"; ""
   * for no words any more. Nothing is drawn and nothing runs because of it: other pages may have written what is kept.
   * @param {TellState} tell
   */
  async resume(tell) {
    if (!this._kept.ticket.read()) return;
    const own = (this._resumed = { leaving: new AbortController(), tell });
    /** @type {TellState} */
    const said = (words, state) => void (this._resumed === own && tell(words, state));
    try {
      const session = await this._join(this._again, (words) => said(words, "running"), own.leaving.signal);
      said(session ? READY : "", "done");
    } catch (error) {
      said(problemOf(error, BROKEN).message, "failed");
    }
  }

  giveUp() {
    this._resumed?.leaving.abort();
  }

  _handOver() {
    const { leaving, tell } = this._resumed || {};
    this._resumed = null;
    leaving?.abort();
    unpressed(() => tell?.("", "done"));
  }

  /** @param {(tell: Tell, signal: AbortSignal) => Promise<SessionInfo | null>} find @param {Tell} tell @param {AbortSignal} signal */
  async _join(find, tell, signal) {
    const coming = (this._coming ||= this._begin(find));
    this._tells.add(tell);
    if (coming.said && !this.session) tell(coming.said);
    try {
      return await Promise.race([coming.session, aborted(signal)]);
    } finally {
      this._tells.delete(tell);
      if (signal.aborted && !this._tells.size && !this.session) {
        coming.leaving.abort();
        this._left = coming.session.catch(() => {});
        this._end(coming);
      }
    }
  }

  /** @param {(tell: Tell, signal: AbortSignal) => Promise<SessionInfo | null>} find */
  _begin(find) {
    const leaving = new AbortController();
    const tell = (/** @type {string} */ words) => {
      coming.said = words;
      this._tells.forEach((one) => one(words));
    };
    // Later, as what is told at once is kept there, too; and a place that is being given up is to be gone.
    const session = Promise.resolve(this._left)
      .then(() => find.call(this, tell, leaving.signal))
      .then((found) => this._found(coming, found));
    /** @type {ComingSession} */
    const coming = { leaving, said: "", session };
    coming.session.catch(() => this._end(coming));
    return coming;
  }

  /** @param {ComingSession} coming @param {SessionInfo | null} session */
  _found(coming, session) {
    if (!session) {
      this._end(coming);
      return null;
    }
    this._kept.session.write(session);
    this.session = session;
    this.onsession(session);
    return session;
  }

  /** @param {ComingSession} coming */
  _end(coming) {
    if (this._coming === coming) this._coming = null;
  }

  /**
   * What this page had before it was reloaded: a notebook, or a place in line. Null where it has neither.
   * @param {Tell} tell @param {AbortSignal} signal @returns {Promise<SessionInfo | null>}
   */
  async _again(tell, signal) {
    const { session, ticket } = this._kept;
    const old = session.read();
    if (!old || !(await this._service.isThere(old, tell, signal))) return this._service.resume(tell, ticket, signal);
    ticket.write("");
    return old;
  }

  /** @param {Tell} tell @param {AbortSignal} signal */
  _fresh(tell, signal) {
    return this._service.claim(this._wish, tell, this._kept, signal);
  }

  /**
   * It is no more. Whoever learns that late must not take away the next one.
   * @param {SessionInfo | null} session
   */
  forget(session) {
    if (this.session !== session) return;
    this.session = this._coming = null;
    this._kept.session.write(null);
    this.onsession(null);
  }
}

/** @param {SessionInfo} session what is kept of it in a page's storage @returns {SessionInfo} */
function essentials({ id, url, token, open_url }) {
  return { id, url, token, open_url };
}

/** @param {Untrusted} kept by this page, or by another @returns {SessionInfo | null} null for what is no session of this service */
function ownSession(kept) {
  return kept?.id && kept.url?.startsWith(BASE) && kept.open_url?.startsWith(BASE) ? kept : null;
}

/** @param {ApiValue | null} value the service's answer to a question for a ticket */
function ticketOf(value) {
  return /** @type {TicketState} */ (value);
}

/** @param {ApiValue | null} value why there is no notebook: the service's errors are English, and known by their codes */
function refusal(value) {
  if (value?.status === "full" && value.cause === "address") return _("Your network has as many notebooks open as one network may have. Please try again when others have left.");
  if (value?.status === "full") return _("All notebooks are in use, and the line is full. Please try again in a moment.");
  if (value?.status === "closed" && value.message) return value.message; // in the page's language, and says until when
  return value?.message ? _(value.message) : _("No notebook can be had now. Please try again.");
}
