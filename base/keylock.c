#include "base/keylock.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct keylock {
    struct keylock *next;
    char doing[128];
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

struct keylock *keylock_acquire(const char *key, struct error *error)
{
    size_t size = strlen(key) + 1;
    struct keylock *lock = calloc(1, sizeof *lock + size);
    if (lock == NULL) {
        fail(error, RESOURCE_EXHAUSTED, "out of memory");
        return NULL;
    }
    memcpy(lock->key, key, size);
    pthread_mutex_lock(&mutex);
    struct keylock *holder = *find(key);
    if (holder == NULL) {
        lock->next = held;
        held = lock;
    } else {
        fail(error, ABORTED, "another operation on %s is under way%s%s; try again", key,
             holder->doing[0] != '\0' ? ": " : "", holder->doing);
    }
    pthread_mutex_unlock(&mutex);
    if (holder == NULL)
        return lock;
    free(lock);
    return NULL;
}

void keylock_release(struct keylock *lock)
{
    if (lock == NULL)
        return;
    pthread_mutex_lock(&mutex);
    struct keylock **link = find(lock->key);
    *link = lock->next;
    pthread_mutex_unlock(&mutex);
    free(lock);
}

void keylock_describe(struct keylock *lock, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    pthread_mutex_lock(&mutex);
    vsnprintf(lock->doing, sizeof lock->doing, format, arguments);
    pthread_mutex_unlock(&mutex);
    va_end(arguments);
}
