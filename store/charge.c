/* SPDX-License-Identifier: MIT */
/*
 * charge.c - what a message or an outcome row takes of the database
 *
 * Limits in bytes are held by charges, and the file is about as large as the
 * charges of what it holds: so a charge counts each byte that is stored and what
 * the row leaves empty of its pages.
 *
 * The sum over the outcome rows is kept with the state. Statements that write or
 * remove such rows add them up while they pass, by the SQL function
 * record_charge(client, topic, ref): a row is never read a second time for it.
 */
#include "store/spool-private.h"

enum {
    MESSAGE_ROW_BYTES = 40, /* its numbers */
    /* Numbers, lengths and the place on the page. Within the share of pages, for the text of a
     * row is often shorter than that. */
    RECORD_ROW_BYTES = SPOOL_RECORD_OVERHEAD,
};

/*
 * What a row of this many bytes takes of the pages it shares with others of its
 * kind. Small ones fill a page; of larger ones a whole number goes on it. What
 * is larger than a page goes on pages of its own except for the rest, as SQLite's
 * file format has it (1.6, "Cell Payload Overflow Pages").
 */
static uint64_t share_of_pages(uint64_t row)
{
    const uint64_t page = SPOOL_PAGE_BYTES, per_page = page - 4, most = page - 35, least = 489;
    if (row <= page / 8)
        return row;
    if (row <= most)
        return page / (page / row);
    uint64_t rest = least + (row - least) % per_page;
    if (rest > most)
        return (row - least + per_page - 1) / per_page * page + least;
    return (row - rest) / per_page * page + share_of_pages(rest);
}

uint64_t spool_charge(const struct spool_message *message)
{
    return share_of_pages(message->payload.size + message->topic.size + message->client.size +
                          message->properties.size + message->ref.size + MESSAGE_ROW_BYTES) +
           SPOOL_CHARGE_OVERHEAD - MESSAGE_ROW_BYTES;
}

/* The sizes of its three arguments are those of the row; NULL has none. */
static void record_charge(sqlite3_context *context, int count, sqlite3_value **values)
{
    uint64_t *tally = sqlite3_user_data(context);
    uint64_t size = RECORD_ROW_BYTES;
    for (int i = 0; i < count; i++)
        size += (uint64_t)sqlite3_value_bytes(values[i]);
    uint64_t charge = share_of_pages(size);
    if (tally)
        *tally += charge;
    sqlite3_result_int64(context, (sqlite3_int64)charge);
}

int charge_register(sqlite3 *db, uint64_t *tally)
{
    return sqlite3_create_function_v2(db, "record_charge", 3, SQLITE_UTF8 | SQLITE_DIRECTONLY,
                                      tally, record_charge, NULL, NULL, NULL);
}
