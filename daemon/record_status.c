/* record_status.c - see record_status.h */
#include "record_status.h"

#include <string.h>

static void
write_spool(struct json *json, const struct spool_stats *stats, uint64_t disk_reserve)
{
    json_open_object(json, "spool");
    json_unsigned(json, "messages", stats->messages);
    json_unsigned(json, "bytes", stats->bytes);
    json_unsigned(json, "disk_bytes", stats->disk_bytes);
    json_unsigned(json, "disk_free_bytes", stats->disk_free);
    json_unsigned(json, "disk_reserve_bytes", disk_reserve);
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

/* A lane that is not configured any more lives under the limits of "default", but takes nothing. */
static void
write_limits(struct json *json, const char *name, const struct record_intake *intake)
{
    static const char *const policies[] = {
        [SPOOL_EVICT_OLDEST] = "evict-oldest",
        [SPOOL_REFUSE] = "refuse",
        [SPOOL_BLOCK] = "block",
    };
    struct spool_limits limits = {0};
    size_t i = 0;

    while (i < intake->lane_count && strcmp(intake->lanes[i].name, name) != 0)
        i++;
    if (intake->lanes != NULL)
        limits = intake->lanes[i < intake->lane_count ? i : 0].limits;
    json_unsigned(json, "max_messages", limits.max_messages);
    json_unsigned(json, "max_bytes", limits.max_bytes);
    json_text(json, "when_full", intake->lanes != NULL ? policies[limits.when_full] : "");
    if (intake->lane_full != NULL)
        json_bool(json, "full", i < intake->lane_count && intake->lane_full[i]);
    else
        json_nothing(json, "full");
}

static void write_lane(struct json *json,
                       const struct spool_lane_stats *lane,
                       const struct spool_stats *stats,
                       const struct record_intake *intake)
{
    json_open_object(json, NULL);
    json_text(json, "name", lane->name);
    json_unsigned(json, "messages", lane->messages);
    json_unsigned(json, "bytes", lane->bytes);
    json_unsigned(json, "disk_bytes", share_of_disk(stats, lane->bytes));
    json_signed(json, "oldest_age_ms", lane->oldest_age_ms);
    write_limits(json, lane->name, intake);
    write_ledger(json, &lane->ledger);
    json_close_object(json);
}

static int write_lanes(struct json *json,
                       struct spool *spool,
                       const struct spool_stats *stats,
                       const struct record_intake *intake,
                       const struct spool_time *now)
{
    int r = 0;

    json_open_array(json, "lanes");
    for (unsigned i = 0; r == 0 && i < spool_lane_count(spool); i++) {
        struct spool_lane_stats lane;

        r = spool_get_lane_stats(spool, i, now, &lane);
        if (r == 0)
            write_lane(json, &lane, stats, intake);
    }
    json_close_array(json);
    return r;
}

static void write_intake(struct json *json, const struct record_intake *intake)
{
    json_open_object(json, "intake");
    if (intake->refusing != NULL)
        json_text(json, "refusing", intake->refusing);
    else
        json_nothing(json, "refusing");
    json_close_object(json);
}

int record_write_status(struct json *json,
                        struct spool *spool,
                        const struct spool_stats *stats,
                        const struct record_intake *intake,
                        const struct spool_time *now)
{
    struct spool_ledger ledger;
    int r = spool_get_ledger(spool, &ledger);

    if (r != 0)
        return r;
    write_spool(json, stats, intake->disk_reserve);
    write_intake(json, intake);
    write_ledger(json, &ledger);
    return write_lanes(json, spool, stats, intake, now);
}
