#!/usr/bin/env bash
# Copies the workspace's manifests to the folder $1, with an empty file for each program and library that they name: enough for
# cargo to build what others wrote. Never copies a line of code.
set -euo pipefail

target="${1:?usage: docker/manifests.sh FOLDER}"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if ! [ -f Cargo.lock ]; then
    echo "there is no Cargo.lock in $PWD: run this in a copy of the whole workspace" >&2
    exit 66
fi
mkdir -p "$target"
target="$(cd "$target" && pwd)"

# Where cargo looks for programs and libraries when a manifest names no path.
roots() { find "$1" -maxdepth 3 \( -path "$1/src/lib.rs" -o -path "$1/src/main.rs" -o -path "$1/src/bin/*.rs" -o -path "$1/benches/*.rs" \); }

cp Cargo.toml Cargo.lock "$target/"
while read -r manifest; do
    folder="$(dirname "$manifest")"
    mkdir -p "$target/$folder"
    cp "$manifest" "$target/$manifest"
    while read -r root; do
        mkdir -p "$target/$(dirname "$root")"
        case "$root" in
            */lib.rs) echo '//! Empty.' > "$target/$root" ;;
            *) printf '%s\n' '//! Empty.' 'fn main() {}' > "$target/$root" ;;
        esac
    done < <(roots "$folder")
done < <(find . -name Cargo.toml -not -path '*/target/*' -not -path './neuros/fuzz/*' -not -path './examples/*' | sort)
