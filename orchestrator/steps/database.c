#include "orchestrator/steps/database.h"

#include <string.h>

#include "base/json.h"
#include "orchestrator/stack/config.h"
#include "orchestrator/steps/common.h"

int step_resolve(struct step_context *ctx, const char *name, char **ret, struct error *err)
{
	const char *text = step_str(ctx, name);

	*ret = NULL;
	return text ? config_resolve(text, name, ret, err) : 0;
}

int step_open_server(struct step_context *ctx, char **ret_database, struct pg *ret, struct error *err)
{
	cleanup(mem_freep) char *conninfo = NULL;

	if (step_resolve(ctx, "database", &conninfo, err) < 0 || pg_conninfo_database(conninfo, ret_database, err) < 0)
		return -1;
	return step_open_maintenance(ctx, conninfo, ret, err);
}

int step_open_database(struct step_context *ctx, const char *what, struct pg *ret, struct error *err)
{
	cleanup(mem_freep) char *conninfo = NULL;

	if (step_resolve(ctx, "database", &conninfo, err) < 0)
		return -1;
	return pg_open(&(struct pg_options){.conninfo = conninfo, .what = what, .cancel = ctx->cancel}, ret, err);
}

int step_ask(struct pg *pg, const char *sql, char **ret, int *ret_rows, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_exec(pg, sql, &res, err) < 0)
		return -1;
	if (PQnfields(res) != 1 && PQntuples(res) == 1)
		return err_set(err, ERR_FAILED, "the query has %d columns instead of one: %.60s", PQnfields(res), sql);
	*ret_rows = PQntuples(res);
	*ret = *ret_rows > 0 && PQnfields(res) > 0 && !PQgetisnull(res, 0, 0) ? mem_strdup(PQgetvalue(res, 0, 0)) : NULL;
	return 0;
}

int step_is_true(struct pg *pg, const char *name, const char *sql, struct error *err)
{
	cleanup(mem_freep) char *value = NULL;
	int rows;

	if (step_ask(pg, sql, &value, &rows, err) < 0)
		return err_context(err, "%s", name);
	if (rows > 1 || (value && strcmp(value, "t") != 0 && strcmp(value, "f") != 0))
		return err_set(err, ERR_FAILED, "%s: the query does not answer true or false, but %s%.60s", name,
			       rows > 1 ? "several rows, the first " : "", value ? value : "null"),
		       err_hint(err, "Let it select one boolean.");
	return value && *value == 't';
}

int step_exec_all(struct step_context *ctx, struct pg *pg, const char *name, struct error *err)
{
	const json_t *list = step_json(ctx, name);

	for (size_t i = 0; i < json_array_size(list); i++) {
		if (pg_exec(pg, json_string_value(json_array_get(list, i)), NULL, err) < 0)
			return -1;
		progress_item(ctx->progress);
	}
	return 0;
}

int step_lock_timeout(struct step_context *ctx, struct pg *pg, struct error *err)
{
	if (!step_json(ctx, "lock_timeout"))
		return 0;
	return pg_execf(pg, err, "SET lock_timeout = '%lldms'", (long long)step_int(ctx, "lock_timeout"));
}

void step_put_back(struct step_context *ctx, const char *fmt, ...)
{
	cleanup(mem_freep) char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	text = mem_vprintf(fmt, ap);
	va_end(ap);
	json_object_set_new(ctx->outputs, "put_back", json_text_of(text));
}
