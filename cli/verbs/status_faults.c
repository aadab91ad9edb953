/* SPDX-License-Identifier: MIT */
/*
 * status_faults.c - see status_faults.h
 *
 * What the page of status_page.c says in several lines; each fault of the one is one of the
 * other.
 */
#include "cli/verbs/status_faults.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/attr.h"
#include "base/clock.h"
#include "base/reload.h"
#include "cli/cli.h"
#include "cli/verbs/status_member.h"
#include "daemon/mqtt/packet.h"

enum { CELL_MAX = STATUS_CELL_MAX, FAULT_MAX = 1024 };

#define CERTIFICATE_SOON_MS (INT64_C(7) * 24 * 3600 * 1000)

struct faults {
    const json_t *root;
    void (*found)(void *userdata, const struct status_fault *fault);
    void *userdata;
};

PRINTF_LIKE(4, 5)
static void
add_fault(struct faults *faults, const char *label, bool is_severe, const char *format, ...)
{
    char text[FAULT_MAX];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    faults->found(faults->userdata,
                  &(struct status_fault){.label = label, .text = text, .is_severe = is_severe});
}

static void add_disk(struct faults *faults, const char *effect)
{
    char shortage[STATUS_SHORTAGE_MAX];

    (void)status_disk_shortage(faults->root, shortage);
    add_fault(faults, "intake", true, "%s: disk: %s -> %s", effect, shortage,
              status_disk_remedy(shortage));
}

static void add_refusing(struct faults *faults, const char *why)
{
    static const char effect[] = "NO MESSAGE IS ACCEPTED";

    if (strcmp(why, "disk") == 0)
        add_disk(faults, effect);
    else if (strcmp(why, "audit_waiting") == 0)
        add_fault(faults, "intake", true,
                  "%s: too many records wait for the audit file -> make audit.file writable",
                  effect);
    else if (strcmp(why, "database_locked") == 0)
        add_fault(faults, "intake", true,
                  "%s: another program keeps the database locked -> end its transaction (fuser "
                  "-v spool.db names it)",
                  effect);
    else if (strcmp(why, "spool_moved") == 0)
        add_fault(faults, "intake", true,
                  "%s: the spool's files were removed -> do not end the daemon: its log says "
                  "what is needed (spool_not_restored)",
                  effect);
    else
        add_fault(faults, "intake", true, "%s: %s", effect, why);
}

static void add_full_lane(struct faults *faults, const json_t *lane)
{
    char name[CELL_MAX], policy[CELL_MAX], remedy[CELL_MAX];
    bool blocks = strcmp(status_text(lane, NULL, "when_full", policy), "block") == 0;

    add_fault(faults, "intake", true, "lane \"%s\" %s, it is full -> %s",
              status_text(lane, NULL, "name", name),
              blocks ? "HOLDS ITS PRODUCERS BACK" : "REFUSES new messages",
              status_lane_remedy(lane, remedy));
}

static void add_evicting_lane(struct faults *faults, const json_t *lane)
{
    char name[CELL_MAX], remedy[CELL_MAX];

    add_fault(faults, "intake", true,
              "lane \"%s\" EVICTS its oldest messages, it is full; %" PRId64
              " so far (mqtt-spool failures) -> %s",
              status_text(lane, NULL, "name", name), status_integer(lane, "ledger", "evicted"),
              status_lane_remedy(lane, remedy));
}

static void add_intake(struct faults *faults)
{
    const json_t *lanes = json_object_get(faults->root, "lanes");
    char text[CELL_MAX];
    const json_t *lane;
    size_t i;

    if (*status_text(faults->root, "intake", "refusing", text) != '\0')
        add_refusing(faults, text);
    else if (*status_text(faults->root, "spool", "disk_short", text) != '\0')
        add_disk(faults, "NEW MESSAGES MAY EVICT OLD ONES");
    json_array_foreach(lanes, i, lane) {
        if (json_is_true(json_object_get(lane, "full")))
            add_full_lane(faults, lane);
        else if (status_lane_evicts(lane))
            add_evicting_lane(faults, lane);
    }
}

static void add_audit(struct faults *faults)
{
    const json_t *root = faults->root;
    int64_t waiting = status_integer(root, "audit", "waiting");
    int64_t most = status_integer(root, "audit", "max_waiting");
    char error[CELL_MAX];

    (void)status_text(root, "audit", "error", error);
    if (json_is_false(status_member(root, "audit", "healthy")))
        add_fault(faults, "audit", true,
                  "NOT WRITTEN: %s; %" PRId64 " of at most %" PRId64 " record%s %s -> %s",
                  error, waiting, most, cli_plural((uint64_t)most),
                  cli_counted((uint64_t)waiting, "waits", "wait"), status_audit_remedy(error));
    if (json_is_false(status_member(root, "ledger", "balanced")))
        add_fault(faults, "ledger", true,
                  "DOES NOT BALANCE -> keep a copy of the spool, then: mqtt-spool audit");
}

static void add_link(struct faults *faults)
{
    const json_t *root = faults->root;
    char text[CELL_MAX], reason[CELL_MAX];
    int code = (int)status_integer(root, "link", "refused_code");

    if (json_is_true(status_member(root, "link", "held")))
        add_fault(faults, "link", true, "NOTHING IS SENT until a commit has room");
    if (strcmp(status_text(root, "link", "state", text), "refused") == 0)
        add_fault(faults, "link", true, "THE BROKER REFUSES EVERY MESSAGE: %s (code 0x%02X)",
                  cli_printable(reason, sizeof(reason), packet_reason_text(code)),
                  (unsigned)code);
    if (*status_refused_waiting(root, text) != '\0')
        add_fault(faults, "link", false, "%s", text);
    if (json_is_true(status_member(root, "link", "all_held")))
        add_fault(faults, "link", false, "HELD by an operator -> mqtt-spool release");
    if (*status_text(root, "link", "presence_error", text) != '\0')
        add_fault(faults, "link", false,
                  "the broker refuses the message of uplink.presence: %s -> allow this client "
                  "id to publish to its topic",
                  text);
    if (*status_no_subscriber(root, text) != '\0')
        add_fault(faults, "link", false, "%s -> " STATUS_NO_SUBSCRIBER_REMEDY, text);
}

static void add_held_lanes(struct faults *faults)
{
    const json_t *lanes = json_object_get(faults->root, "lanes");
    char name[CELL_MAX];
    const json_t *lane;
    size_t i;

    if (json_is_true(status_member(faults->root, "link", "all_held")))
        return;
    json_array_foreach(lanes, i, lane) {
        if (json_is_true(json_object_get(lane, "held")))
            add_fault(faults, "held", false,
                      "lane \"%s\", by an operator -> mqtt-spool release --lane NAME",
                      status_text(lane, NULL, "name", name));
    }
}

static void add_spool(struct faults *faults)
{
    const json_t *root = faults->root;
    int64_t files = status_integer(root, "spool", "damaged_files");
    int64_t salvaged = status_integer(root, "salvage", "salvaged");
    char time[CELL_MAX];

    if (files > 0)
        add_fault(faults, "spool", true,
                  "DAMAGED: %" PRId64 " database%s moved aside (spool.db.damaged-*) -> check "
                  "the disk, then mqtt-spool check",
                  files, cli_plural((uint64_t)files));
    if (*status_text(root, "salvage", "time", time) != '\0')
        add_fault(faults, "spool", false,
                  "SALVAGED at %s: %" PRId64 " message%s kept, %s%" PRId64 " damaged", time,
                  salvaged, cli_plural((uint64_t)salvaged),
                  json_is_true(status_member(root, "salvage", "damaged_unknown"))
                      ? "HOW MANY THERE WERE IS UNKNOWN, "
                      : "",
                  status_integer(root, "salvage", "damaged"));
}

/* While it is refused for that already, the line of the intake has it. */
static void add_reserve(struct faults *faults)
{
    const json_t *root = faults->root;
    char left[CELL_MAX], reserve[CELL_MAX], why[CELL_MAX];

    if (status_integer(root, "spool", "disk_free_bytes") <
            status_integer(root, "spool", "disk_reserve_bytes") &&
        strcmp(status_text(root, "intake", "refusing", why), "disk") != 0)
        add_fault(faults, "disk", true, "%s free, below spool.disk_reserve (%s)",
                  status_size(root, "spool", "disk_free_bytes", left),
                  status_size(root, "spool", "disk_reserve_bytes", reserve));
}

const char *status_refused(const char *refused)
{
    if (strcmp(refused, "lanes") == 0)
        return "THE LAST RELOAD LEFT lanes AND retention AS THEY WERE: too many names of lanes";
    return "THE LAST RELOAD CHANGED NOTHING: the configuration had an error";
}

static void add_configuration(struct faults *faults)
{
    char text[CELL_MAX];

    if (*status_text(faults->root, "configuration", "refused", text) != '\0')
        add_fault(faults, "config", false, "%s -> %s", status_refused(text),
                  status_refused_remedy(text));
    if (*status_text(faults->root, "configuration", "restart_keys", text) != '\0')
        add_fault(faults, "config", false, STATUS_RESTART_NEEDED "%s -> " RESTART_REMEDY, text);
}

bool status_certificate(const json_t *root,
                        char text[static STATUS_CERTIFICATE_MAX],
                        bool *ret_expired)
{
    const char *expires = json_string_value(status_member(root, "link", "certificate_expires"));
    const char *now = json_string_value(status_member(root, NULL, "time"));
    char span[CLOCK_SPAN_MAX], time[CLOCK_TEXT_MAX];
    int64_t expires_ms, now_ms;

    text[0] = '\0';
    if (!expires || !now || !clock_parse(expires, &expires_ms) || !clock_parse(now, &now_ms) ||
        expires_ms - now_ms >= CERTIFICATE_SOON_MS)
        return false;
    *ret_expired = expires_ms <= now_ms;
    clock_format(expires_ms, time);
    clock_format_span(*ret_expired ? now_ms - expires_ms : expires_ms - now_ms, span);
    (void)snprintf(text, STATUS_CERTIFICATE_MAX, "A CERTIFICATE %s %s%s (%s)",
                   *ret_expired ? "HAS EXPIRED" : "EXPIRES in", span,
                   *ret_expired ? " ago" : "", time);
    return true;
}

static void add_certificate(struct faults *faults)
{
    char text[STATUS_CERTIFICATE_MAX];
    bool has_expired;

    if (status_certificate(faults->root, text, &has_expired))
        add_fault(faults, "tls", has_expired, "%s -> replace the file of uplink.tls", text);
}

static void add_refused(struct faults *faults)
{
    const json_t *root = faults->root;
    int64_t clients = status_integer(root, "producers", "clients_refused");
    int64_t messages = status_integer(root, "producers", "messages_refused");
    int64_t rejected = status_integer(root, "rejected", "messages");
    char reason[CELL_MAX];

    if (rejected > 0)
        add_fault(faults, "rejected", false,
                  "%" PRId64 " message%s kept aside -> mqtt-spool failures has why", rejected,
                  cli_plural((uint64_t)rejected));
    if (messages > 0)
        add_fault(faults, "refused", false, "%" PRId64 " message%s since the start%s%s",
                  messages, cli_plural((uint64_t)messages),
                  *status_text(root, "producers", "refused_reason", reason) != '\0'
                      ? ", the newest: "
                      : "",
                  reason);
    if (clients > 0)
        add_fault(faults, "refused", false,
                  "%" PRId64 " client%s since the start; the log has why (client_refused)",
                  clients, cli_plural((uint64_t)clients));
}

void status_faults_each(const json_t *root,
                        void (*found)(void *userdata, const struct status_fault *fault),
                        void *userdata)
{
    struct faults faults = {.root = root, .found = found, .userdata = userdata};

    add_intake(&faults);
    add_audit(&faults);
    add_link(&faults);
    add_spool(&faults);
    add_reserve(&faults);
    add_held_lanes(&faults);
    add_certificate(&faults);
    add_configuration(&faults);
    add_refused(&faults);
}
