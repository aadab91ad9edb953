/* SPDX-License-Identifier: MIT */
/*
 * retry.c - which broker is tried next, and when
 *
 * After a good connection the same broker, otherwise the next of the list. Between two brokers
 * there is no pause, after each round through the list there is one, with full jitter.
 *
 * Diagnostics: link_retry.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/log.h"
#include "daemon/uplink/settings.h"
#include "daemon/uplink/uplink-private.h"

/* Of failures that repeat, one line at least this often, and one of so many. */
#define RETRY_LOG_MS   60000
#define RETRY_LOG_EACH 10

uint64_t uplink_backoff_ms(uint64_t min_ms, uint64_t max_ms, unsigned round, uint64_t random)
{
    uint64_t limit = min_ms < max_ms ? min_ms : max_ms;

    while (round-- > 0 && limit < max_ms)
        limit = limit > max_ms / 2 ? max_ms : limit * 2;
    return random % (limit + 1);
}

static uint64_t next_backoff_ms(struct uplink_retry *retry,
                                const struct uplink_settings *settings)
{
    uint64_t random = (uint64_t)rand(); /* for a machine that has no entropy yet */

    (void)!getrandom(&random, sizeof(random), GRND_NONBLOCK);
    return uplink_backoff_ms(settings->backoff_min_ms, settings->backoff_max_ms,
                             retry->backoff_round++, random);
}

/*
 * A broker that accepts the connection and closes it at once is no better than
 * one that refuses it. So a connection counts as good once the broker has
 * acknowledged something, or when it has lasted as long as the longest backoff.
 */
static bool was_good(const struct uplink_connection *connection, uint64_t backoff_max_ms)
{
    return connection->online_ms > 0 &&
           (connection->is_proven ||
            uplink_now_ms() - connection->online_ms >= (int64_t)backoff_max_ms);
}

uint64_t uplink_plan_retry(struct uplink *uplink)
{
    const struct uplink_settings *settings = uplink->settings;
    struct uplink_retry *retry = &uplink->retry;
    struct uplink_brokers *brokers = &uplink->brokers;

    if (uplink->connection.reconnects_at_once) {
        uplink->connection.reconnects_at_once = false;
        brokers->list[brokers->current].is_address_suspect = false;
        return 0;
    }
    if (was_good(&uplink->connection, settings->backoff_max_ms)) {
        brokers->list[brokers->current].is_address_suspect = false;
        retry->failed_attempts = 0;
        retry->backoff_round = 0;
        return next_backoff_ms(retry, settings);
    }
    retry->failed_attempts++;
    brokers->current = (brokers->current + 1) % settings->broker_count;
    if (retry->failed_attempts % settings->broker_count != 0)
        return 0;
    return next_backoff_ms(retry, settings);
}

void uplink_log_retry(struct uplink *uplink, const char *broker, uint64_t wait_ms)
{
    struct uplink_retry *retry = &uplink->retry;
    const char *error = uplink->last_error.text;
    unsigned failed = retry->failed_attempts;
    int64_t now_ms = uplink_now_ms();
    char uri[UPLINK_TEXT_MAX];
    char reason[UPLINK_TEXT_MAX];

    /* Each broker's first failure, then one line now and then. */
    if (failed > uplink->settings->broker_count && failed % RETRY_LOG_EACH != 0 &&
        now_ms - retry->logged_ms < RETRY_LOG_MS)
        return;
    retry->logged_ms = now_ms;
    log_warning("link_retry broker=%s reason=%s retry_ms=%" PRIu64 " attempts=%u remedy=\"%s\"",
                log_quote(uri, sizeof(uri), broker, strlen(broker)),
                log_quote(reason, sizeof(reason), error, strlen(error)), wait_ms, failed,
                uplink_remedy(uplink));
}

bool uplink_is_library_suspect(const struct uplink_retry *retry)
{
    unsigned tens = retry->failed_attempts / 10;

    return retry->failed_attempts % 10 == 0 && tens > 0 && (tens & (tens - 1)) == 0;
}
