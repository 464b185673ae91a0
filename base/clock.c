#include "base/clock.h"

_Thread_local int64_t caller_deadline = NO_DEADLINE;
