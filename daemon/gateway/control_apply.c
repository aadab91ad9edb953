/* SPDX-License-Identifier: MIT */
/*
 * control_apply.c - commands of operators: what is done, and what is recorded of it
 *
 * What takes one moment is done when the request is read. drop and requeue end or append
 * some messages in each batch, so that no producer waits for them for longer than for
 * another producer.
 *
 * Diagnostics: admin_change, admin_flush.
 */
#include <inttypes.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "base/view.h"
#include "daemon/audit/audit.h"
#include "daemon/control/request.h"
#include "daemon/gateway/control-private.h"
#include "daemon/gateway/forward.h"
#include "daemon/gateway/gateway-private.h"
#include "daemon/gateway/intake.h"
#include "daemon/gateway/limits.h"
#include "daemon/gateway/settings.h"
#include "daemon/mqtt/packet.h"
#include "daemon/record/admin.h"
#include "daemon/uplink/uplink.h"
#include "store/spool.h"

/* A step takes no longer than this, nor more calls of the store, of which each looks at 256
 * messages; beside traffic one call. */
#define STEP_US        2000
#define STEP_CALLS_MAX 8
#define LINE_MAX_BYTES 1024

bool control_takes_steps(const struct request *request)
{
    return request->command == REQUEST_DROP || request->command == REQUEST_REQUEUE;
}

void control_fail(struct control_job *job, uint8_t code, const char *format, ...)
{
    va_list arguments;

    if (format) {
        va_start(arguments, format);
        text_vformat(job->error, sizeof(job->error), format, arguments);
        va_end(arguments);
    }
    job->code = code;
    job->state = CONTROL_REPLYING;
}

/* ---- selections ---- */

/* A name is looked up in the file of local users only: a name service may keep the loop
 * waiting. */
static bool find_user(const char *user, uint32_t *ret)
{
    char *end;
    unsigned long uid = strtoul(user, &end, 10);
    const struct passwd *entry;
    bool is_found = *user >= '0' && *user <= '9' && *end == '\0' && uid < UINT32_MAX;
    FILE *file;

    *ret = (uint32_t)uid;
    if (is_found)
        return true;
    file = fopen("/etc/passwd", "re");
    if (!file)
        return false;
    while (!is_found && (entry = fgetpwent(file))) {
        is_found = strcmp(entry->pw_name, user) == 0;
        *ret = entry->pw_uid;
    }
    (void)fclose(file); /* only read from */
    return is_found;
}

static bool has_lane(struct gateway *gateway, const char *name)
{
    struct spool_time now = turn_spool_time(&gateway->turn);
    bool is_found = false;

    for (size_t i = 0; i < spool_lane_count(gateway->spool) && !is_found; i++) {
        struct spool_lane_stats lane;

        is_found = spool_get_lane_stats(gateway->spool, (unsigned)i, &now, &lane) == 0 &&
                   strcmp(lane.name, name) == 0;
    }
    return is_found;
}

/* Return: false: it has failed. */
static bool take_selection(struct gateway *gateway, struct control_job *job)
{
    struct request_selection *wanted = &job->request.selection;
    uint32_t uid = 0;

    if (wanted->lane && !has_lane(gateway, wanted->lane)) {
        control_fail(job, MQTT_IMPLEMENTATION_SPECIFIC,
                     "there is no lane \"%s\": status lists them", wanted->lane);
    } else if (wanted->topic && !packet_filter_is_valid(view_of_text(wanted->topic))) {
        control_fail(job, MQTT_PAYLOAD_FORMAT_INVALID, "\"topic\" is not a topic filter");
    } else if (wanted->user && !find_user(wanted->user, &uid)) {
        control_fail(job, MQTT_IMPLEMENTATION_SPECIFIC,
                     "there is no user \"%s\" in /etc/passwd: give the uid", wanted->user);
    } else {
        wanted->id_count = spool_sort_ids(wanted->ids, wanted->id_count);
        job->walk.selection = (struct spool_selection){
            .ids = wanted->ids,
            .id_count = wanted->id_count,
            .lane = wanted->lane,
            .client = wanted->client,
            .topic = wanted->topic,
            .topic_matches = packet_topic_matches,
            .has_uid = wanted->user != NULL,
            .uid = uid,
            .older_than_ms = wanted->older_than_ms > 0 ? (uint64_t)wanted->older_than_ms : 0,
        };
        return true;
    }
    return false;
}

/* ---- what takes one moment ---- */

/* A lane that all are held with is not released alone. */
static void apply_hold(struct gateway *gateway, struct control_job *job, bool is_held)
{
    const char *lane = job->request.selection.lane;

    if (!is_held && lane && spool_is_held(gateway->spool, NULL)) {
        control_fail(job, MQTT_IMPLEMENTATION_SPECIFIC,
                     "all lanes are held together: release without a lane first");
        return;
    }
    if (spool_set_hold(gateway->spool, lane, is_held) != 0) {
        control_fail(job, MQTT_IMPLEMENTATION_SPECIFIC,
                     "there is no lane \"%s\": status lists them", lane);
        return;
    }
    status_note_hold(&gateway->status, spool_is_held(gateway->spool, NULL));
    status_hasten(&gateway->status);
    job->state = CONTROL_CHANGED;
}

/* Nothing is changed by it, so there is no line for the audit file. */
static void apply_flush(struct gateway *gateway, struct control_job *job)
{
    log_notice("admin_flush uid=%d pid=%d", (int)job->uid, (int)job->pid);
    forward_flush(&gateway->forward);
    uplink_retry_now(gateway->uplink);
    job->state = CONTROL_REPLYING;
}

/* The edge commits the cursor of the old file before it writes to the new one. */
static void apply_rotate(struct gateway *gateway, struct control_job *job)
{
    struct audit_settings settings = gateway_audit_settings(gateway->config);

    audit_reopen(gateway->audit, &settings);
    job->state = CONTROL_CHANGED;
}

static void apply_show(struct control_job *job)
{
    job->walk.selection = (struct spool_selection){.ids = &job->request.id, .id_count = 1};
    job->state = CONTROL_REPLYING;
}

static void apply_list(struct gateway *gateway, struct control_job *job)
{
    if (job->request.wants_rejected)
        job->walk.place = SPOOL_PLACE_KEPT;
    if (take_selection(gateway, job))
        job->state = CONTROL_REPLYING;
}

static void apply_steps(struct gateway *gateway, struct control_job *job)
{
    if (job->request.command == REQUEST_REQUEUE)
        job->walk.place = SPOOL_PLACE_KEPT;
    if (take_selection(gateway, job))
        job->state = CONTROL_WAITING;
    job->steps.progress_boot_ms = gateway->turn.now.boot_ms;
}

void control_apply(struct gateway *gateway, struct control_job *job)
{
    switch (job->request.command) {
    case REQUEST_STATUS:
    case REQUEST_COMMANDS:
        job->state = CONTROL_REPLYING;
        break;
    case REQUEST_FLUSH:
        apply_flush(gateway, job);
        break;
    case REQUEST_HOLD:
        apply_hold(gateway, job, true);
        break;
    case REQUEST_RELEASE:
        apply_hold(gateway, job, false);
        break;
    case REQUEST_DROP:
    case REQUEST_REQUEUE:
        apply_steps(gateway, job);
        break;
    case REQUEST_LIST:
        apply_list(gateway, job);
        break;
    case REQUEST_SHOW:
        apply_show(job);
        break;
    case REQUEST_LOG_LEVEL:
        log_set_level((enum log_level)job->request.level);
        job->state = CONTROL_CHANGED;
        break;
    case REQUEST_ROTATE:
        apply_rotate(gateway, job);
        break;
    }
}

/* ---- steps ---- */

static int
step_once(struct gateway *gateway, const struct control_job *job, struct spool_changes *changes)
{
    struct spool_time now = turn_spool_time(&gateway->turn);

    return job->request.command == REQUEST_DROP
               ? spool_select_drop(job->walk.select, &now, job->request.is_dry_run, changes)
               : spool_select_requeue(job->walk.select, &now, job->request.is_dry_run, changes);
}

static void end_steps(struct control_job *job)
{
    spool_select_free(job->walk.select);
    job->walk.select = NULL;
    job->state = CONTROL_CHANGED;
}

/* What was appended before stays. */
static void stop_at_full_lane(struct control_job *job)
{
    control_fail(job, MQTT_QUOTA_EXCEEDED,
                 "a lane has no room for more: requeue again when it has sent some, or raise "
                 "its limits");
    end_steps(job);
}

/* The records of what ends must find room, too. */
static bool has_room_for_records(struct gateway *gateway, const struct control_job *job)
{
    return job->request.is_dry_run || !intake_audit_is_full(&gateway->intake);
}

int control_apply_step(struct gateway *gateway, struct control_job *job, bool is_short)
{
    uint64_t began_us = clock_monotonic_us();
    unsigned calls = 0, most = is_short ? 1 : STEP_CALLS_MAX;
    int r = has_room_for_records(gateway, job) ? 0 : SPOOL_E_BUSY;

    job->steps.has_begun = true;
    job->retry_boot_ms = 0;
    if (r == 0 && !job->walk.select)
        r = spool_select_new(gateway->spool, job->walk.place, &job->walk.selection,
                             &job->walk.select);
    if (r == 0)
        r = SPOOL_E_AGAIN;
    while (r == SPOOL_E_AGAIN && calls++ < most && clock_monotonic_us() - began_us < STEP_US)
        r = step_once(gateway, job, &job->steps.batch);
    if (r < 0)
        return r;
    if (r == SPOOL_E_EMPTY)
        end_steps(job);
    else if (r == SPOOL_E_FULL)
        stop_at_full_lane(job);
    else if (r != SPOOL_E_AGAIN)
        job->retry_boot_ms = gateway->turn.now.boot_ms + GATEWAY_FULL_RETRY_MS;
    return 0;
}

/* ---- what is recorded ---- */

static struct record_admin admin_of(const struct gateway *gateway,
                                    const struct control_job *job)
{
    const struct request_selection *selection = &job->request.selection;
    bool has_steps = control_takes_steps(&job->request);

    return (struct record_admin){
        .admin = request_command_name(job->request.command),
        .time_ms = gateway->turn.now.wall_ms,
        .uid = job->uid,
        .ids = selection->ids,
        .id_count = selection->id_count,
        .lane = selection->lane,
        .topic = selection->topic,
        .client = selection->client,
        .user = selection->user,
        .older_than_ms = selection->older_than_ms,
        .takes_all = selection->takes_all,
        .level = job->request.command == REQUEST_LOG_LEVEL
                     ? request_level_name(job->request.level)
                     : NULL,
        .done_name = !has_steps                             ? NULL
                     : job->request.command == REQUEST_DROP ? "dropped"
                                                            : "requeued",
        .matched = job->steps.committed.matched,
        .done = job->steps.committed.changed,
        .in_flight = job->steps.committed.in_flight,
        .was_cut_short = job->steps.was_cut_short,
        .error = job->error[0] != '\0' ? job->error : NULL,
    };
}

static void append_quoted(char line[static LINE_MAX_BYTES], const char *name, const char *text)
{
    char quoted[128];

    if (text)
        text_append(line, LINE_MAX_BYTES, " %s=%s", name,
                    log_quote(quoted, sizeof(quoted), text, strlen(text)));
}

static void log_change(const struct control_job *job, const struct record_admin *admin)
{
    char line[LINE_MAX_BYTES] = "";

    append_quoted(line, "lane", admin->lane);
    append_quoted(line, "topic", admin->topic);
    append_quoted(line, "client", admin->client);
    append_quoted(line, "user", admin->user);
    append_quoted(line, "level", admin->level);
    if (admin->id_count > 0)
        text_append(line, sizeof(line), " ids=%zu first_id=%" PRIu64, admin->id_count,
                    admin->ids[0]);
    if (admin->older_than_ms >= 0)
        text_append(line, sizeof(line), " older_than_ms=%" PRId64, admin->older_than_ms);
    if (admin->takes_all)
        text_append(line, sizeof(line), " all=yes");
    if (admin->done_name)
        text_append(line, sizeof(line),
                    " matched=%" PRIu64 " %s=%" PRIu64 " in_flight=%" PRIu64, admin->matched,
                    admin->done_name, admin->done, admin->in_flight);
    if (admin->was_cut_short)
        text_append(line, sizeof(line), " cut_short=yes");
    append_quoted(line, "error", admin->error);
    log_notice("admin_change admin=%s uid=%d pid=%d%s", admin->admin, (int)job->uid,
               (int)job->pid, line);
}

void control_record(struct gateway *gateway, const struct control_job *job)
{
    if (!request_changes(&job->request))
        return;
    const struct record_admin admin = admin_of(gateway, job);
    audit_add_admin(gateway->audit, &admin);
    log_change(job, &admin);
}
