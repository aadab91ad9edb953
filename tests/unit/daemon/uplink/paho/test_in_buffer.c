/* SPDX-License-Identifier: MIT */
/*
 * test_in_buffer.c - what was read and not taken yet, from a source that has what a case says
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/uplink/paho/in_buffer.h"

#define STEPS 50000u

/* Byte n of the stream is n, so that each byte shows its place. */
struct model {
    struct in_buffer buffer;
    uint64_t read;
    uint64_t taken;
    size_t here;   /* bytes that are there */
    size_t record; /* a read gives no more */
    bool is_partial;
    ssize_t next; /* answer of a read when none are here */
    size_t reads;
    struct in_source source;
};

static struct model model;

static ssize_t source_read(void *userdata, uint8_t *data, size_t size)
{
    struct model *m = userdata;

    m->reads++;
    assert_true(size > 0);
    if (m->here == 0)
        return m->next;
    size_t given = m->here < size ? m->here : size;
    if (given > m->record)
        given = m->record;
    for (size_t i = 0; i < given; i++)
        data[i] = (uint8_t)(m->read + i);
    m->read += given;
    m->here -= given;
    return (ssize_t)given;
}

static bool source_has_more(void *userdata)
{
    const struct model *m = userdata;

    return m->here > 0 || m->next != -EAGAIN || m->is_partial;
}

static int setup(void **state)
{
    *state = &model;
    memset(&model, 0, sizeof(model));
    model.next = -EAGAIN;
    model.record = SIZE_MAX;
    model.source = (struct in_source){.read = source_read, .userdata = &model};
    return 0;
}

static ssize_t take(struct model *m, size_t size)
{
    static uint8_t bytes[2 * IN_BUFFER_BYTES];
    ssize_t n = in_buffer_read(&m->buffer, &m->source, bytes, size);

    for (ssize_t i = 0; i < n; i++)
        assert_int_equal(bytes[i], (uint8_t)(m->taken + (uint64_t)i));
    m->taken += n > 0 ? (uint64_t)n : 0;
    assert_int_equal(in_buffer_is_empty(&m->buffer), m->taken == m->read);
    return n;
}

static void what_is_read_is_taken_once_wherever_a_read_ends(void **state)
{
    struct model *m = *state;

    srandom(1);
    for (unsigned step = 0; step < STEPS; step++) {
        if (random() % 3 == 0)
            m->here += (size_t)random() % 900;
        size_t size = (size_t)random() % 300 + 1;
        uint64_t left = m->read - m->taken;
        bool is_dry = left == 0 && m->here == 0;
        ssize_t n = take(m, size);
        if (is_dry)
            assert_int_equal(n, -EAGAIN);
        else
            assert_true(n > 0 && (size_t)n <= size);
    }
    while (m->here > 0 || !in_buffer_is_empty(&m->buffer))
        assert_true(take(m, 1000) > 0);
    assert_int_equal(m->taken, m->read);
}

/* The three calls by which Paho reads a short packet. */
static void many_packets_need_one_read(void **state)
{
    struct model *m = *state;

    m->here = 400;
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(take(m, 1), 1);
        assert_int_equal(take(m, 1), 1);
        assert_int_equal(take(m, 2), 2);
    }
    assert_int_equal(m->reads, 1);
    assert_int_equal(take(m, 1), -EAGAIN);
}

/* A packet that ends in the next read: what is here is given, and the rest is asked for. */
static void a_read_may_end_in_a_packet(void **state)
{
    struct model *m = *state;

    m->here = 3;
    assert_int_equal(take(m, 1), 1);
    assert_int_equal(take(m, 1), 1);
    assert_int_equal(take(m, 2), 1);
    assert_int_equal(take(m, 1), -EAGAIN);
    m->here = 1;
    assert_int_equal(take(m, 1), 1);
}

static void an_error_comes_behind_the_bytes(void **state)
{
    struct model *m = *state;

    m->here = 4;
    m->next = -ECONNRESET;
    assert_int_equal(take(m, 3), 3);
    assert_int_equal(take(m, 3), 1);
    assert_int_equal(take(m, 3), -ECONNRESET);
    m->next = 0;
    assert_int_equal(take(m, 3), 0);
}

/* With TLS a read gives one record, and the kernel no longer has the others. */
static void all_records_that_are_here_are_read_together(void **state)
{
    struct model *m = *state;

    m->source.has_more = source_has_more;
    m->record = 10;
    m->here = 105;
    assert_int_equal(take(m, 12), 12);
    assert_int_equal(m->reads, 11);
    assert_int_equal(take(m, 1000), 93);
    assert_false(in_buffer_has_input(&m->buffer));
    assert_int_equal(take(m, 1), -EAGAIN);
}

/* They are larger than the buffer: what has no room is input, too. */
static void records_that_have_no_room_are_input(void **state)
{
    struct model *m = *state;

    m->source.has_more = source_has_more;
    m->record = 16384;
    m->here = IN_BUFFER_BYTES + 5;
    assert_int_equal(take(m, IN_BUFFER_BYTES), IN_BUFFER_BYTES);
    assert_true(in_buffer_has_input(&m->buffer));
    assert_int_equal(take(m, 10), 5);
    assert_false(in_buffer_has_input(&m->buffer));
}

/* The source believes that it has more, because it has a part of a record. */
static void a_part_of_a_record_is_no_input(void **state)
{
    struct model *m = *state;

    m->source.has_more = source_has_more;
    m->is_partial = true;
    m->here = 4;
    assert_int_equal(take(m, 4), 4);
    assert_false(in_buffer_has_input(&m->buffer));
    assert_int_equal(take(m, 4), -EAGAIN);
}

static void an_end_that_was_read_with_the_bytes_is_input(void **state)
{
    struct model *m = *state;

    m->source.has_more = source_has_more;
    m->here = 4;
    m->next = -ECONNRESET;
    assert_int_equal(take(m, 3), 3);
    assert_int_equal(take(m, 3), 1);
    assert_true(in_buffer_has_input(&m->buffer));
    m->next = -EAGAIN;
    assert_int_equal(take(m, 3), -ECONNRESET);
    assert_false(in_buffer_has_input(&m->buffer));
    assert_int_equal(take(m, 3), -EAGAIN);
}

static void what_is_cleared_is_gone(void **state)
{
    struct model *m = *state;

    m->here = 10;
    assert_int_equal(take(m, 1), 1);
    in_buffer_clear(&m->buffer);
    m->taken = m->read;
    m->here = 2;
    assert_int_equal(take(m, 10), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_is_read_is_taken_once_wherever_a_read_ends, setup),
        cmocka_unit_test_setup(many_packets_need_one_read, setup),
        cmocka_unit_test_setup(a_read_may_end_in_a_packet, setup),
        cmocka_unit_test_setup(an_error_comes_behind_the_bytes, setup),
        cmocka_unit_test_setup(all_records_that_are_here_are_read_together, setup),
        cmocka_unit_test_setup(records_that_have_no_room_are_input, setup),
        cmocka_unit_test_setup(a_part_of_a_record_is_no_input, setup),
        cmocka_unit_test_setup(an_end_that_was_read_with_the_bytes_is_input, setup),
        cmocka_unit_test_setup(what_is_cleared_is_gone, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
