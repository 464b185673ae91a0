/*
 * A task of libdevmapper: one question or order to device-mapper.  For device_mapper.c alone; only these two include
 * <libdevmapper.h>.
 */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"

#include <libdevmapper.h>

static inline void device_mapper_destroy_task(struct dm_task **task)
{
    if (*task != NULL)
        dm_task_destroy(*task);
}

#define cleanup_task CLEANUP(device_mapper_destroy_task)

/* A new task that has not run.  FAILED_PRECONDITION if there is no device-mapper. */
bool device_mapper_task(struct dm_task **task, int type, struct error *error);

/*
 * Makes a task and runs it on the device with that UUID; NOT_FOUND if there is none.  `done` is for the error:
 * "suspended".  A failed task too is the caller's.
 */
bool device_mapper_run(struct dm_task **task, int type, const char *uuid, const char *done, struct error *error);

/*
 * What the device's first target says of itself (type STATUS) or is made of (TABLE); the line lives as long as the
 * task.  FAILED_PRECONDITION if the target is another than `target`.
 */
bool device_mapper_ask(struct dm_task **task, int type, const char *uuid, const char *target, const char **line,
                       struct error *error);

/* Lists all devices: dm_task_get_names(). */
bool device_mapper_list(struct dm_task **task, struct error *error);
