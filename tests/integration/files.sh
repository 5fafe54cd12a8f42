#!/usr/bin/env bash
# Files of the stack, as an operator has them: in the same set as the database, verified with it, restored apart from it, beside what
# serves or in its place, proven, repeatable after a kill at any point, and out of the archive with tar alone.
# shellcheck source-path=SCRIPTDIR/../lib
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/t.sh
. tests/lib/pg.sh

srv=$T_TMP/srv
hf() {
	"$HOLDFAST" --config "$T_TMP/holdfast.yaml" --state-dir "$T_TMP/state" "$@"
}
# Everything of a tree but what a restore cannot bring back: names, types, modes, owners, sizes, times, links, blocks.
listing() {
	(cd "$1" && find . -printf '%P|%y|%m|%U:%G|%T@|%l|' \( -type f -printf '%s|%n|%b' -o -true \) -printf '\n' | LC_ALL=C sort)
}
# What a restore would replace.
serving() {
	listing "$srv/data"
	cat "$srv/compose/.env"
}
same_tree() {
	local difference
	if difference=$(diff -r --no-dereference "$1" "$2" && diff <(listing "$1") <(listing "$2")); then
		t_pass "$3"
	else
		t_fail "$3" "$difference"
	fi
}
set_of() {
	find "$T_TMP/repository" -name "$1"
}
drop_kept() {
	rm -rf "$srv"/data_before_* "$srv"/compose/.env_before_*
}
config() {
	cat >"$T_TMP/holdfast.yaml" <<-END
		version: 1
		repositories: { local: { url: file://$T_TMP/repository } }
		stacks:
		  shop:
		    database: { url: "dbname=app" }
		    repositories: [local]
		    files:
		      config: $srv/compose/.env
		      data: { path: $srv/data, exclude: ["*.tmp", /cache/] }
		    files_order: ${1:-database-first}
	END
}

pg_start main || exit 1
pg_sql 'CREATE DATABASE app'
pg_sql "CREATE TABLE orders AS SELECT g AS id, repeat('x', 100) AS text FROM generate_series(1, 20000) g" -d app
mkdir -p "$srv/compose" "$srv/data/sub/empty" "$srv/data/cache"
printf 'SHOP_VERSION=1\nSECRET=hunter2\n' >"$srv/compose/.env"
chmod 600 "$srv/compose/.env"
printf 'other\n' >"$srv/compose/docker-compose.yml"
seq 1 200000 >"$srv/data/numbers"
head -c 3000000 /dev/urandom >"$srv/data/noise"
truncate -s 40M "$srv/data/sparse" && printf 'end' >>"$srv/data/sparse"
ln "$srv/data/numbers" "$srv/data/sub/hard"
ln -s ../nowhere "$srv/data/sub/dangling"
touch -d '2001-02-03 04:05:06.123456789' "$srv/data/sub/ä ö"
for i in $(seq 1 300); do printf '%s\n' "$i" >"$srv/data/sub/$i"; done
printf 'x' >"$srv/data/cache/x"
printf 'x' >"$srv/data/sub/left.tmp"
chmod 2750 "$srv/data/sub"
touch -d '2002-02-02 02:02:02.5' "$srv/data/sub" "$srv/data"
cp -a "$srv" "$T_TMP/original"
rm -rf "$T_TMP/original/data/cache" "$T_TMP/original/data/sub/left.tmp"
touch -r "$srv/data/sub" "$T_TMP/original/data/sub"
touch -r "$srv/data" "$T_TMP/original/data"
config

t_begin files_are_in_the_set_of_the_database
t_ok hf backup
t_match "$t_out" 'files +305, 46.2 MB' "the summary counts them"
id=$(sed -n 's/^backup set *//p' <<<"$t_out")
archive=$(set_of backup.tar.zst)
t_ok hf show latest
t_match "$t_out" "config +1 +1 +[0-9]+ B +$srv/compose/.env" "show: the file"
t_match "$t_out" "data +309 +304 +[0-9.]+ MB +$srv/data" "show: the directory"
t_match "$t_out" 'files/data +files +excluded by pattern "\*.tmp": 1 entry' "what was excluded is listed"
t_match "$t_out" 'files/data +files +excluded by pattern "/cache/": 1 entry' "the directory, too"
t_ok hf verify latest
t_ok hf --output json show latest
t_is "$(jq -r '.manifest.files | map(.label) | join(" ")' <<<"$t_out")" "config data" "the manifest lists them"

t_ok hf list
t_match "$t_out" '2\.13 MB \+ 46.2 MB' "list: rows and files"
t_ok hf --output json list
t_is "$(jq -c '.sets[0] | [.files, .files_bytes > 46000000]' <<<"$t_out")" "[305,true]" "list as JSON"

t_begin tar_alone_brings_them_out
mkdir "$T_TMP/tar" "$T_TMP/bsdtar"
t_ok tar --zstd -xpf "$archive" -C "$T_TMP/tar"
t_is "$t_err" "" "tar has nothing to say"
t_ok bsdtar -xpf "$archive" -C "$T_TMP/bsdtar"
same_tree "$T_TMP/original/data" "$T_TMP/tar/files/data" "tar: the tree"
same_tree "$T_TMP/original/data" "$T_TMP/bsdtar/files/data" "bsdtar: the tree"
t_ok cmp "$srv/compose/.env" "$T_TMP/tar/files/config/.env"
t_match "$(cat "$T_TMP/tar/README")" 'files/' "README says how"

t_begin below_a_directory_nothing_is_replaced
before=$(serving)
pg_stop main
t_ok hf restore latest --files-only --files-to "$T_TMP/out"
t_match "$t_out" 'every entry compared with the set: equal' "proven, with the server gone"
same_tree "$T_TMP/original/data" "$T_TMP/out/data" "the tree"
t_ok cmp "$srv/compose/.env" "$T_TMP/out/config/.env"
t_is "$(find "$T_TMP/out" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort | paste -sd' ')" "config data" "and nothing else"
t_is "$(serving)" "$before" "what serves is as it was"
t_exit 10 hf restore latest --files-only --files-to "$T_TMP/out"
t_match "$t_err" "\"$T_TMP/out/config\" exists already" "not twice into the same"
t_ok hf restore latest --files-only --files-to "$T_TMP/dry" --dry-run
t_ok test ! -e "$T_TMP/dry"

t_begin in_place_the_former_files_are_kept
printf 'newer\n' >>"$srv/data/numbers"
rm "$srv/data/noise"
printf 'SHOP_VERSION=2\n' >"$srv/compose/.env"
cp -a "$srv/data" "$T_TMP/newer"
t_exit 2 hf restore latest --files-only
t_match "$t_err" 'a restore replaces the files in service, and nobody is there to confirm it' "not without a yes"
t_ok hf restore "$id" --files-only --yes
t_match "$t_out" "data: $srv/data; the former is kept as $srv/data_before_[0-9tz_a-f]+" "it says where they are"
kept=$(sed -n 's/.*the former is kept as \(.*data_before_.*\)/\1/p' <<<"$t_out")
same_tree "$T_TMP/original/data" "$srv/data" "the restored tree"
same_tree "$T_TMP/newer" "$kept" "the former tree"
t_is "$(head -n 1 "$srv/compose/.env")" "SHOP_VERSION=1" "the single file"
t_is "$(cat "$srv"/compose/.env_before_*)" "SHOP_VERSION=2" "the former single file"
t_is "$(stat -c %a "$srv/compose/.env")" 600 "its mode"
t_is "$(cat "$srv/compose/docker-compose.yml")" other "its neighbour is untouched"
t_is "$(find "$srv" -name '*.holdfast-*')" "" "nothing of the run is left beside them"
rm -rf "$kept" "$srv"/compose/.env_before_*

t_begin where_nothing_stands_nothing_is_kept
rm -rf "$srv/data" "$srv/compose"
t_ok hf restore latest --files-only --yes
same_tree "$T_TMP/original/data" "$srv/data" "the tree, in a directory made anew"
t_is "$(find "$srv" -name '*_before_*')" "" "nothing is kept"
t_ok cmp "$T_TMP/original/compose/.env" "$srv/compose/.env"

# Killed after each record of the journal and each rename, then resumed or abandoned: the files are the new ones or the old ones, whole, and nothing
# of the run is left.
t_begin killed_and_resumed
killed=0
for point in journal:{1..12} swap:{1..4}; do
	printf 'newer\n' >"$srv/data/numbers"
	HOLDFAST_CRASH_AT=$point t_run hf restore latest --files-only --yes
	[ "$t_status" -ne 0 ] || { drop_kept && continue; }
	killed=$((killed + 1))
	run=$(hf --output json runs | jq -r '.runs[0] | select(.is_resumable) | .id')
	[ -z "$run" ] || t_run hf resume "$run"
	if [ -n "$run" ] && { [ "$t_status" -ne 0 ] || [ -n "$(find "$srv" -name '*.holdfast-*')" ] ||
		! cmp -s "$srv/data/numbers" "$T_TMP/original/data/numbers"; }; then
		t_fail "resumed after a kill at $point" "$t_err"
	fi
	drop_kept
done
t_ok test "$killed" -ge 10
drop_kept

t_begin killed_and_abandoned
killed=0
for point in journal:{1..12} swap:{1..4}; do
	printf 'newer\n' >"$srv/data/numbers"
	HOLDFAST_CRASH_AT=$point t_run hf restore latest --files-only --yes
	[ "$t_status" -ne 0 ] || { drop_kept && continue; }
	killed=$((killed + 1))
	run=$(hf --output json runs | jq -r '.runs[0] | select(.is_resumable) | .id')
	[ -z "$run" ] || t_run hf abandon "$run"
	if [ -n "$run" ] && { [ "$(cat "$srv/data/numbers")" != newer ] || [ -n "$(find "$srv" -name '*.holdfast-*' -o -name '*_before_*')" ]; }; then
		t_fail "abandoned after a kill at $point" "$t_err $(find "$srv" -maxdepth 2)"
	fi
done
t_ok test "$killed" -ge 10
t_ok hf restore latest --files-only --yes
same_tree "$T_TMP/original/data" "$srv/data" "the last one is let through"
drop_kept

t_begin wrong_usage_is_told
t_exit 2 hf restore latest --files-to /x
t_match "$t_err" 'option "--files-to" needs "--files-only"' "--files-to alone"
t_exit 2 hf restore latest --files-only --table orders
t_match "$t_err" 'options "--files-only" and "--table" exclude each other' "with tables"

t_begin damage_is_found_before_anything_is_replaced
before=$(serving)
cp "$archive" "$T_TMP/whole"
offset=$(jq -r '.members[] | select(.name == "files/data#00001") | .offset + .stored - 1000' "$(set_of manifest.json)")
t_spoil "$archive" "$offset"
t_exit 3 hf verify latest
t_match "$t_out" 'files/data#00001' "verify names the member"
t_exit 3 hf restore latest --files-only --yes
t_match "$t_err" 'files/data#00001' "so does restore"
t_is "$(serving)" "$before" "what serves is as it was"
t_ok hf abandon "$(hf --output json runs | jq -r '.runs[0].id')"
t_is "$(find "$srv" -name '*.holdfast-*')" "" "and nothing is left beside it"
cp "$T_TMP/whole" "$archive"

pg_start main || exit 1
t_begin the_database_is_restored_alone
t_ok hf restore latest --yes
t_match "$t_out" "the set also holds files \"config\", \"data\": holdfast restore $id --files-only" "and says so"
t_is "$(serving)" "$before" "the files are as they were"

t_begin what_cannot_be_read_is_found_before_the_rows_are
mv "$srv/data" "$srv/elsewhere"
t_exit 10 hf backup
t_match "$t_err" "files \"data\": could not read \"$srv/data\": No such file or directory" "the missing directory is named"
mv "$srv/elsewhere" "$srv/data"

t_begin files_may_come_first
config files-first
t_ok hf backup
t_ok hf verify latest
first=$(jq -r '.members[0].name' "$T_TMP/repository/shop/backups/$(hf --output json list | jq -r '.sets[-1].id')/manifest.json")
t_is "$first" "files/config#00001" "they do"
t_ok hf restore latest --files-only --files-to "$T_TMP/second"
same_tree "$T_TMP/original/data" "$T_TMP/second/data" "the tree"
