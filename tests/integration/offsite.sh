#!/usr/bin/env bash
# A backup to a local directory and to an S3 bucket in one pass, encrypted there: killed, it sends only what is missing; a bucket that
# is slow or gone does not hold up the dump; what was begun and given up is not left behind.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/lib/t.sh
. tests/lib/t.sh
# shellcheck source=tests/lib/pg.sh
. tests/lib/pg.sh
# shellcheck source=tests/lib/rgw.sh
. tests/lib/rgw.sh
# shellcheck source=tests/lib/proxy.sh
. tests/lib/proxy.sh

HOLDFAST=${HOLDFAST:-build/holdfast}
export HOLDFAST_BUILD=${HOLDFAST_BUILD:-build}
export HOLDFAST_STATE_DIR=$T_TMP/state HOLDFAST_CONFIG=$T_TMP/holdfast.yaml
# shellcheck disable=SC2034 # of pg.sh
PG_FSYNC=off

hf() { "$HOLDFAST" "$@"; }
uploads() { # unfinished ones
	rgw_s3 GET "/$S3_BUCKET?uploads="
	grep -o '<Upload>' <<<"$rgw_body" | wc -l
}
objects() { # PREFIX
	rgw_s3 GET "/$S3_BUCKET?list-type=2&prefix=${1//\//%2F}"
	grep -o '<Key>[^<]*' <<<"$rgw_body" | sed 's/<Key>//'
}
parts_sent() { grep -c 'PUT .*partNumber=' "$T_TMP/proxy-between.log"; }
newest_run() { hf runs --output json | jq -r '.runs[0].id'; }
# kill_at POINT ARG…: killed there
kill_at() {
	HOLDFAST_CRASH_AT=$1 t_exit 137 hf "${@:2}"
}
# Its number in the journal of the newest run.
record_of() { # TYPE STEP
	grep -n "\"type\": *\"$1\".*\"step\": *\"$2\"" "$HOLDFAST_STATE_DIR/runs/$(newest_run)/journal" | head -n 1 | cut -d: -f1
}

# A backup of stack alone, killed while its third part is under way.
killed_while_sending() {
	local pid
	proxy_clear between
	proxy_fault between 3- stall-request method=PUT path=partNumber=
	"$HOLDFAST" --stack alone -q backup 2>/dev/null &
	pid=$!
	until [ "$(proxy_faults between)" -gt 0 ]; do
		kill -0 $pid 2>/dev/null || break
	done
	kill -9 $pid
	wait $pid 2>/dev/null
	proxy_clear between
}

pg_start main || exit 1
rgw_start || exit 1
proxy_start between "${S3_ENDPOINT#http://}" || exit 1
proxy=http://127.0.0.1:${proxy_port[between]}
createdb app
psql -qXd app -c "CREATE TABLE t AS SELECT i, md5(i::text) || md5((i + 1)::text) AS m FROM generate_series(1, 900000) AS i"

age-keygen -o "$T_TMP/key" 2>/dev/null
bucket="endpoint: $proxy, region: $S3_REGION, access_key_id: env:S3_ACCESS_KEY, secret_access_key: env:S3_SECRET_KEY, stall_timeout: 2s, give_up_after: 4s"
sealed="encrypt_to: [$(age-keygen -y "$T_TMP/key")], identity: file:$T_TMP/key"
cat >"$HOLDFAST_CONFIG" <<-YAML
	version: 1
	repositories:
	  near: { url: $T_TMP/near }
	  plain: { url: s3://$S3_BUCKET/plain, $bucket }
	  safe: { url: s3://$S3_BUCKET/safe, $bucket, $sealed }
	  alone: { url: s3://$S3_BUCKET/alone, $bucket, $sealed }
	  spooled: { url: s3://$S3_BUCKET/spooled, $bucket, $sealed, spool: $T_TMP/spool }
	stacks:
	  both: { database: { url: "dbname=app" }, repositories: [near, safe, plain] }
	  alone: { database: { url: "dbname=app" }, repositories: [alone] }
	  spooled: { database: { url: "dbname=app" }, repositories: [spooled] }
YAML
export S3_ACCESS_KEY S3_SECRET_KEY

t_begin intact
t_exit 0 hf --stack both backup --read-back content
t_exit 0 hf --stack both verify all --repository safe
t_exit 0 hf --stack both verify all --repository plain
t_is "$(objects safe/both | wc -l)" 3 'archive, manifest, facts'
t_is "$(uploads)" 0 'no upload is left'
archive=$(objects safe/both | grep backup.tar.zst.age)
curl -sS --noproxy '*' -o "$T_TMP/archive.age" --aws-sigv4 "aws:amz:$S3_REGION:s3" --user "$S3_ACCESS_KEY:$S3_SECRET_KEY" \
	-H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' "$S3_ENDPOINT/$S3_BUCKET/$archive"
t_is "$(age -d -i "$T_TMP/key" "$T_TMP/archive.age" | sha256sum)" "$(sha256sum <"$T_TMP"/near/both/backups/*/backup.tar.zst)" 'stock age opens it'
parts=$(grep -c 'PUT .*safe.*partNumber=' "$T_TMP/proxy-between.log")
t_match "$parts" '^[3-9]$' "it went in $parts parts"
after_dump=$(record_of step.done dump)

t_begin a_bucket_that_stands_still_does_not_hold_up_the_dump
proxy_clear between
proxy_fault between 3- stall-request method=PUT path=partNumber=
started=$SECONDS
t_exit 8 hf --stack both backup
t_match "$t_err" 'repository "safe"' 'it is named'
t_is "$(psql -XAtqd app -c "SELECT count(*) FROM pg_stat_activity WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid()")" 0
t_match "$((SECONDS - started))" '^([0-9]|[1-6][0-9])$' 'it is given up after its time'
proxy_clear between
t_is "$(hf --stack both list --repository near --output json | jq '.sets | length')" 2 'the local set is there'
t_exit 0 hf --stack both backup
t_match "$t_err" 'which repository "safe" had missed, was copied'
t_is "$(hf --stack both list --output json | jq -r '[.sets[].repositories | length] | unique | .[]')" 3 'the next run has caught up'

t_begin a_kill_after_the_dump_costs_only_the_missing_parts
proxy_clear between
proxy_fault between "*" stall-request method=PUT path=partNumber=3
"$HOLDFAST" --stack both -q backup 2>"$T_TMP/killed" &
pid=$!
noted() { jq '[.targets[].upload.parts // [] | length] | add' "$HOLDFAST_STATE_DIR/runs/$(newest_run)/targets.json" 2>/dev/null; }
until [ "$(noted)" -ge 2 ] 2>/dev/null; do # while the third part of each stands still
	kill -0 $pid 2>/dev/null || break
done
kill -9 $pid
wait $pid 2>/dev/null
run=$(newest_run)
t_match "$(hf status "$run")" dump
t_is "$(jq -r '.targets[0].state' "$HOLDFAST_STATE_DIR/runs/$run/targets.json")" 'done' 'the dump is done, the local archive complete'
proxy_clear between
t_exit 0 hf resume
t_isnt "$(parts_sent)" 0 'something was missing'
[ "$(parts_sent)" -lt $((2 * parts)) ]
t_is $? 0 "only what was missing was sent again ($(parts_sent) of $((2 * parts)) parts)"
t_exit 0 hf --stack both verify latest --repository safe
t_exit 0 hf --stack both verify latest --repository plain
t_is "$(uploads)" 0 'no upload is left'
t_is "$(grep -rl payload_key "$HOLDFAST_STATE_DIR" | wc -l)" 0 'no key is left'

t_begin from_a_spool_too
proxy_clear between
t_exit 0 hf --stack spooled backup
t_is "$(find "$T_TMP/spool" -type f | wc -l)" 0 'the spool is empty again'
kill_at "journal:$after_dump" --stack spooled -q backup
t_is "$(grep -c payload_key "$HOLDFAST_STATE_DIR/runs/$(newest_run)/targets.json")" 0 'no key was noted'
proxy_clear between
t_exit 0 hf resume
t_is "$(parts_sent)" 0 'all of it was there'
t_exit 0 hf --stack spooled verify latest
t_is "$(find "$T_TMP/spool" -type f | wc -l)" 0

t_begin an_outage_longer_than_its_patience_costs_no_dump_that_is_spooled
proxy_clear between
proxy_fault between 3- reset method=PUT path=partNumber=
t_exit 1 hf --stack spooled -q backup
t_match "$t_err" 'repository "spooled": could not send archive' 'it is named'
run=$(newest_run)
t_is "$(find "$T_TMP/spool" -type f | wc -l)" 1 'the spool is kept'
rows_read=$(psql -XAtqd app -c "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 't'")
proxy_clear between
t_exit 0 hf resume "$run"
t_is "$(psql -XAtqd app -c "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 't'")" "$rows_read" 'no row was read again'
t_exit 0 hf --stack spooled verify latest
t_is "$(find "$T_TMP/spool" -type f | wc -l)" 0 'the spool is empty again'
proxy_fault between 3- reset method=PUT path=partNumber=
t_exit 1 hf --stack spooled -q backup
t_exit 0 hf abandon "$(newest_run)"
t_is "$(find "$T_TMP/spool" -type f | wc -l)" 0 'nor is it left by a run that was given up'
proxy_clear between

t_begin without_either_it_begins_again_and_says_so
killed_while_sending
t_is "$(uploads)" 1 'the killed run left an upload'
t_exit 0 hf resume
t_match "$t_err" 'begins again' 'it says so'
t_is "$(uploads)" 0 'which the resumed one removed'
t_exit 0 hf --stack alone verify latest

t_begin abandoning_leaves_nothing_in_the_bucket
killed_while_sending
t_exit 0 hf abandon "$(newest_run)"
t_is "$(uploads)" 0
t_is "$(objects alone/alone | wc -l)" 3 'the earlier set is all there is'

t_begin the_local_directory_cannot_be_opened
mv "$T_TMP/near" "$T_TMP/near.away"
printf 'in the way' >"$T_TMP/near"
t_exit 8 hf --stack both backup
t_match "$t_err" 'degraded: could not open repository "near"'
t_exit 0 hf --stack both verify latest --repository safe
t_exit 0 hf --stack both verify latest --repository plain
rm "$T_TMP/near"
mv "$T_TMP/near.away" "$T_TMP/near"

t_begin the_repository_is_gone_for_the_whole_night
proxy_stop between
t_exit 8 hf --stack both backup
t_match "$t_err" 'degraded: .*repository "safe"'
t_exit 0 hf --stack both restore latest --target-db restored
t_is "$(psql -XAtqd restored -c 'SELECT count(*) FROM t')" 900000
