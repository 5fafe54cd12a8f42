/*
 * The summary of a run that is done, on standard output.
 */
#ifndef CMD_SUMMARY_H
#define CMD_SUMMARY_H

#include <stdbool.h>
#include "orchestrator/engine/run.h"

/* ${parameters}: of the plan, as given or as journaled.  is_resumed: the time is that of the last start alone, and gives no rate. */
void summary_print(const char *plan, const json_t *parameters, const struct run_result *result, bool is_resumed);
/* The same of a way back that was asked for. */
void summary_print_back(const char *run_id, const char *plan, const char *stack, const struct run_result *result);
/* What a way back has put back, as its steps say it, and which steps failed and did not stop it; nothing where there is nothing to say. */
void summary_print_way_back(const json_t *undone, const json_t *passed_over);
/* The SQL by which restored tables go back into the originals, as a step of ${outputs} gives it; nothing where none does. */
void summary_print_copy_back(const json_t *outputs);
/* "label       text", further lines below the first; nothing for NULL. */
void summary_print_lines(const char *label, int width, const char *text);

#endif
