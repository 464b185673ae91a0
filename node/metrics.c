/* The text of /metrics (https://prometheus.io/docs/instrumenting/exposition_formats/). */
#include "node/http.h"

#include "base/cleanup.h"
#include "base/clock.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TURN_AWAITED NANOSECONDS_PER_SECOND

static void describe(FILE *to, const char *name, const char *type, const char *help)
{
    fprintf(to, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* --- calls --- */

static void print_calls(const struct rpc_method_counts *counts, void *to)
{
    for (int code = 0; code < 17; code++)
        if (counts->calls[code] > 0)
            fprintf(to, "plinth_calls_total{service=\"%s\",method=\"%s\",code=\"%s\"} %" PRIu64 "\n", counts->service,
                    counts->method, error_code_name((enum error_code)code), counts->calls[code]);
}

static void print_seconds(const struct rpc_method_counts *counts, void *to)
{
    fprintf(to, "plinth_call_seconds_total{service=\"%s\",method=\"%s\"} %.6f\n", counts->service, counts->method,
            (double)counts->nanoseconds / 1e9);
}

static void print_at_work(const struct rpc_method_counts *counts, void *to)
{
    fprintf(to, "plinth_calls_at_work{service=\"%s\",method=\"%s\"} %" PRIu64 "\n", counts->service, counts->method,
            counts->at_work);
}

static const struct {
    const char *name, *type, *help;
    void (*print)(const struct rpc_method_counts *, void *);
} of_calls[] = {
    {"plinth_calls_total", "counter", "Calls answered, by gRPC code.", print_calls},
    {"plinth_call_seconds_total", "counter", "Time spent in handlers.", print_seconds},
    {"plinth_calls_at_work", "gauge", "Calls being handled now.", print_at_work},
};

/* --- pools --- */

struct pool_numbers {
    bool usable;
    struct pool_space space;
    int64_t counts[2]; /* by enum record_kind */
};

static const struct {
    const char *name, *help;
    size_t field; /* an int64_t in struct pool_numbers */
} of_pools[] = {
    {"plinth_pool_total_bytes", "What the storage has for volumes.", offsetof(struct pool_numbers, space.total)},
    {"plinth_pool_provisioned_bytes", "Promised to volumes and snapshots.",
     offsetof(struct pool_numbers, space.provisioned)},
    {"plinth_pool_available_bytes", "What may still be promised.", offsetof(struct pool_numbers, space.available)},
    {"plinth_pool_volumes", "Volumes in the pool.", offsetof(struct pool_numbers, counts[RECORD_VOLUME])},
    {"plinth_pool_snapshots", "Snapshots in the pool.", offsetof(struct pool_numbers, counts[RECORD_SNAPSHOT])},
};

struct counting {
    struct pools *pools;
    struct pool_numbers *numbers;
    enum record_kind kind;
};

static bool count_record(struct pool *pool, const struct record *record, void *data)
{
    struct counting *counting = data;
    (void)record;
    for (size_t i = 0; i < pools_count(counting->pools); i++)
        if (pools_at(counting->pools, i) == pool)
            counting->numbers[i].counts[counting->kind]++;
    return true;
}

/* One scrape at a time: on a disk that hangs it never ends, and connections are few (/healthz wants one, too). */
static struct {
    pthread_mutex_t mutex;
    pthread_cond_t ended;
    bool under_way;
} measuring = {.mutex = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER};

/* False: another scrape has been at it for too long. */
static bool begin_measuring(void)
{
    int64_t until = monotonic_now() + TURN_AWAITED;
    struct timespec time = {.tv_sec = until / NANOSECONDS_PER_SECOND, .tv_nsec = until % NANOSECONDS_PER_SECOND};
    pthread_mutex_lock(&measuring.mutex);
    while (measuring.under_way &&
           pthread_cond_clockwait(&measuring.ended, &measuring.mutex, CLOCK_MONOTONIC, &time) == 0)
        ;
    bool begins = !measuring.under_way;
    measuring.under_way = true;
    pthread_mutex_unlock(&measuring.mutex);
    return begins;
}

static void end_measuring(void)
{
    pthread_mutex_lock(&measuring.mutex);
    measuring.under_way = false;
    pthread_cond_signal(&measuring.ended);
    pthread_mutex_unlock(&measuring.mutex);
}

static void measure(struct pools *pools, struct pool_numbers *numbers)
{
    struct error ignored;
    for (size_t i = 0; i < pools_count(pools); i++)
        numbers[i].usable = pool_usable_soon(pools_at(pools, i), &ignored) &&
                            pool_space(pools_at(pools, i), NULL, &numbers[i].space, &ignored);
    for (int kind = RECORD_VOLUME; kind <= RECORD_SNAPSHOT; kind++) {
        struct counting counting = {pools, numbers, kind};
        pools_list(pools, kind, "", count_record, &counting);
    }
}

static void print_pools(FILE *to, struct pools *pools)
{
    size_t count = pools_count(pools);
    cleanup_free struct pool_numbers *numbers = calloc(count, sizeof *numbers);
    if (numbers == NULL || !begin_measuring())
        return;
    measure(pools, numbers);
    end_measuring();
    describe(to, "plinth_pool_usable", "gauge", "1 if the pool is open.");
    for (size_t i = 0; i < count; i++)
        fprintf(to, "plinth_pool_usable{pool=\"%s\",kind=\"%s\"} %d\n", pool_name(pools_at(pools, i)),
                pool_kind(pools_at(pools, i)), numbers[i].usable);
    for (size_t k = 0; k < sizeof of_pools / sizeof *of_pools; k++) {
        describe(to, of_pools[k].name, "gauge", of_pools[k].help);
        for (size_t i = 0; i < count; i++)
            if (numbers[i].usable)
                fprintf(to, "%s{pool=\"%s\"} %" PRId64 "\n", of_pools[k].name, pool_name(pools_at(pools, i)),
                        *(const int64_t *)((const char *)&numbers[i] + of_pools[k].field));
    }
}

/* --- the process --- */

static void print_process(FILE *to, const struct driver *driver)
{
    long pages = 0;
    cleanup_file FILE *statm = fopen("/proc/self/statm", "re");
    if (statm != NULL && fscanf(statm, "%*d %ld", &pages) != 1)
        pages = 0;
    describe(to, "plinth_build_info", "gauge", "The version that runs.");
    fprintf(to, "plinth_build_info{version=\"%s\"} 1\n", driver->version);
    describe(to, "process_resident_memory_bytes", "gauge", "Resident memory of the driver.");
    fprintf(to, "process_resident_memory_bytes %lld\n", (long long)pages * sysconf(_SC_PAGESIZE));
}

char *metrics_text(struct rpc_server *server, const struct driver *driver, size_t *length)
{
    char *text = NULL;
    FILE *to = open_memstream(&text, length);
    if (to == NULL)
        return NULL;
    print_process(to, driver);
    for (size_t i = 0; i < sizeof of_calls / sizeof *of_calls; i++) {
        describe(to, of_calls[i].name, of_calls[i].type, of_calls[i].help);
        rpc_server_counts(server, of_calls[i].print, to);
    }
    print_pools(to, driver->pools);
    if (fclose(to) == 0)
        return text;
    free(text);
    return NULL;
}
