/*
 * Progress on standard error of work that takes longer than two seconds: a line that is rewritten on a terminal, else a
 * line every ten seconds.
 */
#pragma once

struct progress;

/* Begins to watch the clock.  `doing` is borrowed: "creating the volume data". */
struct progress *progress_begin(const char *doing);

/* What the driver says about it, from now on shown behind the time. */
void progress_say(struct progress *progress, const char *words);

/* Ends, and clears the line.  Takes NULL. */
void progress_end(struct progress *progress);
