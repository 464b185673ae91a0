#include "base/arena.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES ((size_t)4096)
#define LIST_LEAST ((size_t)8) /* a power of two */
#define ALIGNMENT _Alignof(max_align_t)

struct chunk {
    struct chunk *next;
    size_t used, size;
    max_align_t bytes[];
};

struct arena {
    struct chunk *chunks; /* the one being filled comes first */
};

struct budgeted {
    ProtobufCAllocator allocator;
    struct arena *arena;
    size_t left;
};

static void *must(void *memory)
{
    if (memory == NULL) {
        fputs("plinth: out of memory\n", stderr);
        abort();
    }
    return memory;
}

struct arena *arena_create(void)
{
    return must(calloc(1, sizeof(struct arena)));
}

void arena_destroy(struct arena *arena)
{
    if (arena == NULL)
        return;
    for (struct chunk *chunk = arena->chunks, *next; chunk != NULL; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    free(arena);
}

static struct chunk *add_chunk(struct arena *arena, size_t bytes)
{
    size_t size = CHUNK_BYTES - sizeof(struct chunk);
    if (bytes > size)
        size = bytes;
    struct chunk *chunk = must(calloc(1, sizeof *chunk + size));
    chunk->size = size;
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    return chunk;
}

void *arena_allocate(struct arena *arena, size_t bytes)
{
    if (bytes > SIZE_MAX / 2)
        must(NULL);
    bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    struct chunk *chunk = arena->chunks;
    if (chunk == NULL || chunk->size - chunk->used < bytes)
        chunk = add_chunk(arena, bytes);
    void *memory = (char *)chunk->bytes + chunk->used;
    chunk->used += bytes;
    return memory;
}

void *arena_array(struct arena *arena, size_t count, size_t bytes)
{
    size_t total;
    if (__builtin_mul_overflow(count, bytes, &total))
        must(NULL);
    return arena_allocate(arena, total);
}

void *arena_grow(struct arena *arena, void *list, size_t count, size_t bytes)
{
    bool full = count == 0 || (count >= LIST_LEAST && (count & (count - 1)) == 0); /* its room is a power of two */
    if (!full)
        return list;
    void *larger = arena_array(arena, count == 0 ? LIST_LEAST : 2 * count, bytes);
    return count == 0 ? larger : memcpy(larger, list, count * bytes);
}

char *arena_string(struct arena *arena, const char *string)
{
    size_t size = strlen(string) + 1;
    return memcpy(arena_allocate(arena, size), string, size);
}

char *arena_format(struct arena *arena, const char *format, ...)
{
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0)
        must(NULL);
    va_end(arguments);
    char *string = arena_string(arena, text);
    free(text);
    return string;
}

static void *budgeted_allocate(void *data, size_t bytes)
{
    struct budgeted *budgeted = data;
    /* Even an empty allocation costs a slot, so the budget also bounds their number. */
    size_t cost = bytes < ALIGNMENT ? ALIGNMENT : bytes;
    if (cost > budgeted->left)
        return NULL;
    budgeted->left -= cost;
    return arena_allocate(budgeted->arena, bytes);
}

static void budgeted_free(void *data, void *memory)
{
    (void)data;
    (void)memory;
}

ProtobufCAllocator *arena_allocator(struct arena *arena, size_t budget)
{
    struct budgeted *budgeted = arena_allocate(arena, sizeof *budgeted);
    *budgeted = (struct budgeted){.arena = arena, .left = budget};
    budgeted->allocator = (ProtobufCAllocator){budgeted_allocate, budgeted_free, budgeted};
    return &budgeted->allocator;
}
