/* SPDX-License-Identifier: MIT */
/*
 * page.c - a summary and its proof as one page of HTML: its frame, its headline, its tiles
 */
#include "cli/report/page.h"

#include <inttypes.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "cli/report/buckets.h"
#include "cli/report/histogram.h"
#include "cli/report/html.h"

/* The steps of the charts, of which the first and the last may be cut. A record whose time is
 * after now, by another clock, is in it. */
static struct summary_period shown_period(const struct page *page)
{
    const struct summary_period *period = &page->summary->period;
    const struct buckets *buckets = &page->summary->buckets;
    struct summary_period shown = {
        .since_ms = buckets_start_ms(buckets, 0),
        .until_ms = buckets_start_ms(buckets, buckets->count),
    };

    if (shown.since_ms < period->since_ms)
        shown.since_ms = period->since_ms;
    if (shown.until_ms > page->now_ms &&
        buckets_start_ms(buckets, buckets->count - 1) <= page->now_ms)
        shown.until_ms = page->now_ms;
    if (shown.until_ms > period->until_ms)
        shown.until_ms = period->until_ms;
    return shown;
}

/* The span of what the charts show, and when and where the page was made. */
static void put_period(const struct page *page)
{
    char zone[HTML_TEXT_MAX], utc[CLOCK_TEXT_MAX];

    fputs("<p class=\"from\">", page->stream);
    if (page->summary->buckets.count > 0) {
        const struct summary_period shown = shown_period(page);

        html_put_time(page->stream, shown.since_ms, page->zone_ms);
        fputs(" to ", page->stream);
        html_put_time(page->stream, shown.until_ms, page->zone_ms);
        fputs(". ", page->stream);
    }
    clock_format(page->now_ms, utc);
    fputs("Made ", page->stream);
    html_put_time(page->stream, page->now_ms, page->zone_ms);
    fprintf(page->stream, " (%s) by mqtt-spool %s. Times are local, %s.</p>\n", utc,
            SPOOLD_VERSION, html_zone(page->zone_ms, zone));
}

static void put_problem(FILE *stream, const struct audit_problem *problem)
{
    fputs("<li>", stream);
    if (problem->file) {
        fputs("<code><bdi>", stream);
        html_text(stream, problem->file);
        fprintf(stream, "</bdi>:%" PRIu64 "</code>: ", problem->line);
    }
    html_text(stream, problem->text);
    fputs("</li>", stream);
}

static void put_problems(const struct page *page)
{
    uint64_t count = page->check->problem_count;
    char number[HTML_TEXT_MAX];

    fputs("<ol>", page->stream);
    for (uint64_t i = 0; i < count && i < AUDIT_PROBLEMS_MAX; i++)
        put_problem(page->stream, &page->check->problems[i]);
    fputs("</ol>", page->stream);
    if (count > AUDIT_PROBLEMS_MAX)
        fprintf(page->stream, "<p>And %s more.</p>",
                html_number(count - AUDIT_PROBLEMS_MAX, number));
    fputs(
        "<p>Keep copies of these files and of the spool before anything else. Then find out what "
        "rotates or edits the file, and check the disk.</p>",
        page->stream);
}

static void put_verdict(const struct page *page)
{
    static const char *const classes[] = {
        [PAGE_SOUND] = "verdict",
        [PAGE_NOT_SOUND] = "verdict notsound",
        [PAGE_UNPROVED] = "verdict unproved",
    };
    char sentence[PAGE_SENTENCE_MAX];
    enum page_verdict verdict = page_judge(page, sentence);

    fprintf(page->stream,
            "<div class=\"%s\" data-key=\"problems\" data-value=\"%" PRIu64
            "\">\n<p class=\"word\">%s</p>"
            "<h1>",
            classes[verdict], page->check->problem_count, page_verdict_word(verdict));
    html_text(page->stream, sentence);
    fputs("</h1>", page->stream);
    if (verdict == PAGE_NOT_SOUND)
        put_problems(page);
    fputs("</div>\n", page->stream);
}

static void put_tile(FILE *stream, const char *name, const char *key, uint64_t value)
{
    char number[HTML_TEXT_MAX];

    fprintf(stream,
            "<div><dt>%s</dt><dd class=\"n\" data-key=\"%s\" data-value=\"%" PRIu64
            "\">%s</dd>",
            name, key, value, html_number(value, number));
}

static void put_delay_tile(const struct page *page)
{
    const struct histogram *delays = &page->summary->delays;
    char span[HTML_TEXT_MAX];

    fprintf(page->stream, "<div><dt>Delay, half within</dt><dd class=\"n\">%s</dd>",
            delays->count > 0 ? html_span(histogram_percentile(delays, 500), span)
                              : "no delivery");
    if (delays->count > 0)
        fprintf(page->stream, "<dd class=\"s\">99 of 100 within %s</dd>",
                html_span(histogram_percentile(delays, 990), span));
    fputs("</div>", page->stream);
}

static void put_tiles(const struct page *page)
{
    const struct summary *summary = page->summary;
    uint64_t delivered = summary->ended[SPOOL_DELIVERED];
    uint64_t failed = summary_failed(summary);
    char share[HTML_TEXT_MAX], span[CLOCK_SPAN_MAX], size[CLI_SIZE_MAX];

    fputs("<dl class=\"tiles\">", page->stream);
    put_tile(page->stream, "Accepted", "accepted", summary->accepted);
    fprintf(page->stream, "<dd class=\"s\">%s of payload</dd></div>",
            cli_size(summary->accepted_bytes, size));
    put_tile(page->stream, "Delivered", "delivered", delivered);
    fprintf(page->stream, "<dd class=\"s\">%s of what ended</dd></div>",
            html_share(delivered, delivered + failed, share));
    put_tile(page->stream, "Not delivered", "failed", failed);
    fprintf(page->stream, "<dd class=\"s\">%s</dd></div>",
            failed == 0 ? "none" : "each with its reason");
    if (page->has_database) {
        put_tile(page->stream, "Waiting now", "waiting", summary->waiting);
        clock_format_span(page->now_ms - summary->waiting_since_ms, span);
        fprintf(page->stream, "<dd class=\"s\">%s%s</dd></div>",
                summary->waiting > 0 ? "the oldest for " : "the spool is empty",
                summary->waiting > 0 ? span : "");
    }
    put_delay_tile(page);
    fputs("</dl>\n", page->stream);
}

void page_put(const struct page *page)
{
    FILE *stream = page->stream;

    fputs(PAGE_BEGINS "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
                      "<title>mqtt-spoold on ",
          stream);
    html_text(stream, page->host);
    fputs("</title>\n<style>\n", stream);
    fputs(page_style, stream);
    fputs("</style></head>\n<body><header><p class=\"from\"><strong>mqtt-spoold on <bdi>",
          stream);
    html_text(stream, page->host);
    fputs("</bdi></strong></p>\n", stream);
    put_verdict(page);
    put_tiles(page);
    put_period(page);
    fputs("</header>\n<main>\n", stream);
    page_put_traffic(page);
    page_put_pauses(page);
    page_put_delays(page);
    page_put_failures(page);
    page_put_wear(page);
    page_put_proof(page);
    fputs("</main>\n</body></html>\n", stream);
}
