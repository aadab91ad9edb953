/* SPDX-License-Identifier: MIT */
/*
 * test_watch_page.c - tests of the screen of the watch: a sound status object, in which each
 * case changes some members, in terminals of several sizes
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/verbs/watch_failures.h"
#include "cli/verbs/watch_page.h"
#include "tests/support/sound_status.h"

static struct watch_history history;
static struct watch_failures failures;
static char screen[65536];

/* The rows of the page, each with a newline before it. */
static void keep_rows(const char *drawn)
{
    size_t size = 0;

    screen[size++] = '\n';
    for (; *drawn != '\0'; drawn++) {
        if (*drawn == '\x1b')
            drawn += strcspn(drawn, "HKJm");
        else if (*drawn != '\r')
            screen[size++] = *drawn;
    }
    screen[size] = '\0';
}

static void draw(struct watch_page *page)
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);

    assert_non_null(stream);
    page->history = &history;
    page->failures = &failures;
    watch_page_print(page, stream);
    assert_int_equal(fclose(stream), 0);
    keep_rows(text);
    free(text);
}

static const char *page_of(const char *changes, unsigned columns, unsigned rows)
{
    json_error_t error;
    json_t *root = json_loads(sound_status, 0, &error);
    json_t *change = json_loads(changes, 0, &error);

    assert_non_null(root);
    assert_non_null(change);
    assert_int_equal(json_object_update_recursive(root, change), 0);
    draw(&(struct watch_page){.root = root,
                              .running = true,
                              .is_own = true,
                              .now_ms = INT64_C(1793534466000),
                              .size = {.columns = columns, .rows = rows}});
    json_decref(change);
    json_decref(root);
    return screen;
}

static void expect(const char *page, const char *text)
{
    if (!strstr(page, text))
        print_error("not in it: %s\n%s\n", text, page);
    assert_non_null(strstr(page, text));
}

static unsigned rows_of(const char *page)
{
    unsigned rows = 0;

    for (; *page != '\0'; page++)
        rows += *page == '\n';
    return rows;
}

static void a_sound_daemon_has_no_fault(void **state)
{
    (void)state;
    watch_history_add(&history, 1);
    assert_string_equal(page_of("{}", 80, 24),
                        "\ndaemon    mqtt-spoold 1.2.3, for 1 min 5 s (q quits)  "
                        "2026-11-01T12:01:05Z"
                        "\nlink      online for 55 s  ssl://b:8883"
                        "\nbacklog   1 message, 2.0 KiB, oldest 1 min 30 s, 1 in flight"
                        "\n          #"
                        "\nrates     1.5 in, 2.5 out per second"
                        "\nforecast  drained: now; full: not at these rates"
                        "\ndisk      1.0 MiB, 1.0 GiB free"
                        "\nended     4 delivered of 10 accepted"
                        "\nfailed    none"
                        "\nlanes     default      [#         ]   0 %        3    2.0 KiB "
                        "1 min 30 s");
}

/* In the first rows of a small terminal. */
static void each_fault_comes_before_what_is_decorative(void **state)
{
    static const char *const cases[][2] = {
        {"{\"intake\":{\"refusing\":\"disk\"}}", "NO MESSAGE IS ACCEPTED: disk: 1.0 GiB free"},
        {"{\"spool\":{\"disk_short\":\"17896 KiB are free, disk_reserve keeps 16384 KiB\"}}",
         "NEW MESSAGES MAY EVICT OLD ONES: disk: 1.0 GiB free, of which"},
        {"{\"intake\":{\"refusing\":\"audit_waiting\"}}", "NO MESSAGE IS ACCEPTED: too many"},
        {"{\"intake\":{\"refusing\":\"database_locked\"}}", "NO MESSAGE IS ACCEPTED: another"},
        {"{\"intake\":{\"refusing\":\"spool_moved\"}}", "NO MESSAGE IS ACCEPTED: the spool's"},
        {"{\"spool\":{\"disk_short\":\"no space\"}}", "NEW MESSAGES MAY EVICT OLD ONES"},
        {"{\"lanes\":[{\"name\":\"a\",\"full\":true}]}", "lane \"a\" REFUSES new messages"},
        {"{\"lanes\":[{\"name\":\"a\",\"full\":false,\"messages\":2,\"max_messages\":2,"
         "\"when_full\":\"evict-oldest\",\"ledger\":{\"evicted\":7}}]}",
         "lane \"a\" EVICTS its oldest messages, it is full; 7 so far"},
        {"{\"audit\":{\"healthy\":false,\"error\":\"Permission denied\"}}",
         "\naudit     NOT WRITTEN: Permission denied; 2 of at most 100"},
        {"{\"ledger\":{\"balanced\":false}}", "DOES NOT BALANCE"},
        {"{\"link\":{\"held\":true}}", "NOTHING IS SENT"},
        {"{\"link\":{\"state\":\"refused\",\"refused_code\":135}}",
         "THE BROKER REFUSES EVERY MESSAGE: not authorized (code 0x87)"},
        {"{\"link\":{\"all_held\":true}}", "HELD by an operator"},
        {"{\"link\":{\"presence_error\":\"not authorized\"}}", "uplink.presence: not auth"},
        {"{\"spool\":{\"damaged_files\":1}}", "DAMAGED: 1 database moved aside"},
        {"{\"salvage\":{\"time\":\"2026-11-01T12:00:00.000Z\"}}", "1 message kept, 2 damaged"},
        {"{\"spool\":{\"disk_free_bytes\":1024}}", "1.0 KiB free, below spool.disk_reserve"},
        {"{\"lanes\":[{\"name\":\"a\",\"held\":true}]}", "held      lane \"a\""},
        {"{\"link\":{\"certificate_expires\":\"2026-11-03T12:01:05.000Z\"}}",
         "A CERTIFICATE EXPIRES in 2 d"},
        {"{\"link\":{\"certificate_expires\":\"2026-11-01T11:01:05.000Z\"}}",
         "A CERTIFICATE HAS EXPIRED 1 h ago"},
        {"{\"link\":{\"no_subscriber\":1}}",
         "1 message delivered since the start had no subscriber at the broker"},
        {"{\"configuration\":{\"restart_keys\":\"uplink.window\"}}",
         "\nconfig    RESTART NEEDED: a reload does not change uplink.window"},
        {"{\"configuration\":{\"refused\":\"file\"}}",
         "\nconfig    THE LAST RELOAD CHANGED NOTHING"},
        {"{\"configuration\":{\"refused\":\"lanes\"}}", "THE LAST RELOAD LEFT lanes AND"},
        {"{\"rejected\":{\"messages\":1}}", "rejected  1 message kept aside"},
        {"{\"producers\":{\"messages_refused\":1,\"refused_reason\":\"disk\"}}",
         "refused   1 message since the start, the newest: disk"},
        {"{\"producers\":{\"clients_refused\":2}}", "refused   2 clients since the start"},
        {"{\"time\":\"2026-11-01T12:01:00.000Z\"}", "as of 6 s ago"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        expect(page_of(cases[i][0], 80, 3), cases[i][1]);
}

#define LONG_ERROR                                                                               \
    "{\"link\":{\"state\":\"connecting\",\"last_error\":\"the broker closed the connection "     \
    "before it answered, as one does that wants TLS\",\"remedy\":\"check that the port is that " \
    "of the protocol, and that the broker runs and accepts this client id\"}}"

static void a_lane_that_left_the_configuration_has_no_fill(void **state)
{
    (void)state;
    expect(page_of("{\"lanes\":[{\"name\":\"old\",\"full\":false,\"messages\":2,\"bytes\":9,"
                   "\"max_messages\":2,\"max_bytes\":99,\"when_full\":\"evict-oldest\","
                   "\"oldest_age_ms\":1000,\"configured\":false}]}",
                   100, 24),
           "\nlanes     old          [          ]   0 %        2        9 B      1 s no longer "
           "configured");
    assert_null(strstr(screen, "EVICTS"));
}

/* In the same words as the page and the doctor. */
static void a_fault_has_its_remedy(void **state)
{
    static const char *const cases[][2] = {
        {"{\"spool\":{\"disk_short\":\"File too large (EFBIG)\"}}",
         "-> raise the limit of the file size (LimitFSIZE= of the unit, ulimit -f)\n"},
        {"{\"intake\":{\"refusing\":\"disk\"}}",
         "-> make room on the disk of the spool (docs/disk.md); "},
        {"{\"audit\":{\"healthy\":false,\"error\":\"another process writes it\"}}",
         "-> two daemons have the same audit.file: name another one"},
        {"{\"lanes\":[{\"name\":\"a\",\"full\":true,\"messages\":2,\"max_messages\":2}]}",
         "it is full -> bring the link back, or raise its max_messages"},
        {"{\"lanes\":[{\"name\":\"default\",\"full\":false,\"messages\":2,\"max_messages\":2,"
         "\"when_full\":\"evict-oldest\",\"held\":true}]}",
         "-> release it (mqtt-spool release), or raise retention.max_messages"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        expect(page_of(cases[i][0], 250, 24), cases[i][1]);
}

static void a_remedy_goes_on_in_rows_that_are_left(void **state)
{
    (void)state;
    expect(page_of(LONG_ERROR, 80, 24),
           "\nlink      last error: the broker closed the connection before it answered, as"
           "\n          one does that wants TLS"
           "\n          -> check that the port is that of the protocol, and that the broker"
           "\n          runs and accepts this client id"
           "\nbacklog   ");
    expect(screen, "\nlanes     default");
    (void)page_of(LONG_ERROR, 80, 6); /* none is left */
    assert_int_equal(rows_of(screen), 6);
    expect(screen, "and that the broker ru\nbacklog   ");
}

static void the_last_error_names_the_link(void **state)
{
    (void)state;
    expect(page_of("{\"link\":{\"last_error\":\"no route\",\"remedy\":\"see the cable\"},"
                   "\"producers\":{\"clients_refused\":4}}",
                   80, 24),
           "\nlink      online for 55 s  ssl://b:8883"
           "\nrefused   4 clients since the start");
    expect(page_of("{\"link\":{\"last_error\":\"no route\",\"remedy\":\"see the cable\"},"
                   "\"producers\":{\"clients_refused\":4}}",
                   80, 24),
           "\nlink      last error: no route"
           "\n          -> see the cable");
}

static void an_error_is_present_while_messages_wait_after_their_refusal(void **state)
{
    (void)state;
    expect(
        page_of("{\"link\":{\"last_error\":\"no quota\",\"refused_waiting\":2,"
                "\"last_error_time\":\"2026-11-01T12:00:05.000Z\","
                "\"acknowledged\":\"2026-11-01T12:01:02.000Z\"},"
                "\"spool\":{\"messages\":3}}",
                100, 24),
        "\nlink      THE BROKER REFUSES 2 of 3 messages at their last try; each is sent again "
        "after a pause"
        "\nlink      last error 1 min ago: no quota");
}

static void an_error_that_is_over_is_no_present_one(void **state)
{
    (void)state;
    expect(page_of("{\"link\":{\"last_error\":\"no route\",\"remedy\":\"see the cable\","
                   "\"last_error_time\":\"2026-11-01T12:00:05.000Z\","
                   "\"acknowledged\":\"2026-11-01T12:01:02.000Z\"}}",
                   80, 24),
           "\nlink      last error 1 min ago, which is over: no route"
           "\n          -> if it comes again: see the cable");
}

static void a_pause_of_the_link_has_its_end(void **state)
{
    (void)state;
    expect(page_of("{\"link\":{\"state\":\"connecting\",\"last_error\":\"no route\","
                   "\"next_attempt\":\"2026-11-01T12:02:57.000Z\"}}",
                   80, 24),
           "\nlink      last error: no route"
           "\n          next attempt in 1 min 52 s; at once: mqtt-spool flush\n");
}

static void how_to_quit_is_said_in_narrow_terminals_too(void **state)
{
    (void)state;
    expect(page_of("{}", 60, 10), "daemon    mqtt-spoold 1.2.3, for 1 min 5 s (q quits)  2026");
    expect(page_of("{}", 40, 10), "daemon    1.2.3, for 1 min 5 s (q quits)\n");
    expect(page_of("{}", 20, 10), "daemon    1.2.3, (q)");
    for (unsigned columns = 1; columns < 20; columns++)
        (void)page_of(LONG_ERROR, columns, 10);
    draw(&(struct watch_page){.size = {.columns = 40, .rows = 10}});
    expect(screen, "daemon    NOT RUNNING (q quits)");
    draw(&(struct watch_page){.running = true, .size = {.columns = 40, .rows = 10}});
    expect(screen, "daemon    no status now (q quits)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sound_daemon_has_no_fault),
        cmocka_unit_test(each_fault_comes_before_what_is_decorative),
        cmocka_unit_test(a_fault_has_its_remedy),
        cmocka_unit_test(a_lane_that_left_the_configuration_has_no_fill),
        cmocka_unit_test(a_remedy_goes_on_in_rows_that_are_left),
        cmocka_unit_test(the_last_error_names_the_link),
        cmocka_unit_test(an_error_is_present_while_messages_wait_after_their_refusal),
        cmocka_unit_test(an_error_that_is_over_is_no_present_one),
        cmocka_unit_test(a_pause_of_the_link_has_its_end),
        cmocka_unit_test(how_to_quit_is_said_in_narrow_terminals_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
