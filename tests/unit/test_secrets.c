/* Secrets of the application: where they stand, new ones, fingerprints and what the manifest keeps of them. */
#include "tests/unit/unit.h"

#include "base/fingerprint.h"
#include "orchestrator/stack/schema.h"
#include "orchestrator/stack/secrets.h"
#include "storage/repository.h"

static void a_fingerprint_is_that_of_one_secret(void **state)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	/* openssl kdf -keylen 32 -kdfopt digest:SHA256 -kdfopt pass:hunter2 -kdfopt hexsalt:00…0f -kdfopt iter:1000 PBKDF2 */
	struct fingerprint known = {.salt = "000102030405060708090a0b0c0d0e0f",
		.hash = "f5550e89119f593cd3662c6d7da5bd3f7a90e25cd2dc221f58a6166c772753d3",
		.iterations = 1000};
	struct fingerprint one, two;

	(void)state;
	assert_ok(fingerprint_make("hunter2", &one, &err), &err);
	assert_ok(fingerprint_make("hunter2", &two, &err), &err);
	assert_string_not_equal(one.salt, two.salt);
	assert_string_not_equal(one.hash, two.hash);
	assert_int_equal(one.iterations, FINGERPRINT_ITERATIONS);
	assert_int_equal(fingerprint_matches(&one, "hunter2", &err), 1);
	assert_int_equal(fingerprint_matches(&one, "hunter3", &err), 0);
	assert_int_equal(fingerprint_matches(&known, "hunter2", &err), 1);
	known.iterations = 2000000000;
	assert_int_equal(fingerprint_matches(&known, "hunter2", &err), -1);
	assert_error(&err, ERR_CONFIG, "the fingerprint of a secret has 2000000000 iterations");
	known.iterations = 1000;
	known.salt[0] = 'x';
	assert_int_equal(fingerprint_matches(&known, "hunter2", &err), -1);
	assert_error(&err, ERR_CORRUPT, "the fingerprint of a secret is damaged");
}

static void references_are_read(void **state)
{
	char *dir = unit_mkdir(), *path cleanup(mem_freep) = io_path_join(dir, "x.env");
	static const char text[] = "A='a b'\nEMPTY=\nB=\"line\\n2\"\n";
	struct error err cleanup(err_clear) = ERROR_INIT;
	static const struct {
		const char *key, *value, *says;
	} cases[] = {{"A", "a b", NULL}, {"B", "line\n2", NULL}, {"EMPTY", NULL, "is empty"}, {"NONE", NULL, "is not set"}};

	(void)state;
	assert_ok(io_replace_file(path, text, strlen(text), 0600, &err), &err);
	for (size_t i = 0; i < array_len(cases); i++) {
		char *reference cleanup(mem_freep) = mem_printf("env_file:%s#%s", path, cases[i].key);
		char *value cleanup(secret_free) = NULL, *message cleanup(mem_freep) = NULL;
		int found = secret_read(reference, &value, &err);

		assert_int_equal(found, cases[i].value != NULL);
		if (found) {
			assert_string_equal(value, cases[i].value);
			continue;
		}
		message = mem_printf("\"%s\" in file \"%s\" %s", cases[i].key, path, cases[i].says);
		assert_error(&err, ERR_CONFIG, message);
	}
	unit_rmdir(dir);
	char *value cleanup(secret_free) = NULL;

	setenv("TEST_SECRET", "s3cret", 1);
	assert_int_equal(secret_read("env:TEST_SECRET", &value, &err), 1);
	assert_string_equal(value, "s3cret");
	secret_free(&value);
	assert_int_equal(secret_read("env_file:/none/x.env#A", &value, &err), -1);
	assert_error(&err, ERR_IO, "could not open directory \"/none\": No such file or directory");
	assert_int_equal(secret_read("file:/none", &value, &err), 0);
	assert_error(&err, ERR_CONFIG, "file:/none: file \"/none\" does not exist");
	assert_int_equal(secret_read("hunter2", &value, &err), -1);
	assert_error(&err, ERR_CONFIG, "a secret is given as a value, not as env:NAME, file:/PATH or env_file:/PATH#KEY");
}

static void new_secrets_are_new(void **state)
{
	static const struct {
		const char *kind;
		int64_t bytes;
		size_t length;
	} cases[] = {{"hex", 32, 64}, {"base64", 32, 44}, {"base64url", 32, 43}, {"hex", 16, 32}, {"ed25519-base64", 0, 64},
		{"ed25519-pem", 0, 119}};
	struct error err cleanup(err_clear) = ERROR_INIT;
	char *value cleanup(secret_free) = NULL;

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		char *one cleanup(secret_free) = NULL, *two cleanup(secret_free) = NULL;

		assert_ok(secret_generate(cases[i].kind, cases[i].bytes, &one, &err), &err);
		assert_ok(secret_generate(cases[i].kind, cases[i].bytes, &two, &err), &err);
		assert_int_equal(strlen(one), cases[i].length);
		assert_string_not_equal(one, two);
	}
	assert_int_equal(secret_generate("hex", 8, &value, &err), -1);
	assert_error(&err, ERR_CONFIG, "a secret of 8 bytes cannot be generated: 16 to 1024");
	assert_int_equal(secret_generate("rsa", 32, &value, &err), -1);
	assert_error_full(&err, ERR_CONFIG, "\"rsa\" is no kind of secret", NULL,
		"Use hex, base64, base64url, ed25519-pem or ed25519-base64.");
}

/* --- the configuration ----------------------------------------------------------------------------------------------------- */

static const char head[] = "version: 1\nrepositories: { local: { url: file:///b } }\nstacks:\n  shop:\n"
			   "    database: { url: env:U }\n    repositories: [local]\n    secrets:\n";

static int parse(const char *secrets, struct config *c, struct error *err)
{
	char *text cleanup(mem_freep) = mem_printf("%s%s", head, secrets);

	return config_parse("h.yaml", text, strlen(text), c, err);
}

static void secrets_of_a_stack_are_references(void **state)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct config c cleanup(config_release) = {0};
	json_t *parameters = json_object(), *want;

	(void)state;
	assert_ok(parse("      A: env:A\n      B: file:/run/b\n      C: { env_file: /srv/.env, key: D }\n", &c, &err), &err);
	assert_ok(config_secrets_parameters(config_stack(&c, "shop"), parameters, &err), &err);
	want = json_pack("{s:{s:s, s:s, s:s}}", "secrets", "A", "env:A", "B", "file:/run/b", "C", "env_file:/srv/.env#D");
	assert_true(json_equal(parameters, want));
	json_decref(want);
	json_decref(parameters);
}

static void a_secret_in_the_configuration_itself_is_refused(void **state)
{
	static const struct {
		const char *secrets, *message;
	} cases[] = {
		{"      A: hunter2\n", "h.yaml:8:10: secret \"A\" says not where it stands"},
		{"      A: file:relative\n", "h.yaml:8:10: secret \"A\" says not where it stands"},
		{"      A: file:///url\n", "h.yaml:8:10: secret \"A\" says not where it stands"},
		{"      \"A B\": env:A\n", "h.yaml:8:7: \"A B\" is no name for a secret"},
		{"      A: { env_file: /x }\n", "h.yaml:8:12: A has no key \"key\""},
		{"      A: { env_file: /x, key: \"B C\" }\n", "h.yaml:8:31: \"B C\" is no key of an env file"},
	};
	struct error err cleanup(err_clear) = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		struct config c cleanup(config_release) = {0};

		assert_int_equal(parse(cases[i].secrets, &c, &err), -1);
		assert_error(&err, ERR_CONFIG, cases[i].message);
	}
}

/* --- the manifest ---------------------------------------------------------------------------------------------------------- */

static char *golden(void)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct buf b cleanup(buf_release) = {0};

	assert_int_equal(io_read_file("tests/golden/manifest-1.json", &b, &err), 1);
	return buf_take(&b);
}

static void parse_manifest(const char *text, struct manifest *m)
{
	struct error err cleanup(err_clear) = ERROR_INIT;

	assert_ok(manifest_parse(text, strlen(text), "manifest", m, &err), &err);
}

static void fingerprints_come_back_from_the_manifest(void **state)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct manifest m cleanup(manifest_release) = {0}, again cleanup(manifest_release) = {0};
	char *text cleanup(mem_freep) = golden();
	struct buf out cleanup(buf_release) = {0};

	(void)state;
	parse_manifest(text, &m); /* of a version that knew none */
	assert_int_equal(m.inventory.secrets_count, 0);
	*inventory_add(&m.inventory, secrets) = (struct inv_secret){
		.name = "API_KEY_SECRET", .kdf = FINGERPRINT_KDF, .iterations = 200000, .salt = "aa", .fingerprint = "bb"};
	assert_ok(manifest_write(&m, &out, &err), &err);
	assert_non_null(strstr(buf_str(&out),
		"\"secrets\": [\n    {\"name\":\"API_KEY_SECRET\",\"kdf\":\"pbkdf2-hmac-sha256\",\"iterations\":200000,"
		"\"salt\":\"aa\",\"fingerprint\":\"bb\"}\n  ]"));
	parse_manifest(buf_str(&out), &again);
	assert_int_equal(again.inventory.secrets_count, 1);
	assert_string_equal(again.inventory.secrets[0].name, "API_KEY_SECRET");
	assert_string_equal(again.inventory.secrets[0].kdf, "pbkdf2-hmac-sha256");
	assert_int_equal(again.inventory.secrets[0].iterations, 200000);
	assert_string_equal(again.inventory.secrets[0].salt, "aa");
	assert_string_equal(again.inventory.secrets[0].fingerprint, "bb");
}

/* A version that does not know the list passes over it: here the name of it is what is not known. */
static void a_reader_that_knows_no_fingerprints_passes_over_them(void **state)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct manifest m cleanup(manifest_release) = {0}, again cleanup(manifest_release) = {0};
	char *text cleanup(mem_freep) = golden(), *name;
	struct buf out cleanup(buf_release) = {0}, plain cleanup(buf_release) = {0}, plain_again cleanup(buf_release) = {0};

	(void)state;
	parse_manifest(text, &m);
	assert_ok(manifest_write(&m, &plain, &err), &err);
	*inventory_add(&m.inventory, secrets) = (struct inv_secret){
		.name = "A", .kdf = "k", .iterations = 1, .salt = "aa", .fingerprint = "bb"};
	assert_ok(manifest_write(&m, &out, &err), &err);
	name = strstr(out.data, "\"secrets\"");
	assert_non_null(name);
	memcpy(name, "\"unknown\"", strlen("\"unknown\""));
	parse_manifest(out.data, &again);
	assert_ok(manifest_write(&again, &plain_again, &err), &err);
	assert_string_equal(buf_str(&plain_again), buf_str(&plain));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_fingerprint_is_that_of_one_secret),
		cmocka_unit_test(references_are_read),
		cmocka_unit_test(new_secrets_are_new),
		cmocka_unit_test(secrets_of_a_stack_are_references),
		cmocka_unit_test(a_secret_in_the_configuration_itself_is_refused),
		cmocka_unit_test(fingerprints_come_back_from_the_manifest),
		cmocka_unit_test(a_reader_that_knows_no_fingerprints_passes_over_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
