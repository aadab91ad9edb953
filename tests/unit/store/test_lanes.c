/* SPDX-License-Identifier: MIT */
/*
 * test_lanes.c - several lanes in one spool: turns, limits, ledgers, and lanes that come and go
 *
 * The order in which lanes are served is compared place by place: each lane has a letter, and
 * what is handed out is a word. The model test does random things to a spool whose lanes change
 * all the time, and to a plain array; its seed is printed, SPOOL_TEST_SEED repeats a run.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the above */
#include <cmocka.h>

#include <stdbool.h>
#include <time.h>

#include "store/spool.h"
#include "tests/support/spool_fixture.h"

enum { DEFAULT, ALARMS, BULK, LANES, PLENTY = 1000000 };

static struct spool_lane lane_named(const struct fixture *f, const char *name, int priority)
{
    return (struct spool_lane){.name = name, .priority = priority, .limits = f->lane.limits};
}

/* Lanes of priority 0, 10 and -1. */
static void three_lanes(const struct fixture *f, struct spool_lane lanes[static LANES])
{
    lanes[DEFAULT] = lane_named(f, "default", 0);
    lanes[ALARMS] = lane_named(f, "alarms", 10);
    lanes[BULK] = lane_named(f, "bulk", -1);
}

static void open_with(struct fixture *f, const struct spool_lane *lanes, size_t count)
{
    f->options.lanes = lanes;
    f->options.lane_count = count;
    open_spool(f);
}

static void set_lanes_to(struct fixture *f, const struct spool_lane *lanes, size_t count)
{
    assert_int_equal(spool_set_lanes(f->spool, lanes, count), 0);
}

static void fill_lane(struct fixture *f, unsigned lane, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        append_to_lane(f, lane);
    commit(f);
}

static unsigned next_of(struct fixture *f, uint64_t *ret_id)
{
    struct spool_message message;

    assert_int_equal(spool_next(f->spool, &f->now, &message), 0);
    *ret_id = message.id;
    return message.lane;
}

/* A letter for each place, while there are messages; within a lane the ids rise. */
static void check_places(struct fixture *f, const char *letters, const char *wanted)
{
    uint64_t newest[SPOOL_LANES_MAX] = {0};
    char seen[256] = "";
    struct spool_message message;
    size_t used = 0;

    while (used + 1 < sizeof(seen) && spool_next(f->spool, &f->now, &message) == 0) {
        assert_true(message.id > newest[message.lane]);
        newest[message.lane] = message.id;
        seen[used++] = letters[message.lane];
        deliver(f, message.id);
    }
    assert_string_equal(seen, wanted);
    commit(f);
}

static struct spool_lane_stats stats_of_lane(struct fixture *f, const char *name)
{
    struct spool_lane_stats stats;

    for (unsigned i = 0; i < spool_lane_count(f->spool); i++) {
        assert_int_equal(spool_get_lane_stats(f->spool, i, &f->now, &stats), 0);
        assert_true(spool_ledger_balances(&stats.ledger));
        assert_int_equal(stats.ledger.spooled, stats.messages);
        if (strcmp(stats.name, name) == 0)
            return stats;
    }
    fail_msg("there is no lane %s", name);
    return (struct spool_lane_stats){0};
}

static bool knows_lane(struct fixture *f, const char *name)
{
    struct spool_lane_stats stats;

    for (unsigned i = 0; i < spool_lane_count(f->spool); i++) {
        assert_int_equal(spool_get_lane_stats(f->spool, i, &f->now, &stats), 0);
        if (strcmp(stats.name, name) == 0)
            return true;
    }
    return false;
}

/* The ledger of the spool is the sum of those of its lanes. */
static void check_sum(struct fixture *f)
{
    struct spool_ledger all = ledger_of(f);
    struct spool_ledger sum = {0};
    struct spool_lane_stats stats;

    for (unsigned i = 0; i < spool_lane_count(f->spool); i++) {
        assert_int_equal(spool_get_lane_stats(f->spool, i, &f->now, &stats), 0);
        sum.accepted += stats.ledger.accepted;
        sum.spooled += stats.ledger.spooled;
        for (int j = 0; j < SPOOL_OUTCOMES; j++)
            sum.ended[j] += stats.ledger.ended[j];
    }
    assert_memory_equal(&all, &sum, sizeof(all));
}

static unsigned retain(struct fixture *f, unsigned budget, bool *ret_more)
{
    unsigned ended = 0;

    assert_int_equal(spool_retain(f->spool, &f->now, budget, &ended, ret_more), 0);
    return ended;
}

static unsigned retain_all(struct fixture *f)
{
    bool more = true;
    unsigned ended = retain(f, PLENTY, &more);

    assert_false(more);
    commit(f);
    return ended;
}

/* ---- turns ---- */

static void eight_of_nine_places_are_of_the_highest_priority(void **state)
{
    struct fixture *f = *state;
    struct spool_lane lanes[LANES];

    three_lanes(f, lanes);
    open_with(f, lanes, LANES);
    for (unsigned lane = 0; lane < LANES; lane++)
        fill_lane(f, lane, 20);
    check_places(f, "dAb",
                 "AAAAAAAAd"
                 "AAAAAAAAb"
                 "AAAAdddd" /* eight in a row, of any lane */
                 "b"
                 "ddddddddb"
                 "dddddddb"
                 "bbbbbbbbbbbbbbbb");
    check_sum(f);
}

static void a_lane_alone_gets_every_place(void **state)
{
    struct fixture *f = *state;
    struct spool_lane lanes[LANES];

    three_lanes(f, lanes);
    open_with(f, lanes, LANES);
    fill_lane(f, ALARMS, 25);
    check_places(f, "dAb", "AAAAAAAAAAAAAAAAAAAAAAAAA");
    fill_lane(f, BULK, 12);
    check_places(f, "dAb", "bbbbbbbbbbbb");
}

static void lanes_of_one_priority_take_turns_of_eight(void **state)
{
    struct fixture *f = *state;
    const struct spool_lane lanes[] = {lane_named(f, "default", 0), lane_named(f, "x", 0),
                                       lane_named(f, "y", 0), lane_named(f, "low", -1)};

    open_with(f, lanes, 4);
    for (unsigned lane = 0; lane < 3; lane++)
        fill_lane(f, lane, 20);
    fill_lane(f, 3, 4);
    check_places(f, "dxyl",
                 "ddddddddl"
                 "xxxxxxxxl"
                 "yyyyyyyyl"
                 "ddddddddl"
                 "xxxxxxxx"
                 "yyyyyyyy"
                 "ddddxxxx"
                 "yyyy");
}

/* However many lanes there are and whatever the first of them holds. */
static void no_lane_waits_longer_than_nine_places_for_each_other_lane(void **state)
{
    enum { OTHERS = SPOOL_LANES_MAX - 1, ROUND = 9 * OTHERS };
    struct fixture *f = *state;
    struct spool_lane lanes[SPOOL_LANES_MAX];
    char names[SPOOL_LANES_MAX][16];

    for (int i = 0; i < SPOOL_LANES_MAX; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "lane-%d", i);
        lanes[i] = lane_named(f, i == OTHERS ? "default" : names[i], -i);
    }
    lanes[0] = lane_named(f, "default", -OTHERS);
    lanes[OTHERS] = lane_named(f, "urgent", 1);
    open_with(f, lanes, SPOOL_LANES_MAX);
    for (unsigned lane = 0; lane < OTHERS; lane++)
        fill_lane(f, lane, 2);
    fill_lane(f, OTHERS, 2 * ROUND);
    for (int round = 0; round < 2; round++) {
        unsigned had[SPOOL_LANES_MAX] = {0};
        uint64_t id;

        for (int place = 0; place < ROUND; place++)
            had[next_of(f, &id)]++;
        for (unsigned lane = 0; lane < OTHERS; lane++)
            assert_int_equal(had[lane], 1);
        assert_int_equal(had[OTHERS], ROUND - OTHERS);
    }
}

/* As when the window is full: the place is not lost, and the order is as without. */
static void a_message_that_comes_back_at_once_keeps_its_place(void **state)
{
    struct fixture *f = *state;
    struct spool_lane lanes[LANES];
    char seen[64] = "";
    uint64_t id;

    three_lanes(f, lanes);
    open_with(f, lanes, LANES);
    for (unsigned lane = 0; lane < LANES; lane++)
        fill_lane(f, lane, 30);
    for (int place = 0; place < 27; place++) {
        unsigned lane = next_of(f, &id);

        for (int again = 0; again < 3; again++) {
            uint64_t same;

            assert_int_equal(spool_return(f->spool, id, 0), 0);
            assert_int_equal(next_of(f, &same), lane);
            assert_int_equal(same, id);
        }
        seen[place] = "dAb"[lane];
        deliver(f, id);
    }
    assert_string_equal(seen, "AAAAAAAAdAAAAAAAAbAAAAAAAAd");
}

static void messages_that_wait_in_one_lane_hold_up_no_other(void **state)
{
    enum { UNRESOLVED = 65536 };
    struct fixture *f = *state;
    struct spool_lane lanes[LANES];
    uint64_t id;

    three_lanes(f, lanes);
    open_with(f, lanes, LANES);
    fill_lane(f, ALARMS, UNRESOLVED + 10);
    for (int i = 0; i < UNRESOLVED; i++) {
        assert_int_equal(next_of(f, &id), ALARMS);
        assert_int_equal(spool_return(f->spool, id, f->now.boot_ms + HOUR), 0);
    }
    assert_int_equal(next_id(f), 0); /* as many as may wait */
    fill_lane(f, BULK, 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(next_of(f, &id), BULK);
    assert_int_equal(next_id(f), 0);
}

/* ---- live messages first ---- */

/* One lane, with a backlog of @backlog messages behind the link that came up. */
static void open_live_first(struct fixture *f, unsigned backlog)
{
    struct spool_lane lane = lane_named(f, "default", 0);

    lane.drain = SPOOL_LIVE_FIRST;
    open_with(f, &lane, 1);
    fill_lane(f, DEFAULT, backlog);
    spool_begin_live(f->spool);
}

/* What is handed out, all of which is delivered: l for ids above @backlog, b for others; in
 * each half the ids rise. */
static void check_halves(struct fixture *f, uint64_t backlog, const char *wanted)
{
    uint64_t newest[2] = {0};
    char seen[256] = "";
    struct spool_message message;
    size_t used = 0;

    while (used < strlen(wanted) && spool_next(f->spool, &f->now, &message) == 0) {
        bool is_live = message.id > backlog;

        assert_true(message.id > newest[is_live]);
        newest[is_live] = message.id;
        seen[used++] = is_live ? 'l' : 'b';
        deliver(f, message.id);
    }
    assert_string_equal(seen, wanted);
    commit(f);
}

static void live_messages_get_eight_of_nine_places(void **state)
{
    struct fixture *f = *state;

    open_live_first(f, 20);
    check_halves(f, 20, "bb"); /* nothing is live yet */
    fill_lane(f, DEFAULT, 20);
    check_halves(f, 20,
                 "llllllllb"
                 "llllllllb"
                 "llllb");
    fill_lane(f, DEFAULT, 3);
    check_halves(f, 20, "lllbbbbbbbbbbbbbbb");
    fill_lane(f, DEFAULT, 3); /* the two are one again */
    check_halves(f, 20, "lll");
    assert_int_equal(next_id(f), 0);
    assert_int_equal(ledger_of(f).ended[SPOOL_DELIVERED], 46);
}

static void without_a_link_that_came_up_the_order_is_that_of_acceptance(void **state)
{
    struct fixture *f = *state;
    struct spool_lane lane = lane_named(f, "default", 0);

    open_live_first(f, 5);
    lane.drain = SPOOL_FIFO;
    set_lanes_to(f, &lane, 1); /* by a HUP, in the midst of a backlog */
    fill_lane(f, DEFAULT, 5);
    check_halves(f, 5, "bbbbblllll");
}

/* What was live and is not delivered joins the backlog, in its place. */
static void a_second_outage_makes_one_backlog_of_all(void **state)
{
    struct fixture *f = *state;
    uint64_t ids[4];
    uint64_t id;

    open_live_first(f, 10);
    fill_lane(f, DEFAULT, 10); /* 11 to 20 */
    for (int i = 0; i < 4; i++)
        (void)next_of(f, &ids[i]);
    assert_int_equal(ids[3], 14);
    deliver(f, ids[1]);
    commit(f);
    assert_int_equal(spool_return(f->spool, ids[0], 0), 0);
    assert_int_equal(spool_return(f->spool, ids[3], 0), 0);
    spool_begin_live(f->spool);
    fill_lane(f, DEFAULT, 1); /* 21 */
    (void)next_of(f, &id);
    assert_int_equal(id, 21);
    deliver(f, id);
    for (unsigned i = 0; i < 18; i++) {
        static const uint64_t wanted[] = {1,  2,  3,  4,  5,  6,  7,  8,  9,
                                          10, 11, 14, 15, 16, 17, 18, 19, 20};

        (void)next_of(f, &id);
        assert_int_equal(id, wanted[i]);
        deliver(f, id);
    }
    assert_int_equal(next_id(f), 0);
    commit(f);
    assert_int_equal(ledger_of(f).spooled, 1); /* 13, in flight */
}

static void a_message_that_comes_back_at_once_keeps_the_place_of_its_half(void **state)
{
    struct fixture *f = *state;
    uint64_t id;

    open_live_first(f, 3);
    fill_lane(f, DEFAULT, 20);
    for (int place = 1; place <= 18; place++) {
        for (int again = 0; again < 3; again++) {
            (void)next_of(f, &id);
            assert_int_equal(id <= 3, place % 9 == 0);
            assert_int_equal(spool_return(f->spool, id, 0), 0);
        }
        (void)next_of(f, &id);
        assert_int_equal(id <= 3, place % 9 == 0);
        deliver(f, id);
    }
}

static void the_oldest_are_evicted_whatever_is_in_flight_of_the_live_ones(void **state)
{
    struct fixture *f = *state;
    struct spool_lane lane = lane_named(f, "default", 0);
    uint64_t id;

    lane.drain = SPOOL_LIVE_FIRST;
    open_with(f, &lane, 1);
    fill_lane(f, DEFAULT, 10);
    spool_begin_live(f->spool);
    fill_lane(f, DEFAULT, 10);
    for (int i = 0; i < 3; i++)
        (void)next_of(f, &id); /* 11 to 13 are in flight */
    assert_int_equal(spool_return(f->spool, 12, 0), 0);
    lane.limits.max_messages = 5;
    set_lanes_to(f, &lane, 1);
    assert_int_equal(retain_all(f), 15);
    for (id = 1; id <= 20; id++)
        assert_int_equal(records_of(f, id).count, id != 11 && id != 13 && id <= 17);
}

static void what_expires_on_both_sides_of_a_gap_ends_once(void **state)
{
    struct fixture *f = *state;
    struct spool_message message = make_message("payload");
    uint64_t id;

    message.expiry_ms = 1000;
    open_live_first(f, 0);
    for (int i = 1; i <= 5; i++) {
        assert_int_equal(spool_append(f->spool, &message, &f->now, &id), 0);
        commit(f);
        if (i == 3)
            spool_begin_live(f->spool);
    }
    (void)next_of(f, &id); /* the neighbour of 3, which was never handed out */
    assert_int_equal(id, 4);
    assert_int_equal(spool_return(f->spool, id, 0), 0);
    pass_time(f, 1000);
    assert_int_equal(retain_all(f), 5);
    assert_int_equal(next_id(f), 0);
    fill_lane(f, DEFAULT, 1);
    check_halves(f, 5, "l");
    assert_int_equal(ledger_of(f).ended[SPOOL_EXPIRED], 5);
}

/* Evicted of the backlog in a batch that is lost, they are there again and go out. */
static void what_a_lost_batch_evicted_of_a_backlog_comes_back(void **state)
{
    struct fixture *f = *state;
    struct spool_lane lane = lane_named(f, "default", 0);
    bool more;

    open_live_first(f, 10);
    fill_lane(f, DEFAULT, 5);
    check_halves(f, 10, "llll");
    lane.drain = SPOOL_LIVE_FIRST;
    lane.limits.max_messages = 2;
    set_lanes_to(f, &lane, 1);
    assert_int_equal(retain(f, PLENTY, &more), 9);
    assert_int_equal(next_id(f), 0); /* not while they may come back */
    close_spool(f);
    lane.limits.max_messages = PLENTY;
    open_with(f, &lane, 1);
    spool_begin_live(f->spool);
    check_halves(f, 10, "bbbbbbbbbbl");
}

/* ---- limits, records and ledgers of their own ---- */

static void each_lane_is_held_to_its_own_limits(void **state)
{
    struct fixture *f = *state;
    const struct spool_message message = make_message("payload");
    uint64_t charge = spool_charge(&message);
    struct spool_lane lanes[LANES];

    three_lanes(f, lanes);
    lanes[DEFAULT].limits.max_messages = 5;
    lanes[ALARMS].limits.max_bytes = 7 * charge;
    lanes[BULK].limits.max_age_ms = 1000;
    open_with(f, lanes, LANES);
    for (int i = 0; i < 10; i++) { /* ids 1 4 7 ... default, 2 5 8 ... alarms, 3 6 9 ... bulk */
        for (unsigned lane = 0; lane < LANES; lane++)
            append_to_lane(f, lane);
    }
    commit(f);
    assert_int_equal(retain_all(f), 5 + 3);
    pass_time(f, 1000);
    assert_int_equal(retain_all(f), 10);
    assert_int_equal(stats_of_lane(f, "default").messages, 5);
    assert_int_equal(stats_of_lane(f, "alarms").messages, 7);
    assert_int_equal(stats_of_lane(f, "bulk").messages, 0);
    assert_string_equal(records_of(f, 13).record.lane, "default");
    assert_int_equal(records_of(f, 13).record.reason, SPOOL_REASON_MAX_MESSAGES);
    assert_string_equal(records_of(f, 8).record.lane, "alarms");
    assert_int_equal(records_of(f, 8).record.reason, SPOOL_REASON_MAX_BYTES);
    assert_string_equal(records_of(f, 30).record.lane, "bulk");
    assert_int_equal(records_of(f, 30).record.reason, SPOOL_REASON_MAX_AGE);
    assert_int_equal(records_of(f, 16).count + records_of(f, 11).count, 0); /* these stay */
    check_sum(f);
}

static void each_lane_has_its_own_policy(void **state)
{
    struct fixture *f = *state;
    struct spool_message message = make_message("payload");
    struct spool_lane lanes[LANES];
    uint64_t id;

    three_lanes(f, lanes);
    for (int lane = 0; lane < LANES; lane++)
        lanes[lane].limits.max_messages = 2;
    lanes[ALARMS].limits.when_full = SPOOL_REFUSE;
    lanes[BULK].limits.when_full = SPOOL_BLOCK;
    open_with(f, lanes, LANES);
    for (unsigned lane = 0; lane < LANES; lane++)
        fill_lane(f, lane, 2);
    for (message.lane = ALARMS; message.lane <= BULK; message.lane++) {
        assert_false(spool_has_room(f->spool, message.lane, 1));
        assert_int_equal(spool_append(f->spool, &message, &f->now, &id), SPOOL_E_FULL);
    }
    append_to_lane(f, DEFAULT);
    commit(f);
    assert_int_equal(retain_all(f), 1);
    assert_int_equal(ledger_of(f).spooled, 6);
    assert_int_equal(stats_of_lane(f, "default").ledger.ended[SPOOL_EVICTED], 1);
}

static void ledgers_of_lanes_outlive_a_restart(void **state)
{
    struct fixture *f = *state;
    struct spool_lane lanes[LANES];
    static const struct spool_verdict rejected = {SPOOL_REJECTED, SPOOL_REASON_REASON_CODE,
                                                  135};
    uint64_t id;

    three_lanes(f, lanes);
    open_with(f, lanes, LANES);
    for (unsigned lane = 0; lane < LANES; lane++)
        fill_lane(f, lane, 3 + lane);
    assert_int_equal(next_of(f, &id), ALARMS);
    deliver(f, id);
    assert_int_equal(next_of(f, &id), ALARMS);
    assert_int_equal(spool_settle(f->spool, id, &rejected, f->now.boot_ms), 0);
    commit(f);
    for (int life = 0; life < 2; life++) {
        struct spool_ledger alarms = stats_of_lane(f, "alarms").ledger;

        assert_int_equal(alarms.accepted, 4);
        assert_int_equal(alarms.ended[SPOOL_DELIVERED], 1);
        assert_int_equal(alarms.ended[SPOOL_REJECTED], 1);
        assert_int_equal(alarms.spooled, 2);
        assert_int_equal(stats_of_lane(f, "default").ledger.spooled, 3);
        assert_int_equal(stats_of_lane(f, "bulk").ledger.accepted, 5);
        check_sum(f);
        reopen_spool(f);
    }
    check_places(f, "dAb", "AAdddbbbbb");
}

/* One lane above its limit by thousands, another by what each batch brings. */
static void a_mass_eviction_keeps_no_other_lane_above_its_limit(void **state)
{
    struct fixture *f = *state;
    struct spool_lane lanes[LANES];
    unsigned left = 5000;
    bool more;

    three_lanes(f, lanes);
    lanes[BULK].limits.max_messages = 10;
    open_with(f, lanes, LANES);
    fill_lane(f, DEFAULT, left);
    fill_lane(f, BULK, 10);
    lanes[DEFAULT].limits.max_messages = 100;
    set_lanes_to(f, lanes, LANES);
    while (left > 100) {
        unsigned evicted;

        for (int i = 0; i < 50; i++)
            append_to_lane(f, BULK);
        evicted = retain(f, 250, &more);
        commit(f);
        assert_int_equal(stats_of_lane(f, "bulk").messages, 10);
        left -= evicted - 50;
        assert_int_equal(stats_of_lane(f, "default").messages, left);
        assert_int_equal(evicted, left > 100 ? 250 + 50 : evicted);
        assert_int_equal(more, left > 100);
    }
    assert_int_equal(left, 100);
    check_sum(f);
}

/* What a batch brings to one lane is evicted from that lane, and leaves the budget to the
 * others. */
static void the_budget_is_for_what_the_batch_has_not_brought(void **state)
{
    struct fixture *f = *state;
    struct spool_lane lanes[LANES];
    bool more;

    three_lanes(f, lanes);
    lanes[BULK].limits.max_messages = 10;
    open_with(f, lanes, LANES);
    fill_lane(f, DEFAULT, 1000);
    fill_lane(f, BULK, 10);
    lanes[DEFAULT].limits.max_messages = 100;
    set_lanes_to(f, lanes, LANES);
    for (int i = 0; i < 50; i++)
        append_to_lane(f, BULK);
    assert_int_equal(retain(f, 0, &more), 50);
    assert_true(more);
    commit(f);
    assert_int_equal(stats_of_lane(f, "bulk").messages, 10);
    assert_int_equal(stats_of_lane(f, "default").messages, 1000);
    assert_int_equal(retain(f, 0, &more), 0);
    assert_int_equal(retain(f, 7, &more), 7);
    commit(f);
    assert_int_equal(stats_of_lane(f, "default").messages, 993);
    check_sum(f);
}

static void small_messages_make_room_for_a_large_one_whatever_the_budget(void **state)
{
    struct fixture *f = *state;
    struct spool_lane lane = f->lane;
    static char large[64 * 1024];
    bool more;

    memset(large, 'x', sizeof(large) - 1);
    lane.limits.max_bytes = UINT64_C(2000) * (7 + 6 + 7 + SPOOL_CHARGE_OVERHEAD);
    open_with(f, &lane, 1);
    fill_lane(f, DEFAULT, 2000);
    for (int i = 0; i < 5; i++) {
        append(f, large);
        assert_true(retain(f, 50, &more) < 1000);
        commit(f);
        assert_in_range(stats_of(f).bytes, 0, lane.limits.max_bytes);
    }
    check_sum(f);
}

/* Nor does a mass of messages that grew too old at once. */
static void a_mass_that_ages_keeps_no_lane_above_its_limit(void **state)
{
    struct fixture *f = *state;
    struct spool_lane lanes[LANES];
    unsigned batches = 0;
    bool more = true;

    three_lanes(f, lanes);
    lanes[DEFAULT].limits.max_age_ms = 1000;
    lanes[BULK].limits.max_messages = 10;
    open_with(f, lanes, LANES);
    fill_lane(f, DEFAULT, 2000);
    fill_lane(f, BULK, 10);
    pass_time(f, 1000);
    for (; more; batches++) {
        for (int i = 0; i < 50; i++)
            append_to_lane(f, BULK);
        assert_in_range(retain(f, 250, &more), 50, 250 + 50);
        commit(f);
        assert_int_equal(stats_of_lane(f, "bulk").messages, 10);
    }
    assert_int_equal(batches, 2000 / 250);
    assert_int_equal(stats_of_lane(f, "default").ledger.ended[SPOOL_EVICTED], 2000);
}

/* ---- lanes come and go ---- */

static void lanes_change_while_messages_are_in_flight_and_in_the_open_batch(void **state)
{
    struct fixture *f = *state;
    struct spool_lane lanes[LANES];
    uint64_t in_flight, returned, of_default, in_batch;

    three_lanes(f, lanes);
    open_with(f, lanes, LANES);
    fill_lane(f, ALARMS, 2);
    fill_lane(f, DEFAULT, 1);
    assert_int_equal(next_of(f, &in_flight), ALARMS);
    assert_int_equal(next_of(f, &returned), ALARMS);
    assert_int_equal(next_of(f, &of_default), DEFAULT);
    assert_int_equal(spool_return(f->spool, returned, 0), 0);
    in_batch = append_to_lane(f, BULK);

    /* alarms goes, bulk moves in front, fresh is new */
    const struct spool_lane changed[] = {lanes[DEFAULT], lane_named(f, "fresh", 20),
                                         lanes[BULK]};
    set_lanes_to(f, changed, 3);
    uint64_t of_fresh = append_to_lane(f, 1);
    deliver(f, in_flight);
    deliver(f, of_default);
    commit(f);
    assert_int_equal(stats_of(f).in_flight, 0);
    assert_string_equal(records_of(f, in_flight).record.lane, "alarms");
    assert_int_equal(stats_of_lane(f, "alarms").messages, 1);
    assert_int_equal(stats_of_lane(f, "bulk").messages, 1);
    assert_int_equal(stats_of_lane(f, "fresh").messages, 1);
    assert_int_equal(spool_lane_count(f->spool), 4);
    check_sum(f);
    reopen_spool(f); /* with the old lanes: fresh is the one that is left over */
    assert_int_equal(spool_lane_count(f->spool), 4);
    assert_int_equal(next_id(f), returned);
    assert_int_equal(next_id(f), of_fresh);
    assert_int_equal(next_id(f), in_batch);
    assert_int_equal(next_id(f), 0);
}

static void a_lane_added_in_a_batch_that_is_lost_is_stored_with_the_next(void **state)
{
    struct fixture *f = *state;
    const struct spool_lane lanes[] = {f->lane, lane_named(f, "fresh", 0)};

    open_with(f, lanes, 1);
    assert_false(spool_has_work(f->spool));
    set_lanes_to(f, lanes, 2);
    assert_true(spool_has_work(f->spool));
    close_spool(f); /* nothing was committed */
    open_spool(f);
    assert_false(knows_lane(f, "fresh"));
    set_lanes_to(f, lanes, 2);
    append_to_lane(f, 1);
    commit(f);
    assert_false(spool_has_work(f->spool));
    reopen_spool(f);
    assert_int_equal(stats_of_lane(f, "fresh").messages, 1);
}

static void a_lane_that_is_left_out_lives_under_the_limits_of_default(void **state)
{
    struct fixture *f = *state;
    struct spool_lane lanes[LANES];

    three_lanes(f, lanes);
    lanes[DEFAULT].limits.max_messages = 4;
    lanes[DEFAULT].limits.max_age_ms = 5000;
    lanes[ALARMS].limits.when_full = SPOOL_REFUSE;
    open_with(f, lanes, LANES);
    fill_lane(f, ALARMS, 6);
    fill_lane(f, DEFAULT, 3);
    assert_int_equal(retain_all(f), 0);
    for (int life = 0; life < 2; life++) { /* at HUP, or at a start */
        if (life == 0) {
            set_lanes_to(f, lanes, 1);
        } else {
            close_spool(f);
            open_with(f, lanes, 1);
        }
        assert_int_equal(retain_all(f), life == 0 ? 2 : 0);
        assert_int_equal(stats_of_lane(f, "alarms").messages, 4); /* counted for itself */
        assert_int_equal(stats_of_lane(f, "default").messages, 3);
        assert_string_equal(records_of(f, 1).record.lane, "alarms");
    }
    for (int i = 0; i < 7; i++) {
        uint64_t id;
        assert_int_equal(next_of(f, &id), DEFAULT); /* reported as one of default */
        deliver(f, id);
    }
    commit(f);
    assert_int_equal(stats_of_lane(f, "alarms").ledger.ended[SPOOL_DELIVERED], 4);
    check_sum(f);
}

static void a_lane_that_comes_back_takes_its_messages_over(void **state)
{
    struct fixture *f = *state;
    struct spool_lane lanes[LANES];
    uint64_t id;

    three_lanes(f, lanes);
    open_with(f, lanes, LANES);
    fill_lane(f, ALARMS, 2);
    fill_lane(f, DEFAULT, 1);
    set_lanes_to(f, lanes, 1);
    append_to_lane(f, DEFAULT);
    commit(f);
    set_lanes_to(f, lanes, LANES);
    assert_int_equal(next_of(f, &id), ALARMS);
    assert_int_equal(id, 1);
    check_places(f, "dAb", "Add");
}

static void a_lane_of_which_nothing_is_left_is_forgotten_at_the_next_start(void **state)
{
    struct fixture *f = *state;
    struct spool_lane lanes[LANES];
    struct spool_ledger before;

    three_lanes(f, lanes);
    f->options.keep_failures_count = 0;
    open_with(f, lanes, LANES);
    fill_lane(f, ALARMS, 3);
    fill_lane(f, BULK, 1);
    set_lanes_to(f, lanes, 1);
    assert_int_equal(deliver_all(f), 4); /* seq 1..3 of alarms, 4 of bulk */
    close_spool(f);
    open_with(f, lanes, 1);
    assert_true(knows_lane(f, "alarms") && knows_lane(f, "bulk")); /* records are left */
    append(f, "x");
    commit(f);
    deliver(f, next_id(f));
    spool_set_exported(f->spool, 4);
    commit(f);
    append(f, "y"); /* the pruning of what was exported is in the commit after */
    commit(f);
    before = ledger_of(f);
    reopen_spool(f);
    assert_false(knows_lane(f, "alarms") || knows_lane(f, "bulk"));
    struct spool_ledger after = ledger_of(f);
    assert_memory_equal(&after, &before, sizeof(after));
    assert_int_equal(stats_of_lane(f, "default").ledger.ended[SPOOL_DELIVERED], 5);
    assert_int_equal(append(f, "z"), 7); /* ids and seq continue */
    commit(f);
    assert_int_equal(spool_last_seq(f->spool), 5);
    reopen_spool(f);
    check_sum(f);
}

static int check_lane_of_newest(void *context, const struct spool_record *record)
{
    assert_string_equal(record->lane, record->id == *(uint64_t *)context ? "third" : "default");
    return 0;
}

/* A reader that stays open over it counts the lane once, and no newer lane goes by its name. */
static void a_reader_sees_a_lane_being_forgotten(void **state)
{
    struct fixture *f = *state;
    struct spool_lane lanes[] = {f->lane, lane_named(f, "other", 0)};
    struct spool_ledger before, after;
    struct spool *reader;

    f->options.keep_failures_count = 0;
    open_with(f, lanes, 2);
    fill_lane(f, 1, 1);
    fill_lane(f, 0, 1);
    assert_int_equal(deliver_all(f), 2);
    for (int i = 0; i < 2; i++) {
        spool_set_exported(f->spool, spool_last_seq(f->spool));
        fill_lane(f, 0, 1);
        assert_int_equal(deliver_all(f), 1);
    }
    assert_int_equal(spool_open_reader(f->directory, &reader), 0);
    assert_int_equal(spool_get_ledger(reader, &before), 0);
    close_spool(f);
    open_with(f, lanes, 1);
    assert_false(knows_lane(f, "other"));
    assert_int_equal(spool_get_ledger(reader, &after), 0);
    assert_memory_equal(&after, &before, sizeof(after));
    lanes[1] = lane_named(f, "third", 0); /* gets the number of the other one */
    set_lanes_to(f, lanes, 2);
    uint64_t id = append_to_lane(f, 1);
    assert_int_equal(deliver_all(f), 0);
    assert_int_equal(deliver_all(f), 1);
    assert_int_equal(spool_each_record(reader, 0, false, 0, check_lane_of_newest, &id), 0);
    assert_int_equal(spool_get_ledger(reader, &after), 0);
    assert_int_equal(after.accepted, before.accepted + 1);
    spool_close(reader);
}

static void too_many_lanes_are_refused_and_nothing_changes(void **state)
{
    struct fixture *f = *state;
    struct spool_lane lanes[SPOOL_LANES_MAX];
    char names[SPOOL_LANES_MAX][32];
    size_t known = 1;
    int r = 0;

    lanes[0] = f->lane;
    open_with(f, lanes, 1);
    fill_lane(f, DEFAULT, 2);
    for (int set = 0; r == 0; set++) {
        for (int i = 1; i < SPOOL_LANES_MAX; i++) {
            (void)snprintf(names[i], sizeof(names[i]), "lane-%d-%d", set, i);
            lanes[i] = lane_named(f, names[i], i);
        }
        lanes[0].limits.max_messages = 1 + (unsigned)(set == 4);
        r = spool_set_lanes(f->spool, lanes, SPOOL_LANES_MAX);
        known += r == 0 ? SPOOL_LANES_MAX - 1 : 0;
        append_to_lane(f, 1); /* a lane in which something is */
        commit(f);
    }
    assert_int_equal(r, SPOOL_E_LANES);
    assert_int_equal(known, 1 + 4 * (SPOOL_LANES_MAX - 1));
    assert_int_equal(spool_lane_count(f->spool), known);
    assert_string_equal(spool_error(f->spool),
                        "more than 256 lanes, with those that messages or records are left of");
    assert_int_equal(retain_all(f), 1); /* of default, by the limit set before */
    check_sum(f);
    close_spool(f);
    f->options.lane_count = SPOOL_LANES_MAX; /* lanes that are empty do not count at a start */
    open_spool(f);
    assert_int_equal(spool_lane_count(f->spool), SPOOL_LANES_MAX + 4);
}

/* ---- a model ---- */

enum { NAMES = 5, IDS = 20000, STEPS = 6000 };
enum state { NOWHERE, IN_BATCH, PENDING, IN_FLIGHT, SETTLED, ENDED };

static const char *const names[NAMES] = {"default", "a", "b", "c", "d"};

struct model {
    struct fixture *f;
    struct spool_lane lanes[NAMES]; /* as configured */
    size_t count;
    unsigned name[IDS]; /* by id: of its lane, for ever */
    enum state state[IDS];
    bool is_backlog[IDS];        /* accepted before the link came up, in a lane of live-first */
    unsigned live_places[NAMES]; /* in a row, up to eight */
    uint64_t newest_out;         /* what was handed out last, with nothing since; 0: none */
    unsigned newest_live_places; /* of its lane before */
    unsigned in_backlog_first;   /* handed out of a backlog while live ones waited */
    uint64_t last_seq;
    unsigned evicted;
};

static unsigned roll(unsigned sides)
{
    return (unsigned)rand() % sides;
}

static unsigned name_of(const char *text)
{
    for (unsigned i = 0; i < NAMES; i++) {
        if (strcmp(names[i], text) == 0)
            return i;
    }
    fail_msg("no lane has the name %s", text);
    return 0;
}

/* Lane "default" and some of the others, in any order, with any limits. */
static void apply_configuration(struct model *m)
{
    unsigned order[NAMES] = {0, 1, 2, 3, 4};

    m->count = 1 + roll(NAMES);
    for (size_t i = 1; i < NAMES; i++) {
        unsigned other = 1 + roll(NAMES - 1);
        unsigned kept = order[i];

        order[i] = order[other];
        order[other] = kept;
    }
    for (size_t i = 0; i < m->count; i++) {
        m->lanes[i] = lane_named(m->f, names[order[i]], (int)roll(3));
        m->lanes[i].limits.max_messages = 5 + roll(60);
        m->lanes[i].drain = roll(2) ? SPOOL_LIVE_FIRST : SPOOL_FIFO;
    }
    m->newest_out = 0;
}

/* The oldest of its lane that was pending in the last commit; 0: none. */
static uint64_t oldest_pending(const struct model *m, unsigned name)
{
    for (uint64_t id = 1; id < IDS; id++) {
        if (m->state[id] == PENDING && m->name[id] == name)
            return id;
    }
    return 0;
}

/* What is left of a lane that is not configured drains as "default" does. */
static enum spool_drain drain_of(const struct model *m, unsigned name)
{
    for (size_t i = 0; i < m->count; i++) {
        if (strcmp(m->lanes[i].name, names[name]) == 0)
            return m->lanes[i].drain;
    }
    return m->lanes[0].drain;
}

/* The same of one half. */
static uint64_t oldest_of_half(const struct model *m, unsigned name, bool is_backlog)
{
    for (uint64_t id = 1; id < IDS; id++) {
        if (m->state[id] == PENDING && m->name[id] == name && m->is_backlog[id] == is_backlog)
            return id;
    }
    return 0;
}

/* The one that goes out when it is the lane's turn. */
static uint64_t wanted_next(struct model *m, unsigned name)
{
    uint64_t live = oldest_of_half(m, name, false);
    uint64_t backlog = oldest_of_half(m, name, true);

    if (live == 0 || backlog == 0)
        return live + backlog;
    if (drain_of(m, name) == SPOOL_LIVE_FIRST && m->live_places[name] < 8)
        return live;
    m->in_backlog_first++;
    return backlog;
}

static void model_begin_live(struct model *m)
{
    spool_begin_live(m->f->spool);
    for (uint64_t id = 1; id < IDS; id++) {
        if (m->state[id] != NOWHERE && drain_of(m, m->name[id]) == SPOOL_LIVE_FIRST)
            m->is_backlog[id] = m->state[id] != IN_BATCH;
    }
}

static int compare_record(void *context, const struct spool_record *record)
{
    struct model *m = context;

    assert_int_equal(record->seq, m->last_seq + 1);
    assert_int_equal(name_of(record->lane), m->name[record->id]);
    if (record->outcome == SPOOL_DELIVERED) {
        assert_int_equal(m->state[record->id], SETTLED);
    } else {
        assert_int_equal(record->outcome, SPOOL_EVICTED);
        assert_int_equal(record->id, oldest_pending(m, m->name[record->id]));
        m->evicted++;
    }
    m->state[record->id] = ENDED;
    m->last_seq = record->seq;
    return 0;
}

static void model_commit(struct model *m)
{
    uint64_t left[NAMES] = {0};

    commit(m->f);
    for (uint64_t id = 1; id < IDS; id++) {
        if (m->state[id] == IN_BATCH)
            m->state[id] = PENDING;
    }
    assert_int_equal(spool_each_record(m->f->spool, m->last_seq, false, 0, compare_record, m),
                     0);
    for (uint64_t id = 1; id < IDS; id++) {
        assert_int_not_equal(m->state[id], SETTLED);
        if (m->state[id] == PENDING || m->state[id] == IN_FLIGHT)
            left[m->name[id]]++;
    }
    for (unsigned name = 0; name < NAMES; name++) {
        if (left[name] > 0 || knows_lane(m->f, names[name]))
            assert_int_equal(stats_of_lane(m->f, names[name]).messages, left[name]);
    }
    check_sum(m->f);
}

static void model_append(struct model *m)
{
    unsigned lane = roll((unsigned)m->count);
    uint64_t id = append_to_lane(m->f, lane);

    assert_in_range(id, 1, IDS - 1);
    m->name[id] = name_of(m->lanes[lane].name);
    m->state[id] = IN_BATCH;
}

static void model_next(struct model *m)
{
    struct spool_message message;
    int r = spool_next(m->f->spool, &m->f->now, &message);

    m->newest_out = 0;
    if (r == SPOOL_E_EMPTY) {
        for (unsigned name = 0; name < NAMES; name++)
            assert_int_equal(oldest_pending(m, name), 0);
        return;
    }
    assert_int_equal(r, 0);
    unsigned *places = &m->live_places[m->name[message.id]];
    assert_int_equal(message.id, wanted_next(m, m->name[message.id]));
    m->state[message.id] = IN_FLIGHT;
    m->newest_out = message.id;
    m->newest_live_places = *places;
    *places = m->is_backlog[message.id] ? 0 : *places < 8 ? *places + 1 : 8;
}

static void model_answer(struct model *m, bool is_delivered)
{
    uint64_t first = roll(IDS);

    for (uint64_t i = 0; i < IDS; i++) {
        uint64_t id = (first + i) % IDS;

        if (m->state[id] != IN_FLIGHT)
            continue;
        if (is_delivered)
            deliver(m->f, id);
        else
            assert_int_equal(spool_return(m->f->spool, id, 0), 0);
        if (!is_delivered && id == m->newest_out)
            m->live_places[m->name[id]] = m->newest_live_places;
        m->state[id] = is_delivered ? SETTLED : PENDING;
        return;
    }
}

static void model_restart(struct model *m)
{
    close_spool(m->f);
    for (uint64_t id = 1; id < IDS; id++) {
        if (m->state[id] == IN_BATCH)
            m->state[id] = NOWHERE;
        else if (m->state[id] == IN_FLIGHT || m->state[id] == SETTLED)
            m->state[id] = PENDING;
        m->is_backlog[id] = false;
    }
    memset(m->live_places, 0, sizeof(m->live_places));
    m->newest_out = 0;
    if (roll(2) == 0)
        apply_configuration(m);
    open_with(m->f, m->lanes, m->count);
}

/* A batch from which something was evicted is committed, as the gateway does it. */
static void model_retain(struct model *m)
{
    unsigned before = m->evicted;
    bool more;
    unsigned ended;

    model_commit(m);
    ended = retain(m->f, 1 + roll(30), &more);
    model_commit(m);
    assert_int_equal(m->evicted - before, ended);
}

static void model_step(struct model *m)
{
    unsigned what = roll(100);

    if (what < 40) {
        model_append(m);
    } else if (what < 60) {
        model_commit(m);
        model_next(m);
    } else if (what < 72) {
        model_answer(m, true);
    } else if (what < 80) {
        model_answer(m, false);
    } else if (what < 92) {
        model_retain(m);
    } else if (what < 95) {
        model_begin_live(m);
    } else if (what < 98) {
        apply_configuration(m);
        set_lanes_to(m->f, m->lanes, m->count);
    } else {
        model_restart(m);
    }
}

static void random_steps_agree_with_a_model(void **state)
{
    static struct model m;
    const char *given = getenv("SPOOL_TEST_SEED");
    unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);

    printf("# SPOOL_TEST_SEED=%u\n", seed);
    srand(seed);
    m.f = *state;
    apply_configuration(&m);
    open_with(m.f, m.lanes, m.count);
    for (int step = 0; step < STEPS; step++)
        model_step(&m);
    assert_true(m.evicted > 0);
    assert_true(m.in_backlog_first > 0);
}

#define ON_FOLDER(name) cmocka_unit_test_setup_teardown(name, setup_closed, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_FOLDER(eight_of_nine_places_are_of_the_highest_priority),
        ON_FOLDER(a_lane_alone_gets_every_place),
        ON_FOLDER(lanes_of_one_priority_take_turns_of_eight),
        ON_FOLDER(no_lane_waits_longer_than_nine_places_for_each_other_lane),
        ON_FOLDER(a_message_that_comes_back_at_once_keeps_its_place),
        ON_FOLDER(messages_that_wait_in_one_lane_hold_up_no_other),
        ON_FOLDER(live_messages_get_eight_of_nine_places),
        ON_FOLDER(without_a_link_that_came_up_the_order_is_that_of_acceptance),
        ON_FOLDER(a_second_outage_makes_one_backlog_of_all),
        ON_FOLDER(a_message_that_comes_back_at_once_keeps_the_place_of_its_half),
        ON_FOLDER(the_oldest_are_evicted_whatever_is_in_flight_of_the_live_ones),
        ON_FOLDER(what_expires_on_both_sides_of_a_gap_ends_once),
        ON_FOLDER(what_a_lost_batch_evicted_of_a_backlog_comes_back),
        ON_FOLDER(each_lane_is_held_to_its_own_limits),
        ON_FOLDER(each_lane_has_its_own_policy),
        ON_FOLDER(ledgers_of_lanes_outlive_a_restart),
        ON_FOLDER(a_mass_eviction_keeps_no_other_lane_above_its_limit),
        ON_FOLDER(the_budget_is_for_what_the_batch_has_not_brought),
        ON_FOLDER(small_messages_make_room_for_a_large_one_whatever_the_budget),
        ON_FOLDER(a_mass_that_ages_keeps_no_lane_above_its_limit),
        ON_FOLDER(lanes_change_while_messages_are_in_flight_and_in_the_open_batch),
        ON_FOLDER(a_lane_added_in_a_batch_that_is_lost_is_stored_with_the_next),
        ON_FOLDER(a_lane_that_is_left_out_lives_under_the_limits_of_default),
        ON_FOLDER(a_lane_that_comes_back_takes_its_messages_over),
        ON_FOLDER(a_lane_of_which_nothing_is_left_is_forgotten_at_the_next_start),
        ON_FOLDER(a_reader_sees_a_lane_being_forgotten),
        ON_FOLDER(too_many_lanes_are_refused_and_nothing_changes),
        ON_FOLDER(random_steps_agree_with_a_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
