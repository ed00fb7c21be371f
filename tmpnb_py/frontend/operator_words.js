"use strict";
// Figures in words, for the operator's page (operator.js).

/* exported OperatorsWords */
class OperatorsWords {
  /** @param {number} seconds */
  static span(seconds) {
    const whole = Math.max(0, Math.round(seconds));
    if (whole < 60) return _("{count} s", { count: whole });
    if (whole < 3600) return _("{count} min", { count: Math.floor(whole / 60) });
    const minutes = Math.floor((whole % 3600) / 60);
    const hours = _("{count} h", { count: Math.floor(whole / 3600) });
    return minutes ? hours + " " + _("{count} min", { count: minutes }) : hours;
  }

  /** @param {number} count */
  static bytes(count) {
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    const power = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, count)) / 10));
    const number = count / 1024 ** power;
    const digits = power && number < 10 ? 1 : 0;
    return OperatorsWords.figure(number, digits) + " " + units[power];
  }

  /** @param {number} value @param {number} digits after the point @returns {string} in the language's form */
  static figure(value, digits) {
    return value.toLocaleString(WORDS.tag, { minimumFractionDigits: digits, maximumFractionDigits: digits });
  }

  /** @param {ServicePool} pool @returns {[string, string?]} how it does, and the grade of that */
  static conditionOf({ leaving, failure, engine_up: isUp, pool, is_default: isDefault }) {
    if (leaving) return [_("leaving: serves its last sessions"), "warn"];
    if (!isUp) return [_("its engine is silent"), "bad"];
    if (failure) return [failure.cause, "bad"];
    if (pool.closed) return [_("turns newcomers away"), "warn"];
    return [isDefault ? _("open, the default") : pgettext("of a pool", "open"), "good"];
  }

  /** What each notebook of a pool is given. @param {ServicePool} pool */
  static eachOf({ mem_limit: memory, cpus, cull_timeout: idle, egress, guaranteed_containers: guaranteed }) {
    return [
      OperatorsWords.bytes(memory), cpus === null ? _("all CPUs") : ngettext("{count} CPU", "{count} CPUs", cpus),
      idle ? _("ends after {duration} idle", { duration: OperatorsWords.span(idle) }) : _("never ends idle"), _("network: {kind}", { kind: egress }),
      ...(guaranteed ? [_("{count} guaranteed", { count: guaranteed })] : []),
    ].join(", ");
  }

  /** @param {WarmKernels} one @returns {string} in how many notebooks it is ready before visitors come */
  static warmthOf({ kernel, packages, ready }) {
    const name = packages.length ? _("{kernel} with {packages}", { kernel, packages: packages.join(", ") }) : kernel;
    return ngettext("{name} in {count} ready notebook", "{name} in {count} ready notebooks", ready, { name });
  }
}
