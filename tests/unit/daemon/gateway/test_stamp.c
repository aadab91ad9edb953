/* SPDX-License-Identifier: MIT */
/*
 * test_stamp.c - which user properties a message is stamped with
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/cursor.h"
#include "base/view.h"
#include "daemon/gateway/stamp.h"
#include "daemon/mqtt/packet.h"
#include "store/spool.h"

/* All that is stamped on, as "name=value name=value ". */
static const char *stamped(struct stamp *stamp, const struct spool_message *message)
{
    static char text[512];
    struct view encoded = stamp_write(stamp, message);
    struct packet_property property;
    struct reader reader;
    size_t used = 0;

    reader_init(&reader, encoded.data, encoded.size);
    while (packet_property_next(&reader, &property)) {
        assert_int_equal(property.id, PROPERTY_USER);
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%.*s=%.*s ",
                                 (int)property.name.size, (const char *)property.name.data,
                                 (int)property.value.size, (const char *)property.value.data);
    }
    assert_false(reader.failed);
    return text;
}

static void each_message_has_its_id_and_its_time(void **state)
{
    struct stamp stamp = {0};
    const struct spool_message message = {
        .id = 7, .attempts = 1, .accepted_ms = INT64_C(1764431823456)};

    (void)state;
    assert_string_equal(stamped(&stamp, &message),
                        "spool-id=7 spool-accepted=2025-11-29T15:57:03.456Z ");
}

static void what_was_there_when_the_link_came_up_is_backlog(void **state)
{
    struct stamp stamp = {.link_id = 7};
    struct spool_message message = {.id = 7, .attempts = 1};

    (void)state;
    assert_non_null(strstr(stamped(&stamp, &message), " spool-backlog=true "));
    assert_null(strstr(stamped(&stamp, &message), "spool-repeat"));
    message.id = 8;
    assert_null(strstr(stamped(&stamp, &message), "spool-backlog"));
}

static void what_may_have_been_sent_before_is_a_repeat(void **state)
{
    struct stamp stamp = {.start_id = 7};
    struct spool_message message = {.id = 8, .attempts = 2};

    (void)state;
    assert_non_null(strstr(stamped(&stamp, &message), " spool-repeat=true "));
    message.attempts = 1;
    assert_null(strstr(stamped(&stamp, &message), "spool-repeat"));
    message.id = 7; /* of an earlier process: whether it was in flight is not known */
    assert_non_null(strstr(stamped(&stamp, &message), " spool-repeat=true "));
}

static void a_numbered_message_has_its_number_and_its_lane(void **state)
{
    struct stamp stamp = {0};
    struct spool_message message = {.id = 7, .number = 3, .lane_name = "alarms", .attempts = 1};

    (void)state;
    assert_non_null(strstr(stamped(&stamp, &message), " spool-number=3 spool-lane=alarms "));
    message.lane_name = "default";
    assert_non_null(strstr(stamped(&stamp, &message), " spool-number=3 "));
    assert_null(strstr(stamped(&stamp, &message), "spool-lane"));
    message.number = 0; /* accepted before there were numbers */
    assert_null(strstr(stamped(&stamp, &message), "spool-number"));
}

static void a_name_that_a_broker_may_close_at_is_left_out_with_its_number(void **state)
{
    static const char *const names[] = {
        "a\xff", "a\a",
        "0123456789012345678901234567890123456789012345678901234567890123456789"};
    struct stamp stamp = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        const struct spool_message message = {
            .id = 7, .number = 3, .lane_name = names[i], .attempts = 1};

        assert_null(strstr(stamped(&stamp, &message), "spool-number"));
        assert_null(strstr(stamped(&stamp, &message), "spool-lane"));
    }
}

static void the_longest_stamp_has_room(void **state)
{
    struct stamp stamp = {.start_id = UINT64_MAX, .link_id = UINT64_MAX};
    const struct spool_message message = {
        .id = UINT64_MAX,
        .number = UINT64_MAX,
        .lane_name = "0123456789012345678901234567890123456789012345678901234567890123",
        .attempts = UINT32_MAX,
        .accepted_ms = INT64_MAX};

    (void)state;
    assert_non_null(strstr(stamped(&stamp, &message), "spool-id=18446744073709551615 "));
    assert_non_null(strstr(stamped(&stamp, &message), "number=18446744073709551615 "));
    assert_non_null(strstr(stamped(&stamp, &message), "lane=0123456789"));
    assert_non_null(strstr(stamped(&stamp, &message), " spool-repeat=true "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_message_has_its_id_and_its_time),
        cmocka_unit_test(what_was_there_when_the_link_came_up_is_backlog),
        cmocka_unit_test(what_may_have_been_sent_before_is_a_repeat),
        cmocka_unit_test(a_numbered_message_has_its_number_and_its_lane),
        cmocka_unit_test(a_name_that_a_broker_may_close_at_is_left_out_with_its_number),
        cmocka_unit_test(the_longest_stamp_has_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
