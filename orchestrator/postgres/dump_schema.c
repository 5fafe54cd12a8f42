/*
 * The schema's files: pg_dump and pg_restore run beside the copying, in a thread of their own.
 *
 * Nothing secret is in their argument lists: the connection is in the environment.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/child.h"
#include "orchestrator/postgres/dump_private.h"

struct arguments {
	char **list;
	size_t count, cap;
};

static void arguments_add(struct arguments *a, char *text)
{
	a->list = mem_grow(a->list, &a->cap, a->count + 2, sizeof(*a->list));
	a->list[a->count++] = text;
	a->list[a->count] = NULL;
}

static void arguments_release(struct arguments *a)
{
	for (size_t i = 0; i < a->count; i++)
		free(a->list[i]);
	free(a->list);
}

static void add_patterns(struct arguments *a, const char *option, const char *const *patterns)
{
	for (; patterns && *patterns; patterns++)
		arguments_add(a, mem_printf("%s=%s", option, *patterns));
}

/* Words of pg_dump's that mean: try again. */
static void classify(struct error *err)
{
	static const char *const words[] = {"canceling statement due to lock timeout",
		"canceling statement due to statement timeout", /* how pg_dump waits no longer than --lock-wait-timeout */
		"could not obtain lock", "deadlock detected", "server closed the connection", "terminating connection",
		"invalid snapshot identifier", "connection to server", "the database system is", "conflict with recovery",
		"does not exist"};

	if (err->class != ERR_FAILED || !err->detail)
		return;
	for (size_t i = 0; i < array_len(words); i++)
		if (strstr(err->detail, words[i]))
			err->class = ERR_RETRY;
	if (strstr(err->detail, "permission denied"))
		err->class = ERR_DENIED;
}

static int run(
	struct dump *d, const char *const *argv, char *const *env, const struct buf *in, struct buf *out, struct error *err)
{
	const struct child_spec spec = {
		.argv = argv,
		.env_add = (const char *const *)env,
		.env_remove = pg_child_env_remove,
		.in = in ? buf_str(in) : NULL,
		.in_len = in ? in->len : 0,
		.cancel = &d->stop,
		.progress = d->o.progress,
	};
	struct child_result r cleanup(child_result_release) = {0};

	if (child_run_ok(&spec, &r, err) < 0) {
		classify(err);
		return -1;
	}
	*out = r.out;
	memset(&r.out, 0, sizeof(r.out));
	return 0;
}

static int run_pg_dump(struct dump *d, struct error *err)
{
	int64_t wait_ms = d->o.lock_wait_ms ? d->o.lock_wait_ms : DUMP_DEFAULT_LOCK_WAIT_MS;
	struct arguments a cleanup(arguments_release) = {0};
	char **env = NULL;
	int rc;

	arguments_add(&a, mem_strdup(d->pg_dump));
	arguments_add(&a, mem_strdup("--format=custom"));
	arguments_add(&a, mem_strdup("--schema-only"));
	arguments_add(&a, mem_strdup("--no-password"));
	arguments_add(&a, mem_printf("--snapshot=%s", d->snapshot));
	arguments_add(&a, mem_printf("--lock-wait-timeout=%" PRId64, wait_ms));
	add_patterns(&a, "--schema", d->o.include_schemas);
	add_patterns(&a, "--exclude-schema", d->o.exclude_schemas);
	add_patterns(&a, "--table", d->o.include_tables);
	add_patterns(&a, "--table", (const char *const *)d->catalog.partitions);
	add_patterns(&a, "--exclude-table", d->o.exclude_tables);
	if (pg_child_env(&d->leader, &env, err) < 0)
		return -1;
	rc = run(d, (const char *const *)a.list, env, NULL, &d->files.schema_dump, err);
	pg_child_env_free(env);
	return rc < 0 ? err_context(err, "could not dump the schema") : 0;
}

/* pg_restore of 17 and later writes a setting that older servers do not know, and the scripts are for a server like the source. */
static void drop_unknown_settings(struct buf *b, int server_version)
{
	static const char line[] = "SET transaction_timeout = 0;\n";
	char *p = server_version < 170000 && b->data ? strstr(b->data, line) : NULL;

	if (!p || (p > b->data && p[-1] != '\n'))
		return;
	memmove(p, p + sizeof(line) - 1, b->len - (size_t)(p - b->data) - (sizeof(line) - 1) + 1);
	b->len -= sizeof(line) - 1;
}

static int run_pg_restore(struct dump *d, const char *section, struct buf *out, struct error *err)
{
	char *option cleanup(mem_freep) = mem_printf("--section=%s", section);
	const char *const argv[] = {d->pg_restore, "--file=-", option, NULL};

	if (run(d, argv, NULL, &d->files.schema_dump, out, err) < 0)
		return err_context(err, "could not write the schema as SQL");
	drop_unknown_settings(out, d->inv.server_version);
	return 0;
}

void *dump_schema_thread(void *dump)
{
	struct dump *d = dump;
	struct error err cleanup(err_clear) = ERROR_INIT;

	if (run_pg_dump(d, &err) < 0) {
		dump_fail(d, &err);
		return NULL;
	}
	pthread_mutex_lock(&d->mutex);
	d->is_schema_dumped = true;
	pthread_cond_broadcast(&d->changed);
	pthread_mutex_unlock(&d->mutex);
	if (run_pg_restore(d, "pre-data", &d->files.pre_data_sql, &err) < 0 ||
		run_pg_restore(d, "post-data", &d->files.post_data_sql, &err) < 0)
		dump_fail(d, &err);
	return NULL;
}
