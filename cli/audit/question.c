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
#include "base/json.h"
#include "base/view.h"
#include "cli/audit/question.h"
#include "cli/cli.h"
#include "daemon/mqtt/packet.h"
#include "daemon/record/outcome.h"
#include "store/spool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
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

/* What the options compare. */
struct question_subject {
    uint64_t id;
    int64_t accepted_ms;
    struct view client;
    struct view topic;
    struct view ref;
};

static bool question_matches(const struct question *question,
                             const struct question_subject *subject)
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

static void
question_add_life(struct question *question, json_t *record, const char *file, uint64_t line)
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

/* ---- the database ---- */

static int question_take_row(void *userdata, const struct spool_record *record)
{
    struct question *question = userdata;
    const struct question_subject subject = {
        .id = record->id,
        .accepted_ms = record->accepted_ms,
        .client = view_of_text(record->client),
        .topic = view_of_text(record->topic),
        .ref = view_of_text(record->ref ? record->ref : ""),
    };
    char *memory;
    struct json json;

    if (!question_matches(question, &subject))
        return 0;
    question->ended[record->outcome]++;
    if (!question->wants_lives)
        return 0;
    memory = malloc(RECORD_LINE_MAX);
    if (!memory)
        return -ENOMEM;
    json_init(&json, memory, RECORD_LINE_MAX);
    record_write(&json, record);
    json_t *object = json_loadb(memory, json_used(&json), 0, NULL);
    free(memory);
    if (!object)
        return -ENOMEM;
    question_add_life(question, object, NULL, 0);
    json_decref(object);
    return 0;
}

static void question_take_message(struct question *question,
                                  const struct spool_selected *selected,
                                  enum spool_place place)
{
    const struct spool_message *message = &selected->message;
    const struct question_subject subject = {
        .id = message->id,
        .accepted_ms = message->accepted_ms,
        .client = message->client,
        .topic = message->topic,
        .ref = message->ref,
    };

    if (!question_matches(question, &subject))
        return;
    if (place == SPOOL_PLACE_KEPT) {
        question->kept++;
        return;
    }
    if (question->spooled++ == 0 || message->accepted_ms < question->first_spooled_ms)
        question->first_spooled_ms = message->accepted_ms;
}

static int question_walk(struct question *question, struct spool *spool, enum spool_place place)
{
    const struct spool_selection selection = {
        .ids = question->id != 0 ? &question->id : NULL,
        .id_count = question->id != 0,
    };
    struct spool_time now = cli_now();
    struct spool_selected selected;
    struct spool_select *select;
    int r = spool_select_new(spool, place, &selection, &select);

    if (r != 0)
        return r;
    do {
        r = spool_select_next(select, &now, false, &selected);
        if (r == 0)
            question_take_message(question, &selected, place);
    } while (r == 0 || r == SPOOL_E_AGAIN);
    spool_select_free(select);
    return r == SPOOL_E_EMPTY ? 0 : r;
}

static void question_forget_rows(void *userdata)
{
    struct question *found = userdata;

    audit_free_question(found);
    memset(found->ended, 0, sizeof(found->ended));
    found->life_count = 0;
}

/* What was found in rows, which has the same options. */
static void question_add(struct question *question, struct question *found)
{
    for (unsigned i = 0; i < SPOOL_OUTCOMES; i++)
        question->ended[i] += found->ended[i];
    for (uint64_t i = 0; i < found->life_count && i < QUESTION_LIVES_MAX; i++)
        question_add_life(question, found->lives[i].record, NULL, 0);
    if (found->life_count > QUESTION_LIVES_MAX)
        question->life_count += found->life_count - QUESTION_LIVES_MAX;
}

/* Messages that ended and are not in the files. */
static int question_walk_rows(struct audit_check *check, struct spool *spool)
{
    struct question found = check->question;
    const struct audit_walk walk = {
        .begin = question_forget_rows, .take = question_take_row, .userdata = &found};
    struct spool_ledger ledger;
    struct audit_rows rows;
    int code, result = spool_get_ledger(spool, &ledger);

    if (result != 0)
        return cli_report_read_error(spool, result);
    found.life_count = 0; /* those are of the files */
    code = audit_walk_rows(check, spool, spool_last_seq(spool), &walk, &rows);
    if (code == EX_OK)
        question_add(&check->question, &found);
    question_forget_rows(&found);
    return code;
}

int audit_ask_spool(struct audit_check *check, const char *directory)
{
    AUTO_SPOOL struct spool *spool = NULL;
    struct question *question = &check->question;
    int code = cli_open_spool(directory, &spool);

    if (code != EX_OK)
        return code;
    /* First what is spooled: what ends meanwhile is counted twice rather than not at all. */
    int r = question_walk(question, spool, SPOOL_PLACE_SPOOLED);
    if (r == 0)
        r = question_walk(question, spool, SPOOL_PLACE_KEPT);
    if (r > 0) {
        cli_error("the spool in %s cannot be looked through now; try again", directory);
        return EX_TEMPFAIL;
    }
    if (r < 0)
        return cli_report_read_error(spool, r);
    question->is_spool_known = true;
    return question_walk_rows(check, spool);
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
