#!/usr/bin/env bash
# Starts all of the compose file, sends an event through it, looks that it was applied and is seen, and takes everything down again.
# Needs a Docker engine; BRIDGE_IMAGE names the image (biometric-bridge:local).
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
if ! docker compose version > /dev/null 2>&1; then
    echo "docker compose is missing, or its engine does not run: https://docs.docker.com/engine/install/" >&2
    exit 69
fi
secrets="$(mktemp -d)"
export BRIDGE_SECRETS="$secrets" BRIDGE_HTTPS_PORT="${BRIDGE_HTTPS_PORT:-8443}" COMPOSE_PROJECT_NAME=biometric-bridge-smoke
export OTEL_EXPORTER_OTLP_ENDPOINT=https://otel:4318
compose() { docker compose -f "$here/compose.yaml" --profile core --profile observability "$@"; }
end() {
    local code=$?
    if [ "$code" -ne 0 ]; then
        compose ps --all || true
        compose logs --no-color --tail 60 || true
    fi
    compose down --volumes --timeout 50 > /dev/null 2>&1 || true
    rm -rf "$secrets"
    exit "$code"
}
trap end EXIT

# Waits until the command succeeds.
until_so() {
    local what="$1"
    shift
    for _ in $(seq 60); do
        if "$@" > /dev/null 2>&1; then return 0; fi
        sleep 2
    done
    echo "not in time: $what" >&2
    return 1
}
ask() { curl --silent --show-error --fail --cacert "$secrets/ca" "$@"; }
url="https://localhost:$BRIDGE_HTTPS_PORT/api/biometric"
metric() { compose exec -T prometheus promtool query instant http://127.0.0.1:9090 "$1" | grep -q '=>'; }

"$here/trial.sh" "$secrets"
compose config --quiet
compose up --detach --wait --wait-timeout 300

ask "$url/health" | grep -q '"ok"'
until_so "the bridge is ready" ask "$url/ready"
if curl --silent --tls-max 1.2 --cacert "$secrets/ca" "$url/health"; then
    echo "nginx speaks TLS 1.2" >&2
    exit 1
fi
# The image itself: nobody in particular, and a root that cannot be written to.
test "$(compose exec -T bridge biometric-bridge healthcheck --ready | wc -l)" -eq 1
test "$(docker inspect --format '{{.Config.User}} {{.HostConfig.ReadonlyRootfs}}' "$(compose ps -q bridge)")" = "65532:65532 true"
compose exec -T bridge biometric-bridge doctor

compose exec -T bridge biometric-bridge send --user smoke --metric hrv=44
until_so "the event is applied and Prometheus has seen it" metric 'sum(biometric_events_processed_total) > 0'
until_so "the collector has taken spans" metric 'sum(biometric_spans_total{outcome="exported"}) > 0'
until_so "Prometheus reaches everybody" metric 'min(up) == 1'
compose exec -T postgres psql -U postgres -d bridge -w -A -t -c "SELECT 1" > /dev/null 2>&1 \
    && { echo "PostgreSQL lets somebody in without a password" >&2; exit 1; }
compose stop --timeout 50 bridge
test "$(docker inspect --format '{{.State.ExitCode}}' "$(compose ps --all -q bridge)")" -eq 0
echo "the trial works"
