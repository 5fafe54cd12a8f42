/*
 * Writing through libs3: put() from memory, uploads through the spool directory, and the one function by which both store.
 */
#include "storage/drivers/s3_libs3_call.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/io.h"

#define MD5_BYTES 16

static struct libs3 *libs3_of(struct driver *d)
{
	return (struct libs3 *)d;
}

/* --- writing ----------------------------------------------------------------------------------------------------------------- */

/* What is to be sent: from memory or from a file. */
struct content {
	const char *memory; /* NULL: ${fd} */
	int fd;
	uint64_t size_bytes;
	uint8_t md5[MD5_BYTES];
};

struct put_call {
	struct libs3_call call; /* first */
	const struct content *content;
	uint64_t sent;
	int sys_errno; /* of the file */
};

static int on_send(int room, char *p, void *ctx)
{
	struct put_call *c = ctx;
	uint64_t left = c->content->size_bytes - c->sent;
	size_t n = left < (uint64_t)room ? (size_t)left : (size_t)room;
	ssize_t got = (ssize_t)n;

	libs3_moved(&c->call);
	if (c->content->memory)
		memcpy(p, c->content->memory + c->sent, n);
	else
		got = pread(c->content->fd, p, n, (off_t)c->sent);
	if (got < 0 || (got == 0 && n > 0)) {
		c->sys_errno = got < 0 ? errno : EIO;
		return -1;
	}
	c->sent += (uint64_t)got;
	return (int)got;
}

static void put_call_end(struct put_call *c)
{
	libs3_call_end(&c->call);
}

/* 1 there, 0 missing, -1; whether what is there is this content. */
static int look(struct libs3 *l, const char *key, const struct content *content, bool *ret_is_same, struct error *err)
{
	struct libs3_call c cleanup(libs3_call_end) = {0};
	char hex[2 * MD5_BYTES + 1];
	int rc = libs3_head(l, &c, key, err);

	if (rc <= 0)
		return rc;
	hex_encode(content->md5, MD5_BYTES, hex);
	/* Where the server encrypts, the tag is something else than the MD5: then the size must do. */
	*ret_is_same = c.size_bytes == content->size_bytes &&
		(!c.etag || strlen(c.etag) != sizeof(hex) - 1 || strcasecmp(c.etag, hex) == 0);
	return 1;
}

/* One PUT; 0 when it may have been stored. */
static int send_content(struct libs3 *l, const char *key, const char *full, const struct content *content, struct error *err)
{
	struct put_call c cleanup(put_call_end) = {.content = content};
	unsigned char md5[4 * ((MD5_BYTES + 2) / 3) + 1];
	S3PutProperties properties = {.contentType = "application/octet-stream", .md5 = (const char *)md5, .expires = -1};
	const S3PutObjectHandler handler = {.responseHandler = libs3_handler, .putObjectDataCallback = on_send};

	EVP_EncodeBlock(md5, content->md5, MD5_BYTES);
	if (libs3_call_begin(l, &c.call, err) < 0)
		return -1;
	S3_put_object(&c.call.bucket, full, content->size_bytes, &properties, c.call.context, &handler, &c);
	if (libs3_object_run(&c.call, "write", key, err) < 0)
		return -1;
	if (c.sys_errno) {
		errno = c.sys_errno;
		return err_sys(err, "could not read back what waits for its upload");
	}
	/* Said of any server that does not ask for the body first. */
	if (c.call.status == S3StatusOK || c.call.status == S3StatusConnectionFailed)
		return 0;
	return libs3_object_fail(&c.call, "write", key, err);
}

static int fail_exists(const struct libs3 *l, const char *key, struct error *err)
{
	char *name cleanup(mem_freep) = libs3_name(l, key);

	return err_set(err, ERR_CONFLICT, "object \"%s\" exists already", name);
}

/* ${may_be_ours}: an earlier attempt may have stored it. */
static int store(
	struct libs3 *l, const struct driver_target *t, const struct content *content, bool may_be_ours, struct error *err)
{
	char *full cleanup(mem_freep) = libs3_full_key(l, t->key, err), *name cleanup(mem_freep) = NULL;
	bool is_same = false;
	int rc = 0;

	if (!full || (t->is_exclusive && (rc = look(l, t->key, content, &is_same, err)) < 0))
		return -1;
	if (rc == 1)
		return may_be_ours && is_same ? 0 : fail_exists(l, t->key, err);
	if (send_content(l, t->key, full, content, err) < 0 || (rc = look(l, t->key, content, &is_same, err)) < 0)
		return -1;
	if (rc == 1 && is_same)
		return 0;
	name = libs3_name(l, t->key);
	return err_set(err, ERR_RETRY, "could not write object \"%s\": the server did not keep it", name);
}

int libs3_put(struct driver *d, const struct driver_target *t, const void *p, size_t n, struct error *err)
{
	struct content content = {.memory = n ? p : "", .fd = -1, .size_bytes = n};

	if (EVP_Digest(content.memory, n, content.md5, NULL, EVP_md5(), NULL) != 1)
		return err_set(err, ERR_FAILED, "OpenSSL does not compute MD5 here");
	return store(libs3_of(d), t, &content, false, err);
}

/* --- uploads ----------------------------------------------------------------------------------------------------------------- */

struct driver_upload {
	struct libs3 *driver;
	char *key, *path; /* path: for messages, of the directory */
	bool is_exclusive, is_finished, was_sent;
	EVP_MD_CTX *md5;
	struct content content;
};

void libs3_upload_release(struct driver_upload *u)
{
	if (!u)
		return;
	if (u->content.fd >= 0)
		close(u->content.fd); /* it has no name: its content goes with it */
	EVP_MD_CTX_free(u->md5);
	free(u->key);
	free(u->path);
	free(u);
}

/* A file that nobody else can open and that is gone when this process is. */
static int open_spool(const char *dir, struct error *err)
{
	char *path cleanup(mem_freep) = NULL;
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)) {
		if (fd < 0)
			err_sys(err, "could not create a file in directory \"%s\"", dir);
		return fd;
	}
	path = io_path_join(dir, ".holdfast-upload-XXXXXX"); /* a file system without unnamed files */
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0 || unlink(path) < 0) {
		err_sys(err, "could not create a file in directory \"%s\"", dir);
		io_closep(&fd);
		return -1;
	}
	return fd;
}

int libs3_upload_begin(
	struct driver *d, const struct driver_target *t, const char *resume_id, struct driver_upload **ret, struct error *err)
{
	struct libs3 *l = libs3_of(d);
	char *full cleanup(mem_freep) = libs3_full_key(l, t->key, err);
	struct driver_upload *u;
	int fd;

	if (!full || cancel_check(d->cancel, err) < 0)
		return -1;
	if (resume_id)
		return err_set(err, ERR_BUG, "an upload through libs3 cannot be resumed");
	fd = open_spool(l->spool_dir, err);
	if (fd < 0)
		return -1;
	u = mem_zalloc(sizeof(*u));
	u->driver = l;
	u->key = mem_strdup(t->key);
	u->path = mem_printf("%s/(unnamed)", l->spool_dir);
	u->is_exclusive = t->is_exclusive;
	u->content.fd = fd;
	u->md5 = EVP_MD_CTX_new();
	if (!u->md5 || EVP_DigestInit_ex(u->md5, EVP_md5(), NULL) != 1) {
		libs3_upload_release(u);
		return err_set(err, ERR_FAILED, "OpenSSL does not compute MD5 here");
	}
	*ret = u;
	return 0;
}

int libs3_upload_write(struct driver_upload *u, const void *p, size_t n, struct error *err)
{
	if (cancel_check(u->driver->base.cancel, err) < 0)
		return -1;
	if (io_write_full(u->content.fd, p, n, u->path, err) < 0) {
		if (err->class == ERR_FULL)
			err_hint(err, "Make room in \"%s\", or set \"spool\" to a directory with room for a whole archive.",
				u->driver->spool_dir);
		return -1;
	}
	if (n > 0 && EVP_DigestUpdate(u->md5, p, n) != 1)
		return err_set(err, ERR_FAILED, "OpenSSL does not compute MD5 here");
	u->content.size_bytes += n;
	return 0;
}

int libs3_upload_commit(struct driver_upload *u, const struct driver_part *parts, size_t parts_count, struct error *err)
{
	const struct driver_target t = {.key = u->key, .is_exclusive = u->is_exclusive};
	bool was_sent = u->was_sent;

	(void)parts;
	(void)parts_count;
	if (!u->is_finished && EVP_DigestFinal_ex(u->md5, u->content.md5, NULL) != 1)
		return err_set(err, ERR_FAILED, "OpenSSL does not compute MD5 here");
	u->is_finished = u->was_sent = true;
	if (store(u->driver, &t, &u->content, was_sent, err) < 0)
		return -1;
	libs3_upload_release(u);
	return 0;
}

int libs3_upload_abort(struct driver_upload *u, struct error *err)
{
	(void)err;
	libs3_upload_release(u);
	return 0;
}
