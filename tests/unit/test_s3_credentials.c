/*
 * Keys that stand still: configuration, environment, profiles; and the URLs of buckets.  Those that are fetched are tried against a
 * server in tests/integration/s3_credentials.sh.
 */
#include "tests/unit/unit.h"

#include <unistd.h>

#include "storage/drivers/s3.h"

static const char *const variables[] = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE",
	"AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ROLE_ARN",
	"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_EC2_METADATA_DISABLED"};

/* A home directory of the test's own, without any AWS_ variable. */
struct home {
	char *dir, *credentials, *config;
	struct error err;
};

static int setup(void **state)
{
	struct home *h = mem_zalloc(sizeof(*h));
	char *aws cleanup(mem_freep) = NULL;

	h->dir = unit_mkdir();
	aws = io_path_join(h->dir, ".aws");
	h->credentials = io_path_join(aws, "credentials");
	h->config = io_path_join(aws, "config");
	assert_ok(io_make_dirs(aws, &h->err), &h->err);
	assert_int_equal(setenv("HOME", h->dir, 1), 0);
	for (size_t i = 0; i < array_len(variables); i++)
		assert_int_equal(unsetenv(variables[i]), 0);
	*state = h;
	return 0;
}

static int teardown(void **state)
{
	struct home *h = *state;

	err_clear(&h->err);
	free(h->credentials);
	free(h->config);
	unit_rmdir(h->dir);
	free(h);
	return 0;
}

static void write_file(struct home *h, const char *path, const char *text)
{
	assert_ok(io_replace_file(path, text, strlen(text), 0600, &h->err), &h->err);
}

static int look(struct home *h, const struct s3_options *o, struct s3_key *ret)
{
	struct s3_options with_bucket = *o;
	struct s3_credentials *c = NULL;
	int rc;

	with_bucket.bucket = "b";
	if (s3_credentials_new(&with_bucket, &c, &h->err) < 0)
		return -1;
	rc = s3_credentials_get(c, NULL, ret, &h->err);
	s3_credentials_free(c);
	return rc;
}

/* ${token}, ${region} NULL: there must be none. */
static void assert_key(
	struct home *h, const struct s3_options *o, const char *id, const char *secret, const char *token, const char *source)
{
	struct s3_key key = {0};

	assert_ok(look(h, o, &key), &h->err);
	assert_string_equal(key.access_key_id, id);
	assert_string_equal(key.secret_access_key, secret);
	assert_string_equal(key.session_token ? key.session_token : "none", token ? token : "none");
	assert_string_equal(key.source, source);
	assert_int_equal(key.expires_at_ms, 0);
	s3_key_release(&key);
	assert_null(key.secret_access_key);
}

static void set(const char *name, const char *value)
{
	assert_int_equal(setenv(name, value, 1), 0);
}

static char *source_of(const char *profile, const char *path)
{
	return mem_printf("profile \"%s\" of file \"%s\"", profile, path);
}

#define CREDENTIALS \
	"[default]\naws_access_key_id = DEFAULT\naws_secret_access_key = default+secret=\n" \
	"[other]\naws_access_key_id=OTHER\naws_secret_access_key=other/secret\naws_session_token=token==\n"

/* --- where it is looked, and in which order ---------------------------------------------------------------------------------- */

static void the_nearest_source_wins(void **state)
{
	struct home *h = *state;
	const struct s3_options none = {0}, keys = {.access_key_id = "CONF", .secret_access_key = "conf", .session_token = "t"};
	const struct s3_options named = {.profile = "other"}, environment = {.credentials = S3_CREDENTIALS_ENVIRONMENT};
	const struct s3_options profile = {.credentials = S3_CREDENTIALS_PROFILE};
	char *from_default cleanup(mem_freep) = source_of("default", h->credentials);
	char *from_other cleanup(mem_freep) = source_of("other", h->credentials);

	write_file(h, h->credentials, CREDENTIALS);
	assert_key(h, &none, "DEFAULT", "default+secret=", NULL, from_default);
	set("AWS_PROFILE", "other");
	assert_key(h, &none, "OTHER", "other/secret", "token==", from_other);
	set("AWS_ACCESS_KEY_ID", "ENV");
	set("AWS_SECRET_ACCESS_KEY", "env");
	assert_key(h, &none, "ENV", "env", NULL, "environment variable AWS_ACCESS_KEY_ID");
	set("AWS_SESSION_TOKEN", "envtoken");
	assert_key(h, &none, "ENV", "env", "envtoken", "environment variable AWS_ACCESS_KEY_ID");
	assert_key(h, &keys, "CONF", "conf", "t", "configuration");
	set("AWS_PROFILE", "default");
	assert_key(h, &named, "OTHER", "other/secret", "token==", from_other);
	assert_key(h, &environment, "ENV", "env", "envtoken", "environment variable AWS_ACCESS_KEY_ID");
	assert_key(h, &profile, "DEFAULT", "default+secret=", NULL, from_default);
}

static void what_was_looked_at_is_told(void **state)
{
	struct home *h = *state;
	char *all cleanup(mem_freep) = mem_printf("Looked in \"access_key_id\" of the configuration, environment variable "
						  "AWS_ACCESS_KEY_ID, profile \"default\" of file \"%s\" (no such file), profile "
						  "\"default\" of file \"%s\" (no such file).",
		h->credentials, h->config);
	char *named cleanup(mem_freep) = mem_printf(
		"Looked in \"access_key_id\" of the configuration, profile \"nix\" of file \"%s\" "
		"(no such profile), profile \"nix\" of file \"%s\" (without keys).",
		h->credentials, h->config);
	struct s3_key key;

	assert_int_equal(look(h, &(struct s3_options){0}, &key), -1);
	assert_error_full(&h->err, ERR_CONFIG, "no credentials for bucket \"b\"", all,
		"Set \"access_key_id\" and \"secret_access_key\" of the repository, or say with \"credentials\" where to look.");
	write_file(h, h->credentials, CREDENTIALS);
	write_file(h, h->config, "[profile nix]\nregion = here\n");
	assert_int_equal(look(h, &(struct s3_options){.profile = "nix"}, &key), -1);
	assert_error_full(&h->err, ERR_CONFIG, "no credentials for bucket \"b\"", named, NULL);
	assert_int_equal(look(h, &(struct s3_options){.credentials = S3_CREDENTIALS_ENVIRONMENT}, &key), -1);
	assert_error_full(&h->err, ERR_CONFIG, "no credentials for bucket \"b\"",
		"Looked in environment variable AWS_ACCESS_KEY_ID.", NULL);
}

static void half_a_key_is_an_error(void **state)
{
	struct home *h = *state;
	char *message cleanup(mem_freep) = mem_printf(
		"profile \"default\" of file \"%s\" has \"aws_access_key_id\" without \"aws_secret_access_key\"", h->credentials);
	struct s3_key key;

	write_file(h, h->credentials, "[default]\naws_access_key_id = A\naws_secret_access_key =\n");
	assert_int_equal(look(h, &(struct s3_options){0}, &key), -1);
	assert_error(&h->err, ERR_CONFIG, message);
	set("AWS_SECRET_ACCESS_KEY", "env");
	set("AWS_ACCESS_KEY_ID", ""); /* as good as unset */
	assert_int_equal(look(h, &(struct s3_options){0}, &key), -1);
	assert_error(&h->err, ERR_CONFIG, "environment variable AWS_SECRET_ACCESS_KEY is set without AWS_ACCESS_KEY_ID");
	assert_int_equal(look(h, &(struct s3_options){.access_key_id = "A"}, &key), -1);
	assert_error(&h->err, ERR_CONFIG, "\"access_key_id\" is configured for bucket \"b\" without \"secret_access_key\"");
}

static void keys_and_another_source_contradict(void **state)
{
	struct home *h = *state;
	struct s3_key key;

	for (int source = S3_CREDENTIALS_ENVIRONMENT; source <= S3_CREDENTIALS_WEB_IDENTITY; source++) {
		const struct s3_options o = {
			.access_key_id = "A", .secret_access_key = "s", .credentials = (enum s3_credentials_source)source};

		assert_int_equal(look(h, &o, &key), -1);
		assert_error_full(&h->err, ERR_CONFIG,
			"bucket \"b\" has keys of its own, and \"credentials\" that say to look elsewhere", NULL,
			"Leave out either \"credentials\", or \"access_key_id\" and \"secret_access_key\".");
	}
}

static void a_key_is_copied_for_each_who_asks(void **state)
{
	struct home *h = *state;
	const struct s3_options o = {.bucket = "b", .access_key_id = "A", .secret_access_key = "s"};
	struct s3_credentials *c = NULL;
	struct s3_key first = {0}, second = {0};

	assert_ok(s3_credentials_new(&o, &c, &h->err), &h->err);
	assert_ok(s3_credentials_get(c, NULL, &first, &h->err), &h->err);
	s3_credentials_forget(c); /* there is nothing to be had anew */
	assert_ok(s3_credentials_get(c, NULL, &second, &h->err), &h->err);
	s3_key_release(&first);
	s3_credentials_free(c);
	assert_string_equal(second.secret_access_key, "s");
	s3_key_release(&second);
}

static void nothing_is_fetched_unless_it_is_configured(void **state)
{
	struct home *h = *state;
	struct s3_key key;

	set("AWS_EC2_METADATA_DISABLED", "TRUE");
	assert_int_equal(look(h, &(struct s3_options){.credentials = S3_CREDENTIALS_INSTANCE}, &key), -1);
	assert_error(&h->err, ERR_CONFIG, "instance metadata is turned off by environment variable AWS_EC2_METADATA_DISABLED");
	set("AWS_ROLE_ARN", "arn:aws:iam::1:role/r");
	assert_int_equal(look(h, &(struct s3_options){.credentials = S3_CREDENTIALS_WEB_IDENTITY}, &key), -1);
	assert_error_full(&h->err, ERR_CONFIG,
		"no credentials for bucket \"b\": environment variable AWS_WEB_IDENTITY_TOKEN_FILE is not set", NULL,
		"\"credentials: web-identity\" needs AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE.");
	set("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere");
	assert_int_equal(look(h, &(struct s3_options){0}, &key), -1);
	assert_error(&h->err, ERR_CONFIG, "no credentials for bucket \"b\"");
}

/* --- the files --------------------------------------------------------------------------------------------------------------- */

/* The same profile in the spellings that the AWS tools take; id "ID", secret "se/cret+=", no token, unless said otherwise. */
static void files_are_read_as_the_aws_tools_do(void **state)
{
	struct home *h = *state;
	char *source cleanup(mem_freep) = source_of("default", h->credentials);
	static const struct {
		const char *name, *text, *token;
	} spellings[] = {
		{"plain", "[default]\naws_access_key_id = ID\naws_secret_access_key = se/cret+=\n", NULL},
		{"no blanks", "[default]\naws_access_key_id=ID\naws_secret_access_key=se/cret+=", NULL},
		{"tabs and blanks", "[default]\t\naws_access_key_id\t =  ID \t\naws_secret_access_key=\t se/cret+=  \n", NULL},
		{"blanks in brackets", "[ default ]\naws_access_key_id=ID\naws_secret_access_key=se/cret+=\n", NULL},
		{"lines of Windows", "[default]\r\naws_access_key_id = ID\r\naws_secret_access_key = se/cret+=\r\n", NULL},
		{"a byte order mark", "\xef\xbb\xbf[default]\naws_access_key_id = ID\naws_secret_access_key = se/cret+=\n", NULL},
		{"capitals", "[default]\nAWS_ACCESS_KEY_ID = ID\nAws_Secret_Access_Key = se/cret+=\n", NULL},
		{"a colon", "[default]\naws_access_key_id: ID\naws_secret_access_key : se/cret+=\n", NULL},
		{"comments",
			"# one\n; two\n[default] # three\n# aws_access_key_id = NO\naws_access_key_id = ID # four\n ; five\n"
			"aws_secret_access_key = se/cret+= ; six\n",
			NULL},
		{"empty lines", "\n\n[default]\n\naws_access_key_id = ID\n\n  \naws_secret_access_key = se/cret+=\n\n", NULL},
		{"all indented", "[default]\n  aws_access_key_id = ID\n  aws_secret_access_key = se/cret+=\n", NULL},
		{"nested settings",
			"[default]\ns3 =\n  aws_access_key_id = NO\n  aws_secret_access_key = NO\naws_access_key_id = ID\n"
			"aws_secret_access_key = se/cret+=\n",
			NULL},
		{"the last line counts",
			"[default]\naws_access_key_id = NO\naws_access_key_id = ID\naws_secret_access_key = se/cret+=\n", NULL},
		{"in two pieces",
			"[default]\naws_access_key_id = ID\n[x]\naws_access_key_id = NO\naws_secret_access_key = NO\n[default]\n"
			"aws_secret_access_key = se/cret+=\n",
			NULL},
		{"a token", "[default]\naws_access_key_id=ID\naws_secret_access_key=se/cret+=\naws_session_token = t=/+\n",
			"t=/+"},
		{"a token in an old file",
			"[default]\naws_access_key_id=ID\naws_secret_access_key=se/cret+=\naws_security_token = old\n", "old"},
		{"lines that are nothing",
			"nothing\n[default\n]\n[default]\nnothing\n= x\naws_access_key_id = ID\naws_secret_access_key = se/cret+=\n",
			NULL},
		{"before any section",
			"aws_access_key_id = NO\n[default]\naws_access_key_id=ID\naws_secret_access_key=se/cret+=\n", NULL},
	};

	for (size_t i = 0; i < array_len(spellings); i++) {
		print_message("%s\n", spellings[i].name);
		write_file(h, h->credentials, spellings[i].text);
		assert_key(h, &(struct s3_options){0}, "ID", "se/cret+=", spellings[i].token, source);
	}
}

static void the_configuration_file_names_profiles_differently(void **state)
{
	struct home *h = *state;
	static const struct {
		const char *name, *profile, *text, *id; /* NULL: not found */
	} files[] = {
		{"default", "default", "[default]\naws_access_key_id=A\naws_secret_access_key=s\n", "A"},
		{"profile default", "default", "[profile default]\naws_access_key_id=A\naws_secret_access_key=s\n", "A"},
		{"named", "x", "[profile x]\naws_access_key_id=A\naws_secret_access_key=s\n", "A"},
		{"more blanks", "x", "[ profile\t x ]\naws_access_key_id=A\naws_secret_access_key=s\n", "A"},
		{"quoted", "x y", "[profile \"x y\"]\naws_access_key_id=A\naws_secret_access_key=s\n", "A"},
		{"no profile", "x", "[x]\naws_access_key_id=A\naws_secret_access_key=s\n", NULL},
		{"another kind", "x", "[sso-session x]\naws_access_key_id=A\naws_secret_access_key=s\n", NULL},
		{"another word", "x", "[profilex]\naws_access_key_id=A\naws_secret_access_key=s\n", NULL},
	};

	for (size_t i = 0; i < array_len(files); i++) {
		const struct s3_options o = {.profile = files[i].profile};
		char *source cleanup(mem_freep) = source_of(files[i].profile, h->config);
		struct s3_key key;

		print_message("%s\n", files[i].name);
		write_file(h, h->config, files[i].text);
		if (files[i].id) {
			assert_key(h, &o, files[i].id, "s", NULL, source);
			continue;
		}
		assert_int_equal(look(h, &o, &key), -1);
		assert_error(&h->err, ERR_CONFIG, "no credentials for bucket \"b\"");
	}
}

static void the_region_comes_from_the_profile(void **state)
{
	struct home *h = *state;
	struct s3_key key = {0};

	write_file(h, h->credentials, CREDENTIALS "region = from-credentials\n");
	assert_ok(look(h, &(struct s3_options){.profile = "other"}, &key), &h->err);
	assert_string_equal(key.region, "from-credentials");
	s3_key_release(&key);
	write_file(h, h->config, "[default]\nregion = wrong\n[profile other]\nregion = eu-central-1 # Frankfurt\n");
	assert_ok(look(h, &(struct s3_options){.profile = "other"}, &key), &h->err);
	assert_string_equal(key.region, "eu-central-1");
	s3_key_release(&key);
}

static void files_may_be_elsewhere(void **state)
{
	struct home *h = *state;
	char *elsewhere cleanup(mem_freep) = io_path_join(h->dir, "elsewhere"),
			*config cleanup(mem_freep) = io_path_join(h->dir, "c");
	char *source cleanup(mem_freep) = source_of("default", elsewhere),
		     *second cleanup(mem_freep) = source_of("default", config);

	write_file(h, h->credentials, "[default]\naws_access_key_id = NO\naws_secret_access_key = no\n");
	write_file(h, elsewhere, "[default]\naws_access_key_id = A\naws_secret_access_key = s\n");
	set("AWS_SHARED_CREDENTIALS_FILE", elsewhere);
	assert_key(h, &(struct s3_options){0}, "A", "s", NULL, source);
	set("AWS_SHARED_CREDENTIALS_FILE", "~/elsewhere");
	assert_key(h, &(struct s3_options){0}, "A", "s", NULL, source);
	write_file(h, config, "[default]\naws_access_key_id = B\naws_secret_access_key = s\n");
	set("AWS_CONFIG_FILE", config);
	assert_key(h, &(struct s3_options){0}, "A", "s", NULL, source);
	set("AWS_SHARED_CREDENTIALS_FILE", "/nowhere");
	assert_key(h, &(struct s3_options){0}, "B", "s", NULL, second);
}

/* Keys in the same profile do not help where the AWS tools would not take them, either. */
static void profiles_that_send_elsewhere_are_named(void **state)
{
	struct home *h = *state;
	static const struct {
		const char *credentials, *config, *property; /* NULL: the keys are taken */
	} files[] = {
		{"aws_access_key_id=A\naws_secret_access_key=s\n", "region=here\n", NULL},
		{"aws_access_key_id=A\naws_secret_access_key=s\n", "role_arn = arn:aws:iam::1:role/r\n", "role_arn"},
		{"", "sso_session = corp\n", "sso_session"},
		{"", "sso_start_url = https://corp.example/start\n", "sso_start_url"},
		{"", "credential_process = /usr/bin/give\n", "credential_process"},
		{"aws_access_key_id=A\naws_secret_access_key=s\n", "credential_process = /usr/bin/give\n", NULL},
		{"", "credential_process = /usr/bin/give\naws_access_key_id=A\naws_secret_access_key=s\n", "credential_process"},
		{"", "web_identity_token_file = /run/token\n", "web_identity_token_file"},
	};

	for (size_t i = 0; i < array_len(files); i++) {
		char *credentials cleanup(mem_freep) = mem_printf("[default]\n%s", files[i].credentials);
		char *config cleanup(mem_freep) = mem_printf("[default]\n%s", files[i].config);
		char *message cleanup(mem_freep) = mem_printf(
			"profile \"default\" of file \"%s\" takes its keys from \"%s\", which is not supported", h->config,
			files[i].property ? files[i].property : "");
		struct s3_key key = {0};

		write_file(h, h->credentials, credentials);
		write_file(h, h->config, config);
		assert_int_equal(look(h, &(struct s3_options){0}, &key), files[i].property ? -1 : 0);
		s3_key_release(&key);
		if (files[i].property)
			assert_error_full(&h->err, ERR_CONFIG, message, NULL,
				"Put the keys into AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN before the run, or name "
				"another profile.");
	}
}

static void a_file_that_cannot_be_read_is_told(void **state)
{
	struct home *h = *state;
	char *message cleanup(mem_freep) = mem_printf(
		"could not look for the keys of profile \"default\": could not read file \"%s\": Is a directory", h->dir);
	struct s3_key key;

	set("AWS_SHARED_CREDENTIALS_FILE", h->dir);
	assert_int_equal(look(h, &(struct s3_options){0}, &key), -1);
	assert_error(&h->err, ERR_IO, message);
}

/* --- URLs -------------------------------------------------------------------------------------------------------------------- */

static void urls_name_bucket_and_prefix(void **state)
{
	struct home *h = *state;
	static const struct {
		const char *url, *bucket, *prefix;
	} good[] = {
		{"s3://bucket", "bucket", ""},
		{"s3://bucket/", "bucket", ""},
		{"s3://b.u-c_K3t/p", "b.u-c_K3t", "p"},
		{"s3://bbb/p/q//", "bbb", "p/q"},
		{"s3://bbb/p q/%20", "bbb", "p q/%20"},
	};

	for (size_t i = 0; i < array_len(good); i++) {
		char *bucket cleanup(mem_freep) = NULL, *prefix cleanup(mem_freep) = NULL;

		assert_ok(s3_url_parse(good[i].url, &bucket, &prefix, &h->err), &h->err);
		assert_string_equal(bucket, good[i].bucket);
		assert_string_equal(prefix, good[i].prefix);
	}
}

static void other_urls_are_refused(void **state)
{
	struct home *h = *state;
	static const char *const bad[] = {"", "bucket", "s3:", "s3:/bbb", "s3://", "s3:///p", "S3://bbb", "https://bbb/p",
		"s3://b u/p", "s3://..", "s3://bb/p", "s3://bbb//p", "s3://bbb/../p", "s3://bbb/./p", "s3://bbb?x", "s3://bbb#x"};

	for (size_t i = 0; i < array_len(bad); i++) {
		char *message cleanup(mem_freep) = mem_printf("\"%s\" is not the URL of an S3 bucket", bad[i]);
		char *bucket = NULL, *prefix = NULL;

		assert_int_equal(s3_url_parse(bad[i], &bucket, &prefix, &h->err), -1);
		assert_error_full(&h->err, ERR_CONFIG, message, NULL, "It must read \"s3://bucket\" or \"s3://bucket/prefix\".");
		assert_null(bucket);
	}
}

static void a_secret_in_a_url_is_not_repeated(void **state)
{
	struct home *h = *state;
	char *bucket = NULL, *prefix = NULL;

	assert_int_equal(s3_url_parse("s3://AKIA:secret@bucket/p", &bucket, &prefix, &h->err), -1);
	assert_error(&h->err, ERR_CONFIG, "the URL of an S3 bucket cannot hold a key, a password or a port");
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_nearest_source_wins),
		TEST(what_was_looked_at_is_told),
		TEST(half_a_key_is_an_error),
		TEST(keys_and_another_source_contradict),
		TEST(a_key_is_copied_for_each_who_asks),
		TEST(nothing_is_fetched_unless_it_is_configured),
		TEST(files_are_read_as_the_aws_tools_do),
		TEST(the_configuration_file_names_profiles_differently),
		TEST(the_region_comes_from_the_profile),
		TEST(files_may_be_elsewhere),
		TEST(profiles_that_send_elsewhere_are_named),
		TEST(a_file_that_cannot_be_read_is_told),
		TEST(urls_name_bucket_and_prefix),
		TEST(other_urls_are_refused),
		TEST(a_secret_in_a_url_is_not_repeated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
