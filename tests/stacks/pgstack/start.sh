#!/usr/bin/env bash
# start.sh DIR [--no-wait]: the proxy of the version that DIR/.env pins, with what .env says now.  It starts also when it cannot log in:
# its health tells.
here=$(cd "$(dirname "$0")" && pwd -P)
exec node "$here/../lib/service.mjs" start "$1" proxy "${@:2}" -- node "$here/proxy.mjs"
