/*
 * An arena: memory that is given out piece by piece and freed whole.  Each call of the gRPC server has one; it
 * backs the request, the answer and everything a handler allocates.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>

struct arena;

/* A new, empty arena.  Never NULL: running out of memory for a few bytes ends the process (as in crun and git). */
struct arena *arena_create(void);
void arena_destroy(struct arena *arena);

/* Zeroed memory, aligned for any type, that lives until arena_destroy().  Never NULL. */
void *arena_allocate(struct arena *arena, size_t bytes) __attribute__((malloc, alloc_size(2)));

/* `count` elements of `bytes` each, zeroed.  An overflow of the product ends the process. */
void *arena_array(struct arena *arena, size_t count, size_t bytes);

/*
 * Room for one more element at the end of a list: returns the list, or a larger copy of it if it is full.  It has
 * `count` elements of `bytes` each; NULL is the empty list.  What is beyond the elements is zeroed.  How much room a
 * list has follows from its count, so it must have grown from NULL, by one element a call; elements may be taken off
 * only if none is added afterwards.  The former copies stay in the arena: together less than the list itself.
 */
void *arena_grow(struct arena *arena, void *list, size_t count, size_t bytes) __attribute__((warn_unused_result));

char *arena_string(struct arena *arena, const char *string);
char *arena_format(struct arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * An allocator for protobuf_c_message_unpack() that draws on the arena and gives NULL, which makes the unpacking
 * fail cleanly, once `budget` more bytes have been handed out.  A hostile message of empty map entries would
 * otherwise grow to 28 times its size.  Valid until the arena is destroyed; freeing through it does nothing.
 */
ProtobufCAllocator *arena_allocator(struct arena *arena, size_t budget);
