/* SPDX-License-Identifier: MIT */
/*
 * outcome_name.c - the names of outcomes and reasons, and which reason fits which outcome
 *
 * The numbers are stored in the database and the names in audit files, so neither
 * of them ever changes.
 */
#include "store/spool.h"

#include <string.h>

static const char *const outcome_names[SPOOL_OUTCOMES] = {
    [SPOOL_DELIVERED] = "delivered", [SPOOL_EVICTED] = "evicted", [SPOOL_EXPIRED] = "expired",
    [SPOOL_REJECTED] = "rejected",   [SPOOL_DROPPED] = "dropped", [SPOOL_DAMAGED] = "damaged",
};

static const char *const reason_names[SPOOL_REASONS] = {
    [SPOOL_REASON_NONE] = "",
    [SPOOL_REASON_MAX_MESSAGES] = "max_messages",
    [SPOOL_REASON_MAX_BYTES] = "max_bytes",
    [SPOOL_REASON_MAX_AGE] = "max_age",
    [SPOOL_REASON_DISK] = "disk",
    [SPOOL_REASON_MESSAGE_EXPIRY] = "message_expiry",
    [SPOOL_REASON_REASON_CODE] = "reason_code",
    [SPOOL_REASON_TOO_LARGE] = "too_large",
    [SPOOL_REASON_POISON] = "poison",
    [SPOOL_REASON_ATTEMPTS] = "attempts",
    [SPOOL_REASON_OPERATOR] = "operator",
    [SPOOL_REASON_CORRUPT] = "corrupt",
};

const char *spool_outcome_name(enum spool_outcome outcome)
{
    return (unsigned)outcome < SPOOL_OUTCOMES ? outcome_names[outcome] : "";
}

const char *spool_reason_name(enum spool_reason reason)
{
    return (unsigned)reason < SPOOL_REASONS ? reason_names[reason] : "";
}

bool spool_outcome_parse(const char *name, enum spool_outcome *ret_outcome)
{
    for (unsigned i = 0; i < SPOOL_OUTCOMES; i++) {
        if (strcmp(name, outcome_names[i]) == 0) {
            *ret_outcome = (enum spool_outcome)i;
            return true;
        }
    }
    return false;
}

bool spool_reason_parse(const char *name, enum spool_reason *ret_reason)
{
    for (unsigned i = 0; i < SPOOL_REASONS; i++) {
        if (strcmp(name, reason_names[i]) == 0) {
            *ret_reason = (enum spool_reason)i;
            return true;
        }
    }
    return false;
}

bool spool_reason_fits(enum spool_outcome outcome, enum spool_reason reason)
{
    static const unsigned fitting[SPOOL_OUTCOMES] = {
        [SPOOL_DELIVERED] = 1U << SPOOL_REASON_NONE,
        [SPOOL_EVICTED] = 1U << SPOOL_REASON_MAX_MESSAGES | 1U << SPOOL_REASON_MAX_BYTES |
                          1U << SPOOL_REASON_MAX_AGE | 1U << SPOOL_REASON_DISK,
        [SPOOL_EXPIRED] = 1U << SPOOL_REASON_MESSAGE_EXPIRY,
        [SPOOL_REJECTED] = 1U << SPOOL_REASON_REASON_CODE | 1U << SPOOL_REASON_TOO_LARGE |
                           1U << SPOOL_REASON_POISON | 1U << SPOOL_REASON_ATTEMPTS,
        [SPOOL_DROPPED] = 1U << SPOOL_REASON_OPERATOR,
        [SPOOL_DAMAGED] = 1U << SPOOL_REASON_CORRUPT,
    };
    return (unsigned)outcome < SPOOL_OUTCOMES && (unsigned)reason < SPOOL_REASONS &&
           (fitting[outcome] & 1U << reason);
}
