/* The pool of kind "lvm": a volume group, with or without a thin pool.  This file: the pool itself. */
#include "pool/lvm.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/text.h"
#include "pool/disk.h"
#include "pool/file_identity.h"
#include "pool/lvm_tag.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#define LOCK_DIRECTORY "/run/lock/lvm"
#define ORPHAN_GRACE (3 * NANOSECONDS_PER_SECOND)
#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+_.-"

static const char *const option_names[] = {"vg", "thinpool", "thinpool-size", "when-full", "devices", NULL};

/* --- identity --- */

static bool make_identity(struct pool *pool, struct lvm_pool *own, struct error *error)
{
    unsigned char random[POOL_ID_DIGITS / 2];
    struct lvm_words words = {.count = 0};
    char id[POOL_ID_DIGITS + 1], tag[sizeof LVM_TAG_POOL + POOL_ID_DIGITS];
    if (getrandom(random, sizeof random, 0) != sizeof random)
        return fail_errno(error, errno, "no random number for the pool's id");
    text_to_hex(random, sizeof random, id);
    pool_set_id(pool, id);
    snprintf(tag, sizeof tag, LVM_TAG_POOL "%s", id);
    log_event(LOG_INFO, "volume group adopted", "pool", pool_name(pool), "name", own->vg, "id", id, NULL);
    lvm_words(&words, "vgchange", "--addtag", tag, own->vg, NULL);
    return fault("pool.lvm.open.adopt.before", error) && lvm_run(own->queue, words.argv, error) &&
           fault("pool.lvm.open.adopt.after", error);
}

static bool load_identity(struct pool *pool, struct lvm_pool *own, const struct lvm_report *report, struct error *error)
{
    char tag[64];
    const char *id = tag + sizeof LVM_TAG_POOL - 1;
    if (!lvm_tags_find(report->tags, LVM_TAG_POOL, tag, sizeof tag))
        return make_identity(pool, own, error);
    if (strlen(id) != POOL_ID_DIGITS || !text_is_made_of(id, HEX_DIGITS, POOL_ID_DIGITS))
        return fail(error, DATA_LOSS,
                    "volume group %s has the damaged tag \"%s\"; docs/lvm.md, \"Identity\", says how it is mended",
                    own->vg, tag);
    pool_set_id(pool, id);
    return true;
}

bool lvm_take_lock(struct pool *pool, const char *name, const char *what, struct error *error)
{
    char file[LVM_UUID_BYTES + 16];
    mkdir("/run/lock", 0755);
    if (mkdir(LOCK_DIRECTORY, 0700) != 0 && errno != EEXIST)
        return fail_errno(error, errno, "cannot make " LOCK_DIRECTORY);
    cleanup_close int directory = open(LOCK_DIRECTORY, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    snprintf(file, sizeof file, "plinth-%s", name);
    return file_lock_named(directory, file, what, ORPHAN_GRACE, &pool->lock, error);
}

/* --- opening --- */

static bool read_options(struct pool *pool, struct lvm_pool *own, struct error *error)
{
    const char *vg = pool_option(pool, "vg"), *thin = pool_option(pool, "thinpool"),
               *when_full = pool_option(pool, "when-full");
    if (vg == NULL || !text_is_made_of(vg, NAME_CHARACTERS, LVM_NAME_BYTES - 1) || vg[0] == '-')
        return fail(error, INVALID_ARGUMENT, "a pool of kind lvm needs vg=NAME, the name or UUID of a volume group");
    if (thin != NULL && (!text_is_made_of(thin, NAME_CHARACTERS, LVM_NAME_BYTES - 1) || thin[0] == '-'))
        return fail(error, INVALID_ARGUMENT, "thinpool=\"%.64s\" is no name of a logical volume", thin);
    if (when_full != NULL && strcmp(when_full, "error") != 0 && strcmp(when_full, "queue") != 0)
        return fail(error, INVALID_ARGUMENT, "when-full=\"%.16s\" is neither error nor queue", when_full);
    text_copy(own->vg, sizeof own->vg, vg);
    text_copy(own->thin_pool, sizeof own->thin_pool, thin != NULL ? thin : "");
    if (thin == NULL) {
        pool->thick = true;
        if (pool_option(pool, "reserve") == NULL) /* nothing grows there by itself */
            pool->reserve_parts = 0;
    }
    return true;
}

bool lvm_check_group(const struct lvm_pool *own, const struct lvm_report *report, struct error *error)
{
    if (report->exported)
        return fail(error, FAILED_PRECONDITION, "volume group %s is exported; vgimport it first", own->vg);
    return !report->clustered || fail(error, FAILED_PRECONDITION,
                                      "volume group %s is shared or clustered; Plinth is for local ones", own->vg);
}

/* "pqXNjh-xuc2-ZONY-vbI7-A1TP-6rAl-LRwk3U" */
static bool is_uuid(const char *text)
{
    static const char form[] = "xxxxxx-xxxx-xxxx-xxxx-xxxx-xxxx-xxxxxx";
    size_t i = 0;
    while (form[i] != '\0' && (form[i] == '-') == (text[i] == '-') && text[i] != '\0')
        i++;
    return form[i] == '\0' && text[i] == '\0';
}

/* Commands want the name, which may have changed since. */
static bool find_name(struct lvm_pool *own, const char *uuid, struct error *error)
{
    struct lvm_words words = {.count = 0};
    cleanup_free char *found = NULL;
    char wanted[64];
    snprintf(wanted, sizeof wanted, "vg_uuid=%s", uuid);
    lvm_words(&words, "vgs", "--noheadings", "--options", "vg_name", "--select", wanted, NULL);
    if (!lvm_run_with(own->queue, "", words.argv, &found, error))
        return false;
    if (sscanf(found, "%127s", own->vg) == 1)
        return true;
    return fail(error, UNAVAILABLE, "no volume group with the UUID %s on this node (is its disk there?)", uuid);
}

static bool first_look(struct pool *pool, struct lvm_pool *own, struct lvm_report *report, struct error *error)
{
    const char *devices = own->devices = pool_option(pool, "devices");
    lvm_look_everywhere(own);
    if (is_uuid(own->vg) && !find_name(own, pool_option(pool, "vg"), error))
        return false;
    if (lvm_read_report(own, report, error))
        return true;
    if (error->code == NOT_FOUND && devices == NULL) {
        error->code = UNAVAILABLE;
        return fail_context(error,
                            "no volume group %s on this node (is its disk there? a loop device has to be named in "
                            "the pool's devices)",
                            own->vg);
    }
    return error->code == NOT_FOUND && lvm_make_group(pool, own, devices, error) && lvm_read_report(own, report, error);
}

static bool open_group(struct pool *pool, struct lvm_pool *own, struct error *error)
{
    struct lvm_report report;
    if (!first_look(pool, own, &report, error))
        return false;
    text_copy(own->vg_uuid, sizeof own->vg_uuid, report.uuid);
    own->extent_bytes = report.extent_bytes;
    bool good = lvm_check_group(own, &report, error) && lvm_take_lock(pool, own->vg_uuid, own->vg, error);
    lvm_queue_set_lock(own->queue, pool->lock);
    lvm_queue_set_group(own->queue, own->vg_uuid);
    if (good) {
        lvm_queue_resume(own->queue); /* even if the pool cannot be used: pods wait for it */
        lvm_look_at_devices_of(own, &report);
    }
    good = good && load_identity(pool, own, &report, error) && lvm_open_thin_pool(pool, own, &report, error);
    lvm_report_free(&report);
    return good;
}

static void lvm_close(struct pool *pool)
{
    struct lvm_pool *own = pool->own;
    if (own == NULL)
        return;
    lvm_guard_stop(own);
    lvm_queue_close(own->queue);
    cleanup_close int lock = steal_descriptor(&pool->lock);
    (void)lock;
    lvm_forget(own);
    id_set_clear(&own->lost);
    free(own);
    pool->own = NULL;
}

static bool lvm_open(struct pool *pool, struct error *error)
{
    struct lvm_pool *own = calloc(1, sizeof *own);
    if (own == NULL)
        abort();
    pool->own = own;
    if (read_options(pool, own, error) &&
        (own->queue = lvm_queue_open(pool->state_directory, pool_name(pool), error)) != NULL &&
        open_group(pool, own, error))
        return true;
    lvm_close(pool);
    return false;
}

/* --- what it can do --- */

struct lvm_pool *lvm_of(const struct pool *pool, const char *id)
{
    return pool->ops == &disk_pool_ops ? disk_group_of(pool, id) : pool->own;
}

static bool copies_at_once(const struct pool *pool, const struct record *source, const struct record *record)
{
    (void)pool;
    return !source->thick && !record->thick;
}

/* Extents that were another volume's before show what was in it. */
static bool reads_as_zeros(const struct pool *pool, const struct record *record)
{
    (void)pool;
    return !record->thick;
}

const struct pool_ops lvm_pool_ops = {
    .kind = "lvm",
    .option_names = option_names,
    .open = lvm_open,
    .close = lvm_close,
    .usable = lvm_refresh,
    .scan = lvm_scan,
    .measure = lvm_measure,
    .space = lvm_space,
    .round = lvm_round,
    .create = lvm_create,
    .copy = lvm_copy,
    .undo = lvm_undo,
    .write = lvm_write,
    .remove = lvm_remove,
    .grow = lvm_grow,
    .allocated = lvm_allocated,
    .open_data = lvm_open_data,
    .atomic = true,
    .freezes_itself = true,
    .undoes_recent_only = true,
    .reads_as_zeros = reads_as_zeros,
    .copies_at_once = copies_at_once,
    .cut = lvm_make_cut,
    .has_cut = lvm_has_cut,
    .open_source = lvm_open_source,
    .close_source = lvm_close_source,
    .suspend = lvm_suspend,
    .is_suspended = lvm_is_suspended,
    .resume = lvm_resume,
    .mark = lvm_mark,
    .unmark = lvm_unmark,
    .attach = lvm_attach,
    .detach = lvm_detach,
    .attached = lvm_attached,
    .in_use = lvm_in_use,
    .identify = lvm_identify,
    .volume_health = lvm_volume_health,
    .health = lvm_health,
};
