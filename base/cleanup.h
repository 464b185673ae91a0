/*
 * Ownership.  A local variable marked `cleanup_…` is released when it goes out of scope; steal_…() hands its
 * content on and leaves nothing to release.  Every destructor takes NULL (or -1 for a descriptor).
 */
#pragma once

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(function) __attribute__((cleanup(function)))

static inline void cleanup_free_pointer(void *pointer)
{
    free(*(void **)pointer);
}

/* Keeps errno, so that the caller may still report what went wrong before. */
static inline void cleanup_close_descriptor(const int *descriptor)
{
    int saved = errno;
    if (*descriptor >= 0)
        close(*descriptor);
    errno = saved;
}

static inline void cleanup_close_file(FILE **file)
{
    if (*file != NULL)
        fclose(*file);
}

static inline void cleanup_close_directory(DIR **directory)
{
    if (*directory != NULL)
        closedir(*directory);
}

#define cleanup_free CLEANUP(cleanup_free_pointer)
#define cleanup_close CLEANUP(cleanup_close_descriptor)
#define cleanup_file CLEANUP(cleanup_close_file)
#define cleanup_directory CLEANUP(cleanup_close_directory)

static inline int steal_descriptor(int *descriptor)
{
    int stolen = *descriptor;
    *descriptor = -1;
    return stolen;
}

#define steal_pointer(pointer)                        \
    ({                                                \
        __typeof__(pointer) *steal_from = &(pointer); \
        __typeof__(pointer) stolen = *steal_from;     \
        *steal_from = NULL;                           \
        stolen;                                       \
    })
