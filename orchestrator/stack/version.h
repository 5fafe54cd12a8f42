/*
 * Versions of applications and schemas, in their natural order.
 *
 * Read as Semantic Versioning 2.0.0 (semver.org, item 11) reads them, and leniently: a "v" in front is passed over, there may be any number of
 * numbers, a missing one counts as 0 ("1.2" is "1.2.0"), numbers may be of any length (20260812031000), build metadata ("+…") does not count.  Where a
 * number is expected and text stands, text is compared by its runs of digits and letters, so that "r10" follows "r9".
 */
#ifndef STACK_VERSION_H
#define STACK_VERSION_H

#include <stdbool.h>

/* Less than, equal to or greater than 0 as ${a} is older than, the same as or newer than ${b}. */
int version_compare(const char *a, const char *b);
/* Whether both are the same version, however written ("v1.2" and "1.2.0"). */
bool version_is_same(const char *a, const char *b);
/* Whether going from ${from} to ${to} changes what semver calls incompatible: the first number, or while that is 0 the second.
 * Backwards counts too.  Versions that do not begin with a number differ by a major step when they differ at all. */
bool version_is_major_step(const char *from, const char *to);

#endif
