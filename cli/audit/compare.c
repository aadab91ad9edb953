/* SPDX-License-Identifier: MIT */
/*
 * compare.c - audit files against the ledger, and the verdict
 *
 * A daemon may be at work while the files are read. The comparison is exact anyway because of its order: the export cursor is read before the files,
 * so they must reach at least that far; the ledger is read after them, and then the rows that it counts and the files do not have yet. Rows leave the database
 * only after they were written to the file, so only a running daemon can
 * remove one between these two steps; then the counts are bounds, not equations,
 * and the page has a note.
 */
#include "cli/audit/check.h"

#include "base/clock.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>

#define JSON_MAX (1024 * 1024)

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

static uint64_t ended(const struct spool_ledger *ledger)
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
    if (check->last_seq < database->exported)
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
                                  database->ledger.accepted, ended(&database->ledger),
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
    if (result == 0) {
        /* Each outcome has one seq, so the ledger's sum is the newest that it counts. */
        waiting.last = ended(&database->ledger);
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

static void print_history(const struct audit_check *check)
{
    char first[CLOCK_TEXT_MAX], last[CLOCK_TEXT_MAX];

    if (check->lines == 0) {
        printf("audit     no outcome is recorded in %" PRIu64 " file(s)\n", check->files);
        return;
    }
    clock_format(check->first_ms, first);
    clock_format(check->last_ms, last);
    printf("audit     %" PRIu64 " lines in %" PRIu64 " file(s), seq %" PRIu64 " to %" PRIu64
           "\n          %s to %s\n",
           check->lines, check->files, check->first_seq, check->last_seq, first, last);
    if (check->first_seq != 1)
        printf("          starts at seq %" PRIu64
               ": to check all, give the files that were rotated before it first\n",
               check->first_seq);
    if (check->clock_steps > 0)
        printf("          the clock was set back %" PRIu64 " time(s); seq decides the order\n",
               check->clock_steps);
    for (unsigned i = 0; i < SPOOL_OUTCOMES; i++)
        printf("%s%-9s %12" PRIu64 "\n", i == 0 ? "outcomes  " : "          ",
               spool_outcome_name((enum spool_outcome)i), check->counts[i]);
    if (check->pruned > 0)
        printf("          pruned    %12" PRIu64
               " delivered, whose records were pruned (audit.max_waiting)\n",
               check->pruned);
}

static void print_database(const struct audit_check *check)
{
    const struct audit_database *database = &check->database;

    if (!database->compared) {
        puts("database  not compared (--directory or -c says where it is)");
        return;
    }
    printf("database  %" PRIu64 " accepted, %" PRIu64 " ended, %" PRIu64 " spooled%s\n",
           database->ledger.accepted, ended(&database->ledger), database->ledger.spooled,
           database->running ? "; the daemon runs, so it grows meanwhile" : "");
    if (!database->counts_compared)
        puts("          its counts go back to the first message and the files do not: not "
             "compared");
    if (database->waiting > 0)
        printf("          %" PRIu64 " outcome(s) %s, counted from there\n", database->waiting,
               check->last_seq < database->exported
                   ? "that the files lack are still in the database"
                   : "not yet written to the file");
    if (database->pruned > 0)
        printf(
            "          %" PRIu64
            " delivered, whose records were pruned (audit.max_waiting): the file will say so\n",
            database->pruned);
}

static void print_sound(const struct audit_check *check)
{
    if (check->first_seq <= 1)
        puts("verdict   sound: no line is missing and no message has two outcomes");
    else
        printf("verdict   sound from seq %" PRIu64 " on; 1 to %" PRIu64
               " are not in the files given (%srotated, deleted or cut)\n",
               check->first_seq, check->first_seq - 1,
               check->deliveries_omitted ? "left out, " : "");
}

static void print_remedies(const struct audit_check *check)
{
    bool ahead = false;

    for (uint64_t i = 0; i < check->problem_count && i < AUDIT_PROBLEMS_MAX; i++)
        ahead |= check->problems[i].is_ahead;
    puts("          Keep copies of these files and of the spool before anything else; then "
         "look\n"
         "          at who rotates or edits the file, and at the disk (journalctl -k).");
    if (ahead)
        puts("          Where the database was restored from an older copy:\n"
             "          " AUDIT_AHEAD_REMEDY ".");
}

static void print_problems(const struct audit_check *check)
{
    uint64_t shown =
        check->problem_count < AUDIT_PROBLEMS_MAX ? check->problem_count : AUDIT_PROBLEMS_MAX;

    for (uint64_t i = 0; i < shown; i++) {
        const struct audit_problem *problem = &check->problems[i];

        fputs("          ", stdout);
        if (problem->file) {
            text_put(stdout, problem->file);
            printf(":%" PRIu64 ": ", problem->line);
        }
        text_put(stdout, problem->text);
        puts("");
    }
    if (check->problem_count > shown)
        printf("          and %" PRIu64 " more\n", check->problem_count - shown);
}

void audit_print_page(const struct audit_check *check)
{
    print_history(check);
    print_database(check);
    if (check->torn)
        printf("          the last line is half written%s\n",
               check->database.running ? ", the daemon is at it"
                                       : "; the daemon mends it when it starts");
    if (check->problem_count == 0) {
        print_sound(check);
        return;
    }
    printf("verdict   NOT SOUND: %" PRIu64 " problem(s)\n", check->problem_count);
    print_problems(check);
    print_remedies(check);
}

static void write_problems(struct json *json, const struct audit_check *check)
{
    json_open_array(json, "problem_list");
    for (uint64_t i = 0; i < check->problem_count && i < AUDIT_PROBLEMS_MAX; i++) {
        json_open_object(json, NULL);
        if (check->problems[i].file) {
            json_text(json, "file", check->problems[i].file);
            json_unsigned(json, "line", check->problems[i].line);
        }
        json_text(json, "text", check->problems[i].text);
        json_close_object(json);
    }
    json_close_array(json);
}

static void write_database(struct json *json, const struct audit_database *database)
{
    json_open_object(json, "database");
    json_bool(json, "running", database->running);
    json_bool(json, "balanced", spool_ledger_balances(&database->ledger));
    json_bool(json, "counts_compared", database->counts_compared);
    json_unsigned(json, "accepted", database->ledger.accepted);
    json_unsigned(json, "ended", ended(&database->ledger));
    json_unsigned(json, "spooled", database->ledger.spooled);
    json_unsigned(json, "exported_seq", database->exported);
    json_unsigned(json, "waiting", database->waiting);
    json_unsigned(json, "pruned", database->pruned);
    json_close_object(json);
}

int audit_print_json(const struct audit_check *check)
{
    AUTO_FREE char *memory = NULL;
    struct json json;
    int code = cli_open_json(&json, JSON_MAX, &memory);

    if (code != EX_OK)
        return code;
    json_text(&json, "verdict", check->problem_count == 0 ? "sound" : "wrong");
    json_unsigned(&json, "files", check->files);
    json_unsigned(&json, "lines", check->lines);
    json_unsigned(&json, "first_seq", check->first_seq);
    json_unsigned(&json, "last_seq", check->last_seq);
    json_unsigned(&json, "clock_steps", check->clock_steps);
    json_bool(&json, "torn", check->torn);
    json_open_object(&json, "outcomes");
    for (unsigned i = 0; i < SPOOL_OUTCOMES; i++)
        json_unsigned(&json, spool_outcome_name((enum spool_outcome)i), check->counts[i]);
    json_close_object(&json);
    json_unsigned(&json, "pruned", check->pruned);
    if (check->database.compared)
        write_database(&json, &check->database);
    json_unsigned(&json, "problems", check->problem_count);
    write_problems(&json, check);
    json_close_object(&json);
    return cli_print_json(&json);
}
