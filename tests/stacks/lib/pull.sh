#!/usr/bin/env bash
# In place of "docker pull": installs one version of a stack's software from npm into the directory PACKAGES, where the services find
# it.  pull.sh PACKAGES SET; a SET is dbos-VERSION, pgboss-VERSION or streams-VERSION.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)

[ $# -eq 2 ] || {
	printf 'usage: pull.sh PACKAGES SET\n' >&2
	exit 2
}
export HOLDFAST_NPM_CACHE=$1
# shellcheck source=../../lib/npm.sh
. "$here/../../lib/npm.sh"
case $2 in
dbos-*) package=@dbos-inc/dbos-sdk ;;
pgboss-*) package=pg-boss ;;
streams-*) package=@durable-streams/server ;;
*)
	printf 'pull.sh: no stack has the set "%s"\n' "$2" >&2
	exit 2
	;;
esac
npm_install "$2" "$package@${2#*-}"
