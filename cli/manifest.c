#include "cli/manifest.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void manifest_claim_name(const char *volume, char name[static 64])
{
    size_t used = 0;
    for (; *volume != '\0' && used < 63; volume++)
        if (isalnum((unsigned char)*volume))
            name[used++] = (char)tolower(*volume);
        else if (used > 0)
            name[used++] = '-';
    while (used > 0 && name[used - 1] == '-')
        used--;
    name[used] = '\0';
    if (used == 0)
        snprintf(name, 64, "volume");
}

static json_t *size(const struct record *record)
{
    char bytes[24];
    snprintf(bytes, sizeof bytes, "%" PRId64, record->bytes);
    return json_pack("{ss}", "storage", bytes);
}

static const char *mode(const struct record *record)
{
    return record->filesystem[0] != '\0' ? "Filesystem" : "Block";
}

static json_t *csi(const struct manifest *manifest, const struct record *record)
{
    json_t *source = json_pack("{ss ss}", "driver", manifest->driver, "volumeHandle", record->id);
    if (record->filesystem[0] != '\0')
        json_object_set_new(source, "fsType", json_string(record->filesystem));
    return source;
}

static json_t *affinity(const struct manifest *manifest)
{
    char key[128];
    snprintf(key, sizeof key, "%s/node", manifest->driver);
    return json_pack("{s{s[{s[{ss ss s[s]}]}]}}", "required", "nodeSelectorTerms", "matchExpressions", "key", key,
                     "operator", "In", "values", manifest->node);
}

json_t *manifest_volume(const struct manifest *manifest, const struct record *record)
{
    json_t *claim = json_pack("{ss ss}", "namespace", manifest->claim_namespace, "name", manifest->claim_name);
    json_t *spec =
        json_pack("{so s[s] ss ss ss so so so}", "capacity", size(record), "accessModes", "ReadWriteOnce", "volumeMode",
                  mode(record), "persistentVolumeReclaimPolicy", "Retain", "storageClassName", manifest->class,
                  "claimRef", claim, "csi", csi(manifest, record), "nodeAffinity", affinity(manifest));
    return json_pack("{ss ss s{ss} so}", "apiVersion", "v1", "kind", "PersistentVolume", "metadata", "name", record->id,
                     "spec", spec);
}

json_t *manifest_claim(const struct manifest *manifest, const struct record *record)
{
    json_t *spec =
        json_pack("{s[s] ss ss s{so} ss}", "accessModes", "ReadWriteOnce", "volumeMode", mode(record),
                  "storageClassName", manifest->class, "resources", "requests", size(record), "volumeName", record->id);
    return json_pack("{ss ss s{ss ss} so}", "apiVersion", "v1", "kind", "PersistentVolumeClaim", "metadata",
                     "namespace", manifest->claim_namespace, "name", manifest->claim_name, "spec", spec);
}
