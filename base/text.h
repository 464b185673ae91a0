/* Text from outside: checking it, reading numbers from it, making it fit to print. */
#pragma once

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/* True if the bytes are well-formed UTF-8 (RFC 3629: no overlong forms, no surrogates, at most U+10FFFF). */
bool text_is_utf8(const char *bytes, size_t length);

/* True if UTF-8 text has a control character that CSI forbids: U+0000-08, 0B, 0C, 0E-1F, 7F-9F (spec.md, "Size
 * Limits"). */
bool text_has_control(const char *bytes, size_t length);

/* Copies `words` as one printable line of at most `size - 1` bytes: runs of white space and control bytes become one
 * space, bytes outside ASCII that are not UTF-8 become '?'. */
void text_one_line(char *line, size_t size, const char *words);

/* Reads a whole decimal number between `least` and `most`.  `what` names it in the error (INVALID_ARGUMENT). */
bool text_to_number(const char *text, int64_t least, int64_t most, const char *what, int64_t *number,
                    struct error *error);

/* Reads a size in bytes as Kubernetes writes them: "10Mi", "1G", "1073741824".  Suffixes k M G T P E, Ki Mi Gi Ti Pi
 * Ei. */
bool text_to_size(const char *text, const char *what, int64_t *bytes, struct error *error);

/* Writes a size for people: "1Gi", "1.5Gi", "512".  Returns `buffer`. */
const char *text_from_size(int64_t bytes, char buffer[static 32]);

/* Copies a string into a field of `size` bytes, cut if it is longer, always ended by NUL. */
void text_copy(char *field, size_t size, const char *string);

/* True if `name` is made of the given characters only and has 1 to `most` of them. */
bool text_is_made_of(const char *name, const char *characters, size_t most);

/* Writes `count` bytes as lower-case hexadecimal digits and a NUL. */
void text_to_hex(const unsigned char *bytes, size_t count, char *hex);

#define HEX_DIGITS "0123456789abcdef"
