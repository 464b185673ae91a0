/* The file pool: reading the storage. */
#include "pool/file.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_ours(const struct pool *pool, int kind, const char *name)
{
    const char *mark = kind == RECORD_VOLUME ? ID_MARK_VOLUME : ID_MARK_SNAPSHOT;
    return record_is_id(name, mark) && strncmp(name, pool->id, POOL_ID_DIGITS) == 0;
}

static int64_t occupied(int directory)
{
    struct stat status;
    return fstatat(directory, "data", &status, AT_SYMLINK_NOFOLLOW) == 0 ? (int64_t)status.st_blocks * 512 : 0;
}

static bool read_record(int directory, enum phase phase, int kind, const char *id, struct record *record,
                        struct error *error)
{
    cleanup_free char *text = NULL;
    size_t length = 0;
    if (!file_read(directory, file_record_names[phase], &text, &length, error) ||
        !record_from_json(text, length, id, record, error))
        return false;
    return (int)record->kind == kind ||
           fail(error, DATA_LOSS, "the record of %s is of another kind; it is left alone", id);
}

static void leave_alone(struct pool *pool, int kind, const char *id, struct error *why)
{
    if (why->code != FAILED_PRECONDITION && why->code != UNAVAILABLE)
        why->code = DATA_LOSS;
    fail_context(why, "%s in pool %s", id, pool_name(pool));
    log_event(LOG_ERROR, "record left alone", "volume_id", id, "error", why->message, NULL);
    inventory_drop(pool, kind, id);
    inventory_damage(pool, kind, id, why);
}

/* A disk that fails, or we are short of memory or descriptors: that may pass, and nothing follows from it. */
static void leave_unseen(struct pool *pool, int kind, const char *id, struct error *why)
{
    fail_context(why, "it is left alone until the next start; look at the kernel's log");
    why->code = UNAVAILABLE;
    leave_alone(pool, kind, id, why);
}

/* The name of the record tells that it is half made or half deleted: it may be torn, or not there yet. */
static void add_unfinished(struct pool *pool, int kind, const char *id, enum phase phase, int directory)
{
    struct error error;
    struct record record;
    if (!read_record(directory, phase, kind, id, &record, &error)) {
        if (error.number != 0 && error.number != ENOENT) {
            leave_unseen(pool, kind, id, &error);
            return;
        }
        record = (struct record){.kind = (enum record_kind)kind, .created = wall_clock_now()};
        text_copy(record.id, sizeof record.id, id);
    }
    record.phase = phase;
    inventory_add(pool, &record, 0);
}

static void add_ready(struct pool *pool, int kind, const char *id, int directory)
{
    struct error error;
    struct record record;
    if (!read_record(directory, PHASE_READY, kind, id, &record, &error)) {
        leave_alone(pool, kind, id, &error);
        return;
    }
    unlinkat(directory, "meta.json.new", 0);
    int64_t bytes = record.kind == RECORD_VOLUME ? record.bytes : occupied(directory);
    inventory_add(pool, &record, bytes < record.bytes ? bytes : record.bytes);
}

/* Without any record.  If there are bytes, somebody took the record away; else it was killed just after mkdir. */
static void add_unknown(struct pool *pool, int kind, const char *id, int directory)
{
    struct error error;
    bool image;
    if (!file_look_for(directory, "data", &image, &error)) {
        leave_unseen(pool, kind, id, &error);
    } else if (!image) {
        add_unfinished(pool, kind, id, PHASE_CREATING, directory);
    } else {
        fail(&error, DATA_LOSS, "its record is missing; it is left alone: restore meta.json from a backup");
        leave_alone(pool, kind, id, &error);
    }
}

/* Which records there are, by phase, and how many. */
static bool look_for_records(int directory, bool there[static 3], int *count, struct error *error)
{
    *count = 0;
    if (directory < 0)
        return fail_errno(error, errno, "cannot open its directory");
    for (int phase = PHASE_CREATING; phase <= PHASE_DELETING; phase++) {
        if (!file_look_for(directory, file_record_names[phase], &there[phase], error))
            return false;
        *count += there[phase];
    }
    return true;
}

static void scan_one(struct pool *pool, int kind, int parent, const char *id)
{
    struct error error;
    bool there[3];
    int count;
    cleanup_close int directory = openat(parent, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (!look_for_records(directory, there, &count, &error)) {
        leave_unseen(pool, kind, id, &error);
    } else if (count > 1) {
        fail(&error, DATA_LOSS, "it has several records, of different phases; it is left alone");
        leave_alone(pool, kind, id, &error);
    } else if (there[PHASE_READY]) {
        add_ready(pool, kind, id, directory);
    } else if (count == 1) {
        add_unfinished(pool, kind, id, there[PHASE_CREATING] ? PHASE_CREATING : PHASE_DELETING, directory);
    } else {
        add_unknown(pool, kind, id, directory);
    }
}

bool file_scan(struct pool *pool, struct error *error)
{
    struct file_pool *own = pool->own;
    for (int kind = RECORD_VOLUME; kind <= RECORD_SNAPSHOT; kind++) {
        int copy = openat(own->kinds[kind], ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        cleanup_directory DIR *entries = fdopendir(copy);
        if (entries == NULL)
            return fail_errno(error, errno, "cannot read %s/%s", own->path, file_kind_names[kind]);
        errno = 0;
        for (const struct dirent *entry; (entry = readdir(entries)) != NULL; errno = 0)
            if (is_ours(pool, kind, entry->d_name))
                scan_one(pool, kind, own->kinds[kind], entry->d_name);
        if (errno != 0)
            return fail_errno(error, errno, "cannot read %s/%s", own->path, file_kind_names[kind]);
    }
    return true;
}
