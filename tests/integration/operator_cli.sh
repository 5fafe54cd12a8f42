#!/usr/bin/env bash
# What operators type, and from where: empty variables, bytes that are no text, cron's environment, odd names, sets of later versions.
# shellcheck source=../lib/t.sh
. tests/lib/t.sh
unset "${!HOLDFAST_@}" "${!PG@}" XDG_CONFIG_HOME XDG_STATE_HOME
# shellcheck source=../lib/pg.sh
. tests/lib/pg.sh

HOLDFAST=${HOLDFAST:-$PWD/build/holdfast}
export HOME=$T_TMP/home HOLDFAST_STATE_DIR=$T_TMP/state
mkdir "$HOME"
pg_start
repository=$T_TMP/repository
databases() { pg_sql "SELECT count(*) FROM pg_database WHERE datname LIKE 'app%'"; }
pg_sql 'CREATE DATABASE app'
pg_sql "CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO orders SELECT generate_series(1, 100)" -d app
t_exit 0 "$HOLDFAST" -q backup -d app -r "$repository"

t_begin an_empty_argument_is_no_backup_set
t_exit 2 "$HOLDFAST" restore '' -d app -r "$repository" --yes
t_match "$t_err" 'an argument of command "restore" is empty: ID\|latest'
t_is "$(databases)" 1
t_exit 2 "$HOLDFAST" verify '' -r "$repository"

t_begin bytes_that_are_no_text_are_refused_by_name
t_exit 2 "$HOLDFAST" backup -d app -r "$T_TMP/bad"$'\xff'
t_match "$t_err" 'option "-r" is not valid UTF-8'
t_exit 2 "$HOLDFAST" --output json show $'\xff' -r "$repository"
t_is "$(jq -r .error.message <<<"$t_out")" 'an argument of command "show" is not valid UTF-8: ID'

t_begin cron_has_no_terminal_no_home_and_little_else
if [ "$(id -u)" -eq 0 ]; then
	mkdir "$T_TMP/cron"
	chown postgres: "$T_TMP/cron"
	cron() { (cd / && setpriv --reuid=postgres --regid=postgres --clear-groups env -i PATH=/usr/bin:/bin "$@"); }
	t_exit 0 cron LANG=C "$HOLDFAST" -q backup -d "postgresql:///app?host=$PGHOST" -r "$T_TMP/cron/r" --state-dir "$T_TMP/cron/state"
	t_is "$t_out$t_err" ''
	t_run cron "$HOLDFAST" runs
	t_nomatch "$t_err" '"/\.local' 'the user database tells the home directory'
fi

t_begin names_of_databases_are_taken_as_they_are
for name in 'my db' "o'brien" 'qu"ote' 'größe' '-dash' 'back\slash' 'a=b' "$(printf 'ü%.0s' {1..31})"; do
	psql -XAtq -v name="$name" <<<'CREATE DATABASE :"name"'
	# shellcheck disable=SC2001 # two characters at once
	printf -v conninfo "dbname='%s'" "$(sed "s/[\\\\']/\\\\&/g" <<<"$name")"
	pg_sql 'CREATE TABLE t (a int); INSERT INTO t VALUES (1)' -d "$conninfo"
	t_exit 0 "$HOLDFAST" -q backup -d "$conninfo" --stack odd -r "$repository"
	t_exit 0 "$HOLDFAST" restore latest -d "$conninfo" --stack odd -r "$repository" --yes --output json
	kept=$(jq -r .run.outputs.swap.kept_name <<<"$t_out")
	t_is "$(pg_sql 'SELECT a FROM t' -d "$conninfo")" 1 "$name"
	t_exit 0 "$HOLDFAST" drop-old --yes -d "$conninfo" -- "$kept"
done
t_exit 2 "$HOLDFAST" backup -d 'my db' -r "$repository"
t_match "$t_err" 'the name of database "my db" cannot be that of a stack.*hint:   Give the stack a name with --stack'

t_begin encodings_and_locales_come_back
pg_sql "CREATE DATABASE latin TEMPLATE template0 ENCODING LATIN1 LOCALE 'C'"
pg_sql "CREATE DATABASE bytes TEMPLATE template0 ENCODING SQL_ASCII LOCALE 'C'"
pg_sql "CREATE DATABASE german TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'de-DE' LOCALE 'C.UTF-8'"
pg_sql "CREATE DATABASE nothing"
pg_sql "CREATE TABLE \"größe\" (a text); INSERT INTO \"größe\" VALUES ('äöü'), (NULL)" -d latin
PGCLIENTENCODING=SQL_ASCII pg_sql $'CREATE TABLE "t\xff" (a text); INSERT INTO "t\xff" VALUES (E\'\\xff\\xfe\')' -d bytes
pg_sql "CREATE TABLE t (a text PRIMARY KEY); INSERT INTO t VALUES ('ä'), ('z')" -d german
for database in latin bytes german nothing; do
	t_exit 0 "$HOLDFAST" -q backup -d "$database" -r "$repository"
	t_exit 0 "$HOLDFAST" --output json show latest --stack "$database" -r "$repository"
	t_exit 0 "$HOLDFAST" -q restore latest -d "$database" -r "$repository" --target-db "${database}_2"
	t_is "$(pg_sql "SELECT count(DISTINCT (encoding, datcollate, daticulocale, datlocprovider)) FROM pg_database
		WHERE datname IN ('$database', '${database}_2')")" 1
done

t_begin drop_old_finds_the_database_in_the_journal
t_exit 0 "$HOLDFAST" restore latest -d app -r "$repository" --yes --output json
kept=$(jq -r .run.outputs.swap.kept_name <<<"$t_out")
t_exit 0 env -u PGDATABASE "$HOLDFAST" drop-old "$kept" --yes
t_is "$(databases)" 1
t_exit 2 env -u PGDATABASE "$HOLDFAST" drop-old "$kept" --yes

t_begin a_set_of_a_later_version_keeps_nobody_from_the_others
t_exit 0 "$HOLDFAST" -q backup -d app -r "$T_TMP/later"
t_exit 0 "$HOLDFAST" -q backup -d app -r "$T_TMP/later"
first=$(printf '%s\n' "$T_TMP"/later/app/backups/* | head -n 1)
last=$(printf '%s\n' "$T_TMP"/later/app/backups/* | tail -n 1)
sed -i 's#holdfast-backup/1#holdfast-backup/2#' "$first/manifest.json"
t_exit 2 "$HOLDFAST" verify all -r "$T_TMP/later" --output json
t_is "$(jq -c '[.sets[].ok]' <<<"$t_out")" '[false,true]'
t_match "$(jq -r .error.message <<<"$t_out")" 'format "holdfast-backup/2" is of a later version'
t_exit 0 "$HOLDFAST" list -r "$T_TMP/later"
t_match "$t_out" "$(basename "$first") .* NOT READ: .*later version"
t_nomatch "$t_out" DAMAGED
mv "$last" "$T_TMP/put-aside"
t_exit 0 "$HOLDFAST" status -r "$T_TMP/later"
t_match "$t_out" 'last backup .*, NOT READ: .*later version'
mv "$T_TMP/put-aside" "$last"

t_begin a_damaged_latest_set_is_no_dead_end
truncate -s 300 "$last/manifest.json"
t_exit 3 "$HOLDFAST" restore latest -d app -r "$T_TMP/later" --yes
t_match "$t_err" 'hint:   "holdfast list" shows the other sets; give the id of an older one to restore that'
t_is "$(databases)" 1

t_begin a_run_that_has_changed_something_does_not_say_that_nothing_was_touched
HOLDFAST_CRASH_AT=journal:7 t_run "$HOLDFAST" backup -d app -r "$T_TMP/vanishing"
t_is "$t_status" 137 'killed behind the dump'
rm "$T_TMP/vanishing/holdfast-repository.json"
t_exit 1 "$HOLDFAST" resume
t_match "$t_err" 'no repository at'
mkdir "$T_TMP/full"
touch "$T_TMP/full/file"
t_exit 2 "$HOLDFAST" backup -d app -r "$T_TMP/full" --on-interrupted abandon
t_match "$t_err" "no repository at \"$T_TMP/full\""

t_begin a_repository_that_cannot_be_opened_is_told_before_the_server_is_waited_for
# shellcheck disable=SC2016 # a name of a variable
printf 'version: 1\nrepositories:\n  off: { url: s3://bucket, endpoint: "http://127.0.0.1:1", access_key_id: env:NOT_SET, secret_access_key: x }\n  near: { url: %s }\nstacks:\n  app: { database: { url: "host=%s dbname=app" }, repositories: [off] }\n' \
	"$repository" "$T_TMP/nowhere" >"$T_TMP/off.yaml"
SECONDS=0
t_exit 2 "$HOLDFAST" --config "$T_TMP/off.yaml" backup
t_match "$t_err" 'off.yaml:3:[0-9]+: access_key_id: environment variable "NOT_SET" is not set'
t_is "$((SECONDS < 10))" 1 'at once'
t_exit 0 "$HOLDFAST" --config "$T_TMP/off.yaml" -q backup -d app -h "$PGHOST" -r near
