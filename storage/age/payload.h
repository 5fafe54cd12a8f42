/*
 * The payload: chunks of AGE_CHUNK_BYTES, each sealed under a counter and a mark of the last.  For the files of this room alone.
 */
#ifndef STORAGE_AGE_PAYLOAD_H
#define STORAGE_AGE_PAYLOAD_H

#include "storage/age/primitives.h"

#define AGE_SEALED_BYTES (AGE_CHUNK_BYTES + AGE_TAG_BYTES)

/* The counter in 11 bytes, the most significant first, and the mark. */
static inline void chunk_iv(uint64_t chunk, bool is_last, uint8_t iv[AGE_IV_BYTES])
{
	iv[0] = iv[1] = iv[2] = 0;
	for (unsigned i = 0; i < 8; i++)
		iv[3 + i] = (uint8_t)(chunk >> (56 - 8 * i));
	iv[11] = is_last;
}

#endif
