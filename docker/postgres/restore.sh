#!/usr/bin/env bash
# Standard input, a custom-format dump, becomes restaurant_analytics: filled beside the one that is
# there and put in its place only when it is whole. In: PGUSER (and PGHOST, PGPASSWORD) of a superuser.
set -euo pipefail

name=restaurant_analytics
run() { psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --dbname postgres --command "$1"; }

run "drop database if exists ${name}_new"
# As databases.sql makes it.
run "create database ${name}_new owner restaurant_owner template template0 encoding 'UTF8' lc_collate 'C'"
pg_restore --exit-on-error --dbname "${name}_new"
run "drop database if exists $name with (force)"
run "alter database ${name}_new rename to $name"
