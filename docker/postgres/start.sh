#!/bin/sh
# Starts PostgreSQL as its image does, with a key that is its own: it takes no key that others may read.
set -eu

install -m 0600 /run/secrets/postgres_key /run/postgresql/server.key
exec docker-entrypoint.sh "$@"
