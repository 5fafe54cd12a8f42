#!/usr/bin/env bash
# The contract of the drivers, held against a real S3 server: the same suites as among the unit tests, which leave S3 out where there is
# no server.  Here it is an error when a driver was left out.
# shellcheck source=../lib/t.sh
. tests/lib/t.sh
# shellcheck source=../lib/rgw.sh
. tests/lib/rgw.sh

build=${HOLDFAST_BUILD:-$PWD/build}
unset "${!AWS_@}" http_proxy HTTP_PROXY https_proxy HTTPS_PROXY
rgw_start || exit 1

# suite PROGRAM EXPECTED-GROUP…: all its tests pass, and each of these was run
suite() {
	local program=$1 group
	shift
	t_begin "$program"
	t_run timeout 300 "$build/tests/$program"
	t_is "$t_status" 0 'all passed' || printf '%s\n' "$t_err"
	[ "$t_status" -eq 0 ] || printf '%s\n%s\n' "$t_out" "$t_err" | grep -vE '^\[ +(RUN|OK) ' | sed 's/^/#   /'
	for group; do
		t_match $'\n'"$t_out"$'\n'"$t_err"$'\n' $'\n'"$group"$'\n' "$group"
	done
	t_nomatch "$t_out$t_err" 'left out' 'nothing was left out'
}

every=()
for kind in s3 libs3; do
	every+=("contract: $kind" "contract: $kind behind retry" "contract: $kind behind vault and retry")
	every+=("many objects: $kind" "network: $kind" "server: $kind")
done
suite test_driver 'contract: local' 'contract: local behind retry' 'contract: local behind vault' "${every[@]}"
suite test_driver_parts 'parts: s3' 'parts: s3 behind retry'
suite test_driver_libs3 'libs3: libs3' 'libs3 and a server: libs3'
