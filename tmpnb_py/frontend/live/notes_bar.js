// The bar at the foot of a notes page: how the kernel is, the time that is left, and what can be done about both.

class NotesBar {
  /**
   * @param {{ language: string, stop: () => void, restart: () => void }} page
   * @param {HTMLAnchorElement} open leads to JupyterLab
   */
  constructor({ language, stop, restart }, open) {
    this._language = spoken(language);
    this._said = "";
    this.element = make("div", "tn-status-bar");
    this._words = make("span", "tn-status-words");
    this._stop = button(_("Stop"), "tn-button", stop);
    this._restart = button(_("Restart"), "tn-button tn-quiet", restart);
    this._controls = make("span", "tn-controls");
    open.setAttribute("aria-label", _("Open in JupyterLab"));
    open.append(make("span", "tn-long", _("Open in JupyterLab")), make("span", "tn-short", "JupyterLab"));
    this._controls.append(this._stop, this._restart, open);
    this.element.append(this._words, this._controls);
    this.element.hidden = true;
    this.element.setAttribute("role", "region");
    this.element.setAttribute("aria-label", _("Kernel"));
  }

  /** @param {{ hasKernel: boolean, isTimeShown: boolean }} page */
  showIfNeeded({ hasKernel, isTimeShown }) {
    this.element.hidden = !hasKernel && !this._said && !isTimeShown;
  }

  /**
   * `isWaiting`: for a notebook, in line or to open JupyterLab.
   * @param {{ message?: string, state?: string, hasKernel: boolean, isBusy: boolean, isWaiting: boolean, isTimeShown: boolean }} page
   */
  show({ message = "", state, hasKernel, isBusy, isWaiting, isTimeShown }) {
    this._said = message;
    this.showIfNeeded({ hasKernel, isTimeShown });
    this._controls.hidden = !hasKernel && !isWaiting;
    this._stop.hidden = !isBusy && !isWaiting;
    this._restart.hidden = !hasKernel;
    this._words.textContent = message || (isBusy ? _("{language} is running", { language: this._language }) : _("{language} is ready", { language: this._language }));
    this.element.dataset.state = state || (!hasKernel ? "failed" : isBusy ? "running" : "done");
  }
}
