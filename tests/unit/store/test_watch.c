/* SPDX-License-Identifier: MIT */
/*
 * test_watch.c - the records of each batch are passed on before it is committed
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

#include "store/spool.h"
#include "tests/support/spool_fixture.h"

struct seen {
    struct fixture *f;
    char text[1024];
    size_t used;
    int result; /* of each call */
};

static int note(void *userdata, const struct spool_record *record)
{
    struct seen *seen = userdata;

    if (seen->result != 0)
        return seen->result;
    /* Not committed yet. */
    assert_true(record->seq > spool_last_seq(seen->f->spool));
    seen->used += (size_t)snprintf(
        seen->text + seen->used, sizeof(seen->text) - seen->used, "%llu:%llu %s %s %s %s|",
        (unsigned long long)record->seq, (unsigned long long)record->id,
        spool_outcome_name(record->outcome), record->lane, record->client, record->topic);
    return 0;
}

static void watch(struct fixture *f, struct seen *seen, bool failures_only)
{
    *seen = (struct seen){.f = f};
    spool_watch_records(f->spool, failures_only, note, seen);
}

static void expect(struct seen *seen, const char *text)
{
    assert_string_equal(seen->text, text);
    seen->used = 0;
    seen->text[0] = '\0';
}

static void keep(struct fixture *f, uint64_t count)
{
    struct spool_limits limits = f->lane.limits;

    limits.max_messages = count;
    set_limits(f, limits);
    assert_int_equal(spool_retain(f->spool, &f->now, 100, &(unsigned){0}, &(bool){false}), 0);
}

static void deliveries_and_evictions_come_in_their_order(void **state)
{
    struct fixture *f = *state;
    struct seen seen;

    watch(f, &seen, false);
    append_many(f, 4);
    expect(&seen, "");
    uint64_t first = next_id(f);
    deliver(f, first);
    keep(f, 2);
    commit(f);
    expect(&seen, "1:2 evicted default client plant/1|2:1 delivered default client plant/1|");
    assert_int_equal(spool_last_seq(f->spool), 2);
    commit(f);
    expect(&seen, "");
    deliver_all(f);
    expect(&seen, "3:3 delivered default client plant/1|4:4 delivered default client plant/1|");
}

static void failures_can_be_asked_for_alone(void **state)
{
    struct fixture *f = *state;
    struct seen seen;

    watch(f, &seen, true);
    append_many(f, 3);
    deliver(f, next_id(f));
    keep(f, 1);
    commit(f);
    expect(&seen, "1:2 evicted default client plant/1|");
    spool_watch_records(f->spool, false, NULL, NULL);
    deliver_all(f);
    expect(&seen, "");
}

static void deliveries_with_rows_of_their_own_are_passed_too(void **state)
{
    struct fixture *f = *state;
    struct seen seen;

    use_no_segments(f);
    reopen_spool(f);
    watch(f, &seen, false);
    append_many(f, 2);
    deliver_all(f);
    expect(&seen, "1:1 delivered default client plant/1|2:2 delivered default client plant/1|");
}

static void they_do_not_wait_for_the_export(void **state)
{
    struct fixture *f = *state;
    struct seen seen;

    spool_set_waiting_max(f->spool, 1); /* all others are pruned at once */
    watch(f, &seen, false);
    append_many(f, 3);
    deliver_all(f);
    expect(&seen, "1:1 delivered default client plant/1|2:2 delivered default client plant/1|"
                  "3:3 delivered default client plant/1|");
    assert_int_equal(spool_pruned_seq(f->spool), 2);
}

static void what_a_lost_batch_ended_is_passed_again(void **state)
{
    struct fixture *f = *state;
    struct seen seen;

    watch(f, &seen, false);
    append_many(f, 3);
    uint64_t first = next_id(f);
    deliver(f, first);
    keep(f, 1);
    seen.result = SPOOL_E_DISK;
    assert_int_equal(spool_commit(f->spool, &f->now), SPOOL_E_DISK);
    assert_int_equal(spool_last_seq(f->spool), 0);
    seen.result = 0;
    commit(f);
    expect(&seen, "1:1 delivered default client plant/1|");
    keep(f, 1);
    commit(f);
    expect(&seen, "2:2 evicted default client plant/1|");
    seen.result = -EIO;
    deliver(f, next_id(f));
    assert_int_equal(spool_commit(f->spool, &f->now), -EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(deliveries_and_evictions_come_in_their_order, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(failures_can_be_asked_for_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(deliveries_with_rows_of_their_own_are_passed_too, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(they_do_not_wait_for_the_export, setup, teardown),
        cmocka_unit_test_setup_teardown(what_a_lost_batch_ended_is_passed_again, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
