"""Where the graph remembers: PostgreSQL, in a schema of its own, sealed with a key from the environment."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from psycopg import Connection
from psycopg.rows import dict_row

SCHEMA = "neuros_graph"


class Sealed(EncryptedSerializer):
    """LangGraph's own encryption (AES-256 in EAX mode), which here opens nothing that is not sealed.

    LangGraph's takes what is in the clear as it is, so whoever can write to the tables could put something there.
    """

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        if not data[0].endswith("+aes"):
            raise ValueError("a checkpoint is not sealed")
        return super().loads_typed(data)


def serializer(key: str) -> EncryptedSerializer:
    """Seals by a key of 32 bytes, written as 64 hexadecimal digits (`openssl rand -hex 32`)."""
    if len(key) != 64:
        raise ValueError("NEUROS_GRAPH_KEY must have 64 hexadecimal digits")
    # Of what was sealed, only plain values are made into objects again.
    plain = JsonPlusSerializer(allowed_msgpack_modules=None)
    return Sealed.from_pycryptodome_aes(serde=plain, key=bytes.fromhex(key))


@contextmanager
def checkpoints() -> Iterator[PostgresSaver]:
    """The checkpoints, in the database NEUROS_GRAPH_DATABASE_URL, sealed by NEUROS_GRAPH_KEY."""
    serde = serializer(os.environ["NEUROS_GRAPH_KEY"])
    url = os.environ["NEUROS_GRAPH_DATABASE_URL"]
    options = f"-c search_path={SCHEMA}"
    with Connection.connect(url, autocommit=True, prepare_threshold=0, row_factory=dict_row, options=options) as connection:
        yield PostgresSaver(connection, serde=serde)
