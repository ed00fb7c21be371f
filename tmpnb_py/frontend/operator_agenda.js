"use strict";
// What is arranged, on the operator's page (operator.js): bookings with the links of classes, and announcements.

/* exported OperatorsAgenda */
class OperatorsAgenda {
  /** @param {OperatorTools} page */
  constructor(page) {
    this._page = page;
    page.input("zone").value = Intl.DateTimeFormat().resolvedOptions().timeZone;
    this._onSubmit("booking-form", () => this._book());
    this._onSubmit("announce-form", () => this._announce());
    this._pool = ""; // that bookings and announcements are for, "" for whichever it is
    this._shown = ""; // the class whose links are shown
    page.at("new-class-link").addEventListener("click", () => void this._replaceLink("class"));
    page.at("new-teacher-link").addEventListener("click", () => void this._replaceLink("teacher"));
  }

  /** @param {string} id @param {() => Promise<void>} work */
  _onSubmit(id, work) {
    this._page.at(id).addEventListener("submit", (event) => {
      event.preventDefault();
      void this._page.act("", "", work);
    });
  }

  /**
   * @param {Booking[]} all bookings @param {OperatorsMessage[]} announcements
   * @param {string | null} chosen of several pools, "" for all of them; null where there is one
   */
  show(all, announcements, chosen) {
    const { at, fill, write, setText } = this._page;
    this._pool = chosen ?? "";
    const bookings = all.filter((one) => !chosen || one.pool === chosen);
    at("bookings").classList.toggle("one-pool", chosen === null);
    at("booking-pool").hidden = chosen === null;
    setText("booking-pool", chosen ? _("It is for the pool {pool}.", { pool: chosen }) : _("It is for the pool of the workshop, or for the default one."), "soft");
    setText("announcement-label", chosen ? _("Tell everybody at a notebook of the pool {pool}", { pool: chosen }) : _("Tell everybody at a notebook"));
    at("no-bookings").hidden = bookings.length > 0;
    at("bookings").hidden = !bookings.length;
    fill("bookings", bookings, (one) => this._newBooking(one), (row, one) => write(row, [
      [one.pool], [one.when], [String(one.people)], [String(one.came)], [String(one.left)],
    ]));
    this._showAnnouncements(announcements);
  }

  // --- bookings

  /** @param {Booking} booking */
  _newBooking({ id, title, workshop, when, class_url: url }) {
    const { make, newRow, act, call } = this._page;
    const name = title || workshop || id;
    const buttons = make("div", undefined, { class: "actions" });
    if (url) {
      const links = make("button", _("Links"), { type: "button", class: "plain", "aria-label": _("Links of {name}", { name }) });
      links.addEventListener("click", () => void this._showLinks(id));
      buttons.append(links);
    }
    const cancel = make("button", pgettext("button: a booking", "Cancel"), { type: "button", class: "danger", "aria-label": _("Cancel {name}", { name }) });
    cancel.addEventListener("click", () => act(
      _("Cancel {name}, {when}? Its links are void at once; notebooks that were given away go on.", { name, when }), _("Cancel it"), () => call("DELETE", "/api/bookings/" + id)));
    buttons.append(cancel);
    return newRow(make("th", name, { scope: "row" }), [_("Pool"), _("When"), _("People"), _("Have come"), _("Held now")], buttons);
  }

  /** @param {string} id of a class's booking */
  async _showLinks(id) {
    try {
      const { answer } = await this._page.call("GET", "/api/bookings/" + id);
      this._tellLinks(answer);
    } catch (error) {
      this._page.complain(error);
    }
  }

  /** @param {"class" | "teacher"} of whose link is void from now on */
  async _replaceLink(of) {
    try {
      const { answer } = await this._page.call("POST", "/api/bookings/" + this._shown + "/link", { of });
      this._tellLinks(answer);
    } catch (error) {
      /** @type {HTMLDialogElement} */ (this._page.at("links")).close();
      this._page.complain(error);
    }
  }

  /** @param {Booking} booking */
  _tellLinks({ id, note, title, workshop, when, class_url: forClass, teacher_url: forTeacher, qr }) {
    const { at, setText } = this._page;
    this._shown = id;
    setText("links-title", title || workshop || _("A class"));
    setText("links-when", when + (note ? ". " + note : ""), note ? "warn" : "soft");
    for (const [link, url] of [["class-link", forClass], ["teacher-link", forTeacher]]) {
      const anchor = /** @type {HTMLAnchorElement} */ (at(link ?? ""));
      anchor.href = anchor.textContent = url ?? "";
    }
    /** @type {HTMLImageElement} */ (at("qr")).src = qr ?? "";
    const dialog = /** @type {HTMLDialogElement} */ (at("links"));
    if (!dialog.open) dialog.showModal();
  }

  async _book() {
    const { at, input, call } = this._page;
    const wish = {
      when: input("when").value, people: Number(input("people").value), workshop: input("workshop").value.trim(),
      title: input("title").value.trim(), time_zone: input("zone").value.trim(), for_class: input("for-class").checked,
      pool: this._pool,
    };
    const { answer } = await call("POST", "/api/bookings", wish);
    /** @type {HTMLFormElement} */ (at("booking-form")).reset();
    input("zone").value = wish.time_zone;
    if (answer.class_url) this._tellLinks(answer);
  }

  // --- announcements

  /** @param {OperatorsMessage[]} messages */
  _showAnnouncements(messages) {
    const { at } = this._page;
    at("no-announcements").hidden = messages.length > 0;
    const list = at("announcements"), shown = JSON.stringify(messages.map(({ id }) => id));
    if (list.dataset.shown === shown) return;
    list.dataset.shown = shown;
    list.replaceChildren(...messages.map((one) => this._newAnnouncement(one)));
  }

  /** @param {OperatorsMessage} message */
  _newAnnouncement({ id, text, until, pool }) {
    const { make, act, call } = this._page;
    const item = make("li"), words = make("span", text + " ");
    const time = new Date(until).toLocaleString(WORDS.tag, { dateStyle: "medium", timeStyle: "short" });
    words.append(make("span", pool ? _("to the pool {pool}, until {time}", { pool, time }) : _("until {time}", { time }), { class: "soft" }));
    const button = make("button", _("Withdraw"), { type: "button", class: "plain", "aria-label": _("Withdraw: {text}", { text }) });
    button.addEventListener("click", () => act("", "", () => call("DELETE", "/api/announcements/" + id)));
    item.append(words, button);
    return item;
  }

  async _announce() {
    const { at, input, call } = this._page;
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    await call("POST", "/api/announcements", { text: input("announcement").value, until: input("until").value, time_zone: zone, pool: this._pool });
    /** @type {HTMLFormElement} */ (at("announce-form")).reset();
  }
}
