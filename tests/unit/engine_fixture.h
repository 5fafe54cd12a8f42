/*
 * One run over the small world of engine_kinds.h, as most of the engine's tests need it: started, resumed, and asked how it stands.
 */
#ifndef TESTS_ENGINE_FIXTURE_H
#define TESTS_ENGINE_FIXTURE_H

#include "tests/unit/engine_kinds.h"

struct fixture {
	struct world w;
	struct event_sink sink;
	struct run_options o; /* of the last start */
	struct run_result r;  /* of whatever was done last; its run_id is what the next is done to */
	struct error err;
	const struct step_kind *const *kinds; /* NULL: test_kinds */
	const char *(*find_plan)(const char *name);
	json_t *given;   /* parameters, or NULL */
	json_t *request; /* an approval that was found, or NULL */
};

/* For a setup function, which adds what its tests need. */
static inline struct fixture *fixture_open(const struct step_kind *const *kinds, const char *(*find_plan)(const char *name))
{
	struct fixture *f = mem_zalloc(sizeof(*f));

	world_open(&f->w);
	f->kinds = kinds;
	f->find_plan = find_plan;
	return f;
}

static inline int fixture_close(void **state)
{
	struct fixture *f = *state;

	world_close(&f->w);
	run_result_release(&f->r);
	err_clear(&f->err);
	json_decref(f->given);
	json_decref(f->request);
	free(f);
	return 0;
}

/* The options of a start, for those who begin it themselves. */
static inline void set_options(struct fixture *f, const char *plan)
{
	f->o = world_options(&f->w, &f->sink, plan, f->given);
	f->o.find_plan = f->find_plan;
	if (f->kinds)
		f->o.kinds = f->kinds;
}

static inline int try_start(struct fixture *f, const char *plan)
{
	run_result_release(&f->r);
	set_options(f, plan);
	return run_start(&f->o, &f->r, &f->err);
}

/* The start itself must succeed, whatever becomes of the run. */
static inline void start(struct fixture *f, const char *plan)
{
	if (try_start(f, plan) < 0)
		fail_msg("could not start: %s", f->err.message);
}

/* What is done next is done to that run. */
static inline void turn_to(struct fixture *f, const char *run_id)
{
	char *id = mem_strdup(run_id); /* may be that of the result */

	run_result_release(&f->r);
	f->r.run_id = id;
}

static inline int try_resume(struct fixture *f)
{
	char *id cleanup(mem_freep) = mem_strdup(f->r.run_id);
	int rc;

	run_result_release(&f->r);
	rc = run_resume(&f->o, id, &f->r, &f->err);
	if (!f->r.run_id)
		f->r.run_id = take_ptr(id);
	return rc;
}

static inline void resume(struct fixture *f)
{
	if (try_resume(f) < 0)
		fail_msg("could not resume: %s", f->err.message);
}

static inline void assert_state(struct fixture *f, const char *want, bool is_resumable)
{
	struct run_summary s cleanup(run_summary_release) = {0};
	struct error err cleanup(err_clear) = ERROR_INIT;

	assert_int_equal(run_summary_load(f->w.state_dir, f->r.run_id, &s, &err), 0);
	assert_string_equal(s.state, want);
	assert_int_equal(s.is_resumable, is_resumable);
}

#endif
