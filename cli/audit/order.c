/* SPDX-License-Identifier: MIT */
/*
 * order.c - are the numbers of the lines all there, and do they rise by one?
 *
 * The files go from the lowest number to the highest one, in whatever order the lines are. A
 * number that is higher than all before it and does not follow them makes a jump; a lower one
 * came twice if it was seen before, and else its line was moved. After the last line it is
 * known of each jump how many of the numbers between are missing, and how many stand elsewhere.
 *
 * Numbers that were seen are kept as spans; without deliveries, where each gap would end one,
 * as a set.
 */
#include "cli/audit/check.h"

#include "base/text.h"
#include "cli/audit/id_set.h"
#include "cli/audit/spans.h"
#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum order_number {
    ORDER_NEW,
    ORDER_SEEN,
    ORDER_UNKNOWN, /* of so much disorder not all was kept */
};

/* Of a range without deliveries, which no daemon writes, the ends are kept. Return: as
 * id_set_add(). */
static int order_keep_ends(struct audit_seen *seen, uint64_t seq, uint64_t end)
{
    int result = id_set_add(&seen->numbers, seq);

    if (result != 0 || end == seq)
        return result;
    return id_set_add(&seen->numbers, end);
}

/* Return: 0: @ret is what they were until now; -ENOMEM. */
static int
order_keep(struct audit_check *check, uint64_t seq, uint64_t end, enum order_number *ret)
{
    struct spans *spans = &check->seen.order.spans;
    int result;

    if (!check->deliveries_omitted) {
        if (spans_count(spans, seq, end) > 0)
            *ret = ORDER_SEEN;
        else
            *ret = spans->is_partial ? ORDER_UNKNOWN : ORDER_NEW;
        spans_add(spans, seq, end);
        return 0;
    }
    result = order_keep_ends(&check->seen, seq, end);
    if (result == 0)
        *ret = ORDER_NEW;
    else
        *ret = result == -EEXIST ? ORDER_SEEN : ORDER_UNKNOWN;
    return result == -ENOMEM ? result : 0;
}

/* The line above stands elsewhere, and this one was behind it there. A number that is missing
 * before the first line is reported at the end. */
static bool order_continues_stray(const struct audit_check *check, uint64_t seq)
{
    const struct audit_order *order = &check->seen.order;

    if (order->stray == 0 || seq <= order->stray)
        return false;
    return check->deliveries_omitted || seq == order->stray + 1 ||
           (seq < order->begin && spans_count(&order->spans, order->stray + 1, seq - 1) == 0);
}

/* An older copy of the database may write numbers that the files did not have: before the
 * lowest one, and, without lines of deliveries, between the others. */
static void
order_report_stray(struct audit_check *check, uint64_t seq, enum order_number number)
{
    const char *cause = "a line was moved, or the files are not in order (oldest first)";

    if (number == ORDER_UNKNOWN)
        cause = "a line was moved or came twice, the files are not in order (oldest first), or "
                "the database was restored from an older copy";
    else if (check->deliveries_omitted || seq == check->first_seq)
        cause = "a line was moved, the files are not in order (oldest first), or the database "
                "was restored from an older copy";
    audit_add_problem(check, "seq %" PRIu64 " comes after %" PRIu64 ": %s", seq,
                      check->last_seq, cause);
}

static void order_report_jump(struct audit_check *check, uint64_t seq)
{
    uint64_t last = check->last_seq;
    uint64_t missing = seq - last - 1;

    audit_add_problem(check,
                      "seq jumps from %" PRIu64 " to %" PRIu64 ": %" PRIu64 " line%s missing",
                      last, seq, missing, cli_counted(missing, " is", "s are"));
    audit_mark_problem_gap(check, AUDIT_GAP_SEQ, last, seq);
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

/* Is it behind the line of order->last, with nothing between that ought to be there? */
static bool order_follows(const struct audit_check *check, uint64_t seq)
{
    uint64_t last = check->seen.order.last;

    return seq == last + 1 || (check->deliveries_omitted && seq > last);
}

static void order_go_to(struct audit_check *check, uint64_t end)
{
    check->seen.order.last = end;
    check->seen.order.stray = 0;
    if (end > check->last_seq)
        check->last_seq = end;
}

static void order_begin_at(struct audit_check *check, uint64_t seq)
{
    struct audit_order *order = &check->seen.order;

    if (check->first_seq == 0)
        order->begin = seq;
    check->first_seq = seq;
    order->first_file = check->file;
    order->first_line = check->line;
}

int audit_check_seq(struct audit_check *check, uint64_t seq, uint64_t end)
{
    bool is_first = check->first_seq == 0;
    enum order_number number;
    int result = order_keep(check, seq, end, &number);

    if (result < 0)
        return result;
    if (is_first || seq < check->first_seq)
        order_begin_at(check, seq);
    if (is_first || order_follows(check, seq)) {
        order_go_to(check, end);
    } else if (seq > check->last_seq) {
        if (seq > check->last_seq + 1)
            order_report_jump(check, seq);
        order_go_to(check, end);
    } else if (number == ORDER_SEEN) {
        order_report_return(check, seq);
        order_go_to(check, end);
    } else {
        if (!order_continues_stray(check, seq))
            order_report_stray(check, seq, number);
        check->seen.order.stray = end;
    }
    return 0;
}

uint64_t audit_reached(const struct audit_check *check)
{
    return check->database.is_older ? check->seen.order.last : check->last_seq;
}

void audit_forget_seen(struct audit_check *check)
{
    id_set_done(&check->seen.ids);
    id_set_done(&check->seen.numbers);
}

/* ---- after the last line ---- */

/* @elsewhere: of the numbers between. */
static void order_describe_jump(struct audit_problem *problem, uint64_t elsewhere)
{
    uint64_t missing = problem->before - problem->after - 1 - elsewhere;

    text_format(problem->text, sizeof(problem->text),
                "seq jumps from %" PRIu64 " to %" PRIu64 ": ", problem->after, problem->before);
    if (missing > 0)
        text_append(problem->text, sizeof(problem->text),
                    "%" PRIu64 " line%s missing, and %" PRIu64 " other number%s between",
                    missing, cli_counted(missing, " is", "s are"), elsewhere,
                    cli_plural(elsewhere));
    else if (elsewhere == 1)
        text_append(problem->text, sizeof(problem->text), "the number between");
    else
        text_append(problem->text, sizeof(problem->text), "the %" PRIu64 " numbers between",
                    elsewhere);
    text_append(problem->text, sizeof(problem->text), " stand%s elsewhere in the files",
                cli_counted(elsewhere, "s", ""));
}

static void order_explain_jump(const struct spans *spans, struct audit_problem *problem)
{
    uint64_t elsewhere = spans_count(spans, problem->after + 1, problem->before - 1);

    if (spans->is_partial && elsewhere < problem->before - problem->after - 1)
        text_append(problem->text, sizeof(problem->text), " or stand elsewhere in the files");
    else if (elsewhere > 0)
        order_describe_jump(problem, elsewhere);
}

/* What is missing before the first line made no jump. */
static void order_report_early(struct audit_check *check)
{
    const struct audit_order *order = &check->seen.order;
    const struct spans *spans = &order->spans;

    for (size_t i = 1; i < spans->count && spans->spans[i].first <= order->begin; i++) {
        uint64_t after = spans->spans[i - 1].last, before = spans->spans[i].first;

        audit_add_general_problem(
            check, "%" PRIu64 " line%s missing between the seq %" PRIu64 " and %" PRIu64,
            before - after - 1, cli_counted(before - after - 1, " is", "s are"), after, before);
    }
}

void audit_explain_order(struct audit_check *check)
{
    const struct audit_order *order = &check->seen.order;

    for (uint64_t i = 0; i < check->problem_count && i < AUDIT_PROBLEMS_MAX; i++) {
        if (check->problems[i].gap == AUDIT_GAP_SEQ)
            order_explain_jump(&order->spans, &check->problems[i]);
    }
    if (!order->spans.is_partial)
        order_report_early(check);
    if (check->from != 0 && check->first_seq != 0 && check->first_seq != check->from)
        audit_add_problem_at(check, order->first_file, order->first_line,
                             "the first seq is %" PRIu64 " and should be %" PRIu64,
                             check->first_seq, check->from);
}
