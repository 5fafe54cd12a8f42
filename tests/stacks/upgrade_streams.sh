#!/usr/bin/env bash
# docs/examples/durable-streams: 0.2.3 to 0.3.2 keeps the streams; 0.3.2 to 0.3.7 loses them in good health, which is seen by comparing, and every
# stream is put back.
# shellcheck source=streams_lib.sh
. "$(dirname "$0")/streams_lib.sh"
streams_install 0.2.3
client append orders 3
client append events 2
consume
list=$(tails)

t_begin an_upgrade_that_keeps_the_streams
t_exit 10 holdfast upgrade 0.3.2
t_match "$t_err" 'from "0\.2\.3" to "0\.3\.2" is a major step' "before 1.0 every minor version may break what was"
t_exit 0 holdfast upgrade 0.3.2 --accept-major --dry-run
t_is "$(version)" 0.2.3 "nothing was touched"
t_exit 0 holdfast upgrade 0.3.2 --accept-major
t_is "$(version)" 0.3.2 "the new version serves"
t_is "$(tails)" "$list" "list and tails are the same"
t_is "$(ls "$stack_dir/clients")" "$stack_dir/clients" "the clients run"
first=$(newest_run)

t_begin an_upgrade_that_loses_them_in_good_health
client append orders 1
list=$(tails)
t_exit 7 holdfast upgrade 0.3.7
t_match "$t_err" 'health: done' "health had nothing to say"
t_match "$t_err" 'tails_after: failed.*orders missing' "what was lost is told"
t_is "$(version)" 0.3.2 "the old version serves"
t_is "$(tails)" "$list" "every stream is back, with its tail"
t_is "$(client read orders | wc -l)" 4 "so are the messages"
t_is "$(grep STREAMS_VERSION "$stack_dir/.env")" STREAMS_VERSION=0.3.2 "the pin"
t_is "$(ls "$stack_dir/clients")" "$stack_dir/clients" "the clients run"

t_begin killed_and_resumed
HOLDFAST_CRASH_AT=journal:30 t_run holdfast upgrade 0.3.7
t_is "$t_status" 137 "it was killed"
t_exit 0 holdfast runs
t_exit 0 holdfast status "$(newest_run)"
t_exit 7 holdfast resume "$(newest_run)"
t_is "$(version) $(tails)" "0.3.2 $list" "the old version serves, with every stream"

t_begin a_rollback_later_and_a_consumer_that_is_ahead
consume
t_exit 10 holdfast rollback --stack streams --yes
t_match "$t_err" 'cannot be rolled back: it is rolled back already' "the last one is"
t_exit 10 holdfast rollback "$first" --yes
t_match "$t_err" 'sync\.offsets' "something was consumed since"
t_is "$(version) $(tails)" "0.3.2 $list" "nothing was changed"
t_exit 8 holdfast rollback "$first" --yes --discard-new-writes
t_match "$t_err" 'offsets_within_tails: failed.*degraded: step "offsets_within_tails" after the rollback failed' "the consumer is ahead"
t_is "$(version)" 0.2.3 "the version before serves"
t_is "$(tails | grep events)" "$(grep events <<<"$list")" "with what it had"
set=$(holdfast list --output json | jq -r "[.sets[].id] | min")
t_exit 0 holdfast run restore-together -p backup="$set"
t_is "$(offsets)" "$(tails)" "and not any more, with the set that was taken before"

t_begin the_runbook
book_is_run "$examples/README.md" Upgrade "When it fails" "Rolling back later"
