/* A call that waits for a job: until shortly before its deadline, so that the progress still reaches the caller. */
#pragma once

#include "rpc/server.h"
#include "transfer/job.h"

/*
 * As job_run(), job_await() and job_cancel().  With `early` for two seconds at most.  `call` may be NULL, to wait for
 * nothing.
 */
enum job_state waiting_run(struct rpc_call *call, const char *id, const struct job_plan *plan, bool early,
                           struct error *error);
enum job_state waiting_join(struct rpc_call *call, const char *id, bool early, struct error *error);
bool waiting_cancel(struct rpc_call *call, const char *id, struct error *error);
