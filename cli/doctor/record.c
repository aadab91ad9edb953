/* SPDX-License-Identifier: MIT */
/*
 * record.c - what a step of the doctor reports to the process that watches it
 */
#include "cli/doctor/record.h"

#include "base/text.h"
#include "cli/doctor/findings.h"

#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

static void put_record(const struct doctor_work *work, const struct doctor_record *record)
{
    if (write(work->pipe_fd, record, sizeof(*record)) != (ssize_t)sizeof(*record))
        _exit(EXIT_FAILURE); /* the reader has ended */
}

static struct doctor_record
make_record(const struct doctor_work *work, enum doctor_record_kind kind, unsigned number)
{
    struct doctor_record record = {
        .kind = kind, .number = number, .finding = {.step = work->step}};

    text_format(record.finding.target, sizeof(record.finding.target), "%s", work->target);
    return record;
}

void doctor_put_number(struct doctor_work *work, enum doctor_record_kind kind, unsigned number)
{
    struct doctor_record record = make_record(work, kind, number);

    put_record(work, &record);
}

void doctor_begin(struct doctor_work *work, enum doctor_step step, unsigned time_ms)
{
    work->step = step;
    doctor_put_number(work, DOCTOR_RECORD_BEGIN, time_ms);
}

void doctor_add(struct doctor_work *work,
                enum doctor_result result,
                const char *remedy,
                const char *format,
                ...)
{
    struct doctor_record record = make_record(work, DOCTOR_RECORD_FINDING, 0);
    va_list arguments;

    record.finding.result = result;
    va_start(arguments, format);
    text_vformat(record.finding.seen, sizeof(record.finding.seen), format, arguments);
    va_end(arguments);
    text_format(record.finding.remedy, sizeof(record.finding.remedy), "%s", remedy);
    put_record(work, &record);
}
