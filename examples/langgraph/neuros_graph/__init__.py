"""A LangGraph graph that follows users' NEUROS modes: told over the bridge's socket, with states from its API, and its
own checkpoints, sealed, in the same PostgreSQL under the same thread ids.

`graph.py` is the graph, `checkpoints.py` where it remembers, `states.py` whom it asks, `__main__.py` the program.
"""
