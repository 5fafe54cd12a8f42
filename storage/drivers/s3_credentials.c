/*
 * Where the key comes from, and how long it is good.
 *
 * A key that stands still (configuration, environment, profile) is looked up when the driver is opened, so that a missing one is
 * told before anything is done.  One that is fetched (instance metadata, web identity) is asked for when it is first needed, kept,
 * and renewed RENEW_BEFORE_MS before it expires by whoever needs it then, while the others wait.  A renewal that fails is no failure
 * as long as the old key is good: it is tried again after RENEW_PAUSE_MS.
 */
#include "storage/drivers/s3_credentials.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define RENEW_BEFORE_MS ((int64_t)5 * 60 * 1000)
#define RENEW_PAUSE_MS ((int64_t)10 * 1000)

/* ${fetcher} is set once; the rest is under the mutex. */
struct s3_credentials {
	struct s3_fetcher *fetcher; /* NULL: ${key} stands still */
	pthread_mutex_t mutex;
	struct s3_key key;
	bool has_key;
	bool is_refused;        /* by the server: not to be used again */
	int64_t pause_until_ms; /* monotonic: no renewal before, unless it must be */
};

/* --- secrets ----------------------------------------------------------------------------------------------------------------- */

void s3_wipe(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}

void s3_wipe_buf(struct buf *b)
{
	if (b->data)
		explicit_bzero(b->data, b->len);
	buf_release(b);
}

void s3_key_release(struct s3_key *k)
{
	s3_wipe(k->access_key_id);
	s3_wipe(k->secret_access_key);
	s3_wipe(k->session_token);
	free(k->source);
	free(k->region);
	*k = (struct s3_key){0};
}

static char *copy(const char *s)
{
	return s ? mem_strdup(s) : NULL;
}

static void key_copy(struct s3_key *to, const struct s3_key *from)
{
	*to = (struct s3_key){
		.access_key_id = copy(from->access_key_id),
		.secret_access_key = copy(from->secret_access_key),
		.session_token = copy(from->session_token),
		.source = copy(from->source),
		.region = copy(from->region),
		.expires_at_ms = from->expires_at_ms,
	};
}

/* --- keys that stand still --------------------------------------------------------------------------------------------------- */

const char *s3_env(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? value : NULL;
}

void s3_looked_in(struct buf *looked, const char *fmt, ...)
{
	va_list ap;
	char *text cleanup(mem_freep) = NULL;

	va_start(ap, fmt);
	text = mem_vprintf(fmt, ap);
	va_end(ap);
	buf_printf(looked, "%s%s", looked->len ? ", " : "Looked in ", text);
}

static int find_configured(const struct s3_options *o, struct s3_key *ret, struct buf *looked, struct error *err)
{
	if (!o->access_key_id && !o->secret_access_key) {
		s3_looked_in(looked, "\"access_key_id\" of the configuration");
		return 0;
	}
	if (!o->access_key_id || !o->secret_access_key)
		return err_set(err, ERR_CONFIG, "\"%s\" is configured for bucket \"%s\" without \"%s\"",
			o->access_key_id ? "access_key_id" : "secret_access_key", o->bucket,
			o->access_key_id ? "secret_access_key" : "access_key_id");
	*ret = (struct s3_key){
		.access_key_id = mem_strdup(o->access_key_id),
		.secret_access_key = mem_strdup(o->secret_access_key),
		.session_token = copy(o->session_token),
		.source = mem_strdup("configuration"),
	};
	return 1;
}

static int find_environment(const struct s3_options *o, struct s3_key *ret, struct buf *looked, struct error *err)
{
	const char *id = s3_env("AWS_ACCESS_KEY_ID"), *secret = s3_env("AWS_SECRET_ACCESS_KEY");

	if (o->credentials == S3_CREDENTIALS_AUTO && o->profile) /* who names a profile means that one */
		return 0;
	if (!id && !secret) {
		s3_looked_in(looked, "environment variable AWS_ACCESS_KEY_ID");
		return 0;
	}
	if (!id || !secret)
		return err_set(err, ERR_CONFIG, "environment variable %s is set without %s",
			id ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY", id ? "AWS_SECRET_ACCESS_KEY" : "AWS_ACCESS_KEY_ID");
	*ret = (struct s3_key){
		.access_key_id = mem_strdup(id),
		.secret_access_key = mem_strdup(secret),
		.session_token = copy(s3_env("AWS_SESSION_TOKEN")),
		.source = mem_strdup("environment variable AWS_ACCESS_KEY_ID"),
	};
	return 1;
}

/* In the order in which AUTO tries them. */
static const struct {
	enum s3_credentials_source alone; /* the setting that asks for nothing else */
	int (*find)(const struct s3_options *o, struct s3_key *ret, struct buf *looked, struct error *err);
} standing[] = {
	{S3_CREDENTIALS_AUTO, find_configured},
	{S3_CREDENTIALS_ENVIRONMENT, find_environment},
	{S3_CREDENTIALS_PROFILE, s3_profile_find},
};

static int find_standing(const struct s3_options *o, struct s3_key *ret, struct error *err)
{
	struct buf looked cleanup(buf_release) = {0};

	for (size_t i = 0; i < array_len(standing); i++) {
		int found = 0;

		if (o->credentials == S3_CREDENTIALS_AUTO || o->credentials == standing[i].alone)
			found = standing[i].find(o, ret, &looked, err);
		if (found != 0)
			return found < 0 ? -1 : 0;
	}
	err_set(err, ERR_CONFIG, "no credentials for bucket \"%s\"", o->bucket);
	err_detail(err, "%s.", buf_str(&looked));
	return err_hint(err,
		"Set \"access_key_id\" and \"secret_access_key\" of the repository, or say with \"credentials\" where to look.");
}

/* --- opening ----------------------------------------------------------------------------------------------------------------- */

int s3_credentials_new(const struct s3_options *o, struct s3_credentials **ret, struct error *err)
{
	struct s3_fetcher *fetcher = NULL;
	struct s3_key key = {0};
	struct s3_credentials *c;

	if (o->credentials != S3_CREDENTIALS_AUTO && (o->access_key_id || o->secret_access_key)) {
		err_set(err, ERR_CONFIG, "bucket \"%s\" has keys of its own, and \"credentials\" that say to look elsewhere",
			o->bucket);
		return err_hint(err, "Leave out either \"credentials\", or \"access_key_id\" and \"secret_access_key\".");
	}
	if (o->credentials == S3_CREDENTIALS_INSTANCE || o->credentials == S3_CREDENTIALS_WEB_IDENTITY) {
		if (s3_fetcher_new(o, &fetcher, err) < 0)
			return -1;
	} else if (find_standing(o, &key, err) < 0) {
		return -1;
	}
	c = mem_zalloc(sizeof(*c));
	c->fetcher = fetcher;
	c->key = key;
	c->has_key = !fetcher;
	pthread_mutex_init(&c->mutex, NULL);
	*ret = c;
	return 0;
}

void s3_credentials_free(struct s3_credentials *c)
{
	if (!c)
		return;
	s3_fetcher_free(c->fetcher);
	s3_key_release(&c->key);
	pthread_mutex_destroy(&c->mutex);
	free(c);
}

/* --- renewing ---------------------------------------------------------------------------------------------------------------- */

static bool is_good(const struct s3_credentials *c, int64_t for_ms)
{
	return c->has_key && !c->is_refused && (c->key.expires_at_ms == 0 || clock_utc_ms() + for_ms < c->key.expires_at_ms);
}

static int renew(struct s3_credentials *c, struct cancel *cancel, struct error *err)
{
	struct s3_key key = {0};

	if (s3_fetcher_fetch(c->fetcher, cancel, &key, err) < 0)
		return -1;
	s3_key_release(&c->key);
	c->key = key;
	c->has_key = true;
	c->is_refused = false;
	return 0;
}

static int renew_if_needed(struct s3_credentials *c, struct cancel *cancel, struct error *err)
{
	struct error failure cleanup(err_clear) = ERROR_INIT;

	if (is_good(c, RENEW_BEFORE_MS) || (is_good(c, 0) && clock_mono_ms() < c->pause_until_ms))
		return 0;
	if (renew(c, cancel, &failure) == 0)
		return 0;
	if (failure.class == ERR_CANCELLED || !is_good(c, 0))
		return err_move(err, &failure);
	c->pause_until_ms = clock_mono_ms() + RENEW_PAUSE_MS; /* the key is good for a while */
	return 0;
}

int s3_credentials_get(struct s3_credentials *c, struct cancel *cancel, struct s3_key *ret, struct error *err)
{
	int rc = 0;

	pthread_mutex_lock(&c->mutex);
	if (c->fetcher)
		rc = renew_if_needed(c, cancel, err);
	if (rc == 0)
		key_copy(ret, &c->key);
	pthread_mutex_unlock(&c->mutex);
	return rc;
}

void s3_credentials_forget(struct s3_credentials *c)
{
	pthread_mutex_lock(&c->mutex);
	c->is_refused = true;
	pthread_mutex_unlock(&c->mutex);
}
