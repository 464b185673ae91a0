/*
 * Errors.
 *
 * Every function that can fail returns bool, true for success, and takes as its last argument a `struct error *`
 * that the caller owns.  On success the error is left untouched; on failure it says three things: the gRPC status
 * code (chosen where the error arises, see docs/errors.md), the errno if there was one, and a sentence for a person.
 * A function either returns an error or logs it, never both.
 */
#pragma once

#include <stdbool.h>

/* The gRPC status codes, with their wire values (https://grpc.io/docs/guides/status-codes/). */
enum error_code {
    OK = 0,
    CANCELLED = 1,
    UNKNOWN = 2,
    INVALID_ARGUMENT = 3,
    DEADLINE_EXCEEDED = 4,
    NOT_FOUND = 5,
    ALREADY_EXISTS = 6,
    PERMISSION_DENIED = 7,
    RESOURCE_EXHAUSTED = 8,
    FAILED_PRECONDITION = 9,
    ABORTED = 10,
    OUT_OF_RANGE = 11,
    UNIMPLEMENTED = 12,
    INTERNAL = 13,
    UNAVAILABLE = 14,
    DATA_LOSS = 15,
    UNAUTHENTICATED = 16,
};

struct error {
    enum error_code code;
    int number;         /* errno, or 0 */
    char message[1024]; /* kubelet events keep 1,024 bytes; a longer text ends in "..." */
};

/* Sets the error; returns false, so that `return fail(error, NOT_FOUND, "...")` reads as it is meant. */
bool fail(struct error *error, enum error_code code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/*
 * Like fail(), for a system call that failed with `number`: appends ": " and the text of the errno.
 * The code follows from the errno: ENOSPC and EDQUOT are RESOURCE_EXHAUSTED, everything else is INTERNAL.
 */
bool fail_errno(struct error *error, int number, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Puts "<context>: " in front of the message of an error on its way up; returns false. */
bool fail_context(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The name of a code as gRPC prints it, e.g. "NOT_FOUND". */
const char *error_code_name(enum error_code code);
