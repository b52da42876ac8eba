#!/usr/bin/env bash
# Ready, and all roles and databases are there. By TCP first: while the data folder is being filled,
# only the socket answers.
set -euo pipefail

pg_isready --quiet --host 127.0.0.1 --username "$POSTGRES_USER"
missing=$(psql --no-psqlrc --no-align --tuples-only --quiet --username "$POSTGRES_USER" \
    --dbname postgres --file /opt/stack/postgres/missing.sql)
if [[ -n $missing ]]; then
    printf 'missing: %s\n' "${missing//$'\n'/, }"
    exit 1
fi
