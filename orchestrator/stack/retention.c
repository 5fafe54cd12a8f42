/*
 * The retention policy of a stack, as its configuration has it.
 */
#include "orchestrator/stack/config.h"

int config_stack_retention(const struct config_stack *s, struct retention_policy *ret, const char **ret_zone, struct error *err)
{
	const struct yaml_node *map = yaml_get(s->node, "retention"), *zone = yaml_get(s->node, "timezone");
	struct retention_policy p = {0};

	for (const char *const *key = retention_keys; *key; key++) {
		const struct yaml_node *n = yaml_get(map, *key);
		struct error bad cleanup(err_clear) = ERROR_INIT;

		if (n && retention_policy_set(&p, *key, n->text, &bad) < 0)
			return yaml_error(n, err, "%s", bad.message);
	}
	if (zone) {
		struct error bad cleanup(err_clear) = ERROR_INIT;

		if (retention_zone_check(zone->text, &bad) < 0) {
			yaml_error(zone, err, "timezone: %s", bad.message);
			return bad.hint ? err_hint(err, "%s", bad.hint) : -1;
		}
	}
	*ret = p;
	*ret_zone = zone ? zone->text : NULL;
	return retention_policy_is_empty(&p) ? 0 : 1;
}
