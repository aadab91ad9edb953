/* SPDX-License-Identifier: MIT */
/*
 * test_record_queue.c - records for one client: in order, bounded, and void with their batch
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/view.h"
#include "daemon/gateway/record_queue.h"

static void push(struct record_queue *queue, const char *payload)
{
    record_queue_push(queue, view_of_text("t"), view_of_text(payload), 1);
}

/* Sends one. */
static void expect(struct record_queue *queue, const char *payload)
{
    const struct record_entry *entry = record_queue_first(queue);

    assert_non_null(entry);
    assert_int_equal(entry->payload.size, strlen(payload));
    assert_memory_equal(entry->payload.data, payload, entry->payload.size);
    assert_int_equal(entry->topic.size, 1);
    assert_int_equal(entry->qos, 1);
    record_queue_pop(queue);
}

static void nothing_leaves_before_the_commit(void **state)
{
    struct record_budget budget = {0};
    struct record_queue queue;

    (void)state;
    record_queue_init(&queue, &budget);
    push(&queue, "one");
    assert_null(record_queue_first(&queue));
    record_queue_commit(&queue);
    push(&queue, "two");
    expect(&queue, "one");
    assert_null(record_queue_first(&queue));
    record_queue_discard(&queue);
    push(&queue, "three");
    record_queue_commit(&queue);
    expect(&queue, "three");
    assert_null(record_queue_first(&queue));
    assert_int_equal(queue.missed, 0);
    assert_int_equal(budget.used, 0);
    record_queue_done(&queue);
}

static char *large(size_t size)
{
    char *text = malloc(size + 1);

    assert_non_null(text);
    memset(text, 'x', size);
    text[size] = '\0';
    return text;
}

static void the_oldest_go_and_are_counted(void **state)
{
    struct record_budget budget = {0};
    struct record_queue queue;
    char *text = large(RECORD_QUEUE_MAX / 3);

    (void)state;
    record_queue_init(&queue, &budget);
    push(&queue, "one");
    push(&queue, text);
    record_queue_commit(&queue);
    push(&queue, text);
    push(&queue, text); /* in the place of the first two */
    assert_int_equal(queue.missed, 2);
    assert_null(record_queue_first(&queue));
    push(&queue, text);
    push(&queue, text);
    assert_int_equal(queue.missed, 2); /* if this batch is lost, so are these */
    record_queue_commit(&queue);
    assert_int_equal(queue.missed, 4);
    assert_true(queue.bytes <= RECORD_QUEUE_MAX);
    record_queue_done(&queue);
    assert_int_equal(budget.used, 0);
    free(text);
}

static void one_that_is_too_large_is_missed_itself(void **state)
{
    struct record_budget budget = {0};
    struct record_queue queue;
    char *text = large(RECORD_QUEUE_MAX);

    (void)state;
    record_queue_init(&queue, &budget);
    push(&queue, text);
    record_queue_discard(&queue);
    assert_int_equal(queue.missed, 0);
    push(&queue, text);
    record_queue_commit(&queue);
    assert_int_equal(queue.missed, 1);
    assert_null(record_queue_first(&queue));
    free(text);
}

static void all_queues_together_have_a_limit(void **state)
{
    enum { QUEUES = RECORD_QUEUES_MAX / (RECORD_QUEUE_MAX - 4096) + 2 };
    struct record_budget budget = {0};
    struct record_queue queues[QUEUES];
    char *text = large(RECORD_QUEUE_MAX - 4096);
    uint64_t missed = 0;

    (void)state;
    for (int i = 0; i < QUEUES; i++) {
        record_queue_init(&queues[i], &budget);
        push(&queues[i], text);
        record_queue_commit(&queues[i]);
        assert_true(budget.used <= RECORD_QUEUES_MAX);
    }
    for (int i = 0; i < QUEUES; i++) {
        missed += queues[i].missed;
        record_queue_done(&queues[i]);
    }
    assert_int_equal(missed, 2);
    assert_int_equal(budget.used, 0);
    free(text);
}

/* Else a few that read nothing would keep the records from all others. */
static void at_the_common_limit_the_fullest_queue_gives_its_oldest(void **state)
{
    enum { PIECE = RECORD_QUEUE_MAX / 8, QUEUES = RECORD_QUEUES_MAX / RECORD_QUEUE_MAX + 1 };
    struct record_budget budget = {0};
    struct record_queue queues[QUEUES], other;
    char *text = large(PIECE - sizeof(struct record_entry) - 1);

    (void)state;
    record_queue_init(&other, &budget);
    for (int i = 0; i < QUEUES; i++) {
        record_queue_init(&queues[i], &budget);
        for (int piece = 0; piece < 8; piece++)
            push(&queues[i], text);
        record_queue_commit(&queues[i]);
    }
    for (int i = 0; i < 10000 && budget.used + 100 <= RECORD_QUEUES_MAX; i++)
        push(&queues[QUEUES - 1], "one");
    for (int i = 0; i < 1000; i++) {
        push(&other, "another one of those that are larger than what is left");
        record_queue_commit(&other);
        assert_true(budget.used <= RECORD_QUEUES_MAX);
        expect(&other, "another one of those that are larger than what is left");
        assert_int_equal(other.missed, 0);
    }
    for (int i = 0; i < QUEUES; i++)
        record_queue_done(&queues[i]);
    record_queue_done(&other);
    assert_int_equal(budget.used, 0);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_leaves_before_the_commit),
        cmocka_unit_test(the_oldest_go_and_are_counted),
        cmocka_unit_test(one_that_is_too_large_is_missed_itself),
        cmocka_unit_test(all_queues_together_have_a_limit),
        cmocka_unit_test(at_the_common_limit_the_fullest_queue_gives_its_oldest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
