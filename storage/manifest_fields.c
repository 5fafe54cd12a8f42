#include "storage/manifest_fields.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"

#define OF(owner_, key_, kind, field) \
	{ \
		.key = key_, .type = kind, .at = offsetof(owner_, field) \
	}
#define LIST_OF(owner_, key_, kind, field) \
	{ \
		.key = key_, .type = kind, .at = offsetof(owner_, field), .count_at = offsetof(owner_, field##_count) \
	}

static const struct manifest_field manifest_fields[] = {
	OF(struct manifest, "id", FIELD_OWN_NAME, backup_id),
	OF(struct manifest, "stack", FIELD_OWN_NAME, stack),
	OF(struct manifest, "host", FIELD_OWN_TEXT, host),
	OF(struct manifest, "tool", FIELD_OWN_TEXT, tool_version),
	OF(struct manifest, "app_version", FIELD_OWN_TEXT, app_version),
	OF(struct manifest, "started_at", FIELD_TIME, started_at_ms),
	OF(struct manifest, "ended_at", FIELD_TIME, ended_at_ms),
};

static const struct manifest_field archive_fields[] = {
	OF(struct manifest, "name", FIELD_OWN_NAME, archive_name),
	OF(struct manifest, "bytes", FIELD_U64, archive_bytes),
	OF(struct manifest, "sha256", FIELD_SHA256, archive_sha256),
};

static const struct manifest_field server_fields[] = {
	OF(struct inventory, "version", FIELD_INT, server_version),
	OF(struct inventory, "version_text", FIELD_TEXT, server_version_text),
	OF(struct inventory, "system_identifier", FIELD_TEXT, system_identifier),
	OF(struct inventory, "dump_tool", FIELD_TEXT, dump_tool),
};

static const struct manifest_field database_fields[] = {
	OF(struct inventory, "name", FIELD_NAME, database),
	OF(struct inventory, "owner", FIELD_TEXT, owner),
	OF(struct inventory, "encoding", FIELD_TEXT, encoding),
	OF(struct inventory, "collate", FIELD_TEXT, collate),
	OF(struct inventory, "ctype", FIELD_TEXT, ctype),
	OF(struct inventory, "locale_provider", FIELD_TEXT, locale_provider),
	OF(struct inventory, "icu_locale", FIELD_TEXT, icu_locale),
	OF(struct inventory, "collation_version", FIELD_TEXT, collation_version),
	OF(struct inventory, "connection_limit", FIELD_INT, connection_limit),
	OF(struct inventory, "tablespace", FIELD_TEXT, tablespace),
	OF(struct inventory, "bytes", FIELD_U64, database_bytes),
	OF(struct inventory, "comment", FIELD_TEXT, comment),
};

static const struct manifest_field snapshot_fields[] = {
	OF(struct inventory, "lsn", FIELD_TEXT, snapshot_lsn),
	OF(struct inventory, "at", FIELD_TIME, snapshot_at_ms),
};

#define SECTION(key_, list, is_inventory) \
	{ \
		.key = key_, .fields = list, .fields_count = array_len(list), .is_of_inventory = is_inventory \
	}

const struct manifest_section manifest_sections[] = {
	SECTION(NULL, manifest_fields, false),
	SECTION("server", server_fields, true),
	SECTION("database", database_fields, true),
	SECTION("snapshot", snapshot_fields, true),
};
const size_t manifest_sections_count = array_len(manifest_sections);
const struct manifest_section manifest_archive = SECTION("archive", archive_fields, false);

static const struct manifest_field totals_fields[] = {
	OF(struct manifest_totals, "tables", FIELD_U64, tables),
	OF(struct manifest_totals, "rows", FIELD_U64, rows),
	OF(struct manifest_totals, "bytes", FIELD_U64, bytes),
	OF(struct manifest_totals, "members", FIELD_U64, members),
	OF(struct manifest_totals, "stored_bytes", FIELD_U64, stored_bytes),
};
const struct manifest_section manifest_totals_section = SECTION("totals", totals_fields, false);

static const struct manifest_field member_fields[] = {
	OF(struct inv_member, "name", FIELD_NAME, name),
	OF(struct inv_member, "offset", FIELD_U64, offset),
	OF(struct inv_member, "stored", FIELD_U64, stored_bytes),
	OF(struct inv_member, "header", FIELD_U64, header_bytes),
	OF(struct inv_member, "bytes", FIELD_U64, content_bytes),
	OF(struct inv_member, "rows", FIELD_U64, rows),
	OF(struct inv_member, "sha256", FIELD_SHA256, sha256),
};

static const struct manifest_field table_fields[] = {
	OF(struct inv_table, "oid", FIELD_U32, oid),
	OF(struct inv_table, "schema", FIELD_NAME, schema),
	OF(struct inv_table, "name", FIELD_NAME, name),
	OF(struct inv_table, "kind", FIELD_KIND, kind),
	LIST_OF(struct inv_table, "columns", FIELD_TEXTS, columns),
	OF(struct inv_table, "condition", FIELD_TEXT, condition),
	OF(struct inv_table, "rows", FIELD_U64, rows),
	OF(struct inv_table, "bytes", FIELD_U64, content_bytes),
	OF(struct inv_table, "digest", FIELD_DIGEST, digest),
	OF(struct inv_table, "source_bytes", FIELD_U64, source_bytes),
	LIST_OF(struct inv_table, "members", FIELD_MEMBERS, members),
};

static const struct manifest_field sequence_fields[] = {
	OF(struct inv_sequence, "oid", FIELD_U32, oid),
	OF(struct inv_sequence, "schema", FIELD_NAME, schema),
	OF(struct inv_sequence, "name", FIELD_NAME, name),
	OF(struct inv_sequence, "last_value", FIELD_I64, last_value),
	OF(struct inv_sequence, "is_called", FIELD_BOOL, is_called),
};

static const struct manifest_field matview_fields[] = {
	OF(struct inv_matview, "schema", FIELD_NAME, schema),
	OF(struct inv_matview, "name", FIELD_NAME, name),
	OF(struct inv_matview, "is_populated", FIELD_BOOL, is_populated),
};

static const struct manifest_field left_out_fields[] = {
	OF(struct inv_left_out, "kind", FIELD_NAME, kind),
	OF(struct inv_left_out, "schema", FIELD_TEXT, schema),
	OF(struct inv_left_out, "name", FIELD_TEXT, name),
	OF(struct inv_left_out, "reason", FIELD_TEXT, reason),
};

static const struct manifest_field extension_fields[] = {
	OF(struct inv_extension, "name", FIELD_NAME, name),
	OF(struct inv_extension, "version", FIELD_TEXT, version),
	OF(struct inv_extension, "schema", FIELD_TEXT, schema),
};

static const struct manifest_field collation_fields[] = {
	OF(struct inv_collation, "schema", FIELD_TEXT, schema),
	OF(struct inv_collation, "name", FIELD_TEXT, name),
	OF(struct inv_collation, "provider", FIELD_TEXT, provider),
	OF(struct inv_collation, "version", FIELD_TEXT, version),
};

static const struct manifest_field role_fields[] = {
	OF(struct inv_role, "name", FIELD_NAME, name),
	OF(struct inv_role, "why", FIELD_TEXT, why),
};

static const struct manifest_field slot_fields[] = {
	OF(struct inv_slot, "name", FIELD_NAME, name),
	OF(struct inv_slot, "plugin", FIELD_TEXT, plugin),
	OF(struct inv_slot, "is_logical", FIELD_BOOL, is_logical),
	OF(struct inv_slot, "is_active", FIELD_BOOL, is_active),
};

static const struct manifest_field setting_fields[] = {
	OF(struct inv_setting, "role", FIELD_TEXT, role),
	OF(struct inv_setting, "setting", FIELD_NAME, setting),
};

static const struct manifest_field tree_fields[] = {
	OF(struct inv_tree, "label", FIELD_NAME, label),
	OF(struct inv_tree, "path", FIELD_NAME, path),
	OF(struct inv_tree, "is_directory", FIELD_BOOL, is_directory),
	OF(struct inv_tree, "entries", FIELD_U64, entries),
	OF(struct inv_tree, "files", FIELD_U64, files),
	OF(struct inv_tree, "bytes", FIELD_U64, bytes),
	OF(struct inv_tree, "digest", FIELD_DIGEST, digest),
	LIST_OF(struct inv_tree, "members", FIELD_MEMBERS, members),
};

static const struct manifest_field secret_fields[] = {
	OF(struct inv_secret, "name", FIELD_NAME, name),
	OF(struct inv_secret, "kdf", FIELD_NAME, kdf),
	OF(struct inv_secret, "iterations", FIELD_U64, iterations),
	OF(struct inv_secret, "salt", FIELD_NAME, salt),
	OF(struct inv_secret, "fingerprint", FIELD_NAME, fingerprint),
};

#define LIST(list, fields_) \
	{ \
		.key = #list, .at = offsetof(struct inventory, list), .count_at = offsetof(struct inventory, list##_count), \
		.cap_at = offsetof(struct inventory, list##_cap), .size = sizeof(*((struct inventory *)0)->list), \
		.fields = fields_, .fields_count = array_len(fields_) \
	}
#define TEXTS(list, is_nullable) \
	{ \
		.key = #list, .at = offsetof(struct inventory, list), .count_at = offsetof(struct inventory, list##_count), \
		.cap_at = offsetof(struct inventory, list##_cap), .size = sizeof(const char *), .may_be_null = is_nullable \
	}

#define LIST_AS(key_, list, fields_) \
	{ \
		.key = key_, .at = offsetof(struct inventory, list), .count_at = offsetof(struct inventory, list##_count), \
		.cap_at = offsetof(struct inventory, list##_cap), .size = sizeof(*((struct inventory *)0)->list), \
		.fields = fields_, .fields_count = array_len(fields_), .is_optional = true \
	}

const struct manifest_list manifest_lists[] = {
	LIST(members, member_fields),
	LIST(tables, table_fields),
	LIST(sequences, sequence_fields),
	LIST(matviews, matview_fields),
	LIST(left_out, left_out_fields),
	LIST(extensions, extension_fields),
	LIST(collations, collation_fields),
	LIST(roles, role_fields),
	LIST(slots, slot_fields),
	LIST(settings, setting_fields),
	TEXTS(publications, false),
	TEXTS(subscriptions, false),
	TEXTS(tablespaces, false),
	TEXTS(acl, true),
	LIST_AS("files", trees, tree_fields),
	LIST_AS("secrets", secrets, secret_fields),
};
const size_t manifest_lists_count = array_len(manifest_lists);

void manifest_sum(const struct inventory *inv, struct manifest_totals *ret)
{
	struct manifest_totals t = {.tables = inv->tables_count, .members = inv->members_count};

	for (size_t i = 0; i < inv->tables_count; i++) {
		t.rows += inv->tables[i].rows;
		t.bytes += inv->tables[i].content_bytes;
	}
	for (size_t i = 0; i < inv->members_count; i++)
		t.stored_bytes += inv->members[i].stored_bytes;
	*ret = t;
}

void manifest_release(struct manifest *m)
{
	free(m->backup_id);
	free(m->stack);
	free(m->host);
	free(m->tool_version);
	free(m->app_version);
	free(m->archive_name);
	inventory_release(&m->inventory);
	memset(m, 0, sizeof(*m));
}

bool text_is_utf8(const char *s, size_t n)
{
	for (size_t at = 0, len; at < n; at += len)
		if (!(len = utf8_length(s + at, n - at)))
			return false;
	return true;
}
