/* SPDX-License-Identifier: MIT */
/*
 * retry.c - which broker is tried next, and when
 *
 * Each broker has its own history. An attempt that fails, and a connection that does not last,
 * prolong the pause before that broker is tried again, whatever it acknowledged meanwhile: a
 * broker that closes at each message, or two gateways with one client id, would otherwise
 * connect without end. Only a connection that lasted has the shortest pause after it, and
 * its broker is tried again before any other; or one that a message has cost, once that
 * message was rejected for it. With several brokers, one that takes no message has not lasted.
 *
 * Invariant: no broker is tried before its pause is over, unless the operator asks; between two
 * brokers there is no pause. Of lines that repeat, few are logged, and how many were not. The
 * loss of a connection that was logged is logged too, and after it the first attempt that
 * fails, because its reason is another one.
 *
 * Diagnostics: link_online, link_lost, link_retry.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/mqtt/packet.h"
#include "daemon/uplink/settings.h"
#include "daemon/uplink/uplink-private.h"

/* A connection that is online for so long is a good one; or for backoff.max, if less. */
#define LASTING_MS 60000

/* Of lines that repeat, one at least this often, and one of so many failures. */
#define RETRY_LOG_MS     60000
#define RETRY_LOG_EACH   10
#define RETRY_LOG_FIRST  1
#define ONLINE_LOG_FIRST 2

/* Of a connection after one that the broker closed in mid-window. */
#define WINDOW_LEAST 8

/* How often the files of the settings are checked during a pause. */
#define FILES_CHECK_MS 5000

static uint64_t next_backoff_ms(struct uplink_broker *broker,
                                const struct uplink_settings *settings)
{
    uint64_t random = (uint64_t)rand(); /* for a machine that has no entropy yet */

    (void)!getrandom(&random, sizeof(random), GRND_NONBLOCK);
    return uplink_backoff_ms(settings->backoff_min_ms, settings->backoff_max_ms,
                             broker->backoff_round++, random);
}

struct uplink_broker *uplink_broker(struct uplink *uplink)
{
    return &uplink->brokers.list[uplink->brokers.current];
}

int64_t uplink_lasting_ms(const struct uplink_settings *settings)
{
    return settings->backoff_max_ms < LASTING_MS ? (int64_t)settings->backoff_max_ms
                                                 : LASTING_MS;
}

bool uplink_has_lasted(const struct uplink *uplink)
{
    int64_t online_ms = uplink->connection.online_ms;

    return online_ms > 0 && uplink_now_ms() - online_ms >= uplink_lasting_ms(uplink->settings);
}

bool uplink_is_mute(const struct uplink *uplink)
{
    return uplink->brokers.count > 1 && uplink->slots.in_flight > 0 &&
           !uplink->connection.has_accepted;
}

void uplink_forgive(struct uplink_broker *broker)
{
    broker->failures = broker->moments = 0;
    broker->backoff_round = 0;
}

void uplink_excuse_broker(struct uplink *uplink)
{
    uplink_broker(uplink)->backoff_round = 0;
}

void uplink_stay(struct uplink *uplink)
{
    uplink->connection.is_followed_here = true;
}

/* The one that may be tried first; of several, the first behind the current one. */
static size_t choose_broker(const struct uplink_brokers *brokers)
{
    int64_t now_ms = uplink_now_ms();
    int64_t best_ms = INT64_MAX;
    size_t best = brokers->current;

    for (size_t i = 1; i <= brokers->count; i++) {
        size_t at = (brokers->current + i) % brokers->count;
        int64_t next_ms = brokers->list[at].next_try_ms;

        if (next_ms < now_ms)
            next_ms = now_ms;
        if (next_ms < best_ms) {
            best_ms = next_ms;
            best = at;
        }
    }
    return best;
}

/* Another server may take us, this one will not for a while. */
static bool sends_away(int code)
{
    return code == MQTT_SERVER_BUSY || code == MQTT_SERVER_SHUTTING_DOWN ||
           code == MQTT_ADMINISTRATIVE_ACTION || code == MQTT_USE_ANOTHER_SERVER ||
           code == MQTT_SERVER_MOVED;
}

/* We ended the connection, and it is no failure. */
static void plan_at_once(struct uplink *uplink)
{
    struct uplink_brokers *brokers = &uplink->brokers;

    uplink->connection.reconnects_at_once = false;
    uplink_broker(uplink)->is_address_suspect = false;
    if (brokers->is_leaving) {
        brokers->home = brokers->current;
        brokers->has_home = true;
        brokers->current = brokers->target;
        brokers->is_leaving = false;
    }
    uplink->retry.due_ms = uplink_now_ms();
}

/* An attempt failed. */
static void note_away(struct uplink_broker *broker)
{
    broker->away_until_ms = uplink_now_ms();
    if (broker->away_since_ms == 0)
        broker->away_since_ms = broker->away_until_ms;
}

/* A broker that closes in mid-window may take no more at once, and would get all again. */
static void plan_window(struct uplink_broker *broker,
                        const struct uplink_connection *connection)
{
    bool is_mid_window =
        connection->cause == UPLINK_CAUSE_BROKER_CLOSED && connection->unanswered > 0;
    unsigned window = connection->acknowledged;

    if (connection->online_ms > 0)
        broker->window = !is_mid_window ? 0 : window > WINDOW_LEAST ? window : WINDOW_LEAST;
}

static void note_failure(struct uplink_broker *broker,
                         const struct uplink_connection *connection)
{
    broker->failures++;
    if (connection->online_ms > 0)
        broker->moments++;
}

void uplink_plan_retry(struct uplink *uplink)
{
    const struct uplink_connection *connection = &uplink->connection;
    struct uplink_brokers *brokers = &uplink->brokers;
    struct uplink_broker *broker = uplink_broker(uplink);
    bool has_lasted = uplink_has_lasted(uplink) && !connection->is_fruitless;

    if (connection->reconnects_at_once) {
        plan_at_once(uplink);
        return;
    }
    brokers->is_leaving = brokers->is_given_up = false;
    if (has_lasted || connection->is_proven)
        broker->is_address_suspect = false;
    if (has_lasted)
        uplink_forgive(broker);
    else
        note_failure(broker, connection);
    uplink->retry.failed_attempts =
        connection->online_ms > 0 ? 0 : uplink->retry.failed_attempts + 1;
    plan_window(broker, connection);
    if (connection->online_ms == 0) /* else failback.c forgot them */
        note_away(broker);
    broker->next_try_ms = uplink_now_ms() + (int64_t)next_backoff_ms(broker, uplink->settings);
    if (brokers->has_home) { /* it was left for an attempt that has failed */
        brokers->has_home = false;
        brokers->current = brokers->home;
        brokers->list[brokers->home].next_try_ms = 0;
    } else if ((!has_lasted && !connection->is_followed_here) ||
               sends_away(connection->end_code)) {
        brokers->current = choose_broker(brokers);
    }
    uplink->retry.due_ms = brokers->list[brokers->current].next_try_ms;
}

void uplink_set_wait(struct uplink *uplink)
{
    int64_t check_ms = uplink_now_ms() + FILES_CHECK_MS;
    int64_t due_ms = uplink->retry.due_ms;

    uplink_timer_set(&uplink->timer, due_ms < check_ms ? due_ms : check_ms);
}

bool uplink_is_attempt_due(const struct uplink *uplink)
{
    return uplink_now_ms() >= uplink->retry.due_ms ||
           uplink_files_mark(uplink->settings) != uplink->retry.files_mark;
}

void uplink_end_pauses(struct uplink *uplink)
{
    for (size_t i = 0; i < uplink->brokers.count; i++) {
        uplink->brokers.list[i].next_try_ms = 0;
        uplink->brokers.list[i].backoff_round = 0;
        uplink_forget_version(&uplink->brokers.list[i].version, false);
    }
    uplink->brokers.other_due_ms = 0;
    uplink->retry.due_ms = 0;
    if (uplink->state == LINK_WAITING)
        uplink_timer_set(&uplink->timer, uplink_now_ms());
}

/* --- lines ---------------------------------------------------------------- */

/* @first: so many failures in a row are logged each. */
static bool pass_line(struct uplink_broker *broker, unsigned first, unsigned *ret_suppressed)
{
    int64_t now_ms = uplink_now_ms();

    if (broker->failures > first && broker->failures % RETRY_LOG_EACH != 0 &&
        now_ms - broker->logged_ms < RETRY_LOG_MS) {
        broker->suppressed++;
        return false;
    }
    *ret_suppressed = broker->suppressed;
    broker->suppressed = 0;
    broker->logged_ms = now_ms;
    return true;
}

/* A time of the boot clock, in the form of the log. */
static const char *format_since(int64_t boot_ms, char text[static CLOCK_TEXT_MAX])
{
    struct clock_reading now;

    clock_read(&now);
    clock_format(now.wall_ms - (now.boot_ms - boot_ms), text);
    return text;
}

void uplink_log_online(struct uplink *uplink, bool has_lasted)
{
    struct uplink_broker *broker = uplink_broker(uplink);
    struct uplink_connection *connection = &uplink->connection;
    const char *uri = uplink_broker_uri(uplink);
    char quoted[UPLINK_TEXT_MAX], since[CLOCK_TEXT_MAX];
    unsigned suppressed = 0;

    /* The end of an outage is logged at once. Of connections that last only moments some are,
     * and the one that lasts, which is the end of their series. */
    bool is_shown = has_lasted || broker->moments < ONLINE_LOG_FIRST;
    connection->is_online_logged =
        pass_line(broker, is_shown ? UINT32_MAX : ONLINE_LOG_FIRST, &suppressed);
    if (!connection->is_online_logged)
        return;
    broker->is_retry_due = false;
    log_quote(quoted, sizeof(quoted), uri, strlen(uri));
    if (has_lasted)
        log_notice("link_online broker=%s window=%u suppressed=%u since=%s", quoted,
                   uplink_window(uplink), suppressed,
                   format_since(connection->online_ms, since));
    else
        log_notice("link_online broker=%s window=%u suppressed=%u", quoted,
                   uplink_window(uplink), suppressed);
}

void uplink_log_lost(struct uplink *uplink, struct uplink_broker *broker, const char *uri)
{
    const char *error = uplink->last_error.text;
    const char *remedy = uplink->last_error.remedy;
    char quoted[UPLINK_TEXT_MAX];
    char reason[UPLINK_TEXT_MAX];
    /* So that the last line does not say that the link is up. */
    unsigned first = uplink->connection.is_online_logged ? UINT32_MAX : ONLINE_LOG_FIRST;
    unsigned suppressed;

    broker->is_retry_due = pass_line(broker, first, &suppressed);
    if (broker->is_retry_due)
        log_warning("link_lost broker=%s reason=%s in_flight=%u suppressed=%u remedy=\"%s\"",
                    log_quote(quoted, sizeof(quoted), uri, strlen(uri)),
                    log_quote(reason, sizeof(reason), error, strlen(error)),
                    uplink->connection.unanswered, suppressed, remedy);
}

void uplink_log_retry(struct uplink *uplink, struct uplink_broker *broker, const char *uri)
{
    const char *error = uplink->last_error.text;
    const char *remedy = uplink->last_error.remedy;
    int64_t wait_ms = uplink->retry.due_ms - uplink_now_ms();
    char quoted[UPLINK_TEXT_MAX];
    char reason[UPLINK_TEXT_MAX];
    unsigned first = broker->is_retry_due ? UINT32_MAX : RETRY_LOG_FIRST;
    unsigned suppressed;

    broker->is_retry_due = false;
    if (pass_line(broker, first, &suppressed))
        log_warning("link_retry broker=%s reason=%s retry_ms=%" PRId64
                    " attempts=%u suppressed=%u remedy=\"%s\"",
                    log_quote(quoted, sizeof(quoted), uri, strlen(uri)),
                    log_quote(reason, sizeof(reason), error, strlen(error)),
                    wait_ms > 0 ? wait_ms : 0, broker->failures, suppressed, remedy);
}

bool uplink_is_library_suspect(const struct uplink_retry *retry)
{
    unsigned tens = retry->failed_attempts / 10;

    return retry->failed_attempts % 10 == 0 && tens > 0 && (tens & (tens - 1)) == 0;
}
