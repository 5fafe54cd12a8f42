/*
 * The threads that send the parts of one upload, and the buffers they send from.  Internal to upload*.c.
 *
 * One thread (the writer) takes a slot, fills it or says which range it stands for, and gives it; the senders take what was given,
 * lowest number first.  Threads are started as parts come, one at a time, up to ${parallel}.  All functions are the writer's.
 */
#ifndef STORAGE_DRIVERS_UPLOAD_PARTS_H
#define STORAGE_DRIVERS_UPLOAD_PARTS_H

#include <pthread.h>
#include "storage/drivers/upload.h"

enum part_slot_state { PART_FREE, PART_FILLING /* the writer's */, PART_GIVEN, PART_SENDING };

struct part_slot {
	enum part_slot_state state;
	unsigned number;
	uint64_t offset; /* is_unread: what the sender reads first */
	size_t bytes;
	char *buffer;
	size_t cap;
	bool is_unread;
};

struct parts_options {
	struct driver *driver;
	unsigned parallel;
	int64_t patience_ms;                                                       /* the writer's, all in all; 0: for ever */
	int (*on_part)(void *ctx, const struct driver_part *p, struct error *err); /* may be NULL */
	void *ctx;
	int (*read)(void *ctx, uint64_t offset, void *p, size_t n, struct error *err); /* for slots that are unread */
	void *read_ctx;
	struct cancel *cancel;     /* asked before each part; may be NULL */
	struct progress *progress; /* may be NULL */
};

struct parts_sender {
	struct parts_options o;
	struct driver_upload *upload; /* borrowed; set before the first part is given */
	pthread_mutex_t lock;         /* of all that follows */
	pthread_mutex_t telling;      /* held around on_part() */
	pthread_cond_t work, room;
	struct part_slot slots[UPLOAD_PARALLEL_MAX + 1];
	unsigned slots_count;
	pthread_t threads[UPLOAD_PARALLEL_MAX];
	unsigned threads_count, idle;
	bool is_ending;
	int64_t waited_ms;         /* the writer, for room */
	struct error failure;      /* the first */
	struct driver_part *parts; /* by number; without an etag: not there */
	size_t parts_count, parts_cap;
	uint64_t sent_bytes;
};

void parts_init(struct parts_sender *s, const struct parts_options *o);
/* Room in the list for part ${number}, whose size is known: returned for its etag to be set. */
struct driver_part *parts_entry(struct parts_sender *s, unsigned number, uint64_t bytes);
/* A free slot, waited for; ${bytes} of buffer unless 0.  NULL with the failure of whichever part, or ERR_FULL. */
struct part_slot *parts_take(struct parts_sender *s, size_t bytes, struct error *err) must_check;
int parts_give(struct parts_sender *s, struct part_slot *slot, struct error *err) must_check;
int parts_drain(struct parts_sender *s, struct error *err) must_check; /* until all that was given is there */
void parts_end(struct parts_sender *s);     /* parts that no thread has begun are dropped; threads joined, buffers freed */
void parts_release(struct parts_sender *s); /* after parts_end(): the list */

/* What upload_open() and upload_resume() share. */
unsigned upload_parallel(const struct upload_options *o);

#endif
