/*
 * The S3 driver from a script: one operation, with the server that S3_ENDPOINT, S3_BUCKET, S3_ACCESS_KEY, … name.
 *
 *   s3_probe [OPTION…] put KEY FILE | get KEY OFFSET BYTES FILE | stat KEY | list PREFIX | remove KEY | sweep PREFIX MS | describe
 *   s3_probe [OPTION…] upload KEY FILE | resume KEY FILE ID | parts KEY ID | recommit KEY FILE | compose KEY FROM
 *   s3_probe [OPTION…] many COUNT | speed BYTES
 *
 * Prints "key value" lines; a failure is printed as "CLASS: message", detail and hint, and gives exit status 1.
 */
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/io.h"
#include "storage/drivers/s3.h"

#define THREADS_MAX 16

struct probe {
	struct s3_options o;
	struct driver *d;
	bool is_exclusive, is_cancelled;
	uint64_t part_bytes;
	unsigned threads, parts_limit; /* parts_limit: dies by KILL after so many; 0: never */
	const char *tag;
	struct buf content;
};

/* --- work for several threads ---------------------------------------------------------------------------------------------- */

struct work {
	struct probe *p;
	int (*one)(struct work *w, unsigned i, struct error *err);
	unsigned next, count;
	void *ctx;
	pthread_mutex_t lock;
	struct error failure;
};

static void *worker(void *ctx)
{
	struct work *w = ctx;
	struct error err = ERROR_INIT;

	for (;;) {
		unsigned i;

		pthread_mutex_lock(&w->lock);
		i = w->failure.class == ERR_NONE ? w->next : w->count;
		w->next += i < w->count;
		pthread_mutex_unlock(&w->lock);
		if (i >= w->count)
			return NULL;
		if (w->one(w, i, &err) < 0) {
			pthread_mutex_lock(&w->lock);
			if (w->failure.class == ERR_NONE)
				err_move(&w->failure, &err);
			pthread_mutex_unlock(&w->lock);
			err_clear(&err);
		}
	}
}

static int run_work(struct work *w, struct error *err)
{
	pthread_t threads[THREADS_MAX];
	unsigned n = 0;

	pthread_mutex_init(&w->lock, NULL);
	while (n < w->p->threads && pthread_create(&threads[n], NULL, worker, w) == 0)
		n++;
	for (unsigned i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	pthread_mutex_destroy(&w->lock);
	return w->failure.class == ERR_NONE ? 0 : err_move(err, &w->failure);
}

/* --- whole objects --------------------------------------------------------------------------------------------------------- */

static int load(struct probe *p, const char *file, struct error *err)
{
	int rc = io_read_file(file, &p->content, err);

	return rc == 0 ? err_set(err, ERR_CONFIG, "file \"%s\" does not exist", file) : rc;
}

static struct driver_target target(const struct probe *p, const char *key)
{
	return (struct driver_target){.key = key, .tag = p->tag, .is_exclusive = p->is_exclusive};
}

static int do_put(struct probe *p, char **arg, struct error *err)
{
	struct driver_target t = target(p, arg[0]);

	if (load(p, arg[1], err) < 0 || p->d->ops->put(p->d, &t, p->content.data, p->content.len, err) < 0)
		return -1;
	printf("exclusive_create %d\n", !!(p->d->features & DRIVER_EXCLUSIVE_CREATE));
	return 0;
}

static int do_get(struct probe *p, char **arg, struct error *err)
{
	size_t n = (size_t)strtoull(arg[2], NULL, 10);
	char *into cleanup(mem_freep) = mem_alloc(n + 1);
	int rc = p->d->ops->read_range(p->d, arg[0], strtoull(arg[1], NULL, 10), into, n, err);

	if (rc < 0)
		return -1;
	printf("found %d\n", rc);
	return rc == 1 ? io_replace_file(arg[3], into, n, 0600, err) : 0;
}

static int do_stat(struct probe *p, char **arg, struct error *err)
{
	struct driver_object o = {0};
	int rc = p->d->ops->stat(p->d, arg[0], &o, err);
	char text[CLOCK_TEXT_BYTES];

	if (rc < 0)
		return -1;
	printf("found %d\n", rc);
	if (rc == 1)
		printf("size %" PRIu64 "\nmodified %s\nage_s %" PRId64 "\n", o.size_bytes, clock_format(o.modified_at_ms, text),
			(clock_utc_ms() - o.modified_at_ms) / 1000);
	return 0;
}

static int print_object(void *ctx, const struct driver_object *o, struct error *err)
{
	(void)ctx;
	(void)err;
	printf("%" PRIu64 " %d %s\n", o->size_bytes, o->modified_at_ms > 0, o->key);
	return 0;
}

static int do_list(struct probe *p, char **arg, struct error *err)
{
	return p->d->ops->list(p->d, arg[0], print_object, NULL, err);
}

static int do_remove(struct probe *p, char **arg, struct error *err)
{
	int rc = p->d->ops->remove(p->d, arg[0], err);

	if (rc >= 0)
		printf("removed %d\n", rc);
	return rc;
}

static int do_sweep(struct probe *p, char **arg, struct error *err)
{
	unsigned count = 0;

	if (p->d->ops->sweep(p->d, arg[0], strtoll(arg[1], NULL, 10), &count, err) < 0)
		return -1;
	printf("swept %u\n", count);
	return 0;
}

static int do_describe(struct probe *p, char **arg, struct error *err)
{
	static const char *const names[] = {"unknown", "off", "on", "suspended"};
	struct driver_state s = {0};

	(void)arg;
	if (p->d->ops->describe(p->d, &s, err) < 0)
		return -1;
	printf("clock %s\nversioning %s\nobject_lock %s\nlock %s %d\nserver %s\ncredentials %s\n",
		s.has_clock && llabs(s.clock_ahead_ms) < 5000 ? "same" : "other", names[s.versioning], names[s.object_lock],
		s.lock_mode ? s.lock_mode : "-", s.lock_days, s.server ? s.server : "-", s.credentials ? s.credentials : "-");
	driver_state_release(&s);
	return 0;
}

/* --- uploads --------------------------------------------------------------------------------------------------------------- */

struct upload_work {
	struct driver_upload *u;
	struct driver_part *parts;
	unsigned count;
};

static uint64_t part_size(const struct probe *p, unsigned i)
{
	uint64_t from = (uint64_t)i * p->part_bytes, left = p->content.len - from;

	return left < p->part_bytes ? left : p->part_bytes;
}

static int send_part(struct work *w, unsigned i, struct error *err)
{
	struct upload_work *uw = w->ctx;
	struct driver_part *part = &uw->parts[i];

	if (w->p->parts_limit && i >= w->p->parts_limit)
		(void)raise(SIGKILL);
	part->number = i + 1;
	part->bytes = part_size(w->p, i);
	if (part->etag)
		return 0;
	return w->p->d->ops->upload_part(
		uw->u, part->number, w->p->content.data + (uint64_t)i * w->p->part_bytes, part->bytes, &part->etag, err);
}

static void plan_parts(const struct probe *p, struct upload_work *uw)
{
	uw->count = (unsigned)((p->content.len + p->part_bytes - 1) / p->part_bytes);
	uw->parts = mem_zalloc((uw->count + 1) * sizeof(*uw->parts));
}

static void drop_parts(struct upload_work *uw)
{
	for (unsigned i = 0; i < uw->count; i++)
		free(uw->parts[i].etag);
	free(uw->parts);
}

static int send_all(struct probe *p, struct upload_work *uw, struct error *err)
{
	struct work w = {.p = p, .one = send_part, .count = uw->count, .ctx = uw};

	return run_work(&w, err);
}

static int commit_or_abort(struct probe *p, struct upload_work *uw, struct error *err)
{
	struct error second cleanup(err_clear) = ERROR_INIT;

	if (send_all(p, uw, err) == 0 && p->d->ops->upload_commit(uw->u, uw->parts, uw->count, err) == 0)
		return 0;
	if (p->d->ops->upload_abort(uw->u, &second) < 0)
		printf("abort failed: %s\n", second.message);
	return -1;
}

static int do_upload(struct probe *p, char **arg, struct error *err)
{
	struct driver_target t = target(p, arg[0]);
	struct upload_work uw = {0};
	int rc;

	if (load(p, arg[1], err) < 0 || p->d->ops->upload_begin(p->d, &t, NULL, &uw.u, err) < 0)
		return -1;
	printf("id %s\n", p->d->ops->upload_id(uw.u));
	(void)fflush(stdout);
	plan_parts(p, &uw);
	rc = commit_or_abort(p, &uw, err);
	drop_parts(&uw);
	return rc;
}

static int print_part(void *ctx, const struct driver_part *part, struct error *err)
{
	(void)ctx;
	(void)err;
	printf("part %u %" PRIu64 "\n", part->number, part->bytes);
	return 0;
}

static int do_parts(struct probe *p, char **arg, struct error *err)
{
	struct driver_target t = target(p, arg[0]);
	struct driver_upload *u = NULL;
	int rc;

	if (p->d->ops->upload_begin(p->d, &t, arg[1], &u, err) < 0)
		return -1;
	rc = p->d->ops->upload_list(u, print_part, NULL, err);
	p->d->ops->upload_release(u);
	return rc;
}

static int keep_part(void *ctx, const struct driver_part *part, struct error *err)
{
	struct upload_work *uw = ctx;

	(void)err;
	if (part->number <= uw->count)
		uw->parts[part->number - 1].etag = mem_strdup(part->etag);
	return 0;
}

static int do_resume(struct probe *p, char **arg, struct error *err)
{
	struct driver_target t = target(p, arg[0]);
	struct upload_work uw = {0};
	unsigned there = 0;
	int rc;

	if (load(p, arg[1], err) < 0 || p->d->ops->upload_begin(p->d, &t, arg[2], &uw.u, err) < 0)
		return -1;
	plan_parts(p, &uw);
	rc = p->d->ops->upload_list(uw.u, keep_part, &uw, err);
	for (unsigned i = 0; i < uw.count; i++)
		there += uw.parts[i].etag != NULL;
	printf("there %u of %u\n", there, uw.count);
	if (rc == 0)
		rc = commit_or_abort(p, &uw, err);
	drop_parts(&uw);
	return rc;
}

/* Commits, and once more by another handle, as after a lost answer; then with other parts under the same key. */
static int do_recommit(struct probe *p, char **arg, struct error *err)
{
	struct driver_target t = target(p, arg[0]);
	struct upload_work uw = {0};
	struct driver_upload *second = NULL;
	int rc;

	if (load(p, arg[1], err) < 0 || p->d->ops->upload_begin(p->d, &t, NULL, &uw.u, err) < 0)
		return -1;
	plan_parts(p, &uw);
	rc = p->d->ops->upload_begin(p->d, &t, p->d->ops->upload_id(uw.u), &second, err);
	if (rc == 0)
		rc = commit_or_abort(p, &uw, err);
	if (rc == 0)
		rc = p->d->ops->upload_commit(second, uw.parts, uw.count, err);
	drop_parts(&uw);
	return rc;
}

/* Two halves of one object, copied in the server. */
static int do_compose(struct probe *p, char **arg, struct error *err)
{
	struct driver_target t = target(p, arg[0]);
	struct driver_upload *u = NULL;
	struct driver_object o;
	struct driver_part parts[2] = {{.number = 1}, {.number = 2}};

	if (p->d->ops->stat(p->d, arg[1], &o, err) < 1 || p->d->ops->upload_begin(p->d, &t, NULL, &u, err) < 0)
		return -1;
	parts[0].bytes = p->part_bytes;
	parts[1].bytes = o.size_bytes - p->part_bytes;
	if (p->d->ops->upload_copy(u, 1, arg[1], 0, parts[0].bytes, &parts[0].etag, err) < 0 ||
		p->d->ops->upload_copy(u, 2, arg[1], parts[0].bytes, parts[1].bytes, &parts[1].etag, err) < 0 ||
		p->d->ops->upload_commit(u, parts, 2, err) < 0) {
		struct error second cleanup(err_clear) = ERROR_INIT;

		(void)p->d->ops->upload_abort(u, &second);
		return -1;
	}
	free(parts[0].etag);
	free(parts[1].etag);
	return 0;
}

/* --- many and much --------------------------------------------------------------------------------------------------------- */

static int put_numbered(struct work *w, unsigned i, struct error *err)
{
	char *key cleanup(mem_freep) = mem_printf("many/%05u", i);
	struct driver_target t = target(w->p, key);

	return w->p->d->ops->put(w->p->d, &t, key, strlen(key), err);
}

static int do_many(struct probe *p, char **arg, struct error *err)
{
	struct work w = {.p = p, .one = put_numbered, .count = (unsigned)strtoul(arg[0], NULL, 10)};

	return run_work(&w, err);
}

static int read_part(struct work *w, unsigned i, struct error *err)
{
	char *into = w->ctx;
	uint64_t from = (uint64_t)i * w->p->part_bytes;
	int rc = w->p->d->ops->read_range(w->p->d, "speed", from, into + from, part_size(w->p, i), err);

	return rc == 0 ? err_set(err, ERR_FAILED, "the object is gone") : rc;
}

static int do_speed(struct probe *p, char **arg, struct error *err)
{
	size_t n = (size_t)strtoull(arg[0], NULL, 10);
	char *into cleanup(mem_freep) = mem_zalloc(n);
	struct driver_target t = target(p, "speed");
	struct upload_work uw = {0};
	struct work w = {.p = p, .one = read_part, .ctx = into};
	int64_t began_us, up_us, down_us;

	if (buf_reserve(&p->content, n, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		p->content.data[i] = (char)(i * 2654435761u >> 13);
	p->content.len = n;
	if (p->d->ops->upload_begin(p->d, &t, NULL, &uw.u, err) < 0)
		return -1;
	plan_parts(p, &uw);
	began_us = clock_mono_us();
	if (commit_or_abort(p, &uw, err) < 0)
		return -1;
	up_us = clock_mono_us() - began_us;
	w.count = uw.count;
	began_us = clock_mono_us();
	if (run_work(&w, err) < 0)
		return -1;
	down_us = clock_mono_us() - began_us;
	printf("same %d\nup_mb_s %.0f\ndown_mb_s %.0f\n", memcmp(into, p->content.data, n) == 0, (double)n / (double)up_us,
		(double)n / (double)down_us);
	drop_parts(&uw);
	return 0;
}

/* --- the command line ------------------------------------------------------------------------------------------------------ */

static const struct command {
	const char *name;
	int args;
	int (*run)(struct probe *p, char **arg, struct error *err);
} commands[] = {
	{"put", 2, do_put},
	{"get", 4, do_get},
	{"stat", 1, do_stat},
	{"list", 1, do_list},
	{"remove", 1, do_remove},
	{"sweep", 2, do_sweep},
	{"describe", 0, do_describe},
	{"upload", 2, do_upload},
	{"parts", 2, do_parts},
	{"resume", 3, do_resume},
	{"recommit", 2, do_recommit},
	{"compose", 2, do_compose},
	{"many", 1, do_many},
	{"speed", 1, do_speed},
};

enum option_id {
	OPT_PREFIX,
	OPT_CA,
	OPT_STALL,
	OPT_CONNECT,
	OPT_VIRTUAL,
	OPT_CHECKSUMS,
	OPT_CLASS,
	OPT_SSE,
	OPT_LOCK_MODE,
	OPT_LOCK_MS,
	OPT_PART,
	OPT_THREADS,
	OPT_KILL,
	OPT_TAG,
	OPT_EXCLUSIVE,
	OPT_TOKEN,
	OPT_PROXY,
	OPT_CANCEL,
};
static const struct option options[] = {
	{"prefix", required_argument, NULL, OPT_PREFIX},
	{"ca-file", required_argument, NULL, OPT_CA},
	{"stall-ms", required_argument, NULL, OPT_STALL},
	{"connect-ms", required_argument, NULL, OPT_CONNECT},
	{"virtual", no_argument, NULL, OPT_VIRTUAL},
	{"checksums", required_argument, NULL, OPT_CHECKSUMS},
	{"storage-class", required_argument, NULL, OPT_CLASS},
	{"sse", required_argument, NULL, OPT_SSE},
	{"lock-mode", required_argument, NULL, OPT_LOCK_MODE},
	{"lock-ms", required_argument, NULL, OPT_LOCK_MS},
	{"part-bytes", required_argument, NULL, OPT_PART},
	{"threads", required_argument, NULL, OPT_THREADS},
	{"kill-after-parts", required_argument, NULL, OPT_KILL},
	{"tag", required_argument, NULL, OPT_TAG},
	{"exclusive", no_argument, NULL, OPT_EXCLUSIVE},
	{"token", required_argument, NULL, OPT_TOKEN},
	{"proxy", required_argument, NULL, OPT_PROXY},
	{"cancel-on-term", no_argument, NULL, OPT_CANCEL},
	{0},
};

static void set_option(struct probe *p, int id, const char *value)
{
	switch ((enum option_id)id) {
	case OPT_PREFIX:
		p->o.prefix = value;
		break;
	case OPT_CA:
		p->o.ca_file = value;
		break;
	case OPT_STALL:
		p->o.stall_timeout_ms = strtoll(value, NULL, 10);
		break;
	case OPT_CONNECT:
		p->o.connect_timeout_ms = strtoll(value, NULL, 10);
		break;
	case OPT_VIRTUAL:
		p->o.addressing = S3_ADDRESSING_VIRTUAL;
		break;
	case OPT_CHECKSUMS:
		p->o.checksums = strcmp(value, "off") == 0 ? S3_CHECKSUMS_OFF : S3_CHECKSUMS_ON;
		break;
	case OPT_CLASS:
		p->o.storage_class = value;
		break;
	case OPT_SSE:
		p->o.server_side_encryption = value;
		break;
	case OPT_LOCK_MODE:
		p->o.object_lock_mode = value;
		break;
	case OPT_LOCK_MS:
		p->o.object_lock_ms = strtoll(value, NULL, 10);
		break;
	case OPT_PART:
		p->part_bytes = strtoull(value, NULL, 10);
		break;
	case OPT_THREADS:
		p->threads = (unsigned)strtoul(value, NULL, 10);
		break;
	case OPT_KILL:
		p->parts_limit = (unsigned)strtoul(value, NULL, 10);
		break;
	case OPT_TAG:
		p->tag = value;
		break;
	case OPT_EXCLUSIVE:
		p->is_exclusive = true;
		break;
	case OPT_TOKEN:
		p->o.session_token = value;
		break;
	case OPT_PROXY:
		p->o.proxy = value;
		break;
	case OPT_CANCEL:
		p->is_cancelled = true;
		break;
	}
}

static struct cancel token;

static void on_term(int number)
{
	(void)number;
	cancel_request(&token, CANCEL_SIGNAL);
}

static int run(struct probe *p, const struct command *c, char **arg, struct error *err)
{
	int rc;

	if (cancel_init(&token, NULL, err) < 0 || driver_s3_open(&p->o, &p->d, err) < 0)
		return -1;
	if (p->is_cancelled)
		(void)signal(SIGTERM, on_term);
	driver_set_cancel(p->d, &token);
	rc = c->run(p, arg, err);
	p->d->ops->close(p->d);
	return rc;
}

int main(int argc, char **argv)
{
	struct probe p = {.part_bytes = DRIVER_PART_MIN_BYTES,
		.threads = 1,
		.tag = "probe",
		.o = {.endpoint = getenv("S3_ENDPOINT"),
			.bucket = getenv("S3_BUCKET"),
			.region = getenv("S3_REGION"),
			.access_key_id = getenv("S3_ACCESS_KEY"),
			.secret_access_key = getenv("S3_SECRET_KEY")}};
	struct error err = ERROR_INIT;
	int id, rc;

	while ((id = getopt_long(argc, argv, "+", options, NULL)) >= 0) {
		if (id == '?')
			return 2;
		set_option(&p, id, optarg);
	}
	for (size_t i = 0; optind < argc && i < array_len(commands); i++) {
		if (strcmp(commands[i].name, argv[optind]) != 0 || commands[i].args != argc - optind - 1)
			continue;
		rc = run(&p, &commands[i], argv + optind + 1, &err);
		buf_release(&p.content);
		if (rc >= 0)
			return 0;
		printf("%s: %s\n", err_class_name(err.class), err.message);
		if (err.detail)
			printf("detail: %s\n", err.detail);
		if (err.hint)
			printf("hint: %s\n", err.hint);
		err_clear(&err);
		return 1;
	}
	(void)fprintf(stderr, "usage: s3_probe [OPTION…] COMMAND ARGUMENT…\n");
	return 2;
}
