/* SPDX-License-Identifier: MIT */
/*
 * test_report_verdict.c - tests of the one sentence of a report: it claims what was compared,
 * and no more
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "cli/audit/check.h"
#include "cli/report/page.h"
#include "store/spool.h"

static struct audit_check check;
static struct page page;
static char sentence[PAGE_SENTENCE_MAX];

static int setup(void **state)
{
    (void)state;
    memset(&check, 0, sizeof(check));
    page = (struct page){.check = &check, .has_files = true, .has_database = true};
    check.lines = 12;
    check.first_seq = 1;
    check.last_seq = 12;
    check.database.compared = true;
    check.database.counts_compared = true;
    page.ledger = (struct spool_ledger){.accepted = 12345, .spooled = 45};
    page.ledger.ended[SPOOL_DELIVERED] = 12000;
    page.ledger.ended[SPOOL_EVICTED] = 200;
    page.ledger.ended[SPOOL_REJECTED] = 100;
    return 0;
}

static void expect(enum page_verdict verdict, const char *part)
{
    assert_int_equal(page_judge(&page, sentence), verdict);
    if (!strstr(sentence, part))
        fail_msg("no \"%s\" in \"%s\"", part, sentence);
}

static void a_whole_history_is_named_with_its_sums(void **state)
{
    (void)state;
    expect(PAGE_SOUND, "Every one of 12,345 accepted messages was delivered or is explained: "
                       "12,000 delivered, 300 not delivered with a recorded reason, 45 still "
                       "waiting.");
}

static void none_and_one_have_their_own_words(void **state)
{
    (void)state;
    page.ledger = (struct spool_ledger){.accepted = 1, .spooled = 1};
    expect(PAGE_SOUND, "The one message that was accepted was delivered or is explained");
    page.ledger = (struct spool_ledger){0};
    expect(PAGE_SOUND, "No message has been accepted yet.");
}

static void a_problem_outranks_everything(void **state)
{
    (void)state;
    check.problem_count = 1;
    expect(PAGE_NOT_SOUND, "1 problem: the records do not prove");
    page.has_files = false;
    expect(PAGE_NOT_SOUND, "1 problem:");
    assert_string_equal(page_verdict_word(PAGE_NOT_SOUND), "NOT SOUND");
}

static void part_of_a_history_claims_no_more(void **state)
{
    (void)state;
    check.database.counts_compared = false;
    check.first_seq = 5;
    expect(PAGE_SOUND, "Every record from number 5 to 12 is here");
    expect(PAGE_SOUND, "Earlier records are not in the files given.");
    check.database.compared = false;
    expect(PAGE_SOUND, "No database was compared.");
    check.lines = 0;
    expect(PAGE_SOUND, "No outcome is recorded in these files.");
}

static void without_files_nothing_is_proved(void **state)
{
    (void)state;
    page.has_files = false;
    expect(PAGE_UNPROVED, "There is no audit file");
    expect(PAGE_UNPROVED, "12,345");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_whole_history_is_named_with_its_sums, setup),
        cmocka_unit_test_setup(none_and_one_have_their_own_words, setup),
        cmocka_unit_test_setup(a_problem_outranks_everything, setup),
        cmocka_unit_test_setup(part_of_a_history_claims_no_more, setup),
        cmocka_unit_test_setup(without_files_nothing_is_proved, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
