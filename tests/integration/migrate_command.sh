#!/usr/bin/env bash
# Migrations by a command: what it is told, what it must not leave behind on the server, and that its secrets stay secret.
# shellcheck source=../lib/t.sh
. tests/lib/t.sh
# shellcheck source=../lib/migrate.sh
. tests/lib/migrate.sh

config=$T_TMP/holdfast.yaml
secret=s3cret-Pa%20ss
# psql takes the URL from the environment; of the shell's variables none is put into an argument but in the test itself.
cat >"$T_TMP/tool" <<'END'
#!/usr/bin/env bash
[ -z "${TOOL_PRINTS:-}" ] || printf 'url is %s\n%s\n' "$APP_URL" "$TOOL_TOKEN" >&2
[ -z "${TOOL_APPNAME:-}" ] || export PGAPPNAME=$TOOL_APPNAME
printf '%s\n' "$0 $*" "$PGAPPNAME" "$APP_URL" "$(compgen -e PG | tr '\n' ' ')" >"${TOOL_SEEN:-/dev/null}"
[ -z "${TOOL_FAILS:-}" ] || exit 3
exec psql -XAtq -v ON_ERROR_STOP=1 <<<"$TOOL_SQL"
END
chmod +x "$T_TMP/tool"
# tool KEY LINE…: configures it for database $db, as role owner with a password
tool() {
	printf '%s\n' 'version: 1' 'repositories: { local: { url: "file:///nowhere" } }' 'stacks:' "  $db:" '    database:' \
		"      url: postgresql://owner:$secret@${PGHOST//\//%2F}/$db" '    repositories: [local]' '    migrations:' \
		"      command: [\"$T_TMP/tool\", one, \"two three\"]" '      url_env: APP_URL' \
		'      version_query: SELECT max(v) FROM app.version' "$@" >"$config"
}
busy() { app "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'ALTER TABLE a%' AND pid <> pg_backend_pid()"; }
# newest PLAN: the id of its newest run
newest() { "$HOLDFAST" runs --output json | grep -o "\"id\": \"[^\"]*-$1-[^\"]*\"" | head -n 1 | cut -d'"' -f4; }
psql -XAtqd postgres -c "CREATE ROLE owner LOGIN SUPERUSER PASSWORD 'x'"
mkfifo "$T_TMP/hold"
# hold, release: a session that keeps table a from being altered
hold() {
	psql -XAtqd "$db" <"$T_TMP/hold" >/dev/null 2>&1 &
	holder=$!
	exec 7>"$T_TMP/hold"
	echo "BEGIN; SELECT count(*) FROM a;" >&7
	waits_for "SELECT count(*) = 1 FROM pg_stat_activity WHERE state = 'idle in transaction'"
}
release() {
	echo 'COMMIT; \q' >&7
	exec 7>&-
	wait "$holder"
}

t_begin a_command_gets_the_database_by_its_environment
fresh command
export TOOL_SEEN=$T_TMP/seen
export TOOL_SQL='CREATE SCHEMA app; CREATE TABLE app.version AS SELECT 7 AS v; CREATE TABLE a ()'
tool
t_exit 0 "$HOLDFAST" --config "$config" migrate up
t_match "$t_out" 'version +- -> 7'
t_match "$(cat "$T_TMP/seen")" "^$T_TMP/tool one two three"$'\n'"holdfast-[0-9]{8}t[0-9]{6}z_[0-9a-f]+-migrate"$'\n'"postgresql://owner:$secret@"
# drivers other than libpq refuse variables that they do not know
t_is "$(tail -n 1 "$T_TMP/seen")" 'PGAPPNAME PGDATA PGDATABASE PGHOST PGPASSWORD PGPORT PGUSER ' 'nothing that was not asked for'
t_is "$(app "SELECT tableowner FROM pg_tables WHERE tablename = 'a'")" owner 'as the role of the URL'
t_exit 0 "$HOLDFAST" --config "$config" migrate
t_match "$t_out" 'version +7'

t_begin what_it_prints_is_kept_without_secrets
tool '      env: { TOOL_PRINTS: "1", TOOL_FAILS: "1", TOOL_TOKEN: env:THE_TOKEN }'
export THE_TOKEN=another-secret
t_exit 1 "$HOLDFAST" --config "$config" migrate up
t_match "$t_err" $'error:  program ".*/tool" ended with exit status 3\ndetail: url is \\*\\*\\*\n +\\*\\*\\*'
t_is "$(grep -rlE "$secret|another-secret|s3cret-Pa ss" "$HOLDFAST_STATE_DIR" | wc -l)" 0 'nothing of them is in the state directory'
t_match "$(cat "$HOLDFAST_STATE_DIR"/runs/*/migrate.log)" 'url is \*\*\*' 'its output is'
tool '      command_dir: /nonexistent'
t_exit 1 "$HOLDFAST" --config "$config" migrate up
t_match "$t_err" 'could not change to directory "/nonexistent"'

t_begin its_reason_is_told_though_it_goes_on_talking
cat >"$T_TMP/talker" <<'END'
#!/usr/bin/env bash
psql -XAtq -v ON_ERROR_STOP=1 <<<"SELECT '$TOOL_TOKEN'; ALTER TABLE nothing_$TOOL_TOKEN ADD a int; SELECT 1"
status=$?
printf 'noise %d\n' {1..100}
exit $status
END
chmod +x "$T_TMP/talker"
# talker COMMAND…: fails; $said is the detail
talker() {
	local words
	printf -v words ', "%s"' "$@"
	tool '      env: { TOOL_TOKEN: env:THE_TOKEN }' "      command: [${words#, }]"
	sed -i '/"two three"/d' "$config"
	t_exit 1 "$HOLDFAST" --config "$config" migrate up
	log=$(find "$HOLDFAST_STATE_DIR/runs/$(newest migrate)" -name migrate.log)
	said=$(sed -n 's/^detail: //; t in; b; :in p; n; s/^        //; t in' <<<"$t_err")
	t_is "$(grep -rlE 'another_secret' "$HOLDFAST_STATE_DIR" | wc -l)" 0 'without the secret in it'
}
THE_TOKEN=another_secret talker "$T_TMP/talker"
t_is "$said" 'ERROR:  relation "nothing_***" does not exist
…
noise 96
noise 97
noise 98
noise 99
noise 100
What it has printed is in file "'"$log"'".'
t_is "$(grep -c noise "$log")" 100 'the file has all of it'
if command -v node >/dev/null; then
	# as node-postgres throws it
	cat >"$T_TMP/throws.js" <<'END'
const e = new Error('relation "nothing" does not exist')
e.name = 'error'
Object.assign(e, { severity: 'ERROR', code: '42P01', position: '13', file: 'parse_relation.c', line: '1392', routine: 'parserOpenTable' })
console.log('migration 3')
process.on('exit', () => console.log('\nclosing\n1 of 4 done'))
console.error('could not migrate:', e)
process.exitCode = 4
END
	THE_TOKEN=another_secret talker node "$T_TMP/throws.js"
	t_match "$said" '^could not migrate: error: relation "nothing" does not exist
…
 +code: .42P01.,
(…
)? .*
closing
1 of 4 done
What it has printed is in file "'"$log"'"\.$'
fi

t_begin a_command_may_speak_of_the_pinned_version
export TOOL_SQL='SELECT 1'
tool "      command: [\"$T_TMP/tool\", \"\${stack}-\${version}\"]"
sed -i "/\"two three\"/d" "$config"
printf '%s\n' "    version: { file: $T_TMP/VERSION }" >>"$config"
echo 1.5.0 >"$T_TMP/VERSION"
t_exit 0 "$HOLDFAST" --config "$config" migrate up
t_match "$(head -n 1 "$T_TMP/seen")" 'tool command-1.5.0$'

t_begin the_version_before_and_after_is_checked
unset TOOL_SEEN
export TOOL_SQL='UPDATE app.version SET v = 8'
cat >"$T_TMP/plan.yaml" <<END
name: own
parameters:
  database: { type: conninfo, required: true }
  from: { type: string }
  expect: { type: string }
  deadline: { type: duration }
steps:
  - id: schema
    uses: migrate
    with: { database: "\${database}", command: ["$T_TMP/tool"], url_env: APP_URL, version_query: SELECT v FROM app.version, from: "\${from}", expect: "\${expect}" }
    deadline: 2s
END
tool
t_exit 10 "$HOLDFAST" --config "$config" run "$T_TMP/plan.yaml" -p from=6
t_match "$t_err" 'the schema has version "7" before the migration, instead of "6"'
t_exit 1 "$HOLDFAST" --config "$config" run "$T_TMP/plan.yaml" -p from=7 -p expect=9
t_match "$t_err" 'the schema has version "8" after the migration, instead of "9"'
app 'UPDATE app.version SET v = 9'
t_exit 0 "$HOLDFAST" --config "$config" resume "$(newest own)"
t_is "$(app 'SELECT v FROM app.version')" 9 'a command that has ended well is not run again when the version is right'

t_begin a_command_past_its_deadline_leaves_no_session
export TOOL_SQL='ALTER TABLE a ADD COLUMN late int'
hold
t_exit 1 "$HOLDFAST" --config "$config" run "$T_TMP/plan.yaml"
t_match "$t_err" 'step "schema" did not end within 2s'
t_match "$t_err" '1 session that the command left behind on the server was ended'
t_is "$(busy)" 0
release
t_is "$(app "SELECT count(*) FROM pg_attribute WHERE attname = 'late'")" 0 'and nothing comes through later'
t_ok "$HOLDFAST" --config "$config" abandon "$(newest own)" --yes

t_begin a_killed_commands_backend_is_ended_before_anything_else
for name in '' other; do
	export TOOL_SQL="ALTER TABLE a ADD COLUMN b$name int" TOOL_APPNAME=$name
	tool
	hold
	"$HOLDFAST" --config "$config" migrate up >/dev/null 2>&1 &
	victim=$!
	waits_for "SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'ALTER TABLE a%' AND wait_event_type = 'Lock'"
	kill -KILL $victim
	wait $victim 2>/dev/null
	t_is "$(busy)" 1 "${name:-named}: it outlives its client"
	TOOL_SQL='SELECT 1'
	t_exit 0 "$HOLDFAST" --config "$config" resume "$(newest migrate)"
	t_match "$t_err" '1 session that an earlier attempt left behind was ended'
	t_is "$(busy)" 0
	release
	t_is "$(app "SELECT count(*) FROM pg_attribute WHERE attname = 'b$name'")" 0
done

t_begin giving_it_up_ends_its_backend_too
export TOOL_SQL='ALTER TABLE a ADD COLUMN c int' TOOL_APPNAME=''
hold
"$HOLDFAST" --config "$config" migrate up >/dev/null 2>&1 &
victim=$!
waits_for "SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'ALTER TABLE a%' AND wait_event_type = 'Lock'"
kill -KILL $victim
wait $victim 2>/dev/null
run=$(newest migrate)
"$HOLDFAST" --config "$config" abandon "$run" --yes >"$T_TMP/out" 2>&1
t_is "$(busy)" 0
release
t_is "$(app "SELECT count(*) FROM pg_attribute WHERE attname = 'c'")" 0
