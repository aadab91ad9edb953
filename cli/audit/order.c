/* SPDX-License-Identifier: MIT */
/*
 * order.c - are the numbers of the lines all there, and do they rise by one?
 *
 * The lines are kept as runs of numbers: a sound history is one run, and each further run is
 * begun by a problem. So after the last line it is known of each jump how many of the lines
 * between are missing, and how many stand elsewhere. Runs beyond AUDIT_RUNS_MAX are not kept:
 * of files in such disorder some lines count as missing that are not.
 */
#include "cli/audit/check.h"

#include "base/text.h"
#include "cli/cli.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How many numbers from @first to @last are in the runs. */
static uint64_t order_count(const struct audit_order *order, uint64_t first, uint64_t last)
{
    uint64_t count = 0;

    while (first <= last) {
        const struct audit_run *next = NULL;

        for (size_t i = 0; i < order->count; i++) {
            const struct audit_run *run = &order->runs[i];

            if (run->last >= first && (!next || run->first < next->first))
                next = run;
        }
        if (!next || next->first > last)
            break;
        if (next->first > first)
            first = next->first;
        count += (next->last < last ? next->last : last) - first + 1;
        first = next->last + 1;
    }
    return count;
}

/* Return: which one it is; AUDIT_RUNS_MAX: it is not kept. */
static size_t order_begin_run(struct audit_order *order, uint64_t first, uint64_t last)
{
    if (order->count == AUDIT_RUNS_MAX)
        return AUDIT_RUNS_MAX;
    order->runs[order->count] = (struct audit_run){first, last};
    return order->count++;
}

static void order_extend(struct audit_order *order, size_t run, uint64_t last)
{
    if (run < order->count)
        order->runs[run].last = last;
}

/* It belongs where a line was missed before. */
static bool order_is_stray(const struct audit_check *check, uint64_t seq, uint64_t end)
{
    return !check->deliveries_omitted && seq > check->first_seq &&
           check->seen.order.count < AUDIT_RUNS_MAX &&
           order_count(&check->seen.order, seq, end) == 0;
}

static void order_take_stray(struct audit_check *check, uint64_t seq, uint64_t end)
{
    struct audit_order *order = &check->seen.order;

    if (order->has_stray && order->runs[order->stray].last == seq - 1) {
        order_extend(order, order->stray, end);
        return;
    }
    audit_add_problem(check,
                      "seq %" PRIu64 " comes after %" PRIu64
                      ": a line was moved, or the files are not in order (oldest first)",
                      seq, check->last_seq);
    order->stray = order_begin_run(order, seq, end);
    order->has_stray = true;
}

static void order_report_jump(struct audit_check *check, uint64_t seq)
{
    uint64_t last = check->last_seq;
    uint64_t missing = seq - last - 1;

    audit_add_problem(check,
                      "seq jumps from %" PRIu64 " to %" PRIu64 ": %" PRIu64 " line%s missing",
                      last, seq, missing, cli_counted(missing, " is", "s are"));
    audit_mark_problem_jump(check, last, seq);
}

static void order_report_return(struct audit_check *check, uint64_t seq)
{
    audit_add_problem(check,
                      "seq %" PRIu64 " comes after %" PRIu64
                      ": a line came twice, the files are not in order (oldest first), or the "
                      "database was restored from an older copy",
                      seq, check->last_seq);
    audit_mark_problem_ahead(check);
}

void audit_check_seq(struct audit_check *check, uint64_t seq, uint64_t end)
{
    struct audit_order *order = &check->seen.order;
    bool is_first = check->first_seq == 0;

    if (!is_first && seq <= check->last_seq && order_is_stray(check, seq, end)) {
        order_take_stray(check, seq, end);
        return;
    }
    if (is_first) {
        check->first_seq = seq;
        if (check->from != 0 && seq != check->from)
            audit_add_problem(check, "the first seq is %" PRIu64 " and should be %" PRIu64, seq,
                              check->from);
    } else if (seq <= check->last_seq) {
        order_report_return(check, seq);
    } else if (seq > check->last_seq + 1 && !check->deliveries_omitted) {
        order_report_jump(check, seq);
    }
    if (is_first || seq != check->last_seq + 1)
        order->current = order_begin_run(order, seq, end);
    else
        order_extend(order, order->current, end);
    check->last_seq = end;
}

/* @elsewhere: of the lines between. */
static void order_describe_jump(struct audit_problem *problem, uint64_t elsewhere)
{
    uint64_t missing = problem->before - problem->after - 1 - elsewhere;

    text_format(problem->text, sizeof(problem->text),
                "seq jumps from %" PRIu64 " to %" PRIu64 ": ", problem->after, problem->before);
    if (missing > 0)
        text_append(problem->text, sizeof(problem->text),
                    "%" PRIu64 " line%s missing, and %" PRIu64 " other%s between stand%s",
                    missing, cli_counted(missing, " is", "s are"), elsewhere,
                    cli_plural(elsewhere), cli_counted(elsewhere, "s", ""));
    else if (elsewhere == 1)
        text_append(problem->text, sizeof(problem->text), "the line between stands");
    else
        text_append(problem->text, sizeof(problem->text), "the %" PRIu64 " lines between stand",
                    elsewhere);
    text_append(problem->text, sizeof(problem->text), " elsewhere in the files");
}

void audit_explain_jumps(struct audit_check *check)
{
    for (uint64_t i = 0; i < check->problem_count && i < AUDIT_PROBLEMS_MAX; i++) {
        struct audit_problem *problem = &check->problems[i];
        uint64_t elsewhere =
            problem->before == 0
                ? 0
                : order_count(&check->seen.order, problem->after + 1, problem->before - 1);

        if (elsewhere > 0)
            order_describe_jump(problem, elsewhere);
    }
}
