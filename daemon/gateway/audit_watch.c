/* SPDX-License-Identifier: MIT */
/*
 * audit_watch.c - when records wait for an audit file that cannot be written
 *
 * They wait in the database, and audit.max_waiting says how many may, and so how
 * many bytes: a record of the largest topic takes as much as a thousand others.
 * Half of the number is a warning. At the whole the operator has chosen by audit.when_full: no
 * more messages are accepted, or the oldest records of deliveries give way.
 * Records of failures never do: where nothing else is left, accepting ends under
 * either choice.
 *
 * While the file is written, rows wait for its next sync only, so no message is
 * refused and no record gives way then.
 */
#include <inttypes.h>

#include "daemon/gateway/gateway-private.h"

void gateway_bound_audit(struct gateway *gateway)
{
    bool may_prune = gateway_prunes_audit(gateway) && !audit_is_healthy(gateway->audit);

    spool_set_waiting_max(gateway->spool, may_prune ? gateway->config->audit.max_waiting : 0);
    spool_set_records_max(gateway->spool, gateway_records_max(gateway->config));
}

/* Rows that are written and not yet synced cannot be pruned. In so great a number that all that was
 * synced is gone they do not wait for the time of the next sync. */
static void sync_what_is_too_large(struct gateway *gateway)
{
    if (audit_is_healthy(gateway->audit) && spool_waiting(gateway->spool) > 0 &&
        spool_record_bytes(gateway->spool) >= gateway_records_max(gateway->config))
        audit_sync(gateway->audit, gateway->now.boot_ms);
}

static void end_audit_watch(struct gateway *gateway)
{
    if (!condition_clear(&gateway->audit_unwritten, gateway->now.boot_ms))
        return;
    uint64_t pruned = spool_pruned_unexported(gateway->spool) - gateway->audit_pruned_before;

    if (pruned > 0)
        log_warning("audit_pruned records=%" PRIu64 " outcome=delivered explained=in_the_file",
                    pruned);
    gateway->audit_pruned_before += pruned;
    gateway->audit_half_told = false;
    gateway->audit_pruning_told = false;
}

void gateway_watch_audit(struct gateway *gateway)
{
    uint64_t max = gateway->config->audit.max_waiting;
    uint64_t waiting = spool_waiting(gateway->spool);
    int when_full = (int)gateway->config->audit.when_full;

    sync_what_is_too_large(gateway);
    if (audit_is_healthy(gateway->audit)) {
        end_audit_watch(gateway);
        return;
    }
    (void)condition_set(&gateway->audit_unwritten, gateway->now.boot_ms); /* audit.c logs it */
    if (!gateway->audit_half_told && (waiting >= max / 2 || gateway_audit_is_full(gateway))) {
        log_warning("audit_half_full waiting=%" PRIu64 " max_waiting=%" PRIu64
                    " when_full=%s remedy=\"make the audit file writable\"",
                    waiting, max, config_key_word("audit.when_full", when_full));
        gateway->audit_half_told = true;
    }
    if (!gateway->audit_pruning_told &&
        spool_pruned_unexported(gateway->spool) > gateway->audit_pruned_before) {
        log_warning("audit_pruning max_waiting=%" PRIu64
                    " removed=\"the oldest records of deliveries\"",
                    max);
        gateway->audit_pruning_told = true;
    }
}
