/* record_status.c - see record_status.h */
#include "record_status.h"

static void write_spool(struct json *json, const struct spool_stats *stats)
{
    json_open_object(json, "spool");
    json_unsigned(json, "messages", stats->messages);
    json_unsigned(json, "bytes", stats->bytes);
    json_unsigned(json, "disk_bytes", stats->disk_bytes);
    json_unsigned(json, "disk_free_bytes", stats->disk_free);
    json_signed(json, "oldest_age_ms", stats->oldest_age_ms);
    json_unsigned(json, "damaged_files", stats->damaged_files);
    json_close_object(json);
}

static void write_ledger(struct json *json, const struct spool_ledger *ledger)
{
    json_open_object(json, "ledger");
    json_unsigned(json, "accepted", ledger->accepted);
    for (unsigned i = 0; i < SPOOL_OUTCOMES; i++)
        json_unsigned(json, spool_outcome_name((enum spool_outcome)i), ledger->ended[i]);
    json_unsigned(json, "spooled", ledger->spooled);
    json_bool(json, "balanced", spool_ledger_balances(ledger));
    json_close_object(json);
}

/* Lanes lie together in one database: its files are shared out by the bytes that each lane holds,
 * rounded down. */
static uint64_t share_of_disk(const struct spool_stats *stats, uint64_t bytes)
{
    uint64_t part = bytes, whole = stats->bytes;

    if (part >= whole)
        return whole > 0 ? stats->disk_bytes : 0;
    for (; whole > UINT32_MAX; whole = (whole + 1) / 2)
        part /= 2; /* so that no product below is too large */
    return stats->disk_bytes / whole * part + stats->disk_bytes % whole * part / whole;
}

static void write_lane(struct json *json,
                       const struct spool_lane_stats *lane,
                       const struct spool_stats *stats)
{
    json_open_object(json, NULL);
    json_text(json, "name", lane->name);
    json_unsigned(json, "messages", lane->messages);
    json_unsigned(json, "bytes", lane->bytes);
    json_unsigned(json, "disk_bytes", share_of_disk(stats, lane->bytes));
    json_signed(json, "oldest_age_ms", lane->oldest_age_ms);
    write_ledger(json, &lane->ledger);
    json_close_object(json);
}

static int write_lanes(struct json *json,
                       struct spool *spool,
                       const struct spool_stats *stats,
                       const struct spool_time *now)
{
    int r = 0;

    json_open_array(json, "lanes");
    for (unsigned i = 0; r == 0 && i < spool_lane_count(spool); i++) {
        struct spool_lane_stats lane;

        r = spool_get_lane_stats(spool, i, now, &lane);
        if (r == 0)
            write_lane(json, &lane, stats);
    }
    json_close_array(json);
    return r;
}

int record_write_status(struct json *json,
                        struct spool *spool,
                        const struct spool_stats *stats,
                        const struct spool_time *now)
{
    struct spool_ledger ledger;
    int r = spool_get_ledger(spool, &ledger);

    if (r != 0)
        return r;
    write_spool(json, stats);
    write_ledger(json, &ledger);
    return write_lanes(json, spool, stats, now);
}
