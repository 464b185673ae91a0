/*
 * Running `lvm`: the queue of one volume group.  Its commands run one after the other on a thread of its own, with a
 * configuration of ours (docs/lvm.md); a command that is stuck hinders neither its caller nor other pools.
 */
#pragma once

#include "base/error.h"
#include "pool/lvm_header.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lvm_queue;

/*
 * Writes <state directory>/lvm/lvm.conf, which all queues share, and starts the thread.  `name` is what errors call the
 * pool.  NULL with the error.
 */
struct lvm_queue *lvm_queue_open(const char *state_directory, const char *name, struct error *error);

/* Waits for the running command; one that its caller has left behind ends, and is cleared away, by itself. */
void lvm_queue_close(struct lvm_queue *queue);

/* The devices that commands may open (an LVM filter list, "\"a|^/dev/sda$|\",\"r|.*|\""), and the lock they inherit. */
void lvm_queue_set_devices(struct lvm_queue *queue, const char *filter);
void lvm_queue_set_lock(struct lvm_queue *queue, int lock);

/* The volume group, by its UUID: what a command that was killed has left suspended in it is resumed at once. */
void lvm_queue_set_group(struct lvm_queue *queue, const char *vg_uuid);
void lvm_queue_resume(struct lvm_queue *queue); /* the same of a driver that was killed */

/*
 * Where to see that somebody else has changed the volume group, or that a device of it has died: at most
 * LVM_WATCHED_MOST.
 */
#define LVM_WATCHED_MOST 16
void lvm_queue_watch(struct lvm_queue *queue, const struct lvm_header *headers, size_t count);

/*
 * Runs `lvm argv[0] --config ... argv[1] ...` and waits for it until shortly before caller_deadline (base/clock.h):
 * then DEADLINE_EXCEEDED says what it waits for, while the command goes on, or has not begun and never will
 * (error->number is EAGAIN).  A command is ended by us only after two minutes.  `settings` are added to the
 * configuration ("" for none).  `output` as in child_run().
 *
 * Errors quote LVM; RESOURCE_EXHAUSTED if there is not enough room in the volume group.
 */
bool lvm_run_with(struct lvm_queue *queue, const char *settings, const char *const argv[], char **output,
                  struct error *error);
/*
 * The same with its output given to `then` on the thread of the queue, before the next command: nothing has changed
 * since.  `data` must outlive the queue.  `then` is called also if the caller has gone.
 */
bool lvm_run_then(struct lvm_queue *queue, const char *settings, const char *const argv[],
                  void (*then)(const char *output, void *data), void *data, struct error *error);

bool lvm_run(struct lvm_queue *queue, const char *const argv[], struct error *error);

/* Runs both, and no other command of ours in between; the second only if the first succeeds. */
bool lvm_run_both(struct lvm_queue *queue, const char *const first[], const char *const second[], struct error *error);

/*
 * True, once, if something may have happened that nobody waited for: a command failed, was left behind by its caller or
 * was ended; or if somebody else has changed the volume group.  Then what is in memory has to be compared with the
 * storage.
 */
bool lvm_queue_is_uncertain(struct lvm_queue *queue);
void lvm_queue_make_uncertain(struct lvm_queue *queue);

/*
 * True if a command was ended by a signal, until that is settled: what it has begun may be half done.  `resumed`:
 * devices were resumed as they had been, whatever LVM's metadata say now.
 */
bool lvm_queue_has_ended_one(struct lvm_queue *queue, bool *resumed);
void lvm_queue_settle(struct lvm_queue *queue);

/* False if a device that is watched cannot be read.  Never waits for it: one that hangs is lvm_queue_is_stuck(). */
bool lvm_queue_can_read(struct lvm_queue *queue);

/* True while a command that its caller has left is at work on the logical volume of that full name ("VG/NAME"). */
bool lvm_queue_is_at_work_on(struct lvm_queue *queue, const char *full_name);

/* What is running and for how long, for health; false if nothing has been for longer than `nanoseconds`. */
bool lvm_queue_is_stuck(struct lvm_queue *queue, int64_t nanoseconds, char *what, size_t size);
