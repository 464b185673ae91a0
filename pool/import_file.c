/*
 * Image files become volumes of a file pool, and back (docs/on-disk.md, "Imported volumes"): the directory of the
 * volume is made as volumes/<id>.import, which no driver takes for one, and gets its name when all is in it.
 */
#include "pool/import.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/text.h"
#include "pool/file_identity.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define PATIENCE (3 * NANOSECONDS_PER_SECOND) /* for what a killed driver left running */
#define RECORD "meta.json"

struct place {
    const char *path;
    int pool, volumes, lock;
    char id[POOL_ID_DIGITS + 1];
};

/* --- the pool --- */

static bool lock_pool(struct place *place, struct error *error)
{
    place->pool = open(place->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (place->pool < 0 || faccessat(place->pool, "pool.json", F_OK, 0) != 0) {
        fail_errno(error, errno, "%s is no file pool; \"plinth node --pool NAME=file:path=%s\" makes it one",
                   place->path, place->path);
        error->code = FAILED_PRECONDITION;
        return false;
    }
    return file_lock(place->pool, place->path, PATIENCE, &place->lock, error) ||
           fail_context(error, "the driver reads a file pool when it starts, so it must be stopped for this");
}

static bool check_identity(struct place *place, struct error *error)
{
    struct file_identity identity;
    if (!file_identity_read(place->pool, place->path, &identity, error))
        return false;
    text_copy(place->id, sizeof place->id, identity.id);
    return identity.inode == file_inode(place->pool) ||
           fail(error, FAILED_PRECONDITION, "%s is a copy of pool %s; see \"plinth pool adopt\"", place->path,
                place->id);
}

static bool begin(struct place *place, const char *path, struct error *error)
{
    *place = (struct place){.path = path, .pool = -1, .volumes = -1, .lock = -1};
    if (!lock_pool(place, error) || !check_identity(place, error))
        return false;
    if (mkdirat(place->pool, "volumes", 0700) != 0 && errno != EEXIST)
        return fail_errno(error, errno, "cannot make %s/volumes", path);
    place->volumes = openat(place->pool, "volumes", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return place->volumes >= 0 || fail_errno(error, errno, "cannot open %s/volumes", path);
}

static void end(struct place *place)
{
    cleanup_close int pool = place->pool, volumes = place->volumes, lock = place->lock;
    (void)pool, (void)volumes, (void)lock;
}
#define cleanup_place CLEANUP(end)

/* --- a volume's directory --- */

static void unfinished_name(const char *id, char name[static NAME_MAX])
{
    snprintf(name, NAME_MAX, "%s.import", id);
}

static int open_volume(const struct place *place, const char *name)
{
    return openat(place->volumes, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static bool has(int directory, const char *name)
{
    return directory >= 0 && faccessat(directory, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool read_record(int directory, const char *id, struct record *record, struct error *error)
{
    cleanup_free char *text = NULL;
    size_t length;
    return (file_read(directory, RECORD, &text, &length, error) && record_from_json(text, length, id, record, error)) ||
           fail_context(error, "record of %s", id);
}

/* In one step, after which it is, or is not, a volume. */
static bool rename_volume(const struct place *place, const char *from, const char *to, struct error *error)
{
    if (renameat2(place->volumes, from, place->volumes, to, RENAME_NOREPLACE) != 0 || fsync(place->volumes) != 0)
        return fail_errno(error, errno, "cannot rename %s/volumes/%s to %s", place->path, from, to);
    return fault("pool.import.file.renamed", error);
}

/* --- the image --- */

/* The kernel gives a lease for writing only to somebody who has the file open alone; a loop device has it open, too. */
static bool check_closed(int image, const char *name, struct error *error)
{
    if (fcntl(image, F_SETSIG, SIGURG) == 0 && fcntl(image, F_SETLEASE, F_WRLCK) == 0) {
        fcntl(image, F_SETLEASE, F_UNLCK);
        return true;
    }
    if (errno != EAGAIN && errno != EBUSY)
        return fail_errno(error, errno, "cannot see whether somebody has %s open", name);
    return fail(
        error, FAILED_PRECONDITION,
        "%s is open in some process, or a loop device is bound to it; end that first (fuser and losetup -j tell "
        "which)",
        name);
}

static bool check_file(int image, const char *path, struct stat *status, struct error *error)
{
    if (fstat(image, status) != 0)
        return fail_errno(error, errno, "cannot look at %s", path);
    if (!S_ISREG(status->st_mode))
        return fail(error, FAILED_PRECONDITION, "%s is no regular file", path);
    if (status->st_nlink != 1)
        return fail(error, FAILED_PRECONDITION,
                    "%s has %ju names (hard links): who uses another of them would write to it", path,
                    (uintmax_t)status->st_nlink);
    if (status->st_size == 0 || status->st_size % SECTOR_BYTES_BLOCK != 0)
        return fail(
            error, FAILED_PRECONDITION,
            "%s has %jd bytes, which is no multiple of %d: its end would be lost (truncate --size %%4096 rounds it "
            "up)",
            path, (intmax_t)status->st_size, SECTOR_BYTES_BLOCK);
    return check_closed(image, path, error);
}

static bool make_record(const struct import_wish *wish, const char *id, const char *path, int image,
                        struct record *record, struct error *error)
{
    struct stat status;
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
    if (!check_file(image, path, &status, error) || !import_make_record(wish, id, name, path, record, error))
        return false;
    record->bytes = status.st_size;
    record->thick = (int64_t)status.st_blocks * 512 >= status.st_size;
    return fsync(image) == 0 || fail_errno(error, errno, "cannot write %s to the disk", path);
}

static bool sync_parent(const char *path, struct error *error)
{
    char parent[PATH_MAX];
    text_copy(parent, sizeof parent, path);
    char *slash = strrchr(parent, '/');
    if (slash != NULL)
        slash[slash == parent] = '\0';
    cleanup_close int directory = open(slash != NULL ? parent : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return (directory >= 0 && fsync(directory) == 0) ||
           fail_errno(error, errno, "cannot write the directory of %s to the disk", path);
}

static bool fail_rename(int number, const char *from, const char *to, struct error *error)
{
    fail_errno(error, number, "cannot rename %s to %s", from, to);
    if (number == EXDEV)
        return fail(error, FAILED_PRECONDITION,
                    "%s and %s are not in the same file system (or mount); an image is renamed, never copied", from,
                    to);
    if (number == EEXIST)
        error->code = ALREADY_EXISTS;
    return false;
}

/* --- import --- */

static bool move_in(const char *image, int directory, const char *to, struct error *error)
{
    if (renameat2(AT_FDCWD, image, directory, "data", RENAME_NOREPLACE) != 0)
        return fail_rename(errno, image, to, error);
    return fault("pool.import.file.moved", error) && sync_parent(image, error) &&
           (fsync(directory) == 0 || fail_errno(error, errno, "cannot write %s to the disk", to));
}

/* Makes volumes/<id>.import with the record and the image in it, or nothing. */
static bool make_directory(const struct place *place, const char *name, const char *image, const struct record *record,
                           struct error *error)
{
    char path[PATH_MAX];
    cleanup_free char *text = record_to_json(record);
    snprintf(path, sizeof path, "%.3800s/volumes/%s", place->path, name);
    if (mkdirat(place->volumes, name, 0700) != 0 && errno != EEXIST)
        return fail_errno(error, errno, "cannot make %s", path);
    cleanup_close int directory = open_volume(place, name);
    if (directory < 0)
        return fail_errno(error, errno, "cannot open %s", path);
    if (fault("pool.import.file.made", error) && file_replace(directory, RECORD, text, error) &&
        move_in(image, directory, path, error))
        return true;
    if (!has(directory, "data")) {
        unlinkat(directory, RECORD, 0);
        unlinkat(place->volumes, name, AT_REMOVEDIR);
    }
    return false;
}

/* `there`: a volume's directory with the record of an earlier call. */
static bool find_imported(const struct import_wish *wish, int there, const char *id, struct record *record,
                          struct error *error)
{
    return read_record(there, id, record, error) && import_check_wish(wish, record, error);
}

static bool check_name(const char *image, struct error *error)
{
    const char *slash = strrchr(image, '/'), *name = slash != NULL ? slash + 1 : image;
    size_t length = strlen(name);
    return (length > 0 && length < NAME_BYTES && strlen(image) < PATH_MAX && strcmp(name, ".") != 0 &&
            strcmp(name, "..") != 0 && text_is_utf8(name, length) && !text_has_control(name, length)) ||
           fail(error, INVALID_ARGUMENT,
                "\"%.200s\" does not end in a name that a volume could have: at most %d bytes of UTF-8", image,
                NAME_BYTES - 1);
}

bool import_image(const struct import_wish *wish, const char *pool, const char *image, struct record *record,
                  struct error *error)
{
    cleanup_place struct place place = {.pool = -1, .volumes = -1, .lock = -1};
    char id[ID_BYTES], name[NAME_MAX];
    if (!check_name(image, error) || !begin(&place, pool, error))
        return false;
    const char *slash = strrchr(image, '/');
    import_make_id(wish, place.id, slash != NULL ? slash + 1 : image, id);
    unfinished_name(id, name);
    cleanup_close int file = open(image, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (file < 0 && errno != ENOENT)
        return fail_errno(error, errno, "cannot open %s", image);
    cleanup_close int volume = open_volume(&place, id), unfinished = open_volume(&place, name);
    if (file >= 0 && (volume >= 0 || has(unfinished, "data")))
        return fail(error, ALREADY_EXISTS, "the name of %s has been given to another volume, %s; rename the file first",
                    image, id);
    if (file < 0 && volume >= 0)
        return find_imported(wish, volume, id, record, error);
    if (file < 0 && !has(unfinished, "data"))
        return fail(error, NOT_FOUND, "there is no file %s", image);
    if (file >= 0
            ? !make_record(wish, id, image, file, record, error) || !make_directory(&place, name, image, record, error)
            : !find_imported(wish, unfinished, id, record, error))
        return false;
    return rename_volume(&place, name, id, error);
}

/* --- release --- */

/* The device of a staged volume has the image open. */
static bool check_volume(int directory, const char *id, struct record *record, struct error *error)
{
    cleanup_close int image = openat(directory, "data", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (image < 0)
        return fail_errno(error, errno, "cannot open the image of %s", id);
    return read_record(directory, id, record, error) && import_check_record(record, error) &&
           check_closed(image, id, error);
}

static bool move_out(int directory, const char *to, struct error *error)
{
    if (renameat2(directory, "data", AT_FDCWD, to, RENAME_NOREPLACE) != 0)
        return fail_rename(errno, "the image", to, error);
    return fault("pool.import.file.released", error) && sync_parent(to, error);
}

static bool remove_directory(const struct place *place, const char *name, int directory, struct error *error)
{
    if (unlinkat(directory, RECORD, 0) != 0 && errno != ENOENT)
        return fail_errno(error, errno, "cannot remove the record in %s/volumes/%s", place->path, name);
    return unlinkat(place->volumes, name, AT_REMOVEDIR) == 0 ||
           fail_errno(error, errno, "cannot remove %s/volumes/%s", place->path, name);
}

bool release_image(const char *pool, const char *id, const char *to, struct record *record, struct error *error)
{
    cleanup_place struct place place = {.pool = -1, .volumes = -1, .lock = -1};
    char name[NAME_MAX];
    if (!record_is_id(id, ID_MARK_VOLUME))
        return fail(error, NOT_FOUND, "there is no volume \"%.128s\": it has no form of an id", id);
    if (!begin(&place, pool, error))
        return false;
    unfinished_name(id, name);
    cleanup_close int volume = open_volume(&place, id), unfinished = open_volume(&place, name);
    int directory = volume >= 0 ? volume : unfinished;
    if (directory < 0)
        return fail(error, NOT_FOUND, "there is no volume %s in %s", id, pool);
    bool moved = volume < 0 && !has(unfinished, "data"); /* by an earlier call */
    return (moved || check_volume(directory, id, record, error)) &&
           (volume < 0 || rename_volume(&place, id, name, error)) && (moved || move_out(directory, to, error)) &&
           remove_directory(&place, name, directory, error);
}
