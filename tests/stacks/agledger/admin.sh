#!/usr/bin/env bash
# admin.sh DIR reload             post-start hook: the provisioning is loaded
# admin.sh DIR scan               reads the whole vault; exit status 1 when its chain is broken
# admin.sh DIR create-key NAME    prints a new API key
# admin.sh DIR auth FILE            exit status 1 unless the API key in FILE is known
# The platform's key is read from DIR/.env and given to curl on its standard input.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
value() {
	node "$here/../lib/env.mjs" "$dir/.env" "$1"
}
ask() { # METHOD PATH [JSON]
	printf 'header = "authorization: Bearer %s"\n' "$key" |
		curl -sS --fail-with-body --max-time 20 -K - -X "$1" -H 'content-type: application/json' -d "${3:-{\}}" "$base/v1/admin/$2"
}
dir=$1
key=$(value PLATFORM_API_KEY)
base=http://127.0.0.1:$(value PORT)
case ${2:-} in
reload) ask POST provisioning/reload ;;
create-key) ask POST api-keys "$(jq -n --arg name "$3" '{$name}')" | jq -r .key ;;
auth)
	printf 'header = "authorization: Bearer %s"\n' "$(<"$3")" | curl -sS --fail-with-body --max-time 20 -K - "$base/v1/auth/me" || exit 1
	;;
scan)
	id=$(ask POST vault/scan | jq -r .jobId)
	until result=$(ask GET "vault/scan/$id") && [ "$(jq -r .status <<<"$result")" = completed ]; do :; done
	printf '%s\n' "$result"
	[ "$(jq .brokenChains <<<"$result")" -eq 0 ]
	;;
*)
	printf 'usage: admin.sh DIR reload|scan|create-key NAME|auth FILE\n' >&2
	exit 2
	;;
esac
