/* Creating a volume for a person: `volume create` and `snapshot restore`. */
#pragma once

#include "cli/calls.h"

/*
 * Creates the volume and prints it.  What the wish does not say of size and use is taken from its source, as far as the
 * driver tells it.  Returns the exit status.
 */
int create_and_print(struct session *session, struct new_volume *wish);
