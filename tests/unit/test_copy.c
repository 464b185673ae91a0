/* transfer/copy.h with block devices: whatever the target held before, afterwards it is the source's bytes, then zeros.
 */
#include "tests/unit/disk_fixture.h"
#include "transfer/copy.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define BYTES (9 * MEBI + 5 * 4096) /* three buffers, the last one not full */
#define TAIL (MEBI + 4096)
#define MOST (BYTES + 2 * MEBI)

/* --- places where an end of a copy can be --- */

enum place { TMPFS, EXT4, XFS, SECTORS_512, SECTORS_4096, PLACES };
static const char *const place_names[] = {"tmpfs", "ext4", "xfs", "512-byte sectors", "4096-byte sectors"};

static struct disk disks[64];
static size_t disk_count;

static const char *device_on(const char *image, unsigned sector)
{
    assert_true(disk_count < sizeof disks / sizeof *disks);
    struct disk *disk = &disks[disk_count++];
    *disk = disk_bind(image);
    assert_int_equal(ioctl(disk->descriptor, LOOP_SET_BLOCK_SIZE, (unsigned long)sector), 0);
    return disk->path;
}

static void mount_on_image(const char *name, const char *make, int64_t bytes)
{
    char command[1024], image[64];
    snprintf(image, sizeof image, "%s.img", name);
    const char *path = disk_image(image, bytes), *directory = disk_path(name);
    disk_make_directory(directory);
    snprintf(command, sizeof command, "%s %s >/dev/null && mount -o loop %s %s", make, path, path, directory);
    disk_run(command);
}

static const char *make_end(enum place place, const char *role, int64_t bytes)
{
    static int number;
    static const char *const directories[] = {[TMPFS] = "", [EXT4] = "ext4/", [XFS] = "xfs/"};
    char name[64];
    snprintf(name, sizeof name, "%s%s-%d", place <= XFS ? directories[place] : "", role, number++);
    const char *image = disk_image(name, bytes);
    return place <= XFS ? image : device_on(image, place == SECTORS_4096 ? 4096 : 512);
}

static int detach_all(void **state)
{
    char command[256];
    (void)state;
    while (disk_count > 0)
        disk_detach(&disks[--disk_count]);
    snprintf(command, sizeof command, "find %s -xdev -maxdepth 2 -type f -name '*-*' -delete; rm -f %s/*/*-*",
             disk_directory, disk_directory);
    disk_run(command);
    return 0;
}

static void need_file_systems(void)
{
    static bool mounted;
    disk_need();
    if (mounted)
        return;
    mounted = true;
    mount_on_image("ext4", "mkfs.ext4 -q -F -b 1024", 256 * MEBI);
    mount_on_image("xfs", "mkfs.xfs -q -f", 512 * MEBI);
}

/* --- bytes --- */

static char expected[MOST], found[MOST];

static void fill_random(char *bytes, size_t count)
{
    static uint64_t seed = 0x9e3779b97f4a7c15;
    for (size_t i = 0; i < count; i++) {
        seed = seed * 6364136223846793005 + 1442695040888963407;
        bytes[i] = (char)(seed >> 56 | 1);
    }
}

static void full(void)
{
    fill_random(expected, BYTES);
}

static void zeros(void)
{
    memset(expected, 0, BYTES);
}

static void sparse(void)
{
    zeros();
    fill_random(expected + 3 * 4096, 4096);
    fill_random(expected + 5 * MEBI - 100, 200);
    expected[BYTES - 1] = 'x';
}

/* Lengths around a block, around what is worth zeroing and around a buffer, at offsets that are no multiples. */
static void runs(void)
{
    static const int lengths[] = {1,     511,   512,   4095,  4096,  4097,   8191,
                                  12289, 61440, 65535, 65536, 69632, 131073, 1048577};
    full();
    size_t at = 777, i = 0;
    for (; at + 1100000 < BYTES; i++) {
        memset(expected + at, 0, (size_t)lengths[i % 14]);
        at += (size_t)lengths[i % 14] + 1 + (i * 2731) % 9000;
    }
    memset(expected + 4 * MEBI - 70000, 0, 140000); /* across a border of two buffers */
    memset(expected + BYTES - 5000, 0, 5000);
}

static void (*const patterns[])(void) = {full, zeros, sparse, runs};
static const char *const pattern_names[] = {"full", "zeros", "sparse", "runs"};

/* Holes stay holes in a file. */
static void write_source(const char *path, int64_t bytes)
{
    int file = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(file >= 0);
    for (int64_t at = 0; at < bytes; at += 4096) {
        static const char none[4096];
        size_t count = bytes - at < 4096 ? (size_t)(bytes - at) : 4096;
        if (memcmp(expected + at, none, count) != 0)
            assert_int_equal(pwrite(file, expected + at, count, at), count);
    }
    assert_int_equal(fsync(file), 0);
    close(file);
}

/* What another tenant left. */
static void spoil(const char *path, int64_t bytes)
{
    int file = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(file >= 0);
    memset(found, 0xff, sizeof found);
    assert_int_equal(pwrite(file, found, (size_t)bytes, 0), bytes);
    assert_int_equal(fsync(file), 0);
    close(file);
}

static void assert_holds(const char *path, int64_t bytes, const char *what)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(file >= 0);
    assert_int_equal(pread(file, found, (size_t)bytes, 0), bytes);
    close(file);
    for (int64_t at = 0; at < bytes; at++)
        if (found[at] != expected[at])
            fail_msg("%s: byte %jd is %02x instead of %02x", what, (intmax_t)at, (unsigned char)found[at],
                     (unsigned char)expected[at]);
}

struct stop {
    int64_t at, done;
};

static bool go_on(int64_t done, void *data)
{
    struct stop *stop = data;
    if (stop == NULL)
        return true;
    stop->done = done;
    return done < stop->at;
}

/* --- the four combinations --- */

static void try_pair(enum place from, enum place to, size_t pattern)
{
    char what[128];
    struct error error;
    snprintf(what, sizeof what, "%s from %s to %s", pattern_names[pattern], place_names[from], place_names[to]);
    memset(expected, 0, sizeof expected);
    patterns[pattern]();
    struct copy copy = {.from = make_end(from, "from", BYTES),
                        .to = make_end(to, "to", BYTES + TAIL),
                        .bytes = BYTES,
                        .target_bytes = BYTES + TAIL,
                        .go_on = go_on};
    write_source(copy.from, BYTES);
    spoil(copy.to, BYTES + TAIL);
    good(copy_bytes(&copy, &error));
    assert_holds(copy.to, BYTES + TAIL, what);
}

static void a_copy_replaces_whatever_was_there(void **state)
{
    need_file_systems();
    for (enum place from = 0; from < PLACES; from++)
        for (enum place to = 0; to < PLACES; to++) {
            for (size_t pattern = 0; pattern < 4; pattern++)
                try_pair(from, to, pattern);
            detach_all(state);
        }
}

static void lengths_need_no_alignment(void **state)
{
    (void)state;
    disk_need();
    struct error error;
    static const int64_t lengths[] = {1, 511, 512, 4097, 9 * 512, 4 * MEBI - 512, 4 * MEBI + 1, 5 * MEBI + 100};
    for (enum place to = TMPFS; to < PLACES; to += SECTORS_512)
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
            full();
            memset(expected + lengths[i], 0xff, (size_t)(MOST - lengths[i]));
            struct copy copy = {.from = make_end(TMPFS, "from", lengths[i]),
                                .to = make_end(to, "to", 6 * MEBI + 512 * 3),
                                .bytes = lengths[i]};
            write_source(copy.from, lengths[i]);
            spoil(copy.to, 6 * MEBI);
            good(copy_bytes(&copy, &error));
            assert_holds(copy.to, 6 * MEBI, "bytes behind the copy are not touched");
            memset(expected + lengths[i], 0, (size_t)(5 * MEBI + 512 * 9 - lengths[i]));
            copy.target_bytes = 5 * MEBI + 512 * 9;
            good(copy_bytes(&copy, &error));
            assert_holds(copy.to, 6 * MEBI, "only the tail is zeroed");
        }
}

static void an_odd_device_is_copied_to_its_last_sector(void **state)
{
    (void)state;
    disk_need();
    struct error error;
    int64_t bytes = 5 * MEBI + 3 * 512;
    for (int i = 0; i < 2; i++) {
        runs();
        struct copy copy = {.from = make_end(i == 0 ? SECTORS_512 : TMPFS, "from", bytes),
                            .to = make_end(SECTORS_512, "to", bytes),
                            .bytes = bytes};
        write_source(copy.from, bytes);
        spoil(copy.to, bytes);
        good(copy_bytes(&copy, &error));
        assert_holds(copy.to, bytes, "odd device");
    }
}

static int64_t allocated(const char *image)
{
    struct stat status;
    assert_int_equal(stat(image, &status), 0);
    return status.st_blocks * 512;
}

static void a_target_of_zeros_stays_thin(void **state)
{
    (void)state;
    disk_need();
    struct error error;
    memset(expected, 0, sizeof expected);
    sparse();
    const char *image = disk_image("thin-image", BYTES + TAIL), *file = disk_image("thin-file", BYTES + TAIL);
    struct copy copy = {.from = make_end(SECTORS_512, "from", BYTES),
                        .to = device_on(image, 512),
                        .bytes = BYTES,
                        .target_bytes = BYTES + TAIL,
                        .target_is_zero = true};
    write_source(copy.from, BYTES);
    good(copy_bytes(&copy, &error));
    assert_holds(copy.to, BYTES + TAIL, "thin device");
    assert_true(allocated(image) <= 4 * 4096);
    copy.to = file;
    copy.target_is_zero = false; /* a file tells itself where it has holes */
    good(copy_bytes(&copy, &error));
    assert_holds(copy.to, BYTES + TAIL, "thin file");
    assert_true(allocated(file) <= 4 * 4096);
}

/* --- zeros --- */

static void only_what_is_asked_for_is_zeroed(void **state)
{
    need_file_systems();
    struct error error;
    static const int64_t starts[] = {0, 1, 4096, MEBI + 100, 3 * MEBI},
                         stops[] = {4 * MEBI, 3 * MEBI + 200, BYTES - 512};
    for (enum place to = 0; to < PLACES; to++) {
        for (size_t i = 0; i < 15; i++) {
            int64_t start = starts[i % 5], stop = stops[i / 5];
            memset(expected, 0xff, sizeof expected);
            memset(expected + start, 0, (size_t)(stop - start));
            struct copy copy = {.to = make_end(to, "to", BYTES), .bytes = stop, .start = start};
            spoil(copy.to, BYTES);
            good(copy_bytes(&copy, &error));
            assert_holds(copy.to, BYTES, place_names[to]);
        }
        detach_all(state);
    }
}

/* --- stopping and going on --- */

struct crash {
    const char *device;
    int64_t saved, flushes;
    int checkpoints, die_at;
};

static int64_t flushes_of(const char *device)
{
    char path[64];
    long long fields[17] = {0};
    snprintf(path, sizeof path, "/sys/block/%s/stat", device + strlen("/dev/"));
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    for (int i = 0; i < 17; i++)
        assert_int_equal(fscanf(file, "%lld", &fields[i]), 1);
    fclose(file);
    return fields[15]; /* Documentation/block/stat.rst */
}

static bool checkpoint(int64_t done, void *data, struct error *error)
{
    struct crash *crash = data;
    int64_t flushes = flushes_of(crash->device);
    assert_true(flushes > crash->flushes);
    assert_true(done >= crash->saved);
    crash->flushes = flushes;
    crash->saved = done;
    return ++crash->checkpoints != crash->die_at || fail(error, INTERNAL, "crashed");
}

#define LONG (700 * MEBI)

/* A source of 700 MiB with a MiB of data now and then, so that it fits into memory. */
static void write_long(const char *path)
{
    int file = open(path, O_WRONLY | O_CLOEXEC);
    fill_random(expected, MEBI);
    for (int64_t at = 0; at < LONG; at += 50 * MEBI + 12288)
        assert_int_equal(pwrite(file, expected, MEBI, at), MEBI);
    assert_int_equal(fsync(file), 0);
    close(file);
}

static void assert_equal(const char *from, const char *to, int64_t tail)
{
    char command[512];
    snprintf(command, sizeof command, "cmp -n %jd %s %s && cmp -i %jd:0 -n %jd %s /dev/zero", (intmax_t)LONG, from, to,
             (intmax_t)LONG, (intmax_t)tail, to);
    disk_run(command);
}

static void a_copy_goes_on_at_each_checkpoint(void **state)
{
    (void)state;
    disk_need();
    struct error error;
    for (enum place from = TMPFS; from <= SECTORS_512; from += SECTORS_512) {
        const char *source = make_end(from, "from", LONG), *target = make_end(SECTORS_512, "to", LONG + 300 * MEBI);
        char command[256];
        snprintf(command, sizeof command,
                 "tr '\\0' '\\377' </dev/zero | dd of=%s bs=1M iflag=fullblock status=none 2>&1 || true", target);
        write_long(source);
        struct crash crash = {.device = target};
        struct copy copy = {.from = source,
                            .to = target,
                            .bytes = LONG,
                            .target_bytes = LONG + 300 * MEBI,
                            .checkpoint = checkpoint,
                            .data = &crash};
        disk_run(command);
        for (crash.die_at = 1; !copy_bytes(&copy, &error); crash.die_at += crash.saved < copy.target_bytes) {
            assert_string_equal(error.message, "crashed");
            copy.start = crash.saved;
        }
        assert_true(crash.checkpoints >= 4);
        assert_int_equal(crash.saved, LONG + 300 * MEBI);
        assert_equal(source, target, 300 * MEBI);
        detach_all(state);
    }
}

static void a_copy_goes_on_wherever_it_was_stopped(void **state)
{
    (void)state;
    disk_need();
    struct error error;
    for (int64_t at = 1; at < BYTES; at += 2 * MEBI + 12345) {
        memset(expected, 0, sizeof expected);
        runs();
        struct stop stop = {.at = at};
        struct copy copy = {.from = make_end(SECTORS_512, "from", BYTES),
                            .to = make_end(SECTORS_4096, "to", BYTES + TAIL),
                            .bytes = BYTES,
                            .target_bytes = BYTES + TAIL,
                            .go_on = go_on,
                            .data = &stop};
        write_source(copy.from, BYTES);
        spoil(copy.to, BYTES + TAIL);
        bad(copy_bytes(&copy, &error), ABORTED, "stopped");
        copy.start = stop.done;
        stop.at = INT64_MAX;
        good(copy_bytes(&copy, &error));
        assert_holds(copy.to, BYTES + TAIL, "resumed");
    }
}

/* --- errors --- */

static void a_bad_block_is_data_loss_and_named(void **state)
{
    (void)state;
    disk_need();
    struct error error;
    char words[256];
    full();
    const char *image = disk_image("bad-image", BYTES);
    struct copy copy = {.from = device_on(image, 512), .to = make_end(SECTORS_512, "to", BYTES), .bytes = BYTES};
    write_source(copy.from, BYTES);
    assert_int_equal(truncate(image, 6 * MEBI + 8192), 0); /* under the device, which now cannot read there */
    snprintf(words, sizeof words, "cannot read %s at byte %jd (nothing was changed on the source): Input/output error",
             copy.from, (intmax_t)(6 * MEBI + 8192));
    bad(copy_bytes(&copy, &error), DATA_LOSS, words);
    copy.to = disk_image("bad-target", BYTES);
    bad(copy_bytes(&copy, &error), DATA_LOSS, words);
}

static void a_full_target_is_named(void **state)
{
    (void)state;
    disk_need();
    struct error error;
    char command[256], words[256];
    disk_make_directory(disk_path("small"));
    snprintf(command, sizeof command, "mount -t tmpfs -o size=5m small %s/small", disk_directory);
    disk_run(command);
    full();
    struct copy copy = {.from = make_end(SECTORS_512, "from", BYTES),
                        .to = device_on(disk_image("small/image", BYTES), 512),
                        .bytes = BYTES};
    write_source(copy.from, BYTES);
    snprintf(words, sizeof words, "cannot write %s at byte %jd: No space left on device", copy.to,
             (intmax_t)(4 * MEBI));
    bad(copy_bytes(&copy, &error), RESOURCE_EXHAUSTED, words);
    copy.to = disk_image("small/file", BYTES);
    bad(copy_bytes(&copy, &error), RESOURCE_EXHAUSTED, copy.to);
}

static void ends_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    disk_need();
    struct error error;
    struct copy copy = {.from = make_end(TMPFS, "from", BYTES),
                        .to = make_end(SECTORS_512, "to", BYTES),
                        .bytes = BYTES,
                        .target_bytes = BYTES + 512};
    bad(copy_bytes(&copy, &error), DATA_LOSS, copy.to);
    copy.target_bytes = 0;
    copy.to = "/dev/null";
    bad(copy_bytes(&copy, &error), FAILED_PRECONDITION, "/dev/null");
    struct disk *disk = &disks[disk_count++];
    *disk = disk_attach_read_only(copy.from);
    copy.to = disk->path;
    bad(copy_bytes(&copy, &error), INTERNAL, disk->path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_copy_replaces_whatever_was_there, detach_all),
        cmocka_unit_test_teardown(lengths_need_no_alignment, detach_all),
        cmocka_unit_test_teardown(an_odd_device_is_copied_to_its_last_sector, detach_all),
        cmocka_unit_test_teardown(a_target_of_zeros_stays_thin, detach_all),
        cmocka_unit_test_teardown(only_what_is_asked_for_is_zeroed, detach_all),
        cmocka_unit_test_teardown(a_copy_goes_on_at_each_checkpoint, detach_all),
        cmocka_unit_test_teardown(a_copy_goes_on_wherever_it_was_stopped, detach_all),
        cmocka_unit_test_teardown(a_bad_block_is_data_loss_and_named, detach_all),
        cmocka_unit_test_teardown(a_full_target_is_named, detach_all),
        cmocka_unit_test_teardown(ends_that_do_not_fit_are_refused, detach_all),
    };
    return cmocka_run_group_tests(tests, disk_setup, disk_teardown);
}
