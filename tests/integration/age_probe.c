/*
 * Writes and reads a directory through a vault: a program for scripts.
 *
 *   age_probe put DIR KEY [-r RECIPIENT | -P VARIABLE]…     standard input becomes DIR/KEY.age
 *   age_probe get DIR KEY [-i FILE | -P VARIABLE]… [-b BYTES]   and back, in reads of so many bytes
 *   age_probe range DIR KEY OFFSET BYTES [-i FILE]…
 *   age_probe speed MIB                                     MB/s of each direction, and what a byte costs
 *
 * -P names an environment variable that holds a passphrase.  A failure is printed as the command line prints it, and the exit
 * status is the command line's.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/io.h"
#include "cmd/exit_status.h"
#include "storage/age/vault.h"

#define BLOCK_BYTES ((size_t)1 << 20)

struct probe {
	struct age_recipients *recipients;
	struct age_identities *identities;
	struct driver *place, *vault;
	const char *key;
	size_t block_bytes;
};

static int add_identity_file(struct probe *p, const char *path, struct error *err)
{
	struct buf text cleanup(buf_release) = {0};
	char *what cleanup(mem_freep) = mem_printf("file \"%s\"", path);
	int rc = io_read_file(path, &text, err);

	if (rc == 0)
		return err_set(err, ERR_CONFIG, "%s does not exist", what);
	return rc < 0 ? -1 : age_identities_add_text(p->identities, buf_str(&text), text.len, what, err);
}

static int add_passphrase(struct probe *p, const char *variable, struct error *err)
{
	const char *passphrase = getenv(variable);

	if (!passphrase)
		return err_set(err, ERR_CONFIG, "environment variable \"%s\" is not set", variable);
	if (age_identities_add_passphrase(p->identities, passphrase, err) < 0)
		return -1;
	return age_recipients_count(p->recipients) ? 0 : age_recipients_set_passphrase(p->recipients, passphrase, 12, err);
}

static int read_options(struct probe *p, int argc, char **argv, struct error *err)
{
	int c, rc = 0;

	while (rc == 0 && (c = getopt(argc, argv, "r:i:P:b:")) != -1) {
		if (c == 'r')
			rc = age_recipients_add(p->recipients, optarg, err);
		else if (c == 'i')
			rc = add_identity_file(p, optarg, err);
		else if (c == 'P')
			rc = add_passphrase(p, optarg, err);
		else if (c == 'b')
			p->block_bytes = strtoul(optarg, NULL, 10);
		else
			rc = err_set(err, ERR_CONFIG, "wrong option");
	}
	return rc;
}

static int open_vault(struct probe *p, const char *dir, struct error *err)
{
	static const char *const everything[] = {"", NULL};
	const struct vault_options o = {.recipients = p->recipients, .identities = p->identities, .sealed_suffixes = everything};

	if (driver_local_open(dir, true, &p->place, err) < 0)
		return -1;
	p->vault = vault_new(p->place, &o);
	return 0;
}

/* --- put, get ---- */

static int copy_in(struct probe *p, struct driver_upload *u, struct error *err)
{
	char *block cleanup(mem_freep) = mem_alloc(BLOCK_BYTES);
	ssize_t n;

	while ((n = io_read_full(STDIN_FILENO, block, BLOCK_BYTES, "-", err)) > 0)
		if (p->vault->ops->upload_write(u, block, (size_t)n, err) < 0)
			return -1;
	return n < 0 ? -1 : p->vault->ops->upload_commit(u, NULL, 0, err);
}

static int put(struct probe *p, struct error *err)
{
	const struct driver_target t = {.key = p->key, .tag = "probe"};
	struct error second cleanup(err_clear) = ERROR_INIT;
	struct driver_upload *u = NULL;

	if (p->vault->ops->upload_begin(p->vault, &t, NULL, &u, err) < 0)
		return -1;
	if (copy_in(p, u, err) == 0)
		return 0;
	return p->vault->ops->upload_abort(u, &second) < 0 ? err_move(err, &second) : -1;
}

static int get_range(struct probe *p, uint64_t offset, uint64_t n, struct error *err)
{
	char *block cleanup(mem_freep) = mem_alloc(p->block_bytes);
	uint64_t at = 0;

	do {
		size_t some = n - at < p->block_bytes ? (size_t)(n - at) : p->block_bytes;
		int rc = p->vault->ops->read_range(p->vault, p->key, offset + at, block, some, err);

		if (rc == 0)
			return err_set(err, ERR_CONFIG, "object \"%s\" does not exist", p->key);
		if (rc < 0 || io_write_full(STDOUT_FILENO, block, some, "-", err) < 0)
			return -1;
		at += some;
	} while (at < n);
	return 0;
}

static int get(struct probe *p, struct error *err)
{
	struct driver_object o = {0};
	int rc = p->vault->ops->stat(p->vault, p->key, &o, err);

	if (rc == 0)
		return err_set(err, ERR_CONFIG, "object \"%s\" does not exist", p->key);
	return rc < 0 ? -1 : get_range(p, 0, o.size_bytes, err);
}

/* --- speed ---- */

static int count_bytes(void *ctx, const void *p, size_t n, struct error *err)
{
	(void)p;
	(void)err;
	*(uint64_t *)ctx += n;
	return 0;
}

static int read_same(void *ctx, uint64_t offset, void *p, size_t n, struct error *err)
{
	const struct buf *b = ctx;

	(void)err;
	memcpy(p, b->data + offset, n);
	return 0;
}

static int64_t cpu_us(void)
{
	struct rusage u;

	(void)getrusage(RUSAGE_SELF, &u);
	return (int64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000 + u.ru_utime.tv_usec + u.ru_stime.tv_usec;
}

static void say(const char *what, uint64_t bytes, int64_t us)
{
	printf("%-10s %6.0f MB/s\n", what, (double)bytes / (double)(us > 0 ? us : 1));
}

static int append(void *ctx, const void *p, size_t n, struct error *err)
{
	return buf_append(ctx, p, n, err);
}

static int encrypt_blocks(const struct age_key *key, const char *block, uint64_t blocks,
	int (*sink)(void *, const void *, size_t, struct error *), void *ctx, struct error *err)
{
	struct age_encryptor *e = age_encryptor_new(key, sink, ctx);
	int rc = 0;

	for (uint64_t i = 0; i < blocks && rc == 0; i++)
		rc = age_encryptor_write(e, block, BLOCK_BYTES, err);
	if (rc == 0)
		rc = age_encryptor_finish(e, err);
	age_encryptor_free(e);
	return rc;
}

static int speed(uint64_t blocks, struct error *err)
{
	struct age_key key = {.payload_key = {1, 2, 3}};
	struct buf sealed cleanup(buf_release) = {0};
	char *block cleanup(mem_freep) = mem_zalloc(BLOCK_BYTES);
	uint64_t bytes = 0;
	int64_t begin = cpu_us();

	if (encrypt_blocks(&key, block, blocks, count_bytes, &bytes, err) < 0)
		return -1;
	say("encrypt", blocks * BLOCK_BYTES, cpu_us() - begin);
	if (encrypt_blocks(&key, block, 64, append, &sealed, err) < 0)
		return -1;
	begin = cpu_us();
	for (uint64_t i = 0; i < blocks; i++)
		if (age_decrypt_range(&key, sealed.len, "x", i % 64 * BLOCK_BYTES, block, BLOCK_BYTES, read_same, &sealed, err) <
			0)
			return -1;
	say("decrypt", blocks * BLOCK_BYTES, cpu_us() - begin);
	begin = cpu_us();
	for (uint64_t i = 0; i < blocks; i++)
		if (age_decrypt_range(&key, sealed.len, "x", i % 64 * BLOCK_BYTES + 1000, block, 100, read_same, &sealed, err) <
			0)
			return -1;
	printf("%-10s %6.1f us for 100 bytes\n", "decrypt", (double)(cpu_us() - begin) / (double)blocks);
	return 0;
}

static int run(struct probe *p, int argc, char **argv, struct error *err)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (strcmp(what, "speed") == 0 && argc == 3)
		return speed(strtoull(argv[2], NULL, 10), err);
	if (argc < 4)
		return err_set(err, ERR_CONFIG, "age_probe put|get|range DIR KEY …");
	p->key = argv[3];
	optind = strcmp(what, "range") == 0 ? 6 : 4;
	if (read_options(p, argc, argv, err) < 0 || open_vault(p, argv[2], err) < 0)
		return -1;
	if (strcmp(what, "put") == 0)
		return put(p, err);
	if (strcmp(what, "range") == 0 && argc > 5)
		return get_range(p, strtoull(argv[4], NULL, 10), strtoull(argv[5], NULL, 10), err);
	return get(p, err);
}

int main(int argc, char **argv)
{
	struct probe p = {.recipients = age_recipients_new(), .identities = age_identities_new(), .block_bytes = BLOCK_BYTES};
	struct error err cleanup(err_clear) = ERROR_INIT;
	int rc = run(&p, argc, argv, &err);

	if (rc < 0) {
		(void)fprintf(stderr, "error:  %s\n", err.message);
		if (err.detail)
			(void)fprintf(stderr, "detail: %s\n", err.detail);
		if (err.hint)
			(void)fprintf(stderr, "hint:   %s\n", err.hint);
	}
	if (p.vault)
		p.vault->ops->close(p.vault);
	if (p.place)
		p.place->ops->close(p.place);
	age_recipients_free(p.recipients);
	age_identities_free(p.identities);
	return rc < 0 ? exit_status_of_error(&err) : 0;
}
