/*
 * The manifest as data: which key of the JSON text stands for which field of struct manifest and struct inventory.  Writer and
 * reader both work from these tables, so that what one writes the other reads.  For storage/ alone.
 *
 * Text that is valid UTF-8 is a JSON string; other text (a database in LATIN1 or SQL_ASCII may have such names) is
 * {"bytes": "<hexadecimal>"}.
 */
#ifndef STORAGE_MANIFEST_FIELDS_H
#define STORAGE_MANIFEST_FIELDS_H

#include "storage/repository.h"

#define MANIFEST_FORMAT "holdfast-backup/1"
#define MANIFEST_FORMAT_NAME "holdfast-backup/"
#define MANIFEST_ROW_DIGEST "xxh3-128-sum"
#define MANIFEST_MAX_BYTES ((size_t)1 << 30)

enum manifest_type {
	FIELD_NAME,     /* const char *, never NULL */
	FIELD_TEXT,     /* const char *, absent where NULL */
	FIELD_OWN_NAME, /* char *, malloc'd, never NULL */
	FIELD_OWN_TEXT, /* char *, malloc'd, absent where NULL */
	FIELD_TEXTS,    /* const char **, and size_t */
	FIELD_U64,
	FIELD_U32,
	FIELD_INT, /* int */
	FIELD_I64,
	FIELD_BOOL,
	FIELD_TIME,    /* int64_t, UTC milliseconds */
	FIELD_SHA256,  /* uint8_t[SHA256_BYTES] */
	FIELD_DIGEST,  /* struct row_digest */
	FIELD_KIND,    /* enum inv_table_kind */
	FIELD_MEMBERS, /* size_t *, and size_t: names of members */
};

struct manifest_field {
	const char *key;
	enum manifest_type type;
	size_t at;       /* offset in its struct */
	size_t count_at; /* offset of the count, for lists */
};

/* An object of the top level whose fields lie in one struct. */
struct manifest_section {
	const char *key; /* NULL: the fields stand in the top level itself */
	const struct manifest_field *fields;
	size_t fields_count;
	bool is_of_inventory; /* offsets are into struct inventory, else into struct manifest */
};
extern const struct manifest_section manifest_sections[];
extern const size_t manifest_sections_count;
/* "archive": present only with has_archive. */
extern const struct manifest_section manifest_archive;

/* A list of the inventory: one element a line. */
struct manifest_list {
	const char *key;
	size_t at, count_at, cap_at;         /* offsets in struct inventory */
	size_t size;                         /* of an element */
	const struct manifest_field *fields; /* NULL: the elements are texts */
	size_t fields_count;
	bool may_be_null; /* NULL is another thing than an empty list */
	bool is_optional; /* absent where it is empty, as earlier versions wrote it */
};
/* Members come first: tables refer to them. */
extern const struct manifest_list manifest_lists[];
extern const size_t manifest_lists_count;

struct manifest_totals {
	uint64_t tables, rows, bytes, members, stored_bytes;
};
extern const struct manifest_section manifest_totals_section; /* offsets into struct manifest_totals */
void manifest_sum(const struct inventory *inv, struct manifest_totals *ret);

bool text_is_utf8(const char *s, size_t n);

#endif
