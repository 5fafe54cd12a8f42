/*
 * What the step kinds share that change files of the operator's: a value in one (pin, env.comment, secret.rotate, secret.retire), or a
 * whole directory (files.copy); and the gate that asks whether a version may start (version.gate).
 */
#ifndef STEPS_PIN_H
#define STEPS_PIN_H

#include "orchestrator/stack/edit_file.h"
#include "orchestrator/steps/steps.h"

/* The place of a pinned value.  The kind of the file follows from which of key and path is given. */
#define PIN_PLACE_PARAMS \
	{"kind", PARAM_STRING, \
		.about = "env, version (a file's first line) or yaml; default: env with `key`, yaml with `path`, else version"}, \
		{"key", PARAM_STRING, .about = "of an env file"}, \
		{"path", PARAM_STRING, .about = "of a scalar in a YAML file: `services.api.image`, `list[0].name`"}, \
	{ \
		"part", PARAM_STRING, .default_text = "whole", \
				      .about = "of an image reference in a YAML file: tag, digest or whole" \
	}

/* Reads PIN_PLACE_PARAMS; everything is borrowed from ctx->params.  ERR_CONFIG. */
int pin_place(const struct step_context *ctx, const char *file, struct edit_place *ret, struct error *err) must_check;

/*
 * Whether a version of the application may start on the schema that is there.  Strings may be NULL: that rule is not asked.
 */
struct version_gate {
	const char *version;         /* of the application that is to start */
	const char *schema;          /* that is there now */
	const json_t *known;         /* application version → schema version it was made for (text or integer) */
	const char *schema_at_most;  /* the newest schema it runs on */
	const char *schema_at_least; /* the oldest */
	const char *minimum;         /* the oldest application that may start */
	const char *known_from;      /* file of ${known}, for the hint */
};
/* ERR_REFUSED says which rule minds and why.  An application version that ${known} has not counts as the newest one before it. */
int version_gate_check(const struct version_gate *g, struct error *err) must_check;
/* ERR_REFUSED where ${to} is a major step from ${from} that nobody has accepted; ${release_notes} (may be NULL): where they are. */
int version_gate_major(
	const char *from, const char *to, bool is_accepted, const char *release_notes, struct error *err) must_check;
/* A map of versions in a file, YAML or JSON: {"1.0.0": 12}, {"1.0.0": "20260812031000"}.  A new reference. */
int version_map_load(const char *path, json_t **ret, struct error *err) must_check;

extern const struct step_kind step_pin, step_env_comment, step_version_gate, step_files_copy, step_secret_rotate,
	step_secret_retire;

#endif
