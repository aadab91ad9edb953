/* SPDX-License-Identifier: MIT */
/*
 * test_findings.c - tests of what a verification notes: place, limits, and which problem
 * an older copy makes
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "cli/audit/check.h"

static void a_problem_has_the_place_where_the_reading_is(void **state)
{
    static struct audit_check check = {.file = "audit.jsonl", .line = 7};

    (void)state;
    audit_add_problem(&check, "seq %d is missing", 3);
    check.line = 8;
    audit_add_problem(&check, "another");
    assert_int_equal(check.problem_count, 2);
    assert_string_equal(check.problems[0].file, "audit.jsonl");
    assert_int_equal(check.problems[0].line, 7);
    assert_string_equal(check.problems[0].text, "seq 3 is missing");
    assert_int_equal(check.problems[1].line, 8);
}

static void a_general_problem_has_no_place(void **state)
{
    static struct audit_check check = {.file = "audit.jsonl", .line = 7};

    (void)state;
    audit_add_general_problem(&check, "%s", "the ledger is wrong");
    assert_null(check.problems[0].file);
    assert_int_equal(check.problems[0].line, 0);
    assert_string_equal(check.problems[0].text, "the ledger is wrong");
}

static void problems_above_the_limit_are_counted_only(void **state)
{
    static struct audit_check check = {.file = "f"};

    (void)state;
    for (int i = 0; i < AUDIT_PROBLEMS_MAX + 5; i++)
        audit_add_problem(&check, "number %d", i);
    assert_int_equal(check.problem_count, AUDIT_PROBLEMS_MAX + 5);
    assert_string_equal(check.problems[AUDIT_PROBLEMS_MAX - 1].text, "number 19");
}

static void a_long_text_is_cut(void **state)
{
    static struct audit_check check = {.file = "f"};
    char text[2 * AUDIT_TEXT_MAX];

    (void)state;
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    audit_add_problem(&check, "%s", text);
    assert_int_equal(strlen(check.problems[0].text), AUDIT_TEXT_MAX - 1);
}

static void the_newest_problem_is_marked_as_one_of_an_older_copy(void **state)
{
    static struct audit_check check = {.file = "f"};

    (void)state;
    audit_add_problem(&check, "one");
    audit_add_problem(&check, "two");
    audit_mark_problem_ahead(&check);
    assert_false(check.problems[0].is_ahead);
    assert_true(check.problems[1].is_ahead);
}

static void a_problem_that_was_only_counted_marks_no_other(void **state)
{
    static struct audit_check check = {.file = "f"};

    (void)state;
    for (int i = 0; i <= AUDIT_PROBLEMS_MAX; i++)
        audit_add_problem(&check, "number %d", i);
    audit_mark_problem_ahead(&check);
    for (int i = 0; i < AUDIT_PROBLEMS_MAX; i++)
        assert_false(check.problems[i].is_ahead);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_problem_has_the_place_where_the_reading_is),
        cmocka_unit_test(a_general_problem_has_no_place),
        cmocka_unit_test(problems_above_the_limit_are_counted_only),
        cmocka_unit_test(a_long_text_is_cut),
        cmocka_unit_test(the_newest_problem_is_marked_as_one_of_an_older_copy),
        cmocka_unit_test(a_problem_that_was_only_counted_marks_no_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
