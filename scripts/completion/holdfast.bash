# bash completion of holdfast.  Written by "holdfast generate completion".
# shellcheck shell=bash

_holdfast() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command='' words='' i

	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		backup | list | show | verify | restore | upgrade | gate | migrate | prune | pin | unpin | doctor | rekey | copy | drop-old | run | plan | runs | status | resume | abandon | rollback | approve | pause | unpause | keygen | version | help)
			command=${COMP_WORDS[i]}
			break
			;;
		esac
	done
	COMPREPLY=()
	case $prev in
	--config) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
	--state-dir) mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
	--stack) ;;
	--output) mapfile -t COMPREPLY < <(compgen -W 'text json' -- "$cur") ;;
	--database | -d) ;;
	--host | -h) ;;
	--port) ;;
	--username | -U) ;;
	--repository | -r) mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
	--identity | -i) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
	--from) mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
	--to) ;;
	--dir) mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
	--jobs | -j) ;;
	--schema | -n) ;;
	--exclude-schema | -N) ;;
	--table | -t) ;;
	--exclude-table | -T) ;;
	--compress | -Z) ;;
	--piece-size) ;;
	--lock-wait) ;;
	--read-back) mapfile -t COMPREPLY < <(compgen -W 'quick checksums content' -- "$cur") ;;
	--app-version) ;;
	--on-interrupted) mapfile -t COMPREPLY < <(compgen -W 'auto resume abandon' -- "$cur") ;;
	--target-db) ;;
	--map-role) ;;
	--files-to) mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
	--verify) mapfile -t COMPREPLY < <(compgen -W 'rows counts none' -- "$cur") ;;
	--keep-last) ;;
	--keep-hourly) ;;
	--keep-daily) ;;
	--keep-weekly) ;;
	--keep-monthly) ;;
	--keep-yearly) ;;
	--keep-within) ;;
	--timezone) ;;
	--reason) ;;
	--param) ;;
	--pg-bindir) mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
	--lock-timeout) ;;
	--server-wait) ;;
	--save-new-writes) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
	--step) ;;
	--file | -o) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
	--public | -y) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
	*) words=1 ;;
	esac
	[ "$words" ] || return 0
	case $command in
	'')
		words='backup list show verify restore upgrade gate migrate prune pin unpin doctor rekey copy drop-old run plan runs status resume abandon rollback approve pause unpause keygen version help --config --state-dir --stack --output --quiet --verbose --help --version'
		;;
	backup)
		words=' --database --host --port --username --repository --identity --jobs --schema --exclude-schema --table --exclude-table --no-unlogged --compress --piece-size --lock-wait --read-back --app-version --on-interrupted --pg-bindir --lock-timeout --server-wait --dry-run --config --state-dir --stack --output --quiet --verbose --help --version'
		;;
	list)
		words=' --repository --identity --config --state-dir --stack --output --quiet --verbose --help --version'
		;;
	show)
		words='latest --repository --identity --config --state-dir --stack --output --quiet --verbose --help --version'
		;;
	verify)
		words='latest all --repository --identity --jobs --quick --config --state-dir --stack --output --quiet --verbose --help --version'
		;;
	restore)
		words='latest --database --host --port --username --repository --identity --jobs --table --target-db --no-owner --accept-other-secrets --map-role --files-only --files-to --verify --pg-bindir --lock-timeout --server-wait --dry-run --yes --config --state-dir --stack --output --quiet --verbose --help --version'
		;;
	upgrade)
		words=' --database --host --port --username --repository --identity --jobs --pg-bindir --lock-timeout --accept-major --skip-backup --server-wait --dry-run --yes --config --state-dir --stack --output --quiet --verbose --help --version'
		;;
	gate)
		words=' --database --host --port --username --config --state-dir --stack --output --quiet --verbose --help --version'
		;;
	migrate)
		words='status up --database --host --port --username --to --dir --lock-timeout --dry-run --config --state-dir --stack --output --quiet --verbose --help --version'
		;;
	prune)
		words=' --repository --keep-last --keep-hourly --keep-daily --keep-weekly --keep-monthly --keep-yearly --keep-within --timezone --lock-timeout --dry-run --yes --config --state-dir --stack --output --quiet --verbose --help --version'
		;;
	pin)
		words='latest --repository --reason --config --state-dir --stack --output --quiet --verbose --help --version'
		;;
	unpin)
		words='latest --repository --config --state-dir --stack --output --quiet --verbose --help --version'
		;;
	doctor)
		words='storage --repository --strict --config --state-dir --stack --output --quiet --verbose --help --version'
		;;
	rekey)
		words='latest all --repository --identity --config --state-dir --stack --output --quiet --verbose --help --version'
		;;
	copy)
		words='latest --identity --from --to --config --state-dir --stack --output --quiet --verbose --help --version'
		;;
	drop-old)
		words=' --database --host --port --username --yes --config --state-dir --stack --output --quiet --verbose --help --version'
		;;
	run)
		words=' --database --host --username --repository --identity --param --lock-timeout --server-wait --dry-run --config --state-dir --stack --output --quiet --verbose --help --version'
		;;
	plan)
		words='list show --config --state-dir --stack --output --quiet --verbose --help --version'
		;;
	runs)
		words=' --config --state-dir --stack --output --quiet --verbose --help --version'
		;;
	status)
		words=' --database --host --port --username --repository --identity --config --state-dir --stack --output --quiet --verbose --help --version'
		;;
	resume)
		words=' --database --host --port --username --repository --identity --lock-timeout --server-wait --use-configuration --config --state-dir --stack --output --quiet --verbose --help --version'
		;;
	abandon)
		words=' --database --host --port --username --repository --identity --lock-timeout --server-wait --force --yes --config --state-dir --stack --output --quiet --verbose --help --version'
		;;
	rollback)
		words=' --database --host --port --username --repository --identity --reason --lock-timeout --server-wait --dry-run --discard-new-writes --save-new-writes --use-configuration --yes --config --state-dir --stack --output --quiet --verbose --help --version'
		;;
	approve)
		words=' --reason --step --reject --config --state-dir --stack --output --quiet --verbose --help --version'
		;;
	pause)
		words=' --reason --config --state-dir --stack --output --quiet --verbose --help --version'
		;;
	unpause)
		words=' --config --state-dir --stack --output --quiet --verbose --help --version'
		;;
	keygen)
		words=' --file --public --config --state-dir --stack --output --quiet --verbose --help --version'
		;;
	version)
		words=' --config --state-dir --stack --output --quiet --verbose --help --version'
		;;
	help)
		words=' --config --state-dir --stack --output --quiet --verbose --help --version'
		;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
	if [ "$command" = run ] && [[ $cur != -* ]]; then
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
	fi
}
complete -F _holdfast holdfast
