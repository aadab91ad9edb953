/* SPDX-License-Identifier: MIT */
/*
 * test_select.c - messages that an operator selects: found, dropped, left alone
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the above */
#include <cmocka.h>

#include <stdbool.h>
#include <string.h>

#include "base/view.h"
#include "store/spool.h"
#include "tests/support/spool_fixture.h"

static const struct spool_selection all = {0};

/* Filters of this test are prefixes. */
static bool has_prefix(const char *filter, struct view topic)
{
    size_t size = strlen(filter);

    return topic.size >= size && memcmp(topic.data, filter, size) == 0;
}

static struct spool_select *
begin(struct spool *spool, enum spool_place place, const struct spool_selection *selection)
{
    struct spool_select *select = NULL;

    assert_int_equal(spool_select_new(spool, place, selection, &select), 0);
    return select;
}

/* The ids of all that a walk finds, in its order. */
struct ids {
    uint64_t all[20000];
    size_t count;
    size_t steps;
};

static void find(const struct fixture *f,
                 struct spool *spool,
                 enum spool_place place,
                 const struct spool_selection *selection,
                 struct ids *ret)
{
    struct spool_select *select = begin(spool, place, selection);
    struct spool_selected selected;
    int r;

    ret->count = 0;
    ret->steps = 0;
    while ((r = spool_select_next(select, &f->now, false, &selected)) != SPOOL_E_EMPTY) {
        assert_true(r == 0 || r == SPOOL_E_AGAIN);
        ret->steps++;
        if (r == 0)
            ret->all[ret->count++] = selected.message.id;
    }
    spool_select_free(select);
}

static size_t
count_found(const struct fixture *f, struct spool *spool, const struct spool_selection *wanted)
{
    static struct ids ids;

    find(f, spool, SPOOL_PLACE_SPOOLED, wanted, &ids);
    for (size_t i = 1; i < ids.count; i++)
        assert_true(ids.all[i - 1] < ids.all[i]);
    return ids.count;
}

static struct spool_changes
drop(struct fixture *f, const struct spool_selection *selection, bool is_dry_run)
{
    struct spool_select *select = begin(f->spool, SPOOL_PLACE_SPOOLED, selection);
    struct spool_changes changes = {0};

    while (spool_select_drop(select, &f->now, is_dry_run, &changes) == SPOOL_E_AGAIN)
        commit(f);
    commit(f);
    spool_select_free(select);
    return changes;
}

static void check_changes(struct spool_changes changes, uint64_t matched, uint64_t in_flight)
{
    assert_int_equal(changes.matched, matched);
    assert_int_equal(changes.in_flight, in_flight);
    assert_int_equal(changes.changed, matched - in_flight);
}

/* Three lanes; messages of them in turn. */
static const struct spool_lane lanes[] = {
    {.name = "default", .limits = {1000000, UINT64_C(1) << 30, UINT64_MAX, SPOOL_REFUSE}},
    {.name = "a", .limits = {1000000, UINT64_C(1) << 30, UINT64_MAX, SPOOL_REFUSE}},
    {.name = "b", .limits = {1000000, UINT64_C(1) << 30, UINT64_MAX, SPOOL_REFUSE}},
};

static int setup_lanes(void **state)
{
    if (setup_fast(state) != 0)
        return -1;
    struct fixture *f = *state;
    f->options.lanes = lanes;
    f->options.lane_count = 3;
    f->options.kept = (struct spool_kept_limits){100000, UINT64_C(1) << 30, 1000 * HOUR};
    open_spool(f);
    return 0;
}

static uint64_t append_to(struct fixture *f, unsigned lane, const char *topic)
{
    struct spool_message message = make_message("payload");
    uint64_t id = 0;

    message.lane = lane;
    message.topic = view_of_text(topic);
    assert_int_equal(spool_append(f->spool, &message, &f->now, &id), 0);
    return id;
}

/* One that has all that a message can have, in lane "a". */
static uint64_t append_full(struct fixture *f, uint8_t qos, int64_t expiry_ms)
{
    struct spool_message message = make_message("what it said");
    uint64_t id = 0;

    message.lane = 1;
    message.retain = true;
    message.qos = qos;
    message.expiry_ms = expiry_ms;
    message.ref = view_of_text("order-1");
    message.properties = view_of("\x01\x00", 2);
    assert_int_equal(spool_append(f->spool, &message, &f->now, &id), 0);
    commit(f);
    return id;
}

static void check_full(const struct spool_message *message)
{
    assert_string_equal(message->lane_name, "a");
    assert_true(message->retain);
    assert_true(view_equals(message->payload, view_of_text("what it said")));
    assert_true(view_equals(message->properties, view_of("\x01\x00", 2)));
    assert_true(view_equals(message->ref, view_of_text("order-1")));
}

static void append_in_turn(struct fixture *f, unsigned count)
{
    static const char *const topics[] = {"plant/1", "plant/2", "office/1", "office/2"};

    for (unsigned i = 0; i < count; i++) {
        append_to(f, i % 3, topics[i % 4]);
        if (i % 1000 == 999)
            commit(f);
    }
    commit(f);
}

/* ---- found ---- */

static void all_messages_of_all_lanes_are_found_in_the_order_of_ids(void **state)
{
    struct fixture *f = *state;
    struct spool *reader;

    append_in_turn(f, 10000);
    assert_int_equal(count_found(f, f->spool, &all), 10000);
    assert_int_equal(spool_open_reader(f->directory, &reader), 0);
    assert_int_equal(count_found(f, reader, &all), 10000);
    spool_close(reader);
}

static void whatever_is_set_narrows(void **state)
{
    struct fixture *f = *state;
    static const uint64_t ids[] = {1, 2, 5, 9, 4000};
    struct spool_message message = make_message("payload");
    uint64_t id;

    append_in_turn(f, 12);
    message.client = view_of_text("other");
    message.uid = 7;
    pass_time(f, 5000);
    assert_int_equal(spool_append(f->spool, &message, &f->now, &id), 0);
    commit(f);
    pass_time(f, 1000);

    struct spool_selection wanted = {.lane = "a"};
    assert_int_equal(count_found(f, f->spool, &wanted), 4);
    wanted = (struct spool_selection){.lane = "none"};
    assert_int_equal(count_found(f, f->spool, &wanted), 0);
    wanted = (struct spool_selection){.client = "other"};
    assert_int_equal(count_found(f, f->spool, &wanted), 1);
    wanted = (struct spool_selection){.has_uid = true, .uid = 7};
    assert_int_equal(count_found(f, f->spool, &wanted), 1);
    wanted = (struct spool_selection){.topic = "plant/", .topic_matches = has_prefix};
    assert_int_equal(count_found(f, f->spool, &wanted), 7);
    wanted.lane = "b";
    assert_int_equal(count_found(f, f->spool, &wanted), 2);
    wanted = (struct spool_selection){.older_than_ms = 6000};
    assert_int_equal(count_found(f, f->spool, &wanted), 12);
    wanted = (struct spool_selection){.older_than_ms = UINT64_MAX};
    assert_int_equal(count_found(f, f->spool, &wanted), 0);
    wanted = (struct spool_selection){.ids = ids, .id_count = 5};
    assert_int_equal(count_found(f, f->spool, &wanted), 4);
    wanted.lane = "a";
    assert_int_equal(count_found(f, f->spool, &wanted), 2); /* 2 and 5 */
    wanted = (struct spool_selection){.ids = ids, .id_count = 0};
    assert_int_equal(count_found(f, f->spool, &wanted), 0);
}

static void a_message_is_found_with_all_that_it_has(void **state)
{
    struct fixture *f = *state;
    struct spool_selected selected;
    uint64_t id = append_full(f, 2, 10000);

    pass_time(f, 4000);
    struct spool_select *select = begin(f->spool, SPOOL_PLACE_SPOOLED, &all);
    assert_int_equal(spool_select_next(select, &f->now, true, &selected), 0);
    assert_int_equal(selected.message.id, id);
    check_full(&selected.message);
    assert_int_equal(selected.message.lane, 1);
    assert_int_equal(selected.message.qos, 2);
    assert_int_equal(selected.message.expiry_ms, 6000);
    assert_int_equal(selected.age_ms, 4000);
    assert_int_equal(selected.bytes, 12);
    assert_int_equal(selected.state, SPOOL_PENDING);
    assert_int_equal(spool_select_next(select, &f->now, true, &selected), SPOOL_E_EMPTY);
    spool_select_free(select);

    select = begin(f->spool, SPOOL_PLACE_SPOOLED, &all);
    pass_time(f, 60000);
    assert_int_equal(spool_select_next(select, &f->now, false, &selected), 0);
    assert_int_equal(selected.message.expiry_ms, 0);
    assert_int_equal(selected.bytes, 12);
    assert_int_equal(selected.message.payload.size, 0);
    assert_true(view_equals(selected.message.topic, view_of_text("plant/1")));
    spool_select_free(select);
}

static void what_is_in_flight_is_shown_so_and_what_has_ended_is_not(void **state)
{
    struct fixture *f = *state;
    struct spool_selected selected;

    append_many(f, 4);
    assert_int_equal(next_id(f), 1);
    assert_int_equal(next_id(f), 2);
    assert_int_equal(next_id(f), 3);
    deliver(f, 1); /* not committed */
    assert_int_equal(spool_return(f->spool, 3, 0), 0);
    struct spool_select *select = begin(f->spool, SPOOL_PLACE_SPOOLED, &all);
    const struct {
        uint64_t id;
        enum spool_state state;
        uint32_t attempts;
    } expected[] = {{2, SPOOL_IN_FLIGHT, 1}, {3, SPOOL_PENDING, 1}, {4, SPOOL_PENDING, 0}};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(spool_select_next(select, &f->now, false, &selected), 0);
        assert_int_equal(selected.message.id, expected[i].id);
        assert_int_equal(selected.state, expected[i].state);
        assert_int_equal(selected.message.attempts, expected[i].attempts);
    }
    spool_select_free(select);
}

static void a_walk_survives_commits_and_ends_at_what_was_there_when_it_began(void **state)
{
    struct fixture *f = *state;
    struct spool_selected selected;
    uint64_t count = 0;
    uint64_t last = 0;
    int r;

    append_in_turn(f, 3000);
    struct spool_select *select = begin(f->spool, SPOOL_PLACE_SPOOLED, &all);
    while ((r = spool_select_next(select, &f->now, true, &selected)) != SPOOL_E_EMPTY) {
        assert_true(r == 0 || r == SPOOL_E_AGAIN);
        if (r != 0)
            continue;
        assert_true(selected.message.id > last && selected.message.id <= 3000);
        last = selected.message.id;
        if (++count % 100 == 0) {
            append_in_turn(f, 100);
            deliver(f, next_id(f));
            commit(f);
        }
    }
    assert_true(count >= 2950);
    spool_select_free(select);
}

static void a_step_examines_a_bounded_number_of_messages(void **state)
{
    struct fixture *f = *state;
    struct spool_selection wanted = {.client = "none"};
    static struct ids ids;

    append_in_turn(f, 5120);
    find(f, f->spool, SPOOL_PLACE_SPOOLED, &wanted, &ids);
    assert_int_equal(ids.count, 0);
    assert_int_equal(ids.steps, 20);
}

/* ---- dropped ---- */

static void a_dropped_message_has_its_record_and_the_ledger_balances(void **state)
{
    struct fixture *f = *state;
    static const uint64_t ids[] = {3};
    const struct spool_selection wanted = {.ids = ids, .id_count = 1};

    append_in_turn(f, 9);
    pass_time(f, 2500);
    check_changes(drop(f, &wanted, false), 1, 0);
    struct found found = records_of(f, 3);
    assert_int_equal(found.count, 1);
    assert_int_equal(found.all, 1);
    assert_int_equal(found.record.outcome, SPOOL_DROPPED);
    assert_int_equal(found.record.reason, SPOOL_REASON_OPERATOR);
    assert_int_equal(found.record.code, SPOOL_NO_CODE);
    assert_int_equal(found.record.age_ms, 2500);
    assert_int_equal(found.record.attempts, 0);
    assert_string_equal(found.record.lane, "b");
    assert_int_equal(ledger_of(f).ended[SPOOL_DROPPED], 1);
    assert_int_equal(ledger_of(f).spooled, 8);
    check_sound(f);
    assert_int_equal(deliver_all(f), 8);
    check_sound(f);
}

static void what_is_in_flight_is_passed_over_and_counted(void **state)
{
    struct fixture *f = *state;

    append_many(f, 10);
    for (unsigned i = 0; i < 4; i++)
        (void)next_id(f);
    deliver(f, 1);
    assert_int_equal(spool_return(f->spool, 3, f->now.boot_ms + 5000), 0);
    check_changes(drop(f, &all, false), 9, 2); /* 1 has ended; 2 and 4 are in flight */
    assert_int_equal(records_of(f, 3).record.attempts, 1);
    assert_int_equal(records_of(f, 10).record.outcome, SPOOL_DROPPED);
    assert_int_equal(next_id(f), 0);
    deliver(f, 2);
    deliver(f, 4);
    commit(f);
    struct spool_ledger ledger = ledger_of(f);
    assert_int_equal(ledger.ended[SPOOL_DELIVERED], 3);
    assert_int_equal(ledger.ended[SPOOL_DROPPED], 7);
    assert_int_equal(ledger.spooled, 0);
    check_sound(f);
}

static void a_dry_run_counts_and_changes_nothing(void **state)
{
    struct fixture *f = *state;

    append_many(f, 10);
    (void)next_id(f);
    check_changes(drop(f, &all, true), 10, 1);
    assert_int_equal(ledger_of(f).spooled, 10);
    assert_int_equal(records_of(f, 2).all, 0);
}

static void thousands_are_dropped_in_bounded_steps(void **state)
{
    struct fixture *f = *state;
    struct spool_changes changes = {0};
    const struct spool_selection wanted = {.topic = "plant/", .topic_matches = has_prefix};
    unsigned steps = 0;

    append_in_turn(f, 10000);
    struct spool_select *select = begin(f->spool, SPOOL_PLACE_SPOOLED, &wanted);
    for (uint64_t before = 0;
         spool_select_drop(select, &f->now, false, &changes) == SPOOL_E_AGAIN; steps++) {
        assert_true(changes.changed - before <= 256);
        before = changes.changed;
        commit(f);
        append_to(f, 0, "plant/new"); /* is not part of it */
    }
    commit(f);
    spool_select_free(select);
    check_changes(changes, 5000, 0);
    assert_int_equal(steps, 40);
    assert_int_equal(ledger_of(f).ended[SPOOL_DROPPED], 5000);
    assert_int_equal(ledger_of(f).spooled, 5040);
    check_sound(f);
    reopen_spool(f);
    assert_int_equal(deliver_all(f), 5040);
    close_spool(f);
    check_sound(f);
}

static void large_messages_make_smaller_steps(void **state)
{
    struct fixture *f = *state;
    static char bytes[300000];
    struct spool_message message = make_message("");
    struct spool_changes changes = {0};
    uint64_t id;

    message.payload = view_of(bytes, sizeof(bytes));
    for (unsigned i = 0; i < 20; i++) {
        message.lane = i % 2;
        assert_int_equal(spool_append(f->spool, &message, &f->now, &id), 0);
    }
    commit(f);
    struct spool_select *select = begin(f->spool, SPOOL_PLACE_SPOOLED, &all);
    assert_int_equal(spool_select_drop(select, &f->now, false, &changes), SPOOL_E_AGAIN);
    assert_int_equal(changes.changed, 4);
    while (spool_select_drop(select, &f->now, false, &changes) == SPOOL_E_AGAIN) {
    }
    commit(f);
    check_changes(changes, 20, 0);
    spool_select_free(select);
    check_sound(f);
}

static void a_drop_that_was_not_committed_did_not_happen(void **state)
{
    struct fixture *f = *state;
    struct spool_changes changes = {0};

    append_many(f, 10);
    assert_int_equal(next_id(f), 1);
    assert_int_equal(spool_return(f->spool, 1, 0), 0);
    struct spool_select *select = begin(f->spool, SPOOL_PLACE_SPOOLED, &all);
    assert_int_equal(spool_select_drop(select, &f->now, false, &changes), SPOOL_E_AGAIN);
    assert_int_equal(changes.changed, 10);
    spool_select_free(select);
    reopen_spool(f);
    assert_int_equal(ledger_of(f).spooled, 10);
    assert_int_equal(deliver_all(f), 10);
}

/* ---- requeued ---- */

static void reject_all(struct fixture *f)
{
    const struct spool_verdict verdict = {SPOOL_REJECTED, SPOOL_REASON_REASON_CODE, 0x87};

    for (uint64_t id; (id = next_id(f)) != 0;)
        assert_int_equal(spool_settle(f->spool, id, &verdict, f->now.boot_ms), 0);
    commit(f);
}

static struct spool_changes
requeue(struct fixture *f, const struct spool_selection *selection, bool is_dry_run)
{
    struct spool_select *select = begin(f->spool, SPOOL_PLACE_KEPT, selection);
    struct spool_changes changes = {0};

    while (spool_select_requeue(select, &f->now, is_dry_run, &changes) == SPOOL_E_AGAIN)
        commit(f);
    commit(f);
    spool_select_free(select);
    return changes;
}

static void what_is_kept_is_found_in_the_order_in_which_it_ended(void **state)
{
    struct fixture *f = *state;
    struct spool_selected selected;
    static struct ids ids;
    int r;

    append_in_turn(f, 1000);
    reject_all(f);
    find(f, f->spool, SPOOL_PLACE_KEPT, &all, &ids);
    assert_int_equal(ids.count, 1000);
    struct spool_selection wanted = {.lane = "a"};
    find(f, f->spool, SPOOL_PLACE_KEPT, &wanted, &ids);
    assert_int_equal(ids.count, 333);
    struct spool_select *select = begin(f->spool, SPOOL_PLACE_KEPT, &wanted);
    while ((r = spool_select_next(select, &f->now, true, &selected)) == SPOOL_E_AGAIN) {
    }
    assert_int_equal(r, 0);
    assert_int_equal(selected.state, SPOOL_KEPT);
    assert_int_equal(selected.reason, SPOOL_REASON_REASON_CODE);
    assert_int_equal(selected.code, 0x87);
    assert_int_equal(selected.message.attempts, 1);
    assert_true(view_equals(selected.message.payload, view_of_text("payload")));
    spool_select_free(select);
}

static void a_requeued_message_is_what_it_was_and_its_record_names_it(void **state)
{
    struct fixture *f = *state;
    struct spool_message again;
    uint64_t id = append_full(f, 1, 100000);

    pass_time(f, 1000);
    reject_all(f);
    pass_time(f, 3000);
    check_changes(requeue(f, &all, true), 1, 0);
    assert_int_equal(stats_of(f).kept_messages, 1);
    check_changes(requeue(f, &all, false), 1, 0);
    assert_int_equal(stats_of(f).kept_messages, 0);
    assert_int_equal(stats_of(f).kept_bytes, 0);
    reopen_spool(f);
    check_sound(f);
    assert_int_equal(spool_next(f->spool, &f->now, &again), 0);
    assert_true(again.id > id);
    assert_int_equal(again.expiry_ms, 96000);
    check_full(&again);
    uint64_t new_id = again.id;
    deliver(f, new_id);
    commit(f);
    assert_int_equal(records_of(f, id).record.requeued_from, 0);
    struct found found = records_of(f, new_id);
    assert_int_equal(found.record.outcome, SPOOL_DELIVERED);
    assert_int_equal(found.record.requeued_from, id);
    check_sound(f);
    assert_int_equal(ledger_of(f).accepted, 2);
}

static void one_that_is_rejected_again_names_the_last_one(void **state)
{
    struct fixture *f = *state;

    append_many(f, 1);
    reject_all(f);
    check_changes(requeue(f, &all, false), 1, 0);
    reject_all(f);
    assert_int_equal(records_of(f, 2).record.requeued_from, 1);
    check_changes(requeue(f, &all, false), 1, 0);
    check_changes(drop(f, &all, false), 1, 0);
    assert_int_equal(records_of(f, 3).record.requeued_from, 2);
    assert_int_equal(records_of(f, 3).record.outcome, SPOOL_DROPPED);
    check_sound(f);
}

static void what_has_expired_stays_where_it_is(void **state)
{
    struct fixture *f = *state;
    struct spool_message message = make_message("");
    uint64_t id;

    message.expiry_ms = 5000;
    assert_int_equal(spool_append(f->spool, &message, &f->now, &id), 0);
    commit(f);
    reject_all(f);
    append_many(f, 1);
    reject_all(f);
    pass_time(f, 5000);
    struct spool_changes changes = requeue(f, &all, false);
    assert_int_equal(changes.matched, 2);
    assert_int_equal(changes.changed, 1);
    assert_int_equal(stats_of(f).kept_messages, 1);
}

static void a_lane_without_room_ends_the_requeue_and_what_was_done_stays(void **state)
{
    struct fixture *f = *state;
    struct spool_changes changes = {0};
    struct spool_lane lane = lanes[0];

    append_many(f, 10);
    reject_all(f);
    lane.limits.max_messages = 4;
    assert_int_equal(spool_set_lanes(f->spool, &lane, 1), 0);
    struct spool_select *select = begin(f->spool, SPOOL_PLACE_KEPT, &all);
    assert_int_equal(spool_select_requeue(select, &f->now, false, &changes), SPOOL_E_FULL);
    commit(f);
    check_changes(changes, 4, 0);
    assert_int_equal(stats_of(f).kept_messages, 6);
    assert_int_equal(deliver_all(f), 4);
    assert_int_equal(spool_select_requeue(select, &f->now, false, &changes), SPOOL_E_FULL);
    commit(f);
    check_changes(changes, 8, 0);
    spool_select_free(select);
    check_sound(f);
}

static void
thousands_are_requeued_in_bounded_steps_and_their_rows_go_with_the_records(void **state)
{
    struct fixture *f = *state;

    append_in_turn(f, 3000);
    reject_all(f);
    check_changes(requeue(f, &all, false), 3000, 0);
    check_sound(f);
    assert_int_equal(query_number(f, "SELECT count(*) FROM requeued"), 3000);
    assert_int_equal(deliver_all(f), 3000);
    check_sound(f);
    assert_int_equal(records_of(f, 3001).record.requeued_from, 1);
    spool_set_exported(f->spool, spool_last_seq(f->spool));
    for (unsigned i = 0; i < 20; i++) {
        pass_time(f, 60000);
        spool_request_clock_write(f->spool);
        commit(f);
    }
    assert_true(query_number(f, "SELECT count(*) FROM requeued") <= 256);
    check_sound(f);
}

static void ids_are_put_in_order_each_once(void **state)
{
    uint64_t ids[] = {7, UINT64_MAX, 1, 7, 0, 7, 1};

    (void)state;
    assert_int_equal(spool_sort_ids(ids, 7), 4);
    assert_memory_equal(ids, ((const uint64_t[]){0, 1, 7, UINT64_MAX}), 4 * sizeof(*ids));
    assert_int_equal(spool_sort_ids(ids, 1), 1);
    assert_int_equal(spool_sort_ids(NULL, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_put_in_order_each_once),
        cmocka_unit_test_setup_teardown(all_messages_of_all_lanes_are_found_in_the_order_of_ids,
                                        setup_lanes, teardown),
        cmocka_unit_test_setup_teardown(whatever_is_set_narrows, setup_lanes, teardown),
        cmocka_unit_test_setup_teardown(a_message_is_found_with_all_that_it_has, setup_lanes,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_is_in_flight_is_shown_so_and_what_has_ended_is_not,
                                        setup_lanes, teardown),
        cmocka_unit_test_setup_teardown(
            a_walk_survives_commits_and_ends_at_what_was_there_when_it_began, setup_lanes,
            teardown),
        cmocka_unit_test_setup_teardown(a_step_examines_a_bounded_number_of_messages,
                                        setup_lanes, teardown),
        cmocka_unit_test_setup_teardown(
            a_dropped_message_has_its_record_and_the_ledger_balances, setup_lanes, teardown),
        cmocka_unit_test_setup_teardown(what_is_in_flight_is_passed_over_and_counted,
                                        setup_lanes, teardown),
        cmocka_unit_test_setup_teardown(a_dry_run_counts_and_changes_nothing, setup_lanes,
                                        teardown),
        cmocka_unit_test_setup_teardown(thousands_are_dropped_in_bounded_steps, setup_lanes,
                                        teardown),
        cmocka_unit_test_setup_teardown(large_messages_make_smaller_steps, setup_lanes,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_drop_that_was_not_committed_did_not_happen,
                                        setup_lanes, teardown),
        cmocka_unit_test_setup_teardown(what_is_kept_is_found_in_the_order_in_which_it_ended,
                                        setup_lanes, teardown),
        cmocka_unit_test_setup_teardown(
            a_requeued_message_is_what_it_was_and_its_record_names_it, setup_lanes, teardown),
        cmocka_unit_test_setup_teardown(one_that_is_rejected_again_names_the_last_one,
                                        setup_lanes, teardown),
        cmocka_unit_test_setup_teardown(what_has_expired_stays_where_it_is, setup_lanes,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            a_lane_without_room_ends_the_requeue_and_what_was_done_stays, setup_lanes,
            teardown),
        cmocka_unit_test_setup_teardown(
            thousands_are_requeued_in_bounded_steps_and_their_rows_go_with_the_records,
            setup_lanes, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
