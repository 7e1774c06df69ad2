#!/usr/bin/env bash
# Brings up to date what the chart carries of the rest of the project, for helm reads nothing outside of a chart: alerts,
# dashboards, the policy, the grants, the settings in values.schema.json, and its README. With --check it writes nothing,
# and names the copies that are old.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
chart="$root/charts/biometric-bridge"
files="$chart/files"
check=false
case "${1:-}" in
    "") ;;
    --check) check=true ;;
    *) echo "usage: $0 [--check]" >&2; exit 64 ;;
esac

fresh="$(mktemp -d)"
trap 'rm -rf "$fresh"' EXIT

# The lines of SQL that docs/security.md has after "After each `biometric-bridge migrate up`".
grants() {
    awk '/^After each `biometric-bridge migrate up`/ { found = 1 } found && /^```$/ { exit } sql { print } found && /^```sql$/ { sql = 1 }' \
        "$root/docs/security.md"
}

mkdir -p "$fresh/dashboards"
cp "$root/config/alerts.yaml" "$root/config/neuros.yaml" "$fresh/"
grants > "$fresh/grants.sql"
grep -q '^GRANT' "$fresh/grants.sql" || {
    echo "docs/security.md has no grants after the line \"After each \`biometric-bridge migrate up\`\": mend this script" >&2
    exit 1
}
for dashboard in "$root"/config/dashboards/*.json; do
    if [ -e "$dashboard" ]; then cp "$dashboard" "$fresh/dashboards/"; fi
done

if "$check"; then
    # -N: a folder without files is in no repository.
    old="$(diff -rqN "$fresh" "$files" | sed "s:.* and $root/\\(.*\\) differ$:\\1 is old:" || true)"
    if [ -z "$old" ]; then exit 0; fi
    echo "$old" >&2
    echo "run charts/update.sh (\`make chart-update\`)" >&2
    exit 1
fi

rm -rf "$files"
cp -r "$fresh" "$files"
chmod -R u=rwX,go=rX "$files"

(cd "$root" && CHART_UPDATE=1 cargo test --workspace --locked --quiet --test it the_schema_knows_every_setting)

found="${BRIDGE_SERVERS:-${HOME:?}/.cache/biometric-bridge-servers}/found"
helm_docs="$(sed -n 's/^helm-docs=//p' "$found" 2> /dev/null || true)"
if [ -z "$helm_docs" ]; then
    echo "helm-docs is missing, which writes the chart's README: run \`make servers\`, and this again" >&2
    exit 1
fi
"$helm_docs" --chart-search-root "$chart" --log-level warning
