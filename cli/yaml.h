/* YAML for people and kubectl. */
#pragma once

#include <jansson.h>

/*
 * Prints objects, arrays and strings to standard output as one document that begins with "---" (YAML 1.2, block style).
 * Strings that YAML could take for something else are quoted; control characters are escaped.  Frees the value.
 */
void yaml_print(json_t *value);
