"""The graph. One run takes in one mode change of one user; what it remembers is in the channel `known`.

    START ─(is it new?)─▶ look ─▶ adapt ─▶ END

Three rules keep what it learns about a person out of what LangGraph stores in the clear:

- **Every channel holds a dict.** PostgresSaver seals dicts with its serializer, but writes a channel that is a text,
  a number or a truth value into the column `checkpoint` as it is, whatever the serializer.
- **No node is called after what was found.** Names of nodes are stored in the clear, so a node `reflex` would say who
  is in that mode. What differs by mode is inside of nodes.
- Nothing about the person goes into the config: its `metadata` is stored in the clear, and so is the thread id.
"""

from typing import TypedDict

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from neuros_graph.states import States

# So many of the newest mode changes are remembered of each user.
RECENT_MAX = 50

# What stands for your agent: how it speaks with somebody in this mode.
ADVICE = {
    "reflex": "They are under strain: ask nothing of them, offer one short way to calm down.",
    "guardian": "They are worn out: speak of rest, and postpone what can wait.",
    "pattern": "They are as usual: speak as usual.",
    "hypothesis": "Something is unusual: ask one question, and wait for the answer.",
}


class Channels(TypedDict, total=False):
    change: dict  # The mode change that is taken in, as the bridge sent it.
    state: dict  # How the user is now, as far as it is needed; empty when they are not there any more.
    known: dict  # What is remembered: n, seq, mode, advice, how many changes there were, and the newest of them.


def build(states: States, checkpointer: BaseCheckpointSaver) -> CompiledStateGraph:
    """The graph, which asks `states` and remembers in `checkpointer`."""

    def is_new(channels: Channels) -> str:
        """A mode change comes again after a fault. By its number it is known, and nothing happens twice."""
        return "look" if channels["change"]["n"] > channels.get("known", {}).get("n", 0) else END

    def look(channels: Channels) -> Channels:
        """Asks how the user is. This is the slow step: when the process dies behind it, it is not done again."""
        state = states.of(channels["change"]["user_id"])
        return {"state": {name: state[name] for name in ("seq", "mode", "confidence") if name in state}}

    def adapt(channels: Channels) -> Channels:
        """Decides what the change means for whoever speaks with the user, and remembers that it was taken in."""
        change, known = channels["change"], channels.get("known", {})
        # While we were away more may have happened. What is over is remembered, and nobody acts on it.
        is_now = channels["state"].get("seq") == change["seq"]
        taken = {name: change[name] for name in ("n", "seq", "message_id", "mode", "time")}
        return {
            "known": {
                "n": change["n"],
                "seq": change["seq"],
                "mode": change["mode"],
                "advice": ADVICE.get(change["mode"], "") if is_now else "",
                "changes": known.get("changes", 0) + 1,
                "recent": [*known.get("recent", []), taken][-RECENT_MAX:],
            }
        }

    graph = StateGraph(Channels)
    graph.add_node("look", look)
    graph.add_node("adapt", adapt)
    graph.add_conditional_edges(START, is_new, ["look", END])
    graph.add_edge("look", "adapt")
    graph.add_edge("adapt", END)
    return graph.compile(checkpointer=checkpointer)
