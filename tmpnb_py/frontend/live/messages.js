// What the people who run the service, and a class's teacher, tell the reader of a notes page who has a notebook. The service
// sends it while somebody sees the page; a browser has few connections for one host. It is no activity.

const SENDERS = { operator: _("From the people who run this service"), teacher: _("From your teacher") };

class Messages {
  /** @param {string} base of the service's addresses */
  constructor(base) {
    this._base = base;
    this._id = "";
    /** @type {EventSource | null} */
    this._stream = null;
    /** @type {Set<string>} ids of those that the reader has closed */
    this._closed = new Set();
    /** @type {Map<string, HTMLElement>} */
    this._shown = new Map();
    this.element = make("div", "tn-messages");
    document.addEventListener("visibilitychange", () => this._listen());
  }

  /**
   * Those of this session from now on; of none where it is null.
   * @param {{ id: string } | null} session
   */
  follow(session) {
    const id = session?.id ?? "";
    if (id === this._id) return;
    this._id = id;
    this._show([]);
    this._listen();
  }

  _listen() {
    this._stream?.close();
    this._stream = null;
    if (!this._id || document.hidden) return;
    const stream = (this._stream = new EventSource(`${this._base}api/sessions/${this._id}/messages`));
    stream.onmessage = ({ data }) => this._show(JSON.parse(data).messages);
  }

  /** @param {ToldMessage[]} messages all that there are now */
  _show(messages) {
    const current = new Set(messages.map(({ id }) => id));
    for (const [id, element] of this._shown) {
      if (current.has(id)) continue;
      element.remove();
      this._shown.delete(id);
    }
    for (const one of messages) if (!this._closed.has(one.id) && !this._shown.has(one.id)) this._add(one);
  }

  /** @param {ToldMessage} message */
  _add({ id, text, source }) {
    const card = make("div", "tn-message"), words = make("p", "");
    card.setAttribute("role", "alert"); // screen readers read what appears in it
    words.append(make("span", "tn-message-from", SENDERS[source] ?? SENDERS.operator), text);
    const close = button(_("Close"), "tn-button tn-quiet", () => {
      this._closed.add(id);
      this._shown.delete(id);
      card.remove();
    });
    card.append(words, close);
    this._shown.set(id, card);
    this.element.append(card);
  }
}
