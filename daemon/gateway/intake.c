/* SPDX-License-Identifier: MIT */
/*
 * intake.c - why messages are not accepted, noted and logged in one place
 *
 * The disk is full, too many records wait for the audit file, another program
 * locks the database, the files of the spool were moved, a lane is at its limits.
 * The file that detects it notes it here; it is logged once when it begins, again
 * if a reload changes what becomes of the messages, and once when it is over; and it
 * is kept for the status. A reason is shown until there is room, or until it has not
 * been found for CONDITION_OVER_MS while another one was: then the new one is logged.
 * Moved files replace every other reason at once, because only the running daemon has
 * the messages then.
 * What becomes of the message itself is decided in publish.c.
 *
 * Invariants: the end of a condition is logged only if its beginning was, and
 * after a message was accepted, when the tick finds that it is over, or when its
 * lane is removed. While files are moved no room is reported.
 *
 * Diagnostics: spool_full, spool_room, disk_short, disk_room, sending_stopped,
 * sending_resumed, database_locked, database_unlocked.
 */
#include "daemon/gateway/intake.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/reload.h"
#include "base/text.h"
#include "daemon/config/config.h"
#include "daemon/config/spool_lanes.h"
#include "daemon/gateway/limits.h"
#include "daemon/gateway/settings.h"
#include "store/spool.h"

#define LANE_REMEDY_MAX 256 /* with the name of a lane */

const char *intake_full_name(enum intake_full why)
{
    static const char *const names[] = {
        [INTAKE_HAS_ROOM] = "",
        [INTAKE_FULL_DISK] = "disk",
        [INTAKE_FULL_AUDIT] = "audit_waiting",
        [INTAKE_FULL_LOCKED] = "database_locked",
        [INTAKE_FULL_MOVED] = "spool_moved",
    };

    return names[why];
}

/* What the operator can do; a literal without quotes. */
static const char *intake_full_remedy(enum intake_full why)
{
    static const char *const remedies[] = {
        [INTAKE_HAS_ROOM] = "none is needed",
        [INTAKE_FULL_DISK] = "make room on the disk; the line before says what is short",
        [INTAKE_FULL_AUDIT] = "make the audit file writable; mqtt-spool status has the cause",
        [INTAKE_FULL_LOCKED] = "end the other program: fuser -v spool.db names it",
        [INTAKE_FULL_MOVED] = "do not end the daemon: its log says what it needs",
    };

    return remedies[why];
}

/* Does @why replace the reason that is shown? Two in turn are a line a second at the most. */
static bool replaces(const struct intake *intake, enum intake_full why)
{
    if (intake->why == why || intake->why == INTAKE_FULL_MOVED)
        return false;
    return why == INTAKE_FULL_MOVED ||
           intake->turn->now.boot_ms - intake->why_found_ms >= CONDITION_OVER_MS;
}

/* By the policies of the lanes, as publish.c decides it. */
static const char *fate_of_messages(const struct config *config, enum intake_full why)
{
    unsigned blocking = 0;

    for (unsigned lane = 0; lane <= config->lane_count && why != INTAKE_FULL_MOVED; lane++)
        blocking += config_lane_limits(config, lane)->when_full == CONFIG_BLOCK;
    if (blocking == 0)
        return "refused";
    return blocking > config->lane_count ? "blocked" : "refused_or_blocked";
}

void intake_note_full(struct intake *intake, enum intake_full why)
{
    bool begins = condition_set(&intake->full, intake->turn->now.boot_ms);
    bool is_new = begins || replaces(intake, why);
    const char *fate = fate_of_messages(intake->config, why);

    if (is_new || intake->why == why)
        intake->why_found_ms = intake->turn->now.boot_ms;
    if (!is_new && (intake->why != why || strcmp(intake->fate, fate) == 0))
        return;
    intake->why = why;
    intake->fate = fate;
    log_warning("spool_full reason=%s new_messages=%s remedy=\"%s\"", intake_full_name(why),
                fate, intake_full_remedy(why));
}

/* @is_refused: spool_full follows, so the cause is logged before it, even if the shortage was
 * logged with another cause. */
static void set_shortage(struct intake *intake, const char *detail, bool is_refused)
{
    char text[GATEWAY_ERROR_QUOTED_MAX];
    bool begins = condition_set(&intake->disk.shortage, intake->turn->now.boot_ms);

    if (begins ||
        (is_refused && (!intake->full.reported || replaces(intake, INTAKE_FULL_DISK))))
        log_warning("disk_short detail=%s remedy=\"see what else fills that disk (df, du); if "
                    "detail says EDQUOT or EFBIG, raise the quota or the limit of the file "
                    "size\"",
                    gateway_quote_error(detail, text));
}

void intake_note_short_disk(struct intake *intake)
{
    set_shortage(intake, spool_error(intake->spool), true);
    intake_note_full(intake, INTAKE_FULL_DISK);
}

/* Another program that takes and frees a few bytes causes one shortage and not many. */
static void check_shortage(struct intake *intake)
{
    struct spool_time now = turn_spool_time(intake->turn);
    uint64_t evictions = spool_disk_evictions(intake->spool);

    if (evictions != intake->disk.evictions)
        set_shortage(intake, spool_describe_disk(intake->spool), false);
    else if (intake->disk.shortage.reported && now.boot_ms >= intake->disk.check_after_ms) {
        intake->disk.check_after_ms = now.boot_ms + GATEWAY_FULL_RETRY_MS;
        if (spool_disk_is_short(intake->spool, &now))
            (void)condition_set(&intake->disk.shortage, now.boot_ms);
        else if (condition_clear(&intake->disk.shortage, now.boot_ms))
            log_notice("disk_room after_ms=%" PRId64 " room=\"%s\"",
                       condition_held_ms(&intake->disk.shortage),
                       spool_disk_is_low(intake->spool) ? "free pages inside spool.db"
                                                        : "on the disk");
    }
    intake->disk.evictions = evictions;
}

/* One commit without room is a batch that is refused; the next one holds nothing new, and if it
 * finds no room either, the end of what is sent cannot be recorded. */
static void check_sending(struct intake *intake, bool had_room)
{
    char text[GATEWAY_ERROR_QUOTED_MAX];

    intake->disk.full_commits = had_room ? 0 : intake->disk.full_commits + 1;
    if (intake->disk.full_commits > 1 &&
        condition_set(&intake->disk.unsent, intake->turn->now.boot_ms))
        log_warning("sending_stopped detail=%s until=\"a commit has room\" retry_ms=%d "
                    "remedy=\"make room on the disk; if detail says EDQUOT or EFBIG, raise the "
                    "quota or the limit of the file size (LimitFSIZE=, ulimit -f)\"",
                    gateway_quote_error(spool_describe_disk(intake->spool), text),
                    GATEWAY_TICK_MS);
    if (had_room && condition_clear(&intake->disk.unsent, intake->turn->now.boot_ms))
        log_notice("sending_resumed after_ms=%" PRId64,
                   condition_held_ms(&intake->disk.unsent));
}

void intake_watch_disk(struct intake *intake, bool had_room)
{
    check_sending(intake, had_room);
    if (had_room)
        check_shortage(intake);
}

const char *intake_describe_disk(const struct intake *intake)
{
    return intake->disk.shortage.reported && !intake->turn->has_moved
               ? spool_describe_disk(intake->spool)
               : "";
}

bool intake_sends_nothing(const struct intake *intake)
{
    return condition_is_active(&intake->disk.unsent, intake->turn->now.boot_ms) &&
           intake->disk.full_commits > 1;
}

void intake_note_room(struct intake *intake)
{
    if (!intake->turn->has_moved && condition_clear(&intake->full, intake->turn->now.boot_ms))
        log_notice("spool_room new_messages=accepted");
}

enum intake_full intake_full_reason(const struct intake *intake)
{
    if (intake->turn->has_moved)
        return INTAKE_FULL_MOVED;
    return condition_is_active(&intake->full, intake->turn->now.boot_ms) ? intake->why
                                                                         : INTAKE_HAS_ROOM;
}

bool intake_prunes_audit(const struct intake *intake)
{
    return intake->config->audit.when_full == CONFIG_AUDIT_PRUNE;
}

bool intake_audit_is_full(const struct intake *intake)
{
    const struct config *config = intake->config;
    uint64_t max_bytes = gateway_records_max(config);

    if (intake_prunes_audit(intake)) /* commits keep what can be pruned below the limit */
        max_bytes += 2 * GATEWAY_BATCH_BYTES;
    return !audit_is_healthy(intake->audit) &&
           (spool_waiting(intake->spool) >= config->audit.max_waiting ||
            spool_record_bytes(intake->spool) >= max_bytes);
}

void intake_note_locked(struct intake *intake)
{
    int64_t now_ms = intake->turn->now.boot_ms;

    intake->lock.retry_after_ms = now_ms + GATEWAY_LOCKED_RETRY_MS;
    if (!intake->lock.is_held)
        intake->lock.since_ms = now_ms;
    intake->lock.is_held = true;
    if (!condition_set(&intake->lock.condition, now_ms))
        return;
    log_warning("database_locked by=\"another program\" new_messages=waiting "
                "refused_after_ms=%d "
                "remedy=\"end its transaction: fuser -v spool.db names it\"",
                GATEWAY_LOCKED_PATIENCE_MS);
}

void intake_note_unlocked(struct intake *intake)
{
    intake->lock.is_held = false;
    if (condition_clear(&intake->lock.condition, intake->turn->now.boot_ms))
        log_notice("database_unlocked after_ms=%" PRId64,
                   condition_held_ms(&intake->lock.condition));
}

bool intake_expects_lock(const struct intake *intake)
{
    return intake->lock.is_held && intake->turn->now.boot_ms < intake->lock.retry_after_ms;
}

bool intake_awaits_unlock(const struct intake *intake)
{
    return intake->turn->now.boot_ms - intake->lock.since_ms < GATEWAY_LOCKED_PATIENCE_MS;
}

/* While a lane is held the link sends nothing of it. */
static void write_lane_remedy(const struct intake *intake,
                              const char *name,
                              char remedy[static LANE_REMEDY_MAX])
{
    if (spool_is_held(intake->spool, NULL))
        text_format(remedy, LANE_REMEDY_MAX, "an operator holds all lanes: mqtt-spool release");
    else if (spool_is_held(intake->spool, name))
        text_format(remedy, LANE_REMEDY_MAX,
                    "an operator holds this lane: mqtt-spool release --lane %s", name);
    else
        text_format(remedy, LANE_REMEDY_MAX, "bring the link back");
}

void intake_note_lane_full(struct intake *intake, unsigned lane)
{
    const struct config *config = intake->config;
    const char *name = config_lane_name(config, lane);
    enum config_policy policy = config_lane_limits(config, lane)->when_full;
    struct intake_lane *state = &intake->lanes[lane];
    char remedy[LANE_REMEDY_MAX];

    if (!condition_set(&state->full, intake->turn->now.boot_ms) && state->logged == policy)
        return;
    state->logged = policy;
    write_lane_remedy(intake, name, remedy);
    log_warning(
        "spool_full reason=limits lane=%s new_messages=%s remedy=\"%s, or raise "
        "max_messages or max_bytes of this lane (of retention for default) and " RELOAD_REMEDY
        "\"",
        name, policy == CONFIG_BLOCK ? "blocked" : "refused", remedy);
}

void intake_note_lane_room(struct intake *intake, unsigned lane)
{
    if (condition_clear(&intake->lanes[lane].full, intake->turn->now.boot_ms))
        log_notice("spool_room lane=%s new_messages=accepted",
                   config_lane_name(intake->config, lane));
}

bool intake_lane_is_full(const struct intake *intake, unsigned lane)
{
    return condition_is_active(&intake->lanes[lane].full, intake->turn->now.boot_ms);
}

/* Whether a disk has room is known only when a message was accepted. */
static bool is_still_full(const struct intake *intake)
{
    if (intake->why == INTAKE_FULL_AUDIT)
        return intake_audit_is_full(intake);
    if (intake->why == INTAKE_FULL_LOCKED)
        return intake->lock.is_held;
    return !intake->full.clearing;
}

void intake_check_room(struct intake *intake)
{
    if (intake->turn->has_moved)
        return;
    if (!is_still_full(intake))
        intake_note_room(intake);
    if (!intake->lock.is_held)
        intake_note_unlocked(intake);
    for (unsigned lane = 0; lane <= intake->config->lane_count; lane++) {
        if (spool_has_room(intake->spool, lane, 0))
            intake_note_lane_room(intake, lane);
    }
}

static unsigned find_lane(const struct config *config, const char *name)
{
    unsigned lane = 1;

    while (lane <= config->lane_count && strcmp(config->lanes[lane - 1].name, name) != 0)
        lane++;
    return lane;
}

/* There is nothing to wait for: other lanes take its messages now. */
static void
note_lane_removed(const struct intake *intake, const struct intake_lane *lane, const char *name)
{
    if (lane->full.reported && !intake->turn->has_moved)
        log_notice("spool_room lane=%s new_messages=other_lane", name);
}

void intake_keep_lane_conditions(struct intake *intake,
                                 const struct config_lane *lanes,
                                 size_t count)
{
    struct intake_lane kept[SPOOL_LANES_MAX] = {intake->lanes[0]};

    for (size_t i = 0; i < count; i++) {
        unsigned lane = find_lane(intake->config, lanes[i].name);

        if (lane <= intake->config->lane_count)
            kept[lane] = intake->lanes[i + 1];
        else
            note_lane_removed(intake, &intake->lanes[i + 1], lanes[i].name);
    }
    memcpy(intake->lanes, kept, sizeof(kept));
}

double intake_room_of(const struct config_limits *limits, const struct spool_lane_stats *lane)
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

const char *intake_refusing(const struct intake *intake)
{
    enum intake_full why = intake_full_reason(intake);

    if (why != INTAKE_FULL_MOVED && intake_audit_is_full(intake))
        why = INTAKE_FULL_AUDIT;
    else if (why == INTAKE_FULL_AUDIT || (why == INTAKE_FULL_LOCKED && !intake->lock.is_held))
        why = INTAKE_HAS_ROOM; /* it is over, though no message came since */
    return intake_full_name(why);
}

bool intake_lane_accepts_nothing(const struct intake *intake, unsigned lane)
{
    const struct config_limits *limits = config_lane_limits(intake->config, lane);
    struct spool_time now = turn_spool_time(intake->turn);
    struct spool_lane_stats stats;

    if (intake_lane_is_full(intake, lane))
        return true;
    return limits->when_full != CONFIG_EVICT_OLDEST &&
           spool_get_lane_stats(intake->spool, lane, &now, &stats) == 0 &&
           intake_room_of(limits, &stats) < 1;
}

void intake_describe(const struct intake *intake, char text[static INTAKE_TEXT_MAX])
{
    unsigned lane = 0;

    text[0] = '\0';
    while (lane < intake->config->lane_count && !intake_lane_is_full(intake, lane))
        lane++;
    if (intake->turn->has_moved)
        (void)snprintf(text, INTAKE_TEXT_MAX,
                       ", THE SPOOL'S FILES WERE REMOVED, DO NOT END THE DAEMON");
    else if (intake_sends_nothing(intake))
        (void)snprintf(text, INTAKE_TEXT_MAX, ", NO ROOM ON THE DISK: NOTHING IS SENT");
    else if (intake_full_reason(intake) != INTAKE_HAS_ROOM)
        (void)snprintf(text, INTAKE_TEXT_MAX, ", NEW MESSAGES ARE NOT TAKEN");
    else if (intake_lane_is_full(intake, lane))
        (void)snprintf(text, INTAKE_TEXT_MAX, ", LANE %s IS FULL",
                       config_lane_name(intake->config, lane));
    else if (intake->disk.shortage.reported)
        (void)snprintf(text, INTAKE_TEXT_MAX,
                       ", THE DISK IS SHORT: NEW MESSAGES MAY EVICT OLD ONES");
}
