// JupyterLab, as far as the image's extension uses it. Its own types come in some sixty packages, which would be installed for
// these; what is here was read from those of JupyterLab 4.

interface Signal<Sender, Value> {
  connect(slot: (sender: Sender, value: Value) => unknown): boolean;
}

interface LuminoWidget {
  id: string;
  node: HTMLElement;
  isDisposed: boolean;
  addClass(name: string): void;
  toggleClass(name: string, force: boolean): boolean;
  setHidden(hidden: boolean): void;
  hide(): void;
  show(): void;
}

interface LabCell {
  type: string;
  executionCount: number | null;
  outputs: { length: number };
  sharedModel: { canUndo(): boolean };
}

interface DocumentModel {
  dirty: boolean;
  readOnly: boolean;
  cells?: Iterable<LabCell>; // of a notebook only
  sharedModel: { canUndo(): boolean };
  toString(): string;
}

interface DocumentContext {
  path: string;
  localPath?: string;
  isReady: boolean;
  model: DocumentModel;
  save(): Promise<void>;
  revert(): Promise<void>;
}

interface SessionContext {
  path: string;
  session: { kernel: object | null } | null;
  ready: Promise<void>;
  statusChanged: Signal<SessionContext, string>;
}

/** A widget of the main area; what is no document has no context, and what has no kernel no session. */
interface MainWidget {
  context?: DocumentContext;
  sessionContext?: SessionContext;
}
interface DocumentWidget {
  context: DocumentContext;
}

interface LabCommands {
  addCommand(id: string, options: { label: string; caption?: string; isVisible?: () => boolean; execute: () => unknown }): void;
  hasCommand(id: string): boolean;
  execute(id: string, args?: object): Promise<unknown>;
}

interface KernelSpecs {
  default: string;
  kernelspecs: { [name: string]: { language: string } | undefined };
}

interface LabApp {
  restored: Promise<void>;
  commands: LabCommands;
  status: { isDirty: boolean };
  shell: {
    widgets(area: string): Iterable<MainWidget>;
    currentWidget: MainWidget | null;
    add(widget: LuminoWidget, area: string, options: object): void;
    collapseLeft?(): void;
    layoutModified?: Signal<unknown, unknown>;
  };
  docRegistry: {
    getFileType(name: string): { icon?: object } | undefined;
    addFileType(type: object, factories: string[]): void;
  };
  serviceManager: {
    serverSettings: object;
    connectionFailure: Signal<unknown, unknown>;
    contents: { fileChanged: Signal<unknown, FileChange> };
    kernels: { running(): Iterable<{ last_activity?: string; execution_state?: string }> };
    kernelspecs: { specs: KernelSpecs | null; ready: Promise<void> };
  };
  resolveOptionalService(token: object): Promise<any>; // what a token stands for
}

interface FileChange {
  type: string;
  oldValue: { path?: string } | null;
  newValue: { path?: string } | null;
}

interface DialogButton {
  label: string;
  accept: boolean;
}
interface DialogWidget {
  node: HTMLElement;
  reject(): void;
}

/** The modules of JupyterLab that the extension asks for, together. */
interface Lab {
  Dialog: {
    tracker: { forEach(action: (dialog: DialogWidget) => void): void; widgetAdded: Signal<unknown, DialogWidget> };
    okButton(options?: { label?: string }): DialogButton;
    warnButton(options?: { label?: string }): DialogButton;
    cancelButton(options?: { label?: string }): DialogButton;
  };
  Notification: {
    emit(message: string, type: string, options: object): string;
    success(message: string, options: object): string;
    warning(message: string, options: object): string;
    error(message: string, options: object): string;
    dismiss(id: string): void;
  };
  PageConfig: { getOption(name: string): string; getBaseUrl(): string; getToken(): string };
  ServerConnection: { makeRequest(url: string, init: RequestInit, settings: object): Promise<Response> };
  Widget: new () => LuminoWidget;
  showDialog(options: object): Promise<{ button: DialogButton }>;
  ICommandPalette: object;
  IMainMenu: object;
  unreachable?: string; // what the title of JupyterLab's dialog is where its server cannot be reached
}

interface CommandPalette {
  addItem(item: { command: string; category: string }): void;
}
interface MainMenu {
  fileMenu: { addGroup(items: { command: string }[], rank: number): void };
}
interface StatusBar {
  registerStatusItem(id: string, item: { item: LuminoWidget; align: string; rank: number }): void;
}
interface SettingRegistry {
  load(plugin: string): Promise<unknown>;
}
interface Translator {
  languageCode: string;
  load(domain: string): { __(text: string): string };
}

/** Lumino's panel, with what plotly.js keeps in it. */
interface FigurePanel extends LuminoWidget {
  options: object;
  real?: LuminoWidget & { renderModel(model: object): Promise<void> };
  note?: HTMLElement;
  addWidget(widget: object): void;
}

interface ModuleScope {
  [name: string]: { [version: string]: { loaded?: unknown; get(): Promise<() => any> } } | undefined; // any module of JupyterLab
}

// --- What this extension's servers answer (workshop_image/server, web/api/schema.py)

interface ArchivePlaces {
  archive: string;
  restore: string;
}
interface Left {
  path: string;
  why: string;
}
interface ToldRestored {
  id: string;
  name: string;
  folder: string;
  open: string[];
  replaced: string[];
  restored: number;
  kept_both: { [old: string]: string };
  kept_both_count: number;
  skipped: Left[];
  skipped_count: number;
}
interface ToldArchive {
  url: string;
  files: number;
  bytes: number;
  left_out: Left[];
  left_out_count: number;
}
/** An answer as the extension has it: with `ok`, and a message where that is false. */
type Told<Answer> = Answer & { ok: boolean; message: string };

interface LimitOf {
  used: number;
  limit: number;
}
interface Limited {
  memory?: LimitOf & { kills?: number };
  disk?: LimitOf;
}
interface LimitsContext {
  lab: Lab;
  app: LabApp;
  shared(name: string): Promise<any>; // any module of JupyterLab
  url: string;
  token: string;
}

interface OrchestratorAnswer {
  ok: boolean;
  status: number;
  told: any; // JSON of the service's, or of a server in front of it
  clock: string | null;
}
interface Window {
  _JUPYTERLAB: { [extension: string]: any }; // containers of webpack's module federation
}

/** A message of the operator or of a class's teacher (web/api/schema.py, Told). */
interface ToldMessage {
  id: string;
  text: string;
  source: "operator" | "teacher";
}
