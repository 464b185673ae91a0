/*
 * Holding the sources of a making that are in use, so that what is copied of them is whole: file systems are frozen,
 * or, for several volumes of a pool that freezes by itself, their devices suspended.  For snapshot/ only.
 */
#pragma once

#include "snapshot/making.h"

/* True if the pool copies this source at once. */
bool hold_is_for_a_moment(const struct member *member);

/* Holds every member that must be.  On failure hold_end() lets go what is held. */
bool hold_begin(struct making *making, struct error *error);

/* To be asked just before a member's moment is fixed: ABORTED if somebody else has let it go meanwhile. */
bool hold_check(const struct member *member, struct error *error);

/* For a member whose moment its pool cannot fix, although it freezes by itself: frozen by us until all is copied. */
bool hold_until_copied(const struct making *making, struct member *member, struct error *error);

/* Lets all go; true if all had been held until now.  Can be repeated. */
bool hold_end(struct making *making, struct error *error);
