/*
 * Help texts from the tables; a man page and --help tell the same.
 */
#ifndef CMD_HELP_H
#define CMD_HELP_H

#include "base/buf.h"
#include "cmd/options.h"

void help_general(struct buf *out);
void help_command(const struct command *c, struct buf *out);
/* "-j, --jobs=N", "    --dry-run" */
char *help_option_label(const struct option_spec *spec);
/* The description with choices, default and variable. */
char *help_option_text(const struct option_spec *spec, bool has_env);

#endif
