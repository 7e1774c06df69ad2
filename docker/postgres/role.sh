#!/bin/sh
# Makes the role that the bridge is, when the database is made. It owns what `migrate up` makes, for with TimescaleDB the service
# must own its hypertable (docs/security.md, "Roles in PostgreSQL"); it is no administrator.
set -eu

psql -v ON_ERROR_STOP=1 --no-psqlrc --quiet --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
    -v password="$(cat /run/secrets/postgres_bridge_password)" <<'SQL'
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb') THEN
        CREATE EXTENSION IF NOT EXISTS timescaledb;
    END IF;
END $$;
CREATE ROLE bridge LOGIN PASSWORD :'password';
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO bridge;
SQL
