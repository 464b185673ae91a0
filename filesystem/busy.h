/* Who keeps a mount busy, for the error of an unmount. */
#pragma once

#include <stdint.h>

#define BUSY_WORDS_BYTES 400

/*
 * Says who holds the mount with this id (statx(2), STATX_MNT_ID): "nginx (process 4711) has files open", another mount
 * below it, a loop device.  Looks for at most 200 ms; `words` then says that the holder was not found.
 */
void busy_find(uint64_t mount, const char *path, char words[static BUSY_WORDS_BYTES]);
