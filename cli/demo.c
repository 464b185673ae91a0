/* plinth demo: a volume's whole life, each step checked. */
#include "cli/cli.h"

#include "base/clock.h"
#include "cli/demo_act.h"

#include <stdio.h>
#include <string.h>

#define TITLE_WIDTH 66

struct step {
    const char *title;
    bool (*run)(struct demo *demo, struct error *error);
};

static const struct step steps[] = {
    {"start a driver on an empty pool", demo_start},
    {"create a volume of 1Gi with xfs", demo_create},
    {"publish it: it is mounted", demo_publish},
    {"write a file", demo_write},
    {"make a snapshot while it is mounted", demo_snapshot},
    {"change the file", demo_change},
    {"restore the snapshot to a new volume of 2Gi", demo_restore},
    {"publish that: the old content, in a file system of 2Gi", demo_see_restored},
    {"expand the first volume to 3Gi while a file in it is open", demo_expand},
    {"clone it", demo_clone},
    {"publish the clone: the changed content, in a file system of 3Gi", demo_see_clone},
    {"unpublish all", demo_unpublish},
    {"delete all volumes and the snapshot", demo_delete},
    {"nothing is left: no volume, snapshot, file, mount, loop device", demo_see_nothing},
    {"stop the driver", demo_stop},
};

#define STEPS (sizeof steps / sizeof *steps)

static bool play(struct demo *demo, struct error *error)
{
    for (size_t i = 0; i < STEPS; i++) {
        int64_t begin = monotonic_now();
        printf("%2zu. %-*s", i + 1, TITLE_WIDTH, steps[i].title);
        fflush(stdout);
        if (scene_interrupted() ? !fail(error, CANCELLED, "interrupted") : !steps[i].run(demo, error)) {
            puts("failed");
            return false;
        }
        printf("%8.1f ms\n", (double)(monotonic_now() - begin) / NANOSECONDS_PER_MILLISECOND);
    }
    return true;
}

struct demo_options {
    const char *directory;
};

static const struct option table[] = {
    {.name = "directory",
     .value = "DIRECTORY",
     .help = "Where to make the scratch directory, which is removed in the end.",
     .standard = "/var/tmp",
     .field = offsetof(struct demo_options, directory),
     .read = option_text},
};

static const struct options options = {
    .command = "plinth demo",
    .purpose = "Shows a volume's whole life with a driver of its own in a scratch directory, and checks each step: "
               "create, publish, write, snapshot, restore to a larger size, expand online, clone, delete. It must be "
               "run as root and needs mkfs.xfs. Whatever happens, it leaves nothing behind.",
    .table = table,
    .count = sizeof table / sizeof *table,
};

/* Tells how it went; the first thing that went wrong counts. */
static int judge(const struct demo *demo, bool good, const struct error *error, int64_t nanoseconds)
{
    fflush(stdout);
    if (!good)
        return session_failed(error);
    printf("\nAll %zu steps are verified, in %.1f s. ", STEPS, (double)nanoseconds / NANOSECONDS_PER_SECOND);
    printf("The driver's memory was %.1f MiB at most.\n", (double)demo->memory / 1024);
    return session_succeeded();
}

int cli_demo(int argc, char **argv)
{
    static struct demo demo;
    struct demo_options given;
    struct error error, second;
    if (argc > 2 && strcmp(argv[1], DEMO_DRIVER) == 0)
        return demo_driver_main(argc, argv);
    int status = options_read(&options, argc, argv, &given);
    if (status >= 0)
        return status;
    int64_t begin = monotonic_now();
    scene_catch_signals();
    bool good = demo_begin(&demo, given.directory, &error);
    good = good && play(&demo, &error);
    bool ended = demo_end(&demo, &second);
    if (good && !ended)
        error = second;
    return judge(&demo, good && ended, &error, monotonic_now() - begin);
}
