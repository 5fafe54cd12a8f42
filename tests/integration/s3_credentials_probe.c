/*
 * Asks for credentials as the S3 drivers do.
 *
 *	s3_credentials_probe instance|web_identity|environment [METADATA-OR-STS-ENDPOINT]
 *
 * Commands on stdin, one a line, each answered by one line on stdout:
 *
 *	get          "ID SECRET TOKEN SOURCE", or "error CLASS: MESSAGE (HINT)"
 *	threads N    N threads at once; the same when all got the same, else "they differ"
 *	forget       "forgotten"
 *	cancel       every further get is cancelled; "cancelled"
 *	store KEY    puts an object to bucket S3_BUCKET at S3_ENDPOINT, reads it and removes it: "stored", or as get
 *
 * PROBE_STALL_MS: when a request has stalled.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/drivers/s3.h"

#define THREADS_MAX 32

static struct s3_options options;
static struct s3_credentials *credentials;
static struct cancel cancel;

static char *told(const struct error *err)
{
	return mem_printf("error %s: %s%s%s%s", err_class_name(err->class), err->message, err->hint ? " (" : "",
		err->hint ? err->hint : "", err->hint ? ")" : "");
}

/* malloc'd */
static char *get(void)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct s3_key key = {0};
	char *text;

	if (s3_credentials_get(credentials, &cancel, &key, &err) < 0)
		return told(&err);
	text = mem_printf("%s %s %s %s", key.access_key_id, key.secret_access_key, key.session_token, key.source);
	s3_key_release(&key);
	return text;
}

static char *store(const char *key)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct s3_options o = options;
	struct driver *d = NULL;
	char got[2], *text;

	o.bucket = getenv("S3_BUCKET");
	o.endpoint = getenv("S3_ENDPOINT");
	o.region = getenv("S3_REGION");
	if (driver_s3_open(&o, &d, &err) < 0)
		return told(&err);
	if (d->ops->put(d, &(struct driver_target){.key = key, .tag = "t", .is_exclusive = true}, "ok", 2, &err) < 0 ||
		d->ops->read_range(d, key, 0, got, 2, &err) != 1 || memcmp(got, "ok", 2) != 0 ||
		d->ops->remove(d, key, &err) != 1)
		text = err.message ? told(&err) : mem_strdup("the object is not there");
	else
		text = mem_strdup("stored");
	d->ops->close(d);
	return text;
}

static void *get_in_thread(void *ret)
{
	*(char **)ret = get();
	return NULL;
}

static char *get_in_threads(int count)
{
	pthread_t threads[THREADS_MAX];
	char *texts[THREADS_MAX];
	bool is_same = true;

	if (count < 1 || count > THREADS_MAX)
		abort();
	for (int i = 0; i < count; i++)
		if (pthread_create(&threads[i], NULL, get_in_thread, &texts[i]) != 0)
			abort();
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	for (int i = 1; i < count; i++) {
		is_same &= strcmp(texts[0], texts[i]) == 0;
		free(texts[i]);
	}
	if (is_same)
		return texts[0];
	free(texts[0]);
	return mem_strdup("they differ");
}

static char *obey(const char *command)
{
	if (strcmp(command, "get") == 0)
		return get();
	if (strncmp(command, "store ", 6) == 0)
		return store(command + 6);
	if (strncmp(command, "threads ", 8) == 0)
		return get_in_threads(atoi(command + 8));
	if (strcmp(command, "forget") == 0) {
		s3_credentials_forget(credentials);
		return mem_strdup("forgotten");
	}
	if (strcmp(command, "cancel") == 0) {
		cancel_request(&cancel, CANCEL_SIGNAL);
		return mem_strdup("cancelled");
	}
	return mem_printf("no such command: %s", command);
}

int main(int argc, char **argv)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	const char *stall = getenv("PROBE_STALL_MS");
	options = (struct s3_options){.bucket = "b", .stall_timeout_ms = stall ? atoi(stall) : 0};
	char *line = NULL;
	size_t cap = 0;

	if (argc < 2)
		return 2;
	options.credentials = strcmp(argv[1], "instance") == 0 ? S3_CREDENTIALS_INSTANCE
		: strcmp(argv[1], "environment") == 0          ? S3_CREDENTIALS_ENVIRONMENT
							       : S3_CREDENTIALS_WEB_IDENTITY;
	options.metadata_endpoint = options.sts_endpoint = argc > 2 ? argv[2] : NULL;
	if (cancel_init(&cancel, NULL, &err) < 0 || s3_credentials_new(&options, &credentials, &err) < 0) {
		printf("error %s: %s\n", err_class_name(err.class), err.message);
		return 1;
	}
	while (getline(&line, &cap, stdin) > 0) {
		char *answer cleanup(mem_freep) = NULL;

		line[strcspn(line, "\n")] = '\0';
		answer = obey(line);
		if (puts(answer) < 0 || fflush(stdout) != 0)
			return 1;
	}
	free(line);
	s3_credentials_free(credentials);
	cancel_release(&cancel);
	return 0;
}
