/* SPDX-License-Identifier: MIT */
/*
 * intake.h - why messages are not accepted, noted and logged in one place
 *
 * The part that detects a reason notes it here, and notes when there is room again.
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_INTAKE_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_INTAKE_H

#include "base/condition.h"
#include "daemon/audit/audit.h"
#include "daemon/config/config.h"
#include "daemon/gateway/turn.h"
#include "store/spool.h"

/* Why nothing at all is accepted. */
enum intake_full {
    INTAKE_HAS_ROOM,
    INTAKE_FULL_DISK,
    INTAKE_FULL_AUDIT,
    INTAKE_FULL_LOCKED,
    INTAKE_FULL_MOVED
};

/* The disk. */
struct intake_disk {
    struct condition shortage; /* messages are refused or evicted for the disk */
    uint64_t evictions;        /* of spool_disk_evictions(), as last seen */
    int64_t check_after_ms;    /* whether the shortage is over */
    struct condition unsent;   /* no commit has room, so nothing is sent */
    unsigned full_commits;     /* in a row */
};

/* The database, locked by another program. */
struct intake_lock {
    bool is_held;
    int64_t since_ms;
    int64_t retry_after_ms;
    struct condition condition;
};

/* A lane at its limits: messages are refused or held back. */
struct intake_lane {
    struct condition full;
    enum config_policy logged; /* its policy, when the beginning was logged */
};

struct intake {
    const struct turn *turn; /* borrowed, all four */
    const struct config *config;
    struct spool *spool;
    const struct audit *audit;
    enum intake_full why; /* while: */
    struct condition full;
    const char *fate;     /* of new messages, as it was logged; a literal */
    int64_t why_found_ms; /* when that reason was last found */
    struct intake_disk disk;
    struct intake_lock lock;
    struct intake_lane lanes[SPOOL_LANES_MAX];
};

/* Of several reasons one is shown: see the head of intake.c. */
void intake_note_full(struct intake *intake, enum intake_full why);
/* Why nothing was accepted just now, or within the last second. */
enum intake_full intake_full_reason(const struct intake *intake);
/* For the log and the status; "" if there is room. */
const char *intake_full_name(enum intake_full why);
/* A message was accepted. */
void intake_note_room(struct intake *intake);

void intake_note_lane_full(struct intake *intake, unsigned lane);
void intake_note_lane_room(struct intake *intake, unsigned lane);
bool intake_lane_is_full(const struct intake *intake, unsigned lane);
/* The lanes are those of the configuration now; they were @lanes: the conditions of a lane
 * follow its name, and end with it. */
void intake_keep_lane_conditions(struct intake *intake,
                                 const struct config_lane *lanes,
                                 size_t count);

/* A message was refused because the disk is short. */
void intake_note_short_disk(struct intake *intake);
/* After a commit: was something evicted for the disk, is that over, has a commit had room? */
void intake_watch_disk(struct intake *intake, bool had_room);
/* What is short, in words; "": nothing. Valid until the store is called again. */
const char *intake_describe_disk(const struct intake *intake);
/* Because no commit has room. */
bool intake_sends_nothing(const struct intake *intake);

bool intake_prunes_audit(const struct intake *intake);
bool intake_audit_is_full(const struct intake *intake);

void intake_note_locked(struct intake *intake);
void intake_note_unlocked(struct intake *intake);
/* The lock was found a moment ago: the next attempt is not due yet. */
bool intake_expects_lock(const struct intake *intake);
/* The lock is so recent that messages wait instead of being refused. */
bool intake_awaits_unlock(const struct intake *intake);

/* Once a second: what is over is reported, though no message came since. */
void intake_check_room(struct intake *intake);
/* How many more messages like those it holds a lane takes. */
double intake_room_of(const struct config_limits *limits, const struct spool_lane_stats *lane);
/* Why nothing at all is accepted, for the status; "": it is. */
const char *intake_refusing(const struct intake *intake);
/* A lane that keeps what it has accepts nothing more once it stands at its limit, also if no
 * producer has tried. */
bool intake_lane_accepts_nothing(const struct intake *intake, unsigned lane);
/* Which new messages are not accepted, for a line that ends with it. */
#define INTAKE_TEXT_MAX 128
void intake_describe(const struct intake *intake, char text[static INTAKE_TEXT_MAX]);

#endif
