/* SPDX-License-Identifier: MIT */
/*
 * control_reply.c - commands of operators: the answers
 *
 * Each answer is an object of JSON with the command, whether it succeeded and whether it
 * is the last one. It goes to the topic of the request, with the QoS that the client has
 * subscribed to it with; without a subscription there is none. An answer that the client
 * has no room for is kept, and the next one is composed when it was sent.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/view.h"
#include "daemon/control/request.h"
#include "daemon/gateway/control-private.h"
#include "daemon/gateway/gateway-private.h"
#include "daemon/gateway/limits.h"
#include "daemon/gateway/subscriptions.h"
#include "daemon/ingress/connection.h"
#include "daemon/mqtt/packet.h"
#include "daemon/record/selected.h"
#include "store/spool.h"

/* An answer with listed messages gets no more of them from this size on. */
#define LIST_BYTES ((size_t)12 * 1024)
/* Texts of a listed message are cut at this; show has all of them. */
#define LIST_TEXT_MAX 4096
#define LIST_MAX      (LIST_BYTES + RECORD_SELECTED_MAX(LIST_TEXT_MAX) + 256)
/* Of a payload, in one answer: a multiple of three, for base64. */
#define PAYLOAD_BYTES ((size_t)600000)
#define REPLY_MAX     (CONNECTION_MESSAGE_MAX - 4096)
#define PLAIN_MAX     ((size_t)REQUEST_ERROR_MAX * 6 + 512)
/* Calls of the store for one answer. */
#define WALK_CALLS_MAX 8
#define PROGRESS_MS    1000

/* ---- one answer ---- */

static void reply_begin(struct json *json, const struct control_job *job)
{
    json_open_object(json, NULL);
    json_text(json, "command",
              job->has_command ? request_command_name(job->request.command) : "");
    json_bool(json, "ok", job->error[0] == '\0');
    if (job->error[0] != '\0')
        json_text(json, "error", job->error);
}

static void reply_end(struct json *json, struct control_job *job, bool is_last)
{
    json_bool(json, "last", is_last);
    json_close_object(json);
    job->answers.is_last_composed = is_last;
}

/* Return: as connection_send(); CONNECTION_E_ENDED, too, if the client has not subscribed. */
static int reply_send(const struct control_job *job, struct view text)
{
    struct view topic = view_of_text(job->answers.topic);
    int qos = subscriptions_qos(&job->client->subscriptions, topic);
    const struct connection_message message = {
        .topic = topic,
        .payload = text,
        .qos = (uint8_t)qos,
        .has_correlation = job->answers.has_correlation,
        .correlation = view_of(job->answers.correlation, job->answers.correlation_size),
    };

    return qos == SUBSCRIPTIONS_NONE ? CONNECTION_E_ENDED
                                     : connection_send(job->client->connection, &message);
}

static void compose_plain(struct json *json, struct control_job *job)
{
    reply_begin(json, job);
    reply_end(json, job, true);
}

/* ---- counts ---- */

static void compose_counts(struct json *json, struct control_job *job, bool is_last)
{
    bool is_drop = job->request.command == REQUEST_DROP;

    reply_begin(json, job);
    json_unsigned(json, "matched", job->steps.committed.matched);
    json_unsigned(json, is_drop ? "dropped" : "requeued", job->steps.committed.changed);
    if (is_drop)
        json_unsigned(json, "in_flight", job->steps.committed.in_flight);
    if (job->request.is_dry_run)
        json_bool(json, "dry_run", true);
    reply_end(json, job, is_last);
}

/* One that finds no room is left out. */
void control_report_progress(struct gateway *gateway, struct control_job *job)
{
    int64_t now_ms = gateway->turn.now.boot_ms;
    char memory[PLAIN_MAX];
    struct json json;

    if (!job->client || now_ms - job->steps.progress_boot_ms < PROGRESS_MS)
        return;
    job->steps.progress_boot_ms = now_ms;
    json_init(&json, memory, sizeof(memory));
    compose_counts(&json, job, false);
    (void)reply_send(job, view_of(memory, json_used(&json)));
}

/* ---- messages ---- */

/* Return: 0: the job has a message; as spool_select_next(), SPOOL_E_AGAIN after many calls. */
static int find_next(struct gateway *gateway, struct control_job *job, bool with_payload)
{
    struct spool_time now = turn_spool_time(&gateway->turn);
    int r = SPOOL_E_AGAIN;

    if (!job->walk.select) {
        int begun = spool_select_new(gateway->spool, job->walk.place, &job->walk.selection,
                                     &job->walk.select);
        if (begun != 0)
            return begun;
    }
    for (unsigned calls = 0; r == SPOOL_E_AGAIN && calls < WALK_CALLS_MAX; calls++)
        r = spool_select_next(job->walk.select, &now, with_payload, &job->walk.selected);
    return r;
}

/* A read error of a walk that only looks ends the walk, not the daemon. Return: is there an
 * answer, to a walk that does not continue now? */
static bool
compose_failed(struct gateway *gateway, struct json *json, struct control_job *job, int r)
{
    if (r == SPOOL_E_AGAIN || r == SPOOL_E_BUSY) {
        job->retry_boot_ms = gateway->turn.now.boot_ms + 1;
        return false;
    }
    control_fail(job, MQTT_UNSPECIFIED_ERROR, "the spool cannot be read: %s",
                 spool_error(gateway->spool));
    compose_plain(json, job);
    return true;
}

static bool is_held(const struct gateway *gateway, const struct control_job *job)
{
    return spool_is_held(gateway->spool, job->walk.selected.message.lane_name);
}

static void
write_listed(const struct gateway *gateway, struct json *json, struct control_job *job)
{
    json_open_object(json, NULL);
    record_write_selected(json, &job->walk.selected, is_held(gateway, job), LIST_TEXT_MAX);
    json_close_object(json);
    job->walk.listed++;
}

/* As many as fit. An answer with few of them is composed rather than none, so that what was
 * found is sent. */
static bool compose_list(struct gateway *gateway, struct json *json, struct control_job *job)
{
    uint64_t before = job->walk.listed;
    int r = 0;

    reply_begin(json, job);
    json_open_array(json, "messages");
    while (r == 0 && json_used(json) < LIST_BYTES) {
        r = job->walk.listed < job->request.limit ? find_next(gateway, job, false)
                                                  : SPOOL_E_EMPTY;
        if (r == 0)
            write_listed(gateway, json, job);
    }
    if (r != 0 && r != SPOOL_E_EMPTY && job->walk.listed == before) {
        json_init(json, json->start, (size_t)(json->end - json->start));
        return compose_failed(gateway, json, job, r);
    }
    json_close_array(json);
    reply_end(json, job, r == SPOOL_E_EMPTY);
    return true;
}

/* Spooled, or kept. */
static int find_shown(struct gateway *gateway, struct control_job *job)
{
    int r = job->walk.payload_sent > 0 ? 0 : find_next(gateway, job, true);

    if (r != SPOOL_E_EMPTY || job->walk.place == SPOOL_PLACE_KEPT)
        return r;
    spool_select_free(job->walk.select);
    job->walk.select = NULL;
    job->walk.place = SPOOL_PLACE_KEPT;
    return find_next(gateway, job, true);
}

static bool compose_show(struct gateway *gateway, struct json *json, struct control_job *job)
{
    int r = find_shown(gateway, job);

    if (r == SPOOL_E_EMPTY) {
        control_fail(job, MQTT_IMPLEMENTATION_SPECIFIC,
                     "there is no message %" PRIu64 " that is spooled or kept",
                     job->request.id);
        compose_plain(json, job);
        return true;
    }
    if (r != 0)
        return compose_failed(gateway, json, job, r);
    const struct view payload = job->walk.selected.message.payload;
    size_t left = job->request.wants_payload ? payload.size - job->walk.payload_sent : 0;
    size_t size = left < PAYLOAD_BYTES ? left : PAYLOAD_BYTES;
    reply_begin(json, job);
    if (job->walk.payload_sent == 0) {
        record_write_selected(json, &job->walk.selected, is_held(gateway, job), MQTT_TEXT_MAX);
        record_write_details(json, &job->walk.selected);
    }
    if (job->request.wants_payload)
        json_base64(json, "payload", payload.data + job->walk.payload_sent, size);
    job->walk.payload_sent += size;
    reply_end(json, job, size == left);
    return true;
}

/* ---- all of them ---- */

static bool compose_status(struct gateway *gateway, struct json *json, struct control_job *job)
{
    reply_begin(json, job);
    json_raw(json, ",\"status\":");
    if (gateway_write_status(gateway, json) != 0) { /* the database is locked */
        job->retry_boot_ms = gateway->turn.now.boot_ms + GATEWAY_LOCKED_RETRY_MS;
        return false;
    }
    reply_end(json, job, true);
    return true;
}

/* Return: false: not now. */
static bool compose_next(struct gateway *gateway, struct json *json, struct control_job *job)
{
    bool has_failed = job->error[0] != '\0';

    job->retry_boot_ms = 0;
    if (control_takes_steps(&job->request) && job->steps.has_begun)
        compose_counts(json, job, true);
    else if (job->request.command == REQUEST_STATUS && !has_failed)
        return compose_status(gateway, json, job);
    else if (job->request.command == REQUEST_LIST && !has_failed)
        return compose_list(gateway, json, job);
    else if (job->request.command == REQUEST_SHOW && !has_failed)
        return compose_show(gateway, json, job);
    else
        compose_plain(json, job);
    return true;
}

/* An answer that is larger than the memory for it, or than the client takes. */
static void keep_too_large(struct control_job *job, struct json *json, size_t size)
{
    (void)snprintf(job->error, sizeof(job->error),
                   "the answer is larger than your Maximum Packet Size, or than %zu bytes",
                   (size_t)REPLY_MAX);
    job->answers.is_too_large = true;
    json_init(json, json->start, size);
    compose_plain(json, job);
}

/* Return: false: there is none now, or no memory. */
static bool keep_next(struct gateway *gateway, struct control_job *job)
{
    size_t size = job->request.command == REQUEST_LIST ? LIST_MAX : REPLY_MAX;
    char *memory = malloc(size);
    struct json json;

    if (!memory) {
        job->retry_boot_ms = gateway->turn.now.boot_ms + GATEWAY_LOCKED_RETRY_MS;
        return false;
    }
    json_init(&json, memory, size);
    if (!compose_next(gateway, &json, job)) {
        free(memory);
        return false;
    }
    if (json.failed)
        keep_too_large(job, &json, size);
    job->answers.unsent_size = json_used(&json);
    job->answers.unsent = memory; /* of which only what was written takes pages */
    return true;
}

/* Return: false: there is no room for it. */
static bool send_unsent(struct control_job *job, int64_t now_ms)
{
    int r = reply_send(job, view_of(job->answers.unsent, job->answers.unsent_size));

    if (r == CONNECTION_E_FULL) {
        if (job->answers.full_boot_ms == 0)
            job->answers.full_boot_ms = now_ms;
        return false;
    }
    job->answers.full_boot_ms = 0;
    job->client->answered_boot_ms = now_ms;
    free(job->answers.unsent);
    job->answers.unsent = NULL;
    if (r == CONNECTION_E_TOO_LARGE && !job->answers.is_too_large) {
        job->answers.unsent = malloc(PLAIN_MAX);
        struct json json = {.start = job->answers.unsent};

        if (job->answers.unsent) {
            keep_too_large(job, &json, PLAIN_MAX);
            job->answers.unsent_size = json_used(&json);
            return true;
        }
    }
    job->answers.is_last_composed |= r != 0; /* no receiver */
    return true;
}

void control_discard_answers(struct control_job *job, bool is_last)
{
    free(job->answers.unsent);
    job->answers.unsent = NULL;
    job->answers.is_last_composed = is_last;
}

bool control_reply(struct gateway *gateway, struct control_job *job)
{
    while (job->client && (job->answers.unsent || !job->answers.is_last_composed)) {
        if (!job->answers.unsent && !keep_next(gateway, job))
            return false;
        if (!send_unsent(job, gateway->turn.now.boot_ms))
            return false;
    }
    return true;
}
