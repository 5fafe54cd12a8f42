/*
 * keygen: a key pair for encrypted repositories, in the file format of age-keygen.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <openssl/crypto.h>
#include "base/clock.h"
#include "base/io.h"
#include "cmd/commands.h"
#include "cmd/output.h"
#include "storage/age/age.h"

#define KEY_FILE_MAX_BYTES ((size_t)1 << 20)

/* Text with a secret in it. */
static void wipe_buf(struct buf *b)
{
	if (b->data)
		OPENSSL_cleanse(b->data, b->cap);
	buf_release(b);
}

static void wipe_freep(char **secret)
{
	age_wipe_free(*secret);
}

static void identities_freep(struct age_identities **i)
{
	age_identities_free(*i);
}

/* ---- a file that was not there before ---- */

static int fill_file(int *fd, const char *path, const struct buf *text, struct error *err)
{
	char *dir cleanup(mem_freep) = io_path_dir(path);

	if (io_write_full(*fd, text->data, text->len, path, err) < 0 || io_fsync(*fd, path, err) < 0 ||
		io_close(fd, path, err) < 0)
		return -1;
	return io_sync_dir(dir, err);
}

static int write_new_file(const char *path, const struct buf *text, struct error *err)
{
	int fd cleanup(io_closep) = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0 && errno == EEXIST) {
		err_set(err, ERR_CONFIG, "file \"%s\" exists already", path);
		return err_hint(err, "Name another file: what was encrypted to a key can be read with that key alone.");
	}
	if (fd < 0)
		return err_sys(err, "could not create file \"%s\"", path);
	if (fill_file(&fd, path, text, err) == 0)
		return 0;
	(void)unlink(path); /* the error that stands tells more; half a key is of no use */
	return -1;
}

/* ---- a new pair ---- */

static int make_key(struct app *app, const char *path, struct error *err)
{
	char *recipient cleanup(mem_freep) = NULL, *secret cleanup(wipe_freep) = NULL, *now cleanup(mem_freep) = NULL;
	struct buf text cleanup(wipe_buf) = {0};

	if (age_keygen(&recipient, &secret, err) < 0)
		return -1;
	now = text_time(clock_utc_ms());
	if (buf_reserve(&text, 1024, err) < 0) /* grown later, it would leave a copy behind */
		return -1;
	buf_printf(&text, "# created: %s\n# public key: %s\n", now, recipient);
	buf_puts(&text, secret);
	buf_putc(&text, '\n');
	if (path && write_new_file(path, &text, err) < 0)
		return -1;
	json_object_set_new(app->result, "public_key", json_string(recipient));
	json_object_set_new(app->result, "file", path ? json_string(path) : json_null());
	if (!path)
		json_object_set_new(app->result, "secret_key", json_string(secret));
	if (!app->is_json)
		printf("%s%s", path ? recipient : buf_str(&text), path ? "\n" : "");
	return 0;
}

/* ---- the public half of what there is ---- */

static int show_public(struct app *app, const char *path, struct error *err)
{
	struct age_identities *identities cleanup(identities_freep) = age_identities_new();
	struct buf text cleanup(wipe_buf) = {.max = KEY_FILE_MAX_BYTES};
	char *what cleanup(mem_freep) = mem_printf("file \"%s\"", path);
	json_t *list = json_array();
	int rc = io_read_file(path, &text, err);

	json_object_set_new(app->result, "public_keys", list);
	if (rc == 0)
		return err_set(err, ERR_CONFIG, "%s does not exist", what);
	if (rc < 0 || age_identities_add_text(identities, buf_str(&text), text.len, what, err) < 0)
		return -1;
	for (size_t i = 0; i < age_identities_count(identities); i++) {
		char *recipient cleanup(mem_freep) = age_identity_recipient(identities, i);

		json_array_append_new(list, json_string(recipient));
		if (!app->is_json)
			puts(recipient);
	}
	return 0;
}

int cmd_keygen(struct app *app, struct error *err)
{
	const char *path = option_text(&app->options, OPT_FILE), *public_of = option_text(&app->options, OPT_PUBLIC);

	if (path && public_of)
		return err_set(err, ERR_CONFIG, "options \"--file\" and \"--public\" cannot be combined");
	return public_of ? show_public(app, public_of, err) : make_key(app, path, err);
}
