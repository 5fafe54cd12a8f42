#!/usr/bin/env bash
# migrate.sh PACKAGES VERSION URL ROLE: "npx dbos schema URL -r ROLE" of that version, as the role that URL names.  URL has no password:
# node's pg takes it from PGPASSWORD, or from the file that PGPASSFILE names.
set -euo pipefail
[ $# -eq 4 ] || {
	printf 'usage: migrate.sh PACKAGES VERSION URL ROLE\n' >&2
	exit 2
}
exec node "$1/dbos-$2/node_modules/@dbos-inc/dbos-sdk/dist/src/cli/cli.js" schema "$3" -r "$4"
