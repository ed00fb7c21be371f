// In a frame, before html-manager: what its modules are defined with (AMD, as RequireJS reads it).
"use strict";

window.tmpnbModules = {};
window.define = (name, needs, factory) => {
  const found = needs.map((need) => (need === "module" ? { id: name, uri: "" } : window.tmpnbModules[need]));
  window.tmpnbModules[name] = factory(...found);
};
