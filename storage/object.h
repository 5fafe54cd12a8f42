/*
 * Small objects, whole.
 */
#ifndef STORAGE_OBJECT_H
#define STORAGE_OBJECT_H

#include "base/buf.h"
#include "storage/drivers/driver.h"

#define OBJECT_MAX_BYTES ((size_t)1 << 30)

/* 1 appended to ${out}, 0 missing, -1; one that is larger than OBJECT_MAX_BYTES is ERR_CORRUPT. */
int object_read(struct driver *d, const char *key, struct buf *out, struct error *err) must_check;

/* 1 removed, 0 was missing, -1.  Asked first: credentials that may not delete can do without what is not there. */
int object_remove(struct driver *d, const char *key, struct error *err) must_check;

#endif
