#include "orchestrator/steps/common.h"

const struct step_kind *const step_kinds[] = {
	&step_backup_preflight,
	&step_backup_dump,
	&step_backup_upload,
	&step_backup_verify,
	&step_backup_commit,
	&step_backup_copy,
	&step_backup_catch_up,
	&step_backup_select,
	&step_backup_hold,
	&step_backup_release,
	&step_backup_prune,
	&step_restore_preflight,
	&step_restore_create,
	&step_restore_fill,
	&step_restore_settings,
	&step_restore_tables_preflight,
	&step_restore_tables,
	&step_postgres_swap,
	NULL,
};
