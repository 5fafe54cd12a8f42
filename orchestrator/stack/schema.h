/*
 * The shape of holdfast.yaml as data: which keys there are, of which type, and what each means.
 *
 * One table is checked against by the parser and listed by the documentation's test, so that a key nobody documented, or one
 * that the documentation invented, is found.
 */
#ifndef STACK_SCHEMA_H
#define STACK_SCHEMA_H

#include <stdbool.h>
#include <stdint.h>
#include "base/yaml.h"

enum schema_type {
	SCHEMA_STRING,
	SCHEMA_VALUE,    /* env:NAME, file:PATH or the value itself; read by config_value() when it is needed */
	SCHEMA_SECRET,   /* a value, or a mapping with the one key "cmd": an argument vector that prints it */
	SCHEMA_INT,      /* min to max */
	SCHEMA_DURATION, /* "90s", "1h30m" */
	SCHEMA_STRINGS,  /* a sequence of strings */
	SCHEMA_ARGV,     /* a sequence of strings, at least one: never passed through a shell */
	SCHEMA_ARGVS,    /* a sequence of argument vectors */
	SCHEMA_SCALARS,  /* a mapping of free keys to scalars */
	SCHEMA_MAP,      /* a mapping with the keys of ${keys} */
	SCHEMA_NAMED,    /* a mapping of free names to mappings with the keys of ${keys} */
	SCHEMA_BOOL,
	SCHEMA_FREE,  /* a mapping of free names to anything */
	SCHEMA_PATHS, /* a mapping of free labels to a path, or to a mapping with the keys of ${keys} */
};

struct schema_key {
	const char *name; /* NULL ends a table */
	enum schema_type type;
	bool is_required;
	int64_t min, max;
	const struct schema_key *keys;
	const char *about;
};

extern const struct schema_key config_schema[]; /* of the whole file */

/* Checks the mapping ${map} against ${keys}: ERR_CONFIG with file, line and column, and the nearest right spelling. */
int schema_check(const struct yaml_node *map, const struct schema_key *keys, const char *what, struct error *err) must_check;

#endif
