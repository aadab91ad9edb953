/* SPDX-License-Identifier: MIT */
/*
 * verdict.c - the one sentence of a report: is every message delivered or explained?
 *
 * It claims no more than what was compared: with the ledger if the files go back to the first
 * message and the database was read, else the records alone.
 */
#include "cli/report/page.h"

#include "base/text.h"
#include "cli/audit/check.h"
#include "cli/cli.h"
#include "cli/report/html.h"
#include "store/spool.h"

const char *page_verdict_word(enum page_verdict verdict)
{
    static const char *const words[] = {
        [PAGE_SOUND] = "SOUND",
        [PAGE_NOT_SOUND] = "NOT SOUND",
        [PAGE_UNPROVED] = "NOT PROVED",
    };

    return words[verdict];
}

static uint64_t ledger_failed(const struct spool_ledger *ledger)
{
    uint64_t failed = 0;

    for (unsigned i = 0; i < SPOOL_OUTCOMES; i++)
        failed += i == SPOOL_DELIVERED ? 0 : ledger->ended[i];
    return failed;
}

/* "12 were delivered, 3 ended otherwise, 1 waits" */
static void describe_ledger(const struct spool_ledger *ledger,
                            char text[static PAGE_SENTENCE_MAX])
{
    char delivered[HTML_TEXT_MAX], failed[HTML_TEXT_MAX], waiting[HTML_TEXT_MAX];

    text_format(text, PAGE_SENTENCE_MAX,
                "%s delivered, %s not delivered with a recorded reason, "
                "%s still waiting",
                html_number(ledger->ended[SPOOL_DELIVERED], delivered),
                html_number(ledger_failed(ledger), failed),
                html_number(ledger->spooled, waiting));
}

static void judge_whole(const struct page *page, char sentence[static PAGE_SENTENCE_MAX])
{
    char terms[PAGE_SENTENCE_MAX], accepted[HTML_TEXT_MAX];

    describe_ledger(&page->ledger, terms);
    if (page->ledger.accepted == 0)
        text_format(sentence, PAGE_SENTENCE_MAX, "No message has been accepted yet.");
    else if (page->ledger.accepted == 1)
        text_format(sentence, PAGE_SENTENCE_MAX,
                    "The one message that was accepted was delivered or is explained: %s.",
                    terms);
    else
        text_format(sentence, PAGE_SENTENCE_MAX,
                    "Every one of %s accepted messages was delivered or is explained: %s.",
                    html_number(page->ledger.accepted, accepted), terms);
}

static void judge_part(const struct page *page, char sentence[static PAGE_SENTENCE_MAX])
{
    const struct audit_check *check = page->check;
    char first[HTML_TEXT_MAX], last[HTML_TEXT_MAX];

    if (check->lines == 0) {
        text_format(sentence, PAGE_SENTENCE_MAX, "No outcome is recorded in these files.");
        return;
    }
    text_format(sentence, PAGE_SENTENCE_MAX,
                "Every record from number %s to %s is here, and no message ended twice",
                html_number(check->first_seq, first), html_number(check->last_seq, last));
    if (!check->database.compared)
        text_append(sentence, PAGE_SENTENCE_MAX, ". No database was compared.");
    else if (check->first_seq > 1)
        text_append(sentence, PAGE_SENTENCE_MAX,
                    "; the ledger of the database balances. Earlier records are not in the "
                    "files given.");
    else
        text_append(sentence, PAGE_SENTENCE_MAX, "; the ledger of the database balances.");
}

static void judge_without_files(const struct page *page,
                                char sentence[static PAGE_SENTENCE_MAX])
{
    char terms[PAGE_SENTENCE_MAX], accepted[HTML_TEXT_MAX];

    if (page->ledger.accepted == 0) {
        text_format(sentence, PAGE_SENTENCE_MAX, "No message has been accepted yet.");
        return;
    }
    describe_ledger(&page->ledger, terms);
    text_format(
        sentence, PAGE_SENTENCE_MAX,
        "There is no audit file, so nothing proves it record by record; the ledger has %s "
        "accepted: %s.",
        html_number(page->ledger.accepted, accepted), terms);
}

enum page_verdict page_judge(const struct page *page,
                             char ret_sentence[static PAGE_SENTENCE_MAX])
{
    uint64_t problems = page->check->problem_count;
    char number[HTML_TEXT_MAX];

    if (problems > 0) {
        text_format(ret_sentence, PAGE_SENTENCE_MAX,
                    "%s problem%s: the records do not prove what became of every message.",
                    html_number(problems, number), cli_plural(problems));
        return PAGE_NOT_SOUND;
    }
    if (!page->has_files) {
        judge_without_files(page, ret_sentence);
        return PAGE_UNPROVED;
    }
    if (page->check->database.counts_compared)
        judge_whole(page, ret_sentence);
    else
        judge_part(page, ret_sentence);
    return PAGE_SOUND;
}
