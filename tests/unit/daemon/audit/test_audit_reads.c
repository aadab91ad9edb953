/* SPDX-License-Identifier: MIT */
/*
 * test_audit_reads.c - an audit file with blocks that cannot be read or written
 *
 * Over the fake spool, with bad sectors (tests/support/fault_io.h). Until the file is given up
 * each row waits; afterwards each is in one of the files at least, and the cursor never passes
 * one that is not synced.
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
#include <sys/types.h>
#include <unistd.h>

#include "base/attr.h"
#include "base/log.h"
#include "daemon/audit/audit.h"
#include "daemon/audit/history.h"
#include "store/spool.h"
#include "tests/support/audit_fixture.h"
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

/* As the gateway's edge and its tick, a second later each time. */
static void edge(struct audit_fixture *fixture)
{
    spool_fake_commit(&fixture->spool);
    (void)audit_fixture_export(fixture);
    fixture->now_ms += 1001;
    audit_sync(fixture->audit, fixture->now_ms);
}

static int setup(void **state)
{
    struct audit_fixture *fixture = calloc(1, sizeof(*fixture));

    assert_non_null(fixture);
    audit_fixture_setup(fixture);
    logged[0] = '\0';
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct audit_fixture *fixture = *state;

    fault_io_heal();
    audit_fixture_teardown(fixture);
    free(fixture);
    return 0;
}

static struct stat status_of(const char *path)
{
    struct stat st = {0};

    (void)stat(path, &st);
    return st;
}

static void write_some(struct audit_fixture *fixture)
{
    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, ROWS);
    edge(fixture);
    edge(fixture);
    audit_fixture_expect(fixture->file, 1, ROWS);
    assert_int_equal(fixture->spool.exported, ROWS);
}

static void spoil_end(const struct audit_fixture *fixture, uint64_t times)
{
    struct stat st = status_of(fixture->file);

    assert_true(st.st_size % BLOCK > 0);
    fault_io_spoil(st.st_ino, (uint64_t)st.st_size / BLOCK * BLOCK, BLOCK, times);
}

/* ---- at the start ---- */

static void an_end_that_reads_again_costs_nothing(void **state)
{
    struct audit_fixture *fixture = *state;

    write_some(fixture);
    audit_fixture_stop(fixture);
    for (unsigned times = 1; times < TRIES; times++) {
        spoil_end(fixture, times);
        audit_fixture_start(fixture);
        for (unsigned i = 0; i < times; i++)
            edge(fixture);
        assert_true(audit_is_healthy(fixture->audit));
        audit_fixture_expect(fixture->file, 1, ROWS);
        audit_fixture_stop(fixture);
        fault_io_heal();
    }
    assert_int_equal(status_of(fixture->aside).st_ino, 0);
    assert_null(strstr(logged, "audit_set_aside"));
}

static void an_end_that_never_reads_is_given_another_name(void **state)
{
    struct audit_fixture *fixture = *state;

    write_some(fixture);
    audit_fixture_stop(fixture);
    ino_t inode = status_of(fixture->file).st_ino;
    spoil_end(fixture, 0);
    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 5);
    for (int i = 0; i < TRIES + 2; i++)
        edge(fixture);
    assert_true(audit_is_healthy(fixture->audit));
    assert_int_equal(status_of(fixture->aside).st_ino, inode);
    assert_non_null(strstr(logged, "audit_set_aside"));
    fault_io_heal();
    audit_fixture_expect(fixture->aside, 1, ROWS);
    audit_fixture_expect(fixture->file, ROWS + 1, ROWS + 5);
    assert_int_equal(fixture->spool.exported, ROWS + 5);
}

/* ---- at work ---- */

/* To append is to read the block that the file ends in. */
static void a_block_that_cannot_be_appended_to_ends_in_a_new_file(void **state)
{
    struct audit_fixture *fixture = *state;

    write_some(fixture);
    spoil_end(fixture, 0);
    audit_fixture_add_rows(fixture, 5);
    for (int i = 0; i < TRIES; i++) {
        edge(fixture);
        assert_false(audit_is_healthy(fixture->audit));
        assert_int_equal(fixture->spool.exported, ROWS);
    }
    edge(fixture);
    edge(fixture);
    assert_true(audit_is_healthy(fixture->audit));
    fault_io_heal();
    audit_fixture_expect(fixture->aside, 1, ROWS);
    audit_fixture_expect(fixture->file, ROWS + 1, ROWS + 5);
}

/* Otherwise there would be a new file every ten seconds. */
static void where_the_next_file_fails_too_no_more_are_moved(void **state)
{
    struct audit_fixture *fixture = *state;

    write_some(fixture);
    audit_fixture_add_rows(fixture, 5);
    fault_io_arm(fixture->folder, FAULT_WRITE, 1, 0, EIO);
    audit_fixture_stop(fixture); /* so that the file is opened under the eyes of the fault */
    audit_fixture_start(fixture);
    for (int i = 0; i < 4 * TRIES; i++)
        edge(fixture);
    fault_io_disarm();
    assert_true(status_of(fixture->aside).st_ino > 0);
    (void)snprintf(fixture->aside, sizeof(fixture->aside), "%s.unread-2", fixture->file);
    assert_int_equal(status_of(fixture->aside).st_ino, 0);
    (void)snprintf(fixture->aside, sizeof(fixture->aside), "%s.unread-1", fixture->file);
    edge(fixture);
    assert_true(audit_is_healthy(fixture->audit));
    audit_fixture_expect(fixture->file, ROWS + 1, ROWS + 5);
}

/* Two errors and a success in turn are no reason. */
static void errors_with_successes_between_them_move_nothing(void **state)
{
    struct audit_fixture *fixture = *state;

    write_some(fixture);
    for (int i = 0; i < 3 * TRIES; i++) {
        spoil_end(fixture, 2);
        audit_fixture_add_rows(fixture, 1);
        for (int j = 0; j < 3; j++)
            edge(fixture);
        assert_true(audit_is_healthy(fixture->audit));
        fault_io_heal();
    }
    audit_fixture_expect(fixture->file, 1, ROWS + 3 * TRIES);
    assert_int_equal(status_of(fixture->aside).st_ino, 0);
}

/* ---- as a reported of a damaged database ---- */

struct reported {
    bool seen[ROWS + 1];
    unsigned count;
};

static int note(void *context, const struct spool_ended *ended)
{
    struct reported *reported = context;

    assert_in_range(ended->seq, 1, ROWS);
    assert_false(reported->seen[ended->seq]);
    reported->seen[ended->seq] = true;
    reported->count++;
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

static void all_lines_but_those_of_a_bad_block_are_reported(void **state)
{
    struct audit_fixture *fixture = *state;

    write_some(fixture);
    struct stat st = status_of(fixture->file);
    for (uint64_t from = 0; from < (uint64_t)st.st_size; from += BLOCK) {
        struct reported reported = {0};
        unsigned there = lines_in(fixture->file, from, from + BLOCK);

        fault_io_spoil(st.st_ino, from, BLOCK, 0);
        assert_int_equal(audit_history_each(fixture->file, note, &reported), 0);
        assert_in_range(reported.count, ROWS - there - 1, ROWS - there);
        assert_non_null(strstr(logged, "audit_unread"));
        fault_io_heal();
    }
}

static void a_block_that_is_readable_again_is_reported_whole(void **state)
{
    struct audit_fixture *fixture = *state;
    struct reported reported = {0};

    write_some(fixture);
    fault_io_spoil(status_of(fixture->file).st_ino, BLOCK, BLOCK, 3);
    assert_int_equal(audit_history_each(fixture->file, note, &reported), 0);
    assert_int_equal(reported.count, ROWS);
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
        ON_FOLDER(all_lines_but_those_of_a_bad_block_are_reported),
        ON_FOLDER(a_block_that_is_readable_again_is_reported_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
