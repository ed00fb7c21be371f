// Types of the scripts in documents without an origin (frontend/live/sandboxed/).

declare const OUTPUT: string; // the address of output.html, beside keeper.html
declare const SOURCE: string; // a worker's code
declare const ORDERED: boolean; // what a text means depends on those before it

interface Part {
  html?: string;
  script?: string;
}

interface SandboxItem {
  number: number;
}

interface SandboxAnswer {
  at?: number;
  number?: number;
  html?: string;
  made?: PlainNode[];
  error?: string;
  done?: boolean;
}

// Types of ipywidgets' html-manager, as far as widgets.js uses it. Its package has none that stand alone.

interface HtmlManager {
  has_model(id: string): boolean;
  get_model(id: string): Promise<object>;
  create_view(model: object): Promise<object>;
  display_view(view: Promise<object>, element: HTMLElement): Promise<void>;
  handle_comm_open(comm: object, message: WidgetMessage): Promise<object>;
}

interface WidgetCallbacks {
  iopub?: { status?(message: WidgetMessage): void };
}

interface WidgetMessage {
  header: { msg_type: string };
  parent_header: { msg_id: string };
  metadata: object;
  content: any; // of a kernel; html-manager reads it
  buffers: DataView[];
}

interface Window {
  tmpnbElement: HTMLElement;
  tmpnbModules: { [name: string]: any }; // whatever a library makes them
  tmpnbIcons: [weight: number, source: string][];
  tmpnbWidgets: { show(id: string, element: HTMLElement): Promise<void> };
  define(name: string, needs: string[], factory: (...modules: unknown[]) => unknown): void;
}
