/* SPDX-License-Identifier: MIT */
/*
 * test_moved.c - files of the spool that were moved: nothing is acknowledged, and what only
 * this process holds is put back before it ends
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "daemon/gateway/gateway-private.h"
#include "daemon/gateway/gateway.h"
#include "daemon/gateway/moved.h"
#include "daemon/ingress/connection.h"
#include "daemon/uplink/uplink.h"
#include "store/spool.h"
#include "tests/support/gateway_fakes.h"

#define RETRY_MS 5000

static struct gateway *open_moved(enum spool_move what, bool is_restorable)
{
    struct gateway *gateway = fakes_open("");

    fakes.moved = (struct spool_moved){
        .what = what, .is_restorable = is_restorable, .file = "/spool/spool.db"};
    if (!is_restorable)
        strcpy(fakes.moved.lives_at, "/elsewhere/spool.db");
    return gateway;
}

static void files_under_another_name_end_the_daemon(void **state)
{
    struct connection *connection;

    (void)state;
    (void)open_moved(SPOOL_RENAMED, false);
    connection = fakes_connect("one", 1000);
    (void)fakes_publish(connection, "a", "x");
    (void)fakes_take_trace();
    fakes.commit.value = SPOOL_E_MOVED;
    fakes_edge();
    /* Neither acknowledged nor refused: the commit may come back with the files. */
    assert_string_equal(fakes_take_trace(), "retain commit drop-one ");
    assert_int_equal(fakes_logged("spool_moved file=\"/spool/spool.db\" what=renamed "
                                  "lives_at=\"/elsewhere/spool.db\" acknowledged=no"),
                     1);
    assert_int_equal(fakes_exit_code(), 1);
    assert_int_equal(connection->acknowledged, 0);
}

static void an_unmounted_file_system_has_its_own_remedy(void **state)
{
    (void)state;
    (void)open_moved(SPOOL_UNMOUNTED, false);
    fakes.verify.value = SPOOL_E_MOVED;
    moved_check(&fakes.gateway->moved);
    assert_int_equal(fakes_logged("what=unmounted"), 1);
    assert_int_equal(fakes_logged("mount that file system again"), 1);
    assert_int_equal(fakes_exit_code(), 1);
    (void)fakes_take_trace();
    moved_check(&fakes.gateway->moved);
    moved_note(&fakes.gateway->moved);
    assert_int_equal(fakes_logged("spool_moved"), 1); /* it has failed already */
}

static void removed_files_are_put_back_and_the_daemon_ends(void **state)
{
    (void)state;
    (void)open_moved(SPOOL_REMOVED, true);
    fakes.verify.value = SPOOL_E_MOVED;
    moved_check(&fakes.gateway->moved);
    assert_string_equal(fakes_take_trace(), "restore alive ");
    assert_int_equal(fakes_logged("spool_restored directory="), 1);
    assert_int_equal(fakes_exit_code(), 1);
}

static void another_spool_that_was_set_aside_is_named(void **state)
{
    (void)state;
    (void)open_moved(SPOOL_REPLACED, true);
    strcpy(fakes.set_aside, "something was there");
    strcpy(fakes.replaced_name, "spool.db.replaced-1");
    fakes.verify.value = SPOOL_E_MOVED;
    moved_check(&fakes.gateway->moved);
    assert_int_equal(fakes_logged("set_aside=spool.db.replaced-1"), 1);
    assert_int_equal(fakes_logged("spool_set_aside detail=\"something was there\""), 1);
}

static void what_cannot_be_put_back_is_tried_again_while_everything_is_refused(void **state)
{
    struct gateway *gateway = open_moved(SPOOL_REMOVED, true);
    struct connection *connection = fakes_connect("one", 1000);

    (void)state;
    fakes.restore.value = SPOOL_E_DISK;
    fakes.verify.value = SPOOL_E_MOVED;
    fakes_tick();
    assert_int_equal(fakes_logged("spool_not_restored detail="), 1);
    assert_int_equal(fakes_logged("spool_full reason=spool_moved"), 1);
    assert_int_equal(fakes_exit_code(), -1);
    assert_int_equal(fakes_publish(connection, "a", "x").kind, CONNECTION_REFUSE);
    (void)fakes_take_trace();
    fakes_edge();
    assert_string_equal(fakes_take_trace(), ""); /* neither a commit nor a message sent */
    fakes_pass_time(RETRY_MS - 1);
    fakes_tick();
    assert_null(strstr(fakes_take_trace(), "restore"));
    fakes_pass_time(1);
    fakes_tick();
    assert_non_null(strstr(fakes_take_trace(), "restore"));
    assert_int_equal(fakes_logged("spool_not_restored"), 1);
    fakes.restore.value = 0;
    fakes_pass_time(RETRY_MS);
    fakes_tick();
    assert_int_equal(fakes_logged("spool_restored"), 1);
    assert_int_equal(fakes_exit_code(), 1);
    assert_true(gateway->turn.has_failed);
}

static void after_the_commit_that_finds_it_nothing_is_sent(void **state)
{
    struct connection *connection;

    (void)state;
    (void)open_moved(SPOOL_REMOVED, true);
    connection = fakes_connect("one", 1000);
    (void)fakes_publish(connection, "a", "x");
    fakes_edge();
    fakes_answer(1, UPLINK_UNKNOWN, -1);
    fakes.send = (struct fake_result){UPLINK_E_FULL, 1}; /* before the commit */
    fakes.commit.value = SPOOL_E_MOVED;
    fakes.restore.value = SPOOL_E_DISK;
    (void)fakes_take_trace();
    fakes_edge();
    assert_string_equal(fakes_take_trace(), "send-1 return+0 retain commit restore alive ");
    assert_int_equal(fakes_exit_code(), -1);
}

static void a_term_tries_once_more_and_says_what_is_lost(void **state)
{
    struct connection *connection;

    (void)state;
    (void)open_moved(SPOOL_REMOVED, true);
    connection = fakes_connect("one", 1000);
    fakes_link_state(UPLINK_IDLE);
    (void)fakes_publish(connection, "a", "x");
    fakes_edge();
    fakes.restore.value = SPOOL_E_DISK;
    fakes.verify.value = SPOOL_E_MOVED;
    fakes_tick();
    gateway_stop(fakes.gateway);
    assert_int_equal(fakes_logged("spool_lost count=1 records=0"), 1);
    assert_int_equal(fakes_exit_code(), 1);
}

static void what_is_lost_may_be_unknown(void **state)
{
    (void)state;
    (void)open_moved(SPOOL_REMOVED, true);
    fakes.restore.value = SPOOL_E_DISK;
    fakes.get_ledger.value = -EIO;
    moved_give_up(&fakes.gateway->moved);
    assert_int_equal(fakes_logged("spool_moved "), 1); /* it was not known before */
    assert_int_equal(fakes_logged("spool_lost count=unknown"), 1);
}

static void files_that_live_elsewhere_by_now_are_not_put_back(void **state)
{
    (void)state;
    (void)open_moved(SPOOL_REMOVED, true);
    fakes.restore.value = SPOOL_E_MOVED;
    fakes.verify.value = SPOOL_E_MOVED;
    moved_check(&fakes.gateway->moved);
    assert_int_equal(fakes_logged("spool_restored"), 0);
    assert_int_equal(fakes_logged("spool_not_restored"), 0);
    assert_int_equal(fakes_exit_code(), 1);
}

static void the_last_commit_notices_too(void **state)
{
    (void)state;
    (void)open_moved(SPOOL_RENAMED, false);
    fakes.verify.value = SPOOL_E_MOVED;
    assert_int_equal(gateway_free(fakes.gateway), -ESTALE);
    fakes.gateway = NULL;
    assert_int_equal(fakes_logged("spool_moved "), 1);
    assert_int_equal(fakes_logged("last_commit_failed"), 0);
    assert_null(strstr(fakes_take_trace(), "commit"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAKES_TEST(files_under_another_name_end_the_daemon),
        FAKES_TEST(an_unmounted_file_system_has_its_own_remedy),
        FAKES_TEST(removed_files_are_put_back_and_the_daemon_ends),
        FAKES_TEST(another_spool_that_was_set_aside_is_named),
        FAKES_TEST(what_cannot_be_put_back_is_tried_again_while_everything_is_refused),
        FAKES_TEST(after_the_commit_that_finds_it_nothing_is_sent),
        FAKES_TEST(a_term_tries_once_more_and_says_what_is_lost),
        FAKES_TEST(what_is_lost_may_be_unknown),
        FAKES_TEST(files_that_live_elsewhere_by_now_are_not_put_back),
        FAKES_TEST(the_last_commit_notices_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
