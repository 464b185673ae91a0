/* Who keeps a mount or a block device busy, for the error of an unmount or a deactivation. */
#pragma once

#include <sys/stat.h>

#define BUSY_WORDS_BYTES 400

/*
 * Says who holds a mount: "nginx (process 4711) has files open", another mount below it, a loop device.  `mount` is
 * what statx(2) with STATX_MNT_ID said of its root, `path` where it is.  Looks for at most 0.4 s; `words` may say that
 * nobody was found.
 */
void busy_find(const struct statx *mount, const char *path, char words[static BUSY_WORDS_BYTES]);

/* The same of a block device: which process has it open.  What is mounted from it is for busy_find(). */
void busy_find_device(dev_t device, char words[static BUSY_WORDS_BYTES]);
