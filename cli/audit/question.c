/* SPDX-License-Identifier: MIT */
/*
 * question.c - was every message that was accepted delivered, or is it explained?
 *
 * Messages that ended have a record: in the files, or in the database, if it was not
 * written yet. Those that have not ended are spooled. A message has one record only, so
 * the sums are those of messages.
 */
#include "cli/audit/check.h"

#include "base/clock.h"
#include "base/view.h"
#include "cli/audit/question.h"
#include "cli/cli.h"
#include "daemon/mqtt/packet.h"
#include "store/spool.h"

#include <sysexits.h>

int audit_prepare_question(struct question *question)
{
    int code;

    question->since_ms = INT64_MIN;
    question->until_ms = INT64_MAX;
    question->is_asked = question->since || question->until || question->client ||
                         question->topic || question->ref || question->id != 0;
    question->wants_lives = question->ref || question->id != 0;
    code = cli_parse_moment("audit", "since", question->since, &question->since_ms);
    if (code == CLI_CONTINUE)
        code = cli_parse_moment("audit", "until", question->until, &question->until_ms);
    if (code == CLI_CONTINUE && question->since_ms >= question->until_ms)
        code = cli_usage("audit", "--since is not before --until");
    if (code == CLI_CONTINUE && question->topic &&
        !packet_filter_is_valid(view_of_text(question->topic)))
        code = cli_usage("audit", "--topic %s is no topic filter", question->topic);
    return code;
}

void audit_free_question(struct question *question)
{
    for (uint64_t i = 0; i < question->life_count && i < QUESTION_LIVES_MAX; i++)
        json_decref(question->lives[i].record);
}

/* ---- what it is about ---- */

bool question_matches(const struct question *question, const struct question_subject *subject)
{
    return (question->id == 0 || subject->id == question->id) &&
           subject->accepted_ms >= question->since_ms &&
           subject->accepted_ms < question->until_ms &&
           (!question->client || view_is(subject->client, question->client)) &&
           (!question->ref || view_is(subject->ref, question->ref)) &&
           (!question->topic || packet_topic_matches(question->topic, subject->topic));
}

static struct view question_text(const json_t *record, const char *name)
{
    const json_t *value = json_object_get(record, name);

    return view_of(json_string_value(value), json_string_length(value));
}

static bool question_is_about(const struct question *question, const json_t *record)
{
    const json_t *accepted = json_object_get(record, "accepted");
    struct question_subject subject = {
        .id = (uint64_t)json_integer_value(json_object_get(record, "id")),
        .client = question_text(record, "client"),
        .topic = question_text(record, "topic"),
        .ref = question_text(record, "ref"),
    };

    return json_is_string(accepted) &&
           clock_parse(json_string_value(accepted), &subject.accepted_ms) &&
           question_matches(question, &subject);
}

void question_add_life(struct question *question,
                       json_t *record,
                       const char *file,
                       uint64_t line)
{
    if (question->wants_lives && question->life_count++ < QUESTION_LIVES_MAX)
        question->lives[question->life_count - 1] =
            (struct question_life){.record = json_incref(record), .file = file, .line = line};
}

static void question_count(struct question *question, const json_t *record)
{
    const char *text = json_string_value(json_object_get(record, "outcome"));
    enum spool_outcome outcome;

    if (text && spool_outcome_parse(text, &outcome))
        question->ended[outcome]++;
}

void audit_ask_record(struct audit_check *check, json_t *record)
{
    struct question *question = &check->question;
    bool is_requeued =
        question->id != 0 &&
        (uint64_t)json_integer_value(json_object_get(record, "requeued_from")) == question->id;

    if (!question->is_asked)
        return;
    if (question_is_about(question, record)) {
        question_count(question, record);
        question_add_life(question, record, check->file, check->line);
    } else if (is_requeued) {
        question_add_life(question, record, check->file, check->line);
    }
}

/* ---- the answer ---- */

enum question_verdict audit_answer(const struct audit_check *check)
{
    const struct question *question = &check->question;

    if (check->problem_count > 0)
        return QUESTION_UNSOUND;
    if (question->spooled > 0)
        return QUESTION_SPOOLED;
    if (question->wants_lives && question->life_count == 0)
        return QUESTION_NOT_FOUND;
    return QUESTION_ALL;
}

int audit_answer_code(const struct audit_check *check)
{
    switch (audit_answer(check)) {
    case QUESTION_SPOOLED:
        return EX_TEMPFAIL;
    case QUESTION_UNSOUND:
    case QUESTION_NOT_FOUND:
        return EX_DATAERR;
    case QUESTION_ALL:
    default:
        return EX_OK;
    }
}
