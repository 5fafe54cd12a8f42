#!/usr/bin/env bash
# restart.sh DIR [SERVICE…]: in place of "compose restart": with the settings it was started with, whatever DIR/.env says now
here=$(cd "$(dirname "$0")" && pwd -P)
dir=$1
shift
[ $# -gt 0 ] || set -- api worker
for service in "$@"; do
	node "$here/../lib/service.mjs" restart "$dir" "$service" || exit 1
done
