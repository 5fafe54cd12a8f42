/*
 * Names are the vault's own affair: whether an object is sealed is seen from its name alone, so that nothing has to be asked of the
 * place before it is read or written.
 */
#include "storage/age/vault.h"

#include <stdlib.h>
#include <string.h>
#include "storage/age/vault_keys.h"
#include "storage/drivers/upload.h"

struct vault {
	struct driver base;
	struct vault_options options;
	struct vault_keys keys;
};

struct driver_upload {
	struct vault *vault;
	char *name;                      /* in the inner driver */
	struct upload *inner;            /* NULL once it has ended */
	struct age_encryptor *encryptor; /* NULL: not sealed */
	struct error failure;            /* of a commit, which the inner upload does not outlive */
};

static struct vault *vault_of(struct driver *d)
{
	return (struct vault *)d;
}

/* --- names ----------------------------------------------------------------------------------------------------------------- */

static bool ends_with(const char *s, size_t n, const char *end)
{
	size_t m = strlen(end);

	return n >= m && memcmp(s + n - m, end, m) == 0;
}

static bool is_sealed(const struct vault *v, const char *key, size_t n)
{
	for (const char *const *s = v->options.sealed_suffixes; s && *s; s++)
		if (ends_with(key, n, *s))
			return true;
	return false;
}

/* malloc'd; NULL where the key is none.  *ret_is_sealed: it goes through us. */
static char *inner_name(const struct vault *v, const char *key, bool *ret_is_sealed, struct error *err)
{
	if (driver_check_key(key, err) < 0)
		return NULL;
	*ret_is_sealed = is_sealed(v, key, strlen(key));
	return mem_printf("%s%s", key, *ret_is_sealed ? VAULT_SUFFIX : "");
}

/* --- writing --------------------------------------------------------------------------------------------------------------- */

/* Appends a header, and sets *ret_key. */
static int begin_seal(const struct vault *v, const char *name, struct age_key *ret_key, struct buf *out, struct error *err)
{
	const struct age_recipients *r = v->options.recipients;

	if (!r || age_recipients_count(r) == 0) {
		err_set(err, ERR_CONFIG, "object \"%s\" cannot be written: nobody is named to encrypt it to", name);
		return err_hint(err, "List recipients under \"encrypt_to\" of the repository.");
	}
	if (age_header_create(r, ret_key, out, err) < 0)
		return err_context(err, "could not encrypt object \"%s\"", name);
	return 0;
}

static int append_sealed(void *ctx, const void *p, size_t n, struct error *err)
{
	return buf_append(ctx, p, n, err);
}

static void encryptor_freep(struct age_encryptor **e)
{
	age_encryptor_free(*e);
}

static int seal_whole(const struct vault *v, const char *name, const void *p, size_t n, struct buf *out, struct error *err)
{
	struct age_key key cleanup(age_key_release) = {0};
	struct age_encryptor *e cleanup(encryptor_freep) = NULL;

	if (begin_seal(v, name, &key, out, err) < 0 || buf_reserve(out, age_payload_bytes(n), err) < 0)
		return -1;
	e = age_encryptor_new(&key, append_sealed, out);
	if (age_encryptor_write(e, p, n, err) < 0)
		return -1;
	return age_encryptor_finish(e, err);
}

static int vault_put(struct driver *d, const struct driver_target *t, const void *p, size_t n, struct error *err)
{
	struct vault *v = vault_of(d);
	bool sealed = false;
	char *name cleanup(mem_freep) = inner_name(v, t->key, &sealed, err);
	struct driver_target target = *t;
	struct buf text cleanup(buf_release) = {0};

	if (!name || (sealed && seal_whole(v, name, p, n, &text, err) < 0))
		return -1;
	target.key = name;
	if (sealed)
		vault_keys_forget(&v->keys, name);
	return d->inner->ops->put(d->inner, &target, sealed ? text.data : p, sealed ? text.len : n, err);
}

static void upload_free(struct driver_upload *u)
{
	upload_abort(u->inner);
	age_encryptor_free(u->encryptor);
	err_clear(&u->failure);
	free(u->name);
	free(u);
}

static void upload_freep(struct driver_upload **u)
{
	if (*u)
		upload_free(*u);
}

static int write_sealed(void *ctx, const void *p, size_t n, struct error *err)
{
	struct driver_upload *u = ctx;

	return upload_write(u->inner, p, n, err);
}

static int begin_sealed_upload(struct driver_upload *u, const struct upload_options *o, struct error *err)
{
	struct age_key key cleanup(age_key_release) = {0};
	struct buf header cleanup(buf_release) = {0};

	if (begin_seal(u->vault, u->name, &key, &header, err) < 0 || upload_open(o, &u->inner, err) < 0)
		return -1;
	u->encryptor = age_encryptor_new(&key, write_sealed, u);
	return upload_write(u->inner, header.data, header.len, err);
}

static int vault_upload_begin(
	struct driver *d, const struct driver_target *t, const char *resume_id, struct driver_upload **ret, struct error *err)
{
	struct driver_upload *u cleanup(upload_freep) = mem_zalloc(sizeof(*u));
	struct upload_options o = {.driver = d->inner, .target = *t};
	bool sealed = false;

	u->vault = vault_of(d);
	if (resume_id)
		return err_set(err, ERR_BUG, "the upload of a vault cannot be resumed");
	u->name = inner_name(u->vault, t->key, &sealed, err);
	if (!u->name)
		return -1;
	o.target.key = u->name;
	if ((sealed ? begin_sealed_upload(u, &o, err) : upload_open(&o, &u->inner, err)) < 0)
		return -1;
	*ret = take_ptr(u);
	return 0;
}

static int vault_upload_write(struct driver_upload *u, const void *p, size_t n, struct error *err)
{
	return u->encryptor ? age_encryptor_write(u->encryptor, p, n, err) : upload_write(u->inner, p, n, err);
}

static int finish_and_commit(struct driver_upload *u, struct error *err)
{
	if (u->encryptor && age_encryptor_finish(u->encryptor, err) < 0)
		return -1;
	vault_keys_forget(&u->vault->keys, u->name);
	return upload_commit(take_ptr(u->inner), err);
}

static int vault_upload_commit(struct driver_upload *u, const struct driver_part *parts, size_t parts_count, struct error *err)
{
	(void)parts;
	(void)parts_count;
	if (u->failure.class != ERR_NONE || finish_and_commit(u, &u->failure) < 0)
		return err_copy(err, &u->failure);
	upload_free(u);
	return 0;
}

static int vault_upload_abort(struct driver_upload *u, struct error *err)
{
	(void)err; /* what cannot be removed now is found by the next sweep */
	upload_free(u);
	return 0;
}

/* --- reading --------------------------------------------------------------------------------------------------------------- */

struct reading {
	struct driver *inner;
	const char *name;
	uint64_t begin; /* of the payload */
	bool is_missing;
};

static int read_payload(void *ctx, uint64_t offset, void *p, size_t n, struct error *err)
{
	struct reading *r = ctx;
	int rc = r->inner->ops->read_range(r->inner, r->name, r->begin + offset, p, n, err);

	if (rc == 0) {
		r->is_missing = true;
		return err_set(err, ERR_CORRUPT, "object \"%s\" is gone", r->name);
	}
	return rc < 0 ? -1 : 0;
}

static int read_once(
	struct vault *v, const char *name, uint64_t offset, void *p, size_t n, bool *ret_was_known, struct error *err)
{
	char *what cleanup(mem_freep) = mem_printf("object \"%s\"", name);
	struct vault_object o cleanup(vault_object_release) = {0};
	struct reading r = {.inner = v->base.inner, .name = name};
	int rc = vault_keys_get(&v->keys, name, &o, err);

	*ret_was_known = o.was_known;
	if (rc <= 0)
		return rc;
	r.begin = o.key.header_bytes + AGE_NONCE_BYTES;
	if (age_decrypt_range(&o.key, o.payload_bytes, what, offset, p, n, read_payload, &r, err) == 0)
		return 1;
	if (!r.is_missing)
		return -1;
	err_clear(err);
	vault_keys_forget(&v->keys, name);
	return 0;
}

/* 0 missing, else ERR_CONFIG. */
static int fail_locked(struct driver *d, const char *name, struct error *err)
{
	struct driver_object o;
	int rc = d->inner->ops->stat(d->inner, name, &o, err);

	if (rc <= 0)
		return rc;
	err_set(err, ERR_CONFIG, "object \"%s\" is encrypted, and no identity is given to read it with", name);
	return err_hint(err, "Name the identity of one of the recipients it was encrypted to.");
}

static int vault_read_range(struct driver *d, const char *key, uint64_t offset, void *p, size_t n, struct error *err)
{
	struct vault *v = vault_of(d);
	bool sealed = false, was_known = false;
	char *name cleanup(mem_freep) = inner_name(v, key, &sealed, err);
	int rc;

	if (!name)
		return -1;
	if (!sealed)
		return d->inner->ops->read_range(d->inner, name, offset, p, n, err);
	if (!v->options.identities || age_identities_count(v->options.identities) == 0)
		return fail_locked(d, name, err);
	rc = read_once(v, name, offset, p, n, &was_known, err);
	if (rc == 0 || (rc < 0 && err->class == ERR_CORRUPT)) {
		vault_keys_forget(&v->keys, name);
		if (rc < 0 && was_known) { /* by now it may be another object */
			err_clear(err);
			rc = read_once(v, name, offset, p, n, &was_known, err);
		}
	}
	return rc;
}

static int vault_stat(struct driver *d, const char *key, struct driver_object *ret, struct error *err)
{
	struct vault *v = vault_of(d);
	bool sealed = false;
	char *name cleanup(mem_freep) = inner_name(v, key, &sealed, err), *what cleanup(mem_freep) = NULL;
	struct vault_object o cleanup(vault_object_release) = {0};
	uint64_t plain;
	int rc;

	if (!name)
		return -1;
	if (!sealed)
		return d->inner->ops->stat(d->inner, key, ret, err);
	rc = vault_keys_stat(&v->keys, name, &o, err);
	if (rc <= 0)
		return rc;
	what = mem_printf("object \"%s\"", name);
	if (age_plain_bytes(o.payload_bytes, what, &plain, err) < 0)
		return -1;
	*ret = (struct driver_object){.key = key, .size_bytes = plain, .modified_at_ms = o.modified_at_ms};
	return 1;
}

struct listing {
	const struct vault *vault;
	const char *prefix;
	int (*each)(void *ctx, const struct driver_object *o, struct error *err);
	void *ctx;
};

static int list_plain(void *ctx, const struct driver_object *o, struct error *err)
{
	const struct listing *l = ctx;
	size_t n = strlen(o->key), m = strlen(VAULT_SUFFIX);
	char *key cleanup(mem_freep) = NULL;
	struct driver_object plain = *o;

	if (ends_with(o->key, n, VAULT_SUFFIX) && is_sealed(l->vault, o->key, n - m)) {
		plain.key = key = mem_strndup(o->key, n - m);
		if (strncmp(key, l->prefix, strlen(l->prefix)) != 0)
			return 0; /* only its suffix had the end of the prefix */
	}
	return l->each(l->ctx, &plain, err);
}

static int vault_list(struct driver *d, const char *prefix,
	int (*each)(void *ctx, const struct driver_object *o, struct error *err), void *ctx, struct error *err)
{
	struct listing l = {.vault = vault_of(d), .prefix = prefix, .each = each, .ctx = ctx};

	return d->inner->ops->list(d->inner, prefix, list_plain, &l, err);
}

/* --- the rest -------------------------------------------------------------------------------------------------------------- */

static int vault_remove(struct driver *d, const char *key, struct error *err)
{
	struct vault *v = vault_of(d);
	bool sealed = false;
	char *name cleanup(mem_freep) = inner_name(v, key, &sealed, err);

	if (!name)
		return -1;
	vault_keys_forget(&v->keys, name);
	return d->inner->ops->remove(d->inner, name, err);
}

static int vault_sweep(struct driver *d, const char *prefix, int64_t older_than_ms, unsigned *ret_count, struct error *err)
{
	return d->inner->ops->sweep(d->inner, prefix, older_than_ms, ret_count, err);
}

static int vault_describe(struct driver *d, struct driver_state *ret, struct error *err)
{
	if (d->inner->ops->describe)
		return d->inner->ops->describe(d->inner, ret, err);
	*ret = (struct driver_state){0};
	return 0;
}

static void vault_close(struct driver *d)
{
	if (!d)
		return;
	vault_keys_release(&vault_of(d)->keys);
	free(d);
}

static const struct driver_ops vault_ops = {
	.name = "vault",
	.put = vault_put,
	.upload_begin = vault_upload_begin,
	.upload_write = vault_upload_write,
	.upload_commit = vault_upload_commit,
	.upload_abort = vault_upload_abort,
	.read_range = vault_read_range,
	.stat = vault_stat,
	.list = vault_list,
	.remove = vault_remove,
	.sweep = vault_sweep,
	.describe = vault_describe,
	.close = vault_close,
};

struct driver *vault_new(struct driver *inner, const struct vault_options *o)
{
	struct vault *v = mem_zalloc(sizeof(*v));

	v->base.ops = &vault_ops;
	v->base.features = inner->features & (DRIVER_EXCLUSIVE_CREATE | DRIVER_PARALLEL_RANGES | DRIVER_REMOTE);
	v->base.inner = inner;
	v->base.cancel = inner->cancel;
	v->options = *o;
	vault_keys_init(&v->keys, inner, o->identities);
	return &v->base;
}
