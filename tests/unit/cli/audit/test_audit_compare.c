/* SPDX-License-Identifier: MIT */
/*
 * test_audit_compare.c - tests of audit files against the database they were written from
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/audit/check.h"
#include "cli/audit/files.h"
#include "cli/cli.h"
#include "store/spool.h"
#include "tests/support/files.h"
#include "tests/support/history_fixture.h"
#include "tests/support/spool_fixture.h"
#include "tests/support/tool_fixture.h"

static struct tool tool;
static char path[256];

/* What a daemon does after the files were read, before the open of that number. */
static struct {
    void (*act)(struct fixture *f);
    struct fixture *f;
    unsigned at;
    unsigned opens;
} daemon_at_work;

int __real_cli_open_spool(const char *directory, struct spool **ret);
int __wrap_cli_open_spool(const char *directory, struct spool **ret);

int __wrap_cli_open_spool(const char *directory, struct spool **ret)
{
    if (daemon_at_work.act && ++daemon_at_work.opens == daemon_at_work.at)
        daemon_at_work.act(daemon_at_work.f);
    return __real_cli_open_spool(directory, ret);
}

/* The first open is for the cursor, the second for the ledger, a third for a question. */
static void act_before_open(struct fixture *f, unsigned at, void (*act)(struct fixture *f))
{
    daemon_at_work.act = act;
    daemon_at_work.f = f;
    daemon_at_work.at = at;
    daemon_at_work.opens = 0;
}

static int setup_history(void **state)
{
    struct fixture *f;

    if (setup(state) != 0)
        return -1;
    f = *state;
    memset(&tool, 0, sizeof(tool));
    memset(&daemon_at_work, 0, sizeof(daemon_at_work));
    (void)snprintf(path, sizeof(path), "%s/audit.jsonl", f->directory);
    use_no_segments(f); /* rows are changed by SQL */
    reopen_spool(f);
    make_history(f);
    return 0;
}

static off_t files_size_of(const char *name)
{
    struct stat st;

    assert_int_equal(stat(name, &st), 0);
    return st.st_size;
}

/* The configuration, for files that are given are compared only with a -c. */
static int run_audit(const struct fixture *f, const char *option)
{
    char text[1024];
    char config_path[256];
    int code;

    (void)snprintf(text, sizeof(text),
                   "spool: { directory = \"%s\"; };\naudit: { file = \"%s\"; };\n"
                   "uplink: { brokers = ( \"tcp://h:1\" ); };\n",
                   f->directory, path);
    tool.config_path = tool_write(config_path, f->directory, "x.conf", text);
    code = option ? TOOL_RUN(&tool, cli_audit, "audit", option)
                  : TOOL_RUN(&tool, cli_audit, "audit");
    tool.config_path = NULL;
    return code;
}

static int audit(const struct fixture *f, const char *option)
{
    int code = run_audit(f, option);

    assert_string_equal(tool.err, "");
    return code;
}

static void a_whole_export_has_the_sums_of_the_ledger(void **state)
{
    struct fixture *f = *state;

    export_history(f, path, 7);
    close_spool(f);
    assert_int_equal(audit(f, NULL), EX_OK);
    assert_contains(tool.out, "database  10 accepted, 7 ended, 3 spooled\n");
    assert_contains(tool.out, "verdict   sound: no line is missing");
    assert_lacks(tool.out, "not yet written");
    assert_int_equal(audit(f, "--json"), EX_OK);
    assert_contains(
        tool.out, "\"database\":{\"running\":false,\"balanced\":true,\"counts_compared\":true,"
                  "\"accepted\":10,\"ended\":7,\"spooled\":3,\"exported_seq\":7,\"waiting\":0,"
                  "\"pruned\":0}");
}

/* Moves line @number of the audit file to its end. */
static void move_line_to_the_end(unsigned number)
{
    struct files_text text = files_read(path);
    char *line = text.memory, *next;

    while (--number > 0) {
        line = strchr(line, '\n');
        assert_non_null(line);
        line++;
    }
    next = strchr(line, '\n');
    assert_non_null(next);
    next++;
    files_write(path, text.memory, (size_t)(line - text.memory));
    files_append(path, next, strlen(next));
    files_append(path, line, (size_t)(next - line));
    free(text.memory);
}

static void a_line_that_was_moved_to_the_end_cuts_off_nothing(void **state)
{
    struct fixture *f = *state;

    export_history(f, path, 7);
    close_spool(f);
    move_line_to_the_end(3);
    assert_int_equal(audit(f, NULL), EX_DATAERR);
    assert_contains(tool.out, "NOT SOUND: 2 problems\n");
    assert_contains(tool.out, "audit.jsonl:7: seq 3 comes after 7: a line was moved");
    assert_lacks(tool.out, "were cut off");
}

/* All lines are exported once, then each file has those of @seqs, and 0 after them. */
static void write_order(struct fixture *f, const uint64_t *seqs)
{
    static char all[7][2048];
    char whole[256];
    FILE *file;

    (void)snprintf(whole, sizeof(whole), "%s/whole.jsonl", f->directory);
    if (access(whole, F_OK) != 0) {
        export_history(f, whole, 7);
        file = fopen(whole, "r");
        assert_non_null(file);
        for (int i = 0; i < 7; i++)
            assert_non_null(fgets(all[i], sizeof(all[i]), file));
        assert_int_equal(fclose(file), 0);
    }
    file = fopen(path, "w");
    assert_non_null(file);
    for (; *seqs > 0; seqs++)
        assert_true(fputs(all[*seqs - 1], file) >= 0);
    assert_int_equal(fclose(file), 0);
}

#define WRITE_ORDER(...) write_order(f, (const uint64_t[]){__VA_ARGS__, 0})

/* That all lines are in the file, whatever their order. */
static void expect_whole(const struct fixture *f, const char *option)
{
    assert_int_equal(audit(f, option), EX_DATAERR);
    assert_contains(tool.out, "seq 1 to 7\n");
    assert_contains(tool.out, "; the daemon runs, so it grows meanwhile\n");
    assert_lacks(tool.out, "cut off");
    assert_lacks(tool.out, "outcomes that the files lack");
    assert_lacks(tool.out, "not yet written");
}

static void the_files_end_at_the_highest_seq_whatever_the_order(void **state)
{
    struct fixture *f = *state;

    WRITE_ORDER(5, 6, 7, 1, 2, 3, 4);
    expect_whole(f, NULL);
    assert_contains(tool.out, "NOT SOUND: 1 problem\n");
    expect_whole(f, "--since=1000000d");
    assert_contains(tool.out,
                    "; 4 were delivered, 3 were NOT delivered and have their records");
    WRITE_ORDER(7, 1, 2, 3, 4, 5, 6);
    expect_whole(f, NULL);
    assert_contains(tool.out, "NOT SOUND: 1 problem\n");
    WRITE_ORDER(1, 2, 3, 4, 5, 6, 7, 2);
    expect_whole(f, "--since=1000000d");
    WRITE_ORDER(5, 6, 7, 5);
    assert_int_equal(audit(f, "--deliveries-off"), EX_DATAERR);
    assert_contains(tool.out, "seq 5 to 7\n");
    assert_contains(tool.out, "came twice");
    assert_lacks(tool.out, "outcomes that the files lack");
    WRITE_ORDER(6, 7, 5);
    assert_int_equal(audit(f, "--deliveries-off"), EX_DATAERR);
    assert_contains(tool.out, "seq 5 to 7\n");
    assert_contains(tool.out, "NOT SOUND: 1 problem\n");
    assert_lacks(tool.out, "outcomes that the files lack");
}

/* The file had come to 7, and continues from 3; 6 waits in the database. */
static void behind_an_older_copy_the_rows_of_the_newer_history_wait(void **state)
{
    struct fixture *f = *state;

    WRITE_ORDER(1, 2, 3, 4, 5, 6, 7, 3, 4, 5);
    spool_set_exported(f->spool, 5);
    commit(f);
    tamper(f, "DELETE FROM outcome WHERE seq = 7");
    tamper(f, "UPDATE lane SET last_seq = 6");
    assert_int_equal(audit(f, NULL), EX_DATAERR);
    assert_contains(tool.out, "the files go to seq 7, but the database only to 6: it is an "
                              "older copy");
    assert_contains(tool.out, "1 outcome not yet written to the file");
    assert_contains(tool.out, "move the file away");
}

static void rows_that_wait_for_the_export_are_counted_from_the_database(void **state)
{
    struct fixture *f = *state;

    export_history(f, path, 4);
    assert_int_equal(audit(f, NULL), EX_OK);
    assert_contains(tool.out, "; the daemon runs, so it grows meanwhile\n");
    assert_contains(tool.out, "3 outcomes not yet written to the file, counted from there\n");
    assert_int_equal(audit(f, "--json"), EX_OK);
    assert_contains(tool.out, "\"running\":true");
    assert_contains(tool.out, "\"waiting\":3");
}

static void a_file_that_was_cut_is_found_by_the_cursor(void **state)
{
    struct fixture *f = *state;

    export_history(f, path, 4);
    spool_set_exported(f->spool, 7);
    commit(f);
    close_spool(f);
    assert_int_equal(audit(f, NULL), EX_DATAERR);
    assert_contains(tool.out,
                    "the files end at seq 4, but the daemon wrote up to 7: lines were "
                    "cut off or a file is missing\n");
    assert_contains(tool.out, "3 outcomes that the files lack, still in the database");
}

static void an_older_copy_of_the_database_is_found(void **state)
{
    struct fixture *f = *state;

    export_history(f, path, 7);
    tamper(f, "DELETE FROM outcome WHERE seq > 4");
    tamper(f, "UPDATE spool SET exported_seq = 4");
    tamper(f, "UPDATE lane SET last_seq = 4, rejected = 0, evicted = 0, accepted = 7");
    close_spool(f);
    assert_int_equal(audit(f, NULL), EX_DATAERR);
    assert_contains(tool.out,
                    "the files go to seq 7, but the database only to 4: it is an older "
                    "copy, or another spool\n");
    assert_contains(tool.out, "Where the database was restored from an older copy:\n");
    assert_contains(tool.out,
                    "rejected: 1 in the files (and 0 in the database that they lack), "
                    "0 in the ledger\n");
}

static void a_count_that_differs_is_found(void **state)
{
    struct fixture *f = *state;

    export_history(f, path, 7);
    tamper(f, "UPDATE lane SET delivered = 5, rejected = 0");
    close_spool(f);
    assert_int_equal(audit(f, NULL), EX_DATAERR);
    assert_contains(tool.out, "delivered: 4 in the files (and 0 in the database that they "
                              "lack), 5 in the ledger\n");
    assert_contains(tool.out,
                    "rejected: 1 in the files (and 0 in the database that they lack), "
                    "0 in the ledger\n");
    assert_int_equal(audit(f, "--deliveries-off"), EX_DATAERR);
    assert_lacks(tool.out, "delivered: 4 in the files");
    assert_contains(tool.out, "rejected: 1 in the files");
}

static void a_ledger_that_does_not_balance_is_found(void **state)
{
    struct fixture *f = *state;

    export_history(f, path, 7);
    tamper(f, "UPDATE lane SET accepted = 12");
    close_spool(f);
    assert_int_equal(audit(f, NULL), EX_DATAERR);
    assert_contains(tool.out, "the ledger does not balance: 12 accepted, 7 ended, 3 spooled\n");
    assert_int_equal(audit(f, "--json"), EX_DATAERR);
    assert_contains(tool.out, "\"balanced\":false");
    assert_contains(tool.out, "\"problem_list\":[{\"text\":\"the ledger does not balance");
}

static void outcomes_that_are_nowhere_are_found(void **state)
{
    struct fixture *f = *state;

    export_history(f, path, 4);
    tamper(f, "DELETE FROM outcome WHERE seq = 6");
    close_spool(f);
    assert_int_equal(audit(f, NULL), EX_DATAERR);
    assert_contains(tool.out,
                    "          outcomes are neither in the files nor in the database: 1 of "
                    "those after seq 4\n");
    assert_lacks(tool.out, " in the ledger");
}

/* The whole file has the name @whole then. */
static void keep_lines_from(int first, const char *whole)
{
    char line[2048];
    FILE *from, *to;

    assert_int_equal(rename(path, whole), 0);
    from = fopen(whole, "r");
    to = fopen(path, "w");
    assert_non_null(from);
    assert_non_null(to);
    for (int i = 0; fgets(line, sizeof(line), from); i++) {
        if (i >= first)
            assert_true(fputs(line, to) >= 0);
    }
    (void)fclose(from);
    (void)fclose(to);
}

static void a_history_that_begins_later_has_no_sums(void **state)
{
    struct fixture *f = *state;
    char whole[256];

    export_history(f, path, 7);
    (void)snprintf(whole, sizeof(whole), "%s/whole.jsonl", f->directory);
    keep_lines_from(3, whole);
    close_spool(f);
    assert_int_equal(audit(f, NULL), EX_OK);
    assert_contains(tool.out,
                    "its counts go back to the first message and the files do not: not "
                    "compared\n");
    assert_contains(tool.out, "verdict   sound from seq 4 on");
}

static void an_empty_file_is_compared_with_all_rows(void **state)
{
    struct fixture *f = *state;

    export_history(f, path, 0);
    close_spool(f);
    assert_int_equal(audit(f, NULL), EX_OK);
    assert_contains(tool.out, "no outcome is recorded in 1 file");
    assert_contains(tool.out, "7 outcomes not yet written");
    tamper(f, "UPDATE outcome SET outcome = 3, reason = 6 WHERE seq = 1");
    assert_int_equal(audit(f, NULL), EX_DATAERR);
    assert_contains(tool.out,
                    "delivered: 0 in the files (and 3 in the database that they lack), "
                    "4 in the ledger");
}

static void deliveries_that_were_pruned_are_part_of_the_sum(void **state)
{
    struct fixture *f = *state;

    export_history(f, path, 2);
    tamper(f, "DELETE FROM outcome WHERE seq IN (3, 4)");
    tamper(f, "UPDATE spool SET pruned_seq = 4");
    close_spool(f);
    assert_int_equal(audit(f, NULL), EX_OK);
    assert_contains(tool.out,
                    "2 delivered, whose records were pruned (audit.max_waiting): the file "
                    "will show it\n");
    assert_contains(tool.out, "3 outcomes not yet written");
}

static void a_half_line_is_the_running_daemon_s(void **state)
{
    struct fixture *f = *state;
    FILE *file;

    export_history(f, path, 4);
    file = fopen(path, "a");
    assert_non_null(file);
    assert_true(fputs("{\"seq\":5", file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(audit(f, NULL), EX_OK);
    assert_contains(tool.out, "the last line is half written, the daemon is at it\n");
}

/* Beside a daemon that runs, too. */
static void a_ledger_that_counts_too_much_is_found(void **state)
{
    struct fixture *f = *state;

    export_history(f, path, 7);
    tamper(f, "UPDATE lane SET delivered = 6, accepted = 12");
    assert_int_equal(audit(f, NULL), EX_DATAERR);
    assert_contains(tool.out, "; the daemon runs, so it grows meanwhile\n");
    assert_contains(tool.out,
                    "          the ledger counts 9 outcomes, but the newest record has "
                    "the seq 7\n");
    assert_contains(tool.out, "delivered: 4 in the files (and 0 in the database that they "
                              "lack), 6 in the ledger\n");
    assert_lacks(tool.out, "neither in the files");
    tamper(f, "UPDATE lane SET delivered = 3, rejected = 2, accepted = 10");
    assert_int_equal(audit(f, NULL), EX_DATAERR);
    assert_contains(tool.out, "delivered: 4 in the files");
    assert_contains(tool.out, "rejected: 1 in the files");
    assert_int_equal(audit(f, "--deliveries-off"), EX_DATAERR);
    assert_lacks(tool.out, "delivered: 4 in the files");
    assert_contains(tool.out, "rejected: 1 in the files");
}

static void append_rows(struct fixture *f, const char *to, uint64_t from, uint64_t last)
{
    FILE *file = fopen(to, "ae");

    assert_non_null(file);
    assert_int_equal(
        spool_each_record(f->spool, from - 1, false, last - from + 1, write_history_row, file),
        0);
    assert_int_equal(fclose(file), 0);
}

/* As a daemon does that needs the room: the newest row stays. */
static void prune_rows(struct fixture *f)
{
    spool_set_exported(f->spool, 7);
    commit(f);
    tamper(f, "DELETE FROM outcome WHERE seq < 7");
}

static void export_and_prune(struct fixture *f)
{
    append_rows(f, path, 5, 7);
    prune_rows(f);
}

static void rows_that_go_to_the_file_meanwhile_are_read_from_it(void **state)
{
    struct fixture *f = *state;

    export_history(f, path, 4);
    act_before_open(f, 2, export_and_prune);
    assert_int_equal(audit(f, NULL), EX_OK);
    assert_contains(tool.out, "audit     7 lines in 1 file, seq 1 to 7\n");
    assert_contains(tool.out, "verdict   sound: no line is missing");
    assert_lacks(tool.out, "not yet written");
    assert_lacks(tool.out, "not compared");
}

static char torn_half[2048];

static void finish_line(struct fixture *f)
{
    FILE *file = fopen(path, "ae");

    assert_non_null(file);
    assert_true(fputs(torn_half, file) >= 0);
    assert_int_equal(fclose(file), 0);
    prune_rows(f);
}

static void a_line_that_was_half_written_is_read_when_it_is_whole(void **state)
{
    struct fixture *f = *state;
    FILE *file;

    export_history(f, path, 7);
    file = fopen(path, "re");
    assert_non_null(file);
    while (fgets(torn_half, sizeof(torn_half), file))
        ;
    assert_int_equal(fclose(file), 0);
    memmove(torn_half, torn_half + 30, strlen(torn_half + 30) + 1);
    assert_int_equal(truncate(path, files_size_of(path) - (off_t)strlen(torn_half)), 0);
    act_before_open(f, 2, finish_line);
    tamper(f, "DELETE FROM outcome WHERE seq = 7");
    assert_int_equal(audit(f, NULL), EX_OK);
    assert_contains(tool.out, "seq 1 to 7\n");
    assert_lacks(tool.out, "half written");
}

/* As logrotate and HUP, and then a second record. */
static void rotate_and_prune(struct fixture *f)
{
    char rotated[300];

    (void)snprintf(rotated, sizeof(rotated), "%s.1", path);
    assert_int_equal(rename(path, rotated), 0);
    append_rows(f, rotated, 5, 5);
    append_rows(f, path, 6, 7);
    prune_rows(f);
}

static void a_file_that_is_rotated_meanwhile_is_followed(void **state)
{
    struct fixture *f = *state;

    export_history(f, path, 4);
    act_before_open(f, 2, rotate_and_prune);
    assert_int_equal(audit(f, NULL), EX_OK);
    assert_contains(tool.out, "audit     7 lines in 2 files, seq 1 to 7\n");
    assert_contains(tool.out, "verdict   sound: no line is missing");
}

/* So that @suffix has seq 5, FILE.1 seq 6 and FILE seq 7. */
static void rotate_twice_to(struct fixture *f, const char *suffix)
{
    char rotated[300], older[300];

    (void)snprintf(rotated, sizeof(rotated), "%s.1", path);
    (void)snprintf(older, sizeof(older), "%s%s", path, suffix);
    append_rows(f, path, 5, 5);
    assert_int_equal(rename(path, older), 0);
    append_rows(f, rotated, 6, 6);
    append_rows(f, path, 7, 7);
    prune_rows(f);
}

static void rotate_twice(struct fixture *f)
{
    rotate_twice_to(f, ".2");
}

/* As with dateext, or where the older file was compressed. */
static void rotate_out_of_sight(struct fixture *f)
{
    rotate_twice_to(f, "-20261101");
}

static void a_file_that_is_rotated_twice_meanwhile_is_followed(void **state)
{
    struct fixture *f = *state;

    export_history(f, path, 4);
    act_before_open(f, 2, rotate_twice);
    assert_int_equal(audit(f, NULL), EX_OK);
    assert_contains(tool.out, "audit     7 lines in 3 files, seq 1 to 7\n");
    assert_contains(tool.out, "verdict   sound: no line is missing");
}

/* The empty file was rotated, too. */
static void rotate_the_empty_one(struct fixture *f)
{
    char rotated[300], older[300];

    (void)snprintf(rotated, sizeof(rotated), "%s.1", path);
    (void)snprintf(older, sizeof(older), "%s.2", path);
    assert_int_equal(rename(rotated, older), 0);
    append_rows(f, older, 5, 5);
    assert_int_equal(rename(path, rotated), 0);
    append_rows(f, path, 6, 7);
    prune_rows(f);
}

/* FILE and FILE.1 are read; FILE had no line, and is FILE.1 now. */
static void an_empty_file_that_is_rotated_meanwhile_is_passed_over(void **state)
{
    struct fixture *f = *state;
    char rotated[300];

    (void)snprintf(rotated, sizeof(rotated), "%s.1", path);
    append_rows(f, rotated, 1, 4);
    assert_int_equal(mknod(path, S_IFREG | 0600, 0), 0);
    act_before_open(f, 2, rotate_the_empty_one);
    assert_int_equal(audit(f, NULL), EX_OK);
    assert_contains(tool.out, "audit     7 lines in ");
    assert_contains(tool.out, "verdict   sound: no line is missing");
}

/* As with dateext. */
static void rotate_to_a_date(struct fixture *f)
{
    char rotated[300];

    (void)snprintf(rotated, sizeof(rotated), "%s-20261101", path);
    append_rows(f, path, 5, 5);
    assert_int_equal(rename(path, rotated), 0);
    append_rows(f, path, 6, 7);
    prune_rows(f);
}

static void under_other_names_one_rotation_is_followed_by_its_numbers(void **state)
{
    struct fixture *f = *state;

    export_history(f, path, 4);
    act_before_open(f, 2, rotate_to_a_date);
    assert_int_equal(audit(f, NULL), EX_OK);
    assert_contains(tool.out, "audit     7 lines in 2 files, seq 1 to 7\n");
}

static void
files_that_are_rotated_out_of_sight_are_no_problem_but_to_be_read_again(void **state)
{
    struct fixture *f = *state;

    export_history(f, path, 4);
    act_before_open(f, 2, rotate_out_of_sight);
    assert_int_equal(run_audit(f, NULL), EX_TEMPFAIL);
    assert_string_equal(tool.out, "");
    assert_contains(tool.err,
                    "the audit files were rotated while they were read: run this again\n");
}

/* The daemon does not know yet that it was renamed. */
static void write_to_rotated(struct fixture *f)
{
    char rotated[300];

    (void)snprintf(rotated, sizeof(rotated), "%s.1", path);
    append_rows(f, rotated, 5, 7);
    prune_rows(f);
}

/* And then it does. */
static void write_to_both(struct fixture *f)
{
    char rotated[300];

    (void)snprintf(rotated, sizeof(rotated), "%s.1", path);
    append_rows(f, rotated, 5, 5);
    append_rows(f, path, 6, 7);
    prune_rows(f);
}

static void expect_sound_beside(struct fixture *f, void (*act)(struct fixture *f))
{
    char rotated[300];

    (void)snprintf(rotated, sizeof(rotated), "%s.1", path);
    append_rows(f, rotated, 1, 4);
    assert_int_equal(mknod(path, S_IFREG | 0600, 0), 0);
    act_before_open(f, 2, act);
    assert_int_equal(audit(f, NULL), EX_OK);
    assert_contains(tool.out, "audit     7 lines in ");
    assert_contains(tool.out, "verdict   sound: no line is missing");
    assert_lacks(tool.out, "not compared");
}

static void between_a_rotation_and_its_signal_the_renamed_file_is_read_on(void **state)
{
    expect_sound_beside(*state, write_to_rotated);
}

static void after_the_signal_both_files_are_read_on(void **state)
{
    expect_sound_beside(*state, write_to_both);
}

/* As logrotate, when the first line of the oldest file is read. */
static void rotate_once(void *userdata, const struct json_t *object, size_t size)
{
    char from[300], to[300];
    bool *is_done = userdata;

    (void)object;
    (void)size;
    if (*is_done)
        return;
    *is_done = true;
    for (int i = 2; i >= 0; i--) {
        (void)snprintf(from, sizeof(from), i > 0 ? "%s.%d" : "%s", path, i);
        (void)snprintf(to, sizeof(to), "%s.%d", path, i + 1);
        assert_int_equal(rename(from, to), 0);
    }
    assert_int_equal(mknod(path, S_IFREG | 0600, 0), 0);
}

static void files_that_are_rotated_while_they_are_read_are_read_once_each(void **state)
{
    struct fixture *f = *state;
    char names[3][300];
    char *list[] = {names[0], names[1], names[2]};
    const struct audit_files files = {.names = list, .count = 3, .directory = f->directory};
    bool is_done = false;
    struct audit_check check = {.on_line = rotate_once, .userdata = &is_done};

    for (int i = 0; i < 3; i++) {
        (void)snprintf(names[i], sizeof(names[i]), i < 2 ? "%s.%d" : "%s", path, 2 - i);
        append_rows(f, names[i], (uint64_t)(2 * i) + 1, i < 2 ? (uint64_t)(2 * i) + 2 : 7);
    }
    spool_set_exported(f->spool, 7);
    commit(f);
    assert_int_equal(audit_check_files(&check, &files), EX_OK);
    assert_true(is_done);
    assert_int_equal(check.lines, 7);
    assert_int_equal(check.problem_count, 0);
    assert_true(check.database.counts_compared);
    audit_forget_seen(&check);
}

/* With each line that is read, as a daemon that is faster than the reader. */
static void write_one_more(void *userdata, const struct json_t *object, size_t size)
{
    struct audit_check *check = userdata;
    FILE *file = fopen(path, "ae");

    (void)object;
    (void)size;
    assert_non_null(file);
    assert_true(fputs("{\"admin\":\"hold\",\"time\":\"2026-11-01T12:34:58.120Z\",\"uid\":0}\n",
                      file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_true(check->admin < 100);
}

static void a_file_that_grows_as_it_is_read_comes_to_an_end(void **state)
{
    struct fixture *f = *state;
    char *list[] = {path};
    const struct audit_files files = {.names = list, .count = 1, .directory = f->directory};
    struct audit_check check = {.on_line = write_one_more, .userdata = &check};

    export_history(f, path, 7);
    assert_int_equal(audit_check_files(&check, &files), EX_OK);
    assert_int_equal(check.lines, 7);
    assert_int_equal(check.problem_count, 0);
    audit_forget_seen(&check);
}

static void rows_that_no_file_has_are_missed_beside_a_daemon(void **state)
{
    struct fixture *f = *state;

    export_history(f, path, 4);
    act_before_open(f, 2, prune_rows);
    assert_int_equal(audit(f, NULL), EX_DATAERR);
    assert_contains(tool.out, "; the daemon runs, so it grows meanwhile\n");
    assert_contains(tool.out, "outcomes are neither in the files nor in the database: 2 of "
                              "those after seq 4\n");
}

static void zeros_behind_the_lines_of_a_running_daemon_are_a_problem(void **state)
{
    struct fixture *f = *state;

    export_history(f, path, 7);
    assert_int_equal(truncate(path, files_size_of(path) + 20 * 1024 * 1024), 0);
    assert_int_equal(audit(f, NULL), EX_DATAERR);
    assert_contains(tool.out, "NOT SOUND: 1 problem\n");
    assert_contains(tool.out, " ends with 20971520 zero bytes from byte ");
    assert_contains(tool.out, " restart the daemon: it cuts them");
    close_spool(f);
    assert_int_equal(audit(f, NULL), EX_OK);
    assert_contains(tool.out, " start the daemon: it cuts them");
}

static void files_given_alone_are_not_compared(void **state)
{
    struct fixture *f = *state;

    export_history(f, path, 4);
    close_spool(f);
    tool.config_path = NULL;
    assert_int_equal(TOOL_RUN(&tool, cli_audit, "audit", path), EX_OK);
    assert_contains(tool.out, "database  not compared (--directory or -c says where it is)");
    assert_int_equal(TOOL_RUN(&tool, cli_audit, "audit", "--directory", f->directory, path),
                     EX_OK);
    assert_contains(tool.out, "database  10 accepted");
    assert_int_equal(TOOL_RUN(&tool, cli_audit, "audit", "--directory", "/nowhere", path),
                     EX_UNAVAILABLE);
    assert_contains(tool.err, "there is no spool in /nowhere");
    assert_string_equal(tool.out, "");
}

/* As logrotate and HUP leave it, before the next outcome. */
static void rotate_to(struct fixture *f, const char *suffix)
{
    char rotated[300];

    (void)snprintf(rotated, sizeof(rotated), "%s%s", path, suffix);
    assert_int_equal(rename(path, rotated), 0);
    (void)tool_write(path, f->directory, "audit.jsonl", "");
}

static void an_empty_file_after_a_rotation_follows_the_rotated_one(void **state)
{
    struct fixture *f = *state;

    export_history(f, path, 7);
    rotate_to(f, ".1");
    assert_int_equal(audit(f, NULL), EX_OK);
    assert_contains(tool.out, "audit     7 lines in 2 files, seq 1 to 7\n");
    assert_contains(tool.out, "verdict   sound: no line is missing");
    /* --from is about the file itself. */
    assert_int_equal(audit(f, "--from=1"), EX_OK);
    assert_contains(tool.out, "no outcome is recorded in 1 file");
}

static void an_empty_file_whose_lines_are_in_packed_ones_is_sound_from_there_on(void **state)
{
    static const char *const suffixes[] = {".1.gz", "-20261101", ".1"};
    struct fixture *f = *state;
    char name[64], packed[256];

    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        export_history(f, path, 7);
        rotate_to(f, suffixes[i]);
        (void)snprintf(name, sizeof(name), "audit.jsonl%s", suffixes[i]);
        (void)tool_write(packed, f->directory, name, "\x1f\x8b packed");
        assert_int_equal(audit(f, NULL), EX_OK);
        assert_contains(tool.out,
                        "verdict   sound from seq 8 on; 1 to 7 are not in the files given "
                        "(rotated, deleted or cut)\n");
        assert_int_equal(remove(packed), 0);
        assert_int_equal(audit(f, NULL), EX_DATAERR); /* nothing explains that it is empty */
        assert_contains(tool.out, "the files end at seq 0, but the daemon wrote up to 7");
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup_history, teardown)

/* With its configuration, and one option with a value. */
static int ask(const struct fixture *f, const char *option, const char *value)
{
    char config_path[256], text[1024];

    (void)snprintf(text, sizeof(text),
                   "spool: { directory = \"%s\"; };\naudit: { file = \"%s\"; };\n"
                   "uplink: { brokers = ( \"tcp://h:1\" ); };\n",
                   f->directory, path);
    tool.config_path = tool_write(config_path, f->directory, "x.conf", text);
    int code = TOOL_RUN(&tool, cli_audit, "audit", option, value);
    tool.config_path = NULL;
    return code;
}

static void a_question_is_answered_from_files_and_database(void **state)
{
    struct fixture *f = *state;

    export_history(f, path, 5); /* two more have ended, and are only in the database */
    close_spool(f);
    assert_int_equal(ask(f, "--topic", "#"), EX_TEMPFAIL);
    assert_contains(tool.out, "answer    each is delivered or explained: not yet; of 10 "
                              "accepted, 3 are still spooled (the oldest since ");
    assert_contains(tool.out, "), 4 were delivered, 3 were NOT delivered and have their "
                              "records (2 evicted, 1 rejected)\n");
    assert_int_equal(ask(f, "--client", "another"), EX_OK);
    assert_contains(
        tool.out,
        "answer    no message was accepted that fits: there is nothing to answer for (is the "
        "filter right?)\n");
    assert_int_equal(ask(f, "--until", "1999-01-01T00:00:00Z"), EX_OK);
    assert_int_equal(ask(f, "--since", "2020-01-01T00:00:00+01:00"), EX_TEMPFAIL);
}

/* What ended before they begin is in none of them; all that were rotated are read. */
static void files_that_begin_later_answer_as_far_as_they_go(void **state)
{
    struct fixture *f = *state;
    char whole[256], rotated[sizeof(path) + 16];

    export_history(f, path, 5);
    (void)snprintf(whole, sizeof(whole), "%s/whole.jsonl", f->directory);
    keep_lines_from(3, whole);
    close_spool(f);
    assert_int_equal(ask(f, "--client", "another"), EX_OK);
    assert_contains(tool.out, "answer    as far as the files go back (seq 4, ");
    assert_contains(
        tool.out,
        "), no message was accepted that fits: there is nothing to answer for (is the "
        "filter right?)\n");
    assert_int_equal(ask(f, "--since", "2100-01-01T00:00:00Z"), EX_OK);
    assert_contains(
        tool.out,
        "answer    no message was accepted that fits: there is nothing to answer for (is the "
        "filter right?)\n");
    assert_int_equal(truncate(path, 0), 0);
    for (int i = 1; i <= 2; i++) { /* FILE.1 is empty */
        (void)snprintf(rotated, sizeof(rotated), "%s.%d", path, i);
        assert_int_equal(rename(i == 1 ? path : whole, rotated), 0);
    }
    assert_int_equal(mknod(path, S_IFREG | 0600, 0), 0);
    assert_int_equal(ask(f, "--client", "another"), EX_OK);
    assert_contains(
        tool.out,
        "answer    no message was accepted that fits: there is nothing to answer for (is the "
        "filter right?)\n");
}

static void a_message_is_found_wherever_it_is(void **state)
{
    struct fixture *f = *state;

    export_history(f, path, 5);
    close_spool(f);
    assert_int_equal(ask(f, "--id", "1"), EX_OK);
    assert_contains(tool.out, "message   1\n          accepted  ");
    assert_contains(tool.out, " delivered, after ");
    assert_contains(tool.out, "seq 1, ");
    assert_contains(tool.out, "answer    each is delivered or explained: yes; of 1 accepted, "
                              "1 was delivered\n");
    assert_int_equal(ask(f, "--id", "5"), EX_OK); /* rejected */
    assert_contains(tool.out, " rejected: reason_code 0x87, after ");
    assert_int_equal(ask(f, "--id", "6"), EX_OK); /* evicted */
    assert_contains(tool.out, "in the database, not yet in the file\n");
    assert_int_equal(ask(f, "--id", "9"), EX_TEMPFAIL);
    assert_contains(tool.out, "answer    each is delivered or explained: not yet; of 1 "
                              "accepted, 1 is still spooled");
    assert_int_equal(ask(f, "--id", "99"), EX_DATAERR);
    assert_contains(tool.out, "answer    there is no such message in the files, nor in the "
                              "spool; the files begin with seq 1\n");
    assert_int_equal(ask(f, "--ref", "nothing"), EX_DATAERR);
}

static void files_without_a_record_begin_with_none(void **state)
{
    struct fixture *f = *state;

    export_history(f, path, 0);
    close_spool(f);
    assert_int_equal(ask(f, "--id", "99"), EX_DATAERR);
    assert_contains(tool.out, "answer    there is no such message in the files, nor in the "
                              "spool; the files have no record\n");
}

/* 6 is a row only while the files are read, and a line only after it. */
static void a_message_is_found_that_goes_to_the_file_meanwhile(void **state)
{
    struct fixture *f = *state;

    export_history(f, path, 4);
    act_before_open(f, 3, export_and_prune);
    assert_int_equal(ask(f, "--id", "6"), EX_OK);
    assert_contains(tool.out, "message   6\n");
    assert_contains(tool.out, "audit.jsonl:6\n");
    assert_contains(tool.out,
                    "answer    each is delivered or explained: yes; of 1 accepted, 0 were "
                    "delivered, 1 was NOT delivered and has its record (1 evicted)\n");
}

static void wrong_questions_are_usage(void **state)
{
    struct fixture *f = *state;

    export_history(f, path, 7);
    assert_int_equal(ask(f, "--since", "yesterday"), EX_USAGE);
    assert_contains(tool.err, "--since is a time (RFC 3339) like ");
    assert_int_equal(
        TOOL_RUN(&tool, cli_audit, "audit", "--since", "1h", "--until", "2h", path), EX_USAGE);
    assert_contains(tool.err, "--since is not before --until");
    assert_int_equal(ask(f, "--topic", "a/#/b"), EX_USAGE);
    assert_contains(tool.err, "--topic a/#/b is no topic filter");
}

static void the_answer_is_in_the_json(void **state)
{
    struct fixture *f = *state;

    export_history(f, path, 5);
    close_spool(f);
    assert_int_equal(TOOL_RUN(&tool, cli_audit, "audit", "--json", "--id", "5", path), EX_OK);
    assert_contains(
        tool.out,
        "\"answer\":{\"verdict\":\"all\",\"text\":\"each is delivered or explained: yes; "
        "of 1 accepted, 0 were delivered, 1 was NOT delivered and has its record (1 "
        "rejected); whether others are still "
        "spooled is not known");
    assert_contains(tool.out,
                    "\"spooled\":null,\"kept_aside\":null,\"messages\":[{\"file\":\"");
    assert_contains(tool.out, "\"line\":5,\"record\":{\"seq\":5,");
    assert_int_equal(TOOL_RUN(&tool, cli_audit, "audit", "--json", "--id", "9", "--directory",
                              f->directory, path),
                     EX_TEMPFAIL);
    assert_contains(tool.out, "\"verdict\":\"spooled\"");
    assert_contains(tool.out, "\"spooled\":1,\"kept_aside\":0,\"messages\":[]}}\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_whole_export_has_the_sums_of_the_ledger),
        CASE(a_question_is_answered_from_files_and_database),
        CASE(files_that_begin_later_answer_as_far_as_they_go),
        CASE(a_message_is_found_wherever_it_is),
        CASE(files_without_a_record_begin_with_none),
        CASE(a_ledger_that_counts_too_much_is_found),
        CASE(rows_that_go_to_the_file_meanwhile_are_read_from_it),
        CASE(a_line_that_was_half_written_is_read_when_it_is_whole),
        CASE(a_file_that_is_rotated_meanwhile_is_followed),
        CASE(a_file_that_is_rotated_twice_meanwhile_is_followed),
        CASE(an_empty_file_that_is_rotated_meanwhile_is_passed_over),
        CASE(under_other_names_one_rotation_is_followed_by_its_numbers),
        CASE(files_that_are_rotated_out_of_sight_are_no_problem_but_to_be_read_again),
        CASE(between_a_rotation_and_its_signal_the_renamed_file_is_read_on),
        CASE(after_the_signal_both_files_are_read_on),
        CASE(files_that_are_rotated_while_they_are_read_are_read_once_each),
        CASE(a_file_that_grows_as_it_is_read_comes_to_an_end),
        CASE(rows_that_no_file_has_are_missed_beside_a_daemon),
        CASE(zeros_behind_the_lines_of_a_running_daemon_are_a_problem),
        CASE(a_message_is_found_that_goes_to_the_file_meanwhile),
        CASE(wrong_questions_are_usage),
        CASE(the_answer_is_in_the_json),
        CASE(a_line_that_was_moved_to_the_end_cuts_off_nothing),
        CASE(the_files_end_at_the_highest_seq_whatever_the_order),
        CASE(behind_an_older_copy_the_rows_of_the_newer_history_wait),
        CASE(rows_that_wait_for_the_export_are_counted_from_the_database),
        CASE(a_file_that_was_cut_is_found_by_the_cursor),
        CASE(an_older_copy_of_the_database_is_found),
        CASE(a_count_that_differs_is_found),
        CASE(a_ledger_that_does_not_balance_is_found),
        CASE(outcomes_that_are_nowhere_are_found),
        CASE(a_history_that_begins_later_has_no_sums),
        CASE(an_empty_file_is_compared_with_all_rows),
        CASE(deliveries_that_were_pruned_are_part_of_the_sum),
        CASE(a_half_line_is_the_running_daemon_s),
        CASE(files_given_alone_are_not_compared),
        CASE(an_empty_file_after_a_rotation_follows_the_rotated_one),
        CASE(an_empty_file_whose_lines_are_in_packed_ones_is_sound_from_there_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
