/* The file, by example:
 *   {"staging": "/…/globalmount", "capability": {"block": false, "mode": 7, "single": false, "fs": "ext4", "flags":
 * []}, "targets": {"/…/mount": {"readonly": false, "capability": {…}}}}
 */
#include "node/state.h"

#include "base/cleanup.h"
#include "base/fault.h"
#include "pool/pool.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FILE_MOST ((size_t)1024 * 1024)

struct state {
    json_t *json;
    bool fresh;
    const char *directory; /* the state directory */
    char path[PATH_MAX];   /* of the file; "": the id is none, nothing is kept */
};

bool state_prepare(const char *state_directory, struct error *error)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%.4000s/volumes", state_directory);
    if ((mkdir(state_directory, 0750) != 0 && errno != EEXIST) || (mkdir(path, 0700) != 0 && errno != EEXIST))
        return fail_errno(error, errno, "cannot make %s", path);
    return true;
}

void state_recover(const char *state_directory)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%.4000s/volumes", state_directory);
    cleanup_directory DIR *files = opendir(path);
    for (const struct dirent *file; files != NULL && (file = readdir(files)) != NULL;) {
        const char *end = strrchr(file->d_name, '.');
        if (end != NULL && strcmp(end, ".new") == 0)
            unlinkat(dirfd(files), file->d_name, 0);
    }
}

static json_t *read_file(const char *path)
{
    cleanup_close int file = path[0] != '\0' ? open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC) : -1;
    struct stat status;
    if (file < 0 || fstat(file, &status) != 0 || !S_ISREG(status.st_mode) || (size_t)status.st_size > FILE_MOST)
        return NULL;
    cleanup_free char *text = malloc((size_t)status.st_size + 1);
    ssize_t length = text != NULL ? read(file, text, (size_t)status.st_size) : -1; /* json_loadfd() reads bytes */
    json_t *json = length > 0 ? json_loadb(text, (size_t)length, 0, NULL) : NULL;
    if (json_is_object(json))
        return json;
    json_decref(json);
    return NULL;
}

struct state *state_load(const char *state_directory, const char *id)
{
    struct state *state = calloc(1, sizeof *state);
    if (state == NULL)
        abort();
    state->directory = state_directory;
    if (record_is_id(id, ID_MARK_VOLUME))
        pool_note_path(state_directory, id, state->path);
    state->json = read_file(state->path);
    state->fresh = state->json == NULL;
    if (state->fresh)
        state->json = json_object();
    if (!json_is_object(json_object_get(state->json, "targets")))
        json_object_set_new(state->json, "targets", json_object());
    return state;
}

void state_free(struct state *state)
{
    if (state == NULL)
        return;
    json_decref(state->json);
    free(state);
}

bool state_is_new(const struct state *state)
{
    return state->fresh;
}

static json_t *targets(const struct state *state)
{
    return json_object_get(state->json, "targets");
}

/* The file under a name of its own, to be renamed. */
static bool write_fresh(const struct state *state, const char *fresh, struct error *error)
{
    const int flags = O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC;
    cleanup_free char *text = json_dumps(state->json, JSON_COMPACT);
    cleanup_close int file = open(fresh, flags, 0600);
    if (file < 0 && errno == ENOENT && state_prepare(state->directory, error)) /* somebody cleaned up */
        file = open(fresh, flags, 0600);
    if (text == NULL)
        return fail(error, RESOURCE_EXHAUSTED, "out of memory");
    ssize_t length = (ssize_t)strlen(text);
    return (file >= 0 && write(file, text, (size_t)length) == length) ||
           fail_errno(error, errno, "cannot write %s", fresh);
}

bool state_save(const struct state *state, struct error *error)
{
    char fresh[PATH_MAX + 8];
    if (state->path[0] == '\0')
        return true;
    if (state_staging(state) == NULL && json_object_size(targets(state)) == 0)
        return unlink(state->path) == 0 || errno == ENOENT || fail_errno(error, errno, "cannot remove %s", state->path);
    snprintf(fresh, sizeof fresh, "%s.new", state->path);
    if (write_fresh(state, fresh, error) && fault("node.state.written", error) &&
        (rename(fresh, state->path) == 0 || fail_errno(error, errno, "cannot rename %s", fresh)))
        return true;
    unlink(fresh);
    return false;
}

/* --- capabilities --- */

static json_t *describe(const struct capability *capability)
{
    if (capability == NULL)
        return json_null();
    json_t *flags = json_array();
    for (size_t i = 0; i < capability->mount_flag_count; i++)
        json_array_append_new(flags, json_string(capability->mount_flags[i]));
    return json_pack("{s:b, s:i, s:b, s:s, s:o}", "block", capability->block, "mode", (int)capability->mode, "single",
                     capability->single_writer, "fs", capability->filesystem, "flags", flags);
}

static bool is_same(const json_t *kept, const struct capability *capability)
{
    json_t *asked = describe(capability);
    bool same = json_equal(kept, asked) == 1;
    json_decref(asked);
    return same;
}

/* --- staging --- */

const char *state_staging(const struct state *state)
{
    return json_string_value(json_object_get(state->json, "staging"));
}

void state_stage(struct state *state, const char *path, const struct capability *capability)
{
    json_object_set_new(state->json, "staging", json_string(path));
    json_object_set_new(state->json, "capability", describe(capability));
    state_unpublish(state, path); /* where a found mount had been taken for a target */
}

void state_unstage(struct state *state)
{
    json_object_del(state->json, "staging");
    json_object_del(state->json, "capability");
}

bool state_staged_as(const struct state *state, const struct capability *capability)
{
    const json_t *kept = json_object_get(state->json, "capability");
    return !json_is_object(kept) || is_same(kept, capability);
}

/* What a bind mount can have of its own (mount_bind()), and words that ask for nothing. */
static bool is_of_mount(const char *flag)
{
    static const char *const flags[] = {"ro",   "rw",    "noexec",  "exec",     "nodev",      "dev",      "nosuid",
                                        "suid", "atime", "noatime", "relatime", "nodiratime", "diratime", "defaults"};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (strcmp(flags[i], flag) == 0)
            return true;
    return false;
}

static bool has(const json_t *flags, const char *flag)
{
    for (size_t i = 0; i < json_array_size(flags); i++) {
        const char *other = json_string_value(json_array_get(flags, i));
        if (other != NULL && strcmp(other, flag) == 0)
            return true;
    }
    return false;
}

const char *state_strange_flag(const struct state *state, const struct capability *capability)
{
    const json_t *kept = json_object_get(json_object_get(state->json, "capability"), "flags");
    for (size_t i = 0; json_is_array(kept) && i < capability->mount_flag_count; i++)
        if (!is_of_mount(capability->mount_flags[i]) && !has(kept, capability->mount_flags[i]))
            return capability->mount_flags[i];
    return NULL;
}

bool state_has_flag(const struct state *state, const char *flag)
{
    const json_t *kept = json_object_get(json_object_get(state->json, "capability"), "flags");
    return !json_is_array(kept) || has(kept, flag);
}

/* --- targets --- */

enum state_match state_published(const struct state *state, const char *path, bool read_only,
                                 const struct capability *capability)
{
    const json_t *target = json_object_get(targets(state), path);
    if (target == NULL)
        return STATE_NONE;
    const json_t *kept = json_object_get(target, "capability");
    if (!json_is_object(kept))
        return STATE_UNKNOWN;
    bool same = json_is_true(json_object_get(target, "readonly")) == read_only && is_same(kept, capability);
    return same ? STATE_SAME : STATE_DIFFERENT;
}

void state_publish(struct state *state, const char *path, bool read_only, const struct capability *capability)
{
    json_object_set_new(targets(state), path,
                        json_pack("{s:b, s:o}", "readonly", read_only, "capability", describe(capability)));
}

void state_unpublish(struct state *state, const char *path)
{
    json_object_del(targets(state), path);
}

bool state_targets(const struct state *state, bool (*see)(const char *path, bool single_writer, void *data), void *data)
{
    const char *path;
    json_t *target;
    json_object_foreach(targets(state), path, target)
    {
        const json_t *single = json_object_get(json_object_get(target, "capability"), "single");
        if (!see(path, json_is_true(single), data))
            return false;
    }
    return true;
}
