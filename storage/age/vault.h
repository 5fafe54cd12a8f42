/*
 * A vault: a driver that shows the plain objects of a place where some are kept encrypted.  A sealed object "x" is "x.age" there.
 *
 * - Sealed are the keys that end with one of ${sealed_suffixes} (that seal archives and manifests); all others are passed through as
 *   they are.
 * - put() and uploads encrypt to the recipients; an upload is a stream (no DRIVER_PARTS), whatever the inner driver has.
 * - stat() gives the plain size (it reads the header for that, once per object and vault); list() shows "x.age" of a sealed "x" as
 *   "x", with the size as it is stored, and hides nothing.
 * - read_range() decrypts the chunks it needs; without an identity it fails with ERR_CONFIG and says that one is needed.
 */
#ifndef STORAGE_AGE_VAULT_H
#define STORAGE_AGE_VAULT_H

#include "storage/age/age.h"
#include "storage/drivers/driver.h"

#define VAULT_SUFFIX ".age"

struct vault_options {
	const struct age_recipients *recipients; /* NULL: nothing can be written */
	const struct age_identities *identities; /* NULL or empty: nothing can be read; may be filled later */
	const char *const *sealed_suffixes;      /* NULL-terminated; borrowed, static */
};

/* Borrows ${inner}, which must outlive it: ops->close() leaves it open. */
struct driver *vault_new(struct driver *inner, const struct vault_options *o);

#endif
