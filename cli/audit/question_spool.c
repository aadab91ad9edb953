/* SPDX-License-Identifier: MIT */
/*
 * question_spool.c - what the database has for a question: messages that are spooled, and
 * outcomes that the files lack
 */
#include "cli/audit/check.h"

#include "base/json.h"
#include "base/view.h"
#include "cli/audit/question.h"
#include "cli/cli.h"
#include "daemon/record/outcome.h"
#include "store/spool.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

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
