/* SPDX-License-Identifier: MIT */
/*
 * wire_marks.c - how many bytes on the wire hold the bytes that were written
 *
 * Invariant: no answer is too small. Bytes that are older than the oldest mark have its answer.
 */
#include "daemon/uplink/paho/wire_marks.h"

static const struct wire_mark *mark_at(const struct wire_marks *marks, size_t n)
{
    return &marks->marks[(marks->first + n) % WIRE_MARKS_MAX];
}

void wire_marks_add(struct wire_marks *marks, uint64_t written, uint64_t wire)
{
    size_t at = (marks->first + marks->count) % WIRE_MARKS_MAX;

    marks->marks[at] = (struct wire_mark){.written = written, .wire = wire};
    if (marks->count < WIRE_MARKS_MAX)
        marks->count++;
    else
        marks->first = (marks->first + 1) % WIRE_MARKS_MAX;
}

uint64_t wire_marks_find(const struct wire_marks *marks, uint64_t written)
{
    size_t low = 0;
    size_t high = marks->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (mark_at(marks, middle)->written < written)
            low = middle + 1;
        else
            high = middle;
    }
    return low < marks->count ? mark_at(marks, low)->wire : UINT64_MAX;
}
