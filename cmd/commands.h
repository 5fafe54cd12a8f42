/*
 * The functions behind the table of commands: each returns 0, or -1 with ${err}; a status that is neither "done" nor the error
 * class's own stands in app->exit_status.
 */
#ifndef CMD_COMMANDS_H
#define CMD_COMMANDS_H

#include "cmd/app.h"

int cmd_backup(struct app *app, struct error *err);
int cmd_restore(struct app *app, struct error *err);
int cmd_upgrade(struct app *app, struct error *err);
int cmd_migrate(struct app *app, struct error *err);
int cmd_gate(struct app *app, struct error *err);
int cmd_list(struct app *app, struct error *err);
int cmd_show(struct app *app, struct error *err);
int cmd_verify(struct app *app, struct error *err);
int cmd_prune(struct app *app, struct error *err);
int cmd_pin(struct app *app, struct error *err);
int cmd_unpin(struct app *app, struct error *err);
int cmd_doctor(struct app *app, struct error *err);
int cmd_rekey(struct app *app, struct error *err);
int cmd_copy(struct app *app, struct error *err);
int cmd_drop_old(struct app *app, struct error *err);
int cmd_run(struct app *app, struct error *err);
int cmd_plan(struct app *app, struct error *err);
int cmd_runs(struct app *app, struct error *err);
int cmd_status(struct app *app, struct error *err);
int cmd_resume(struct app *app, struct error *err);
int cmd_abandon(struct app *app, struct error *err);
int cmd_rollback(struct app *app, struct error *err);
int cmd_approve(struct app *app, struct error *err);
int cmd_pause(struct app *app, struct error *err);
int cmd_unpause(struct app *app, struct error *err);
int cmd_keygen(struct app *app, struct error *err);
int cmd_generate(struct app *app, struct error *err);
/* The page of step kinds and built-in plans, for cmd_generate(). */
void steps_page(struct buf *out);
int cmd_version(struct app *app, struct error *err);
int cmd_help(struct app *app, struct error *err);

#endif
