// What eslint holds the scripts to that tmpnb-py serves. Run by `npm run check` in this folder, from tests/run.

import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import js from "@eslint/js";
import globals from "globals";

const HERE = path.dirname(fileURLToPath(import.meta.url)); // as Node.js 18 has it, which is Debian 12's
const ROOT = path.resolve(HERE, "../..");
const FRONTEND = "tmpnb_py/frontend";
const LIVE = `${FRONTEND}/live`;
const LAB = "workshop_image/labextension/static";

// The parts of live.js and notes.js are put together into one function (web/pages/live_script.py): each sees what the others
// declare at their top level, and the constants that stand before them (types/live.d.ts).
const notParts = ["delimiters.js", "parent.js", "renderer.js"];
const parts = fs.readdirSync(path.join(ROOT, LIVE)).filter((name) => name.endsWith(".js") && !notParts.includes(name));
const texts = parts.map((name) => fs.readFileSync(path.join(ROOT, LIVE, name), "utf8"));
const constants = (types) => {
  const text = fs.readFileSync(path.join(HERE, "types", types), "utf8");
  return [...text.matchAll(/^declare (?:const|function) (\w+)/gm)].map(([, name]) => name);
};
/** What a part declares at its top level; what it may assign to later is writable. */
const declared = (text) => {
  const found = [...text.matchAll(/^(?:async )?(function|class|const|let) (\w+)/gm)];
  return Object.fromEntries(found.map(([, kind, name]) => [name, kind === "let" ? "writable" : "readonly"]));
};
const TEXTS = ["WORDS", "_", "ngettext", "pgettext"]; // words.js, before whatever shows texts
const readable = (names) => Object.fromEntries(names.map((name) => [name, "readonly"]));

/** A part's function that no part uses. */
const unusedInParts = {
  create(context) {
    const whole = texts.join("\n");
    return {
      "Program:exit"(node) {
        for (const name of Object.keys(declared(context.sourceCode.text))) {
          if (whole.match(new RegExp(`\\b${name}\\b`, "g")).length < 2) {
            context.report({ node, message: `'${name}' is declared here, and no part uses it.` });
          }
        }
      },
    };
  },
};

// Texts for visitors are in the catalogues (tmpnb_py/words). What looks like one, and is none:
const NO_TEXTS = new Set([
  ...["Authorization", "Date", "Enter", "Worker"], // names in HTTP and in browsers
  ...["Editor", "Notebook", "Plotly", "Kernel Restarting", "Server Connection Error"], // JupyterLab's own
  "Text Notebook", // a kind of file, which is registered before the texts are there
]);
const TEXT = /^[“(]?[A-Z][a-z]+(?:[ …:.,]|$)|[a-z]{2,},? [a-z]{2,},? [a-z]{2,}/;
const TRANSLATES = ["_", "ngettext", "pgettext"];
const KNOWS = [...TRANSLATES, "split", "words", "closest", "querySelector", "querySelectorAll"];

/** A text that a visitor would see in English. */
const unmarkedText = {
  create(context) {
    const called = ({ callee }) => callee.name ?? callee.property?.name;
    const isKnown = (node) => node && ((node.type === "CallExpression" && KNOWS.includes(called(node))) || isKnown(node.parent));
    const isDescription = ({ parent }) => parent.type === "Property" && parent.key.name === "description";
    const check = (node, text) => {
      if (!TEXT.test(text.trim()) || text.includes("{") || NO_TEXTS.has(text) || isDescription(node) || isKnown(node)) return;
      context.report({ node, message: `"${text.slice(0, 50)}" is not in the catalogues: write _("…")` });
    };
    return {
      Literal: (node) => typeof node.value === "string" && check(node, node.value),
      TemplateLiteral: (node) => check(node, node.quasis.map((one) => one.value.cooked).join("x")),
    };
  },
};

const rules = {
  ...js.configs.recommended.rules,
  complexity: ["error", 15],
  curly: ["error", "multi-line"],
  eqeqeq: "error",
  "max-depth": ["error", 4],
  "max-lines": ["error", { max: 400, skipBlankLines: true, skipComments: true }],
  "max-lines-per-function": ["error", { max: 60, skipBlankLines: true, skipComments: true }],
  "no-control-regex": "off", // what a terminal shows is made of control characters
  "no-eval": "error",
  "no-implied-eval": "error",
  "no-new-func": "error",
  "no-shadow": "error",
  "no-throw-literal": "error",
  "no-unused-expressions": "error",
  "no-useless-assignment": "error",
  "no-unused-vars": ["error", { argsIgnorePattern: "^_" }],
  "no-use-before-define": "off", // a script reads from the top: what it is for, then how
  "no-var": "error",
  "object-shorthand": "error",
  "prefer-const": "error",
};

const script = { ecmaVersion: 2025, sourceType: "script" };
const module = { ecmaVersion: 2025, sourceType: "module" };

export default [
  {
    files: [`${FRONTEND}/*.js`, `${LIVE}/*.js`, `${LAB}/*.js`],
    plugins: { texts: { rules: { unmarked: unmarkedText } } },
    rules: { "texts/unmarked": "error" },
  },
  { linterOptions: { reportUnusedDisableDirectives: "error" }, rules },
  {
    files: [`${FRONTEND}/**/*.js`],
    rules: {
      // Scripts are served without the comments that have lines of their own (web/assets.py): none may be in a text.
      "no-restricted-syntax": ["error", { selector: "TemplateElement[value.raw=/\\n[ \\t]*\\/[\\/*]/]", message: "a line that looks like a comment" }],
    },
  },
  { files: [`${FRONTEND}/*.js`, `${LIVE}/parent.js`], languageOptions: { ...script, globals: { ...globals.browser, ...readable(TEXTS) } } },
  { files: [`${FRONTEND}/words.js`], rules: { "no-redeclare": "off", "no-unused-vars": "off" } },
  {
    files: parts.map((name) => `${LIVE}/${name}`),
    plugins: { tmpnb: { rules: { "unused-in-parts": unusedInParts } } },
    languageOptions: {
      ...script,
      globals: {
        ...globals.browser,
        ...readable([...constants("live.d.ts"), ...TEXTS]),
        ...Object.assign({}, ...texts.map(declared)),
      },
    },
    rules: {
      "no-redeclare": ["error", { builtinGlobals: false }], // each part's own names are among the globals
      "no-unused-vars": ["error", { vars: "local", argsIgnorePattern: "^_" }],
      "tmpnb/unused-in-parts": "error",
    },
  },
  {
    files: [`${LIVE}/renderer.js`],
    languageOptions: { ...module, globals: { ...globals.browser, ...readable(constants("renderer.d.ts")), formulasIn: "readonly" } },
  },
  {
    files: [`${LIVE}/delimiters.js`], // stands before renderer.js and before markdown_worker.js
    languageOptions: script,
    rules: { "no-unused-vars": ["error", { vars: "local", argsIgnorePattern: "^_" }] },
  },
  {
    files: [`${LIVE}/sandboxed/*_worker.js`],
    languageOptions: {
      ...script,
      globals: {
        ...globals.worker,
        ...readable([...constants("math_worker.d.ts"), ...constants("markdown_worker.d.ts")]),
        formulasIn: "readonly",
        onmessage: "writable",
      },
    },
  },
  {
    files: [`${LIVE}/sandboxed/*.js`],
    ignores: [`${LIVE}/sandboxed/*_worker.js`],
    languageOptions: { ...script, globals: { ...globals.browser, ...readable(constants("frames.d.ts")) } },
  },
  { files: [`${LAB}/*.js`], languageOptions: { ...module, globals: globals.browser } },
  {
    files: [`${LAB}/remoteEntry.js`],
    languageOptions: { ...script, globals: globals.browser },
    rules: { "max-lines": ["error", 870] }, // JupyterLab loads one file: another is a request more before each notebook is shown
  },
  { files: ["tests/frontend/*.js"], languageOptions: { ...module, globals: globals.node } },
];
