/* What a child process says: so many bytes of the beginning or of the end of what comes out of a pipe. */
#pragma once

#include "base/cleanup.h"

#include <stdbool.h>
#include <stddef.h>

struct capture {
    int descriptor; /* the pipe, not blocking; -1 once its other end is closed */
    char *text;     /* room for `most` bytes and a NUL, given by the caller; begins as "" */
    size_t used, most;
    bool keep_end; /* else the beginning */
    bool overflowed;
};

/* Reads what is there, at most 64 KiB. */
void capture_read(struct capture *capture);

/* Closes the pipe; the text stays. */
void capture_end(struct capture *capture);
#define cleanup_capture CLEANUP(capture_end)
