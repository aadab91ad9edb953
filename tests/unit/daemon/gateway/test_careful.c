/* SPDX-License-Identifier: MIT */
/*
 * test_careful.c - which message the broker closes at, or the process dies at
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the above */
#include <cmocka.h>

#include <stdbool.h>

#include "daemon/gateway/careful.h"
#include "daemon/gateway/poison.h"
#include "store/spool.h"
#include "tests/support/spool_fixture.h"

/* A life that sends and dies. */
static void die_sending(struct fixture *f)
{
    struct careful careful = {0};

    assert_int_equal(careful_begin(&careful, f->spool, 2), 0);
    commit(f);
    reopen_spool(f);
}

static struct spool_message next(struct fixture *f)
{
    struct spool_message message;

    assert_int_equal(spool_next(f->spool, &f->now, &message), 0);
    return message;
}

static void three_lives_without_a_delivery_make_it_careful(void **state)
{
    struct fixture *f = *state;
    struct careful careful = {0};

    append_many(f, 3);
    for (int i = 0; i < CAREFUL_LIVES; i++) {
        assert_int_equal(spool_cut_lives(f->spool), i);
        die_sending(f);
    }
    assert_int_equal(careful_begin(&careful, f->spool, 2), 0);
    assert_true(careful.is_on);
    assert_int_equal(careful_begin(&careful, f->spool, 2), 0); /* once a life */
    commit(f);
    assert_int_equal(spool_cut_lives(f->spool), CAREFUL_LIVES + 1);
    deliver(f, next(f).id);
    commit(f);
    assert_int_equal(spool_cut_lives(f->spool), 0);
}

static void an_orderly_end_is_no_life_that_was_cut(void **state)
{
    struct fixture *f = *state;

    append_many(f, 1);
    die_sending(f);
    spool_note_sending(f->spool);
    commit(f);
    spool_note_orderly_end(f->spool);
    assert_true(spool_has_work(f->spool));
    commit(f);
    reopen_spool(f);
    assert_int_equal(spool_cut_lives(f->spool), 0);
}

static void a_message_is_marked_before_it_is_sent(void **state)
{
    struct fixture *f = *state;
    struct careful careful = {.is_on = true, .has_begun = true, .left = 2};
    bool is_admitted;

    append_many(f, 2);
    struct spool_message message = next(f);
    assert_int_equal(careful_admit(&careful, f->spool, &message, &is_admitted), 0);
    assert_false(is_admitted);
    assert_int_equal(careful_admit(&careful, f->spool, &message, &is_admitted), 0);
    assert_false(is_admitted); /* the mark is not committed */
    commit(f);
    assert_int_equal(careful_admit(&careful, f->spool, &message, &is_admitted), 0);
    assert_true(is_admitted);
    assert_int_equal(spool_count_suspects(f->spool, POISON_ALONE), 1);
    assert_int_equal(careful_end(&careful, f->spool, message.id, true), 0);
    commit(f);
    assert_int_equal(spool_count_suspects(f->spool, 1), 0);
    assert_true(careful.is_on);
    message = next(f);
    assert_int_equal(careful_admit(&careful, f->spool, &message, &is_admitted), 0);
    careful_leave_mark(&careful, message.id);
    assert_int_equal(careful.marked_id, 0); /* another one may be sent */
    assert_int_equal(careful_admit(&careful, f->spool, &message, &is_admitted), 0);
    assert_int_equal(careful_end(&careful, f->spool, message.id, true), 0);
    assert_false(careful.is_on); /* two answers were asked for */
}

static void several_marks_are_no_ones_fault(void **state)
{
    struct fixture *f = *state;
    struct careful careful = {0};

    append_many(f, 2);
    for (int i = 0; i < 2; i++)
        assert_int_equal(spool_set_closings(f->spool, next(f).id, POISON_ALONE), 0);
    commit(f);
    reopen_spool(f);
    assert_int_equal(spool_count_suspects(f->spool, POISON_ALONE), 2);
    assert_int_equal(careful_begin(&careful, f->spool, 2), 0);
    commit(f);
    assert_int_equal(spool_count_suspects(f->spool, 1), 0);
}

static void a_suspect_of_before_a_restart_is_tried_once_more(void **state)
{
    struct poison poison = {0};

    (void)state;
    assert_false(poison_begin(&poison, 7, POISON_CLOSINGS - 1));
    assert_true(poison_begin(&poison, 7, POISON_ALONE));
    assert_int_equal(poison.step, POISON_OTHER);
    poison.other_id = 8;
    assert_int_equal(poison_on_answer(&poison, 9, 0), POISON_CONTINUES);
    assert_int_equal(poison_on_answer(&poison, 8, 0), POISON_RETRIES);
    assert_int_equal(poison.step, POISON_SUSPECT);
    poison_end(&poison); /* a restart: it has died once more */
    assert_true(poison_begin(&poison, 7, POISON_CERTAIN));
    poison.other_id = 8;
    assert_int_equal(poison_on_answer(&poison, 8, 0), POISON_CONDEMNS);
    assert_int_equal(poison_on_answer(&poison, 7, 0), POISON_ACQUITS);
}

static void closings_of_a_broker_before_a_restart_are_no_deaths(void **state)
{
    struct poison poison = {0};

    (void)state;
    assert_true(poison_begin(&poison, 7, POISON_ALONE - 1));
    poison.other_id = 8;
    assert_int_equal(poison_on_answer(&poison, 8, 0), POISON_CONTINUES);
    assert_int_equal(poison_on_answer(&poison, 7, 0), POISON_ACQUITS);
}

#define ON_SPOOL(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_SPOOL(three_lives_without_a_delivery_make_it_careful),
        ON_SPOOL(an_orderly_end_is_no_life_that_was_cut),
        ON_SPOOL(a_message_is_marked_before_it_is_sent),
        ON_SPOOL(several_marks_are_no_ones_fault),
        cmocka_unit_test(a_suspect_of_before_a_restart_is_tried_once_more),
        cmocka_unit_test(closings_of_a_broker_before_a_restart_are_no_deaths),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
