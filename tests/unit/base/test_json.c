/* SPDX-License-Identifier: MIT */
/*
 * test_json.c - the JSON writer and the UTF-8 check it stands on
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"

struct fixture {
    char memory[1024];
    struct json json;
};

static int setup(void **state)
{
    static struct fixture fixture;

    memset(fixture.memory, '#', sizeof(fixture.memory));
    json_init(&fixture.json, fixture.memory, sizeof(fixture.memory));
    *state = &fixture;
    return 0;
}

static void assert_json(struct fixture *fixture, const char *expected)
{
    assert_false(fixture->json.failed);
    fixture->memory[json_used(&fixture->json)] = '\0';
    assert_string_equal(fixture->memory, expected);
}

/* @text as a value, between its quotes; NUL-terminated. */
static const char *encode(struct fixture *f, const char *text, size_t size)
{
    json_init(&f->json, f->memory, sizeof(f->memory));
    json_bytes(&f->json, NULL, text, size);
    assert_false(f->json.failed);
    f->memory[json_used(&f->json) - 1] = '\0';
    return f->memory + 1;
}

/* Where words of eight bytes are copied at once, and behind the last one. */
static void each_byte_is_escaped_alike_at_each_place(void **state)
{
    struct fixture *f = *state;

    for (unsigned byte = 0; byte <= UINT8_MAX; byte++) {
        char text[20], alone[8];
        const char one = (char)byte;

        strcpy(alone, encode(f, &one, 1));
        for (size_t at = 0; at < sizeof(text); at++) {
            char expected[sizeof(text) + sizeof(alone)] = {0};

            memset(text, 'x', sizeof(text));
            text[at] = one;
            memset(expected, 'x', at);
            strcpy(expected + at, alone);
            memset(expected + strlen(expected), 'x', sizeof(text) - at - 1);
            assert_string_equal(encode(f, text, sizeof(text)), expected);
        }
    }
}

static void commas_stand_between_values_and_nowhere_else(void **state)
{
    struct fixture *f = *state;
    struct json *json = &f->json;

    json_open_object(json, NULL);
    json_unsigned(json, "a", 1);
    json_open_object(json, "b");
    json_close_object(json);
    json_open_array(json, "c");
    json_unsigned(json, NULL, 2);
    json_open_object(json, NULL);
    json_bool(json, "d", true);
    json_bool(json, "e", false);
    json_close_object(json);
    json_null_value(json, NULL);
    json_close_array(json);
    json_null_value(json, "f");
    json_close_object(json);
    assert_json(f, "{\"a\":1,\"b\":{},\"c\":[2,{\"d\":true,\"e\":false},null],\"f\":null}");
}

static void objects_may_follow_each_other_line_by_line(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 2; i++) {
        json_open_object(&f->json, NULL);
        json_signed(&f->json, "i", i);
        json_close_object(&f->json);
        json_raw(&f->json, "\n");
    }
    assert_json(f, "{\"i\":0}\n{\"i\":1}\n");
}

static void numbers_reach_their_limits(void **state)
{
    struct fixture *f = *state;

    json_open_array(&f->json, NULL);
    json_signed(&f->json, NULL, INT64_MIN);
    json_signed(&f->json, NULL, -1);
    json_signed(&f->json, NULL, INT64_MAX);
    json_unsigned(&f->json, NULL, 0);
    json_unsigned(&f->json, NULL, UINT64_MAX);
    json_close_array(&f->json);
    assert_json(f, "[-9223372036854775808,-1,9223372036854775807,0,18446744073709551615]");
}

static void decimals_have_one_place_and_are_never_nan(void **state)
{
    struct fixture *f = *state;

    json_open_array(&f->json, NULL);
    json_decimal(&f->json, NULL, 0);
    json_decimal(&f->json, NULL, 12.34);
    json_decimal(&f->json, NULL, 0.95);
    json_decimal(&f->json, NULL, -2.5);
    json_decimal(&f->json, NULL, -0.01);
    json_decimal(&f->json, NULL, (double)NAN);
    json_decimal(&f->json, NULL, (double)INFINITY);
    json_decimal(&f->json, NULL, 1e300);
    json_close_array(&f->json);
    assert_json(f, "[0.0,12.3,1.0,-2.5,0.0,null,null,null]");
}

static void control_characters_and_quotes_are_escaped(void **state)
{
    struct fixture *f = *state;

    json_bytes(&f->json, NULL, "a\"b\\c/\b\f\n\r\t\v\0\x1f\x7f", 15);
    assert_json(f, "\"a\\\"b\\\\c/\\b\\f\\n\\r\\t\\u000b\\u0000\\u001f\\u007f\"");
}

static void good_utf8_passes_and_bad_bytes_are_replaced_one_by_one(void **state)
{
    struct fixture *f = *state;

    json_text(&f->json, NULL, "\xC3\xBC\xE2\x82\xAC\xF0\x9F\x98\x80|\xFF\xC0\x80|\xE2\x82");
    assert_json(f, "\"\xC3\xBC\xE2\x82\xAC\xF0\x9F\x98\x80|"
                   "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD|\xEF\xBF\xBD\xEF\xBF\xBD\"");
}

static void too_little_memory_fails_without_writing_beyond(void **state)
{
    struct fixture *f = *state;

    for (size_t size = 0; size < sizeof "{\"name\":\"v\\n\"}" - 1; size++) {
        struct json json;

        memset(f->memory, '#', sizeof(f->memory));
        json_init(&json, f->memory, size);
        json_open_object(&json, NULL);
        json_text(&json, "name", "v\n");
        json_close_object(&json);
        assert_true(json.failed);
        assert_true(json_used(&json) <= size);
        assert_int_equal(f->memory[size], '#');
    }
}

static void the_failure_sticks_so_that_no_later_part_fits_in(void **state)
{
    struct fixture *f = *state;
    struct json json;

    json_init(&json, f->memory, 4);
    json_text(&json, NULL, "long text");
    json_null_value(&json, NULL);
    assert_true(json.failed);
    assert_int_equal(json_used(&json), 1);
}

static void utf8_accepts_the_edges_and_refuses_what_lies_beyond(void **state)
{
    static const struct {
        const char *text;
        size_t length;
    } table[] = {
        {"\x7F", 1},
        {"\x80", 0},
        {"\xC1\xBF", 0},
        {"\xC2\x80", 2},
        {"\xDF\xBF", 2},
        {"\xE0\x9F\xBF", 0},
        {"\xE0\xA0\x80", 3},
        {"\xED\x9F\xBF", 3},
        {"\xED\xA0\x80", 0},
        {"\xEF\xBF\xBF", 3},
        {"\xF0\x8F\xBF\xBF", 0},
        {"\xF0\x90\x80\x80", 4},
        {"\xF4\x8F\xBF\xBF", 4},
        {"\xF4\x90\x80\x80", 0},
        {"\xF5\x80\x80\x80", 0},
        {"\xE2\x82", 0},
        {"\xC3(", 0},
        {"\xE2(\xA1", 0},
        {"\xF0\x9F\x98", 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        assert_int_equal(
            utf8_character_size((const uint8_t *)table[i].text, strlen(table[i].text)),
            table[i].length);
    assert_int_equal(utf8_character_size((const uint8_t *)"", 0), 0);
}

static void binary_data_is_in_base64(void **state)
{
    static const uint8_t all[] = {0xFB, 0xEF, 0xFF, 0x00};
    char memory[256];
    struct json json;

    (void)state;
    json_init(&json, memory, sizeof(memory));
    json_open_object(&json, NULL);
    json_base64(&json, "a", "", 0);
    json_base64(&json, "b", "f", 1);
    json_base64(&json, "c", "fo", 2);
    json_base64(&json, "d", "foobar", 6);
    json_base64(&json, "e", all, sizeof(all));
    json_close_object(&json);
    assert_false(json.failed);
    memory[json_used(&json)] = '\0';
    assert_string_equal(memory, "{\"a\":\"\",\"b\":\"Zg==\",\"c\":\"Zm8=\",\"d\":\"Zm9vYmFy\","
                                "\"e\":\"++//AA==\"}");
}

#define CASE(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(each_byte_is_escaped_alike_at_each_place),
        CASE(commas_stand_between_values_and_nowhere_else),
        CASE(objects_may_follow_each_other_line_by_line),
        CASE(numbers_reach_their_limits),
        CASE(decimals_have_one_place_and_are_never_nan),
        CASE(control_characters_and_quotes_are_escaped),
        CASE(good_utf8_passes_and_bad_bytes_are_replaced_one_by_one),
        CASE(binary_data_is_in_base64),
        CASE(too_little_memory_fails_without_writing_beyond),
        CASE(the_failure_sticks_so_that_no_later_part_fits_in),
        CASE(utf8_accepts_the_edges_and_refuses_what_lies_beyond),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
