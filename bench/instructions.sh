#!/bin/sh
# Counts the instructions that one event costs in each part of the hot path: two runs of different
# length under callgrind, so that what happens once falls out of the difference.
set -eu
cd "$(dirname "$0")/.."
command -v valgrind > /dev/null || { echo "valgrind is not installed: apt-get install valgrind" >&2; exit 69; }
cargo build --release --locked --quiet -p bench --bin hot_path
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

count() { # PART ROUNDS: the instructions, and the events that came out
    valgrind --tool=callgrind --callgrind-out-file="$scratch/out" --log-file="$scratch/log" \
        "${CARGO_TARGET_DIR:-target}/release/hot_path" "$1" "$2" > "$scratch/events"
    instructions=$(sed -n 's/.*Collected : //p' "$scratch/log")
    events=$(cat "$scratch/events")
}

printf '%-12s %s\n' part instructions/event
for part in decode-e1:50 decode-e2:50 decode-e3:50 step:5; do
    rounds=${part#*:}
    count "${part%:*}" 1; i=$instructions; e=$events
    count "${part%:*}" "$((rounds + 1))"
    printf '%-12s %d\n' "${part%:*}" $(((instructions - i) / (events - e)))
done
