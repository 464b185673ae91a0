#include "pool/lvm_header.h"

#include "base/cleanup.h"
#include "base/text.h"

#include <endian.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define SECTOR 512
#define SECTORS_MOST 4 /* the label is in one of the first */
#define BLOCK 4096     /* what direct I/O reads at least */
#define LABEL "LABELONE"
#define LABEL_TYPE "LVM2 001"
#define AREA_MAGIC " LVM2 x[5A%r0N*>"

/* The label: id, number of its sector, checksum, offset of the header in it, type (all little-endian). */
struct label {
    char id[8];
    uint64_t sector;
    uint32_t checksum, offset;
    char type[8];
} __attribute__((packed));

/* The header of a physical volume: UUID and size, then two lists of areas (data, metadata), each ended by zeros. */
struct area {
    uint64_t offset, size;
} __attribute__((packed));

#define UUID_DIGITS 32
#define HEADER_BYTES (UUID_DIGITS + 8)

struct metadata_header {
    uint32_t checksum;
    char magic[16];
    uint32_t version;
    uint64_t start, size;
    struct {
        uint64_t offset, size;
        uint32_t checksum, flags;
    } __attribute__((packed)) present;
} __attribute__((packed));

/* Past the page cache, which is not told of what LVM writes past it. */
static bool read_block(const char *path, int64_t offset, unsigned char block[static BLOCK])
{
    cleanup_close int device = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
    return device >= 0 && pread(device, block, BLOCK, offset) == BLOCK;
}

/* The first area of the second list. */
static int64_t find_area(const unsigned char *header, const unsigned char *end)
{
    struct area area;
    int lists = 0;
    for (const unsigned char *at = header + HEADER_BYTES; at + sizeof area <= end; at += sizeof area) {
        memcpy(&area, at, sizeof area);
        if (area.offset == 0)
            lists++;
        else if (lists == 1)
            return (int64_t)le64toh(area.offset);
        if (lists == 2)
            break;
    }
    return 0;
}

/* The physical volume's own header, in the block at its beginning, or NULL. */
static const unsigned char *find_header(const unsigned char block[static BLOCK])
{
    struct label label;
    for (int sector = 0; sector < SECTORS_MOST; sector++) {
        memcpy(&label, block + sector * SECTOR, sizeof label);
        if (memcmp(label.id, LABEL, sizeof label.id) == 0 && memcmp(label.type, LABEL_TYPE, sizeof label.type) == 0 &&
            le32toh(label.offset) < SECTOR)
            return block + sector * SECTOR + le32toh(label.offset);
    }
    return NULL;
}

/* The place, size and checksum of the present metadata as one number; 0 if it cannot be read. */
static uint64_t read_place(const struct lvm_header *header)
{
    _Alignas(BLOCK) unsigned char block[BLOCK];
    struct metadata_header area;
    if (header->path[0] == '\0' || !read_block(header->path, header->offset, block))
        return 0;
    memcpy(&area, block, sizeof area);
    if (memcmp(area.magic, AREA_MAGIC, sizeof area.magic) != 0)
        return 0;
    return (le64toh(area.present.offset) << 32) ^ (le64toh(area.present.size) << 20) ^ le32toh(area.present.checksum) ^
           (uint64_t)1 << 63;
}

bool lvm_header_find(const char *path, struct lvm_header *header)
{
    _Alignas(BLOCK) unsigned char block[BLOCK];
    *header = (struct lvm_header){.offset = 0};
    if (!read_block(path, 0, block))
        return false;
    const unsigned char *found = find_header(block);
    if (found != NULL)
        header->offset = find_area(found, block + BLOCK);
    text_copy(header->path, sizeof header->path, path);
    if (header->offset > 0 && header->offset % SECTOR == 0 && read_place(header) != 0)
        return true;
    header->path[0] = '\0';
    return false;
}

bool lvm_header_probe(const char *path, char found[static FILESYSTEM_NAME_BYTES], struct error *error)
{
    struct lvm_header header = {.offset = BLOCK}; /* where the first physical volume of a disk has it */
    if (!filesystem_probe(path, found, error))
        return false;
    text_copy(header.path, sizeof header.path, path);
    if (found[0] == '\0' && read_place(&header) != 0)
        text_copy(found, FILESYSTEM_NAME_BYTES, "LVM's metadata, but no label");
    return true;
}

uint64_t lvm_header_read(const struct lvm_header *headers, size_t count, size_t *readable)
{
    uint64_t metadata = 0, which = 0;
    *readable = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t read = read_place(&headers[i]);
        *readable += read != 0;
        which = which << 1 | (read != 0);
        metadata = metadata != 0 ? metadata : read;
    }
    return (metadata ^ which << 32) | (uint64_t)1 << 63;
}
