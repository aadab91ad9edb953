/* SPDX-License-Identifier: MIT */
/*
 * test_request.c - what an operator asks of the daemon, read from JSON
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/view.h"
#include "daemon/control/request.h"

static struct request request;
static char error[REQUEST_ERROR_MAX];
static bool has_command;

static int parse_bytes(const void *data, size_t size)
{
    request_finish(&request);
    return request_parse((struct view){data, size}, &request, &has_command, error);
}

static int parse(const char *text)
{
    return parse_bytes(text, strlen(text));
}

static int teardown(void **state)
{
    (void)state;
    request_finish(&request);
    return 0;
}

/* It is rejected, with @part in the error. */
static void assert_invalid(const char *text, const char *part)
{
    int r = parse(text);

    if (r != REQUEST_E_INVALID || !strstr(error, part))
        fail_msg("%.100s: %d \"%s\" without \"%s\"", text, r, error, part);
}

static void every_command_has_its_name(void **state)
{
    static const char *const texts[] = {
        [REQUEST_STATUS] = "{\"command\":\"status\"}",
        [REQUEST_FLUSH] = "{\"command\":\"flush\"}",
        [REQUEST_HOLD] = "{\"command\":\"hold\"}",
        [REQUEST_RELEASE] = "{\"command\":\"release\",\"lane\":\"alarms\"}",
        [REQUEST_DROP] = "{\"command\":\"drop\",\"ids\":[7]}",
        [REQUEST_REQUEUE] = "{\"command\":\"requeue\",\"all\":true}",
        [REQUEST_LIST] = "{\"command\":\"list\"}",
        [REQUEST_SHOW] = "{\"command\":\"show\",\"id\":7}",
        [REQUEST_LOG_LEVEL] = "{\"command\":\"log_level\",\"level\":\"debug\"}",
        [REQUEST_ROTATE] = "{\"command\":\"rotate\"}",
    };

    (void)state;
    for (unsigned i = 0; i < REQUEST_COMMANDS; i++) {
        assert_int_equal(parse(texts[i]), 0);
        assert_true(has_command);
        assert_int_equal(request.command, i);
        assert_non_null(strstr(texts[i], request_command_name(request.command)));
        assert_string_equal(error, "");
    }
}

static void a_selection_has_all_that_narrows(void **state)
{
    const struct request_selection *selection = &request.selection;

    (void)state;
    assert_int_equal(parse("{\"command\":\"drop\",\"ids\":[1,9007199254740993],\"lane\":\"a\","
                           "\"topic\":\"plant/+/#\",\"client\":\"press-7\",\"user\":1001,"
                           "\"older_than_ms\":60000,\"dry_run\":true}"),
                     0);
    assert_int_equal(selection->id_count, 2);
    assert_int_equal(selection->ids[0], 1);
    assert_true(selection->ids[1] == UINT64_C(9007199254740993));
    assert_string_equal(selection->lane, "a");
    assert_string_equal(selection->topic, "plant/+/#");
    assert_string_equal(selection->client, "press-7");
    assert_string_equal(selection->user, "1001");
    assert_int_equal(selection->older_than_ms, 60000);
    assert_true(request.is_dry_run);
    assert_false(selection->takes_all);
}

static void what_is_absent_does_not_narrow(void **state)
{
    (void)state;
    assert_int_equal(parse("{\"command\":\"list\",\"user\":\"sensors\",\"rejected\":true}"), 0);
    assert_null(request.selection.ids);
    assert_null(request.selection.lane);
    assert_null(request.selection.topic);
    assert_null(request.selection.client);
    assert_string_equal(request.selection.user, "sensors");
    assert_int_equal(request.selection.older_than_ms, -1);
    assert_true(request.limit == UINT64_MAX);
    assert_true(request.wants_rejected);
    assert_int_equal(parse("{\"command\":\"list\",\"limit\":3}"), 0);
    assert_int_equal(request.limit, 3);
    assert_false(request.wants_rejected);
}

static void levels_are_those_of_the_log(void **state)
{
    (void)state;
    assert_int_equal(parse("{\"command\":\"log_level\",\"level\":\"warning\"}"), 0);
    assert_int_equal(request.level, LOG_LEVEL_WARNING);
    assert_string_equal(request_level_name(LOG_LEVEL_WARNING), "warning");
    assert_string_equal(request_level_name(0), "");
    assert_invalid("{\"command\":\"log_level\",\"level\":\"loud\"}", "\"level\" is not one of");
    assert_invalid("{\"command\":\"log_level\",\"level\":7}", "\"level\" is not one of");
    assert_invalid("{\"command\":\"log_level\"}", "log_level needs \"level\"");
}

static void an_error_names_what_is_wrong_and_what_is_right(void **state)
{
    (void)state;
    assert_invalid("{\"command\":\"explode\"}",
                   "the command \"explode\" is unknown: there are status flush hold");
    assert_false(has_command);
    assert_invalid("{}", "\"command\" is missing");
    assert_invalid("{\"command\":7}", "\"command\" is not a text: there are status");
    assert_invalid("{\"command\":\"drop\",\"topc\":\"a\"}",
                   "\"topc\" is unknown: the members of drop are ids lane topic client user "
                   "older_than_ms all dry_run");
    assert_true(has_command);
    assert_int_equal(request.command, REQUEST_DROP);
    assert_invalid("{\"command\":\"flush\",\"lane\":\"a\"}",
                   "\"lane\" is unknown: flush has no members but \"command\"");
    assert_invalid("{\"command\":\"hold\",\"lane\":[\"a\"]}", "\"lane\" is not a text");
    assert_invalid("{\"command\":\"hold\",\"lane\":\"\"}", "\"lane\" is not a text");
    assert_invalid("{\"command\":\"list\",\"ids\":7}", "\"ids\" is not an array of ids");
    assert_invalid("{\"command\":\"list\",\"ids\":[]}", "\"ids\" is not an array of ids");
    assert_invalid("{\"command\":\"list\",\"ids\":[1,0]}", "\"ids\" is not an array of whole");
    assert_invalid("{\"command\":\"list\",\"ids\":[1.5]}", "\"ids\" is not an array of whole");
    assert_invalid("{\"command\":\"list\",\"user\":-1}", "\"user\" is not a uid");
    assert_invalid("{\"command\":\"list\",\"user\":4294967295}", "\"user\" is not a uid");
    assert_invalid("{\"command\":\"list\",\"older_than_ms\":-1}", "a whole number from 0 on");
    assert_invalid("{\"command\":\"list\",\"limit\":0}",
                   "\"limit\" is not a whole number from 1");
    assert_invalid("{\"command\":\"drop\",\"all\":1}", "\"all\" is not true or false");
    assert_invalid("{\"command\":\"show\"}", "show needs \"id\"");
    assert_invalid("{\"command\":\"show\",\"id\":\"7\"}",
                   "\"id\" is not a whole number from 1");
}

static void messages_end_by_a_selection_or_all_of_them(void **state)
{
    (void)state;
    assert_invalid("{\"command\":\"drop\"}", "drop needs a selection");
    assert_invalid("{\"command\":\"requeue\",\"all\":false}", "requeue needs a selection");
    assert_invalid("{\"command\":\"drop\",\"dry_run\":true}", "drop needs a selection");
    assert_invalid("{\"command\":\"drop\",\"all\":true,\"lane\":\"a\"}", "give either");
    assert_int_equal(parse("{\"command\":\"drop\",\"all\":true}"), 0);
    assert_true(request.selection.takes_all);
    assert_true(request_changes(&request));
    assert_int_equal(parse("{\"command\":\"drop\",\"all\":true,\"dry_run\":true}"), 0);
    assert_false(request_changes(&request));
    assert_int_equal(parse("{\"command\":\"flush\"}"), 0);
    assert_false(request_changes(&request));
    assert_int_equal(parse("{\"command\":\"rotate\"}"), 0);
    assert_true(request_changes(&request));
}

static void what_is_no_json_is_rejected_with_its_place(void **state)
{
    (void)state;
    assert_invalid("", "this is no JSON");
    assert_invalid("{\"command\":\"status\"", "line 1, column 19");
    assert_invalid("{\"command\":\"status\"}x", "this is no JSON");
    assert_invalid("[1]", "this is no JSON object");
    assert_invalid("null", "this is no JSON object");
    assert_invalid("1", "this is no JSON object");
    assert_invalid("\"x\"", "this is no JSON object");
    assert_invalid("{\"command\":\"drop\",\"all\":true,\"all\":false}", "duplicate");
    assert_invalid("{\"command\":\"st\xFF\"}", "this is no JSON");
    assert_invalid("{\"command\":\"hold\",\"lane\":\"\xED\xA0\x80\"}", "this is no JSON");
    assert_invalid("{\"command\":\"hold\",\"lane\":\"a\\u0000b\"}", "this is no JSON");
    assert_invalid("{\"command\":\"list\",\"limit\":99999999999999999999}", "this is no JSON");
}

/* @count times @open, then a request that would be sound. */
static void assert_nested_invalid(const char *open, size_t count)
{
    size_t step = strlen(open), size = step * count;
    char *text = malloc(size + 1);

    assert_non_null(text);
    for (size_t i = 0; i < count; i++)
        memcpy(text + i * step, open, step + 1);
    assert_int_equal(parse_bytes(text, size), REQUEST_E_INVALID);
    free(text);
}

static void nesting_is_bounded(void **state)
{
    char text[4096] = "{\"command\":\"hold\",\"lane\":";
    size_t used = strlen(text);

    (void)state;
    for (unsigned i = 0; i < 1000; i++)
        text[used++] = '[';
    for (unsigned i = 0; i < 1000; i++)
        text[used++] = ']';
    text[used++] = '}';
    text[used] = '\0';
    assert_invalid(text, "\"lane\" is not a text");
    assert_nested_invalid("[", REQUEST_MAX);
    assert_nested_invalid("{\"a\":", REQUEST_MAX / 5);
}

/* A list of ids that is as long as a request may be fits, objects without number do not. */
static void memory_is_bounded_whatever_the_text_holds(void **state)
{
    static char text[REQUEST_MAX + 1];
    size_t used = (size_t)sprintf(text, "{\"command\":\"drop\",\"ids\":[1");

    (void)state;
    while (used + 4 < REQUEST_MAX)
        used += (size_t)sprintf(text + used, ",1");
    used += (size_t)sprintf(text + used, "]}");
    assert_int_equal(parse_bytes(text, used), 0);
    used = (size_t)sprintf(text, "[{}");
    while (used + 4 < REQUEST_MAX)
        used += (size_t)sprintf(text + used, ",{}");
    text[used++] = ']';
    assert_int_equal(parse_bytes(text, used), REQUEST_E_INVALID);
    /* With pointers of 32 bits such a text stays below the limit. */
    if (sizeof(void *) > 4)
        assert_non_null(strstr(error, "this takes too much memory to read"));
}

static void a_request_has_64_kib_at_most(void **state)
{
    static char text[REQUEST_MAX + 2];
    static const char request_text[] = "{\"command\":\"status\"}";

    (void)state;
    memset(text, ' ', sizeof(text));
    memcpy(text, request_text, sizeof(request_text) - 1);
    assert_int_equal(parse_bytes(text, REQUEST_MAX), 0);
    assert_int_equal(parse_bytes(text, REQUEST_MAX + 1), REQUEST_E_INVALID);
    assert_non_null(strstr(error, "a request has 65536 at most"));
}

/* A long name from outside must not push out what the operator needs. */
static void an_error_cuts_what_it_shows_of_the_request(void **state)
{
    char text[2048];

    (void)state;
    (void)snprintf(text, sizeof(text), "{\"command\":\"drop\",\"%01000d\":1}", 0);
    assert_invalid(text, "the members of drop are ids");
    (void)snprintf(text, sizeof(text), "{\"command\":\"%01000d\"}", 0);
    assert_invalid(text, "is unknown: there are status");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_command_has_its_name),
        cmocka_unit_test(a_selection_has_all_that_narrows),
        cmocka_unit_test(what_is_absent_does_not_narrow),
        cmocka_unit_test(levels_are_those_of_the_log),
        cmocka_unit_test(an_error_names_what_is_wrong_and_what_is_right),
        cmocka_unit_test(messages_end_by_a_selection_or_all_of_them),
        cmocka_unit_test(what_is_no_json_is_rejected_with_its_place),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(memory_is_bounded_whatever_the_text_holds),
        cmocka_unit_test(a_request_has_64_kib_at_most),
        cmocka_unit_test(an_error_cuts_what_it_shows_of_the_request),
    };

    return cmocka_run_group_tests_name("request", tests, NULL, teardown);
}
