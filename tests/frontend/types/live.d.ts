// Types that the parts of live.js and notes.js share. Each part is a script of one function (web/pages/live_script.py), so
// what one of them declares at its top level all others see.

// --- Constants that web/pages/live_script.py puts before the parts

declare const UP: string; // from the script's address to the base of the service's addresses
declare const FRAME: string; // path of keeper.html
declare const RENDERER: string; // path of renderer.js
declare const LIBRARIES: { [name: string]: string[] | undefined }; // paths of each library's scripts
declare const STYLE: string; // cell.css, for live.js
declare const TONGUES: { [tag: string]: string | null | undefined }; // paths of the texts of other languages than English
declare const LANGUAGES: { [name: string]: PageLanguage | undefined }; // core/languages.py, for_pages

interface PageLanguage {
  title: string;
  kernel: string; // in our image; "" where that has none
  names: string[];
  dialects: string[];
  transcripts: string[];
  keywords: string;
  comment: string;
  string: string;
  prompt: string;
  continuation: string;
  indent: number;
}

// --- The service

/** The JSON of an answer: the service's, or that of a notebook's server. */
type ApiValue = Partial<Omit<TicketState, "status">> & {
  status?: string;
  state?: string;
  kernel?: { id: string };
  kernelspecs?: { [name: string]: { spec?: { language?: string; display_name?: string } } };
  default?: string;
  cause?: string;
  content?: Untrusted;
  now?: string;
  started?: string;
  last_activity?: string;
  expires_at?: string | null;
  ends_at?: string | null;
  idle_timeout?: number | null;
};

interface Answer {
  status: number;
  ok: boolean;
  value: ApiValue | null;
}

interface AskOptions {
  body?: unknown;
  token?: string;
  quick?: boolean;
  plain?: boolean;
}

type Tell = (words: string) => void;
type TellState = (words: string, state: "running" | "done" | "failed") => void;

/** A place that is kept over a reload of the page. */
interface Kept<T> {
  read(): T;
  write(value: T): void;
}

interface KeptClaim {
  session: { read(): SessionInfo | null; write(session: SessionInfo | null): void };
  ticket: Kept<string>;
  once: Kept<string>;
}

/** A session that is being found, for all who wait for it. */
interface ComingSession {
  leaving: AbortController;
  said: string;
  session: Promise<SessionInfo | null>;
}

// --- Kernels

interface KernelMessage {
  msg_type: string;
  channel?: string;
  content: Untrusted;
  metadata?: Untrusted;
  parent_header?: { msg_id?: string };
  buffers: ArrayBuffer[];
}

/** Where a kernel and its cells are: what a session of a notebook's server is made with. */
interface KernelPlace {
  path: string;
  name: string;
  language: string;
}

/** Who hears what a request puts out. */
interface Sink {
  element?: HTMLElement;
  receive(kind: string, content: Untrusted): void;
  flush(): void;
  withdraw(): void;
}

interface KernelRequest {
  outputs: Outputs | Sink;
  resolve(reply: { status: string }): void;
  reject(problem: Error): void;
  reply?: { status: string };
  idle?: boolean;
  ending?: boolean;
  isThrough?: boolean;
  answered?: boolean;
  heard?: number;
}

/** What outputs need of a kernel; an output that a page kept has a NoKernel. */
interface OutputKernel {
  displays: Map<string, { place: HTMLElement; outputs: Outputs }[]>;
  shared: Shared;
  libraries: Libraries;
  comms?: Comms;
  ask(code: string): Promise<Untrusted[]>;
}

interface OpenComm {
  opened: { data: Untrusted; metadata: Untrusted };
  later: Untrusted;
  isToClear?: boolean;
}

// --- Cells and their outputs

/** What scripts draw, for a frame: HTML or JavaScript, with the library that it needs. */
interface Part {
  html?: string;
  script?: string;
  library?: string;
  isAlone?: boolean;
  isPreparation?: boolean;
}

interface OutputItem {
  kind: string;
  content: Untrusted;
}

interface KeptOutputs {
  words: string;
  state: string;
  items: OutputItem[] | null; // null: too long to be kept
}

/** Whom a cell tells what is to be seen again when the page is loaded again. */
interface CellKeeper {
  record(): OutputLog;
  said(words: string, state: string): void;
}

interface Draft {
  code: string | null;
}

interface KeptDraft {
  original: string;
  code: string;
}

interface KeptWork {
  key?: string;
  session?: string;
  drafts?: { [number: string]: KeptDraft | undefined };
  cells?: { [number: string]: Untrusted };
}

/** A cell with the code that was kept for it. */
interface FoundDraft {
  cell: Cell;
  code: string;
}

interface LifetimeFacts {
  ahead: number;
  started: number;
  active: number;
  expires: number;
  ends: number;
  idle: number;
}

/** A cell of a notebook's file. */
interface NotebookCell {
  cell_type: string;
  source: string;
  [name: string]: unknown;
}

/** renderer.js, as the parts see it. */
interface RendererLike {
  draw(element: HTMLElement, again?: boolean): void;
  show(kind: string, source: string, element: HTMLElement): void;
}
interface RendererModule {
  Renderer: {
    new (highlighted: (code: string, language: string) => DocumentFragment, texts: (text: string, values?: TextValues) => string): RendererLike;
    one?: RendererLike;
  };
}

interface Window {
  trustedTypes?: { createPolicy(name: string, rules: { createHTML(html: string): string }): { createHTML(html: string): string } };
}
