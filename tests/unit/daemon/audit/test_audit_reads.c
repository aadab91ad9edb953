/* SPDX-License-Identifier: MIT */
/*
 * test_audit_reads.c - an audit file of which a place does not read, or cannot be written
 *
 * Over the fake spool, with bad sectors (tests/support/fault_io.h). Until the file is given up each
 * row waits; afterwards each is in one of the files at least, and the cursor never passes one that
 * is not synced.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/audit/audit.h"
#include "daemon/audit/history.h"
#include "daemon/audit/tail.h"
#include "tests/support/fault_io.h"
#include "tests/support/spool_fake.h"

enum { BLOCK = 4096, ROWS = 100, TRIES = 10, PATHS = 256 };

static char logged[4096];

void __wrap_log_write(enum log_level level, const char *format, ...) PRINTF_LIKE(2, 3);

void __wrap_log_write(enum log_level level, const char *format, ...)
{
    size_t used = strlen(logged);
    va_list arguments;

    (void)level;
    va_start(arguments, format);
    (void)vsnprintf(logged + used, sizeof(logged) - used, format, arguments);
    va_end(arguments);
}

struct fixture {
    struct spool spool;
    struct audit *audit;
    struct audit_settings settings;
    char folder[PATHS];
    char file[PATHS + 16];
    char aside[PATHS + 32];
    int64_t now_ms;
};

static void on_exported(void *owner, const struct spool_record *record)
{
    (void)owner, (void)record;
}

static const struct audit_ops ops = {.exported = on_exported};

static void start(struct fixture *fixture)
{
    assert_int_equal(
        audit_new(&fixture->settings, &fixture->spool, &ops, fixture, &fixture->audit), 0);
}

static void stop(struct fixture *fixture)
{
    audit_free(fixture->audit);
    fixture->audit = NULL;
}

/* As the gateway's edge and its tick, a second later each time. */
static void edge(struct fixture *fixture)
{
    bool more;

    spool_fake_commit(&fixture->spool);
    assert_int_equal(audit_export(fixture->audit, fixture->now_ms, &more), 0);
    fixture->now_ms += 1001;
    audit_sync(fixture->audit, fixture->now_ms);
}

static void add_rows(struct fixture *fixture, unsigned count)
{
    while (count-- > 0)
        (void)spool_fake_add(&fixture->spool, SPOOL_DELIVERED, SPOOL_REASON_NONE);
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    assert_non_null(fixture);
    (void)snprintf(fixture->folder, sizeof(fixture->folder), "/tmp/test_audit.XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    (void)snprintf(fixture->file, sizeof(fixture->file), "%s/audit.jsonl", fixture->folder);
    (void)snprintf(fixture->aside, sizeof(fixture->aside), "%s.unread-1", fixture->file);
    fixture->settings = (struct audit_settings){.file = fixture->file, .has_deliveries = true};
    fixture->now_ms = 1000000;
    logged[0] = '\0';
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;

    fault_io_heal();
    audit_free(fixture->audit);
    (void)unlink(fixture->file);
    (void)unlink(fixture->aside);
    assert_int_equal(rmdir(fixture->folder), 0);
    free(fixture);
    return 0;
}

static struct stat status_of(const char *path)
{
    struct stat st = {0};

    (void)stat(path, &st);
    return st;
}

/* Whole lines of seq @from to @to, and nothing else. */
static void expect_rows(const char *path, uint64_t from, uint64_t to)
{
    FILE *file = fopen(path, "re");
    char line[4096];
    uint64_t seq, wanted = from;

    assert_non_null(file);
    while (fgets(line, sizeof(line), file)) {
        assert_true(audit_line_seq(line, strlen(line) - 1, &seq));
        assert_int_equal(seq, wanted++);
    }
    (void)fclose(file);
    assert_int_equal(wanted, to + 1);
}

static void write_some(struct fixture *fixture)
{
    start(fixture);
    add_rows(fixture, ROWS);
    edge(fixture);
    edge(fixture);
    expect_rows(fixture->file, 1, ROWS);
    assert_int_equal(fixture->spool.exported, ROWS);
}

static void spoil_end(const struct fixture *fixture, uint64_t times)
{
    struct stat st = status_of(fixture->file);

    assert_true(st.st_size % BLOCK > 0);
    fault_io_spoil(st.st_ino, (uint64_t)st.st_size / BLOCK * BLOCK, BLOCK, times);
}

/* ---- at the start ---- */

static void an_end_that_reads_again_costs_nothing(void **state)
{
    struct fixture *fixture = *state;

    write_some(fixture);
    stop(fixture);
    for (unsigned times = 1; times < TRIES; times++) {
        spoil_end(fixture, times);
        start(fixture);
        for (unsigned i = 0; i < times; i++)
            edge(fixture);
        assert_true(audit_is_healthy(fixture->audit));
        expect_rows(fixture->file, 1, ROWS);
        stop(fixture);
        fault_io_heal();
    }
    assert_int_equal(status_of(fixture->aside).st_ino, 0);
    assert_null(strstr(logged, "audit_set_aside"));
}

static void an_end_that_never_reads_is_given_another_name(void **state)
{
    struct fixture *fixture = *state;

    write_some(fixture);
    stop(fixture);
    ino_t inode = status_of(fixture->file).st_ino;
    spoil_end(fixture, 0);
    start(fixture);
    add_rows(fixture, 5);
    for (int i = 0; i < TRIES + 2; i++)
        edge(fixture);
    assert_true(audit_is_healthy(fixture->audit));
    assert_int_equal(status_of(fixture->aside).st_ino, inode);
    assert_non_null(strstr(logged, "audit_set_aside"));
    fault_io_heal();
    expect_rows(fixture->aside, 1, ROWS);
    expect_rows(fixture->file, ROWS + 1, ROWS + 5);
    assert_int_equal(fixture->spool.exported, ROWS + 5);
}

/* ---- at work ---- */

/* To append is to read the block that the file ends in. */
static void a_block_that_cannot_be_appended_to_ends_in_a_new_file(void **state)
{
    struct fixture *fixture = *state;

    write_some(fixture);
    spoil_end(fixture, 0);
    add_rows(fixture, 5);
    for (int i = 0; i < TRIES; i++) {
        edge(fixture);
        assert_false(audit_is_healthy(fixture->audit));
        assert_int_equal(fixture->spool.exported, ROWS);
    }
    edge(fixture);
    edge(fixture);
    assert_true(audit_is_healthy(fixture->audit));
    fault_io_heal();
    expect_rows(fixture->aside, 1, ROWS);
    expect_rows(fixture->file, ROWS + 1, ROWS + 5);
}

/* Else it would go on like this, a file every ten seconds. */
static void where_the_next_file_fails_too_no_more_are_moved(void **state)
{
    struct fixture *fixture = *state;

    write_some(fixture);
    add_rows(fixture, 5);
    fault_io_arm(fixture->folder, FAULT_WRITE, 1, 0, EIO);
    stop(fixture); /* so that the file is opened under the eyes of the fault */
    start(fixture);
    for (int i = 0; i < 4 * TRIES; i++)
        edge(fixture);
    fault_io_disarm();
    assert_true(status_of(fixture->aside).st_ino > 0);
    (void)snprintf(fixture->aside, sizeof(fixture->aside), "%s.unread-2", fixture->file);
    assert_int_equal(status_of(fixture->aside).st_ino, 0);
    (void)snprintf(fixture->aside, sizeof(fixture->aside), "%s.unread-1", fixture->file);
    edge(fixture);
    assert_true(audit_is_healthy(fixture->audit));
    expect_rows(fixture->file, ROWS + 1, ROWS + 5);
}

/* Two errors and a success in turn are no reason. */
static void errors_with_successes_between_them_move_nothing(void **state)
{
    struct fixture *fixture = *state;

    write_some(fixture);
    for (int i = 0; i < 3 * TRIES; i++) {
        spoil_end(fixture, 2);
        add_rows(fixture, 1);
        for (int j = 0; j < 3; j++)
            edge(fixture);
        assert_true(audit_is_healthy(fixture->audit));
        fault_io_heal();
    }
    expect_rows(fixture->file, 1, ROWS + 3 * TRIES);
    assert_int_equal(status_of(fixture->aside).st_ino, 0);
}

/* ---- as a witness of a damaged database ---- */

struct witness {
    bool seen[ROWS + 1];
    unsigned count;
};

static int note(void *context, const struct spool_ended *ended)
{
    struct witness *witness = context;

    assert_in_range(ended->seq, 1, ROWS);
    assert_false(witness->seen[ended->seq]);
    witness->seen[ended->seq] = true;
    witness->count++;
    return 0;
}

static unsigned lines_in(const char *path, uint64_t from, uint64_t to)
{
    FILE *file = fopen(path, "re");
    char line[4096];
    unsigned count = 0;
    uint64_t at = 0;

    assert_non_null(file);
    while (fgets(line, sizeof(line), file)) {
        count += at < to && at + strlen(line) > from;
        at += strlen(line);
    }
    (void)fclose(file);
    return count;
}

static void all_lines_but_those_of_a_bad_block_are_told(void **state)
{
    struct fixture *fixture = *state;

    write_some(fixture);
    struct stat st = status_of(fixture->file);
    for (uint64_t from = 0; from < (uint64_t)st.st_size; from += BLOCK) {
        struct witness witness = {0};
        unsigned there = lines_in(fixture->file, from, from + BLOCK);

        fault_io_spoil(st.st_ino, from, BLOCK, 0);
        assert_int_equal(audit_history_each(fixture->file, note, &witness), 0);
        assert_in_range(witness.count, ROWS - there - 1, ROWS - there);
        assert_non_null(strstr(logged, "audit_unread"));
        fault_io_heal();
    }
}

static void a_block_that_reads_again_is_told_whole(void **state)
{
    struct fixture *fixture = *state;
    struct witness witness = {0};

    write_some(fixture);
    fault_io_spoil(status_of(fixture->file).st_ino, BLOCK, BLOCK, 3);
    assert_int_equal(audit_history_each(fixture->file, note, &witness), 0);
    assert_int_equal(witness.count, ROWS);
    assert_null(strstr(logged, "audit_unread"));
}

#define ON_FOLDER(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_FOLDER(an_end_that_reads_again_costs_nothing),
        ON_FOLDER(an_end_that_never_reads_is_given_another_name),
        ON_FOLDER(a_block_that_cannot_be_appended_to_ends_in_a_new_file),
        ON_FOLDER(where_the_next_file_fails_too_no_more_are_moved),
        ON_FOLDER(errors_with_successes_between_them_move_nothing),
        ON_FOLDER(all_lines_but_those_of_a_bad_block_are_told),
        ON_FOLDER(a_block_that_reads_again_is_told_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
