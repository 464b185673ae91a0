#include "controller/capability.h"

#include "filesystem/filesystem.h"

#include <string.h>

#define MODE(name) CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__##name

/* What each access mode means for a volume that is on one node's disk. */
static const struct {
    access_mode mode;
    const char *name;
    bool served, reader_only, single_writer;
} modes[] = {
    {MODE(SINGLE_NODE_WRITER), "SINGLE_NODE_WRITER", true, false, true},
    {MODE(SINGLE_NODE_READER_ONLY), "SINGLE_NODE_READER_ONLY", true, true, false},
    {MODE(MULTI_NODE_READER_ONLY), "MULTI_NODE_READER_ONLY", true, true, false},
    {MODE(MULTI_NODE_SINGLE_WRITER), "MULTI_NODE_SINGLE_WRITER", false, false, false},
    {MODE(MULTI_NODE_MULTI_WRITER), "MULTI_NODE_MULTI_WRITER", false, false, false},
    {MODE(SINGLE_NODE_SINGLE_WRITER), "SINGLE_NODE_SINGLE_WRITER", true, false, true},
    {MODE(SINGLE_NODE_MULTI_WRITER), "SINGLE_NODE_MULTI_WRITER", true, false, false},
};

static bool read_mode(const Csi__V1__VolumeCapability *message, struct capability *capability, struct error *error)
{
    if (message->access_mode == NULL)
        return fail(error, INVALID_ARGUMENT, "the volume capability has no access mode");
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        if (modes[i].mode != message->access_mode->mode)
            continue;
        if (!modes[i].served)
            return fail(error, INVALID_ARGUMENT,
                        "access mode %s needs writers on several nodes, and this storage is on one node's disk: use "
                        "ReadWriteOnce or ReadWriteOncePod",
                        modes[i].name);
        capability->mode = modes[i].mode;
        capability->reader_only = modes[i].reader_only;
        capability->single_writer = modes[i].single_writer;
        return true;
    }
    return fail(error, INVALID_ARGUMENT, "unknown access mode %d", (int)message->access_mode->mode);
}

static bool read_mount(const struct driver *driver, const Csi__V1__VolumeCapability__MountVolume *mount,
                       struct capability *capability, struct error *error)
{
    capability->is_default = mount->fs_type[0] == '\0';
    capability->filesystem = mount->fs_type[0] != '\0' ? mount->fs_type : driver->default_filesystem;
    capability->mount_flags = mount->mount_flags;
    capability->mount_flag_count = mount->n_mount_flags;
    if (mount->volume_mount_group[0] != '\0')
        return fail(
            error, INVALID_ARGUMENT,
            "volume_mount_group is not supported by this driver; Kubernetes sets the group by itself (fsGroup)");
    return filesystem_find(capability->filesystem) != NULL ||
           fail(error, INVALID_ARGUMENT, "there is no file system \"%s\" for volumes; there is: %s",
                capability->filesystem, filesystem_names());
}

bool capability_read(const struct driver *driver, const Csi__V1__VolumeCapability *message,
                     struct capability *capability, struct error *error)
{
    *capability = (struct capability){.filesystem = ""};
    if (message == NULL)
        return fail(error, INVALID_ARGUMENT, "the volume capability is missing");
    if (!read_mode(message, capability, error))
        return false;
    switch (message->access_type_case) {
    case CSI__V1__VOLUME_CAPABILITY__ACCESS_TYPE_BLOCK:
        capability->block = true;
        return true;
    case CSI__V1__VOLUME_CAPABILITY__ACCESS_TYPE_MOUNT:
        return read_mount(driver, message->mount, capability, error);
    default:
        return fail(error, INVALID_ARGUMENT, "the volume capability is neither block nor mount");
    }
}

bool capability_fits(const struct capability *capability, const struct record *record, struct error *error)
{
    if (capability->block)
        return record->filesystem[0] == '\0' ||
               fail(error, FAILED_PRECONDITION, "volume %s has a file system (%s), it is not a raw block volume",
                    record->id, record->filesystem);
    if (record->filesystem[0] == '\0')
        return fail(error, FAILED_PRECONDITION, "volume %s is a raw block volume, it has no file system", record->id);
    return strcmp(record->filesystem, capability->filesystem) == 0 ||
           fail(error, FAILED_PRECONDITION, "volume %s has %s, not %s", record->id, record->filesystem,
                capability->filesystem);
}
