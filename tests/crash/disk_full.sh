#!/usr/bin/env bash
# A full disk, for the repository and for the state directory: the run fails with exit status 1 and the system's reason, leaves
# nothing half-done visible, and comes to the undisturbed end once there is room.
#
# As root the disk is a small tmpfs, else a limit on the size of files.
cd "$(dirname "$0")/../.." || exit 1
. tests/crash/lib.sh

has_tmpfs() {
	mkdir -p "$T/small"
	[ "$(id -u)" = 0 ] && mount -t tmpfs -o size=4k,mode=700 holdfast-test "$T/small" 2>/dev/null
}

# fill WHAT KIB: $T/WHAT (repository or state) has room for so much; make_room undoes it.
limit_kib=unlimited
fill() {
	if [ "$is_tmpfs" = true ]; then
		umount "$T/small" 2>/dev/null || :
		mount -t tmpfs -o size="$2k",mode=700 holdfast-test "$T/small"
		rm -rf "${T:?}/$1"
		ln -s small "$T/$1"
	else
		limit_kib=$2
	fi
}
make_room() {
	limit_kib=unlimited
	[ "$is_tmpfs" = false ] || mount -o remount,size=64m "$T/small"
}
limited() {
	(
		ulimit -f "$limit_kib"
		"$@"
	)
}

try_full() { # WHAT KIB
	local status=0 about="$1 on a disk of $2 KiB"
	[ "$is_tmpfs" = true ] || about="files in $1 of at most $2 KiB"
	crash_fresh
	fill "$1" "$2"
	limited start_operation -q >"$T/out" 2>&1 || status=$?
	if [ "$status" != 1 ]; then
		report "full:$2" "$about" "exit status $status" "$T/out"
		return
	fi
	if ! grep -qE 'No space left on device|File too large' "$T/out"; then
		report "full:$2" "$about" 'does not say why' "$T/out"
		return
	fi
	if ls "$T"/repository/app/backups/*/manifest.json >/dev/null 2>&1 && [ "$operation" = backup ]; then
		report "full:$2" "$about" 'a set is visible'
		return
	fi
	make_room
	finish_failed
	expect_state "full:$2" "$about"
}

# A failed run is resumed where the program offers it, else started again.
finish_failed() {
	if is_begun; then
		hf resume -q >"$T/out" 2>&1 || :
	else
		start_operation -q >"$T/out" 2>&1 || :
	fi
}

crash_begin
is_tmpfs=false
! has_tmpfs || is_tmpfs=true
table_head
operation=backup
learn
archive_kib=$(($(stat -c %s "$T"/repository/app/backups/*/backup.tar.zst) / 1024))
if is_full; then
	parts='2 10 25 40 55 70 85 98'
	state_kib='4 8 12 16 20'
else
	parts='30 90'
	state_kib='8'
fi
for part in $parts; do try_full repository $((archive_kib * part / 100)); done
[ "$is_tmpfs" = true ] || state_kib='1 2'
for kib in $state_kib; do try_full state "$kib"; done
