#!/usr/bin/env bash
# Standard input, a custom-format dump, becomes restaurant_analytics: filled beside the one that is
# there and put in its place, in one transaction, only when it is whole. In: PGUSER (and PGHOST,
# PGPASSWORD) of a superuser. What a dump does not hold, the rights on the database itself and its
# settings, is taken from the one that is there and from databases.sql.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
name=restaurant_analytics
run() { psql --no-psqlrc --quiet --no-align --tuples-only --set ON_ERROR_STOP=1 --dbname postgres "$@"; }

rights=$(run --file "$here/database_rights.sql")
run --command "drop database if exists ${name}_old" --command "drop database if exists ${name}_new" \
    --command "create database ${name}_new owner restaurant_owner template template0 encoding 'UTF8' lc_collate 'C'"
pg_restore --exit-on-error --dbname "${name}_new"

# A database in use cannot be renamed.
trap 'run --command "alter database $name allow_connections true"' ERR
run --command "alter database $name allow_connections false"
run --output /dev/null \
    --command "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = '$name'"
run --command "alter database $name rename to ${name}_old; alter database ${name}_new rename to $name"
trap - ERR
run --file "$here/databases.sql" | run
run --command "$rights"
run --command "drop database ${name}_old with (force)"
