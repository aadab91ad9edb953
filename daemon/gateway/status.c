/* SPDX-License-Identifier: MIT */
/*
 * status.c - what is seen of the daemon without asking it: status file, STATUS= line
 *
 * One JSON object (docs/status.md names its members) is written to
 * status.json beside the socket, atomically by rename, each status_interval
 * and when the daemon ends; the folder is on a tmpfs, so it costs no flash.
 * `mqtt-spool status` reads it, and a monitoring script may. systemctl shows a
 * summary in one line.
 *
 * Invariant: a reader sees the old object or the new one, never a part, and none
 * when no daemon runs.
 *
 * Diagnostics: status_not_written, status_written, status_shared.
 */
#include "daemon/gateway/status.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/regular.h"
#include "daemon/audit/audit.h"
#include "daemon/config/spool_lanes.h"
#include "daemon/gateway/gateway-private.h"
#include "daemon/gateway/refusal.h"
#include "daemon/gateway/settings.h"
#include "daemon/host/service.h"
#include "daemon/mqtt/packet.h"
#include "daemon/record/status.h"
#include "daemon/uplink/uplink.h"
#include "store/spool.h"

#define STATUS_MAX     (8 * 1024 + CONFIG_RESTARTS_MAX + SPOOL_LANES_KNOWN_MAX * 1792)
#define STATUS_FILE    "status.json"
#define DISK_SHORT_MAX 512 /* a longer text is cut */

static bool
status_path(const struct config *config, const char *suffix, char path[static PATH_MAX])
{
    const char *socket = config->listen.socket;
    const char *slash = strrchr(socket, '/');
    int folder = slash ? (int)(slash - socket) : 0;
    int n = snprintf(path, PATH_MAX, "%.*s/" STATUS_FILE "%s", folder, socket, suffix);

    return n > 0 && n < PATH_MAX;
}

static void update_lanes(struct gateway *gateway, double seconds)
{
    struct status_rates *rates = &gateway->status.rates;
    struct spool_time now = turn_spool_time(&gateway->turn);

    for (unsigned lane = 0; lane <= gateway->config->lane_count; lane++) {
        struct spool_lane_stats stats;

        if (spool_get_lane_stats(gateway->spool, lane, &now, &stats) != 0)
            return; /* the database is locked: it is read for the next status */
        double more = (double)stats.messages - (double)rates->lane_messages[lane];
        rates->lane_growth_per_s[lane] = rates->has_lanes ? more / seconds : 0;
        rates->lane_messages[lane] = stats.messages;
    }
    rates->has_lanes = true;
}

/* Rates over the time since the last status; kept if that was a moment ago. */
static void update_rates(struct gateway *gateway)
{
    struct status_rates *rates = &gateway->status.rates;
    int64_t span_ms = gateway->turn.now.boot_ms - rates->since_boot_ms;

    if (span_ms < 100)
        return;
    double seconds = (double)span_ms / 1000.0;
    uint64_t last_seq = spool_last_seq(gateway->spool);
    rates->in_per_s = (double)(gateway->counters.accepted - rates->accepted) / seconds;
    rates->out_per_s = (double)(last_seq - rates->last_seq) / seconds;
    rates->accepted = gateway->counters.accepted;
    rates->last_seq = last_seq;
    rates->since_boot_ms = gateway->turn.now.boot_ms;
    update_lanes(gateway, seconds);
}

static uint64_t resident_bytes(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");

    if (!file)
        return 0;
    int fields = fscanf(file, "%*s %lu", &pages);
    (void)fclose(file);
    return fields == 1 ? (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

/* Seconds until the first lane reaches its limit at the present rates; negative: none does. A
 * lane that has no room for one more is at its limit, even if it evicts the oldest. */
static double full_after_s(struct gateway *gateway)
{
    struct spool_time now = turn_spool_time(&gateway->turn);
    double soonest = -1;

    if (intake_full_reason(&gateway->intake) != INTAKE_HAS_ROOM ||
        intake_audit_is_full(&gateway->intake) || gateway->intake.disk.shortage.reported)
        return 0;
    for (unsigned lane = 0; lane <= gateway->config->lane_count; lane++) {
        double growth = gateway->status.rates.lane_growth_per_s[lane];
        struct spool_lane_stats stats;

        if (spool_get_lane_stats(gateway->spool, lane, &now, &stats) != 0)
            continue;
        double room = intake_room_of(config_lane_limits(gateway->config, lane), &stats);
        if (room < 1)
            return 0;
        if (growth <= 0)
            continue;
        double after_s = room / growth;
        if (soonest < 0 || after_s < soonest)
            soonest = after_s;
    }
    return soonest;
}

/* Texts of the link, borrowed by struct record_link. */
struct link_texts {
    struct uplink_link link;
    char since[CLOCK_TEXT_MAX];
    char last_error_time[CLOCK_TEXT_MAX];
    char next_attempt[CLOCK_TEXT_MAX];
    char acknowledged[CLOCK_TEXT_MAX];
    char certificate_expires[CLOCK_TEXT_MAX];
};

/* A time of the boot clock in terms of the wall clock now; "" for 0, which means never. So its
 * distance from the time of the object is right even if the wall clock was set in between. */
static void format_boot_time(const struct gateway *gateway,
                             int64_t boot_ms,
                             char text[static CLOCK_TEXT_MAX])
{
    text[0] = '\0';
    if (boot_ms > 0)
        clock_format(gateway->turn.now.wall_ms - (gateway->turn.now.boot_ms - boot_ms), text);
}

/* The uplink does not know what its answers amount to. */
static bool is_link_refused(const struct gateway *gateway, const struct uplink_link *link)
{
    return gateway->forward.refusal->is_refused && link->state == UPLINK_ONLINE;
}

/* Nor whether the operator wants it to send. */
static bool is_link_held(const struct gateway *gateway, const struct uplink_link *link)
{
    return link->state == UPLINK_ONLINE && spool_is_held(gateway->spool, NULL);
}

static const char *link_state_name(const struct gateway *gateway,
                                   const struct uplink_link *link)
{
    if (is_link_held(gateway, link))
        return "held";
    return is_link_refused(gateway, link) ? "refused" : uplink_state_name(link->state);
}

/* The link forgets an error when the connection has lasted. A refused one has its cause as long
 * as it is refused, and so has one as long as single messages are: what ended an earlier
 * connection is over by then. */
static void describe_refused(const struct gateway *gateway, struct uplink_link *link)
{
    const struct refusal *refusal = gateway->forward.refusal;
    bool waits = spool_refused_messages(gateway->spool) > 0 && refusal->code_boot_ms > 0;

    if (link->state != UPLINK_ONLINE || (!refusal->is_refused && !waits))
        return;
    if (link->last_error[0] != '\0' &&
        (refusal->is_refused || link->last_error_boot_ms >= link->since_boot_ms))
        return;
    (void)snprintf(link->last_error, sizeof(link->last_error),
                   "the broker refused a message: %s (code 0x%02X)",
                   packet_reason_text(refusal->code), (unsigned)refusal->code);
    link->last_error_boot_ms = refusal->code_boot_ms;
    link->remedy = UPLINK_CHECK_RIGHTS;
}

/* When the state that is shown began: a hold covers a refusal, and both cover "online". What
 * changed while the link was not online is older than the connection. */
static int64_t link_since_boot_ms(const struct gateway *gateway, const struct uplink_link *link)
{
    const struct refusal *refusal = gateway->forward.refusal;
    int64_t since_ms = link->since_boot_ms;
    int64_t refusal_ms =
        refusal->is_refused ? refusal->refused_boot_ms : refusal->resumed_boot_ms;

    if (link->state != UPLINK_ONLINE)
        return since_ms;
    if (gateway->status.hold_changed_boot_ms > since_ms)
        since_ms = gateway->status.hold_changed_boot_ms;
    if (!is_link_held(gateway, link) && refusal_ms > since_ms)
        since_ms = refusal_ms;
    return since_ms;
}

static struct record_link describe_link(const struct gateway *gateway, struct link_texts *texts)
{
    struct uplink_link *link = &texts->link;

    uplink_get_link(gateway->uplink, link);
    describe_refused(gateway, link);
    format_boot_time(gateway, link_since_boot_ms(gateway, link), texts->since);
    format_boot_time(gateway, link->last_error_boot_ms, texts->last_error_time);
    format_boot_time(gateway, link->next_attempt_boot_ms, texts->next_attempt);
    format_boot_time(gateway, gateway->forward.acknowledged_boot_ms, texts->acknowledged);
    texts->certificate_expires[0] = '\0';
    if (link->certificate_expires_ms != 0)
        clock_format(link->certificate_expires_ms, texts->certificate_expires);
    return (struct record_link){
        .state = link_state_name(gateway, link),
        .broker = link->broker,
        .since = texts->since,
        .connects = link->connects,
        .last_error = link->last_error,
        .last_error_time = texts->last_error_time,
        .remedy = link->remedy,
        .next_attempt = texts->next_attempt,
        .acknowledged = texts->acknowledged,
        .certificate_expires = texts->certificate_expires,
        .protocol = link->protocol,
        .window = link->window,
        .late_answers = link->late_answers,
        .refused_waiting = spool_refused_messages(gateway->spool),
        .refused_code =
            gateway->forward.refusal->is_refused ? gateway->forward.refusal->code : 0,
        .unsubscribed = gateway->counters.unsubscribed,
        .is_held = intake_sends_nothing(&gateway->intake),
        .presence_error = link->presence_error,
        .rate_messages = gateway->config->uplink.rate.messages,
        .rate_bytes = gateway->config->uplink.rate.bytes,
    };
}

static struct record_intake describe_intake(struct gateway *gateway,
                                            struct spool_lane lanes[static SPOOL_LANES_MAX],
                                            bool lane_full[static SPOOL_LANES_MAX],
                                            char disk_short[static DISK_SHORT_MAX])
{
    struct record_intake intake = {
        .lanes = lanes,
        .lane_count = config_spool_lanes(gateway->config, lanes),
        .lane_full = lane_full,
        .refusing = intake_refusing(&gateway->intake),
        .disk_reserve = gateway->config->spool.disk_reserve,
        .disk_short = disk_short,
    };

    (void)snprintf(disk_short, DISK_SHORT_MAX, "%s", intake_describe_disk(&gateway->intake));
    for (unsigned lane = 0; lane < intake.lane_count; lane++)
        lane_full[lane] = intake_lane_accepts_nothing(&gateway->intake, lane);
    return intake;
}

static struct record_audit describe_audit(const struct gateway *gateway, const bool *healthy)
{
    const struct config *config = gateway->config;

    return (struct record_audit){
        .healthy = healthy,
        .error = audit_error(gateway->audit),
        .waiting = spool_waiting(gateway->spool),
        .max_waiting = config->audit.max_waiting,
        .when_full = config_key_word("audit.when_full", (int)config->audit.when_full),
        .pruned = spool_pruned_unexported(gateway->spool),
        .record_bytes = spool_record_bytes(gateway->spool),
        .max_record_bytes = gateway_records_max(config),
    };
}

static int
write_status(struct json *json, struct gateway *gateway, const struct spool_stats *stats)
{
    struct spool_time now = turn_spool_time(&gateway->turn);
    bool healthy = audit_is_healthy(gateway->audit), lane_full[SPOOL_LANES_MAX];
    struct spool_lane lanes[SPOOL_LANES_MAX];
    char disk_short[DISK_SHORT_MAX];
    struct link_texts texts;
    char refused_time[CLOCK_TEXT_MAX];

    format_boot_time(gateway, gateway->counters.refused_boot_ms, refused_time);
    struct record_status status = {
        .pid = getpid(),
        .uptime_ms = gateway->turn.now.boot_ms - gateway->turn.started_boot_ms,
        .stats = stats,
        .configuration = {.restart_keys = gateway->status.reload.restart_keys,
                          .refused = gateway->status.reload.refused},
        .link = describe_link(gateway, &texts),
        .intake = describe_intake(gateway, lanes, lane_full, disk_short),
        .in_per_s = gateway->status.rates.in_per_s,
        .out_per_s = gateway->status.rates.out_per_s,
        .rss_bytes = resident_bytes(),
        .salvage = gateway->status.salvaged.result,
        .salvaged_ms = gateway->status.salvaged.wall_ms,
        .producers = {.connected = gateway->clients.count,
                      .messages_refused = gateway->counters.refused,
                      .refused_reason = gateway->counters.refused_reason,
                      .refused_time = refused_time,
                      .clients_refused = gateway->counters.clients_refused,
                      .bridge_notifications = gateway->counters.bridge_notifications},
        .audit = describe_audit(gateway, &healthy),
        .full_after_s = full_after_s(gateway),
    };
    int r = record_write_status(json, gateway->spool, &status, &now);

    if (r != 0)
        return r; /* positive: the database is locked, and it is written the next time */
    return json->failed ? -ENOBUFS : 0;
}

static int
write_status_now(struct gateway *gateway, struct json *json, struct spool_stats *ret_stats)
{
    struct spool_time now = turn_spool_time(&gateway->turn);

    update_rates(gateway);
    int r = spool_get_stats(gateway->spool, &now, ret_stats);
    return r == 0 ? write_status(json, gateway, ret_stats) : r;
}

int gateway_write_status(struct gateway *gateway, struct json *json)
{
    struct spool_stats stats;

    return write_status_now(gateway, json, &stats);
}

/* Two gateways whose sockets are in one folder replace each other's file, so what is there is
 * not what this process wrote last. A file from before its first is of a daemon that was
 * killed. */
static void check_other_writer(struct status *status, const char *path)
{
    const struct stat *ours = &status->file;
    struct stat now;
    char text[1024];

    if (status->is_shared_logged || ours->st_ino == 0 || lstat(path, &now) < 0)
        return;
    if (now.st_ino == ours->st_ino && now.st_mtim.tv_sec == ours->st_mtim.tv_sec &&
        now.st_mtim.tv_nsec == ours->st_mtim.tv_nsec)
        return;
    status->is_shared_logged = true;
    log_warning("status_shared file=%s cause=\"another process writes it, too\" "
                "remedy=\"give each gateway's socket a folder of its own\"",
                log_quote(text, sizeof(text), path, strlen(path)));
}

/* Written under another name, then renamed. */
static int replace_file(struct status *status, const char *text, size_t size)
{
    char path[PATH_MAX], fresh[PATH_MAX];
    struct stat written;

    if (!status_path(status->config, "", path) || !status_path(status->config, ".new", fresh))
        return -ENAMETOOLONG;
    /* What a killed daemon has left there is removed, whatever it is: no existing file is
     * opened. */
    if (unlink(fresh) < 0 && errno != ENOENT)
        return errno == EISDIR ? -REGULAR_OTHER : -errno;
    AUTO_CLOSE int fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0 || fchmod(fd, 0644) < 0)
        return -errno;
    ssize_t n = write(fd, text, size);
    if (n < 0)
        return -errno;
    if ((size_t)n != size)
        return -ENOSPC;
    check_other_writer(status, path);
    if (fstat(fd, &written) < 0 || rename(fresh, path) < 0)
        return -errno;
    status->file = written;
    return 0;
}

static void report_to_systemd(const struct gateway *gateway, const struct spool_stats *stats)
{
    struct uplink_link link;
    char age[CLOCK_SPAN_MAX], full[INTAKE_TEXT_MAX];

    uplink_get_link(gateway->uplink, &link);
    intake_describe(&gateway->intake, full);
    clock_format_span(stats->oldest_age_ms, age);
    service_status("link %s, %" PRIu64 " spooled (oldest %s), %.1f/s in, %.1f/s out%s",
                   link_state_name(gateway, &link), stats->messages,
                   stats->messages > 0 ? age : "-", gateway->status.rates.in_per_s,
                   gateway->status.rates.out_per_s, full);
}

static void note_unwritten(struct status *status, int error)
{
    char path[PATH_MAX], text[1024];

    if (!condition_set(&status->unwritten, status->turn->now.boot_ms) ||
        !status_path(status->config, "", path))
        return;
    log_warning("status_not_written file=%s error=\"%s\" ignoring=yes remedy=\"look at its "
                "folder, and at what has the same name with .new\"",
                log_quote(text, sizeof(text), path, strlen(path)), regular_error(error));
}

/* @json: set to the object on a line, which is valid until the next one is composed. Return: 0;
 * positive: the database is locked; negative errno. */
static int compose_status(struct gateway *gateway, struct json *json, struct spool_stats *stats)
{
    static char memory[STATUS_MAX];

    json_init(json, memory, sizeof(memory));
    int r = write_status_now(gateway, json, stats);
    json_raw(json, "\n");
    return r == 0 && json->failed ? -ENOBUFS : r;
}

void gateway_answer_status(struct gateway *gateway)
{
    struct spool_stats stats;
    struct json json;
    bool is_composed = !gateway->turn.has_failed && compose_status(gateway, &json, &stats) == 0;

    feed_answer_status(&gateway->feed, is_composed ? json.start : NULL,
                       is_composed ? json_used(&json) : 0);
}

void gateway_publish_status(struct gateway *gateway)
{
    struct spool_stats stats;
    struct json json;

    if (gateway->turn.has_failed)
        return;
    int r = compose_status(gateway, &json, &stats);
    if (r == 0) {
        gateway->status.published_accepted = gateway->counters.accepted;
        gateway->status.published_seq = spool_last_seq(gateway->spool);
        feed_set_status(&gateway->feed, json.start, json_used(&json));
        r = replace_file(&gateway->status, json.start, json_used(&json));
    }
    if (r < 0)
        note_unwritten(&gateway->status, r);
    else if (r == 0 && condition_clear(&gateway->status.unwritten, gateway->turn.now.boot_ms))
        log_notice("status_written");
    if (r == 0 && !stop_has_begun(&gateway->stop))
        report_to_systemd(gateway, &stats);
}

void status_hasten(struct status *status)
{
    int r = turn_set_timer(status->timer, 0);

    if (r < 0)
        note_unwritten(status, r);
}

void status_note_hold(struct status *status, bool is_held)
{
    if (is_held == status->is_held)
        return;
    status->is_held = is_held;
    status->hold_changed_boot_ms = status->turn->now.boot_ms;
    status_hasten(status);
}

void status_remove(struct status *status)
{
    char path[PATH_MAX];

    if (status->config && status_path(status->config, "", path))
        (void)unlink(path); /* not there: nothing was written yet */
}
