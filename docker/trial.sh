#!/usr/bin/env bash
# Makes the secrets and certificates of a trial, each a file, for docker/compose.yaml. What is there already stays: run it again after
# deleting a file to have a new one. For work take certificates of your own authority and secrets of your own store.
set -euo pipefail
umask 077

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
folder="${1:-$here/secrets}"
days=90
# The name by which browsers and clients reach nginx.
domain="${BRIDGE_DOMAIN:-localhost}"
if [ "$#" -gt 1 ] || [[ "$folder" == -* ]]; then
    echo "usage: [BRIDGE_DOMAIN=bridge.example] $0 [FOLDER]" >&2
    exit 64
fi
if ! command -v openssl > /dev/null 2>&1; then
    echo "openssl is missing, which makes keys and certificates: install openssl (as root: apt-get install openssl)" >&2
    exit 69
fi
if ! [[ "$domain" =~ ^[A-Za-z0-9.-]+$ ]]; then
    echo "BRIDGE_DOMAIN=$domain is no name of a machine: letters, digits, dots and hyphens" >&2
    exit 64
fi

# The folder keeps others out; in it files are open, for Compose mounts them as they are, and each container has a user of its own.
mkdir -p "$folder"
chmod 0700 "$folder"
cd "$folder"

# Keeps what the command prints as the file $1, if there is none; half a file is never left.
keep() {
    local name="$1"
    shift
    if [ -s "$name" ]; then return 0; fi
    "$@" > "$name.new"
    chmod 0444 "$name.new"
    mv -f "$name.new" "$name"
}

key() { openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 2> /dev/null || openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256; }
password() { openssl rand -hex 24 | tr -d '\n'; }
text() { printf '%s' "$1"; }

authority() {
    openssl req -x509 -new -key authority.key -sha256 -days "$days" -subj "/CN=Trial of the Biometric Bridge" \
        -addext "basicConstraints=critical,CA:TRUE,pathlen:0" -addext "keyUsage=critical,keyCertSign,cRLSign"
}

# A certificate of the service $1 for the name $2, this machine included: health checks ask there.
certificate() {
    local extensions
    extensions="$(printf '%s\n' "subjectAltName=DNS:$2,DNS:localhost,IP:127.0.0.1" "keyUsage=critical,digitalSignature" \
        "extendedKeyUsage=serverAuth,clientAuth" "basicConstraints=critical,CA:FALSE" "authorityKeyIdentifier=keyid" \
        "subjectKeyIdentifier=hash")"
    openssl req -new -key "$1_key" -subj "/CN=$1" \
        | openssl x509 -req -sha256 -days "$days" -CA ca -CAkey authority.key -set_serial "0x$(openssl rand -hex 16)" \
            -extfile <(echo "$extensions") 2> /dev/null
}

keep authority.key key
chmod 0600 authority.key
keep ca authority
for service in bridge kafka postgres redis nginx otel; do
    name="$service"
    if [ "$service" = nginx ]; then name="$domain"; fi
    keep "${service}_key" key
    keep "${service}_certificate" certificate "$service" "$name"
    if ! openssl verify -CAfile ca "${service}_certificate" > /dev/null 2>&1; then
        echo "$folder/${service}_certificate is not good any more: delete it (and $folder/ca, if that is old too), and run this again" >&2
        exit 65
    fi
done
keep kafka_keystore cat kafka_key kafka_certificate ca

# The keys that everything about people is sealed with, and what signs the log of accesses: keep a copy apart from the database.
keep bridge_keys text "kek-trial $(openssl rand -base64 32)"
keep bridge_audit_key openssl genpkey -algorithm ed25519
for name in postgres_password postgres_bridge_password redis_password grafana_password; do keep "$name" password; done
keep postgres_url text "postgresql://bridge:$(cat postgres_bridge_password)@postgres:5432/bridge?sslmode=verify-full&sslrootcert=/run/secrets/ca"
keep redis_url text "rediss://bridge:$(cat redis_password)@redis:6379"
# Redis knows the digest of the password alone.
keep redis_users printf '%s\n' \
    "user default on nopass resetkeys resetchannels -@all +ping" \
    "user bridge on #$(openssl dgst -sha256 -r < redis_password | cut -d ' ' -f 1) ~neuros:* &neuros:* +@all -@admin -@dangerous +info"
# Who may see health data: lines of `biometric-bridge tokens new`. Nobody may, so far.
if ! [ -e bridge_tokens ]; then
    echo "# A line for each operator: biometric-bridge tokens new NAME SCOPE" > bridge_tokens
    chmod 0644 bridge_tokens
fi
echo "the secrets of the trial are in $folder; certificates hold for $days days"
