#!/usr/bin/env bash
# Takes the lists of what is in an image (SPDX) out of the archive $1 that `docker buildx build --sbom=true --output type=oci` writes,
# into the folder $2.
set -euo pipefail

if [ "$#" -ne 2 ]; then
    echo "usage: docker/sbom.sh IMAGE.tar FOLDER" >&2
    exit 64
fi
archive="$1"
mkdir -p "$2"
folder="$(cd "$2" && pwd)"
unpacked="$(mktemp -d)"
trap 'rm -rf "$unpacked"' EXIT
tar -xf "$archive" -C "$unpacked"

# Attestations are layers of their own, each a statement (in-toto) whose predicate is the list.
found=0
for blob in "$unpacked"/blobs/sha256/*; do
    kind="$(jq -r '.predicateType? // empty' "$blob" 2> /dev/null || true)"
    if [ "$kind" != https://spdx.dev/Document ]; then continue; fi
    found=$((found + 1))
    jq '.predicate' "$blob" > "$folder/sbom-$found.spdx.json"
done
if [ "$found" -eq 0 ]; then
    echo "$archive holds no list of what is in it: build it with \`docker buildx build --sbom=true\`" >&2
    exit 65
fi
if ! jq -e '[.packages[].name] | index("biometric-bridge") and index("tokio")' "$folder"/sbom-*.spdx.json > /dev/null; then
    echo "the list does not name what the program is made of: it was not built by cargo-auditable" >&2
    exit 65
fi
echo "$found list(s) of what is in the image: $folder"
