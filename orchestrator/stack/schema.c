#include "orchestrator/stack/schema.h"

#include "base/mem.h"

static const struct schema_key object_lock_keys[] = {
	{"mode", SCHEMA_STRING, .is_required = true, .about = "GOVERNANCE or COMPLIANCE"},
	{"for", SCHEMA_DURATION, .is_required = true, .about = "how long each object is held from its upload on"},
	{0},
};

static const struct schema_key repository_keys[] = {
	{"url", SCHEMA_VALUE, .is_required = true, .about = "where it is: file:///directory; s3://bucket/prefix"},
	{"driver", SCHEMA_STRING, .about = "of s3://…: s3 (default), or libs3 for signature version 2"},
	{"endpoint", SCHEMA_STRING, .about = "of an S3 service other than AWS: https://host[:port]"},
	{"region", SCHEMA_STRING, .about = "of the S3 bucket"},
	{"access_key_id", SCHEMA_VALUE, .about = "for S3"},
	{"secret_access_key", SCHEMA_VALUE, .about = "for S3"},
	{"session_token", SCHEMA_VALUE, .about = "for S3, of a temporary key"},
	{"credentials", SCHEMA_STRING, .about = "where the key comes from: auto, environment, profile, instance, web-identity"},
	{"profile", SCHEMA_STRING, .about = "of ~/.aws/credentials"},
	{"metadata_endpoint", SCHEMA_STRING, .about = "of credentials: instance"},
	{"sts_endpoint", SCHEMA_STRING, .about = "of credentials: web-identity"},
	{"addressing", SCHEMA_STRING, .about = "auto, path or virtual"},
	{"checksums", SCHEMA_STRING, .about = "x-amz-checksum headers: auto, on, off"},
	{"ca_file", SCHEMA_STRING, .about = "certificates to trust instead of the system's"},
	{"proxy", SCHEMA_STRING, .about = "HTTP proxy; default: https_proxy, no_proxy"},
	{"storage_class", SCHEMA_STRING, .about = "of what is uploaded: STANDARD_IA, …"},
	{"server_side_encryption", SCHEMA_STRING, .about = "AES256 or aws:kms"},
	{"kms_key_id", SCHEMA_STRING, .about = "of aws:kms"},
	{"object_lock", SCHEMA_MAP, .keys = object_lock_keys, .about = "retention that the bucket enforces"},
	{"connect_timeout", SCHEMA_DURATION, .about = "of a connection to the service"},
	{"stall_timeout", SCHEMA_DURATION, .about = "a transfer without a byte for so long has failed"},
	{"give_up_after", SCHEMA_DURATION, .about = "how long one request is tried again"},
	{"spool", SCHEMA_STRING, .about = "directory where an archive waits, as it is stored, until it is uploaded"},
	{"read_back", SCHEMA_STRING, .about = "what a backup reads back: quick, checksums, content"},
	{"encrypt_to", SCHEMA_STRINGS, .about = "age recipients: sets are encrypted to all of them"},
	{"passphrase", SCHEMA_SECRET, .about = "instead of encrypt_to and identity: sets are encrypted to it"},
	{"identity", SCHEMA_SECRET, .about = "age identity, needed only where encrypted sets are read back"},
	{0},
};

static const struct schema_key database_keys[] = {
	{"url", SCHEMA_VALUE, .is_required = true, .about = "connection string of the application's database"},
	{"admin_url", SCHEMA_VALUE, .about = "connection string of a role that may create databases; default: url"},
	{0},
};

static const struct schema_key retention_keys[] = {
	{"keep_last", SCHEMA_INT, .min = 1, .max = 100000, .about = "the newest so many sets"},
	{"keep_hourly", SCHEMA_INT, .min = 0, .max = 100000, .about = "the newest set of each of so many hours"},
	{"keep_daily", SCHEMA_INT, .min = 0, .max = 100000, .about = "the same for days"},
	{"keep_weekly", SCHEMA_INT, .min = 0, .max = 100000, .about = "the same for weeks"},
	{"keep_monthly", SCHEMA_INT, .min = 0, .max = 100000, .about = "the same for months"},
	{"keep_yearly", SCHEMA_INT, .min = 0, .max = 100000, .about = "the same for years"},
	{"keep_within", SCHEMA_DURATION, .about = "every set that is less than so much older than the newest"},
	{0},
};

static const struct schema_key objectives_keys[] = {
	{"rpo", SCHEMA_DURATION, .about = "how old the newest backup may be"},
	{"rto", SCHEMA_DURATION, .about = "how long a restore may take"},
	{0},
};

static const struct schema_key version_keys[] = {
	{"env_file", SCHEMA_STRING, .about = "file with KEY=value lines that pins the version"},
	{"key", SCHEMA_STRING, .about = "the key in env_file"},
	{"file", SCHEMA_STRING, .about = "file whose first line is the version"},
	{"yaml_file", SCHEMA_STRING, .about = "YAML file that pins it, such as compose.yaml"},
	{"yaml_path", SCHEMA_STRING, .about = "the scalar in yaml_file: services.api.image"},
	{"yaml_part", SCHEMA_STRING, .about = "of an image reference: tag (default) or digest; whole: all of the scalar"},
	{0},
};

static const struct schema_key services_keys[] = {
	{"stop", SCHEMA_ARGV, .about = "command that stops the application, workers and all"},
	{"start", SCHEMA_ARGV, .about = "command that starts it as its pins say, not returning before it is started"},
	{"check", SCHEMA_ARGV, .about = "command that ends with exit status 0 while the application runs"},
	{0},
};

static const struct schema_key migrations_keys[] = {
	{"dir", SCHEMA_STRING, .about = "directory of *.sql migrations, absolute"},
	{"command", SCHEMA_ARGV, .about = "command that migrates, instead"},
	{"schema", SCHEMA_STRING, .about = "where the table of what is applied stands; default: public"},
	{"table", SCHEMA_STRING, .about = "its name; default: holdfast_migrations"},
	{"adopt", SCHEMA_STRING,
		.about = "whose table says what was applied before: auto, none, agledger, golang-migrate, dbmate, flyway"},
	{"lock_timeout", SCHEMA_DURATION, .about = "how long a statement waits for a lock before it lets go and is tried again"},
	{"lock_wait", SCHEMA_DURATION, .about = "how long it is tried again"},
	{"statement_timeout", SCHEMA_DURATION, .about = "of each statement; default: the server's"},
	{"command_dir", SCHEMA_STRING, .about = "directory the command runs in"},
	{"env", SCHEMA_SCALARS, .about = "variables for the command; env:NAME and file:PATH are secrets"},
	{"url_env", SCHEMA_STRING, .about = "variable in which the command gets the connection string; default: DATABASE_URL"},
	{"end_sessions", SCHEMA_STRING, .about = "which sessions of a killed command are ended: role or named"},
	{"version_query", SCHEMA_STRING, .about = "SQL that tells the version of the schema, one value"},
	{0},
};

static const struct schema_key health_keys[] = {
	{"url", SCHEMA_VALUE, .is_required = true, .about = "answers when the application is well"},
	{"expect", SCHEMA_SCALARS, .about = "members its JSON answer must have"},
	{"version_path", SCHEMA_STRING, .about = "member of its JSON answer that is the application's version"},
	{"within", SCHEMA_DURATION, .about = "how long to wait for that"},
	{0},
};

static const struct schema_key upgrade_keys[] = {
	{"pull", SCHEMA_ARGV, .about = "command that fetches ${version} before anything is stopped"},
	{"put_back", SCHEMA_STRING,
		.about = "how a rollback puts the database back: restore (default) the set, or the copy made before"},
	{"rollback_within", SCHEMA_DURATION, .about = "how long the set that was taken before is kept from being pruned"},
	{"fence", SCHEMA_BOOL, .about = "keep other clients out of the database while it is migrated"},
	{"post_start", SCHEMA_ARGVS,
		.about = "commands that must succeed when the application has been started, also after a rollback"},
	{"compare", SCHEMA_ARGV, .about = "command whose output must not change from before to after"},
	{"compare_mode", SCHEMA_STRING,
		.about = "equal (default), contains: nothing may be missing, not_less: nor have become less"},
	{"max_transaction_age", SCHEMA_DURATION, .about = "an older transaction is in the way of an upgrade"},
	{0},
};

static const struct schema_key gate_keys[] = {
	{"query", SCHEMA_STRING, .is_required = true, .about = "SQL that tells the version of the schema, one value"},
	{"known", SCHEMA_SCALARS, .about = "version of the application: the schema it was made for"},
	{"schema_versions", SCHEMA_STRING, .about = "file of such a map"},
	{"minimum", SCHEMA_STRING, .about = "oldest version that may start at all"},
	{0},
};

static const struct schema_key files_keys[] = {
	{"path", SCHEMA_STRING, .is_required = true, .about = "of a file or directory, absolute"},
	{"exclude", SCHEMA_STRINGS, .about = "patterns of names, or of paths below it, that are left out"},
	{"one_filesystem", SCHEMA_BOOL, .about = "leave out what is mounted below it"},
	{0},
};

static const struct schema_key secrets_keys[] = {
	{"env_file", SCHEMA_STRING, .is_required = true, .about = "file with KEY=value lines"},
	{"key", SCHEMA_STRING, .is_required = true, .about = "the key in env_file"},
	{0},
};

static const struct schema_key stack_keys[] = {
	{"database", SCHEMA_MAP, .is_required = true, .keys = database_keys, .about = "the database of the stack"},
	{"repositories", SCHEMA_STRINGS, .is_required = true, .about = "names of repositories; the first is read from first"},
	{"files", SCHEMA_PATHS, .keys = files_keys, .about = "label: path of a file or directory that belongs to a backup set"},
	{"files_order", SCHEMA_STRING, .about = "database-first or files-first"},
	{"jobs", SCHEMA_INT, .min = 1, .max = 256, .about = "connections that copy or load rows"},
	{"retention", SCHEMA_MAP, .keys = retention_keys, .about = "how many sets are kept"},
	{"timezone", SCHEMA_STRING, .about = "whose days, weeks and months retention counts; default: the host's"},
	{"objectives", SCHEMA_MAP, .keys = objectives_keys, .about = "what recovery must achieve"},
	{"secrets", SCHEMA_PATHS, .keys = secrets_keys,
		.about = "name: where a secret of the application stands: env:NAME, file:/PATH, or env_file and key"},
	{"version", SCHEMA_MAP, .keys = version_keys, .about = "where the application's version is pinned"},
	{"services", SCHEMA_MAP, .keys = services_keys, .about = "how the application is stopped and started"},
	{"migrations", SCHEMA_MAP, .keys = migrations_keys, .about = "how the schema is migrated"},
	{"health", SCHEMA_MAP, .keys = health_keys, .about = "how the application tells that it is well"},
	{"preflight", SCHEMA_ARGVS, .about = "commands that must succeed before an upgrade"},
	{"upgrade", SCHEMA_MAP, .keys = upgrade_keys, .about = "what else an upgrade does"},
	{"gate", SCHEMA_MAP, .keys = gate_keys, .about = "which version of the application may start on which schema"},
	{"plans", SCHEMA_SCALARS, .about = "name: file of a plan of the stack's own; upgrade: instead of the built-in one"},
	{"parameters", SCHEMA_FREE, .about = "values of parameters of the stack's own plans, by name"},
	{0},
};

const struct schema_key config_schema[] = {
	{"version", SCHEMA_INT, .is_required = true, .min = 1, .max = 1, .about = "of this file's format: 1"},
	{"repositories", SCHEMA_NAMED, .keys = repository_keys, .about = "places where backup sets are kept, by name"},
	{"stacks", SCHEMA_NAMED, .keys = stack_keys, .about = "what is backed up, by name"},
	{0},
};

static int check_strings(const struct yaml_node *n, const char *what, size_t min, struct error *err)
{
	if (yaml_want_type(n, YAML_SEQUENCE, what, err) < 0)
		return -1;
	if (n->count < min)
		return yaml_error(n, err, "%s is empty", what);
	for (size_t i = 0; i < n->count; i++) {
		const char *text;

		if (yaml_want_str(n->values[i], what, &text, err) < 0)
			return -1;
	}
	return 0;
}

static int check_argvs(const struct yaml_node *n, const char *what, struct error *err)
{
	if (yaml_want_type(n, YAML_SEQUENCE, what, err) < 0)
		return -1;
	for (size_t i = 0; i < n->count; i++)
		if (check_strings(n->values[i], what, 1, err) < 0)
			return -1;
	return 0;
}

static int check_scalars(const struct yaml_node *n, const char *what, struct error *err)
{
	if (yaml_want_type(n, YAML_MAPPING, what, err) < 0)
		return -1;
	for (size_t i = 0; i < n->count; i++)
		if (yaml_want_type(n->values[i], YAML_SCALAR, n->keys[i]->text, err) < 0)
			return -1;
	return 0;
}

static int check_named(const struct yaml_node *n, const struct schema_key *key, struct error *err)
{
	if (yaml_want_type(n, YAML_MAPPING, key->name, err) < 0)
		return -1;
	for (size_t i = 0; i < n->count; i++)
		if (schema_check(n->values[i], key->keys, n->keys[i]->text, err) < 0)
			return -1;
	return 0;
}

static int check_paths(const struct yaml_node *n, const struct schema_key *key, struct error *err)
{
	const char *text;

	if (yaml_want_type(n, YAML_MAPPING, key->name, err) < 0)
		return -1;
	for (size_t i = 0; i < n->count; i++) {
		const char *label = n->keys[i]->text;

		if (n->values[i]->type == YAML_MAPPING ? schema_check(n->values[i], key->keys, label, err) < 0
						       : yaml_want_str(n->values[i], label, &text, err) < 0)
			return -1;
	}
	return 0;
}

static int check_secret(const struct yaml_node *n, const char *what, struct error *err)
{
	static const struct schema_key cmd_keys[] = {{"cmd", SCHEMA_ARGV, .is_required = true}, {0}};
	const char *text;

	return n->type == YAML_MAPPING ? schema_check(n, cmd_keys, what, err) : yaml_want_str(n, what, &text, err);
}

static int check_value(const struct yaml_node *n, const struct schema_key *key, struct error *err)
{
	const char *text;
	int64_t number;
	bool flag;

	switch (key->type) {
	case SCHEMA_STRING:
	case SCHEMA_VALUE:
		return yaml_want_str(n, key->name, &text, err);
	case SCHEMA_SECRET:
		return check_secret(n, key->name, err);
	case SCHEMA_INT:
		return yaml_want_int(n, key->name, key->min, key->max, &number, err);
	case SCHEMA_DURATION:
		return yaml_want_duration(n, key->name, &number, err);
	case SCHEMA_STRINGS:
		return check_strings(n, key->name, 0, err);
	case SCHEMA_ARGV:
		return check_strings(n, key->name, 1, err);
	case SCHEMA_ARGVS:
		return check_argvs(n, key->name, err);
	case SCHEMA_SCALARS:
		return check_scalars(n, key->name, err);
	case SCHEMA_MAP:
		return schema_check(n, key->keys, key->name, err);
	case SCHEMA_NAMED:
		return check_named(n, key, err);
	case SCHEMA_FREE:
		return yaml_want_type(n, YAML_MAPPING, key->name, err);
	case SCHEMA_PATHS:
		return check_paths(n, key, err);
	case SCHEMA_BOOL:
		return yaml_want_bool(n, key->name, &flag, err);
	}
	return err_set(err, ERR_BUG, "type %d of key \"%s\" is not known", (int)key->type, key->name);
}

int schema_check(const struct yaml_node *map, const struct schema_key *keys, const char *what, struct error *err)
{
	const char *known[64];
	size_t count = 0;

	for (; keys[count].name; count++)
		known[count] = keys[count].name;
	known[count] = NULL;
	if (yaml_want_type(map, YAML_MAPPING, what, err) < 0 || yaml_check_keys(map, known, err) < 0)
		return -1;
	for (size_t i = 0; i < count; i++) {
		const struct yaml_node *n = yaml_get(map, keys[i].name);

		if (!n && keys[i].is_required)
			return yaml_error(map, err, "%s has no key \"%s\"", what, keys[i].name);
		if (n && check_value(n, &keys[i], err) < 0)
			return -1;
	}
	return 0;
}
