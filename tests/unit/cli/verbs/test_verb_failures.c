/* SPDX-License-Identifier: MIT */
/*
 * test_verb_failures.c - tests of `mqtt-spool failures`: which records, in which order and
 * form
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sysexits.h>

#include <cmocka.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "store/spool.h"
#include "tests/support/history_fixture.h"
#include "tests/support/spool_fixture.h"
#include "tests/support/tool_fixture.h"

static struct tool tool;

static int setup_history(void **state)
{
    if (setup(state) != 0)
        return -1;
    memset(&tool, 0, sizeof(tool));
    make_history(*state);
    return 0;
}

#define FAILURES(f, ...)                                                                       \
    TOOL_RUN(&tool, cli_failures, "failures", "--directory", (f)->directory, __VA_ARGS__)

static void failures_are_listed_oldest_first_and_deliveries_are_not(void **state)
{
    struct fixture *f = *state;
    char time[CLOCK_TEXT_MAX];

    assert_int_equal(TOOL_RUN(&tool, cli_failures, "failures", "--directory", f->directory),
                     EX_OK);
    assert_int_equal(tool_count_lines(tool.out), 4);
    assert_contains(tool.out, "TIME                     OUTCOME                           ID");
    assert_contains(tool.out, "rejected/reason_code 0x87          5          7 0 ms       "
                              "client                  plant/1\n");
    assert_contains(tool.out, "evicted/max_messages               6 ");
    assert_true(strstr(tool.out, "rejected/") < strstr(tool.out, "evicted/"));
    clock_format(f->now.wall_ms, time);
    assert_contains(tool.out, time);
    assert_lacks(tool.out, "delivered");
    assert_string_equal(tool.err, "");
}

static void json_is_the_line_of_the_audit_file(void **state)
{
    struct fixture *f = *state;
    FILE *file;
    char path[256], line[2048], *first_failure;

    (void)snprintf(path, sizeof(path), "%s/audit.jsonl", f->directory);
    export_history(f, path, 7);
    file = fopen(path, "r");
    assert_non_null(file);
    for (int i = 0; i < 5; i++)
        assert_non_null(fgets(line, sizeof(line), file));
    (void)fclose(file);
    assert_int_equal(FAILURES(f, "--json"), EX_OK);
    assert_int_equal(tool_count_lines(tool.out), 3);
    first_failure = strndup(tool.out, (size_t)(strchr(tool.out, '\n') - tool.out) + 1);
    assert_string_equal(first_failure, line);
    free(first_failure);
}

static void a_limit_takes_the_newest(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(FAILURES(f, "--limit", "1", "--json"), EX_OK);
    assert_int_equal(tool_count_lines(tool.out), 1);
    assert_contains(tool.out, "\"id\":7,");
    assert_int_equal(FAILURES(f, "--limit", "100"), EX_OK);
    assert_int_equal(tool_count_lines(tool.out), 4);
    assert_int_equal(FAILURES(f, "--limit", "0"), EX_USAGE);
    assert_contains(tool.err, "--limit is a number from 1 on, not \"0\"");
}

/* The fixture's clock stands at 2023-11-14T22:13:20Z. */
static void since_is_a_time_or_an_age(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(FAILURES(f, "--since", "2023-11-14T22:13:20Z"), EX_OK);
    assert_int_equal(tool_count_lines(tool.out), 4);
    assert_int_equal(FAILURES(f, "--since", "2023-11-14T22:13:20.001Z"), EX_OK);
    assert_string_equal(tool.out, "No failure is recorded since then.\n");
    assert_int_equal(FAILURES(f, "--since", "1h"), EX_OK);
    assert_string_equal(tool.out, "No failure is recorded since then.\n");
    assert_int_equal(FAILURES(f, "--since", "30000d"), EX_OK);
    assert_int_equal(tool_count_lines(tool.out), 4);
    assert_int_equal(FAILURES(f, "--since", "2023-11-14T22:13:20.001Z", "--json"), EX_OK);
    assert_string_equal(tool.out, "");
    assert_int_equal(FAILURES(f, "--since", "yesterday"), EX_USAGE);
    assert_contains(tool.err, "--since is a time (RFC 3339) like 2026-11-01T12:00:00Z");
    assert_contains(tool.err, "not \"yesterday\"");
}

static void since_and_limit_go_together(void **state)
{
    struct fixture *f = *state;

    pass_time(f, 1000);
    append_many(f, 5);
    set_limits(f, (struct spool_limits){.max_messages = 6,
                                        .max_bytes = UINT64_C(1) << 30,
                                        .max_age_ms = HOUR,
                                        .when_full = SPOOL_EVICT_OLDEST});
    unsigned evicted;
    bool more;
    assert_int_equal(spool_retain(f->spool, &f->now, 100, &evicted, &more), 0);
    commit(f);
    assert_int_equal(evicted, 2);
    assert_int_equal(FAILURES(f, "--json"), EX_OK);
    assert_int_equal(tool_count_lines(tool.out), 5);
    assert_int_equal(FAILURES(f, "--json", "--since", "2023-11-14T22:13:21Z"), EX_OK);
    assert_int_equal(tool_count_lines(tool.out), 2);
    assert_int_equal(FAILURES(f, "--json", "--since", "2023-11-14T22:13:21Z", "--limit", "1"),
                     EX_OK);
    assert_int_equal(tool_count_lines(tool.out), 1);
    assert_contains(tool.out, "\"id\":9,");
}

static void without_failures_it_names_where_older_ones_are(void **state)
{
    struct fixture *f = *state;

    tamper(f, "DELETE FROM outcome WHERE seq >= 5");
    assert_int_equal(TOOL_RUN(&tool, cli_failures, "failures", "--directory", f->directory),
                     EX_OK);
    assert_string_equal(tool.out, "No failure is recorded. Those older than audit.keep are in "
                                  "the audit files only.\n");
}

static void texts_of_producers_are_shown_with_escapes(void **state)
{
    struct fixture *f = *state;

    tamper(f, "UPDATE outcome SET client = 'a' || char(27) || 'b'");
    assert_int_equal(TOOL_RUN(&tool, cli_failures, "failures", "--directory", f->directory),
                     EX_OK);
    assert_contains(tool.out, "a\\x1Bb");
}

static void an_output_that_cannot_be_written_ends_the_listing(void **state)
{
    struct fixture *f = *state;

    tool.output = "/dev/full";
    assert_int_equal(FAILURES(f, "--json"), EX_OK);
    assert_true(tool.output_failed); /* main() makes 69 of it */
    assert_string_equal(tool.err, "");
}

static void the_directory_is_that_of_the_configuration(void **state)
{
    struct fixture *f = *state;
    char path[256], text[512];

    (void)snprintf(
        text, sizeof(text),
        "spool: { directory = \"%s\"; };\nuplink: { brokers = ( \"tcp://h:1\" ); };\n",
        f->directory);
    tool.config_path = tool_write(path, f->directory, "x.conf", text);
    assert_int_equal(TOOL_RUN(&tool, cli_failures, "failures"), EX_OK);
    assert_int_equal(tool_count_lines(tool.out), 4);
    tool.config_path = "/nowhere/x.conf";
    assert_int_equal(TOOL_RUN(&tool, cli_failures, "failures"), EX_CONFIG);
    assert_contains(tool.err, "or give --directory DIR");
    assert_int_equal(TOOL_RUN(&tool, cli_failures, "failures", "--directory", "/nowhere/spool"),
                     EX_UNAVAILABLE);
    assert_contains(tool.err, "there is no spool in /nowhere/spool");
}

static void help_and_wrong_arguments(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(FAILURES(f, "--help"), EX_OK);
    assert_contains(tool.out, "Usage: mqtt-spool failures");
    assert_int_equal(FAILURES(f, "--nonsense"), EX_USAGE);
    assert_int_equal(FAILURES(f, "extra"), EX_USAGE);
}

static void a_damaged_table_is_bad_data(void **state)
{
    struct fixture *f = *state;
    char path[256];
    FILE *file;

    assert_int_equal(spool_checkpoint(f->spool), 0);
    close_spool(f);
    (void)snprintf(path, sizeof(path), "%s/spool.db-wal", f->directory);
    (void)unlink(path); /* it has all pages again */
    (void)snprintf(path, sizeof(path), "%s/spool.db", f->directory);
    file = fopen(path, "r+");
    assert_non_null(file);
    assert_int_equal(fseek(file, 4096, SEEK_SET), 0); /* all pages but the first */
    for (int i = 0; i < 64 * 4096; i++)
        assert_int_equal(fputc(0xA5, file), 0xA5);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(TOOL_RUN(&tool, cli_failures, "failures", "--directory", f->directory),
                     EX_DATAERR);
    assert_contains(tool.err, "damaged");
    assert_contains(tool.err, "delete nothing");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup_history, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(failures_are_listed_oldest_first_and_deliveries_are_not),
        CASE(json_is_the_line_of_the_audit_file),
        CASE(a_limit_takes_the_newest),
        CASE(since_is_a_time_or_an_age),
        CASE(since_and_limit_go_together),
        CASE(without_failures_it_names_where_older_ones_are),
        CASE(texts_of_producers_are_shown_with_escapes),
        CASE(an_output_that_cannot_be_written_ends_the_listing),
        CASE(the_directory_is_that_of_the_configuration),
        CASE(help_and_wrong_arguments),
        CASE(a_damaged_table_is_bad_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
