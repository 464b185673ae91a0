/* The lvm pool: making a volume group of empty devices, and a thin pool in it; a thin pool as it has to be. */
#include "pool/lvm.h"

#include "base/fault.h"
#include "base/log.h"
#include "base/text.h"
#include "pool/lvm_header.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

static bool check_empty(const char *path, struct error *error)
{
    char found[FILESYSTEM_NAME_BYTES];
    if (!lvm_header_probe(path, found, error))
        return fail_context(error, "device %s", path);
    return found[0] == '\0' || fail(error, FAILED_PRECONDITION,
                                    "device %s is not empty, it has %s: a volume group is made of empty devices only, "
                                    "as what is on them is lost; if it may be: wipefs --all %s, then dd if=/dev/zero "
                                    "of=%s bs=1M count=1",
                                    path, found, path, path);
}

bool lvm_make_group(struct pool *pool, struct lvm_pool *own, const char *devices, struct error *error)
{
    struct lvm_words words = {.count = 0};
    char list[PATH_MAX], *rest = NULL;
    text_copy(list, sizeof list, devices);
    lvm_words(&words, "vgcreate", "--metadatasize", "128m", "--setautoactivation", "n", own->vg, NULL);
    for (char *path = strtok_r(list, "+", &rest); path != NULL; path = strtok_r(NULL, "+", &rest)) {
        if (words.count == LVM_WORDS_MOST)
            return fail(error, INVALID_ARGUMENT, "devices names too many devices");
        if (!check_empty(path, error))
            return false;
        lvm_words(&words, path, NULL);
    }
    log_event(LOG_INFO, "new volume group", "pool", pool_name(pool), "name", own->vg, "devices", devices, NULL);
    return fault("pool.lvm.open.group.before", error) && lvm_run(own->queue, words.argv, error) &&
           fault("pool.lvm.open.group.after", error);
}

/* Metadata for thousands of volumes: 64 bytes for each chunk of 64 KiB, and 64 MiB for snapshots besides. */
static bool make_thin_pool(struct lvm_pool *own, const struct lvm_report *report, const char *size, struct error *error)
{
    struct lvm_words words = {.count = 0};
    int64_t bytes, most = report->free_extents * report->extent_bytes;
    if (!text_to_size(size, "thinpool-size", &bytes, error))
        return false;
    int64_t metadata = bytes / 1000 + (INT64_C(64) << 20);
    if (metadata > most / 20)
        metadata = most / 20;
    if (metadata < 4 << 20)
        metadata = 4 << 20;
    metadata = metadata / report->extent_bytes * report->extent_bytes;
    lvm_words(&words, "lvcreate", "--yes", "--type", "thin-pool", "--name", own->thin_pool, "--size",
              lvm_bytes(&words, bytes), "--poolmetadatasize", lvm_bytes(&words, metadata), "--zero", "y", "--discards",
              "passdown", "--setactivationskip", "y", "--ignoreactivationskip", own->vg, NULL);
    return (fault("pool.lvm.open.thinpool.before", error) && lvm_run(own->queue, words.argv, error) &&
            fault("pool.lvm.open.thinpool.after", error)) ||
           fail_context(error, "thin pool %s", own->thin_pool);
}

static bool use_thin_pool(struct lvm_pool *own, const struct lvm_volume *thin, struct error *error)
{
    struct lvm_words words = {.count = 0};
    if (strcmp(thin->segment_type, "thin-pool") != 0)
        return fail(error, FAILED_PRECONDITION,
                    "%s/%s is no thin pool but %s; name another one in the pool's option thinpool", own->vg,
                    own->thin_pool, thin->segment_type);
    if (!thin->zero)
        return fail(error, FAILED_PRECONDITION,
                    "thin pool %s/%s does not zero new blocks, so a volume could show what was deleted before; say "
                    "\"lvchange --zero y %s/%s\"",
                    own->vg, own->thin_pool, own->vg, own->thin_pool);
    text_copy(own->thin_pool_uuid, sizeof own->thin_pool_uuid, thin->uuid);
    lvm_words(&words, "lvchange", "--activate", "y", "--ignoreactivationskip",
              lvm_full_name(&words, own, own->thin_pool, ""), NULL);
    return thin->active || lvm_run(own->queue, words.argv, error);
}

/* Whether writers wait or get an error while the thin pool has no room. */
static bool set_when_full(struct lvm_pool *own, const struct lvm_volume *thin, const char *wanted, struct error *error)
{
    struct lvm_words words = {.count = 0};
    bool fails = wanted != NULL && strcmp(wanted, "error") == 0;
    if (wanted == NULL || fails == thin->errors_when_full)
        return true;
    lvm_words(&words, "lvchange", "--errorwhenfull", fails ? "y" : "n", lvm_full_name(&words, own, own->thin_pool, ""),
              NULL);
    return lvm_run(own->queue, words.argv, error);
}

/* What is freed in a file system then stays taken until the volume is deleted. */
static void warn_of_ignored_discards(const struct pool *pool, const struct lvm_pool *own)
{
    struct thin_pool_status status;
    struct error ignored;
    char command[3 * LVM_NAME_BYTES];
    if (!lvm_thin_status(own, &status, &ignored) || !status.ignores_discards)
        return;
    snprintf(command, sizeof command, "lvchange --discards passdown %s/%s", own->vg, own->thin_pool);
    log_event(LOG_WARNING, "the thin pool ignores discards, what fstrim frees stays taken", "pool", pool_name(pool),
              "thin_pool", own->thin_pool, "next_step", command, NULL);
}

bool lvm_open_thin_pool(struct pool *pool, struct lvm_pool *own, struct lvm_report *report, struct error *error)
{
    const char *size = pool_option(pool, "thinpool-size");
    if (own->thin_pool[0] == '\0')
        return true;
    const struct lvm_volume *thin = lvm_report_volume(report, own->thin_pool);
    if (thin == NULL && size == NULL)
        return fail(error, FAILED_PRECONDITION,
                    "volume group %s has no thin pool %s; make it, or let Plinth make it with thinpool-size=SIZE",
                    own->vg, own->thin_pool);
    if (thin == NULL) {
        if (!make_thin_pool(own, report, size, error))
            return false;
        lvm_report_free(report);
        *report = (struct lvm_report){.volumes = NULL};
        if (!lvm_read_report(own, report, error))
            return false;
        thin = lvm_report_volume(report, own->thin_pool);
    }
    if (thin == NULL)
        return fail(error, INTERNAL, "thin pool %s was made but is not there", own->thin_pool);
    if (!use_thin_pool(own, thin, error) || !set_when_full(own, thin, pool_option(pool, "when-full"), error))
        return false;
    warn_of_ignored_discards(pool, own);
    return true;
}
