/* SPDX-License-Identifier: MIT */
/*
 * compare.c - audit files against the ledger of the database
 *
 * A daemon may be at work while the files are read. The comparison is exact
 * anyway because of its order: the export cursor is read before the files, so
 * they must reach at least that far; the ledger is read after them, with the newest
 * number that it counts. What the files lack up to there is in the database, or was
 * written to the last file meanwhile, which is then read on (rows.c).
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

static void compare_counts(struct audit_check *check, const struct audit_rows *waiting)
{
    for (unsigned i = 0; i < SPOOL_OUTCOMES; i++) {
        const char *name = spool_outcome_name((enum spool_outcome)i);
        uint64_t pruned = i == SPOOL_DELIVERED ? check->pruned + waiting->pruned : 0;
        uint64_t here = check->counts[i] + waiting->counts[i] + pruned;
        uint64_t there = check->database.ledger.ended[i];

        if (check->deliveries_omitted && i == SPOOL_DELIVERED)
            continue;
        if (waiting->is_whole ? here != there : check->counts[i] > there)
            audit_add_general_problem(check,
                                      "%s: %" PRIu64 " in the files (and %" PRIu64
                                      " in the database that they lack), %" PRIu64
                                      " in the ledger",
                                      name, check->counts[i], waiting->counts[i], there);
    }
}

/* Each outcome has one number, so the ledger's sum is the newest one. */
static void compare_sums(struct audit_check *check)
{
    const struct audit_database *database = &check->database;

    if (!spool_ledger_balances(&database->ledger))
        audit_add_general_problem(check,
                                  "the ledger does not balance: %" PRIu64 " accepted, %" PRIu64
                                  " ended, %" PRIu64 " spooled",
                                  database->ledger.accepted, database->ended,
                                  database->ledger.spooled);
    if (database->ended != database->last_seq)
        audit_add_general_problem(check,
                                  "the ledger counts %" PRIu64
                                  " outcomes, but the newest record has the seq %" PRIu64,
                                  database->ended, database->last_seq);
}

static void compare_ledger(struct audit_check *check, const struct audit_rows *waiting)
{
    struct audit_database *database = &check->database;

    database->waiting = waiting->rows;
    database->pruned = waiting->pruned;
    /* A ledger that is wrong in itself cannot be compared. */
    if (check->ledger_known &&
        (!spool_ledger_balances(&database->ledger) || database->ended != database->last_seq))
        return;
    compare_sums(check);
    /* Only a whole history can have the sums of the ledger. */
    database->counts_compared =
        check->first_seq == 1 || (check->lines == 0 && waiting->is_whole);
    if (database->counts_compared)
        compare_counts(check, waiting);
    if (!waiting->is_whole && audit_reached(check) >= database->exported)
        audit_add_general_problem(
            check,
            "outcomes are neither in the files nor in the database: %" PRIu64
            " of those after seq %" PRIu64,
            waiting->up_to - audit_reached(check) - waiting->rows, audit_reached(check));
}

/* The daemon cuts zeros when it opens the file. */
static void compare_end(struct audit_check *check)
{
    char text[AUDIT_TEXT_MAX];

    if (check->open.zeros > 0 && check->database.running)
        audit_add_general_problem(check, "%s", audit_describe_end(check, text));
}

static int read_ledger(struct audit_check *check, struct spool *spool)
{
    struct audit_database *database = &check->database;
    int result = spool_get_ledger(spool, &database->ledger);

    if (result != 0)
        return cli_report_read_error(spool, result);
    database->ended = sum_ended(&database->ledger);
    database->last_seq = spool_last_seq(spool);
    database->is_older = database->last_seq < check->last_seq;
    return EX_OK;
}

int audit_compare_after(struct audit_check *check, const char *directory)
{
    AUTO_SPOOL struct spool *spool = NULL;
    struct audit_database *database = &check->database;
    const struct audit_walk count = {0};
    struct audit_rows waiting = {0};
    int code = cli_open_spool(directory, &spool);
    uint64_t last_seq = 0;

    if (code == EX_OK)
        code = read_ledger(check, spool);
    if (code == EX_OK)
        code = audit_walk_rows(check, spool, database->last_seq, &count, &waiting);
    /* A line for pruned deliveries may go beyond the newest number that the ledger counted. */
    while (code == EX_OK && check->last_seq > database->last_seq &&
           database->last_seq > last_seq) {
        last_seq = database->last_seq;
        code = read_ledger(check, spool);
        if (code == EX_OK)
            code = audit_walk_rows(check, spool, database->last_seq, &count, &waiting);
    }
    if (code != EX_OK)
        return code;
    database->running = spool_is_in_use(directory);
    database->compared = true;
    compare_cursor(check);
    compare_ledger(check, &waiting);
    compare_end(check);
    return EX_OK;
}
