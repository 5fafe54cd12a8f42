/*
 * What the files of database.savepoint share: what is kept, and what the journal says of it.
 */
#ifndef STEPS_DATABASE_SAVEPOINT_H
#define STEPS_DATABASE_SAVEPOINT_H

#include "orchestrator/postgres/conn.h"
#include "orchestrator/engine/step.h"

enum method { METHOD_COPY, METHOD_RESTORE, METHOD_NONE };

struct savepoint {
	struct pg pg; /* maintenance */
	char *database, *tag, *upgraded, *mark_path;
	enum method method;
	/* what the journal has */
	bool has_note, is_fenced, is_from_set; /* is_from_set: the copy was gone */
	int64_t oid, limit, copy_oid;
	int64_t displaced; /* oid of what is put aside: the upgraded one, or what took its place */
	const char *kept;  /* of the note */
	json_t *note;
};

/* From the parameters and the checkpoint, with a connection.  ${ret}: zeroed before, to be released either way. */
int database_savepoint_open(struct step_context *ctx, struct savepoint *ret, struct error *err) must_check;
void database_savepoint_release(struct savepoint *s); /* for cleanup too */

/* database_savepoint_undo.c: undo() and may_undo() of the kind. */
int database_savepoint_undo(struct step_context *ctx, struct error *err) must_check;
int database_savepoint_may_undo(struct step_context *ctx, struct error *err) must_check;

/* --- database_savepoint_put_back.c -------------------------------------------------------------------------------------------- */

/* ERR_REFUSED where replication or prepared transactions stand in the way. */
int database_savepoint_check_way(struct step_context *ctx, struct savepoint *s, struct error *err) must_check;
/* 1 it is there, 0 there is none of its name, or another one; -1 */
int database_savepoint_has_copy(struct savepoint *s, struct error *err) must_check;
bool database_savepoint_has_set(struct step_context *ctx);
/* Until it has the name.  From where is journaled, and stands in ${s} afterwards; may be repeated. */
int database_savepoint_put_back(struct step_context *ctx, struct savepoint *s, struct error *err) must_check;

#endif
