/*
 * A vault: a driver that shows the plain objects of a place where everything is kept encrypted.  Object "x" is "x.age" there.
 *
 * - put() and uploads encrypt to the recipients; an upload is a stream (no DRIVER_PARTS), whatever the inner driver has.
 * - stat() and list() give plain sizes; stat() reads the header for that, once per object and vault; list() shows "x.age" as "x",
 *   with the size as it is stored, and hides nothing: other objects keep their names.
 * - read_range() decrypts the chunks it needs; without identities it fails with ERR_CONFIG and says which key is needed where.
 * - keys with one of the ${plain_suffixes} are passed through as they are.
 */
#ifndef STORAGE_AGE_VAULT_H
#define STORAGE_AGE_VAULT_H

#include "storage/age/age.h"
#include "storage/drivers/driver.h"

#define VAULT_SUFFIX ".age"

struct vault_options {
	const struct age_recipients *recipients; /* NULL: nothing can be written */
	const struct age_identities *identities; /* NULL: nothing can be read */
	const char *const *plain_suffixes;       /* NULL-terminated; borrowed, static */
};

/* Borrows ${inner}, which must outlive it: ops->close() leaves it open. */
struct driver *vault_new(struct driver *inner, const struct vault_options *o);

#endif
