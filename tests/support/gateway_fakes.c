/* SPDX-License-Identifier: MIT */
/*
 * gateway_fakes.c - the gateway over a real spool, with all its other neighbours replaced
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support/gateway_fakes.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/view.h"
#include "daemon/audit/audit.h"
#include "daemon/config/config.h"
#include "daemon/gateway/gateway.h"
#include "daemon/host/service.h"
#include "daemon/ingress/connection.h"
#include "daemon/ingress/listener.h"
#include "daemon/mqtt/packet.h"
#include "daemon/record/admin.h"
#include "daemon/uplink/settings.h"
#include "store/spool.h"
#include "tests/support/spool_fake.h"

/* Timers are set from a time that the real clock does not reach, so none elapses by itself. */
#define FAR_US UINT64_C(3600000000)

struct fakes fakes;

struct listener {
    char unused;
};
struct uplink {
    char unused;
};
struct audit {
    struct spool *spool;
    const struct audit_ops *ops;
    void *owner;
};
static struct listener the_listener;
static struct uplink the_uplink;

/* ---- trace and log ---- */

static void PRINTF_LIKE(1, 2) trace(const char *format, ...)
{
    size_t used = strlen(fakes.trace);
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(fakes.trace + used, sizeof(fakes.trace) - used, format, arguments);
    va_end(arguments);
    used = strlen(fakes.trace);
    (void)snprintf(fakes.trace + used, sizeof(fakes.trace) - used, " ");
}

const char *fakes_take_trace(void)
{
    static char taken[FAKES_TRACE_MAX];

    memcpy(taken, fakes.trace, sizeof(taken));
    fakes.trace[0] = '\0';
    return taken;
}

void __wrap_log_write(enum log_level level, const char *format, ...) PRINTF_LIKE(2, 3);
void __wrap_log_write(enum log_level level, const char *format, ...)
{
    va_list arguments;

    if (level == LOG_LEVEL_DEBUG)
        return;
    assert_in_range(fakes.line_count, 0, FAKES_LINES_MAX - 1);
    va_start(arguments, format);
    (void)vsnprintf(fakes.lines[fakes.line_count++], sizeof(fakes.lines[0]), format, arguments);
    va_end(arguments);
}

unsigned fakes_logged(const char *text)
{
    unsigned found = 0;

    for (unsigned i = 0; i < fakes.line_count; i++)
        found += strstr(fakes.lines[i], text) ? 1 : 0;
    return found;
}

void fakes_forget_log(void)
{
    fakes.line_count = 0;
}

/* ---- the clock ---- */

void __wrap_clock_read(struct clock_reading *ret);
void __wrap_clock_read(struct clock_reading *ret)
{
    *ret = fakes.now;
}

uint64_t __real_clock_boot_us(void);
uint64_t __wrap_clock_boot_us(void);
uint64_t __wrap_clock_boot_us(void)
{
    return fakes.boot_us;
}

uint64_t __wrap_clock_monotonic_us(void);
uint64_t __wrap_clock_monotonic_us(void)
{
    return fakes.monotonic_us;
}

void fakes_pass_time(int64_t ms)
{
    fakes.now.boot_ms += ms;
    fakes.now.wall_ms += ms;
    fakes.boot_us += (uint64_t)ms * 1000;
}

/* ---- the spool ---- */

static bool fails(struct fake_result *result)
{
    if (result->value == 0)
        return false;
    if (result->count > 0 && --result->count == 0)
        *result = (struct fake_result){0}; /* this was the last one */
    return true;
}

#define RESULT(name)                                                                           \
    int result = fakes.name.value;                                                             \
    bool is_result = fails(&fakes.name)

int __real_spool_open(const struct spool_options *options, struct spool **ret);
int __wrap_spool_open(const struct spool_options *options, struct spool **ret);
int __wrap_spool_open(const struct spool_options *options, struct spool **ret)
{
    RESULT(open);
    trace("open");
    return is_result ? result : __real_spool_open(options, ret);
}

int __wrap_spool_survey(const char *directory);
int __wrap_spool_survey(const char *directory)
{
    assert_non_null(strstr(directory, fakes.directory));
    trace("survey");
    return fakes.survey.value;
}

static int ignore_ended(void *context, const struct spool_ended *ended)
{
    (void)context, (void)ended;
    return 0;
}

int __wrap_spool_salvage(const struct spool_options *options,
                         const struct spool_history *history,
                         struct spool_salvage *ret);
int __wrap_spool_salvage(const struct spool_options *options,
                         const struct spool_history *history,
                         struct spool_salvage *ret)
{
    (void)options;
    trace("salvage");
    assert_int_equal(history->each(history->owner, ignore_ended, NULL), 0);
    *ret = fakes.salvaged;
    return fakes.salvage.value;
}

bool __wrap_spool_take_set_aside(char ret[static SPOOL_SET_ASIDE_MAX]);
bool __wrap_spool_take_set_aside(char ret[static SPOOL_SET_ASIDE_MAX])
{
    bool is_there = fakes.set_aside[0] != '\0';

    (void)snprintf(ret, SPOOL_SET_ASIDE_MAX, "%s", fakes.set_aside);
    fakes.set_aside[0] = '\0';
    return is_there;
}

void __wrap_spool_stop_if(bool (*asks)(void));
void __wrap_spool_stop_if(bool (*asks)(void))
{
    fakes.stop_asks = asks;
}

int __real_spool_append(struct spool *spool,
                        const struct spool_message *message,
                        const struct spool_time *now,
                        uint64_t *ret_id);
int __wrap_spool_append(struct spool *spool,
                        const struct spool_message *message,
                        const struct spool_time *now,
                        uint64_t *ret_id);
int __wrap_spool_append(struct spool *spool,
                        const struct spool_message *message,
                        const struct spool_time *now,
                        uint64_t *ret_id)
{
    RESULT(append);
    trace("append");
    return is_result ? result : __real_spool_append(spool, message, now, ret_id);
}

int __real_spool_retain(struct spool *spool,
                        const struct spool_time *now,
                        unsigned budget,
                        unsigned *ret_evicted,
                        bool *ret_more);
int __wrap_spool_retain(struct spool *spool,
                        const struct spool_time *now,
                        unsigned budget,
                        unsigned *ret_evicted,
                        bool *ret_more);
int __wrap_spool_retain(struct spool *spool,
                        const struct spool_time *now,
                        unsigned budget,
                        unsigned *ret_evicted,
                        bool *ret_more)
{
    RESULT(retain);
    trace("retain");
    return is_result ? result : __real_spool_retain(spool, now, budget, ret_evicted, ret_more);
}

int __real_spool_commit(struct spool *spool, const struct spool_time *now);
int __wrap_spool_commit(struct spool *spool, const struct spool_time *now);
int __wrap_spool_commit(struct spool *spool, const struct spool_time *now)
{
    RESULT(commit);
    trace("commit");
    return is_result ? result : __real_spool_commit(spool, now);
}

int __real_spool_next(struct spool *spool,
                      const struct spool_time *now,
                      struct spool_message *ret);
int __wrap_spool_next(struct spool *spool,
                      const struct spool_time *now,
                      struct spool_message *ret);
int __wrap_spool_next(struct spool *spool,
                      const struct spool_time *now,
                      struct spool_message *ret)
{
    RESULT(next);
    return is_result ? result : __real_spool_next(spool, now, ret);
}

int __real_spool_settle(struct spool *spool,
                        uint64_t id,
                        const struct spool_verdict *verdict,
                        int64_t boot_ms);
int __wrap_spool_settle(struct spool *spool,
                        uint64_t id,
                        const struct spool_verdict *verdict,
                        int64_t boot_ms);
int __wrap_spool_settle(struct spool *spool,
                        uint64_t id,
                        const struct spool_verdict *verdict,
                        int64_t boot_ms)
{
    RESULT(settle);
    trace("settle-%s", spool_outcome_name(verdict->outcome));
    return is_result ? result : __real_spool_settle(spool, id, verdict, boot_ms);
}

int __real_spool_return(struct spool *spool, uint64_t id, int64_t not_before_boot_ms);
int __wrap_spool_return(struct spool *spool, uint64_t id, int64_t not_before_boot_ms);
int __wrap_spool_return(struct spool *spool, uint64_t id, int64_t not_before_boot_ms)
{
    RESULT(give_back);
    trace("return+%lld",
          (long long)(not_before_boot_ms ? not_before_boot_ms - fakes.now.boot_ms : 0));
    return is_result ? result : __real_spool_return(spool, id, not_before_boot_ms);
}

int __real_spool_verify_files(struct spool *spool);
int __wrap_spool_verify_files(struct spool *spool);
int __wrap_spool_verify_files(struct spool *spool)
{
    RESULT(verify);
    return is_result ? result : __real_spool_verify_files(spool);
}

void __wrap_spool_get_moved(const struct spool *spool, struct spool_moved *ret);
void __wrap_spool_get_moved(const struct spool *spool, struct spool_moved *ret)
{
    (void)spool;
    *ret = fakes.moved;
}

int __wrap_spool_restore(struct spool *spool,
                         void (*progress)(void *context),
                         void *context,
                         struct spool_restored *ret);
int __wrap_spool_restore(struct spool *spool,
                         void (*progress)(void *context),
                         void *context,
                         struct spool_restored *ret)
{
    RESULT(restore);
    (void)spool;
    trace("restore");
    progress(context);
    *ret = (struct spool_restored){.bytes = 4096};
    memcpy(ret->set_aside, fakes.replaced_name, sizeof(ret->set_aside));
    return is_result ? result : 0;
}

int __real_spool_set_lanes(struct spool *spool, const struct spool_lane *lanes, size_t count);
int __wrap_spool_set_lanes(struct spool *spool, const struct spool_lane *lanes, size_t count);
int __wrap_spool_set_lanes(struct spool *spool, const struct spool_lane *lanes, size_t count)
{
    RESULT(set_lanes);
    trace("set-lanes");
    return is_result ? result : __real_spool_set_lanes(spool, lanes, count);
}

int __real_spool_get_ledger(struct spool *spool, struct spool_ledger *ret);
int __wrap_spool_get_ledger(struct spool *spool, struct spool_ledger *ret);
int __wrap_spool_get_ledger(struct spool *spool, struct spool_ledger *ret)
{
    RESULT(get_ledger);
    return is_result ? result : __real_spool_get_ledger(spool, ret);
}

int __real_spool_get_stats(struct spool *spool,
                           const struct spool_time *now,
                           struct spool_stats *ret);
int __wrap_spool_get_stats(struct spool *spool,
                           const struct spool_time *now,
                           struct spool_stats *ret);
int __wrap_spool_get_stats(struct spool *spool,
                           const struct spool_time *now,
                           struct spool_stats *ret)
{
    RESULT(get_stats);
    return is_result ? result : __real_spool_get_stats(spool, now, ret);
}

int __real_spool_checkpoint(struct spool *spool);
int __wrap_spool_checkpoint(struct spool *spool);
int __wrap_spool_checkpoint(struct spool *spool)
{
    RESULT(checkpoint);
    trace("checkpoint");
    return is_result ? result : __real_spool_checkpoint(spool);
}

int __wrap_spool_checkpoint_idle(struct spool *spool);
int __wrap_spool_checkpoint_idle(struct spool *spool)
{
    RESULT(checkpoint_idle);
    (void)spool;
    fakes.idle_moments++;
    return is_result ? result : 0;
}

uint64_t __real_spool_disk_evictions(const struct spool *spool);
uint64_t __wrap_spool_disk_evictions(const struct spool *spool);
uint64_t __wrap_spool_disk_evictions(const struct spool *spool)
{
    return __real_spool_disk_evictions(spool) + fakes.disk_evictions;
}

bool __wrap_spool_disk_is_short(struct spool *spool, const struct spool_time *now);
bool __wrap_spool_disk_is_short(struct spool *spool, const struct spool_time *now)
{
    (void)spool, (void)now;
    return fakes.is_disk_short;
}

const char *__wrap_spool_describe_disk(struct spool *spool);
const char *__wrap_spool_describe_disk(struct spool *spool)
{
    (void)spool;
    return "the disk of the test is short";
}

uint64_t __wrap_spool_reads_repeated(void);
uint64_t __wrap_spool_reads_repeated(void)
{
    return fakes.reads_repeated;
}

uint64_t __real_spool_waiting(const struct spool *spool);
uint64_t __wrap_spool_waiting(const struct spool *spool);
uint64_t __wrap_spool_waiting(const struct spool *spool)
{
    return __real_spool_waiting(spool) + fakes.waiting;
}

uint64_t __real_spool_record_bytes(const struct spool *spool);
uint64_t __wrap_spool_record_bytes(const struct spool *spool);
uint64_t __wrap_spool_record_bytes(const struct spool *spool)
{
    return __real_spool_record_bytes(spool) + fakes.record_bytes;
}

uint64_t __real_spool_pruned_unexported(const struct spool *spool);
uint64_t __wrap_spool_pruned_unexported(const struct spool *spool);
uint64_t __wrap_spool_pruned_unexported(const struct spool *spool)
{
    return __real_spool_pruned_unexported(spool) + fakes.pruned;
}

uint64_t __real_spool_settled_bytes(const struct spool *spool);
uint64_t __wrap_spool_settled_bytes(const struct spool *spool);
uint64_t __wrap_spool_settled_bytes(const struct spool *spool)
{
    return __real_spool_settled_bytes(spool) + fakes.settled_bytes;
}

void __real_spool_set_waiting_max(struct spool *spool, uint64_t rows);
void __wrap_spool_set_waiting_max(struct spool *spool, uint64_t rows);
void __wrap_spool_set_waiting_max(struct spool *spool, uint64_t rows)
{
    fakes.waiting_max = rows;
    __real_spool_set_waiting_max(spool, rows);
}

/* ---- the connections ---- */

int connection_new(sd_event *event,
                   int fd,
                   const struct peer *peer,
                   const struct connection_settings *settings,
                   const struct connection_ops *ops,
                   void *owner,
                   struct connection **ret)
{
    RESULT(new_connection);
    (void)event;
    (void)close(fd);
    if (is_result)
        return result;
    assert_in_range(fakes.connection_count, 0, FAKES_CONNECTIONS_MAX - 1);
    struct connection *connection = calloc(1, sizeof(*connection));
    assert_non_null(connection);
    connection->ops = ops;
    connection->owner = owner;
    connection->peer = *peer;
    connection->connect_timeout_ms = settings->connect_timeout_ms;
    connection->room = UINT_MAX;
    fakes.connections[fakes.connection_count++] = connection;
    *ret = connection;
    return 0;
}

/* It stays for the case to look at; fakes_teardown() frees it. */
void connection_free(struct connection *connection)
{
    if (connection)
        trace("free-%s", connection->client_id);
}

struct view connection_client_id(const struct connection *connection)
{
    return view_of_text(connection->client_id);
}

const struct peer *connection_peer(const struct connection *connection)
{
    return &connection->peer;
}

/* Of no socket: the kernel knows no groups. */
int connection_fd(const struct connection *connection)
{
    (void)connection;
    return -1;
}

const struct connection_will *connection_will(const struct connection *connection)
{
    return connection->will;
}

struct connection_will *connection_take_will(struct connection *connection)
{
    struct connection_will *will = connection->will;

    connection->will = NULL;
    return will;
}

bool connection_was_refused(const struct connection *connection)
{
    return connection->was_refused;
}

static void close_connection(struct connection *connection, uint8_t code, const char *why)
{
    if (connection->is_closed)
        return;
    connection->is_closed = true;
    connection->code = code;
    connection->ops->closed(connection->owner, connection, why);
}

void connection_acknowledge(struct connection *connection)
{
    trace("acknowledge-%s", connection->client_id);
    connection->acknowledged++;
}

bool connection_refuse_owed(struct connection *connection, uint8_t code)
{
    trace("refuse-%s", connection->client_id);
    connection->code = code;
    return connection->is_owed;
}

enum packet_version connection_version(const struct connection *connection)
{
    return connection->version == MQTT_3_1_1 ? MQTT_3_1_1 : MQTT_5;
}

void connection_clear_unreleased(struct connection *connection)
{
    memset(connection->unreleased, 0, sizeof(connection->unreleased));
}

int connection_set_unreleased(struct connection *connection, uint16_t packet_id)
{
    connection->unreleased[packet_id] = true;
    return 0;
}

void connection_drop_owed(struct connection *connection, uint8_t code, const char *why)
{
    trace("drop-%s", connection->client_id);
    close_connection(connection, code, why);
}

void connection_close(struct connection *connection, uint8_t code, const char *why)
{
    trace("close-%s", connection->client_id);
    if (connection->closes_late) {
        connection->room = 0;
        return;
    }
    close_connection(connection, code, why);
}

int connection_send(struct connection *connection, const struct connection_message *message)
{
    struct fake_message *kept = &connection->messages[connection->sent % FAKES_MESSAGES_MAX];

    if (connection->is_closed)
        return CONNECTION_E_ENDED;
    if (connection->room == 0)
        return CONNECTION_E_FULL;
    connection->room--;
    connection->sent++;
    *kept = (struct fake_message){.qos = message->qos,
                                  .is_repeated = message->is_repeated,
                                  .packet_id = message->packet_id,
                                  .tag = message->tag};
    (void)snprintf(kept->topic, sizeof(kept->topic), "%.*s", (int)message->topic.size,
                   view_chars(message->topic));
    (void)snprintf(kept->payload, sizeof(kept->payload), "%.*s", (int)message->payload.size,
                   view_chars(message->payload));
    return 0;
}

void connection_await_room(struct connection *connection)
{
    connection->awaits_room = true;
}

void connection_confirm(struct connection *connection)
{
    assert_true(connection->is_confirming);
    connection->is_confirming = false;
    connection->ops->writable(connection->owner, connection);
}

void connection_flush(struct connection *connection)
{
    (void)connection; /* what was sent is there at once */
}

static void offer_connect(struct connection *connection)
{
    uint8_t code = connection->ops->connected(connection->owner, connection,
                                              &connection->connect, &connection->admission);

    connection->connect_code = code;
    if (code == MQTT_SUCCESS)
        return;
    connection->admission.is_waiting = false;
    connection->was_refused = true;
    free(connection_take_will(connection));
    close_connection(connection, code, "refused");
}

static void offer(struct connection *connection)
{
    struct packet_publish packet = {
        .qos = connection->qos > 0 ? connection->qos : 1,
        .packet_id = connection->packet_id > 0 ? connection->packet_id : 1,
        .topic = view_of_text(connection->topic),
        .payload = view_of_text(connection->payload),
    };
    struct connection_publish publish = {
        .packet = &packet, .has_answer = true, .is_first = true};

    connection->verdict = connection->ops->publish(connection->owner, connection, &publish);
    connection->keeps = connection->verdict.kind == CONNECTION_WAIT ||
                        connection->verdict.kind == CONNECTION_BLOCK ||
                        connection->verdict.kind == CONNECTION_THROTTLE;
}

void connection_resume(struct connection *connection)
{
    trace("resume-%s", connection->client_id);
    connection->resumed++;
    if (connection->keeps)
        offer(connection);
    if (connection->admission.is_waiting)
        offer_connect(connection);
}

/* ---- the listener ---- */

int listener_new(sd_event *event,
                 const struct listener_settings *settings,
                 const struct listener_ops *ops,
                 void *owner,
                 struct listener **ret)
{
    RESULT(new_listener);
    (void)event, (void)settings;
    fakes.listener_ops = ops;
    fakes.listener_owner = owner;
    *ret = &the_listener;
    return is_result ? result : 0;
}

void listener_free(struct listener *listener)
{
    (void)listener;
}

void listener_verify(struct listener *listener)
{
    assert_ptr_equal(listener, &the_listener);
    trace("verify-listener");
}

void listener_pause(struct listener *listener)
{
    assert_ptr_equal(listener, &the_listener);
    trace("pause");
    fakes.is_listener_paused = true;
}

/* ---- the uplink ---- */

int uplink_new(sd_event *event,
               const struct uplink_settings *settings,
               const struct uplink_ops *ops,
               void *owner,
               struct uplink **ret)
{
    RESULT(new_uplink);
    (void)event;
    fakes.uplink_settings = settings;
    fakes.uplink_ops = ops;
    fakes.uplink_owner = owner;
    if (!is_result)
        *ret = &the_uplink;
    return is_result ? result : 0;
}

int uplink_start(struct uplink *uplink)
{
    RESULT(start_uplink);
    assert_ptr_equal(uplink, &the_uplink);
    return is_result ? result : 0;
}

int uplink_send(struct uplink *uplink, const struct uplink_message *message)
{
    RESULT(send);
    assert_ptr_equal(uplink, &the_uplink);
    trace("send-%llu", (unsigned long long)message->id);
    if (is_result)
        return result;
    if (message->id <= fakes.excluded_id)
        return UPLINK_E_TOO_LARGE;
    assert_in_range(fakes.sent_count, 0, FAKES_SENT_MAX - 1);
    fakes.sent[fakes.sent_count++] = message->id;
    fakes.sent_qos = message->qos;
    (void)snprintf(fakes.sent_topic, sizeof(fakes.sent_topic), "%.*s%.*s",
                   (int)message->prefix.size, (const char *)message->prefix.data,
                   (int)message->topic.size, (const char *)message->topic.data);
    fakes.link.in_flight++;
    return 0;
}

void uplink_hold_leave(struct uplink *uplink, bool is_held)
{
    (void)uplink;
    fakes.is_leave_held = is_held;
}

void uplink_excuse_broker(struct uplink *uplink)
{
    (void)uplink;
    fakes.excuses++;
}

void uplink_stay(struct uplink *uplink)
{
    (void)uplink;
    fakes.stays++;
}

void uplink_blame_topic(struct uplink *uplink, const char *topic)
{
    (void)uplink;
    (void)snprintf(fakes.blamed_topic, sizeof(fakes.blamed_topic), "%s", topic);
}

void uplink_want_other(struct uplink *uplink, size_t other)
{
    (void)uplink;
    fakes.wanted = other;
}

bool uplink_is_away(const struct uplink *uplink, size_t other)
{
    (void)uplink;
    (void)other;
    return !fakes.can_others_take;
}

void uplink_set_refused(struct uplink *uplink, bool is_refused)
{
    (void)uplink;
    fakes.is_refused = is_refused;
}

void uplink_cork(struct uplink *uplink)
{
    (void)uplink;
}

void uplink_uncork(struct uplink *uplink)
{
    (void)uplink;
}

unsigned uplink_room(const struct uplink *uplink)
{
    (void)uplink;
    return fakes.link.state == UPLINK_ONLINE && fakes.room > fakes.link.in_flight
               ? fakes.room - fakes.link.in_flight
               : 0;
}

void uplink_get_link(const struct uplink *uplink, struct uplink_link *ret)
{
    (void)uplink;
    *ret = fakes.link;
}

const char *uplink_state_name(enum uplink_state state)
{
    return state == UPLINK_ONLINE ? "online" : "elsewhere";
}

void fakes_link_state(enum uplink_state state)
{
    fakes.link.state = state;
    fakes.uplink_ops->changed(fakes.uplink_owner);
}

void uplink_retry_now(struct uplink *uplink)
{
    (void)uplink;
    fakes.retries++;
}

void uplink_stop(struct uplink *uplink)
{
    assert_ptr_equal(uplink, &the_uplink);
    trace("stop-uplink");
    fakes_link_state(fakes.uplink_stops_late ? UPLINK_CLOSING : UPLINK_IDLE);
}

static void answer_with(const struct uplink_answer *answer)
{
    if (fakes.link.in_flight > 0)
        fakes.link.in_flight--;
    for (unsigned i = 0; i < fakes.sent_count; i++) {
        if (fakes.sent[i] == answer->id)
            fakes.sent[i] = 0;
    }
    fakes.uplink_ops->answered(fakes.uplink_owner, answer);
}

static uint64_t answer_tag(void)
{
    return fakes.answer_tag != 0 ? fakes.answer_tag : FAKES_TAG;
}

void fakes_answer(uint64_t id, enum uplink_answer_kind kind, int code)
{
    const struct uplink_answer answer = {
        .id = id,
        .tag = answer_tag(),
        .kind = kind,
        .code = code,
        .boot_ms = kind == UPLINK_UNKNOWN ? 0 : fakes.now.boot_ms,
        .acknowledged_boot_ms = kind == UPLINK_UNKNOWN ? 0 : fakes.now.boot_ms,
        .cause = kind == UPLINK_UNKNOWN ? UPLINK_CAUSE_BROKER_CLOSED : UPLINK_CAUSE_NONE,
        .was_written = kind == UPLINK_UNKNOWN,
        .text = "",
    };

    answer_with(&answer);
}

void fakes_close_at(uint64_t id, int code)
{
    const struct uplink_answer answer = {
        .id = id,
        .tag = answer_tag(),
        .kind = UPLINK_UNKNOWN,
        .code = code,
        .cause = UPLINK_CAUSE_BROKER_CLOSED,
        .was_written = true,
        .was_oldest = true,
        .text = "",
    };

    answer_with(&answer);
}

void fakes_stall_at(uint64_t id, bool was_passed)
{
    const struct uplink_answer answer = {
        .id = id,
        .tag = answer_tag(),
        .kind = UPLINK_UNKNOWN,
        .code = -1,
        .cause = UPLINK_CAUSE_STALLED,
        .was_written = true,
        .was_passed = was_passed,
        .text = "",
    };

    answer_with(&answer);
}

void uplink_free(struct uplink *uplink)
{
    if (!uplink)
        return;
    for (unsigned i = 0; i < fakes.sent_count; i++) {
        if (fakes.sent[i] != 0)
            fakes_answer(fakes.sent[i], UPLINK_UNKNOWN, -1);
    }
}

const char *uplink_build_limitations(void)
{
    return NULL;
}

/* ---- the audit ---- */

int audit_new(const struct audit_settings *settings,
              struct spool *spool,
              const struct audit_ops *ops,
              void *owner,
              struct audit **ret)
{
    (void)settings;
    struct audit *audit = calloc(1, sizeof(*audit));
    assert_non_null(audit);
    *audit = (struct audit){.spool = spool, .ops = ops, .owner = owner};
    *ret = audit;
    return 0;
}

void audit_free(struct audit *audit)
{
    free(audit);
}

static int export_one(void *userdata, const struct spool_record *record)
{
    const struct audit *audit = userdata;

    audit->ops->exported(audit->owner, record);
    return 0;
}

int audit_export(struct audit *audit, int64_t now_boot_ms, bool *ret_more)
{
    RESULT(export);
    (void)now_boot_ms;
    trace("export");
    *ret_more = fakes.exports_left > 0;
    if (fakes.exports_left > 0)
        fakes.exports_left--;
    if (is_result)
        return result;
    if (fakes.is_audit_broken)
        return 0;
    int r = spool_each_record(audit->spool, spool_exported(audit->spool), false, 0, export_one,
                              audit);
    spool_set_exported(audit->spool, spool_last_seq(audit->spool));
    return r;
}

void audit_add_admin(struct audit *audit, const struct record_admin *admin)
{
    struct json json;

    (void)audit;
    trace("admin");
    fakes.admin_lines++;
    json_init(&json, fakes.admin_line, sizeof(fakes.admin_line) - 1);
    record_write_admin(&json, admin);
    fakes.admin_line[json_used(&json)] = '\0';
}

bool audit_admin_waits(const struct audit *audit)
{
    (void)audit;
    return fakes.does_admin_wait;
}

int64_t audit_due_ms(const struct audit *audit)
{
    (void)audit;
    return fakes.audit_due_ms;
}

bool audit_is_moved(const struct audit *audit)
{
    (void)audit;
    return fakes.is_audit_moved;
}

void audit_sync(struct audit *audit, int64_t now_boot_ms)
{
    (void)audit, (void)now_boot_ms;
    trace("sync");
}

void audit_reopen(struct audit *audit, const struct audit_settings *settings)
{
    (void)audit, (void)settings;
    trace("reopen");
}

bool audit_is_healthy(const struct audit *audit)
{
    (void)audit;
    return !fakes.is_audit_broken;
}

struct view audit_newest_seal(const struct audit *audit)
{
    (void)audit;
    return view_of(NULL, 0);
}

const char *audit_error(const struct audit *audit)
{
    (void)audit;
    return fakes.is_audit_broken ? "no room" : "";
}

/* ---- the host ---- */

void service_stopping(void)
{
    trace("stopping");
}

void service_extend_timeout(uint64_t ms)
{
    (void)ms;
}

void service_feed_watchdog(void)
{
    trace("alive");
}

void service_status(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(fakes.systemd_status, sizeof(fakes.systemd_status), format, arguments);
    va_end(arguments);
}

void service_journal_outcome(const struct spool_record *record, int64_t now_ms)
{
    (void)record, (void)now_ms;
    fakes.journaled++;
}

void service_tick(int64_t now_ms)
{
    (void)now_ms;
}

/* ---- the fixture ---- */

int fakes_setup(void **state)
{
    *state = &fakes;
    memset(&fakes, 0, sizeof(fakes));
    strcpy(fakes.directory, "/tmp/spoold-gateway-XXXXXX");
    if (!mkdtemp(fakes.directory) || sd_event_new(&fakes.event) < 0)
        return -1;
    fakes.now = (struct clock_reading){
        .wall_ms = INT64_C(1800000000000), .boot_ms = 1000000, .synchronized = true};
    fakes.boot_us = __real_clock_boot_us() + FAR_US;
    fakes.monotonic_us = 1000000;
    fakes.audit_due_ms = INT64_MAX;
    return 0;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status, (void)type, (void)walk;
    return remove(path);
}

int fakes_teardown(void **state)
{
    (void)state;
    (void)gateway_free(fakes.gateway);
    for (unsigned i = 0; i < fakes.connection_count; i++) {
        free(fakes.connections[i]->will);
        free(fakes.connections[i]);
    }
    sd_event_unref(fakes.event);
    return nftw(fakes.directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

struct config *fakes_config(const char *extra)
{
    char path[128], error[CONFIG_ERROR_MAX] = "";
    struct config *config = NULL;

    (void)snprintf(path, sizeof(path), "%s/conf", fakes.directory);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    (void)fprintf(
        file,
        "spool: { directory = \"%s/spool\"; disk_reserve = \"1M\"; };\n"
        "listen: { socket = \"%s/socket\"; };\n"
        "uplink: { brokers = ( \"tcp://127.0.0.1:1883\", \"tcp://127.0.0.1:1884\" ); window = 100;\n"
        "          backoff: { min = \"1s\"; max = \"10s\"; }; %s };\n%s\n",
        fakes.directory, fakes.directory, fakes.uplink_keys ? fakes.uplink_keys : "", extra);
    assert_int_equal(fclose(file), 0);
    if (config_load(path, &config, error) != 0)
        fail_msg("%s", error);
    return config;
}

int fakes_new(const char *extra)
{
    struct config *config = fakes_config(extra);
    int r = gateway_new(fakes.event, config, NULL, 0, &fakes.gateway);

    if (r != 0)
        config_free(config);
    return r;
}

struct gateway *fakes_open(const char *extra)
{
    assert_int_equal(fakes_new(extra), 0);
    assert_int_equal(gateway_start(fakes.gateway), 0);
    fakes.link = (struct uplink_link){.window = 100, .broker = "tcp://127.0.0.1:1883"};
    fakes.room = 100;
    fakes_link_state(UPLINK_ONLINE);
    fakes_reach(fakes.gateway->status.timer);
    (void)fakes_take_trace();
    fakes_forget_log();
    return fakes.gateway;
}

void fakes_reload(const char *extra)
{
    gateway_reload(fakes.gateway, fakes_config(extra));
}

struct connection *fakes_accept(uid_t uid)
{
    struct peer peer = {.uid = uid, .pid = 1};
    unsigned before = fakes.connection_count;
    int fd = dup(STDERR_FILENO);

    assert_true(fd >= 0);
    assert_int_equal(fakes.listener_ops->accepted(fakes.listener_owner, fd, &peer), 0);
    assert_int_equal(close(fd), -1); /* it was taken over */
    return fakes.connection_count > before ? fakes.connections[before] : NULL;
}

uint8_t fakes_say_connect(struct connection *connection, const char *client_id)
{
    (void)snprintf(connection->client_id, sizeof(connection->client_id), "%s", client_id);
    offer_connect(connection);
    return connection->connect_code;
}

struct connection *
fakes_connect_session(const char *client_id, uid_t uid, bool is_clean, uint32_t expiry_s)
{
    struct connection *connection = fakes_accept(uid);

    if (!connection)
        return NULL;
    connection->connect =
        (struct connection_connect){.is_clean = is_clean, .session_expiry_s = expiry_s};
    (void)fakes_say_connect(connection, client_id);
    return connection;
}

void fakes_set_will(struct connection *connection, const char *topic, const char *payload)
{
    struct connection_will *will = calloc(1, sizeof(*will) + strlen(topic) + strlen(payload));

    assert_non_null(will);
    memcpy(will->memory, topic, strlen(topic));
    memcpy(will->memory + strlen(topic), payload, strlen(payload));
    will->packet.qos = 1;
    will->packet.topic = view_of(will->memory, strlen(topic));
    will->packet.payload = view_of(will->memory + strlen(topic), strlen(payload));
    connection->will = will;
}

struct connection *fakes_connect(const char *client_id, uid_t uid)
{
    struct connection *connection = fakes_accept(uid);

    if (connection && fakes_say_connect(connection, client_id) != MQTT_SUCCESS)
        return NULL;
    return connection;
}

struct connection_verdict
fakes_publish(struct connection *connection, const char *topic, const char *payload)
{
    (void)snprintf(connection->topic, sizeof(connection->topic), "%s", topic);
    (void)snprintf(connection->payload, sizeof(connection->payload), "%s", payload);
    offer(connection);
    return connection->verdict;
}

void fakes_connect_many(struct connection **ret, unsigned count, uid_t uid)
{
    char id[16];

    for (unsigned i = 0; i < count; i++) {
        (void)snprintf(id, sizeof(id), "%u", i);
        ret[i] = fakes_connect(id, uid);
    }
}

struct user *fakes_add_client(struct users *users, uid_t uid)
{
    struct user *user = users_find(users, uid);

    users_add_client(users, user);
    users_add_active(users, user);
    return user;
}

uint8_t fakes_subscribe(struct connection *connection, const char *filter, uint8_t qos)
{
    struct connection_subscribe subscribe = {.filter = view_of_text(filter), .qos = qos};
    uint8_t code = connection->ops->subscribe(connection->owner, connection, &subscribe);

    connection->is_confirming = connection->ops->subscribed(connection->owner, connection);
    if (!connection->is_confirming)
        connection->ops->writable(connection->owner, connection);
    return code;
}

void fakes_give_room(struct connection *connection, unsigned room)
{
    connection->room = room;
    connection->ops->writable(connection->owner, connection);
}

void fakes_acknowledge(struct connection *connection, uint64_t tag)
{
    connection->ops->acknowledged(connection->owner, connection, tag);
    if (connection->awaits_room)
        connection->ops->writable(connection->owner, connection);
    connection->awaits_room = false;
}

const struct fake_message *fakes_message(const struct connection *connection)
{
    assert_true(connection->sent > 0);
    return &connection->messages[(connection->sent - 1) % FAKES_MESSAGES_MAX];
}

void fakes_leave(struct connection *connection)
{
    close_connection(connection, MQTT_SUCCESS, "it left");
}

void fakes_edge(void)
{
    /* As the loop does with what it dispatches once. */
    assert_true(sd_event_source_set_enabled(fakes.gateway->edge_timer.source, SD_EVENT_OFF) >=
                0);
    assert_int_equal(gateway_on_edge(fakes.gateway->edge_timer.source, fakes.gateway), 0);
}

void fakes_tick(void)
{
    assert_int_equal(gateway_on_tick(fakes.gateway->ticks.timer, 0, fakes.gateway), 0);
}

void fakes_refill(void)
{
    assert_true(fakes.gateway->forward.is_refill_armed);
    fakes_run();
}

void fakes_run(void)
{
    unsigned turns = 0;

    while (sd_event_get_state(fakes.event) != SD_EVENT_FINISHED &&
           sd_event_run(fakes.event, 0) > 0)
        assert_in_range(turns++, 0, 1000);
}

int fakes_exit_code(void)
{
    int code = 0;

    return sd_event_get_exit_code(fakes.event, &code) < 0 ? -1 : code;
}

struct spool_ledger fakes_ledger(void)
{
    struct spool_ledger ledger;

    assert_int_equal(spool_get_ledger(fakes.gateway->spool, &ledger), 0);
    assert_true(spool_ledger_balances(&ledger));
    return ledger;
}

int64_t fakes_due_ms(sd_event_source *timer)
{
    uint64_t due_us = 0;
    int enabled = SD_EVENT_OFF;

    if (!timer || sd_event_source_get_enabled(timer, &enabled) < 0 || enabled == SD_EVENT_OFF)
        return -1;
    assert_true(sd_event_source_get_time(timer, &due_us) >= 0);
    return due_us > fakes.boot_us ? (int64_t)((due_us - fakes.boot_us) / 1000) : 0;
}

void fakes_reach(sd_event_source *timer)
{
    assert_true(fakes_due_ms(timer) >= 0);
    assert_true(sd_event_source_set_time(timer, 0) >= 0);
    fakes_run();
}
