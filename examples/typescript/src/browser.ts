// Opens sockets as browsers must: they can send no token with one, so they fetch a ticket first.
//
//     await follow((events) => openWithTicket("https://bridge.example", token, events), ["ada"], inStorage(), show, console.debug);
//
// The page's origin must be in the bridge's setting `http.origins`: then it may ask for tickets and open sockets, from
// whatever other origin, and for nothing else. For the rest of the API serve both from one origin (a proxy may mount the
// bridge below /api/biometric/).

import { fromJson, NoSocket, SUBPROTOCOL, toJson, type Connection, type Events, type Positions } from "./follow.js";

/** A ticket: it opens one socket within 30 s, for whom the token is. */
export async function ticket(bridge: string, token: () => string): Promise<string> {
  const headers = { Authorization: `Bearer ${token()}` };
  const answer = await fetch(`${bridge}/api/v1/tickets`, { method: "POST", headers }).catch(() => {
    throw new NoSocket({ code: 1006, waitSeconds: 0 });
  });
  if (!answer.ok) {
    throw new NoSocket({ code: answer.status, waitSeconds: Number(answer.headers.get("Retry-After")) || 0 });
  }
  return (await answer.json() as { ticket: string }).ticket;
}

export async function openWithTicket(bridge: string, token: () => string, events: Events): Promise<Connection> {
  // Among the subprotocols, for proxies log what stands in a URL.
  const protocols = [SUBPROTOCOL, `ticket.${await ticket(bridge, token)}`];
  const socket = new WebSocket(`${bridge.replace("http", "ws")}/ws`, protocols);
  socket.onopen = () => events.opened();
  socket.onmessage = (event) => events.message(String(event.data));
  socket.onerror = () => {}; // `close` follows.
  socket.onclose = (event) => events.closed({ code: event.code, waitSeconds: 0 });
  return { send: (text) => socket.send(text), close: () => socket.close() };
}

/** Positions in the browser's own storage: user ids and numbers, nothing of anybody's health. */
export function inStorage(): Positions {
  const newest = fromJson(localStorage.getItem("neuros.positions") ?? "{}");
  return { newest, save: () => localStorage.setItem("neuros.positions", toJson(newest)) };
}
