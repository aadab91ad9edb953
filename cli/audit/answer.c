/* SPDX-License-Identifier: MIT */
/*
 * answer.c - the answer to a question about accepted messages: one sentence, and lives
 */
#include "cli/audit/check.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/audit/question.h"
#include "cli/cli.h"
#include "store/spool.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MAX 1024
/* The question: a "yes" alone reads as "delivered". */
#define EACH "each is delivered or explained: "

static uint64_t answer_ended(const struct question *question)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < SPOOL_OUTCOMES; i++)
        sum += question->ended[i];
    return sum;
}

/* "400 were delivered, 2 were NOT delivered and have their records (1 evicted, 1 rejected)" */
static void answer_append_ended(const struct question *question, char text[static ANSWER_MAX])
{
    uint64_t explained = answer_ended(question) - question->ended[SPOOL_DELIVERED];
    const char *before = " (";

    text_append(text, ANSWER_MAX, "%" PRIu64 " %s delivered", question->ended[SPOOL_DELIVERED],
                cli_counted(question->ended[SPOOL_DELIVERED], "was", "were"));
    if (explained == 0)
        return;
    text_append(text, ANSWER_MAX, ", %" PRIu64 " %s", explained,
                cli_counted(explained, "was NOT delivered and has its record",
                            "were NOT delivered and have their records"));
    for (unsigned i = 0; i < SPOOL_OUTCOMES; i++) {
        if (i == SPOOL_DELIVERED || question->ended[i] == 0)
            continue;
        text_append(text, ANSWER_MAX, "%s%" PRIu64 " %s", before, question->ended[i],
                    spool_outcome_name((enum spool_outcome)i));
        before = ", ";
    }
    text_append(text, ANSWER_MAX, ")");
}

static void answer_append_reach(const struct audit_check *check, char text[static ANSWER_MAX])
{
    if (!check->question.is_spool_known)
        text_append(text, ANSWER_MAX,
                    "; whether others are still spooled is not known without the database "
                    "(--directory or -c)");
    if (check->pruned > 0)
        text_append(text, ANSWER_MAX,
                    "; %" PRIu64 " %s of the files %s no record of their own "
                    "(audit.max_waiting)",
                    check->pruned, cli_counted(check->pruned, "delivery", "deliveries"),
                    cli_counted(check->pruned, "has", "have"));
    if (check->deliveries_omitted)
        text_append(text, ANSWER_MAX, "; deliveries have no record (audit.deliveries)");
}

/* Messages of that time may have ended before the first line of the files. One that was asked
 * for by its id or ref was found. */
static bool answer_is_cut(const struct audit_check *check)
{
    return check->first_seq > 1 && !check->question.wants_lives &&
           check->question.since_ms < check->first_ms;
}

static void
answer_append_yes(const struct audit_check *check, uint64_t all, char text[static ANSWER_MAX])
{
    char first[CLOCK_TEXT_MAX];

    if (answer_is_cut(check)) {
        clock_format(check->first_ms, first);
        text_append(text, ANSWER_MAX, "as far as the files go back (seq %" PRIu64 ", %s), ",
                    check->first_seq, first);
    }
    if (all == 0)
        text_append(text, ANSWER_MAX,
                    "no message was accepted that fits: there is nothing to answer for (is the "
                    "filter right?)");
    else
        text_append(text, ANSWER_MAX, EACH "yes; of %" PRIu64 " accepted, ", all);
}

static void answer_compose(const struct audit_check *check, char text[static ANSWER_MAX])
{
    const struct question *question = &check->question;
    uint64_t all = answer_ended(question) + question->spooled;
    char first[CLOCK_TEXT_MAX];

    text[0] = '\0';
    switch (audit_answer(check)) {
    case QUESTION_UNSOUND:
        text_append(text, ANSWER_MAX, EACH "not certain, because the files are not sound; ");
        break;
    case QUESTION_NOT_FOUND:
        text_append(text, ANSWER_MAX, "there is no such message in the files%s; the files ",
                    question->is_spool_known ? ", nor in the spool" : "");
        if (check->first_seq > 0)
            text_append(text, ANSWER_MAX, "begin with seq %" PRIu64, check->first_seq);
        else
            text_append(text, ANSWER_MAX, "have no record");
        return;
    case QUESTION_SPOOLED:
        clock_format(question->first_spooled_ms, first);
        text_append(text, ANSWER_MAX,
                    EACH "not yet; of %" PRIu64 " accepted, %" PRIu64
                         " %s still spooled (the oldest since %s), ",
                    all, question->spooled, question->spooled == 1 ? "is" : "are", first);
        break;
    case QUESTION_ALL:
    default:
        answer_append_yes(check, all, text);
        if (all == 0) {
            answer_append_reach(check, text);
            return;
        }
    }
    answer_append_ended(question, text);
    answer_append_reach(check, text);
}

/* ---- one message ---- */

static const char *life_text(const json_t *record, const char *name)
{
    const char *text = json_string_value(json_object_get(record, name));

    return text ? text : "?";
}

static json_int_t life_number(const json_t *record, const char *name)
{
    return json_integer_value(json_object_get(record, name));
}

static void print_accepted(const json_t *record)
{
    const json_t *uid = json_object_get(record, "uid");

    fputs("          accepted  ", stdout);
    text_put(stdout, life_text(record, "accepted"));
    fputs(" from ", stdout);
    text_put(stdout, life_text(record, "client"));
    if (json_is_integer(uid))
        printf(" (user %" JSON_INTEGER_FORMAT ")", json_integer_value(uid));
    fputs(", topic ", stdout);
    text_put(stdout, life_text(record, "topic"));
    printf(", QoS %" JSON_INTEGER_FORMAT ", %" JSON_INTEGER_FORMAT " byte%s, lane ",
           life_number(record, "qos"), life_number(record, "bytes"),
           cli_plural((uint64_t)life_number(record, "bytes")));
    text_put(stdout, life_text(record, "lane"));
    if (json_object_get(record, "ref")) {
        fputs(", ref ", stdout);
        text_put(stdout, life_text(record, "ref"));
    }
    if (json_object_get(record, "requeued_from"))
        printf(", requeued from %" JSON_INTEGER_FORMAT, life_number(record, "requeued_from"));
    puts("");
}

static void print_ended(const struct question_life *life)
{
    const json_t *record = life->record;
    json_int_t attempts = life_number(record, "attempts");

    fputs("          ended     ", stdout);
    text_put(stdout, life_text(record, "time"));
    putchar(' ');
    text_put(stdout, life_text(record, "outcome"));
    if (json_object_get(record, "reason")) {
        fputs(": ", stdout);
        text_put(stdout, life_text(record, "reason"));
    }
    if (json_object_get(record, "code"))
        printf(" 0x%02X", (unsigned)life_number(record, "code"));
    printf(", after %" JSON_INTEGER_FORMAT " ms and %" JSON_INTEGER_FORMAT " attempt%s\n",
           life_number(record, "age_ms"), attempts, cli_plural((uint64_t)attempts));
    printf("          record    seq %" JSON_INTEGER_FORMAT ", ", life_number(record, "seq"));
    if (!life->file) {
        puts("in the database, not yet in the file");
        return;
    }
    text_put(stdout, life->file);
    printf(":%" PRIu64 "\n", life->line);
}

void audit_print_answer(const struct audit_check *check)
{
    const struct question *question = &check->question;
    char text[ANSWER_MAX];

    if (!question->is_asked)
        return;
    for (uint64_t i = 0; i < question->life_count && i < QUESTION_LIVES_MAX; i++) {
        const struct question_life *life = &question->lives[i];

        printf("message   %" JSON_INTEGER_FORMAT "\n", life_number(life->record, "id"));
        print_accepted(life->record);
        print_ended(life);
    }
    if (question->life_count > QUESTION_LIVES_MAX)
        printf("          and %" PRIu64 " more record%s\n",
               question->life_count - QUESTION_LIVES_MAX,
               cli_plural(question->life_count - QUESTION_LIVES_MAX));
    if (question->wants_lives && question->kept > 0)
        puts("          its payload is kept aside: mqtt-spool requeue sends it again");
    answer_compose(check, text);
    printf("answer    %s\n", text);
}

/* ---- JSON ---- */

static const char *const answer_words[] = {
    [QUESTION_ALL] = "all",
    [QUESTION_SPOOLED] = "spooled",
    [QUESTION_NOT_FOUND] = "not_found",
    [QUESTION_UNSOUND] = "unsound",
};

static void write_life(struct json *json, const struct question_life *life)
{
    char *record = json_dumps(life->record, JSON_COMPACT);

    json_open_object(json, NULL);
    if (life->file) {
        json_text(json, "file", life->file);
        json_unsigned(json, "line", life->line);
    }
    if (record) {
        json_raw(json, life->file ? ",\"record\":" : "\"record\":");
        json_verbatim(json, record);
    }
    json_close_object(json);
    free(record);
}

void audit_write_answer(struct json *json, const struct audit_check *check)
{
    const struct question *question = &check->question;
    char text[ANSWER_MAX];

    if (!question->is_asked)
        return;
    answer_compose(check, text);
    json_open_object(json, "answer");
    json_text(json, "verdict", answer_words[audit_answer(check)]);
    json_text(json, "text", text);
    for (unsigned i = 0; i < SPOOL_OUTCOMES; i++)
        json_unsigned(json, spool_outcome_name((enum spool_outcome)i), question->ended[i]);
    if (question->is_spool_known) {
        json_unsigned(json, "spooled", question->spooled);
        json_unsigned(json, "kept_aside", question->kept);
    } else {
        json_null_value(json, "spooled");
        json_null_value(json, "kept_aside");
    }
    if (question->wants_lives) {
        json_open_array(json, "messages");
        for (uint64_t i = 0; i < question->life_count && i < QUESTION_LIVES_MAX; i++)
            write_life(json, &question->lives[i]);
        json_close_array(json);
    }
    json_close_object(json);
}
