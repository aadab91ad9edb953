/* SPDX-License-Identifier: MIT */
/*
 * report.c - reports of failures, as messages
 *
 * The spool holds a cursor: the seq up to which failures are in reports. It moves in the
 * transaction that holds the report, so a crash loses neither and repeats neither; and no
 * failure is pruned before the cursor, or this file, has passed it.
 *
 * Invariant: a record of the lane of the reports makes no report. Only committed records are
 * read, and a message is appended after the commit: it waits for the next one, as any other.
 */
#include "daemon/gateway/report.h"

#include <string.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/json.h"
#include "base/view.h"
#include "daemon/config/spool_lanes.h"
#include "daemon/gateway/limits.h"
#include "daemon/record/outcome.h"

#define REPORT_CLIENT "mqtt-spoold"
/* Texts of producers are cut, so that a report fits into the packets of any broker. */
#define REPORT_TEXT_MAX 1024
/* A report is closed when it holds so much or so many; then the next one begins. */
#define REPORT_BYTES   ((size_t)32 * 1024)
#define REPORT_RECORDS 100
#define REPORT_MAX     (REPORT_BYTES + RECORD_CUT_MAX(REPORT_TEXT_MAX) + 64)
/* In one batch: more records than a batch can make, unless their texts are long. */
#define REPORTS_BYTES_A_BATCH (GATEWAY_BATCH_BYTES / 2)

/* Payload Format Indicator 1 and Content Type, as a PUBLISH has them. */
static const unsigned char properties[] = "\x01\x01\x03\x00\x10"
                                          "application/json";

struct page {
    struct json json;
    unsigned records;
    uint64_t to; /* seq of the last one */
    char text[REPORT_MAX];
};

static int page_add(void *userdata, const struct spool_record *record)
{
    struct page *page = userdata;

    if (strcmp(record->lane, CONFIG_REPORT_LANE) == 0)
        return 0;
    record_write_cut(&page->json, record, REPORT_TEXT_MAX);
    page->to = record->seq;
    page->records++;
    return page->records == REPORT_RECORDS || json_used(&page->json) >= REPORT_BYTES;
}

/* Return: 0: it has no records if there is none after @after; negative errno. */
static int page_fill(struct page *page, struct spool *spool, int64_t begin, uint64_t after)
{
    page->records = 0;
    page->to = after;
    json_init(&page->json, page->text, sizeof(page->text));
    json_open_object(&page->json, NULL);
    json_signed(&page->json, "after", begin);
    json_open_array(&page->json, "records");
    int r = spool_each_record(spool, after, true, 0, page_add, page);
    if (r < 0)
        return r;
    json_close_array(&page->json);
    json_unsigned(&page->json, "to", page->to);
    json_close_object(&page->json);
    return 0;
}

/* Return: 0; SPOOL_E_*: not now; negative errno. */
static int report_append(struct report *report, unsigned lane, const struct page *page)
{
    const struct spool_time now = turn_spool_time(report->turn);
    const struct spool_message message = {
        .lane = lane,
        .uid = geteuid(),
        .qos = 1,
        .expiry_ms = SPOOL_NO_EXPIRY,
        .client = view_of_text(REPORT_CLIENT),
        .topic = view_of_text(report->config->uplink.report_topic),
        .properties = {properties, sizeof(properties) - 1},
        .payload = {(const uint8_t *)page->text, json_used(&page->json)},
    };
    uint64_t id;

    FAILPOINT("report.before_append");
    int r = spool_append(report->spool, &message, &now, &id);
    if (r != 0)
        return r;
    spool_set_reported(report->spool, (int64_t)page->to);
    FAILPOINT("report.after_append");
    report->edge->appended++;
    edge_timer_arm(report->edge_timer);
    return 0;
}

static void report_switch_off(struct report *report)
{
    report->began_seq = SPOOL_NOT_REPORTED;
    spool_keep_unreported(report->spool, UINT64_MAX);
    if (spool_reported(report->spool) == SPOOL_NOT_REPORTED)
        return;
    spool_set_reported(report->spool, SPOOL_NOT_REPORTED);
    edge_timer_arm_later(report->edge_timer, GATEWAY_WORK_LATEST_MS);
}

/* Where the next report begins. What happened before they were switched on is not reported. */
static int64_t report_begin(struct report *report)
{
    int64_t stored = spool_reported(report->spool);

    if (stored != SPOOL_NOT_REPORTED)
        return stored;
    if (report->began_seq == SPOOL_NOT_REPORTED)
        report->began_seq = (int64_t)spool_last_seq(report->spool);
    spool_set_reported(report->spool, report->began_seq);
    return report->began_seq;
}

static uint64_t later_of(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static int report_run_on(struct report *report, unsigned lane)
{
    static struct page page;
    uint64_t last_seq = spool_last_seq(report->spool);
    int64_t begin = report_begin(report);
    uint64_t after = later_of((uint64_t)begin, report->scanned_seq);
    size_t bytes = 0;
    int r = 0;

    spool_keep_unreported(report->spool, after); /* more than that only after the commit */
    while (r == 0 && bytes < REPORTS_BYTES_A_BATCH && after < last_seq) {
        r = page_fill(&page, report->spool, begin, after);
        if (r < 0)
            return r;
        if (page.records == 0) {
            /* Only if no report before it may be rolled back. */
            if (bytes == 0)
                report->scanned_seq = last_seq;
            break;
        }
        r = report_append(report, lane, &page);
        bytes += json_used(&page.json);
        begin = (int64_t)page.to;
        after = page.to;
    }
    if (r > 0)
        edge_timer_arm_later(report->edge_timer, GATEWAY_FULL_RETRY_MS);
    return r < 0 ? r : 0;
}

void report_init(struct report *report)
{
    report->began_seq = SPOOL_NOT_REPORTED;
    if (report->config->uplink.report_topic[0] != '\0')
        spool_keep_unreported(report->spool, (uint64_t)report_begin(report));
}

int report_run(struct report *report)
{
    unsigned lane = config_report_lane(report->config);

    if (report->config->uplink.report_topic[0] == '\0') {
        report_switch_off(report);
        return 0;
    }
    /* A reload may have refused the lanes: then nothing is reported before it succeeds. */
    if (lane == 0 || stop_has_begun(report->stop))
        return 0;
    return report_run_on(report, lane);
}
