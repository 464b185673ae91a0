/*
 * Worker threads in a lane: started when there is work, ended when idle for a few seconds.  Inside rpc/ only.
 *
 * A lane has its own limit of threads at work, so that one kind of work cannot starve another.  A task that only waits
 * says so and does not count meanwhile.
 */
#pragma once

#include <stdbool.h>

struct lane;

/* A piece of work; the caller embeds it in a struct of its own. */
struct task {
    struct task *next;
    void (*run)(struct task *task);
};

/* A lane without a thread yet.  NULL if memory is out. */
struct lane *lane_create(unsigned most);

/* Waits for all threads of the lane.  Nothing may be queued.  Takes NULL. */
void lane_destroy(struct lane *lane);

/* Runs the task as soon as fewer than `most` are at work.  False if it never would: no thread can be started. */
bool lane_submit(struct lane *lane, struct task *task);

/* Bracket a wait within a running task.  False: too many of the lane's tasks wait already. */
bool lane_wait_begin(struct lane *lane);
void lane_wait_end(struct lane *lane);
