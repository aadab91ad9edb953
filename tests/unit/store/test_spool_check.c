/* SPDX-License-Identifier: MIT */
/*
 * test_spool_check.c - spool_check() and spool_check_names() report what was done to a spool
 *
 * Each case begins with a spool of five messages, of which two were delivered, changes
 * one thing behind its back, and expects the finding that names it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "store/salvage/mark.h"
#include "store/spool.h"
#include "tests/support/spool_fixture.h"

struct findings {
    unsigned count;
    unsigned parts; /* a bit each */
    char text[4096];
};

static void add_finding(void *userdata, enum spool_part part, const char *text)
{
    struct findings *findings = userdata;
    size_t used = strlen(findings->text);

    findings->count++;
    findings->parts |= 1U << part;
    (void)snprintf(findings->text + used, sizeof(findings->text) - used, "%s\n", text);
}

static void make_spool(struct fixture *f)
{
    use_no_segments(f); /* test_segments.c has the same for them */
    open_spool(f);
    append_many(f, 5);
    deliver(f, next_id(f));
    deliver(f, next_id(f));
    commit(f);
    close_spool(f);
}

static struct findings check(const struct fixture *f)
{
    struct findings findings = {0};
    struct spool *reader;

    assert_int_equal(spool_open_reader(f->directory, &reader), 0);
    assert_int_equal(spool_check(reader, add_finding, &findings), 0);
    spool_close(reader);
    return findings;
}

static struct findings check_names(const struct fixture *f)
{
    struct findings findings = {0};

    spool_check_names(f->directory, add_finding, &findings);
    return findings;
}

static void expect(const struct findings *findings, enum spool_part part, const char *text)
{
    bool is_there = (findings->parts & 1U << part) != 0 && strstr(findings->text, text);

    if (!is_there)
        print_error("wanted \"%s\", found:\n%s", text, findings->text);
    assert_true(is_there);
}

static void write_at(const struct fixture *f, const char *name, off_t at, const char *bytes)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/%s", f->directory, name);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, strlen(bytes), at), (ssize_t)strlen(bytes));
    assert_int_equal(close(fd), 0);
}

/* ---- spool_check() ---- */

static void count_call(void *userdata)
{
    (*(unsigned *)userdata)++;
}

static void a_check_shows_that_it_goes_on(void **state)
{
    struct fixture *f = *state;
    struct findings findings = {0};
    struct spool *reader;
    unsigned calls = 0;

    open_spool(f);
    append_many(f, 2000);
    assert_int_equal(spool_open_reader(f->directory, &reader), 0);
    spool_set_check_progress(reader, count_call, &calls);
    assert_int_equal(spool_check(reader, add_finding, &findings), 0);
    assert_int_equal(findings.count, 0);
    assert_true(calls > 1);
    calls = 0;
    spool_set_check_progress(reader, NULL, NULL);
    assert_int_equal(spool_check(reader, add_finding, &findings), 0);
    assert_int_equal(calls, 0);
    spool_close(reader);
}

static void a_sound_spool_has_no_findings(void **state)
{
    struct fixture *f = *state;

    make_spool(f);
    assert_int_equal(check(f).count, 0);
    assert_int_equal(check_names(f).count, 0);
}

struct change {
    const char *sql;
    enum spool_part part;
    const char *text; /* of the finding */
};

/* Each in a spool of its own. */
static void expect_each(const struct change *changes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        void *fresh = NULL;

        assert_int_equal(setup_fast(&fresh), 0);
        make_spool(fresh);
        tamper(fresh, changes[i].sql);
        struct findings findings = check(fresh);
        expect(&findings, changes[i].part, changes[i].text);
        assert_int_equal(teardown(&fresh), 0);
    }
}

static void each_change_of_a_message_or_its_number_is_reported(void **state)
{
    static const struct change changes[] = {
        {"UPDATE message SET payload = x'00' WHERE key = 3", SPOOL_PART_MESSAGE,
         "message 3 is not what was stored"},
        {"UPDATE message SET behind = 1 WHERE key = 4", SPOOL_PART_MESSAGE,
         "message 4 is not what was stored"},
        {"UPDATE message SET behind = 1, sum = NULL WHERE key = 4", SPOOL_PART_IDS,
         "message 4 has number 3 in its lane, the one before it has 3"},
        {"UPDATE message SET behind = NULL, sum = NULL WHERE key = 4", SPOOL_PART_IDS,
         "message 4 has number 0 in its lane, the one before it has 3"},
        {"UPDATE lane SET unnumbered = 1", SPOOL_PART_LEDGER,
         "\"default\" numbered 4 messages, and a number is 5"},
        {"UPDATE lane SET unnumbered = -1", SPOOL_PART_LEDGER,
         "\"default\" numbered 6 messages, and the newest id is 5"},
    };

    (void)state;
    expect_each(changes, sizeof(changes) / sizeof(*changes));
}

static void each_change_of_a_counter_is_reported(void **state)
{
    static const struct change changes[] = {
        {"UPDATE lane SET accepted = accepted + 1", SPOOL_PART_LEDGER,
         "\"default\" does not balance: 6 accepted, 5 accounted for"},
        {"UPDATE lane SET accepted = accepted + 1, messages = messages + 1", SPOOL_PART_LEDGER,
         "counts 4 messages and holds 3"},
        {"UPDATE lane SET bytes = 1", SPOOL_PART_LEDGER, "counts 1 bytes and holds"},
        {"UPDATE lane SET last_id = 3", SPOOL_PART_LEDGER,
         "holds message 5, but ids were given out up to 3 only"},
        {"UPDATE lane SET last_id = 3", SPOOL_PART_DATABASE,
         "the database ends at id 3 and outcome 2, it was at id 5 and outcome 2"},
        {"UPDATE message SET key = key + (5 << 48) WHERE key = 5", SPOOL_PART_LEDGER,
         "1 messages are in lane 5, which there is not"},
    };

    (void)state;
    expect_each(changes, sizeof(changes) / sizeof(*changes));
}

static void each_change_of_an_id_is_reported(void **state)
{
    static const struct change changes[] = {
        {"INSERT INTO message SELECT key + (1 << 48), accepted, accepted_at, expires_at, charge,"
         " uid, flags, client, topic, properties, ref, payload, NULL, behind FROM message"
         " WHERE key = 3",
         SPOOL_PART_IDS, "message 3 is spooled 2 times"},
        {"UPDATE outcome SET id = 1", SPOOL_PART_IDS, "message 1 has 2 outcomes"},
        {"UPDATE outcome SET id = 3 WHERE seq = 2", SPOOL_PART_IDS,
         "message 3 has an outcome and is still spooled"},
        {"UPDATE outcome SET id = 999 WHERE seq = 2", SPOOL_PART_IDS,
         "outcome 2 is of message 999, but ids were given out from 1 to 5 only"},
    };

    (void)state;
    expect_each(changes, sizeof(changes) / sizeof(*changes));
}

static void each_change_of_the_records_is_reported(void **state)
{
    static const struct change changes[] = {
        {"DELETE FROM outcome WHERE seq = 2", SPOOL_PART_OUTCOMES,
         "the newest outcome is 1, the ledger has come to 2"},
        {"UPDATE spool SET exported_seq = 9", SPOOL_PART_OUTCOMES,
         "outcomes up to 9 were exported, but there are 2 only"},
        {"DELETE FROM outcome WHERE seq = 1", SPOOL_PART_OUTCOMES,
         "of the outcomes from 1 to 2, which are not in the audit file yet, 1 are missing"},
        {"UPDATE lane SET accepted = accepted + 1, evicted = 1", SPOOL_PART_OUTCOMES,
         "the ledger counts 3 outcomes, they are numbered up to 2"},
        {"UPDATE spool SET record_bytes = 1", SPOOL_PART_OUTCOMES, "bytes, 1 are counted"},
    };

    (void)state;
    expect_each(changes, sizeof(changes) / sizeof(*changes));
}

static void each_change_of_a_session_is_reported(void **state)
{
#define SESSION "INSERT INTO session (id, uid, client, expiry_s) VALUES (1, 0, 'c', 60);"
    static const struct change changes[] = {
        {"INSERT INTO session (id, uid, client, expiry_s) VALUES (1, 0, 'c', -1)",
         SPOOL_PART_IDS, "session 1 has no client, or an expiry"},
        {"INSERT INTO session (id, uid, client, expiry_s) VALUES (1, 0, '', 5)", SPOOL_PART_IDS,
         "session 1 has no client, or an expiry"},
        {SESSION "INSERT INTO unreleased VALUES (2 << 16 | 7, 1)", SPOOL_PART_IDS,
         "packet id 7 is unreleased in session 2, which does not exist"},
        {SESSION "INSERT INTO unreleased VALUES (1 << 16 | 7, 6)", SPOOL_PART_IDS,
         "session 1 has unreleased packet id 7 for message 6, which was not accepted"},
        {SESSION "INSERT INTO unreleased VALUES (1 << 16, 1)", SPOOL_PART_IDS,
         "session 1 has unreleased packet id 0 for message 1"},
        {SESSION "INSERT INTO outbox VALUES (2, 1, 0, '{}')", SPOOL_PART_IDS,
         "outcome 1 waits for session 2, which does not exist"},
        {"INSERT INTO requeued VALUES (99, 1, NULL)", SPOOL_PART_IDS,
         "message 99 was requeued, but is not spooled and has no end"},
        {SESSION "INSERT INTO outbox VALUES (1, 3, 0, '{}')", SPOOL_PART_IDS,
         "outcome 3 waits for session 1 and was not recorded"},
    };
    struct fixture *f = *state;

    make_spool(f);
    tamper(f, SESSION "INSERT INTO unreleased VALUES (1 << 16 | 7, 5);"
                      "INSERT INTO outbox VALUES (1, 2, 1, '{}'); INSERT INTO hold (lane)"
                      " VALUES ('')");
    assert_int_equal(check(f).count, 0);
    expect_each(changes, sizeof(changes) / sizeof(*changes));
#undef SESSION
}

static void pages_that_are_not_sound_are_reported_once_with_their_number(void **state)
{
    enum { PAGE = 4096, MESSAGES = 4, OUTCOMES = 6 };
    struct fixture *f = *state;

    make_spool(f);
    tamper(f, "PRAGMA wal_checkpoint(TRUNCATE)"); /* the log has the pages, too */
    write_at(f, "spool.db", (MESSAGES - 1) * PAGE, "not a page");
    struct findings findings = check(f);
    expect(&findings, SPOOL_PART_DATABASE, "the database is damaged: page 4 is not sound");
    assert_null(strstr(findings.text, "pages"));
    assert_int_equal(findings.parts & 1U << SPOOL_PART_MESSAGE, 0);
    write_at(f, "spool.db", (OUTCOMES - 1) * PAGE, "not a page");
    findings = check(f);
    expect(&findings, SPOOL_PART_DATABASE, "is not sound; 2 pages are not");
}

static void damage_that_the_daemon_noted_in_the_mark_is_reported(void **state)
{
    struct fixture *f = *state;
    const struct mark mark = {.is_suspect = true, .last_id = 5, .last_seq = 2};

    make_spool(f);
    int directory_fd = open(f->directory, O_RDONLY | O_DIRECTORY);
    int fd = mark_open(directory_fd);
    assert_true(fd >= 0);
    assert_int_equal(mark_write(fd, &mark), 0);
    assert_int_equal(close(fd) | close(directory_fd), 0);
    struct findings findings = check(f);
    expect(&findings, SPOOL_PART_DATABASE, "the daemon found damage when it last ran");
}

/* ---- spool_check_names() ---- */

static void copy_database(struct fixture *f, const char *to)
{
    char sql[256];

    (void)snprintf(sql, sizeof(sql), "VACUUM INTO '%s/%s'", f->directory, to);
    tamper(f, sql);
}

static void a_sound_successor_will_take_the_place(void **state)
{
    struct fixture *f = *state;

    make_spool(f);
    copy_database(f, "spool.db.salvaged");
    copy_database(f, "spool.db.restored");
    struct findings findings = check_names(f);
    assert_int_equal(findings.count, 2);
    expect(&findings, SPOOL_PART_NAMES, "spool.db.salvaged exists, left by a crash");
    expect(&findings, SPOOL_PART_NAMES, "spool.db.restored exists, left by a crash");
}

static void a_successor_behind_the_mark_will_move_aside(void **state)
{
    struct fixture *f = *state;
    char from[128], to[128];

    make_spool(f);
    copy_database(f, "copy");
    open_spool(f);
    append_many(f, 1);
    close_spool(f);
    (void)snprintf(from, sizeof(from), "%s/copy", f->directory);
    (void)snprintf(to, sizeof(to), "%s/spool.db.restored", f->directory);
    assert_int_equal(rename(from, to), 0);
    struct findings findings = check_names(f);
    assert_int_equal(findings.count, 1);
    expect(&findings, SPOOL_PART_NAMES,
           "spool.db.restored cannot take the place of spool.db (the newest commits are "
           "missing");
}

static void what_is_no_spool_will_move_aside(void **state)
{
    struct fixture *f = *state;
    char path[128];

    make_spool(f);
    write_at(f, "spool.db.salvaged", 0, "a text");
    (void)snprintf(path, sizeof(path), "%s/spool.db.restored", f->directory);
    assert_int_equal(symlink("spool.db", path), 0);
    (void)snprintf(path, sizeof(path), "%s/spool.db.new", f->directory);
    assert_int_equal(mkdir(path, 0700), 0);
    struct findings findings = check_names(f);
    assert_int_equal(findings.count, 3);
    expect(&findings, SPOOL_PART_NAMES, "spool.db.salvaged cannot take the place of spool.db");
    expect(&findings, SPOOL_PART_NAMES, "(is a symbolic link)");
    expect(&findings, SPOOL_PART_NAMES, "spool.db.new is a folder");
}

static void a_folder_that_is_missing_has_no_findings(void **state)
{
    struct findings findings = {0};

    (void)state;
    spool_check_names("/nonexistent", add_finding, &findings);
    assert_int_equal(findings.count, 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup_fast, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_check_shows_that_it_goes_on),
        CASE(a_sound_spool_has_no_findings),
        cmocka_unit_test(each_change_of_a_message_or_its_number_is_reported),
        cmocka_unit_test(each_change_of_a_counter_is_reported),
        cmocka_unit_test(each_change_of_an_id_is_reported),
        cmocka_unit_test(each_change_of_the_records_is_reported),
        CASE(each_change_of_a_session_is_reported),
        CASE(pages_that_are_not_sound_are_reported_once_with_their_number),
        CASE(damage_that_the_daemon_noted_in_the_mark_is_reported),
        CASE(a_sound_successor_will_take_the_place),
        CASE(a_successor_behind_the_mark_will_move_aside),
        CASE(what_is_no_spool_will_move_aside),
        cmocka_unit_test(a_folder_that_is_missing_has_no_findings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
