#!/usr/bin/env bash
# Ask metrics-api for /health with bash alone: the image has neither curl nor wget.
set -euo pipefail

exec 3<>"/dev/tcp/127.0.0.1/${METRICS_API_LISTEN##*:}"
printf 'GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
IFS= read -r -t 4 status <&3
[[ $status == *" 200 "* ]]
