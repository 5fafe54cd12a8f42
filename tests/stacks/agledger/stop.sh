#!/usr/bin/env bash
# stop.sh DIR [SERVICE…]: in place of "compose stop"
here=$(cd "$(dirname "$0")" && pwd -P)
dir=$1
shift
[ $# -gt 0 ] || set -- worker api
for service in "$@"; do
	node "$here/../lib/service.mjs" stop "$dir" "$service" || exit 1
done
