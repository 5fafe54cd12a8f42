/*
 * From the configuration of a stack into the parameters of a plan.
 *
 * A plan says of each of its parameters where in the stack's configuration its value stands:
 *
 *   parameters:
 *     stop:         { type: list, from: services.stop }
 *     from_version: { type: string, from: pinned_version }
 *
 * So an operator's own plan takes what it likes from holdfast.yaml, and the command that starts it knows nothing of it.  Three
 * names stand for more than a place in the file: "pinned_version" is the version that the stack's pins name now (version in
 * config.h), "files" and what else a backup takes of it are as files.h has them.
 *
 * A parameter without "from" takes what the stack has under "parameters" by its name.
 *
 * In what comes from the configuration, ${NAME} stands for the parameter of that name: pull: [docker, pull, "app:${version}"].
 */
#ifndef STACK_PARAMETERS_H
#define STACK_PARAMETERS_H

#include <jansson.h>
#include "orchestrator/stack/config.h"

/*
 * Adds to the object ${parameters} what the plan's section "parameters" (${declared}; may be NULL) takes from the configuration and what is
 * not in it yet.  What the stack does not configure stays absent.  ${s} may be NULL: then all does.
 * Values that stand elsewhere (env:NAME, file:PATH) are read for connection strings only; steps read the others when they need them.
 * ERR_CONFIG: a pin that cannot be read, a ${NAME} that is no parameter.
 */
int config_plan_parameters(
	const struct config_stack *s, const struct yaml_node *declared, json_t *parameters, struct error *err) must_check;

/*
 * Of a run's ${journaled} parameters those that say how the application is stopped, started and asked, as the configuration has them now:
 * what the plan takes from services, health, preflight and upgrade.post_start.  ${ret}: an object of those that differ; what is configured no
 * more stays as it was.  Connection strings and secrets are none of them.
 */
int config_plan_parameters_now(const struct config_stack *s, const struct yaml_node *declared, const json_t *journaled,
	json_t **ret, struct error *err) must_check;

#endif
