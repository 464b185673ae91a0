/*
 * Preloaded into lvm, stops it in the middle of its work, as nothing else can be sure to: when it has suspended a
 * device.  PLINTH_STOP_AT says when then:
 *     suspended   at once
 *     message     when it has sent a message to a thin pool
 *     resuming    before it resumes the first device
 */
#include <dlfcn.h>
#include <linux/dm-ioctl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

/* Once. */
static void stop_at(const char *moment)
{
    static bool stopped;
    if (stopped || strcmp(getenv("PLINTH_STOP_AT"), moment) != 0)
        return;
    stopped = true;
    raise(SIGSTOP);
}

int ioctl(int descriptor, unsigned long request, ...)
{
    static bool has_suspended;
    int (*next)(int, unsigned long, ...) = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
    va_list arguments;
    va_start(arguments, request);
    struct dm_ioctl *order = va_arg(arguments, struct dm_ioctl *);
    va_end(arguments);
    bool suspends = request == DM_DEV_SUSPEND && (order->flags & DM_SUSPEND_FLAG) != 0;
    if (has_suspended && request == DM_DEV_SUSPEND && !suspends)
        stop_at("resuming");
    int outcome = next(descriptor, request, order);
    has_suspended = has_suspended || (suspends && outcome == 0);
    if (has_suspended && suspends)
        stop_at("suspended");
    if (has_suspended && request == DM_TARGET_MSG)
        stop_at("message");
    return outcome;
}
