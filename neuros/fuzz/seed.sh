#!/bin/sh
# Fills the corpora of both targets with the recorded logs' messages.
set -eu
cd "$(dirname "$0")"
mkdir -p corpus/decode corpus/engine
python3 - <<'PYTHON'
import json, pathlib
decoder = json.JSONDecoder()
messages = []
for name in ("edges", "people"):
    for line in open(f"../../tests/data/golden/{name}.ndjson", encoding="utf-8"):
        value = json.loads(line)["value"]
        messages.append(value if isinstance(value, str) else json.dumps(value, separators=(",", ":")))
for number, message in enumerate(messages[::23]):
    if len(message) < 4096:
        # The target reads its other arguments from the end.
        pathlib.Path(f"corpus/decode/recorded-{number}").write_bytes(message.encode() + bytes(24))
for number in range(0, len(messages) - 40, 400):
    log = "\n".join(message for message in messages[number:number + 40] if len(message) < 2048)
    pathlib.Path(f"corpus/engine/recorded-{number}").write_bytes(log.encode())
PYTHON
