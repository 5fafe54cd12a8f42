#!/usr/bin/env bash
# start.sh DIR [SERVICE…] [--no-wait]: in place of "compose up -d": services api and worker, with what DIR/.env says now
here=$(cd "$(dirname "$0")" && pwd -P)
dir=$1 services=() options=()
for word in "${@:2}"; do
	case $word in
	--*) options+=("$word") ;;
	*) services+=("$word") ;;
	esac
done
[ ${#services[@]} -gt 0 ] || services=(api worker)
for service in "${services[@]}"; do
	node "$here/../lib/service.mjs" start "$dir" "$service" "${options[@]}" -- node "$here/$service.mjs" || exit 1
done
