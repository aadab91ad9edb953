/* SPDX-License-Identifier: MIT */
/*
 * audit_watch.c - when records wait for an audit file that cannot be written
 *
 * They wait in the database, and audit.max_waiting says how many may, and so how
 * many bytes: a record of the largest topic takes as much as a thousand others.
 * Half of the number is a warning. At the whole the operator has chosen by audit.when_full: no
 * more messages are accepted, or the oldest records of deliveries are pruned.
 * Records of failures never are: if only they are left, nothing is accepted under
 * either choice.
 *
 * Invariant: while the file can be written, rows wait only for its next sync, so no
 * message is refused and no record is pruned because of them.
 *
 * Diagnostics: audit_half_full, audit_pruning, audit_pruned.
 */
#include "daemon/gateway/audit_watch.h"

#include <inttypes.h>

#include "base/condition.h"
#include "base/log.h"
#include "daemon/audit/audit.h"
#include "daemon/config/config.h"
#include "daemon/gateway/settings.h"
#include "daemon/gateway/turn.h"
#include "store/spool.h"

void audit_watch_bound(struct audit_watch *watch)
{
    bool may_prune = intake_prunes_audit(watch->intake) && !audit_is_healthy(watch->audit);

    spool_set_waiting_max(watch->spool, may_prune ? watch->config->audit.max_waiting : 0);
    spool_set_records_max(watch->spool, gateway_records_max(watch->config));
}

/* Rows that are written and not yet synced cannot be pruned. If they alone exceed the limit,
 * the sync does not wait for its time. */
static void sync_early(struct audit_watch *watch)
{
    if (audit_is_healthy(watch->audit) && spool_waiting(watch->spool) > 0 &&
        spool_record_bytes(watch->spool) >= gateway_records_max(watch->config))
        audit_sync(watch->audit, watch->turn->now.boot_ms);
}

static void end_audit_watch(struct audit_watch *watch)
{
    if (!condition_clear(&watch->unwritten, watch->turn->now.boot_ms))
        return;
    uint64_t pruned = spool_pruned_unexported(watch->spool) - watch->pruned_before;

    if (pruned > 0)
        log_warning(
            "audit_pruned records=%" PRIu64
            " outcome=delivered explained=in_the_file remedy=\"to keep all records next "
            "time, raise audit.max_waiting, or set audit.when_full = refuse\"",
            pruned);
    watch->pruned_before += pruned;
    watch->is_half_logged = false;
    watch->is_pruning_logged = false;
}

void audit_watch_check(struct audit_watch *watch)
{
    uint64_t max = watch->config->audit.max_waiting;
    uint64_t waiting = spool_waiting(watch->spool);
    int when_full = (int)watch->config->audit.when_full;

    sync_early(watch);
    if (audit_is_healthy(watch->audit)) {
        end_audit_watch(watch);
        return;
    }
    (void)condition_set(&watch->unwritten, watch->turn->now.boot_ms); /* audit.c logs it */
    if (!watch->is_half_logged && (waiting >= max / 2 || intake_audit_is_full(watch->intake))) {
        log_warning("audit_half_full waiting=%" PRIu64 " max_waiting=%" PRIu64
                    " when_full=%s remedy=\"make the audit file writable\"",
                    waiting, max, config_key_word("audit.when_full", when_full));
        watch->is_half_logged = true;
    }
    if (!watch->is_pruning_logged &&
        spool_pruned_unexported(watch->spool) > watch->pruned_before) {
        log_warning(
            "audit_pruning max_waiting=%" PRIu64
            " removed=\"the oldest records of deliveries\" remedy=\"make the audit file "
            "writable\"",
            max);
        watch->is_pruning_logged = true;
    }
}
