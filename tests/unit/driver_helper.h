/*
 * For the tests of the drivers' contract: a place of its own for each test, through any driver, alone and behind each wrapper.
 *
 * Places behind a network need a server, which S3_ENDPOINT, S3_ACCESS_KEY, S3_SECRET_KEY, S3_REGION and S3_BUCKET name
 * (tests/lib/rgw.sh sets them); without one, driver_suite_run() leaves them out and says so.
 */
#ifndef TESTS_UNIT_DRIVER_HELPER_H
#define TESTS_UNIT_DRIVER_HELPER_H

#include "tests/unit/storage_helper.h"

#include "storage/drivers/s3.h"

struct fixture;

struct driver_kind {
	const char *name;
	bool is_remote;
	bool keeps_killed; /* what a killed upload has sent stays until it is swept */
	bool has_parts;
	bool lacks_blanks; /* in keys */
	struct driver *(*open)(const struct fixture *f, struct error *err);
};
extern const struct driver_kind driver_local, driver_s3, driver_libs3;

struct driver_factory {
	const struct driver_kind *kind;
	const char *behind; /* a wrapper's name, or NULL */
	struct driver *(*wrap)(struct driver *inner);
	bool is_sealed; /* what is listed is larger than what is kept */
};

/* What each test gets. */
struct fixture {
	const struct driver_factory *factory;
	const struct driver_kind *kind;
	struct place place; /* local: what holds the objects; else a directory for what a driver spools */
	char *prefix;       /* remote: in the bucket */
	struct driver *d;
	struct error err;
	/* Instead of the environment's; NULL, 0: as there, the default. */
	const char *endpoint, *bucket, *secret_access_key, *ca_file, *session_token;
	int64_t stall_timeout_ms;
};

/* Opens the place once more, as another process or host would, with the fixture's settings of now.  close with driver_close(). */
struct driver *driver_again(const struct fixture *f);
int driver_try_again(const struct fixture *f, struct driver **ret, struct error *err);
void driver_close(struct driver *d); /* with what a wrapper only borrowed */

bool driver_has_server(void);
int driver_setup(void **state);
int driver_teardown(void **state);
#define DRIVER_TEST(fn) cmocka_unit_test_setup_teardown(fn, driver_setup, driver_teardown)

enum driver_suite {
	DRIVER_EVERYWHERE,
	DRIVER_WITH_PARTS,     /* wherever there are parts */
	DRIVER_UNWRAPPED,      /* without the wrappers */
	DRIVER_REMOTE_ONLY,    /* the same, and only those behind a network */
	DRIVER_WITHOUT_SERVER, /* the same, which then needs no server */
};
/* Runs the tests with every factory that fits; returns the number of those that failed. */
int driver_suite_run(
	enum driver_suite which, const char *about, const struct driver_kind *only, const struct CMUnitTest *tests, size_t count);

/* --- steps of a test --------------------------------------------------------------------------------------------------------- */

int driver_put_bytes(struct fixture *f, const char *key, bool is_exclusive, const void *p, size_t n, struct error *err);
void driver_put_text(struct fixture *f, const char *key, const char *text); /* exclusive, and must succeed */
void assert_object(struct fixture *f, const char *key, const char *text);
void assert_bytes(struct fixture *f, const char *key, const char *p, size_t n);
void assert_missing(struct fixture *f, const char *key);
/* ${expected}: "key:size key:size", sorted; the sizes are not compared where they are sealed. */
void assert_list(struct fixture *f, const char *prefix, const char *expected);
/* So many objects, and no trace of an upload besides. */
void assert_objects_alone(struct fixture *f, unsigned count);

#define SENDING_PARTS_MAX 16

/* An upload of either kind. */
struct sending {
	struct driver *d;
	struct driver_upload *u;
	struct driver_part parts[SENDING_PARTS_MAX]; /* where the driver has parts */
	size_t count;
};
void sending_begin(struct fixture *f, struct sending *s, const char *key, const char *tag, bool is_exclusive);
/* All but the last of DRIVER_PART_MIN_BYTES at least. */
int sending_add(struct sending *s, const void *p, size_t n, struct error *err);
int sending_commit(struct sending *s, struct error *err); /* ends it when it succeeds */
int sending_abort(struct sending *s, struct error *err);  /* ends it in any case */

/* A process of its own begins an upload, sends, and is killed. */
void kill_an_upload(struct fixture *f, const char *key, const char *tag);

#endif
