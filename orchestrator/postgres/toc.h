/*
 * The table of contents of a pg_dump archive, as SQL: what "pg_restore -v -f -" prints, cut into its entries.
 *
 * pg_restore -v heads each entry with "-- TOC entry 215 (class 1259 OID 16387)" and its dependencies.  A heading counts only between
 * two statements (toc_lex.h), so a function body that contains one splits nothing; and what was found is compared with
 * "pg_restore -l" (toc_check_list()): every entry once, none besides.
 */
#ifndef POSTGRES_TOC_H
#define POSTGRES_TOC_H

#include <stdint.h>
#include "base/buf.h"

struct toc_entry {
	int id;
	uint32_t class_oid, oid;
	const char *desc;   /* "TABLE", "FK CONSTRAINT" … */
	const char *name;   /* as pg_restore heads it: "t t_pkey" */
	const char *schema; /* "-" where it has none */
	int *deps;          /* ids of other entries */
	size_t deps_count;
	const char *sql; /* its statements, not NUL-terminated; may be empty */
	size_t sql_len;
	const char *set_tablespace,
		*set_access_method; /* "SET default_tablespace = …;" that hold for it; "" where none was printed */
};

struct toc {
	struct arena arena;
	char *text;            /* what the entries point into */
	const char **preamble; /* statements that every session which runs entries executes first */
	size_t preamble_count, preamble_cap;
	struct toc_entry *entries;
	size_t entries_count, entries_cap;
	const struct toc_entry **by_id; /* the same, sorted */
};

/* Takes ${text} (malloc'd, ${n} bytes).  Fails with ERR_CORRUPT. */
int toc_split(char *text, size_t n, struct toc *ret, struct error *err) must_check;
void toc_release(struct toc *toc);
const struct toc_entry *toc_find(const struct toc *toc, int id); /* NULL when there is none */

/* ${list}: what "pg_restore -l" printed; ${tocs} together must hold each of its entries once.  ERR_CORRUPT. */
int toc_check_list(const char *list, const struct toc *const *tocs, size_t tocs_count, struct error *err) must_check;

#endif
