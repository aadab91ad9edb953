/* SPDX-License-Identifier: MIT */
/*
 * findings.c - the problems that a verification notes
 *
 * The first AUDIT_PROBLEMS_MAX are kept with file and line, all are counted.
 * check.c notes them from the lines, compare.c from the database; this calls
 * neither.
 */
#include "cli/audit/check.h"

#include "base/attr.h"
#include "base/text.h"

#include <stdarg.h>

PRINTF_LIKE(4, 0)
static void add_problem(struct audit_check *check,
                        const char *file,
                        uint64_t line,
                        const char *format,
                        va_list arguments)
{
    struct audit_problem *problem;

    if (check->problem_count++ >= AUDIT_PROBLEMS_MAX)
        return;
    problem = &check->problems[check->problem_count - 1];
    problem->file = file;
    problem->line = line;
    text_vformat(problem->text, sizeof(problem->text), format, arguments);
}

void audit_add_problem(struct audit_check *check, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    add_problem(check, check->file, check->line, format, arguments);
    va_end(arguments);
}

void audit_add_problem_at(
    struct audit_check *check, const char *file, uint64_t line, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    add_problem(check, file, line, format, arguments);
    va_end(arguments);
}

void audit_add_general_problem(struct audit_check *check, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    add_problem(check, NULL, 0, format, arguments);
    va_end(arguments);
}

void audit_mark_problem_gap(struct audit_check *check,
                            enum audit_gap gap,
                            uint64_t after,
                            uint64_t before)
{
    if (check->problem_count > AUDIT_PROBLEMS_MAX)
        return;
    struct audit_problem *problem = &check->problems[check->problem_count - 1];
    problem->gap = gap;
    problem->after = after;
    problem->before = before;
}

void audit_mark_problem_ahead(struct audit_check *check)
{
    if (check->problem_count <= AUDIT_PROBLEMS_MAX)
        check->problems[check->problem_count - 1].is_ahead = true;
}
