#include "tests/unit/proxy_plan.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct proxy_kind kinds[] = {
	{"-", PROXY_PASS, PROXY_HEAD, 0},
	{"delay", PROXY_DELAY, PROXY_HEAD, 0},
	{"reset", PROXY_RESET, PROXY_HEAD, 0},
	{"close", PROXY_CLOSE, PROXY_HEAD, 0},
	{"reset-request", PROXY_RESET, PROXY_REQUEST, 0},
	{"close-request", PROXY_CLOSE, PROXY_REQUEST, 0},
	{"stall-request", PROXY_STALL, PROXY_REQUEST, 0},
	{"reset-response", PROXY_RESET, PROXY_RESPONSE, -1},
	{"close-response", PROXY_CLOSE, PROXY_RESPONSE, -1},
	{"stall-response", PROXY_STALL, PROXY_RESPONSE, -1},
	{"flip-request", PROXY_FLIP, PROXY_REQUEST, 0},
	{"flip-response", PROXY_FLIP, PROXY_RESPONSE, 0},
	{"answer", PROXY_ANSWER, PROXY_HEAD, 0},
	{"answer-after", PROXY_ANSWER, PROXY_RESPONSE, -1},
};

static struct plan {
	pthread_mutex_t lock;
	struct proxy_fault *faults; /* never freed while requests may use their texts: "clear" forgets */
	size_t count, cap;
	uint64_t requests, done;
	uint64_t seed;
	unsigned per_mille;
	const struct proxy_kind *random_kinds[array_len(kinds)];
	size_t random_count;
	int log_fd;
} plan = {.lock = PTHREAD_MUTEX_INITIALIZER, .log_fd = -1};

static const struct proxy_kind *kind_by_name(const char *name)
{
	for (size_t i = 0; i < array_len(kinds); i++) {
		if (strcmp(kinds[i].name, name) == 0)
			return &kinds[i];
	}
	return NULL;
}

static uint64_t mix(uint64_t z)
{
	z += 0x9e3779b97f4a7c15u;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static struct proxy_fault random_fault(void)
{
	static char code[] = "SlowDown";
	uint64_t r = mix(plan.seed * 1000003 + plan.requests);
	struct proxy_fault f = {
		.kind = &kinds[0], .status = 503, .code = code, .retry_after = -1, .ms = (int64_t)(r >> 20 & 0xff)};

	if (plan.random_count == 0 || r % 1000 >= plan.per_mille)
		return f;
	f.kind = plan.random_kinds[(r >> 32) % plan.random_count];
	f.after = (r >> 16 & 3) == 0 ? f.kind->after : (int64_t)(r >> 40 & 0xffff) >> (r >> 56 & 15); /* small ones, too */
	return f;
}

/* What this request is to meet; logs it. */
struct proxy_fault proxy_plan_choose(const char *method, const char *target)
{
	struct proxy_fault chosen = {0};
	char *line;

	pthread_mutex_lock(&plan.lock);
	plan.requests++;
	for (size_t i = 0; i < plan.count; i++) {
		struct proxy_fault *f = &plan.faults[i];

		if ((f->method && strcmp(f->method, method) != 0) || (f->path && !strstr(target, f->path)))
			continue;
		f->seen++;
		if (!chosen.kind && f->seen >= f->from && f->seen <= f->to)
			chosen = *f;
	}
	if (!chosen.kind)
		chosen = random_fault();
	plan.done += chosen.kind->action != PROXY_PASS;
	if (plan.log_fd >= 0) {
		line = mem_printf("%llu %s %s %s\n", (unsigned long long)plan.requests, method, target, chosen.kind->name);
		if (write(plan.log_fd, line, strlen(line)) < 0)
			perror("fault_proxy: log");
		free(line);
	}
	pthread_mutex_unlock(&plan.lock);
	return chosen;
}

void proxy_plan_log(int fd)
{
	pthread_mutex_lock(&plan.lock);
	plan.log_fd = fd;
	pthread_mutex_unlock(&plan.lock);
}

/* --- orders ---------------------------------------------------------------------------------------------------------------- */

static bool parse_when(const char *text, struct proxy_fault *f)
{
	char *end;

	f->from = 1;
	f->to = UINT64_MAX;
	if (strcmp(text, "*") == 0)
		return true;
	f->from = strtoull(text, &end, 10);
	if (end == text || f->from == 0)
		return false;
	if (!*end)
		f->to = f->from;
	else if (*end == '-' && end[1])
		f->to = strtoull(end + 1, &end, 10);
	else if (*end == '-')
		end++;
	return !*end && f->to >= f->from;
}

static bool parse_setting(struct proxy_fault *f, char *text)
{
	const struct {
		const char *name;
		int64_t *number;
		char **text;
	} settings[] = {{"after", &f->after, NULL}, {"ms", &f->ms, NULL}, {"status", &f->status, NULL},
		{"retry_after", &f->retry_after, NULL}, {"skew_s", &f->skew_s, NULL}, {"echo", &f->echo, NULL},
		{"chunked", &f->chunked, NULL}, {"code", NULL, &f->code}, {"location", NULL, &f->location},
		{"body", NULL, &f->body}, {"method", NULL, &f->method}, {"path", NULL, &f->path}};
	char *value = strchr(text, '=');
	char *end = NULL;

	if (!value)
		return false;
	*value++ = '\0';
	for (size_t i = 0; i < array_len(settings); i++) {
		if (strcmp(settings[i].name, text) != 0)
			continue;
		if (settings[i].text)
			*settings[i].text = mem_strdup(value);
		else
			*settings[i].number = strtoll(value, &end, 10);
		return settings[i].text || (end > value && !*end);
	}
	return false;
}

static char *order_add(char *rest)
{
	struct proxy_fault f = {.status = 503, .retry_after = -1};
	char *save = NULL, *when = strtok_r(rest, " ", &save), *kind = when ? strtok_r(NULL, " ", &save) : NULL;

	if (!when || !kind || !parse_when(when, &f) || !(f.kind = kind_by_name(kind)))
		return mem_strdup("error: add WHEN KIND [NAME=VALUE…]");
	f.after = f.kind->after;
	for (char *word = strtok_r(NULL, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		if (!parse_setting(&f, word))
			return mem_printf("error: setting \"%s\" is not known", word);
	}
	plan.faults = mem_grow(plan.faults, &plan.cap, plan.count + 1, sizeof(plan.faults[0]));
	plan.faults[plan.count++] = f;
	return mem_strdup("ok");
}

static char *order_random(char *rest)
{
	char *save = NULL, *seed = strtok_r(rest, " ", &save), *rate = seed ? strtok_r(NULL, " ", &save) : NULL;
	const struct proxy_kind *chosen[array_len(kinds)];
	size_t count = 0;

	for (char *word = rate ? strtok_r(NULL, " ,", &save) : NULL; word; word = strtok_r(NULL, " ,", &save)) {
		if (count == array_len(kinds) || !(chosen[count++] = kind_by_name(word)))
			return mem_printf("error: no fault is called \"%s\"", word);
	}
	if (count == 0)
		return mem_strdup("error: random SEED PERMILLE KIND[,KIND…]");
	memcpy(plan.random_kinds, chosen, sizeof(chosen));
	plan.random_count = count;
	plan.seed = strtoull(seed, NULL, 10);
	plan.per_mille = (unsigned)strtoul(rate, NULL, 10);
	return mem_strdup("ok");
}

static char *order_clear(char *rest)
{
	(void)rest;
	plan.count = 0;
	plan.random_count = 0;
	return mem_strdup("ok");
}

static char *order_zero(char *rest)
{
	(void)rest;
	plan.requests = plan.done = 0;
	for (size_t i = 0; i < plan.count; i++)
		plan.faults[i].seen = 0;
	return mem_strdup("ok");
}

static char *order_requests(char *rest)
{
	(void)rest;
	return mem_printf("%llu", (unsigned long long)plan.requests);
}

static char *order_faults(char *rest)
{
	(void)rest;
	return mem_printf("%llu", (unsigned long long)plan.done);
}

char *proxy_plan_obey(char *line)
{
	static const struct {
		const char *name;
		char *(*run)(char *rest);
	} orders[] = {{"add", order_add}, {"random", order_random}, {"clear", order_clear}, {"zero", order_zero},
		{"requests", order_requests}, {"faults", order_faults}};
	size_t n = strcspn(line, " ");
	char *rest = line + n + (line[n] == ' '), *answer = NULL;

	line[n] = '\0';
	pthread_mutex_lock(&plan.lock);
	for (size_t i = 0; i < array_len(orders) && !answer; i++) {
		if (strcmp(orders[i].name, line) == 0)
			answer = orders[i].run(rest);
	}
	pthread_mutex_unlock(&plan.lock);
	return answer ? answer : mem_printf("error: no order is called \"%s\"", line);
}
