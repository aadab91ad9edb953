/* SPDX-License-Identifier: MIT */
/*
 * control_admit.c - commands of operators: which of them have a place, and which lose it
 *
 * Jobs are bounded by what they may keep others from: per client, per user and in all. A
 * client that does not read its answers keeps others from no short command, and from a list
 * only for CONTROL_UNREAD_MS.
 *
 * Diagnostics: client_refused (by clients.c).
 */
#include "daemon/gateway/control.h"

#include <limits.h>

#include "daemon/control/request.h"
#include "daemon/gateway/clients.h"
#include "daemon/gateway/control-private.h"
#include "daemon/gateway/edge_timer.h"
#include "daemon/gateway/gateway-private.h"
#include "daemon/ingress/connection.h"
#include "daemon/mqtt/packet.h"

/* A client that has had no room for so long loses its place if another one needs it. */
#define CONTROL_UNREAD_MS 5000

#define NO_ADMIN "you are no administrator any more"
#define READ_ANSWERS                                                                           \
    "its list waited for it while others needed the place: let the program read the answers "  \
    "to its commands, or end it"

/* ---- bounds ---- */

/* Of a job, by what it may keep others from. */
enum control_kind {
    KIND_SHORT, /* one answer, of bounded size */
    KIND_READS, /* a list or a payload, as long as its client takes */
    KIND_STEPS, /* one at a time */
    KINDS,
};

/* hold, release, flush and status have no bound but that of their client: an operator needs
 * them whatever other clients do. */
static const struct {
    unsigned of_client, of_user, all;
} kind_max[KINDS] = {
    [KIND_SHORT] = {CONTROL_CLIENT_JOBS_MAX, UINT_MAX, UINT_MAX},
    [KIND_READS] = {4, 8, 16},
    [KIND_STEPS] = {4, 8, 16},
};

static enum control_kind kind_of(const struct control_job *job)
{
    enum request_command command = job->request.command;
    bool is_answered = job->answers.is_last_composed && !job->answers.unsent;

    if (control_takes_steps(&job->request))
        return job->state <= CONTROL_STEPPING ? KIND_STEPS : KIND_SHORT;
    if (command != REQUEST_LIST && command != REQUEST_SHOW)
        return KIND_SHORT;
    return job->client && !is_answered && job->error[0] == '\0' ? KIND_READS : KIND_SHORT;
}

/* Of one kind, except the first one. */
struct control_counts {
    unsigned of_client_any, of_client, of_user, all;
};

/* Short jobs whose clients have left are counted for every client: one that leaves before the
 * audit file has its line could otherwise send any number. */
static bool is_counted_for(const struct control_job *job, const struct control_job *other)
{
    return other->client == job->client || (!other->client && kind_of(job) == KIND_SHORT);
}

static struct control_counts count_jobs(const struct control *control,
                                        const struct control_job *job)
{
    struct control_counts counts = {0};
    const struct control_job *other;

    TAILQ_FOREACH(other, &control->jobs, link) {
        counts.of_client_any += other->client == job->client;
        if (kind_of(other) != kind_of(job))
            continue;
        counts.of_client += is_counted_for(job, other);
        counts.of_user += other->uid == job->uid;
        counts.all++;
    }
    return counts;
}

static int64_t unread_since(const struct control_job *job)
{
    return job->answers.full_boot_ms > job->client->answered_boot_ms
               ? job->answers.full_boot_ms
               : job->client->answered_boot_ms;
}

/* The one whose client has not read for the longest time. @is_of_user: of the same user. */
static struct control_job *
find_unread(const struct gateway *gateway, const struct control_job *job, bool is_of_user)
{
    int64_t latest_ms = gateway->turn.now.boot_ms - CONTROL_UNREAD_MS;
    struct control_job *other, *found = NULL;

    TAILQ_FOREACH(other, &gateway->control.jobs, link) {
        if (kind_of(other) != KIND_READS || other->client == job->client ||
            (is_of_user && other->uid != job->uid))
            continue;
        if (other->answers.full_boot_ms == 0 || unread_since(other) > latest_ms)
            continue;
        if (!found || unread_since(other) < unread_since(found))
            found = other;
    }
    return found;
}

static void close_unread(struct gateway *gateway, struct control_job *unread)
{
    struct client *client = unread->client;

    control_discard_answers(unread, true); /* the connection may close later */
    edge_timer_arm(&gateway->edge_timer);
    clients_log_client_refused(client, "answers_unread", READ_ANSWERS);
    connection_close(client->connection, MQTT_QUOTA_EXCEEDED, "it does not read its answers");
}

/* A client that leaves its answers unread, as before a pager, is closed only if its place is
 * needed. */
bool control_admit(struct gateway *gateway, const struct control_job *job)
{
    const struct control_counts counts = count_jobs(&gateway->control, job);
    enum control_kind kind = kind_of(job);
    bool is_user_full = counts.of_user >= kind_max[kind].of_user;
    struct control_job *unread;

    if (counts.of_client_any >= CONTROL_CLIENT_JOBS_MAX ||
        counts.of_client >= kind_max[kind].of_client)
        return false;
    if (!is_user_full && counts.all < kind_max[kind].all)
        return true;
    unread = find_unread(gateway, job, is_user_full);
    if (kind != KIND_READS || !unread)
        return false;
    close_unread(gateway, unread);
    return true;
}

/* ---- a right that was withdrawn ---- */

/* What was done is committed, recorded and acknowledged as ever. What was read of others is
 * not sent. */
static void job_withdraw(struct control_job *job)
{
    enum control_kind kind = kind_of(job);

    if (kind == KIND_READS) {
        control_discard_answers(job, false);
        control_fail(job, MQTT_NOT_AUTHORIZED, NO_ADMIN);
    } else if (kind == KIND_STEPS && job->state == CONTROL_WAITING) {
        control_fail(job, MQTT_NOT_AUTHORIZED, NO_ADMIN ": nothing was done");
    } else if (kind == KIND_STEPS) {
        control_fail(job, MQTT_IMPLEMENTATION_SPECIFIC,
                     NO_ADMIN ": it ended early, and what was done stays so");
        job->state = CONTROL_STEPPING;
        job->steps.was_cut_short = true;
    }
}

void control_apply_access(struct gateway *gateway)
{
    struct control_job *job;

    TAILQ_FOREACH(job, &gateway->control.jobs, link) {
        if (job->client && !client_is_admin(job->client))
            job_withdraw(job);
    }
    if (gateway->control.count > 0)
        edge_timer_arm(&gateway->edge_timer);
}
