/*
 * What the files s3_credentials*.c know of each other; for everybody else there is s3.h.
 *
 * A source looks in one place: 1 with the key, 0 when there is none, with ${looked} extended by where it looked, -1.
 */
#ifndef STORAGE_S3_CREDENTIALS_H
#define STORAGE_S3_CREDENTIALS_H

#include "base/buf.h"
#include "storage/drivers/s3.h"

/* Wipes and frees a string; NULL is fine. */
void s3_wipe(char *secret);
/* Wipes what ${b} holds and releases it; for cleanup() too.  It must not have grown since the secret came into it. */
void s3_wipe_buf(struct buf *b);
/* The variable's value, or NULL where it is unset or empty. */
const char *s3_env(const char *name);
/* Begins or goes on with the list of places in ${looked}. */
void s3_looked_in(struct buf *looked, const char *fmt, ...) printf_like(2, 3);

/*
 * A profile of the AWS tools' files (s3_credentials_profile.c).  Format: "Configuration and credential file settings", AWS Command Line
 * Interface User Guide; details as botocore reads them.
 */
int s3_profile_find(const struct s3_options *o, struct s3_key *ret, struct buf *looked, struct error *err) must_check;

/*
 * Credentials that are fetched (s3_credentials_fetch.c): instance metadata, web identity.  Formats: "Use the Instance Metadata Service
 * to access instance metadata", Amazon EC2 User Guide; "AssumeRoleWithWebIdentity", AWS Security Token Service API Reference.
 */
struct s3_fetcher;
int s3_fetcher_new(const struct s3_options *o, struct s3_fetcher **ret, struct error *err) must_check;
void s3_fetcher_free(struct s3_fetcher *f);
int s3_fetcher_fetch(struct s3_fetcher *f, struct cancel *cancel, struct s3_key *ret, struct error *err) must_check;

#endif
