/* SPDX-License-Identifier: MIT */
/*
 * control.c - commands of operators: the jobs, from the PUBLISH to its acknowledgement
 *
 * A PUBLISH that changes something is not accepted when it is offered: its connection
 * keeps it and reads nothing more. When the job is done it is offered again, and then
 * accepted or refused. So it needs no list of what is owed, and what the client sent
 * behind it waits.
 *
 * A batch that is lost loses the step in it: its job walks again from the first
 * message on, and finds what it has not ended.
 *
 * Invariants: a client waits for one job at most. Nothing is acknowledged or answered as
 * done before the commit of all of it.
 */
#include "daemon/gateway/control.h"

#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"
#include "base/peer.h"
#include "base/view.h"
#include "daemon/audit/audit.h"
#include "daemon/control/request.h"
#include "daemon/gateway/clients.h"
#include "daemon/gateway/control-private.h"
#include "daemon/gateway/edge_timer.h"
#include "daemon/gateway/gateway-private.h"
#include "daemon/gateway/subscriptions.h"
#include "daemon/ingress/connection.h"
#include "daemon/mqtt/packet.h"
#include "store/spool.h"

/* Between two steps, so that producers have their turns. While they send, a batch that one of
 * them waits for takes no step, unless the last one is so long ago. */
#define CONTROL_PAUSE_MS  10
#define CONTROL_LATEST_MS 50
#define CONTROL_QUIET_MS  250

void control_init(struct control *control)
{
    TAILQ_INIT(&control->jobs);
}

static void job_free(struct control_job *job)
{
    spool_select_free(job->walk.select);
    request_finish(&job->request);
    free(job->answers.topic);
    free(job->answers.correlation);
    free(job->answers.unsent);
    free(job);
}

static void job_remove(struct control *control, struct control_job *job)
{
    TAILQ_REMOVE(&control->jobs, job, link);
    control->count--;
    job_free(job);
}

void control_finish(struct control *control)
{
    struct control_job *job;

    while ((job = TAILQ_FIRST(&control->jobs))) {
        TAILQ_REMOVE(&control->jobs, job, link);
        job_free(job);
    }
    control->count = 0;
}

/* ---- the PUBLISH ---- */

static struct control_job *find_awaited(const struct control *control,
                                        const struct client *client)
{
    struct control_job *job;

    TAILQ_FOREACH(job, &control->jobs, link) {
        if (job->client == client && job->is_awaited)
            break;
    }
    return job;
}

/* A response topic that is not below that of answers is not used. Return: false: no memory. */
static bool keep_return_address(struct control_job *job, const struct packet_publish *packet)
{
    struct view topic = view_of_text(SUBSCRIPTIONS_RESPONSE);
    struct packet_property property;
    struct view correlation = {0};
    struct reader reader;

    reader_init(&reader, packet->properties.data, packet->properties.size);
    while (packet_property_next(&reader, &property)) {
        if (property.id == PROPERTY_RESPONSE_TOPIC && subscriptions_is_response(property.value))
            topic = property.value;
        if (property.id != PROPERTY_CORRELATION_DATA)
            continue;
        correlation = property.value;
        job->answers.has_correlation = true;
    }
    job->answers.topic = strndup(view_chars(topic), topic.size);
    job->answers.correlation = malloc(correlation.size + 1);
    if (!job->answers.topic || !job->answers.correlation)
        return false;
    if (correlation.size > 0)
        memcpy(job->answers.correlation, correlation.data, correlation.size);
    job->answers.correlation_size = correlation.size;
    return true;
}

static struct control_job *job_new(struct client *client, const struct packet_publish *packet)
{
    const struct peer *peer = connection_peer(client->connection);
    struct control_job *job = calloc(1, sizeof(*job));

    if (!job)
        return NULL;
    job->client = client;
    job->uid = peer->uid;
    job->pid = peer->pid;
    job->code = MQTT_SUCCESS;
    if (keep_return_address(job, packet))
        return job;
    job_free(job);
    return NULL;
}

/* A refusal that cannot be answered would close the connection: the answer has the error. */
static struct connection_verdict accept_or_refuse(struct gateway *gateway,
                                                  struct client *client,
                                                  const struct connection_publish *publish,
                                                  uint8_t code)
{
    if (code != MQTT_SUCCESS && publish->has_answer)
        return (struct connection_verdict){.kind = CONNECTION_REFUSE, .code = code};
    clients_note_owing(client, 0);
    edge_timer_arm(&gateway->edge_timer);
    return (struct connection_verdict){.kind = CONNECTION_ACCEPT};
}

/* Return: false: it has failed. */
static bool read_request(struct control_job *job, const struct packet_publish *packet)
{
    int r = request_parse(packet->payload, &job->request, &job->has_command, job->error);
    bool is_large = packet->payload.size > REQUEST_MAX;

    if (r == REQUEST_E_INVALID)
        control_fail(job, is_large ? MQTT_QUOTA_EXCEEDED : MQTT_PAYLOAD_FORMAT_INVALID, NULL);
    else if (r != 0)
        control_fail(job, MQTT_UNSPECIFIED_ERROR, "no memory");
    return r == 0;
}

/* It is not kept: its answer is sent if there is room now. */
static void job_reject(struct gateway *gateway, struct control_job *job)
{
    control_fail(job, MQTT_QUOTA_EXCEEDED,
                 "too many commands wait, or their answers are not read: read them, or send "
                 "it again later");
    (void)control_reply(gateway, job);
    job_free(job);
}

/* The client is not read from until the job has ended, if it gets an acknowledgement: one that
 * publishes with QoS 0 may have left already. */
static struct connection_verdict control_begin(struct gateway *gateway,
                                               struct client *client,
                                               const struct connection_publish *publish)
{
    struct control *control = &gateway->control;
    struct control_job *job = job_new(client, publish->packet);

    if (!job)
        return accept_or_refuse(gateway, client, publish, MQTT_QUOTA_EXCEEDED);
    turn_read_clock(&gateway->turn);
    bool is_sound = read_request(job, publish->packet);
    if (!control_admit(gateway, job)) {
        struct connection_verdict verdict =
            accept_or_refuse(gateway, client, publish, MQTT_QUOTA_EXCEEDED);

        job_reject(gateway, job); /* may close the connection */
        return verdict;
    }
    TAILQ_INSERT_TAIL(&control->jobs, job, link);
    control->count++;
    if (is_sound)
        control_apply(gateway, job);
    edge_timer_arm_urgent(&gateway->edge_timer);
    if (job->state == CONTROL_REPLYING || publish->packet->qos == 0)
        return accept_or_refuse(gateway, client, publish, job->code);
    job->is_awaited = true;
    return (struct connection_verdict){.kind = CONNECTION_BLOCK};
}

struct connection_verdict control_on_publish(struct gateway *gateway,
                                             struct client *client,
                                             const struct connection_publish *publish)
{
    struct control_job *job = find_awaited(&gateway->control, client);

    if (!job)
        return control_begin(gateway, client, publish);
    if (job->state != CONTROL_REPLYING)
        return (struct connection_verdict){.kind = CONNECTION_BLOCK};
    job->is_awaited = false;
    return accept_or_refuse(gateway, client, publish, job->code);
}

bool control_is_awaited(const struct gateway *gateway, const struct client *client)
{
    return find_awaited(&gateway->control, client) != NULL;
}

/* What waits ends here, because nothing was done for it. What was done is recorded. */
void control_on_closed(struct gateway *gateway, const struct client *client)
{
    struct control_job *job, *next;

    for (job = TAILQ_FIRST(&gateway->control.jobs); job; job = next) {
        next = TAILQ_NEXT(job, link);
        if (job->client != client)
            continue;
        job->client = NULL;
        job->steps.was_cut_short |= job->is_awaited && job->state <= CONTROL_STEPPING;
        if (job->steps.was_cut_short && job->state == CONTROL_WAITING)
            job_remove(&gateway->control, job);
    }
}

/* ---- steps ---- */

static struct control_job *find_in_state(const struct control *control,
                                         enum control_state state)
{
    struct control_job *job;

    TAILQ_FOREACH(job, &control->jobs, link) {
        if (job->state == state)
            break;
    }
    return job;
}

/* The one whose turn it is; NULL: none takes steps. */
static struct control_job *next_to_step(const struct control *control)
{
    struct control_job *job = find_in_state(control, CONTROL_STEPPING);

    if (job)
        return job;
    job = find_in_state(control, CONTROL_WAITING);
    if (job)
        job->state = CONTROL_STEPPING;
    return job;
}

/* Have producers sent something of late? */
static bool has_traffic(struct gateway *gateway)
{
    struct control *control = &gateway->control;
    uint64_t accepted = gateway->counters.accepted + gateway->edge.appended;

    if (control->accepted != accepted)
        control->accepted_boot_ms = gateway->turn.now.boot_ms;
    control->accepted = accepted;
    return gateway->turn.now.boot_ms - control->accepted_boot_ms < CONTROL_QUIET_MS;
}

static bool is_step_due(const struct gateway *gateway, bool is_beside_traffic)
{
    int64_t since_ms = gateway->turn.now.boot_ms - gateway->control.stepped_boot_ms;

    if (!is_beside_traffic)
        return true;
    return since_ms >= (gateway->edge.appended > 0 ? CONTROL_LATEST_MS : CONTROL_PAUSE_MS);
}

int control_step(struct gateway *gateway)
{
    struct control_job *job = next_to_step(&gateway->control);

    if (!job)
        return 0;
    bool is_beside_traffic = has_traffic(gateway);
    if (job->steps.was_cut_short) {
        job->state = CONTROL_CHANGED;
        return 0;
    }
    if (gateway->turn.now.boot_ms < job->retry_boot_ms ||
        !is_step_due(gateway, is_beside_traffic))
        return 0;
    gateway->control.stepped_boot_ms = gateway->turn.now.boot_ms;
    return control_apply_step(gateway, job, is_beside_traffic);
}

/* What waits has not begun. */
void control_stop(struct gateway *gateway)
{
    struct control_job *job, *next;

    for (job = TAILQ_FIRST(&gateway->control.jobs); job; job = next) {
        next = TAILQ_NEXT(job, link);
        if (job->state == CONTROL_STEPPING)
            job->steps.was_cut_short = true;
        else if (job->state == CONTROL_WAITING)
            job_remove(&gateway->control, job);
    }
}

static void add_changes(struct spool_changes *sum, const struct spool_changes *more)
{
    sum->matched += more->matched;
    sum->changed += more->changed;
    sum->in_flight += more->in_flight;
}

/* What was passed over is found again by a new walk, which may find room where the lost one
 * found none. What is no step stays noted. */
static void note_lost(struct control_job *job)
{
    spool_select_free(job->walk.select);
    job->walk.select = NULL;
    job->steps.batch = (struct spool_changes){0};
    job->steps.committed.matched = job->steps.committed.changed;
    job->steps.committed.in_flight = 0;
    if (job->state == CONTROL_CHANGED && !job->steps.was_cut_short &&
        control_takes_steps(&job->request)) {
        job->state = CONTROL_STEPPING;
        job->error[0] = '\0';
        job->code = MQTT_SUCCESS;
    }
}

void control_note_commit(struct gateway *gateway, bool is_committed)
{
    struct control_job *job;

    TAILQ_FOREACH(job, &gateway->control.jobs, link) {
        if (job->state != CONTROL_STEPPING && job->state != CONTROL_CHANGED)
            continue;
        if (!is_committed) {
            note_lost(job);
            continue;
        }
        add_changes(&job->steps.committed, &job->steps.batch);
        job->steps.batch = (struct spool_changes){0};
        if (job->state == CONTROL_STEPPING)
            continue;
        job->state = CONTROL_RECORDED;
        control_record(gateway, job);
    }
}

/* ---- answers ---- */

/* A file that cannot be written is not waited for: its line follows when it can. */
static bool is_recorded(const struct gateway *gateway)
{
    return !audit_admin_waits(gateway->audit) || !audit_is_healthy(gateway->audit);
}

/* The PUBLISH is acknowledged first: while it is kept, nothing else is read, and the client's
 * window of answers may be full. In here a connection may close, and its jobs then have no
 * client any more. */
static void job_reply(struct gateway *gateway, struct control_job *job)
{
    if (job->client && job->is_awaited)
        connection_resume(job->client->connection);
    if (job->client && job->is_awaited)
        return; /* it closes, and was not offered again */
    bool is_replied = control_reply(gateway, job);
    if (job->client)
        connection_flush(job->client->connection);
    if (is_replied)
        job_remove(&gateway->control, job);
}

static void job_visit(struct gateway *gateway, struct control_job *job)
{
    if (job->state == CONTROL_STEPPING) {
        control_report_progress(gateway, job);
        if (job->client)
            connection_flush(job->client->connection);
    }
    if (job->state == CONTROL_RECORDED && is_recorded(gateway))
        job->state = CONTROL_REPLYING;
    if (job->state == CONTROL_REPLYING)
        job_reply(gateway, job);
}

/* Jobs may end and others begin meanwhile. */
static struct control_job *next_to_visit(const struct control *control)
{
    struct control_job *job;

    TAILQ_FOREACH(job, &control->jobs, link) {
        if (job->pass != control->pass)
            break;
    }
    return job;
}

void control_answer(struct gateway *gateway)
{
    struct control *control = &gateway->control;
    struct control_job *job;
    bool is_waiting = false;

    if (control->count == 0)
        return;
    control->pass++;
    while ((job = next_to_visit(control))) {
        job->pass = control->pass;
        job_visit(gateway, job);
    }
    TAILQ_FOREACH(job, &control->jobs, link)
        is_waiting |= job->state <= CONTROL_STEPPING || job->retry_boot_ms > 0;
    if (is_waiting) {
        edge_timer_set_urgent(&gateway->edge_timer);
        edge_timer_arm_later(&gateway->edge_timer, CONTROL_PAUSE_MS);
    }
}

/* A job that has ended is freed at the edge. */
void control_on_writable(struct gateway *gateway, const struct client *client)
{
    struct control_job *job;

    TAILQ_FOREACH(job, &gateway->control.jobs, link) {
        if (job->client != client || job->state != CONTROL_REPLYING || job->is_awaited)
            continue;
        if (control_reply(gateway, job) || job->retry_boot_ms > 0)
            edge_timer_arm(&gateway->edge_timer);
    }
}
