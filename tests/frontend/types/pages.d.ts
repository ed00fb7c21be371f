// What the operator's page is told (GET /api/status, web/admin/).

interface Failure {
  at: string;
  cause: string;
  message: string;
  log_lines: string[];
}

interface RunningSession {
  id: string;
  started: string | null;
  last_activity: string | null;
  visited: boolean;
  expires_at: string | null;
  ends_at: string | null;
  open_connections: number;
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

interface ServiceStatus {
  name: string;
  up_since: string;
  engine_up: boolean;
  pool: {
    size: number;
    ready: number;
    starting: number;
    claimed: number;
    removing: number;
    waiting: number;
    closed: boolean;
    max_containers: number;
  };
  waiting_seconds: number[];
  starts: { seconds: number }[];
  failure: Failure | null;
  failures: Failure[];
  sessions: RunningSession[];
  nodes: ServiceNode[];
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
