/* pool/file_scan.c: a volume that cannot be looked at for a while is not taken for one that is not there. */
#include "pool/pool.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BYTES 4096

/* --- a disk that fails: in place of the C library's functions --- */

static int failing_look; /* with this errno; 0: none does */

int faccessat(int directory, const char *name, int mode, int flags)
{
    if (failing_look != 0) {
        errno = failing_look;
        return -1;
    }
    return (int)syscall(SYS_faccessat2, directory, name, mode, flags);
}

/* --- a pool with one volume --- */

struct world {
    char path[64], volume[128];
    struct pool_config config;
    struct pools *pools;
    struct record record;
};

static void open_pools(struct world *world)
{
    struct error error;
    world->pools = pools_open(&world->config, 1, "node-a", world->path, &error);
    assert_non_null(world->pools);
}

static void reopen(struct world *world)
{
    pools_close(world->pools);
    open_pools(world);
}

static enum error_code find(const struct world *world)
{
    struct error error = {.code = OK};
    struct pool *pool;
    struct record record;
    return pools_find(world->pools, RECORD_VOLUME, world->record.id, &pool, &record, &error) ? OK : error.code;
}

static bool has(const struct world *world, const char *name)
{
    char path[256];
    struct stat status;
    snprintf(path, sizeof path, "%s/%s", world->volume, name);
    return lstat(path, &status) == 0;
}

static bool is_whole(const struct world *world)
{
    return has(world, "data") && has(world, "meta.json");
}

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    struct error error;
    strcpy(world->path, "/tmp/plinth-file-scan.XXXXXX");
    assert_non_null(mkdtemp(world->path));
    strcpy(world->config.name, "files");
    strcpy(world->config.kind, "file");
    strcpy(world->config.options[0].key, "path");
    strcpy(world->config.options[0].value, world->path);
    world->config.option_count = 1;
    open_pools(world);
    struct pool *pool = pools_at(world->pools, 0);
    world->record = (struct record){.kind = RECORD_VOLUME, .bytes = BYTES, .sector_bytes = SECTOR_BYTES_BLOCK};
    strcpy(world->record.name, "a");
    pool_make_id(pool, ID_MARK_VOLUME, "a", world->record.id);
    assert_true(pool_create(pool, &world->record, &error));
    snprintf(world->volume, sizeof world->volume, "%s/volumes/%s", world->path, world->record.id);
    *state = world;
    return 0;
}

static void make_ready(struct world *world)
{
    struct error error;
    world->record.phase = PHASE_READY;
    assert_true(pool_write(pools_at(world->pools, 0), &world->record, &error));
    assert_true(is_whole(world));
}

static int tear_down(void **state)
{
    struct world *world = *state;
    char command[128];
    failing_look = 0;
    pools_close(world->pools);
    snprintf(command, sizeof command, "rm -rf %s", world->path);
    assert_int_equal(system(command), 0);
    free(world);
    return 0;
}

/* --- tests --- */

static void a_ready_volume_survives_a_start_that_cannot_look(void **state)
{
    static const int numbers[] = {EIO, ENOMEM, EMFILE, EACCES};
    struct world *world = *state;
    make_ready(world);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        failing_look = numbers[i];
        reopen(world);
        failing_look = 0;
        assert_true(is_whole(world));
        assert_int_equal(find(world), UNAVAILABLE);
        reopen(world);
        assert_int_equal(find(world), OK);
    }
}

static void a_volume_whose_directory_cannot_be_opened_is_not_gone(void **state)
{
    struct world *world = *state;
    char away[256];
    make_ready(world);
    snprintf(away, sizeof away, "%s.away", world->volume);
    assert_int_equal(rename(world->volume, away), 0);
    assert_int_equal(symlink(away, world->volume), 0);
    reopen(world);
    assert_int_equal(find(world), UNAVAILABLE);
    assert_int_equal(unlink(world->volume), 0);
    assert_int_equal(rename(away, world->volume), 0);
    reopen(world);
    assert_int_equal(find(world), OK);
}

/* It may be one that was handed out (docs/on-disk.md). */
static void a_half_made_volume_whose_record_cannot_be_read_stays(void **state)
{
    struct world *world = *state;
    char record[256], away[300];
    snprintf(record, sizeof record, "%s/meta.json.creating", world->volume);
    snprintf(away, sizeof away, "%s.away", record);
    assert_int_equal(rename(record, away), 0);
    assert_int_equal(symlink(away, record), 0); /* ELOOP */
    reopen(world);
    assert_int_equal(find(world), UNAVAILABLE);
    assert_true(has(world, "data"));
    assert_int_equal(rename(away, record), 0);
    reopen(world);
    assert_int_equal(find(world), NOT_FOUND);
    assert_false(has(world, "data"));
}

static void a_ready_volume_is_never_removed(void **state)
{
    struct world *world = *state;
    struct error error;
    struct record claimed = world->record;
    make_ready(world);
    claimed.phase = PHASE_CREATING;
    assert_false(pool_remove(pools_at(world->pools, 0), &claimed, &error));
    assert_int_equal(error.code, FAILED_PRECONDITION);
    failing_look = EIO;
    assert_false(pool_remove(pools_at(world->pools, 0), &claimed, &error));
    failing_look = 0;
    assert_true(is_whole(world));
}

static void nothing_counts_as_deleted_while_it_cannot_be_seen(void **state)
{
    struct world *world = *state;
    struct error error;
    make_ready(world);
    struct record marked = world->record;
    marked.phase = PHASE_DELETING;
    failing_look = EIO;
    assert_false(pool_write(pools_at(world->pools, 0), &marked, &error));
    assert_int_equal(error.code, UNAVAILABLE);
    failing_look = 0;
    assert_true(is_whole(world));
    assert_int_equal(find(world), OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_ready_volume_survives_a_start_that_cannot_look, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_volume_whose_directory_cannot_be_opened_is_not_gone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_half_made_volume_whose_record_cannot_be_read_stays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_ready_volume_is_never_removed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_counts_as_deleted_while_it_cannot_be_seen, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
