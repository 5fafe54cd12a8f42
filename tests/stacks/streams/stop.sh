#!/usr/bin/env bash
# stop.sh DIR
exec node "$(dirname "$0")/../lib/service.mjs" stop "$1" server
