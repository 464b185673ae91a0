#include "cli/places.h"

#include "base/digest.h"
#include "base/text.h"
#include "filesystem/mountinfo.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define STAGING "/run/plinth/staging"
#define PLAIN_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
#define PLAIN_MOST 128

/* --- paths --- */

bool place_target(const char *word, char path[static PATH_MAX], struct error *error)
{
    char directory[PATH_MAX], resolved[PATH_MAX], name[NAME_MAX + 1];
    size_t length = strlen(word);
    while (length > 1 && word[length - 1] == '/')
        length--;
    if (length + 3 > sizeof directory)
        return fail(error, INVALID_ARGUMENT, "the target is longer than a path can be");
    snprintf(directory, sizeof directory, "%s%.*s", word[0] == '/' ? "" : "./", (int)length, word);
    char *slash = strrchr(directory, '/');
    if ((size_t)snprintf(name, sizeof name, "%s", slash + 1) >= sizeof name || name[0] == '\0' ||
        strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return fail(error, INVALID_ARGUMENT, "\"%.200s\" cannot be a target: name what is to be made", word);
    slash[slash == directory] = '\0';
    if (realpath(directory, resolved) == NULL)
        return fail(error, NOT_FOUND, "the directory %s, where the target is to be, cannot be found: %s", directory,
                    strerror(errno));
    const char *separator = strcmp(resolved, "/") == 0 ? "" : "/";
    return (size_t)snprintf(path, PATH_MAX, "%s%s%s", resolved, separator, name) < PATH_MAX ||
           fail(error, INVALID_ARGUMENT, "the target is longer than a path can be");
}

static bool is_plain(const char *name)
{
    return text_is_made_of(name, PLAIN_CHARACTERS, PLAIN_MOST) && name[0] != '.';
}

bool place_staging(const char *driver, const char *id, char path[static PATH_MAX], struct error *error)
{
    char digest[65];
    digest_hex(id, strlen(id), 64, digest);
    if (!is_plain(driver))
        return fail(error, INTERNAL, "the driver calls itself \"%.100s\"; name a directory with --staging", driver);
    snprintf(path, PATH_MAX, "%s/%s/%s", STAGING, driver, is_plain(id) ? id : digest);
    return true;
}

bool place_make_staging(char *path, bool *made, struct error *error)
{
    *made = false;
    for (char *slash = strchr(path + 1, '/');; slash = strchr(slash + 1, '/')) {
        if (slash != NULL)
            *slash = '\0';
        *made = mkdir(path, 0700) == 0;
        int number = errno;
        if (!*made && number != EEXIST)
            fail_errno(error, number, "cannot make the staging directory %s", path);
        if (slash != NULL)
            *slash = '/';
        if (!*made && number != EEXIST)
            return false;
        if (slash == NULL)
            return true;
    }
}

/* --- what is mounted --- */

static bool same(const struct mounted *mounted, const struct mountinfo_entry *entry)
{
    return entry->device == mounted->device && strcmp(entry->root, mounted->root) == 0;
}

bool place_mounted(const char *path, struct mounted *mounted)
{
    bool found = false;
    cleanup_mountinfo struct mountinfo mounts = mountinfo_open();
    struct mountinfo_entry entry;
    while (mountinfo_next(&mounts, &entry))
        if (strcmp(entry.target, path) == 0 && strlen(entry.root) < sizeof mounted->root) {
            mounted->device = entry.device;
            text_copy(mounted->root, sizeof mounted->root, entry.root);
            found = true;
        }
    return found;
}

bool place_elsewhere(const struct mounted *mounted, const char *staging, char elsewhere[static PATH_MAX])
{
    size_t length = strlen(staging);
    cleanup_mountinfo struct mountinfo mounts = mountinfo_open();
    struct mountinfo_entry entry;
    while (mountinfo_next(&mounts, &entry)) {
        char next = strncmp(entry.target, staging, length) == 0 ? entry.target[length] : '-';
        bool staged = next == '\0' || next == '/';
        if (!staged && same(mounted, &entry) && strlen(entry.target) < PATH_MAX) {
            text_copy(elsewhere, PATH_MAX, entry.target);
            return true;
        }
    }
    return false;
}
