/* SPDX-License-Identifier: MIT */
/*
 * test_text.c - each character of Unicode in each form in which a text is shown
 *
 * Which characters are hidden tests/integration/test_text.py compares with
 * Python's table of Unicode; here is what becomes of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/text.h"

#define CODES 0x110000

/* Surrogates get the three bytes that would be theirs. */
static size_t encode(uint32_t code, uint8_t bytes[static 4])
{
    if (code < 0x80) {
        bytes[0] = (uint8_t)code;
        return 1;
    }
    if (code < 0x800) {
        bytes[0] = (uint8_t)(0xC0 | code >> 6);
        bytes[1] = (uint8_t)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        bytes[0] = (uint8_t)(0xE0 | code >> 12);
        bytes[1] = (uint8_t)(0x80 | (code >> 6 & 0x3F));
        bytes[2] = (uint8_t)(0x80 | (code & 0x3F));
        return 3;
    }
    bytes[0] = (uint8_t)(0xF0 | code >> 18);
    bytes[1] = (uint8_t)(0x80 | (code >> 12 & 0x3F));
    bytes[2] = (uint8_t)(0x80 | (code >> 6 & 0x3F));
    bytes[3] = (uint8_t)(0x80 | (code & 0x3F));
    return 4;
}

static bool is_surrogate(uint32_t code)
{
    return code >= 0xD800 && code <= 0xDFFF;
}

static void each_character_is_found_whole(void **state)
{
    (void)state;
    for (uint32_t code = 0; code < CODES; code++) {
        uint8_t bytes[4];
        size_t size = encode(code, bytes);
        struct text_character character = text_next(bytes, size);

        if (is_surrogate(code)) {
            assert_false(character.is_valid || character.is_shown);
            assert_int_equal(character.size, 1);
            continue;
        }
        assert_true(character.is_valid);
        assert_int_equal(character.size, size);
        assert_int_equal(character.code, code);
        assert_int_equal(character.is_shown, !text_is_hidden(code));
    }
}

static void the_visible_form_is_the_character_or_names_it(void **state)
{
    (void)state;
    for (uint32_t code = 0; code < CODES; code++) {
        char shown[64] = "", wanted[64] = "";
        uint8_t bytes[4];
        size_t size = encode(code, bytes);

        if (is_surrogate(code))
            (void)snprintf(wanted, sizeof(wanted), "\\x%02X\\x%02X\\x%02X", bytes[0], bytes[1],
                           bytes[2]);
        else if (text_is_hidden(code))
            (void)snprintf(wanted, sizeof(wanted), code < 0x80 ? "\\x%02X" : "\\u{%02X}", code);
        else
            memcpy(wanted, bytes, size);
        assert_int_equal(text_show(shown, sizeof(shown), bytes, size), size);
        assert_string_equal(shown, wanted);
    }
}

/* The value of \uXXXX, or of two of them, or of one of the short forms. */
static uint32_t parse_escape(const char *text)
{
    static const char shorts[][2] = {"b\b", "t\t", "n\n", "f\f", "r\r", "\"\"", "\\\\"};
    unsigned high, low;
    int length = 0;

    if (sscanf(text, "\"\\u%4x\\u%4x\"%n", &high, &low, &length) == 2 && length == 14)
        return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
    if (sscanf(text, "\"\\u%4x\"%n", &high, &length) == 1 && length == 8)
        return high;
    for (size_t i = 0; i < sizeof(shorts) / sizeof(shorts[0]); i++)
        if (text[1] == '\\' && text[2] == shorts[i][0] && text[3] == '"')
            return (uint8_t)shorts[i][1];
    return UINT32_MAX;
}

static void json_gives_each_character_back(void **state)
{
    (void)state;
    for (uint32_t code = 0; code < CODES; code++) {
        char memory[64] = "";
        uint8_t bytes[4];
        size_t size = encode(code, bytes);
        struct json json;

        if (is_surrogate(code))
            continue;
        json_init(&json, memory, sizeof(memory) - 1);
        json_bytes(&json, NULL, bytes, size);
        assert_false(json.failed);
        if (text_is_hidden(code) || code == '"' || code == '\\') {
            assert_int_equal(parse_escape(memory), code);
        } else {
            assert_memory_equal(memory + 1, bytes, size);
            assert_int_equal(json_used(&json), size + 2);
        }
    }
}

static void each_byte_that_is_no_utf8_is_shown_for_itself(void **state)
{
    char text[64];

    (void)state;
    assert_int_equal(text_show(text, sizeof(text), "a\xFF\x80\xC2|\xE2\x80|\xF0\x9F\x98", 11),
                     11);
    assert_string_equal(text, "a\\xFF\\x80\\xC2|\\xE2\\x80|\\xF0\\x9F\\x98");
    assert_int_equal(text_show(text, sizeof(text), "\xC0\x80\xF5", 3), 3);
    assert_string_equal(text, "\\xC0\\x80\\xF5");
}

static void what_is_shown_already_stays(void **state)
{
    static const char source[] = "a\x1b\xC2\x9B\xE2\x80\xAE\\x41\xFF\"";
    char once[64], twice[64];

    (void)state;
    (void)text_show(once, sizeof(once), source, strlen(source));
    assert_string_equal(once, "a\\x1B\\u{9B}\\u{202E}\\x41\\xFF\"");
    (void)text_show(twice, sizeof(twice), once, strlen(once));
    assert_string_equal(twice, once);
}

static void it_is_cut_at_a_whole_character_within_any_size(void **state)
{
    static const char source[] = "\xC3\xBC\nabc\xE2\x82\xAC\xE2\x80\xAE\xF3\xA0\x80\x81\xFF";
    static const char whole[] = "\xC3\xBC\\x0A"
                                "abc\xE2\x82\xAC\\u{202E}\\u{E0001}\\xFF";
    char text[64];

    (void)state;
    for (size_t size = 1; size < sizeof(text); size++) {
        size_t used, again;
        char rest[64];

        memset(text, '#', sizeof(text));
        used = text_show(text, size, source, sizeof(source) - 1);
        assert_int_equal(text[size], '#');
        assert_true(strlen(text) < size);
        again = text_show(rest, sizeof(rest), source + used, sizeof(source) - 1 - used);
        assert_int_equal(used + again, sizeof(source) - 1);
        assert_int_equal(strlen(text) + strlen(rest), sizeof(whole) - 1);
        assert_memory_equal(text, whole, strlen(text));
        assert_string_equal(rest, whole + strlen(text));
        assert_int_equal(used == sizeof(source) - 1, size >= sizeof(whole));
    }
}

static void a_stream_gets_all_of_a_long_text(void **state)
{
    char *seen = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&seen, &size);
    char text[5001];

    (void)state;
    assert_non_null(stream);
    memset(text, '\t', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    text_put(stream, text);
    assert_int_equal(fclose(stream), 0);
    assert_int_equal(size, 4 * 5000);
    for (size_t i = 0; i < 5000; i++)
        assert_memory_equal(seen + 4 * i, "\\x09", 4);
    free(seen);
}

static void formatting_cuts_at_a_whole_character(void **state)
{
    char text[8];

    (void)state;
    text_format(text, sizeof(text), "%s", "abcdef\xC3\xBC");
    assert_string_equal(text, "abcdef");
    text_format(text, sizeof(text), "%s", "abcde\xC3\xBCg");
    assert_string_equal(text, "abcde\xC3\xBC");
    text_format(text, sizeof(text), "%s", "abcd\xF0\x9F\x98\x80");
    assert_string_equal(text, "abcd");
    text_format(text, sizeof(text), "%s", "abc\xF0\x9F\x98\x80");
    assert_string_equal(text, "abc\xF0\x9F\x98\x80");
    text_format(text, sizeof(text), "%s", "abc\x80\x80\x80\x80\x80\x80");
    assert_string_equal(text, "abc\x80\x80\x80\x80");
    text_format(text, sizeof(text), "%s", "abcdef\xC3"); /* cut before */
    assert_string_equal(text, "abcdef");
    text_format(text, sizeof(text), "%s%d", "x\xFF", 1); /* not cut: not changed */
    assert_string_equal(text, "x\xFF"
                              "1");
    text_format(text, sizeof(text), "%s", "abc");
    text_append(text, sizeof(text), "%s", "d");
    assert_string_equal(text, "abcd");
    text_append(text, sizeof(text), "%s", "ef\xC3\xBC"); /* cut within the last character */
    assert_string_equal(text, "abcdef");
    text_append(text, sizeof(text), "%s", "ghi");
    text_append(text, sizeof(text), "%s", "jkl"); /* full */
    assert_string_equal(text, "abcdefg");
    assert_int_equal(text_prefix_size("ab\xC3\xBC", 3), 2);
    assert_int_equal(text_prefix_size("ab\xC3\xBC", 4), 4);
    assert_int_equal(text_prefix_size("ab\xFF", 3), 3);
    assert_int_equal(text_prefix_size("", 3), 0);
}

static void json_of_others_becomes_one_line_of_the_same_values(void **state)
{
    char memory[256] = "";
    struct json json;

    (void)state;
    json_init(&json, memory, sizeof(memory) - 1);
    json_verbatim(&json,
                  "{\n\t\"a\\n\": \"\xC2\x9B\xE2\x80\xAE\x7F\xF3\xA0\x80\x81\xC3\xBC\"}\n");
    assert_string_equal(memory,
                        "{  \"a\\n\": \"\\u009b\\u202e\\u007f\\udb40\\udc01\xC3\xBC\"} ");
}

static void quotes_add_a_backslash_before_quotes_and_backslashes(void **state)
{
    static const char source[] = "\"\\\xC2\x85\xE2\x80\xAA";
    char text[64];

    (void)state;
    assert_string_equal(log_quote(text, sizeof(text), source, strlen(source)),
                        "\"\\\"\\\\\\u{85}\\u{202A}\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_character_is_found_whole),
        cmocka_unit_test(the_visible_form_is_the_character_or_names_it),
        cmocka_unit_test(json_gives_each_character_back),
        cmocka_unit_test(each_byte_that_is_no_utf8_is_shown_for_itself),
        cmocka_unit_test(what_is_shown_already_stays),
        cmocka_unit_test(it_is_cut_at_a_whole_character_within_any_size),
        cmocka_unit_test(a_stream_gets_all_of_a_long_text),
        cmocka_unit_test(formatting_cuts_at_a_whole_character),
        cmocka_unit_test(json_of_others_becomes_one_line_of_the_same_values),
        cmocka_unit_test(quotes_add_a_backslash_before_quotes_and_backslashes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
