/*
 * What plan.c asks of the names and references in a plan.  All fail with ERR_CONFIG at the node that is wrong, with the nearest
 * right spelling as hint.
 */
#ifndef ENGINE_PLAN_CHECK_H
#define ENGINE_PLAN_CHECK_H

#include "orchestrator/engine/plan.h"

/* The step kind ${uses} names, or NULL with ${err} set. */
const struct step_kind *check_kind(const struct plan_step *s, const struct yaml_node *uses, const struct step_kind *const *kinds,
	struct error *err) must_check;
/* The parameter of the step's kind that ${key} names, or NULL with ${err} set. */
const struct param_spec *check_kind_param(const struct plan_step *s, const struct yaml_node *key, struct error *err) must_check;
/* References, literal values, required parameters of step ${index}; secrets go to secret parameters only. */
int check_step(const struct plan *plan, size_t index, struct error *err) must_check;

#endif
