/*
 * One examination in work.  For probe*.c alone.
 */
#ifndef STORAGE_PROBE_PRIVATE_H
#define STORAGE_PROBE_PRIVATE_H

#include "storage/probe.h"

/* What an earlier check has shown, and a later one stands on. */
enum probe_have {
	HAVE_PLACE = 1 << 0,  /* it could be opened */
	HAVE_ANSWER = 1 << 1, /* it answers */
	HAVE_OBJECT = 1 << 2, /* ${key} is there with ${content} */
};

struct probe {
	const struct repository_options *o;
	bool is_strict, is_remote;
	unsigned have;             /* enum probe_have */
	const char *lacking;       /* the first check that gave nothing, for what is skipped */
	struct driver *place;      /* NULL: could not be opened */
	struct driver_state state; /* with HAVE_ANSWER, where the driver describes */
	char *host_key;            /* of the object that stays where nothing can be removed */
	bool is_dirty;             /* something of ours may be there */
	char *key;                 /* of the object that is worked with; NULL: none */
	struct error removal;      /* why ${host_key} could not be removed; ERR_NONE: it could */
	uint64_t newest_bytes;     /* of the archive of the newest set, as it is stored */
	char *newest_id;           /* NULL: there is no set */
	uint8_t *content;
	struct probe_report *report;
};

#define PROBE_CONTENT_BYTES ((size_t)70001)

/* Fills an item; returns 0. */
int probe_say(struct probe_item *it, enum probe_state state, const char *fmt, ...) printf_like(3, 4);
int probe_hint(struct probe_item *it, const char *fmt, ...) printf_like(2, 3);
/* From an error, which is cleared. */
int probe_blame(struct probe_item *it, enum probe_state state, struct error *why);

/*
 * Checks: 0 with the item filled, or -1 with ${err}, which then is the item (failed), or the end (ERR_CANCELLED).
 */
int probe_write(struct probe *p, struct probe_item *it, struct error *err) must_check;
int probe_read(struct probe *p, struct probe_item *it, struct error *err) must_check;
int probe_list(struct probe *p, struct probe_item *it, struct error *err) must_check;
int probe_exclusive(struct probe *p, struct probe_item *it, struct error *err) must_check;
int probe_multipart(struct probe *p, struct probe_item *it, struct error *err) must_check;
int probe_delete(struct probe *p, struct probe_item *it, struct error *err) must_check;
int probe_space(struct probe *p, struct probe_item *it, struct error *err) must_check;
int probe_directory(struct probe *p, struct probe_item *it, struct error *err) must_check;
int probe_spool(struct probe *p, struct probe_item *it, struct error *err) must_check;
/* Removes what an examination that was broken off has left; says nothing. */
void probe_clean_up(struct probe *p);

#endif
