/* Who keeps a mount busy, for the error of an unmount. */
#pragma once

#include <sys/stat.h>

#define BUSY_WORDS_BYTES 400

/*
 * Says who holds a mount: "nginx (process 4711) has files open", another mount below it, a loop device.  `mount` is
 * what statx(2) with STATX_MNT_ID said of its root, `path` where it is.  Looks for at most 0.4 s; `words` may say that
 * nobody was found.
 */
void busy_find(const struct statx *mount, const char *path, char words[static BUSY_WORDS_BYTES]);
