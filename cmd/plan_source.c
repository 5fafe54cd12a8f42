#include "cmd/plan_source.h"

#include <stdlib.h>
#include <string.h>
#include "base/io.h"
#include "base/json.h"
#include "cmd/runner.h"
#include "orchestrator/plans/embedded.h"

static int parse(struct plan_source *p, const char *label, struct error *err)
{
	const struct yaml_node *name;

	if (yaml_parse(&p->doc, label, buf_str(&p->text), p->text.len, err) < 0)
		return -1;
	name = yaml_get(p->doc.root, "name");
	p->name = name && name->type == YAML_SCALAR && !name->is_null ? name->text : label;
	p->declared = yaml_get(p->doc.root, "parameters");
	return 0;
}

int plan_source_read(const char *path, struct plan_source *ret, struct error *err)
{
	int got;

	*ret = (struct plan_source){.text.max = PLAN_BYTES_MAX};
	got = io_read_file(path, &ret->text, err);
	if (got < 0) {
		err->class = ERR_CONFIG;
		return -1;
	}
	if (got == 0)
		return err_set(err, ERR_CONFIG, "file \"%s\" does not exist", path);
	ret->path = mem_strdup(path);
	return parse(ret, ret->path, err);
}

int plan_source_find(const struct config_stack *s, const char *name, struct plan_source *ret, struct error *err)
{
	const struct yaml_node *file = s ? yaml_get(yaml_get(s->node, "plans"), name) : NULL;
	const struct embedded_plan *built_in = plan_find(name);

	*ret = (struct plan_source){0};
	if (file) {
		if (plan_source_read(file->text, ret, err) == 0)
			return 1;
		err_context(err, "plan \"%s\" of stack \"%s\"", name, s->name);
		return -1;
	}
	if (!built_in)
		return 0;
	buf_puts(&ret->text, built_in->text);
	return parse(ret, name, err) < 0 ? -1 : 1;
}

void plan_source_release(struct plan_source *p)
{
	yaml_release(&p->doc);
	buf_release(&p->text);
	free(p->path);
	memset(p, 0, sizeof(*p));
}

bool plan_source_declares(const struct plan_source *p, const char *name)
{
	return p->declared && yaml_get(p->declared, name);
}

json_t *plan_source_parameters(struct app *app, const struct plan_source *p, const struct target *t)
{
	json_t *all cleanup(json_decrefpp) = runner_parameters(app, t), *out = json_object(), *value;
	const char *name;

	json_object_foreach(all, name, value) if (plan_source_declares(p, name)) json_object_set(out, name, value);
	return out;
}
