/*
 * From argv to the exit status.
 */
#include "cmd/app.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/io.h"
#include "cmd/commands.h"
#include "cmd/exit_status.h"
#include "cmd/output.h"
#include "cmd/signals.h"
#include "orchestrator/postgres/conn.h"

/*
 * A password in --database works, and is taken out of what "ps" shows: the kernel shows our own memory, which we may overwrite.
 * The options hold copies.
 */
static void hide_argument(char *arg)
{
	char *shown cleanup(mem_freep) = NULL;
	struct error ignored cleanup(err_clear) = ERROR_INIT;
	size_t n = strlen(arg);

	if (!strchr(arg, '=') && !strstr(arg, "://"))
		return;
	if (pg_conninfo_redact(arg, &shown, &ignored) == 0 && strcmp(shown, arg) == 0)
		return;
	memset(arg, ' ', n);
	if (shown && strlen(shown) <= n)
		memcpy(arg, shown, strlen(shown));
}

static void hide_passwords(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if ((strcmp(argv[i], "--database") == 0 || strcmp(argv[i], "-d") == 0) && i + 1 < argc)
			hide_argument(argv[i + 1]);
		else if (strncmp(argv[i], "--database=", 11) == 0)
			hide_argument(argv[i] + 11);
		else if (strncmp(argv[i], "-d", 2) == 0 && argv[i][2])
			hide_argument(argv[i] + 2);
		else if (strstr(argv[i], "password=") || strstr(argv[i], "://"))
			hide_argument(strncmp(argv[i], "database=", 9) == 0 ? argv[i] + 9 : argv[i]);
	}
}

static char *default_state_dir(void)
{
	const char *xdg = getenv("XDG_STATE_HOME"), *home = io_home_dir();

	if (geteuid() == 0)
		return mem_strdup("/var/lib/holdfast");
	if (xdg && *xdg == '/')
		return mem_printf("%s/holdfast", xdg);
	return mem_printf("%s/.local/state/holdfast", home ? home : "");
}

static int load_config(struct app *app, struct error *err)
{
	char *path cleanup(mem_freep) = NULL;

	if (!config_find(option_text(&app->options, OPT_CONFIG), &path))
		return 0;
	if (config_load(path, &app->config, err) < 0)
		return -1;
	app->has_config = true;
	return 0;
}

static int run_command(struct app *app, struct error *err)
{
	const char *state_dir = option_text(&app->options, OPT_STATE_DIR);

	app->state_dir = state_dir ? mem_strdup(state_dir) : default_state_dir();
	if (app->command->needs_config && load_config(app, err) < 0)
		return -1;
	return app->command->run(app, err);
}

static const struct command *chosen_command(const struct options *o)
{
	if (option_flag(o, OPT_VERSION))
		return &commands[CMD_VERSION];
	if (option_flag(o, OPT_HELP))
		return &commands[CMD_HELP];
	return o->command;
}

static int parse_and_run(struct app *app, int argc, char **argv, struct error *err)
{
	int rc = options_parse(argc, argv, &app->options, err);

	hide_passwords(argc, argv);
	app->command = chosen_command(&app->options);
	app->is_json = strcmp(option_text(&app->options, OPT_OUTPUT), "json") == 0;
	app->ui.is_quiet = option_flag(&app->options, OPT_QUIET);
	app->ui.is_verbose = option_flag(&app->options, OPT_VERBOSE);
	if (rc < 0)
		return -1;
	if (!app->command) {
		err_set(err, ERR_CONFIG, "no command is given");
		return err_hint(err, "See \"holdfast --help\".");
	}
	if (cancel_init(&app->cancel, NULL, err) < 0 || ui_open(&app->ui, err) < 0)
		return -1;
	if (signals_install(&app->cancel, &app->ui, err) < 0)
		return -1;
	return run_command(app, err);
}

static int final_status(const struct app *app, int rc, const struct error *err)
{
	if (rc < 0 && err->class == ERR_CANCELLED && !app->exit_status && signals_received())
		return EXIT_SIGNAL + signals_received();
	if (app->exit_status)
		return app->exit_status;
	return rc < 0 ? exit_status_of_error(err) : EXIT_DONE;
}

int app_main(int argc, char **argv)
{
	struct app app = {.result = json_object(), .ui.wake_fd = -1};
	struct error err cleanup(err_clear) = ERROR_INIT, flush cleanup(err_clear) = ERROR_INIT;
	int rc, status;

	umask(077);
	rc = parse_and_run(&app, argc, argv, &err);
	status = final_status(&app, rc, &err);
	ui_close(&app.ui);
	if (rc < 0)
		ui_error(&app.ui, &err);
	if (app.is_json)
		output_json(&app, status, &err);
	if (output_flush(&flush) < 0) {
		ui_error(&app.ui, &flush);
		status = status ? status : EXIT_FAILED;
	}
	json_decref(app.result);
	if (app.has_config)
		config_release(&app.config);
	options_release(&app.options);
	free(app.state_dir);
	return status;
}
