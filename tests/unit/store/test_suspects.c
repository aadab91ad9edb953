/* SPDX-License-Identifier: MIT */
/*
 * test_suspects.c - closings of a message are counted over restarts, until it ends
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the above */
#include <cmocka.h>

#include <errno.h>

#include "store/spool.h"
#include "tests/support/fault_io.h"
#include "tests/support/spool_fixture.h"

static unsigned count_closing(struct fixture *f, uint64_t id)
{
    unsigned closings = 0;

    assert_int_equal(spool_count_closing(f->spool, id, &closings), 0);
    return closings;
}

static struct spool_message next(struct fixture *f)
{
    struct spool_message message;

    assert_int_equal(spool_next(f->spool, &f->now, &message), 0);
    return message;
}

static unsigned check_rows(struct fixture *f)
{
    check_sound(f);
    return (unsigned)query_number(f, "SELECT count(*) FROM suspect");
}

static void closings_survive_a_restart(void **state)
{
    struct fixture *f = *state;

    append_many(f, 2);
    assert_int_equal(next(f).closings, 0);
    assert_int_equal(count_closing(f, 1), 1);
    assert_int_equal(count_closing(f, 1), 2);
    assert_true(spool_has_work(f->spool));
    commit(f);
    assert_int_equal(check_rows(f), 1);
    reopen_spool(f);
    assert_int_equal(next(f).closings, 2);
    assert_int_equal(next(f).closings, 0);
    assert_int_equal(count_closing(f, 1), 3);
    reopen_spool(f); /* not committed */
    assert_int_equal(next(f).closings, 2);
}

static void what_ends_or_is_acquitted_has_none(void **state)
{
    struct fixture *f = *state;
    unsigned closings;

    append_many(f, 2);
    (void)next(f);
    (void)next(f);
    (void)count_closing(f, 1);
    (void)count_closing(f, 2);
    commit(f);
    assert_int_equal(check_rows(f), 2);
    deliver(f, 1);
    assert_int_equal(spool_forget_closings(f->spool, 2), 0);
    commit(f);
    assert_int_equal(check_rows(f), 0);
    assert_int_equal(spool_count_closing(f->spool, 1, &closings), SPOOL_E_UNKNOWN);
    assert_int_equal(count_closing(f, 2), 1);
    assert_int_equal(spool_forget_closings(f->spool, 77), 0); /* there is none */
}

/* It comes back with the batch, as suspect as it was. */
static void what_a_lost_batch_evicted_keeps_its_closings(void **state)
{
    struct fixture *f = *state;
    unsigned evicted = 0;
    bool has_more = false;

    fault_io_arm(f->directory, FAULT_WRITE | FAULT_TRUNCATE, 0, 0, ENOSPC);
    reopen_spool(f); /* whose files are watched from here on */
    append_many(f, 2);
    assert_int_equal(next(f).id, 1);
    (void)count_closing(f, 1);
    assert_int_equal(spool_return(f->spool, 1, 0), 0);
    commit(f);
    append(f, "new");
    set_limits(f, (struct spool_limits){.max_messages = 2,
                                        .max_bytes = UINT64_C(1) << 30,
                                        .max_age_ms = 1000 * (uint64_t)HOUR,
                                        .when_full = SPOOL_EVICT_OLDEST});
    assert_int_equal(spool_retain(f->spool, &f->now, 1000, &evicted, &has_more), 0);
    assert_int_equal(evicted, 1);
    fault_io_arm(f->directory, FAULT_WRITE | FAULT_TRUNCATE, 1, 0, ENOSPC);
    assert_int_equal(spool_commit(f->spool, &f->now), SPOOL_E_DISK);
    fault_io_disarm();
    commit(f);
    struct spool_message message = next(f);
    assert_int_equal(message.id, 1);
    assert_int_equal(message.closings, 1);
    assert_int_equal(check_rows(f), 1);
}

/* A wrong count could end a message for the fault of another one. */
static void a_salvage_starts_the_count_again(void **state)
{
    struct fixture *f = *state;
    struct spool_salvage salvage;

    append_many(f, 2);
    (void)next(f);
    (void)count_closing(f, 1);
    spool_note_sending(f->spool);
    commit(f);
    assert_int_equal(spool_cut_lives(f->spool), 1);
    assert_int_equal(check_rows(f), 1);
    close_spool(f);
    assert_int_equal(spool_salvage(&f->options, NULL, &salvage), 0);
    assert_int_equal(salvage.salvaged, 2);
    open_spool(f);
    assert_int_equal(spool_cut_lives(f->spool), 0);
    assert_int_equal(check_rows(f), 0);
    assert_int_equal(next(f).closings, 0);
}

static void only_the_newest_are_remembered(void **state)
{
    struct fixture *f = *state;

    append_many(f, 1100);
    for (unsigned i = 1; i <= 1100; i++) {
        (void)next(f);
        (void)count_closing(f, i);
        commit(f);
    }
    assert_in_range(check_rows(f), 1000, 1024);
}

static void a_row_without_its_message_is_found(void **state)
{
    struct fixture *f = *state;
    struct spool *reader;
    unsigned found = 0;

    append_many(f, 1);
    close_spool(f);
    tamper(f, "INSERT INTO suspect VALUES (77, 1)");
    assert_int_equal(spool_open_reader(f->directory, &reader), 0);
    assert_int_equal(spool_check(reader, count_finding, &found), 0);
    spool_close(reader);
    assert_int_equal(found, 1);
}

static void one_message_is_handed_out_by_its_id(void **state)
{
    struct fixture *f = *state;
    struct spool_message message;

    append_many(f, 3);
    for (int i = 0; i < 3; i++)
        (void)next(f);
    assert_int_equal(spool_next_of(f->spool, &f->now, 2, &message), SPOOL_E_UNKNOWN);
    assert_int_equal(spool_return(f->spool, 1, INT64_MAX), 0);
    assert_int_equal(spool_return(f->spool, 2, INT64_MAX), 0);
    assert_int_equal(spool_next(f->spool, &f->now, &message), SPOOL_E_EMPTY);
    assert_int_equal(spool_next_of(f->spool, &f->now, 2, &message), 0);
    assert_int_equal(message.id, 2);
    assert_int_equal(message.attempts, 2);
    assert_int_equal(spool_release_returned(f->spool), 1);
    assert_int_equal(next(f).id, 1);
    assert_int_equal(spool_next_of(f->spool, &f->now, 77, &message), SPOOL_E_UNKNOWN);
    spool_require_commit(f->spool);
    assert_int_equal(spool_next_of(f->spool, &f->now, 1, &message), SPOOL_E_EMPTY);
}

static void refusals_are_counted_by_message(void **state)
{
    struct fixture *f = *state;
    unsigned refusals = 0;
    uint64_t mark;

    append_many(f, 1);
    assert_int_equal(spool_count_refusal(f->spool, 1, 7, &refusals, &mark), SPOOL_E_UNKNOWN);
    for (unsigned i = 1; i <= 3; i++) {
        (void)next(f);
        assert_int_equal(spool_was_refused(f->spool, 1), i > 1);
        assert_int_equal(spool_count_refusal(f->spool, 1, 10 + i, &refusals, &mark), 0);
        assert_int_equal(refusals, i);
        assert_int_equal(mark, i == 1 ? 0 : 9 + i);
        assert_int_equal(spool_return(f->spool, 1, 0), 0);
    }
}

/* By either call, and each once. */
static void messages_that_were_refused_are_counted_until_they_end(void **state)
{
    const struct spool_verdict delivered = {SPOOL_DELIVERED, SPOOL_REASON_NONE, SPOOL_NO_CODE};
    struct fixture *f = *state;
    unsigned refusals = 0;
    uint64_t mark;

    append_many(f, 3);
    for (int i = 0; i < 3; i++)
        (void)next(f);
    assert_int_equal(spool_refused_messages(f->spool), 0);
    (void)spool_mark_refused(f->spool, 1, 0); /* asks only */
    assert_int_equal(spool_refused_messages(f->spool), 0);
    assert_int_equal(spool_count_refusal(f->spool, 1, 7, &refusals, &mark), 0);
    (void)spool_mark_refused(f->spool, 1, 1);
    (void)spool_mark_refused(f->spool, 2, 1);
    assert_int_equal(spool_refused_messages(f->spool), 2);
    assert_int_equal(spool_return(f->spool, 1, 0), 0);
    assert_int_equal(next(f).id, 1);
    assert_int_equal(spool_refused_messages(f->spool), 2);
    assert_int_equal(spool_settle(f->spool, 1, &delivered, f->now.boot_ms), 0);
    assert_int_equal(spool_settle(f->spool, 3, &delivered, f->now.boot_ms), 0);
    assert_int_equal(spool_refused_messages(f->spool), 1);
    commit(f);
    assert_int_equal(spool_refused_messages(f->spool), 1);
}

#define ON_SPOOL(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_SPOOL(closings_survive_a_restart),
        ON_SPOOL(what_ends_or_is_acquitted_has_none),
        ON_SPOOL(what_a_lost_batch_evicted_keeps_its_closings),
        ON_SPOOL(a_salvage_starts_the_count_again),
        ON_SPOOL(only_the_newest_are_remembered),
        ON_SPOOL(a_row_without_its_message_is_found),
        ON_SPOOL(one_message_is_handed_out_by_its_id),
        ON_SPOOL(refusals_are_counted_by_message),
        ON_SPOOL(messages_that_were_refused_are_counted_until_they_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
