#!/usr/bin/env bash
# Pins, commented keys, copies of files and the version gate in plans: forward, back, killed anywhere, changed by others.
# FULL=1: killed after every record of the journal.
# shellcheck source=../lib/t.sh
. tests/lib/t.sh
unset "${!HOLDFAST_@}" "${!PG@}" XDG_CONFIG_HOME
# shellcheck source=../lib/pg.sh
. tests/lib/pg.sh

HOLDFAST=${HOLDFAST:-$PWD/build/holdfast}
export HOME=$T_TMP/home HOLDFAST_STATE_DIR=$T_TMP/state HOLDFAST_STACK=shop
work=$T_TMP/work
mkdir "$HOME"

# Every test begins with the same files.
lay_out() {
	rm -rf "$work" "$HOLDFAST_STATE_DIR"
	mkdir -p "$work/conf"
	printf '# the shop\r\nexport APP_VERSION=1.0   # pinned\r\nAPP_MODE="x"\r\nOTHER=1' >"$work/conf/env"
	printf 'services:\n  api: # one\n    image: "acme/api:1.0"\n    x: [ 1,  2 ]\n' >"$work/compose.yaml"
	printf '1.0\n' >"$work/VERSION"
	ln -s conf/env "$work/.env"
	chmod 640 "$work/conf/env"
	chmod 604 "$work/VERSION"
	[ "$(id -u)" -ne 0 ] || chown 12345:54321 "$work/conf/env"
}

# Everything below $work, with owners, modes and content; the run's name is left out.
state_of() {
	(cd "$work" && find . -printf '%p %y %m %U:%G %l\n' | sort && find . -type f | sort | xargs cat) | sed 's/[0-9]*T[0-9]*Z-[a-z]*-[0-9a-f]*/RUN/'
}

cat >"$T_TMP/pins.yaml" <<END
name: pins
about: every kind of pin
parameters:
  go: { type: string, default: "true", about: "program that decides" }
steps:
  - id: env
    uses: pin
    with: { file: $work/.env, key: APP_VERSION, value: "2.0" }
  - id: file
    uses: pin
    with: { file: $work/VERSION, kind: version, value: "2.0" }
  - id: image
    uses: pin
    with: { file: $work/compose.yaml, path: services.api.image, part: tag, value: "2.0" }
  - id: made
    uses: pin
    with: { file: $work/NEW, value: "2.0", create: true }
  - id: deprecated
    uses: env.comment
    with: { file: $work/.env, keys: [APP_MODE, APP_NOT_THERE] }
  - id: copy
    uses: files.copy
    with: { path: $work/conf, to: $work/conf.copy }
  - id: decide
    uses: exec
    with: { argv: ["\${go}"] }
    on_failure: rollback
END
run=("$HOLDFAST" run "$T_TMP/pins.yaml")

t_begin pins_are_written_and_nothing_else
lay_out
before=$(state_of)
t_exit 0 "${run[@]}"
t_is "$(sed 's/\r/^M/' "$work/conf/env")" '# the shop^M
export APP_VERSION=2.0   # pinned^M
# commented out by holdfast '"$(ls "$HOLDFAST_STATE_DIR/runs")"': APP_MODE="x"^M
OTHER=1'
t_is "$(cat "$work/VERSION" "$work/NEW" "$work/compose.yaml")" '2.0
2.0
services:
  api: # one
    image: "acme/api:2.0"
    x: [ 1,  2 ]'
t_is "$(stat -c '%a' "$work/conf/env" "$work/VERSION" "$work/NEW" | tr '\n' ' ')$(readlink "$work/.env")" '640 604 600 conf/env'
[ "$(id -u)" -ne 0 ] || t_is "$(stat -c '%u:%g' "$work/conf/env")" 12345:54321
t_is "$(cmp "$work/conf/env" "$work/conf.copy/env" && stat -c '%a %u' "$work/conf.copy/env")" "$(stat -c '%a %u' "$work/conf/env")"
after=$(state_of)

t_begin a_failed_step_puts_everything_back
lay_out
t_exit 7 "${run[@]}" -p go=false
t_match "$t_out" 'put back +copy: "[^"]*/work/conf" is as it was when the copy was made; what had become of it is kept as "[^"]*/work/conf.upgraded-[0-9a-z_]+"'
t_match "$t_out" 'image: the tag of "services.api.image" in file "[^"]*/compose.yaml" is "1.0" again'
t_match "$t_out" 'env: "APP_VERSION" in file "[^"]*/work/.env" is "1.0" again'
rm -r "$work"/conf.upgraded-*
t_is "$(state_of)" "$before"

t_begin killed_anywhere_it_goes_on_or_back
points=(edit:1 edit:2 edit:5 edit:9 edit:10 swap:1 journal:3 journal:6)
[ -z "${FULL-}" ] || points+=(edit:{3,4,6,7,8} journal:{2,4,5,7,8,9,1{0..9},20,21})
for point in "${points[@]}"; do
	lay_out
	HOLDFAST_CRASH_AT=$point "${run[@]}" >/dev/null 2>&1
	t_is $? 137 "$point: killed"
	t_exit 0 "$HOLDFAST" resume
	t_is "$(state_of)" "$after" "$point: resumed"
	lay_out
	HOLDFAST_CRASH_AT=$point "${run[@]}" >/dev/null 2>&1
	t_exit 0 "$HOLDFAST" abandon "$(ls "$HOLDFAST_STATE_DIR/runs")" --yes
	rm -rf "$work"/conf.upgraded-*
	t_is "$(state_of)" "$before" "$point: abandoned"
done

t_begin what_somebody_else_has_changed_is_not_touched
lay_out
cat >"$T_TMP/change" <<END
#!/bin/sh
sed -i 's/2.0/3.0/' $work/VERSION
exit 1
END
chmod +x "$T_TMP/change"
t_exit 9 "${run[@]}" -p "go=$T_TMP/change"
t_match "$t_err" 'could not undo step "file" of run .*: file "[^"]*/VERSION" is "3.0", neither what this run has put there nor what it was before'
t_match "$t_err" 'This run has put "2.0" there; before that it was "1.0"'
t_is "$(cat "$work/VERSION")" 3.0
mv "$work/VERSION" "$T_TMP/VERSION"
t_exit 9 "$HOLDFAST" resume
t_match "$t_err" 'could not undo step "file" of run .*: file "[^"]*/VERSION" does not exist any more.*Put it back, with one of the two in it, to go on'
mv "$T_TMP/VERSION" "$work/VERSION"
printf '2.0\n' >"$work/VERSION"
t_exit 7 "$HOLDFAST" resume
rm -r "$work"/conf.upgraded-*
t_is "$(state_of)" "$before"

# one KIND WITH: a plan of one step.
one() {
	rm -rf "$HOLDFAST_STATE_DIR"
	printf 'name: one\nabout: one step\nsteps:\n  - id: one\n    uses: %s\n    with: %s\n' "$1" "$2" >"$T_TMP/one.yaml"
}

t_begin wrong_pins_change_nothing
lay_out
one pin "{ file: $work/none, value: x }"
t_exit 2 "$HOLDFAST" run "$T_TMP/one.yaml"
t_match "$t_err" "file \"$work/none\" does not exist"
one pin "{ file: $work/compose.yaml, path: services.web.image, value: x }"
t_exit 2 "$HOLDFAST" run "$T_TMP/one.yaml"
t_match "$t_err" 'compose.yaml: there is no "services.web"'
one pin "{ file: $work/.env, key: A, part: tag, value: x }"
t_exit 2 "$HOLDFAST" run "$T_TMP/one.yaml"
t_match "$t_err" 'only a pin in a YAML file has a "part"'
one files.copy "{ path: $work/conf, to: $work/conf/copy }"
t_exit 2 "$HOLDFAST" run "$T_TMP/one.yaml"
t_match "$t_err" 'the copy "[^"]*/conf/copy" would lie in "[^"]*/conf" itself'
mkdir "$work/there"
one files.copy "{ path: $work/conf, to: $work/there }"
t_exit 1 "$HOLDFAST" run "$T_TMP/one.yaml"
t_match "$t_err" '"[^"]*/there" exists already'
rmdir "$work/there"
t_is "$(state_of)" "$before"

t_begin a_copy_is_the_same_in_everything
data=$work/conf
mkdir "$data/sub"
truncate -s 8M "$data/sub/sparse"
printf x | dd of="$data/sub/sparse" bs=1 seek=5000000 conv=notrunc status=none
ln "$data/sub/sparse" "$data/sub/second"
ln -s ../env "$data/sub/link"
mkfifo "$data/pipe"
chmod 2750 "$data/sub"
setfattr -n user.note -v mine "$data/env" 2>/dev/null
touch -d '2020-01-02 03:04:05.678' "$data/sub/sparse" "$data/sub"
one files.copy "{ path: $data }"
t_exit 0 "$HOLDFAST" run "$T_TMP/one.yaml"
copy=$(find "$work" -maxdepth 1 -name 'conf_before_*')
describe() { (cd "$1" && find . -printf '%p %y %m %U:%G %l %n %T@ %s\n' | sort && find . -type f | sort | xargs sha256sum && getfattr -R -d . 2>/dev/null); }
t_is "$(describe "$copy")" "$(describe "$data")"
t_is "$(($(stat -c %b "$copy/sub/sparse") < 2000))" 1 'holes are holes'
[ "$(stat -c %i "$copy/sub/second")" = "$(stat -c %i "$copy/sub/sparse")" ]
t_is $? 0 'hard links are among themselves'

t_begin the_gate_knows_old_code_from_a_newer_schema
lay_out
pg_start
pg_sql 'CREATE TABLE migrations (version int); INSERT INTO migrations VALUES (123)'
printf '{"4.9.11": 33, "5.3.0": 123}\n' >"$work/known.json"
gate() { # gate WITH: the schema is asked for
	one version.gate "{ database: 'host=$PGHOST port=$PGPORT user=postgres dbname=postgres', query: 'SELECT max(version) FROM migrations', $1 }"
}
gate "version: 5.3.0, schema_versions: $work/known.json"
t_exit 0 "$HOLDFAST" run "$T_TMP/one.yaml"
gate "version: v5.3.1, schema_versions: $work/known.json"
t_exit 0 "$HOLDFAST" run "$T_TMP/one.yaml"
gate "version: 4.9.12, schema_versions: $work/known.json"
t_exit 10 "$HOLDFAST" run "$T_TMP/one.yaml"
t_match "$t_err" 'version "4.9.12" must not start: the schema has version "123", which is newer than it knows'
t_match "$t_err" "It is not in $work/known.json; the newest before it, \"4.9.11\", was made for schema \"33\""
gate "version: 4.0.0, schema_versions: $work/known.json"
t_exit 10 "$HOLDFAST" run "$T_TMP/one.yaml"
t_match "$t_err" "version \"4.0.0\" must not start: it is older than all whose schema is known.*Add it to $work/known.json"
gate "file: $work/.env, key: APP_VERSION, schema_at_most: 99"
t_exit 10 "$HOLDFAST" run "$T_TMP/one.yaml"
t_match "$t_err" 'version "1.0" must not start: .*It runs on schemas up to "99"'
gate "version: '6', schema_at_least: 200"
t_exit 10 "$HOLDFAST" run "$T_TMP/one.yaml"
t_match "$t_err" 'the schema has version "123" and must have "200"'
gate "version: 6.0.0, from: 5.3.0, release_notes: 'https://example.net/6'"
t_exit 10 "$HOLDFAST" run "$T_TMP/one.yaml"
t_match "$t_err" 'from "5.3.0" to "6.0.0" is a major step.*Read the release notes \(https://example.net/6\), then run it again with --accept-major'
gate "version: 6.0.0, from: 5.3.0, accept_major: true"
t_exit 0 "$HOLDFAST" run "$T_TMP/one.yaml"
one version.gate '{ version: 4.9.11, minimum: 5.0.0 }'
t_exit 10 "$HOLDFAST" run "$T_TMP/one.yaml"
t_match "$t_err" 'version "4.9.11" must not start: "5.0.0" is the oldest that may'
pg_stop
gate "version: 5.3.0, schema_at_most: 123"
t_exit 1 "$HOLDFAST" run "$T_TMP/one.yaml"
t_match "$t_err" 'could not connect'
