/* SPDX-License-Identifier: MIT */
/*
 * status.h - when the status file is written, and what came of it
 *
 * gateway_publish_status() writes it. Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_STATUS_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_STATUS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/condition.h"
#include "daemon/config/config.h"
#include "daemon/gateway/spool_open.h"
#include "daemon/gateway/turn.h"
#include "store/spool.h"

/* As of the last status, and since the one before. */
struct status_rates {
    int64_t since_boot_ms;
    uint64_t accepted;
    uint64_t last_seq;
    double in_per_s;
    double out_per_s;
    /* Of each lane, for the forecast; what was spooled is not known after the lanes changed. */
    bool has_lanes;
    uint64_t lane_messages[SPOOL_LANES_MAX];
    double lane_growth_per_s[SPOOL_LANES_MAX];
};

/* What the last HUP left as it was: see struct record_configuration. */
struct status_reload {
    char restart_keys[CONFIG_RESTARTS_MAX];
    const char *refused;
};

struct status {
    const struct turn *turn; /* borrowed, both */
    const struct config *config;
    sd_event_source *timer;
    struct condition unwritten;
    struct stat file; /* as it was written last; all zero: it was not */
    bool is_shared_logged;
    struct status_rates rates;
    uint64_t published_accepted; /* the counter, and the newest outcome, as published last */
    uint64_t published_seq;
    bool is_held;                 /* all lanes are */
    int64_t hold_changed_boot_ms; /* when that changed last; 0: not since the start */
    struct salvaged salvaged;     /* set when the spool is opened */
    struct status_reload reload;
};

/* Something that an operator looks for has changed: do not wait for the interval. */
void status_hasten(struct status *status);
/* Are all lanes held? After each call that may have changed it: a hold counts at once, a
 * release once it is committed. */
void status_note_hold(struct status *status, bool is_held);
/* At the end: a status without a daemon would be read as one. */
void status_remove(struct status *status);

#endif
