/* SPDX-License-Identifier: MIT */
/*
 * functions.c - the functions that the SQL of the spool calls
 *
 * record_charge(client, topic, ref): charge.c
 * record_seq(): the seq of the next outcome row. Deliveries without rows have seqs, too, so
 * the rows of the table do not show it.
 * run_messages(runs, seq): how many messages of the runs of a lane have a higher seq.
 */
#include <errno.h>

#include "base/view.h"
#include "store/runs.h"
#include "store/spool-private.h"

static void record_seq(sqlite3_context *context, int count, sqlite3_value **values)
{
    uint64_t *seq = sqlite3_user_data(context);
    (void)count, (void)values;
    sqlite3_result_int64(context, (sqlite3_int64)++ * seq);
}

static void run_messages(sqlite3_context *context, int count, sqlite3_value **values)
{
    const void *data = sqlite3_value_blob(values[0]);
    struct view bytes = view_of(data, (size_t)sqlite3_value_bytes(values[0]));
    uint64_t after = (uint64_t)sqlite3_value_int64(values[1]);
    struct runs runs = {0};
    int r = runs_decode(&runs, bytes);
    (void)count;
    if (r == -ENOMEM)
        sqlite3_result_error_nomem(context);
    else if (r < 0)
        sqlite3_result_error(context, "the runs of a lane are damaged", -1);
    else
        sqlite3_result_int64(context, (sqlite3_int64)runs_count(&runs, after + 1, UINT64_MAX));
    runs_done(&runs);
}

int functions_register(sqlite3 *db, uint64_t *tally, uint64_t *seq)
{
    int rc = charge_register(db, tally);
    if (rc == SQLITE_OK)
        rc = sqlite3_create_function_v2(db, "record_seq", 0, SQLITE_UTF8 | SQLITE_DIRECTONLY,
                                        seq, record_seq, NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_create_function_v2(db, "run_messages", 2, SQLITE_UTF8 | SQLITE_DIRECTONLY,
                                        NULL, run_messages, NULL, NULL, NULL);
    return rc;
}
