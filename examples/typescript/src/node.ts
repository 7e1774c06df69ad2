// Follows users from Node: prints their mode changes and alerts, and remembers in a file how far that was.

import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";
import { parseArgs } from "node:util";
import WebSocket from "ws";
import { openWithTicket } from "./browser.js";
import { follow, fromJson, Refused, SUBPROTOCOL, toJson, type Connection, type End, type Events, type Message, type Positions } from "./follow.js";

const HELP = `Usage: node dist/node.js --token-file FILE [OPTION]... USER...

Follows users of the Biometric Bridge: their mode changes and alerts, in order, none lost and none twice.

  --bridge URL        where it is (http://localhost:8002)
  --token-file FILE   a file with a token; read at each connection
  --positions FILE    where to remember what was received (positions.json)
  --all               of users who are not there yet, begin with all that is stored, not from now on
  --json              print messages as they come, one a line
  --ticket            open sockets as browsers do: with a ticket, not a token
  --help              show this`;

/** The bridge pings every 20 s; a connection on which nothing is heard for so long is dead. */
const SILENCE_MS = 45_000;

/** Opens a socket with a token in its head, as no browser can. */
async function openWithToken(bridge: string, token: () => string, events: Events): Promise<Connection> {
  const headers = { Authorization: `Bearer ${token()}` };
  const socket = new WebSocket(bridge.replace("http", "ws") + "/ws", SUBPROTOCOL, { headers, handshakeTimeout: 10_000 });
  const silence = setTimeout(() => socket.terminate(), SILENCE_MS);
  socket.on("ping", () => silence.refresh());
  socket.on("open", () => events.opened());
  socket.on("message", (data) => { silence.refresh(); events.message(String(data)); });
  // An answer that is no socket has a status and no close code.
  let answer: End | undefined;
  socket.on("unexpected-response", (_, response) => {
    answer = { code: response.statusCode ?? 0, waitSeconds: Number(response.headers["retry-after"]) || 0 };
    socket.terminate();
  });
  socket.on("error", () => {}); // `close` follows.
  socket.on("close", (code) => { clearTimeout(silence); events.closed(answer ?? { code, waitSeconds: 0 }); });
  return { send: (text) => socket.send(text), close: () => socket.close() };
}

/** Positions in a file that is never half written. */
class InFile implements Positions {
  newest: Map<string, number>;

  constructor(private readonly file: string) {
    this.newest = fromJson(existsSync(file) ? readFileSync(file, "utf8") : "{}");
  }

  save(): void {
    const out = openSync(`${this.file}.new`, "w");
    writeSync(out, toJson(this.newest));
    fsyncSync(out);
    closeSync(out);
    renameSync(`${this.file}.new`, this.file);
  }
}

/** A message as people read it. */
function inWords(message: Message): string {
  const user = message.user_id ?? "everybody";
  switch (message.type) {
    case "mode_switch": return `${message.time}  ${user}  ${message.previous_mode} → ${message.mode}: ${message.reason_text}`;
    case "alert": return `${message.updated_at}  ${user}  alert ${message.status} (${message.severity}): ${message.title}. ${message.detail}`;
    case "snapshot": return `${user} is in mode ${message.mode ?? "unknown"}, which is ${message.status}`;
    case "forgotten": return `${user} is not known to the bridge any more`;
    case "status": return `${user}: what is known is ${message.status} now`;
  }
}

async function main(): Promise<number> {
  const { values, positionals: users } = parseArgs({
    allowPositionals: true,
    options: {
      bridge: { type: "string", default: "http://localhost:8002" },
      "token-file": { type: "string" },
      positions: { type: "string", default: "positions.json" },
      all: { type: "boolean" }, json: { type: "boolean" }, ticket: { type: "boolean" }, help: { type: "boolean" },
    },
  });
  const tokenFile = values["token-file"];
  if (values.help || !tokenFile || users.length === 0) {
    console.log(HELP);
    return values.help ? 0 : 64;
  }
  const bridge = values.bridge.replace(/\/$/, "");
  const token = () => readFileSync(tokenFile, "utf8").trim(); // Each time anew: it may have been renewed.
  const positions = new InFile(values.positions);
  if (values.all) for (const user of users) positions.newest.set(user, positions.newest.get(user) ?? 0);
  globalThis.WebSocket ??= WebSocket as unknown as typeof globalThis.WebSocket; // What a browser has, and Node 22.
  const open = (events: Events) => values.ticket ? openWithTicket(bridge, token, events) : openWithToken(bridge, token, events);
  // Written before the position is kept, so synchronously: standard output may be a pipe.
  const print = (message: Message) => { writeSync(1, (values.json ? JSON.stringify(message) : inWords(message)) + "\n"); };
  try {
    return await follow(open, users, positions, print, console.error);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    console.error(`given up: ${error.message}`);
    return 77;
  }
}

process.exitCode = await main();
