#!/usr/bin/env bash
# list.sh DIR: one "NAME TAIL-OFFSET" line for each stream
exec node "$(dirname "$0")/client.mjs" "$1" list
