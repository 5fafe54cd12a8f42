/*
 * A plan: what an operation does, as data.
 *
 *   name: backup
 *   about: one line
 *   on_failure: stop                  # default of the steps: stop, continue, rollback, ask
 *   can_rollback: true                # "holdfast rollback" without RUN means the newest run of such a plan
 *   must_finish: true                 # while a run of it is unfinished no other plan is started for the stack …
 *                                     # default: whether a point of no return has a step behind it that may stop the plan
 *   beside_unfinished: true           # … but those that say this
 *   parameters:
 *     jobs: { type: int, default: 2, required: false, secret: false, about: "…" }
 *     stop: { type: list, from: services.stop, about: "…" }   # who starts the run takes it from the stack's configuration
 *   steps:
 *     - id: dump                      # [A-Za-z_][A-Za-z0-9_-]*
 *       uses: backup.dump             # a step kind
 *       with: { jobs: "${jobs}" }     # its parameters; see template.h for ${…}
 *       when: "${swap}"               # true, false, "${x}", "!${x}"
 *       retries: 3                    # further attempts after one that failed with class "retry"
 *       retry_delay: 1s               # first delay of the exponential backoff
 *       deadline: 10m                 # of one attempt
 *       stall: 30m                    # an attempt without any progress for so long has failed; 0: may stand still
 *       on_failure: rollback
 *   after_rollback:                   # run forward when everything is undone; may refer to outputs of all steps above
 *     - { id: health, uses: health.wait }
 *
 * A step with neither deadline nor stall has a stall of 30 minutes.  Whatever can be known before the run starts is checked by
 * plan_load(); all its failures are ERR_CONFIG with file, line and column.  A plan is immutable once loaded.
 */
#ifndef ENGINE_PLAN_H
#define ENGINE_PLAN_H

#include "base/hash.h"
#include "base/yaml.h"
#include "orchestrator/engine/step.h"
#include "orchestrator/engine/template.h"

#define PLAN_DEFAULT_STALL_MS ((int64_t)30 * 60 * 1000)
#define PLAN_DEFAULT_RETRY_DELAY_MS 1000
#define PLAN_MAX_RETRIES 1000

enum on_failure { ON_FAILURE_STOP, ON_FAILURE_CONTINUE, ON_FAILURE_ROLLBACK, ON_FAILURE_ASK };

struct plan_param {
	const char *name, *about;
	enum param_type type;
	bool is_required, is_secret;
	json_t *value_default; /* NULL: absent */
	const struct yaml_node *at;
};

/* One entry of "with". */
struct plan_with {
	const struct param_spec *spec;
	const struct yaml_node *at;
	enum yaml_type type;
	size_t count;      /* a scalar has one item, or none when it is null */
	const char **keys; /* mapping */
	struct template *items;
	struct plan_with **vectors; /* PARAM_ARGVS written as a sequence: the items that are sequences themselves, else NULL */
};

struct plan_step {
	const char *id;
	const struct step_kind *kind;
	const struct yaml_node *at;
	struct plan_with *with;
	size_t with_count;
	bool is_after_rollback;
	bool has_when, is_when_negated;
	struct template when;
	int retries;
	int64_t retry_delay_ms;
	int64_t deadline_ms, stall_ms; /* 0: none */
	enum on_failure on_failure;
};

struct plan {
	struct yaml_doc doc;
	struct arena arena;
	const char *name, *about;
	enum on_failure on_failure;
	struct plan_param *params;
	size_t params_count;
	bool can_rollback, must_finish, beside_unfinished;
	struct plan_step *steps; /* the way forward, then what comes after a rollback */
	size_t steps_count, forward_count;
	char sha256[SHA256_HEX_BYTES]; /* of the exact text */
};

/* ${file} stands in messages.  ${plan} is to be released either way. */
int plan_load(struct plan *plan, const char *file, const char *text, const struct step_kind *const *kinds,
	struct error *err) must_check;
void plan_release(struct plan *plan);

/* Checks the values given for the plan's parameters, brings them into their types and fills in defaults.  ERR_CONFIG. */
int plan_parameters(const struct plan *plan, const json_t *given, json_t **ret, struct error *err) must_check;

/* The parameters of ${step} as its kind sees them.  ${ret_unknown} (may be NULL) gets the names of those which depend on what
 * the scope does not know; they stand in ${ret} as text. */
int plan_expand(const struct plan_step *step, const struct template_scope *scope, json_t **ret, json_t **ret_unknown,
	struct error *err) must_check;
/* Whether the step is wanted: TEMPLATE_VALUE yes, TEMPLATE_ABSENT no, TEMPLATE_UNKNOWN. */
enum template_result plan_when(const struct plan_step *step, const struct template_scope *scope);

const struct plan_param *plan_param_find(const struct plan *plan, const char *name); /* NULL: none */
ssize_t plan_step_find(const struct plan *plan, const char *id);                     /* its index; -1: none */

#endif
