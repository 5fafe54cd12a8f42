#!/usr/bin/env bash
# status.sh DIR SERVICE: prints "running PID" or "stopped" (exit status 3)
exec node "$(dirname "$0")/service.mjs" status "$1" "$2"
