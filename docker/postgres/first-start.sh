#!/usr/bin/env bash
# Sourced or run by the image's entrypoint while it fills an empty data folder.
PGUSER=${POSTGRES_USER:-postgres} bash /opt/stack/postgres/bootstrap.sh
