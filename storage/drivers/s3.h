/*
 * S3: what both drivers (s3_curl.c, the default; s3_libs3.c) are told, and the credentials they share.
 */
#ifndef STORAGE_S3_H
#define STORAGE_S3_H

#include "storage/drivers/driver.h"

enum s3_credentials_source {
	S3_CREDENTIALS_AUTO,         /* the configuration's keys, else AWS_* variables, else ~/.aws/credentials */
	S3_CREDENTIALS_ENVIRONMENT,  /* AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN */
	S3_CREDENTIALS_PROFILE,      /* a profile of ~/.aws/credentials or AWS_SHARED_CREDENTIALS_FILE */
	S3_CREDENTIALS_INSTANCE,     /* instance metadata, version 2; only where the configuration says so */
	S3_CREDENTIALS_WEB_IDENTITY, /* AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN, through STS; only where it says so */
};

enum s3_addressing { S3_ADDRESSING_AUTO /* virtual host at AWS, else path */, S3_ADDRESSING_PATH, S3_ADDRESSING_VIRTUAL };
enum s3_checksums {
	S3_CHECKSUMS_AUTO /* asked once */,
	S3_CHECKSUMS_ON /* x-amz-checksum-sha256 */,
	S3_CHECKSUMS_OFF /* Content-MD5 */
};

/* Strings are borrowed for the call that opens; NULL where nothing is configured. */
struct s3_options {
	const char *bucket, *prefix; /* prefix "" or without slashes at its ends */
	const char *endpoint;        /* "https://host[:port]"; NULL: AWS of the region */
	const char *region;          /* NULL: AWS_REGION, AWS_DEFAULT_REGION, the profile's, else us-east-1 */
	const char *access_key_id, *secret_access_key, *session_token;
	enum s3_credentials_source credentials;
	const char *profile;           /* NULL: AWS_PROFILE, else "default" */
	const char *metadata_endpoint; /* NULL: http://169.254.169.254; AWS_EC2_METADATA_SERVICE_ENDPOINT */
	const char *sts_endpoint;      /* NULL: https://sts.<region>.amazonaws.com; AWS_ENDPOINT_URL_STS */
	enum s3_addressing addressing;
	enum s3_checksums checksums;
	const char *ca_file, *proxy;
	const char *storage_class;          /* "STANDARD_IA", … */
	const char *server_side_encryption; /* "AES256", "aws:kms" */
	const char *kms_key_id;
	const char *object_lock_mode; /* "GOVERNANCE", "COMPLIANCE"; with object_lock_ms */
	int64_t object_lock_ms;       /* from the upload on */
	int64_t connect_timeout_ms, stall_timeout_ms;
	const char *spool_dir; /* libs3: where an upload waits until its size is known; NULL: TMPDIR, else /var/tmp */
};

/* Both: nothing is asked of the server yet, but for credentials that must be fetched. */
int driver_s3_open(const struct s3_options *o, struct driver **ret, struct error *err) must_check;
int driver_libs3_open(const struct s3_options *o, struct driver **ret, struct error *err) must_check;

/* "s3://bucket/prefix"; both malloc'd.  ERR_CONFIG. */
int s3_url_parse(const char *url, char **ret_bucket, char **ret_prefix, struct error *err) must_check;

/* --- credentials (s3_credentials.c) ---- */

struct s3_key {
	char *access_key_id, *secret_access_key, *session_token /* may be NULL */;
	char *source;          /* "environment variable AWS_ACCESS_KEY_ID", "profile \"x\" of file \"…\"", … never a secret */
	char *region;          /* the profile's, or NULL */
	int64_t expires_at_ms; /* UTC; 0: never */
};
void s3_key_release(struct s3_key *k); /* wipes */

struct s3_credentials;
int s3_credentials_new(const struct s3_options *o, struct s3_credentials **ret, struct error *err) must_check;
void s3_credentials_free(struct s3_credentials *c);
/* The key to sign with now: a copy.  Fetched ones are renewed five minutes before they expire.  Thread-safe.
 * ERR_CONFIG: "no credentials for …" with where they were looked for; RETRY: the service did not answer. */
int s3_credentials_get(struct s3_credentials *c, struct cancel *cancel, struct s3_key *ret, struct error *err) must_check;
/* The server refused the key (expired, unknown): fetched ones are asked for again at the next get. */
void s3_credentials_forget(struct s3_credentials *c);

#endif
