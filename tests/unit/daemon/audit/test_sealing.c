/* SPDX-License-Identifier: MIT */
/*
 * test_sealing.c - the chain of seals follows the audit file, whatever happens to it
 *
 * Each case ends with a walk over its files, in order, that verifies every seal.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/view.h"
#include "daemon/audit/audit.h"
#include "daemon/audit/sealing.h"
#include "daemon/seal/seal.h"
#include "daemon/seal/sha256.h"
#include "store/spool.h"
#include "tests/support/audit_fixture.h"
#include "tests/support/files.h"
#include "tests/support/spool_fake.h"

#define MINUTE 60000

static int setup(void **state)
{
    static struct audit_fixture fixture;

    memset(&fixture, 0, sizeof(fixture));
    audit_fixture_setup(&fixture);
    fixture.settings.seal_ms = MINUTE;
    fixture.settings.own_lane = "$report";
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    audit_fixture_teardown(*state);
    return 0;
}

/* ---- a walk over the files ---- */

struct walk {
    struct seal_chain chain;
    unsigned seals;
    unsigned starts;
    char why[SEAL_WHY_MAX]; /* of the last start */
};

static void walk_line(struct walk *walk, const char *line, size_t size)
{
    uint8_t expected[SHA256_SIZE];
    struct seal seal;

    if (!seal_is_line(line, size)) {
        seal_add(&walk->chain, view_of(line, size + 1));
        return;
    }
    assert_true(seal_parse(line, size, &seal));
    seal_expect(&walk->chain, &seal, expected);
    assert_memory_equal(expected, seal.digest, SHA256_SIZE);
    walk->seals++;
    if (seal.why.size > 0) {
        walk->starts++;
        (void)snprintf(walk->why, sizeof(walk->why), "%.*s", (int)seal.why.size,
                       view_chars(seal.why));
    } else {
        assert_int_equal(seal.number, walk->chain.number + 1);
        assert_int_equal(seal.lines, walk->chain.lines);
        assert_memory_equal(view_chars(seal.marks), walk->chain.marks, (size_t)seal.lines);
        if (seal.has_prev)
            assert_memory_equal(seal.prev, walk->chain.digest, SHA256_SIZE);
    }
    seal_resume(&walk->chain, seal.number, seal.digest);
}

static void walk_file(struct walk *walk, const char *path)
{
    struct files_text text = files_read(path);
    const char *at = text.memory, *end = text.memory + text.size;

    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));

        assert_non_null(newline);
        walk_line(walk, at, (size_t)(newline - at));
        at = newline + 1;
    }
    free(text.memory);
}

static void walk_begin(struct walk *walk)
{
    memset(walk, 0, sizeof(*walk));
    seal_begin(&walk->chain);
}

/* Every line of the file is sealed, by so many seals. */
static void expect_sealed(const struct audit_fixture *fixture, unsigned seals, unsigned starts)
{
    struct walk walk;

    walk_begin(&walk);
    if (access(fixture->rotated, F_OK) == 0)
        walk_file(&walk, fixture->rotated);
    walk_file(&walk, fixture->file);
    assert_int_equal(walk.seals, seals);
    assert_int_equal(walk.starts, starts);
    assert_int_equal(walk.chain.lines, 0);
}

static void expect_start(const struct audit_fixture *fixture, unsigned starts, const char *why)
{
    struct walk walk;

    walk_begin(&walk);
    walk_file(&walk, fixture->file);
    assert_int_equal(walk.starts, starts);
    assert_string_equal(walk.why, why);
}

static void add_and_export(struct audit_fixture *fixture, unsigned rows)
{
    audit_fixture_add_rows(fixture, rows);
    assert_false(audit_fixture_export(fixture));
}

/* As a process that dies: nothing is sealed or synced at its end. */
static void crash(struct audit_fixture *fixture)
{
    struct files_text text = files_read(fixture->file);

    audit_fixture_stop(fixture);
    files_write(fixture->file, text.memory, text.size);
    free(text.memory);
}

/* ---- cases ---- */

static void lines_get_a_seal_after_the_interval(void **state)
{
    struct audit_fixture *fixture = *state;
    struct walk walk;

    audit_fixture_start(fixture);
    add_and_export(fixture, 3);
    fixture->now_ms += MINUTE - 1;
    add_and_export(fixture, 1);
    walk_begin(&walk);
    walk_file(&walk, fixture->file);
    assert_int_equal(walk.seals, 1); /* with which the chain starts */
    fixture->now_ms += 1;
    add_and_export(fixture, 0);
    expect_sealed(fixture, 2, 1);
    fixture->now_ms += 10 * MINUTE;
    add_and_export(fixture, 0);
    audit_fixture_stop(fixture);
    expect_sealed(fixture, 2, 1); /* nothing is new */
}

static void without_seals_there_are_none(void **state)
{
    struct audit_fixture *fixture = *state;

    fixture->settings.seal_ms = 0;
    audit_fixture_start(fixture);
    add_and_export(fixture, 3);
    fixture->now_ms += 2 * (int64_t)MINUTE;
    add_and_export(fixture, 1);
    audit_fixture_stop(fixture);
    audit_fixture_expect(fixture->file, 1, 4);
}

static void a_stop_seals_and_a_start_continues(void **state)
{
    struct audit_fixture *fixture = *state;

    for (unsigned run = 1; run <= 3; run++) {
        audit_fixture_start(fixture);
        add_and_export(fixture, 2);
        audit_fixture_stop(fixture);
        expect_sealed(fixture, 1 + run, 1);
    }
}

static void many_lines_are_sealed_at_once(void **state)
{
    struct audit_fixture *fixture = *state;
    struct walk walk;

    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 3 * SEALING_LINES_MAX);
    while (audit_fixture_export(fixture))
        ;
    walk_begin(&walk);
    walk_file(&walk, fixture->file);
    assert_true(walk.seals >= 3);
    assert_true(walk.chain.lines < SEALING_LINES_MAX);
}

static void a_crash_carries_the_chain_over(void **state)
{
    struct audit_fixture *fixture = *state;
    static const char torn[] = "{\"seq\":3,\"ti";

    audit_fixture_start(fixture);
    add_and_export(fixture, 2);
    crash(fixture);
    files_append(fixture->file, torn, sizeof(torn) - 1);
    audit_fixture_start(fixture);
    add_and_export(fixture, 2);
    audit_fixture_stop(fixture);
    expect_sealed(fixture, 2, 1);
}

static void a_torn_seal_is_written_again(void **state)
{
    struct audit_fixture *fixture = *state;
    struct stat st;

    audit_fixture_start(fixture);
    add_and_export(fixture, 2);
    audit_fixture_stop(fixture);
    assert_int_equal(stat(fixture->file, &st), 0);
    assert_int_equal(truncate(fixture->file, st.st_size - 10), 0);
    audit_fixture_start(fixture);
    add_and_export(fixture, 0);
    audit_fixture_stop(fixture);
    expect_sealed(fixture, 2, 1);
}

static void a_rotation_carries_the_chain_over(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    add_and_export(fixture, 2);
    assert_int_equal(rename(fixture->file, fixture->rotated), 0);
    audit_reopen(fixture->audit, &fixture->settings);
    add_and_export(fixture, 2);
    audit_fixture_stop(fixture);
    expect_sealed(fixture, 3, 1);
    struct files_text text = files_read(fixture->file);
    assert_non_null(strstr(text.memory, "\"prev\":\"")); /* it is verified alone, too */
    free(text.memory);
}

static void a_rename_without_a_signal_carries_it_over(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    add_and_export(fixture, 2);
    assert_int_equal(rename(fixture->file, fixture->rotated), 0);
    audit_sync(fixture->audit, fixture->now_ms);
    add_and_export(fixture, 2);
    audit_fixture_stop(fixture);
    expect_sealed(fixture, 3, 1);
}

static void a_crash_after_a_rotation_carries_it_over(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    add_and_export(fixture, 2);
    crash(fixture);
    assert_int_equal(rename(fixture->file, fixture->rotated), 0);
    audit_fixture_start(fixture);
    add_and_export(fixture, 1);
    audit_fixture_stop(fixture);
    expect_sealed(fixture, 2, 1);
}

static void a_reload_without_a_rename_continues(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    add_and_export(fixture, 2);
    audit_reopen(fixture->audit, &fixture->settings);
    audit_reopen(fixture->audit, &fixture->settings);
    add_and_export(fixture, 2);
    audit_fixture_stop(fixture);
    expect_sealed(fixture, 3, 1);
}

static void an_older_file_without_seals_gets_a_chain(void **state)
{
    struct audit_fixture *fixture = *state;
    struct walk walk;

    fixture->settings.seal_ms = 0;
    audit_fixture_start(fixture);
    add_and_export(fixture, 5);
    audit_fixture_stop(fixture);
    fixture->settings.seal_ms = MINUTE;
    audit_fixture_start(fixture);
    add_and_export(fixture, 5);
    audit_fixture_stop(fixture);
    expect_start(fixture, 1, SEALING_NO_SEAL);
    walk_begin(&walk);
    walk_file(&walk, fixture->file);
    assert_int_equal(walk.seals, 2);
}

static void synced_lines_that_are_missing_start_a_chain(void **state)
{
    struct audit_fixture *fixture = *state;
    struct files_text text;

    audit_fixture_start(fixture);
    add_and_export(fixture, 2);
    audit_fixture_stop(fixture);
    text = files_read(fixture->file);
    audit_fixture_start(fixture);
    add_and_export(fixture, 2);
    audit_fixture_stop(fixture);
    spool_fake_commit(&fixture->spool);
    files_write(fixture->file, text.memory, text.size);
    free(text.memory);
    audit_fixture_start(fixture);
    add_and_export(fixture, 1);
    audit_fixture_stop(fixture);
    expect_start(fixture, 2, SEALING_MISSING);
}

static void a_truncated_file_starts_a_chain(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    add_and_export(fixture, 2);
    audit_sync(fixture->audit, fixture->now_ms);
    assert_int_equal(truncate(fixture->file, 0), 0);
    add_and_export(fixture, 1);
    audit_fixture_stop(fixture);
    expect_start(fixture, 1, SEALING_TRUNCATED);
}

static void a_deleted_file_starts_a_chain(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    add_and_export(fixture, 2);
    assert_int_equal(unlink(fixture->file), 0);
    audit_sync(fixture->audit, fixture->now_ms);
    add_and_export(fixture, 1);
    audit_fixture_stop(fixture);
    expect_start(fixture, 1, SEALING_DELETED);
}

static void lines_of_the_daemon_itself_are_no_reason_for_a_seal(void **state)
{
    struct audit_fixture *fixture = *state;
    struct walk walk;

    audit_fixture_start(fixture);
    add_and_export(fixture, 1);
    fixture->now_ms += MINUTE;
    add_and_export(fixture, 0);
    expect_sealed(fixture, 2, 1);
    spool_fake_add(&fixture->spool, SPOOL_DELIVERED, SPOOL_REASON_NONE)->lane = "$report";
    for (int minute = 0; minute < 5; minute++) {
        fixture->now_ms += MINUTE;
        add_and_export(fixture, 0);
    }
    walk_begin(&walk);
    walk_file(&walk, fixture->file);
    assert_int_equal(walk.seals, 2);
    assert_int_equal(walk.chain.lines, 1);
    audit_fixture_stop(fixture);
    expect_sealed(fixture, 3, 1);
}

static void only_a_synced_seal_is_the_newest(void **state)
{
    struct audit_fixture *fixture = *state;

    fixture->settings.publishes_seals = true;
    audit_fixture_start(fixture);
    add_and_export(fixture, 1);
    audit_sync(fixture->audit, fixture->now_ms);
    struct view first = audit_newest_seal(fixture->audit);
    assert_true(first.size > 0); /* that with which the chain starts */
    fixture->now_ms += MINUTE;
    add_and_export(fixture, 0);
    assert_int_equal(audit_newest_seal(fixture->audit).size, 0);
    assert_true(audit_due_ms(fixture->audit) <= fixture->now_ms + AUDIT_SYNC_MS);
    audit_sync(fixture->audit, fixture->now_ms);
    struct view newest = audit_newest_seal(fixture->audit);
    struct files_text text = files_read(fixture->file);
    assert_true(newest.size > 0 && text.size > newest.size);
    assert_memory_equal(newest.data, text.memory + text.size - 1 - newest.size, newest.size);
    free(text.memory);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(lines_get_a_seal_after_the_interval),
        CASE(without_seals_there_are_none),
        CASE(a_stop_seals_and_a_start_continues),
        CASE(many_lines_are_sealed_at_once),
        CASE(a_crash_carries_the_chain_over),
        CASE(a_torn_seal_is_written_again),
        CASE(a_rotation_carries_the_chain_over),
        CASE(a_rename_without_a_signal_carries_it_over),
        CASE(a_crash_after_a_rotation_carries_it_over),
        CASE(a_reload_without_a_rename_continues),
        CASE(an_older_file_without_seals_gets_a_chain),
        CASE(synced_lines_that_are_missing_start_a_chain),
        CASE(a_truncated_file_starts_a_chain),
        CASE(a_deleted_file_starts_a_chain),
        CASE(lines_of_the_daemon_itself_are_no_reason_for_a_seal),
        CASE(only_a_synced_seal_is_the_newest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
