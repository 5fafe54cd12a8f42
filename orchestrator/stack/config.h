/*
 * The operator's configuration, holdfast.yaml: repositories and stacks by name.
 *
 * The whole file is checked when it is loaded (schema.h).  Values that stand elsewhere (env:NAME, file:PATH) are read only when
 * a command needs them, so that a host that backs up need not hold the secrets of one that restores.
 *
 * Everything is borrowed from the struct config and lives as long as it.  All errors are ERR_CONFIG: exit status 2.
 */
#ifndef STACK_CONFIG_H
#define STACK_CONFIG_H

#include <stdbool.h>
#include "base/event.h"
#include "base/yaml.h"
#include "storage/repository.h"
#include "storage/retention.h"

struct config_repository {
	const char *name;
	const struct yaml_node *node;
};

struct config_stack {
	const char *name;
	const struct yaml_node *node;
	const char **repositories; /* names, at least one, each of them in the file */
	size_t repositories_count;
	int jobs; /* 0: not given */
};

struct config {
	char *path;
	struct yaml_doc doc;
	struct config_repository *repositories;
	size_t repositories_count;
	struct config_stack *stacks;
	size_t stacks_count;
};

/*
 * The file to read: ${named} (from --config or HOLDFAST_CONFIG) if given, else the first that exists of
 * $XDG_CONFIG_HOME/holdfast/holdfast.yaml (XDG_CONFIG_HOME: ~/.config where it is not set) and /etc/holdfast/holdfast.yaml.  The
 * current directory is not looked into: whoever may write there would decide what root runs.
 * 1 and a malloc'd path, or 0 when nothing is named and none exists.
 */
int config_find(const char *named, char **ret_path);

int config_load(const char *path, struct config *ret, struct error *err) must_check;
int config_parse(const char *name, const char *text, size_t n, struct config *ret, struct error *err) must_check;
void config_release(struct config *c);

const struct config_repository *config_repository(const struct config *c, const char *name); /* NULL: none of that name */
const struct config_stack *config_stack(const struct config *c, const char *name);
const char *config_nearest_repository(const struct config *c, const char *name); /* NULL: none is near */
const char *config_nearest_stack(const struct config *c, const char *name);

/* The value of a node: env:NAME, file:PATH (one trailing newline is taken off), env_file:PATH#KEY or the text itself; "file://…" is a
 * URL, not a file.  malloc'd.  Messages name the variable or file, never the value. */
int config_value(const struct yaml_node *n, const char *what, char **ret, struct error *err) must_check;
/* The same for a text that stands in a plan;  names it in messages. */
int config_resolve(const char *text, const char *what, char **ret, struct error *err) must_check;
int config_repository_url(const struct config_repository *r, char **ret, struct error *err) must_check;
/*
 * Opens it with all that is configured: where it is, credentials, recipients.  Of ${o}, is_created, events and cancel are taken, and
 * open_within_ms.  Identities are read when something encrypted first is; the
 * configuration must live as long as the repository.
 */
int config_repository_open(const struct config_repository *r, const struct repository_options *o, struct repository **ret,
	struct error *err) must_check;
/* Whether all that is configured can be read and makes sense; asks neither the place nor a command. */
int config_repository_check(const struct config_repository *r, struct error *err) must_check;
/* The same for who opens the place otherwise, such as doctor: use() gets the options, which are valid during the call. */
int config_repository_with(const struct config_repository *r, const struct repository_options *o,
	int (*use)(void *ctx, const struct repository_options *o, struct error *err), void *ctx, struct error *err) must_check;
/* The age identities of the repository: of a file, a variable, or what a command prints.  ERR_CONFIG where none is configured. */
int config_repository_identities(
	const struct config_repository *r, struct cancel *cancel, struct age_identities *into, struct error *err) must_check;
/* url, or with is_admin admin_url where there is one. */
int config_stack_database(const struct config_stack *s, bool is_admin, char **ret, struct error *err) must_check;
/* The application's version as pinned by key "version".  1 and a malloc'd text, 0 when the stack pins none, -1. */
int config_stack_version(const struct config_stack *s, char **ret, struct error *err) must_check;

/* The stack's retention policy, with *ret_zone its time zone (borrowed; NULL: the host's).  1, 0 when it has none or an empty one, -1. */
int config_stack_retention(
	const struct config_stack *s, struct retention_policy *ret, const char **ret_zone, struct error *err) must_check;

#endif
