/*
 * Inventory: what one backup holds of one database, and what it does not.
 *
 * The one data model between the dump (which fills it from the catalog and from the rows it copied), the manifest (which writes
 * and reads it as JSON) and the restore (which checks a server against it and proves the rows).  Everything lives in the arena.
 * Names are as in the catalog: unquoted, in the database's encoding.  Lists are ordered so that two dumps of the same database
 * give the same order (tables by oid).
 */
#ifndef BASE_INVENTORY_H
#define BASE_INVENTORY_H

#include <stdbool.h>
#include <stdint.h>
#include "base/hash.h"
#include "base/mem.h"

/* Sum modulo 2^128 of XXH3-128 over each row's COPY text without its newline: "xxh3-128-sum". */
struct row_digest {
	uint64_t low, high;
};
#define ROW_DIGEST_HEX_BYTES 33

/* A member of the archive: one run of whole zstd frames holding tar header, content and padding.  A run of entries of a tree
 * of files (header_bytes 0) is a piece of the tar as it is: whole blocks, no header and padding of its own. */
struct inv_member {
	const char *name;      /* "data/00012.03.copy" */
	uint64_t offset;       /* of its first frame in the archive */
	uint64_t stored_bytes; /* of its frames */
	uint64_t header_bytes; /* of tar headers (pax included) before the content, uncompressed */
	uint64_t content_bytes;
	uint64_t rows;                /* data members; else 0 */
	uint8_t sha256[SHA256_BYTES]; /* of the stored bytes */
};

enum inv_table_kind {
	INV_TABLE, /* ordinary table or partition leaf */
	INV_UNLOGGED,
	INV_EXTENSION_CONFIG, /* rows of a table that belongs to an extension, selected by ${condition} */
	INV_LARGE_OBJECTS, /* the large objects' content as rows (loid, byte offset, data); at most one entry; schema and name "" */
};

struct inv_table {
	uint32_t oid; /* in the source; numbers the members */
	const char *schema, *name;
	enum inv_table_kind kind;
	const char **columns; /* what COPY named, in order; none: COPY without a column list */
	size_t columns_count;
	const char *condition; /* "WHERE …" of an extension's configuration table, or NULL */
	uint64_t rows, content_bytes;
	struct row_digest digest;
	size_t *members; /* indexes into inventory.members */
	size_t members_count;
	uint64_t source_bytes; /* size of the relation on the server when it was dumped */
};

struct inv_sequence {
	uint32_t oid;
	const char *schema, *name;
	int64_t last_value;
	bool is_called;
};

/* Present in the database and not in the backup, or in it in another way: foreign rows, --no-unlogged, excluded by pattern,
 * materialized views (recomputed), temporary tables are not listed. */
struct inv_left_out {
	const char *kind; /* "foreign table", "unlogged table", "table", "materialized view", "replication slot" … */
	const char *schema, *name;
	const char *reason;
};

struct inv_matview {
	const char *schema, *name;
	bool is_populated;
};

struct inv_extension {
	const char *name, *version, *schema;
};
struct inv_collation { /* a collation object, or the database's own default (schema and name NULL) */
	const char *schema, *name, *provider, *version;
};
struct inv_role {
	const char *name;
	const char *why; /* "owner", "grantee", "setting", "policy" … */
};
struct inv_slot {
	const char *name, *plugin;
	bool is_logical, is_active;
};

/* ALTER DATABASE … SET, ALTER ROLE … IN DATABASE … SET: role NULL for the former; "name=value" as in setconfig. */
struct inv_setting {
	const char *role, *setting;
};

/* A directory or file of the stack, in the archive under files/<label>/. */
struct inv_tree {
	const char *label;
	const char *path; /* absolute, where it was read */
	bool is_directory;
	uint64_t entries;         /* of the tar: files, directories, symbolic and hard links */
	uint64_t files, bytes;    /* regular files, and their content */
	struct row_digest digest; /* of the entries: storage/archive/tree.h */
	size_t *members;          /* indexes into inventory.members: runs, one right behind the other */
	size_t members_count;
};

/* A secret of the application that the data were written under: what it was, not what it is (base/fingerprint.h). */
struct inv_secret {
	const char *name;
	const char *kdf, *salt, *fingerprint;
	uint64_t iterations;
};

struct inventory {
	struct arena arena;

	/* the server and the database */
	int server_version; /* 150020, as PQserverVersion() */
	const char *server_version_text;
	const char *system_identifier; /* NULL where the role may not ask */
	const char *database, *owner;
	const char *encoding, *collate, *ctype, *locale_provider /* "libc", "icu", "builtin" */, *icu_locale, *collation_version;
	int connection_limit;
	const char *tablespace;
	uint64_t database_bytes;
	const char *snapshot_lsn;
	int64_t snapshot_at_ms; /* UTC */
	const char *dump_tool;  /* "pg_dump (PostgreSQL) 15.20" */

	struct inv_table *tables;
	size_t tables_count, tables_cap;
	struct inv_sequence *sequences;
	size_t sequences_count, sequences_cap;
	struct inv_matview *matviews; /* in the order in which they must be refreshed */
	size_t matviews_count, matviews_cap;
	struct inv_left_out *left_out;
	size_t left_out_count, left_out_cap;
	struct inv_extension *extensions;
	size_t extensions_count, extensions_cap;
	struct inv_collation *collations;
	size_t collations_count, collations_cap;
	struct inv_role *roles;
	size_t roles_count, roles_cap;
	struct inv_slot *slots;
	size_t slots_count, slots_cap;
	const char **publications;
	size_t publications_count, publications_cap;
	const char **subscriptions;
	size_t subscriptions_count, subscriptions_cap;
	const char **tablespaces; /* used by objects of the database, pg_default left out */
	size_t tablespaces_count, tablespaces_cap;
	struct inv_setting *settings;
	size_t settings_count, settings_cap;
	/* The database's own ACL as GRANT/REVOKE sees it: aclitem texts; NULL where it is the default. */
	const char **acl;
	size_t acl_count, acl_cap;
	const char *comment; /* on the database, or NULL */

	struct inv_tree *trees;
	size_t trees_count, trees_cap;

	struct inv_secret *secrets;
	size_t secrets_count, secrets_cap;

	struct inv_member *members; /* in the order of the archive */
	size_t members_count, members_cap;
};

void inventory_release(struct inventory *inv);
/* Adds one zeroed element to a list of ${inv}: inventory_add(inv, tables) evaluates to its address. The lists are malloc'd. */
#define inventory_add(inv, list) \
	__extension__({ \
		(inv)->list = inventory_grow((inv)->list, &(inv)->list##_cap, (inv)->list##_count, sizeof(*(inv)->list)); \
		&(inv)->list[(inv)->list##_count++]; \
	})
void *inventory_grow(void *list, size_t *cap, size_t count, size_t size);
/* Puts members into the order of their offsets, and the lists of tables and trees with them: workers note a member after it was appended. */
void inventory_sort_members(struct inventory *inv);
/* Moves trees, their members and what was left out of them from ${from}, which is released, to ${to}; texts are copied. */
void inventory_take_trees(struct inventory *to, struct inventory *from);
/* Moves the secrets of ${from}, which is released, to ${to}. */
void inventory_take_secrets(struct inventory *to, struct inventory *from);
const struct inv_tree *inventory_tree(const struct inventory *inv, const char *label);    /* NULL when there is none */
const struct inv_member *inventory_member(const struct inventory *inv, const char *name); /* NULL when there is none */

char *row_digest_format(const struct row_digest *d, char out[ROW_DIGEST_HEX_BYTES]); /* high first, 32 hex digits */
int row_digest_parse(const char *text, struct row_digest *ret);
static inline void row_digest_add(struct row_digest *d, const struct row_digest *other)
{
	unsigned __int128 sum = ((unsigned __int128)d->high << 64 | d->low) + ((unsigned __int128)other->high << 64 | other->low);

	d->low = (uint64_t)sum;
	d->high = (uint64_t)(sum >> 64);
}
static inline bool row_digest_equal(const struct row_digest *a, const struct row_digest *b)
{
	return a->low == b->low && a->high == b->high;
}

/* "table", "unlogged table", "extension configuration table", "large objects" */
const char *inv_table_kind_name(enum inv_table_kind kind);
int inv_table_kind_parse(const char *text, enum inv_table_kind *ret);

#endif
