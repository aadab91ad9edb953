/* SPDX-License-Identifier: MIT */
/*
 * test_audit_seals.c - tests of the seals in `mqtt-spool audit`: lines and seals, of which
 * each case changes some, and what the verification names
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "base/clock.h"
#include "base/view.h"
#include "cli/cli.h"
#include "daemon/seal/seal.h"
#include "tests/support/spool_fixture.h"
#include "tests/support/tool_fixture.h"

#define LINES_MAX 64
#define LINE_SIZE 1024

static struct tool tool;
static struct seal_chain chain;
static char lines[LINES_MAX][LINE_SIZE];
static unsigned line_count;
static uint64_t last_seq;
static char record_time[CLOCK_TEXT_MAX];

static int setup_case(void **state)
{
    memset(&tool, 0, sizeof(tool));
    line_count = 0;
    last_seq = 0;
    (void)strcpy(record_time, "2026-11-01T12:00:00.000Z");
    seal_begin(&chain);
    return setup_closed(state);
}

static void add_seal(const char *why, bool has_prev)
{
    struct seal_text text;

    seal_write(&chain,
               &(struct seal_facts){.time_ms = INT64_C(1793536500004),
                                    .seq = last_seq,
                                    .why = why,
                                    .has_prev = has_prev},
               &text);
    assert_true(text.size < LINE_SIZE);
    memcpy(lines[line_count], text.line, text.size);
    lines[line_count++][text.size] = '\0';
    seal_note(&chain, &text);
}

static void add_records(unsigned count)
{
    while (count-- > 0) {
        char *line = lines[line_count++];

        last_seq++;
        (void)snprintf(line, LINE_SIZE,
                       "{\"seq\":%" PRIu64 ",\"time\":\"%s\","
                       "\"outcome\":\"delivered\",\"id\":%" PRIu64 ",\"lane\":\"default\","
                       "\"client\":\"c\",\"uid\":1000,\"topic\":\"t\",\"qos\":1,\"bytes\":4,"
                       "\"accepted\":\"2026-11-01T11:59:59.000Z\",\"age_ms\":1000,"
                       "\"attempts\":1}\n",
                       last_seq, record_time, last_seq);
        seal_add(&chain, view_of_text(line));
    }
}

/* Line 1: a start; 2 to 4, sealed by 5; 6 to 8, sealed by 9; 10. */
static void add_usual(void)
{
    add_seal("new_file", false);
    add_records(3);
    add_seal(NULL, false);
    add_records(3);
    add_seal(NULL, false);
    add_records(1);
}

static int audit_with(const char *option, const char *value)
{
    static char text[LINES_MAX * LINE_SIZE];

    text[0] = '\0';
    for (unsigned i = 0; i < line_count; i++)
        (void)strcat(text, lines[i]);
    tool.input = text;
    return option ? TOOL_RUN(&tool, cli_audit, "audit", option, value, "-")
                  : TOOL_RUN(&tool, cli_audit, "audit", "-");
}

static int audit(void)
{
    return audit_with(NULL, NULL);
}

static void remove_line(unsigned line)
{
    memmove(lines[line - 1], lines[line], (line_count - line) * LINE_SIZE);
    line_count--;
}

/* The first @from of the line becomes @to, which is as long. */
static void change(unsigned line, const char *from, const char *to)
{
    char *at = strstr(lines[line - 1], from);

    assert_non_null(at);
    memcpy(at, to, strlen(to));
}

static void expect_problem(const char *part)
{
    assert_int_equal(audit(), EX_DATAERR);
    assert_contains(tool.out, part);
    assert_string_equal(tool.err, "");
}

static void seals_that_hold_are_described(void **state)
{
    (void)state;
    add_usual();
    assert_int_equal(audit(), EX_OK);
    assert_contains(
        tool.out,
        "seals     3, of which 3 hold\n"
        "          6 lines from seal 1 (standard input:1, 2026-11-01T12:35:00.004Z) to seal 3 "
        "(standard input:9, 2026-11-01T12:35:00.004Z)\n"
        "          a chain starts at seal 1 (standard input:1, 2026-11-01T12:35:00.004Z): "
        "new_file\n"
        "          1 line after the last one: no seal proves it until the next one comes\n");
    assert_int_equal(TOOL_RUN(&tool, cli_audit, "audit", "--json", "-"), EX_OK);
    assert_contains(
        tool.out, "\"seals\":{\"count\":3,\"hold\":3,\"lines_unsealed\":0,"
                  "\"lines_after_last\":1,\"runs\":[{\"from\":{\"seal\":1,\"file\":\"standard "
                  "input\",\"line\":1,");
    assert_contains(tool.out, "\"why\":\"new_file\"}]}");
}

static void lines_before_the_chain_are_no_problem(void **state)
{
    (void)state;
    add_records(2);
    add_seal("no_seal", false);
    add_records(2);
    add_seal(NULL, false);
    assert_int_equal(audit(), EX_OK);
    assert_contains(tool.out, "          2 lines before or between them without a seal\n");
}

static void a_line_that_was_changed_is_named(void **state)
{
    (void)state;
    add_usual();
    change(7, "\"bytes\":4", "\"bytes\":5");
    expect_problem("standard input:7: this is the first line that was changed, between the "
                   "seals 2 (standard input:5) and 3 (standard input:9)");
    assert_contains(tool.out, "seals     3, of which 2 hold\n");
}

static void a_line_that_was_removed_is_named(void **state)
{
    (void)state;
    add_usual();
    remove_line(7);
    expect_problem("standard input:7: 1 line was removed; this is the first line that is not "
                   "what was sealed");
}

static void a_last_line_that_was_removed_is_named_at_its_seal(void **state)
{
    (void)state;
    add_usual();
    remove_line(8);
    expect_problem(
        "standard input:8: 1 line was removed before this seal, between the seals 2");
}

static void a_line_that_was_added_is_named(void **state)
{
    static const char admin[] =
        "{\"admin\":\"hold\",\"time\":\"2026-11-01T12:34:58.120Z\",\"uid\":0}\n";

    (void)state;
    add_usual();
    memmove(lines[8], lines[7], 3 * LINE_SIZE);
    memcpy(lines[7], admin, sizeof(admin));
    line_count++;
    expect_problem("standard input:8: 1 line was added; this is the first line that is not "
                   "what was sealed");
    remove_line(8);
    memmove(lines[9], lines[8], 2 * LINE_SIZE);
    memcpy(lines[8], admin, sizeof(admin)); /* before the seal */
    line_count++;
    expect_problem("standard input:9: 1 line was added");
}

static void a_seal_that_was_changed_is_named(void **state)
{
    (void)state;
    add_usual();
    change(5, "2026", "2025");
    expect_problem("standard input:5: this seal was changed");
    change(5, "2025", "2026");
    change(5, "\"sha256\":\"", "\"sha256\":\"x");
    expect_problem("standard input:5: this seal is unreadable");
    change(1, "new_file", "old_file");
    expect_problem("standard input:1: this seal, with which a chain starts, was changed");
}

static void a_digest_that_was_changed_is_named_once(void **state)
{
    char *digest;

    (void)state;
    add_usual();
    digest = strstr(lines[4], "\"sha256\":\"") + 10;
    *digest = *digest == '0' ? '1' : '0';
    expect_problem("NOT SOUND: 1 problem\n");
    assert_contains(tool.out, "standard input:5: this seal was changed");
}

static void a_seal_that_was_removed_is_named(void **state)
{
    (void)state;
    add_usual();
    remove_line(5);
    expect_problem("standard input:8: 1 seal is missing between the seals 1 (standard input:1) "
                   "and 3 (standard input:8): removed from the file");
}

/* ---- several files ---- */

#define FILES 4
static unsigned file_begins[FILES + 1];

/* The files a to d: seals 1 to 3, 4 and 5, 6 and 7, 8 and 9, each of 3 lines but the first. */
static void add_files(void)
{
    add_seal("new_file", false);
    for (unsigned file = 0; file < FILES; file++) {
        file_begins[file] = file == 0 ? 0 : line_count;
        add_records(3);
        add_seal(NULL, file > 0);
        add_records(3);
        add_seal(NULL, false);
    }
    file_begins[FILES] = line_count;
}

static void write_one(const struct fixture *f, char letter, char path[static 256])
{
    static char text[LINES_MAX * LINE_SIZE];
    bool is_stripped = letter < 'a';
    unsigned file = (unsigned)(letter - (is_stripped ? 'A' : 'a'));
    char name[2] = {letter, '\0'};

    text[0] = '\0';
    for (unsigned i = file_begins[file]; i < file_begins[file + 1]; i++) {
        if (!is_stripped || strncmp(lines[i], "{\"seal\"", 7) != 0)
            (void)strcat(text, lines[i]);
    }
    (void)tool_write(path, f->directory, name, text);
}

/* @names: of files in their order; of one in upper case all seals were removed. */
static int audit_files(const struct fixture *f, const char *names)
{
    char paths[FILES][256];
    size_t count = strlen(names);

    for (size_t i = 0; i < FILES; i++) { /* empty ones before them */
        if (i < FILES - count)
            (void)tool_write(paths[i], f->directory, "empty", "");
        else
            write_one(f, names[i - (FILES - count)], paths[i]);
    }
    return TOOL_RUN(&tool, cli_audit, "audit", paths[0], paths[1], paths[2], paths[3]);
}

static void files_in_a_row_hold_and_the_oldest_may_be_gone(void **state)
{
    static const char *const names[] = {"abcd", "bcd", "cd", "d", "abc", "a"};
    const struct fixture *f = *state;

    add_files();
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_int_equal(audit_files(f, names[i]), EX_OK);
        assert_lacks(tool.out, "without a seal");
    }
    /* No seal comes after them. */
    assert_int_equal(audit_files(f, "abcD"), EX_OK);
    assert_contains(tool.out,
                    "          6 lines after the last one: no seal proves them until the "
                    "next one comes\n");
    assert_int_equal(audit_files(f, "CD"), EX_OK);
    assert_contains(tool.out, "seals     none");
}

static void a_change_before_the_first_seal_of_a_rotated_file_is_placed(void **state)
{
    (void)state;
    add_usual();
    add_seal(NULL, false);
    line_count = 0; /* that file is not given */
    add_records(3);
    add_seal(NULL, true);
    assert_int_equal(audit(), EX_OK);
    change(2, "\"bytes\":4", "\"bytes\":5");
    expect_problem("standard input:2: this is the first line that was changed, between the "
                   "seals 4 (in no file before it) and 5 (standard input:4)\n");
}

struct stripped {
    const char *names;
    const char *text;
};

static void seals_of_a_whole_file_that_were_removed_are_missed(void **state)
{
    static const struct stripped cases[] = {
        /* between others */
        {"aBcd", "/c:4: 2 seals are missing between the seals 3 ("},
        {"aBCd", "/d:4: 4 seals are missing between the seals 3 ("},
        {"abCd", "/d:4: 2 seals are missing between the seals 5 ("},
        /* from the first file on */
        {"Abcd", "/b:4: 3 seals are missing: this is the first one, number 4, and the 6 lines "
                 "before those that it seals had seals, which were removed from "},
        {"ABcd",
         "/c:4: 5 seals are missing: this is the first one, number 6, and the 12 lines "},
        {"Bcd", "/c:4: at least 1 seal is missing: this is the first one, number 6, and the 6 "
                "lines before those that it seals had seals, which were removed from "},
        {"Cd", "/d:4: at least 1 seal is missing: this is the first one, number 8, "},
        /* a file that is not given */
        {"acd", "/c:4: 2 seals are missing between the seals 3 ("},
        {"abd", "/d:4: 2 seals are missing between the seals 5 ("},
        /* another order */
        {"acbd",
         "/b:4: seals were added, or the files are not in order (oldest first), between "
         "the seals 7 ("},
        {"dc", "/c:4: seals were added, or the files are not in order (oldest first), between "
               "the seals 9 ("},
        {"bacd", "/c:4: 2 seals that belong between the seals 3 ("},
        {"abdc", "/d:4: 2 seals that belong between the seals 5 ("},
    };
    const struct fixture *f = *state;

    add_files();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(audit_files(f, cases[i].names), EX_DATAERR);
        assert_contains(tool.out, cases[i].text);
    }
    assert_int_equal(audit_files(f, "aBcd"), EX_DATAERR);
    assert_contains(tool.out, "NOT SOUND: 1 problem\n");
    assert_contains(tool.out, "/a:9) and 6 (");
    assert_contains(tool.out,
                    "/c:4): removed from one of the two files, or a file between them "
                    "is not given\n");
    assert_int_equal(audit_files(f, "Bcd"), EX_DATAERR);
    assert_contains(tool.out, "NOT SOUND: 1 problem\n");
    assert_contains(tool.out, "removed from ");
    assert_contains(tool.out, "/B\n");
    assert_contains(tool.out, "          6 lines before or between them without a seal\n");
    assert_contains(tool.out, "seals     4, of which 4 hold\n");
}

static void seals_of_files_in_another_order_are_not_missing(void **state)
{
    const struct fixture *f = *state;
    char names[] = "abcd";

    add_files();
    for (unsigned order = 0; order < 256; order++) {
        unsigned seen = 0;

        for (unsigned i = 0; i < 4; i++) {
            names[i] = (char)('a' + (order >> 2 * i) % 4);
            seen |= 1U << (order >> 2 * i) % 4;
        }
        if (seen != 15 || strcmp(names, "abcd") == 0)
            continue;
        assert_int_equal(audit_files(f, names), EX_DATAERR);
        assert_lacks(tool.out, "missing");
        assert_lacks(tool.out, "not given");
        assert_contains(tool.out, "not in order (oldest first)");
    }
    assert_int_equal(audit_files(f, "bad"), EX_DATAERR);
    assert_contains(tool.out, "/d:4: 2 seals are missing between the seals 3 (");
    assert_contains(tool.out, "), and 2 others stand elsewhere in the files: removed from one "
                              "of the two files, or a file between them is not given, or the "
                              "files are not in order (oldest first)\n");
}

/* The rest of the file shows that they were there. */
static void the_first_seals_of_a_file_that_were_removed_are_missed(void **state)
{
    const struct fixture *f = *state;

    add_files();
    memmove(lines[file_begins[2] + 3], lines[file_begins[2] + 4],
            (line_count - file_begins[2] - 4) * LINE_SIZE);
    for (unsigned file = 3; file <= FILES; file++)
        file_begins[file]--;
    assert_int_equal(audit_files(f, "cd"), EX_DATAERR);
    assert_contains(tool.out, "/c:7: at least 1 seal is missing: this is the first one, number "
                              "7, and the 3 lines before those that it seals had seals, which "
                              "were removed\n");
    assert_int_equal(audit_files(f, "bcd"), EX_DATAERR);
    assert_contains(tool.out, "/c:7: 1 seal is missing between the seals 5 (");
}

/* Lines without a seal at the end of a file, as after a crash, are in the next seal. */
static void a_seal_may_begin_in_the_file_before_it(void **state)
{
    const struct fixture *f = *state;

    add_files();
    file_begins[2] -= 2; /* a record and the seal after it */
    assert_int_equal(audit_files(f, "abcd"), EX_OK);
    assert_int_equal(audit_files(f, "cd"), EX_OK);
    assert_int_equal(audit_files(f, "bcd"), EX_OK);
    assert_int_equal(audit_files(f, "Bcd"), EX_DATAERR);
    assert_contains(tool.out, "/c:2: at least 1 seal is missing: this is the first one, number "
                              "5, and the 3 lines before those that it seals had seals, which "
                              "were removed from ");
}

/* As if by another gateway, or written anew by who knows the format. */
static void a_file_of_another_chain_is_named(void **state)
{
    const struct fixture *f = *state;
    struct seal_chain other;
    unsigned kept;

    add_files();
    other = chain;
    kept = line_count;
    line_count = file_begins[1];
    last_seq = 6;
    seal_resume(&chain, 3, other.digest);
    add_records(3);
    add_seal(NULL, true);
    add_records(3);
    add_seal(NULL, false);
    assert_int_equal(line_count, file_begins[2]);
    line_count = kept;
    assert_int_equal(audit_files(f, "abcd"), EX_DATAERR);
    assert_contains(tool.out,
                    "/b:4: this seal does not continue the one before it, between the "
                    "seals 3 (");
    assert_contains(tool.out, "one of the two files is another one, or was written anew\n");
    assert_contains(tool.out, "/c:4: this seal does not continue the one before it");
}

static void files_may_begin_within_a_chain(void **state)
{
    (void)state;
    last_seq = 40;
    add_usual();
    remove_line(1); /* the first seal has no digest of the one before it */
    assert_int_equal(audit(), EX_OK);
    assert_contains(tool.out, "          3 lines before or between them without a seal\n");
    line_count = 0;
    add_records(2);
    line_count = 0;
    seal_resume(&chain, 7, chain.digest);
    last_seq = 20;
    add_records(2);
    add_seal(NULL, true);
    assert_int_equal(audit(), EX_OK);
    assert_contains(tool.out, "          2 lines from seal 8 (standard input:3");
    change(2, "\"bytes\":4", "\"bytes\":5");
    expect_problem("standard input:2: this is the first line that was changed");
}

static void seals_that_were_kept_elsewhere_are_compared(void **state)
{
    const struct fixture *f = *state;
    char path[256], text[4 * LINE_SIZE];

    add_usual();
    (void)snprintf(text, sizeof(text), "%s%s%s", lines[0], lines[4], lines[8]);
    tool_write(path, f->directory, "kept", text);
    assert_int_equal(audit_with("--seals", path), EX_OK);
    assert_contains(tool.out,
                    "          3 of 3 seals that were kept elsewhere are in the files\n");
    line_count = 8; /* the end was cut, with its seal */
    assert_int_equal(audit(), EX_OK);
    assert_int_equal(audit_with("--seals", path), EX_DATAERR);
    assert_contains(tool.out,
                    "kept:3: this seal (3, of seq 6) was published, and is not in the "
                    "audit files: their end was cut");
    tool_write(path, f->directory, "kept", "{\"seal\":1}\n");
    assert_int_equal(audit_with("--seals", path), EX_DATAERR);
    assert_contains(tool.err, "kept:1 is no seal");
    assert_int_equal(audit_with("--seals", "/nowhere"), EX_UNAVAILABLE);
    assert_contains(tool.err, "cannot open the seals /nowhere");
}

/* Without it whatever stands before the next seal would agree with it. */
static void the_start_of_a_chain_is_missed(void **state)
{
    const struct fixture *f = *state;
    char path[256], text[2 * LINE_SIZE];

    add_usual();
    (void)snprintf(text, sizeof(text), "%s%s", lines[4], lines[8]);
    tool_write(path, f->directory, "kept", text);
    remove_line(1);
    change(2, "\"client\":\"c\"", "\"client\":\"Q\"");
    expect_problem("standard input:4: the seal with which the chain starts was removed");
    assert_int_equal(audit_with("--seals", path), EX_DATAERR);
    assert_contains(tool.out,
                    "2 of 2 seals that were kept elsewhere are in the files, 1 of these "
                    "without proof of the lines before it\n");
}

static void a_start_that_cannot_be_is_found(void **state)
{
    (void)state;
    add_usual();
    change(1, "starts", "s|arts");
    expect_problem("standard input:1: this seal was changed: a chain starts with seal 1");
    change(1, "s|arts", "starts");
    memmove(lines[1], lines[0], (size_t)line_count++ * LINE_SIZE);
    expect_problem("standard input:2: this seal is doubled");
    (void)snprintf(lines[0], LINE_SIZE,
                   "{\"admin\":\"drop\",\"time\":"
                   "\"2026-11-01T12:00:00.000Z\",\"uid\":0}\n");
    expect_problem(
        "standard input:2: lines were added before this seal, with which a new file");
}

static void files_without_seals_are_described(void **state)
{
    (void)state;
    add_records(2);
    assert_int_equal(audit(), EX_OK);
    assert_contains(tool.out, "seals     none: what was changed later would not show");
}

/* With a configuration whose audit.seal is that. */
static const char *audit_configured(const struct fixture *f, const char *seal)
{
    char path[256], text[1024];

    (void)snprintf(text, sizeof(text),
                   "spool: { directory = \"%s\"; };\naudit: { seal = \"%s\"; };\n"
                   "uplink: { brokers = ( \"tcp://h:1\" ); };\n",
                   f->directory, seal);
    tool.config_path = tool_write(path, f->directory, "x.conf", text);
    (void)audit(); /* its spool has another history */
    tool.config_path = NULL;
    return tool.out;
}

static void a_first_seal_that_is_not_due_is_not_missed(void **state)
{
    struct fixture *f = *state;

    open_spool(f);
    close_spool(f);
    clock_format(cli_now().wall_ms, record_time);
    add_records(2);
    assert_contains(
        audit_configured(f, "1h"),
        "seals     none yet: the first one of the file is not due (audit.seal is 1 h); "
        "until then no seal proves its lines\n");
    assert_contains(audit_configured(f, "0"),
                    "seals     none: what was changed later would not");
    assert_int_equal(audit(), EX_OK); /* without a configuration */
    assert_contains(tool.out, "seals     none: what was changed later would not");
}

static void a_first_seal_that_was_due_is_missed(void **state)
{
    struct fixture *f = *state;

    open_spool(f);
    close_spool(f);
    (void)strcpy(record_time, "2020-11-01T12:00:00.000Z");
    add_records(2);
    assert_contains(
        audit_configured(f, "1h"),
        "seals     none, though the first line is older than audit.seal (1 h): that "
        "was set later, or seals were removed\n");
}

static void older_seals_that_were_kept_are_no_problem(void **state)
{
    const struct fixture *f = *state;
    char path[256];

    add_usual();
    tool_write(path, f->directory, "kept", lines[4]);
    memmove(lines[0], lines[5], 5 * LINE_SIZE);
    line_count = 5;
    assert_int_equal(audit_with("--seals", path), EX_OK);
    assert_contains(tool.out, "0 of 1 seal that was kept elsewhere are in the files, 1 is "
                              "older\n");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup_case, teardown)
    const struct CMUnitTest tests[] = {
        CASE(seals_that_hold_are_described),
        CASE(the_start_of_a_chain_is_missed),
        CASE(a_start_that_cannot_be_is_found),
        CASE(files_without_seals_are_described),
        CASE(a_first_seal_that_is_not_due_is_not_missed),
        CASE(a_first_seal_that_was_due_is_missed),
        CASE(lines_before_the_chain_are_no_problem),
        CASE(a_line_that_was_changed_is_named),
        CASE(a_line_that_was_removed_is_named),
        CASE(a_last_line_that_was_removed_is_named_at_its_seal),
        CASE(a_line_that_was_added_is_named),
        CASE(a_seal_that_was_changed_is_named),
        CASE(a_digest_that_was_changed_is_named_once),
        CASE(a_seal_that_was_removed_is_named),
        CASE(files_may_begin_within_a_chain),
        CASE(seals_that_were_kept_elsewhere_are_compared),
        CASE(older_seals_that_were_kept_are_no_problem),
        CASE(files_in_a_row_hold_and_the_oldest_may_be_gone),
        CASE(a_change_before_the_first_seal_of_a_rotated_file_is_placed),
        CASE(seals_of_a_whole_file_that_were_removed_are_missed),
        CASE(seals_of_files_in_another_order_are_not_missing),
        CASE(the_first_seals_of_a_file_that_were_removed_are_missed),
        CASE(a_seal_may_begin_in_the_file_before_it),
        CASE(a_file_of_another_chain_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
