/* SPDX-License-Identifier: MIT */
/*
 * page_charts.c - the sections of a report with a chart over time: messages, backlog, wear
 */
#include "cli/report/page.h"

#include <string.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "cli/report/buckets.h"
#include "cli/report/html.h"
#include "cli/report/summary.h"
#include "cli/report/svg.h"

struct columns {
    uint64_t accepted[BUCKETS_MAX];
    uint64_t delivered[BUCKETS_MAX];
    uint64_t failed[BUCKETS_MAX];
    uint64_t waiting[BUCKETS_MAX]; /* the most in each step */
};

static void take(const struct buckets *buckets, enum bucket_series series, uint64_t *ret)
{
    for (size_t i = 0; i < buckets->count; i++)
        ret[i] = buckets->at[i].amounts[series];
}

/* What waited is what was accepted so far and had not ended. A backlog may come and go within
 * a step, so it is looked at where each of the finer steps ends. */
static void add_up_waiting(const struct summary *summary, struct columns *columns)
{
    const struct buckets *fine = &summary->fine;
    int64_t begin_ms = buckets_start_ms(&summary->buckets, 0);
    uint64_t in = summary->before.accepted, out = summary->before.ended;

    for (size_t i = 0; i < fine->count; i++) {
        const uint64_t *amounts = fine->at[i].amounts;
        size_t step = (size_t)((buckets_start_ms(fine, i) - begin_ms) /
                               buckets_width_ms(&summary->buckets));

        in += amounts[BUCKET_ACCEPTED];
        out += amounts[BUCKET_DELIVERED] + amounts[BUCKET_FAILED];
        if (step < BUCKETS_MAX && in > out && in - out > columns->waiting[step])
            columns->waiting[step] = in - out;
    }
}

static bool is_any(const uint64_t *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (values[i] > 0)
            return true;
    }
    return false;
}

static void put_none(FILE *stream, const char *text)
{
    fprintf(stream, "<p class=\"none\">%s</p>\n", text);
}

static void put_ended_charts(const struct page *page, const struct columns *columns)
{
    const struct buckets *buckets = &page->summary->buckets;
    const struct svg_chart traffic = {
        .id = "c-messages",
        .title = "Accepted and delivered messages over time",
        .text =
            "Columns: messages delivered in each step. Dashed line: messages accepted in it. "
            "The table below has the numbers.",
        .form = SVG_COLUMNS,
        .colour = "good",
        .buckets = buckets,
        .values = columns->delivered,
        .line = columns->accepted,
        .pauses = &page->summary->pauses,
    };
    const struct svg_chart failed = {
        .id = "c-failed",
        .title = "Messages not delivered over time",
        .text = "Columns: messages that ended otherwise than delivered in each step. The table "
                "below has the numbers.",
        .form = SVG_COLUMNS,
        .colour = "bad",
        .buckets = buckets,
        .values = columns->failed,
        .pauses = &page->summary->pauses,
    };

    fputs(
        "<h3>Accepted and delivered</h3><ul class=\"key\"><li class=\"dash\">accepted</li>"
        "<li class=\"k-good\">delivered</li><li class=\"k-band\">no answer of the broker</li></ul>\n",
        page->stream);
    if (is_any(columns->delivered, buckets->count) || is_any(columns->accepted, buckets->count))
        svg_put_chart(page->stream, &traffic);
    else
        put_none(page->stream, "Nothing was accepted or delivered in this period.");
    fputs("<h3>Not delivered</h3>\n", page->stream);
    if (is_any(columns->failed, buckets->count))
        svg_put_chart(page->stream, &failed);
    else
        put_none(page->stream, "Every message that ended in this period was delivered.");
}

static void put_backlog_chart(const struct page *page, const struct columns *columns)
{
    char span[CLOCK_SPAN_MAX];
    const struct svg_chart chart = {
        .id = "c-backlog",
        .title = "Messages waiting over time",
        .text = "Area: the most messages that waited in each step. The table below has the "
                "numbers.",
        .form = SVG_AREA,
        .colour = "wait",
        .buckets = &page->summary->buckets,
        .values = columns->waiting,
        .pauses = &page->summary->pauses,
    };

    clock_format_span(buckets_width_ms(&page->summary->fine), span);
    fprintf(
        page->stream,
        "<p class=\"note\">The most that waited in each step, looked at every %s: what came "
        "and went in between is not in it.</p>\n",
        span);
    svg_put_chart(page->stream, &chart);
}

static void put_backlog(const struct page *page, const struct columns *columns)
{
    fputs("<h3>Backlog</h3>\n", page->stream);
    if (page->check->deliveries_omitted)
        put_none(page->stream, "Not known: the audit file was written without deliveries "
                               "(audit.deliveries = false).");
    else if (is_any(columns->waiting, page->summary->buckets.count))
        put_backlog_chart(page, columns);
    else
        put_none(page->stream, "No message waited for longer than a moment.");
}

static void put_cell(FILE *stream, uint64_t value)
{
    char number[HTML_TEXT_MAX];

    fprintf(stream, "<td class=\"n\">%s", html_number(value, number));
}

static void put_step_time(const struct page *page, const struct buckets *buckets, size_t index)
{
    char text[HTML_TEXT_MAX];
    bool is_day = buckets_width_ms(buckets) >= BUCKETS_DAY;

    (void)html_time(buckets_start_ms(buckets, index), page->zone_ms, true, text);
    if (is_day)
        text[strlen("0000-00-00")] = '\0';
    fprintf(page->stream, "\n<tr><td><time>%s</time>", text);
}

static void put_steps(const struct page *page, const struct columns *columns)
{
    const struct buckets *buckets = &page->summary->buckets;
    bool has_waiting = !page->check->deliveries_omitted;
    uint64_t before = page->summary->before.accepted - page->summary->before.ended;

    fprintf(
        page->stream,
        "<details><summary>Table of these charts</summary><p class=\"note\">A step in which "
        "nothing happened is left out.</p><div class=\"scroll steps\" tabindex=\"0\">"
        "<table id=\"t-steps\"><thead><tr><th>From<th class=\"n\">Accepted<th class=\"n\">Delivered"
        "<th class=\"n\">Not delivered%s</thead><tbody>",
        has_waiting ? "<th class=\"n\">Most waiting" : "");
    for (size_t i = 0; i < buckets->count; i++) {
        uint64_t moved = columns->accepted[i] + columns->delivered[i] + columns->failed[i];

        if (moved > 0 || columns->waiting[i] != before) {
            put_step_time(page, buckets, i);
            put_cell(page->stream, columns->accepted[i]);
            put_cell(page->stream, columns->delivered[i]);
            put_cell(page->stream, columns->failed[i]);
            if (has_waiting)
                put_cell(page->stream, columns->waiting[i]);
        }
        before = columns->waiting[i];
    }
    fputs("</tbody></table></div></details>\n", page->stream);
}

static void put_traffic_notes(const struct page *page)
{
    const struct summary *summary = page->summary;
    char number[HTML_TEXT_MAX];

    if (summary->untimed > 0)
        fprintf(
            page->stream,
            "<p class=\"note\">%s record%s written while the clock was not set (a time before "
            "2025, or in the future): in no chart%s.</p>\n",
            html_number(summary->untimed, number), cli_plural(summary->untimed),
            summary->is_limited ? "" : ", and in all totals");
    if (summary->pruned > 0)
        fprintf(page->stream,
                "<p class=\"note\">%s%s whose records were pruned %s in no figure but the "
                "ledger's.</p>\n",
                html_number(summary->pruned, number),
                cli_counted(summary->pruned, " delivery", " deliveries"),
                cli_counted(summary->pruned, "is", "are"));
    if (page->check->clock_steps > 0)
        fprintf(
            page->stream,
            "<p class=\"note\">The clock was set back %s time%s. Acceptance is placed by the "
            "message's age, which no setting of the clock changes.</p>\n",
            html_number(page->check->clock_steps, number),
            cli_plural(page->check->clock_steps));
    if (page->check->deliveries_omitted)
        fputs("<p class=\"note\">The audit file has no deliveries (audit.deliveries = false): "
              "accepted and delivered show only what ended otherwise, and what waits.</p>\n",
              page->stream);
}

void page_put_traffic(const struct page *page)
{
    const struct buckets *buckets = &page->summary->buckets;
    struct columns columns = {0};
    char span[CLOCK_SPAN_MAX];

    take(buckets, BUCKET_ACCEPTED, columns.accepted);
    take(buckets, BUCKET_DELIVERED, columns.delivered);
    take(buckets, BUCKET_FAILED, columns.failed);
    add_up_waiting(page->summary, &columns);
    fputs("<section><h2>Over time</h2>\n", page->stream);
    if (buckets->count == 0) {
        put_none(page->stream, "No message was accepted or ended in this period.");
    } else {
        clock_format_span(buckets_width_ms(buckets), span);
        fprintf(page->stream, "<p class=\"note\">Each step is %s.</p>\n", span);
        put_ended_charts(page, &columns);
        put_backlog(page, &columns);
        put_steps(page, &columns);
    }
    put_traffic_notes(page);
    fputs("</section>\n", page->stream);
}

static void put_days(const struct page *page, const uint64_t *payload, const uint64_t *records)
{
    const struct buckets *days = &page->summary->days;
    char size[CLI_SIZE_MAX];

    fputs(
        "<details><summary>Table of this chart</summary><div class=\"scroll steps\" tabindex=\"0\">"
        "<table><thead><tr><th>From<th class=\"n\">Payload<th class=\"n\">Audit lines"
        "<th class=\"n\">Sum</thead><tbody>",
        page->stream);
    for (size_t i = 0; i < days->count; i++) {
        if (payload[i] + records[i] == 0)
            continue;
        put_step_time(page, days, i);
        fprintf(page->stream, "<td class=\"n\">%s", cli_size(payload[i], size));
        fprintf(page->stream, "<td class=\"n\">%s", cli_size(records[i], size));
        fprintf(page->stream, "<td class=\"n\">%s", cli_size(payload[i] + records[i], size));
    }
    fputs("</tbody></table></div></details>\n", page->stream);
}

/* What the kernel counted for the daemon, a day. */
static void put_measured(const struct page *page)
{
    const struct page_writes *writes = &page->writes;
    char bytes[CLI_SIZE_MAX], daily[CLI_SIZE_MAX], span[CLOCK_SPAN_MAX];

    if (!writes->is_known) {
        fputs(
            "<p>How much the daemon itself wrote is not known: the kernel counts it only for a "
            "daemon that runs on this machine, and shows it to root.</p>\n",
            page->stream);
        return;
    }
    clock_format_span(writes->span_ms, span);
    fprintf(page->stream, "<p>Measured: the daemon that runs has sent %s to the disk in %s",
            cli_size(writes->bytes, bytes), span);
    if (writes->span_ms >= INT64_C(3600000))
        fprintf(page->stream, ", <strong>%s a day</strong>",
                cli_size((uint64_t)((double)writes->bytes / (double)writes->span_ms *
                                    (double)BUCKETS_DAY),
                         daily));
    fputs(
        " (write_bytes of /proc/PID/io: database, log and audit file, without the journal of the "
        "file system).</p>\n",
        page->stream);
}

static void put_size(const struct page *page)
{
    char used[CLI_SIZE_MAX], free_size[CLI_SIZE_MAX];

    if (page->has_database)
        fprintf(page->stream, "<p>The spool takes %s of the disk now; %s are free.</p>\n",
                cli_size(page->stats.disk_bytes, used),
                cli_size(page->stats.disk_free, free_size));
}

void page_put_wear(const struct page *page)
{
    const struct buckets *days = &page->summary->days;
    uint64_t payload[BUCKETS_MAX] = {0}, records[BUCKETS_MAX] = {0}, sums[BUCKETS_MAX] = {0};
    bool is_daily = buckets_width_ms(days) == BUCKETS_DAY;
    const struct svg_chart chart = {
        .id = "c-wear",
        .title = is_daily ? "Payload and audit lines a day" : "Payload and audit lines",
        .text =
            "Columns: bytes of payload accepted and of audit lines written in each step. The "
            "table below has the numbers.",
        .form = SVG_COLUMNS,
        .colour = "wear",
        .is_bytes = true,
        .buckets = days,
        .values = sums,
    };

    take(days, BUCKET_PAYLOAD, payload);
    take(days, BUCKET_RECORDS, records);
    for (size_t i = 0; i < days->count; i++)
        sums[i] = payload[i] + records[i];
    fputs("<section><h2>Wear</h2>\n", page->stream);
    put_measured(page);
    put_size(page);
    if (is_any(sums, days->count)) {
        char span[CLOCK_SPAN_MAX];

        clock_format_span(buckets_width_ms(days), span);
        fprintf(
            page->stream,
            "<p class=\"note\">The least that was written, in steps of %s: payload, and the "
            "lines of the audit files. Commits cost several times as much, see Flash wear in "
            "docs/sizing.md.</p>\n",
            span);
        svg_put_chart(page->stream, &chart);
        put_days(page, payload, records);
    } else {
        put_none(page->stream, "Nothing was stored in this period.");
    }
    fputs("</section>\n", page->stream);
}
