/*
 * A repository: backup sets of stacks behind a driver.  See docs/formats.md.
 *
 *   holdfast-repository.json                     format version, repository id, age recipients
 *   <stack>/backups/<backup-id>/backup.tar.zst   the archive
 *   <stack>/backups/<backup-id>/set.json         what lists need to know of the set, and the checksum of what is stored
 *   <stack>/backups/<backup-id>/manifest.json    the commit point: written last
 *
 * In an encrypted repository archive and manifest are age files, with ".age" behind their names; set.json is not, and holds nothing
 * that must be secret: who has no identity can still list, check what is stored, and prune.
 *
 * A set exists once its manifest exists.  No object is ever rewritten but by a change of recipients.
 */
#ifndef STORAGE_REPOSITORY_H
#define STORAGE_REPOSITORY_H

#include "base/inventory.h"
#include "base/event.h"
#include "storage/age/age.h"
#include "storage/archive/archive.h"
#include "storage/drivers/s3.h"
#include "storage/drivers/driver.h"

enum verify_level {
	VERIFY_QUICK,     /* manifest readable, archive there and of the right size */
	VERIFY_CHECKSUMS, /* + the checksum of every stored byte */
	VERIFY_CONTENT,   /* + every frame decompressed, lengths, rows and row digests recomputed and compared */
};

struct repository_options {
	const char *name; /* as configured; NULL: the url */
	const char *url;  /* as repository_open() takes it, or "s3://bucket/prefix" */
	bool is_created;
	const struct s3_options *s3; /* bucket and prefix come from the url; NULL: nothing configured */
	bool is_libs3;               /* signature version 2, over libs3 */
	int64_t give_up_after_ms;    /* of one call to a remote place; 0: the default of retry.h */
	int64_t open_within_ms;      /* opening gives up as early as that; 0: as everything else */
	struct event_sink *events;   /* told of every repeated attempt; may be NULL */
	struct cancel *cancel;       /* may be NULL */
	/* Instead of recipients and identities: whoever knows it reads and writes.  NULL: none. */
	const char *passphrase;
	const char *const *encrypt_to; /* age recipients, NULL-terminated; NULL: not encrypted */
	/* Adds the configured identities, when something encrypted is first read; NULL: none is configured. */
	int (*load_identities)(void *ctx, struct age_identities *into, struct error *err);
	void *identities_ctx;  /* lives as long as the repository */
	const char *spool_dir; /* NULL: none */
	int read_back;         /* enum verify_level; -1: checksums, quick for a remote place */
};

struct repository {
	struct driver *place;  /* objects as they are stored; patient where the place is remote */
	struct driver *driver; /* objects as plain text: the place itself, or a vault over it */
	char *name;            /* as configured, or its url */
	char *url;             /* without credentials */
	char *id;
	bool is_encrypted;
	char **encrypt_to; /* the recipients' texts, NULL-terminated; NULL: not encrypted */
	struct age_recipients *recipients;
	struct age_identities *identities; /* empty until unlocked */
	bool is_unlocked;
	int (*load_identities)(void *ctx, struct age_identities *into, struct error *err);
	void *identities_ctx;
	char *spool_dir; /* or NULL */
	enum verify_level read_back;
};

int repository_open_with(const struct repository_options *o, struct repository **ret, struct error *err) must_check;
/* Whether sets can be written as the configuration asks: ERR_CONFIG where the repository is encrypted and the configuration is not, or
 * the other way round. */
int repository_check_writable(const struct repository *r, struct error *err) must_check;
void repository_set_cancel(struct repository *r, struct cancel *cancel);
void repository_set_progress(struct repository *r, struct progress *progress); /* as driver_set_progress() */
/* Loads the identities of an encrypted repository.  1: what is encrypted can be read; 0: no identity is configured; -1. */
int repository_unlock(struct repository *r, struct error *err) must_check;
/* ${url}: "file:///dir", "/dir", "./dir".  is_created: makes holdfast-repository.json where there is none; else a missing one is
 * ERR_CONFIG ("no repository at …").  A directory that is not empty and holds no repository is refused.  Where a repository
 * could be made, sys_errno of the ERR_CONFIG is ENOENT. */
int repository_open(const char *name, const char *url, bool is_created, struct repository **ret, struct error *err) must_check;
void repository_close(struct repository *r); /* for cleanup: repository_closep(&r) */
void repository_closep(struct repository **r);

#define REPOSITORY_FILE "holdfast-repository.json"
#define REPOSITORY_PROBES "holdfast-probe/" /* what doctor writes, below it; a place with nothing else is empty */
#define SET_ARCHIVE "backup.tar.zst"
#define SET_MANIFEST "manifest.json"
#define SET_FACTS "set.json"
#define SET_PINNED "pinned"

/* Keys, as repository.driver knows them; malloc'd. */
char *repository_archive_key(const char *stack, const char *backup_id);
char *repository_manifest_key(const char *stack, const char *backup_id);
/* Of any object of a set, as repository.place knows it: ".age" is put behind archive and manifest of an encrypted repository. */
char *repository_stored_key(const struct repository *r, const char *stack, const char *backup_id, const char *object);

#define BACKUP_ID_BYTES 32
/* "20261120T031500Z-7f3a91c2" */
int backup_id_make(int64_t utc_ms, char out[BACKUP_ID_BYTES], struct error *err) must_check;
bool backup_id_is_valid(const char *text);
bool stack_name_is_valid(const char *text); /* [A-Za-z0-9_.-]{1,64}, not beginning with '.' or '-' */

/* What the manifest says beside the inventory. */
struct manifest {
	char *backup_id, *stack, *host, *tool_version /* "holdfast 0.1.0" */, *app_version /* may be NULL */;
	int64_t started_at_ms, ended_at_ms; /* UTC */
	char *archive_name;                 /* "backup.tar.zst" */
	uint64_t archive_bytes;
	uint8_t archive_sha256[SHA256_BYTES];
	bool has_archive; /* the copy inside the archive has none of the three above */
	struct inventory inventory;
};
void manifest_release(struct manifest *m);
/* As JSON text, written as a stream: memory is the text plus nothing.  */
int manifest_write(const struct manifest *m, struct buf *out, struct error *err) must_check;
/* Fails with ERR_CORRUPT naming ${what}, or ERR_CONFIG for a format of a later version. */
int manifest_parse(const char *text, size_t n, const char *what, struct manifest *ret, struct error *err) must_check;

/* Commits: stores ${text} as the set's manifest, exclusively.  The same text there already is success (a repeated step). */
int backup_set_commit(
	struct repository *r, const char *stack, const char *backup_id, const char *text, size_t n, struct error *err) must_check;
/*
 * Removes what an unfinished backup or copy left under the set's prefix: uploads, set.json, the archive.  1 the set exists and nothing was
 * touched, 0 nothing is there any more, -1.  A place that does not let us list uploads keeps those for prune.
 */
int backup_set_clear(struct repository *r, const char *stack, const char *backup_id, struct error *err) must_check;
/* 1, 0 no such set, -1. */
int backup_set_load(
	struct repository *r, const char *stack, const char *backup_id, struct manifest *ret, struct error *err) must_check;
/* Resolves "latest", a full id, or a unique prefix of one; malloc'd.  ERR_CONFIG: "no backup set … in repository …" with what there is. */
int backup_set_resolve(struct repository *r, const char *stack, const char *which, char **ret_id, struct error *err) must_check;

struct backup_set_info {
	char *backup_id, *stack;
	int64_t started_at_ms, ended_at_ms;
	uint64_t archive_bytes, content_bytes, rows;
	size_t tables;
	uint64_t files, files_bytes; /* of the stack */
	char *server_version, *database;
	char *problem;            /* manifest unreadable, archive missing or of another size; else NULL */
	bool is_of_later_version; /* that is the problem: nothing says that it is damaged */
	bool is_encrypted;        /* server_version and database are NULL then */
	bool is_pinned;
};
/* Sets of ${stack} (NULL: of all), oldest first; malloc'd list. */
int backup_set_list(
	struct repository *r, const char *stack, struct backup_set_info **ret, size_t *ret_count, struct error *err) must_check;
void backup_set_list_release(struct backup_set_info *list, size_t count);

struct verify_report {
	uint64_t members, stored_bytes, content_bytes, rows, tables;
};
/* The row digest is passed in because storage does not know COPY text: adds the rows of one block; rows never span blocks it is
 * not told about (${state} is zeroed at a member's begin). */
struct verify_digest {
	int (*add)(void *state, const char *p, size_t n, struct row_digest *digest, uint64_t *rows, struct error *err);
	void (*reset)(void *state);
	void *(*state_new)(void);
	void (*state_free)(void *state);
};
/* ERR_CORRUPT on the first difference, naming member and set.  jobs: threads.  */
int backup_set_verify(struct repository *r, const char *stack, const struct manifest *m, enum verify_level level, int jobs,
	const struct verify_digest *digest, struct cancel *cancel, struct progress *progress, struct verify_report *ret,
	struct error *err) must_check;

#endif
