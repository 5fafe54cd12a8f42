#!/usr/bin/env bash
# tests/lib/npm.sh: installs once, and says clearly why it could not.
# shellcheck source=lib/common.sh
. "$(dirname "$0")/lib/common.sh"
npm_or_skip

library=$STACKS/../lib/npm.sh
# in a shell of its own, with a cache of its own: COMMAND…
apart() {
	# shellcheck disable=SC2016 # expanded there
	HOLDFAST_NPM_CACHE=$T_TMP/cache bash -c '. "$1"; shift; "$@" && printf "%s\n" "$npm_dir"' bash "$library" "$@"
}

t_begin several_ask_for_the_same_set
for i in 1 2 3; do
	apart npm_install small pg-int8@1.0.1 >"$T_TMP/$i" 2>&1 &
done
wait
t_is "$(sort -u "$T_TMP"/[123])" "$T_TMP/cache/small" "all have it"
t_is "$(jq -r .version "$T_TMP/cache/small/node_modules/pg-int8/package.json")" 1.0.1 "the version that was asked for"
t_is "$(ls "$T_TMP/cache")" $'small\nsmall.lock' "nothing is left beside it"

t_begin what_is_there_needs_neither_npm_nor_registry
t_ok env npm_config_registry=http://127.0.0.1:9 bash -c "HOLDFAST_NPM_CACHE='$T_TMP/cache'; . '$library'; npm_install small pg-int8@1.0.1"

t_begin only_exact_versions
for package in pg-int8 pg-int8@^1.0.1 pg-int8@latest 'x; y@1.0.0'; do
	t_exit 1 apart npm_install other "$package"
	t_is "$t_err" "npm.sh: \"$package\" is not PACKAGE@VERSION with an exact version"
done

t_begin a_registry_out_of_reach_is_a_failure
export npm_config_registry=http://127.0.0.1:9 npm_config_cache=$T_TMP/empty npm_config_fetch_retries=0
t_exit 1 apart npm_install other pg-int8@1.0.1
t_match "$t_err" 'npm.sh: could not install pg-int8@1.0.1: the registry is out of reach \(ECONNREFUSED\)$'
t_is "$(ls "$T_TMP/cache")" $'other.lock\nsmall\nsmall.lock' "nothing half made is left"
t_exit 0 env -u T_TMP bash -c "HOLDFAST_NPM_CACHE='$T_TMP/cache'; . '$library'; npm_install_or_skip other pg-int8@1.0.1; echo not reached"
t_is "$t_out$t_err" 'skipped: could not install pg-int8@1.0.1: the registry is out of reach (ECONNREFUSED)' 'or a reason to skip'
t_ok bash -c "HOLDFAST_NPM_CACHE='$T_TMP/cache'; . '$library'; npm_install_or_skip small pg-int8@1.0.1 && test -d \"\$npm_dir\""
unset npm_config_registry npm_config_cache npm_config_fetch_retries

t_begin a_version_that_does_not_exist_is_a_failure
t_exit 1 apart npm_install other pg-int8@99.0.0
t_match "$t_err" 'npm.sh: could not install pg-int8@99.0.0: the registry has no such version \(ETARGET\)$'
t_exit 1 env -u T_TMP bash -c "HOLDFAST_NPM_CACHE='$T_TMP/cache'; . '$library'; npm_install_or_skip other pg-int8@99.0.0; echo not reached"
t_match "$t_out$t_err" 'the registry has no such version \(ETARGET\)$' 'and no reason to skip'

t_begin a_machine_without_npm
mkdir "$T_TMP/bin"
ln -s "$(command -v realpath)" "$T_TMP/bin/"
t_exit 1 env PATH="$T_TMP/bin" HOLDFAST_NO_NPM= /bin/bash -c ". '$library'; npm_or_skip; echo not reached"
t_is "$t_out$t_err" 'npm.sh: node is missing; run scripts/bootstrap, or set HOLDFAST_NO_NPM=1 to skip what needs it'
t_ok env PATH="$T_TMP/bin" HOLDFAST_NO_NPM=1 /bin/bash -c ". '$library'; npm_or_skip; echo not reached"
t_is "$t_out" 'skipped: HOLDFAST_NO_NPM=1'
printf '#!/bin/bash\necho v16.20.0\n' >"$T_TMP/bin/node"
cp "$T_TMP/bin/node" "$T_TMP/bin/npm"
chmod +x "$T_TMP/bin/node" "$T_TMP/bin/npm"
t_exit 1 env PATH="$T_TMP/bin" /bin/bash -c ". '$library'; npm_or_skip; echo not reached"
t_is "$t_out$t_err" 'npm.sh: node is 16.20.0, wanted is 18 or newer; set HOLDFAST_NO_NPM=1 to skip what needs it'
