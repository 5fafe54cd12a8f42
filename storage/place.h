/*
 * From a repository's url to the driver behind it.  For storage/ alone.
 */
#ifndef STORAGE_PLACE_H
#define STORAGE_PLACE_H

#include "storage/repository.h"

/*
 * Opens the place that ${o} names: "file:///dir", "/dir", "./dir", or "s3://bucket/prefix" (made patient by retry.h).  *ret_url is
 * malloc'd: absolute, so that a run resumed from another working directory finds it again, and without credentials.
 */
int place_open(const struct repository_options *o, struct driver **ret, char **ret_url, struct error *err) must_check;

/* The directory that ${url} names, "file:///dir", "/dir" or "./dir"; malloc'd.  ERR_CONFIG. */
int place_directory(const char *url, char **ret, struct error *err) must_check;

#endif
