#include "storage/drivers/upload_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"

void parts_init(struct parts_sender *s, const struct parts_options *o)
{
	*s = (struct parts_sender){.o = *o, .slots_count = o->parallel + 1};
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_init(&s->telling, NULL);
	pthread_cond_init(&s->work, NULL);
	pthread_cond_init(&s->room, NULL);
}

static void fail_locked(struct parts_sender *s, struct error *err)
{
	if (s->failure.class == ERR_NONE)
		err_move(&s->failure, err);
	pthread_cond_broadcast(&s->work);
	pthread_cond_broadcast(&s->room);
}

static struct driver_part *entry_locked(struct parts_sender *s, unsigned number)
{
	s->parts = mem_grow(s->parts, &s->parts_cap, number, sizeof(s->parts[0]));
	for (; s->parts_count < number; s->parts_count++)
		s->parts[s->parts_count] = (struct driver_part){.number = (unsigned)s->parts_count + 1};
	return &s->parts[number - 1];
}

struct driver_part *parts_entry(struct parts_sender *s, unsigned number, uint64_t bytes)
{
	struct driver_part *p;

	pthread_mutex_lock(&s->lock);
	p = entry_locked(s, number);
	p->bytes = bytes;
	pthread_mutex_unlock(&s->lock);
	return p;
}

/* --- sending --------------------------------------------------------------------------------------------------------------- */

static int buffer_reserve(struct part_slot *slot, size_t bytes, struct error *err)
{
	if (slot->cap >= bytes)
		return 0;
	free(slot->buffer); /* nothing in it is wanted any more */
	slot->cap = 0;
	slot->buffer = malloc(bytes);
	if (!slot->buffer)
		return err_set(err, ERR_FULL, "could not get %zu bytes of memory", bytes);
	slot->cap = bytes;
	return 0;
}

static int send_slot(struct parts_sender *s, struct part_slot *slot, char **ret_etag, struct error *err)
{
	const struct driver_ops *ops = s->o.driver->ops;

	if (cancel_check(s->o.cancel, err) < 0)
		return -1;
	if (slot->is_unread) {
		if (buffer_reserve(slot, slot->bytes, err) < 0 ||
			s->o.read(s->o.read_ctx, slot->offset, slot->buffer, slot->bytes, err) < 0)
			return -1;
	}
	return ops->upload_part(s->upload, slot->number, slot->buffer, slot->bytes, ret_etag, err);
}

/* Without the senders' lock: whoever is told may write to a disk. */
static int tell(struct parts_sender *s, const struct driver_part *p, struct error *err)
{
	int rc = 0;

	progress_add(s->o.progress, p->bytes, 0);
	if (!s->o.on_part)
		return 0;
	pthread_mutex_lock(&s->telling);
	rc = s->o.on_part(s->o.ctx, p, err);
	pthread_mutex_unlock(&s->telling);
	return rc;
}

static struct part_slot *next_given(struct parts_sender *s)
{
	struct part_slot *first = NULL;

	for (unsigned i = 0; i < s->slots_count; i++) {
		struct part_slot *slot = &s->slots[i];

		if (slot->state == PART_GIVEN && (!first || slot->number < first->number))
			first = slot;
	}
	return first;
}

/* Called and left with the lock held, let go of while the part travels. */
static void send_locked(struct parts_sender *s, struct part_slot *slot)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct driver_part part = {.number = slot->number, .bytes = slot->bytes};
	int rc;

	slot->state = PART_SENDING;
	pthread_mutex_unlock(&s->lock);
	rc = send_slot(s, slot, &part.etag, &err);
	if (rc == 0)
		rc = tell(s, &part, &err);
	pthread_mutex_lock(&s->lock);
	if (part.etag) {
		struct driver_part *p = entry_locked(s, part.number);

		free(p->etag);
		*p = part;
		s->sent_bytes += part.bytes;
	}
	if (rc < 0)
		fail_locked(s, &err);
	slot->state = PART_FREE;
	pthread_cond_broadcast(&s->room);
}

static void *send_parts(void *ctx)
{
	struct parts_sender *s = ctx;

	pthread_mutex_lock(&s->lock);
	while (!s->is_ending && s->failure.class == ERR_NONE) {
		struct part_slot *slot = next_given(s);

		if (slot) {
			send_locked(s, slot);
			continue;
		}
		s->idle++;
		pthread_cond_wait(&s->work, &s->lock);
		s->idle--;
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* --- the writer's side ----------------------------------------------------------------------------------------------------- */

static struct part_slot *free_slot(struct parts_sender *s)
{
	for (unsigned i = 0; i < s->slots_count; i++) {
		if (s->slots[i].state == PART_FREE)
			return &s->slots[i];
	}
	return NULL;
}

/* Waits for a free slot, or until the writer's patience is at its end: then the upload has failed. */
static struct part_slot *wait_for_slot(struct parts_sender *s)
{
	int64_t began = clock_mono_ms(), until = began + s->o.patience_ms - s->waited_ms;
	struct timespec at = {.tv_sec = until / 1000, .tv_nsec = until % 1000 * 1000000};
	struct part_slot *slot;

	while (!(slot = free_slot(s)) && s->failure.class == ERR_NONE) {
		if (!s->o.patience_ms)
			pthread_cond_wait(&s->room, &s->lock);
		else if (pthread_cond_clockwait(&s->room, &s->lock, CLOCK_MONOTONIC, &at) == ETIMEDOUT)
			err_set(&s->failure, ERR_RETRY, "sending is slower than what is to be sent");
	}
	s->waited_ms += clock_mono_ms() - began;
	return slot;
}

struct part_slot *parts_take(struct parts_sender *s, size_t bytes, struct error *err)
{
	struct part_slot *slot;

	pthread_mutex_lock(&s->lock);
	slot = wait_for_slot(s);
	if (s->failure.class != ERR_NONE) {
		err_copy(err, &s->failure);
		slot = NULL;
	} else {
		slot->state = PART_FILLING;
	}
	pthread_mutex_unlock(&s->lock);
	if (!slot)
		return NULL;
	slot->bytes = 0;
	slot->is_unread = false;
	return buffer_reserve(slot, bytes, err) < 0 ? NULL : slot;
}

static int start_thread_locked(struct parts_sender *s, struct error *err)
{
	errno = pthread_create(&s->threads[s->threads_count], NULL, send_parts, s);
	if (errno == 0) {
		s->threads_count++;
		return 0;
	}
	return s->threads_count > 0 ? 0 : err_sys(err, "could not start a thread"); /* fewer will do */
}

int parts_give(struct parts_sender *s, struct part_slot *slot, struct error *err)
{
	int rc = 0;

	pthread_mutex_lock(&s->lock);
	slot->state = PART_GIVEN;
	if (s->idle == 0 && s->threads_count < s->o.parallel)
		rc = start_thread_locked(s, err);
	pthread_cond_signal(&s->work);
	pthread_mutex_unlock(&s->lock);
	return rc;
}

static bool is_busy(const struct parts_sender *s)
{
	for (unsigned i = 0; i < s->slots_count; i++) {
		if (s->slots[i].state == PART_GIVEN || s->slots[i].state == PART_SENDING)
			return true;
	}
	return false;
}

int parts_drain(struct parts_sender *s, struct error *err)
{
	int rc = 0;

	pthread_mutex_lock(&s->lock);
	while (s->failure.class == ERR_NONE && is_busy(s))
		pthread_cond_wait(&s->room, &s->lock);
	if (s->failure.class != ERR_NONE)
		rc = err_copy(err, &s->failure);
	pthread_mutex_unlock(&s->lock);
	return rc;
}

void parts_end(struct parts_sender *s)
{
	pthread_mutex_lock(&s->lock);
	s->is_ending = true;
	pthread_cond_broadcast(&s->work);
	pthread_mutex_unlock(&s->lock);
	for (; s->threads_count > 0; s->threads_count--)
		pthread_join(s->threads[s->threads_count - 1], NULL);
	for (unsigned i = 0; i < s->slots_count; i++) {
		free(s->slots[i].buffer);
		s->slots[i] = (struct part_slot){0};
	}
}

void parts_release(struct parts_sender *s)
{
	for (size_t i = 0; i < s->parts_count; i++)
		free(s->parts[i].etag);
	free(s->parts);
	err_clear(&s->failure);
	pthread_cond_destroy(&s->work);
	pthread_cond_destroy(&s->room);
	pthread_mutex_destroy(&s->lock);
	pthread_mutex_destroy(&s->telling);
}
