/*
 * From the keys of a repository in holdfast.yaml to an open repository.  Which key fills which field stands in tables; a value that is
 * none of those it may have is refused with its place in the file.
 */
#include <stdlib.h>
#include <string.h>

#include "base/child.h"
#include "base/io.h"
#include "orchestrator/stack/config.h"

#define IDENTITY_MAX_BYTES ((size_t)1 << 20)
#define IDENTITY_DEADLINE_MS 60000

/* Everything that lives only until the repository is open. */
struct building {
	const struct config_repository *r;
	struct repository_options options;
	struct s3_options s3;
	char *url, *access_key_id, *secret_access_key, *session_token, *passphrase;
	const char **recipients;
};

static void building_release(struct building *b)
{
	char *const secrets[] = {b->access_key_id, b->secret_access_key, b->session_token, b->passphrase};

	for (size_t i = 0; i < array_len(secrets); i++) {
		if (secrets[i])
			explicit_bzero(secrets[i], strlen(secrets[i]));
		free(secrets[i]);
	}
	free(b->url);
	free(b->recipients);
}

static const char *text_of(const struct yaml_node *map, const char *key)
{
	const struct yaml_node *n = yaml_get(map, key);

	return n ? n->text : NULL;
}

/* --- words ----------------------------------------------------------------------------------------------------------------- */

struct word {
	const char *text;
	int value;
};

static const struct word drivers[] = {{"s3", 0}, {"libs3", 1}, {0}};
static const struct word credentials[] = {{"auto", S3_CREDENTIALS_AUTO}, {"environment", S3_CREDENTIALS_ENVIRONMENT},
	{"profile", S3_CREDENTIALS_PROFILE}, {"instance", S3_CREDENTIALS_INSTANCE}, {"web-identity", S3_CREDENTIALS_WEB_IDENTITY},
	{0}};
static const struct word addressings[] = {
	{"auto", S3_ADDRESSING_AUTO}, {"path", S3_ADDRESSING_PATH}, {"virtual", S3_ADDRESSING_VIRTUAL}, {0}};
static const struct word checksums[] = {{"auto", S3_CHECKSUMS_AUTO}, {"on", S3_CHECKSUMS_ON}, {"off", S3_CHECKSUMS_OFF}, {0}};
static const struct word levels[] = {{"quick", VERIFY_QUICK}, {"checksums", VERIFY_CHECKSUMS}, {"content", VERIFY_CONTENT}, {0}};
static const struct word lock_modes[] = {{"GOVERNANCE", 0}, {"COMPLIANCE", 0}, {0}};

/* *ret stays as it is where the key is not given. */
static int read_word(const struct yaml_node *map, const char *key, const struct word *words, int *ret, struct error *err)
{
	const struct yaml_node *n = yaml_get(map, key);
	struct buf known cleanup(buf_release) = {0};

	if (!n)
		return 0;
	for (const struct word *w = words; w->text; w++) {
		if (strcmp(w->text, n->text) == 0) {
			*ret = w->value;
			return 0;
		}
		buf_printf(&known, "%s\"%s\"", known.len ? ", " : "", w->text);
	}
	yaml_error(n, err, "%s \"%s\" is not known", key, n->text);
	return err_hint(err, "Use one of %s.", buf_str(&known));
}

static int read_words(struct building *b, struct error *err)
{
	const struct yaml_node *n = b->r->node;
	int driver = 0, source = S3_CREDENTIALS_AUTO, addressing = S3_ADDRESSING_AUTO, checks = S3_CHECKSUMS_AUTO;

	if (read_word(n, "driver", drivers, &driver, err) < 0 || read_word(n, "credentials", credentials, &source, err) < 0 ||
		read_word(n, "addressing", addressings, &addressing, err) < 0 ||
		read_word(n, "checksums", checksums, &checks, err) < 0 ||
		read_word(n, "read_back", levels, &b->options.read_back, err) < 0)
		return -1;
	b->options.is_libs3 = driver == 1;
	b->s3.credentials = (enum s3_credentials_source)source;
	b->s3.addressing = (enum s3_addressing)addressing;
	b->s3.checksums = (enum s3_checksums)checks;
	return 0;
}

/* --- the rest -------------------------------------------------------------------------------------------------------------- */

static void read_texts(struct building *b)
{
	const struct {
		const char *key;
		const char **to;
	} table[] = {
		{"endpoint", &b->s3.endpoint},
		{"region", &b->s3.region},
		{"profile", &b->s3.profile},
		{"metadata_endpoint", &b->s3.metadata_endpoint},
		{"sts_endpoint", &b->s3.sts_endpoint},
		{"ca_file", &b->s3.ca_file},
		{"proxy", &b->s3.proxy},
		{"storage_class", &b->s3.storage_class},
		{"server_side_encryption", &b->s3.server_side_encryption},
		{"kms_key_id", &b->s3.kms_key_id},
		{"spool", &b->options.spool_dir},
	};

	for (size_t i = 0; i < array_len(table); i++)
		*table[i].to = text_of(b->r->node, table[i].key);
}

static int read_values(struct building *b, struct error *err)
{
	const struct {
		const char *key;
		char **to;
	} table[] = {
		{"url", &b->url},
		{"access_key_id", &b->access_key_id},
		{"secret_access_key", &b->secret_access_key},
		{"session_token", &b->session_token},
	};

	for (size_t i = 0; i < array_len(table); i++) {
		const struct yaml_node *n = yaml_get(b->r->node, table[i].key);

		if (n && config_value(n, table[i].key, table[i].to, err) < 0)
			return -1;
	}
	b->s3.access_key_id = b->access_key_id;
	b->s3.secret_access_key = b->secret_access_key;
	b->s3.session_token = b->session_token;
	b->options.url = b->url;
	return 0;
}

static int read_durations(struct building *b, struct error *err)
{
	const struct {
		const char *key;
		int64_t *to;
	} table[] = {
		{"connect_timeout", &b->s3.connect_timeout_ms},
		{"stall_timeout", &b->s3.stall_timeout_ms},
		{"give_up_after", &b->options.give_up_after_ms},
	};

	for (size_t i = 0; i < array_len(table); i++) {
		const struct yaml_node *n = yaml_get(b->r->node, table[i].key);

		if (n && yaml_want_duration(n, table[i].key, table[i].to, err) < 0)
			return -1;
	}
	return 0;
}

static int read_object_lock(struct building *b, struct error *err)
{
	const struct yaml_node *map = yaml_get(b->r->node, "object_lock");
	int unused = 0;

	if (!map)
		return 0;
	b->s3.object_lock_mode = text_of(map, "mode");
	return read_word(map, "mode", lock_modes, &unused, err) < 0
		? -1
		: yaml_want_duration(yaml_get(map, "for"), "for", &b->s3.object_lock_ms, err);
}

static int read_recipients(struct building *b, struct error *err)
{
	const struct yaml_node *list = yaml_get(b->r->node, "encrypt_to");

	if (!list)
		return 0;
	/* An empty list asks for encryption to nobody: not the same as asking for none. */
	if (list->count == 0)
		return yaml_error(list, err, "\"encrypt_to\" of repository \"%s\" is empty", b->r->name);
	b->recipients = mem_zalloc((list->count + 1) * sizeof(*b->recipients));
	for (size_t i = 0; i < list->count; i++) {
		b->recipients[i] = list->values[i]->text;
		if (!age_recipient_is_valid(b->recipients[i])) {
			yaml_error(list->values[i], err, "this is no age recipient");
			return err_hint(err, "A recipient is a public key, \"age1…\"; \"holdfast keygen\" makes a pair.");
		}
	}
	b->options.encrypt_to = b->recipients;
	return 0;
}

/* --- identities ------------------------------------------------------------------------------------------------------------ */

static int run_command(
	const struct yaml_node *argv, const char *what, struct cancel *cancel, struct child_result *out, struct error *err)
{
	const char **words cleanup(mem_freep) = mem_zalloc((argv->count + 1) * sizeof(*words));
	const struct child_spec spec = {.argv = words, .cancel = cancel, .deadline_ms = IDENTITY_DEADLINE_MS};

	for (size_t i = 0; i < argv->count; i++)
		words[i] = argv->values[i]->text;
	if (child_run_ok(&spec, out, err) < 0)
		return err_context(err, "%s", what);
	return 0;
}

int config_repository_identities(
	const struct config_repository *r, struct cancel *cancel, struct age_identities *into, struct error *err)
{
	const struct yaml_node *n = yaml_get(r->node, "identity");
	char *what cleanup(mem_freep) = mem_printf("identity of repository \"%s\"", r->name);
	struct child_result out = {0};
	char *text = NULL;
	int rc;

	if (!n) {
		err_set(err, ERR_CONFIG, "no identity is configured for repository \"%s\"", r->name);
		return err_hint(err, "Name one with \"identity\", on a host that may read the sets.");
	}
	if (n->type == YAML_MAPPING) {
		rc = run_command(yaml_get(n, "cmd"), "identity", cancel, &out, err);
		if (rc == 0)
			rc = age_identities_add_text(into, buf_str(&out.out), out.out.len, what, err);
		if (out.out.data)
			explicit_bzero(out.out.data, out.out.len);
		child_result_release(&out);
		return rc;
	}
	if (config_value(n, "identity", &text, err) < 0)
		return -1;
	rc = age_identities_add_text(into, text, strlen(text), what, err);
	age_wipe_free(text);
	return rc;
}

/* What a command prints, without its last newline. */
static int passphrase_of_command(const struct yaml_node *argv, struct cancel *cancel, char **ret, struct error *err)
{
	struct child_result out = {0};
	int rc = run_command(argv, "passphrase", cancel, &out, err);

	if (rc == 0) {
		const char *text = buf_str(&out.out);

		*ret = mem_strndup(text, strcspn(text, "\r\n"));
	}
	if (out.out.data)
		explicit_bzero(out.out.data, out.out.len);
	child_result_release(&out);
	return rc;
}

static int read_passphrase(struct building *b, struct cancel *cancel, struct error *err)
{
	const struct yaml_node *n = yaml_get(b->r->node, "passphrase");
	int rc;

	if (!n)
		return 0;
	if (yaml_get(b->r->node, "encrypt_to") || yaml_get(b->r->node, "identity"))
		return yaml_error(
			n, err, "\"passphrase\" of repository \"%s\" excludes \"encrypt_to\" and \"identity\"", b->r->name);
	rc = n->type == YAML_MAPPING ? passphrase_of_command(yaml_get(n, "cmd"), cancel, &b->passphrase, err)
				     : config_value(n, "passphrase", &b->passphrase, err);
	if (rc == 0 && !*b->passphrase)
		return yaml_error(n, err, "\"passphrase\" of repository \"%s\" is empty", b->r->name);
	b->options.passphrase = b->passphrase;
	return rc;
}

static int load_identities(void *ctx, struct age_identities *into, struct error *err)
{
	return config_repository_identities(ctx, NULL, into, err);
}

/* --- opening --------------------------------------------------------------------------------------------------------------- */

static int build(struct building *b, struct error *err)
{
	read_texts(b);
	return read_words(b, err) < 0 || read_values(b, err) < 0 || read_durations(b, err) < 0 || read_object_lock(b, err) < 0 ||
			read_recipients(b, err) < 0
		? -1
		: 0;
}

int config_repository_check(const struct config_repository *r, struct error *err)
{
	struct building b cleanup(building_release) = {.r = r, .options = {.name = r->name, .read_back = -1}};

	return build(&b, err);
}

int config_repository_with(const struct config_repository *r, const struct repository_options *o,
	int (*use)(void *ctx, const struct repository_options *o, struct error *err), void *ctx, struct error *err)
{
	struct building b cleanup(building_release) = {.r = r, .options = {.name = r->name, .read_back = -1}};

	if (build(&b, err) < 0 || read_passphrase(&b, o->cancel, err) < 0)
		return -1;
	b.options.s3 = &b.s3;
	b.options.is_created = o->is_created;
	b.options.events = o->events;
	b.options.cancel = o->cancel;
	b.options.open_within_ms = o->open_within_ms;
	if (yaml_get(r->node, "identity")) {
		b.options.load_identities = load_identities;
		b.options.identities_ctx = (void *)(uintptr_t)r;
	}
	return use(ctx, &b.options, err);
}

static int open_it(void *ctx, const struct repository_options *o, struct error *err)
{
	return repository_open_with(o, ctx, err);
}

int config_repository_open(
	const struct config_repository *r, const struct repository_options *o, struct repository **ret, struct error *err)
{
	return config_repository_with(r, o, open_it, ret, err);
}
