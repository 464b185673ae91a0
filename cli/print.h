/* Volumes, snapshots and answers as people see them. */
#pragma once

#include "cli/calls.h"
#include "cli/table.h"

/* Tables of volumes and of snapshots. */
struct table print_volumes(struct arena *arena);
void print_volume(struct table *table, const Csi__V1__Volume *volume);
struct table print_snapshots(struct arena *arena);
void print_snapshot(struct table *table, const Csi__V1__Snapshot *snapshot);

/* Prints one line.  What is not printable in it, such as in an id that a driver made up, is replaced. */
void print_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Prints what a driver answered: the table that was made of it or, with -o json, the answer, without a token. */
void print_answer(const struct session *session, const ProtobufCMessage *answer, const struct table *table);

/* Everything that is known about one volume; `health` may be NULL: not known. */
void print_details(struct arena *arena, const Csi__V1__ControllerGetVolumeResponse *volume,
                   const Csi__V1__VolumeHealth *health);
