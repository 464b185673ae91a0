#include "pool/lvm_execute.h"

#include "base/child.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "pool/file_identity.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define COMMAND_MOST hasten(120 * NANOSECONDS_PER_SECOND)
#define OUTPUT_MOST (32 << 20) /* tens of thousands of volumes */

/*
 * use_aio must be in a file: --config comes too late for it.  (It costs 21 ms a command.)  No udev: nodes are
 * device-mapper's own, /dev/dm-N, and to wait for the udev of the host from within a container would be for ever.
 */
static const char configuration[] =
    "devices { dir=\"/dev\" scan=[\"/dev\"] use_devicesfile=0 scan_lvs=0 hints=\"none\" "
    "obtain_device_list_from_udev=0 external_device_info_source=\"none\" multipath_wwids_file=\"\" issue_discards=0 }\n"
    "global { use_aio=0 use_lvmpolld=0 use_lvmlockd=0 event_activation=0 notify_dbus=0 system_id_source=\"none\" "
    "locking_dir=\"/run/lock/lvm\" }\n"
    "backup { backup=0 archive=0 }\n"
    "activation { reserved_memory=0 reserved_stack=0 udev_sync=0 udev_rules=0 verify_udev_operations=0 monitoring=0 "
    "thin_pool_autoextend_threshold=100 snapshot_autoextend_threshold=100 }\n"
    "log { journal=[] prefix=\"\" }\n";

/* In one step: commands of other pools may be reading it; and one at a time, as pools are opened beside each other. */
bool lvm_execute_prepare(const char *path, struct error *error)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return fail_errno(error, errno, "cannot make %s", path);
    cleanup_close int directory = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (directory < 0)
        return fail_errno(error, errno, "cannot open %s", path);
    pthread_mutex_lock(&mutex);
    bool good = file_replace(directory, "lvm.conf", configuration, error);
    pthread_mutex_unlock(&mutex);
    return good || fail_context(error, "%s", path);
}

/* LVM has one exit status for all failures, so its words (in English: main.c) must tell. */
static void classify(struct error *error)
{
    static const struct {
        const char *words;
        enum error_code code;
    } known[] = {
        {"insufficient free space", RESOURCE_EXHAUSTED},
        {"Insufficient free space", RESOURCE_EXHAUSTED},
        {"Insufficient suitable", RESOURCE_EXHAUSTED},
        {"nsufficient suitable", RESOURCE_EXHAUSTED},
        {"is too big for", RESOURCE_EXHAUSTED},
        {"too large for circular buffer", RESOURCE_EXHAUSTED}, /* the metadata area */
        {"free space to be", RESOURCE_EXHAUSTED},
        {"contains a filesystem in use", FAILED_PRECONDITION},
        {"in use", FAILED_PRECONDITION},
        {"must not exceed number of physical volumes", RESOURCE_EXHAUSTED},
        {"already exists", ALREADY_EXISTS},
        {"not found", NOT_FOUND},
        {"Failed to find", NOT_FOUND},
        {"while PVs are missing", UNAVAILABLE},
    };
    char *usual = strstr(error->message, "WARNING: This metadata update is NOT backed up.");
    if (usual != NULL)
        *usual = '\0';
    bool refused = error->code == INTERNAL && strstr(error->message, "with status 5") != NULL;
    for (size_t i = 0; refused && error->code == INTERNAL && i < sizeof known / sizeof *known; i++)
        if (strstr(error->message, known[i].words) != NULL)
            error->code = known[i].code;
    if (refused && error->code == UNAVAILABLE)
        fail_context(error, "a disk of the volume group is missing, or was (\"vgs -o+devices\" tells; when it is back, "
                            "say \"vgextend --restoremissing\" with the volume group and the disk)");
}

bool lvm_execute(const char *directory, int lock, const char *const words[], char **output, struct error *error)
{
    char system[PATH_MAX + 64];
    const char *const variables[] = {system, "LVM_SUPPRESS_FD_WARNINGS=1", NULL};
    snprintf(system, sizeof system, "LVM_SYSTEM_DIR=%s", directory);
    struct child_options options = {.deadline = monotonic_now() + COMMAND_MOST,
                                    .inherit = lock,
                                    .has_subcommand = true,
                                    .output_most = output != NULL ? OUTPUT_MOST : 0,
                                    .variables = variables};
    if (child_run(words, &options, output, error))
        return true;
    classify(error);
    return false;
}
