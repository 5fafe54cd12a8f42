#!/usr/bin/env bash
# What the command line does without a server: usage, configuration, help, JSON, and files written from the tables.
# shellcheck source=../lib/t.sh
. tests/lib/t.sh

unset "${!HOLDFAST_@}" "${!PG@}" "${!AWS_@}" XDG_CONFIG_HOME
HOLDFAST=${HOLDFAST:-$PWD/build/holdfast}
export HOME=$T_TMP/home
mkdir "$HOME"
json() { grep -oE "\"$1\": (\"[^\"]*\"|[^,]*)" <<<"$t_out" | head -n 1 | sed 's/^[^:]*: //; s/^"//; s/"$//'; }

t_begin no_command_is_wrong_usage
t_exit 2 "$HOLDFAST"
t_is "$t_out" '' 'nothing on standard output'
t_is "$t_err" $'error:  no command is given\nhint:   See "holdfast --help".'

t_begin unknown_commands_get_the_nearest_spelling
t_exit 2 "$HOLDFAST" bakcup
t_is "$t_err" $'error:  unknown command "bakcup"\nhint:   Did you mean "backup"?'

t_begin commands_of_later_versions_are_not_there
for command in init drill report metrics support-bundle; do
	t_exit 2 "$HOLDFAST" "$command"
	t_match "$t_err" "unknown command \"$command\""
done

t_begin help_is_on_standard_output
t_exit 0 "$HOLDFAST" --help
t_match "$t_out" 'usage: holdfast'
t_is "$t_err" ''
t_nomatch "$t_out" 'generate|drill'
for command in backup list show verify restore prune pin unpin copy doctor rekey drop-old run plan runs status resume abandon \
	keygen; do
	t_exit 0 "$HOLDFAST" "$command" --help
	t_match "$t_out" "^holdfast $command: .*usage: holdfast $command .*example:"
done
t_exit 0 "$HOLDFAST" help restore
t_match "$t_out" '^holdfast restore: '

t_begin version
t_exit 0 "$HOLDFAST" --version
t_match "$t_out" '^holdfast [0-9]+\.[0-9]+\.[0-9]+$'

t_begin json_is_one_object_whatever_happens
t_exit 2 "$HOLDFAST" backup --output json
t_is "$(json format)" holdfast-output/1
t_is "$(json status)" usage
t_is "$(json exit_status)" 2
t_is "$(json class)" config
t_is "$(json message)" 'no database is named'
t_match "$t_err" '^error:  no database is named' 'and the text on standard error'
t_exit 2 "$HOLDFAST" --output=json nonsense
t_match "$t_out" 'unknown command .{2}nonsense'
t_exit 0 "$HOLDFAST" --output json plan list
t_is "$(json status)" 'done'
HOLDFAST_OUTPUT=json t_exit 2 "$HOLDFAST" backup --jobs nought
t_is "$(json status)" usage

t_begin database_and_repository_have_to_be_named
t_exit 2 "$HOLDFAST" backup
t_match "$t_err" 'no database is named'
t_exit 2 "$HOLDFAST" backup --database app
t_match "$t_err" 'no repository is named'
t_exit 2 "$HOLDFAST" backup --database app --repository backups
t_match "$t_err" 'there is no repository "backups" in any configuration file'
t_match "$t_err" 'A directory is written with a slash: "./backups"'
t_exit 2 "$HOLDFAST" list --repository "$T_TMP/none"
t_match "$t_err" 'does not exist'
t_exit 2 "$HOLDFAST" backup --database 'my app' --repository "$T_TMP/none"
t_match "$t_err" 'the name of database "my app" cannot be that of a stack'
t_exit 2 "$HOLDFAST" --stack ../x backup --database app --repository "$T_TMP/none"
t_match "$t_err" '"../x" is no name for a stack'

t_begin configuration_errors_are_told_with_their_place
mkdir -p "$HOME/.config/holdfast"
config=$HOME/.config/holdfast/holdfast.yaml
cat >"$config" <<END
version: 1
repositories:
  local: { url: file://$T_TMP/repository }
  remote: { url: s3://bucket/prefix }
  sealed: { url: file://$T_TMP/sealed, encrypt_to: [age1x] }
  elsewhere: { url: ftp://host/path }
stacks:
  shop:
    database: { url: env:SHOP_URL }
    repositories: [local]
  crm:
    database: { url: postgresql:///crm }
    repositories: [remote]
END
column=$(($(sed -n '5s/age1x.*//p' "$config" | wc -m)))
t_exit 2 "$HOLDFAST" backup
t_is "$t_err" "error:  file \"$config\" has 2 stacks"$'\n''hint:   Choose one with --stack: shop, crm.'
t_exit 2 "$HOLDFAST" --stack shopp backup
t_match "$t_err" "there is no stack \"shopp\" in file \"$config\"".*'Did you mean "shop"'
t_exit 2 "$HOLDFAST" --stack shop backup
t_is "$t_err" "error:  $config:9:22: url: environment variable \"SHOP_URL\" is not set"
t_exit 2 "$HOLDFAST" --stack crm list
t_match "$t_err" 'could not open repository "remote": no credentials for bucket "bucket"'
t_match "$t_err" 'Looked in "access_key_id" of the configuration, environment variable AWS_ACCESS_KEY_ID'
t_exit 2 "$HOLDFAST" --stack crm list --repository sealed
t_is "$t_err" "error:  $config:5:$column: this is no age recipient"$'\n''hint:   A recipient is a public key, "age1…"; "holdfast keygen" makes a pair.'
t_exit 2 "$HOLDFAST" --stack crm backup --repository elsewhere
t_is "$t_err" 'error:  repository "elsewhere" is at "ftp://", which holdfast cannot reach'$'\n''hint:   Use a directory, "file:///…", or a bucket, "s3://bucket/prefix".'
t_exit 2 "$HOLDFAST" --stack crm backup --repository loacl
t_match "$t_err" 'Did you mean "local"'
t_exit 2 "$HOLDFAST" --config "$T_TMP/none.yaml" list
t_match "$t_err" 'none.yaml'
sed 's/repositories: \[local\]/repositorys: [local]/' "$config" >"$T_TMP/wrong.yaml"
HOLDFAST_CONFIG=$T_TMP/wrong.yaml t_exit 2 "$HOLDFAST" --stack shop backup
t_is "$t_err" "error:  $T_TMP/wrong.yaml:10:5: unknown key \"repositorys\""$'\n''hint:   Did you mean "repositories"?'
[ ! -e "$T_TMP/repository" ]
t_is $? 0 'nothing was made'

t_begin flag_wins_over_variable_wins_over_file
HOLDFAST_CONFIG=$T_TMP/wrong.yaml t_exit 0 "$HOLDFAST" --config "$config" --state-dir "$T_TMP/state" --stack shop runs
HOLDFAST_REPOSITORY=$T_TMP/variable t_exit 2 "$HOLDFAST" --stack shop list
t_match "$t_err" "$T_TMP/variable"
HOLDFAST_REPOSITORY=$T_TMP/variable t_exit 2 "$HOLDFAST" --stack shop list --repository "$T_TMP/flag"
t_match "$t_err" "$T_TMP/flag"
t_exit 2 "$HOLDFAST" --stack shop list
t_match "$t_err" "$T_TMP/repository"

t_begin plans_can_be_printed
t_exit 0 "$HOLDFAST" plan list
t_match "$t_out" '^backup +one backup set'
t_exit 0 "$HOLDFAST" plan show restore
t_is "$t_out" "$(cat orchestrator/plans/restore.yaml)" 'the very text'
t_exit 2 "$HOLDFAST" plan show restor
t_match "$t_err" 'Did you mean "restore"'
t_exit 2 "$HOLDFAST" run "$T_TMP/none.yaml" --database app
t_match "$t_err" 'does not exist'

t_begin runs_that_are_not_there
export HOLDFAST_STATE_DIR=$T_TMP/state
t_exit 0 "$HOLDFAST" runs
t_exit 2 "$HOLDFAST" resume
t_match "$t_err" '^error:  there is no run to resume.detail: The runs in directory "[^"]*" were looked at\..hint:   .* --state-dir\.$'
t_exit 2 "$HOLDFAST" status 2026
t_match "$t_err" 'there is no run "2026"'
t_exit 2 "$HOLDFAST" abandon 2026

t_begin closed_standard_output_is_a_failure
t_status=0
"$HOLDFAST" --help >/dev/full 2>"$T_TMP/err" || t_status=$?
t_is "$t_status" 1
t_is "$(cat "$T_TMP/err")" 'error:  could not write to standard output: No space left on device'

t_begin generated_files_are_current
t_ok "$HOLDFAST" generate man "$T_TMP/man"
for page in "$T_TMP"/man/*; do
	t_ok diff "$page" "docs/man/${page##*/}"
done
t_is "$(ls docs/man)" "$(ls "$T_TMP/man")" 'no page of a command that is gone'
t_is "$("$HOLDFAST" generate completion)" "$(cat scripts/completion/holdfast.bash)" 'completion'
t_is "$("$HOLDFAST" generate options)" \
	"$(sed -n '/^<!-- options -->/,/^<!-- \/options -->/p' docs/configuration.md | grep -v '^<!--')" 'table of options'

t_begin every_status_is_documented
t_is "$(grep -cE '^\| (([0-9]|10)|128\+N) \|' docs/exit-statuses.md)" 12

t_begin completion_offers_commands_options_and_values
complete_words() {
	# shellcheck source=../../scripts/completion/holdfast.bash
	. scripts/completion/holdfast.bash
	COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
	_holdfast
	printf '%s\n' "${COMPREPLY[@]}"
}
t_is "$(complete_words holdfast ba)" backup
t_is "$(complete_words holdfast backup --job)" --jobs
t_is "$(complete_words holdfast restore --verify r)" rows
t_is "$(complete_words holdfast verify l)" latest
t_is "$(complete_words holdfast --output j)" json
