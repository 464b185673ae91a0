/*
 * The lvm pool: volumes that are active only because they are being copied.  To the node they are not attached, and
 * they are deactivated when the copy is whole, unless somebody has attached them meanwhile.
 */
#include "pool/lvm.h"

#include "base/text.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct idle {
    struct idle *next;
    char id[ID_BYTES];
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

bool lvm_is_idle(const char *id)
{
    pthread_mutex_lock(&mutex);
    bool found = *find(id) != NULL;
    pthread_mutex_unlock(&mutex);
    return found;
}

void lvm_note_idle(const char *id)
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

bool lvm_forget_idle(const char *id)
{
    pthread_mutex_lock(&mutex);
    struct idle **at = find(id), *idle = *at;
    if (idle != NULL)
        *at = idle->next;
    pthread_mutex_unlock(&mutex);
    free(idle);
    return idle != NULL;
}
