/* SPDX-License-Identifier: MIT */
/*
 * append.c - takes a message into the open batch
 *
 * Above room.c, because admission may evict. A message that was refused for want
 * of room leaves the batch as it was, unless SQLite rolled all of it back: then
 * the batch is lost.
 */
#include "store/plan.h"
#include "store/row.h"
#include "store/spool-private.h"

#include <assert.h>

bool spool_has_room(const struct spool *spool, unsigned lane_index, uint64_t charge)
{
    assert(lane_index < spool->lanes.configured_count);
    const struct lane *lane = &spool->lanes.all[lane_index];
    const struct spool_limits *limits = &lane->limits;
    if (charge > limits->max_bytes)
        return false;
    if (limits->when_full == SPOOL_EVICT_OLDEST)
        return true;
    return ending_count_ahead(lane) < limits->max_messages &&
           ending_bytes_ahead(lane) + charge <= limits->max_bytes;
}

static int check_room(struct spool *spool,
                      const struct spool_message *message,
                      const struct spool_time *now,
                      uint64_t charge)
{
    if (spool->batch.is_lost)
        return SPOOL_E_DISK;
    if (!spool_has_room(spool, message->lane, charge))
        return spool_fail(spool, SPOOL_E_FULL, "the limit of the lane is reached");
    return room_for(spool, &spool->lanes.all[message->lane], now, charge);
}

static void bind_facts(struct stmt *stmt,
                       struct stmt_numbers *numbers,
                       const struct spool_message *message,
                       const struct plan_entry *entry,
                       int64_t flags)
{
    uint64_t id = (uint64_t)entry->key & SPOOL_ID_MAX;
    stmt_keep_int(stmt, numbers, MESSAGE_ACCEPTED, message->accepted_ms);
    stmt_keep_int(stmt, numbers, MESSAGE_ACCEPTED_AT, entry->accepted_at);
    if (message->expiry_ms >= 0)
        stmt_keep_int(stmt, numbers, MESSAGE_EXPIRES_AT,
                      entry->accepted_at + message->expiry_ms);
    else
        stmt_keep_null(stmt, numbers, MESSAGE_EXPIRES_AT);
    stmt_keep_int(stmt, numbers, MESSAGE_CHARGE, entry->charge);
    stmt_keep_int(stmt, numbers, MESSAGE_UID, message->uid);
    stmt_keep_int(stmt, numbers, MESSAGE_FLAGS, flags);
    stmt_keep_int(stmt, numbers, MESSAGE_BEHIND, (int64_t)(id - message->number));
}

static void bind_message(struct stmt *stmt,
                         struct stmt_numbers *numbers,
                         const struct spool_message *message,
                         const struct plan_entry *entry)
{
    int64_t flags = message->qos | (message->retain ? FLAGS_RETAIN : 0);
    stmt_bind_int(stmt, 1 + MESSAGE_KEY, entry->key);
    bind_facts(stmt, numbers, message, entry, flags);
    stmt_bind_text(stmt, 1 + MESSAGE_CLIENT, message->client);
    stmt_bind_text(stmt, 1 + MESSAGE_TOPIC, message->topic);
    if (message->properties.size > 0) {
        stmt_forget_number(numbers, MESSAGE_PROPERTIES);
        stmt_bind_blob(stmt, 1 + MESSAGE_PROPERTIES, message->properties);
    } else
        stmt_keep_null(stmt, numbers, MESSAGE_PROPERTIES);
    if (message->ref.size > 0) {
        stmt_forget_number(numbers, MESSAGE_REF);
        stmt_bind_text(stmt, 1 + MESSAGE_REF, message->ref);
    } else
        stmt_keep_null(stmt, numbers, MESSAGE_REF);
    stmt_bind_blob(stmt, 1 + MESSAGE_PAYLOAD, message->payload);
    stmt_bind_int(stmt, 1 + MESSAGE_SUM, row_sum(message, entry->key, message->uid, flags));
}

/* What waits long is better in a table that has room for all of it. */
static unsigned choose_table(struct spool *spool, const struct lane *lane, uint64_t charge)
{
    const struct segment_limits *limits = &spool->segment_limits;
    if (spool->room.is_low || spool->batch.commit_state == SPOOL_COMMIT_REFUSED ||
        ending_count_ahead(lane) >= limits->backlog)
        return TABLE_MESSAGE;
    return segments_choose(&spool->working.segments, limits, charge);
}

static void count_in_segment(struct spool *spool,
                             struct lane *lane,
                             const struct spool_message *message,
                             const struct plan_entry *entry)
{
    if (entry->table == TABLE_MESSAGE)
        return;
    segments_note_append(&spool->working.segments.all[entry->table], spool->lanes.last_id,
                         entry->charge, message->expiry_ms >= 0);
    lane->working.segment_messages++;
}

static void count_append(struct spool *spool,
                         struct lane *lane,
                         const struct spool_message *message,
                         const struct plan_entry *entry)
{
    count_in_segment(spool, lane, message, entry);
    lane->working.accepted++;
    lane->working.numbered++;
    lane->working.messages++;
    lane->working.bytes += entry->charge;
    lane->working.last_id = spool->lanes.last_id;
    spool->batch.messages++;
    spool->batch.charge += entry->charge;
    lane->batch_charge += entry->charge;
    room_credit(&spool->working.evicting, entry->charge);
    int64_t expires_at = entry->accepted_at + message->expiry_ms;
    if (message->expiry_ms >= 0 && expires_at < spool->lanes.expiry_due_ms)
        spool->lanes.expiry_due_ms = expires_at;
}

int spool_append(struct spool *spool,
                 const struct spool_message *message,
                 const struct spool_time *now,
                 uint64_t *ret_id)
{
    assert(message->lane < spool->lanes.configured_count);
    assert(message->qos <= 2);
    if (spool->conn.failed < 0)
        return spool->conn.failed;
    spool_end_scan(spool);
    uint64_t charge = spool_charge(message);
    if (charge > UINT32_MAX)
        return spool_fail(spool, SPOOL_E_FULL, "the message is too large");
    int r = check_room(spool, message, now, charge);
    if (r == 0)
        r = spool_begin(spool);
    if (r != 0)
        return r;

    struct lane *lane = &spool->lanes.all[message->lane];
    struct plan_entry entry = {
        .key = lane_first_key(lane) | (int64_t)(spool->lanes.last_id + 1),
        .accepted_at = spool_clock_ms(spool, now),
        .charge = (uint32_t)charge,
        .table = choose_table(spool, lane, charge),
    };
    struct spool_message stored = *message;
    stored.accepted_ms = now->wall_ms;
    stored.number = lane->working.numbered + 1;
    struct stmt *stmt = spool_table_stmt(spool, entry.table, TABLE_APPEND);
    bind_message(stmt, &spool->conn.stmts.appended[entry.table], &stored, &entry);
    r = spool_result(spool, stmt_run(stmt));
    if (r > 0) {
        /* SQLite may have rolled all of the batch back, not the statement alone. */
        return sqlite3_get_autocommit(spool->conn.db) ? spool_lose_batch(spool, r) : r;
    }
    if (r < 0)
        return r;
    spool->lanes.last_id++;
    count_append(spool, lane, message, &entry);
    if (message->session > 0)
        r = sessions_add_unreleased(spool, message->session, message->packet_id,
                                    spool->lanes.last_id);
    if (r > 0) /* the message must not be stored without it */
        return spool_lose_batch(spool, r);
    if (r < 0)
        return r;
    *ret_id = spool->lanes.last_id;
    return 0;
}
