#!/usr/bin/env bash
# rekey: recipients of existing sets are added and removed, in a directory and in a bucket, with a kill at every point of it.
# shellcheck source-path=SCRIPTDIR/../lib
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/t.sh
. tests/lib/pg.sh
. tests/lib/proxy.sh
. tests/lib/rgw.sh

shim=$HOLDFAST_BUILD/tests/crash/shim_kill.so
unset "${!HOLDFAST_SHIM_@}" "${!AWS_@}"
export HOME=$T_TMP
hf() {
	"$HOLDFAST" --config "$T_TMP/holdfast.yaml" --state-dir "$T_TMP/state" "$@"
}
pg_start || exit 1
pg_sql 'CREATE DATABASE app'
pg_sql 'CREATE TABLE t AS SELECT i AS id, sha256(i::text::bytea) AS x FROM generate_series(1, 2000) AS i' -d app

declare -A public=()
for name in a b c; do
	hf keygen --file "$T_TMP/$name.key" >"$T_TMP/$name.pub" 2>/dev/null || "$HOLDFAST" keygen --file "$T_TMP/$name.key" >"$T_TMP/$name.pub"
	public[$name]=$(<"$T_TMP/$name.pub")
done

# configure KEYS [LINE…]: the repository is encrypted to these, e.g. "a b"; more lines of it
configure() {
	local keys=() name
	for name in $1; do
		keys+=("${public[$name]}")
	done
	shift
	{
		printf 'version: 1\nrepositories:\n  main:\n'
		printf '    encrypt_to: [%s]\n' "$(
			IFS=,
			echo "${keys[*]}"
		)"
		printf '    %s\n' "$@"
		printf 'stacks:\n  app: { database: { url: app }, repositories: [main] }\n'
	} >"$T_TMP/holdfast.yaml"
}
directory="url: $T_TMP/repository"
# opens KEY: that identity alone reads every set whole
opens() {
	hf verify all -q -i "$T_TMP/$1.key" >"$T_TMP/verify.out" 2>&1
}
shut() {
	! opens "$1" && grep -q 'is encrypted to other keys' "$T_TMP/verify.out"
}
rows_of() {
	hf restore latest --target-db "$2" -i "$T_TMP/$1.key" -q && pg_sql 'SELECT count(*), sum(id) FROM t' -d "$2"
}
json() { grep -oE "\"$1\": (\"[^\"]*\"|[^,]*)" <<<"$t_out" | sed 's/^[^:]*: //; s/^"//; s/"$//'; }

t_begin recipients_are_added
configure a "$directory"
t_exit 0 hf backup -q
t_exit 0 hf backup -q
t_ok opens a
t_ok shut b
configure 'a b' "$directory"
t_exit 0 hf rekey all -i "$T_TMP/a.key"
t_is "$(grep -c ' rekeyed ' <<<"$t_out")" 2 'both sets'
t_match "$t_out" '1 added, 0 removed'
t_nomatch "$t_err" 'removed key'
t_ok opens a
t_ok opens b
t_ok shut c
t_match "$(cat "$T_TMP"/repository/app/backups/*/set.json)" "age_recipients.*${public[a]}.*${public[b]}"
t_nomatch "$(cat "$T_TMP"/repository/app/backups/*/set.json)" 'rekeying'
t_is "$(find "$T_TMP/repository" -name 'hold-*' -o -name '.*.tmp')" '' 'nothing is left behind'

t_begin what_has_the_recipients_is_left_alone
find "$T_TMP/repository" -type f -printf '%p %T@ %i\n' | sort >"$T_TMP/before"
configure 'b a' "$directory"
t_exit 0 hf rekey
t_is "$(grep -c ' unchanged ' <<<"$t_out")" 2 'their order does not matter, and no identity is needed'
t_is "$(find "$T_TMP/repository" -type f -printf '%p %T@ %i\n' | sort)" "$(<"$T_TMP/before")" 'no object was touched'

t_begin recipients_are_removed_and_that_is_told
archive=$(find "$T_TMP/repository" -name backup.tar.zst.age | sort | tail -n 1)
tail -c 1000 "$archive" >"$T_TMP/tail"
configure b "$directory"
t_exit 0 hf rekey latest -i "$T_TMP/a.key"
t_is "$(grep -c ' rekeyed ' <<<"$t_out")" 1 'latest alone'
t_match "$t_err" 'a removed key still opens every copy of these sets that was made before'
tail -c 1000 "$archive" >"$T_TMP/tail.after"
t_ok cmp "$T_TMP/tail.after" "$T_TMP/tail"
t_exit 0 hf verify latest -i "$T_TMP/b.key"
t_exit 2 hf verify latest -i "$T_TMP/a.key"
t_match "$t_err" 'is encrypted to other keys'
t_exit 0 hf rekey all -i "$T_TMP/a.key"
t_is "$(awk '/ (rekeyed|unchanged) / { printf "%s ", $4 }' <<<"$t_out")" 'rekeyed unchanged ' 'the other one, and not the same again'
t_ok opens b
t_ok shut a
t_exit 0 hf verify all
t_match "$t_out" 'ok as stored' 'and its checksum holds without any identity'

t_begin one_is_added_and_another_removed_at_once
configure c "$directory"
t_exit 0 hf rekey all -i "$T_TMP/b.key" --output json
t_is "$(json recipients_added | sort -u)" 1
t_is "$(json recipients_removed | sort -u)" 1
t_ok opens c
t_ok shut a
t_ok shut b
t_is "$(rows_of c restored)" '2000|2001000' 'a restore with the new key'
t_exit 2 hf restore latest --target-db refused -i "$T_TMP/b.key"
t_match "$t_err" 'is encrypted to other keys'

t_begin where_no_identity_opens_it_nothing_is_changed
find "$T_TMP/repository" -type f -printf '%p %T@ %i\n' | sort >"$T_TMP/before"
configure a "$directory"
t_exit 8 hf rekey
t_match "$t_out" 'impossible +no identity is configured that opens it'
t_match "$t_out" 'Configure "identity", or give --identity'
t_exit 8 hf rekey all -i "$T_TMP/b.key" --output json
t_is "$(json outcome | sort -u)" impossible
t_match "$t_out" 'is encrypted to other keys'
t_is "$(find "$T_TMP/repository" -type f -printf '%p %T@ %i\n' | sort)" "$(<"$T_TMP/before")" 'no object was touched'

t_begin a_damaged_archive_is_told_and_left_as_it_is
set=$(find "$T_TMP/repository/app/backups" -mindepth 1 -maxdepth 1 | sort | head -n 1)
cp -a "$set" "$T_TMP/kept"
t_spoil "$set/backup.tar.zst.age" $(($(stat -c %s "$set/backup.tar.zst.age") - 500))
cp "$set/backup.tar.zst.age" "$T_TMP/damaged"
t_exit 3 hf rekey all -i "$T_TMP/c.key"
t_match "$t_err" 'archive ".*" is damaged: its checksum differs from that in "set.json"'
t_is "$(awk '/ (rekeyed|failed) / { printf "%s ", $4 }' <<<"$t_out")" 'failed rekeyed ' 'the other set is rekeyed all the same'
t_ok cmp "$set/backup.tar.zst.age" "$T_TMP/damaged"
rm -r "$set"
mv "$T_TMP/kept" "$set"
t_exit 0 hf rekey all -i "$T_TMP/c.key"
t_ok opens a

t_begin what_is_not_encrypted_is_refused
hf backup -q -r "$T_TMP/plain"
t_exit 2 hf rekey all -r "$T_TMP/plain"
t_match "$t_err" "repository \"$T_TMP/plain\" is not encrypted"
t_exit 2 hf rekey nonsense
t_match "$t_err" 'nonsense'

t_begin killed_anywhere_somebody_can_open_it_and_a_repetition_finishes
for set in "$T_TMP"/repository/app/backups/*; do
	[ "$set" = "$(find "$T_TMP/repository/app/backups" -mindepth 1 -maxdepth 1 | sort | tail -n 1)" ] || rm -r "$set"
done
# from a to b, killed, then finished with the identity of a alone; then the way back
old=a new=b
configure "$new" "$directory"
if grep -q __asan_init "$HOLDFAST"; then
	t_pass "left out: a preloaded library and the sanitizer's exclude each other"
else
	HOLDFAST_SHIM_LOG=$T_TMP/calls LD_PRELOAD=$shim hf rekey all -q -i "$T_TMP/$old.key"
	calls=$(wc -l <"$T_TMP/calls")
	t_match "$calls" '^[0-9]{2,}$' 'the shim sees what rekey does'
	points=0 wrong=''
	for ((point = 1; point <= calls; point++)); do
		old=$new
		[ "$new" = b ] && new=a || new=b
		configure "$new" "$directory"
		HOLDFAST_SHIM_KILL=$point:before LD_PRELOAD=$shim hf rekey all -q -i "$T_TMP/$old.key" >"$T_TMP/out" 2>&1
		[ $? -eq 137 ] && points=$((points + 1))
		opens "$old" || opens "$new" || wrong+=" $point:shut"
		hf rekey all -q -i "$T_TMP/$old.key" >"$T_TMP/out" 2>&1 || wrong+=" $point:$(head -c 200 "$T_TMP/out")"
		opens "$new" || wrong+=" $point:not-new"
		shut "$old" || wrong+=" $point:still-old"
		[ -z "$(find "$T_TMP/repository" -name 'hold-*' -o -name '.*.tmp')" ] || wrong+=" $point:left"
	done
	t_is "$wrong" '' "killed before each of $calls calls"
	t_ok test "$points" -ge $((calls * 9 / 10))
fi

# --- a bucket ----------------------------------------------------------------------------------------------------------------

rgw_start || exit 1
proxy_start offsite "${S3_ENDPOINT#http://}"
pg_sql "CREATE TABLE big AS SELECT i AS id, (SELECT string_agg(sha256((i || '/' || j)::bytea), '') FROM generate_series(1, 32) AS j) AS x
	FROM generate_series(1, 24000) AS i" -d app
# bucket_lines [NAME]
bucket_lines() {
	printf '%s\n' "url: s3://${1:-$S3_BUCKET}/prefix" "endpoint: http://127.0.0.1:${proxy_port[offsite]}" \
		"access_key_id: $S3_ACCESS_KEY" "secret_access_key: $S3_SECRET_KEY"
}
mapfile -t bucket < <(bucket_lines)

t_begin in_a_bucket_the_server_copies_the_rows
configure a "${bucket[@]}"
t_exit 0 hf backup -q
configure 'a b' "${bucket[@]}"
# whatever body a second part had would be damaged on its way
proxy_clear offsite
proxy_fault offsite '*' flip-request method=PUT path=partNumber=2
t_exit 0 hf rekey all -i "$T_TMP/a.key" --output json
copied=$(json copied_bytes) sent=$(json sent_bytes)
t_ok test "$copied" -gt 15000000
t_ok test "$sent" -lt 6000000
t_is "$(grep -c 'PUT .*partNumber=' "$T_TMP/proxy-offsite.log")" 2 'one part was sent, one copied'
proxy_clear offsite
t_ok opens a
t_ok opens b
configure b "${bucket[@]}"
t_exit 0 hf rekey all -i "$T_TMP/a.key"
t_match "$t_out" 'copied by the server'
t_ok opens b
t_ok shut a
t_is "$(rows_of b restored_from_bucket)" '2000|2001000'
t_exit 2 hf restore latest --target-db refused -i "$T_TMP/a.key"
t_is "$(rgw_s3 GET "/$S3_BUCKET?uploads=" && grep -c '<UploadId>' <<<"$rgw_body")" 0 'no upload is left behind'

t_begin in_a_bucket_killed_at_every_request_that_changes_it
old=b new=a
configure "$new" "${bucket[@]}"
proxy_clear offsite
hf rekey all -q -i "$T_TMP/$old.key" 2>/dev/null
changing=$(grep -cE ' (PUT|POST|DELETE) ' "$T_TMP/proxy-offsite.log")
declare -A of_method=()
for method in PUT POST DELETE; do
	of_method[$method]=$(grep -c " $method " "$T_TMP/proxy-offsite.log")
done
t_ok test "$changing" -ge 9
points=0 wrong=''
# kill_at METHOD N KIND: rekeys the other way, is killed with that request on its way, looks, and finishes
kill_at() {
	local pid
	old=$new
	[ "$new" = b ] && new=a || new=b
	configure "$new" "${bucket[@]}"
	proxy_clear offsite
	proxy_fault offsite "$2" "$3" "method=$1"
	(exec "$HOLDFAST" --config "$T_TMP/holdfast.yaml" --state-dir "$T_TMP/state" rekey all -q -i "$T_TMP/$old.key" >"$T_TMP/out" 2>&1) &
	pid=$!
	for ((i = 0; i < 200; i++)); do
		[ "$(proxy_faults offsite)" = 0 ] || break
		sleep 0.05
	done
	[ "$i" -lt 200 ] && points=$((points + 1))
	kill -KILL "$pid" 2>/dev/null
	wait "$pid" 2>/dev/null
	proxy_clear offsite
	opens "$old" || opens "$new" || wrong+=" $*:shut"
	hf rekey all -q -i "$T_TMP/$old.key" >"$T_TMP/out" 2>&1 || wrong+=" $*:$(head -c 200 "$T_TMP/out")"
	opens "$new" || wrong+=" $*:not-new"
	shut "$old" || wrong+=" $*:still-old"
}
for method in PUT POST DELETE; do
	for ((number = 1; number <= of_method[$method]; number++)); do
		kill_at "$method" "$number" stall-response
		[ "$method" != POST ] || kill_at "$method" "$number" stall-request
	done
done
t_is "$wrong" '' "killed at each of $changing requests"
t_is "$points" $((changing + of_method[POST])) 'each of them was met'

t_begin where_the_place_forbids_it_that_is_said
# What is there was written by the other driver; libs3 cannot compose.
configure c "${bucket[@]}" 'driver: libs3'
t_exit 8 hf rekey all -i "$T_TMP/$new.key"
t_match "$t_out" 'impossible +the place cannot compose objects'
t_ok opens "$new"
rgw_bucket "$S3_BUCKET-locked" locked
rgw_lock "$S3_BUCKET-locked" GOVERNANCE 1
mapfile -t locked < <(bucket_lines "$S3_BUCKET-locked")
configure a "${locked[@]}"
t_exit 0 hf backup -q -t t
configure b "${locked[@]}"
t_exit 8 hf rekey all -i "$T_TMP/a.key"
t_match "$t_out" 'impossible +the bucket has an object lock'
t_ok opens a
rgw_bucket "$S3_BUCKET-versioned" versioned
mapfile -t versioned < <(bucket_lines "$S3_BUCKET-versioned")
configure a "${versioned[@]}"
t_exit 0 hf backup -q -t t
configure b "${versioned[@]}"
t_exit 0 hf rekey all -i "$T_TMP/a.key"
t_match "$t_err" 'the bucket keeps old versions, which open with the removed keys until they expire'
t_ok opens b
