/* SHA-256, for names of volumes and digests of parameters. */
#pragma once

#include <stddef.h>

/* Writes the first `digits` (at most 64) hexadecimal digits of the SHA-256 of the bytes, and a NUL. */
void digest_hex(const void *bytes, size_t length, size_t digits, char *hex);
