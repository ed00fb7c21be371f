// How long a page's notebook still lives, and keeping it. As JupyterLab's part of it (workshop_image/labextension), this asks
// the service rarely and never from a tab that nobody sees, which is no activity; and it reports, at most once a minute,
// that somebody is there: who reads or writes on the page sends no request.

const TIME_SHOWN = 900; // seconds before the end in which the time is shown, at most a quarter of the limit
const LONGEST_LOOK = 600; // seconds between two questions
const REPORT = 60; // seconds between two reports, at most a quarter of the limit
// What only a person does. Pages scroll by themselves, but they turn no wheel.
const SIGNS = ["keydown", "pointerdown", "pointermove", "wheel", "touchmove"];

class Lifetime {
  /**
   * `element` shows the time that is left, when it gets near; `shown` is told when that changes, and whether a button had
   * the focus that went. `say` gets a sentence for screen readers (for everybody where it answers a click), `works` says
   * whether a kernel of this page is at work, and `ended` gets words once there is no notebook.
   * A session whose token is not known can be told of; `own` gets it whole, at a click.
   * @param {Service} service
   * @param {{ shown: (hadFocus: boolean) => void, say: (words: string, isAnswer?: boolean) => void, works: () => boolean,
   *   ended: Tell, own?: () => Promise<unknown> }} page
   */
  constructor(service, { shown, say, works, ended, own = async () => null }) {
    this._service = service;
    this._shown = shown;
    this._say = say;
    this._works = works;
    this._own = own;
    this._ended = ended;
    /** @type {SessionInfo | { id: string, token?: string } | null} */
    this._session = null;
    /** @type {LifetimeFacts | null} */
    this._facts = null;
    this._worked = 0; // when a kernel was last seen at work, in seconds of the service's clock
    this._timer = 0;
    this._asked = 0;
    this._reported = 0;
    this._reporting = 0;
    this._warned = 0;
    this._pointer = "";
    this.element = make("div", "tn-time");
    this._words = make("span", "tn-time-words");
    this._why = make("p", "tn-time-why");
    this._keep = button(pgettext("button: go on using the notebook", "Keep"), "tn-button tn-quiet", () => this.keep());
    this._build();
    document.addEventListener("visibilitychange", () => this._soon());
    addEventListener("online", () => this._soon());
    for (const sign of SIGNS) addEventListener(sign, (event) => this._sign(event), { capture: true, passive: true });
  }

  get isShown() {
    return !this.element.hidden;
  }

  get _hasFocus() {
    return rootOf(this.element).activeElement === this._keep;
  }

  _build() {
    this.element.hidden = true;
    this.element.setAttribute("role", "group");
    this.element.setAttribute("aria-label", _("Time left"));
    this._keep.setAttribute("aria-label", _("Keep this notebook"));
    this.element.append(this._why, this._words, this._keep);
  }

  /**
   * Of this session from now on; of none where it is null.
   * @param {SessionInfo | { id: string, token?: string } | null} session
   */
  follow(session) {
    const isSame = session?.id === this._session?.id;
    this._session = session;
    if (isSame) return;
    this._facts = null;
    this._warned = 0;
    clearTimeout(this._timer);
    clearTimeout(this._reporting);
    this._reporting = 0;
    this._hide();
    if (session) this._look();
  }

  // --- asking

  // Something happened that may have moved the end: at once, but not again and again.
  _soon() {
    if (!this._session) return;
    clearTimeout(this._timer);
    this._timer = setTimeout(() => this._look(), Math.max(0, this._asked + 1000 - Date.now()));
  }

  async _look() {
    const session = this._session;
    clearTimeout(this._timer);
    if (!session || (document.hidden && this._facts)) return; // it looks again when it is seen
    this._asked = Date.now();
    const path = `api/sessions/${session.id}`;
    const answer = await this._service.ask("GET", path, { token: session.token, quick: true }).catch(() => null);
    if (session.id === this._session?.id) this._take(answer);
  }

  /** @param {Answer | null} answer */
  _take(answer) {
    if (answer?.ok && answer.value?.state === "claimed") this._facts = factsOf(answer.value);
    else if (answer && (answer.ok || answer.status === 404 || answer.status === 410)) return this._end(answer.value?.message);
    if (this._facts) this._tell(this._facts);
    else this._again(LONGEST_LOOK / 10);
  }

  /** @param {number} seconds */
  _again(seconds) {
    clearTimeout(this._timer);
    this._timer = setTimeout(() => this._look(), Math.max(seconds, 2) * 1000);
  }

  /** @param {string | undefined} words */
  _end(words) {
    this.follow(null);
    this._ended(words || GONE);
  }

  // --- telling

  /**
   * Seconds until the end if nothing happens; `final` where nothing can prevent it.
   * @param {LifetimeFacts} facts
   */
  _left({ ahead, started, active, idle, expires, ends }) {
    const now = Date.now() / 1000 - ahead;
    if (this._works()) this._worked = now;
    const idleEnd = Math.max(expires, this._worked + idle);
    const final = ends <= idleEnd;
    const limit = final ? ends - started : Math.max(Math.min(idle, idleEnd - active), REPORT);
    return { left: Math.min(idleEnd, ends) - now, final, window: Math.min(TIME_SHOWN, limit / 4) };
  }

  /** @param {LifetimeFacts} facts */
  _tell(facts) {
    const { left, final, window } = this._left(facts);
    if (left === Infinity) return;
    if (left > window) {
      this._hide();
      return this._again(Math.min(left - window, LONGEST_LOOK));
    }
    const had = final && this._hasFocus;
    this._words.textContent = _("{duration} left", { duration: inWords(left) });
    this._keep.hidden = final;
    const stage = left <= window / 15 ? 2 : left <= window / 3 ? 1 : 0;
    if (stage) this._why.textContent = reason(left, final);
    this._why.hidden = !stage;
    if (stage > this._warned) this._say(`${this._why.textContent} ${this._words.textContent}.`);
    this._warned = Math.max(this._warned, stage);
    this.element.hidden = false;
    this._shown(had);
    this._again(Math.min(left / 6, 30));
  }

  _hide() {
    this._warned = 0;
    const had = this._hasFocus;
    this.element.hidden = true;
    this._shown(had);
  }

  // --- keeping

  async keep() {
    if (this._session && !this._session.token) await this._own().catch(() => null);
    const session = this._session;
    if (!session) return;
    const path = `api/sessions/${session.id}/keep`;
    const answer = await this._service.ask("POST", path, { token: session.token, quick: true }).catch(() => null);
    if (session.id !== this._session?.id) return;
    if (answer?.ok && answer.value?.state === "claimed") {
      this._take(answer);
      const left = this._facts ? this._left(this._facts).left : 0;
      this._say(_("Kept: your notebook ends in {duration} at the earliest", { duration: inWords(left) }), true);
    } else {
      this._why.textContent = _("Your notebook could not be kept. Please try again.");
      this._why.hidden = false;
      this._say(this._why.textContent);
      this._soon();
    }
  }

  /**
   * Somebody is there: that is reported at once, and what follows within a minute together at its end.
   * @param {Event} event
   */
  _sign(event) {
    const still = event instanceof PointerEvent && event.type === "pointermove" && !this._hasMoved(event);
    // Browsers say that the pointer moved when it was the page beneath it.
    if (!event.isTrusted || still || this._reporting || !this._facts || !this._session?.token) return;
    const wait = Math.min(REPORT, this._facts.idle / 4) * 1000 - (Date.now() - this._reported);
    this._reporting = setTimeout(() => this._report(), Math.max(wait, 0));
  }

  /** @param {PointerEvent} event */
  _hasMoved({ screenX, screenY }) {
    const before = this._pointer;
    this._pointer = `${screenX},${screenY}`;
    return this._pointer !== before;
  }

  async _report() {
    const session = this._session;
    this._reporting = 0;
    if (!session) return;
    this._reported = Date.now();
    const path = `api/sessions/${session.id}/keep`;
    const answer = await this._service.ask("POST", path, { token: session.token, quick: true }).catch(() => null);
    if (answer?.ok && session.id === this._session?.id) this._take(answer);
  }
}

/** @param {ApiValue} value @returns {LifetimeFacts} */
function factsOf({ now, started, last_activity: active, expires_at: expires, ends_at: ends, idle_timeout: idle }) {
  const seconds = (/** @type {string | null | undefined} */ text) => (text ? Date.parse(text) / 1000 : Infinity);
  // The reader's clock may be wrong; only differences between moments of the same clock count.
  const ahead = now ? Date.now() / 1000 - seconds(now) : 0;
  return { ahead, started: seconds(started), active: seconds(active), expires: seconds(expires), ends: seconds(ends), idle: idle ?? Infinity };
}

/** @param {number} seconds */
function inWords(seconds) {
  const whole = Math.ceil(seconds / 60);
  if (seconds < 60) return _("less than a minute");
  if (whole < 120) return ngettext("{count} min", "{count} min", whole);
  return ngettext("one hour", "{count} hours", Math.floor(whole / 60));
}

/** @param {number} left @param {boolean} final */
function reason(left, final) {
  const at = new Date(Date.now() + left * 1000).toLocaleTimeString(WORDS.tag, { hour: "numeric", minute: "2-digit" });
  return final
    ? _("Your notebook ends at {time}: no notebook may run longer here. Your changes stay on this page. To keep your files, open JupyterLab and download them.", { time: at })
    : _("Nobody has used your notebook for a while. It ends at {time}, and everything in it is lost, unless you keep it.", { time: at });
}
