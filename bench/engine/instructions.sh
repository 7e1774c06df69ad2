#!/bin/sh
# Counts the instructions that one event costs in each part of the hot path: two runs of different
# length under callgrind, so that what happens once falls out of the difference. With `--check` it fails
# when a part costs more than bench/engine/instructions.limits allows, which is the same on every machine.
set -eu
cd "$(dirname "$0")/../.."
limits=
without=69
for argument; do
    case "$argument" in
        --check) limits=bench/engine/instructions.limits ;;
        --allow-missing) without=0 ;;
        *) echo "usage: $0 [--check] [--allow-missing]" >&2; exit 64 ;;
    esac
done
command -v valgrind > /dev/null || {
    echo "instructions are not counted, valgrind is not installed: apt-get install valgrind" >&2
    exit "$without"
}
cargo build --release --locked --quiet -p bench-engine --bin hot_path
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

count() { # PART ROUNDS: the instructions, and the events that came out
    valgrind --tool=callgrind --callgrind-out-file="$scratch/out" --log-file="$scratch/log" \
        "${CARGO_TARGET_DIR:-target}/release/hot_path" "$1" "$2" > "$scratch/events"
    instructions=$(sed -n 's/.*Collected : //p' "$scratch/log")
    events=$(cat "$scratch/events")
}

failed=0
printf '%-12s %s\n' part instructions/event
for part in decode-e1:50 decode-e2:50 decode-e3:50 step:5; do
    rounds=${part#*:}
    part=${part%:*}
    count "$part" 1; i=$instructions; e=$events
    count "$part" "$((rounds + 1))"
    each=$(((instructions - i) / (events - e)))
    if [ -z "$limits" ]; then
        printf '%-12s %d\n' "$part" "$each"
        continue
    fi
    limit=$(awk -v part="$part" '$1 == part { print $2 }' "$limits")
    if [ -n "$limit" ] && [ "$each" -le "$limit" ]; then
        printf '%-12s %-8d at most %d\n' "$part" "$each" "$limit"
    else
        printf '%-12s %-8d is more than %s of %s\n' "$part" "$each" "${limit:-nothing}" "$limits"
        failed=1
    fi
done
[ "$failed" -eq 0 ] || { echo "the hot path has become dearer: make it cheaper, or raise $limits and say why" >&2; exit 1; }
