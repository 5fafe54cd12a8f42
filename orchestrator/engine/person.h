/*
 * Who does something: what journals, approvals and pauses note of a person.
 */
#ifndef ENGINE_PERSON_H
#define ENGINE_PERSON_H

#include <jansson.h>
#include <sys/types.h>

char *person_name(uid_t uid); /* as the user database has it, else the number; malloc'd */
/* "uid", "user" of this process into ${record}, and "sudo_user" where sudo tells one: that is a note, anybody can set it. */
void person_to_json(json_t *record);
/* "alice", "root (for alice)"; malloc'd. */
char *person_text(const json_t *record);

#endif
