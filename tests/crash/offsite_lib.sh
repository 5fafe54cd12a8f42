# shellcheck shell=bash
# What the tests of backups to a bucket share: a server with a small and a large database, an S3 server, a proxy before it, and three
# stacks, each of one database:
#
#   alone     a bucket, not encrypted
#   both      a local directory and an encrypted bucket
#   spooled   an encrypted bucket with a spool
#
#   offsite_begin              all that; sets $T
#   offsite_fresh STACK        its repositories are new and empty, no run was ever made
#   hf …                       holdfast through the proxy; straight …: with nothing in between, patient
#   leftovers STACK            what a finished backup must not leave behind, a line each
#   sets_of STACK              its sets as each repository has them: "repository id", a line each
#
# CRASH=short|full tells how much; SEED=N makes the random choices those of another run.
# shellcheck source=tests/lib/t.sh
. tests/lib/t.sh
# shellcheck source=tests/lib/pg.sh
. tests/lib/pg.sh
# shellcheck source=tests/lib/rgw.sh
. tests/lib/rgw.sh
# shellcheck source=tests/lib/proxy.sh
. tests/lib/proxy.sh

CRASH=${CRASH:-short}
SEED=${SEED:-1}
RANDOM=$SEED
HOLDFAST=${HOLDFAST:-$PWD/build/holdfast}
export HOLDFAST_BUILD=${HOLDFAST_BUILD:-$PWD/build}
export HOLDFAST_STATE_DIR=$T_TMP/state
T=$T_TMP
generation=0

is_full() { [ "$CRASH" = full ]; }

hf() { HOLDFAST_CONFIG=$T/through.yaml "$HOLDFAST" "$@"; }
straight() { HOLDFAST_CONFIG=$T/straight.yaml "$HOLDFAST" "$@"; }

# The large one does not compress: its archive goes in four parts.
make_databases() {
	createdb small && createdb large || return 1
	psql -qXd small -c "CREATE TABLE t AS SELECT i, md5(i::text) AS m FROM generate_series(1, 2000) AS i" \
		-c "CREATE TABLE u AS SELECT i FROM generate_series(1, 10) AS i"
	psql -qXd large -o /dev/null -c "CREATE TABLE t (i int, b bytea)" -c "ALTER TABLE t ALTER b SET STORAGE EXTERNAL" \
		-c "SELECT setseed(0.5)" \
		-c "INSERT INTO t SELECT i, decode(string_agg(md5(random()::text), ''), 'hex') FROM generate_series(1, ${LARGE_ROWS:-1700}) AS i, generate_series(1, 1024) GROUP BY i"
}

# configuration ENDPOINT STALL GIVE-UP
configuration() {
	local place="endpoint: $1, region: $S3_REGION, access_key_id: env:S3_ACCESS_KEY, secret_access_key: env:S3_SECRET_KEY, stall_timeout: $2, give_up_after: $3"
	local sealed="encrypt_to: [$recipient], identity: file:$T/key" prefix="s3://$S3_BUCKET/$generation"
	cat <<-YAML
		version: 1
		repositories:
		  near: { url: $T/near }
		  safe: { url: $prefix/safe, $place, $sealed }
		  plain: { url: $prefix/plain, $place }
		  spooled: { url: $prefix/spooled, $place, $sealed, spool: $T/spool }
		stacks:
		  alone: { database: { url: "dbname=$database" }, repositories: [plain], retention: { keep_last: 1 } }
		  both: { database: { url: "dbname=$database" }, repositories: [near, safe], retention: { keep_last: 1 } }
		  spooled: { database: { url: "dbname=$database" }, repositories: [spooled], retention: { keep_last: 1 } }
	YAML
}

# The proxied configuration is impatient: tests wait for it.
configure() {
	configuration "http://127.0.0.1:${proxy_port[between]}" 1s "${give_up:-6s}" >"$T/through.yaml"
	configuration "$S3_ENDPOINT" 30s 60s >"$T/straight.yaml"
}

offsite_begin() {
	pg_start main && rgw_start && proxy_start between "${S3_ENDPOINT#http://}" && make_databases || exit 1
	age-keygen -o "$T/key" 2>/dev/null
	recipient=$(age-keygen -y "$T/key")
	export S3_ACCESS_KEY S3_SECRET_KEY
	unset PGDATABASE
	database=small
}

offsite_fresh() {
	generation=$((generation + 1))
	rm -rf "$T/near" "$T/spool" "$T/state" "$T/tmp"
	mkdir -m 700 "$T/tmp"
	export TMPDIR=$T/tmp
	configure
	proxy_clear between
}

uploads() { # unfinished ones of this generation
	rgw_s3 GET "/$S3_BUCKET?uploads=" || printf 'uploads could not be listed\n'
	grep -oE "<Key>$generation/[^<]*" <<<"$rgw_body" | sed 's/<Key>/upload /'
}

leftovers() {
	uploads
	[ ! -d "$T/spool" ] || find "$T/spool" -type f -printf 'spool %P\n'
	find "$T/tmp" -mindepth 1 -printf 'temporary %P\n' | grep -v hfrgw-body
	[ ! -d "$T/near" ] || find "$T/near" -name '*.tmp*' -printf 'near %P\n'
	[ ! -d "$T/near" ] || find "$T/near" -path '*/.*' -type f -printf 'near %P\n'
	grep -rl age_payload_key "$T/state" 2>/dev/null | sed "s|$T/|payload key in |"
	straight --stack "$1" list --output json | jq -r '.sets[] | select(.problem) | "set " + .id + ": " + .problem'
	straight runs --output json | jq -r '.runs[] | select(.state | IN("done", "abandoned", "refused") | not) | "run " + .id + " " + .state'
}

sets_of() {
	straight --stack "$1" list --output json | jq -r '.sets[] | .id as $id | .repositories[] | . + " " + $id'
}
