/*
 * The queue of one volume group: the commands that wait, and its thread.  For lvm_queue.c, which is the thread's side,
 * and lvm_command.c, which is the callers'.
 */
#pragma once

#include "pool/device_mapper.h"
#include "pool/lvm_command.h"

#include <limits.h>
#include <pthread.h>

#define LVM_CONFIG_BYTES 16384
#define LVM_COMMAND_WORDS 48

/*
 * One command.  It belongs to its caller and, while it waits or runs, to the queue: whoever lets go last frees it, so
 * its words are copies.
 */
struct lvm_command {
    struct lvm_command *next, *also; /* `also` runs right after it */
    char *words[LVM_COMMAND_WORDS + 1];
    char *kept;
    void (*then)(const char *output, void *data);
    void *data;
    struct error error;
    bool wants_output, done, good, abandoned;
};

struct lvm_queue {
    pthread_mutex_t mutex;
    pthread_cond_t arrived, done;
    pthread_t thread;
    struct lvm_command *first, **last, *running;
    int64_t since; /* when `running` began */
    struct lvm_header watched[LVM_WATCHED_MOST];
    size_t watched_count, readable; /* of what is watched, when it was looked at */
    int64_t looked, look_began;     /* 0: nobody looks just now */
    uint64_t seen;                  /* of what is watched, after the last command of ours; 0: nothing yet */
    bool ending, uncertain, ended, resumed, wants_look;
    bool telling;  /* `then` of a command is running */
    bool orphaned; /* nobody knows the queue any more: its thread frees it */
    int lock;
    char name[64], directory[PATH_MAX + 32], filter[LVM_CONFIG_BYTES / 2];
    char group[DEVICE_MAPPER_UUID_BYTES]; /* how the UUIDs of its devices begin, or "" */
};

/* With what runs after it.  NULL is allowed. */
void lvm_command_free(struct lvm_command *command);
