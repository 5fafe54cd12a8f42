#include "storage/drivers/s3.h"

#include <string.h>

#define SCHEME "s3://"
#define BUCKET_MIN 3
#define BUCKET_MAX 255 /* of old buckets; 63 today */

static bool is_bucket(const char *s, size_t n)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

	return n >= BUCKET_MIN && n <= BUCKET_MAX && strspn(s, allowed) >= n;
}

static int fail_url(const char *url, struct error *err)
{
	err_set(err, ERR_CONFIG, "\"%s\" is not the URL of an S3 bucket", url);
	return err_hint(err, "It must read \"s3://bucket\" or \"s3://bucket/prefix\".");
}

int s3_url_parse(const char *url, char **ret_bucket, char **ret_prefix, struct error *err)
{
	struct error bad cleanup(err_clear) = ERROR_INIT;
	char *prefix cleanup(mem_freep) = NULL;
	const char *bucket = url + strlen(SCHEME), *rest;
	size_t bucket_n, prefix_n;

	if (strncmp(url, SCHEME, strlen(SCHEME)) != 0)
		return fail_url(url, err);
	bucket_n = strcspn(bucket, "/");
	if (memchr(bucket, '@', bucket_n) || memchr(bucket, ':', bucket_n)) { /* not repeated: it may hold a secret */
		err_set(err, ERR_CONFIG, "the URL of an S3 bucket cannot hold a key, a password or a port");
		return err_hint(
			err, "Set \"access_key_id\" and \"secret_access_key\", and \"endpoint\" for a server of your own.");
	}
	rest = bucket + bucket_n + (bucket[bucket_n] == '/');
	for (prefix_n = strlen(rest); prefix_n > 0 && rest[prefix_n - 1] == '/'; prefix_n--)
		;
	prefix = mem_strndup(rest, prefix_n);
	if (!is_bucket(bucket, bucket_n) || (prefix_n > 0 && driver_check_key(prefix, &bad) < 0))
		return fail_url(url, err);
	*ret_bucket = mem_strndup(bucket, bucket_n);
	*ret_prefix = take_ptr(prefix);
	return 0;
}
