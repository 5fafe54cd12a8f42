/*
 * Connection strings, beside what conn.h declares: shared by the files of this room.
 */
#ifndef POSTGRES_CONNINFO_H
#define POSTGRES_CONNINFO_H

#define DEF_PGPORT_TEXT "5432"

#endif
