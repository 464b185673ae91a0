/*
 * The lvm pool: volumes that are active only because they are being copied.  To the node they are not attached, and
 * they are deactivated when the copy is whole, unless somebody has attached them meanwhile.
 */
#include "pool/lvm.h"

#include "base/clock.h"
#include "base/text.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOOK_AGAIN (20 * NANOSECONDS_PER_MILLISECOND)

struct idle {
    struct idle *next;
    char id[ID_BYTES];
    bool leaving; /* is being deactivated */
};

/* As many as there are copies under way; ids are unique among pools. */
static struct idle *first;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static struct idle **find(const char *id)
{
    struct idle **idle = &first;
    while (*idle != NULL && strcmp((*idle)->id, id) != 0)
        idle = &(*idle)->next;
    return idle;
}

static void drop(struct idle **at)
{
    struct idle *idle = *at;
    if (idle == NULL)
        return;
    *at = idle->next;
    free(idle);
}

bool lvm_is_idle(const char *id)
{
    pthread_mutex_lock(&mutex);
    bool found = *find(id) != NULL;
    pthread_mutex_unlock(&mutex);
    return found;
}

void lvm_idle_begin(const char *id)
{
    pthread_mutex_lock(&mutex);
    if (*find(id) == NULL) {
        struct idle *idle = calloc(1, sizeof *idle);
        if (idle == NULL)
            abort();
        text_copy(idle->id, sizeof idle->id, id);
        idle->next = first;
        first = idle;
    }
    pthread_mutex_unlock(&mutex);
}

bool lvm_idle_leave(const char *id)
{
    pthread_mutex_lock(&mutex);
    struct idle *idle = *find(id);
    bool was = idle != NULL && !idle->leaving;
    if (was)
        idle->leaving = true;
    pthread_mutex_unlock(&mutex);
    return was;
}

void lvm_idle_end(const char *id)
{
    pthread_mutex_lock(&mutex);
    drop(find(id));
    pthread_mutex_unlock(&mutex);
}

static bool is_leaving(const char *id)
{
    pthread_mutex_lock(&mutex);
    const struct idle *idle = *find(id);
    bool leaving = idle != NULL && idle->leaving;
    pthread_mutex_unlock(&mutex);
    return leaving;
}

bool lvm_idle_claim(const char *id, bool *was, struct error *error)
{
    static const struct timespec pause = {.tv_nsec = LOOK_AGAIN};
    while (is_leaving(id)) {
        if (monotonic_now() > caller_deadline)
            return fail(error, DEADLINE_EXCEEDED, "volume %s is still being deactivated after it was copied; try again",
                        id);
        nanosleep(&pause, NULL);
    }
    *was = lvm_is_idle(id);
    lvm_idle_end(id);
    return true;
}
