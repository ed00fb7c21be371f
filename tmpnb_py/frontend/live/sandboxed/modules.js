// What html-manager's modules are defined with (AMD, as RequireJS reads it), in the frame of an output with controls of
// ipywidgets. It comes before html-manager's file; see output.js for where that is.
"use strict";

/** @type {{ [name: string]: any }} modules are whatever a library makes them */
window.tmpnbModules = {};
window.define = (name, needs, factory) => {
  const found = needs.map((need) => (need === "module" ? { id: name, uri: "" } : window.tmpnbModules[need]));
  window.tmpnbModules[name] = factory(...found);
};
