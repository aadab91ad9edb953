/* SPDX-License-Identifier: MIT */
/*
 * wills.c - messages that clients leave when they do not disconnect orderly
 *
 * A will that could never be accepted is refused at CONNECT, where the client gets the reason.
 * After the end of its connection, and its delay, it is a message like any other: of its lane,
 * under its limits, committed with the batch. One that has no room in a lane that blocks, or
 * is above the rate of its user, waits here. What a batch that is rolled back held of them is
 * tried again.
 *
 * Invariant: WILLS_BYTES_MAX, and the wills of the clients that are connected, is the most
 * that they take.
 *
 * Diagnostics: client_refused (by clients.c), will_refused, wills_lost.
 */
#include "daemon/gateway/wills.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/view.h"
#include "daemon/config/config.h"
#include "daemon/config/spool_lanes.h"
#include "daemon/gateway/access.h"
#include "daemon/gateway/batch.h"
#include "daemon/gateway/clients.h"
#include "daemon/gateway/counters.h"
#include "daemon/gateway/edge_timer.h"
#include "daemon/gateway/gateway-private.h"
#include "daemon/gateway/intake.h"
#include "daemon/gateway/limits.h"
#include "daemon/gateway/sessions.h"
#include "daemon/gateway/shape.h"
#include "daemon/gateway/stop.h"
#include "daemon/gateway/turn.h"
#include "daemon/gateway/users.h"
#include "daemon/mqtt/packet.h"
#include "daemon/uplink/pacer.h"
#include "daemon/uplink/settings.h"
#include "store/spool.h"

/* Tried at one edge. */
#define WILLS_PER_EDGE 64
/* Of those that are delayed; the end of any other connection publishes its will at once. */
#define WILLS_DELAYED_MAX 1024
/* Until one that waits is tried again, if no edge comes before. */
#define WILLS_RETRY_MS 250

/* What became of one; or negative errno. */
enum { WILL_STORED, WILL_WAITS, WILL_REFUSED };

void wills_init(struct wills *wills)
{
    TAILQ_INIT(&wills->due);
    TAILQ_INIT(&wills->batched);
    TAILQ_INIT(&wills->delayed);
}

/* Of no list any more. */
static void will_free(struct wills *wills, struct will *will)
{
    wills->bytes -= will->size;
    free(will->message);
    free(will);
}

/* Return: how many they were. */
static unsigned free_all(struct wills *wills, struct will_list *list)
{
    struct will *will = TAILQ_FIRST(list);
    unsigned count = 0;

    while (will) {
        struct will *next = TAILQ_NEXT(will, link);

        will_free(wills, will);
        will = next;
        count++;
    }
    TAILQ_INIT(list);
    return count;
}

void wills_finish(struct wills *wills)
{
    unsigned lost;

    (void)free_all(wills, &wills->batched);
    lost = free_all(wills, &wills->due) + free_all(wills, &wills->delayed);
    if (lost > 0)
        log_warning("wills_lost wills=%u remedy=\"make room in the lanes of these wills, or "
                    "give them when_full other than block\"",
                    lost);
}

/* ---- may it be accepted? ---- */

static struct spool_message message_of(const struct gateway *gateway,
                                       const struct connection_will *will,
                                       struct view client,
                                       uint32_t uid)
{
    return gateway_message_of(gateway->config, &will->packet, will->kept_properties, client,
                              uid);
}

/* Why it would be refused at each try, as a word for the log; NULL: it would not. */
static const char *
find_fault(struct gateway *gateway, const struct spool_message *message, uint8_t *ret_code)
{
    const struct config_limits *limits = config_lane_limits(gateway->config, message->lane);

    *ret_code = MQTT_TOPIC_NAME_INVALID;
    if (!shape_admits(&gateway->shape, message->lane, message->topic))
        return "will_topic_in_lane";
    *ret_code = MQTT_QUOTA_EXCEEDED;
    return spool_charge(message) > limits->max_bytes ? "will_too_large" : NULL;
}

/* The same, with the rights of its client. */
static const char *find_client_fault(struct gateway *gateway,
                                     const struct access *access,
                                     const struct spool_message *message,
                                     uint8_t *ret_code)
{
    *ret_code = MQTT_NOT_AUTHORIZED;
    if (gateway_is_bridge_notification(message->topic))
        return NULL; /* it is dropped when it is due */
    if (message->topic.data[0] == '$')
        return "will_topic_with_dollar";
    if (!access->is_allowed || !access_may_publish(access, message->topic))
        return "will_topic_not_allowed";
    return find_fault(gateway, message, ret_code);
}

static size_t size_of(const struct connection_will *message, struct view client)
{
    return sizeof(struct will) + client.size + sizeof(*message) + message->packet.topic.size +
           message->packet.payload.size + message->packet.ref.size +
           message->kept_properties.size;
}

static size_t bytes_of_user(const struct wills *wills, uint32_t uid)
{
    const struct will *will;
    size_t bytes = 0;

    TAILQ_FOREACH(will, &wills->due, link)
        bytes += will->uid == uid ? will->size : 0;
    TAILQ_FOREACH(will, &wills->delayed, link)
        bytes += will->uid == uid ? will->size : 0;
    return bytes;
}

/* Those of one user are no more than all of them. */
static bool has_room(const struct wills *wills, uint32_t uid)
{
    return wills->bytes <= WILLS_BYTES_MAX / 2 ||
           (wills->bytes <= WILLS_BYTES_MAX &&
            bytes_of_user(wills, uid) <= WILLS_BYTES_MAX / 2);
}

/* The delayed one of the client's session; NULL: there is none. */
static struct will *find_delayed(const struct wills *wills, const struct client *client)
{
    struct view id = connection_client_id(client->connection);
    uint32_t uid = connection_peer(client->connection)->uid;
    struct will *will;

    TAILQ_FOREACH(will, &wills->delayed, link) {
        if (will->uid == uid && view_equals(view_of(will->client, will->client_size), id))
            return will;
    }
    return NULL;
}

uint8_t
gateway_check_will(void *userdata, struct client *client, const struct connection_will *will)
{
    struct gateway *gateway = userdata;
    uint32_t uid = connection_peer(client->connection)->uid;
    struct spool_message message =
        message_of(gateway, will, connection_client_id(client->connection), uid);
    uint8_t code = MQTT_SUCCESS;
    const char *fault = find_client_fault(gateway, &client->access, &message, &code);

    if (fault) {
        clients_log_client_refused(client, fault,
                                   "correct the will of the program, the lane, or the entry of "
                                   "access that fits the program");
        return code;
    }
    if (has_room(&gateway->clients.wills, uid) ||
        find_delayed(&gateway->clients.wills, client)) /* which makes room */
        return MQTT_SUCCESS;
    clients_log_client_refused(
        client, "wills_wait",
        "correct programs that end without DISCONNECT; mqtt-spool status "
        "shows which lane is full");
    return MQTT_QUOTA_EXCEEDED;
}

/* ---- its connection has ended ---- */

static void log_refused(struct gateway *gateway, const struct will *will, const char *why)
{
    struct user *user = users_find(&gateway->clients.users, will->uid);
    struct view topic = will->message->packet.topic;
    char quoted_id[128], quoted_topic[128];
    uint64_t suppressed = 0;

    counters_note_refused(&gateway->counters, 1, why, gateway->turn.now.boot_ms);
    if (log_limit_pass(&user->warnings, gateway->turn.now.boot_ms, &suppressed))
        log_warning(
            "will_refused reason=\"%s\" client=%s uid=%d topic=%s suppressed=%" PRIu64
            " remedy=\"mqtt-spool status shows what is full\"",
            why, log_quote(quoted_id, sizeof(quoted_id), will->client, will->client_size),
            (int)will->uid,
            log_quote(quoted_topic, sizeof(quoted_topic), topic.data, topic.size), suppressed);
}

/* Takes @message over. Return: NULL: no memory. */
static struct will *will_new(const struct client *client, struct connection_will *message)
{
    struct view id = connection_client_id(client->connection);
    struct will *will = malloc(sizeof(*will) + id.size);

    if (!will) {
        free(message);
        return NULL;
    }
    *will = (struct will){
        .message = message,
        .uid = connection_peer(client->connection)->uid,
        .rate = access_rate(&client->access),
        .size = size_of(message, id),
        .client_size = id.size,
    };
    memcpy(will->client, id.data, id.size);
    return will;
}

static struct spool_message will_message(const struct gateway *gateway, const struct will *will)
{
    return message_of(gateway, will->message, view_of(will->client, will->client_size),
                      will->uid);
}

/* They may come faster than a batch is made of them: then nothing else is read before. */
static void arm_edge(struct gateway *gateway)
{
    if (gateway->clients.wills.untried < GATEWAY_BATCH_BYTES)
        edge_timer_arm(&gateway->edge_timer);
    else
        edge_timer_arm_next(&gateway->edge_timer);
}

static void make_due(struct gateway *gateway, struct will *will)
{
    TAILQ_INSERT_TAIL(&gateway->clients.wills.due, will, link);
    gateway->clients.wills.untried += will->size;
    arm_edge(gateway);
}

/* The session must not end before [MQTT-3.1.3-9]. At the stop none is delayed. */
static void
delay_or_make_due(struct gateway *gateway, const struct client *client, struct will *will)
{
    struct wills *wills = &gateway->clients.wills;
    uint32_t life_s = client_session_life_s(&client->clients->sessions, &client->session);
    uint32_t delay_s = will->message->delay_s < life_s ? will->message->delay_s : life_s;

    if (delay_s == 0 || wills->delayed_count >= WILLS_DELAYED_MAX ||
        stop_has_begun(&gateway->stop)) {
        make_due(gateway, will);
        return;
    }
    will->due_ms = gateway->turn.now.boot_ms + (int64_t)delay_s * 1000;
    TAILQ_INSERT_TAIL(&wills->delayed, will, link);
    wills->delayed_count++;
}

void gateway_take_will(void *userdata, struct client *client)
{
    struct gateway *gateway = userdata;
    struct connection_will *message = connection_take_will(client->connection);
    struct will *will = message ? will_new(client, message) : NULL;
    uint8_t code;

    turn_read_clock(&gateway->turn);
    if (!will) {
        if (message)
            counters_note_refused(&gateway->counters, 1, "no memory for a will",
                                  gateway->turn.now.boot_ms);
        return;
    }
    struct spool_message offered = will_message(gateway, will);
    const char *fault = find_client_fault(gateway, &client->access, &offered, &code);
    bool is_notification = gateway_is_bridge_notification(offered.topic);
    gateway->clients.wills.bytes += will->size;
    if (!fault && !is_notification) {
        delay_or_make_due(gateway, client, will);
        return;
    }
    if (is_notification)
        gateway->counters.bridge_notifications++;
    else
        log_refused(gateway, will, fault);
    will_free(&gateway->clients.wills, will);
}

/* It is delayed no more. */
static void end_delay(struct wills *wills, struct will *will)
{
    TAILQ_REMOVE(&wills->delayed, will, link);
    wills->delayed_count--;
}

void gateway_resume_will(void *userdata, struct client *client, bool is_resumed)
{
    struct gateway *gateway = userdata;
    struct wills *wills = &gateway->clients.wills;
    struct will *will = find_delayed(wills, client);

    if (!will)
        return;
    end_delay(wills, will);
    if (is_resumed)
        will_free(wills, will);
    else
        make_due(gateway, will);
}

static bool is_delay_over(const struct gateway *gateway, const struct will *will)
{
    return gateway->turn.now.boot_ms >= will->due_ms || stop_has_begun(&gateway->stop) ||
           !spool_session_find(gateway->spool, will->uid,
                               view_of(will->client, will->client_size));
}

void gateway_end_delays(struct gateway *gateway)
{
    struct wills *wills = &gateway->clients.wills;
    struct will *will, *next;

    for (will = TAILQ_FIRST(&wills->delayed); will; will = next) {
        next = TAILQ_NEXT(will, link);
        if (!is_delay_over(gateway, will))
            continue;
        end_delay(wills, will);
        make_due(gateway, will);
    }
}

/* ---- into the batch ---- */

/* By the policy of its lane, whatever is full. */
static int wait_or_refuse(const struct gateway *gateway, unsigned lane)
{
    return config_lane_limits(gateway->config, lane)->when_full == CONFIG_BLOCK ? WILL_WAITS
                                                                                : WILL_REFUSED;
}

static int
will_append(struct gateway *gateway, const struct spool_message *message, const char **ret_why)
{
    struct intake *intake = &gateway->intake;
    uint64_t id = 0;
    int r;

    if (intake_audit_is_full(intake)) {
        intake_note_full(intake, INTAKE_FULL_AUDIT);
        *ret_why = intake_full_name(INTAKE_FULL_AUDIT);
        return wait_or_refuse(gateway, message->lane);
    }
    r = gateway_append(gateway, message, &id);
    if (r == SPOOL_E_FULL) {
        intake_note_lane_full(intake, message->lane);
        *ret_why = "limits of its lane";
        return wait_or_refuse(gateway, message->lane);
    }
    if (r == SPOOL_E_DISK) {
        intake_note_short_disk(intake);
        *ret_why = intake_full_name(INTAKE_FULL_DISK);
        return wait_or_refuse(gateway, message->lane);
    }
    if (r < 0)
        return r;
    return r == 0 ? WILL_STORED : WILL_WAITS;
}

/* The stop does not wait for it. */
static bool
is_above_rate(const struct gateway *gateway, const struct will *will, const struct user *user)
{
    const struct uplink_rate rate = {.messages = will->rate};

    return will->rate > 0 && !stop_has_begun(&gateway->stop) &&
           pacer_wait_ms(&user->pacer, &rate, gateway->turn.now.boot_ms) > 0;
}

/* Return: negative errno; as will_append(). */
static int will_decide(struct gateway *gateway,
                       const struct will *will,
                       struct user *user,
                       const char **ret_why)
{
    struct spool_message message = will_message(gateway, will);
    const struct uplink_rate rate = {.messages = will->rate};
    uint8_t code;
    int r;

    *ret_why = find_fault(gateway, &message, &code);
    if (*ret_why)
        return WILL_REFUSED;
    if (is_above_rate(gateway, will, user))
        return WILL_WAITS;
    r = will_append(gateway, &message, ret_why);
    if (r == WILL_STORED && will->rate > 0)
        pacer_charge(&user->pacer, &rate, gateway->turn.now.boot_ms, 0);
    return r;
}

/* It is no more the first of those that are due. Return: 0; negative errno. */
static int will_try(struct gateway *gateway, struct will *will, struct share *share)
{
    struct wills *wills = &gateway->clients.wills;
    struct user *user = users_find(&gateway->clients.users, will->uid);
    const char *why;
    int fate = will_decide(gateway, will, user, &why);

    if (fate < 0)
        return fate;
    TAILQ_REMOVE(&wills->due, will, link);
    if (fate == WILL_REFUSED) {
        log_refused(gateway, will, why);
        will_free(wills, will);
        return 0;
    }
    if (fate == WILL_WAITS)
        TAILQ_INSERT_TAIL(&wills->due, will, link);
    else
        TAILQ_INSERT_TAIL(&wills->batched, will, link);
    share->messages += fate == WILL_STORED;
    share->bytes += fate == WILL_STORED ? will->size : 0;
    return 0;
}

static bool
batch_has_room(struct gateway *gateway, const struct will *will, const struct share *share)
{
    struct user *user = users_find(&gateway->clients.users, will->uid);

    return batch_admits(&gateway->batch, user, share, false);
}

int gateway_run_wills(struct gateway *gateway)
{
    struct wills *wills = &gateway->clients.wills;
    const struct will *last = TAILQ_LAST(&wills->due, will_list); /* of those not tried yet */
    struct share share = {0};

    for (unsigned i = 0; last && i < WILLS_PER_EDGE; i++) {
        struct will *will = TAILQ_FIRST(&wills->due);
        bool is_last = will == last;
        size_t size = will->size;
        int r;

        if (!batch_has_room(gateway, will, &share))
            break;
        r = will_try(gateway, will, &share);
        if (r < 0)
            return r;
        wills->untried -= size < wills->untried ? size : wills->untried;
        if (is_last)
            last = NULL;
    }
    if (last)
        arm_edge(gateway);
    else if (!TAILQ_EMPTY(&wills->due))
        edge_timer_arm_later(&gateway->edge_timer, WILLS_RETRY_MS);
    return 0;
}

void gateway_settle_wills(struct gateway *gateway, bool is_committed)
{
    struct wills *wills = &gateway->clients.wills;

    if (is_committed) {
        (void)free_all(wills, &wills->batched);
        return;
    }
    TAILQ_CONCAT(&wills->batched, &wills->due, link);
    TAILQ_CONCAT(&wills->due, &wills->batched, link);
}
