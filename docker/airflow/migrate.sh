#!/usr/bin/env bash
# The one-shot service `migrate`: what is missing of roles, databases and extensions, then the
# tables. In: PGHOST, the superuser's POSTGRES_SUPERUSER and _PASSWORD, and what bootstrap.sh needs.
set -euo pipefail

PGUSER=$POSTGRES_SUPERUSER PGPASSWORD=$POSTGRES_SUPERUSER_PASSWORD \
    bash /opt/stack/postgres/bootstrap.sh
PGUSER=restaurant_owner PGPASSWORD=$RESTAURANT_OWNER_PASSWORD PGDATABASE=restaurant_analytics \
    exec python -m sse_stream migrate --preset restaurant
