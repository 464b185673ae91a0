#include "snapshot/waiting.h"

#include "base/clock.h"

#define EARLY (2 * NANOSECONDS_PER_SECOND)

static bool caller_gave_up(const void *call)
{
    return rpc_cancelled(call) || rpc_stopping(call);
}

/* Until when this call can wait for a job; 0: not at all, as there is no call, or too many wait already. */
static int64_t begin(struct rpc_call *call)
{
    if (call == NULL || !rpc_wait_begin(call))
        return 0;
    int64_t deadline = rpc_deadline(call);
    return deadline == NO_DEADLINE ? deadline : deadline - ANSWER_BEFORE;
}

static void end(struct rpc_call *call, int64_t deadline)
{
    if (deadline != 0)
        rpc_wait_end(call);
}

static int64_t sooner(int64_t deadline, bool early)
{
    int64_t soon = monotonic_now() + EARLY;
    return early && soon < deadline ? soon : deadline;
}

enum job_state waiting_run(struct rpc_call *call, const char *id, const struct job_plan *plan, bool early,
                           struct error *error)
{
    int64_t deadline = begin(call);
    enum job_state state = job_run(id, plan, sooner(deadline, early), caller_gave_up, call, error);
    end(call, deadline);
    return state;
}

enum job_state waiting_join(struct rpc_call *call, const char *id, bool early, struct error *error)
{
    int64_t deadline = begin(call);
    enum job_state state = job_await(id, sooner(deadline, early), caller_gave_up, call, error);
    end(call, deadline);
    return state;
}

bool waiting_cancel(struct rpc_call *call, const char *id, struct error *error)
{
    int64_t deadline = begin(call);
    bool ended = job_cancel(id, deadline, caller_gave_up, call, error);
    end(call, deadline);
    return ended;
}
