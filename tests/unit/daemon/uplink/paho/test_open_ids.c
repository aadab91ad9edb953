/* SPDX-License-Identifier: MIT */
/*
 * test_open_ids.c - the table of open packet ids, against an array of all ids
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "daemon/uplink/paho/open_ids.h"

#define IDS   65536u
#define STEPS 200000u
/* Multiplied by it, numbers in a row become ids whose homes are side by side. */
#define INVERSE 30599u
#define WINDOW  512u

static uint64_t ends[IDS]; /* 0: not open */

static void expect_same(const struct open_ids *ids, uint16_t id)
{
    const struct open_id *open = open_ids_find(ids, id);

    if (ends[id] == 0) {
        assert_null(open);
        return;
    }
    assert_non_null(open);
    assert_int_equal(open->id, id);
    assert_int_equal(open->end, ends[id]);
}

static void add(struct open_ids *ids, uint16_t id, uint64_t end)
{
    struct open_id *open = open_ids_add(ids, id, OPEN_ID_PUBREC);

    assert_non_null(open);
    assert_int_equal(open->end, UINT64_MAX);
    open->end = ends[id] = end;
}

static void remove_id(struct open_ids *ids, uint16_t id)
{
    struct open_id *open = open_ids_find(ids, id);

    if (open)
        open_ids_remove(ids, open);
    ends[id] = 0;
}

/* Of a run of neighbouring homes, of which many collide; else some of ids in a row. */
static uint16_t choose(unsigned step)
{
    unsigned id = step % 3 == 0 ? (unsigned)random() % 100 * INVERSE
                                : step / 7 % 5000 + (unsigned)random() % 100;

    return (uint16_t)((uint16_t)id > 0 ? id : 1);
}

static void what_was_added_and_not_removed_is_open(void **state)
{
    struct open_ids ids = {.size = 0};
    size_t count = 0;

    (void)state;
    srandom(7);
    memset(ends, 0, sizeof(ends));
    for (unsigned step = 1; step <= STEPS; step++) {
        uint16_t id = choose(step);

        if (random() % 2 == 0)
            add(&ids, id, step);
        else
            remove_id(&ids, id);
        expect_same(&ids, choose(step + 1));
    }
    for (unsigned id = 1; id < IDS; id++) {
        expect_same(&ids, (uint16_t)id);
        count += ends[id] > 0;
    }
    assert_int_equal(ids.count, count);
    open_ids_free(&ids);
}

static void none_is_open_in_an_empty_table_or_after_a_clear(void **state)
{
    struct open_ids ids = {.size = 0};

    (void)state;
    assert_null(open_ids_find(&ids, 1));
    open_ids_clear(&ids);
    assert_non_null(open_ids_add(&ids, 1, OPEN_ID_PUBACK));
    assert_int_equal(open_ids_find(&ids, 1)->state, OPEN_ID_PUBACK);
    assert_null(open_ids_find(&ids, 0));
    open_ids_clear(&ids);
    assert_null(open_ids_find(&ids, 1));
    assert_int_equal(ids.count, 0);
    open_ids_free(&ids);
    open_ids_free(&ids);
}

static void all_ids_can_be_open(void **state)
{
    struct open_ids ids = {.size = 0};

    (void)state;
    for (unsigned id = IDS - 1; id > 0; id--)
        assert_non_null(open_ids_add(&ids, (uint16_t)id, OPEN_ID_PUBACK));
    assert_int_equal(ids.count, IDS - 1);
    for (unsigned id = 1; id < IDS; id++)
        assert_non_null(open_ids_find(&ids, (uint16_t)id));
    open_ids_free(&ids);
}

static void the_next_id_is_the_first_that_is_not_open(void **state)
{
    struct open_ids ids = {.size = 0};

    (void)state;
    assert_int_equal(open_ids_next(&ids, 0), 1);
    assert_int_equal(open_ids_next(&ids, 1), 2);
    assert_int_equal(open_ids_next(&ids, UINT16_MAX), 1);
    assert_non_null(open_ids_add(&ids, UINT16_MAX, OPEN_ID_PUBACK));
    assert_non_null(open_ids_add(&ids, 1, OPEN_ID_PUBACK));
    assert_non_null(open_ids_add(&ids, 3, OPEN_ID_PUBACK));
    assert_int_equal(open_ids_next(&ids, UINT16_MAX - 1), 2);
    assert_int_equal(open_ids_next(&ids, 2), 4);
    for (unsigned id = 1; id < IDS; id++)
        assert_non_null(open_ids_add(&ids, (uint16_t)id, OPEN_ID_PUBACK));
    assert_int_equal(open_ids_next(&ids, 7), 0);
    open_ids_remove(&ids, open_ids_find(&ids, 7));
    assert_int_equal(open_ids_next(&ids, 7), 7);
    open_ids_free(&ids);
}

/* The longest run of places without an empty one, which a removal may look through. */
static size_t longest_run(const struct open_ids *ids)
{
    size_t longest = 0, run = 0;

    for (size_t i = 0; i < 2 * ids->size; i++) {
        run = ids->places[i & (ids->size - 1)].id != 0 ? run + 1 : 0;
        longest = run > longest ? run : longest;
    }
    return longest;
}

static void ids_in_a_row_have_empty_places_between_them(void **state)
{
    struct open_ids ids = {.size = 0};

    (void)state;
    for (unsigned id = 1; id < IDS; id++) {
        assert_non_null(open_ids_add(&ids, (uint16_t)id, OPEN_ID_PUBACK));
        if (id > WINDOW)
            open_ids_remove(&ids, open_ids_find(&ids, (uint16_t)(id - WINDOW)));
        if (id % 64 == 0)
            assert_in_range(longest_run(&ids), 1, 8);
    }
    open_ids_free(&ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_added_and_not_removed_is_open),
        cmocka_unit_test(none_is_open_in_an_empty_table_or_after_a_clear),
        cmocka_unit_test(all_ids_can_be_open),
        cmocka_unit_test(the_next_id_is_the_first_that_is_not_open),
        cmocka_unit_test(ids_in_a_row_have_empty_places_between_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
