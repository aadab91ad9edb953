/* SPDX-License-Identifier: MIT */
/*
 * test_recount.c - after a salvage the ledger says what the audit file and the table say
 *
 * Messages of several lanes end in all ways; some of the records are exported,
 * as the daemon does, to a list that stands for the audit file. Then records
 * that were not exported are lost, or a lane's counters are. The salvage makes
 * records of its own for what is missing, and takes each of these from the
 * counter of what it was. So that file and table still add up to the ledger,
 * which is what "mqtt-spool audit" asks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "store/spool.h"
#include "tests/support/spool_fixture.h"

enum { LINES = 1 << 14, LANES = 3, ROUNDS = 60 };

static const char *const names[LANES] = {"default", "alarms", "values"};

struct world {
    struct fixture *f;
    struct spool_lane lanes[LANES];
    struct spool_ended lines[LINES]; /* the audit file, from seq 1 */
    size_t count;
    size_t history_from; /* the first of the lines that the salvage gets */
};

static uint64_t random_state;

static unsigned below(unsigned limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state >> 16) % limit;
}

/* ---- a spool with a past ---- */

static void begin(struct world *w, struct fixture *f, uint64_t max_messages)
{
    *w = (struct world){.f = f};
    for (size_t i = 0; i < LANES; i++) {
        w->lanes[i] = f->lane;
        w->lanes[i].name = names[i];
        w->lanes[i].limits.max_messages = max_messages;
    }
    f->options.lanes = w->lanes;
    f->options.lane_count = LANES;
    open_spool(f);
}

static void accept(struct world *w, unsigned lane, unsigned count, int64_t expiry_ms)
{
    for (unsigned i = 0; i < count; i++) {
        struct spool_message message = make_message("payload");
        uint64_t id;
        message.lane = lane;
        message.expiry_ms = expiry_ms;
        assert_int_equal(spool_append(w->f->spool, &message, &w->f->now, &id), 0);
    }
    commit(w->f);
}

/* The next so many end so. */
static void
end(struct world *w, unsigned count, enum spool_outcome outcome, enum spool_reason reason)
{
    const struct spool_verdict verdict = {outcome, reason, SPOOL_NO_CODE};
    for (unsigned i = 0; i < count; i++) {
        uint64_t id = next_id(w->f);
        if (id > 0)
            assert_int_equal(spool_settle(w->f->spool, id, &verdict, w->f->now.boot_ms), 0);
    }
    commit(w->f);
}

static void enforce_limits(struct world *w)
{
    unsigned ended;
    bool more;
    assert_int_equal(spool_retain(w->f->spool, &w->f->now, 10000, &ended, &more), 0);
    commit(w->f);
}

static int write_line(void *context, const struct spool_record *record)
{
    struct world *w = context;
    assert_true(w->count < LINES);
    assert_int_equal(record->seq, w->count + 1);
    for (size_t i = 0; i < LANES; i++) {
        if (strcmp(record->lane, names[i]) == 0)
            w->lines[w->count++] = (struct spool_ended){.seq = record->seq,
                                                        .id = record->id,
                                                        .outcome = record->outcome,
                                                        .lane = names[i]};
    }
    return 0;
}

/* All but so many of what there is. */
static void export_all_but(struct world *w, uint64_t left)
{
    uint64_t first = w->count;
    uint64_t last = spool_last_seq(w->f->spool);
    if (last <= first + left)
        return;
    assert_int_equal(
        spool_each_record(w->f->spool, first, false, last - left - first, write_line, w), 0);
    spool_set_exported(w->f->spool, w->count);
    commit(w->f);
    commit(w->f); /* what is exported is pruned by the next one */
}

/* ---- what is asked ---- */

static int tell_lines(void *owner, spool_ended_fn *fn, void *context)
{
    const struct world *w = owner;
    int r = 0;
    for (size_t i = w->history_from; i < w->count && r == 0; i++)
        r = fn(context, &w->lines[i]);
    return r;
}

struct sums {
    uint64_t of[LANES][SPOOL_OUTCOMES];
    uint64_t all[SPOOL_OUTCOMES];
    uint64_t next; /* seq */
};

static void add(struct sums *sums, const char *lane, enum spool_outcome outcome)
{
    sums->all[outcome]++;
    for (size_t i = 0; i < LANES; i++)
        sums->of[i][outcome] += strcmp(lane, names[i]) == 0;
}

static int add_record(void *context, const struct spool_record *record)
{
    struct sums *sums = context;
    assert_int_equal(record->seq, sums->next);
    sums->next++;
    add(sums, record->lane, record->outcome);
    return 0;
}

/* No number is missing but those of deliveries that were pruned, up to pruned_seq. */
static int add_kept_record(void *context, const struct spool_record *record)
{
    struct sums *sums = context;
    for (; sums->next < record->seq; sums->next++)
        sums->all[SPOOL_DELIVERED]++;
    return add_record(context, record);
}

/* As "audit" does it; @by_lane: in each lane, too. */
static void compare(struct world *w, bool by_lane)
{
    struct sums sums = {.next = w->count + 1};
    struct spool_ledger ledger = ledger_of(w->f);
    for (size_t i = 0; i < w->count; i++)
        add(&sums, w->lines[i].lane, w->lines[i].outcome);
    assert_int_equal(
        spool_each_record(
            w->f->spool, w->count, false, 0,
            spool_pruned_seq(w->f->spool) > w->count ? add_kept_record : add_record, &sums),
        0);
    assert_int_equal(sums.next, spool_last_seq(w->f->spool) + 1);
    for (unsigned i = 0; i < SPOOL_OUTCOMES; i++) {
        if (ledger.ended[i] != sums.all[i])
            print_error("%s: %llu in file and table, %llu in the ledger\n",
                        spool_outcome_name((enum spool_outcome)i),
                        (unsigned long long)sums.all[i], (unsigned long long)ledger.ended[i]);
        assert_int_equal(ledger.ended[i], sums.all[i]);
    }
    for (unsigned lane = 0; lane < LANES; lane++) {
        struct spool_lane_stats stats;
        assert_int_equal(spool_get_lane_stats(w->f->spool, lane, &w->f->now, &stats), 0);
        assert_true(spool_ledger_balances(&stats.ledger));
        for (unsigned i = 0; i < SPOOL_OUTCOMES && by_lane; i++)
            assert_int_equal(stats.ledger.ended[i], sums.of[lane][i]);
    }
}

/* Damaged, salvaged and open again. */
static struct spool_salvage salvage(struct world *w, bool is_told)
{
    const struct spool_history history = {tell_lines, w};
    struct spool_salvage result = {0};
    w->f->options.now = w->f->now;
    assert_int_equal(spool_open(&w->f->options, &w->f->spool), SPOOL_E_DAMAGED);
    int r = spool_salvage(&w->f->options, is_told ? &history : NULL, &result);
    if (r != 0)
        print_error("spool_salvage: %d %s\n", r, spool_open_error());
    assert_int_equal(r, 0);
    check_sound(w->f);
    open_spool(w->f);
    return result;
}

static void lose_rows(struct world *w, uint64_t from, uint64_t to)
{
    char sql[128];
    (void)snprintf(sql, sizeof(sql), "DELETE FROM outcome WHERE seq BETWEEN %llu AND %llu",
                   (unsigned long long)from, (unsigned long long)to);
    tamper(w->f, sql);
}

/* ---- cases ---- */

static void lost_records_of_evictions_are_not_taken_from_the_deliveries(void **state)
{
    static struct world w;
    begin(&w, *state, 10);
    accept(&w, 0, 100, SPOOL_NO_EXPIRY);
    enforce_limits(&w);
    assert_int_equal(ledger_of(w.f).ended[SPOOL_EVICTED], 90);
    close_spool(w.f);
    lose_rows(&w, 1, 90);
    assert_int_equal(salvage(&w, false).damaged, 90);
    compare(&w, true);
    assert_int_equal(ledger_of(w.f).ended[SPOOL_DAMAGED], 90);
    assert_int_equal(ledger_of(w.f).ended[SPOOL_EVICTED], 0);
}

static void exported_deliveries_stay_deliveries(void **state)
{
    static struct world w;
    begin(&w, *state, 10);
    for (int i = 0; i < 5; i++) {
        accept(&w, 0, 10, SPOOL_NO_EXPIRY);
        end(&w, 10, SPOOL_DELIVERED, SPOOL_REASON_NONE);
    }
    export_all_but(&w, 0);
    accept(&w, 0, 40, SPOOL_NO_EXPIRY);
    enforce_limits(&w);
    close_spool(w.f);
    lose_rows(&w, 51, 80);
    assert_int_equal(salvage(&w, true).damaged, 30);
    compare(&w, true);
    assert_int_equal(ledger_of(w.f).ended[SPOOL_DELIVERED], 50);
}

/* Some of each kind in each lane. Ends nothing in "default" by itself. */
static void live(struct world *w)
{
    static const struct {
        enum spool_outcome outcome;
        enum spool_reason reason;
    } ends[] = {
        {SPOOL_DELIVERED, SPOOL_REASON_NONE},     {SPOOL_DELIVERED, SPOOL_REASON_NONE},
        {SPOOL_REJECTED, SPOOL_REASON_TOO_LARGE}, {SPOOL_DELIVERED, SPOOL_REASON_NONE},
        {SPOOL_DROPPED, SPOOL_REASON_OPERATOR},
    };
    for (unsigned i = 0; i < 8; i++) {
        unsigned kind = below(5);
        accept(w, below(LANES), below(12), below(4) ? SPOOL_NO_EXPIRY : 50);
        end(w, below(10), ends[kind].outcome, ends[kind].reason);
        pass_time(w->f, 20);
        enforce_limits(w);
    }
}

static void lost_records_of_all_kinds_and_lanes_are_found_by_the_audit_file(void **state)
{
    static struct world w;
    use_no_segments(*state); /* it removes rows of deliveries */
    begin(&w, *state, 12);
    for (unsigned i = 0; i < ROUNDS; i++) {
        live(&w);
        export_all_but(&w, below(60));
        live(&w);
        uint64_t last = spool_last_seq(w.f->spool);
        close_spool(w.f);
        uint64_t from = w.count + 1 + below((unsigned)(last - w.count));
        uint64_t to = from + below(40);
        lose_rows(&w, from, to);
        assert_int_equal(salvage(&w, true).damaged, (to < last ? to : last) - from + 1);
        compare(&w, true);
    }
}

/* Of the failures that were kept for their time only the count of those that were removed is
 * left. */
static void lost_records_are_no_pruned_failures(void **state)
{
    static struct world w;
    begin(&w, *state, 12);
    for (unsigned i = 0; i < ROUNDS; i++) {
        w.history_from = w.count > 0 ? below((unsigned)w.count) : 0;
        live(&w);
        export_all_but(&w, below(20));
        spool_set_keep(w.f->spool, below(3) ? 1000000000 : 100);
        pass_time(w.f, 200);
        commit(w.f);
        commit(w.f);
        spool_set_keep(w.f->spool, 1000000000);
        live(&w);
        accept(&w, 0, 40, SPOOL_NO_EXPIRY);
        enforce_limits(
            &w); /* evicted from one lane alone, so that what is lost is of one kind */
        uint64_t last = spool_last_seq(w.f->spool);
        close_spool(w.f);
        lose_rows(&w, last - below(20), last);
        (void)salvage(&w, below(2));
        compare(&w, false);
        end(&w, 1000, SPOOL_DELIVERED, SPOOL_REASON_NONE);
    }
}

/* Deliveries that were pruned are explained by their numbers, so none counts as damaged. */
static void pruned_deliveries_stay_deliveries(void **state)
{
    static struct world w;
    begin(&w, *state, 1000);
    spool_set_waiting_max(w.f->spool, 20);
    accept(&w, 0, 200, SPOOL_NO_EXPIRY);
    end(&w, 100, SPOOL_DELIVERED, SPOOL_REASON_NONE);
    commit(w.f);
    end(&w, 5, SPOOL_REJECTED, SPOOL_REASON_TOO_LARGE);
    uint64_t pruned_seq = spool_pruned_seq(w.f->spool);
    assert_in_range(pruned_seq, 60, 99);
    close_spool(w.f);
    lose_rows(&w, 101, 105);
    assert_int_equal(salvage(&w, false).damaged, 5);
    assert_int_equal(spool_pruned_seq(w.f->spool), pruned_seq);
    compare(&w, false);
    assert_int_equal(ledger_of(w.f).ended[SPOOL_DELIVERED], 100);
    assert_int_equal(ledger_of(w.f).ended[SPOOL_REJECTED], 0);
}

/* Nothing was left of the lane, so "default" took its counters over; then it came back. */
static void lines_of_a_lane_that_was_forgotten_count_for_default(void **state)
{
    static struct world w;
    use_no_segments(*state); /* it removes rows of deliveries */
    begin(&w, *state, 1000);
    accept(&w, 2, 40, SPOOL_NO_EXPIRY);
    end(&w, 20, SPOOL_DELIVERED, SPOOL_REASON_NONE);
    end(&w, 20, SPOOL_REJECTED, SPOOL_REASON_TOO_LARGE);
    export_all_but(&w, 0);
    spool_set_keep(w.f->spool, 0);
    pass_time(w.f, 1000);
    accept(&w, 0, 10, SPOOL_NO_EXPIRY);
    end(&w, 10, SPOOL_DELIVERED, SPOOL_REASON_NONE);
    export_all_but(&w, 0);
    commit(w.f);
    w.f->options.lane_count = LANES - 1;
    reopen_spool(w.f);
    assert_int_equal(spool_lane_count(w.f->spool), LANES - 1);
    w.f->options.lane_count = LANES;
    reopen_spool(w.f);
    accept(&w, 2, 10, SPOOL_NO_EXPIRY);
    end(&w, 4, SPOOL_DELIVERED, SPOOL_REASON_NONE);
    end(&w, 4, SPOOL_REJECTED, SPOOL_REASON_TOO_LARGE);
    close_spool(w.f);
    lose_rows(&w, 54, 56);
    w.history_from = 30;
    assert_int_equal(salvage(&w, true).damaged, 3);
    compare(&w, false);
    assert_int_equal(ledger_of(w.f).ended[SPOOL_REJECTED], 22);
}

/* With its counters gone, the lane is what its lines and records say. */
static void a_lane_whose_counters_are_lost_is_counted_by_the_audit_file(void **state)
{
    static struct world w;
    begin(&w, *state, 12);
    for (unsigned i = 0; i < ROUNDS; i++) {
        char sql[96];
        live(&w);
        export_all_but(&w, below(60));
        live(&w);
        uint64_t spooled = ledger_of(w.f).spooled;
        uint64_t accepted = ledger_of(w.f).accepted;
        close_spool(w.f);
        (void)snprintf(sql, sizeof(sql),
                       "UPDATE lane SET accepted = accepted + 64 WHERE number = %u",
                       below(LANES));
        tamper(w.f, sql);
        struct spool_salvage result = salvage(&w, true);
        assert_int_equal(result.salvaged, spooled);
        assert_int_equal(result.damaged, 0);
        assert_int_equal(ledger_of(w.f).accepted, accepted);
        compare(&w, false);
    }
}

#define ON_FOLDER(case) cmocka_unit_test_setup_teardown(case, setup_closed, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_FOLDER(lost_records_of_evictions_are_not_taken_from_the_deliveries),
        ON_FOLDER(exported_deliveries_stay_deliveries),
        ON_FOLDER(lost_records_of_all_kinds_and_lanes_are_found_by_the_audit_file),
        ON_FOLDER(lost_records_are_no_pruned_failures),
        ON_FOLDER(pruned_deliveries_stay_deliveries),
        ON_FOLDER(lines_of_a_lane_that_was_forgotten_count_for_default),
        ON_FOLDER(a_lane_whose_counters_are_lost_is_counted_by_the_audit_file),
    };
    const char *given = getenv("SPOOL_TEST_SEED");
    random_state = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL) * 2654435761U;
    print_message("# SPOOL_TEST_SEED=%llu\n", (unsigned long long)random_state);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
