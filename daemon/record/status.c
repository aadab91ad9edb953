/* SPDX-License-Identifier: MIT */
/*
 * status.c - the status object
 */
#include "daemon/record/status.h"

#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "daemon/record/members.h"

/* Of a longer topic the beginning is written. */
#define TOPIC_SHOWN_MAX 256

static void record_write_spool(struct json *json,
                               const struct spool_stats *stats,
                               const struct record_intake *intake)
{
    json_open_object(json, "spool");
    json_unsigned(json, "messages", stats->messages);
    json_unsigned(json, "bytes", stats->bytes);
    json_unsigned(json, "disk_bytes", stats->disk_bytes);
    json_unsigned(json, "disk_free_bytes", stats->disk_free);
    json_unsigned(json, "disk_reserve_bytes", intake->disk_reserve);
    json_text(json, "disk_short", intake->disk_short ? intake->disk_short : "");
    json_signed(json, "oldest_age_ms", stats->oldest_age_ms);
    json_unsigned(json, "damaged_files", stats->damaged_files);
    json_close_object(json);
}

static int record_write_kept(void *userdata, const struct spool_record *record)
{
    struct json *json = userdata;
    char topic[TOPIC_SHOWN_MAX + 1];

    text_format(topic, sizeof(topic), "%s", record->topic);
    json_open_object(json, "last");
    record_write_time(json, "time", record->time_ms);
    json_text(json, "topic", topic);
    json_text(json, "reason", spool_reason_name(record->reason));
    if (record->code != SPOOL_NO_CODE)
        json_signed(json, "code", record->code);
    else
        json_null_value(json, "code");
    json_close_object(json);
    return 0;
}

/* Not spooled: they have ended. */
static int
record_write_rejected(struct json *json, struct spool *spool, const struct spool_stats *stats)
{
    int r = 0;

    json_open_object(json, "rejected");
    json_unsigned(json, "messages", stats->kept_messages);
    json_unsigned(json, "bytes", stats->kept_bytes);
    if (stats->kept_messages > 0)
        r = spool_read_newest_kept(spool, record_write_kept, json);
    else
        json_null_value(json, "last");
    json_close_object(json);
    return r;
}

static void record_write_ledger(struct json *json, const struct spool_ledger *ledger)
{
    json_open_object(json, "ledger");
    json_unsigned(json, "accepted", ledger->accepted);
    for (unsigned i = 0; i < SPOOL_OUTCOMES; i++)
        json_unsigned(json, spool_outcome_name((enum spool_outcome)i), ledger->ended[i]);
    json_unsigned(json, "spooled", ledger->spooled);
    json_bool(json, "balanced", spool_ledger_balances(ledger));
    json_close_object(json);
}

/* All lanes share one database: its size is apportioned by the bytes that each lane holds,
 * rounded down. */
static uint64_t record_share_of_disk(const struct spool_stats *stats, uint64_t bytes)
{
    uint64_t part = bytes, whole = stats->bytes;

    if (part >= whole)
        return whole > 0 ? stats->disk_bytes : 0;
    for (; whole > UINT32_MAX; whole = (whole + 1) / 2)
        part /= 2; /* so that no product below overflows */
    return stats->disk_bytes / whole * part + stats->disk_bytes % whole * part / whole;
}

/* A lane that is not configured any more has the limits of "default", but accepts nothing. */
static void
record_write_limits(struct json *json, const char *name, const struct record_intake *intake)
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
    if (intake->lanes)
        limits = intake->lanes[i < intake->lane_count ? i : 0].limits;
    json_unsigned(json, "max_messages", limits.max_messages);
    json_unsigned(json, "max_bytes", limits.max_bytes);
    json_text(json, "when_full", intake->lanes ? policies[limits.when_full] : "");
    if (intake->lane_full)
        json_bool(json, "full", i < intake->lane_count && intake->lane_full[i]);
    else
        json_null_value(json, "full");
    if (intake->lanes)
        json_bool(json, "configured", i < intake->lane_count);
    else
        json_null_value(json, "configured");
}

/* How long deliveries took: counts by bucket, see delay_bounds_ms. */
static void record_write_delays(struct json *json, const struct spool_delays *delays)
{
    json_open_object(json, "delays");
    json_unsigned(json, "sum_ms", delays->sum_ms);
    json_open_array(json, "counts");
    for (unsigned i = 0; i < SPOOL_DELAY_BUCKETS; i++)
        json_unsigned(json, NULL, delays->counts[i]);
    json_close_array(json);
    json_close_object(json);
}

static void record_write_reasons(struct json *json, const uint64_t *reasons)
{
    json_open_object(json, "reasons");
    for (unsigned i = SPOOL_REASON_NONE + 1; i < SPOOL_REASONS; i++)
        json_unsigned(json, spool_reason_name((enum spool_reason)i), reasons[i]);
    json_close_object(json);
}

static void record_write_delay_bounds(struct json *json)
{
    json_open_array(json, "delay_bounds_ms");
    for (unsigned i = 0; i < SPOOL_DELAY_BUCKETS - 1; i++)
        json_signed(json, NULL, spool_delay_bound_ms(i));
    json_close_array(json);
}

static void record_write_lane(struct json *json,
                              const struct spool_lane_stats *lane,
                              const struct spool_stats *stats,
                              const struct record_intake *intake,
                              bool is_held)
{
    json_open_object(json, NULL);
    json_text(json, "name", lane->name);
    json_unsigned(json, "messages", lane->messages);
    json_unsigned(json, "bytes", lane->bytes);
    json_unsigned(json, "disk_bytes", record_share_of_disk(stats, lane->bytes));
    json_signed(json, "oldest_age_ms", lane->oldest_age_ms);
    record_write_limits(json, lane->name, intake);
    json_bool(json, "held", is_held);
    record_write_ledger(json, &lane->ledger);
    record_write_delays(json, &lane->delays);
    record_write_reasons(json, lane->reasons);
    json_close_object(json);
}

static int record_write_lanes(struct json *json,
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
            record_write_lane(json, &lane, stats, intake, spool_is_held(spool, lane.name));
    }
    json_close_array(json);
    return r;
}

static void record_write_intake(struct json *json, const struct record_intake *intake)
{
    json_open_object(json, "intake");
    if (intake->refusing)
        json_text(json, "refusing", intake->refusing);
    else
        json_null_value(json, "refusing");
    json_close_object(json);
}

static int record_write_spool_parts(struct json *json,
                                    struct spool *spool,
                                    const struct record_status *status,
                                    const struct spool_time *now)
{
    struct spool_ledger ledger;
    int r = spool_get_ledger(spool, &ledger);

    if (r != 0)
        return r;
    record_write_spool(json, status->stats, &status->intake);
    r = record_write_rejected(json, spool, status->stats);
    if (r != 0)
        return r;
    record_write_intake(json, &status->intake);
    record_write_ledger(json, &ledger);
    record_write_delay_bounds(json);
    return record_write_lanes(json, spool, status->stats, &status->intake, now);
}

static void record_write_known(struct json *json, const char *name, const char *text)
{
    json_text(json, name, text ? text : "");
}

/* null: there is none. */
static void record_write_some(struct json *json, const char *name, const char *text)
{
    if (text && *text != '\0')
        json_text(json, name, text);
    else
        json_null_value(json, name);
}

static void record_write_configuration(struct json *json,
                                       const struct record_configuration *configuration)
{
    json_open_object(json, "configuration");
    record_write_some(json, "restart_keys", configuration->restart_keys);
    record_write_some(json, "refused", configuration->refused);
    json_close_object(json);
}

static void
record_write_link(struct json *json, const struct record_link *link, const struct spool *spool)
{
    json_open_object(json, "link");
    record_write_known(json, "state", link->state);
    record_write_known(json, "broker", link->broker);
    record_write_known(json, "since", link->since);
    json_unsigned(json, "connects", link->connects);
    record_write_some(json, "last_error", link->last_error);
    record_write_some(json, "last_error_time", link->last_error_time);
    record_write_some(json, "remedy", link->remedy);
    record_write_some(json, "next_attempt", link->next_attempt);
    record_write_known(json, "acknowledged", link->acknowledged);
    record_write_known(json, "certificate_expires", link->certificate_expires);
    record_write_known(json, "protocol", link->protocol);
    json_unsigned(json, "window", link->window);
    json_unsigned(json, "late_answers", link->late_answers);
    if (link->refused_code > 0)
        json_unsigned(json, "refused_code", (unsigned)link->refused_code);
    else
        json_null_value(json, "refused_code");
    json_unsigned(json, "refused_waiting", link->refused_waiting);
    json_unsigned(json, "no_subscriber", link->unsubscribed);
    json_bool(json, "held", link->is_held);
    json_bool(json, "all_held", spool_is_held(spool, NULL));
    record_write_some(json, "presence_error", link->presence_error);
    json_open_object(json, "rate");
    json_unsigned(json, "messages", link->rate_messages);
    json_unsigned(json, "bytes", link->rate_bytes);
    json_close_object(json);
    json_close_object(json);
}

static void record_write_salvage(struct json *json, const struct record_status *status)
{
    const struct spool_salvage *salvage = &status->salvage;
    char time[CLOCK_TEXT_MAX] = "";

    if (status->salvaged_ms > 0)
        clock_format(status->salvaged_ms, time);
    json_open_object(json, "salvage");
    json_unsigned(json, "salvaged", salvage->salvaged);
    json_unsigned(json, "damaged", salvage->damaged);
    json_unsigned(json, "rejected_lost", salvage->kept_lost);
    json_bool(json, "damaged_unknown", salvage->is_count_unknown);
    json_text(json, "moved_to", salvage->moved_to);
    json_text(json, "time", time);
    json_close_object(json);
}

static void record_write_producers(struct json *json, const struct record_producers *producers)
{
    json_open_object(json, "producers");
    json_unsigned(json, "connected", producers->connected);
    json_unsigned(json, "messages_refused", producers->messages_refused);
    record_write_some(json, "refused_reason", producers->refused_reason);
    record_write_some(json, "refused_time", producers->refused_time);
    json_unsigned(json, "clients_refused", producers->clients_refused);
    json_unsigned(json, "bridge_notifications", producers->bridge_notifications);
    json_close_object(json);
}

static void
record_write_audit(struct json *json, const struct record_audit *audit, uint64_t last_seq)
{
    json_open_object(json, "audit");
    if (audit->healthy)
        json_bool(json, "healthy", *audit->healthy);
    else
        json_null_value(json, "healthy");
    record_write_known(json, "error", audit->error);
    json_unsigned(json, "last_seq", last_seq);
    json_unsigned(json, "waiting", audit->waiting);
    json_unsigned(json, "max_waiting", audit->max_waiting);
    record_write_known(json, "when_full", audit->when_full);
    json_unsigned(json, "pruned", audit->pruned);
    if (audit->max_record_bytes > 0) {
        json_unsigned(json, "record_bytes", audit->record_bytes);
        json_unsigned(json, "max_record_bytes", audit->max_record_bytes);
    } else {
        json_null_value(json, "record_bytes");
        json_null_value(json, "max_record_bytes");
    }
    json_close_object(json);
}

/* null if that never happens. */
static void record_write_seconds(struct json *json, const char *name, double after_s)
{
    if (after_s >= 0)
        json_unsigned(json, name, clock_round_up_s(after_s));
    else
        json_null_value(json, name);
}

static void record_write_forecast(struct json *json, const struct record_status *status)
{
    double shrinks = status->out_per_s - status->in_per_s;
    uint64_t messages = status->stats->messages;
    double drained_s = messages == 0 ? 0 : -1;

    if (shrinks > 0)
        drained_s = (double)messages / shrinks;
    json_open_object(json, "forecast");
    record_write_seconds(json, "full_s", status->full_after_s);
    record_write_seconds(json, "drained_s", drained_s);
    json_close_object(json);
}

static void record_write_small_parts(struct json *json,
                                     const struct record_status *status,
                                     bool synchronized)
{
    json_open_object(json, "tokens");
    json_unsigned(json, "in_flight", status->stats->in_flight);
    json_unsigned(json, "peak", status->stats->in_flight_peak);
    json_close_object(json);
    json_open_object(json, "rates");
    json_decimal(json, "in", status->in_per_s);
    json_decimal(json, "out", status->out_per_s);
    json_close_object(json);
    json_open_object(json, "memory");
    json_unsigned(json, "rss_bytes", status->rss_bytes);
    json_close_object(json);
    record_write_salvage(json, status);
    json_open_object(json, "clock");
    json_bool(json, "synchronized", synchronized);
    json_close_object(json);
    record_write_producers(json, &status->producers);
    record_write_audit(json, &status->audit, status->stats->last_seq);
    record_write_forecast(json, status);
}

int record_write_status(struct json *json,
                        struct spool *spool,
                        const struct record_status *status,
                        const struct spool_time *now)
{
    json_open_object(json, NULL);
    json_text(json, "version", SPOOLD_VERSION);
    json_signed(json, "pid", status->pid);
    record_write_time(json, "time", now->wall_ms);
    json_signed(json, "uptime_ms", status->uptime_ms);
    record_write_configuration(json, &status->configuration);
    record_write_link(json, &status->link, spool);
    int r = record_write_spool_parts(json, spool, status, now);
    record_write_small_parts(json, status, now->wall_credible);
    json_close_object(json);
    return r;
}
