/*
 * Files of the stack in step kinds: from the parameters of a backup to trees, and from a set to the places they are restored to.
 */
#ifndef STEPS_FILES_H
#define STEPS_FILES_H

#include "orchestrator/steps/common.h"
#include "storage/archive/tree.h"

/* The parameters of a backup that concern files; config_files_parameters() fills them. */
#define FILES_PARAMS \
	{"files", PARAM_MAP, .about = "label → path of a directory or file that belongs to the set"}, \
		{"files_exclude", PARAM_LIST, .about = "label:pattern of what is left out"}, \
		{"files_one_filesystem", PARAM_LIST, .about = "labels of which nothing mounted below is taken"}, \
	{ \
		"files_order", PARAM_STRING, .default_text = "database-first", .about = "database-first or files-first" \
	}

struct step_files {
	struct tree_options *list; /* note and ctx are to be filled in */
	size_t count;
	bool is_before_database;
};
/* Everything is in ${arena}.  ERR_CONFIG for an order that is none, or a pattern of no label. */
int step_files_of(const struct step_context *ctx, struct arena *arena, struct step_files *ret, struct error *err) must_check;
/* Before anything is copied: each path is there and may be read. */
int step_files_check(const struct step_files *f, struct error *err) must_check;
/* All of them, one behind the other, into ${w}; nobody else may append meanwhile. */
int step_files_add(const struct step_files *f, struct archive_writer *w, struct inventory *inv, struct error *err) must_check;

/*
 * Where the files of a label are restored to.  They are unpacked and proven in ${stage}, a directory of this run beside ${final}, and
 * then put in place by rename; what stood there is kept as ${kept}.
 */
struct files_place {
	const struct inv_tree *tree;
	char *final;  /* the path in service, or <to>/<label> */
	char *stage;  /* "<final>.holdfast-<tag>" */
	char *proven; /* in the stage: what the digest is of */
	char *object; /* in the stage: what is renamed to ${final} */
	char *kept;   /* "<final>_before_<tag>"; NULL where nothing may stand at ${final} */
};

struct files_job {
	struct repository *repository;
	struct manifest manifest;
	struct archive_reader *reader;
	struct files_place *places;
	size_t count;
};
/* Opens set ${id} of ${repository}; parameter "to" names the directory to restore below, none: where the files were.  ERR_CONFIG when it has no files. */
int files_job_open(
	struct step_context *ctx, const char *repository, const char *id, struct files_job *ret, struct error *err) must_check;
void files_job_close(struct files_job *job); /* half-built is fine; for cleanup too */

extern const struct step_kind step_restore_files_preflight, step_restore_files;

#endif
