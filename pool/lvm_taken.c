/*
 * The lvm pool: which volumes the node has taken.  A device may be active for other reasons, too: its volume was made a
 * moment ago, or is being copied.  What nobody has taken is deactivated when its copy is whole, and can be deleted.
 */
#include "pool/lvm.h"

#include "base/clock.h"
#include "base/text.h"
#include "filesystem/mountinfo.h"

#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOOK_AGAIN (20 * NANOSECONDS_PER_MILLISECOND)

struct taken {
    struct taken *next;
    char id[ID_BYTES];
    bool leaving; /* taken by whoever deactivates it just now */
};

/* As many as the node has staged; ids are unique among pools. */
static struct taken *first;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static struct taken **find(const char *id)
{
    struct taken **taken = &first;
    while (*taken != NULL && strcmp((*taken)->id, id) != 0)
        taken = &(*taken)->next;
    return taken;
}

/* True if it was free; then it is taken. */
static bool take_if_free(const char *id, bool leaving)
{
    pthread_mutex_lock(&mutex);
    bool free = *find(id) == NULL;
    if (free) {
        struct taken *taken = malloc(sizeof *taken);
        if (taken == NULL)
            abort();
        *taken = (struct taken){.next = first, .leaving = leaving};
        text_copy(taken->id, sizeof taken->id, id);
        first = taken;
    }
    pthread_mutex_unlock(&mutex);
    return free;
}

static bool is_in_state(const char *id, bool leaving)
{
    pthread_mutex_lock(&mutex);
    const struct taken *taken = *find(id);
    bool is = taken != NULL && taken->leaving == leaving;
    pthread_mutex_unlock(&mutex);
    return is;
}

bool lvm_is_taken(const char *id)
{
    return is_in_state(id, false);
}

bool lvm_take(const char *id, struct error *error)
{
    static const struct timespec pause = {.tv_nsec = LOOK_AGAIN};
    while (!take_if_free(id, false) && is_in_state(id, true)) {
        if (monotonic_now() > caller_deadline)
            return fail(error, DEADLINE_EXCEEDED, "volume %s is still being deactivated after it was copied; try again",
                        id);
        nanosleep(&pause, NULL);
    }
    return true;
}

void lvm_give_back(const char *id)
{
    pthread_mutex_lock(&mutex);
    struct taken **at = find(id), *taken = *at;
    if (taken != NULL)
        *at = taken->next;
    pthread_mutex_unlock(&mutex);
    free(taken);
}

bool lvm_let_go(struct pool *pool, const struct record *record, struct error *error)
{
    if (!take_if_free(record->id, true))
        return true;
    bool good = lvm_in_use(pool, record) || lvm_deactivate(lvm_of(pool, record->id), record->id, error);
    lvm_give_back(record->id);
    return good;
}

/* --- at start --- */

/* Notes may have been lost: a raw block volume's node that is bound somewhere is somebody's. */
static void take_bound(const struct pool *pool, const struct lvm_pool *own)
{
    cleanup_mountinfo struct mountinfo mounts = mountinfo_open();
    struct mountinfo_entry entry;
    struct stat node;
    char id[ID_BYTES];
    while (mountinfo_next(&mounts, &entry))
        if (mountinfo_may_be_node(&entry) && stat(entry.target, &node) == 0 && S_ISBLK(node.st_mode) &&
            lvm_identify(node.st_rdev, id) && strncmp(id, pool->id, POOL_ID_DIGITS) == 0 && lvm_of(pool, id) == own)
            take_if_free(id, false);
}

void lvm_take_noted(struct pool *pool, const struct lvm_pool *own)
{
    const struct entries *volumes = &pool->entries[RECORD_VOLUME];
    char path[PATH_MAX];
    for (size_t i = 0; i < volumes->count; i++) {
        const char *id = volumes->sorted[i]->record.id;
        pool_note_path(pool->state_directory, id, path);
        if (lvm_of(pool, id) == own && access(path, F_OK) == 0)
            take_if_free(id, false);
    }
    take_bound(pool, own);
}
