#include "base/fault.h"

#ifdef PLINTH_FAULTS

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern const struct fault_point __start_fault_points[], __stop_fault_points[];

const struct fault_point *fault_points(size_t *count)
{
    *count = (size_t)(__stop_fault_points - __start_fault_points);
    return __start_fault_points;
}

static bool act(const char *action, const char *name, struct error *error)
{
    if (strncmp(action, "kill", 4) == 0)
        kill(getpid(), SIGKILL);
    if (strncmp(action, "fail", 4) == 0)
        return fail(error, INTERNAL, "fault point %s", name);
    if (strncmp(action, "nospace", 7) == 0)
        return fail_errno(error, ENOSPC, "fault point %s", name);
    sleep(10);
    return true;
}

static void trace(const char *name)
{
    const char *path = getenv("PLINTH_FAULT_TRACE");
    cleanup_close int file = path != NULL ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    if (file >= 0)
        dprintf(file, "%s\n", name);
}

bool fault_pass(const struct fault_point *point, struct error *error)
{
    static atomic_long passes;
    const char *wanted = getenv("PLINTH_FAULT");
    size_t length = strlen(point->name);
    trace(point->name);
    if (wanted == NULL || strncmp(wanted, point->name, length) != 0 || wanted[length] != '=')
        return true;
    const char *action = wanted + length + 1;
    const char *from = strchr(action, ':');
    long nth = from != NULL ? strtol(from + 1, NULL, 10) : 1, pass = atomic_fetch_add(&passes, 1) + 1;
    bool wanted_now = pass == nth || (pass > nth && strchr(action, '+') != NULL);
    return !wanted_now || act(action, point->name, error);
}

int64_t hasten(int64_t nanoseconds)
{
    const char *haste = getenv("PLINTH_HASTE");
    long times = haste != NULL ? strtol(haste, NULL, 10) : 1;
    return nanoseconds / (times > 0 ? times : 1);
}

#endif
