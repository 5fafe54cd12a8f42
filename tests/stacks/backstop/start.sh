#!/usr/bin/env bash
# start.sh DIR
here=$(cd "$(dirname "$0")" && pwd -P)
exec node "$here/../lib/service.mjs" start "$1" backstop -- node "$here/server.mjs"
