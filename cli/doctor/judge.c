/* SPDX-License-Identifier: MIT */
/*
 * judge.c - what the status object of a daemon reports that is not as it should be
 *
 * No finding has a topic: a bundle may have been asked for without them.
 */
#include "cli/doctor/judge.h"

#include "base/clock.h"
#include "base/reload.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/doctor/findings.h"
#include "cli/doctor/record.h"
#include "cli/verbs/status_member.h"

#include <inttypes.h>
#include <stdint.h>
#include <string.h>

/* A message that was refused so long ago is history. */
#define RECENT_MS (INT64_C(10) * 60 * 1000)

static const char *text_of(const json_t *root, const char *part, const char *name)
{
    const char *text = json_string_value(status_member(root, part, name));

    return text ? text : "";
}

static uint64_t number_of(const json_t *root, const char *part, const char *name)
{
    json_int_t number = json_integer_value(status_member(root, part, name));

    return number > 0 ? (uint64_t)number : 0;
}

static bool is_true(const json_t *root, const char *part, const char *name)
{
    return json_is_true(status_member(root, part, name));
}

/* What comes before the last error of the link, or stands alone if there is none. */
static const char *lead_to_error(const json_t *root, char text[static DOCTOR_TARGET_MAX])
{
    uint64_t refused = number_of(root, "link", "refused_waiting");
    const char *lead = "";

    if (text_of(root, "link", "last_error")[0] != '\0')
        lead = status_link_error_is_over(root) ? "; last error, which is over: "
                                               : "; last error: ";
    if (refused > 0)
        text_format(text, DOCTOR_TARGET_MAX,
                    ", %" PRIu64 " of them refused by the broker at the last try%s", refused,
                    lead);
    else
        text_format(text, DOCTOR_TARGET_MAX, "%s", lead);
    return text;
}

/* ---- what comes in ---- */

static const struct {
    const char *word; /* of intake.refusing */
    const char *meaning;
    const char *remedy;
} causes[] = {
    {"audit_waiting", "too many records wait for the audit file",
     "make audit.file writable, see docs/audit.md; deliveries continue"},
    {"database_locked", "another program keeps the database locked",
     "end its transaction (fuser -v spool.db names it)"},
    {"spool_moved", "the spool's files were removed, and cannot be put back",
     "do not end the daemon, only it has the messages: its log says what is needed "
     "(spool_not_restored)"},
};

static void judge_refusing(struct doctor_work *work, const json_t *root, const char *word)
{
    const char *detail = text_of(root, "spool", "disk_short");
    char shortage[STATUS_SHORTAGE_MAX];

    for (size_t i = 0; i < sizeof(causes) / sizeof(causes[0]); i++) {
        if (strcmp(word, causes[i].word) == 0) {
            doctor_add(work, DOCTOR_FAILED, causes[i].remedy, "new messages are refused: %s",
                       causes[i].meaning);
            return;
        }
    }
    if (strcmp(word, "disk") == 0)
        doctor_add(work, DOCTOR_FAILED, status_disk_remedy(detail),
                   "new messages are refused: too little disk space%s%s",
                   detail[0] != '\0' ? ": " : "",
                   detail[0] != '\0' ? status_disk_shortage(root, shortage) : "");
    else
        doctor_add(work, DOCTOR_FAILED, "see intake.refusing in docs/status.md",
                   "new messages are refused: %s", word);
}

static void judge_intake(struct doctor_work *work, const json_t *root)
{
    const char *word = text_of(root, "intake", "refusing");
    const char *detail = text_of(root, "spool", "disk_short");
    char shortage[STATUS_SHORTAGE_MAX];

    if (word[0] != '\0')
        judge_refusing(work, root, word);
    else if (detail[0] != '\0')
        doctor_add(work, DOCTOR_FAILED, status_disk_remedy(detail),
                   "new messages may evict old ones, for want of disk space: %s",
                   status_disk_shortage(root, shortage));
}

/* One that is full by its messages may be so by its bytes too: the first is reported. */
static const char *full_amount(const json_t *lane, char text[static DOCTOR_TARGET_MAX])
{
    uint64_t most = number_of(lane, NULL, "max_messages");
    char bytes[CLI_SIZE_MAX], most_bytes[CLI_SIZE_MAX];

    if (status_lane_is_full_by_messages(lane))
        text_format(text, DOCTOR_TARGET_MAX, "%" PRIu64 " of %" PRIu64 " message%s",
                    number_of(lane, NULL, "messages"), most, cli_plural(most));
    else
        text_format(text, DOCTOR_TARGET_MAX, "%s of %s",
                    cli_size(number_of(lane, NULL, "bytes"), bytes),
                    cli_size(number_of(lane, NULL, "max_bytes"), most_bytes));
    return text;
}

/* The ledger has those of all times. */
static void judge_evicting_lane(struct doctor_work *work, const json_t *lane)
{
    uint64_t evicted = number_of(lane, "ledger", "evicted");
    char amount[DOCTOR_TARGET_MAX], count[DOCTOR_TARGET_MAX] = "";
    char way_out[STATUS_CELL_MAX], remedy[DOCTOR_REMEDY_MAX];

    if (evicted > 0)
        text_format(count, sizeof(count), ", %" PRIu64 " %s evicted so far", evicted,
                    cli_counted(evicted, "was", "were"));
    text_format(remedy, sizeof(remedy), "%s%s",
                evicted > 0 ? "mqtt-spool failures names them; " : "",
                status_lane_remedy(lane, way_out));
    doctor_add(work, DOCTOR_WARNING, remedy,
               "lane %s is full (%s): each new message evicts the oldest one%s",
               text_of(lane, NULL, "name"), full_amount(lane, amount), count);
}

static void judge_full_lane(struct doctor_work *work, const json_t *lane)
{
    const char *name = text_of(lane, NULL, "name");
    bool blocks = strcmp(text_of(lane, NULL, "when_full"), "block") == 0;
    char amount[DOCTOR_TARGET_MAX], remedy[STATUS_CELL_MAX];

    doctor_add(work, blocks ? DOCTOR_WARNING : DOCTOR_FAILED, status_lane_remedy(lane, remedy),
               "lane %s is full and %s: %s, when_full = \"%s\"", name,
               blocks ? "holds its producers back" : "refuses new messages",
               full_amount(lane, amount), text_of(lane, NULL, "when_full"));
}

static void judge_lanes(struct doctor_work *work, const json_t *root)
{
    const json_t *lane;
    size_t i;

    json_array_foreach(json_object_get(root, "lanes"), i, lane) {
        const char *name = text_of(lane, NULL, "name");
        char remedy[DOCTOR_REMEDY_MAX];

        if (is_true(lane, NULL, "full"))
            judge_full_lane(work, lane);
        else if (status_lane_evicts(lane))
            judge_evicting_lane(work, lane);
        if (!is_true(lane, NULL, "held") || is_true(root, "link", "all_held"))
            continue;
        text_format(remedy, sizeof(remedy), "mqtt-spool release --lane %s", name);
        doctor_add(work, DOCTOR_WARNING, remedy,
                   "an operator holds lane %s: nothing of it is sent", name);
    }
}

/* By the times of one object, whatever was done to the wall clock. False: @name has none. */
static bool age_of(const json_t *root, const char *part, const char *name, int64_t *ret_ms)
{
    int64_t now_ms, then_ms;

    if (!clock_parse(text_of(root, NULL, "time"), &now_ms) ||
        !clock_parse(text_of(root, part, name), &then_ms))
        return false;
    *ret_ms = now_ms > then_ms ? now_ms - then_ms : 0;
    return true;
}

static void judge_producers(struct doctor_work *work, const json_t *root)
{
    uint64_t refused = number_of(root, "producers", "messages_refused");
    char span[CLOCK_SPAN_MAX];
    int64_t age_ms;

    if (refused == 0 || !age_of(root, "producers", "refused_time", &age_ms) ||
        age_ms > RECENT_MS)
        return;
    clock_format_span(age_ms, span);
    doctor_add(work, DOCTOR_WARNING,
               "mqtt-spool status has the reason of the newest, docs/status.md what to do",
               "%" PRIu64 " message%s refused since the start, the newest %s ago", refused,
               refused == 1 ? " was" : "s were", span);
}

/* ---- what goes out ---- */

/* What to do about a link that is not good, and when it tries again by itself. */
static const char *link_remedy(const json_t *root, char text[static DOCTOR_REMEDY_MAX])
{
    const char *remedy = text_of(root, "link", "remedy");
    char next[STATUS_CELL_MAX];

    if (remedy[0] == '\0')
        remedy = "see whether that changes (mqtt-spool status), and the steps of the broker";
    (void)status_next_attempt(root, next);
    text_format(text, DOCTOR_REMEDY_MAX, "%s%s%s", remedy, next[0] != '\0' ? "; " : "", next);
    return text;
}

static void judge_link(struct doctor_work *work, const json_t *root)
{
    const char *state = text_of(root, "link", "state");
    const char *error = text_of(root, "link", "last_error");
    char remedy[DOCTOR_REMEDY_MAX];
    uint64_t messages = number_of(root, "spool", "messages");
    bool is_held = is_true(root, "link", "all_held") || strcmp(state, "held") == 0;
    bool is_connected = strcmp(state, "online") == 0 || strcmp(state, "held") == 0;
    bool is_quiet = error[0] == '\0' && number_of(root, "link", "refused_waiting") == 0;
    bool is_good = is_connected &&
                   (is_held || messages == 0 || is_quiet || status_link_error_is_over(root));
    char lead[DOCTOR_TARGET_MAX];

    if (is_held)
        doctor_add(work, DOCTOR_WARNING, "mqtt-spool release",
                   "an operator holds all lanes: nothing is sent");
    doctor_add(work, is_good ? DOCTOR_OK : DOCTOR_WARNING,
               is_good ? "" : link_remedy(root, remedy),
               "its link is %s, %" PRIu64 " message%s spooled%s%s", state, messages,
               messages == 1 ? " is" : "s are", lead_to_error(root, lead), error);
    if (is_true(root, "link", "held"))
        doctor_add(work, DOCTOR_FAILED,
                   status_disk_remedy(text_of(root, "spool", "disk_short")),
                   "nothing is sent: no commit has room on the disk");
    if (text_of(root, "link", "presence_error")[0] != '\0')
        doctor_add(work, DOCTOR_WARNING,
                   "allow this client id to publish to its topic, or change uplink.presence",
                   "the broker refuses the message of uplink.presence: %s",
                   text_of(root, "link", "presence_error"));
}

/* ---- what is recorded ---- */

static void judge_audit(struct doctor_work *work, const json_t *root)
{
    const char *error = text_of(root, "audit", "error");
    uint64_t waiting = number_of(root, "audit", "waiting");
    uint64_t most = number_of(root, "audit", "max_waiting");

    if (doctor_is_audit_waiting(root))
        doctor_add(work, DOCTOR_FAILED, status_audit_remedy(error),
                   "the audit file is not written: %s; %" PRIu64 " of at most %" PRIu64
                   " record%s wait in the spool",
                   error, waiting, most, cli_plural(most));
    else if (most > 0 && waiting >= most - most / 2)
        doctor_add(work, DOCTOR_WARNING,
                   "see whether the disk of audit.file is slow, or fills up",
                   "%" PRIu64 " of at most %" PRIu64 " record%s wait for the audit file",
                   waiting, most, cli_plural(most));
}

static void judge_records(struct doctor_work *work, const json_t *root)
{
    uint64_t rejected = number_of(root, "rejected", "messages");
    uint64_t damaged = number_of(root, "spool", "damaged_files");

    judge_audit(work, root);
    if (rejected > 0)
        doctor_add(work, DOCTOR_WARNING,
                   "mqtt-spool failures has the reason of each; without the cause, mqtt-spool "
                   "requeue sends them again",
                   "the broker rejected %" PRIu64 " message%s that %s kept aside", rejected,
                   cli_plural(rejected), rejected == 1 ? "is" : "are");
    if (damaged > 0)
        doctor_add(work, DOCTOR_WARNING,
                   "check the disk (journalctl -k), run mqtt-spool check, then move them "
                   "elsewhere: docs/damage.md",
                   "%" PRIu64 " damaged database%s moved aside in the spool's folder", damaged,
                   damaged == 1 ? " was" : "s were");
    if (json_is_false(status_member(root, "ledger", "balanced")))
        doctor_add(work, DOCTOR_FAILED, "keep a copy of the spool, then: mqtt-spool check",
                   "the ledger does not balance: messages are not accounted for");
}

/* ---- what a HUP has not applied ---- */

static void judge_configuration(struct doctor_work *work, const json_t *root)
{
    const char *refused = text_of(root, "configuration", "refused");
    const char *keys = text_of(root, "configuration", "restart_keys");

    if (strcmp(refused, "lanes") == 0)
        doctor_add(
            work, DOCTOR_WARNING, status_refused_remedy(refused),
            "the last reload left lanes and retention as they were: too many names of lanes");
    else if (refused[0] != '\0')
        doctor_add(work, DOCTOR_WARNING, status_refused_remedy(refused),
                   "the last reload changed nothing: the configuration had an error");
    if (keys[0] != '\0')
        doctor_add(work, DOCTOR_WARNING, RESTART_REMEDY,
                   "a restart is needed: a reload does not change %s", keys);
}

bool doctor_is_disk_short(const json_t *status)
{
    return strcmp(text_of(status, "intake", "refusing"), "disk") == 0 ||
           text_of(status, "spool", "disk_short")[0] != '\0';
}

bool doctor_is_audit_waiting(const json_t *status)
{
    return json_is_false(status_member(status, "audit", "healthy"));
}

void doctor_judge_status(struct doctor_work *work, const json_t *status)
{
    judge_intake(work, status);
    judge_lanes(work, status);
    judge_producers(work, status);
    judge_link(work, status);
    judge_records(work, status);
    judge_configuration(work, status);
}
