/* The account of a pool whose volumes grow as they are written to: what is promised, occupied and free. */
#include "pool/account.h"

#include "base/clock.h"

#define LOOK_AGAIN (250 * NANOSECONDS_PER_MILLISECOND) /* at what the images occupy */

int64_t account_reserve(const struct pool *pool, int64_t total)
{
    return pool->reserve_bytes > 0 ? pool->reserve_bytes : total / 1000 * pool->reserve_parts;
}

int64_t account_times(double factor, int64_t bytes)
{
    double product = factor * (double)bytes;
    return product >= 9.2e18 ? INT64_MAX : (int64_t)product;
}

void account_occupied(struct pool *pool, struct entry *entry, int64_t occupied)
{
    pool->ours += occupied - entry->occupied;
    entry->occupied = occupied;
}

static void look_at_image(struct pool *pool, struct entry *entry)
{
    struct error ignored;
    int64_t occupied;
    if (pool->ops->allocated(pool, &entry->record, &occupied, &ignored))
        account_occupied(pool, entry, occupied);
}

/* What volumes occupy changes as they are written to; to ask for all of them at each call would cost too much. */
static bool look_at_images(struct pool *pool)
{
    int64_t now = monotonic_now();
    if (pool->looked != 0 && now - pool->looked < LOOK_AGAIN)
        return false;
    pool->looked = now;
    for (int kind = RECORD_VOLUME; kind <= RECORD_SNAPSHOT; kind++)
        for (size_t i = 0; i < pool->entries[kind].count; i++)
            look_at_image(pool, pool->entries[kind].sorted[i]);
    return true;
}

/*
 * What is occupied and not by us.  Blocks that several of our images share are counted for each of them, which makes
 * the others seem less: so then it is at least what it was before any were shared.
 */
static int64_t others(struct pool *pool, int64_t occupied, bool just_looked)
{
    int64_t least = occupied > pool->ours ? occupied - pool->ours : 0;
    if (pool->sharing == 0 && just_looked)
        pool->others = least;
    return pool->sharing > 0 && pool->others > least ? pool->others : least;
}

/*
 * What may be promised is what the storage has, less a reserve and what others occupy, times the ratio, less what has
 * been promised; and, since our images may share blocks, never more than is physically free, times the ratio.
 */
void account_space(struct pool *pool, int64_t total, int64_t free_bytes, struct pool_space *space)
{
    bool just_looked = look_at_images(pool);
    int64_t kept = account_reserve(pool, total);
    int64_t promised_most =
        account_times(pool->overprovision, total - kept - others(pool, total - free_bytes, just_looked)) -
        pool->promised;
    int64_t free_most = account_times(pool->overprovision, free_bytes - kept);
    int64_t available = promised_most < free_most ? promised_most : free_most;
    *space = (struct pool_space){.total = total, .provisioned = pool->promised};
    space->available = available > 0 ? available / 4096 * 4096 : 0;
    space->largest = space->available;
}
