#include "orchestrator/engine/person.h"

#include <pwd.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/json.h"

#define PASSWD_BYTES 16384

char *person_name(uid_t uid)
{
	char *room cleanup(mem_freep) = mem_zalloc(PASSWD_BYTES);
	struct passwd entry, *found = NULL;

	if (getpwuid_r(uid, &entry, room, PASSWD_BYTES, &found) == 0 && found && *found->pw_name)
		return mem_strdup(found->pw_name);
	return mem_printf("%lu", (unsigned long)uid);
}

void person_to_json(json_t *record)
{
	char *name cleanup(mem_freep) = person_name(geteuid());
	const char *sudo = getenv("SUDO_USER");

	json_object_set_new(record, "uid", json_integer(geteuid()));
	json_object_set_new(record, "user", json_text_of(name));
	if (sudo && *sudo)
		json_object_set_new(record, "sudo_user", json_text_of(sudo));
}

char *person_text(const json_t *record)
{
	const char *user = json_get_str(record, "user", "unknown"), *sudo = json_get_str(record, "sudo_user", NULL);

	return sudo ? mem_printf("%s (for %s)", user, sudo) : mem_strdup(user);
}
