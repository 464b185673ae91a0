/* One run of the program `lvm`, with a configuration of ours (docs/lvm.md).  For the queue only (lvm_command.h). */
#pragma once

#include "base/error.h"

#include <stdbool.h>

/* Makes the directory, with the lvm.conf of all commands. */
bool lvm_execute_prepare(const char *directory, struct error *error);

/*
 * Runs words[0] = "lvm" with its arguments, for at most two minutes: then it is killed, DEADLINE_EXCEEDED.  It inherits
 * the descriptor `lock` (-1: none).  `output` as in child_run().  Errors quote LVM, and have its code as far as its
 * words tell: RESOURCE_EXHAUSTED without enough room, NOT_FOUND, ALREADY_EXISTS, FAILED_PRECONDITION in use, else
 * INTERNAL.
 */
bool lvm_execute(const char *directory, int lock, const char *const words[], char **output, struct error *error);
