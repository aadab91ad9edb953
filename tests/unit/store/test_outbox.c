/* SPDX-License-Identifier: MIT */
/*
 * test_outbox.c - records that a session's client has not acknowledged: none is lost or
 * passed over uncounted
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the above */
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>

#include "base/view.h"
#include "store/spool.h"
#include "tests/support/spool_fixture.h"

#define NO_LIMIT UINT64_MAX
#define SIZE     (10 + SPOOL_OUTBOX_OVERHEAD) /* of each record here */

struct outbox {
    struct fixture *f;
    struct spool_session *session;
    uint64_t max_bytes;
    char text[1024];
    size_t used;
    unsigned limit; /* of rows that are read */
    int result;     /* of the callback, after the record was kept */
};

static int keep_record(void *userdata, const struct spool_record *record)
{
    struct outbox *outbox = userdata;
    char text[16];

    (void)snprintf(text, sizeof(text), "record%4llu", (unsigned long long)record->seq);
    int r = spool_outbox_add(outbox->f->spool, outbox->session, record->seq,
                             record->outcome == SPOOL_DELIVERED ? SPOOL_OUTBOX_DELIVERY
                                                                : SPOOL_OUTBOX_FAILURE,
                             view_of_text(text), outbox->max_bytes);
    return r == 0 ? outbox->result : r;
}

static bool note_row(void *userdata, uint64_t seq, unsigned kind, struct view record)
{
    struct outbox *outbox = userdata;

    assert_int_equal(record.size, 10);
    outbox->used += (size_t)snprintf(
        outbox->text + outbox->used, sizeof(outbox->text) - outbox->used, "%llu%c ",
        (unsigned long long)seq, kind == SPOOL_OUTBOX_DELIVERY ? 'd' : 'f');
    return --outbox->limit > 0;
}

static void
expect_after(struct outbox *outbox, uint64_t after, unsigned limit, const char *text)
{
    bool has_more = false;

    outbox->used = 0;
    outbox->text[0] = '\0';
    outbox->limit = limit;
    assert_int_equal(spool_outbox_read(outbox->f->spool, outbox->session, after, note_row,
                                       outbox, &has_more),
                     0);
    assert_int_equal(has_more, outbox->limit == 0);
    assert_string_equal(outbox->text, text);
}

static void expect(struct outbox *outbox, const char *text)
{
    expect_after(outbox, 0, 100, text);
}

static struct outbox begin(struct fixture *f)
{
    struct outbox outbox = {.f = f, .max_bytes = NO_LIMIT};

    assert_int_equal(
        spool_session_create(f->spool, 1000, view_of_text("client"), 60, &outbox.session), 0);
    commit(f);
    return outbox;
}

/* Ends @count messages: they are evicted. */
static void end(struct outbox *outbox, unsigned count)
{
    struct spool_limits limits = outbox->f->lane.limits;

    spool_watch_records(outbox->f->spool, false, keep_record, outbox);
    append_many(outbox->f, count);
    limits.max_messages = 0;
    set_limits(outbox->f, limits);
    assert_int_equal(
        spool_retain(outbox->f->spool, &outbox->f->now, 1000, &(unsigned){0}, &(bool){false}),
        0);
    commit(outbox->f);
    set_limits(outbox->f, outbox->f->lane.limits);
}

static void restart(struct outbox *outbox)
{
    reopen_spool(outbox->f);
    outbox->session = spool_session_find(outbox->f->spool, 1000, view_of_text("client"));
    assert_non_null(outbox->session);
}

static void a_record_stays_until_it_is_acknowledged(void **state)
{
    struct fixture *f = *state;
    struct outbox outbox = begin(f);

    end(&outbox, 3);
    append_many(f, 1);
    deliver_all(f);
    expect(&outbox, "1f 2f 3f 4d ");
    expect_after(&outbox, 1, 2, "2f 3f ");
    restart(&outbox);
    expect(&outbox, "1f 2f 3f 4d ");
    commit(f); /* that its client left */
    assert_false(spool_has_work(f->spool));
    spool_outbox_acknowledge(f->spool, outbox.session, 2);
    spool_outbox_acknowledge(f->spool, outbox.session, 1);
    expect(&outbox, "3f 4d ");
    assert_true(spool_has_work(f->spool));
    commit(f);
    assert_int_equal(query_number(f, "SELECT count(*) FROM outbox"), 2);
    restart(&outbox);
    expect(&outbox, "3f 4d ");
    assert_int_equal(outbox.session->missed, 0);
}

static void a_lost_batch_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct outbox outbox = begin(f);

    outbox.max_bytes = 2 * SIZE;
    end(&outbox, 2);
    append_many(f, 1);
    deliver(f, next_id(f));
    outbox.result = SPOOL_E_DISK;
    assert_int_equal(spool_commit(f->spool, &f->now), SPOOL_E_DISK);
    assert_int_equal(outbox.session->missed, 0);
    expect(&outbox, "1f 2f ");
    outbox.result = 0;
    spool_outbox_acknowledge(f->spool, outbox.session, 1);
    commit(f);
    expect(&outbox, "2f 3d ");
    spool_watch_records(f->spool, false, NULL, NULL);
    restart(&outbox);
    assert_int_equal(outbox.session->missed, 0);
    expect(&outbox, "2f 3d ");
}

static void beyond_its_limit_the_oldest_go_and_are_counted(void **state)
{
    struct fixture *f = *state;
    struct outbox outbox = begin(f);

    outbox.max_bytes = 3 * SIZE;
    end(&outbox, 5);
    expect(&outbox, "3f 4f 5f ");
    assert_int_equal(outbox.session->missed, 2);
    restart(&outbox);
    assert_int_equal(outbox.session->missed, 2);
    end(&outbox, 1);
    expect(&outbox, "4f 5f 6f ");
    assert_int_equal(outbox.session->missed, 3);
    spool_outbox_acknowledge(f->spool, outbox.session, 5);
    commit(f);
    end(&outbox, 2);
    expect(&outbox, "6f 7f 8f ");
    assert_int_equal(outbox.session->missed, 3);
}

static void what_was_sent_does_not_go_for_room(void **state)
{
    struct fixture *f = *state;
    struct outbox outbox = begin(f);

    outbox.max_bytes = 3 * SIZE;
    end(&outbox, 3);
    spool_outbox_set_sent(outbox.session, 2);
    end(&outbox, 1);
    expect(&outbox, "1f 2f 4f ");
    spool_outbox_set_sent(outbox.session, 4);
    end(&outbox, 1);
    expect(&outbox, "1f 2f 4f ");
    assert_int_equal(outbox.session->missed, 2);
    spool_outbox_set_sent(outbox.session, 0);
    end(&outbox, 1);
    expect(&outbox, "2f 4f 6f ");
    assert_int_equal(outbox.session->missed, 3);
}

static void a_record_above_the_limit_is_missed_itself(void **state)
{
    struct fixture *f = *state;
    struct outbox outbox = begin(f);

    outbox.max_bytes = SIZE - 1;
    end(&outbox, 1);
    expect(&outbox, "");
    assert_int_equal(outbox.session->missed, 1);
}

static void the_outbox_goes_with_its_session(void **state)
{
    struct fixture *f = *state;
    struct outbox outbox = begin(f);

    end(&outbox, 3);
    spool_session_set_wanted(f->spool, outbox.session, 1 << SPOOL_OUTBOX_FAILURE);
    assert_int_equal(spool_sessions_wanting(f->spool, SPOOL_OUTBOX_FAILURE), 1);
    assert_int_equal(spool_sessions_wanting(f->spool, SPOOL_OUTBOX_DELIVERY), 0);
    spool_session_set_wanted(f->spool, outbox.session, 1 << SPOOL_OUTBOX_DELIVERY);
    assert_int_equal(spool_sessions_wanting(f->spool, SPOOL_OUTBOX_FAILURE), 0);
    assert_int_equal(spool_sessions_wanting(f->spool, SPOOL_OUTBOX_DELIVERY), 1);
    spool_outbox_acknowledge(f->spool, outbox.session, 1);
    spool_watch_records(f->spool, false, NULL, NULL);
    spool_session_drop(f->spool, outbox.session);
    assert_int_equal(spool_sessions_wanting(f->spool, SPOOL_OUTBOX_DELIVERY), 0);
    commit(f);
    assert_int_equal(query_number(f, "SELECT count(*) FROM outbox"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_record_stays_until_it_is_acknowledged, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_lost_batch_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(beyond_its_limit_the_oldest_go_and_are_counted, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_was_sent_does_not_go_for_room, setup, teardown),
        cmocka_unit_test_setup_teardown(a_record_above_the_limit_is_missed_itself, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_outbox_goes_with_its_session, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
