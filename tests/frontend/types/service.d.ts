// What the service's API answers, as far as pages use it (web/api/schema.py declares all of it).

interface SessionInfo {
  id: string;
  url: string;
  open_url: string;
  token?: string; // a notes page in the service's own origin may know of a session without its token
  key?: string;
}

interface TicketState {
  id: string;
  status: "waiting" | "ready" | "closed" | "left" | "lapsed" | "failed" | "ended";
  message: string;
  position: number;
  estimate: number | null;
  session: SessionInfo | null;
  key?: string;
}

/** Why something was not done. */
interface Refusal {
  status: string;
  message: string; // in English, and a text of the catalogues where it has no values
  cause?: string;
  retry_after?: number;
}

/** A message of the operator or of a class's teacher (web/api/schema.py, Told). */
interface ToldMessage {
  id: string;
  text: string;
  source: "operator" | "teacher";
}
