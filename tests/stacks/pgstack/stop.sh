#!/usr/bin/env bash
# stop.sh DIR
exec node "$(dirname "$0")/../service.mjs" stop "$1" proxy
