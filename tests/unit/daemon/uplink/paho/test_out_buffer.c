/* SPDX-License-Identifier: MIT */
/*
 * test_out_buffer.c - what waits to be written, against a sink that takes what a case says
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/uplink/paho/out_buffer.h"

#define STEPS 20000u

/* Byte n of the stream is n, so that each byte shows its place. */
struct model {
    struct out_buffer buffer;
    uint64_t added;
    uint64_t written;
    ssize_t next; /* answer of the next write, if it is no count */
    size_t take;  /* bytes that a write takes at most */
    size_t asked; /* by the last write */
    size_t writes;
    size_t last_write; /* the next ones take none; 0: there is none such */
    size_t repeats;    /* what a write that took none had; 0: the last one took some */
    struct out_sink sink;
};

static struct model model;

static ssize_t sink_write(void *userdata, const uint8_t *data, size_t size)
{
    struct model *m = userdata;

    assert_true(size > 0 && size <= m->sink.piece_max);
    if (m->repeats > 0)
        assert_int_equal(size, m->repeats);
    m->repeats = 0;
    m->writes++;
    m->asked = size;
    ssize_t answer = m->last_write > 0 && m->writes > m->last_write ? -EAGAIN : m->next;
    if (answer < 0) {
        m->repeats = answer == -EAGAIN ? size : 0;
        return answer;
    }
    size_t taken = size < m->take ? size : m->take;
    for (size_t i = 0; i < taken; i++)
        assert_int_equal(data[i], (uint8_t)(m->written + i));
    m->written += taken;
    return (ssize_t)taken;
}

static int setup(void **state)
{
    *state = &model;
    memset(&model, 0, sizeof(model));
    model.take = SIZE_MAX;
    model.sink = (struct out_sink){
        .write = sink_write, .piece_max = OUT_BUFFER_BYTES, .userdata = &model};
    return 0;
}

static bool add(struct model *m, size_t size)
{
    static uint8_t bytes[OUT_BUFFER_BYTES + 1];
    struct iovec parts[3] = {{.iov_base = bytes, .iov_len = size / 3},
                             {.iov_base = NULL, .iov_len = 0},
                             {.iov_base = bytes + size / 3, .iov_len = size - size / 3}};

    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(m->added + i);
    assert_int_equal(out_buffer_sum(parts, 3), size);
    if (!out_buffer_add(&m->buffer, parts, 3))
        return false;
    m->added += size;
    return true;
}

static void expect_waiting(const struct model *m, uint64_t size)
{
    assert_int_equal(out_buffer_size(&m->buffer), size);
    assert_int_equal(m->added - m->written, size);
}

static void what_is_added_is_written_once_whatever_a_write_takes(void **state)
{
    struct model *m = *state;

    srandom(1);
    m->sink.piece_max = 4096;
    for (unsigned step = 0; step < STEPS; step++) {
        (void)add(m, (size_t)random() % 700);
        m->next = random() % 3 == 0 ? -EAGAIN : 0;
        m->take = (size_t)random() % 1000 + 1;
        bool has_some = out_buffer_size(&m->buffer) > 0;
        if (random() % 2 == 0)
            assert_int_equal(out_buffer_flush(&m->buffer, &m->sink), has_some ? m->next : 0);
        expect_waiting(m, m->added - m->written);
    }
    m->next = 0;
    assert_int_equal(out_buffer_flush(&m->buffer, &m->sink), 0);
    expect_waiting(m, 0);
}

static void what_has_no_room_is_not_added(void **state)
{
    struct model *m = *state;

    assert_true(add(m, OUT_BUFFER_BYTES));
    assert_false(add(m, 1));
    m->take = 10;
    m->next = 0;
    m->sink.piece_max = 10;
    assert_int_equal(out_buffer_flush(&m->buffer, &m->sink), 0);
    expect_waiting(m, 0);
    assert_false(add(m, OUT_BUFFER_BYTES + 1));
    assert_true(add(m, OUT_BUFFER_BYTES));
    assert_int_equal(out_buffer_flush(&m->buffer, &m->sink), 0);
    expect_waiting(m, 0);
}

/* There is room in front, because a part was written. */
static void room_in_front_is_used(void **state)
{
    struct model *m = *state;

    assert_true(add(m, OUT_BUFFER_BYTES));
    m->sink.piece_max = OUT_BUFFER_BYTES / 2;
    m->last_write = 1;
    assert_int_equal(out_buffer_flush(&m->buffer, &m->sink), -EAGAIN);
    expect_waiting(m, OUT_BUFFER_BYTES / 2);
    assert_true(add(m, OUT_BUFFER_BYTES / 2));
    assert_false(add(m, 1));
    m->last_write = 0;
    assert_int_equal(out_buffer_flush(&m->buffer, &m->sink), 0);
    expect_waiting(m, 0);
}

/* OpenSSL wants the same bytes again, also when more were added. */
static void a_write_that_took_none_is_repeated_as_it_was(void **state)
{
    struct model *m = *state;

    assert_true(add(m, 100));
    m->next = -EAGAIN;
    assert_int_equal(out_buffer_flush(&m->buffer, &m->sink), -EAGAIN);
    assert_true(add(m, 50));
    assert_int_equal(out_buffer_flush(&m->buffer, &m->sink), -EAGAIN);
    assert_int_equal(m->asked, 100);
    m->next = 0;
    assert_int_equal(out_buffer_flush(&m->buffer, &m->sink), 0);
    assert_int_equal(m->asked, 50);
    expect_waiting(m, 0);
}

static void an_error_drops_the_rest(void **state)
{
    struct model *m = *state;

    assert_true(add(m, 100));
    m->next = -ECONNRESET;
    assert_int_equal(out_buffer_flush(&m->buffer, &m->sink), -ECONNRESET);
    assert_int_equal(out_buffer_size(&m->buffer), 0);
    m->writes = 0;
    assert_int_equal(out_buffer_flush(&m->buffer, &m->sink), 0);
    assert_int_equal(m->writes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_is_added_is_written_once_whatever_a_write_takes, setup),
        cmocka_unit_test_setup(what_has_no_room_is_not_added, setup),
        cmocka_unit_test_setup(room_in_front_is_used, setup),
        cmocka_unit_test_setup(a_write_that_took_none_is_repeated_as_it_was, setup),
        cmocka_unit_test_setup(an_error_drops_the_rest, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
