/* SPDX-License-Identifier: MIT */
/*
 * spans.c - which numbers were seen
 *
 * Nearly each number continues the last span, so spans are looked for from the end on.
 */
#include "cli/audit/spans.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

void spans_add(struct spans *spans, uint64_t first, uint64_t last)
{
    struct span *list = spans->spans;
    size_t end = spans->count, begin;

    /* From begin to before end are those that touch the new one. */
    while (end > 0 && list[end - 1].first > last + 1)
        end--;
    begin = end;
    while (begin > 0 && list[begin - 1].last + 1 >= first)
        begin--;
    if (begin == end && spans->count == SPANS_MAX) {
        spans->is_partial = true;
        return;
    }
    if (begin < end && list[begin].first < first)
        first = list[begin].first;
    if (begin < end && list[end - 1].last > last)
        last = list[end - 1].last;
    memmove(&list[begin + 1], &list[end], (spans->count - end) * sizeof(*list));
    spans->count = spans->count - (end - begin) + 1;
    list[begin] = (struct span){first, last};
}

uint64_t spans_count(const struct spans *spans, uint64_t first, uint64_t last)
{
    uint64_t count = 0;

    for (size_t i = spans->count; i > 0 && spans->spans[i - 1].last >= first; i--) {
        const struct span *span = &spans->spans[i - 1];
        uint64_t from = span->first > first ? span->first : first;
        uint64_t to = span->last < last ? span->last : last;

        count += to >= from ? to - from + 1 : 0;
    }
    return count;
}
