#include "base/log.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static enum log_level most_written = LOG_INFO;
static bool write_json = true;

static const char *const level_names[] = {
    [LOG_ERROR] = "error", [LOG_WARNING] = "warning", [LOG_INFO] = "info", [LOG_DEBUG] = "debug"};

struct line {
    char text[4096];
    size_t used;
};

void log_configure(enum log_level most, bool json)
{
    most_written = most;
    write_json = json;
}

bool log_enabled(enum log_level level)
{
    return level <= most_written;
}

bool log_is_writable(void)
{
    struct pollfd log = {.fd = STDERR_FILENO, .events = POLLOUT};
    return poll(&log, 1, 0) == 1 && (log.revents & POLLOUT) != 0;
}

static void put(struct line *line, const char *bytes, size_t count)
{
    size_t room = sizeof line->text - 8 - line->used; /* a closing quote, brace and line feed always fit */
    if (count > room)
        count = room;
    memcpy(line->text + line->used, bytes, count);
    line->used += count;
}

static void put_escaped(struct line *line, const char *string)
{
    for (; *string != '\0'; string++) {
        unsigned char byte = (unsigned char)*string;
        char escape[8];
        int length;
        if (byte == '"' || byte == '\\')
            length = snprintf(escape, sizeof escape, "\\%c", byte);
        else if (byte < 0x20 || byte == 0x7f)
            length = snprintf(escape, sizeof escape, "\\u%04x", byte);
        else
            length = snprintf(escape, sizeof escape, "%c", byte);
        put(line, escape, (size_t)length);
    }
}

static void put_pair(struct line *line, const char *key, const char *value)
{
    if (line->used > 0)
        put(line, write_json ? "," : " ", 1);
    else if (write_json)
        put(line, "{", 1);
    if (write_json)
        put(line, "\"", 1);
    put(line, key, strlen(key));
    put(line, write_json ? "\":\"" : "=\"", write_json ? 3 : 2);
    put_escaped(line, value);
    put(line, "\"", 1);
}

static void put_time(struct line *line)
{
    struct timespec now;
    struct tm utc;
    char day[32], stamp[64];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(day, sizeof day, "%FT%T", &utc);
    snprintf(stamp, sizeof stamp, "%s.%03ldZ", day, now.tv_nsec / 1000000);
    put_pair(line, "time", stamp);
}

void log_event(enum log_level level, const char *message, ...)
{
    if (!log_enabled(level))
        return;
    struct line line = {.used = 0};
    put_time(&line);
    put_pair(&line, "level", level_names[level]);
    put_pair(&line, "message", message);

    va_list arguments;
    va_start(arguments, message);
    for (const char *key; (key = va_arg(arguments, const char *)) != NULL;) {
        const char *value = va_arg(arguments, const char *);
        if (value != NULL && value[0] != '\0')
            put_pair(&line, key, value);
    }
    va_end(arguments);

    memcpy(line.text + line.used, write_json ? "}\n" : "\n", write_json ? 2 : 1);
    line.used += write_json ? 2 : 1;
    /* One write, so that lines of several threads do not mix.  There is nobody to tell if it fails. */
    if (write(STDERR_FILENO, line.text, line.used) < 0)
        return;
}
