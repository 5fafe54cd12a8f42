# shellcheck shell=bash
# Real software of the stacks, from npm, for tests: source this file (after t.sh, when that is used too).
#
#	npm_or_skip                     node and npm are there, or the script fails; with HOLDFAST_NO_NPM=1 it says "skipped: …" and
#	                                ends 0: for machines without npm
#	npm_install SET PACKAGE@VERSION…    installs these exact versions, once; sets npm_dir to the directory that has node_modules
#	npm_install_or_skip SET PACKAGE@VERSION…    the same; the script says "skipped: …" and ends 0 where the registry is out of reach: for
#	                                what no other test stands on
#
# A set lies in $npm_cache/SET, npm_cache being ${HOLDFAST_NPM_CACHE:-$HOLDFAST_BUILD/npm}.  One that is there is complete, as it gets
# its name last; several scripts may ask for the same one at the same time.  No script of a package is run.  What is installed runs
# on the Node.js of Debian 12 (18) as on newer ones, though some of it declares 20 or 22.

npm_cache=$(realpath -m -- "${HOLDFAST_NPM_CACHE:-${HOLDFAST_BUILD:-build}/npm}")
npm_dir=''
NPM_NODE_MAJOR=18

npm_die() {
	printf 'npm.sh: %s\n' "$*" >&2
	return 1
}

# npm_need PROGRAM…
npm_need() {
	local program
	for program in "$@"; do
		command -v "$program" >/dev/null && continue
		npm_die "$program is missing; run scripts/bootstrap, or set HOLDFAST_NO_NPM=1 to skip what needs it"
		return 1
	done
}

npm_skip() {
	trap - EXIT
	[ -z "${T_TMP:-}" ] || rm -rf -- "$T_TMP"
	printf 'skipped: %s\n' "$1"
	exit 0
}

npm_or_skip() {
	local version
	[ "${HOLDFAST_NO_NPM:-}" != 1 ] || npm_skip HOLDFAST_NO_NPM=1
	npm_need node npm || exit 1
	version=$(node --version) || exit 1
	version=${version#v}
	if [ "${version%%.*}" -lt "$NPM_NODE_MAJOR" ]; then
		npm_die "node is $version, wanted is $NPM_NODE_MAJOR or newer; set HOLDFAST_NO_NPM=1 to skip what needs it"
		exit 1
	fi
}

# npm_reason LOG: why npm failed, in a few words
npm_reason() {
	local code
	code=$(sed -nE 's/^npm (ERR!|error) code ([A-Z0-9_]+)$/\2/p' "$1" | head -n 1)
	case $code in
	ENOTFOUND | EAI_AGAIN | ECONNREFUSED | ECONNRESET | ETIMEDOUT | ENETUNREACH | EHOSTUNREACH | ERR_SOCKET_TIMEOUT)
		printf 'the registry is out of reach (%s)\n' "$code"
		;;
	E404 | ETARGET) printf 'the registry has no such version (%s)\n' "$code" ;;
	*) printf 'npm failed (%s)\n' "${code:-no code}" ;;
	esac
}

npm_install() {
	local set=$1 package lock status=0
	shift
	for package in "$@"; do
		if ! [[ $package =~ ^(@[a-z0-9._-]+/)?[a-z0-9._-]+@[0-9]+\.[0-9]+\.[0-9]+$ ]]; then
			npm_die "\"$package\" is not PACKAGE@VERSION with an exact version"
			return 1
		fi
	done
	npm_dir=$npm_cache/$set
	[ ! -d "$npm_dir" ] || return 0
	npm_need node npm && mkdir -p "$npm_cache" || return 1
	exec {lock}>"$npm_dir.lock"
	flock "$lock"
	# another may have made it meanwhile
	[ -d "$npm_dir" ] || npm_make "$@" {lock}>&- || status=1
	exec {lock}>&-
	return "$status"
}

npm_install_or_skip() {
	local said
	if said=$(npm_install "$@" 2>&1); then
		npm_dir=$npm_cache/$1
	elif [[ $said == *'the registry is out of reach'* ]]; then
		npm_skip "${said##*npm.sh: }"
	else
		printf '%s\n' "$said" >&2
		exit 1
	fi
}

# Under the lock; npm itself does not hold it, so that no process it leaves behind does.
npm_make() {
	local new=$npm_dir.new log=$npm_dir.log
	rm -rf -- "$new"
	mkdir "$new" && printf '{"private": true}\n' >"$new/package.json" || return 1
	if (cd "$new" && npm install --save-exact --ignore-scripts --no-audit --no-fund --no-package-lock --no-update-notifier \
		--fetch-retry-mintimeout=1000 --fetch-retry-factor=2 --loglevel=error "$@" >"$log" 2>&1 </dev/null); then
		rm -f -- "$log" && mv "$new" "$npm_dir"
		return
	fi
	tail -n 20 "$log" >&2
	npm_die "could not install $*: $(npm_reason "$log")"
	rm -rf -- "$new" "$log"
	return 1
}
