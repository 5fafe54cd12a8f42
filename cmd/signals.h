/*
 * Signals: SIGTERM, SIGINT and SIGHUP stop politely, a second one at once; SIGUSR1 tells progress;
 * SIGPIPE and SIGXFSZ are errors of write().
 */
#ifndef CMD_SIGNALS_H
#define CMD_SIGNALS_H

#include "base/cancel.h"
#include "cmd/ui.h"

/* Both must live as long as the process. */
int signals_install(struct cancel *cancel, struct ui *ui, struct error *err) must_check;
int signals_received(void); /* the number of the first that asked to stop; 0: none */

#endif
