#!/usr/bin/env bash
# stop.sh DIR
here=$(cd "$(dirname "$0")" && pwd -P)
exec node "$here/../lib/service.mjs" stop "$1" backstop
