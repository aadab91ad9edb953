/* SPDX-License-Identifier: MIT */
/*
 * compare.c - audit files against the ledger of the database
 *
 * A daemon may be at work while the files are read. The comparison is exact
 * anyway because of its order: the export cursor is read before the files, so
 * they must reach at least that far; the ledger is read after them, and then
 * the rows that it counts and the files do not have yet. Rows leave the
 * database only after they were written to the file, so only a running daemon
 * can remove one between these two steps; then the counts are bounds, not
 * equations, and the page has a note.
 */
#include "cli/audit/check.h"
#include "cli/cli.h"
#include "store/spool.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sysexits.h>

int audit_compare_before(struct audit_check *check, const char *directory)
{
    AUTO_SPOOL struct spool *spool = NULL;
    int code;

    code = cli_open_spool(directory, &spool);
    if (code == EX_OK)
        check->database.exported = spool_exported(spool);
    return code;
}

/* Rows that the ledger counts and the files do not have yet. */
struct waiting {
    uint64_t last;       /* of those rows */
    uint64_t next;       /* the number that comes next, if none is missing */
    uint64_t exported;   /* numbers that are missing up to here went to the files meanwhile */
    uint64_t pruned_seq; /* and then up to here they are of pruned deliveries */
    uint64_t rows;
    uint64_t pruned;
    uint64_t counts[SPOOL_OUTCOMES];
};

static int count_waiting(void *userdata, const struct spool_record *record)
{
    struct waiting *waiting = userdata;

    if (record->seq > waiting->last)
        return 1; /* newer than the ledger that was read */
    if (waiting->next > waiting->exported && record->seq - 1 <= waiting->pruned_seq)
        waiting->pruned += record->seq - waiting->next;
    waiting->next = record->seq + 1;
    waiting->rows++;
    waiting->counts[record->outcome]++;
    return 0;
}

static uint64_t sum_ended(const struct spool_ledger *ledger)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < SPOOL_OUTCOMES; i++)
        sum += ledger->ended[i];
    return sum;
}

static void compare_cursor(struct audit_check *check)
{
    const struct audit_database *database = &check->database;

    if (check
            ->deliveries_omitted) /* the newest rows may be deliveries, which are not written */
        return;
    if (check->last_seq < database->exported && !check->is_rotated)
        audit_add_general_problem(check,
                                  "the files end at seq %" PRIu64
                                  ", but the daemon wrote up to %" PRIu64
                                  ": lines were cut off or a file is missing",
                                  check->last_seq, database->exported);
    if (check->last_seq <= database->last_seq)
        return;
    audit_add_general_problem(check,
                              "the files go to seq %" PRIu64
                              ", but the database only to %" PRIu64
                              ": it is an older copy, or another spool",
                              check->last_seq, database->last_seq);
    audit_mark_problem_ahead(check);
}

/* @exact: @waiting has each row that the files lack. */
static void compare_counts(struct audit_check *check, const struct waiting *waiting, bool exact)
{
    for (unsigned i = 0; i < SPOOL_OUTCOMES; i++) {
        const char *name = spool_outcome_name((enum spool_outcome)i);
        uint64_t pruned = i == SPOOL_DELIVERED ? check->pruned + waiting->pruned : 0;
        uint64_t here = check->counts[i] + waiting->counts[i] + pruned;
        uint64_t there = check->database.ledger.ended[i];

        if (check->deliveries_omitted && i == SPOOL_DELIVERED)
            continue;
        if (exact ? here != there : check->counts[i] > there)
            audit_add_general_problem(check,
                                      "%s: %" PRIu64 " in the files (and %" PRIu64
                                      " in the database that they lack), %" PRIu64
                                      " in the ledger",
                                      name, check->counts[i], waiting->counts[i], there);
    }
}

static void compare_ledger(struct audit_check *check, const struct waiting *waiting)
{
    struct audit_database *database = &check->database;
    bool exact = waiting->last <= check->last_seq ||
                 waiting->rows + waiting->pruned == waiting->last - check->last_seq;

    database->waiting = waiting->rows;
    database->pruned = waiting->pruned;
    /* A ledger that is wrong in itself cannot be compared. */
    if (check->ledger_known && !spool_ledger_balances(&database->ledger))
        return;
    if (!spool_ledger_balances(&database->ledger))
        audit_add_general_problem(check,
                                  "the ledger does not balance: %" PRIu64 " accepted, %" PRIu64
                                  " ended, %" PRIu64 " spooled",
                                  database->ledger.accepted, database->ended,
                                  database->ledger.spooled);
    /* Only a whole history can have the sums of the ledger. */
    database->counts_compared = check->first_seq == 1 || (check->lines == 0 && exact);
    if (database->counts_compared)
        compare_counts(check, waiting, exact || check->deliveries_omitted);
    if (!exact && !database->running && !check->deliveries_omitted &&
        check->last_seq >= database->exported)
        audit_add_general_problem(
            check,
            "outcomes are neither in the files nor in the database: %" PRIu64
            " of those after seq %" PRIu64,
            waiting->last - check->last_seq - waiting->rows, check->last_seq);
}

int audit_compare_after(struct audit_check *check, const char *directory)
{
    AUTO_SPOOL struct spool *spool = NULL;
    struct audit_database *database = &check->database;
    struct waiting waiting = {0};
    int result = cli_open_spool(directory, &spool);

    if (result != EX_OK)
        return result;
    database->running = spool_is_in_use(directory);
    result = spool_get_ledger(spool, &database->ledger);
    database->ended = sum_ended(&database->ledger);
    if (result == 0) {
        /* Each outcome has one seq, so the ledger's sum is the newest that it counts. */
        waiting.last = database->ended;
        waiting.next = check->last_seq + 1;
        waiting.exported = spool_exported(spool);
        waiting.pruned_seq = check->deliveries_omitted ? 0 : spool_pruned_seq(spool);
        result = spool_each_record(spool, check->last_seq, check->deliveries_omitted, 0,
                                   count_waiting, &waiting);
    }
    if (result < 0)
        return cli_report_read_error(spool, result);
    database->last_seq = spool_last_seq(spool);
    database->compared = true;
    compare_cursor(check);
    compare_ledger(check, &waiting);
    return EX_OK;
}
