/* SPDX-License-Identifier: MIT */
/*
 * reload.c - HUP: what of a new configuration applies while running
 *
 * What does not apply is logged with its keys. Parts that keep a copy of a setting
 * are given the new one in adjust_parts().
 *
 * Invariant: lanes and retention are taken over together or not at all.
 *
 * Diagnostics: lane_not_configured, reload_partial, reloaded.
 */
#include <inttypes.h>

#include "base/log.h"
#include "base/reload.h"
#include "daemon/audit/audit.h"
#include "daemon/config/config.h"
#include "daemon/config/spool_lanes.h"
#include "daemon/gateway/gateway-private.h"
#include "daemon/gateway/gateway.h"
#include "daemon/gateway/settings.h"
#include "daemon/gateway/spool_open.h"
#include "daemon/gateway/waiting.h"
#include "store/spool.h"

/* A lane that left the configuration keeps its messages, which an operator may not expect. */
void gateway_log_left_lanes(struct gateway *gateway)
{
    struct spool_time now = turn_spool_time(&gateway->turn);
    size_t count = spool_lane_count(gateway->spool);

    for (size_t i = gateway->config->lane_count + 1; i < count; i++) {
        struct spool_lane_stats lane;

        if (spool_get_lane_stats(gateway->spool, (unsigned)i, &now, &lane) == 0 &&
            lane.messages > 0)
            log_notice("lane_not_configured lane=%s spooled=%" PRIu64 " limits=default",
                       lane.name, lane.messages);
    }
}

/* The lanes, and retention with them. Return: false: both stay as they are, and the reason is
 * logged. */
static bool take_over_lanes(struct gateway *gateway, struct config *fresh)
{
    struct config *running = gateway->config;
    struct config_lane *old = running->lanes;
    size_t old_count = running->lane_count;
    struct spool_lane lanes[SPOOL_LANES_MAX];
    char text[GATEWAY_ERROR_QUOTED_MAX];
    int r = spool_set_lanes(gateway->spool, lanes, config_spool_lanes(fresh, lanes));

    if (r < 0)
        turn_fail(&gateway->turn, r, "lanes");
    if (r == SPOOL_E_LANES)
        log_warning("reload_partial keys=lanes error=%s remedy=\"%s\"",
                    gateway_quote_error(spool_error(gateway->spool), text),
                    gateway_spool_remedy(r));
    if (r != 0) {
        fresh->retention = running->retention;
        return false;
    }
    running->lanes = fresh->lanes;
    running->lane_count = fresh->lane_count;
    fresh->lanes = old;
    fresh->lane_count = old_count;
    intake_keep_lane_conditions(&gateway->intake, old, old_count);
    waiting_forget_lanes(&gateway->clients.waiting);
    gateway->status.rates.has_lanes = false;
    return true;
}

/* The parts that keep a copy of a setting. */
static void adjust_parts(struct gateway *gateway)
{
    const struct config *config = gateway->config;
    struct audit_settings audit = gateway_audit_settings(config);

    spool_set_keep(gateway->spool, config->audit.keep_ms);
    struct spool_kept_limits kept = gateway_kept_limits(config);
    spool_set_kept(gateway->spool, &kept);
    spool_set_disk_reserve(gateway->spool, config->spool.disk_reserve);
    clients_fit(&gateway->clients);
    /* The cursor of the old file is durable before the first line in the new one: the edge
     * commits before it exports. */
    audit_reopen(gateway->audit, &audit);
    edge_timer_arm_urgent(&gateway->edge_timer);
    log_set_level((enum log_level)config->log_level);
    /* What kept the link down may be corrected. */
    uplink_retry_now(gateway->uplink);
}

const struct config *gateway_config(const struct gateway *gateway)
{
    return gateway->config;
}

void gateway_reload(struct gateway *gateway, struct config *config)
{
    struct status_reload *reload = &gateway->status.reload;
    bool whole = config_needs_restart(gateway->config, config, reload->restart_keys) == 0;

    if (!whole)
        log_warning("reload_partial keys=%s remedy=\"to apply them: " RESTART_REMEDY "\"",
                    reload->restart_keys);
    reload->refused = take_over_lanes(gateway, config) ? NULL : "lanes";
    if (!reload->refused)
        gateway_log_left_lanes(gateway);
    else
        whole = false;
    config_take_reloadable(gateway->config, config);
    clients_apply_access(&gateway->clients);
    control_apply_access(gateway);
    config_free(config);
    adjust_parts(gateway);
    status_hasten(&gateway->status);
    log_notice("reloaded applied=%s", whole ? "all" : "part");
}

void gateway_refuse_reload(struct gateway *gateway)
{
    gateway->status.reload.refused = "file";
    status_hasten(&gateway->status);
}
