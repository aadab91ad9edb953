/* SPDX-License-Identifier: MIT */
/*
 * test_verdict.c - what follows from an answer, and that docs/answers.md shows the same
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "daemon/gateway/verdict.h"
#include "daemon/mqtt/packet.h"
#include "daemon/uplink/settings.h"
#include "daemon/uplink/uplink.h"

static const char *const answers[VERDICT_ANSWERS] = {
    [VERDICT_ACCEPTED] = "accepted",
    [VERDICT_REFUSED] = "refused",
    [VERDICT_BUSY] = "busy",
    [VERDICT_CLOSED_AT] = "closed at it",
    [VERDICT_UNANSWERED] = "unanswered",
};
static const char *const policies[VERDICT_POLICIES] = {
    [VERDICT_HOLD] = "hold",
    [VERDICT_HOLD_DOUBT] = "hold, in doubt",
    [VERDICT_HOLD_REFUSED] = "hold, refused",
    [VERDICT_REJECT] = "reject",
    [VERDICT_REJECT_REFUSED] = "reject, refused",
};
static const char *const messages[] = {
    [VERDICT_ENDS_DELIVERED] = "ends: delivered",
    [VERDICT_ENDS_REJECTED] = "ends: rejected",
    [VERDICT_WAITS_ITS_BACKOFF] = "waits its own backoff",
    [VERDICT_WAITS_FOR_PROOF] = "waits its own backoff, then ends: rejected",
    [VERDICT_WAITS_FOR_LINK] = "waits for the link",
    [VERDICT_IS_SENT_AGAIN] = "is sent again",
};
static const char *const links[] = {
    [VERDICT_LINK_OPENS] = "opens",         [VERDICT_LINK_COUNTS] = "counts",
    [VERDICT_LINK_SUSPECTS] = "suspects",   [VERDICT_LINK_RESUMES] = "is no longer refused",
    [VERDICT_LINK_CONTINUES] = "continues",
};

static void the_page_shows_the_table(void **state)
{
    static char page[1 << 16];
    FILE *file = fopen(SPOOLD_SOURCE "/docs/answers.md", "r");
    unsigned rows = 0;

    (void)state;
    assert_non_null(file);
    page[fread(page, 1, sizeof(page) - 1, file)] = '\0';
    (void)fclose(file);
    for (unsigned i = 0; i < VERDICT_ANSWERS; i++) {
        for (unsigned j = 0; j < VERDICT_POLICIES; j++) {
            struct verdict verdict = verdict_of((enum verdict_answer)i, (enum verdict_policy)j);
            char row[256];
            (void)snprintf(row, sizeof(row), "\n| %s | %s | %s | %s | ", answers[i],
                           policies[j], messages[verdict.message], links[verdict.link]);
            if (!strstr(page, row))
                print_error("docs/answers.md lacks: %s\n", row + 1);
            assert_non_null(strstr(page, row));
        }
    }
    for (const char *at = page; (at = strstr(at, "\n| ")) != NULL; at++)
        rows++;
    assert_int_equal(rows, (int)VERDICT_ANSWERS * (int)VERDICT_POLICIES + 1); /* and its head */
}

static enum verdict_answer answer_of(enum uplink_answer_kind kind, int code)
{
    const struct uplink_answer answer = {.kind = kind, .code = code, .text = ""};

    return verdict_answer_of(&answer);
}

static void a_code_says_whether_a_repetition_may_change_it(void **state)
{
    (void)state;
    for (int code = MQTT_FIRST_FAILURE; code <= 0xFF; code++) {
        bool is_permanent = code == 0x87 || code == 0x90 || code == 0x95 || code == 0x99 ||
                            code == 0x9A || code == 0x9B;
        assert_int_equal(answer_of(UPLINK_REFUSED, code),
                         is_permanent ? VERDICT_REFUSED : VERDICT_BUSY);
    }
    assert_int_equal(answer_of(UPLINK_DELIVERED, -1), VERDICT_ACCEPTED);
    assert_int_equal(answer_of(UPLINK_UNKNOWN, -1), VERDICT_UNANSWERED);
}

static void policies_are_the_key_and_the_state(void **state)
{
    const enum uplink_on_refusal hold = UPLINK_ON_REFUSAL_HOLD;
    const enum uplink_on_refusal reject = UPLINK_ON_REFUSAL_REJECT;

    (void)state;
    assert_int_equal(verdict_policy_of(hold, false, false), VERDICT_HOLD);
    assert_int_equal(verdict_policy_of(hold, true, false), VERDICT_HOLD_DOUBT);
    assert_int_equal(verdict_policy_of(hold, true, true), VERDICT_HOLD_REFUSED);
    assert_int_equal(verdict_policy_of(reject, false, false), VERDICT_REJECT);
    assert_int_equal(verdict_policy_of(reject, true, false), VERDICT_REJECT);
    assert_int_equal(verdict_policy_of(reject, true, true), VERDICT_REJECT_REFUSED);
}

/* A broker that refuses everything is not believed, and a lost connection ends nothing. If the
 * operator chose "reject" the message that ends ends the state, too. */
static void nothing_ends_while_the_link_is_refused_but_by_acceptance(void **state)
{
    (void)state;
    for (unsigned i = 0; i < VERDICT_ANSWERS; i++) {
        struct verdict verdict = verdict_of((enum verdict_answer)i, VERDICT_HOLD_REFUSED);
        assert_int_equal(verdict.message == VERDICT_ENDS_DELIVERED, i == VERDICT_ACCEPTED);
        assert_int_not_equal(verdict.message, VERDICT_ENDS_REJECTED);
        verdict = verdict_of((enum verdict_answer)i, VERDICT_REJECT_REFUSED);
        assert_int_equal(verdict.message == VERDICT_ENDS_REJECTED,
                         verdict.link == VERDICT_LINK_RESUMES);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_page_shows_the_table),
        cmocka_unit_test(a_code_says_whether_a_repetition_may_change_it),
        cmocka_unit_test(policies_are_the_key_and_the_state),
        cmocka_unit_test(nothing_ends_while_the_link_is_refused_but_by_acceptance),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
