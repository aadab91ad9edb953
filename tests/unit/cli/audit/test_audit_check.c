/* SPDX-License-Identifier: MIT */
/*
 * test_audit_check.c - tests of `mqtt-spool audit` without a database: sound records, of
 * which each case changes one, and what the verification says of it and of which line
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "cli/cli.h"
#include "daemon/record/outcome.h"
#include "tests/support/spool_fixture.h"
#include "tests/support/tool_fixture.h"

static struct tool tool;
static char text[2 * RECORD_LINE_MAX]; /* of the audit file */
static int allocations_left;           /* negative: no limit */
static int read_errno;                 /* of reads of standard input; 0: real ones */

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
ssize_t __real_read(int fd, void *memory, size_t size);
ssize_t __wrap_read(int fd, void *memory, size_t size);

void *__wrap_malloc(size_t size)
{
    if (allocations_left == 0)
        return NULL;
    if (allocations_left > 0)
        allocations_left--;
    return __real_malloc(size);
}

ssize_t __wrap_read(int fd, void *memory, size_t size)
{
    if (read_errno == 0 || fd != STDIN_FILENO)
        return __real_read(fd, memory, size);
    errno = read_errno;
    return -1;
}

static int setup_case(void **state)
{
    memset(&tool, 0, sizeof(tool));
    text[0] = '\0';
    allocations_left = -1;
    read_errno = 0;
    return setup_closed(state);
}

static void add_text(const char *line)
{
    assert_true(strlen(text) + strlen(line) < sizeof(text));
    (void)strcat(text, line);
}

/* One more line: a delivery of message @seq, with @changes to its members and without
 * @dropped. */
static void add_changed(uint64_t seq, const char *changes, const char *dropped)
{
    char line[1024];
    json_error_t error;
    json_t *root, *change;
    char *dumped;

    (void)snprintf(line, sizeof(line),
                   "{\"seq\":%" PRIu64 ",\"time\":\"2026-11-01T12:00:00.000Z\","
                   "\"outcome\":\"delivered\",\"id\":%" PRIu64 ",\"lane\":\"default\","
                   "\"client\":\"c\",\"uid\":1000,\"topic\":\"t\",\"qos\":1,\"bytes\":4,"
                   "\"accepted\":\"2026-11-01T11:59:59.000Z\",\"age_ms\":1000,\"attempts\":1}",
                   seq, seq);
    root = json_loads(line, 0, &error);
    change = json_loads(changes, 0, &error);
    assert_non_null(root);
    assert_non_null(change);
    assert_int_equal(json_object_update(root, change), 0);
    if (dropped)
        assert_int_equal(json_object_del(root, dropped), 0);
    dumped = json_dumps(root, JSON_COMPACT);
    add_text(dumped);
    add_text("\n");
    free(dumped);
    json_decref(change);
    json_decref(root);
}

static void add_line(uint64_t seq)
{
    add_changed(seq, "{}", NULL);
}

static void add_lines(uint64_t from, uint64_t to)
{
    for (; from <= to; from++)
        add_line(from);
}

#define AUDIT(...) (tool.input = text, TOOL_RUN(&tool, cli_audit, "audit", __VA_ARGS__, "-"))

static int audit(void)
{
    tool.input = text;
    return TOOL_RUN(&tool, cli_audit, "audit", "-");
}

static void expect_problem(const char *part)
{
    assert_int_equal(audit(), EX_DATAERR);
    assert_contains(tool.out, part);
    assert_contains(tool.out, "\nverdict   NOT SOUND: ");
    assert_string_equal(tool.err, "");
}

static void sound_lines_are_sound(void **state)
{
    (void)state;
    add_lines(1, 3);
    add_changed(4, "{\"outcome\":\"rejected\",\"reason\":\"reason_code\",\"code\":135}", NULL);
    assert_int_equal(audit(), EX_OK);
    assert_string_equal(
        tool.out, "audit     4 lines in 1 file, seq 1 to 4\n"
                  "          2026-11-01T12:00:00.000Z to 2026-11-01T12:00:00.000Z\n"
                  "outcomes  delivered            3\n"
                  "          evicted              0\n"
                  "          expired              0\n"
                  "          rejected             1\n"
                  "          dropped              0\n"
                  "          damaged              0\n"
                  "seals     none: what was changed later would not show (audit.seal)\n"
                  "database  not compared (--directory or -c says where it is)\n"
                  "verdict   sound: no line is missing and no message has two outcomes\n");
}

static void json_has_the_same(void **state)
{
    (void)state;
    add_lines(1, 2);
    assert_int_equal(AUDIT("--json"), EX_OK);
    assert_string_equal(
        tool.out,
        "{\"verdict\":\"sound\",\"files\":1,\"lines\":2,\"first_seq\":1,\"last_seq\":2,"
        "\"clock_steps\":0,\"torn\":false,\"outcomes\":{\"delivered\":2,\"evicted\":0,"
        "\"expired\":0,\"rejected\":0,\"dropped\":0,\"damaged\":0},\"pruned\":0,"
        "\"admin\":0,\"problems\":0,\"problem_list\":[],\"seals\":{\"count\":0,\"hold\":0,"
        "\"lines_unsealed\":0,\"lines_after_last\":2,\"runs\":[],\"starts\":[]}}\n");
    add_line(9);
    assert_int_equal(AUDIT("--json"), EX_DATAERR);
    assert_contains(tool.out, "\"verdict\":\"wrong\"");
    assert_contains(tool.out,
                    "\"problems\":1,\"problem_list\":[{\"file\":\"standard input\",\"line\":3,"
                    "\"text\":\"seq jumps from 2 to 9: 6 lines are missing\"}],\"seals\":");
}

static void what_operators_changed_is_counted_besides(void **state)
{
    static const char line[] = "{\"admin\":\"hold\",\"time\":\"2026-11-01T12:00:00.000Z\","
                               "\"uid\":0,\"lane\":\"a\"}\n";

    (void)state;
    add_text(line);
    assert_int_equal(audit(), EX_OK);
    assert_contains(tool.out, "no outcome is recorded in 1 file\n          1 change by op");
    add_lines(1, 2);
    add_text(line);
    add_line(3);
    assert_int_equal(audit(), EX_OK);
    assert_contains(tool.out, "audit     3 lines in 1 file, seq 1 to 3\n");
    assert_contains(tool.out, "          2 changes by operators\n");
    assert_int_equal(AUDIT("--json"), EX_OK);
    assert_contains(tool.out, "\"admin\":2,\"problems\":0");
    add_text("{\"admin\":\"requeue\",\"time\":\"2026-11-01T12:00:00.000Z\",\"uid\":0,"
             "\"all\":true,\"matched\":2,\"requeued\":1,\"in_flight\":0,\"error\":\"full\"}\n");
    assert_int_equal(AUDIT("--json"), EX_OK);
    assert_contains(tool.out, "\"admin\":3,\"problems\":0");
    add_text("{\"admin\":\"hold\",\"time\":\"now\",\"uid\":0}\n");
    expect_problem("\"time\" is no time in UTC");
}

static void an_operator_has_no_number(void **state)
{
    (void)state;
    add_text("{\"admin\":7,\"time\":\"2026-11-01T12:00:00.000Z\",\"uid\":null}\n");
    expect_problem("\"admin\" is not a text");
    add_changed(1, "{\"admin\":\"hold\"}", NULL);
    expect_problem("a line with \"admin\" has no \"seq\"");
}

static void no_line_is_sound(void **state)
{
    (void)state;
    assert_int_equal(audit(), EX_OK);
    assert_contains(tool.out, "audit     no outcome is recorded in 1 file\n");
}

static void a_missing_line_is_found(void **state)
{
    (void)state;
    add_line(1);
    add_line(4);
    expect_problem("standard input:2: seq jumps from 1 to 4: 2 lines are missing\n");
    assert_contains(tool.out,
                    "Keep copies of these files and of the spool before anything else");
    assert_lacks(tool.out, "restored from an older copy:");
    assert_lacks(tool.out, " more\n");
}

static void without_deliveries_gaps_are_right(void **state)
{
    (void)state;
    add_line(1);
    add_line(4);
    assert_int_equal(AUDIT("--deliveries-off"), EX_OK);
    add_changed(4, "{\"id\":9}", NULL);
    assert_int_equal(AUDIT("--deliveries-off"), EX_DATAERR);
    assert_contains(tool.out, "standard input:3: seq 4 comes after 4");
    add_line(3);
    assert_int_equal(AUDIT("--deliveries-off"), EX_DATAERR);
}

static void a_line_that_came_twice_is_found(void **state)
{
    (void)state;
    add_lines(1, 2);
    add_line(2);
    expect_problem("standard input:3: seq 2 comes after 2: a line came twice");
    assert_contains(tool.out, "standard input:3: the message 2 already had an outcome\n");
    assert_contains(tool.out, "Where the database was restored from an older copy:\n          "
                              "stop the daemon, move the file away");
}

static void add_each(const uint64_t *seqs, size_t count)
{
    text[0] = '\0';
    for (size_t i = 0; i < count; i++)
        add_line(seqs[i]);
}

#define ADD_EACH(...)                                                                          \
    add_each((const uint64_t[]){__VA_ARGS__},                                                  \
             sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

static void a_line_that_was_moved_is_not_missing(void **state)
{
    (void)state;
    ADD_EACH(1, 2, 4, 5, 3, 6);
    expect_problem("NOT SOUND: 2 problems\n"
                   "          standard input:3: seq jumps from 2 to 4: the number between "
                   "stands elsewhere in the files\n"
                   "          standard input:5: seq 3 comes after 5: a line was moved, or the "
                   "files are not in order (oldest first)\n");
    assert_contains(tool.out, "seq 1 to 6\n");
    assert_lacks(tool.out, "missing");
    assert_lacks(tool.out, "restored");
    /* To an earlier place. */
    ADD_EACH(1, 4, 2, 3, 5);
    expect_problem("NOT SOUND: 2 problems\n"
                   "          standard input:2: seq jumps from 1 to 4: the 2 numbers between "
                   "stand elsewhere in the files\n"
                   "          standard input:3: seq 2 comes after 4: a line was moved");
    assert_lacks(tool.out, "missing");
    /* To the end. */
    ADD_EACH(1, 3, 4, 2);
    expect_problem("NOT SOUND: 2 problems\n");
    assert_contains(tool.out, "seq 1 to 4\n");
}

/* What the page says when @count of the lines are called moved and nothing else is wrong. */
static void expect_moved(int count, const char *range)
{
    char part[64];

    (void)snprintf(part, sizeof(part), "NOT SOUND: %d problem%s\n", count,
                   count == 1 ? "" : "s");
    expect_problem(part);
    assert_contains(tool.out, range);
    assert_contains(tool.out, "a line was moved");
    assert_lacks(tool.out, "came twice");
    assert_lacks(tool.out, "missing");
    assert_lacks(tool.out, "move the file away");
    assert_lacks(tool.out, "starts at seq");
    assert_lacks(tool.out, "clock was set back");
}

static void lines_that_were_moved_to_either_end_did_not_come_twice(void **state)
{
    (void)state;
    ADD_EACH(2, 3, 4, 5, 1);
    expect_moved(1, "seq 1 to 5\n");
    assert_contains(tool.out, "standard input:5: seq 1 comes after 5: a line was moved");
    assert_int_equal(AUDIT("--from", "1"), EX_DATAERR);
    assert_contains(tool.out, "NOT SOUND: 1 problem\n");
    assert_int_equal(AUDIT("--from", "2"), EX_DATAERR);
    assert_contains(tool.out, "standard input:5: the first seq is 1 and should be 2\n");
    ADD_EACH(5, 1, 2, 3, 4);
    expect_moved(1, "seq 1 to 5\n");
    ADD_EACH(5, 1, 2, 3, 4, 6, 7);
    expect_moved(1, "seq 1 to 7\n");
    ADD_EACH(5, 4, 3, 2, 1);
    expect_moved(4, "seq 1 to 5\n");
    /* Files that are given newest first. */
    ADD_EACH(7, 8, 9, 4, 5, 6, 1, 2, 3);
    expect_moved(2, "seq 1 to 9\n");
    /* Each that was moved by itself is named. */
    ADD_EACH(1, 2, 5, 3, 6, 4, 7);
    expect_problem("NOT SOUND: 3 problems\n");
    assert_contains(tool.out, "standard input:4: seq 3 comes after 5: a line was moved");
    assert_contains(tool.out, "standard input:6: seq 4 comes after 6: a line was moved");
}

static void the_times_of_moved_lines_are_not_those_of_the_ends(void **state)
{
    (void)state;
    add_changed(2, "{\"time\":\"2026-11-01T14:00:00.000Z\"}", NULL);
    add_changed(3, "{\"time\":\"2026-11-01T16:00:00.000Z\"}", NULL);
    add_changed(1, "{\"time\":\"2026-11-01T12:00:00.000Z\"}", NULL);
    expect_moved(1, "seq 1 to 3\n"
                    "          2026-11-01T12:00:00.000Z to 2026-11-01T16:00:00.000Z\n");
}

static void without_deliveries_a_line_that_was_moved_did_not_come_twice(void **state)
{
    (void)state;
    ADD_EACH(1, 9, 5, 12);
    assert_int_equal(AUDIT("--deliveries-off"), EX_DATAERR);
    assert_contains(tool.out, "NOT SOUND: 1 problem\n");
    assert_contains(tool.out, "standard input:3: seq 5 comes after 9: a line was moved");
    assert_contains(tool.out, "seq 1 to 12\n");
    assert_lacks(tool.out, "came twice");
    assert_lacks(tool.out, "move the file away");
    ADD_EACH(20, 23, 9, 15, 17, 2);
    assert_int_equal(AUDIT("--deliveries-off"), EX_DATAERR);
    assert_contains(tool.out, "NOT SOUND: 2 problems\n");
    assert_contains(tool.out, "seq 2 to 23\n");
    ADD_EACH(1, 9, 5, 12, 9);
    assert_int_equal(AUDIT("--deliveries-off"), EX_DATAERR);
    assert_contains(tool.out, "standard input:5: seq 9 comes after 12: a line came twice");
    assert_contains(tool.out, "move the file away");
    assert_contains(tool.out, "seq 1 to 12\n");
}

static void lines_that_are_missing_beside_moved_ones_are_counted(void **state)
{
    (void)state;
    ADD_EACH(1, 2, 8, 9, 4, 6, 10);
    expect_problem("standard input:3: seq jumps from 2 to 8: 3 lines are missing, and 2 other "
                   "numbers between stand elsewhere in the files\n");
    assert_contains(tool.out, "standard input:5: seq 4 comes after 9: a line was moved");
    assert_contains(tool.out, "standard input:6: seq 6 comes after 9: a line was moved");
    /* One that was moved and came twice is in the files once. */
    ADD_EACH(1, 5, 3, 3, 6);
    expect_problem("standard input:2: seq jumps from 1 to 5: 2 lines are missing, and 1 other "
                   "number between stands elsewhere in the files\n");
    assert_contains(tool.out, "standard input:4: seq 3 comes after 5: a line came twice");
}

static void numbers_before_the_first_line_are_missed_too(void **state)
{
    (void)state;
    ADD_EACH(6, 7, 1, 2, 3, 4);
    expect_problem("NOT SOUND: 2 problems\n"
                   "          standard input:3: seq 1 comes after 7: a line was moved, the "
                   "files are not in order (oldest first), or the database was restored from "
                   "an older copy\n"
                   "          1 line is missing between the seq 4 and 6\n");
    ADD_EACH(7, 8, 2, 5);
    expect_problem("NOT SOUND: 3 problems\n");
    assert_contains(tool.out, "          2 lines are missing between the seq 2 and 5\n");
    assert_contains(tool.out, "          1 line is missing between the seq 5 and 7\n");
    /* A gap behind the first line is reported once, where it is. */
    ADD_EACH(2, 5, 1);
    expect_problem("NOT SOUND: 2 problems\n");
    assert_contains(tool.out, "standard input:2: seq jumps from 2 to 5: 2 lines are missing\n");
}

static void after_a_doubled_line_no_other_is_missed_again(void **state)
{
    (void)state;
    ADD_EACH(1, 2, 3, 2, 4);
    expect_problem("NOT SOUND: 2 problems\n");
    assert_contains(tool.out, "standard input:4: seq 2 comes after 3: a line came twice");
    assert_contains(tool.out, "standard input:4: the message 2 already had an outcome\n");
    assert_contains(tool.out, "seq 1 to 4\n");
    ADD_EACH(5, 6, 7, 8, 9, 10, 12, 13, 14, 16, 11, 17, 11, 18);
    expect_problem("NOT SOUND: 5 problems\n");
    assert_contains(tool.out, "seq jumps from 10 to 12: the number between stands elsewhere");
    assert_contains(tool.out, "seq jumps from 14 to 16: 1 line is missing\n");
    assert_contains(tool.out, ":11: seq 11 comes after 16: a line was moved");
    assert_contains(tool.out, ":13: seq 11 comes after 17: a line came twice");
    ADD_EACH(1, 2, 3, 2, 6);
    expect_problem("standard input:5: seq jumps from 3 to 6: 2 lines are missing\n");
}

/* The database continues from an older copy of it. */
static void numbers_that_begin_again_are_one_problem(void **state)
{
    (void)state;
    add_lines(1, 7);
    for (uint64_t seq = 5; seq <= 9; seq++) {
        char id[32];

        (void)snprintf(id, sizeof(id), "{\"id\":%" PRIu64 "}", seq + 100);
        add_changed(seq, id, NULL);
    }
    expect_problem("NOT SOUND: 1 problem\n"
                   "          standard input:8: seq 5 comes after 7: a line came twice, the "
                   "files are not in order (oldest first), or the database was restored from "
                   "an older copy\n");
    assert_contains(tool.out, "move the file away");
    assert_int_equal(AUDIT("--deliveries-off"), EX_DATAERR);
    assert_contains(tool.out, "NOT SOUND: 1 problem\n");
}

static void a_moved_line_for_pruned_deliveries_is_one_line(void **state)
{
    (void)state;
    add_line(1);
    add_lines(6, 7);
    add_text("{\"seq\":5,\"from\":2,\"time\":\"2026-11-01T12:00:00.000Z\",\"pruned\":4}\n");
    add_line(8);
    expect_problem("NOT SOUND: 2 problems\n"
                   "          standard input:2: seq jumps from 1 to 6: the 4 numbers between "
                   "stand elsewhere in the files\n"
                   "          standard input:4: seq 2 comes after 7: a line was moved");
}

static void a_seq_that_is_none_begins_nothing(void **state)
{
    static const char *const seqs[] = {"{\"seq\":0}", "{\"seq\":-1}", "{\"seq\":\"1\"}"};

    (void)state;
    for (size_t i = 0; i < sizeof(seqs) / sizeof(seqs[0]); i++) {
        text[0] = '\0';
        add_changed(1, seqs[i], NULL);
        expect_problem("NOT SOUND: 1 problem\n");
        assert_contains(tool.out, "audit     1 line in 1 file, none with a seq\n");
        assert_lacks(tool.out, "seq 0");
        add_lines(2, 3);
        expect_problem("NOT SOUND: 1 problem\n");
        assert_contains(tool.out, "audit     3 lines in 1 file, seq 2 to 3\n");
    }
}

/* Of a file in disorder some parts only are known. */
static void of_very_many_moved_lines_the_first_problems_are_told(void **state)
{
    (void)state;
    text[0] = '\0';
    for (uint64_t seq = 1; seq <= 900; seq += 3)
        add_line(seq);
    expect_problem("and 279 more\n");
    assert_contains(tool.out, "standard input:2: seq jumps from 1 to 4: 2 lines are missing or "
                              "stand elsewhere in the files\n");
    text[0] = '\0';
    for (uint64_t seq = 1; seq <= 600; seq += 3)
        add_line(seq);
    add_line(2);
    expect_problem("and 180 more\n");
    assert_contains(tool.out, "standard input:2: seq jumps from 1 to 4: 1 line is missing, and "
                              "1 other number between stands elsewhere in the files\n");
    assert_contains(tool.out, "standard input:3: seq jumps from 4 to 7: 2 lines are missing\n");
}

static void two_outcomes_of_a_message_are_found(void **state)
{
    (void)state;
    add_lines(1, 2);
    add_changed(3, "{\"id\":1}", NULL);
    expect_problem("standard input:3: the message 1 already had an outcome\n");
}

static void the_first_seq_can_be_required(void **state)
{
    (void)state;
    add_lines(5, 6);
    assert_int_equal(audit(), EX_OK);
    assert_contains(tool.out, "starts at seq 5: to check all, give the files");
    assert_contains(tool.out,
                    "verdict   sound from seq 5 on; 1 to 4 are not in the files given "
                    "(rotated, deleted or cut)\n");
    assert_int_equal(AUDIT("--deliveries-off"), EX_OK);
    assert_contains(tool.out, "(left out, rotated, deleted or cut)");
    assert_int_equal(AUDIT("--from", "5"), EX_OK);
    assert_int_equal(AUDIT("--from", "4"), EX_DATAERR);
    assert_contains(tool.out, "standard input:1: the first seq is 5 and should be 4\n");
}

static void each_member_is_looked_for(void **state)
{
    static const char *const members[] = {"seq",  "id",     "time",   "outcome",
                                          "lane", "client", "topic",  "accepted",
                                          "qos",  "bytes",  "age_ms", "attempts"};

    (void)state;
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        char part[64];

        text[0] = '\0';
        add_changed(1, "{}", members[i]);
        (void)snprintf(part, sizeof(part), "standard input:1: the field \"%s\" is missing\n",
                       members[i]);
        expect_problem(part);
        assert_contains(tool.out, "NOT SOUND: 1 problem\n");
    }
}

static void each_member_has_its_type_and_range(void **state)
{
    static const struct {
        const char *changes;
        const char *problem;
    } rows[] = {
        {"{\"seq\":0}", "\"seq\" is not a whole number from 1 to 9223372036854775807"},
        {"{\"seq\":\"1\"}", "\"seq\" is not a whole number"},
        {"{\"id\":0}", "\"id\" is not a whole number from 1"},
        {"{\"id\":1.5}", "\"id\" is not a whole number from 1"},
        {"{\"qos\":3}", "\"qos\" is not a whole number from 0 to 2"},
        {"{\"bytes\":-1}", "\"bytes\" is not a whole number from 0"},
        {"{\"age_ms\":-1}", "\"age_ms\" is not a whole number from 0"},
        {"{\"attempts\":4294967296}",
         "\"attempts\" is not a whole number from 0 to 4294967295"},
        {"{\"uid\":-1}", "\"uid\" is not a whole number from 0 to 4294967295"},
        {"{\"code\":256}", "\"code\" is not a whole number from 0 to 255"},
        {"{\"ref\":1}", "\"ref\" is not a text"},
        {"{\"lane\":1}", "\"lane\" is not a text"},
        {"{\"client\":null}", "\"client\" is not a text"},
        {"{\"topic\":[]}", "\"topic\" is not a text"},
        {"{\"outcome\":1}", "\"outcome\" is not a text"},
        {"{\"outcome\":\"lost\"}", "there is no outcome \"lost\""},
        {"{\"reason\":\"because\"}", "\"reason\" is none that there is"},
        {"{\"reason\":1}", "\"reason\" is none that there is"},
        {"{\"reason\":\"max_age\"}",
         "the reason \"max_age\" does not go with the outcome \"delivered\""},
        {"{\"outcome\":\"evicted\"}", "does not go with the outcome \"evicted\""},
        {"{\"time\":\"2026-11-01T12:00:00+01:00\"}", "\"time\" is no time in UTC like"},
        {"{\"accepted\":\"now\"}", "\"accepted\" is no time in UTC like"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        text[0] = '\0';
        add_changed(1, rows[i].changes, NULL);
        expect_problem(rows[i].problem);
        assert_contains(tool.out, "NOT SOUND: 1 problem\n");
    }
}

static void members_of_a_later_version_and_an_unknown_uid_are_right(void **state)
{
    (void)state;
    add_changed(1, "{\"later\":{\"a\":1},\"uid\":null,\"ref\":\"o\",\"code\":0}", NULL);
    assert_int_equal(audit(), EX_OK);
}

static void what_is_no_record_is_named_with_its_line(void **state)
{
    (void)state;
    add_line(1);
    add_text("[]\n");
    add_text("half a li\n");
    add_text("\n");
    add_text("{\"seq\":2,\"seq\":3}\n");
    add_line(2);
    expect_problem("standard input:2: this is JSON, but no outcome record\n");
    assert_contains(tool.out, "standard input:3: this is no JSON: ");
    assert_contains(tool.out, "standard input:4: this is no JSON: ");
    assert_contains(tool.out, "standard input:5: this is no JSON: duplicate object key");
    assert_contains(tool.out, "NOT SOUND: 4 problems");
}

static void more_problems_than_are_shown_are_counted(void **state)
{
    (void)state;
    for (int i = 0; i < 25; i++)
        add_text("x\n");
    expect_problem("          and 5 more\n");
    assert_contains(tool.out, "NOT SOUND: 25 problems");
}

static void a_half_line_at_the_end_is_the_daemon_s_to_mend(void **state)
{
    (void)state;
    add_line(1);
    add_text("{\"seq\":2,");
    assert_int_equal(audit(), EX_OK);
    assert_contains(tool.out,
                    "the last line is half written; the daemon repairs it when it starts\n");
    assert_int_equal(AUDIT("--json"), EX_OK);
    assert_contains(tool.out, "\"torn\":true");
}

static void append_to(const char *path, const char *lines)
{
    FILE *file = fopen(path, "ae");

    assert_non_null(file);
    assert_true(fputs(lines, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* The lines so far, then zeros, in a file. */
static void write_with_zeros(const struct fixture *f, char path[static 256], off_t zeros)
{
    (void)tool_write(path, f->directory, "audit.jsonl", text);
    assert_int_equal(truncate(path, (off_t)strlen(text) + zeros), 0);
}

static void zeros_at_the_end_are_the_daemon_s_to_cut_however_many(void **state)
{
    static const off_t counts[] = {100, 20 * 1024 * 1024};
    struct fixture *f = *state;
    char path[256], expected[512];

    for (unsigned i = 0; i < 4; i++) {
        text[0] = '\0';
        add_line(1);
        if (i >= 2)
            add_text("{\"seq\":2,");
        write_with_zeros(f, path, counts[i % 2]);
        assert_int_equal(TOOL_RUN(&tool, cli_audit, "audit", path), EX_OK);
        (void)snprintf(expected, sizeof(expected),
                       "          %s ends with %jd zero bytes from byte %zu on, as a power cut "
                       "leaves them; start the daemon: it cuts them and writes again what it "
                       "had not synced\n",
                       path, (intmax_t)counts[i % 2], strlen(text));
        assert_contains(tool.out, expected);
        assert_int_equal(TOOL_RUN(&tool, cli_audit, "audit", "--json", path), EX_OK);
        (void)snprintf(expected, sizeof(expected),
                       "\"torn\":true,\"zeros\":%jd,\"zeros_at\":%zu,", (intmax_t)counts[i % 2],
                       strlen(text));
        assert_contains(tool.out, expected);
    }
}

static void expect_zeros_before_lines(const struct fixture *f, int zeros)
{
    char path[256], expected[512];
    size_t end;

    text[0] = '\0';
    add_line(1);
    end = strlen(text);
    write_with_zeros(f, path, zeros);
    text[0] = '\0';
    add_lines(2, 4);
    tool.input = text;
    assert_int_equal(TOOL_RUN(&tool, cli_audit, "audit", path, "-"), EX_DATAERR);
    (void)snprintf(
        expected, sizeof(expected),
        "          %s:2: %d zero bytes from byte %zu on in place of lines, as a power "
        "cut or a bad disk leaves them\n",
        path, zeros, end);
    assert_contains(tool.out, expected);
    assert_contains(tool.out, "NOT SOUND: 1 problem\n");
    append_to(path, text);
    assert_int_equal(TOOL_RUN(&tool, cli_audit, "audit", path), EX_DATAERR);
    assert_contains(tool.out, expected);
    assert_contains(tool.out, "audit     4 lines in 1 file, seq 1 to 4\n");
    assert_contains(tool.out, "NOT SOUND: 1 problem\n");
}

static void zeros_before_other_lines_are_a_problem_and_these_are_read(void **state)
{
    expect_zeros_before_lines(*state, RECORD_LINE_MAX + 5000);
    expect_zeros_before_lines(*state, 3000);
}

static void a_half_line_before_another_file_is_a_problem(void **state)
{
    struct fixture *f = *state;
    char path[256];

    (void)tool_write(path, f->directory, "audit.jsonl.1", "{\"seq\":1,");
    add_line(1);
    tool.input = text;
    assert_int_equal(TOOL_RUN(&tool, cli_audit, "audit", path, "-"), EX_DATAERR);
    assert_contains(tool.out, "audit.jsonl.1:1: this is no JSON");
}

static void files_are_read_in_the_order_given(void **state)
{
    struct fixture *f = *state;
    char path[256];

    add_lines(1, 2);
    (void)tool_write(path, f->directory, "audit.jsonl.1", text);
    text[0] = '\0';
    add_lines(3, 4);
    tool.input = text;
    assert_int_equal(TOOL_RUN(&tool, cli_audit, "audit", path, "-"), EX_OK);
    assert_contains(tool.out, "4 lines in 2 files, seq 1 to 4");
    assert_int_equal(TOOL_RUN(&tool, cli_audit, "audit", "-", path), EX_DATAERR);
    assert_contains(tool.out, "audit.jsonl.1:1: seq 1 comes after 4");
    assert_contains(tool.out, "the files are not in order (oldest first)");
}

static void a_clock_that_was_set_back_is_no_problem(void **state)
{
    (void)state;
    add_line(1);
    add_changed(2, "{\"time\":\"2026-11-01T11:00:00.000Z\"}", NULL);
    add_line(3);
    assert_int_equal(audit(), EX_OK);
    assert_contains(tool.out, "the clock was set back 1 time; seq decides the order\n");
}

/* The order is that of commits, the time that of each message's end. */
static void a_record_that_ended_a_little_earlier_is_no_clock_that_was_set(void **state)
{
    (void)state;
    add_changed(1, "{\"time\":\"2026-11-01T12:00:10.000Z\"}", NULL);
    add_changed(2, "{\"time\":\"2026-11-01T12:00:00.001Z\"}", NULL);
    assert_int_equal(audit(), EX_OK);
    assert_null(strstr(tool.out, "was set back"));
    add_changed(3, "{\"time\":\"2026-11-01T12:00:20.000Z\"}", NULL);
    add_changed(4, "{\"time\":\"2026-11-01T12:00:10.000Z\"}", NULL);
    assert_int_equal(audit(), EX_OK);
    assert_contains(tool.out, "the clock was set back 1 time; seq decides the order\n");
}

static void a_line_for_pruned_deliveries_stands_for_its_range(void **state)
{
    (void)state;
    add_line(1);
    add_text("{\"seq\":5,\"time\":\"2026-11-01T12:00:00.000Z\",\"from\":2,\"pruned\":4}\n");
    add_line(6);
    add_text("{\"seq\":8,\"time\":\"2026-11-01T12:00:00.000Z\",\"from\":7,\"pruned\":2}\n");
    assert_int_equal(audit(), EX_OK);
    assert_contains(tool.out, "4 lines in 1 file, seq 1 to 8");
    assert_contains(tool.out, "pruned               6 delivered");
}

static void a_wrong_line_for_pruned_deliveries_is_found(void **state)
{
    (void)state;
    add_line(1);
    add_text("{\"seq\":5,\"time\":\"2026-11-01T12:00:00.000Z\",\"from\":2,\"pruned\":3}\n");
    expect_problem("standard input:2: \"pruned\" is 3, but from 2 to 5 there are 4 numbers\n");
    text[0] = '\0';
    add_text("{\"seq\":5,\"time\":\"2026-11-01T12:00:00.000Z\",\"from\":6,\"pruned\":1}\n");
    expect_problem("\"from\" is not a whole number from 1 to 5");
    text[0] = '\0';
    add_text("{\"seq\":1,\"from\":1,\"pruned\":1}\n");
    expect_problem("the field \"time\" is missing");
}

static void a_line_longer_than_any_record_ends_the_reading(void **state)
{
    (void)state;
    add_line(1);
    memset(text + strlen(text), 'x', RECORD_LINE_MAX + 100);
    expect_problem("standard input:2: this line is longer than any record; what follows was "
                   "not read\n");
    memset(text, 0, sizeof(text));
}

static void a_compressed_file_is_refused_with_the_command_to_use(void **state)
{
    (void)state;
    add_text("\x1f\x8b\x08 and so on\n");
    assert_int_equal(audit(), EX_DATAERR);
    assert_contains(tool.err, "zcat standard input | mqtt-spool audit - ...");
    assert_string_equal(tool.out, "");
}

static void a_far_id_is_followed_as_well_as_the_others(void **state)
{
    (void)state;
    add_changed(1, "{\"id\":9223372036854775807}", NULL);
    add_changed(2, "{\"id\":9223372036854775807}", NULL);
    expect_problem("the message 9223372036854775807 already had an outcome");
}

static void a_file_that_is_not_there_is_unavailable(void **state)
{
    (void)state;
    assert_int_equal(TOOL_RUN(&tool, cli_audit, "audit", "/nowhere/audit.jsonl"),
                     EX_UNAVAILABLE);
    assert_contains(tool.err,
                    "cannot open the audit file /nowhere/audit.jsonl: No such file or "
                    "directory; is audit.file, or the name given, right?");
    assert_int_equal(TOOL_RUN(&tool, cli_audit, "audit", "/"), EX_UNAVAILABLE);
    assert_contains(tool.err, "cannot read /: Is a directory");
}

static void a_disk_that_does_not_give_a_line_is_a_problem(void **state)
{
    (void)state;
    read_errno = EIO;
    expect_problem("standard input:1: the disk does not give this line (journalctl -k");
    read_errno = EBADF;
    assert_int_equal(audit(), EX_UNAVAILABLE);
    assert_contains(tool.err, "cannot read standard input: Bad file descriptor");
}

/* The library reports it as a line that is no JSON. */
static void short_memory_is_no_problem_of_the_file(void **state)
{
    static const struct cli cli;
    char verb[] = "audit", file[] = "-";
    char *argv[] = {verb, file, NULL};
    struct tool_streams streams;

    (void)state;
    add_line(1);
    tool.input = text;
    tool_redirect(&tool, &streams);
    optind = 0;
    allocations_left = 1; /* for the line, and none for its JSON */
    tool.code = cli_audit(&cli, 2, argv);
    allocations_left = -1;
    tool_restore(&tool, &streams);
    assert_int_equal(tool.code, EX_UNAVAILABLE);
    assert_contains(tool.err, "out of memory while reading standard input");
    assert_string_equal(tool.out, "");
    assert_int_equal(audit(), EX_OK);
}

static void the_configured_file_is_the_default(void **state)
{
    struct fixture *f = *state;
    char config[512], path[256], audit_path[256];
    static const char form[] = "spool: { directory = \"%s\"; };\naudit: { file = \"%s\"; };\n"
                               "uplink: { brokers = ( \"tcp://h:1\" ); };\n";

    open_spool(f);
    (void)tool_write(audit_path, f->directory, "a.jsonl", "");
    (void)snprintf(config, sizeof(config), form, f->directory, audit_path);
    tool.config_path = tool_write(path, f->directory, "x.conf", config);
    assert_int_equal(TOOL_RUN(&tool, cli_audit, "audit"), EX_OK);
    assert_contains(tool.out, "database  0 accepted, 0 ended, 0 spooled; the daemon runs");
    assert_int_equal(unlink(audit_path), 0);
    assert_int_equal(mkfifo(audit_path, 0600), 0);
    assert_int_equal(TOOL_RUN(&tool, cli_audit, "audit"), EX_UNAVAILABLE);
    assert_contains(tool.err, "is no regular file; move it away");
    (void)snprintf(config, sizeof(config), form, f->directory, "");
    (void)tool_write(path, f->directory, "x.conf", config);
    assert_int_equal(TOOL_RUN(&tool, cli_audit, "audit"), EX_UNAVAILABLE);
    assert_contains(tool.err, "no audit file is written (audit.file = \"\"); name a file");
    tool.config_path = "/nowhere/x.conf";
    assert_int_equal(TOOL_RUN(&tool, cli_audit, "audit"), EX_CONFIG);
    assert_contains(tool.err, "or give the audit FILE");
}

static void a_configuration_without_deliveries_is_obeyed(void **state)
{
    struct fixture *f = *state;
    char config[512], path[256];

    open_spool(f);
    close_spool(f);
    (void)snprintf(config, sizeof(config),
                   "spool: { directory = \"%s\"; };\naudit: { deliveries = false; };\n"
                   "uplink: { brokers = ( \"tcp://h:1\" ); };\n",
                   f->directory);
    tool.config_path = tool_write(path, f->directory, "x.conf", config);
    add_line(1);
    add_line(4);
    (void)audit();
    assert_lacks(tool.out, "lines are missing");
}

static void help_and_wrong_arguments(void **state)
{
    (void)state;
    assert_int_equal(AUDIT("--help"), EX_OK);
    assert_contains(tool.out, "Usage: mqtt-spool audit");
    assert_int_equal(AUDIT("--from", "0"), EX_USAGE);
    assert_contains(tool.err, "--from is a number from 1 on");
    assert_int_equal(AUDIT("--nonsense"), EX_USAGE);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup_case, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(sound_lines_are_sound),
        CASE(json_has_the_same),
        CASE(what_operators_changed_is_counted_besides),
        CASE(an_operator_has_no_number),
        CASE(no_line_is_sound),
        CASE(a_missing_line_is_found),
        CASE(without_deliveries_gaps_are_right),
        CASE(a_line_that_came_twice_is_found),
        CASE(a_line_that_was_moved_is_not_missing),
        CASE(lines_that_were_moved_to_either_end_did_not_come_twice),
        CASE(the_times_of_moved_lines_are_not_those_of_the_ends),
        CASE(without_deliveries_a_line_that_was_moved_did_not_come_twice),
        CASE(lines_that_are_missing_beside_moved_ones_are_counted),
        CASE(numbers_before_the_first_line_are_missed_too),
        CASE(after_a_doubled_line_no_other_is_missed_again),
        CASE(numbers_that_begin_again_are_one_problem),
        CASE(a_moved_line_for_pruned_deliveries_is_one_line),
        CASE(a_seq_that_is_none_begins_nothing),
        CASE(of_very_many_moved_lines_the_first_problems_are_told),
        CASE(two_outcomes_of_a_message_are_found),
        CASE(the_first_seq_can_be_required),
        CASE(each_member_is_looked_for),
        CASE(each_member_has_its_type_and_range),
        CASE(members_of_a_later_version_and_an_unknown_uid_are_right),
        CASE(what_is_no_record_is_named_with_its_line),
        CASE(more_problems_than_are_shown_are_counted),
        CASE(a_half_line_at_the_end_is_the_daemon_s_to_mend),
        CASE(zeros_at_the_end_are_the_daemon_s_to_cut_however_many),
        CASE(zeros_before_other_lines_are_a_problem_and_these_are_read),
        CASE(a_half_line_before_another_file_is_a_problem),
        CASE(files_are_read_in_the_order_given),
        CASE(a_clock_that_was_set_back_is_no_problem),
        CASE(a_record_that_ended_a_little_earlier_is_no_clock_that_was_set),
        CASE(a_line_for_pruned_deliveries_stands_for_its_range),
        CASE(a_wrong_line_for_pruned_deliveries_is_found),
        CASE(a_line_longer_than_any_record_ends_the_reading),
        CASE(a_compressed_file_is_refused_with_the_command_to_use),
        CASE(a_far_id_is_followed_as_well_as_the_others),
        CASE(a_file_that_is_not_there_is_unavailable),
        CASE(a_disk_that_does_not_give_a_line_is_a_problem),
        CASE(short_memory_is_no_problem_of_the_file),
        CASE(the_configured_file_is_the_default),
        CASE(a_configuration_without_deliveries_is_obeyed),
        CASE(help_and_wrong_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
