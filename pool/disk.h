/*
 * What the files of the disk pool share.  For files in pool/ only.
 *
 * Every disk of the pool is a physical volume in a volume group of its own, with at most one logical volume over all of
 * it (docs/lvm.md, "Whole disks"): the lvm pool's functions do the work, each time on the group of one disk.
 */
#pragma once

#include "pool/lvm.h"

#include <sys/types.h>

#define DISK_PATH_BYTES 256
#define DISK_WORDS_BYTES 64
#define DISK_WHY_BYTES 512
#define LVM_TAG_DISK "plinth.disk." /* of the volume group, followed by the pool's name */

/* --- disk_device.c: block devices, as sysfs tells.  None of it reads the device. --- */

struct disk_device {
    char name[DISK_WORDS_BYTES]; /* in /sys/class/block */
    char path[DISK_PATH_BYTES];  /* "/dev/sda" */
    dev_t device, disk;          /* the disk of a partition; else the same */
    int64_t bytes;
    uint64_t writes;   /* since the kernel has it */
    uint64_t sequence; /* no two devices of one run of the kernel have the same; 0: not known */
    int partition;     /* its number; 0: a whole disk */
    bool read_only, rotational, has_partitions, removable;
    bool named;                     /* by the option `devices` of the pool that looks */
    char named_as[DISK_PATH_BYTES]; /* its path there, or a link to it; "": by a pattern, so nobody meant this device */
    char model[DISK_WORDS_BYTES];   /* or "" */
    char serial[DISK_WORDS_BYTES];  /* serial number or world wide name, or "" */
};

/* The device of that name in /sys/class/block.  False if there is none. */
bool disk_device_read(const char *name, struct disk_device *device);

/* The device that a path leads to.  NOT_FOUND, INVALID_ARGUMENT if it is no block device. */
bool disk_device_at(const char *path, struct disk_device *device, struct error *error);

/* All block devices that are hardware; the caller frees the array. */
struct disk_device *disk_devices(size_t *count);

/* Adds one that is not in the array yet. */
void disk_devices_add(struct disk_device **devices, size_t *count, const struct disk_device *device);

/* True for a loop device of a volume or on another block device, and for a logical volume. */
bool disk_device_is_a_volume(const struct disk_device *device);

/* True if a file system, a holder or swap has it (or a partition of it) now.  Opens it for a moment. */
bool disk_device_is_busy(const struct disk_device *device);

/* --- disk_rules.c: which devices the options choose --- */

/* INVALID_ARGUMENT says what is wrong with the options. */
bool disk_rules_check(const struct pool *pool, struct error *error);

/* All devices that the pool's options may mean: hardware, and what they name.  The caller frees the array. */
struct disk_device *disk_rules_candidates(const struct pool *pool, size_t *count);

/* True if the options choose this one of them. */
bool disk_rules_choose(const struct pool *pool, const struct disk_device *device);

/* Calls `see` for each path of the option `devices` that is no pattern and leads nowhere. */
void disk_rules_missing(const struct pool *pool, void (*see)(const char *path, void *data), void *data);

/* --- disk_group.c: physical volumes and volume groups --- */

/* A physical volume of a volume group. */
struct disk_found {
    char path[DISK_PATH_BYTES], uuid[LVM_UUID_BYTES];
    char group[LVM_NAME_BYTES], group_uuid[LVM_UUID_BYTES];
    char pool_id[POOL_ID_DIGITS + 1]; /* "": no group of Plinth's */
    char pool_name[64];               /* "": of no disk pool */
};

/* Asks LVM for all physical volumes there are, of copies each; the caller frees the array. */
bool disk_groups_find(struct lvm_queue *queue, struct disk_found **found, size_t *count, struct error *error);

/* The id that a pool without disks has: always the same on a node. */
void disk_make_pool_id(const char *node, const char *pool_name, char id[static POOL_ID_DIGITS + 1]);

/* The id of the pool: of its disks, or the above.  FAILED_PRECONDITION if the disks contradict each other. */
bool disk_find_pool_id(const char *node, const char *pool_name, const struct disk_found *found, size_t count,
                       char id[static POOL_ID_DIGITS + 1], struct error *error);

/* Makes the volume group of a disk, which must be empty: LVM refuses another. */
bool disk_make_group(struct lvm_queue *queue, const struct disk_device *device, const char *pool_id,
                     const char *pool_name, struct error *error);

/* --- the pool --- */

/* A disk of the pool.  It stays in the list until the pool is closed, also when it vanishes. */
struct disk {
    struct disk *next;
    struct lvm_pool group;
    char uuid[LVM_UUID_BYTES]; /* of the physical volume */
    struct disk_device device; /* where it was seen last */
    bool lost;                 /* not there, cannot be read, or not to be used */
    char why[DISK_WHY_BYTES];  /* it is lost */
    bool loaded;               /* what is on it has been read once */
};

/* A device that the options choose and that is not used. */
struct disk_refused {
    struct disk_refused *next;
    char path[DISK_PATH_BYTES];       /* as the options name it, if they do so in full */
    bool doubtful;                    /* it, or what was there before, may have a volume of the pool */
    char pool_id[POOL_ID_DIGITS + 1]; /* of the other pool that it is a disk of, or "" */
    struct error why;
};

struct disk_pool {
    struct lvm_queue *queue; /* for looking around */
    pthread_mutex_t looking;
    int64_t looked, checked; /* when: in full, at the signature only */
    uint64_t signature;      /* of what there was then */
    dev_t *idle;             /* devices that nobody had in use then */
    size_t idle_count;
    struct disk_found *found; /* between the first look and the second */
    size_t found_count;
    struct disk *disks; /* under pool->mutex, as all that follows */
    struct disk_refused *refused;
    struct lvm_pool nowhere; /* of volumes that have no disk (any more) */
};

/* The disk that has the volume, or NULL.  The caller holds pool->mutex. */
struct disk *disk_of(const struct pool *pool, const char *id);

/* The volume group of that disk, for lvm_of(). */
struct lvm_pool *disk_group_of(const struct pool *pool, const char *id);

/* Bytes that a volume on this disk has. */
int64_t disk_usable(const struct disk *disk);

/* True if a volume can be made on it. */
bool disk_is_free(const struct disk *disk);

/* How much there is for volumes; the caller holds pool->mutex. */
bool disk_space(struct pool *pool, const struct record *shape, struct pool_space *space, struct error *error);

/* --- disk_look.c: what disks there are --- */

/* When the pool is opened: finds its id; then, under its lock, its disks, and takes those that are empty and chosen. */
bool disk_look_first(struct pool *pool, struct error *error);
void disk_look_second(struct pool *pool);

/* Looks again if something has changed, as sysfs tells; waits for nobody for long. */
void disk_look_again(struct pool *pool);

/* Notes, and logs, that a disk is gone or there again (`why` is NULL then). */
void disk_set_lost(struct pool *pool, struct disk *disk, bool lost, const char *why);

/* Why a disk is lost, as " (...)" or "". */
void disk_tell_lost(struct pool *pool, const struct disk *disk, char why[static DISK_WHY_BYTES]);

/* For who does not hold pool->mutex: the list only grows, at its head. */
struct disk *disk_first(struct pool *pool);
bool disk_is_lost(struct pool *pool, const struct disk *disk);

void disk_forget_all(struct disk_pool *own);

/* --- disk_take.c: devices that are not ours yet --- */

struct disk_look {
    struct pool *pool;
    struct disk_pool *own;
    struct disk_found *found; /* physical volumes */
    size_t count;
};

/* Takes the devices that are empty and chosen, and notes those that are not empty.  True if one has been taken. */
bool disk_take_others(const struct disk_look *look);
void disk_forget_refused(struct disk_refused *refused);

/* --- disk_watch.c: when to look again.  Asks sysfs only. --- */

/* Remembers what there is: to be called just before a look. */
void disk_watch_remember(struct pool *pool);

/* True if something has changed since, or it has been long. */
bool disk_watch_is_due(struct pool *pool);

/* --- disk_volume.c: volumes --- */
int64_t disk_round(const struct pool *pool, const struct record *shape, int64_t bytes);
bool disk_create(struct pool *pool, const struct record *record, struct error *error);
bool disk_copy(struct pool *pool, const struct record *source, const struct record *record, bool *done,
               struct error *error);
bool disk_undo(struct pool *pool, const struct record *record, struct error *error);
bool disk_write(struct pool *pool, const struct record *old, const struct record *record, struct error *error);
bool disk_remove(struct pool *pool, const struct record *record, struct error *error);
bool disk_grow(struct pool *pool, const struct record *record, int64_t bytes, const struct progress *progress,
               struct error *error);
bool disk_open_data(struct pool *pool, const struct record *record, char *path, struct error *error);
bool disk_open_source(struct pool *pool, const struct record *source, const struct record *record, char *path,
                      struct error *error);
bool disk_close_source(struct pool *pool, const struct record *source, const struct record *record,
                       struct error *error);
bool disk_attach(struct pool *pool, const struct record *record, enum attach_mode mode, struct attachment *attachment,
                 struct error *error);

/* --- disk_twice.c: a volume that two disks have --- */

/*
 * True if the logical volume `id` in this group is to be left alone: the volume is on another disk.  `record` is what
 * its tag says, or NULL.  When the pool is opened the better of both is the volume.  The caller holds pool->mutex.
 */
bool disk_has_it_too(struct pool *pool, struct lvm_pool *group, enum record_kind kind, const char *id,
                     const struct record *record);

/* Says what is wrong and what to do.  False if the disk has no such volume. */
bool disk_tell_twice(struct pool *pool, const struct disk *disk, struct error *said);

/* --- disk_health.c --- */
void disk_volume_health(struct pool *pool, const struct record *record,
                        void (*see)(enum health, const char *, const char *, void *), void *data);
void disk_health(struct pool *pool, void (*see)(enum health, const char *, const char *, void *), void *data);
