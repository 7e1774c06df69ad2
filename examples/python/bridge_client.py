"""Follows users of the Biometric Bridge: their mode changes and alerts, in order, none lost and none twice.

    python bridge_client.py --bridge https://bridge:8002 --token-file token ada bob

Two parts, read in this order: `follow` keeps a subscription alive whatever happens on the way, and can be
imported by other programs; `main` prints what it gives, and remembers in a file how far that was.
"""

import argparse
import contextlib
import json
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import connect

SUBPROTOCOL = "neuros.v1"

# What each close code asks of us. Whatever is not here, such as a connection that broke off, asks us to come again.
AGAIN, LATER, WITH_A_TOKEN, NEVER = "again", "later", "with a token", "never"
CLOSE_CODES = {
    1008: (AGAIN, "the bridge has heard nothing of us for 60 s"),
    1011: (LATER, "the bridge cannot open what it has stored"),
    1012: (AGAIN, "the bridge is being restarted"),
    1013: (LATER, "the bridge has no room for us now"),
    4001: (WITH_A_TOKEN, "the bridge does not know our token, or it has ended"),
    4003: (NEVER, "we may not see one of these users"),
    4008: (AGAIN, "we read too slowly"),
    4009: (NEVER, "the bridge does not understand what we ask"),
}
# The same for an answer that is no socket at all.
STATUSES = {429: (LATER, "too many of us"), 503: (LATER, "a part of the bridge is away")}

# Whoever comes again waits a random part of this many seconds, doubled with each failure in a row up to the last.
# Without chance all clients of a bridge that was restarted would come back in the same instant.
WAIT_FIRST, WAIT_LAST = 0.5, 30.0
# So often in a row a token may be refused: the next one may be in its file a moment after the last has ended.
REFUSALS_MAX = 3


class Refused(Exception):
    """The bridge will not have us, and coming again would not change that."""


def follow(bridge: str, users: list[str], token_file: Path, newest: dict[str, int]) -> Iterator[dict]:
    """Gives the messages of `users`, for ever: snapshots, mode changes, alerts and statuses.

    `newest` has the newest `n` of each user that the caller has dealt with: the bridge is asked for what is behind
    it, and what is not in it is followed from now on. It is kept up to date here, one message ahead of the caller.
    """
    failures = refusals = 0
    while True:
        what, why, wait = AGAIN, "the connection has ended", 0.0
        try:
            for message in messages(bridge, users, token_file, newest):
                failures = refusals = 0
                yield message
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else 1006
            what, why = CLOSE_CODES.get(code, (AGAIN, f"the connection broke off ({code})"))
        except InvalidStatus as answer:
            status, asked = answer.response.status_code, answer.response.headers.get("Retry-After", "")
            what, why = STATUSES.get(status, (NEVER if 400 <= status < 500 else LATER, f"HTTP {status}"))
            wait = float(asked) if asked.isdigit() else 0.0
        except (OSError, InvalidHandshake) as error:
            why = f"no connection: {error}"
        failures += 1
        refusals += what == WITH_A_TOKEN
        if what == NEVER or refusals == REFUSALS_MAX:
            raise Refused(why)
        if what in (LATER, WITH_A_TOKEN):
            wait = max(wait, 1.0)
        wait += random.uniform(0, min(WAIT_LAST, WAIT_FIRST * 2 ** min(failures, 10)))
        print(f"{why}: again in {wait:.1f} s", file=sys.stderr)
        time.sleep(wait)


def messages(bridge: str, users: list[str], token_file: Path, newest: dict[str, int]) -> Iterator[dict]:
    """The same for as long as one connection lasts. How it ended is the exception."""
    token = token_file.read_text().strip()  # Each time anew: it may have been renewed.
    with connect(
        bridge.rstrip("/").replace("http", "ws", 1) + "/ws",
        subprotocols=[SUBPROTOCOL],
        additional_headers={"Authorization": f"Bearer {token}"},
    ) as socket:
        after = {user: newest[user] for user in users if user in newest}
        socket.send(json.dumps({"type": "subscribe", "users": users, "after": after}))
        for text in socket:
            message = json.loads(text)
            user = message.get("user_id")
            match message["type"]:
                case "snapshot" if is_forgotten(message, newest):
                    newest[user] = 0
                    yield {"type": "forgotten", "user_id": user}
                    return  # And subscribe anew, to all there is.
                case "snapshot":
                    newest.setdefault(user, message["n"])
                case "mode_switch" | "alert":
                    # `message_id` is made of user and `n` alone, so this drops every `message_id` that was there
                    # before, without remembering them all.
                    if message["n"] <= newest.get(user, 0):
                        continue
                    newest[user] = message["n"]
                case "status":  # It has no `n`; without a `user_id` it is about the bridge.
                    if user and message.get("clock") is None and newest.get(user):
                        yield message
                        return  # Nothing was ever evaluated, so they may be erased: a new snapshot says it.
                case _:
                    continue  # Of a later version.
            yield message


def is_forgotten(snapshot: dict, newest: dict[str, int]) -> bool:
    """Whether the bridge knows less of a user than we do. They were erased (and perhaps let in again, as somebody
    new), or its database is an older one: either way what we have of them is of nobody any more. Without `seq` it only
    says that the instance asked cannot read them, as in the middle of an upgrade."""
    known = newest.get(snapshot["user_id"], 0)
    return known > 0 and snapshot["seq"] is not None and (snapshot["mode"] is None or snapshot["n"] < known)


class Positions(dict[str, int]):
    """The newest `n` of each user, kept in a file that is never half written."""

    def __init__(self, file: Path) -> None:
        super().__init__(json.loads(file.read_text()) if file.exists() else {})
        self.file = file

    def save(self) -> None:
        new = self.file.with_name(self.file.name + ".new")
        with open(new, "w", encoding="utf-8") as out:
            json.dump(self, out)
            out.flush()
            os.fsync(out.fileno())
        os.replace(new, self.file)


def in_words(message: dict) -> str:
    """A message as people read it."""
    user = message.get("user_id") or "everybody"
    match message["type"]:
        case "mode_switch":
            return "{time}  {user_id}  {previous_mode} → {mode}: {reason_text}".format(**message)
        case "alert":
            return "{updated_at}  {user_id}  alert {status} ({severity}): {title}. {detail}".format(**message)
        case "snapshot":
            return f"{user} is in mode {message['mode'] or 'unknown'}, which is {message['status']}"
        case "forgotten":
            return f"{user} is not known to the bridge any more"
        case _:
            return f"{user}: what is known is {message['status']} now"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("users", nargs="+", metavar="USER", help="whom to follow")
    parser.add_argument("--bridge", default="http://localhost:8002", help="where it is (%(default)s)")
    parser.add_argument("--token-file", type=Path, required=True, help="a file with a token; read at each connection")
    parser.add_argument("--positions", type=Path, default=Path("positions.json"),
                        help="where to remember what was received (%(default)s)")
    parser.add_argument("--all", action="store_true",
                        help="of users who are not there yet, begin with all that is stored, not from now on")
    parser.add_argument("--json", action="store_true", help="print messages as they come, one a line")
    arguments = parser.parse_args()

    positions = Positions(arguments.positions)
    if arguments.all:
        for user in arguments.users:
            positions.setdefault(user, 0)
    try:
        for message in follow(arguments.bridge, arguments.users, arguments.token_file, positions):
            print(json.dumps(message) if arguments.json else in_words(message), flush=True)
            # Behind what was done, never before it: whoever dies in between does it again, and does not lose it.
            if message["type"] != "status":
                positions.save()
    except Refused as refused:
        print(f"given up: {refused}", file=sys.stderr)
        return 77
    return 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        sys.exit(main())
