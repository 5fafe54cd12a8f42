#include "orchestrator/engine/pause.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/io.h"
#include "base/json.h"
#include "orchestrator/engine/lock.h"
#include "orchestrator/engine/person.h"

static char *pause_path(const char *state_dir, const char *stack)
{
	return stack ? mem_printf("%s/paused-%s", state_dir, stack) : mem_printf("%s/paused", state_dir);
}

/* 1 there, 0 not. */
static bool load(const char *state_dir, const char *stack, json_t **ret_note)
{
	char *path cleanup(mem_freep) = pause_path(state_dir, stack);
	struct error why cleanup(err_clear) = ERROR_INIT;
	struct buf text cleanup(buf_release) = {0};
	int rc = io_read_file(path, &text, &why);
	json_t *note = NULL;

	if (rc == 0)
		return false;
	if (!ret_note)
		return true;
	if (rc == 1)
		note = json_read(buf_str(&text), text.len, path, &why);
	if (!json_is_object(note)) {
		json_decref(note);
		note = json_pack("{s:s*}", "reason", why.message);
	}
	json_object_set_new(note, "stack", stack ? json_string(stack) : json_null());
	*ret_note = note;
	return true;
}

int pause_put(const char *state_dir, const char *stack, const char *reason, json_t **ret_note, struct error *err)
{
	char *path cleanup(mem_freep) = pause_path(state_dir, stack), *text cleanup(mem_freep) = NULL;
	char at[CLOCK_TEXT_BYTES];
	json_t *note cleanup(json_decrefpp) = NULL;

	if ((stack && lock_check_stack(stack, err) < 0) || io_make_dirs(state_dir, err) < 0)
		return -1;
	if (load(state_dir, stack, ret_note))
		return 0;
	note = json_pack("{s:s}", "at", clock_format(clock_utc_ms(), at));
	person_to_json(note);
	if (reason)
		json_object_set_new(note, "reason", json_text_of(reason));
	text = json_dumps(note, JSON_COMPACT);
	if (io_replace_file(path, text, strlen(text), 0600, err) < 0)
		return -1;
	json_object_set_new(note, "stack", stack ? json_string(stack) : json_null());
	*ret_note = take_ptr(note);
	return 1;
}

int pause_remove(const char *state_dir, const char *stack, struct error *err)
{
	char *path cleanup(mem_freep) = pause_path(state_dir, stack);

	if (stack && lock_check_stack(stack, err) < 0)
		return -1;
	return access(state_dir, F_OK) < 0 ? 0 : io_remove_file(path, err);
}

bool pause_stands(const char *state_dir, const char *stack, json_t **ret_note)
{
	return load(state_dir, NULL, ret_note) || (stack && load(state_dir, stack, ret_note));
}

char *pause_text(const json_t *note)
{
	const char *stack = json_get_str(note, "stack", NULL), *at = json_get_str(note, "at", NULL);
	const char *reason = json_get_str(note, "reason", NULL);
	char *who cleanup(mem_freep) = person_text(note);
	struct buf b = {0};

	buf_puts(&b, "runs ");
	if (stack)
		buf_printf(&b, "of stack \"%s\" ", stack);
	buf_printf(&b, "are paused%s%s by %s", at ? " since " : "", at ? at : "", who);
	if (reason)
		buf_printf(&b, ": %s", reason);
	return buf_take(&b);
}

int pause_check(const char *state_dir, const char *stack, struct error *err)
{
	json_t *note cleanup(json_decrefpp) = NULL;
	char *text cleanup(mem_freep) = NULL;
	const char *of;

	if (!pause_stands(state_dir, stack, &note))
		return 0;
	text = pause_text(note);
	of = json_get_str(note, "stack", NULL);
	err_set(err, ERR_REFUSED, "%s", text);
	return err_hint(err, "\"holdfast unpause%s%s\" lets them go on.", of ? " --stack " : "", of ? of : "");
}
