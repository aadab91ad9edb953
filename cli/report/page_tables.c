/* SPDX-License-Identifier: MIT */
/*
 * page_tables.c - the sections of a report that are tables: pauses, delays, failures, proof
 */
#include "cli/report/page.h"

#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "cli/audit/check.h"
#include "cli/cli.h"
#include "cli/report/histogram.h"
#include "cli/report/html.h"
#include "cli/report/pauses.h"
#include "cli/report/summary.h"
#include "cli/report/top.h"
#include "store/spool.h"

static void put_bar(FILE *stream, uint64_t part, uint64_t whole, const char *colour)
{
    double width = whole == 0 ? 0 : (double)part * 100 / (double)whole;

    if (part == 0)
        fputs("<td class=\"b\"></td>", stream);
    else
        fprintf(
            stream,
            "<td class=\"b\" aria-hidden=\"true\"><i class=\"%s\" style=\"width:%.1f%%\"></i></td>",
            colour, width);
}

static void put_count(FILE *stream, uint64_t count)
{
    char number[HTML_TEXT_MAX];

    fprintf(stream, "<td class=\"n\" data-value=\"%" PRIu64 "\">%s</td>", count,
            html_number(count, number));
}

static void put_part(FILE *stream, uint64_t part, uint64_t whole)
{
    char share[HTML_TEXT_MAX];

    put_count(stream, part);
    fputs("<td class=\"n\">", stream);
    html_text(stream, html_share(part, whole, share));
    fputs("</td>", stream);
}

static int64_t length_of(const struct pause *pause)
{
    return pause->end_ms - pauses_begin_ms(pause);
}

static bool is_shown(const struct summary *summary, const struct pause *pause)
{
    return pauses_counts(pause) && pause->end_ms >= summary->period.since_ms &&
           pauses_begin_ms(pause) < summary->period.until_ms;
}

struct longest {
    uint64_t count; /* of all */
    int64_t sum_ms;
    size_t used;
    const struct pause *at[PAGE_ROWS_MAX]; /* by time */
};

static void keep_longest(struct longest *longest, const struct pause *pause)
{
    size_t shortest = 0;

    for (size_t i = 1; i < longest->used; i++) {
        if (length_of(longest->at[i]) < length_of(longest->at[shortest]))
            shortest = i;
    }
    if (longest->used == PAGE_ROWS_MAX) {
        if (length_of(longest->at[shortest]) >= length_of(pause))
            return;
        longest->used--;
        for (size_t i = shortest; i < longest->used; i++)
            longest->at[i] = longest->at[i + 1];
    }
    longest->at[longest->used++] = pause;
}

static void put_pause(const struct page *page, const struct pause *pause)
{
    char span[CLOCK_SPAN_MAX];

    fputs("<tr><td>", page->stream);
    html_put_time(page->stream, pauses_begin_ms(pause), page->zone_ms);
    fputs("</td><td>", page->stream);
    if (pause->is_open)
        fputs("not over", page->stream);
    else
        html_put_time(page->stream, pause->end_ms, page->zone_ms);
    clock_format_span(length_of(pause), span);
    fprintf(page->stream, "</td><td class=\"n\">%s</td><td>%s</td></tr>\n", span,
            pauses_is_held(&page->summary->pauses, pause) ? "an operator held messages" : "");
}

static void put_pause_table(const struct page *page, const struct longest *longest)
{
    char number[HTML_TEXT_MAX], span[CLOCK_SPAN_MAX];

    clock_format_span(longest->sum_ms, span);
    fprintf(page->stream,
            "<p data-key=\"pauses\" data-value=\"%" PRIu64
            "\"><strong>%s time%s, %s in all.</strong>%s%s</p>\n"
            "<div class=\"scroll\"><table id=\"t-pauses\"><thead><tr><th>From</th><th>To</th>"
            "<th class=\"n\">How long</th><th></th></tr></thead><tbody>\n",
            longest->count, html_number(longest->count, number), cli_plural(longest->count),
            span, longest->count > longest->used ? " These are the longest." : "",
            page->summary->pauses.left_out > 0 ? " There may be more, of the shorter ones."
                                               : "");
    for (size_t i = 0; i < longest->used; i++)
        put_pause(page, longest->at[i]);
    fputs("</tbody></table></div>\n", page->stream);
}

void page_put_pauses(const struct page *page)
{
    const struct pauses *pauses = &page->summary->pauses;
    struct longest longest = {0};

    for (size_t i = 0; i < pauses->count; i++) {
        if (!is_shown(page->summary, &pauses->at[i]))
            continue;
        longest.count++;
        longest.sum_ms += length_of(&pauses->at[i]);
        keep_longest(&longest, &pauses->at[i]);
    }
    fputs("<section><h2>Outages</h2>\n", page->stream);
    if (page->check->deliveries_omitted)
        fputs(
            "<p class=\"none\">Not known: the audit file was written without deliveries.</p>\n",
            page->stream);
    else if (longest.count > 0)
        put_pause_table(page, &longest);
    else
        fputs(
            "<p class=\"none\" data-key=\"pauses\" data-value=\"0\">None is seen: no message waited a minute "
            "without an answer of the broker.</p>\n",
            page->stream);
    fputs(
        "<p class=\"note\">Derived: times of a minute and more in which a message waited and the "
        "broker answered none. Audit files do not record the state of the link, so a link that "
        "was down, a broker that was, a hold and a limited rate look the same here; the log has "
        "the cause.</p></section>\n",
        page->stream);
}

static void put_percentiles(const struct page *page)
{
    static const struct {
        const char *name;
        const char *key;
        unsigned per_mille;
    } rows[] = {
        {"Half of the messages (p50)", "p50", 500},
        {"9 of 10 (p90)", "p90", 900},
        {"99 of 100 (p99)", "p99", 990},
        {"All: the longest", "max", 1000},
    };
    const struct histogram *delays = &page->summary->delays;

    fputs(
        "<table><thead><tr><th>Of those delivered</th><th class=\"n\">within</th></tr></thead><tbody>\n",
        page->stream);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int64_t value = histogram_percentile(delays, rows[i].per_mille);
        char span[HTML_TEXT_MAX];

        fprintf(page->stream,
                "<tr><td>%s</td><td class=\"n\" data-key=\"%s\" data-value=\"%" PRId64
                "\">%s</td></tr>\n",
                rows[i].name, rows[i].key, value, html_span(value, span));
    }
    fputs("</tbody></table>\n", page->stream);
}

static void put_distribution(const struct page *page)
{
    static const int64_t limits[] = {
        0,     10,     32,      100,     320,      1000,     3000,      10000,     30000,
        60000, 300000, 1800000, 7200000, 43200000, 86400000, 259200000, 604800000, INT64_MAX};
    enum { RANGES = sizeof(limits) / sizeof(limits[0]) - 1 };
    const struct histogram *delays = &page->summary->delays;
    uint64_t counts[RANGES], most = 0;
    size_t first = RANGES, last = 0;

    for (size_t i = 0; i < RANGES; i++) {
        counts[i] = histogram_between(delays, limits[i], limits[i + 1]);
        most = counts[i] > most ? counts[i] : most;
        first = counts[i] > 0 && first == RANGES ? i : first;
        last = counts[i] > 0 ? i : last;
    }
    fputs(
        "<table><thead><tr><th>Delay</th><th class=\"n\">Messages</th><th class=\"n\">Share</th>"
        "<th></th></tr></thead><tbody>\n",
        page->stream);
    for (size_t i = first; i <= last && i < RANGES; i++) {
        char span[CLOCK_SPAN_MAX];

        clock_format_span(limits[i + 1 == RANGES ? i : i + 1], span);
        fprintf(page->stream, "<tr><td>%s %s</td>", i + 1 == RANGES ? "longer than" : "up to",
                span);
        put_part(page->stream, counts[i], delays->count);
        put_bar(page->stream, counts[i], most, "g");
        fputs("</tr>\n", page->stream);
    }
    fputs("</tbody></table>\n", page->stream);
}

void page_put_delays(const struct page *page)
{
    fputs("<section><h2>Delay of deliveries</h2>\n", page->stream);
    if (page->summary->delays.count == 0) {
        fputs("<p class=\"none\">No delivery is recorded in this period.</p></section>\n",
              page->stream);
        return;
    }
    fputs("<p class=\"note\">From acceptance to the commit that recorded the delivery, by the "
          "spool's own clock. Above 63 ms the figures are exact to 1.6 %; the longest is "
          "exact.</p>\n",
          page->stream);
    put_percentiles(page);
    fputs("<h3>How many took how long</h3>\n", page->stream);
    put_distribution(page);
    fputs("</section>\n", page->stream);
}

static const char *describe_reason(enum spool_reason reason)
{
    static const char *const texts[SPOOL_REASONS] = {
        [SPOOL_REASON_MAX_MESSAGES] = "the lane held its greatest number of messages",
        [SPOOL_REASON_MAX_BYTES] = "the lane held its greatest size",
        [SPOOL_REASON_MAX_AGE] = "it waited longer than max_age",
        [SPOOL_REASON_DISK] = "the disk had less free space than its reserve",
        [SPOOL_REASON_MESSAGE_EXPIRY] = "the expiry that its producer set was over",
        [SPOOL_REASON_REASON_CODE] = "the broker refused it for good",
        [SPOOL_REASON_TOO_LARGE] = "larger than the broker takes",
        [SPOOL_REASON_POISON] = "the broker closed the connection each time it was sent",
        [SPOOL_REASON_ATTEMPTS] = "the broker refused it as often as max_attempts",
        [SPOOL_REASON_OPERATOR] = "an operator dropped it",
        [SPOOL_REASON_CORRUPT] = "it could not be read any more",
    };

    return texts[reason] ? texts[reason] : "";
}

static void
put_reason(const struct page *page, unsigned outcome, unsigned reason, uint64_t failed)
{
    uint64_t count = page->summary->reasons[outcome][reason];

    fprintf(page->stream, "<tr><th scope=\"row\">%s</th><td>%s</td><td class=\"w\">%s</td>",
            spool_outcome_name((enum spool_outcome)outcome),
            spool_reason_name((enum spool_reason)reason),
            describe_reason((enum spool_reason)reason));
    put_part(page->stream, count, failed);
    put_bar(page->stream, count, failed, "f");
    fputs("</tr>\n", page->stream);
}

/* Which codes the broker refused with. */
static void put_codes(const struct page *page)
{
    char number[HTML_TEXT_MAX];
    bool is_first = true;

    for (unsigned code = 0; code < 256; code++) {
        if (page->summary->codes[code] == 0)
            continue;
        fprintf(page->stream, "%s0x%02X: %s",
                is_first ? "<p class=\"note\">Reason codes of the broker: " : ", ", code,
                html_number(page->summary->codes[code], number));
        is_first = false;
    }
    if (!is_first)
        fputs(".</p>\n", page->stream);
}

static void put_reasons(const struct page *page, uint64_t failed)
{
    fputs(
        "<h3>By reason</h3><div class=\"scroll\"><table id=\"t-reasons\"><thead><tr><th>Outcome</th>"
        "<th>Reason</th><th class=\"w\">What happened</th><th class=\"n\">Messages</th><th class=\"n\">Share</th>"
        "<th></th></tr></thead><tbody>\n",
        page->stream);
    for (unsigned outcome = 0; outcome < SPOOL_OUTCOMES; outcome++) {
        for (unsigned reason = 0; outcome != SPOOL_DELIVERED && reason < SPOOL_REASONS;
             reason++) {
            if (page->summary->reasons[outcome][reason] > 0)
                put_reason(page, outcome, reason, failed);
        }
    }
    fputs("</tbody></table></div>\n", page->stream);
    put_codes(page);
}

static void
put_top_row(FILE *stream, const struct top *top, const struct top_entry *entry, uint64_t most)
{
    char error[HTML_TEXT_MAX];

    fputs("<tr><th scope=\"row\" class=\"t\"><bdi>", stream);
    if (entry->text[0] != '\0')
        html_text(stream, entry->text);
    else
        fputs("(empty)", stream);
    fprintf(stream, "</bdi>%s</th>", entry->is_cut ? " (cut)" : "");
    put_part(stream, entry->count, top->total);
    if (top->is_inexact)
        fprintf(stream, "<td class=\"n\">%s</td>", html_number(entry->error, error));
    put_bar(stream, entry->count, most, "f");
    fputs("</tr>\n", stream);
}

static void
put_top(const struct page *page, const struct top *top, const char *name, const char *id)
{
    const struct top_entry *entries[PAGE_ROWS_MAX + 1];
    size_t count = top_get(top, PAGE_ROWS_MAX, entries);
    uint64_t rest = top->total;

    fprintf(
        page->stream,
        "<h3>%ss</h3>\n<div class=\"scroll\"><table id=\"%s\"><thead><tr><th>%s</th>"
        "<th class=\"n\">Messages</th><th class=\"n\">Share</th>%s<th></th></tr></thead><tbody>\n",
        name, id, name, top->is_inexact ? "<th class=\"n\">At most too high by</th>" : "");
    for (size_t i = 0; i < count; i++) {
        put_top_row(page->stream, top, entries[i], entries[0]->count);
        rest -= entries[i]->count < rest ? entries[i]->count : rest;
    }
    if (top->used > count) {
        fprintf(page->stream, "<tr><td>all others</td>");
        put_part(page->stream, rest, top->total);
        fprintf(page->stream, "%s<td class=\"b\"></td></tr>\n",
                top->is_inexact ? "<td></td>" : "");
    }
    fputs("</tbody></table></div>\n", page->stream);
    if (top->is_inexact)
        fprintf(
            page->stream,
            "<p class=\"note\">There are more of them than the %d that are counted, so these "
            "counts may be too high, by what the table says.</p>\n",
            TOP_MAX);
}

void page_put_failures(const struct page *page)
{
    uint64_t failed = summary_failed(page->summary);

    fputs("<section><h2>What was not delivered</h2>\n", page->stream);
    if (failed == 0) {
        fputs("<p class=\"none\">Nothing: no message ended otherwise than delivered in this "
              "period.</p></section>\n",
              page->stream);
        return;
    }
    put_reasons(page, failed);
    put_top(page, &page->summary->topics, "Topic", "t-topics");
    put_top(page, &page->summary->clients, "Client", "t-clients");
    fputs("</section>\n", page->stream);
}

static void
put_ledger_row(const struct page *page, const char *name, uint64_t there, uint64_t here)
{
    fprintf(page->stream, "<tr data-key=\"ledger-%s\"><th scope=\"row\">%s</th>", name, name);
    put_count(page->stream, there);
    if (page->has_files)
        put_count(page->stream, here);
    fputs("</tr>\n", page->stream);
}

static void put_ledger(const struct page *page)
{
    const struct spool_ledger *ledger = &page->ledger;
    uint64_t sum = ledger->spooled;

    fprintf(
        page->stream,
        "<table id=\"t-ledger\"><thead><tr><th>Outcome</th><th class=\"n\">Ledger of the database"
        "</th>%s</tr></thead><tbody>\n",
        page->has_files ? "<th class=\"n\">Records in the files</th>" : "");
    for (unsigned i = 0; i < SPOOL_OUTCOMES; i++) {
        put_ledger_row(page, spool_outcome_name((enum spool_outcome)i), ledger->ended[i],
                       page->check->counts[i]);
        sum += ledger->ended[i];
    }
    fputs("<tr data-key=\"ledger-spooled\"><th scope=\"row\">spooled: still waiting</th>",
          page->stream);
    put_count(page->stream, ledger->spooled);
    fprintf(page->stream,
            "%s</tr>\n<tr class=\"sum\" data-key=\"ledger-sum\"><th scope=\"row\">Sum</th>",
            page->has_files ? "<td></td>" : "");
    put_count(page->stream, sum);
    fprintf(
        page->stream,
        "%s</tr>\n<tr class=\"sum\" data-key=\"ledger-accepted\"><th scope=\"row\">Accepted, counted "
        "by itself</th>",
        page->has_files ? "<td></td>" : "");
    put_count(page->stream, ledger->accepted);
    fprintf(page->stream, "%s</tr>\n</tbody></table>\n<p>%s</p>\n",
            page->has_files ? "<td></td>" : "",
            sum == ledger->accepted
                ? "The ledger balances: accepted is the sum of all outcomes and of what waits."
                : "<strong>THE LEDGER DOES NOT BALANCE: accepted is not the sum.</strong>");
}

static void put_compared(const struct page *page)
{
    const struct audit_database *database = &page->check->database;
    char number[HTML_TEXT_MAX];

    if (!database->compared)
        fputs(
            "<p>The files were compared with no database (-c or --directory says where it is).</p>\n",
            page->stream);
    else if (!database->counts_compared)
        fputs("<p>The ledger counts from the first message on and these files do not, so their "
              "counts were not compared.</p>\n",
              page->stream);
    else
        fputs("<p>Each count of the ledger was compared with the records.</p>\n", page->stream);
    if (database->waiting > 0)
        fprintf(
            page->stream,
            "<p>%s record%s of the database not in the files yet: counted from there.</p>\n",
            html_number(database->waiting, number), database->waiting == 1 ? " is" : "s are");
    if (database->running)
        fputs(
            "<p class=\"note\">The daemon runs: what ended while this page was made may be in one "
            "column and not yet in the other.</p>\n",
            page->stream);
}

static void put_files(const struct page *page)
{
    const struct audit_check *check = page->check;
    char lines[HTML_TEXT_MAX], first[HTML_TEXT_MAX], last[HTML_TEXT_MAX];

    if (!page->has_files) {
        fputs("<p>No audit file was read (audit.file is empty): the figures are those of the "
              "database, which keeps no records of deliveries.</p>\n",
              page->stream);
        return;
    }
    fprintf(page->stream,
            "<p><span data-key=\"lines\" data-value=\"%" PRIu64 "\">%s</span> record%s read",
            check->lines, html_number(check->lines, lines), cli_plural(check->lines));
    if (check->first_seq > 0)
        fprintf(page->stream, ", number %s to %s", html_number(check->first_seq, first),
                html_number(check->last_seq, last));
    fprintf(page->stream,
            ", and %s change%s by operators. All of the files was verified, whatever "
            "the period of the charts:</p>\n<ul>",
            html_number(check->admin, lines), cli_plural(check->admin));
    for (int i = 0; i < page->file_count && i < PAGE_ROWS_MAX; i++) {
        fputs("<li><code><bdi>", page->stream);
        html_format(page->stream, "%s",
                    strcmp(page->files[i], "-") == 0 ? "standard input" : page->files[i]);
        fputs("</bdi></code></li>", page->stream);
    }
    if (page->file_count > PAGE_ROWS_MAX)
        fprintf(page->stream, "<li>and %d more</li>", page->file_count - PAGE_ROWS_MAX);
    fputs("</ul>\n", page->stream);
    if (check->open.torn) {
        char text[AUDIT_TEXT_MAX];

        fputs("<p class=\"note\">How the last file ends: ", page->stream);
        html_text(page->stream, audit_describe_end(check, text));
        fputs(".</p>\n", page->stream);
    }
}

void page_put_proof(const struct page *page)
{
    char sentence[PAGE_SENTENCE_MAX];
    enum page_verdict verdict = page_judge(page, sentence);

    fprintf(page->stream,
            "<section id=\"proof\"><h2>Ledger and proof</h2>\n<p><strong>%s.</strong> ",
            page_verdict_word(verdict));
    html_text(page->stream, sentence);
    fputs("</p>\n", page->stream);
    if (page->has_database)
        put_ledger(page);
    if (page->has_files)
        put_compared(page);
    put_files(page);
    fputs(
        "<p class=\"note\">To verify it again: <code>mqtt-spool audit</code>.</p></section>\n",
        page->stream);
}
