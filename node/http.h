/*
 * The plaintext door for machines that look after the driver: /healthz (the same as CSI's Probe) and /metrics, for
 * Prometheus. Read-only; it tells no tenant's data: no names of volumes, claims or files.
 */
#pragma once

#include "base/error.h"
#include "pool/driver.h"
#include "rpc/server.h"

struct http;

/*
 * Serves on "ADDRESS:PORT", where the address is numeric: "127.0.0.1:9808", "[::1]:9808", ":9808" for all.
 * INVALID_ARGUMENT if it is not that; FAILED_PRECONDITION if libmicrohttpd is not installed.  Stop with http_stop().
 */
struct http *http_start(const char *address, struct rpc_server *server, const struct driver *driver,
                        struct error *error);

/* Ends it and frees it.  Takes NULL. */
void http_stop(struct http *http);

/* The text of /metrics, which the caller frees; NULL if memory is out.  It has no pools while another scrape is held up
 * by one of them. */
char *metrics_text(struct rpc_server *server, const struct driver *driver, size_t *length);
