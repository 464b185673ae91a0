/*
 * Disks and mounts for tests, of which nothing can be left behind: a tmpfs in a mount namespace of our own holds every
 * image and mount point, and loop devices clear themselves.  All of it goes with the process, however that ends.
 */
#pragma once

#include "base/clock.h"
#include "base/error.h"
#include "tests/unit/unit.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

/* The scratch directory, an absolute path without links. */
extern char disk_directory[64];

/* cmocka group set-up and tear-down.  Without root (or mount namespaces) every test that calls disk_need() is skipped.
 */
int disk_setup(void **state);
int disk_teardown(void **state);
void disk_need(void);

/* Skips the test, with the reason, unless the condition holds. */
void disk_skip_unless(bool condition, const char *reason);

/* <scratch directory>/<name>; kept until the tear-down. */
const char *disk_path(const char *name);

/* Makes (or resizes) a sparse image; returns its path. */
const char *disk_image(const char *name, int64_t bytes);

/* A file with content and a mode, for fake programs. */
void disk_write_file(const char *path, const char *text, unsigned mode);
void disk_make_directory(const char *path);

/* Attaches an image to a loop device that clears itself when `descriptor` is closed and nothing uses it. */
struct disk {
    int descriptor;
    char path[32];
};
struct disk disk_bind(const char *image);
struct disk disk_attach_read_only(const char *image);
void disk_detach(struct disk *disk);
/* Resizes the image and tells the loop device. */
void disk_resize(const struct disk *disk, const char *image, int64_t bytes);

/* True if the loop device has no image any more. */
bool disk_is_unbound(const struct disk *disk);

/* Runs a program for the test; it must succeed.  The first line of its output is returned in a buffer of our own. */
const char *disk_run(const char *command);

#define MEBI (INT64_C(1) << 20)
#define MINUTE (60 * NANOSECONDS_PER_SECOND)

/* A deadline that is not to be reached. */
static inline int64_t soon(void)
{
    return monotonic_now() + MINUTE;
}

/*
 * Assert what a function said that tells its errors in a variable `error`: that it succeeded, or that it failed with a
 * code and with words in its message.  The error is shown if it is another.
 */
#define good(outcome) disk_expect_good(outcome, &error, __FILE__, __LINE__)
#define bad(outcome, code, words) disk_expect_bad(outcome, &error, code, words, __FILE__, __LINE__)
void disk_expect_good(bool outcome, const struct error *error, const char *file, int line);
void disk_expect_bad(bool outcome, const struct error *error, enum error_code code, const char *words, const char *file,
                     int line);

/* How a child process is run, for a test: until `at` on CLOCK_MONOTONIC. */
#define until(at) (&(struct child_options){.deadline = (at), .inherit = -1})
