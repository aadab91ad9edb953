/* SPDX-License-Identifier: MIT */
/*
 * row.c - a row of a message as the message that it holds
 *
 * Whatever leaves the store as a message was read here, from the columns that TABLE_SCAN and
 * TABLE_FETCH return, or STMT_KEPT_FETCH; so each caller learns whether the row is what was
 * stored.
 */
#include "store/row.h"

#include "base/view.h"
#include "store/spool-private.h"
#include "store/sum.h"

/* 0: an earlier schema did not number it. @behind: the column. */
static uint64_t number_of_row(const struct stmt *stmt, int behind, uint64_t id)
{
    return stmt_is_null(stmt, behind) ? 0 : id - (uint64_t)stmt_int(stmt, behind);
}

/* Most rows have neither properties nor ref. */
static struct view optional_bytes(const struct stmt *stmt, int column)
{
    return stmt_is_null(stmt, column) ? view_of(NULL, 0) : stmt_bytes(stmt, column);
}

uint32_t row_sum(const struct spool_message *message, int64_t key, int64_t uid, int64_t flags)
{
    const struct sum_facts facts = {
        .key = key,
        .accepted = message->accepted_ms,
        .uid = uid,
        .flags = flags,
        .number = message->number,
        .client = message->client,
        .topic = message->topic,
        .properties = message->properties,
        .ref = message->ref,
        .payload = message->payload,
    };
    return sum_of(&facts);
}

static bool row_is_sound(const struct stmt *stmt,
                         int sum_column,
                         int64_t key,
                         int64_t uid,
                         int64_t flags,
                         const struct spool_message *message)
{
    int64_t sum = stmt_int(stmt, sum_column);
    if (sum == 0 && stmt_is_null(stmt, sum_column))
        return true;
    return sum == (int64_t)row_sum(message, key, uid, flags);
}

/* Nearly all columns once: SQLite decodes a value at each call. */
bool row_read(const struct spool *spool,
              const struct stmt *stmt,
              const struct lane *lane,
              int64_t clock_ms,
              struct spool_message *ret)
{
    int64_t key = stmt_int(stmt, MESSAGE_KEY);
    int64_t flags = stmt_int(stmt, MESSAGE_FLAGS);
    int64_t uid = stmt_int(stmt, MESSAGE_UID); /* for the sum all of it */
    uint64_t id = (uint64_t)key & SPOOL_ID_MAX;
    *ret = (struct spool_message){
        .id = id,
        .number = number_of_row(stmt, MESSAGE_BEHIND, id),
        .lane = lane->index,
        .lane_name = lane->name,
        .uid = (uint32_t)uid,
        .qos = (uint8_t)(flags & FLAGS_QOS),
        .retain = (flags & FLAGS_RETAIN) != 0,
        .expiry_ms = stmt_is_null(stmt, MESSAGE_EXPIRES_AT)
                         ? SPOOL_NO_EXPIRY
                         : stmt_int(stmt, MESSAGE_EXPIRES_AT) - clock_ms,
        .client = stmt_bytes(stmt, MESSAGE_CLIENT),
        .topic = stmt_bytes(stmt, MESSAGE_TOPIC),
        .properties = optional_bytes(stmt, MESSAGE_PROPERTIES),
        .ref = optional_bytes(stmt, MESSAGE_REF),
        .payload = stmt_bytes(stmt, MESSAGE_PAYLOAD),
        .accepted_ms = stmt_int(stmt, MESSAGE_ACCEPTED),
        .closings = suspects_closings(&spool->suspects, key),
    };
    return row_is_sound(stmt, MESSAGE_SUM, key, uid, flags, ret);
}

bool row_read_kept(const struct spool *spool,
                   const struct stmt *stmt,
                   int64_t clock_ms,
                   struct spool_selected *ret)
{
    int64_t key = stmt_int(stmt, KEPT_KEY);
    int64_t flags = stmt_int(stmt, KEPT_FLAGS);
    int64_t uid = stmt_int(stmt, KEPT_UID); /* as above */
    uint64_t id = (uint64_t)key & SPOOL_ID_MAX;
    const struct lane *lane = lane_set_find_number(&spool->lanes, key >> SPOOL_ID_BITS);
    int64_t since_end_ms = row_not_negative(clock_ms - stmt_int(stmt, KEPT_ENDED_AT));

    *ret = (struct spool_selected){
        .state = SPOOL_KEPT,
        .age_ms = stmt_int(stmt, KEPT_AGE),
        .seq = (uint64_t)stmt_int(stmt, KEPT_SEQ),
        .ended_ms = stmt_int(stmt, KEPT_TIME),
        .reason = (enum spool_reason)stmt_int(stmt, KEPT_REASON),
        .code = stmt_is_null(stmt, KEPT_CODE) ? SPOOL_NO_CODE : (int)stmt_int(stmt, KEPT_CODE),
        .message = {
            .id = id,
            .number = number_of_row(stmt, KEPT_BEHIND, id),
            .lane = lane ? lane->index : 0,
            .lane_name = lane ? lane->name : "",
            .uid = (uint32_t)uid,
            .qos = (uint8_t)(flags & FLAGS_QOS),
            .retain = (flags & FLAGS_RETAIN) != 0,
            .expiry_ms = stmt_is_null(stmt, KEPT_EXPIRY)
                             ? SPOOL_NO_EXPIRY
                             : row_not_negative(stmt_int(stmt, KEPT_EXPIRY) - since_end_ms),
            .client = stmt_bytes(stmt, KEPT_CLIENT),
            .topic = stmt_bytes(stmt, KEPT_TOPIC),
            .properties = optional_bytes(stmt, KEPT_PROPERTIES),
            .ref = optional_bytes(stmt, KEPT_REF),
            .payload = stmt_bytes(stmt, KEPT_PAYLOAD),
            .accepted_ms = stmt_int(stmt, KEPT_ACCEPTED),
            .attempts = (uint32_t)stmt_int(stmt, KEPT_ATTEMPTS),
        }};
    return row_is_sound(stmt, KEPT_SUM, key, uid, flags, &ret->message);
}
