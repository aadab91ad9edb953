/* SPDX-License-Identifier: MIT */
/*
 * test_access.c - which entry of the access list fits a peer, and what it allows
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <grp.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/peer.h"
#include "base/view.h"
#include "daemon/config/config.h"
#include "daemon/gateway/access.h"
#include "tests/support/emulated.h"

#define GROUP 4242
#define OTHER 4343

static char plant_filter[] = "plant/#", alarm_filter[] = "+/alarm";
static char *plant[] = {plant_filter, alarm_filter};

static struct config_access list[] = {
    {.whom = CONFIG_ACCESS_USER, .id = 1000, .is_admin = true},
    {.whom = CONFIG_ACCESS_GROUP, .id = GROUP, .publish = plant, .publish_count = 2},
    {.whom = CONFIG_ACCESS_ANY, .is_admin = true},
};

static struct access decide(size_t count, int fd, struct peer peer)
{
    const struct config config = {.access = list, .access_count = count};

    return access_decide(&config, fd, &peer);
}

static void without_a_list_all_may_publish_and_root_is_admin(void **state)
{
    struct access access = decide(0, -1, (struct peer){.uid = 1000});

    (void)state;
    assert_true(access.is_allowed);
    assert_false(access.is_admin);
    assert_true(access_may_publish(&access, view_of_text("a")));
    assert_true(decide(0, -1, (struct peer){.uid = 0}).is_admin);
    access = decide(0, -1, (struct peer){.uid = PEER_UID_UNKNOWN});
    assert_true(access.is_allowed);
    assert_false(access.is_admin);
}

static void the_first_entry_that_fits_decides(void **state)
{
    struct access access = decide(2, -1, (struct peer){.uid = 1000, .gid = GROUP});

    (void)state;
    assert_ptr_equal(access.entry, &list[0]);
    assert_true(access.is_admin);
    assert_false(access_may_publish(&access, view_of_text("plant/a")));
    access = decide(3, -1, (struct peer){.uid = 1001, .gid = GROUP});
    assert_ptr_equal(access.entry, &list[1]);
    assert_false(access.is_admin);
    assert_true(access_may_publish(&access, view_of_text("plant")));
    assert_true(access_may_publish(&access, view_of_text("x/alarm")));
    assert_false(access_may_publish(&access, view_of_text("x/alarm/y")));
}

static void who_no_entry_fits_is_allowed_nothing(void **state)
{
    struct access access = decide(1, -1, (struct peer){.uid = 0});

    (void)state;
    assert_false(access.is_allowed);
    assert_false(access.is_admin);
    assert_false(access_may_publish(&access, view_of_text("plant/a")));
}

static void peer_without_credentials_is_fitted_by_the_entry_for_all_and_no_admin(void **state)
{
    struct peer peer = {.uid = PEER_UID_UNKNOWN, .gid = (gid_t)-1};
    struct access access = decide(3, -1, peer);

    (void)state;
    assert_ptr_equal(access.entry, &list[2]);
    assert_false(access.is_admin);
    assert_false(decide(2, -1, peer).is_allowed);
}

static void all_groups_of_the_peer_count(void **state)
{
    const gid_t groups[] = {OTHER, GROUP};
    gid_t before[64];
    int count = getgroups(64, before);
    int pair[2];

    (void)state;
    need_kernel("which does not pass on the groups of a peer");
    assert_true(count >= 0);
    if (setgroups(2, groups) != 0) {
        assert_int_equal(errno, EPERM); /* only root may */
        skip();
    }
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(setgroups((size_t)count, before), 0);
    struct access access = decide(3, pair[0], (struct peer){.uid = 1001, .gid = 1});
    assert_ptr_equal(access.entry, &list[1]);
    assert_int_equal(close(pair[0]), 0);
    assert_int_equal(close(pair[1]), 0);
    assert_int_equal(setgroups(0, NULL), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(setgroups((size_t)count, before), 0);
    access = decide(3, pair[0], (struct peer){.uid = 1001, .gid = 1});
    assert_ptr_equal(access.entry, &list[2]);
    assert_int_equal(close(pair[0]), 0);
    assert_int_equal(close(pair[1]), 0);
}

static void groups_that_cannot_be_read_allow_nothing(void **state)
{
    int fds[2];

    (void)state;
    assert_int_equal(pipe(fds), 0);
    struct access access = decide(3, fds[0], (struct peer){.uid = 1001, .gid = 1});
    assert_false(access.is_allowed); /* the entry for all must not decide */
    assert_int_equal(close(fds[0]), 0);
    assert_int_equal(close(fds[1]), 0);
    assert_false(decide(3, -1, (struct peer){.uid = 1001, .gid = 1}).is_allowed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_list_all_may_publish_and_root_is_admin),
        cmocka_unit_test(the_first_entry_that_fits_decides),
        cmocka_unit_test(who_no_entry_fits_is_allowed_nothing),
        cmocka_unit_test(peer_without_credentials_is_fitted_by_the_entry_for_all_and_no_admin),
        cmocka_unit_test(all_groups_of_the_peer_count),
        cmocka_unit_test(groups_that_cannot_be_read_allow_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
