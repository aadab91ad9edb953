/* SPDX-License-Identifier: MIT */
/*
 * intake.c - why messages are not accepted, noted and logged in one place
 *
 * The disk is full, too many records wait for the audit file, another program
 * locks the database, the files of the spool were moved, a lane is at its limits.
 * The file that detects it notes it here; it is logged once when it begins and
 * once when it is over, and kept for the status. A reason stands until there is
 * room, or until it has not been found for CONDITION_OVER_MS while another one
 * was: a line then says the new one. Moved files outrank every other reason at
 * once, since only the running daemon has the messages then.
 * What becomes of the message itself is decided in publish.c.
 *
 * Invariants: the end of a condition is logged only if its beginning was, and
 * after a message was accepted or when the tick finds that it is over. While
 * files are moved nothing says that there is room.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/gateway/gateway-private.h"

const char *gateway_full_name(enum gateway_full why)
{
    static const char *const names[] = {
        [GATEWAY_HAS_ROOM] = "",
        [GATEWAY_FULL_DISK] = "disk",
        [GATEWAY_FULL_AUDIT] = "audit_waiting",
        [GATEWAY_FULL_LOCKED] = "database_locked",
        [GATEWAY_FULL_MOVED] = "spool_moved",
    };

    return names[why];
}

/* Two reasons in turn are a line a second at the most. */
static bool gives_way(const struct gateway *gateway, enum gateway_full why)
{
    if (gateway->full_why == why || gateway->full_why == GATEWAY_FULL_MOVED)
        return false;
    return why == GATEWAY_FULL_MOVED ||
           gateway->now.boot_ms - gateway->full_noted_ms >= CONDITION_OVER_MS;
}

void gateway_note_full(struct gateway *gateway, enum gateway_full why)
{
    bool begins = condition_set(&gateway->full, gateway->now.boot_ms);
    bool is_new = begins || gives_way(gateway, why);

    if (is_new || gateway->full_why == why)
        gateway->full_noted_ms = gateway->now.boot_ms;
    if (!is_new)
        return;
    gateway->full_why = why;
    log_warning("spool_full reason=%s new_messages=refused", gateway_full_name(why));
}

/* @is_refused: spool_full follows, and what comes before it says why, also if something else was
 * said of the same shortage. */
static void hold_short_disk(struct gateway *gateway, const char *detail, bool is_refused)
{
    char text[GATEWAY_ERROR_QUOTED_MAX];
    bool begins = condition_set(&gateway->disk_short, gateway->now.boot_ms);

    if (begins ||
        (is_refused && (!gateway->full.reported || gives_way(gateway, GATEWAY_FULL_DISK))))
        log_warning("disk_short detail=%s remedy=\"see what else fills that disk (df, du); if "
                    "detail says EDQUOT or EFBIG, raise the quota or the limit of the file "
                    "size\"",
                    gateway_quote_error(detail, text));
}

void gateway_note_short_disk(struct gateway *gateway)
{
    hold_short_disk(gateway, spool_error(gateway->spool), true);
    gateway_note_full(gateway, GATEWAY_FULL_DISK);
}

/* Another program that takes and frees a few bytes makes one shortage and not many. */
static void watch_short_disk(struct gateway *gateway)
{
    struct spool_time now = gateway_spool_time(gateway);
    uint64_t evictions = spool_disk_evictions(gateway->spool);

    if (evictions != gateway->disk_evictions)
        hold_short_disk(gateway, spool_describe_disk(gateway->spool), false);
    else if (gateway->disk_short.reported && now.boot_ms >= gateway->disk_look_ms) {
        gateway->disk_look_ms = now.boot_ms + GATEWAY_FULL_RETRY_MS;
        if (spool_disk_is_short(gateway->spool, &now))
            (void)condition_set(&gateway->disk_short, now.boot_ms);
        else if (condition_clear(&gateway->disk_short, now.boot_ms))
            log_notice("disk_room after_ms=%" PRId64, condition_held_ms(&gateway->disk_short));
    }
    gateway->disk_evictions = evictions;
}

/* One commit without room is a batch that is refused; the next one holds nothing new, and if it
 * finds no room either, the end of what is sent cannot be recorded. */
static void watch_sending(struct gateway *gateway, bool had_room)
{
    char text[GATEWAY_ERROR_QUOTED_MAX];

    gateway->full_commits = had_room ? 0 : gateway->full_commits + 1;
    if (gateway->full_commits > 1 && condition_set(&gateway->unsent, gateway->now.boot_ms))
        log_warning("sending_stopped detail=%s until=\"a commit has room\" retry_ms=%d "
                    "remedy=\"make room on the disk; if detail says EDQUOT or EFBIG, raise the "
                    "quota or the limit of the file size (LimitFSIZE=, ulimit -f)\"",
                    gateway_quote_error(spool_describe_disk(gateway->spool), text),
                    GATEWAY_TICK_MS);
    if (had_room && condition_clear(&gateway->unsent, gateway->now.boot_ms))
        log_notice("sending_resumed after_ms=%" PRId64, condition_held_ms(&gateway->unsent));
}

void gateway_watch_disk(struct gateway *gateway, bool had_room)
{
    watch_sending(gateway, had_room);
    if (had_room)
        watch_short_disk(gateway);
}

const char *gateway_describe_disk(const struct gateway *gateway)
{
    return gateway->disk_short.reported && !gateway->moved ? spool_describe_disk(gateway->spool)
                                                           : "";
}

bool gateway_sends_nothing(const struct gateway *gateway)
{
    return condition_is_active(&gateway->unsent, gateway->now.boot_ms) &&
           gateway->full_commits > 1;
}

void gateway_note_room(struct gateway *gateway)
{
    if (!gateway->moved && condition_clear(&gateway->full, gateway->now.boot_ms))
        log_notice("spool_room new_messages=accepted");
}

enum gateway_full gateway_is_full(const struct gateway *gateway)
{
    if (gateway->moved)
        return GATEWAY_FULL_MOVED;
    return condition_is_active(&gateway->full, gateway->now.boot_ms) ? gateway->full_why
                                                                     : GATEWAY_HAS_ROOM;
}

bool gateway_prunes_audit(const struct gateway *gateway)
{
    return gateway->config->audit.when_full == CONFIG_AUDIT_PRUNE;
}

bool gateway_audit_is_full(const struct gateway *gateway)
{
    const struct config *config = gateway->config;
    uint64_t max_bytes = gateway_records_max(config);

    if (gateway_prunes_audit(gateway)) /* commits keep what can be pruned below the bound */
        max_bytes += 2 * GATEWAY_BATCH_BYTES;
    return !audit_is_healthy(gateway->audit) &&
           (spool_waiting(gateway->spool) >= config->audit.max_waiting ||
            spool_record_bytes(gateway->spool) >= max_bytes);
}

void gateway_note_locked(struct gateway *gateway)
{
    int64_t now_ms = gateway->now.boot_ms;

    gateway->locked_try_ms = now_ms + GATEWAY_LOCKED_RETRY_MS;
    if (!gateway->locked)
        gateway->locked_since_ms = now_ms;
    gateway->locked = true;
    if (!condition_set(&gateway->locking, now_ms))
        return;
    log_warning("database_locked by=\"another program\" new_messages=waiting "
                "refused_after_ms=%d "
                "remedy=\"end its transaction: fuser -v spool.db names it\"",
                GATEWAY_LOCKED_PATIENCE_MS);
}

void gateway_note_unlocked(struct gateway *gateway)
{
    gateway->locked = false;
    if (condition_clear(&gateway->locking, gateway->now.boot_ms))
        log_notice("database_unlocked after_ms=%" PRId64, condition_held_ms(&gateway->locking));
}

bool gateway_is_taken_for_locked(const struct gateway *gateway)
{
    return gateway->locked && gateway->now.boot_ms < gateway->locked_try_ms;
}

void gateway_note_lane_full(struct gateway *gateway, unsigned lane)
{
    const struct config *config = gateway->config;

    if (condition_set(&gateway->lane_full[lane], gateway->now.boot_ms))
        log_warning("spool_full reason=limits lane=%s new_messages=%s",
                    config_lane_name(config, lane),
                    config_lane_limits(config, lane)->when_full == CONFIG_BLOCK ? "blocked"
                                                                                : "refused");
}

void gateway_note_lane_room(struct gateway *gateway, unsigned lane)
{
    if (condition_clear(&gateway->lane_full[lane], gateway->now.boot_ms))
        log_notice("spool_room lane=%s new_messages=accepted",
                   config_lane_name(gateway->config, lane));
}

bool gateway_lane_is_full(const struct gateway *gateway, unsigned lane)
{
    return condition_is_active(&gateway->lane_full[lane], gateway->now.boot_ms);
}

/* Whether a disk has room is known only when a message was accepted. */
static bool is_still_full(const struct gateway *gateway)
{
    if (gateway->full_why == GATEWAY_FULL_AUDIT)
        return gateway_audit_is_full(gateway);
    if (gateway->full_why == GATEWAY_FULL_LOCKED)
        return gateway->locked;
    return !gateway->full.clearing;
}

void gateway_look_for_room(struct gateway *gateway)
{
    if (gateway->moved)
        return;
    if (!is_still_full(gateway))
        gateway_note_room(gateway);
    if (!gateway->locked)
        gateway_note_unlocked(gateway);
    for (unsigned lane = 0; lane <= gateway->config->lane_count; lane++) {
        if (spool_has_room(gateway->spool, lane, 0))
            gateway_note_lane_room(gateway, lane);
    }
}

static unsigned find_lane(const struct config *config, const char *name)
{
    unsigned lane = 1;

    while (lane <= config->lane_count && strcmp(config->lanes[lane - 1].name, name) != 0)
        lane++;
    return lane;
}

void gateway_keep_lane_conditions(struct gateway *gateway,
                                  const struct config_lane *lanes,
                                  size_t count)
{
    struct condition kept[SPOOL_LANES_MAX] = {gateway->lane_full[0]};

    for (size_t i = 0; i < count; i++) {
        unsigned lane = find_lane(gateway->config, lanes[i].name);

        if (lane <= gateway->config->lane_count)
            kept[lane] = gateway->lane_full[i + 1];
    }
    memcpy(gateway->lane_full, kept, sizeof(kept));
}

double gateway_room_of(const struct config_limits *limits, const struct spool_lane_stats *lane)
{
    double messages = (double)lane->messages;
    double room = (double)limits->max_messages - messages;

    if (messages > 0) {
        double by_bytes = ((double)limits->max_bytes - (double)lane->bytes) /
                          ((double)lane->bytes / messages);
        room = by_bytes < room ? by_bytes : room;
    }
    return room > 0 ? room : 0;
}

const char *gateway_refusing(const struct gateway *gateway)
{
    enum gateway_full why = gateway_is_full(gateway);

    if (why != GATEWAY_FULL_MOVED && gateway_audit_is_full(gateway))
        why = GATEWAY_FULL_AUDIT;
    else if (why == GATEWAY_FULL_AUDIT || (why == GATEWAY_FULL_LOCKED && !gateway->locked))
        why = GATEWAY_HAS_ROOM; /* that is over, though no message came since */
    return gateway_full_name(why);
}

bool gateway_takes_nothing(struct gateway *gateway, unsigned lane)
{
    const struct config_limits *limits = config_lane_limits(gateway->config, lane);
    struct spool_time now = gateway_spool_time(gateway);
    struct spool_lane_stats stats;

    if (gateway_lane_is_full(gateway, lane))
        return true;
    return limits->when_full != CONFIG_EVICT_OLDEST &&
           spool_get_lane_stats(gateway->spool, lane, &now, &stats) == 0 &&
           gateway_room_of(limits, &stats) < 1;
}

void gateway_describe_full(const struct gateway *gateway, char text[static 128])
{
    unsigned lane = 0;

    text[0] = '\0';
    while (lane < gateway->config->lane_count && !gateway_lane_is_full(gateway, lane))
        lane++;
    if (gateway->moved)
        (void)snprintf(text, 128, ", THE SPOOL'S FILES WERE REMOVED, DO NOT END THE DAEMON");
    else if (gateway_sends_nothing(gateway))
        (void)snprintf(text, 128, ", NO ROOM ON THE DISK: NOTHING IS SENT");
    else if (gateway_is_full(gateway) != GATEWAY_HAS_ROOM)
        (void)snprintf(text, 128, ", NEW MESSAGES ARE NOT TAKEN");
    else if (gateway_lane_is_full(gateway, lane))
        (void)snprintf(text, 128, ", LANE %s IS FULL", config_lane_name(gateway->config, lane));
    else if (gateway->disk_short.reported)
        (void)snprintf(text, 128, ", THE DISK IS SHORT: NEW MESSAGES EVICT OLD ONES");
}
