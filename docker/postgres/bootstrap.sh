#!/usr/bin/env bash
# Roles, databases and extensions by psql; see bootstrap.sql. Running it again repairs what is
# missing and gives the roles the passwords of the environment.
#
# In: PGHOST, PGUSER, PGPASSWORD of a superuser (or a local socket that trusts), and the passwords
# below. The statements get them by psql's \getenv, so that they stand on no command line.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)

for name in RESTAURANT_OWNER_PASSWORD RESTAURANT_DB_PASSWORD ANALYTICS_READONLY_PASSWORD AIRFLOW_DB_PASSWORD; do
    value=${!name:-}
    if ((${#value} < 16)); then
        printf 'bootstrap: %s is missing or shorter than 16 characters: run make env\n' "$name" >&2
        exit 1
    fi
done

run() { psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --dbname postgres "$@"; }

run --output /dev/null --file "$here/passwords.sql" --file "$here/bootstrap.sql"
# create database cannot run in a transaction, so the statements come as text and go in one by one.
run --no-align --tuples-only --file "$here/databases.sql" | run
run --dbname restaurant_analytics --file "$here/extensions.sql"
