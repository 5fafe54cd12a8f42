#!/usr/bin/env bash
# PostgreSQL 17 of Debian trixie beside a Debian 12: nothing is installed, apt's sources and dpkg's data base stay as they are.
#
#	pg17.sh install DIR     fetches and unpacks into DIR (empty or new); prints the directory of the programs
#	pg17.sh bindir DIR      prints it again; fails when there is none
#
# With PG_BINDIR set to that directory, tests/lib/pg.sh starts 17 as it starts any other version.
#
# apt resolves the closure against an empty status file, the packages are unpacked with dpkg-deb, no maintainer script runs, and
# patchelf points the programs at trixie's loader and libraries.  So DIR must stay where it is.  No root is needed.
set -euo pipefail

suite=${PG17_SUITE:-trixie}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
# Left out: what only maintainer scripts and Debian's cluster wrappers want (perl), and the JIT (LLVM, 150 MB unpacked).
skip='^(perl|perl-base|perl-modules.*|libperl.*|lib.*-perl|postgresql-common|postgresql-common-dev|postgresql-client-common|ssl-cert|openssl|sensible-utils|ucf|debconf|netbase|systemd.*|login.*|passwd|adduser|dpkg|tar|init-system-helpers|sysvinit-utils|libsemanage.*|libsepol.*|base-passwd|debianutils|locales|libc-l10n|libdb5.*|libgdbm.*|procps|libproc2.*|libpam-modules.*|mawk|libllvm.*|libz3-.*)$'

die() {
	printf 'pg17: %s\n' "$*" >&2
	exit 1
}

# The machine's own mirror of Debian (label "Debian") or of its security updates ("Debian-Security").
mirror() {
	# shellcheck disable=SC2016 # apt expands them
	apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)|$(COMPONENT)' 'Identifier: Packages' |
		awk -F'|' -v label="$1" '$1 == "Debian" && $2 == label && $4 == "main" && !found { print $3; found = 1 }'
}

bindir() {
	local bin=$1/usr/lib/postgresql/17/bin
	if ! [ -x "$bin/postgres" ] || ! "$bin/postgres" --version >/dev/null; then
		die "\"$1\" holds no PostgreSQL 17 that runs"
	fi
	printf '%s\n' "$bin"
}

# Sets apt_get: apt-get with a world of its own under $work.
prepare_apt() {
	local main security
	main=$(mirror Debian)
	[ -n "$main" ] || die "apt knows no Debian mirror; run apt-get update"
	security=$(mirror Debian-Security)
	mkdir -p "$work"/{lists/partial,cache/archives/partial,state,none}
	: >"$work/status"
	{
		printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$main" "$suite"
		[ -z "$security" ] || printf 'deb [signed-by=%s] %s %s-security main\n' "$keyring" "$security" "$suite"
	} >"$work/sources.list"
	apt_get=(apt-get -q -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts="$work/none"
		-o Dir::Etc::preferencesparts="$work/none" -o Dir::Etc::preferences="$work/none/p" -o Dir::State="$work/state"
		-o Dir::State::lists="$work/lists" -o Dir::State::status="$work/status"
		-o Dir::State::extended_states="$work/state/ext" -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root
		-o Acquire::Languages=none -o Acquire::Retries=3 -o APT::Get::List-Cleanup=false)
}

fetch() {
	"${apt_get[@]}" update >/dev/null
	# beside the closure: /bin/sh and the few tools that initdb and pg_ctl start
	"${apt_get[@]}" -y --no-install-recommends --print-uris install postgresql-17 postgresql-client-17 dash coreutils \
		base-files libc-bin tzdata 2>/dev/null | awk '/^'\''/ { sub(/_.*/, "", $2); print $2 }' | grep -Ev "$skip" >"$work/names" || :
	[ -s "$work/names" ] || die "apt found no way to resolve postgresql-17 in $suite"
	(cd "$work" && xargs "${apt_get[@]}" download <names >/dev/null)
}

unpack() {
	local root=$1 name deb loader file
	mkdir -p "$root"/usr/{bin,sbin,lib,lib64}
	for name in bin sbin lib lib64; do
		ln -s "usr/$name" "$root/$name"
	done
	for deb in "$work"/*.deb; do
		# a package with a real lib/ must not replace the link
		dpkg-deb --fsys-tarfile "$deb" | tar -C "$root" -x --keep-directory-symlink --exclude='./usr/share/doc/*' \
			--exclude='./usr/share/man/*' --exclude='./usr/share/locale/*'
	done
	rm -rf "$root"/usr/lib/postgresql/17/lib/llvmjit.so "$root"/usr/lib/postgresql/17/lib/bitcode
	loader=$(cd "$root" && printf '%s\n' usr/lib/*/ld-linux-*.so.* | head -n 1)
	for file in "$root"/usr/lib/postgresql/17/bin/*; do
		[ "$(head -c 4 "$file" | tail -c 3)" = ELF ] || continue
		patchelf --set-interpreter "$root/$loader" --force-rpath --set-rpath "$root/${loader%/*}" "$file"
	done
}

case ${1:-} in
install)
	[ $# -eq 2 ] || die "usage: pg17.sh install DIR"
	root=$(mkdir -p "$2" && cd "$2" && pwd -P)
	[ -z "$(ls -A "$root")" ] || die "\"$root\" is not empty"
	command -v patchelf >/dev/null || die "patchelf is missing; run scripts/bootstrap"
	work=$(mktemp -d /var/tmp/pg17-fetch.XXXXXX)
	trap 'rm -rf -- "$work"' EXIT
	chmod 755 "$root" # servers run as another user
	prepare_apt
	fetch
	unpack "$root"
	bindir "$root"
	;;
bindir)
	[ $# -eq 2 ] || die "usage: pg17.sh bindir DIR"
	bindir "$2"
	;;
*) die "usage: pg17.sh install|bindir DIR" ;;
esac
