/*
 * Loop devices of volumes.  Each carries "plinth:<volume id>" as its name (lo_file_name, LOOP_GET_STATUS64), so that it
 * can be found and recognised without trusting numbers, also after the volume is gone.  loop(4), linux/loop.h.
 */
#pragma once

#include "base/error.h"
#include "pool/pool.h"

#define LOOP_PATH "/dev/loop" /* followed by the number */

/* Learns which loop devices of ours exist: under the lock of a pool all that are of its volumes, as then nobody else
 * binds more. */
void loop_load(void);

/*
 * Binds an image (a descriptor, open for writing unless the mode is ATTACH_READONLY) of a volume to a free loop device,
 * or finds the one it has in this mode.  Sectors as the record says, direct I/O where the file system allows, discards
 * passed down, no partition scan; ATTACH_MOUNT devices clear themselves with their last user.  RESOURCE_EXHAUSTED if
 * the kernel gives no more loop devices.
 */
bool loop_attach(int image, const struct record *record, enum attach_mode mode, struct attachment *attachment,
                 struct error *error);

/* True if the volume has a loop device in a mode (ATTACH_MOUNT and ATTACH_BLOCK are the same: writable), or it cannot
 * be told whether the one it had is still there. */
bool loop_attached(const char *id, enum attach_mode mode, dev_t *device);

/* Lets the volume's loop devices follow the grown image. */
bool loop_resize(const char *id, struct error *error);

/*
 * Unbinds the volume's loop devices.  FAILED_PRECONDITION if somebody has one open: the kernel then unbinds it when he
 * closes it, and a repeated call succeeds.  Another error if it cannot be told whether there is one.
 */
bool loop_detach(const char *id, struct error *error);

/* The volume id that a block device carries.  False: it is no loop device of ours. */
bool loop_identify(dev_t device, char id[static ID_BYTES]);

/* True for a loop device that shows a volume: one of ours, or one on a block device, as the kubelet binds to each raw
 * block volume. */
bool loop_is_a_volume(dev_t device);
