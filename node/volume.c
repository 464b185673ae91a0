#include "node/volume.h"

#include "base/log.h"
#include "base/text.h"
#include "filesystem/mountinfo.h"

#include <string.h>
#include <sys/stat.h>

bool require(const char *value, const char *field, struct error *error)
{
    return value[0] != '\0' || fail(error, INVALID_ARGUMENT, "%s is missing", field);
}

bool volume_open_any(struct rpc_call *call, const char *id, struct volume *volume, struct error *error)
{
    struct error why;
    *volume = (struct volume){.node = rpc_context(call), .id = id, .lock = keylock_acquire(id, error)};
    if (volume->lock == NULL)
        return false;
    volume->exists = pools_find(volume->node->driver.pools, RECORD_VOLUME, id, &volume->pool, &volume->record, &why);
    if (!volume->exists && volume->pool != NULL) {
        volume->record = (struct record){.kind = RECORD_VOLUME};
        text_copy(volume->record.id, sizeof volume->record.id, id); /* it has the form of an id of that pool */
    }
    volume->state = state_load(volume->node->driver.state_directory, id);
    return true;
}

bool volume_open(struct rpc_call *call, const char *id, struct volume *volume, struct error *error)
{
    *volume = (struct volume){.node = rpc_context(call), .id = id, .lock = keylock_acquire(id, error)};
    if (volume->lock == NULL ||
        !pools_find(volume->node->driver.pools, RECORD_VOLUME, id, &volume->pool, &volume->record, error))
        return false;
    if (volume->record.phase != PHASE_READY)
        return fail(error, NOT_FOUND, "volume %s is being %s", id,
                    volume->record.phase == PHASE_CREATING ? "made" : "deleted");
    volume->exists = true;
    volume->state = state_load(volume->node->driver.state_directory, id);
    return true;
}

void volume_close(struct volume *volume)
{
    state_free(volume->state);
    keylock_release(volume->lock);
}

bool volume_fits(const struct volume *volume, const Csi__V1__VolumeCapability *message, struct capability *capability,
                 struct error *error)
{
    if (!capability->block && message->mount->fs_type[0] == '\0')
        capability->filesystem = volume->record.filesystem;
    return capability_fits(capability, &volume->record, error);
}

bool node_owns(const struct node *node, const char *id, dev_t device)
{
    char found[ID_BYTES];
    return pools_identify(node->driver.pools, device, found) && strcmp(found, id) == 0;
}

bool volume_is_at(const struct volume *volume, const char *path, struct mount_state *at)
{
    struct error ignored;
    return mount_inspect(path, at, &ignored) && at->mounted && node_owns(volume->node, volume->id, at->device);
}

void volume_keep_state(const struct volume *volume)
{
    struct error error;
    if (!state_save(volume->state, &error))
        log_event(LOG_WARNING, "a stale note about a volume was left", "volume_id", volume->id, "error", error.message,
                  NULL);
}

void volume_forget_staging(struct volume *volume)
{
    state_unstage(volume->state);
    volume_keep_state(volume);
}

/* --- where it is --- */

void volume_recover_state(struct volume *volume)
{
    dev_t device, reader;
    if (!state_is_new(volume->state))
        return;
    bool writer = pool_attached(volume->pool, &volume->record, ATTACH_MOUNT, &device);
    if (!writer && !pool_attached(volume->pool, &volume->record, ATTACH_READONLY, &reader))
        return;
    cleanup_mountinfo struct mountinfo mounts = mountinfo_open();
    struct mountinfo_entry entry;
    struct mount_state at;
    while (mountinfo_next(&mounts, &entry))
        if (((writer && entry.device == device) || mountinfo_may_be_node(&entry)) &&
            volume_is_at(volume, entry.target, &at))
            state_publish(volume->state, entry.target, at.read_only, NULL);
}

struct search {
    struct volume *volume;
    const char *except;
    char *found;
    bool single;
    char stale[PATH_MAX]; /* a note that is not true any more */
};

static bool look(const char *path, bool single_writer, void *data)
{
    struct search *search = data;
    struct mount_state at;
    if (strcmp(path, search->except) == 0 || strlen(path) >= PATH_MAX)
        return true;
    bool here = volume_is_at(search->volume, path, &at);
    text_copy(here ? search->found : search->stale, PATH_MAX, path);
    search->single = single_writer;
    return false;
}

bool volume_find_target(struct volume *volume, const char *except, char *found, bool *single)
{
    struct search search = {.volume = volume, .except = except, .found = found};
    found[0] = '\0';
    while (!state_targets(volume->state, look, &search) && found[0] == '\0')
        state_unpublish(volume->state, search.stale);
    if (single != NULL)
        *single = search.single;
    return found[0] != '\0';
}
