/*
 * The files of the AWS tools: "~/.aws/credentials" with a section [NAME] for each profile, "~/.aws/config" with [profile NAME], both
 * with [default].  Lines are NAME = VALUE; a line that is indented more than the one before belongs to that one's value (nested settings
 * such as "s3 =") and is none of ours; '#' and ';' begin a comment, at the start of a line or behind a blank.
 *
 * A profile may say that its keys must be had from elsewhere (a role, a program, single sign-on).  None of that is done here, and it
 * is said so: passing over it silently would sign with other keys than every other tool on this machine does.
 */
#include "storage/drivers/s3_credentials.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/io.h"

#define FILE_MAX_BYTES ((size_t)1 << 20)
#define BLANKS " \t\r\v\f"

/* What one file says of the profile. */
struct profile {
	const char *name;
	char *path;
	bool is_config; /* sections are [profile NAME] */
	bool is_file, is_there;
	char *id, *secret, *token, *region;
	char *elsewhere_before, *elsewhere_after; /* names of properties that send elsewhere for keys */
};

static void profile_release(struct profile *p)
{
	s3_wipe(p->id);
	s3_wipe(p->secret);
	s3_wipe(p->token);
	free(p->path);
	free(p->region);
	free(p->elsewhere_before);
	free(p->elsewhere_after);
}

/* --- reading ----------------------------------------------------------------------------------------------------------------- */

static char *trim(char *s)
{
	char *end;

	s += strspn(s, BLANKS);
	end = s + strlen(s);
	while (end > s && strchr(BLANKS, end[-1]))
		end--;
	*end = '\0';
	return s;
}

/* The text between the brackets: the profile's name, or NULL where it is a section of another kind. */
static const char *section_profile(const struct profile *p, char *text)
{
	size_t n;

	text = trim(text);
	if (!p->is_config || strcmp(text, "default") == 0)
		return text;
	if (strncmp(text, "profile", 7) != 0 || !text[7] || !strchr(BLANKS "\"'", text[7]))
		return NULL;
	text = trim(text + 7);
	n = strlen(text);
	if (n >= 2 && (*text == '"' || *text == '\'') && text[n - 1] == *text) {
		text[n - 1] = '\0';
		text++;
	}
	return text;
}

/* Those that go before keys of the same profile, and those that come after them, as the AWS tools have it. */
static const struct {
	const char *name;
	bool is_before;
} elsewhere[] = {
	{"role_arn", true},
	{"sso_session", true},
	{"sso_start_url", true},
	{"login_session", true},
	{"credential_process", false},
	{"credential_source", false},
	{"web_identity_token_file", false},
};

static void keep(char **slot, const char *value)
{
	s3_wipe(*slot);
	*slot = *value ? mem_strdup(value) : NULL;
}

static void set_property(struct profile *p, const char *name, const char *value)
{
	const struct {
		const char *name;
		char **slot;
	} ours[] = {
		{"aws_access_key_id", &p->id},
		{"aws_secret_access_key", &p->secret},
		{"aws_session_token", &p->token},
		{"aws_security_token", &p->token}, /* its name in old files */
		{"region", &p->region},
	};

	for (size_t i = 0; i < array_len(ours); i++)
		if (strcasecmp(name, ours[i].name) == 0)
			keep(ours[i].slot, value);
	for (size_t i = 0; i < array_len(elsewhere); i++)
		if (strcasecmp(name, elsewhere[i].name) == 0 && *value)
			keep(elsewhere[i].is_before ? &p->elsewhere_before : &p->elsewhere_after, elsewhere[i].name);
}

static void cut_comment(char *line)
{
	for (char *s = line; *s; s++)
		if ((*s == '#' || *s == ';') && (s == line || strchr(BLANKS, s[-1]))) {
			*s = '\0';
			return;
		}
}

/* Where the reading stands: in which section, and how far the last property of it was indented. */
struct place {
	bool is_ours, has_property;
	size_t indent;
};

static void read_line(struct profile *p, struct place *at, char *line)
{
	size_t indent = strspn(line, BLANKS);
	char *equals, *end;

	cut_comment(line);
	if (!line[strspn(line, BLANKS)] || (at->has_property && indent > at->indent))
		return;
	line += indent;
	if (*line == '[') {
		const char *name = NULL;

		end = strchr(line, ']');
		if (end) {
			*end = '\0';
			name = section_profile(p, line + 1);
		}
		*at = (struct place){.is_ours = name && strcmp(name, p->name) == 0};
		p->is_there |= at->is_ours;
		return;
	}
	equals = strpbrk(line, "=:");
	at->has_property = true;
	at->indent = indent;
	if (!equals || !at->is_ours)
		return;
	*equals = '\0';
	set_property(p, trim(line), trim(equals + 1));
}

static int read_file(struct profile *p, struct error *err)
{
	struct buf text cleanup(s3_wipe_buf) = {.max = 2 * FILE_MAX_BYTES};
	struct place at = {0};
	char *rest, *line;
	int rc;

	if (!p->path)
		return 0;
	/* All the room at once: a buffer that grows leaves secrets behind. */
	if (buf_reserve(&text, FILE_MAX_BYTES, err) < 0 || (rc = io_read_file(p->path, &text, err)) < 0)
		return err_context(err, "could not look for the keys of profile \"%s\"", p->name);
	p->is_file = rc == 1;
	rest = text.data;
	if (rc == 1 && text.len >= 3 && memcmp(rest, "\xef\xbb\xbf", 3) == 0) /* as some editors begin a file */
		rest += 3;
	while (rc == 1 && rest && (line = strsep(&rest, "\n")))
		read_line(p, &at, line);
	return 0;
}

/* --- choosing ---------------------------------------------------------------------------------------------------------------- */

/* As the variable says, "~" and all, or below the home directory; NULL where there is none. */
static char *file_path(const char *variable, const char *name)
{
	const char *path = s3_env(variable), *home = io_home_dir();

	if (path && (strncmp(path, "~/", 2) != 0 || !home))
		return mem_strdup(path);
	if (!home)
		return NULL;
	return path ? io_path_join(home, path + 2) : io_path_join(home, name);
}

static int fail_elsewhere(const struct profile *p, const char *property, struct error *err)
{
	err_set(err, ERR_CONFIG, "profile \"%s\" of file \"%s\" takes its keys from \"%s\", which is not supported", p->name,
		p->path, property);
	return err_hint(err,
		"Put the keys into AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN before the run, or name "
		"another profile.");
}

/* 1 with the keys, 0 when it has none, -1. */
static int take_keys(struct profile *p, struct s3_key *ret, struct error *err)
{
	if (!p->id && !p->secret)
		return 0;
	if (!p->id || !p->secret)
		return err_set(err, ERR_CONFIG, "profile \"%s\" of file \"%s\" has \"%s\" without \"%s\"", p->name, p->path,
			p->id ? "aws_access_key_id" : "aws_secret_access_key",
			p->id ? "aws_secret_access_key" : "aws_access_key_id");
	*ret = (struct s3_key){
		.access_key_id = take_ptr(p->id),
		.secret_access_key = take_ptr(p->secret),
		.session_token = take_ptr(p->token),
		.source = mem_printf("profile \"%s\" of file \"%s\"", p->name, p->path),
	};
	return 1;
}

static int choose(struct profile *credentials, struct profile *config, struct s3_key *ret, struct error *err)
{
	int found;

	if (config->elsewhere_before)
		return fail_elsewhere(config, config->elsewhere_before, err);
	if (credentials->elsewhere_before)
		return fail_elsewhere(credentials, credentials->elsewhere_before, err);
	found = take_keys(credentials, ret, err);
	if (found == 0 && credentials->elsewhere_after)
		return fail_elsewhere(credentials, credentials->elsewhere_after, err);
	if (found == 0 && config->elsewhere_after)
		return fail_elsewhere(config, config->elsewhere_after, err);
	if (found == 0)
		found = take_keys(config, ret, err);
	if (found == 1)
		ret->region = config->region ? take_ptr(config->region) : take_ptr(credentials->region);
	return found;
}

static void tell_looked(const struct profile *p, struct buf *looked)
{
	if (!p->path)
		return;
	s3_looked_in(looked, "profile \"%s\" of file \"%s\" (%s)", p->name, p->path,
		!p->is_file           ? "no such file"
			: p->is_there ? "without keys"
				      : "no such profile");
}

int s3_profile_find(const struct s3_options *o, struct s3_key *ret, struct buf *looked, struct error *err)
{
	struct profile credentials cleanup(profile_release) = {0}, config cleanup(profile_release) = {.is_config = true};
	const char *chosen = o->profile ? o->profile : s3_env("AWS_PROFILE");
	int found;

	credentials.name = config.name = chosen ? chosen : "default";
	credentials.path = file_path("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials");
	config.path = file_path("AWS_CONFIG_FILE", ".aws/config");
	if (read_file(&credentials, err) < 0 || read_file(&config, err) < 0)
		return -1;
	found = choose(&credentials, &config, ret, err);
	if (found != 0)
		return found;
	if (!credentials.path)
		s3_looked_in(looked, "no profile (this user has no home directory)");
	tell_looked(&credentials, looked);
	tell_looked(&config, looked);
	return 0;
}
