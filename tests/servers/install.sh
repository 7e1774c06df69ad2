#!/usr/bin/env bash
# Installs what the integration tests talk to: Kafka, PostgreSQL, Redis, kcat and two Python clients; what the examples
# need; what checks the chart and the deployment: Prometheus, Alertmanager's amtool, nginx, openssl, linters; and
# valgrind, which counts instructions.
# Quick and silent when all is there. With `--allow-missing`, what cannot be had is named and is no failure.
#
# Everything but Debian packages goes to ${BRIDGE_SERVERS:-~/.cache/biometric-bridge-servers}; the file `found`
# there says where each thing is, and is all that the tests read.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
cache="${BRIDGE_SERVERS:-${HOME:?}/.cache/biometric-bridge-servers}"
allow_missing=false
case "${1:-}" in
    "") ;;
    --allow-missing) allow_missing=true ;;
    *) echo "usage: $0 [--allow-missing]" >&2; exit 64 ;;
esac

mkdir -p "$cache"
cache="$(cd "$cache" && pwd)"
log="$cache/install.log"
kafka_version="$(sed -n 's:.*<kafka\.version>\(.*\)</kafka\.version>.*:\1:p' "$here/pom.xml")"
kafka="$cache/kafka-$kafka_version"
python="$cache/python"
examples="$(cd "$here/../../examples" && pwd)"
examples_python="$cache/examples-python"
examples_typescript="$cache/examples-typescript"
rotel="$cache/rotel"
chart="$cache/chart"
chart_python="$cache/chart-python"
missing="$cache/missing"

# Two runs at a time would install over each other.
exec 9> "$cache/lock"
flock 9

has() { command -v "$1" > /dev/null 2>&1; }
# Notes what is missing, with the cure, as one sentence.
complain() { echo "$*" >> "$missing"; }
say() { echo "servers: $*" >&2; }

apt_try() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get -o DPkg::Lock::Timeout=300 "$@" >> "$log" 2>&1 < /dev/null 9>&-
}

# Finds out how to run apt as root; fails when there is no way.
apt_is_ours() {
    has apt-get || return 1
    as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        has sudo && sudo -n true 2> /dev/null || return 1
        as_root=(sudo -n)
    fi
}

# Installs Debian packages, as far as they can be had; the caller looks afterwards at what is there.
apt_install() {
    apt_is_ours || return 0
    say "installing $*"
    local install=(install -y -q --no-install-recommends)
    apt_try "${install[@]}" "$@" && return 0
    # The package lists may be older than the archive.
    apt_try update || true
    apt_try "${install[@]}" "$@" && return 0
    # One that cannot be had must not keep the others away.
    for package in "$@"; do apt_try "${install[@]}" "$package" || true; done
}

# The folder of the newest PostgreSQL server of at least version 15, or nothing.
postgres_bin() {
    local candidates candidate version
    candidates="$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -t / -k 5 -rn)"
    if has pg_config; then candidates+=$'\n'"$(pg_config --bindir)"; fi
    while read -r candidate; do
        if ! [ -x "$candidate/postgres" ] || ! [ -x "$candidate/initdb" ] || ! [ -x "$candidate/psql" ]; then continue; fi
        version="$("$candidate/postgres" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')"
        if [ "${version:-0}" -ge 15 ]; then echo "$candidate"; return; fi
    done <<< "$candidates"
}

install_packages() {
    local wanted=()
    if ! kafka_is_there; then
        has java || wanted+=(default-jre-headless)
        has mvn || wanted+=(maven)
    fi
    [ -n "$(postgres_bin)" ] || wanted+=(postgresql)
    has redis-server || wanted+=(redis-server)
    has kcat || wanted+=(kcat)
    # What operators have beside the program, and the guide uses.
    for name in curl jq openssl; do has "$name" || wanted+=("$name"); done
    has python3 || wanted+=(python3 python3-venv)
    has setpriv || wanted+=(util-linux)
    has valgrind || wanted+=(valgrind)
    # Both in one: npm is no part of Debian's nodejs.
    { has node && has npm; } || wanted+=(nodejs npm)
    # Networks that can be cut; where they may not be made, chaos says so and does without.
    { has ip && has tc; } || wanted+=(iproute2)
    [ "${#wanted[@]}" -eq 0 ] || apt_install "${wanted[@]}"
}

# What the installed Kafka was made from: another Java, version or setting makes it anew.
kafka_stamp() {
    local java=none
    if has java; then java="$(readlink -f "$(command -v java)")"; java+=" $(stat -c %Y "$java")"; fi
    echo "$java $kafka $(cat "$here"/{install.sh,pom.xml,log4j2.properties,server.properties} | cksum)"
}

kafka_is_there() { [ "$(cat "$kafka/stamp" 2> /dev/null)" = "$(kafka_stamp)" ]; }

# Options and class path of every later start, as one argument file for java.
write_java_arguments() {
    local jars=("$kafka"/libs/*.jar) path
    path="$(IFS=:; echo "${jars[*]}")"
    printf '%s\n' -Xms64m -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.net.preferIPv4Stack=true \
        "\"-Dlog4j2.configurationFile=$kafka/log4j2.properties\"" "$@" -cp "\"$path\"" > "$kafka/java.args"
}

# Starts the broker once, lets it serve a client, and keeps its loaded classes for later starts.
make_class_archive() {
    local scratch port tries=0 server
    scratch="$(mktemp -d)"
    # Below the ports that the kernel hands out, and beside those of the tests.
    port=$((22000 + RANDOM % 10000))
    {
        cat "$here/server.properties"
        echo "controller.quorum.voters=1@127.0.0.1:$((port + 1))"
        echo "listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))"
        echo "advertised.listeners=PLAINTEXT://127.0.0.1:$port"
        echo "auto.create.topics.enable=true"
        echo "log.dirs=$scratch/data"
    } > "$scratch/server.properties"
    java "@$kafka/java.args" kafka.tools.StorageTool format -t MkU3OEVBNTcwNTJENDM2Qk \
        -c "$scratch/server.properties" >> "$log" 2>&1 9>&- || return 1
    # A formatted folder is the same for every test: tests copy it, which saves a start of Java each.
    rm -rf "$kafka/formatted"
    cp -r "$scratch/data" "$kafka/formatted"
    java "@$kafka/java.args" "-XX:ArchiveClassesAtExit=$kafka/kafka.jsa" kafka.Kafka "$scratch/server.properties" \
        >> "$log" 2>&1 9>&- &
    server=$!
    until (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null; do
        tries=$((tries + 1))
        if ! kill -0 "$server" 2> /dev/null || [ "$tries" -gt 600 ]; then
            kill -KILL "$server" 2> /dev/null || true
            rm -rf "$scratch"
            return 1
        fi
        sleep 0.1
    done
    if has kcat; then
        echo once | timeout 20 kcat -P -b "127.0.0.1:$port" -t once >> "$log" 2>&1 9>&- || true
        timeout 20 kcat -C -e -b "127.0.0.1:$port" -t once >> "$log" 2>&1 9>&- || true
    fi
    kill -TERM "$server"
    wait "$server" || true
    rm -rf "$scratch"
    [ -s "$kafka/kafka.jsa" ]
}

install_kafka() {
    kafka_is_there && return 0
    has java || { complain "Java 17 or newer is missing, which runs Kafka: install default-jre-headless (as root: apt-get install default-jre-headless)."; return 0; }
    has mvn || { complain "Maven is missing, which fetches Kafka $kafka_version: install maven (as root: apt-get install maven)."; return 0; }
    say "fetching Kafka $kafka_version"
    rm -rf "$kafka"
    mkdir -p "$kafka"
    if ! mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
        "-DoutputDirectory=$kafka/libs" >> "$log" 2>&1 9>&-; then
        complain "Kafka $kafka_version is missing because Maven could not fetch it: see $log and make Maven Central reachable."
        return 0
    fi
    cp "$here/log4j2.properties" "$kafka/"
    write_java_arguments
    for _ in 1 2 3; do
        # Another program may have taken the port: a new attempt has a new one.
        if make_class_archive; then
            write_java_arguments "\"-XX:SharedArchiveFile=$kafka/kafka.jsa\""
            kafka_stamp > "$kafka/stamp"
            return 0
        fi
    done
    complain "Kafka $kafka_version is missing because it does not start here: see $log; it needs Java 17 or newer."
}

# Makes a Python environment $1 with what the file $2 names, for $3; `$1/stamp` says that it is there. Further
# arguments are pip's.
install_python() {
    local place="$1" wanted="$2" purpose="$3" stamp
    shift 3
    stamp="$(cksum < "$wanted")"
    if [ -x "$place/bin/python" ] && [ "$(cat "$place/stamp" 2> /dev/null)" = "$stamp" ]; then return 0; fi
    has python3 || { complain "Python 3 is missing, which runs $purpose: install python3 and python3-venv."; return 0; }
    say "fetching what $purpose need"
    rm -rf "$place"
    if ! python3 -m venv "$place" >> "$log" 2>&1; then
        apt_install python3-venv
        rm -rf "$place"
        if ! python3 -m venv "$place" >> "$log" 2>&1; then
            complain "A Python environment cannot be made: install python3-venv."
            return 0
        fi
    fi
    if ! "$place/bin/python" -m pip install --quiet --disable-pip-version-check "$@" \
        -r "$wanted" >> "$log" 2>&1 9>&-; then
        complain "What $purpose need (${wanted#"$here/../../"}) cannot be installed: see $log and make the package index reachable."
        return 0
    fi
    echo "$stamp" > "$place/stamp"
}

# The programs $2 and further of the Debian package $1: unpacked and not installed, for an installed server would run on
# this machine from then on.
unpack() {
    local package="$1" place="$cache/unpacked" file name
    shift
    if [ -e "$place/$package.stamp" ]; then return 0; fi
    { has apt-get && has dpkg-deb; } || { complain "$package is missing: apt-get and dpkg-deb unpack it from Debian's package."; return 0; }
    say "fetching $package"
    rm -rf "$place/$package".*
    mkdir -p "$place/$package.new"
    download() { (cd "$place/$package.new" && apt-get -q download "$package") >> "$log" 2>&1 < /dev/null 9>&-; }
    if ! download; then
        # The package lists may be older than the archive, or none.
        if apt_is_ours; then apt_try update || true; fi
        download || { complain "$package is missing because apt-get could not fetch Debian's package: see $log and make its archive reachable."; return 0; }
    fi
    if ! dpkg-deb -x "$place/$package.new/$package"_*.deb "$place/$package.new/files" >> "$log" 2>&1; then
        complain "$package is missing because Debian's package could not be unpacked: see $log."
        return 0
    fi
    for file in "$@"; do
        name="$(basename "$file")"
        mv -f "$place/$package.new/files/$file" "$place/$name"
        # It starts here, with the libraries that are there; nginx knows -v alone.
        if ! { "$place/$name" --version || "$place/$name" -v; } > "$place/$package.version" 2>&1; then
            complain "$name of Debian's package $package does not run here: see $place/$package.version."
            return 0
        fi
    done
    rm -rf "$place/$package.new"
    mv "$place/$package.version" "$place/$package.stamp"
}

install_unpacked() {
    unpack nginx usr/sbin/nginx
    unpack prometheus usr/bin/prometheus usr/bin/promtool
    unpack prometheus-alertmanager usr/bin/amtool
}

# Linters of the image, the compose file and the workflow: wheels with all inside.
install_lint() { install_python "$cache/lint" "$here/lint.txt" "the linters of what is deployed"; }

# What loads a compose file as Docker Compose does.
install_compose_load() {
    local stamp
    has go || { complain "Go 1.24 or newer is missing, which builds what loads compose files: install it (https://go.dev/dl)."; return 0; }
    stamp="$(go version) $(cat "$here"/compose/{main.go,go.mod,go.sum} | cksum)"
    if [ -x "$cache/compose-load" ] && [ "$(cat "$cache/compose-load.stamp" 2> /dev/null)" = "$stamp" ]; then return 0; fi
    say "building what loads compose files"
    if ! (cd "$here/compose" && GOFLAGS=-mod=readonly CGO_ENABLED=0 go build -trimpath -o "$cache/compose-load" .) >> "$log" 2>&1 9>&-; then
        complain "What loads compose files (tests/servers/compose) cannot be built: see $log; it needs Go 1.24 or newer, and the module proxy reachable."
        return 0
    fi
    echo "$stamp" > "$cache/compose-load.stamp"
}

# Node 20 or newer: `parseArgs` and `fetch` are there.
node_is_there() { has node && [ "$(node --version | sed 's/^v\([0-9]*\).*/\1/')" -ge 20 ]; }

# What the example in TypeScript needs, to the byte of its lock file; nothing of it is run while it is installed.
install_typescript() {
    local stamp
    node_is_there || { complain "Node 20 or newer is missing, which runs the example in TypeScript: install nodejs and npm of that release."; return 0; }
    stamp="$(node --version) $(cat "$examples/typescript"/package{,-lock}.json | cksum)"
    if [ "$(cat "$examples_typescript/stamp" 2> /dev/null)" = "$stamp" ]; then return 0; fi
    has npm || { complain "npm is missing, which fetches what the example in TypeScript needs: install npm (as root: apt-get install npm)."; return 0; }
    say "fetching what the example in TypeScript needs"
    rm -rf "$examples_typescript"
    mkdir -p "$examples_typescript"
    cp "$examples/typescript"/package{,-lock}.json "$examples_typescript/"
    if ! (cd "$examples_typescript" && npm ci --ignore-scripts --no-audit --no-fund --loglevel error) >> "$log" 2>&1 9>&-; then
        complain "What the example in TypeScript needs (examples/typescript/package-lock.json) cannot be installed: see $log and make the package registry reachable."
        return 0
    fi
    echo "$stamp" > "$examples_typescript/stamp"
}

# helm, helm-unittest and helm-docs, as chart/go.mod and go.sum have them, and the schemas of Kubernetes.
install_chart_tools() {
    local stamp flags="-s -w" package schemas
    install_python "$chart_python" "$here/chart/requirements.txt" "the checks of the chart"
    # Each of its releases has 4 MB of schemas, of which two are asked for (tests/it/deployment/chart.rs).
    for schemas in "$chart_python"/lib/python3*/site-packages/kubernetes_validate/kubernetes-json-schema/v*; do
        case "$schemas" in *v1.30.0-local-strict | *v1.37.0-local-strict) ;; *) rm -rf "$schemas" ;; esac
    done
    stamp="$(cat "$here"/chart/go.{mod,sum} | cksum)"
    if [ "$(cat "$chart/stamp" 2> /dev/null)" = "$stamp" ]; then return 0; fi
    has go || { complain "Go 1.26 or newer is missing, which builds helm: install it (https://go.dev/dl/)."; return 0; }
    say "building helm, helm-unittest and helm-docs"
    rm -rf "$chart"
    mkdir -p "$chart"
    # Built like this helm takes the cluster for one of 1.20; what we say is the newest that we check with.
    for package in chartutil lint/rules; do
        flags+=" -X helm.sh/helm/v3/pkg/$package.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/$package.k8sVersionMinor=37"
    done
    if ! (cd "$here/chart" && CGO_ENABLED=0 go build -mod=readonly -trimpath -ldflags "$flags" -o "$chart/" tool) >> "$log" 2>&1 9>&-; then
        complain "What checks the chart cannot be built: see $log; it needs Go 1.26 or newer, and the Go module proxy."
        return 0
    fi
    echo "$stamp" > "$chart/stamp"
}

# Rotel, a collector of OpenTelemetry's spans: a program of its own in a Python wheel.
install_rotel() {
    install_python "$rotel" "$here/rotel.txt" "tests of traces" --require-hashes --no-deps
}

# The program in it, or nothing.
rotel_program() {
    local programs=("$rotel"/lib/python3*/site-packages/rotel/rotel-agent)
    if [ -e "$rotel/stamp" ] && [ -x "${programs[0]}" ]; then echo "${programs[0]}"; fi
}

# Notes what is there as `name=path`, and what is not as a sentence.
note() { found+="$1=$2"$'\n'; }
note_command() {
    if has "$1"; then note "$1" "$(command -v "$1")"; else complain "$1 is missing: install $2 (as root: apt-get install $2)."; fi
}

: > "$log"
: > "$missing"
install_packages
# Two cores: one fetches and unpacks while the other waits for Java.
{
    install_python "$python" "$here/requirements.txt" "the Python clients"
    install_python "$examples_python" "$examples/langgraph/requirements.txt" "the examples in Python" --require-hashes
    install_typescript
    install_rotel
    install_lint
    install_compose_load
    install_unpacked
} &
others=$!
install_chart_tools &
chart_tools=$!
install_kafka
wait "$others" "$chart_tools"

found=""
if kafka_is_there; then note java "$(command -v java)"; note kafka "$kafka"; fi
postgres="$(postgres_bin)"
if [ -n "$postgres" ]; then
    note postgres "$postgres"
else
    complain "PostgreSQL 15 or newer is missing: install postgresql (as root: apt-get install postgresql)."
fi
note_command redis-server redis-server
note_command kcat kcat
for name in curl jq openssl; do note_command "$name" "$name"; done
note_command redis-cli redis-tools
note_command setpriv util-linux
note_command valgrind valgrind
unpacked="$cache/unpacked"
if [ -e "$unpacked/nginx.stamp" ]; then note nginx "$unpacked/nginx"; fi
if [ -e "$unpacked/prometheus.stamp" ]; then for tool in prometheus promtool; do note "$tool" "$unpacked/$tool"; done; fi
if [ -e "$unpacked/prometheus-alertmanager.stamp" ]; then note amtool "$unpacked/amtool"; fi
if [ -e "$cache/compose-load.stamp" ]; then note compose-load "$cache/compose-load"; fi
if [ -e "$cache/lint/stamp" ]; then
    note hadolint "$cache/lint/bin/hadolint"
    note check-jsonschema "$cache/lint/bin/check-jsonschema"
fi
if [ -e "$python/stamp" ]; then note python "$python/bin/python"; fi
if [ -e "$examples_python/stamp" ]; then note examples-python "$examples_python/bin/python"; fi
if [ -e "$examples_typescript/stamp" ]; then note examples-typescript "$examples_typescript/node_modules"; fi
if [ -e "$chart/stamp" ]; then for tool in helm helm-unittest helm-docs; do note "$tool" "$chart/$tool"; done; fi
if [ -e "$chart_python/stamp" ]; then note kubernetes-validate "$chart_python/bin/kubernetes-validate"; fi
if [ -n "$(rotel_program)" ]; then note rotel "$(rotel_program)"; fi
if node_is_there; then note node "$(command -v node)"; fi
if [ "$(cat "$cache/found" 2> /dev/null)" != "${found%$'\n'}" ]; then
    printf '%s' "$found" > "$cache/found.new"
    mv "$cache/found.new" "$cache/found"
fi

if [ -s "$missing" ]; then
    cat "$missing" >&2
    "$allow_missing" || exit 1
fi
