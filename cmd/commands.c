/*
 * Every command: what it is for, in the words of help, man page and completion.
 */
#include "cmd/commands.h"

#include <stdio.h>
#include <string.h>
#include "base/yaml.h"

const struct command commands[CMD_COUNT] = {
	[CMD_BACKUP] = {"backup", .about = "take one backup set of one database, read back and verified before it exists",
		.doc = "Copies every row of the database under one snapshot into one file,\n"
		       "backup.tar.zst, in the repository, and writes the manifest that makes it a\n"
		       "backup set last.  The archive can be restored with tar, zstd and psql alone.\n"
		       "\n"
		       "A backup that was killed leaves nothing visible.  The next one finds it and,\n"
		       "as --on-interrupted says, resumes or abandons it before it does its own work.",
		.example = "holdfast backup --database postgresql:///app --repository /var/backups/app\n"
			   "# nightly, with a configuration file, in /etc/cron.d/holdfast:\n"
			   "15 3 * * *  postgres  holdfast --stack shop --quiet backup",
		.statuses = "3, 4, 5, 10", .run = cmd_backup, .needs_config = true},
	[CMD_LIST] = {"list", .about = "list backup sets",
		.doc = "One line for each backup set, oldest first; a set whose manifest or archive is\n"
		       "not as it should be is marked.",
		.example = "holdfast list --repository /var/backups/app", .run = cmd_list, .needs_config = true},
	[CMD_SHOW] = {"show", "ID", 1, 1, "show what a backup set holds",
		.doc = "ID is the id of a set, the unique beginning of one, or latest.\n"
		       "With --output json the whole manifest is printed.",
		.example = "holdfast show latest --repository /var/backups/app", .words = "latest", .run = cmd_show,
		.needs_config = true},
	[CMD_VERIFY] = {"verify", "ID|latest|all", 1, 1, "read backup sets back and check every checksum",
		.doc = "Reads every byte of the archive, compares it with its SHA-256, unpacks every\n"
		       "frame, counts the rows and computes their digests again.  --quick looks only\n"
		       "whether manifest and archive are there, and of the right size.",
		.example = "holdfast verify latest --repository /var/backups/app\n"
			   "holdfast verify all --quick",
		.statuses = "3", .words = "latest all", .run = cmd_verify, .needs_config = true},
	[CMD_RESTORE] = {"restore", "ID|latest", 1, 1, "restore a backup set, proven row by row, and put it in service",
		.doc = "Restores into a new database beside the one in service, compares every table\n"
		       "with the set, and only then swaps the two by rename.  The former database is\n"
		       "kept until \"holdfast drop-old\".  Without --yes it asks; where nobody can be\n"
		       "asked it changes nothing and ends with exit status 2.\n"
		       "\n"
		       "With --target-db it restores into that database and swaps nothing.  With\n"
		       "--table it restores single tables into a schema beside the originals, or into\n"
		       "--target-db, and prints the SQL that copies the rows back.  Neither asks.\n"
		       "\n"
		       "The files of a set are restored apart: --files-only unpacks them beside where\n"
		       "they were, proves them, and puts them in place by rename, keeping the former\n"
		       "ones; with --files-to they go below that directory, and nothing is replaced.",
		.example = "holdfast restore latest --database postgresql:///app --repository /var/backups/app\n"
			   "holdfast restore latest --target-db app_copy\n"
			   "holdfast restore 20261120T031500Z --table public.orders\n"
			   "holdfast restore latest --files-only --files-to /srv/restored",
		.statuses = "3, 4, 5, 10", .words = "latest", .run = cmd_restore, .needs_config = true},
	[CMD_UPGRADE] = {"upgrade", "VERSION", 1, 1,
		.about = "upgrade the application of a stack, and put the old state back when it fails",
		.doc = "Runs the plan \"upgrade\" of the stack, or the built-in one: checks first, then a\n"
		       "backup that is verified; the services are stopped, the schema is migrated, and\n"
		       "only when that has succeeded the new version is pinned, started and examined.\n"
		       "What is done is journaled before and after, so that a run that was killed goes\n"
		       "on with \"holdfast resume\".\n"
		       "\n"
		       "When a step fails, what was done is undone: pins, database and services are as\n"
		       "they were, the old version serves, and the exit status is 7.  Later, \"holdfast\n"
		       "rollback\" does the same on request.\n"
		       "\n"
		       "Where the stack is pinned to VERSION already nothing is done.",
		.example = "holdfast upgrade 1.4.0 --stack shop --dry-run\n"
			   "holdfast upgrade 2.0.0 --stack shop --accept-major",
		.statuses = "3, 4, 5, 6, 7, 9, 10", .run = cmd_upgrade, .needs_config = true},
	[CMD_MIGRATE] = {"migrate", "[status|up]", 0, 1, "apply schema migrations, each exactly once",
		.doc = "status, the default, compares a directory of SQL files with what the database\n"
		       "says is applied, and changes nothing; it ends with exit status 8 where they\n"
		       "disagree: an applied file that was changed or is missing, one that came too\n"
		       "late.\n"
		       "\n"
		       "up applies what is pending, in order, each file in one transaction together\n"
		       "with the row that says so.  What golang-migrate, dbmate, Flyway or AGLedger has\n"
		       "applied is taken over.  With --dry-run all of it runs in one transaction that is\n"
		       "rolled back, and takes locks like the real one.\n"
		       "\n"
		       "Where the configuration names a command instead of a directory, up runs that.",
		.example = "holdfast migrate --stack shop\nholdfast migrate up --stack shop --to 20261120\n"
			   "holdfast migrate up --database postgresql:///app --dir ./migrations",
		.statuses = "4, 5, 8, 10", .words = "status up", .run = cmd_migrate, .needs_config = true},
	[CMD_GATE] = {"gate", "[VERSION]", 0, 1,
		.about = "may this version of the application start on the schema that is there?",
		.doc = "For start scripts: old code on a newer schema mostly starts without a word.\n"
		       "Asks the database for the version of its schema and compares it with what the\n"
		       "stack's \"gate\" says of VERSION, or of the version that is pinned.  Takes no\n"
		       "lock, writes nothing.  Exit status 0: it may start; 10: it must not.",
		.example = "holdfast gate --stack shop && exec node server.js", .statuses = "10", .run = cmd_gate,
		.needs_config = true},
	[CMD_PRUNE] = {"prune", .about = "remove the backup sets that the retention policy no longer wants",
		.doc = "Shows every set of the stack with the reason it stays or goes, asks, and\n"
		       "removes, manifest first, then archive, in each repository of the stack.\n"
		       "--dry-run shows and removes nothing.  Without --yes, where nobody can be asked,\n"
		       "it changes nothing and ends with exit status 2.\n"
		       "\n"
		       "The policy is that of the configuration (key retention of the stack), with each\n"
		       "--keep option that is given put over it.  Whatever it says, the last verified\n"
		       "set, pinned sets, sets that a restore reads, damaged ones, and everything when\n"
		       "the policy would leave nothing, stay.  Remains of interrupted backups go when\n"
		       "they are older than a day.  What a retention lock of the repository holds is\n"
		       "reported and no error.",
		.example = "holdfast prune --stack shop --dry-run\n"
			   "holdfast prune --stack shop --keep-last 7 --keep-weekly 4 --yes",
		.statuses = "4, 5", .run = cmd_prune, .needs_config = true},
	[CMD_PIN] = {"pin", "ID", 1, 1, "keep a backup set whatever the retention policy says",
		.doc = "In every repository of the stack that has the set, or in --repository alone.\n"
		       "ID is the id of a set, the unique beginning of one, or latest.  The pin says who\n"
		       "put it, when and why; \"holdfast unpin\" takes it away.",
		.example = "holdfast pin latest --stack shop --reason \"before the big migration\"", .words = "latest",
		.run = cmd_pin, .needs_config = true},
	[CMD_UNPIN] = {"unpin", "ID", 1, 1, "let the retention policy decide about a backup set again",
		.doc = "Removes nothing by itself: the next prune does, if the policy wants it.",
		.example = "holdfast unpin 20261120T031500Z --stack shop", .words = "latest", .run = cmd_unpin,
		.needs_config = true},
	[CMD_COPY] = {"copy", "ID|latest", 1, 1, "copy a backup set to another repository",
		.doc = "Reads the set from --from, or from the stack's repositories, and makes it a set\n"
		       "of --to, encrypted or not as that is configured.  Its checksum is compared with\n"
		       "the manifest first.  Without an identity an encrypted set can be copied to a\n"
		       "repository that is encrypted to the same recipients.",
		.example = "holdfast copy latest --from local --to offsite", .statuses = "3, 4, 5", .words = "latest",
		.run = cmd_copy, .needs_config = true},
	[CMD_DOCTOR] = {"doctor", "[storage]", 0, 1, "is everything ready? each item: ok, degraded or failed, with what to do",
		.doc = "Examines every repository of the configuration, or those that --repository or\n"
		       "--stack names: configuration, reachability, credentials, clock, encryption; then\n"
		       "writes a small object, reads it back, lists and removes it, and asks the place\n"
		       "for versioning and locks.  Whatever needs attention comes with what can be done\n"
		       "about it.\n"
		       "\n"
		       "With --strict it is degraded, too, that these credentials may delete sets.",
		.example = "holdfast doctor\nholdfast doctor storage --strict --repository offsite", .statuses = "8",
		.words = "storage", .run = cmd_doctor, .needs_config = true},
	[CMD_REKEY] = {"rekey", "[ID|latest|all]", 0, 1, "give existing backup sets the recipients of the configuration",
		.doc = "Makes encrypted sets readable to exactly the keys under encrypt_to, by writing a\n"
		       "new header that wraps each file's key; the encrypted rows stay as they are, and\n"
		       "in a bucket the server copies them.  It needs an identity that opens the sets.\n"
		       "Without ID: all sets.\n"
		       "\n"
		       "What a removed key could read stays readable to whoever has that key and a copy\n"
		       "made before, or the file keys themselves: those do not change.  Out of reach of\n"
		       "a key in wrong hands are only the sets that are taken afterwards.\n"
		       "\n"
		       "A rekey that was interrupted is finished by the next one.",
		.example = "holdfast rekey all --repository offsite --identity /root/holdfast.key", .statuses = "3, 8",
		.words = "latest all", .run = cmd_rekey, .needs_config = true},
	[CMD_DROP_OLD] = {"drop-old", "NAME", 1, 1, "drop a database that a restore has kept",
		.doc = "Drops only databases that a swap has put aside and marked; \"holdfast status\"\n"
		       "lists them.  The rows in it are gone for good.",
		.example = "holdfast drop-old app_before_20261120t031500z_7f3a --database postgresql:///app", .run = cmd_drop_old,
		.needs_config = true},
	[CMD_RUN] = {"run", "PLAN.yaml", 1, 1, "run a plan of your own",
		.doc = "A plan is a YAML file of steps; \"holdfast plan show backup\" prints one to start\n"
		       "from.  Parameters called stack, database and repository are filled from the\n"
		       "options and the configuration like those of any command.",
		.example = "holdfast plan show backup > my-backup.yaml\n"
			   "holdfast run my-backup.yaml --database postgresql:///app --repository /var/backups/app -p jobs=4",
		.statuses = "3, 4, 5, 10", .run = cmd_run, .needs_config = true},
	[CMD_PLAN] = {"plan", "list|show NAME", 1, 2, "list the built-in plans, or print one",
		.doc = "Every operation is such a plan.", .example = "holdfast plan list\nholdfast plan show restore",
		.words = "list show", .run = cmd_plan},
	[CMD_RUNS] = {"runs", .about = "list what ran on this host, newest first",
		.doc = "Reads the journals in the state directory.  States: running, done, failed,\n"
		       "interrupted (it was told to stop), crashed (it was killed), waiting (for an\n"
		       "approval), paused, rolled_back, stuck (the way back failed), abandoned, damaged.",
		.example = "holdfast runs --stack shop", .run = cmd_runs},
	[CMD_STATUS] = {"status", "[RUN]", 0, 1, "what is in flight, what failed and why",
		.doc = "Without RUN: the last backup and restore of the stack, runs that did not finish\n"
		       "and what to do about them, and databases kept by restores.  With RUN, which may\n"
		       "be the unique beginning of an id: every step of that run.",
		.example = "holdfast status --stack shop", .run = cmd_status, .needs_config = true},
	[CMD_RESUME] = {"resume", "[RUN]", 0, 1, "continue a run that did not finish",
		.doc = "Steps that are done are skipped; the one in flight is looked at, then finished\n"
		       "or done again.  Without RUN: the only run that can be resumed.  Everything but\n"
		       "passwords is in the journal; those come from the configuration, ~/.pgpass,\n"
		       "PGPASSWORD or --database.",
		.example = "holdfast resume", .statuses = "3, 4, 5, 6, 7, 8, 9", .run = cmd_resume, .needs_config = true},
	[CMD_ABANDON] = {"abandon", "RUN", 1, 1, "undo a run that did not finish, and close it",
		.doc = "Undoes its steps in reverse order: a half-written archive, a half-filled\n"
		       "database are removed.  The run cannot be resumed afterwards.\n"
		       "Refused where a point of no return is behind a run that must come to its end.\n"
		       "\n"
		       "With --force nothing is undone: for a run whose plan is lost, or whose server\n"
		       "or repository is gone for good.  It is closed in the journal, clients are let in\n"
		       "again where that can be done, and what may be left behind is listed.  Without\n"
		       "--yes it asks; where nobody can be asked it changes nothing and ends with exit\n"
		       "status 2.",
		.example = "holdfast abandon 20261120T031500Z-restore-7f3a", .statuses = "4, 5, 8, 9, 10", .run = cmd_abandon,
		.needs_config = true},
	[CMD_ROLLBACK] = {"rollback", "[RUN]", 0, 1, "put back what a run has changed, also when it is done",
		.doc = "Undoes every step of the run in reverse order, then runs the steps its plan has\n"
		       "for after a rollback, which prove that the old state works.  Every step is asked\n"
		       "first: when one minds (rows were written since), nothing is changed and the exit\n"
		       "status is 10.  Without RUN: the newest run of the stack that can be rolled back,\n"
		       "such as an upgrade.  Without --yes it asks; where nobody can be asked it changes\n"
		       "nothing and ends with exit status 2.\n"
		       "\n"
		       "--dry-run asks every step and lists what would be undone.",
		.example = "holdfast rollback --stack shop --dry-run\n"
			   "holdfast rollback --stack shop --save-new-writes /root/since.sql --yes",
		.statuses = "4, 5, 6, 8, 9, 10", .run = cmd_rollback, .needs_config = true},
	[CMD_APPROVE] = {"approve", "RUN", 1, 1, "say that a run which waits for it may go on",
		.doc = "Shows what is asked, and answers it; \"holdfast resume\" then goes on.  RUN may be\n"
		       "the unique beginning of an id.  Who approves is the OS user who calls this.  Of\n"
		       "another user's run the directory must be named with --state-dir.\n"
		       "\n"
		       "With --reject the step fails instead.",
		.example = "holdfast approve 20261120T031500Z-upgrade-7f3a --reason \"release notes read\"", .statuses = "10",
		.run = cmd_approve},
	[CMD_PAUSE] = {"pause", .about = "let no run start, and stop running ones before their next step",
		.doc = "Of one stack with --stack, else of all.  A run that stops so ends with exit\n"
		       "status 5; after \"holdfast unpause\", \"holdfast resume\" goes on with it.  May be\n"
		       "repeated; the first pause stands.",
		.example = "holdfast pause --stack shop --reason \"storage is being moved\"", .run = cmd_pause},
	[CMD_UNPAUSE] = {"unpause", .about = "let runs start again",
		.doc = "Takes away the pause of --stack, else the one of all stacks.  Resumes nothing by\n"
		       "itself.",
		.example = "holdfast unpause --stack shop", .run = cmd_unpause},
	[CMD_KEYGEN] = {"keygen", .about = "make an age key pair for encrypted repositories",
		.doc = "Writes a new identity, the secret half, to the file that --file names, which\n"
		       "only its owner may read and which must not exist yet; without --file to\n"
		       "standard output.  The public key goes into the configuration, under\n"
		       "encrypt_to.  What is encrypted to it can be read with this identity alone:\n"
		       "keep a copy away from the backup host.\n"
		       "\n"
		       "The file is what age-keygen writes; age and age-keygen read it.",
		.example = "holdfast keygen --file /root/holdfast.key\nholdfast keygen --public /root/holdfast.key",
		.run = cmd_keygen},
	[CMD_GENERATE] = {"generate", "man DIR|completion|options|steps", 1, 2,
		"write man pages, shell completion, the table of options", .doc = "For building packages.",
		.example = "holdfast generate man docs/man", .run = cmd_generate, .is_hidden = true},
	[CMD_VERSION] = {"version", .about = "show the version", .doc = "", .example = "holdfast version", .run = cmd_version},
	[CMD_HELP] = {"help", "[COMMAND]", 0, 1, "show help", .doc = "", .example = "holdfast help restore", .run = cmd_help},
};

const struct command *command_find(const char *name)
{
	for (size_t i = 0; i < CMD_COUNT; i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

int command_unknown(const char *name, struct error *err)
{
	const char *known[CMD_COUNT + 1], *near;
	size_t n = 0;

	for (size_t i = 0; i < CMD_COUNT; i++)
		if (!commands[i].is_hidden)
			known[n++] = commands[i].name;
	known[n] = NULL;
	err_set(err, ERR_CONFIG, "unknown command \"%s\"", name);
	near = nearest_word(name, known);
	return near ? err_hint(err, "Did you mean \"%s\"?", near) : err_hint(err, "See \"holdfast --help\".");
}
