/*
 * version.gate: old code on a newer schema starts without a word and does damage later; so it is asked before anything starts.
 */
#include "orchestrator/steps/pin.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/yaml.h"
#include "orchestrator/postgres/conn.h"
#include "orchestrator/stack/config.h"
#include "orchestrator/stack/version.h"

static const struct param_spec params[] = {
	{"version", PARAM_STRING, .about = "of the application that is to start; default: what is pinned in `file`"},
	{"file", PARAM_STRING, .about = "file that pins the version"},
	PIN_PLACE_PARAMS,
	{"database", PARAM_CONNINFO, .about = "the application's database; may be `env:NAME` or `file:PATH`"},
	{"query", PARAM_STRING, .about = "SQL that tells the version of the schema: one row, one column"},
	{"known", PARAM_MAP, .about = "version of the application → schema it was made for"},
	{"schema_versions", PARAM_STRING, .about = "file of such a map, YAML or JSON"},
	{"schema_at_most", PARAM_STRING, .about = "newest schema that the version runs on"},
	{"schema_at_least", PARAM_STRING, .about = "oldest schema that the version runs on"},
	{"minimum", PARAM_STRING, .about = "oldest version that may start at all"},
	{"from", PARAM_STRING, .about = "version to come from: a major step from it to `version` must be accepted"},
	{"accept_major", PARAM_BOOL, .default_text = "false", .about = "the release notes of a major step have been read"},
	{"release_notes", PARAM_STRING, .about = "where they are"},
	{"after", PARAM_STRING,
		.about = "an output of the step that changes the schema; a dry run, in which there is none, leaves the check out"},
	{0},
};

static const struct output_spec outputs[] = {
	{"version", "of the application that may start"},
	{"schema", "version of the schema now"},
	{0},
};

/* --- the rules ------------------------------------------------------------------------------------------------------------- */

static char *text_of(const json_t *value)
{
	return json_is_integer(value) ? mem_printf("%lld", (long long)json_integer_value(value))
				      : mem_strdup(json_string_value(value));
}

/* The entry of ${version}: of that one itself, else of the newest one before it.  NULL: all are newer. */
static const char *known_for(const json_t *known, const char *version)
{
	const char *best = NULL;

	for (void *it = json_object_iter((json_t *)(uintptr_t)known); it;
		it = json_object_iter_next((json_t *)(uintptr_t)known, it)) {
		const char *key = json_object_iter_key(it);

		if (version_compare(key, version) <= 0 && (!best || version_compare(key, best) > 0))
			best = key;
	}
	return best;
}

static int refuse(const struct version_gate *g, struct error *err)
{
	err_set(err, ERR_REFUSED, "version \"%s\" must not start: the schema has version \"%s\", which is newer than it knows",
		g->version, g->schema);
	return err_hint(
		err, "Start a version that knows this schema, or put back the database that belongs to \"%s\".", g->version);
}

static int check_known(const struct version_gate *g, struct error *err)
{
	const char *key = known_for(g->known, g->version);
	char *schema cleanup(mem_freep) = NULL;

	if (!key) {
		err_set(err, ERR_REFUSED, "version \"%s\" must not start: it is older than all whose schema is known",
			g->version);
		return err_hint(err, "Add it to %s.", g->known_from ? g->known_from : "\"known\"");
	}
	schema = text_of(json_object_get(g->known, key));
	if (version_compare(g->schema, schema) <= 0)
		return 0;
	refuse(g, err);
	return version_is_same(key, g->version)
		? err_detail(err, "It was made for schema \"%s\".", schema)
		: err_detail(err, "It is not in %s; the newest before it, \"%s\", was made for schema \"%s\".",
			  g->known_from ? g->known_from : "\"known\"", key, schema);
}

int version_gate_check(const struct version_gate *g, struct error *err)
{
	if (g->minimum && version_compare(g->version, g->minimum) < 0)
		return err_set(
			err, ERR_REFUSED, "version \"%s\" must not start: \"%s\" is the oldest that may", g->version, g->minimum);
	if (!g->schema)
		return 0;
	if (g->known && check_known(g, err) < 0)
		return -1;
	if (g->schema_at_most && version_compare(g->schema, g->schema_at_most) > 0) {
		refuse(g, err);
		return err_detail(err, "It runs on schemas up to \"%s\".", g->schema_at_most);
	}
	if (g->schema_at_least && version_compare(g->schema, g->schema_at_least) < 0) {
		err_set(err, ERR_REFUSED, "version \"%s\" must not start: the schema has version \"%s\" and must have \"%s\"",
			g->version, g->schema, g->schema_at_least);
		return err_hint(err, "Migrate the database first.");
	}
	return 0;
}

int version_gate_major(const char *from, const char *to, bool is_accepted, const char *release_notes, struct error *err)
{
	if (is_accepted || !version_is_major_step(from, to))
		return 0;
	err_set(err, ERR_REFUSED, "from \"%s\" to \"%s\" is a major step", from, to);
	if (release_notes)
		return err_hint(err, "Read the release notes (%s), then run it again with --accept-major.", release_notes);
	return err_hint(err, "Read the release notes, then run it again with --accept-major.");
}

int version_map_load(const char *path, json_t **ret, struct error *err)
{
	struct yaml_doc doc cleanup(yaml_release) = {0};
	json_t *map cleanup(json_decrefpp) = json_object();

	if (yaml_load(&doc, path, err) < 0 || yaml_want_type(doc.root, YAML_MAPPING, "the map of versions", err) < 0) {
		err->class = ERR_CONFIG;
		return -1;
	}
	for (size_t i = 0; i < doc.root->count; i++) {
		const char *text;

		if (yaml_want_str(doc.root->values[i], doc.root->keys[i]->text, &text, err) < 0)
			return -1;
		json_object_set_new(map, doc.root->keys[i]->text, json_string(text));
	}
	*ret = take_ptr(map);
	return 0;
}

/* --- the step -------------------------------------------------------------------------------------------------------------- */

static int pinned_version(const struct step_context *ctx, char **ret, struct error *err)
{
	const char *version = step_str(ctx, "version"), *file = step_str(ctx, "file");
	struct edit_file f cleanup(edit_file_release) = {0};
	struct edit_place at;
	int found;

	if (version) {
		*ret = mem_strdup(version);
		return 0;
	}
	if (!file)
		return err_set(err, ERR_CONFIG, "neither \"version\" nor \"file\" is given");
	if (pin_place(ctx, file, &at, err) < 0)
		return -1;
	found = edit_file_read(file, &f, err);
	if (found > 0)
		found = edit_get(&at, edit_file_text(&f), ret, NULL, err);
	if (found == 0)
		return err_set(err, ERR_CONFIG, "file \"%s\" pins no version", file);
	return found < 0 ? -1 : 0;
}

static int schema_version(struct step_context *ctx, char **ret, struct error *err)
{
	const char *database = step_str(ctx, "database"), *query = step_str(ctx, "query");
	struct pg pg cleanup(pg_close) = {0};
	char *conninfo cleanup(mem_freep) = NULL;
	int found;

	if (!database || !query)
		return database || query ? err_set(err, ERR_CONFIG, "\"database\" and \"query\" belong together") : 0;
	if (config_resolve(database, "database", &conninfo, err) < 0 ||
		pg_open(&(struct pg_options){.conninfo = conninfo, .what = "version gate", .cancel = ctx->cancel}, &pg, err) < 0)
		return -1;
	found = pg_value(&pg, query, ret, err);
	if (found < 0)
		return err_context(err, "could not ask for the version of the schema");
	return found ? 0 : err_set(err, ERR_REFUSED, "the schema does not tell its version: the query gave no row");
}

static int run(struct step_context *ctx, struct error *err)
{
	char *version cleanup(mem_freep) = NULL, *schema cleanup(mem_freep) = NULL;
	json_t *known cleanup(json_decrefpp) = NULL;
	struct version_gate g = {
		.schema_at_most = step_str(ctx, "schema_at_most"),
		.schema_at_least = step_str(ctx, "schema_at_least"),
		.minimum = step_str(ctx, "minimum"),
		.known = step_json(ctx, "known"),
		.known_from = step_str(ctx, "schema_versions"),
	};

	if (pinned_version(ctx, &version, err) < 0 || schema_version(ctx, &schema, err) < 0)
		return -1;
	if (g.known_from && version_map_load(g.known_from, &known, err) < 0)
		return -1;
	g.version = version;
	g.schema = schema;
	g.known = known ? known : g.known;
	if (!schema && (g.known || g.schema_at_most || g.schema_at_least))
		return err_set(err, ERR_CONFIG, "a rule for the schema needs \"database\" and \"query\"");
	if (step_str(ctx, "from") &&
		version_gate_major(
			step_str(ctx, "from"), version, step_bool(ctx, "accept_major"), step_str(ctx, "release_notes"), err) < 0)
		return -1;
	if (version_gate_check(&g, err) < 0)
		return -1;
	step_output_str(ctx, "version", version);
	step_output_str(ctx, "schema", schema);
	return 0;
}

const struct step_kind step_version_gate = {
	.name = "version.gate",
	.about = "refuse to start a version of the application that is older than the schema",
	.doc = "Compares the version that is to start with the version that the database's schema tells, by whichever rules are given: a map of "
	       "which version was made for which schema (a version that is not in it counts as the newest one before it), limits of the schema, "
	       "the oldest version at all; and refuses a major step that nobody has accepted.  Versions are compared as Semantic Versioning "
	       "has it, numbers of any length and with or without a `v` in front.  Changes nothing.",
	.params = params,
	.outputs = outputs,
	.runs_in_dry_run = true,
	.run = run,
};
