/* SPDX-License-Identifier: MIT */
/*
 * test_verb_report.c - tests of `mqtt-spool report`: what stands on the page for each kind of
 * history
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sysexits.h>

#include <cmocka.h>

#include <inttypes.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "cli/report/page.h"
#include "tests/support/history_fixture.h"
#include "tests/support/spool_fixture.h"
#include "tests/support/tool_fixture.h"

#define PAGE_MAX ((size_t)512 * 1024)
#define HOUR     INT64_C(3600000)

static struct tool tool;
static char page[PAGE_MAX];
static char page_path[256];
static char audit_path[256];

/* The history of history_fixture.h, of an hour ago. */
static int setup_history(void **state)
{
    struct fixture *f;

    if (setup(state) != 0)
        return -1;
    f = *state;
    memset(&tool, 0, sizeof(tool));
    f->now.wall_ms = cli_now().wall_ms - HOUR;
    make_history(f);
    (void)snprintf(page_path, sizeof(page_path), "%s/report.html", f->directory);
    (void)snprintf(audit_path, sizeof(audit_path), "%s/audit.jsonl", f->directory);
    return 0;
}

static void read_page(void)
{
    FILE *file = fopen(page_path, "r");
    size_t size;

    assert_non_null(file);
    size = fread(page, 1, sizeof(page) - 1, file);
    assert_int_equal(fclose(file), 0);
    assert_true(size < sizeof(page) - 1);
    page[size] = '\0';
    assert_non_null(strstr(page, "</html>"));
}

#define REPORT(...) TOOL_RUN(&tool, cli_report, "report", page_path, __VA_ARGS__)

static FILE *open_audit(void)
{
    FILE *file = fopen(audit_path, "w");

    assert_non_null(file);
    return file;
}

/* One line; @members: besides those that each has, with a comma before each. */
static void put_line(FILE *file,
                     uint64_t seq,
                     int64_t time_ms,
                     const char *outcome,
                     int64_t age_ms,
                     const char *members)
{
    char time[CLOCK_TEXT_MAX], accepted[CLOCK_TEXT_MAX];

    clock_format(time_ms, time);
    clock_format(time_ms - age_ms, accepted);
    assert_true(
        fprintf(file,
                "{\"seq\":%" PRIu64 ",\"time\":\"%s\",\"outcome\":\"%s\",\"id\":%" PRIu64
                ",\"lane\":\"default\",\"client\":\"c\",\"uid\":1,\"topic\":\"t/%" PRIu64
                "\",\"qos\":1,\"bytes\":10,\"accepted\":\"%s\",\"age_ms\":%" PRId64
                ",\"attempts\":1%s}\n",
                seq, time, outcome, seq, seq % 50, accepted, age_ms, members) > 0);
}

static void a_whole_history_is_on_the_page(void **state)
{
    struct fixture *f = *state;

    export_history(f, audit_path, 7);
    assert_int_equal(REPORT("--directory", f->directory, audit_path), EX_OK);
    assert_contains(tool.out, "SOUND. Every one of 10 accepted messages");
    read_page();
    assert_contains(page,
                    "Every one of 10 accepted messages was delivered or is explained: "
                    "4 delivered, 3 not delivered with a recorded reason, 3 still waiting.");
    assert_contains(page, "data-key=\"accepted\" data-value=\"10\"");
    assert_contains(page, "data-key=\"delivered\" data-value=\"4\"");
    assert_contains(page, "data-key=\"failed\" data-value=\"3\"");
    assert_contains(page, "data-key=\"waiting\" data-value=\"3\"");
    assert_contains(page, "0x87: 1");
    assert_contains(page, "<td>max_messages</td>");
    assert_contains(page, "The most that waited in each step, looked at every ");
    assert_contains(page, "The ledger balances");
    assert_contains(page, "Each count of the ledger was compared");
    assert_lacks(page, "<script");
}

static void rows_that_are_not_exported_yet_are_in_it(void **state)
{
    struct fixture *f = *state;

    export_history(f, audit_path, 2);
    assert_int_equal(REPORT("--json", "--directory", f->directory, audit_path), EX_OK);
    assert_contains(tool.out, "\"verdict\":\"SOUND\"");
    assert_contains(tool.out, "\"accepted\":10,\"delivered\":4,\"failed\":3,\"waiting\":3}");
    read_page();
    assert_contains(page, "5 records are of the database not in the files yet");
}

static void lines_without_a_number_have_no_range(void **state)
{
    FILE *file = open_audit();

    (void)state;
    put_line(file, 0, cli_now().wall_ms - HOUR, "delivered", 10, "");
    assert_int_equal(fclose(file), 0);
    assert_int_equal(REPORT(audit_path), EX_DATAERR);
    read_page();
    assert_contains(page, "data-key=\"lines\" data-value=\"1\">1</span> record read, and 0");
}

static void a_cut_file_is_not_sound(void **state)
{
    struct fixture *f = *state;

    export_history(f, audit_path, 7);
    assert_int_equal(truncate(audit_path, 700), 0);
    assert_int_equal(REPORT("--directory", f->directory, audit_path), EX_DATAERR);
    assert_contains(tool.out, "NOT SOUND");
    read_page();
    assert_contains(page, "class=\"word\">NOT SOUND</p>");
    assert_contains(page, "lines were cut off");
    assert_contains(page, "How the last file ends: the last line is half written");
}

static void without_an_audit_file_the_ledger_stands_alone(void **state)
{
    struct fixture *f = *state;
    char path[256];

    assert_int_equal(REPORT("--directory", f->directory), EX_CONFIG);
    assert_int_equal(access(page_path, F_OK), -1);
    (void)snprintf(page, sizeof(page),
                   "spool: { directory = \"%s\"; };\nuplink: { brokers = (\"tcp://a:1\"); };\n"
                   "audit: { file = \"\"; };\n",
                   f->directory);
    tool.config_path = tool_write(path, f->directory, "x.conf", page);
    assert_int_equal(TOOL_RUN(&tool, cli_report, "report", page_path), EX_OK);
    assert_contains(tool.out, "NOT PROVED");
    read_page();
    assert_contains(page, "There is no audit file");
    assert_contains(page, "data-key=\"failed\" data-value=\"3\"");
}

static void configured_files_are_read_with_the_rotated_ones(void **state)
{
    struct fixture *f = *state;
    char path[256];
    char rotated[300];

    export_history(f, audit_path, 7);
    (void)snprintf(rotated, sizeof(rotated), "%s.1", audit_path);
    assert_int_equal(rename(audit_path, rotated), 0);
    assert_int_equal(fclose(open_audit()), 0);
    (void)snprintf(page, sizeof(page),
                   "spool: { directory = \"%s\"; };\nuplink: { brokers = (\"tcp://a:1\"); };\n"
                   "audit: { file = \"%s\"; };\n",
                   f->directory, audit_path);
    tool.config_path = tool_write(path, f->directory, "x.conf", page);
    assert_int_equal(TOOL_RUN(&tool, cli_report, "report", page_path), EX_OK);
    read_page();
    assert_contains(page, "audit.jsonl.1</bdi>");
    assert_contains(page, "Every one of 10 accepted messages");
}

static void long_histories_have_outages_and_many_topics(void **state)
{
    const int64_t begin = cli_now().wall_ms - 200 * 24 * HOUR;
    FILE *file = open_audit();
    char time[CLOCK_TEXT_MAX];

    (void)state;
    for (uint64_t seq = 1; seq <= 2000; seq++) {
        bool fails = seq % 3 == 0;
        int64_t at = begin + (int64_t)seq * 2 * HOUR;

        put_line(file, seq, at, fails ? "evicted" : "delivered", seq % 40 == 2 ? HOUR : 100,
                 fails ? ",\"reason\":\"disk\"" : "");
    }
    clock_format(begin + 5000 * HOUR, time);
    fprintf(file, "{\"admin\":\"hold\",\"time\":\"%s\",\"uid\":0}\n", time);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(REPORT(audit_path), EX_OK);
    read_page();
    assert_contains(page, "These are the longest.");
    assert_contains(page, "all others");
    assert_contains(page, "Each step is 12 h.");
    assert_contains(page, "The files were compared with no database");
    assert_int_equal(REPORT("--since", "3d", "--until", "1h", audit_path), EX_OK);
    assert_int_equal(REPORT("--deliveries-off", audit_path), EX_OK);
    read_page();
    assert_contains(page, "Not known: the audit file was written without deliveries");
}

static void clocks_and_pruned_records_are_noted(void **state)
{
    const int64_t begin = cli_now().wall_ms - 2 * HOUR;
    FILE *file = open_audit();
    char time[CLOCK_TEXT_MAX];

    (void)state;
    put_line(file, 1, 9000, "delivered", 100, "");
    put_line(file, 2, begin, "delivered", 0, "");
    put_line(file, 3, begin - 15000, "delivered", 17000, "");
    clock_format(begin, time);
    fprintf(file, "{\"seq\":5,\"time\":\"%s\",\"from\":4,\"pruned\":2}\n", time);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(REPORT(audit_path), EX_OK);
    read_page();
    assert_contains(page, "1 record written while the clock was not set");
    assert_contains(page, "2 deliveries whose records were pruned");
    assert_contains(page, "The clock was set back 1 time.");
    assert_contains(page, "Every message that ended in this period was delivered.");
}

/* The times in the head of the page: begin and end of the period, and when it was made. */
static void read_times(char times[3][CLOCK_TEXT_MAX])
{
    const char *at = strstr(page, "<p class=\"from\"><time datetime=\"");

    assert_non_null(at);
    for (int i = 0; i < 3; i++) {
        at = strstr(at, "datetime=\"");
        assert_non_null(at);
        at += strlen("datetime=\"");
        (void)snprintf(times[i], CLOCK_TEXT_MAX, "%.*s", (int)strcspn(at, "\""), at);
    }
}

static void the_period_is_within_what_was_asked_for_and_before_now(void **state)
{
    const int64_t now = cli_now().wall_ms;
    char times[3][CLOCK_TEXT_MAX], since[CLOCK_TEXT_MAX], until[CLOCK_TEXT_MAX];
    FILE *file = open_audit();

    (void)state;
    for (uint64_t day = 0; day <= 30; day++)
        put_line(file, day + 1, now - (int64_t)(30 - day) * 24 * HOUR, "delivered", 0, "");
    assert_int_equal(fclose(file), 0);
    assert_int_equal(REPORT(audit_path), EX_OK);
    read_page();
    read_times(times);
    assert_true(strcmp(times[0], times[1]) < 0);
    assert_true(strcmp(times[1], times[2]) <= 0);
    clock_format(now - 20 * 24 * HOUR, since);
    clock_format(now - 10 * 24 * HOUR + 1, until);
    assert_int_equal(REPORT("--since", since, "--until", until, audit_path), EX_OK);
    read_page();
    read_times(times);
    assert_string_equal(times[0], since);
    assert_string_equal(times[1], until);
}

static void nothing_has_a_page_too(void **state)
{
    (void)state;
    assert_int_equal(fclose(open_audit()), 0);
    assert_int_equal(REPORT(audit_path), EX_OK);
    read_page();
    assert_contains(page, "No outcome is recorded in these files.");
    assert_contains(page, "No message was accepted or ended in this period.");
    assert_lacks(page, "<svg");
}

static void what_is_wrong_leaves_the_old_page(void **state)
{
    struct fixture *f = *state;
    struct stat st;

    assert_int_equal(REPORT("--since", "soon"), EX_USAGE);
    assert_int_equal(REPORT("--since", "1h", "--until", "2h"), EX_USAGE);
    assert_int_equal(TOOL_RUN(&tool, cli_report, "report"), EX_USAGE);
    assert_contains(tool.err, "the name of the page is missing");
    assert_int_equal(TOOL_RUN(&tool, cli_report, "report", "--help"), EX_OK);
    tool_write(audit_path, f->directory, "report.html", PAGE_BEGINS "old");
    assert_int_equal(REPORT("/nowhere/audit.jsonl"), EX_UNAVAILABLE);
    assert_int_equal(stat(page_path, &st), 0);
    assert_int_equal(st.st_size, strlen(PAGE_BEGINS "old"));
    tool_write(audit_path, f->directory, "report.html", "{\"seq\":1}");
    assert_int_equal(REPORT("/nowhere/audit.jsonl"), EX_USAGE); /* a slip */
    assert_contains(tool.err, "is there and is none that this verb wrote");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_whole_history_is_on_the_page, setup_history,
                                        teardown),
        cmocka_unit_test_setup_teardown(rows_that_are_not_exported_yet_are_in_it, setup_history,
                                        teardown),
        cmocka_unit_test_setup_teardown(lines_without_a_number_have_no_range, setup_history,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_cut_file_is_not_sound, setup_history, teardown),
        cmocka_unit_test_setup_teardown(without_an_audit_file_the_ledger_stands_alone,
                                        setup_history, teardown),
        cmocka_unit_test_setup_teardown(configured_files_are_read_with_the_rotated_ones,
                                        setup_history, teardown),
        cmocka_unit_test_setup_teardown(long_histories_have_outages_and_many_topics,
                                        setup_history, teardown),
        cmocka_unit_test_setup_teardown(clocks_and_pruned_records_are_noted, setup_history,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_period_is_within_what_was_asked_for_and_before_now,
                                        setup_history, teardown),
        cmocka_unit_test_setup_teardown(nothing_has_a_page_too, setup_history, teardown),
        cmocka_unit_test_setup_teardown(what_is_wrong_leaves_the_old_page, setup_history,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
