#!/usr/bin/env bash
# start.sh DIR [--no-wait]: the application of the version that DIR/.env pins
here=$(cd "$(dirname "$0")" && pwd -P)
exec node "$here/../lib/service.mjs" start "$1" app "${@:2}" -- node "$here/app.mjs"
