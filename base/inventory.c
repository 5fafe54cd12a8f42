#include "base/inventory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *inventory_grow(void *list, size_t *cap, size_t count, size_t size)
{
	list = mem_grow(list, cap, count + 1, size);
	memset((char *)list + count * size, 0, size);
	return list;
}

void inventory_release(struct inventory *inv)
{
	free(inv->tables);
	free(inv->sequences);
	free(inv->matviews);
	free(inv->left_out);
	free(inv->extensions);
	free(inv->collations);
	free(inv->roles);
	free(inv->slots);
	free(inv->publications);
	free(inv->subscriptions);
	free(inv->tablespaces);
	free(inv->settings);
	free(inv->acl);
	free(inv->trees);
	free(inv->secrets);
	free(inv->members);
	arena_release(&inv->arena);
	memset(inv, 0, sizeof(*inv));
}

const struct inv_member *inventory_member(const struct inventory *inv, const char *name)
{
	for (size_t i = 0; i < inv->members_count; i++)
		if (strcmp(inv->members[i].name, name) == 0)
			return &inv->members[i];
	return NULL;
}

char *row_digest_format(const struct row_digest *d, char out[ROW_DIGEST_HEX_BYTES])
{
	(void)snprintf(out, ROW_DIGEST_HEX_BYTES, "%016" PRIx64 "%016" PRIx64, d->high, d->low);
	return out;
}

int row_digest_parse(const char *text, struct row_digest *ret)
{
	uint8_t raw[16];
	struct row_digest d = {0};

	if (hex_decode(text, raw, sizeof(raw)) < 0)
		return -1;
	for (int i = 0; i < 8; i++) {
		d.high = d.high << 8 | raw[i];
		d.low = d.low << 8 | raw[8 + i];
	}
	*ret = d;
	return 0;
}

static const char *const kind_names[] = {
	[INV_TABLE] = "table",
	[INV_UNLOGGED] = "unlogged table",
	[INV_EXTENSION_CONFIG] = "extension configuration table",
	[INV_LARGE_OBJECTS] = "large objects",
};

const char *inv_table_kind_name(enum inv_table_kind kind)
{
	return kind_names[kind];
}

int inv_table_kind_parse(const char *text, enum inv_table_kind *ret)
{
	for (size_t i = 0; i < array_len(kind_names); i++) {
		if (strcmp(kind_names[i], text) == 0) {
			*ret = (enum inv_table_kind)i;
			return 0;
		}
	}
	return -1;
}

static int by_offset(const void *a, const void *b, void *arg)
{
	const struct inventory *inv = arg;
	uint64_t x = inv->members[*(const size_t *)a].offset, y = inv->members[*(const size_t *)b].offset;

	return x < y ? -1 : x > y;
}

static int by_value(const void *a, const void *b)
{
	size_t x = *(const size_t *)a, y = *(const size_t *)b;

	return x < y ? -1 : x > y;
}

static void place_members(size_t *members, size_t count, const size_t *place)
{
	for (size_t i = 0; i < count; i++)
		members[i] = place[members[i]];
	if (count > 1)
		qsort(members, count, sizeof(*members), by_value);
}

void inventory_sort_members(struct inventory *inv)
{
	size_t n = inv->members_count;
	size_t *order = mem_alloc(n * sizeof(*order)), *place = mem_alloc(n * sizeof(*place));
	struct inv_member *sorted = mem_alloc(n * sizeof(*sorted));

	for (size_t i = 0; i < n; i++)
		order[i] = i;
	qsort_r(order, n, sizeof(*order), by_offset, inv);
	for (size_t i = 0; i < n; i++) {
		sorted[i] = inv->members[order[i]];
		place[order[i]] = i;
	}
	for (size_t i = 0; i < inv->tables_count; i++)
		place_members(inv->tables[i].members, inv->tables[i].members_count, place);
	for (size_t i = 0; i < inv->trees_count; i++)
		place_members(inv->trees[i].members, inv->trees[i].members_count, place);
	free(inv->members);
	inv->members = sorted;
	inv->members_cap = n;
	free(order);
	free(place);
}

const struct inv_tree *inventory_tree(const struct inventory *inv, const char *label)
{
	for (size_t i = 0; i < inv->trees_count; i++)
		if (strcmp(inv->trees[i].label, label) == 0)
			return &inv->trees[i];
	return NULL;
}

void inventory_take_trees(struct inventory *to, struct inventory *from)
{
	size_t base = to->members_count;

	for (size_t i = 0; i < from->members_count; i++) {
		struct inv_member *m = inventory_add(to, members);

		*m = from->members[i];
		m->name = arena_strdup(&to->arena, from->members[i].name);
	}
	for (size_t i = 0; i < from->trees_count; i++) {
		const struct inv_tree *t = &from->trees[i];
		struct inv_tree *moved = inventory_add(to, trees);

		*moved = *t;
		moved->label = arena_strdup(&to->arena, t->label);
		moved->path = arena_strdup(&to->arena, t->path);
		moved->members = arena_alloc(&to->arena, (t->members_count + 1) * sizeof(*moved->members));
		for (size_t k = 0; k < t->members_count; k++)
			moved->members[k] = base + t->members[k];
	}
	for (size_t i = 0; i < from->left_out_count; i++) {
		const struct inv_left_out *l = &from->left_out[i];

		*inventory_add(to, left_out) = (struct inv_left_out){
			.kind = arena_strdup(&to->arena, l->kind),
			.schema = arena_strdup(&to->arena, l->schema),
			.name = arena_strdup(&to->arena, l->name),
			.reason = arena_strdup(&to->arena, l->reason),
		};
	}
	inventory_release(from);
}

void inventory_take_secrets(struct inventory *to, struct inventory *from)
{
	for (size_t i = 0; i < from->secrets_count; i++) {
		const struct inv_secret *s = &from->secrets[i];

		*inventory_add(to, secrets) = (struct inv_secret){
			.name = arena_strdup(&to->arena, s->name),
			.kdf = arena_strdup(&to->arena, s->kdf),
			.salt = arena_strdup(&to->arena, s->salt),
			.fingerprint = arena_strdup(&to->arena, s->fingerprint),
			.iterations = s->iterations,
		};
	}
	inventory_release(from);
}
