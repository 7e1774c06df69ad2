// Opens sockets as browsers must: they can send no token with one, so they fetch a ticket first.
//
//     await follow((events) => openWithTicket("https://bridge.example", token, events), ["ada"], inStorage(), show, console.debug);
//
// The page's origin must be in the bridge's setting `http.origins`: then it may ask for tickets and open sockets, from
// whatever other origin, and for nothing else. For the rest of the API serve both from one origin (a proxy may mount the
// bridge below /api/biometric/).

import { fromJson, NoSocket, SUBPROTOCOL, toJson, type Connection, type Events, type Positions } from "./follow.js";

/** So long the bridge may take to give a ticket, and to open a socket. Not everything that runs this says of what came to
 * nothing that it did: the `fetch` of Node 20 and 22 can lose sight of a connection that is hung up on at once, and their
 * WebSocket does not close one that never opened. */
const PATIENCE_MS = 10_000;

/** A ticket: it opens one socket within 30 s, for whom the token is. */
export async function ticket(bridge: string, token: () => string): Promise<string> {
  const headers = { Authorization: `Bearer ${token()}` };
  // Not `AbortSignal.timeout`: Node does not stay for that.
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(), PATIENCE_MS);
  try {
    const answer = await fetch(`${bridge}/api/v1/tickets`, { method: "POST", headers, signal: patience.signal });
    if (!answer.ok) throw new NoSocket({ code: answer.status, waitSeconds: Number(answer.headers.get("Retry-After")) || 0 });
    return (await answer.json() as { ticket: string }).ticket;
  } catch (error) {
    // An answer can break off in its middle, too.
    throw error instanceof NoSocket ? error : new NoSocket({ code: 1006, waitSeconds: 0 });
  } finally {
    clearTimeout(timer);
  }
}

export async function openWithTicket(bridge: string, token: () => string, events: Events): Promise<Connection> {
  // Among the subprotocols, for proxies log what stands in a URL.
  const protocols = [SUBPROTOCOL, `ticket.${await ticket(bridge, token)}`];
  const socket = new WebSocket(`${bridge.replace("http", "ws")}/ws`, protocols);
  let isOver = false;
  const over = (code: number) => {
    clearTimeout(timer);
    if (!isOver) events.closed({ code, waitSeconds: 0 });
    isOver = true;
  };
  const timer = setTimeout(() => { over(1006); socket.close(); }, PATIENCE_MS);
  socket.onopen = () => { clearTimeout(timer); if (!isOver) events.opened(); };
  socket.onmessage = (event) => { if (!isOver) events.message(String(event.data)); };
  socket.onerror = () => {}; // `close` follows, or nothing.
  socket.onclose = (event) => over(event.code);
  return { send: (text) => socket.send(text), close: () => socket.close() };
}

/** Positions in the browser's own storage: user ids and numbers, nothing of anybody's health. */
export function inStorage(): Positions {
  const newest = fromJson(localStorage.getItem("neuros.positions") ?? "{}");
  return { newest, save: () => localStorage.setItem("neuros.positions", toJson(newest)) };
}
