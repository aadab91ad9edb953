/* SPDX-License-Identifier: MIT */
/*
 * status_page.c - the status as a page for a person
 *
 * For each thing that is not as it should be the page has its meaning and a
 * remedy. It is made of the status object alone, whether the daemon wrote it or
 * status.c.
 */
#include "cli/verbs/status_page.h"

#include "base/clock.h"
#include "base/reload.h"
#include "cli/cli.h"
#include "cli/verbs/status_faults.h"
#include "cli/verbs/status_member.h"
#include "daemon/mqtt/packet.h"
#include "store/spool.h"

#include <stdio.h>
#include <string.h>

#define CELL_MAX STATUS_CELL_MAX
/* From this age on an object has its time on the page. */
#define AS_OF_MS 3000

/* Any member as text for a person; "-" where there is none. */
static const char *
cell(const json_t *root, const char *part, const char *name, char text[static CELL_MAX])
{
    const json_t *value = status_member(root, part, name);

    if (json_is_integer(value))
        (void)snprintf(text, CELL_MAX, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        (void)snprintf(text, CELL_MAX, "%.1f", json_real_value(value));
    else if (json_is_string(value) && *json_string_value(value) != '\0')
        (void)cli_printable(text, CELL_MAX, json_string_value(value));
    else
        (void)snprintf(text, CELL_MAX, "-");
    return text;
}

static const char *plural(const char *count)
{
    return strcmp(count, "1") == 0 ? "" : "s";
}

/* The word that agrees with a member. */
static const char *agree(
    const json_t *root, const char *part, const char *name, const char *one, const char *others)
{
    return cli_counted((uint64_t)status_integer(root, part, name), one, others);
}

static const char *
size_cell(const json_t *root, const char *part, const char *name, char text[static CELL_MAX])
{
    const json_t *value = status_member(root, part, name);

    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return cell(NULL, NULL, name, text);
    return cli_size((uint64_t)json_integer_value(value), text);
}

/* @unit_ms: what one of the member's unit is in milliseconds. */
static const char *span_cell(const json_t *root,
                             const char *part,
                             const char *name,
                             int64_t unit_ms,
                             char text[static CELL_MAX])
{
    const json_t *value = status_member(root, part, name);

    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) > INT64_MAX / unit_ms)
        return cell(NULL, NULL, name, text);
    clock_format_span(json_integer_value(value) * unit_ms, text);
    return text;
}

/* Null: it is not coming; 0: it is so already. */
static const char *
forecast_cell(const json_t *root, const char *name, char text[static CELL_MAX])
{
    const json_t *value = status_member(root, "forecast", name);

    if (json_is_integer(value) && json_integer_value(value) == 0)
        return "now";
    return span_cell(root, "forecast", name, 1000, text);
}

/* A daemon that answers has composed it just now; the file may be a status_interval old. */
static void print_time(const json_t *root, int64_t now_ms)
{
    const char *text = json_string_value(status_member(root, NULL, "time"));
    char time[CELL_MAX], span[CLOCK_SPAN_MAX];
    int64_t written_ms, age_ms;

    if (!text || !clock_parse(text, &written_ms))
        return;
    age_ms = now_ms - written_ms;
    if (age_ms < AS_OF_MS)
        return;
    clock_format_span(age_ms, span);
    printf("          as of %s, %s ago\n", cell(root, NULL, "time", time), span);
}

/* What the last reload did not apply. */
static void print_configuration(const json_t *root)
{
    char text[CELL_MAX];

    if (strcmp(cell(root, "configuration", "restart_keys", text), "-") != 0)
        printf("          " STATUS_RESTART_NEEDED "%s\n"
               "          -> " RESTART_REMEDY "\n",
               text);
    if (strcmp(cell(root, "configuration", "refused", text), "-") != 0)
        printf("          %s\n          -> %s\n", status_refused(text),
               status_refused_remedy(text));
}

static void print_daemon(const struct status_page *page)
{
    char version[CELL_MAX], pid[CELL_MAX], uptime[CELL_MAX];

    if (!page->running) {
        puts("daemon    NOT RUNNING: no message is accepted, none is forwarded\n"
             "          start it: systemctl start mqtt-spoold");
        return;
    }
    if (!page->is_own) {
        puts("daemon    running, but its status file cannot be read; what the spool says "
             "follows\n"
             "          (the status file is in the folder of listen.socket; is -c or --socket "
             "right?\n"
             "          A changed listen.socket holds from the next restart on)");
        return;
    }
    printf("daemon    mqtt-spoold %s, running for %s, pid %s\n",
           cell(page->root, NULL, "version", version),
           span_cell(page->root, NULL, "uptime_ms", 1, uptime),
           cell(page->root, NULL, "pid", pid));
    print_time(page->root, page->now_ms);
    print_configuration(page->root);
}

static bool is_all_accepted(const json_t *root)
{
    const char *why = json_string_value(status_member(root, "intake", "refusing"));
    const json_t *lane;
    size_t i;

    json_array_foreach(json_object_get(root, "lanes"), i, lane) {
        if (json_is_true(status_member(lane, NULL, "full")))
            return false;
    }
    return !why || *why == '\0';
}

static bool is_disk_short(const json_t *root)
{
    const char *detail = json_string_value(status_member(root, "spool", "disk_short"));

    return detail && *detail != '\0';
}

/* How long before the object was written that was, " 3 s ago"; "": never, or not known. Both
 * times come from one reading of the clocks, so a step of the wall clock changes nothing. */
static const char *
ago_cell(const json_t *root, const char *part, const char *name, char text[static CELL_MAX])
{
    const char *then = json_string_value(status_member(root, part, name));
    const char *now = json_string_value(status_member(root, NULL, "time"));
    char span[CLOCK_SPAN_MAX];
    int64_t then_ms, now_ms;

    text[0] = '\0';
    if (!then || !now || !clock_parse(then, &then_ms) || !clock_parse(now, &now_ms))
        return text;
    clock_format_span(now_ms > then_ms ? now_ms - then_ms : 0, span);
    (void)snprintf(text, CELL_MAX, " %s ago", span);
    return text;
}

/* A daemon of an earlier version writes neither time. */
static void print_link_history(const json_t *root)
{
    char connects[CELL_MAX], error[CELL_MAX], when[CELL_MAX];
    bool is_over = status_link_error_is_over(root);

    cell(root, "link", "connects", connects);
    printf("          connected %s time%s", connects, plural(connects));
    if (*ago_cell(root, "link", "acknowledged", when) != '\0')
        printf(", last acknowledgement%s", when);
    else if (status_member(root, "link", "acknowledged"))
        fputs(", no acknowledgement since the daemon's start", stdout);
    puts("");
    if (*status_refused_waiting(root, when) != '\0')
        printf("          %s\n", when);
    if (strcmp(cell(root, "link", "last_error", error), "-") == 0)
        puts("          no error of the connection");
    else
        printf("          last error%s%s: %s\n",
               ago_cell(root, "link", "last_error_time", when),
               is_over ? ", which is over" : "", error);
    if (strcmp(cell(root, "link", "remedy", error), "-") != 0)
        printf("          -> %s%s\n", is_over ? "if it comes again: " : "", error);
    if (*status_next_attempt(root, when) != '\0')
        printf("          %s\n", when);
}

/* What a link that is online does without, and what was sent to no one. */
static void print_link_lacks(const json_t *root)
{
    char text[CELL_MAX];

    if (strcmp(cell(root, "link", "protocol", text), "3.1.1") == 0)
        puts("          MQTT 3.1.1: without properties, message expiry and reported refusals "
             "(uplink.protocol)");
    if (strcmp(cell(root, "link", "presence_error", text), "-") != 0)
        printf("          the broker refuses the message of uplink.presence: %s\n"
               "          -> allow this client id to publish to its topic, or change "
               "uplink.presence\n",
               text);
    if (*status_no_subscriber(root, text) != '\0')
        printf("          %s\n          -> " STATUS_NO_SUBSCRIBER_REMEDY "\n", text);
}

static void print_certificate(const json_t *root)
{
    char text[STATUS_CERTIFICATE_MAX];
    bool has_expired;

    if (status_certificate(root, text, &has_expired))
        printf("          %s\n"
               "          -> replace the file of uplink.tls, which is read at each connect\n",
               text);
}

static void print_link(const struct status_page *page)
{
    static const char by_operator[] =
        "          HELD BY AN OPERATOR: nothing is sent until mqtt-spool release";
    const json_t *root = page->root;
    bool all_held = json_is_true(status_member(root, "link", "all_held"));
    char state[CELL_MAX], broker[CELL_MAX], since[CELL_MAX];
    bool online;

    if (!page->is_own) {
        printf("link      %s\n", cell(root, "link", "state", state));
        if (all_held)
            puts(by_operator);
        return;
    }
    printf("link      %s, broker %s, since %s\n", cell(root, "link", "state", state),
           cell(root, "link", "broker", broker), cell(root, "link", "since", since));
    online = strcmp(state, "online") == 0;
    print_link_history(root);
    print_link_lacks(root);
    print_certificate(root);
    if (json_is_true(status_member(root, "link", "held")))
        puts(
            "          NOTHING IS SENT until a commit has room: its end could not be recorded.\n"
            "          Tried each second; the line intake says what is short");
    if (strcmp(state, "refused") == 0)
        printf("          THE BROKER REFUSES EVERY MESSAGE: %s (code 0x%02X)\n"
               "          messages are kept, a few are tried from time to time\n",
               packet_reason_text((int)status_integer(root, "link", "refused_code")),
               (unsigned)status_integer(root, "link", "refused_code"));
    else if (all_held || strcmp(state, "held") == 0)
        puts(by_operator);
    else if (!online)
        puts(is_all_accepted(root)
                 ? "          messages are taken and kept; they go out when the link is online"
                 : "          what is spooled goes out when the link is online");
}

/* "3 of 1000 messages, 1.1 MiB of 1.0 GiB", as far as the limits of @lane are known.
 * @amount: what has the figures. */
static const char *
amount_cell(const json_t *amount, const json_t *lane, char text[static 2 * CELL_MAX])
{
    char messages[CELL_MAX], most[CELL_MAX], bytes[CELL_MAX], largest[CELL_MAX];

    cell(amount, NULL, "messages", messages);
    size_cell(amount, NULL, "bytes", bytes);
    cell(lane, NULL, "max_messages", most);
    if (status_integer(lane, NULL, "max_messages") > 0)
        (void)snprintf(text, (size_t)2 * CELL_MAX, "%.40s of %.40s message%s, %.40s of %.40s",
                       messages, most, plural(most), bytes,
                       size_cell(lane, NULL, "max_bytes", largest));
    else
        (void)snprintf(text, (size_t)2 * CELL_MAX, "%.40s message%s, %.40s", messages,
                       plural(messages), bytes);
    return text;
}

/* Below the amount of a lane. The ledger has the messages of all times. */
static void print_evicting(const json_t *lane)
{
    json_int_t evicted = status_integer(lane, "ledger", "evicted");
    char remedy[CELL_MAX];

    if (!status_lane_evicts(lane))
        return;
    fputs("          FULL: each new message EVICTS the oldest one", stdout);
    if (evicted > 0)
        printf(", %" JSON_INTEGER_FORMAT " %s evicted so far", evicted,
               cli_counted((uint64_t)evicted, "was", "were"));
    printf("\n          -> %s", evicted > 0 ? "mqtt-spool failures names them; " : "");
    puts(status_lane_remedy(lane, remedy));
}

static void print_spool(const struct status_page *page)
{
    const json_t *root = page->root;
    const json_t *lanes = json_object_get(root, "lanes");
    const json_t *only = json_array_size(lanes) == 1 ? json_array_get(lanes, 0) : NULL;
    char amount[2 * CELL_MAX], oldest[CELL_MAX], disk[CELL_MAX], free_space[CELL_MAX],
        reserve[CELL_MAX];
    json_int_t reserved = status_integer(root, "spool", "disk_reserve_bytes");

    printf("spool     %s, oldest %s\n",
           amount_cell(json_object_get(root, "spool"), only, amount),
           span_cell(root, "spool", "oldest_age_ms", 1, oldest));
    print_evicting(only);
    if (only && json_is_true(json_object_get(only, "held")))
        puts("          HELD by an operator");
    printf("          %s on disk, %s free", size_cell(root, "spool", "disk_bytes", disk),
           size_cell(root, "spool", "disk_free_bytes", free_space));
    if (status_integer(root, "spool", "disk_free_bytes") < reserved)
        printf(", below spool.disk_reserve (%s)",
               size_cell(root, "spool", "disk_reserve_bytes", reserve));
    puts("");
    if (status_integer(root, "spool", "disk_free_bytes") < reserved && page->is_own &&
        is_all_accepted(root) && !is_disk_short(root))
        puts("          new messages go into free pages inside spool.db");
    json_int_t damaged = status_integer(root, "spool", "damaged_files");
    if (damaged > 0)
        printf(
            "          DAMAGED: %" JSON_INTEGER_FORMAT
            " database%s moved aside in the spool's folder (spool.db.damaged-*);\n"
            "          what could be read of them is kept. Check the disk (journalctl -k), run\n"
            "          mqtt-spool check, then move those files elsewhere\n",
            damaged, cli_plural((uint64_t)damaged));
}

/* What was rejected has ended, and is no part of the spool. */
static void print_rejected(const json_t *root)
{
    const json_t *last = status_member(root, "rejected", "last");
    const json_t *code = json_object_get(last, "code");
    char messages[CELL_MAX], bytes[CELL_MAX], time[CELL_MAX], topic[CELL_MAX], reason[CELL_MAX];

    if (status_integer(root, "rejected", "messages") == 0)
        return;
    printf("rejected  %s kept aside, %s, besides the spool: the broker did not take them\n",
           cell(root, "rejected", "messages", messages),
           size_cell(root, "rejected", "bytes", bytes));
    if (!json_is_object(last)) /* of a daemon of an earlier version */
        return;
    printf("          the last one at %s, %s", cell(last, NULL, "time", time),
           cell(last, NULL, "reason", reason));
    if (json_is_integer(code))
        printf(" 0x%02X (%s)", (unsigned)json_integer_value(code),
               packet_reason_text((int)json_integer_value(code)));
    printf(": %s\n          mqtt-spool failures has the reason of each\n",
           cell(last, NULL, "topic", topic));
}

static void print_salvage(const json_t *root)
{
    char time[CELL_MAX], salvaged[CELL_MAX], damaged[CELL_MAX];

    if (strcmp(cell(root, "salvage", "time", time), "-") == 0)
        return;
    printf(
        "          SALVAGED at %s: the database was damaged or missing; %s message%s\n"
        "          could be read and %s kept, %s %s recorded as damaged (mqtt-spool failures)\n",
        time, cell(root, "salvage", "salvaged", salvaged),
        agree(root, "salvage", "salvaged", "", "s"),
        agree(root, "salvage", "salvaged", "is", "are"),
        cell(root, "salvage", "damaged", damaged),
        agree(root, "salvage", "damaged", "is", "are"));
    if (json_is_true(json_object_get(json_object_get(root, "salvage"), "damaged_unknown")))
        printf("          HOW MANY THERE WERE IS UNKNOWN: neither the counters nor spool.mark "
               "could be\n          read. Compare what the producers sent\n");
}

/* Of a lane that is no longer configured. */
static void print_left(const json_t *root, bool is_held)
{
    bool all_held = json_is_true(status_member(root, "link", "all_held"));

    if (is_held)
        printf(
            "          nothing new comes in; what is left waits until mqtt-spool release%s\n",
            all_held ? "" : " --lane NAME");
    else
        puts("          nothing new comes in; what is left is sent, within the limits of "
             "\"default\"");
}

/* Where there is "default" alone the line of the spool says it all. */
static void print_lanes(const json_t *root)
{
    const json_t *lanes = json_object_get(root, "lanes");
    const char *head = "lanes";
    const json_t *lane;
    size_t i;

    if (json_array_size(lanes) < 2)
        return;
    json_array_foreach(lanes, i, lane) {
        char name[CELL_MAX], amount[2 * CELL_MAX], oldest[CELL_MAX];
        bool has_left = status_lane_has_left(lane);
        bool is_held = json_is_true(json_object_get(lane, "held"));

        printf("%-9s %-16s %s, oldest %s%s%s\n", head, cell(lane, NULL, "name", name),
               amount_cell(lane, has_left ? NULL : lane, amount),
               span_cell(lane, NULL, "oldest_age_ms", 1, oldest),
               is_held ? ", HELD by an operator" : "",
               has_left ? ", no longer configured" : "");
        if (has_left && status_integer(lane, NULL, "messages") > 0)
            print_left(root, is_held);
        print_evicting(lane);
        head = "";
    }
}

/* One that is full by its messages may be so by its bytes too: the first is printed. */
static void print_full_lane(const char *head, const json_t *lane)
{
    char name[CELL_MAX], amount[CELL_MAX], most[CELL_MAX], policy[CELL_MAX];
    char remedy[CELL_MAX];
    bool blocks = strcmp(cell(lane, NULL, "when_full", policy), "block") == 0;

    printf("%-9s lane \"%s\" %s: ", head, cell(lane, NULL, "name", name),
           blocks ? "HOLDS ITS PRODUCERS BACK" : "REFUSES new messages");
    cell(lane, NULL, "max_messages", most);
    if (status_lane_is_full_by_messages(lane))
        printf("%s of %s message%s", cell(lane, NULL, "messages", amount), most, plural(most));
    else
        printf("%s of %s (max_bytes)", size_cell(lane, NULL, "bytes", amount),
               size_cell(lane, NULL, "max_bytes", most));
    printf(", when_full = \"%s\"\n          ", policy);
    puts(status_lane_remedy(lane, remedy));
}

static void print_short_disk(const json_t *root, bool is_refused)
{
    char shortage[STATUS_SHORTAGE_MAX];

    (void)status_disk_shortage(root, shortage);
    printf("intake    %s, too little disk space:\n          %s\n          %s\n",
           is_refused ? "NO MESSAGE IS ACCEPTED" : "NEW MESSAGES MAY EVICT OLD ONES", shortage,
           status_disk_remedy(shortage));
}

/* Why no message of any lane is accepted, and what to do. */
static void print_refusing(const json_t *root, const char *why)
{
    char first[CELL_MAX], second[CELL_MAX];
    bool is_short =
        is_disk_short(root) || status_integer(root, "spool", "disk_free_bytes") <
                                   status_integer(root, "spool", "disk_reserve_bytes");

    if (strcmp(why, "disk") == 0 && is_short)
        print_short_disk(root, true);
    else if (strcmp(why, "disk") == 0)
        printf("intake    the newest message found no room on the disk: %s free now,\n"
               "          spool.disk_reserve is %s; the next one is tried\n",
               size_cell(root, "spool", "disk_free_bytes", first),
               size_cell(root, "spool", "disk_reserve_bytes", second));
    else if (strcmp(why, "audit_waiting") == 0 &&
             status_integer(root, "audit", "waiting") <
                 status_integer(root, "audit", "max_waiting"))
        printf(
            "intake    NO MESSAGE IS ACCEPTED: records take %s of at most %s, and wait for the "
            "audit file\n"
            "          make audit.file writable; deliveries continue\n",
            size_cell(root, "audit", "record_bytes", first),
            size_cell(root, "audit", "max_record_bytes", second));
    else if (strcmp(why, "audit_waiting") == 0)
        printf("intake    NO MESSAGE IS ACCEPTED: %s record%s for the audit file, "
               "audit.max_waiting is %s\n"
               "          make audit.file writable; deliveries continue\n",
               cell(root, "audit", "waiting", first),
               agree(root, "audit", "waiting", " waits", "s wait"),
               cell(root, "audit", "max_waiting", second));
    else if (strcmp(why, "database_locked") == 0)
        puts("intake    NO MESSAGE IS ACCEPTED: another program keeps the database locked\n"
             "          end its transaction (fuser -v spool.db names it)");
    else if (strcmp(why, "spool_moved") == 0)
        puts(
            "intake    NO MESSAGE IS ACCEPTED: the spool's files were removed, and cannot be put back\n"
            "          do not end the daemon: its log says what is needed (spool_not_restored)");
    else
        printf("intake    NO MESSAGE IS ACCEPTED: %s\n", why);
}

/* @is_continued: below a line about the intake. A daemon of an earlier version writes no
 * reason. */
static void print_refused(const json_t *root, bool is_continued)
{
    json_int_t refused = status_integer(root, "producers", "messages_refused");
    json_int_t clients = status_integer(root, "producers", "clients_refused");
    const char *verb = is_continued ? "" : refused == 1 ? " was" : " were";
    char reason[CELL_MAX], when[CELL_MAX];

    if (clients > 0)
        printf("%s%" JSON_INTEGER_FORMAT " client%s refused since the start; the log has why "
               "(client_refused)\n",
               is_continued ? "          " : "producers ", clients,
               cli_plural((uint64_t)clients));
    if (refused == 0)
        return;
    printf("%s%" JSON_INTEGER_FORMAT " message%s%s refused since the start%s",
           is_continued || clients > 0 ? "          " : "producers ", refused,
           cli_plural((uint64_t)refused), verb, is_continued ? "" : "; none now");
    if (strcmp(cell(root, "producers", "refused_reason", reason), "-") != 0)
        printf("\n          the newest%s: %s",
               ago_cell(root, "producers", "refused_time", when), reason);
    puts("");
}

/* Prints nothing if all that came was accepted. */
static void print_intake(const json_t *root)
{
    const json_t *lanes = json_object_get(root, "lanes");
    const char *head = "intake";
    const json_t *lane;
    char why[CELL_MAX];
    size_t i;

    if (strcmp(cell(root, "intake", "refusing", why), "-") != 0) {
        print_refusing(root, why);
        head = "";
    } else if (is_disk_short(root)) {
        print_short_disk(root, false);
        head = "";
    }
    json_array_foreach(lanes, i, lane) {
        if (!json_is_true(status_member(lane, NULL, "full")))
            continue;
        print_full_lane(head, lane);
        head = "";
    }
    print_refused(root, *head == '\0');
}

static void print_ledger(const json_t *root)
{
    char text[CELL_MAX];
    json_int_t accepted = status_integer(root, "ledger", "accepted");
    json_int_t rest = status_integer(root, "ledger", "spooled");

    printf("ledger    accepted  %12s\n", cell(root, "ledger", "accepted", text));
    for (unsigned i = 0; i < SPOOL_OUTCOMES; i++) {
        const char *name = spool_outcome_name((enum spool_outcome)i);

        rest += status_integer(root, "ledger", name);
        printf("          %-9s %12s\n", name, cell(root, "ledger", name, text));
    }
    printf("          spooled   %12s\n", cell(root, "ledger", "spooled", text));
    if (rest == accepted)
        puts("          balances: each message accepted is in one of the lines below it");
    else
        printf("          DOES NOT BALANCE: %" JSON_INTEGER_FORMAT
               " accepted, %" JSON_INTEGER_FORMAT
               " accounted for\n          keep a copy of the spool, then: mqtt-spool audit\n",
               accepted, rest);
}

static void print_audit(const json_t *root)
{
    char error[CELL_MAX], waiting[CELL_MAX], most[CELL_MAX];

    printf("audit     NOT WRITTEN just now: %s; %s of at most %s record%s %s in the spool\n"
           "          ",
           cell(root, "audit", "error", error), cell(root, "audit", "waiting", waiting),
           cell(root, "audit", "max_waiting", most),
           agree(root, "audit", "max_waiting", "", "s"),
           agree(root, "audit", "waiting", "waits", "wait"));
    puts(status_audit_remedy(error));
}

/* @rate: NULL: of a daemon of an earlier version. */
static void print_rate_limits(const json_t *rate)
{
    json_int_t messages = status_integer(rate, NULL, "messages");
    json_int_t bytes = status_integer(rate, NULL, "bytes");
    char text[CELL_MAX];

    if (messages > 0 || bytes > 0)
        fputs(", limited by uplink.rate to", stdout);
    if (messages > 0)
        printf(" %" JSON_INTEGER_FORMAT " message%s/s", messages,
               cli_plural((uint64_t)messages));
    if (bytes > 0)
        printf("%s %s/s", messages > 0 ? " and" : "", size_cell(rate, NULL, "bytes", text));
    puts("");
}

static void print_running_parts(const json_t *root)
{
    char first[CELL_MAX], second[CELL_MAX];

    printf("tokens    %s in flight, peak %s\n", cell(root, "tokens", "in_flight", first),
           cell(root, "tokens", "peak", second));
    printf("rates     %s/s in, %s/s out", cell(root, "rates", "in", first),
           cell(root, "rates", "out", second));
    print_rate_limits(status_member(root, "link", "rate"));
    printf("forecast  full: %s, drained: %s\n", forecast_cell(root, "full_s", first),
           forecast_cell(root, "drained_s", second));
    if (json_is_false(status_member(root, "audit", "healthy")))
        print_audit(root);
}

void status_page_print(const struct status_page *page)
{
    print_daemon(page);
    print_link(page);
    print_spool(page);
    print_rejected(page->root);
    print_salvage(page->root);
    print_lanes(page->root);
    print_intake(page->root);
    print_ledger(page->root);
    if (page->is_own)
        print_running_parts(page->root);
    else if (page->running)
        puts("rates     unknown, and so are what is in flight, refused and forecast");
}
