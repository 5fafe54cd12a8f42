/*
 * role.password: a password that only the client ever sees; the server gets its SCRAM verifier.
 */
#include <string.h>

#include "base/json.h"
#include "orchestrator/postgres/password.h"
#include "orchestrator/stack/secrets.h"
#include "orchestrator/steps/database.h"

static const struct param_spec params[] = {
	{"database", PARAM_CONNINFO, .is_required = true, .about = "a database of the server; its role may alter the other one"},
	{"role", PARAM_STRING, .is_required = true, .about = "the role"},
	{"password", PARAM_STRING, .is_required = true,
		.about = "`env:NAME`, `file:PATH` or `env_file:PATH#KEY` of the password"},
	{"previous", PARAM_STRING, .about = "`env:NAME`, `file:PATH` or `env_file:PATH#KEY` of the one that undo sets again"},
	{"login", PARAM_BOOL, .default_text = "false", .about = "let the role log in, too"},
	{0},
};

static const struct output_spec outputs[] = {
	{"could_login", "whether the role could log in before"},
	{"proven", "whether a login with the password was tried and worked; false: the server lets the role in without one"},
	{0},
};

/* A password that stands in a plan stands in every journal and every backup of the plan, too. */
static int read_password(struct step_context *ctx, const char *name, char **ret, struct error *err)
{
	const char *text = step_str(ctx, name);

	if (text && !secret_is_reference(text))
		return err_set(err, ERR_CONFIG, "\"%s\" of role \"%s\" does not say where the password is", name,
			       step_str(ctx, "role")),
		       err_hint(err, "Write env:NAME, file:/PATH or env_file:/PATH#KEY.");
	return step_resolve(ctx, name, ret, err);
}

static void wipe(char **password)
{
	if (*password)
		explicit_bzero(*password, strlen(*password));
	mem_freep(password);
}

/* Noted once, before anything is changed. */
static int note_login(struct step_context *ctx, struct pg *pg, bool *ret, struct error *err)
{
	const json_t *noted = json_object_get(ctx->checkpoint, "could_login");
	cleanup(json_decrefpp) json_t *note = NULL;
	cleanup(mem_freep) char *literal = pg_literal(step_str(ctx, "role")), *value = NULL;
	cleanup(mem_freep) char *sql = mem_printf("SELECT rolcanlogin FROM pg_catalog.pg_roles WHERE rolname = %s", literal);
	int rc;

	*ret = json_is_true(noted);
	if (noted)
		return 0;
	rc = pg_value(pg, sql, &value, err);
	if (rc <= 0)
		return rc < 0 ? -1 : err_set(err, ERR_FAILED, "role \"%s\" does not exist", step_str(ctx, "role"));
	*ret = *value == 't';
	note = json_pack("{s:b}", "could_login", (int)*ret);
	return step_checkpoint(ctx, note, err);
}

static int check(struct step_context *ctx, const char *password, enum password_check *ret, struct error *err)
{
	cleanup(mem_freep) char *conninfo = NULL;

	if (step_resolve(ctx, "database", &conninfo, err) < 0)
		return -1;
	return password_check(conninfo, step_str(ctx, "role"), password, ctx->cancel, ret, err);
}

static void fill_outputs(struct step_context *ctx, bool could_login, enum password_check is)
{
	json_object_set_new(ctx->outputs, "could_login", json_boolean(could_login));
	json_object_set_new(ctx->outputs, "proven", json_boolean(is == PASSWORD_WORKS));
}

/* A role that may not log in cannot be tried; where it was to be one, that is the failure. */
static int prove(struct step_context *ctx, const char *password, bool can_login, enum password_check *ret, struct error *err)
{
	const char *role = step_str(ctx, "role");

	*ret = PASSWORD_UNASKED;
	if (!can_login)
		return 0;
	if (check(ctx, password, ret, err) < 0)
		return err_context(err, "could not try the new password of role \"%s\"", role);
	if (*ret == PASSWORD_WRONG)
		return err_set(err, ERR_FAILED, "role \"%s\" cannot log in with its new password", role),
		       err_hint(err,
			       "Look whether pg_hba.conf lets it in from here with scram-sha-256, and whether the role is still valid.");
	if (*ret == PASSWORD_UNASKED)
		event_text(ctx->events, EVENT_WARNING,
			"the server lets role \"%s\" in from here with any password: the new one is not proven", role);
	return 0;
}

static int run(struct step_context *ctx, struct error *err)
{
	cleanup(wipe) char *password = NULL;
	cleanup(pg_close) struct pg pg = {0};
	enum password_check is;
	bool could_login;

	if (read_password(ctx, "password", &password, err) < 0 || step_open_database(ctx, "password", &pg, err) < 0 ||
		note_login(ctx, &pg, &could_login, err) < 0 ||
		password_set(&pg, step_str(ctx, "role"), password, step_bool(ctx, "login"), err) < 0 ||
		prove(ctx, password, could_login || step_bool(ctx, "login"), &is, err) < 0)
		return -1;
	fill_outputs(ctx, could_login, is);
	return 0;
}

static int probe(struct step_context *ctx, struct error *err)
{
	cleanup(wipe) char *password = NULL;
	const json_t *noted = json_object_get(ctx->checkpoint, "could_login");
	enum password_check is;

	if (!noted)
		return 0;
	if (read_password(ctx, "password", &password, err) < 0 || check(ctx, password, &is, err) < 0)
		return -1;
	fill_outputs(ctx, json_is_true(noted), is);
	return is == PASSWORD_WORKS;
}

static int undo(struct step_context *ctx, struct error *err)
{
	cleanup(wipe) char *previous = NULL;
	cleanup(pg_close) struct pg pg = {0};
	cleanup(mem_freep) char *ident = pg_ident(step_str(ctx, "role"));
	const char *role = step_str(ctx, "role");

	if (!ctx->checkpoint)
		return 0;
	if (read_password(ctx, "previous", &previous, err) < 0 || step_open_database(ctx, "password", &pg, err) < 0)
		return -1;
	if (previous && password_set(&pg, role, previous, false, err) < 0)
		return -1;
	if (step_bool(ctx, "login") && !json_get_bool(ctx->checkpoint, "could_login", true) &&
		pg_execf(&pg, err, "ALTER ROLE %s NOLOGIN", ident) < 0)
		return -1;
	if (previous)
		step_put_back(ctx, "role \"%s\" has its previous password again", role);
	else
		step_put_back(ctx, "role \"%s\" keeps its new password: the previous one is not known", role);
	return 0;
}

const struct step_kind step_role_password = {
	.name = "role.password",
	.about = "set the password of a role, hashed on the client",
	.doc = "The password is read from where the plan says, hashed here (SCRAM-SHA-256) and set by ALTER ROLE, kept out of the server's log where "
	       "the role may do that; no journal, log or error ever has it.  Then a login with it is tried over the same connection string.  A server "
	       "that lets the role in with any password (trust) cannot prove it, which is told.  Done when such a login works and one with a wrong "
	       "password does not.  Undo sets the `previous` password, where that is given, and takes LOGIN away again where the step gave it.",
	.params = params,
	.outputs = outputs,
	.probe = probe,
	.run = run,
	.undo = undo,
};
