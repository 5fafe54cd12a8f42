#!/usr/bin/env bash
# start.sh DIR [--no-wait]: the worker of the version that DIR/.env pins
here=$(cd "$(dirname "$0")" && pwd -P)
exec node "$here/../lib/service.mjs" start "$1" worker "${@:2}" -- node "$here/worker.mjs"
