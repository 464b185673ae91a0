/* CSI messages as JSON, with the names of protobuf's JSON mapping (protobuf.dev/programming-guides/json). */
#pragma once

#include <jansson.h>
#include <protobuf-c/protobuf-c.h>

/*
 * Any message as an object: keys in lowerCamelCase, maps as objects, enum values by their names, times in RFC 3339,
 * wrappers as their value.  Every scalar, list and map is there, also when it is empty; a message that is not set is
 * left out.  64-bit numbers are numbers (the mapping writes strings, and reads both).  Free with json_decref().
 */
json_t *json_from_message(const ProtobufCMessage *message);

/* A string; bytes that are not UTF-8 become '?'. */
json_t *json_from_text(const char *text);

static inline void json_cleanup(json_t **value)
{
    json_decref(*value);
}

#define cleanup_json __attribute__((cleanup(json_cleanup)))

/*
 * Prints a value to standard output and frees it.  Control characters in strings are escaped, also those that JSON
 * allows and a terminal obeys: U+007F to U+009F.
 */
void json_print(json_t *value);
