#!/usr/bin/env bash
# lib/service.mjs and lib/env.mjs, which stand for docker compose: whoever is killed, a service is neither lost nor doubled.
# shellcheck source=lib/common.sh
. "$(dirname "$0")/lib/common.sh"
npm_or_skip

stack_dir=$T_TMP/app
mkdir "$stack_dir"
cat >"$stack_dir/serve.mjs" <<EOF_JS
import fs from 'node:fs';
import { ready } from '$STACKS/lib/service.mjs';
if (process.env.BROKEN) throw new Error('broken: ' + process.env.BROKEN);
process.on('SIGTERM', () => fs.existsSync('deaf') || process.exit(0));
fs.appendFileSync('started', process.env.COLOUR + '\n');
setInterval(() => fs.existsSync('slow') || ready(), 10);
EOF_JS
service() { # COMMAND NAME [OPTION…]
	local command=$1 name=$2
	shift 2
	[ "$command" != start ] || set -- "$@" -- node "$stack_dir/serve.mjs"
	node "$STACKS/lib/service.mjs" "$command" "$stack_dir" "$name" "$@"
}
pid() {
	service status "$1" | cut -d' ' -f2
}
end() {
	rm -f "$stack_dir/slow" "$stack_dir/deaf"
	service stop web
	service stop other
}
t_defer end

t_begin settings
cat >"$stack_dir/.env" <<'ENV'
# comment
export A=plain # with a comment
B='single $A # "quoted" \n it\'s'
C="double \"$A\" \$A\ttab ${NOWHERE}."
D=a$A#b
E=
F=	padded	
ENV
# shellcheck disable=SC2016 # no variables
for want in 'A=plain' 'B=single $A # "quoted" \n it'\''s' $'C=double "plain" $A\ttab .' 'D=aplain#b' 'E=' 'F=padded'; do
	t_is "$(stack_value "${want%%=*}")" "${want#*=}" "$want"
done
t_exit 1 stack_value Z
for line in 'just words' "A='open" 'A="a" b'; do
	printf '\n%s\n' "$line" >"$stack_dir/.env"
	t_exit 1 stack_value A
	t_match "$t_err" '\.env: line 2 is not KEY=VALUE'
done

t_begin start_is_for_once
printf 'COLOUR=red\n' >"$stack_dir/.env"
t_exit 3 service status web
t_is "$t_out" stopped
t_ok service start web
first=$(pid web)
t_ok service start web
t_is "$(pid web)" "$first" "it is the same process"
t_ok service start other
t_is "$(cat "$stack_dir/started")" $'red\nred' "another name is another service"

t_begin changed_settings_start_it_anew
printf 'COLOUR=blue\n' >"$stack_dir/.env"
t_ok service restart web
t_is "$(cat "$stack_dir/started")" $'red\nred\nred' "but not by restart"
t_ok service start web
t_is "$(tail -n 1 "$stack_dir/started")" blue "by start"
t_isnt "$(pid web)" "$first" "it is another process"

t_begin what_remembers_it_may_be_lost
first=$(pid web)
rm "$stack_dir/run/web".*
t_is "$(pid web)" "$first" "it is still known"
t_ok service start web
t_is "$(service status web | wc -w)" 2 "there is one of it"

t_begin the_starter_may_be_killed
service stop web
: >"$stack_dir/slow"
service start web &
starter=$!
t_wait 10 service status web
kill -KILL "$starter"
wait "$starter" 2>/dev/null
first=$(pid web)
rm "$stack_dir/slow"
t_ok service start web
t_is "$(pid web)" "$first" "the next one finds what it has started"

t_begin not_waiting
service stop web
: >"$stack_dir/slow"
t_ok service start web --no-wait
t_ok service status web
rm "$stack_dir/slow"

t_begin one_that_does_not_hear_is_killed
: >"$stack_dir/deaf"
t_ok env STACK_END_WITHIN_MS=300 node "$STACKS/lib/service.mjs" stop "$stack_dir" web
t_exit 3 service status web
rm "$stack_dir/deaf"

t_begin one_that_ends_is_told_with_its_reason
printf 'BROKEN=by design\n' >"$stack_dir/.env"
t_exit 1 service start web
t_match "$t_err" '^service "web" ended before it was ready:'
t_match "$t_err" 'Error: broken: by design'
t_exit 1 service restart nothing
t_is "$t_err" 'service "nothing" was never started'

t_begin one_that_ends_by_itself_is_stopped
printf 'COLOUR=red\n' >"$stack_dir/.env"
t_ok service start web
kill -KILL "$(pid web)"
t_wait 10 eval '! service status web'
t_ok service stop web
