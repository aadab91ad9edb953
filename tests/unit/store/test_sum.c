/* SPDX-License-Identifier: MIT */
/*
 * test_sum.c - the checksum of a stored message: known values, one result on any processor
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the above */
#include <cmocka.h>

#include <string.h>

#include "base/view.h"
#include "store/sum.h"

/* RFC 3720, B.4, and the check value of the CRC catalogues. */
static void known_values_come_out(void **state)
{
    unsigned char bytes[32] = {0};

    (void)state;
    assert_int_equal(sum_bytes(0, "123456789", 9), 0xe3069283);
    assert_int_equal(sum_bytes(0, bytes, sizeof(bytes)), 0x8a9136aa);
    memset(bytes, 0xff, sizeof(bytes));
    assert_int_equal(sum_bytes(0, bytes, sizeof(bytes)), 0x62a8ab43);
    for (unsigned char i = 0; i < sizeof(bytes); i++)
        bytes[i] = i;
    assert_int_equal(sum_bytes(0, bytes, sizeof(bytes)), 0x46dd794e);
}

/* A spool may be read on another processor than it was written on. */
static void both_ways_agree_at_any_length_and_place(void **state)
{
    unsigned char bytes[300];

    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (unsigned char)(i * 167 + 13);
    for (size_t start = 0; start < 9; start++) {
        for (size_t size = 0; start + size <= sizeof(bytes); size++)
            assert_int_equal(sum_bytes((uint32_t)size, bytes + start, size),
                             sum_bytes_by_tables((uint32_t)size, bytes + start, size));
    }
}

static void a_sum_goes_on_from_the_one_before(void **state)
{
    (void)state;
    for (size_t cut = 0; cut <= 9; cut++)
        assert_int_equal(sum_bytes(sum_bytes(0, "123456789", cut), &"123456789"[cut], 9 - cut),
                         0xe3069283);
}

static struct sum_facts facts_of(const char *topic, const char *payload)
{
    return (struct sum_facts){.key = 1,
                              .accepted = 2,
                              .uid = 3,
                              .flags = 1,
                              .topic = view_of_text(topic),
                              .payload = view_of_text(payload)};
}

static void a_byte_that_moves_to_its_neighbour_is_seen(void **state)
{
    struct sum_facts facts = facts_of("plant/t", "1x");
    struct sum_facts moved = facts_of("plant/t1", "x");

    (void)state;
    assert_int_not_equal(sum_of(&facts), sum_of(&moved));
}

static void each_fact_is_in_the_sum(void **state)
{
    struct sum_facts facts = facts_of("plant/t", "21.5");
    uint32_t sum = sum_of(&facts);

    (void)state;
    int64_t *numbers[] = {&facts.key, &facts.accepted, &facts.uid, &facts.flags};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
        *numbers[i] ^= INT64_C(1) << 40;
        assert_int_not_equal(sum_of(&facts), sum);
        *numbers[i] ^= INT64_C(1) << 40;
    }
    struct view *parts[] = {&facts.client, &facts.topic, &facts.properties, &facts.ref,
                            &facts.payload};
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
        struct view before = *parts[i];
        *parts[i] = view_of("other", 5);
        assert_int_not_equal(sum_of(&facts), sum);
        *parts[i] = before;
    }
    assert_int_equal(sum_of(&facts), sum);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_values_come_out),
        cmocka_unit_test(both_ways_agree_at_any_length_and_place),
        cmocka_unit_test(a_sum_goes_on_from_the_one_before),
        cmocka_unit_test(a_byte_that_moves_to_its_neighbour_is_seen),
        cmocka_unit_test(each_fact_is_in_the_sum),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
