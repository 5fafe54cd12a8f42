#include "storage/drivers/s3.h"

#include <string.h>

#define SCHEME "s3://"

static bool is_bucket(const char *s, size_t n)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

	/* Amazon's are shorter and in lower case; other servers are not so strict. */
	return n > 0 && n <= 255 && strspn(s, allowed) >= n && strncmp(s, "..", n) != 0 && strncmp(s, ".", n) != 0;
}

static int fail_url(const char *url, struct error *err)
{
	err_set(err, ERR_CONFIG, "\"%s\" is not the URL of a bucket", url);
	return err_hint(err, "Write s3://BUCKET or s3://BUCKET/PREFIX.");
}

int s3_url_parse(const char *url, char **ret_bucket, char **ret_prefix, struct error *err)
{
	char *prefix cleanup(mem_freep) = NULL;
	const char *bucket = url + strlen(SCHEME);
	size_t bucket_n, prefix_n;

	if (strncmp(url, SCHEME, strlen(SCHEME)) != 0)
		return fail_url(url, err);
	bucket_n = strcspn(bucket, "/");
	if (memchr(bucket, '@', bucket_n) || memchr(bucket, ':', bucket_n)) { /* not repeated: it may hold a secret */
		err_set(err, ERR_CONFIG, "the URL of a bucket cannot hold a key, a password or a port");
		return err_hint(
			err, "Set \"access_key_id\" and \"secret_access_key\", and \"endpoint\" for a server of your own.");
	}
	if (!is_bucket(bucket, bucket_n))
		return fail_url(url, err);
	prefix = mem_strdup(bucket[bucket_n] ? bucket + bucket_n + 1 : "");
	prefix_n = strlen(prefix);
	if (prefix_n > 0 && prefix[prefix_n - 1] == '/')
		prefix[prefix_n - 1] = '\0';
	if (*prefix && driver_check_key(prefix, err) < 0) {
		err_clear(err);
		return fail_url(url, err);
	}
	*ret_bucket = mem_strndup(bucket, bucket_n);
	*ret_prefix = take_ptr(prefix);
	return 0;
}
