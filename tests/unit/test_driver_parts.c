/*
 * Uploads in parts, of every driver that has them (DRIVER_PARTS, DRIVER_COMPOSE): against a server alone.
 */
#include "tests/unit/driver_helper.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PART DRIVER_PART_MIN_BYTES
#define TAIL ((size_t)1234)
#define PARTS 3 /* two of PART, one of TAIL */
#define WHOLE (2 * PART + TAIL)

struct parts {
	char *text;
	struct driver_part parts[PARTS];
};

static size_t part_bytes(unsigned number)
{
	return number == PARTS ? TAIL : PART;
}

static void parts_init(struct parts *p)
{
	*p = (struct parts){.text = mem_alloc(WHOLE)};
	content_fill(p->text, WHOLE, 3);
}

static void parts_release(struct parts *p)
{
	for (unsigned i = 0; i < PARTS; i++)
		free(p->parts[i].etag);
	free(p->text);
}

static struct driver_upload *begin_as(struct fixture *f, const char *tag, const char *resume_id, const char *key)
{
	const struct driver_target t = {.key = key, .tag = tag, .is_exclusive = true};
	struct driver_upload *u = NULL;

	assert_ok(f->d->ops->upload_begin(f->d, &t, resume_id, &u, &f->err), &f->err);
	return u;
}

static struct driver_upload *begin(struct fixture *f, const char *resume_id, const char *key)
{
	return begin_as(f, "run", resume_id, key);
}

static int send_part(struct driver *d, struct driver_upload *u, struct parts *p, unsigned number, struct error *err)
{
	struct driver_part *part = &p->parts[number - 1];

	free(part->etag);
	*part = (struct driver_part){.number = number, .bytes = part_bytes(number)};
	return d->ops->upload_part(u, number, p->text + (number - 1) * PART, part->bytes, &part->etag, err);
}

static void parts_come_in_any_order(void **state)
{
	struct fixture *f = *state;
	struct parts p cleanup(parts_release);
	struct driver_upload *u = begin(f, NULL, "k");

	parts_init(&p);
	for (unsigned number = PARTS; number > 0; number--)
		assert_ok(send_part(f->d, u, &p, number, &f->err), &f->err);
	assert_missing(f, "k");
	assert_ok(f->d->ops->upload_commit(u, p.parts, PARTS, &f->err), &f->err);
	assert_bytes(f, "k", p.text, WHOLE);
	assert_objects_alone(f, 1);
}

struct worker {
	pthread_t thread;
	struct driver *d;
	struct driver_upload *u;
	struct parts *p;
	unsigned number;
	int rc;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	struct error err cleanup(err_clear) = ERROR_INIT;

	w->rc = send_part(w->d, w->u, w->p, w->number, &err);
	if (w->rc < 0)
		print_error("%s\n", err.message);
	return NULL;
}

static void parts_are_sent_by_several_threads(void **state)
{
	struct fixture *f = *state;
	struct parts p cleanup(parts_release);
	struct driver_upload *u = begin(f, NULL, "k");
	struct worker workers[PARTS];

	parts_init(&p);
	for (unsigned i = 0; i < PARTS; i++) {
		workers[i] = (struct worker){.d = f->d, .u = u, .p = &p, .number = i + 1};
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (unsigned i = 0; i < PARTS; i++) {
		pthread_join(workers[i].thread, NULL);
		assert_int_equal(workers[i].rc, 0);
	}
	assert_ok(f->d->ops->upload_commit(u, p.parts, PARTS, &f->err), &f->err);
	assert_bytes(f, "k", p.text, WHOLE);
}

static void a_part_sent_again_replaces_the_first(void **state)
{
	struct fixture *f = *state;
	struct parts p cleanup(parts_release);
	struct driver_upload *u = begin(f, NULL, "k");

	parts_init(&p);
	for (unsigned number = 1; number <= PARTS; number++)
		assert_ok(send_part(f->d, u, &p, number, &f->err), &f->err);
	content_fill(p.text + PART, PART, 99);
	assert_ok(send_part(f->d, u, &p, 2, &f->err), &f->err);
	assert_ok(f->d->ops->upload_commit(u, p.parts, PARTS, &f->err), &f->err);
	assert_bytes(f, "k", p.text, WHOLE);
}

/* --- what is there ----------------------------------------------------------------------------------------------------------- */

struct found {
	const struct parts *sent;
	struct buf numbers;
};

/* It is there with the size and the etag that sending it gave. */
static int find(void *ctx, const struct driver_part *part, struct error *err)
{
	struct found *f = ctx;

	(void)err;
	assert_in_range(part->number, 1, PARTS);
	assert_int_equal(part->bytes, f->sent->parts[part->number - 1].bytes);
	assert_string_equal(part->etag, f->sent->parts[part->number - 1].etag);
	buf_printf(&f->numbers, "%u ", part->number);
	return 0;
}

/* : "1 3 ". */
static void assert_parts(struct fixture *f, struct driver_upload *u, const struct parts *p, const char *numbers)
{
	struct found found = {.sent = p};

	assert_ok(f->d->ops->upload_list(u, find, &found, &f->err), &f->err);
	assert_string_equal(buf_str(&found.numbers), numbers);
	buf_release(&found.numbers);
}

static void parts_are_listed_in_order(void **state)
{
	struct fixture *f = *state;
	struct parts p cleanup(parts_release);
	struct driver_upload *u = begin(f, NULL, "k");

	parts_init(&p);
	assert_parts(f, u, &p, "");
	assert_ok(send_part(f->d, u, &p, 3, &f->err), &f->err);
	assert_ok(send_part(f->d, u, &p, 1, &f->err), &f->err);
	assert_parts(f, u, &p, "1 3 ");
	assert_ok(f->d->ops->upload_abort(u, &f->err), &f->err);
	assert_objects_alone(f, 0);
}

static int stop(void *ctx, const struct driver_part *part, struct error *err)
{
	(void)ctx;
	(void)part;
	return err_set(err, ERR_FAILED, "enough");
}

static void a_list_of_parts_stops_where_it_is_told(void **state)
{
	struct fixture *f = *state;
	struct parts p cleanup(parts_release);
	struct driver_upload *u = begin(f, NULL, "k");

	parts_init(&p);
	assert_ok(send_part(f->d, u, &p, 1, &f->err), &f->err);
	assert_error(f->d->ops->upload_list(u, stop, NULL, &f->err), &f->err, ERR_FAILED, "enough");
	assert_ok(f->d->ops->upload_abort(u, &f->err), &f->err);
}

/* --- resuming ---------------------------------------------------------------------------------------------------------------- */

/* Never returns: in this process a failed assertion would run the other tests a second time. */
static void begin_and_go(struct fixture *f, struct parts *p, int fd)
{
	const struct driver_target t = {.key = "k", .tag = "run", .is_exclusive = true};
	struct driver *d = NULL;
	struct driver_upload *u = NULL;

	if (driver_try_again(f, &d, &f->err) == 0 && d->ops->upload_begin(d, &t, NULL, &u, &f->err) == 0 &&
		send_part(d, u, p, 1, &f->err) == 0 && dprintf(fd, "%s\n%s\n", d->ops->upload_id(u), p->parts[0].etag) > 0)
		_exit(0);
	(void)fprintf(stderr, "%s\n", f->err.message);
	_exit(1);
}

/* Another process begins, sends the first part and is gone; its id and etag come through a pipe. */
static void begin_elsewhere(struct fixture *f, struct parts *p, char id[1024])
{
	int fds[2], status;
	FILE *in;
	pid_t pid;
	char etag[256];

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		begin_and_go(f, p, fds[1]);
	close(fds[1]);
	in = fdopen(fds[0], "r");
	assert_non_null(in);
	assert_true(fgets(id, 1024, in) && fgets(etag, sizeof(etag), in));
	(void)fclose(in);
	id[strcspn(id, "\n")] = etag[strcspn(etag, "\n")] = '\0';
	p->parts[0] = (struct driver_part){1, PART, mem_strdup(etag)};
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void another_process_goes_on(void **state)
{
	struct fixture *f = *state;
	struct parts p cleanup(parts_release);
	struct driver_upload *u;
	char id[1024];

	parts_init(&p);
	begin_elsewhere(f, &p, id);
	u = begin(f, id, "k");
	assert_string_equal(f->d->ops->upload_id(u), id);
	assert_parts(f, u, &p, "1 ");
	assert_ok(send_part(f->d, u, &p, 3, &f->err), &f->err);
	assert_ok(send_part(f->d, u, &p, 2, &f->err), &f->err);
	assert_ok(f->d->ops->upload_commit(u, p.parts, PARTS, &f->err), &f->err);
	assert_bytes(f, "k", p.text, WHOLE);
	assert_objects_alone(f, 1);
}

static void a_released_upload_can_be_resumed(void **state)
{
	struct fixture *f = *state;
	struct parts p cleanup(parts_release);
	struct driver_upload *u = begin(f, NULL, "k");
	char *id cleanup(mem_freep) = mem_strdup(f->d->ops->upload_id(u));

	parts_init(&p);
	assert_ok(send_part(f->d, u, &p, 1, &f->err), &f->err);
	f->d->ops->upload_release(u);
	u = begin(f, id, "k");
	assert_parts(f, u, &p, "1 ");
	assert_ok(f->d->ops->upload_commit(u, p.parts, 1, &f->err), &f->err);
	assert_bytes(f, "k", p.text, PART);
}

static void refuse_resume(struct fixture *f, const char *id)
{
	const struct driver_target t = {.key = "k", .tag = "run", .is_exclusive = true};
	struct driver_upload *u = NULL;

	assert_int_equal(f->d->ops->upload_begin(f->d, &t, id, &u, &f->err), -1);
	assert_int_equal(f->err.class, ERR_CONFLICT);
	assert_null(u);
	err_clear(&f->err);
}

static void an_unknown_upload_is_a_conflict(void **state)
{
	refuse_resume(*state, "2~abcdefghijklmnopqrstuvwxyzABCDE");
	refuse_resume(*state, "x");
}

static void an_upload_that_was_aborted_is_gone(void **state)
{
	struct fixture *f = *state;
	struct parts p cleanup(parts_release);
	struct driver_upload *u = begin(f, NULL, "k");
	char *id cleanup(mem_freep) = mem_strdup(f->d->ops->upload_id(u));

	parts_init(&p);
	assert_ok(send_part(f->d, u, &p, 1, &f->err), &f->err);
	assert_ok(f->d->ops->upload_abort(u, &f->err), &f->err);
	refuse_resume(f, id);
	assert_objects_alone(f, 0);
}

static void two_uploads_of_a_key_do_not_mix(void **state)
{
	struct fixture *f = *state;
	struct parts p cleanup(parts_release), q cleanup(parts_release);
	struct driver_upload *one = begin_as(f, "one", NULL, "k"), *two = begin_as(f, "two", NULL, "k");

	parts_init(&p);
	parts_init(&q);
	content_fill(q.text, WHOLE, 77);
	assert_string_not_equal(f->d->ops->upload_id(one), f->d->ops->upload_id(two));
	assert_ok(send_part(f->d, one, &p, 1, &f->err), &f->err);
	assert_ok(send_part(f->d, two, &q, 1, &f->err), &f->err);
	assert_ok(f->d->ops->upload_commit(one, p.parts, 1, &f->err), &f->err);
	assert_bytes(f, "k", p.text, PART);
	assert_int_equal(f->d->ops->upload_commit(two, q.parts, 1, &f->err), -1);
	assert_int_equal(f->err.class, ERR_CONFLICT);
	err_clear(&f->err);
	assert_ok(f->d->ops->upload_abort(two, &f->err), &f->err);
	assert_bytes(f, "k", p.text, PART);
	assert_objects_alone(f, 1);
}

/* --- failing ----------------------------------------------------------------------------------------------------------------- */

static void a_part_that_is_not_there_fails_the_commit(void **state)
{
	struct fixture *f = *state;
	struct parts p cleanup(parts_release);
	struct driver_upload *u = begin(f, NULL, "k");

	parts_init(&p);
	assert_ok(send_part(f->d, u, &p, 1, &f->err), &f->err);
	p.parts[1] = (struct driver_part){2, PART, mem_strdup(p.parts[0].etag)};
	assert_int_equal(f->d->ops->upload_commit(u, p.parts, 2, &f->err), -1);
	assert_true(f->err.class == ERR_FAILED || f->err.class == ERR_CORRUPT);
	err_clear(&f->err);
	assert_missing(f, "k");
	assert_ok(f->d->ops->upload_commit(u, p.parts, 1, &f->err), &f->err); /* it lives on */
	assert_bytes(f, "k", p.text, PART);
}

static void odd_keys_have_uploads_too(void **state)
{
	struct fixture *f = *state;
	static const char *const keys[] = {"a b", "a+b", "100%", "x#y?z=1&", "\xc3\xa4/\xe2\x82\xac"};
	struct parts p cleanup(parts_release);

	parts_init(&p);
	for (size_t i = 0; i < array_len(keys); i++) {
		struct driver_upload *u = begin(f, NULL, keys[i]);
		char *id cleanup(mem_freep) = mem_strdup(f->d->ops->upload_id(u));

		assert_ok(send_part(f->d, u, &p, 3, &f->err), &f->err);
		f->d->ops->upload_release(u);
		u = begin(f, id, keys[i]);
		assert_parts(f, u, &p, "3 ");
		assert_ok(f->d->ops->upload_commit(u, &p.parts[2], 1, &f->err), &f->err);
		assert_bytes(f, keys[i], p.text + 2 * PART, TAIL);
	}
	assert_objects_alone(f, array_len(keys));
}

/* --- composing --------------------------------------------------------------------------------------------------------------- */

static void a_part_is_taken_from_another_object(void **state)
{
	struct fixture *f = *state;
	char *text cleanup(mem_freep) = mem_alloc(3 * PART), *want cleanup(mem_freep) = mem_alloc(PART + TAIL);
	struct driver_part parts[2] = {{1, TAIL + 1, NULL}, {2, PART, NULL}};
	struct driver_upload *u;

	if (!(f->d->features & DRIVER_COMPOSE))
		skip();
	content_fill(text, 3 * PART, 5);
	assert_ok(driver_put_bytes(f, "odd source+", true, text, 3 * PART, &f->err), &f->err);
	u = begin(f, NULL, "k");
	parts[0].bytes = PART;
	parts[1].bytes = TAIL;
	assert_ok(f->d->ops->upload_copy(u, 1, "odd source+", 1000, PART, &parts[0].etag, &f->err), &f->err);
	assert_ok(f->d->ops->upload_part(u, 2, text, TAIL, &parts[1].etag, &f->err), &f->err);
	assert_ok(f->d->ops->upload_commit(u, parts, 2, &f->err), &f->err);
	memcpy(want, text + 1000, PART);
	memcpy(want + PART, text, TAIL);
	assert_bytes(f, "k", want, PART + TAIL);
	free(parts[0].etag);
	free(parts[1].etag);
}

/* --- features ---------------------------------------------------------------------------------------------------------------- */

static void a_driver_has_the_calls_it_says(void **state)
{
	struct fixture *f = *state;
	bool has_parts = f->kind->has_parts && !f->factory->is_sealed;

	assert_int_equal((f->d->features & DRIVER_PARTS) != 0, has_parts);
	assert_int_equal((f->d->features & DRIVER_REMOTE) != 0, f->kind->is_remote);
	assert_true(has_parts
			? f->d->ops->upload_part && f->d->ops->upload_list && f->d->ops->upload_id && f->d->ops->upload_release
			: f->d->ops->upload_write != NULL);
	assert_true(!(f->d->features & DRIVER_COMPOSE) || f->d->ops->upload_copy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		DRIVER_TEST(parts_come_in_any_order),
		DRIVER_TEST(parts_are_sent_by_several_threads),
		DRIVER_TEST(a_part_sent_again_replaces_the_first),
		DRIVER_TEST(parts_are_listed_in_order),
		DRIVER_TEST(a_list_of_parts_stops_where_it_is_told),
		DRIVER_TEST(another_process_goes_on),
		DRIVER_TEST(a_released_upload_can_be_resumed),
		DRIVER_TEST(an_unknown_upload_is_a_conflict),
		DRIVER_TEST(an_upload_that_was_aborted_is_gone),
		DRIVER_TEST(two_uploads_of_a_key_do_not_mix),
		DRIVER_TEST(a_part_that_is_not_there_fails_the_commit),
		DRIVER_TEST(odd_keys_have_uploads_too),
		DRIVER_TEST(a_part_is_taken_from_another_object),
	};
	const struct CMUnitTest without[] = {
		DRIVER_TEST(a_driver_has_the_calls_it_says),
	};

	return driver_suite_run(DRIVER_WITH_PARTS, "parts", NULL, tests, array_len(tests)) +
		driver_suite_run(DRIVER_EVERYWHERE, "features", NULL, without, array_len(without));
}
