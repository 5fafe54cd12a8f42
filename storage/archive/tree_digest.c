/*
 * What a tree holds, as one number (see tree.h), and the proof that a tree on disk holds it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "storage/archive/tree_internal.h"

#define READ_BYTES ((size_t)1 << 20)
#define MODE_BITS 01777u

/* NULL: empty. */
static void put_text(struct sha256 *h, const char *text)
{
	const char *t = text ? text : "";

	sha256_update(h, t, strlen(t) + 1);
}

static void put_attributes(struct sha256 *h, const struct tree_record *r)
{
	char text[64];

	(void)snprintf(text, sizeof(text), "%o", r->mode & MODE_BITS);
	put_text(h, text);
	(void)snprintf(text, sizeof(text), "%" PRId64, r->mtime);
	put_text(h, text);
}

static void put_content(struct sha256 *h, const struct tree_record *r)
{
	char text[SHA256_HEX_BYTES];

	(void)snprintf(text, sizeof(text), "%" PRIu64, r->size);
	put_text(h, text);
	put_text(h, hex_encode(r->sha256, SHA256_BYTES, text));
}

void tree_sum_add(struct tree_sum *sum, const struct tree_record *r)
{
	struct sha256 h cleanup(sha256_release) = {0};
	const char type[2] = {r->type, '\0'};
	uint8_t raw[SHA256_BYTES];
	struct row_digest d = {0};

	sha256_init(&h);
	put_text(&h, type);
	put_text(&h, r->path);
	if (r->type == 'f' || r->type == 'd')
		put_attributes(&h, r);
	if (r->type == 'f')
		put_content(&h, r);
	if (r->type == 'l' || r->type == 'h')
		put_text(&h, r->target);
	sha256_final(&h, raw);
	for (int i = 0; i < 8; i++) {
		d.high = d.high << 8 | raw[i];
		d.low = d.low << 8 | raw[8 + i];
	}
	row_digest_add(&sum->digest, &d);
	sum->entries++;
	if (r->type == 'f') {
		sum->files++;
		sum->bytes += r->size;
	}
}

int tree_sum_compare(const struct tree_sum *sum, const struct inv_tree *t, const char *where, struct error *err)
{
	char is[ROW_DIGEST_HEX_BYTES], said[ROW_DIGEST_HEX_BYTES];

	if (sum->entries != t->entries || sum->files != t->files || sum->bytes != t->bytes) {
		err_set(err, ERR_CORRUPT, "files \"%s\" %s are not those of the manifest", t->label, where);
		return err_detail(err,
			"There are %" PRIu64 " entries, %" PRIu64 " files of %" PRIu64 " bytes; the manifest says %" PRIu64
			", %" PRIu64 " and %" PRIu64 ".",
			sum->entries, sum->files, sum->bytes, t->entries, t->files, t->bytes);
	}
	if (!row_digest_equal(&sum->digest, &t->digest)) {
		err_set(err, ERR_CORRUPT, "files \"%s\" %s differ from their digest", t->label, where);
		return err_detail(err, "They have %s, the manifest says %s.", row_digest_format(&sum->digest, is),
			row_digest_format(&t->digest, said));
	}
	return 0;
}

/* --- the tree on disk ------------------------------------------------------------------------------------------------------ */

struct proving {
	struct tree_sum sum;
	struct tree_links links;
	struct cancel *cancel;
	struct progress *progress;
	char *block;
};

static void proving_release(struct proving *p)
{
	tree_links_release(&p->links);
	free(p->block);
}

static int hash_file(struct proving *p, int fd, struct tree_record *r, struct error *err)
{
	struct sha256 h cleanup(sha256_release) = {0};
	ssize_t n;

	sha256_init(&h);
	while ((n = io_read_full(fd, p->block, READ_BYTES, r->path, err)) > 0) {
		sha256_update(&h, p->block, (size_t)n);
		r->size += (uint64_t)n;
		progress_add(p->progress, (uint64_t)n, 0);
		if (p->cancel && cancel_check(p->cancel, err) < 0)
			return -1;
	}
	sha256_final(&h, r->sha256);
	return n < 0 ? -1 : 0;
}

static int prove_file(struct proving *p, const struct tree_item *item, struct tree_record *r, struct error *err)
{
	int fd cleanup(io_closep) = -1;
	struct stat st;
	int rc = tree_open_file(item, &fd, &st, err);

	if (rc <= 0)
		return rc < 0 ? -1 : err_set(err, ERR_CORRUPT, "file \"%s\" has vanished", item->path);
	r->type = 'f';
	return hash_file(p, fd, r, err);
}

static int prove_item(void *ctx, const struct tree_item *item, struct error *err)
{
	struct proving *p = ctx;
	struct tree_record r = {.type = 'd', .path = item->path, .mode = item->st.st_mode, .mtime = item->st.st_mtime};
	char *target cleanup(mem_freep) = NULL;

	if (!S_ISDIR(item->st.st_mode))
		target = tree_links_seen(&p->links, &item->st, item->path);
	if (target) {
		r.type = 'h';
	} else if (S_ISLNK(item->st.st_mode)) {
		ssize_t n;

		r.type = 'l';
		target = mem_zalloc((size_t)item->st.st_size + 2);
		n = readlinkat(item->dir_fd, item->name, target, (size_t)item->st.st_size + 1);
		if (n < 0)
			return err_sys(err, "could not read symbolic link \"%s\"", item->path);
		target[n] = '\0';
	} else if (S_ISREG(item->st.st_mode) && prove_file(p, item, &r, err) < 0) {
		return -1;
	}
	r.target = target;
	tree_sum_add(&p->sum, &r);
	progress_item(p->progress);
	return 0;
}

static int prove_miss(void *ctx, enum tree_miss why, const struct tree_item *item, const char *pattern, struct error *err)
{
	(void)ctx;
	(void)pattern;
	return err_set(err, ERR_CORRUPT, "\"%s\" %s", item->path, why == TREE_VANISHED ? "has vanished" : "is in no backup");
}

int tree_prove(const struct inv_tree *t, const char *object, struct cancel *cancel, struct progress *progress, struct error *err)
{
	struct proving p cleanup(proving_release) = {.cancel = cancel, .progress = progress, .block = mem_alloc(READ_BYTES)};
	const struct tree_walk walk = {
		.label = t->label, .path = object, .cancel = cancel, .each = prove_item, .miss = prove_miss, .ctx = &p};

	if (tree_walk(&walk, err) < 0)
		return err_context(err, "could not prove files \"%s\" in \"%s\"", t->label, object);
	return tree_sum_compare(&p.sum, t, "as restored", err);
}

char *tree_object(const struct inv_tree *t, const char *dir)
{
	char *top = io_path_join(dir, t->label), *object;

	if (t->is_directory)
		return top;
	object = io_path_join(top, strrchr(t->path, '/') + 1);
	free(top);
	return object;
}
