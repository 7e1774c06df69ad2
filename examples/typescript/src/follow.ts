// Keeps a subscription to the Biometric Bridge alive, whatever happens on the way: mode changes and alerts of users,
// in order, none lost and none twice. It knows neither Node nor a browser: `node.ts` and `browser.ts` open sockets.

/** Where a user stands; the first message of each user on each connection. */
export interface Snapshot { type: "snapshot"; user_id: string; n: number; seq: number | null; mode: string | null; status: Status["status"] }
export interface ModeSwitch {
  type: "mode_switch"; user_id: string; n: number; message_id: string; seq: number;
  previous_mode: string; mode: string; reason_text: string; time: string;
}
export interface Alert {
  type: "alert"; user_id: string; n: number; message_id: string; id: string; status: string;
  severity: string; title: string; detail: string; updated_at: string;
}
/** Whether what is known of a user may be believed; without `user_id` it is about the bridge. It has no `n`. */
export interface Status {
  type: "status"; user_id: string | null; status: "fresh" | "stale" | "quarantined"; clock?: string | null;
}
/** The bridge knows nothing of this user any more. It is said here, not by the bridge. */
export interface Forgotten { type: "forgotten"; user_id: string }
export type Message = Snapshot | ModeSwitch | Alert | Status | Forgotten;

/** The newest `n` of each user that was dealt with, and where that is kept. */
export interface Positions { newest: Map<string, number>; save(): void }

export const toJson = (newest: Map<string, number>) => JSON.stringify(Object.fromEntries(newest));
export const fromJson = (text: string) => new Map(Object.entries(JSON.parse(text) as Record<string, number>));

/** What happens on a connection; `closed` comes once and last. */
export interface Events { opened(): void; message(text: string): void; closed(end: End): void }
/** A close code, or the status of an answer that is no socket, with the seconds that it asks us to wait. */
export interface End { code: number; waitSeconds: number }
export interface Connection { send(text: string): void; close(): void }
export type Open = (events: Events) => Promise<Connection>;

/** The bridge will not have us, and coming again would not change that. */
export class Refused extends Error {}
/** There is no socket to be had now. */
export class NoSocket extends Error { constructor(readonly end: End) { super(); } }

export const SUBPROTOCOL = "neuros.v1";

// What each close code or status asks of us. Whatever is not here, such as a connection that broke off (1006), asks us
// to come again.
type What = "again" | "later" | "with a token" | "never";
const CODES: Record<number, [What, string]> = {
  400: ["never", "the bridge speaks another protocol"],
  401: ["with a token", "the bridge does not know our token, or it has ended"],
  403: ["never", "pages of this origin may not open sockets"],
  429: ["later", "too many of us"],
  503: ["later", "a part of the bridge is away"],
  1008: ["again", "the bridge has heard nothing of us for 60 s"],
  1011: ["later", "the bridge cannot open what it has stored"],
  1012: ["again", "the bridge is being restarted"],
  1013: ["later", "the bridge has no room for us now"],
  4001: ["with a token", "the bridge does not know our token or ticket, or it has ended"],
  4003: ["never", "we may not see one of these users"],
  4008: ["again", "we read too slowly"],
  4009: ["never", "the bridge does not understand what we ask"],
};

// Whoever comes again waits a random part of this many seconds, doubled with each failure in a row up to the last.
// Without chance all clients of a bridge that was restarted would come back in the same instant.
const WAIT_FIRST = 0.5, WAIT_LAST = 30;
// So often in a row a token may be refused: the next one may be there a moment after the last has ended.
const REFUSALS_MAX = 3;

/** Hands the messages of `users` to `take`, for ever; ends by throwing `Refused`. What is not in `positions` is followed
 * from now on. Positions are kept behind `take`, never before: whoever dies in between does it again, and loses nothing. */
export async function follow(
  open: Open, users: string[], positions: Positions, take: (message: Message) => void, log: (text: string) => void,
): Promise<never> {
  for (let failures = 1, refusals = 0; ; failures += 1) {
    const { code, waitSeconds } = await connection(open, users, positions, (message) => {
      failures = refusals = 0;
      take(message);
      if (message.type !== "status") positions.save();
    });
    const [what, why] = CODES[code] ?? [code >= 400 && code < 500 ? "never" : "again", `the connection has ended (${code})`];
    refusals += what === "with a token" ? 1 : 0;
    if (what === "never" || refusals === REFUSALS_MAX) throw new Refused(why);
    const least = Math.max(waitSeconds, what === "again" ? 0 : 1);
    const wait = least + Math.random() * Math.min(WAIT_LAST, WAIT_FIRST * 2 ** failures);
    log(`${why}: again in ${wait.toFixed(1)} s`);
    await new Promise((resolve) => setTimeout(resolve, wait * 1000));
  }
}

/** One connection from its opening to its end. */
function connection(open: Open, users: string[], positions: Positions, take: (message: Message) => void): Promise<End> {
  return new Promise((resolve, reject) => {
    let line: Connection | undefined;
    let isOver = false;
    open({
      opened() {
        const known = [...positions.newest].filter(([user]) => users.includes(user));
        const after = Object.fromEntries(known);
        line?.send(JSON.stringify({ type: "subscribe", users, after }));
      },
      message(text) {
        const message = isOver ? undefined : receive(JSON.parse(text) as Message, positions.newest);
        if (!message) return;
        take(message);
        isOver = beginsAnew(message, positions.newest);
        if (isOver) line?.close();
      },
      closed: resolve,
    }).then((opened) => { line = opened; }, (error: unknown) => {
      if (error instanceof NoSocket) resolve(error.end);
      else reject(error);
    });
  });
}

/** A message as it is to be taken; nothing when it was taken before. */
function receive(message: Message, newest: Map<string, number>): Message | undefined {
  switch (message.type) {
    case "snapshot": {
      // The bridge knows less than we do: the user was erased (and perhaps let in again, as somebody new), or its
      // database is an older one. Either way what we have is of nobody any more.
      const known = newest.get(message.user_id) ?? message.n;
      // Without `seq` it only says that the instance asked cannot read them, as in the middle of an upgrade.
      const isForgotten = known > 0 && message.seq !== null && (message.mode === null || message.n < known);
      newest.set(message.user_id, isForgotten ? 0 : known);
      return isForgotten ? { type: "forgotten", user_id: message.user_id } : message;
    }
    case "mode_switch":
    case "alert":
      // `message_id` is made of user and `n` alone, so this drops every `message_id` that was there before, without
      // remembering them all.
      if (message.n <= (newest.get(message.user_id) ?? 0)) return undefined;
      newest.set(message.user_id, message.n);
      return message;
    case "status":
      return message;
    default:
      return undefined; // Of a later version.
  }
}

/** Whether the subscription must begin anew: with all there is of somebody who was forgotten; or for a snapshot of
 * somebody whom we know and of whom, as is said now, nothing was ever evaluated: they may be erased. */
function beginsAnew(message: Message, newest: Map<string, number>): boolean {
  if (message.type === "forgotten") return true;
  return message.type === "status" && message.user_id !== null && message.clock == null && (newest.get(message.user_id) ?? 0) > 0;
}
