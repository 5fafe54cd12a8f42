#!/usr/bin/env bash
# What the server of durable streams does by itself: 0.2.3 to 0.3.2 keeps the streams, 0.3.2 to 0.3.7 loses them and looks healthy.
# shellcheck source=lib/common.sh
. "$(dirname "$0")/lib/common.sh"
npm_or_skip

streams=$STACKS/streams
stack_npm streams-0.2.3 streams-0.3.2 streams-0.3.7 || exit 1
stack_dir streams app
port=$(stack_port) health_port=$(stack_port)

pin() {
	printf '%s\n' "STREAMS_VERSION=$1" "PACKAGES=$npm_cache" "DATA_DIR=data" "PORT=$port" "HEALTH_PORT=$health_port" \
		>"$stack_dir/.env"
}
client() {
	node "$streams/client.mjs" "$stack_dir" "$@"
}
health() {
	stack_get "http://127.0.0.1:$health_port/health" | jq -c .
}
start() {
	pin "$1"
	t_ok "$streams/start.sh" "$stack_dir"
	t_is "$(health)" "{\"status\":\"ok\",\"version\":\"$1\"}" "health of $1"
}

t_begin streams_of_the_first_version
start 0.2.3
for i in 1 2 3; do
	t_ok client append "orders-$i" "$((i * 3))"
done
list=$("$streams/list.sh" "$stack_dir")
t_is "$(cut -d' ' -f1 <<<"$list")" $'orders-1\norders-2\norders-3' "the list"
t_match "$list" 'orders-3 [0-9]+_0*[1-9]' "tails are offsets"
t_is "$(client read orders-1)" $'message 1 of orders-1\nmessage 2 of orders-1\nmessage 3 of orders-1' "the messages"

t_begin an_upgrade_that_keeps_them
start 0.3.2
t_is "$("$streams/list.sh" "$stack_dir")" "$list" "list and tails are the same"
t_ok client append orders-1 1
list=$("$streams/list.sh" "$stack_dir")
messages=$(client read orders-1)
t_ok "$streams/stop.sh" "$stack_dir"
cp -a "$stack_dir/data" "$stack_dir/data.before"

t_begin an_upgrade_that_loses_them_in_good_health
start 0.3.7
t_is "$("$streams/list.sh" "$stack_dir")" $'orders-1 missing\norders-2 missing\norders-3 missing' "every stream is gone"
t_exit 1 client read orders-1
t_is "$t_err" 'client.mjs: GET orders-1: no such stream'

t_begin the_old_version_alone_does_not_bring_them_back
start 0.3.2
t_is "$("$streams/list.sh" "$stack_dir")" $'orders-1 missing\norders-2 missing\norders-3 missing' "what was lost stays lost"
t_ok "$streams/stop.sh" "$stack_dir"

t_begin the_old_version_with_its_data_does
rm -r "$stack_dir/data"
mv "$stack_dir/data.before" "$stack_dir/data"
start 0.3.2
t_is "$("$streams/list.sh" "$stack_dir")" "$list" "list and tails are the same"
t_is "$(client read orders-1)" "$messages" "so are the messages"

t_begin a_stopped_server_has_no_list
t_ok "$streams/stop.sh" "$stack_dir"
t_exit 1 "$streams/list.sh" "$stack_dir"
t_match "$t_err" '^client.mjs: fetch failed: connect ECONNREFUSED 127.0.0.1:'
