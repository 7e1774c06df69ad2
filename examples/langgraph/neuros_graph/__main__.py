"""The program: `setup` makes the tables, `run` follows users, `show` says what is remembered of one.

A user's thread in LangGraph has the user's id, as the bridge's own checkpoints have it
(`neuros_checkpoints.thread_id`). What the graph has taken in is in its newest checkpoint, and nowhere else: from there
it asks the bridge for what came behind it.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from bridge_client import Refused, follow
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.graph.state import CompiledStateGraph

from neuros_graph.checkpoints import checkpoints
from neuros_graph.graph import build
from neuros_graph.states import States

# A step is in the database before the next one begins.
DURABILITY = "sync"
# What of a mode change is taken in.
TAKEN = ("user_id", "n", "seq", "message_id", "mode", "time")


def thread(user: str) -> dict:
    return {"configurable": {"thread_id": user}}


def known(checkpointer: PostgresSaver, user: str) -> dict:
    """What is remembered of a user."""
    newest = checkpointer.get_tuple(thread(user))
    return newest.checkpoint["channel_values"].get("known", {}) if newest else {}


def run(graph: CompiledStateGraph, checkpointer: PostgresSaver, arguments: argparse.Namespace) -> Iterator[dict]:
    """Takes in the users' mode changes, for ever; gives what is known at first, and after each."""
    newest = {}
    for user in arguments.users:
        # The process may have died in the middle of a run: what is left of it is done now, from its last step on.
        if graph.get_state(thread(user)).next:
            graph.invoke(None, thread(user), durability=DURABILITY)
        newest[user] = known(checkpointer, user).get("n", 0)
        yield {"user_id": user, **known(checkpointer, user)}
    for message in follow(arguments.bridge, arguments.users, arguments.token_file, newest):
        user = message["user_id"]
        if message["type"] == "mode_switch":
            graph.invoke({"change": {name: message[name] for name in TAKEN}}, thread(user), durability=DURABILITY)
            # Of somebody's health nothing is kept for longer than it is needed.
            checkpointer.prune([user], strategy="keep_latest")
            yield {"user_id": user, **known(checkpointer, user)}
        elif message["type"] == "forgotten":
            # Whoever was erased from the bridge is erased here.
            checkpointer.delete_thread(user)
            yield {"user_id": user}


def main() -> int:
    parser = argparse.ArgumentParser(prog="neuros_graph", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("setup", help="makes the tables; once, and after an update of LangGraph")
    shown = commands.add_parser("show", help="says what is remembered of a user, as JSON")
    shown.add_argument("user")
    runs = commands.add_parser("run", help="follows users, and prints what is known after each mode change, as JSON")
    runs.add_argument("users", nargs="+", metavar="USER")
    runs.add_argument("--bridge", default="http://localhost:8002", help="where it is (%(default)s)")
    runs.add_argument("--token-file", type=Path, required=True, help="a file with a token; read at each connection")
    arguments = parser.parse_args()

    if os.environ.get("LANGSMITH_TRACING") or os.environ.get("LANGCHAIN_TRACING_V2"):
        print("LangSmith's tracing would send health data to others: unset LANGSMITH_TRACING", file=sys.stderr)
        return 78
    with checkpoints() as checkpointer:
        if arguments.command == "setup":
            checkpointer.setup()
            return 0
        if arguments.command == "show":
            print(json.dumps(known(checkpointer, arguments.user)))
            return 0
        graph = build(States(arguments.bridge, arguments.token_file), checkpointer)
        try:
            for taken in run(graph, checkpointer, arguments):
                print(json.dumps({name: taken[name] for name in taken if name != "recent"}), flush=True)
        except Refused as refused:
            print(f"given up: {refused}", file=sys.stderr)
            return 77
    return 0


if __name__ == "__main__":
    sys.exit(main())
