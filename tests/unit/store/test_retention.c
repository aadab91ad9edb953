/* SPDX-License-Identifier: MIT */
/*
 * test_retention.c - limits, pins, budgets, pruning, and a model that is always right
 *
 * The model test does random things to a spool and to a plain array, and
 * compares the two after every step. Its seed is printed; SPOOL_TEST_SEED
 * repeats a run.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the above */
#include <cmocka.h>

#include <stdbool.h>
#include <time.h>

#include "base/view.h"
#include "store/spool.h"
#include "tests/support/spool_fixture.h"

enum { PLENTY = 1000000 };

static unsigned retain(struct fixture *f, unsigned budget, bool *ret_more)
{
    unsigned evicted = 0;
    assert_int_equal(spool_retain(f->spool, &f->now, budget, &evicted, ret_more), 0);
    return evicted;
}

static unsigned retain_all(struct fixture *f)
{
    bool more = true;
    unsigned evicted = retain(f, PLENTY, &more);
    assert_false(more);
    commit(f);
    (void)ledger_of(f);
    return evicted;
}

static void check_evicted(struct fixture *f, uint64_t id, enum spool_reason reason)
{
    struct found found = records_of(f, id);
    assert_int_equal(found.count, 1);
    assert_int_equal(found.record.outcome, SPOOL_EVICTED);
    assert_int_equal(found.record.reason, reason);
}

static void the_oldest_go_when_there_are_too_many(void **state)
{
    struct fixture *f = *state;
    f->lane.limits.max_messages = 10;
    set_limits(f, f->lane.limits);
    append_many(f, 25);
    assert_int_equal(retain_all(f), 15);
    for (uint64_t id = 1; id <= 15; id++)
        check_evicted(f, id, SPOOL_REASON_MAX_MESSAGES);
    assert_int_equal(records_of(f, 0).all, 15);
    assert_int_equal(next_id(f), 16);
    assert_int_equal(retain_all(f), 0);
}

static void the_oldest_go_when_they_are_too_large(void **state)
{
    struct fixture *f = *state;
    const struct spool_message message = make_message("payload");
    uint64_t charge = spool_charge(&message);
    assert_int_equal(charge, 7 + 6 + 7 + SPOOL_CHARGE_OVERHEAD);
    append_many(f, 20);
    assert_int_equal(stats_of(f).bytes, 20 * charge);
    f->lane.limits.max_bytes = 5 * charge + 1;
    set_limits(f, f->lane.limits);
    assert_int_equal(retain_all(f), 15);
    check_evicted(f, 15, SPOOL_REASON_MAX_BYTES);
    assert_int_equal(stats_of(f).bytes, 5 * charge);
}

static void age_holds_under_every_policy(void **state)
{
    struct fixture *f = *state;
    f->lane.limits.max_age_ms = 1000;
    for (enum spool_policy policy = SPOOL_EVICT_OLDEST; policy <= SPOOL_BLOCK; policy++) {
        f->lane.limits.when_full = policy;
        set_limits(f, f->lane.limits);
        uint64_t first = append(f, "x");
        commit(f);
        pass_time(f, 400);
        append(f, "y");
        commit(f);
        pass_time(f, 599);
        assert_int_equal(retain_all(f), 0);
        pass_time(f, 1);
        assert_int_equal(retain_all(f), 1);
        check_evicted(f, first, SPOOL_REASON_MAX_AGE);
        pass_time(f, 400);
        assert_int_equal(retain_all(f), 1);
        assert_int_equal(ledger_of(f).spooled, 0);
    }
}

static void refusing_policies_evict_nothing_by_count_or_bytes(void **state)
{
    struct fixture *f = *state;
    const struct spool_message message = make_message("payload");
    uint64_t charge = spool_charge(&message);
    append_many(f, 5);
    for (enum spool_policy policy = SPOOL_REFUSE; policy <= SPOOL_BLOCK; policy++) {
        set_limits(f, (struct spool_limits){5, 1000 * charge, HOUR, policy});
        assert_false(spool_has_room(f->spool, 0, charge));
        uint64_t id = 99;
        assert_int_equal(spool_append(f->spool, &message, &f->now, &id), SPOOL_E_FULL);
        assert_int_equal(id, 99);
        set_limits(f, (struct spool_limits){100, 6 * charge - 1, HOUR, policy});
        assert_int_equal(spool_append(f->spool, &message, &f->now, &id), SPOOL_E_FULL);
        set_limits(f, (struct spool_limits){3, 3 * charge, HOUR, policy});
        assert_int_equal(retain_all(f), 0);
    }
    set_limits(f, (struct spool_limits){6, 6 * charge, HOUR, SPOOL_REFUSE});
    assert_true(spool_has_room(f->spool, 0, charge));
    append(f, "payload"); /* the open batch counts */
    uint64_t id;
    assert_int_equal(spool_append(f->spool, &message, &f->now, &id), SPOOL_E_FULL);
    commit(f);
    deliver(f, next_id(f)); /* and so does what is settled */
    append(f, "payload");
    commit(f);
    assert_int_equal(ledger_of(f).spooled, 6);
}

static void a_message_above_max_bytes_is_refused_under_every_policy(void **state)
{
    struct fixture *f = *state;
    const struct spool_message message = make_message("payload");
    for (enum spool_policy policy = SPOOL_EVICT_OLDEST; policy <= SPOOL_BLOCK; policy++) {
        set_limits(f, (struct spool_limits){5, spool_charge(&message) - 1, HOUR, policy});
        uint64_t id;
        assert_int_equal(spool_append(f->spool, &message, &f->now, &id), SPOOL_E_FULL);
    }
}

static void the_budget_bounds_the_work_of_one_call(void **state)
{
    struct fixture *f = *state;
    append_many(f, 100);
    f->lane.limits.max_messages = 10;
    set_limits(f, f->lane.limits);
    bool more = false;
    for (unsigned rounds = 0; rounds < 3; rounds++) {
        assert_int_equal(retain(f, 30, &more), 30);
        assert_int_equal(more, rounds < 2);
        commit(f);
        (void)ledger_of(f);
    }
    assert_int_equal(retain(f, 30, &more), 0);
    assert_int_equal(ledger_of(f).spooled, 10);
}

/* Each 64 KiB of a message count as one more. */
static void the_budget_counts_a_large_message_as_several(void **state)
{
    static char payload[200000];
    struct fixture *f = *state;
    struct spool_message message = make_message("");
    bool more;
    uint64_t id;

    message.payload = view_of(payload, sizeof(payload));
    for (int i = 0; i < 40; i++) {
        message.expiry_ms = i < 20 ? SPOOL_NO_EXPIRY : 1000;
        assert_int_equal(spool_append(f->spool, &message, &f->now, &id), 0);
        commit(f);
    }
    set_limits(f, (struct spool_limits){10, UINT64_C(1) << 30, HOUR, SPOOL_EVICT_OLDEST});
    assert_int_equal(retain(f, 20, &more), 5);
    assert_true(more);
    commit(f);
    pass_time(f, 2000);
    assert_int_equal(retain(f, 20, &more), 5); /* expired ones go first */
    assert_true(more);
    commit(f);
    /* As much as the batch itself brings is evicted, however large that is. */
    set_limits(f, (struct spool_limits){30, UINT64_C(1) << 30, HOUR, SPOOL_EVICT_OLDEST});
    for (int i = 0; i < 6; i++)
        assert_int_equal(spool_append(f->spool, &message, &f->now, &id), 0);
    assert_int_equal(retain(f, 0, &more), 6);
    commit(f);
    assert_int_equal(stats_of(f).messages, 30);
}

/* Beside the budget goes what the open batch has brought, and nothing of earlier ones. */
static void the_budget_bounds_bytes_whatever_came_before_the_batch(void **state)
{
    struct fixture *f = *state;
    const struct spool_message message = make_message("payload");
    uint64_t charge = spool_charge(&message);
    append_many(f, 60);
    append_many(f, 40);
    f->lane.limits.max_bytes = 10 * charge;
    set_limits(f, f->lane.limits);
    bool more = false;
    assert_int_equal(retain(f, 30, &more), 30);
    assert_true(more);
    commit(f);
    for (int i = 0; i < 5; i++)
        append(f, "payload");
    assert_int_equal(retain(f, 30, &more), 35);
    assert_true(more);
}

static void the_budget_holds_for_age_and_expiry_too(void **state)
{
    struct fixture *f = *state;
    struct spool_message message = make_message("x");
    message.expiry_ms = 500;
    uint64_t id;
    for (int i = 0; i < 700; i++)
        assert_int_equal(spool_append(f->spool, &message, &f->now, &id), 0);
    append_many(f, 50);
    f->lane.limits.max_age_ms = 1000;
    set_limits(f, f->lane.limits);
    pass_time(f, 2000);
    bool more = false;
    assert_int_equal(retain(f, 600, &more), 600);
    assert_true(more);
    commit(f);
    assert_int_equal(ledger_of(f).ended[SPOOL_EXPIRED], 600);
    assert_int_equal(retain(f, 120, &more), 120);
    assert_true(more);
    assert_int_equal(retain(f, 120, &more), 30);
    assert_false(more);
    commit(f);
    assert_int_equal(ledger_of(f).ended[SPOOL_EXPIRED], 700);
    assert_int_equal(ledger_of(f).ended[SPOOL_EVICTED], 50);
    assert_int_equal(records_of(f, 0).all, 750);
}

static void messages_in_flight_are_pinned(void **state)
{
    struct fixture *f = *state;
    append_many(f, 10);
    for (int i = 0; i < 4; i++)
        assert_int_not_equal(next_id(f), 0);
    f->lane.limits.max_messages = 2;
    set_limits(f, f->lane.limits);
    assert_int_equal(retain_all(f), 6); /* 5 to 10; 1 to 4 stay although above the limit */
    assert_int_equal(records_of(f, 1).count, 0);
    check_evicted(f, 5, SPOOL_REASON_MAX_MESSAGES);
    check_evicted(f, 10, SPOOL_REASON_MAX_MESSAGES);
    deliver(f, 2);
    assert_int_equal(spool_return(f->spool, 3, 0), 0);
    assert_int_equal(retain_all(f), 1); /* 2 counts as gone already */
    check_evicted(f, 3, SPOOL_REASON_MAX_MESSAGES);
    assert_int_equal(records_of(f, 3).record.attempts, 1);
    assert_int_equal(records_of(f, 2).record.outcome, SPOOL_DELIVERED);
    assert_int_equal(next_id(f), 0); /* 3 does not come back */
    deliver(f, 1);
    deliver(f, 4);
    commit(f);
    assert_int_equal(ledger_of(f).spooled, 0);
    assert_int_equal(records_of(f, 0).all, 10);
    assert_int_equal(stats_of(f).in_flight, 0);
}

static void age_and_expiry_wait_for_the_pin(void **state)
{
    struct fixture *f = *state;
    struct spool_message message = make_message("x");
    message.expiry_ms = 500;
    uint64_t id;
    assert_int_equal(spool_append(f->spool, &message, &f->now, &id), 0);
    append_many(f, 1);
    f->lane.limits.max_age_ms = 1000;
    set_limits(f, f->lane.limits);
    assert_int_equal(next_id(f), 1);
    assert_int_equal(next_id(f), 2);
    pass_time(f, 5000);
    assert_int_equal(retain_all(f), 0);
    assert_int_equal(spool_return(f->spool, 2, 0), 0);
    assert_int_equal(retain_all(f), 1);
    check_evicted(f, 2, SPOOL_REASON_MAX_AGE);
    assert_int_equal(spool_return(f->spool, 1, 0), 0);
    assert_int_equal(retain_all(f), 1);
    assert_int_equal(records_of(f, 1).record.outcome, SPOOL_EXPIRED);
    assert_int_equal(records_of(f, 1).record.attempts, 1);
}

static void expiry_takes_what_has_expired_and_nothing_between(void **state)
{
    struct fixture *f = *state;
    struct spool_message message = make_message("x");
    uint64_t id;
    for (int i = 0; i < 12; i++) {
        message.expiry_ms = i % 3 == 0 ? SPOOL_NO_EXPIRY : 1000 - i;
        assert_int_equal(spool_append(f->spool, &message, &f->now, &id), 0);
    }
    commit(f);
    pass_time(f, 900);
    assert_int_equal(retain_all(f), 0);
    pass_time(f, 100);
    assert_int_equal(retain_all(f), 8);
    assert_int_equal(ledger_of(f).ended[SPOOL_EXPIRED], 8);
    static const uint64_t left[] = {1, 4, 7, 10, 0};
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(next_id(f), left[i]);
}

static void what_is_appended_and_evicted_in_one_batch_is_on_record(void **state)
{
    struct fixture *f = *state;
    f->lane.limits.max_messages = 3;
    set_limits(f, f->lane.limits);
    for (int i = 0; i < 10; i++)
        append(f, "x");
    assert_int_equal(retain_all(f), 7);
    assert_int_equal(ledger_of(f).accepted, 10);
    assert_int_equal(records_of(f, 1).count, 1);
    assert_int_equal(spool_last_seq(f->spool), 7);
}

static void an_eviction_that_is_not_committed_has_not_happened(void **state)
{
    struct fixture *f = *state;
    append_many(f, 10);
    assert_int_equal(next_id(f), 1);
    assert_int_equal(spool_return(f->spool, 1, 0), 0);
    f->lane.limits.max_messages = 3;
    set_limits(f, f->lane.limits);
    bool more;
    assert_int_equal(retain(f, PLENTY, &more), 7);
    assert_int_equal(ledger_of(f).spooled, 10);
    assert_int_equal(records_of(f, 0).all, 0);
    reopen_spool(f);
    assert_int_equal(ledger_of(f).spooled, 10);
    assert_int_equal(next_id(f), 1);
}

/* ---- pruning ---- */

static void exported_deliveries_go_and_failures_stay(void **state)
{
    struct fixture *f = *state;
    append_many(f, 10);
    f->lane.limits.max_messages = 8;
    set_limits(f, f->lane.limits);
    assert_int_equal(retain_all(f), 2);
    assert_int_equal(deliver_all(f), 8);
    assert_int_equal(records_of(f, 0).all, 10);
    spool_set_exported(f->spool, 1000); /* more than there is */
    assert_int_equal(spool_exported(f->spool), 0);
    assert_true(spool_has_work(f->spool));
    commit(f);
    assert_int_equal(spool_exported(f->spool), 10);
    assert_false(spool_has_work(f->spool));
    assert_int_equal(records_of(f, 1).count, 1);
    assert_int_equal(records_of(f, 2).count, 1);
    assert_int_equal(records_of(f, 9).count, 0);
    spool_set_exported(f->spool, 3); /* never backwards */
    assert_false(spool_has_work(f->spool));
    reopen_spool(f);
    assert_int_equal(spool_exported(f->spool), 10);
    assert_int_equal(spool_last_seq(f->spool), 10);
    append_many(f, 3);
    assert_int_equal(deliver_all(f), 3);
    assert_int_equal(spool_last_seq(f->spool), 13);
}

static void rows_that_are_not_exported_stay(void **state)
{
    struct fixture *f = *state;
    append_many(f, 10);
    assert_int_equal(deliver_all(f), 10);
    spool_set_exported(f->spool, 4);
    commit(f);
    struct found found = {.id = 5};
    assert_int_equal(spool_each_record(f->spool, 4, false, 0, find_record, &found), 0);
    assert_int_equal(found.all, 6);
    assert_int_equal(found.count, 1);
    assert_int_equal(records_of(f, 4).count, 0);
}

static void old_failures_and_too_many_of_them_go(void **state)
{
    struct fixture *f = *state;
    f->lane.limits.max_messages = 0;
    set_limits(f, f->lane.limits);
    for (int i = 0; i < 10; i++) {
        append(f, "x");
        assert_int_equal(retain_all(f), 1);
        pass_time(f, 1000);
    }
    spool_set_exported(f->spool, 10);
    commit(f);
    assert_int_equal(records_of(f, 0).all, 10);
    spool_set_keep(f->spool, 8000);
    append(f, "x");
    assert_int_equal(retain_all(f), 1);
    assert_int_equal(records_of(f, 3).count, 0); /* 8 s old */
    assert_int_equal(records_of(f, 4).count, 1);
    close_spool(f);
    f->options.keep_failures_count = 3;
    open_spool(f);
    append_many(f, 1);
    assert_int_equal(records_of(f, 8).count, 0);
    assert_int_equal(records_of(f, 9).count, 1);
    assert_int_equal(records_of(f, 11).count, 1);
    assert_int_equal(records_of(f, 0).all, 3);
    assert_int_equal(ledger_of(f).ended[SPOOL_EVICTED], 11);
}

static void failures_that_waited_for_the_export_go_soon_after_it(void **state)
{
    struct fixture *f = *state;
    spool_set_keep(f->spool, HOUR);
    f->lane.limits.max_messages = 0;
    set_limits(f, f->lane.limits);
    for (int i = 0; i < 3; i++) {
        append(f, "x");
        assert_int_equal(retain_all(f), 1);
        pass_time(f, HOUR);
    }
    append(f, "x");
    assert_int_equal(retain_all(f), 1);
    assert_int_equal(records_of(f, 0).all, 4); /* nothing is exported yet, however old */
    spool_set_exported(f->spool, 4);
    pass_time(f, 2000);
    append(f, "x");
    assert_int_equal(retain_all(f), 1);
    assert_int_equal(records_of(f, 3).count, 0);
    assert_int_equal(records_of(f, 4).count, 1);
    assert_int_equal(records_of(f, 5).count, 1);
}

/* ---- the model ---- */

enum { MODEL_MAX = 20000, MODEL_STEPS = 3000 };
enum model_state { NOT_THERE, PENDING, IN_FLIGHT, DONE };

struct model {
    struct fixture *f;
    enum model_state *states; /* by id */
    enum model_state *committed;
    uint64_t last_id;
    uint64_t last_seq;
    struct spool_limits limits;
    unsigned seed;
    bool is_open; /* a batch with appends or evictions */
};

static unsigned roll(struct model *m, unsigned sides)
{
    m->seed = m->seed * 1103515245u + 12345u;
    return (m->seed >> 8) % sides;
}

static uint64_t pick(struct model *m, enum model_state wanted)
{
    for (uint64_t id = 1; id <= m->last_id; id++) {
        if (m->states[id] == wanted && roll(m, 4) == 0)
            return id;
    }
    return 0;
}

static void model_append(struct model *m)
{
    struct spool_message message = make_message("some payload");
    message.payload.size = roll(m, 12);
    if (roll(m, 5) == 0)
        message.expiry_ms = roll(m, 3000);
    uint64_t id;
    if (m->last_id + 1 >= MODEL_MAX)
        return;
    assert_int_equal(spool_append(m->f->spool, &message, &m->f->now, &id), 0);
    assert_true(id > m->last_id);
    m->last_id = id;
    m->states[id] = PENDING;
    m->is_open = true;
}

static int note_outcome(void *context, const struct spool_record *record)
{
    struct model *m = context;
    assert_int_equal(record->seq, m->last_seq + 1); /* no gap, ever */
    m->last_seq = record->seq;
    /* Exactly one row an id: what is DONE here must not come again. */
    if (m->committed[record->id] == DONE)
        print_error("id %llu has two outcomes\n", (unsigned long long)record->id);
    assert_int_not_equal(m->committed[record->id], DONE);
    m->committed[record->id] = DONE;
    m->states[record->id] = DONE;
    return 0;
}

static void model_commit(struct model *m)
{
    struct fixture *f = m->f;
    uint64_t before = spool_last_seq(f->spool);
    commit(f);
    m->is_open = false;
    for (uint64_t id = 1; id <= m->last_id; id++) {
        if (m->committed[id] == NOT_THERE)
            m->committed[id] = m->states[id] == NOT_THERE ? NOT_THERE : PENDING;
    }
    assert_int_equal(spool_each_record(f->spool, before, false, 0, note_outcome, m), 0);
    if (roll(m, 3) == 0)
        spool_set_exported(f->spool, before);
}

static void model_retain(struct model *m)
{
    bool more;
    if (retain(m->f, 1 + roll(m, 40), &more) > 0)
        m->is_open = true;
}

static void model_next(struct model *m)
{
    uint64_t id = next_id(m->f);
    if (id == 0)
        return;
    assert_int_equal(m->states[id], PENDING);
    assert_int_not_equal(m->committed[id], NOT_THERE);
    m->states[id] = IN_FLIGHT;
}

static void model_resolve(struct model *m)
{
    uint64_t id = pick(m, IN_FLIGHT);
    if (id == 0)
        return;
    if (roll(m, 4) == 0) {
        int64_t not_before = roll(m, 2) ? m->f->now.boot_ms + roll(m, 500) : 0;
        assert_int_equal(spool_return(m->f->spool, id, not_before), 0);
        m->states[id] = PENDING;
        return;
    }
    const struct spool_verdict verdict = {roll(m, 5) ? SPOOL_DELIVERED : SPOOL_REJECTED,
                                          SPOOL_REASON_NONE, SPOOL_NO_CODE};
    assert_int_equal(spool_settle(m->f->spool, id, &verdict, m->f->now.boot_ms), 0);
    m->states[id] = DONE;
}

static void model_crash(struct model *m)
{
    reopen_spool(m->f);
    set_limits(m->f, m->limits);
    m->is_open = false;
    m->last_id = 0;
    for (uint64_t id = 1; id < MODEL_MAX; id++) {
        m->states[id] = m->committed[id];
        if (m->committed[id] != NOT_THERE)
            m->last_id = id;
    }
}

static void model_limits(struct model *m)
{
    m->limits = (struct spool_limits){.max_messages = 20 + roll(m, 200),
                                      .max_bytes = 3000 + roll(m, 20000),
                                      .max_age_ms = 1000 + roll(m, 20000),
                                      .when_full = SPOOL_EVICT_OLDEST};
    set_limits(m->f, m->limits);
}

static void model_check(struct model *m)
{
    struct spool_ledger ledger = ledger_of(m->f);
    uint64_t spooled = 0;
    uint64_t done = 0;
    for (uint64_t id = 1; id <= m->last_id; id++) {
        spooled += m->committed[id] == PENDING;
        done += m->committed[id] == DONE;
    }
    assert_int_equal(ledger.spooled, spooled);
    assert_int_equal(ledger.accepted, spooled + done);
    uint64_t in_flight = 0;
    for (uint64_t id = 1; id <= m->last_id; id++)
        in_flight += m->states[id] == IN_FLIGHT;
    assert_int_equal(stats_of(m->f).in_flight, in_flight);
}

static void model_step(struct model *m)
{
    unsigned what = roll(m, 100);
    if (what < 35)
        model_append(m);
    else if (what < 55)
        model_next(m);
    else if (what < 75)
        model_resolve(m);
    else if (what < 82)
        model_retain(m);
    else if (what < 96)
        model_commit(m);
    else if (what < 98)
        model_limits(m);
    else if (what < 99)
        pass_time(m->f, roll(m, 1000));
    else
        model_crash(m);
}

static void random_histories_always_balance(void **state)
{
    const char *seed = getenv("SPOOL_TEST_SEED");
    struct model m = {
        .f = *state,
        .states = calloc(MODEL_MAX, sizeof(*m.states)),
        .committed = calloc(MODEL_MAX, sizeof(*m.committed)),
        .seed = seed ? (unsigned)strtoul(seed, NULL, 10) : (unsigned)time(NULL),
    };
    assert_true(m.states && m.committed);
    print_message("# SPOOL_TEST_SEED=%u\n", m.seed);
    model_limits(&m);
    for (unsigned i = 0; i < MODEL_STEPS; i++) {
        model_step(&m);
        model_check(&m);
    }
    model_commit(&m);
    while (ledger_of(m.f).spooled > 0) { /* everything ends */
        pass_time(m.f, 30000);
        for (uint64_t id = 1; id <= m.last_id; id++) {
            if (m.states[id] == IN_FLIGHT)
                deliver(m.f, id);
            if (m.states[id] == IN_FLIGHT)
                m.states[id] = DONE;
        }
        model_retain(&m);
        model_commit(&m);
        model_check(&m);
    }
    assert_int_equal(stats_of(m.f).bytes, 0);
    free(m.states);
    free(m.committed);
}

#define ON_SPOOL(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_SPOOL(the_oldest_go_when_there_are_too_many),
        ON_SPOOL(the_oldest_go_when_they_are_too_large),
        ON_SPOOL(age_holds_under_every_policy),
        ON_SPOOL(refusing_policies_evict_nothing_by_count_or_bytes),
        ON_SPOOL(a_message_above_max_bytes_is_refused_under_every_policy),
        ON_SPOOL(the_budget_bounds_the_work_of_one_call),
        ON_SPOOL(the_budget_counts_a_large_message_as_several),
        ON_SPOOL(the_budget_bounds_bytes_whatever_came_before_the_batch),
        ON_SPOOL(the_budget_holds_for_age_and_expiry_too),
        ON_SPOOL(messages_in_flight_are_pinned),
        ON_SPOOL(age_and_expiry_wait_for_the_pin),
        ON_SPOOL(expiry_takes_what_has_expired_and_nothing_between),
        ON_SPOOL(what_is_appended_and_evicted_in_one_batch_is_on_record),
        ON_SPOOL(an_eviction_that_is_not_committed_has_not_happened),
        ON_SPOOL(exported_deliveries_go_and_failures_stay),
        ON_SPOOL(rows_that_are_not_exported_stay),
        ON_SPOOL(old_failures_and_too_many_of_them_go),
        ON_SPOOL(failures_that_waited_for_the_export_go_soon_after_it),
        ON_SPOOL(random_histories_always_balance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
