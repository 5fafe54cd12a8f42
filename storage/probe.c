/*
 * The checks in their order, as a table.  Each says what it stands on; what stands on something that is missing is skipped, and says
 * so, instead of failing once more for the same reason.
 */
#include "storage/probe_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "storage/place.h"

#define CLOCK_DEGRADED_MS (INT64_C(5) * 60 * 1000)
#define CLOCK_FAILED_MS (INT64_C(15) * 60 * 1000) /* from here on S3 refuses signatures */
#define KEY_SHOWN_CHARS 12

/* --- items ----------------------------------------------------------------------------------------------------------------- */

const char *probe_state_name(enum probe_state state)
{
	static const char *const names[] = {"ok", "skipped", "degraded", "failed"};

	return names[state];
}

int probe_say(struct probe_item *it, enum probe_state state, const char *fmt, ...)
{
	va_list ap;
	char *text = NULL;

	va_start(ap, fmt);
	text = mem_vprintf(fmt, ap);
	va_end(ap);
	free(it->message);
	it->message = text;
	it->state = state;
	return 0;
}

int probe_hint(struct probe_item *it, const char *fmt, ...)
{
	va_list ap;

	free(it->hint);
	va_start(ap, fmt);
	it->hint = mem_vprintf(fmt, ap);
	va_end(ap);
	return 0;
}

int probe_blame(struct probe_item *it, enum probe_state state, struct error *why)
{
	if (why->detail)
		probe_say(it, state, "%s (%s)", why->message, why->detail);
	else
		probe_say(it, state, "%s", why->message ? why->message : "failed without a message");
	if (why->hint)
		probe_hint(it, "%s", why->hint);
	err_clear(why);
	return 0;
}

static struct probe_item *add_item(struct probe_report *r, const char *name)
{
	r->items = mem_grow(r->items, &r->cap, r->count + 1, sizeof(*r->items));
	r->items[r->count] = (struct probe_item){.name = name};
	return &r->items[r->count++];
}

void probe_report_release(struct probe_report *r)
{
	for (size_t i = 0; i < r->count; i++) {
		free(r->items[i].message);
		free(r->items[i].hint);
	}
	free(r->items);
	free(r->repository);
	free(r->url);
	*r = (struct probe_report){0};
}

enum probe_state probe_worst(const struct probe_report *r)
{
	enum probe_state worst = PROBE_OK;

	for (size_t i = 0; i < r->count; i++)
		if (r->items[i].state > worst)
			worst = r->items[i].state;
	return worst;
}

/* --- the place ------------------------------------------------------------------------------------------------------------- */

static int check_configuration(struct probe *p, struct probe_item *it, struct error *err)
{
	struct repository_options o = *p->o;

	o.is_created = false;
	if (place_open(&o, &p->place, &p->report->url, err) == 0)
		return probe_say(it, PROBE_OK, "%s", p->report->url);
	if (err->class != ERR_CONFIG || err->sys_errno != ENOENT)
		return -1;
	probe_blame(it, PROBE_DEGRADED, err);
	return probe_hint(it, "If it is on a file system that is not mounted, mount it; else the first backup makes it.");
}

static int check_reachable(struct probe *p, struct probe_item *it, struct error *err)
{
	int64_t from_ms = clock_mono_ms();
	struct driver_object o;
	int rc;

	if (p->place->ops->describe)
		rc = p->place->ops->describe(p->place, &p->state, err);
	else
		rc = p->place->ops->stat(p->place, REPOSITORY_FILE, &o, err);
	if (rc < 0)
		return -1;
	return probe_say(it, PROBE_OK, "answered in %" PRId64 " ms%s%s", clock_mono_ms() - from_ms,
		p->state.server ? ", it calls itself " : "", p->state.server ? p->state.server : "");
}

static int check_credentials(struct probe *p, struct probe_item *it, struct error *err)
{
	(void)err;
	if (!p->state.credentials)
		return probe_say(it, PROBE_SKIPPED, "it is not known where they came from");
	return probe_say(it, PROBE_OK, "from %s", p->state.credentials);
}

static int check_clock(struct probe *p, struct probe_item *it, struct error *err)
{
	int64_t ahead = p->state.clock_ahead_ms, apart = ahead < 0 ? -ahead : ahead;
	char text[CLOCK_TEXT_BYTES];

	(void)err;
	if (!p->state.has_clock)
		return probe_say(it, PROBE_SKIPPED, "the server tells no time");
	if (apart < 2000)
		return probe_say(it, PROBE_OK, "the server's clock and ours agree");
	probe_say(it,
		apart > CLOCK_FAILED_MS             ? PROBE_FAILED
			: apart > CLOCK_DEGRADED_MS ? PROBE_DEGRADED
						    : PROBE_OK,
		"the server's clock is %s %s ours", duration_format(apart, text), ahead > 0 ? "ahead of" : "behind");
	if (apart <= CLOCK_DEGRADED_MS)
		return 0;
	return probe_hint(it, "Set this host's clock by NTP; servers refuse requests that are 15 minutes off.");
}

/* --- what is in it --------------------------------------------------------------------------------------------------------- */

/* "2 keys, age1qxyz… and age1abcd…"; malloc'd. */
static char *text_of_recipients(const char *const *recipients)
{
	struct buf b = {0};
	size_t n = 0;

	if (recipients[0] && !age_recipient_is_valid(recipients[0]))
		return mem_strdup("a passphrase");
	while (recipients[n])
		n++;
	buf_printf(&b, "%zu %s", n, n == 1 ? "key" : "keys");
	for (size_t i = 0; i < n; i++)
		buf_printf(&b, "%s%.*s…", i ? ", " : ": ", KEY_SHOWN_CHARS, recipients[i]);
	return buf_take(&b);
}

static int say_no_repository(const struct probe *p, struct probe_item *it, struct error *why)
{
	char *to cleanup(mem_freep) = p->o->encrypt_to ? text_of_recipients(p->o->encrypt_to) : NULL;

	if (why->class != ERR_CONFIG || why->sys_errno != ENOENT)
		return probe_blame(it, PROBE_FAILED, why);
	return probe_say(it, PROBE_OK, "none here yet: the first backup makes it, %s%s", to ? "encrypted to " : "not encrypted",
		to ? to : "");
}

static int say_not_writable(const struct repository *r, struct probe_item *it, struct error *why)
{
	bool is_read_only = r->is_encrypted && r->load_identities;

	probe_blame(it, is_read_only ? PROBE_DEGRADED : PROBE_FAILED, why);
	return is_read_only ? probe_say(it, PROBE_DEGRADED,
				      "it is encrypted, and no recipients are configured: sets can be read here, not written")
			    : 0;
}

static int check_repository(struct probe *p, struct probe_item *it, struct error *err)
{
	struct repository_options o = *p->o;
	struct repository *r cleanup(repository_closep) = NULL;
	struct error failure cleanup(err_clear) = ERROR_INIT;
	char *to cleanup(mem_freep) = NULL;

	o.is_created = false;
	if (repository_open_with(&o, &r, &failure) < 0)
		return failure.class == ERR_CANCELLED ? err_move(err, &failure) : say_no_repository(p, it, &failure);
	if (repository_check_writable(r, &failure) < 0)
		return say_not_writable(r, it, &failure);
	to = r->is_encrypted ? text_of_recipients((const char *const *)r->encrypt_to) : NULL;
	return probe_say(it, PROBE_OK, "id %.8s, %s%s", r->id, to ? "encrypted to " : "not encrypted", to ? to : "");
}

static void identities_freep(struct age_identities **i)
{
	age_identities_free(*i);
}

/* Whether one of the identities opens what is encrypted to these. */
static bool fits(const struct age_identities *identities, const char *const *encrypt_to)
{
	bool is_found = false;

	for (size_t i = 0; i < age_identities_count(identities) && !is_found; i++) {
		char *own cleanup(mem_freep) = age_identity_recipient(identities, i);

		for (size_t j = 0; own && encrypt_to[j] && !is_found; j++)
			is_found = strcmp(own, encrypt_to[j]) == 0;
	}
	return is_found;
}

static int check_identity(struct probe *p, struct probe_item *it, struct error *err)
{
	struct age_identities *identities cleanup(identities_freep) = age_identities_new();

	if (!p->o->load_identities)
		return probe_say(it, PROBE_OK, "none is configured: sets can be written, not read back here");
	if (p->o->load_identities(p->o->identities_ctx, identities, err) < 0)
		return -1;
	if (!p->o->encrypt_to)
		return probe_say(it, PROBE_OK, "%zu could be loaded", age_identities_count(identities));
	if (fits(identities, p->o->encrypt_to))
		return probe_say(it, PROBE_OK, "one of the keys in \"encrypt_to\" is ours: sets can be read back here");
	probe_say(it, PROBE_DEGRADED, "it fits none of the keys in \"encrypt_to\": new sets could not be read here");
	return probe_hint(
		it, "Add its public key, which \"holdfast keygen --public FILE\" prints, or configure the identity that fits.");
}

/* --- what the bucket does -------------------------------------------------------------------------------------------------- */

static int check_versioning(struct probe *p, struct probe_item *it, struct error *err)
{
	(void)err;
	switch (p->state.versioning) {
	case DRIVER_ON:
	case DRIVER_SUSPENDED:
		probe_say(it, PROBE_OK, "%s: what is overwritten or deleted by others stays as an older version",
			p->state.versioning == DRIVER_ON ? "on" : "suspended");
		return probe_hint(it,
			"\"holdfast prune\" removes every version of what it removes, where s3:DeleteObjectVersion is "
			"allowed; else let a lifecycle rule of the bucket expire old versions.");
	case DRIVER_OFF:
		return probe_say(it, PROBE_OK, "off");
	case DRIVER_UNKNOWN:
		break;
	}
	return probe_say(it, PROBE_SKIPPED, "the server does not tell, or not these credentials (s3:GetBucketVersioning)");
}

static int check_object_lock(struct probe *p, struct probe_item *it, struct error *err)
{
	(void)err;
	if (p->state.object_lock == DRIVER_OFF)
		return probe_say(it, PROBE_OK, "off");
	if (p->state.object_lock == DRIVER_UNKNOWN)
		return probe_say(it, PROBE_SKIPPED,
			"the server does not tell, or not these credentials (s3:GetBucketObjectLockConfiguration)");
	if (!p->state.lock_mode)
		return probe_say(it, PROBE_OK, "on, without a default: only what \"object_lock\" configures is locked");
	return probe_say(
		it, PROBE_OK, "on: what is written is locked for %d days, mode %s", p->state.lock_days, p->state.lock_mode);
}

static int check_driver(struct probe *p, struct probe_item *it, struct error *err)
{
	(void)err;
	probe_say(it, PROBE_DEGRADED,
		"driver \"%s\" signs with version 2, sends each object in one piece (5 GB at most on many servers), resumes none, and "
		"cannot use https",
		p->place->ops->name);
	return probe_hint(it, "Use \"driver: s3\" unless the server takes nothing but signatures of version 2.");
}

/* --- all of them ----------------------------------------------------------------------------------------------------------- */

static bool is_remote(const struct probe *p)
{
	return p->is_remote;
}

static bool is_local(const struct probe *p)
{
	return !p->is_remote;
}

static bool has_parts(const struct probe *p)
{
	return p->place && (p->place->features & DRIVER_PARTS);
}

static bool is_partless(const struct probe *p)
{
	return p->is_remote && p->place && !has_parts(p);
}

static bool is_encrypting(const struct probe *p)
{
	return p->o->encrypt_to || p->o->load_identities;
}

static bool has_spool(const struct probe *p)
{
	return p->o->spool_dir;
}

static const struct check {
	const char *name;
	int (*run)(struct probe *p, struct probe_item *it, struct error *err);
	unsigned needs, gives;
	bool (*applies)(const struct probe *p); /* NULL: to all */
} checks[] = {
	{"configuration", check_configuration, 0, HAVE_PLACE, NULL},
	{"reachable", check_reachable, HAVE_PLACE, HAVE_ANSWER, NULL},
	{"credentials", check_credentials, HAVE_ANSWER, 0, is_remote},
	{"clock", check_clock, HAVE_ANSWER, 0, is_remote},
	{"repository", check_repository, HAVE_ANSWER, 0, NULL},
	{"identity", check_identity, 0, 0, is_encrypting},
	{"write", probe_write, HAVE_ANSWER, HAVE_OBJECT, NULL},
	{"read", probe_read, HAVE_OBJECT, 0, NULL},
	{"list", probe_list, HAVE_OBJECT, 0, NULL},
	{"exclusive-create", probe_exclusive, HAVE_OBJECT, 0, NULL},
	{"multipart", probe_multipart, HAVE_OBJECT, 0, has_parts},
	{"delete", probe_delete, HAVE_OBJECT, 0, NULL},
	{"versioning", check_versioning, HAVE_ANSWER, 0, is_remote},
	{"object-lock", check_object_lock, HAVE_ANSWER, 0, is_remote},
	{"driver", check_driver, HAVE_PLACE, 0, is_partless},
	{"space", probe_space, HAVE_ANSWER, 0, is_local},
	{"directory", probe_directory, HAVE_ANSWER, 0, is_local},
	{"spool", probe_spool, 0, 0, has_spool},
};

static int run_check(struct probe *p, const struct check *c, struct error *err)
{
	struct probe_item *it = add_item(p->report, c->name);
	struct error failure cleanup(err_clear) = ERROR_INIT;

	if ((p->have & c->needs) != c->needs)
		return probe_say(it, PROBE_SKIPPED, "not looked at, because of \"%s\"", p->lacking);
	p->have |= c->gives;
	if (c->run(p, it, &failure) < 0) {
		if (failure.class == ERR_CANCELLED)
			return err_move(err, &failure);
		probe_blame(it, PROBE_FAILED, &failure);
	}
	if (it->state == PROBE_FAILED || (c->gives == HAVE_PLACE && !p->place))
		p->have &= ~c->gives;
	if (c->gives & ~p->have)
		p->lacking = c->name;
	return 0;
}

static void probe_release(struct probe *p)
{
	probe_clean_up(p);
	if (p->place)
		p->place->ops->close(p->place);
	driver_state_release(&p->state);
	err_clear(&p->removal);
	free(p->host_key);
	free(p->key);
	free(p->newest_id);
	free(p->content);
}

int probe_repository(const struct probe_options *o, struct probe_report *ret, struct error *err)
{
	const struct repository_options *r = o->repository;
	struct probe p cleanup(probe_release) = {
		.o = r, .is_strict = o->is_strict, .is_remote = strncmp(r->url, "s3://", strlen("s3://")) == 0, .report = ret};

	*ret = (struct probe_report){.repository = mem_strdup(r->name ? r->name : r->url)};
	for (size_t i = 0; i < array_len(checks); i++)
		if ((!checks[i].applies || checks[i].applies(&p)) && run_check(&p, &checks[i], err) < 0)
			return -1;
	return 0;
}

void probe_unusable(const char *repository, const struct error *why, struct probe_report *ret)
{
	struct error copy cleanup(err_clear) = ERROR_INIT;

	*ret = (struct probe_report){.repository = mem_strdup(repository)};
	err_copy(&copy, why);
	probe_blame(add_item(ret, "configuration"), PROBE_FAILED, &copy);
}
