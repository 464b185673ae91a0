/* One loop device, by its number, and what is bound to it.  For loop.c. */
#pragma once

#include "base/error.h"
#include "pool/record.h"

#include <stdbool.h>

#define LOOP_MARK "plinth:" /* followed by the volume id: the name of a loop device of ours */

struct loop_binding {
    char id[ID_BYTES]; /* of the volume; "" for what is not bound, or not ours */
    bool read_only;
};

void loop_device_path(int number, char path[static 32]);

/* A descriptor, or -1 with errno. */
int loop_device_open(int number, int flags);

/*
 * True if something is bound to it whose path is that of an image of ours.  Asks for no more: the kernel would ask the
 * file system of the image, and what others have bound may be on one that hangs (NFS, FUSE).
 */
bool loop_device_may_be_ours(int number);

/*
 * Asks the kernel whose device this is.  Where the descriptor is -1, or the file system with the image has shut itself
 * down, the path of the image tells.  False: it cannot be told.
 */
bool loop_device_identify(int number, int descriptor, struct loop_binding *found, struct error *error);
