// Constants that web/pages/live_script.py puts before renderer.js.

declare const FRAMES: { math: string; markdown: string }; // paths beside the script
declare const STYLE: string; // formulas.css
// What Markdown may become (workshops/notes/allowed.py)
declare const TAGS: string[];
declare const EVERYWHERE: string[];
declare const ATTRIBUTES: { [tag: string]: string[] | undefined };
declare const FORMS: { [attribute: string]: string | undefined };
declare const CLASSES: { [tag: string]: string[] | undefined };

type Made = (made: Untrusted, error?: string) => void;
