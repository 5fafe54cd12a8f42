#include "orchestrator/stack/secrets.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "orchestrator/stack/edit_file.h"

#define ENV_FILE "env_file:"
#define BYTES_MIN 16
#define BYTES_MAX 1024

/* --- in the configuration -------------------------------------------------------------------------------------------------- */

bool secret_is_reference(const char *text)
{
	if (strncmp(text, ENV_FILE, strlen(ENV_FILE)) == 0)
		return strrchr(text, '#') != NULL;
	return (strncmp(text, "env:", 4) == 0 && text[4]) || (strncmp(text, "file:", 5) == 0 && text[5] == '/' && text[6] != '/');
}

/* NULL where it is none.  malloc'd */
static char *reference_of(const struct yaml_node *n)
{
	if (n->type == YAML_MAPPING)
		return mem_printf(ENV_FILE "%s#%s", yaml_get(n, "env_file")->text, yaml_get(n, "key")->text);
	return n->type == YAML_SCALAR && secret_is_reference(n->text) ? mem_strdup(n->text) : NULL;
}

int config_check_secrets(const struct config_stack *s, struct error *err)
{
	const struct yaml_node *map = yaml_get(s->node, "secrets");

	for (size_t i = 0; map && i < map->count; i++) {
		const char *name = map->keys[i]->text;
		char *reference cleanup(mem_freep) = reference_of(map->values[i]);
		const struct yaml_node *key = yaml_get(map->values[i], "key");

		if (!edit_env_key_is_valid(name)) {
			yaml_error(map->keys[i], err, "\"%s\" is no name for a secret", name);
			return err_hint(err, "Use letters, digits, \"_\", \".\" and \"-\", not beginning with a digit.");
		}
		if (!reference) { /* the value may be the secret itself: it is not repeated */
			yaml_error(map->values[i], err, "secret \"%s\" says not where it stands", name);
			return err_hint(err, "Write env:NAME, file:/PATH or { env_file: PATH, key: KEY }.");
		}
		if (key && !edit_env_key_is_valid(key->text))
			return yaml_error(key, err, "\"%s\" is no key of an env file", key->text);
	}
	return 0;
}

int config_secrets_parameters(const struct config_stack *s, json_t *parameters, struct error *err)
{
	const struct yaml_node *map = s ? yaml_get(s->node, "secrets") : NULL;
	json_t *secrets;

	if (!map || map->count == 0)
		return 0;
	if (config_check_secrets(s, err) < 0)
		return -1;
	json_object_set_new(parameters, "secrets", secrets = json_object());
	for (size_t i = 0; i < map->count; i++) {
		char *reference cleanup(mem_freep) = reference_of(map->values[i]);

		json_object_set_new(secrets, map->keys[i]->text, json_string(reference));
	}
	return 0;
}

/* --- reading --------------------------------------------------------------------------------------------------------------- */

void secret_free(char **secret)
{
	if (*secret)
		explicit_bzero(*secret, strlen(*secret));
	free(*secret);
	*secret = NULL;
}

static int missing(struct error *err, const char *where, const char *what)
{
	(void)err_set(err, ERR_CONFIG, "%s %s", where, what);
	return 0;
}

static int read_env_file(const char *reference, char **ret, struct error *err)
{
	const char *hash = strrchr(reference, '#');
	char *path cleanup(mem_freep) = mem_strndup(reference + strlen(ENV_FILE), (size_t)(hash - reference) - strlen(ENV_FILE));
	const struct edit_place at = {.kind = EDIT_ENV, .file = path, .key = hash + 1};
	struct edit_file f cleanup(edit_file_release) = {0};
	char *where cleanup(mem_freep) = mem_printf("\"%s\" in file \"%s\"", at.key, path);
	int found = edit_file_read(path, &f, err);

	if (found < 0)
		return -1;
	if (found == 0) {
		free(where);
		where = mem_printf("file \"%s\"", path);
		return missing(err, where, "does not exist");
	}
	found = edit_get(&at, edit_file_text(&f), ret, NULL, err);
	if (found < 0)
		return -1;
	if (found && **ret)
		return 1;
	secret_free(ret);
	return missing(err, where, found ? "is empty" : "is not set");
}

/* Whatever config_resolve() minds about a variable or a file: the secret is not to be had. */
static int read_other(const char *reference, char **ret, struct error *err)
{
	return config_resolve(reference, reference, ret, err) == 0;
}

int secret_read(const char *reference, char **ret, struct error *err)
{
	if (!secret_is_reference(reference))
		return err_set(
			err, ERR_CONFIG, "a secret is given as a value, not as env:NAME, file:/PATH or env_file:/PATH#KEY");
	if (strncmp(reference, ENV_FILE, strlen(ENV_FILE)) == 0)
		return read_env_file(reference, ret, err);
	return read_other(reference, ret, err);
}

/* --- making ---------------------------------------------------------------------------------------------------------------- */

/* malloc'd */
static char *base64_of(const uint8_t *p, size_t n, bool is_url)
{
	char *out = mem_zalloc((n + 2) / 3 * 4 + 1);

	EVP_EncodeBlock((unsigned char *)out, p, (int)n);
	for (char *c = out; is_url && *c; c++)
		*c = (char)(*c == '+' ? '-' : *c == '/' ? '_' : *c == '=' ? '\0' : *c);
	return out;
}

static int generate_key(bool is_pem, char **ret, struct error *err)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	BIO *out = BIO_new(BIO_s_mem());
	char *text = NULL;
	long n = 0;
	int ok = key && out;

	if (ok && is_pem)
		ok = PEM_write_bio_PKCS8PrivateKey(out, key, NULL, NULL, 0, NULL, NULL);
	else if (ok)
		ok = i2d_PKCS8PrivateKey_bio(out, key, NULL, NULL, 0, NULL, NULL);
	n = ok ? BIO_get_mem_data(out, &text) : 0;
	if (n > 0)
		*ret = is_pem ? mem_strndup(text, (size_t)n) : base64_of((const uint8_t *)text, (size_t)n, false);
	if (n > 0)
		explicit_bzero(text, (size_t)n);
	BIO_free(out);
	EVP_PKEY_free(key);
	return n > 0 ? 0 : err_set(err, ERR_BUG, "could not generate an Ed25519 key");
}

static int generate_random(const char *kind, int64_t bytes, char **ret, struct error *err)
{
	uint8_t random[BYTES_MAX];

	if (bytes < BYTES_MIN || bytes > BYTES_MAX)
		return err_set(err, ERR_CONFIG, "a secret of %lld bytes cannot be generated: %d to %d", (long long)bytes,
			BYTES_MIN, BYTES_MAX);
	if (random_bytes(random, (size_t)bytes, err) < 0)
		return -1;
	if (strcmp(kind, "hex") == 0)
		*ret = hex_encode(random, (size_t)bytes, mem_alloc(2 * (size_t)bytes + 1));
	else
		*ret = base64_of(random, (size_t)bytes, strcmp(kind, "base64url") == 0);
	explicit_bzero(random, sizeof(random));
	return 0;
}

int secret_generate(const char *kind, int64_t bytes, char **ret, struct error *err)
{
	if (strcmp(kind, "ed25519-pem") == 0 || strcmp(kind, "ed25519-base64") == 0)
		return generate_key(strcmp(kind, "ed25519-pem") == 0, ret, err);
	if (strcmp(kind, "hex") == 0 || strcmp(kind, "base64") == 0 || strcmp(kind, "base64url") == 0)
		return generate_random(kind, bytes, ret, err);
	err_set(err, ERR_CONFIG, "\"%s\" is no kind of secret", kind);
	return err_hint(err, "Use hex, base64, base64url, ed25519-pem or ed25519-base64.");
}
