#include "base/capture.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static void keep_first(struct capture *capture, const char *bytes, size_t count)
{
    size_t room = capture->most - capture->used;
    if (count > room)
        count = room;
    memcpy(capture->text + capture->used, bytes, count);
    capture->used += count;
}

static void keep_last(struct capture *capture, const char *bytes, size_t count)
{
    if (count > capture->most) {
        bytes += count - capture->most;
        count = capture->most;
    }
    size_t room = capture->most - capture->used, excess = count > room ? count - room : 0;
    capture->used -= excess;
    memmove(capture->text, capture->text + excess, capture->used);
    memcpy(capture->text + capture->used, bytes, count);
    capture->used += count;
}

void capture_read(struct capture *capture)
{
    char bytes[65536]; /* a report of LVM's has megabytes */
    ssize_t count = read(capture->descriptor, bytes, sizeof bytes);
    if (count == 0 || (count < 0 && errno != EINTR && errno != EAGAIN))
        capture_end(capture);
    if (count <= 0)
        return;
    if ((size_t)count > capture->most - capture->used)
        capture->overflowed = true;
    (capture->keep_end ? keep_last : keep_first)(capture, bytes, (size_t)count);
    capture->text[capture->used] = '\0';
}

void capture_end(struct capture *capture)
{
    if (capture->descriptor >= 0)
        close(capture->descriptor);
    capture->descriptor = -1;
}
