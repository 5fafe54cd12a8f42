/*
 * Whatever bytes are taken for the tar of a tree: unpacked below its directory, or refused; never a byte, a link or a mode elsewhere.
 * What was unpacked is what the archive's check has seen.
 *
 * The bytes are put into an archive with right checksums, as a forger would see to.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "storage/archive/tree_internal.h"
#include "tests/fuzz/support.h"

#define KEY "backup.tar.zst"
#define VICTIM "untouched"

static int to_buf(void *ctx, const void *p, size_t n, struct error *err)
{
	return buf_append(ctx, p, n, err);
}

static void make_archive(const struct buf *tar, struct inventory *inv, struct buf *out)
{
	const struct archive_writer_options o = {.key = KEY, .tag = "fuzz", .write = to_buf, .ctx = out};
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct archive_writer *w = NULL;
	struct archive_member *m = NULL;
	struct inv_tree *t = inventory_add(inv, trees);
	uint8_t sha256[SHA256_BYTES];
	uint64_t bytes;

	fuzz_expect(archive_writer_open(&o, &w, &err) == 0 &&
			archive_member_begin_run(w, &m, "files/data#00001", NULL, &err) == 0 &&
			archive_member_write(m, tar->data, tar->len, &err) == 0 &&
			archive_member_end(m, &inv->arena, inventory_add(inv, members), &err) == 0 &&
			archive_writer_commit(w, &bytes, sha256, &err) == 0,
		"no archive can be written");
	archive_member_free(m);
	t->label = "data";
	t->path = "/srv/data";
	t->is_directory = true;
	t->bytes = (uint64_t)64 << 20; /* of all files: what claims more is refused before its holes are read */
	t->members = arena_alloc(&inv->arena, sizeof(*t->members));
	t->members_count = 1;
}

/* Beside the target, where "..", links and absolute names would like to write. */
static void check_victim(const char *victim)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct buf b cleanup(buf_release) = {0};
	struct stat st;

	fuzz_expect(io_read_file(victim, &b, &err) == 1 && strcmp(buf_str(&b), VICTIM) == 0, "a file elsewhere was written to");
	fuzz_expect(lstat(victim, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 07777) == 0640 && st.st_nlink == 1 &&
			st.st_mtim.tv_sec == 1000000000,
		"a file elsewhere was changed");
}

static void make_victim(const char *victim)
{
	const struct timespec times[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
	struct stat st;
	char *path;

	if (lstat(victim, &st) == 0)
		return;
	path = fuzz_file("victim", (const uint8_t *)VICTIM, strlen(VICTIM));
	free(path);
	fuzz_expect(chmod(victim, 0640) == 0 && utimensat(AT_FDCWD, victim, times, 0) == 0, "the victim cannot be made");
}

/* What the tree on the disk adds up to is what the archive does: the digest that is compared is that of the disk. */
static int add_record(void *ctx, const struct tree_item *item, struct error *err)
{
	(void)item;
	(void)err;
	++*(uint64_t *)ctx;
	return 0;
}

static void check_extracted(const struct tree_source *s, const char *target)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	char *object cleanup(mem_freep) = tree_object(s->tree, target);
	uint64_t entries = 0;
	const struct tree_walk w = {.label = "data", .path = object, .each = add_record, .ctx = &entries};
	struct stat st;

	if (lstat(object, &st) < 0)
		return; /* an archive without an entry */
	fuzz_expect(S_ISDIR(st.st_mode), "a tree that is no directory");
	fuzz_expect(tree_walk(&w, &err) == 0, "a tree that cannot be walked");
	fuzz_expect(entries > 0, "a tree without its root");
}

static void clear(const char *target, const char *parent)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	char *object cleanup(mem_freep) = io_path_join(target, "data");
	struct stat st;

	fuzz_expect(io_remove_tree(object, &err) == 0, "what was unpacked cannot be removed");
	fuzz_expect(rmdir(target) == 0, "something beside the tree was unpacked");
	fuzz_expect(lstat(parent, &st) == 0 && st.st_nlink == 2, "a directory elsewhere was made");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const keys[] = {KEY, NULL};
	char *target cleanup(mem_freep) = io_path_join(fuzz_dir(), "target");
	char *victim cleanup(mem_freep) = io_path_join(fuzz_dir(), "victim");
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct inventory inv cleanup(inventory_release) = {0};
	struct buf tar cleanup(buf_release) = {0}, archive cleanup(buf_release) = {0};
	struct archive_reader *reader = NULL;
	struct tree_source s = {.inventory = &inv};
	struct fuzz_place place;
	uint64_t warnings = 0;
	int rc;

	buf_putn(&tar, (const char *)data, size);
	while (tar.len == 0 || tar.len % TAR_BLOCK)
		buf_putc(&tar, '\0');
	make_victim(victim);
	fuzz_expect(mkdir(target, 0700) == 0, "no directory can be made");
	make_archive(&tar, &inv, &archive);
	fuzz_place_init(&place, keys, (const uint8_t *)archive.data, archive.len);
	fuzz_expect(archive_reader_open(&place.base, KEY, inv.members, inv.members_count, &reader, &err) == 0, "no reader");
	s.reader = reader;
	s.tree = &inv.trees[0];
	fuzz_expect_error(tree_check(&s, &err), &err, FUZZ_CLASS(ERR_CORRUPT));
	err_clear(&err);
	rc = tree_extract(&s, target, &warnings, &err);
	fuzz_expect_error(rc, &err, FUZZ_CLASS(ERR_CORRUPT) | FUZZ_CLASS(ERR_IO) | FUZZ_CLASS(ERR_DENIED) | FUZZ_CLASS(ERR_FULL));
	if (rc == 0)
		check_extracted(&s, target);
	archive_reader_close(reader);
	check_victim(victim);
	clear(target, fuzz_dir());
	return 0;
}
