#!/usr/bin/env bash
# heartbeat.sh SchedulerJob|TriggererJob: exit 0 if the one of this container is alive.
# `airflow jobs check` says the same, but starts all of Airflow for it: seconds of CPU each time.
set -euo pipefail

url=${AIRFLOW__DATABASE__SQL_ALCHEMY_CONN/postgresql+psycopg2:/postgresql:}
answer=$(PGCONNECT_TIMEOUT=5 psql --no-psqlrc --no-align --tuples-only --quiet --set ON_ERROR_STOP=1 \
    --set type="$1" --set host="$(hostname)" --file /opt/stack/heartbeat.sql "$url")
[[ $answer == t ]]
