/*
 * What a finished run did, for whoever started or resumed it: only what its steps have told.
 */
#include "cmd/summary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "cmd/output.h"
#include "cmd/sets.h"

static const char *text_of(const json_t *parameters, const char *name)
{
	const char *text = json_string_value(json_object_get(parameters, name));

	return text ? text : "-";
}

/* As the last step that tells of them says. */
static json_t *repositories_of(const json_t *all)
{
	json_t *caught_up = json_object_get(json_object_get(all, "catch_up"), "repositories");

	return caught_up ? caught_up : json_object_get(json_object_get(all, "commit"), "repositories");
}

/* Where the set is, and where it is not. */
static void print_repositories(const json_t *parameters, const struct run_result *result)
{
	json_t *states = repositories_of(result->outputs);
	const char *name, *label = "repository  ";
	json_t *state;

	if (!json_object_size(states)) {
		printf("repository   %s\n", text_of(parameters, "repository"));
		return;
	}
	json_object_foreach(states, name, state)
	{
		bool is_committed = strcmp(json_string_value(state), "committed") == 0;

		printf("%s %s%s%s\n", label, name,
			is_committed ? "" : ": NOT STORED: ", is_committed ? "" : json_string_value(state));
		label = "            ";
	}
}

static void backup_summary(const json_t *parameters, const struct run_result *result, bool is_resumed)
{
	bool has_files = output_number(result->outputs, "dump", "files") > 0;
	char *files cleanup(mem_freep) = text_count(output_number(result->outputs, "dump", "files"));
	char *files_bytes cleanup(mem_freep) = text_size(output_number(result->outputs, "dump", "files_bytes"));
	const char *id = output_text(result->outputs, "dump", "backup_id");
	uint64_t content = output_number(result->outputs, "dump", "content_bytes");
	uint64_t archive = output_number(result->outputs, "dump", "archive_bytes");
	char *rows cleanup(mem_freep) = text_count(output_number(result->outputs, "dump", "rows"));
	char *tables cleanup(mem_freep) = text_count(output_number(result->outputs, "dump", "tables"));
	char *content_text cleanup(mem_freep) = text_size(content), *archive_text cleanup(mem_freep) = text_size(archive);
	char *time cleanup(mem_freep) = text_duration(result->elapsed_ms);
	char *rate cleanup(mem_freep) = text_size(result->elapsed_ms > 0 ? content * 1000 / (uint64_t)result->elapsed_ms : 0);

	printf("backup set   %s\n", id ? id : "-");
	printf("stack        %s\n", text_of(parameters, "stack"));
	print_repositories(parameters, result);
	printf("tables       %s\n", tables);
	printf("rows         %s\n", rows);
	if (has_files)
		printf("content      %s\nfiles        %s, %s\nstored       %s\n", content_text, files, files_bytes, archive_text);
	else if (content)
		printf("content      %s, stored as %s (%.1f : 1)\n", content_text, archive_text,
			archive ? (double)content / (double)archive : 0.0);
	if (is_resumed)
		printf("time         %s since it was resumed\n", time);
	else
		printf("time         %s, %s/s\n", time, rate);
}

static void print_times(const json_t *outputs, const char *step)
{
	static const struct {
		const char *output, *label;
	} table[] = {
		{"ms_pre_data", "schema"},
		{"ms_copy", "copy"},
		{"ms_indexes", "indexes"},
		{"ms_post_data", "constraints"},
		{"ms_matviews", "materialized views"},
		{"ms_analyze", "analyze"},
		{"ms_proof", "proof"},
	};
	struct buf b cleanup(buf_release) = {0};

	for (size_t i = 0; i < array_len(table); i++) {
		uint64_t ms = output_number(outputs, step, table[i].output);
		char *text cleanup(mem_freep) = text_duration((int64_t)ms);

		if (ms)
			buf_printf(&b, "%s%s %s", b.len ? ", " : "", table[i].label, text);
	}
	if (b.len)
		printf("time went to  %s\n", buf_str(&b));
}

static const char *proof_text(const char *proof)
{
	if (strcmp(proof, "rows") == 0 || strcmp(proof, "-") == 0)
		return "every row compared with the set: equal";
	return strcmp(proof, "counts") == 0 ? "rows counted: equal" : "none was asked for";
}

void summary_print_copy_back(const json_t *outputs)
{
	const char *step, *sql;
	json_t *of_step;

	json_object_foreach((json_t *)(uintptr_t)outputs, step, of_step)
	{
		sql = json_get_str(of_step, "copy_back_sql", NULL);
		if (sql)
			printf("\n-- brings the rows back into the original tables:\n%s\n", sql);
	}
}

static void restore_summary(const json_t *parameters, const struct run_result *result)
{
	const json_t *o = result->outputs;
	const char *step = json_object_get(o, "fill") ? "fill" : "tables";
	const char *id = output_text(o, "select", "backup_id"), *new_db = output_text(o, "select", "new_db");
	const char *kept = output_text(o, "swap", "kept_name"), *sql = output_text(o, "tables", "copy_back_sql"),
		   *schema = output_text(o, "select", "schema");
	char *tables cleanup(mem_freep) = text_count(output_number(o, step, "tables"));
	char *rows cleanup(mem_freep) = text_count(output_number(o, step, "rows"));
	char *proven cleanup(mem_freep) = text_count(output_number(o, step, "tables_proven"));
	char *size cleanup(mem_freep) = text_size(output_number(o, step, "content_bytes"));
	char *time cleanup(mem_freep) = text_duration(result->elapsed_ms);

	printf("backup set    %s\n", id ? id : "-");
	if (json_object_get(o, "swap") && kept)
		printf("in service    the restored database; the former one is kept as \"%s\"\n", kept);
	else if (output_text(o, "swap", "swapped_at"))
		printf("in service    the restored database; there was none of that name before\n");
	else if (new_db && (strcmp(step, "fill") == 0 || !sql))
		printf("database      %s\n", new_db);
	else if (schema)
		printf("schema        %s\n", schema);
	printf("tables        %s, %s rows", tables, rows);
	if (output_number(o, step, "content_bytes"))
		printf(", %s", size);
	printf("\nproof         %s; %s tables\n", proof_text(text_of(parameters, "verify")), proven);
	printf("time          %s\n", time);
	print_times(o, step);
	if (kept && json_object_get(o, "swap")) {
		char *operand cleanup(mem_freep) = text_operand(kept);

		printf("when the application is well: holdfast drop-old %s\n", operand);
	}
	if (output_text(o, "preflight", "files"))
		printf("files         the set also holds %s: holdfast restore %s --files-only\n",
			output_text(o, "preflight", "files"), id ? id : "-");
	summary_print_copy_back(o);
}

static void files_summary(const struct run_result *result)
{
	const json_t *o = result->outputs, *places = json_object_get(json_object_get(o, "files"), "places");
	const char *id = output_text(o, "preflight", "backup_id");
	char *entries cleanup(mem_freep) = text_count(output_number(o, "files", "entries"));
	char *size cleanup(mem_freep) = text_size(output_number(o, "files", "content_bytes"));
	char *time cleanup(mem_freep) = text_duration(result->elapsed_ms);

	printf("backup set    %s\n", id ? id : "-");
	for (size_t i = 0; i < json_array_size(places); i++) {
		const json_t *p = json_array_get(places, i);
		const char *kept = json_get_str(p, "kept", NULL);

		printf("%-13s %s: %s%s%s\n", i ? "" : "files", json_get_str(p, "label", "-"), json_get_str(p, "path", "-"),
			kept ? "; the former is kept as " : "", kept ? kept : "");
	}
	printf("entries       %s, %s\n", entries, size);
	printf("proof         every entry compared with the set: equal\n");
	printf("time          %s\n", time);
}

void summary_print(const char *plan, const json_t *parameters, const struct run_result *result, bool is_resumed)
{
	if (strcmp(plan, "backup") == 0)
		backup_summary(parameters, result, is_resumed);
	else if (strcmp(plan, "restore") == 0 || strcmp(plan, "restore-tables") == 0)
		restore_summary(parameters, result);
	else if (strcmp(plan, "restore-files") == 0)
		files_summary(result);
	else
		printf("run %s (%s of stack %s): done\n", result->run_id ? result->run_id : "-", plan,
			text_of(parameters, "stack"));
}

void summary_print_lines(const char *label, int width, const char *text)
{
	char *copy cleanup(mem_freep) = text ? mem_strdup(text) : NULL, *rest = copy;

	for (char *line; rest && (line = strsep(&rest, "\n")); label = "")
		printf("%-*s %s\n", width, label, line);
}

static void print_undone(const json_t *undone)
{
	const char *label = "put back";
	size_t i;
	json_t *e;

	json_array_foreach((json_t *)(uintptr_t)undone, i, e)
	{
		const char *text = json_get_str(json_object_get(e, "outputs"), "put_back", NULL);

		if (!text)
			continue;
		printf("%-12s %s: %s\n", label, json_get_str(e, "step", "-"), text);
		label = "";
	}
}

static void print_passed_over(const json_t *passed_over)
{
	const char *label = "passed over";
	size_t i;
	json_t *e;

	json_array_foreach((json_t *)(uintptr_t)passed_over, i, e)
	{
		char *text cleanup(mem_freep) = mem_printf(
			"%s failed: %s", json_get_str(e, "step", "-"), json_get_str(e, "message", "unknown error"));

		summary_print_lines(label, 12, text);
		summary_print_lines("", 12, json_get_str(e, "detail", NULL));
		summary_print_lines("", 12, json_get_str(e, "hint", NULL));
		label = "";
	}
}

void summary_print_way_back(const json_t *undone, const json_t *passed_over)
{
	print_undone(undone);
	print_passed_over(passed_over);
}

void summary_print_back(const char *run_id, const char *plan, const char *stack, const struct run_result *result)
{
	printf("run %s (%s of stack %s): %s\n", run_id, plan, stack, result->is_abandoned ? "abandoned" : "rolled back");
	summary_print_way_back(result->undone, result->passed_over);
}
