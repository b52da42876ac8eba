#!/usr/bin/env bash
# The one-shot service `migrate`: what is missing of roles, databases and extensions, then the
# tables. In: PGHOST, the superuser's POSTGRES_SUPERUSER and _PASSWORD, and what bootstrap.sh needs.
#
# It waits for the server itself: a server that lacks a role counts as unhealthy, and only this
# brings the role back.
set -euo pipefail

as_superuser() { PGUSER=$POSTGRES_SUPERUSER PGPASSWORD=$POSTGRES_SUPERUSER_PASSWORD "$@"; }
as_owner() { PGUSER=restaurant_owner PGPASSWORD=$RESTAURANT_OWNER_PASSWORD PGDATABASE=restaurant_analytics "$@"; }

# The first start of a server on slow disks takes minutes.
for ((tries = 0; tries < 150; tries++)); do
    if pg_isready --quiet; then break; fi
    sleep 2
done

missing=$(as_superuser psql --no-psqlrc --no-align --tuples-only --quiet --dbname postgres \
    --file /opt/stack/postgres/missing.sql)
as_superuser bash /opt/stack/postgres/bootstrap.sh
as_owner python -m sse_stream migrate --preset restaurant

# A role that was dropped took its rights along; the migration that gave them has run already.
if [[ $missing == *role* ]]; then
    printf 'made anew: %s\n' "${missing//$'\n'/, }"
    rights=$(python -c 'from importlib.resources import files; print(files("sse_stream"))')
    as_owner psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 \
        --file "$rights/presets/restaurant/migrations/0012_privileges.sql"
fi
