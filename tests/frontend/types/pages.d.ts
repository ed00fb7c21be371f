// What the operator's page is told (GET /api/status, web/admin/).

interface Failure {
  at: string;
  cause: string;
  message: string;
  log_lines: string[];
}

interface RunningSession {
  pool: string;
  id: string;
  started: string | null;
  last_activity: string | null;
  visited: boolean;
  expires_at: string | null;
  ends_at: string | null;
  open_connections: number;
  cpu_ratio: number | null;
  busy: boolean;
}

interface ServiceNode {
  id: string;
  name: string;
  state: string;
  relay: boolean;
  image: boolean | null;
  pulling: string;
  image_error: string;
  missing: string[] | null;
  memory_bytes: number;
  reserved_bytes: number;
  claimed: number;
  ready: number;
  starting: number;
}

/** A process of before an upgrade, as long as it serves what was open then. */
interface Predecessor {
  pid: number;
  version: string;
  since: string;
  connections: number;
  websockets: number;
}

interface TimetableEntry {
  state: "on" | "preparing" | "next";
  begins: string;
  ends: string;
  pool_size: number;
  text: string;
  pool: string;
}

interface WarmKernels {
  kernel: string;
  packages: string[];
  ready: number;
  problem: string | null;
  pool: string;
}

interface PoolFigures {
  size: number;
  ready: number;
  starting: number;
  claimed: number;
  removing: number;
  waiting: number;
  closed: boolean;
  closed_to_classes: boolean;
  max_containers: number;
  base: number;
  because: string | null;
  warm: WarmKernels[];
  timetable: TimetableEntry[];
  shut_by_timetable: boolean;
  opens_at: string | null;
}

interface ServicePool {
  name: string;
  is_default: boolean;
  leaving: boolean;
  image: string;
  mem_limit: number;
  cpus: number | null;
  cull_timeout: number;
  guaranteed_containers: number;
  egress: string;
  pool: PoolFigures;
  engine_up: boolean;
  failure: Failure | null;
}

interface ServiceStatus {
  name: string;
  up_since: string;
  engine_up: boolean;
  pool: PoolFigures;
  waiting_seconds: number[];
  starts: { seconds: number }[];
  failure: Failure | null;
  failures: Failure[];
  sessions: RunningSession[];
  nodes: ServiceNode[];
  pid: number;
  predecessors: Predecessor[];
  pools: ServicePool[];
  warnings: string[];
  stats: { version: string; container_image: string };
}

/** What the workshop image's server says of an archive that it took (workshop_image/server/tmpnb_restore.py). */
interface Restored {
  open: string[];
  message?: string;
}

interface Document {
  prerendering?: boolean; // Speculation Rules; not in every browser
}

/** A class as its teacher sees it (web/api/schema.py). */
interface ClassState {
  state: "planned" | "on" | "over";
  when: string;
  people: number;
  came: number;
  working: number;
  waiting: number;
  left: number;
  shut_out: boolean;
  messages: ToldMessage[];
}

interface Booking {
  id: string;
  pool: string;
  when: string;
  people: number;
  came: number;
  left: number;
  workshop: string;
  title: string;
  class_url: string | null;
  teacher_url: string | null;
  note: string;
  qr: string | null;
}

/** What operator.js lends to operator_agenda.js. */
interface OperatorTools {
  at(id: string): HTMLElement;
  input(id: string): HTMLInputElement;
  make<Name extends keyof HTMLElementTagNameMap>(name: Name, text?: string, attributes?: { [name: string]: string }): HTMLElementTagNameMap[Name];
  setText(id: string, text: string, grade?: string): void;
  fill<Value extends { id: string }>(
    table: string,
    values: Value[],
    newOne: (value: Value) => HTMLTableRowElement,
    update: (row: HTMLTableRowElement, value: Value) => void,
  ): void;
  write(row: HTMLTableRowElement, cells: [string, string?][]): void;
  newRow(first: HTMLElement, labels: string[], button: HTMLElement): HTMLTableRowElement;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  call(method: string, path: string, body?: object): Promise<{ answer: any; now: number }>;
  act(text: string, yes: string, work: () => Promise<unknown>): Promise<void>;
  complain(error: unknown): void;
}

interface OperatorsMessage {
  id: string;
  pool: string;
  text: string;
  until: string;
}
