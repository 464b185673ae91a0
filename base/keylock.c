#include "base/keylock.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct keylock {
    struct keylock *next;
    bool shared;
    int holders;
    char key[];
};

/* As many as there are operations under way (some dozens), so a list is fine. */
static struct keylock *held;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static struct keylock **find(const char *key)
{
    struct keylock **link = &held;
    while (*link != NULL && strcmp((*link)->key, key) != 0)
        link = &(*link)->next;
    return link;
}

static struct keylock *create(const char *key, bool shared)
{
    size_t size = strlen(key) + 1;
    struct keylock *lock = calloc(1, sizeof *lock + size);
    if (lock == NULL)
        abort();
    memcpy(lock->key, key, size);
    lock->shared = shared;
    lock->next = held;
    held = lock;
    return lock;
}

static struct keylock *acquire(const char *key, bool shared, struct error *error)
{
    pthread_mutex_lock(&mutex);
    struct keylock *lock = *find(key);
    if (lock == NULL)
        lock = create(key, shared);
    else if (!shared || !lock->shared)
        lock = NULL;
    if (lock != NULL)
        lock->holders++;
    pthread_mutex_unlock(&mutex);
    if (lock == NULL)
        fail(error, ABORTED, "another operation on %s is under way; try again", key);
    return lock;
}

struct keylock *keylock_acquire(const char *key, struct error *error)
{
    return acquire(key, false, error);
}

struct keylock *keylock_acquire_shared(const char *key, struct error *error)
{
    return acquire(key, true, error);
}

struct keylock *keylock_await(const char *key, int64_t deadline, bool (*give_up)(const void *data), const void *data,
                              struct error *error)
{
    static const struct timespec pause = {.tv_nsec = 20 * NANOSECONDS_PER_MILLISECOND};
    struct keylock *lock;
    while ((lock = keylock_acquire(key, error)) == NULL && monotonic_now() < deadline &&
           (give_up == NULL || !give_up(data)))
        nanosleep(&pause, NULL);
    return lock;
}

void keylock_release(struct keylock *lock)
{
    if (lock == NULL)
        return;
    pthread_mutex_lock(&mutex);
    bool last = --lock->holders == 0;
    if (last)
        *find(lock->key) = lock->next;
    pthread_mutex_unlock(&mutex);
    if (last)
        free(lock);
}
