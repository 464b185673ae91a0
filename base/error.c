#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const names[] = {
    [OK] = "OK",
    [CANCELLED] = "CANCELLED",
    [UNKNOWN] = "UNKNOWN",
    [INVALID_ARGUMENT] = "INVALID_ARGUMENT",
    [DEADLINE_EXCEEDED] = "DEADLINE_EXCEEDED",
    [NOT_FOUND] = "NOT_FOUND",
    [ALREADY_EXISTS] = "ALREADY_EXISTS",
    [PERMISSION_DENIED] = "PERMISSION_DENIED",
    [RESOURCE_EXHAUSTED] = "RESOURCE_EXHAUSTED",
    [FAILED_PRECONDITION] = "FAILED_PRECONDITION",
    [ABORTED] = "ABORTED",
    [OUT_OF_RANGE] = "OUT_OF_RANGE",
    [UNIMPLEMENTED] = "UNIMPLEMENTED",
    [INTERNAL] = "INTERNAL",
    [UNAVAILABLE] = "UNAVAILABLE",
    [DATA_LOSS] = "DATA_LOSS",
    [UNAUTHENTICATED] = "UNAUTHENTICATED",
};

const char *error_code_name(enum error_code code)
{
    return code <= UNAUTHENTICATED ? names[code] : "UNKNOWN";
}

/* gRPC refuses a status message that is not UTF-8, so a cut must not split a character. */
static void mark_cut(char *message, size_t size)
{
    size_t end = size - 4;
    while (end > 0 && ((unsigned char)message[end] & 0xc0) == 0x80)
        end--;
    memcpy(message + end, "...", 4);
}

static void set_message(struct error *error, const char *prefix, const char *suffix)
{
    char message[sizeof error->message];
    int length = snprintf(message, sizeof message, "%s%s%s", prefix, suffix[0] != '\0' ? ": " : "", suffix);
    if (length >= (int)sizeof message)
        mark_cut(message, sizeof message);
    memcpy(error->message, message, sizeof message);
}

__attribute__((format(printf, 3, 0))) static void format_text(char *text, size_t size, const char *format,
                                                              va_list arguments)
{
    if (vsnprintf(text, size, format, arguments) >= (int)size)
        mark_cut(text, size);
}

bool fail(struct error *error, enum error_code code, const char *format, ...)
{
    char text[sizeof error->message];
    va_list arguments;
    va_start(arguments, format);
    format_text(text, sizeof text, format, arguments);
    va_end(arguments);
    error->code = code;
    error->number = 0;
    set_message(error, text, "");
    return false;
}

bool fail_errno(struct error *error, int number, const char *format, ...)
{
    char text[sizeof error->message];
    va_list arguments;
    va_start(arguments, format);
    format_text(text, sizeof text, format, arguments);
    va_end(arguments);
    error->code = number == ENOSPC || number == EDQUOT ? RESOURCE_EXHAUSTED : INTERNAL;
    error->number = number;
    set_message(error, text, strerrordesc_np(number) != NULL ? strerrordesc_np(number) : "unknown error");
    return false;
}

bool fail_context(struct error *error, const char *format, ...)
{
    char text[sizeof error->message];
    va_list arguments;
    va_start(arguments, format);
    format_text(text, sizeof text, format, arguments);
    va_end(arguments);
    set_message(error, text, error->message);
    return false;
}
