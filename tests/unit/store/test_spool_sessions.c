/* SPDX-License-Identifier: MIT */
/*
 * test_spool_sessions.c - what the spool keeps of a session, over restarts and lost batches
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the above */
#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/view.h"
#include "store/spool.h"
#include "tests/support/fault_io.h"
#include "tests/support/spool_fixture.h"

enum { UID = 7, EXPIRY = 60, DAY_S = 86400 };

static struct spool_session *create(struct fixture *f, const char *client)
{
    struct spool_session *session = NULL;

    assert_int_equal(
        spool_session_create(f->spool, UID, view_of_text(client), EXPIRY, &session), 0);
    return session;
}

static struct spool_session *find(struct fixture *f, const char *client)
{
    return spool_session_find(f->spool, UID, view_of_text(client));
}

static uint64_t publish(struct fixture *f, const struct spool_session *session, uint16_t packet)
{
    struct spool_message message = make_message("once");
    uint64_t id;

    message.qos = 2;
    message.session = session->id;
    message.packet_id = packet;
    assert_int_equal(spool_append(f->spool, &message, &f->now, &id), 0);
    return id;
}

static uint64_t message_of(struct fixture *f, const struct spool_session *session, uint16_t id)
{
    uint64_t message = 99;

    assert_int_equal(spool_find_unreleased(f->spool, session, id, &message), 0);
    return message;
}

static void fail_next_commit(struct fixture *f)
{
    fault_io_arm(f->directory, FAULT_WRITE | FAULT_TRUNCATE, 1, 0, ENOSPC);
    assert_int_equal(spool_commit(f->spool, &f->now), SPOOL_E_DISK);
    fault_io_disarm();
}

static int64_t rows_of(const struct fixture *f, const char *table)
{
    char sql[64];

    (void)snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s", table);
    check_sound(f);
    return query_number(f, sql);
}

static void a_session_survives_a_restart_once_it_is_committed(void **state)
{
    struct fixture *f = *state;

    (void)create(f, "a");
    assert_true(spool_has_work(f->spool));
    assert_true(spool_session_durable(f->spool) < spool_session_changes(f->spool));
    reopen_spool(f); /* not committed */
    assert_null(find(f, "a"));
    struct spool_session *session = create(f, "a");
    assert_int_equal(spool_session_set_subscriptions(f->spool, session, view_of_text("abc")),
                     0);
    spool_session_set_missed(f->spool, session, 5);
    commit(f);
    assert_int_equal(spool_session_durable(f->spool), spool_session_changes(f->spool));
    assert_false(spool_has_work(f->spool));
    reopen_spool(f);
    session = find(f, "a");
    assert_non_null(session);
    assert_int_equal(session->expiry_s, EXPIRY);
    assert_int_equal(session->missed, 5);
    assert_int_equal(session->subscriptions.size, 3);
    assert_memory_equal(session->subscriptions.data, "abc", 3);
    assert_int_not_equal(session->left_at, SPOOL_SESSION_CONNECTED);
    assert_null(spool_session_find(f->spool, UID + 1, view_of_text("a")));
    assert_int_equal(spool_session_count(f->spool), 1);
}

static void a_dropped_session_takes_all_of_it_along(void **state)
{
    struct fixture *f = *state;
    struct spool_session *session = create(f, "a");

    (void)publish(f, session, 1);
    (void)publish(f, session, UINT16_MAX);
    (void)publish(f, create(f, "b"), 1);
    commit(f);
    close_spool(f);
    tamper(f, "INSERT INTO outbox SELECT id, 1, 0, '{}' FROM session WHERE client = 'a'");
    open_spool(f);
    session = find(f, "a");
    spool_session_drop(f->spool, session);
    assert_null(find(f, "a"));
    session = create(f, "a"); /* in the same commit */
    commit(f);
    assert_int_equal(message_of(f, session, 1), 0);
    assert_int_equal(message_of(f, find(f, "b"), 1), 3);
    assert_int_equal(rows_of(f, "session"), 2);
    assert_int_equal(rows_of(f, "unreleased"), 1);
    assert_int_equal(rows_of(f, "outbox"), 0);
    spool_session_drop(f->spool, create(f, "c")); /* that never was on disk */
    commit(f);
    assert_int_equal(rows_of(f, "session"), 2);
}

static void count_unreleased(void *userdata, uint16_t packet_id, uint64_t message)
{
    uint64_t *sum = userdata;

    *sum += packet_id * UINT64_C(1000) + message;
}

static void a_packet_id_is_stored_with_its_message(void **state)
{
    struct fixture *f = *state;
    struct spool_session *session = create(f, "a");
    uint64_t sum = 0;

    assert_int_equal(publish(f, session, 5), 1);
    commit(f);
    assert_int_equal(publish(f, session, 6), 2);
    reopen_spool(f); /* neither message 2 nor its packet id */
    session = find(f, "a");
    assert_int_equal(ledger_of(f).accepted, 1);
    assert_int_equal(message_of(f, session, 5), 1);
    assert_int_equal(message_of(f, session, 6), 0);
    assert_int_equal(publish(f, session, 7), 2);
    assert_int_equal(spool_each_unreleased(f->spool, session, count_unreleased, &sum), 0);
    assert_int_equal(sum, 12003);
    commit(f);
    assert_int_equal(rows_of(f, "unreleased"), 2);
}

static void a_released_packet_id_is_free_with_the_commit(void **state)
{
    struct fixture *f = *state;
    struct spool_session *session = create(f, "a");

    (void)publish(f, session, 5);
    commit(f);
    assert_int_equal(spool_release_packet(f->spool, session, 5), 0);
    assert_true(spool_has_work(f->spool));
    reopen_spool(f); /* not committed */
    session = find(f, "a");
    assert_int_equal(message_of(f, session, 5), 1);
    assert_int_equal(spool_release_packet(f->spool, session, 5), 0);
    commit(f);
    assert_int_equal(message_of(f, session, 5), 0);
    assert_int_equal(publish(f, session, 5), 2); /* and used again, */
    assert_int_equal(spool_release_packet(f->spool, session, 5), 0);
    assert_int_equal(publish(f, session, 5), 3); /* also within one batch */
    commit(f);
    assert_int_equal(message_of(f, session, 5), 3);
    assert_int_equal(rows_of(f, "unreleased"), 1);
}

static void a_lost_batch_keeps_what_was_noted_and_loses_the_messages(void **state)
{
    struct fixture *f = *state;

    fault_io_arm(f->directory, FAULT_WRITE | FAULT_TRUNCATE, 0, 0, ENOSPC);
    reopen_spool(f); /* whose files are watched from here on */
    struct spool_session *session = create(f, "a");
    (void)publish(f, session, 5);
    spool_session_drop(f->spool, create(f, "b"));
    commit(f);
    (void)create(f, "new");
    assert_int_equal(spool_release_packet(f->spool, session, 5), 0);
    (void)publish(f, session, 6);
    fail_next_commit(f);
    assert_int_equal(message_of(f, session, 5), 1);
    assert_int_equal(message_of(f, session, 6), 0);
    uint64_t durable = spool_session_durable(f->spool);
    commit(f); /* which holds nothing new */
    assert_int_equal(message_of(f, session, 5), 0);
    assert_int_equal(spool_session_durable(f->spool), durable);
    assert_int_equal(rows_of(f, "session"), 1);
    assert_true(spool_has_work(f->spool));
    commit(f);
    assert_int_equal(spool_session_durable(f->spool), spool_session_changes(f->spool));
    assert_int_equal(rows_of(f, "session"), 2);
}

static unsigned expire(struct fixture *f, uint32_t limit_s)
{
    return spool_session_expire(f->spool, &f->now, limit_s);
}

static void a_session_expires_after_its_client_left(void **state)
{
    struct fixture *f = *state;
    struct spool_session *session = create(f, "a");

    pass_time(f, 1000 * HOUR);
    assert_int_equal(expire(f, DAY_S), 0); /* connected */
    spool_session_leave(f->spool, session, &f->now);
    commit(f);
    pass_time(f, EXPIRY * 1000 - 1);
    assert_int_equal(expire(f, DAY_S), 0);
    spool_session_connect(f->spool, session, SPOOL_SESSION_NO_EXPIRY);
    pass_time(f, 2);
    assert_int_equal(expire(f, DAY_S), 0);
    spool_session_leave(f->spool, session, &f->now);
    pass_time(f, DAY_S * INT64_C(1000) - 1);
    assert_int_equal(expire(f, DAY_S), 0);
    assert_int_equal(expire(f, DAY_S / 2), 1); /* a limit that was lowered */
    commit(f);
    assert_int_equal(rows_of(f, "session"), 0);
}

static void many_sessions_expire_in_steps(void **state)
{
    struct fixture *f = *state;
    enum { SESSIONS = 2500, STEPS = 3 };
    unsigned ended = 0, calls = 0;
    char client[16];

    for (int i = 0; i < SESSIONS; i++) {
        (void)snprintf(client, sizeof(client), "c%d", i);
        spool_session_leave(f->spool, create(f, client), &f->now);
    }
    commit(f);
    pass_time(f, EXPIRY * 1000);
    for (; ended < SESSIONS && calls < STEPS; calls++) {
        unsigned now = expire(f, DAY_S);
        assert_in_range(now, 1, 1024);
        ended += now;
        if (now == 1024)
            assert_int_equal(expire(f, DAY_S), 0); /* before the commit */
        commit(f);
    }
    assert_int_equal(ended, SESSIONS);
    assert_int_equal(rows_of(f, "session"), 0);
}

/* What a session has makes the commit that drops it longer. */
static void sessions_with_many_rows_expire_in_smaller_steps(void **state)
{
    struct fixture *f = *state;
    enum { SESSIONS = 2, PACKETS = 5000 };
    char client[16];

    for (int i = 0; i < SESSIONS; i++) {
        (void)snprintf(client, sizeof(client), "c%d", i);
        struct spool_session *session = create(f, client);
        for (int id = 1; id <= PACKETS; id++)
            (void)publish(f, session, (uint16_t)id);
        spool_session_leave(f->spool, session, &f->now);
    }
    commit(f);
    pass_time(f, EXPIRY * 1000);
    for (int left = SESSIONS - 1; left >= 0; left--) {
        assert_non_null(spool_session_find_overdue(f->spool, &f->now, DAY_S));
        assert_int_equal(expire(f, DAY_S), 1);
        commit(f);
        assert_int_equal(rows_of(f, "unreleased"), left * PACKETS);
    }
    assert_null(spool_session_find_overdue(f->spool, &f->now, DAY_S));
}

/* The client of a daemon that was killed has left at the next start, and not before. */
static void a_client_that_was_connected_at_a_crash_leaves_at_the_start(void **state)
{
    struct fixture *f = *state;

    (void)create(f, "a");
    commit(f);
    pass_time(f, 10 * HOUR);
    reopen_spool(f);
    assert_int_equal(expire(f, DAY_S), 0);
    commit(f);
    pass_time(f, EXPIRY * 1000 - 1);
    assert_int_equal(expire(f, DAY_S), 0);
    pass_time(f, 1);
    assert_int_equal(expire(f, DAY_S), 1);
}

static void boot_again(struct fixture *f, int64_t wall_ms, bool is_credible)
{
    close_spool(f);
    memcpy(f->options.boot_id, BOOT_B, sizeof(BOOT_B));
    f->now =
        (struct spool_time){.wall_ms = wall_ms, .boot_ms = 20000, .wall_credible = is_credible};
    open_spool(f);
}

/* Time switched off counts for one that had left, and not for one that left since: neither
 * expires early, whatever the wall clock says meanwhile. */
static void a_jump_of_the_clock_expires_no_session_early(void **state)
{
    struct fixture *f = *state;
    int64_t wall_ms = INT64_C(1700000000000);

    f->now.wall_ms = wall_ms;
    f->now.wall_credible = true;
    struct spool_session *session = create(f, "before");
    (void)create(f, "connected");
    append_many(f, 1);
    spool_session_leave(f->spool, session, &f->now);
    pass_time(f, 1000);
    spool_request_clock_write(f->spool);
    commit(f);
    boot_again(f, 0, false); /* 1970 */
    assert_int_equal(expire(f, DAY_S), 0);
    session = create(f, "since");
    commit(f);
    spool_session_leave(f->spool, session, &f->now);
    pass_time(f, 5000);
    f->now.wall_ms = wall_ms + 2 * HOUR;
    f->now.wall_credible = true;
    for (int i = 0; i < 3; i++)
        commit(f); /* the jump */
    assert_int_equal(expire(f, DAY_S), 1);
    assert_null(find(f, "before"));
    assert_non_null(find(f, "since"));
    assert_non_null(find(f, "connected"));
    commit(f);
    reopen_spool(f); /* on disk as in memory */
    pass_time(f, (EXPIRY - 5) * 1000 - 1);
    assert_int_equal(expire(f, DAY_S), 0);
    pass_time(f, 20 * 1000);
    assert_int_equal(expire(f, DAY_S), 2);
}

static void ten_thousand_sessions_are_found_after_a_restart(void **state)
{
    struct fixture *f = *state;
    enum { SESSIONS = 10000 };
    char client[16];
    unsigned seen = 0;

    for (int i = 0; i < SESSIONS; i++) {
        (void)snprintf(client, sizeof(client), "client-%d", i);
        (void)create(f, client);
    }
    commit(f);
    reopen_spool(f);
    assert_int_equal(spool_session_count(f->spool), SESSIONS);
    for (int i = 0; i < SESSIONS; i++) {
        (void)snprintf(client, sizeof(client), "client-%d", i);
        assert_non_null(find(f, client));
    }
    for (struct spool_session *session = spool_session_next(f->spool, NULL); session;
         session = spool_session_next(f->spool, session))
        seen++;
    assert_int_equal(seen, SESSIONS);
    check_sound(f);
}

#define OPEN(name) cmocka_unit_test_setup_teardown(name, setup_open, teardown)

static int setup_open(void **state)
{
    if (setup_fast(state) != 0)
        return -1;
    open_spool(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OPEN(a_session_survives_a_restart_once_it_is_committed),
        OPEN(a_dropped_session_takes_all_of_it_along),
        OPEN(a_packet_id_is_stored_with_its_message),
        OPEN(a_released_packet_id_is_free_with_the_commit),
        OPEN(a_lost_batch_keeps_what_was_noted_and_loses_the_messages),
        OPEN(a_session_expires_after_its_client_left),
        OPEN(many_sessions_expire_in_steps),
        OPEN(sessions_with_many_rows_expire_in_smaller_steps),
        OPEN(a_client_that_was_connected_at_a_crash_leaves_at_the_start),
        OPEN(a_jump_of_the_clock_expires_no_session_early),
        OPEN(ten_thousand_sessions_are_found_after_a_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
