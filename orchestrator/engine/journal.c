#include "orchestrator/engine/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/hash.h"
#include "base/io.h"
#include "base/json.h"

#define CRC_DIGITS 8
#define LINE_OVERHEAD (CRC_DIGITS + 1) /* "<crc> " */

/* --- reading --- */

struct reader {
	const char *path, *text;
	size_t len, at; /* ${at}: where the next record starts; at the end, where the last good one ends */
	uint64_t last_seq;
	journal_visit visit;
	void *ctx;
};

static int corrupt(const struct reader *r, struct error *err, const char *why)
{
	err_set(err, ERR_CORRUPT, "journal \"%s\" is damaged: record %llu %s", r->path, (unsigned long long)r->last_seq + 1, why);
	return err_hint(err, "Nothing was changed. Keep the file for examination and start a new run.");
}

/* The checksum of the line's JSON agrees with its first digits. */
static bool is_line_good(const char *line, size_t n)
{
	char want[CRC_DIGITS + 1];

	if (n <= LINE_OVERHEAD || line[CRC_DIGITS] != ' ')
		return false;
	(void)snprintf(want, sizeof(want), "%08x", crc32c(line + LINE_OVERHEAD, n - LINE_OVERHEAD));
	return memcmp(want, line, CRC_DIGITS) == 0;
}

static int visit_line(struct reader *r, const char *line, size_t n, struct error *err)
{
	json_t *record cleanup(json_decrefpp) = NULL;
	struct error why cleanup(err_clear) = ERROR_INIT;
	json_int_t seq;

	record = json_read(line + LINE_OVERHEAD, n - LINE_OVERHEAD, "journal record", &why);
	if (!record || !json_is_object(record))
		return corrupt(r, err, "is no JSON object");
	seq = json_integer_value(json_object_get(record, "seq"));
	if (seq != (json_int_t)r->last_seq + 1) {
		char *text cleanup(mem_freep) = mem_printf("has sequence number %lld", (long long)seq);

		return corrupt(r, err, text);
	}
	if (r->visit(r->ctx, record, err) < 0) {
		/* the visitor knows what is wrong, but not where */
		return err->class == ERR_CORRUPT
			? err_context(err, "journal \"%s\", record %llu", r->path, (unsigned long long)r->last_seq + 1)
			: -1;
	}
	r->last_seq++;
	return 0;
}

/* A tail that begins with a whole record and goes on behind it is not one write cut short: the newline between two was lost. */
static bool is_tail_two_records(const char *tail, size_t n)
{
	json_error_t je;
	json_t *record cleanup(json_decrefpp) = NULL;
	size_t end;

	if (n <= LINE_OVERHEAD)
		return false;
	record = json_loadb(tail + LINE_OVERHEAD, n - LINE_OVERHEAD, JSON_DISABLE_EOF_CHECK, &je);
	end = record ? LINE_OVERHEAD + (size_t)je.position : n;
	return end < n && is_line_good(tail, end) && tail[end] != '\0';
}

/* Stops before a torn tail: a last line that is incomplete or whose checksum is wrong, with nothing behind it. */
static int read_lines(struct reader *r, struct error *err)
{
	while (r->at < r->len) {
		const char *line = r->text + r->at, *end = memchr(line, '\n', r->len - r->at);
		bool is_last = !end || end + 1 == r->text + r->len;

		if (!end || !is_line_good(line, (size_t)(end - line))) {
			if (!is_last || is_tail_two_records(line, r->len - r->at))
				return corrupt(r, err, "does not agree with its checksum");
			break;
		}
		if (visit_line(r, line, (size_t)(end - line), err) < 0)
			return -1;
		r->at += (size_t)(end + 1 - line);
	}
	if (r->last_seq == 0)
		return corrupt(r, err, "is missing or incomplete");
	return 0;
}

int journal_read(const char *path, journal_visit visit, void *ctx, struct error *err)
{
	struct buf text cleanup(buf_release) = {0};
	struct reader r = {.path = path, .visit = visit, .ctx = ctx};
	int rc = io_read_file(path, &text, err);

	if (rc <= 0)
		return rc;
	r.text = buf_str(&text);
	r.len = text.len;
	return read_lines(&r, err) < 0 ? -1 : 1;
}

/* --- writing --- */

/* What a failed append left behind goes; when even that is refused, nobody knows what the file holds. */
static void cut_back(struct journal *j)
{
	if (ftruncate(j->fd, j->size_bytes) < 0)
		j->is_broken = true;
}

static int write_record(struct journal *j, const struct buf *line, struct error *err)
{
	ssize_t n;

	do
		n = pwrite(j->fd, line->data, line->len, j->size_bytes);
	while (n < 0 && errno == EINTR);
	if (n == (ssize_t)line->len)
		return 0;
	if (n >= 0)
		errno = ENOSPC; /* a disk that takes a part only is full; the next write would say so */
	err_sys(err, "could not write to journal \"%s\"", j->path);
	cut_back(j);
	return -1;
}

static int sync_record(struct journal *j, struct error *err)
{
	if (fdatasync(j->fd) == 0)
		return 0;
	err_sys(err, "could not sync journal \"%s\"", j->path);
	/* The kernel may have dropped the pages and would report the next sync as a success: this record is not, and will not be,
	 * known to be on disk.  Readers must not see it either. */
	cut_back(j);
	j->is_broken = true;
	return -1;
}

static int format_record(const json_t *record, struct buf *ret, struct error *err)
{
	char *text cleanup(mem_freep) = json_dumps(record, JSON_COMPACT);

	if (!text)
		return err_set(err, ERR_BUG, "journal record cannot be written as JSON");
	buf_printf(ret, "%08x ", crc32c(text, strlen(text)));
	if (buf_append(ret, text, strlen(text), err) < 0)
		return -1;
	return buf_append(ret, "\n", 1, err);
}

static int append(struct journal *j, json_t *record, struct error *err)
{
	struct buf line cleanup(buf_release) = {0};
	char at[CLOCK_TEXT_BYTES];

	crash_point("record");
	if (j->is_broken) {
		err_set(err, ERR_IO, "journal \"%s\" cannot be trusted since a write to it failed", j->path);
		return err_hint(err, "Look at the disk's health, then resume the run.");
	}
	json_object_set_new(record, "seq", json_integer((json_int_t)j->last_seq + 1));
	json_object_set_new(record, "at", json_string(clock_format(clock_utc_ms(), at)));
	if (format_record(record, &line, err) < 0 || write_record(j, &line, err) < 0 || sync_record(j, err) < 0)
		return -1;
	j->last_seq++;
	j->size_bytes += (int64_t)line.len;
	return 0;
}

int journal_append(struct journal *j, json_t *record, struct error *err)
{
	if (append(j, record, err) < 0)
		return -1;
	crash_point("journal");
	return 0;
}

int journal_create(struct journal *j, const char *path, json_t *record, struct error *err)
{
	char *dir cleanup(mem_freep) = io_path_dir(path);

	*j = (struct journal)JOURNAL_INIT;
	j->path = mem_strdup(path);
	j->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (j->fd < 0)
		return err_sys(err, "could not create journal \"%s\"", path);
	return append(j, record, err) < 0 ? -1 : io_sync_dir(dir, err);
}

static int cut_torn_tail(struct journal *j, size_t len, struct error *err)
{
	if ((int64_t)len == j->size_bytes)
		return 0;
	if (ftruncate(j->fd, j->size_bytes) < 0)
		return err_sys(err, "could not cut the incomplete last record off journal \"%s\"", j->path);
	return io_fdatasync(j->fd, j->path, err);
}

int journal_open(struct journal *j, const char *path, journal_visit visit, void *ctx, struct error *err)
{
	struct buf text cleanup(buf_release) = {0};
	struct reader r = {.path = path, .visit = visit, .ctx = ctx};
	int rc;

	*j = (struct journal)JOURNAL_INIT;
	j->path = mem_strdup(path);
	rc = io_read_file(path, &text, err);
	if (rc == 0)
		err_set(err, ERR_CORRUPT, "journal \"%s\" is missing", path);
	if (rc <= 0)
		return -1;
	r.text = buf_str(&text);
	r.len = text.len;
	if (read_lines(&r, err) < 0)
		return -1;
	j->fd = open(path, O_RDWR | O_CLOEXEC);
	if (j->fd < 0)
		return err_sys(err, "could not open journal \"%s\"", path);
	j->last_seq = r.last_seq;
	j->size_bytes = (int64_t)r.at;
	return cut_torn_tail(j, text.len, err);
}

void journal_moved(struct journal *j, const char *path)
{
	free(j->path);
	j->path = mem_strdup(path);
}

void journal_close(struct journal *j)
{
	if (j->fd >= 0)
		close(j->fd); /* every record was synced: nothing is left that could fail */
	free(j->path);
	*j = (struct journal)JOURNAL_INIT;
}
