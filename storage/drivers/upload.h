/*
 * An object written as a stream, to any driver: one put() when it turns out small, numbered parts sent by several threads when it
 * is large and the driver has parts, straight through where it has none.
 *
 * Parts grow with the object, so that DRIVER_PARTS_MAX of them always suffice: UPLOAD_EVEN_PARTS of ${part_bytes}, then
 * UPLOAD_STEP_PARTS of twice that, as many of four times that, and so on up to DRIVER_PART_MAX_BYTES: from 8 MiB on, 5 TiB.  Where
 * part N begins therefore depends on ${part_bytes} and N alone, and a resume in another process cuts the same bytes into the same
 * parts.  Who can guess the size should: parts that have to grow late end up much larger than parts that began right, and memory
 * goes with them (100 GiB guessed: 21 MiB each; not guessed: 128 MiB at the end).
 *
 * Memory: ${parallel} + 1 parts, none before there is a byte for it.  The writer waits while all of them are on their way.
 *
 * A part that fails for good is everybody's failure: no further one is begun; those on their way are waited for (a cancel token of
 * the driver ends them at once).
 */
#ifndef STORAGE_DRIVERS_UPLOAD_H
#define STORAGE_DRIVERS_UPLOAD_H

#include "base/event.h"
#include "storage/drivers/driver.h"

#define UPLOAD_PART_BYTES ((uint64_t)8 << 20)
#define UPLOAD_PARALLEL 3
#define UPLOAD_PARALLEL_MAX 32
#define UPLOAD_EVEN_PARTS 6000u
#define UPLOAD_STEP_PARTS 400u

struct upload;

/* An upload in parts as another process finds it again; for the journal.  Zeroed: none was begun. */
struct upload_state {
	char *id; /* malloc'd */
	uint64_t part_bytes;
	struct driver_part *parts; /* malloc'd, those that are known to be there, in any order */
	size_t parts_count;
};
void upload_state_release(struct upload_state *s);
void upload_state_add(struct upload_state *s, const struct driver_part *p); /* a copy of ${p} */
void upload_state_copy(const struct upload_state *from, struct upload_state *ret);

struct upload_options {
	struct driver *driver;
	struct driver_target target; /* copied */
	/* Of the first parts.  0: UPLOAD_PART_BYTES, or the number of whole MiB with which ${expected_bytes} and a fifth more fit into
	 * UPLOAD_EVEN_PARTS.  Raised in any case to what lets ${expected_bytes} fit into DRIVER_PARTS_MAX.  ERR_CONFIG below
	 * DRIVER_PART_MIN_BYTES and above DRIVER_PART_MAX_BYTES. */
	uint64_t part_bytes;
	unsigned parallel;       /* parts on their way at once; 0: UPLOAD_PARALLEL; more than UPLOAD_PARALLEL_MAX is that */
	uint64_t expected_bytes; /* a guess; 0: unknown */
	int64_t patience_ms; /* how long upload_write() may wait for room, all in all, before it fails with ERR_RETRY; 0: for ever */
	bool is_resumable; /* what on_begin() and on_part() told is noted: a commit that fails releases, it does not abort */
	/* Called before the first part is sent, with the id that a resume needs; its failure fails the upload.  May be NULL. */
	int (*on_begin)(void *ctx, const struct upload_state *s, struct error *err);
	/* Called after each part that is there, never by two threads at once.  Its failure fails the upload.  May be NULL. */
	int (*on_part)(void *ctx, const struct driver_part *p, struct error *err);
	void *ctx;
};

int upload_open(const struct upload_options *o, struct upload **ret, struct error *err) must_check;
/* From one thread at a time.  After a failure every later call fails with the same error. */
int upload_write(struct upload *u, const void *p, size_t n, struct error *err) must_check;
/* Makes the object complete and visible.  Ends ${u} in any case; what failed is aborted, or released where is_resumable. */
int upload_commit(struct upload *u, struct error *err) must_check;
void upload_abort(struct upload *u); /* NULL is fine; what cannot be removed now is found by the next sweep */
/* Ends ${u} here and leaves the parts that are there for upload_resume(): told to stop politely, or a slow place is left for later.
 * Without parts it is upload_abort().  NULL is fine. */
void upload_release(struct upload *u);

/*
 * Goes on with an upload in parts that was begun by a process that is gone: asks the place what it has, sends what is missing, and
 * commits.  ${bytes} is the whole object's size; read() gives any range of it, from several threads.  A part counts as there when
 * the place lists it with the size and the etag that ${state} noted for it; where none was noted it is sent again.
 * ERR_CONFLICT: the place no longer knows the upload (it was aborted; or an earlier commit did succeed: ask whether the object is
 * there), and nothing was sent.  After any failure the parts stay: it may be called again, or upload_discard().
 * *ret_sent_bytes: how much had to travel, also of an attempt that failed.  ${progress}, ${cancel} may be NULL.
 */
int upload_resume(const struct upload_options *o, const struct upload_state *state, uint64_t bytes,
	int (*read)(void *ctx, uint64_t offset, void *p, size_t n, struct error *err), void *ctx, struct cancel *cancel,
	struct progress *progress, uint64_t *ret_sent_bytes, struct error *err) must_check;

/* Aborts an upload that was released or whose process is gone.  0 also when the place no longer knows it. */
int upload_discard(const struct upload_options *o, const struct upload_state *state, struct error *err) must_check;

/* Where part ${number} (from 1) begins, and how many bytes it has unless it is the last. */
uint64_t upload_part_offset(uint64_t part_bytes, unsigned number);
uint64_t upload_part_size(uint64_t part_bytes, unsigned number);

#endif
