#!/usr/bin/env bash
# Upgrades of a real server of streams by a plan of the stack's own: 0.2.3 to 0.3.2 keeps the streams; 0.3.2 to 0.3.7 loses them in good
# health, which is seen by comparing, and every stream is put back.
# shellcheck source=lib/common.sh
. "$(dirname "$0")/lib/common.sh"
npm_or_skip
stack_holdfast

streams=$STACKS/streams
stack_npm streams-0.2.3 || exit 1
stack_server main || exit 1
pg_sql 'CREATE DATABASE sync'
stack_dir streams app
port=$(stack_port) health_port=$(stack_port)
health_url=http://127.0.0.1:$health_port/health
printf '%s\n' STREAMS_VERSION=0.2.3 "PACKAGES=$npm_cache" "DATA_DIR=$stack_dir/data" "PORT=$port" "HEALTH_PORT=$health_port" \
	>"$stack_dir/.env"
cat >"$T_TMP/upgrade.yaml" <<'YAML'
name: upgrade-streams
about: the server of streams to another version; its directory is kept beside
on_failure: rollback
must_finish: true
can_rollback: true
parameters:
  stack:        { type: string, required: true, about: "name of the stack" }
  version:      { type: string, required: true, about: "the version to upgrade to" }
  from_version: { type: string, from: pinned_version, about: "the version in service" }
  stop:         { type: list, from: services.stop, required: true, about: "stops the server" }
  start:        { type: list, from: services.start, required: true, about: "starts it" }
  check:        { type: list, from: services.check, about: "tells whether it runs" }
  pull:         { type: list, from: upgrade.pull, about: "fetches the version" }
  compare:      { type: list, from: upgrade.compare, required: true, about: "lists the streams and their tails" }
  compare_mode: { type: string, from: upgrade.compare_mode, default: not_less, about: "what may be otherwise after" }
  pin_env_file: { type: string, from: version.env_file, about: "file with the pin" }
  pin_key:      { type: string, from: version.key, about: "its key" }
  health_url:   { type: string, from: health.url, about: "answers when the server is well" }
  data_dir:     { type: string, required: true, about: "directory of the server" }
steps:
  - id: before
    uses: compare
    with: { argv: "${compare}" }
  - id: pull
    uses: exec
    with: { argv: "${pull}" }
  - id: stop
    uses: service.stop
    with: { command: "${stop}", undo: "${start}", check: "${check}", expect_check: "1-255" }
  - id: data
    uses: files.copy
    with: { path: "${data_dir}" }
  - id: pin
    uses: pin
    with: { file: "${pin_env_file}", key: "${pin_key}", value: "${version}" }
  - id: start
    uses: service.start
    with: { command: "${start}", undo: "${stop}", check: "${check}" }
  - id: health
    uses: health.wait
    with: { url: "${health_url}", expect: { status: ok }, version: "${version}", version_path: version, within: 30s }
  - id: after
    uses: compare
    with: { argv: "${compare}", equal_to: "${steps.before.file}", mode: "${compare_mode}" }
after_rollback:
  - id: health_before
    uses: health.wait
    with: { url: "${health_url}", expect: { status: ok }, version: "${from_version}", version_path: version, within: 30s }
  - id: compare_before
    uses: compare
    with: { argv: "${compare}", equal_to: "${steps.before.file}", mode: "${compare_mode}" }
YAML
cat >"$T_TMP/holdfast.yaml" <<YAML
version: 1
repositories:
  local: { url: $T_TMP/repository }
stacks:
  streams:
    database: { url: "postgresql://postgres@/sync?host=$PGHOST" }
    repositories: [local]
    version: { env_file: $stack_dir/.env, key: STREAMS_VERSION }
    services:
      stop: [$streams/stop.sh, $stack_dir]
      start: [$streams/start.sh, $stack_dir]
      check: [$STACKS/lib/status.sh, $stack_dir, server]
    health: { url: "$health_url" }
    upgrade:
      pull: [$STACKS/lib/pull.sh, $npm_cache, "streams-\${version}"]
      compare: [$streams/list.sh, $stack_dir]
      compare_mode: equal
    plans: { upgrade: $T_TMP/upgrade.yaml }
    parameters: { data_dir: $stack_dir/data }
YAML
client() {
	node "$streams/client.mjs" "$stack_dir" "$@"
}
version() {
	stack_get "$health_url" | jq -r .version
}

"$streams/start.sh" "$stack_dir" || exit 1
client append orders 3
client append events 2
list=$("$streams/list.sh" "$stack_dir")

t_begin an_upgrade_that_keeps_the_streams
t_ok holdfast upgrade 0.3.2
t_is "$(version)" 0.3.2 "the new version serves"
t_is "$("$streams/list.sh" "$stack_dir")" "$list" "list and tails are the same"

t_begin an_upgrade_that_loses_them_in_good_health
client append orders 1
list=$("$streams/list.sh" "$stack_dir")
t_exit 7 holdfast upgrade 0.3.7
t_match "$t_err" 'health: done' "health had nothing to say"
t_match "$t_err" 'orders missing' "what was lost is told"
t_is "$(version)" 0.3.2 "the old version serves"
t_is "$("$streams/list.sh" "$stack_dir")" "$list" "every stream is back, with its tail"
t_is "$(client read orders | wc -l)" 4 "so are the messages"
t_is "$(grep STREAMS_VERSION "$stack_dir/.env")" STREAMS_VERSION=0.3.2 "the pin"

t_begin a_rollback_later
first=$(basename "$(find "$T_TMP/state/runs" -mindepth 1 -maxdepth 1 -name "*-upgrade-*" | sort | head -n 1)")
t_exit 10 holdfast rollback --stack streams --yes
t_match "$t_err" 'cannot be rolled back: it is rolled back already' "the last one is"
t_ok holdfast rollback "$first" --yes
t_is "$(version)" 0.2.3 "the version before serves"
t_is "$("$streams/list.sh" "$stack_dir" | grep events)" "$(grep events <<<"$list")" "with what it had"
