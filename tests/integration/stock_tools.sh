#!/usr/bin/env bash
# A backup outlives Holdfast: the three commands that stand in the archive's own README, run as they stand there, with nothing but tar,
# zstd and psql, give the database back.
# shellcheck source-path=SCRIPTDIR/../lib
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/t.sh
. tests/lib/pg.sh

repository=$T_TMP/repository
unpacked=$T_TMP/unpacked
state_of() {
	"$PG_BINDIR/pg_dump" "$@" | grep -vE '^\\(un)?restrict ' | LC_ALL=C sort
}

pg_start main wal_level=logical || exit 1
pg_sql 'CREATE DATABASE source'
psql -XAtq -v ON_ERROR_STOP=1 -d source -f tests/integration/sql/everything.sql >"$T_TMP/fixture.log" 2>&1 || {
	tail "$T_TMP/fixture.log"
	exit 1
}
t_ok "$HOLDFAST" --state-dir "$T_TMP/state" backup --database dbname=source --repository "$repository" -q
mkdir "$unpacked"
cp "$repository"/source/backups/*/backup.tar.zst "$unpacked"

t_begin stock_programs_read_the_archive
t_ok zstd -tq "$unpacked/backup.tar.zst"
t_is "$(tar --zstd -tf "$unpacked/backup.tar.zst" | sort)" "$(bsdtar -tf "$unpacked/backup.tar.zst" | sort)" 'GNU tar and bsdtar list the same members'
t_is "$(tar --zstd -tf "$unpacked/backup.tar.zst" | head -n 1)" README 'the README comes first'
t_is "$(tar --zstd -tf "$unpacked/backup.tar.zst" | tail -n 1)" manifest.json 'the manifest comes last'
t_is "$(cd "$unpacked" && sha256sum backup.tar.zst | cut -d' ' -f1)" \
	"$(grep -o '"sha256": *"[0-9a-f]*"' "$repository"/source/backups/*/manifest.json | head -n 1 | grep -o '[0-9a-f]\{64\}')" \
	'sha256sum gives what the manifest says of the archive'

t_begin the_commands_of_the_readme_restore
tar --zstd -xOf "$unpacked/backup.tar.zst" README >"$T_TMP/README"
grep '^    ' "$T_TMP/README" >"$T_TMP/commands"
t_is "$(wc -l <"$T_TMP/commands")" 3 'there are three'
t_match "$(cat "$T_TMP/commands")" 'createdb .* app.*tar --zstd -xf backup.tar.zst.*psql .*-f restore.sql' 'createdb, tar, psql'
while IFS= read -r command; do
	t_ok env -C "$unpacked" PATH="$PG_BINDIR:$PATH" bash -c "$command"
done <"$T_TMP/commands"
t_is "$(diff <(state_of source) <(state_of app))" '' 'the database is the same, to the last line of pg_dump'
