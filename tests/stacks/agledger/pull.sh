#!/usr/bin/env bash
# pull.sh DIR VERSION: in place of "compose pull": what that version is built on, from npm
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
if ! pgboss=$(jq -er --arg version "$2" '.[$version].pgboss' "$here/versions.json"); then
	printf 'pull: no such image: agledger:%s\n' "$2" >&2
	exit 1
fi
exec "$here/../lib/pull.sh" "$(node "$here/../lib/env.mjs" "$1/.env" PACKAGES)" "pgboss-$pgboss"
