/*
 * The log: one line an event on standard error, as JSON (the default: containers) or as text for people.
 * Secrets are never logged; text from outside is escaped, so that it cannot forge a line.
 */
#pragma once

#include <stdbool.h>

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

/* Sets what is written.  Called once, before threads start. */
void log_configure(enum log_level most, bool json);

/* True if an event can be written without waiting for who reads the log, as far as that can be told. */
bool log_is_writable(void);

/* True if events of this level are written: lets a caller skip the work of describing one. */
bool log_enabled(enum log_level level);

/*
 * Writes one event: a message and pairs of key and value, ended by NULL, all strings.  A pair whose value is NULL or ""
 * is left out.  Example: log_event(LOG_INFO, "volume created", "volume_id", id, "pool", name, NULL);
 */
void log_event(enum log_level level, const char *message, ...) __attribute__((sentinel));
