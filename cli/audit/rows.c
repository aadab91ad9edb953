/* SPDX-License-Identifier: MIT */
/*
 * rows.c - outcomes that the database has and the audit files do not have yet
 *
 * A row leaves the database only after its line was synced, so a row that is found in neither
 * was written to the file after that was read: then the file is read on, and the walk begins
 * again behind its new end. Each turn begins with a higher number, and the newest one is fixed,
 * so that this ends however fast the daemon is. What then still is in neither was lost.
 */
#include "cli/audit/check.h"

#include "cli/cli.h"
#include "store/spool.h"

#include <stdint.h>
#include <sysexits.h>

struct rows_walk {
    struct audit_rows *rows;
    const struct audit_walk *walk;
};

static int rows_take(void *userdata, const struct spool_record *record)
{
    const struct rows_walk *reading = userdata;
    struct audit_rows *rows = reading->rows;
    int result = 0;

    if (record->seq > rows->up_to)
        return 1;
    if (rows->next > rows->exported && record->seq - 1 <= rows->pruned_seq)
        rows->pruned += record->seq - rows->next;
    rows->next = record->seq + 1;
    rows->rows++;
    rows->counts[record->outcome]++;
    if (reading->walk->take)
        result = reading->walk->take(reading->walk->userdata, record);
    return result < 0 ? result : 0;
}

/* Return: as spool_each_record(). */
static int rows_walk_once(const struct audit_check *check,
                          struct spool *spool,
                          const struct audit_walk *walk,
                          struct audit_rows *ret)
{
    struct rows_walk reading = {.rows = ret, .walk = walk};
    uint64_t up_to = ret->up_to;
    int result;

    *ret = (struct audit_rows){
        .up_to = up_to,
        .next = audit_reached(check) + 1,
        .exported = spool_exported(spool),
        .pruned_seq = check->deliveries_omitted ? 0 : spool_pruned_seq(spool),
    };
    if (walk->begin)
        walk->begin(walk->userdata);
    result = spool_each_record(spool, audit_reached(check), check->deliveries_omitted, 0,
                               rows_take, &reading);
    ret->is_whole = check->deliveries_omitted || up_to <= audit_reached(check) ||
                    ret->rows + ret->pruned == up_to - audit_reached(check);
    return result > 0 ? 0 : result;
}

static uint64_t rows_least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* It rises while the daemon takes rows out of the database that are asked for. */
static uint64_t
rows_progress(const struct audit_check *check, const struct spool *spool, uint64_t up_to)
{
    return rows_least(audit_reached(check), up_to) + rows_least(spool_exported(spool), up_to) +
           rows_least(spool_pruned_seq(spool), up_to);
}

int audit_walk_rows(struct audit_check *check,
                    struct spool *spool,
                    uint64_t up_to,
                    const struct audit_walk *walk,
                    struct audit_rows *ret)
{
    struct audit_rows rows = {.up_to = up_to};
    struct spool_ledger newest;
    uint64_t before;

    do {
        int code, result = rows_walk_once(check, spool, walk, &rows);

        if (result != 0)
            return cli_report_read_error(spool, result);
        /* Without lines of deliveries a missing number shows nothing. */
        if (rows.is_whole && !(check->deliveries_omitted && audit_reached(check) < up_to))
            break;
        before = rows_progress(check, spool, up_to);
        code = audit_read_on(check, up_to);
        if (code != EX_OK)
            return code;
        result = spool_get_ledger(spool, &newest); /* its cursors with it */
        if (result != 0)
            return cli_report_read_error(spool, result);
    } while (rows_progress(check, spool, up_to) > before);
    *ret = rows;
    return EX_OK;
}
