/*
 * What a backup does to a repository behind a network, without a database: for scripts that make the network fail.
 *
 *	remote_probe PREFIX GIVE-UP-MS STALL-MS ARCHIVE-BYTES
 *
 * in the bucket that S3_ENDPOINT, S3_BUCKET, … name: uploads an archive in parts, exclusively, and a manifest; lists both, reads them
 * back, removes the archive.  Prints "correct" and ends 0 when all of it was right; "failed CLASS: message" and ends 1 after an error;
 * "WRONG: …" and ends 2 when something was reported to have worked that had not.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "storage/drivers/retry.h"
#include "storage/drivers/s3.h"
#include "storage/drivers/upload.h"

#define RANGE_BYTES ((size_t)3 << 20)

struct probe {
	struct driver *d;
	char *archive, *manifest; /* their keys */
	char *content;
	size_t bytes;
	char text[64]; /* of the manifest */
	unsigned listed;
};

static int wrong(struct error *err, const char *what)
{
	return err_set(err, ERR_BUG, "%s", what);
}

static int write_archive(struct probe *p, struct error *err)
{
	const struct upload_options o = {.driver = p->d,
		.target = {.key = p->archive, .tag = "probe", .is_exclusive = true},
		.part_bytes = DRIVER_PART_MIN_BYTES,
		.parallel = 1}; /* so that requests have their numbers */
	struct upload *u = NULL;

	if (upload_open(&o, &u, err) < 0)
		return -1;
	if (upload_write(u, p->content, p->bytes, err) < 0) {
		upload_abort(u);
		return -1;
	}
	return upload_commit(u, err);
}

static int read_archive(struct probe *p, struct error *err)
{
	char *got cleanup(mem_freep) = mem_alloc(RANGE_BYTES);

	for (size_t at = 0, n; at < p->bytes; at += n) {
		int rc;

		n = p->bytes - at < RANGE_BYTES ? p->bytes - at : RANGE_BYTES;
		rc = p->d->ops->read_range(p->d, p->archive, at, got, n, err);
		if (rc < 0)
			return -1;
		if (rc == 0)
			return wrong(err, "the archive is not there");
		if (memcmp(got, p->content + at, n) != 0) /* as a checksum above the driver would find it */
			return err_set(err, ERR_CORRUPT, "the archive differs from what was written");
	}
	return 0;
}

static int read_manifest(struct probe *p, struct error *err)
{
	char got[sizeof(p->text)];
	struct driver_object o;
	int rc = p->d->ops->stat(p->d, p->manifest, &o, err);

	if (rc < 0)
		return -1;
	if (rc == 0 || o.size_bytes != strlen(p->text))
		return wrong(err, "the manifest is not there, or of another size");
	rc = p->d->ops->read_range(p->d, p->manifest, 0, got, strlen(p->text), err);
	if (rc < 0)
		return -1;
	if (rc == 0)
		return wrong(err, "the manifest is not there");
	if (memcmp(got, p->text, strlen(p->text)) != 0)
		return err_set(err, ERR_CORRUPT, "the manifest differs from what was written");
	return 0;
}

static int count(void *ctx, const struct driver_object *o, struct error *err)
{
	struct probe *p = ctx;
	size_t size = strcmp(o->key, p->archive) == 0 ? p->bytes : strcmp(o->key, p->manifest) == 0 ? strlen(p->text) : SIZE_MAX;

	if (o->size_bytes != size)
		return wrong(err, "an object of another name or size is listed");
	p->listed++;
	return 0;
}

static int run(struct probe *p, const char *prefix, struct error *err)
{
	const struct driver_target t = {.key = p->manifest, .tag = "probe", .is_exclusive = true};
	char *below cleanup(mem_freep) = mem_printf("%s/", prefix);

	if (write_archive(p, err) < 0 || p->d->ops->put(p->d, &t, p->text, strlen(p->text), err) < 0 ||
		p->d->ops->list(p->d, below, count, p, err) < 0)
		return -1;
	if (p->listed != 2)
		return wrong(err, "not both objects are listed");
	if (read_manifest(p, err) < 0 || read_archive(p, err) < 0)
		return -1;
	switch (p->d->ops->remove(p->d, p->archive, err)) {
	case 1:
		return 0;
	case 0:
		return wrong(err, "the archive was missing when it was to be removed");
	default:
		return -1;
	}
}

static int report(const struct error *err)
{
	if (err->class == ERR_NONE) {
		puts("correct");
		return 0;
	}
	if (err->class == ERR_BUG) {
		printf("WRONG: %s\n", err->message);
		return 2;
	}
	printf("failed %s: %s\n", err_class_name(err->class), err->message);
	return 1;
}

int main(int argc, char **argv)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct s3_options o = {.bucket = getenv("S3_BUCKET"),
		.prefix = "",
		.endpoint = getenv("S3_ENDPOINT"),
		.region = getenv("S3_REGION"),
		.access_key_id = getenv("S3_ACCESS_KEY"),
		.secret_access_key = getenv("S3_SECRET_KEY"),
		.addressing = S3_ADDRESSING_PATH};
	struct driver_retry_options patience = {.first_wait_ms = 5, .longest_wait_ms = 50};
	struct probe p = {0};

	if (argc != 5 || !o.bucket || !o.endpoint) {
		fprintf(stderr, "usage: remote_probe PREFIX GIVE-UP-MS STALL-MS ARCHIVE-BYTES\n");
		return 3;
	}
	patience.give_up_after_ms = strtoll(argv[2], NULL, 10);
	o.stall_timeout_ms = o.connect_timeout_ms = strtoll(argv[3], NULL, 10);
	p.bytes = strtoull(argv[4], NULL, 10);
	p.content = mem_alloc(p.bytes + 1);
	for (size_t i = 0; i < p.bytes; i++)
		p.content[i] = (char)(i * 2654435761u >> 17);
	p.archive = mem_printf("%s/archive", argv[1]);
	p.manifest = mem_printf("%s/manifest.json", argv[1]);
	(void)snprintf(p.text, sizeof(p.text), "{\"written_at\": %lld}", (long long)clock_utc_ms());
	if (driver_s3_open(&o, &p.d, &err) == 0) {
		p.d = driver_retry_new(p.d, &patience);
		(void)run(&p, argv[1], &err);
		p.d->ops->close(p.d);
	}
	free(p.content);
	free(p.archive);
	free(p.manifest);
	return report(&err);
}
