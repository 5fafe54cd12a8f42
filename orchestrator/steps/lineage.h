/*
 * Which database comes from which.
 *
 * A rollback puts a copy of a database in its place (CREATE DATABASE … TEMPLATE): transaction ids and oids of tables are the same in both, and a
 * mark of the one tells of the other what was written since.  Who was copied from whom stands in the journals of the rollbacks.
 */
#ifndef STEPS_LINEAGE_H
#define STEPS_LINEAGE_H

#include "orchestrator/engine/step.h"

/* Outputs of the undo() of a database.savepoint that has put a copy in its place: ${oid} was made of ${of}, after its write-ahead log was at ${lsn}. */
void lineage_note(struct step_context *ctx, int64_t oid, int64_t of, const char *lsn);
/* 1: database ${oid} is a copy, or a copy of one, of database ${of} as it was at ${lsn} or later; 0 no, or not known; -1 */
int lineage_is_copy_of(struct step_context *ctx, int64_t oid, int64_t of, const char *lsn, struct error *err) must_check;

#endif
