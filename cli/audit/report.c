/* SPDX-License-Identifier: MIT */
/*
 * report.c - what a verification of audit files found, as a page and as JSON
 */
#include "cli/audit/check.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/audit/seals.h"
#include "cli/cli.h"
#include "store/spool.h"

#include <inttypes.h>
#include <stdio.h>
#include <sysexits.h>

#define JSON_MAX                                                                               \
    ((size_t)24 * 1024 *                                                                       \
     1024) /* with the longest records; pages that are not used cost nothing */

/* A record waits a while for its line. */
#define SEAL_SLACK_MS 60000

static void print_place(const struct seals_seal *seal)
{
    printf("seal %" PRIu64 " (", seal->number);
    text_put(stdout, seal->place.file);
    printf(":%" PRIu64 ", ", seal->place.line);
    text_put(stdout, seal->time);
    putchar(')');
}

static void print_starts(const struct seals *seals)
{
    for (uint64_t i = 0; i < seals->start_count && i < SEALS_STARTS_MAX; i++) {
        const struct seals_start *start = &seals->starts[i];

        fputs("          a chain starts at ", stdout);
        print_place(&start->seal);
        fputs(": ", stdout);
        text_put(stdout, start->why);
        puts("");
    }
}

static void print_far(const struct audit_check *check)
{
    const struct far_seals *far = &check->seals.far;

    if (!far->file)
        return;
    printf("          %" PRIu64 " of %zu seal%s kept elsewhere %s in the files", far->found,
           far->count, cli_counted(far->count, " that was", "s that were"),
           cli_counted(far->found, "is", "are"));
    if (far->unproved > 0)
        printf(", %" PRIu64 " of these without proof of the lines before %s", far->unproved,
               cli_counted(far->unproved, "it", "them"));
    if (far->older > 0)
        printf(", %" PRIu64 " %s older", far->older, cli_counted(far->older, "is", "are"));
    puts("");
}

/* A daemon that was stopped seals what it wrote, so the first line decides. */
static void print_no_seals(const struct audit_check *check)
{
    char span[CLOCK_SPAN_MAX];

    if (check->lines == 0)
        return;
    clock_format_span((int64_t)check->seals.every_ms, span);
    if (check->seals.every_ms == 0)
        puts("seals     none: what was changed later would not show (audit.seal)");
    else if (cli_now().wall_ms - check->first_ms <=
             (int64_t)check->seals.every_ms + SEAL_SLACK_MS)
        printf("seals     none yet: the first one of the file is not due (audit.seal is %s); "
               "until then no seal proves its lines\n",
               span);
    else
        printf("seals     none, though the first line is older than audit.seal (%s): that was "
               "set later, or seals were removed\n",
               span);
}

static void print_seals(const struct audit_check *check)
{
    const struct seals *seals = &check->seals;

    if (seals->count == 0) {
        print_no_seals(check);
        return;
    }
    printf("seals     %" PRIu64 ", of which %" PRIu64 " hold%s\n", seals->count, seals->held,
           seals->held == 1 ? "s" : "");
    for (uint64_t i = 0; i < seals->run_count && i < SEALS_RUNS_MAX; i++) {
        const struct seals_run *run = &seals->runs[i];

        printf("          %" PRIu64 " line%s from ", run->lines, cli_plural(run->lines));
        print_place(&run->first);
        fputs(" to ", stdout);
        print_place(&run->last);
        puts("");
    }
    print_starts(seals);
    if (seals->unsealed > 0)
        printf("          %" PRIu64 " line%s before or between them without a seal\n",
               seals->unsealed, cli_plural(seals->unsealed));
    if (seals->chain.lines > 0)
        printf("          %" PRIu64
               " line%s after the last one: no seal proves %s until the next one comes\n",
               seals->chain.lines, cli_plural(seals->chain.lines),
               cli_counted(seals->chain.lines, "it", "them"));
    print_far(check);
}

static void print_admin(const struct audit_check *check)
{
    if (check->admin > 0)
        printf("          %" PRIu64 " change%s by operators\n", check->admin,
               cli_plural(check->admin));
}

static void print_outcomes(const struct audit_check *check)
{
    for (unsigned i = 0; i < SPOOL_OUTCOMES; i++)
        printf("%s%-9s %12" PRIu64 "\n", i == 0 ? "outcomes  " : "          ",
               spool_outcome_name((enum spool_outcome)i), check->counts[i]);
    if (check->pruned > 0)
        printf("          pruned    %12" PRIu64
               " delivered, whose records were pruned (audit.max_waiting)\n",
               check->pruned);
    print_admin(check);
}

static void print_history(const struct audit_check *check)
{
    char first[CLOCK_TEXT_MAX], last[CLOCK_TEXT_MAX];

    if (check->lines == 0) {
        printf("audit     no outcome is recorded in %" PRIu64 " file%s\n", check->files,
               cli_plural(check->files));
        print_admin(check);
        return;
    }
    if (check->first_seq == 0) {
        printf("audit     %" PRIu64 " line%s in %" PRIu64 " file%s, none with a seq\n",
               check->lines, cli_plural(check->lines), check->files, cli_plural(check->files));
        print_outcomes(check);
        return;
    }
    clock_format(check->first_ms, first);
    clock_format(check->last_ms, last);
    printf("audit     %" PRIu64 " line%s in %" PRIu64 " file%s, seq %" PRIu64 " to %" PRIu64
           "\n          %s to %s\n",
           check->lines, cli_plural(check->lines), check->files, cli_plural(check->files),
           check->first_seq, check->last_seq, first, last);
    if (check->first_seq != 1)
        printf("          starts at seq %" PRIu64
               ": to check all, give the files that were rotated before it first\n",
               check->first_seq);
    if (check->clock_steps > 0)
        printf("          the clock was set back %" PRIu64 " time%s; seq decides the order\n",
               check->clock_steps, cli_plural(check->clock_steps));
    print_outcomes(check);
}

static void print_database(const struct audit_check *check)
{
    const struct audit_database *database = &check->database;

    if (!database->compared) {
        puts("database  not compared (--directory or -c says where it is)");
        return;
    }
    printf("database  %" PRIu64 " accepted, %" PRIu64 " ended, %" PRIu64 " spooled%s\n",
           database->ledger.accepted, database->ended, database->ledger.spooled,
           database->running ? "; the daemon runs, so it grows meanwhile" : "");
    if (!database->counts_compared)
        puts("          its counts go back to the first message and the files do not: not "
             "compared");
    if (database->waiting > 0)
        printf("          %" PRIu64 " outcome%s %s, counted from there\n", database->waiting,
               cli_plural(database->waiting),
               check->last_seq < database->exported
                   ? "that the files lack, still in the database"
                   : "not yet written to the file");
    if (database->pruned > 0)
        printf(
            "          %" PRIu64
            " delivered, whose records were pruned (audit.max_waiting): the file will show it\n",
            database->pruned);
}

/* The first line, or the one that comes next, is that of the first seq that is known. */
static void print_sound(const struct audit_check *check)
{
    uint64_t first = check->is_rotated ? check->database.exported + 1 : check->first_seq;

    if (first <= 1)
        puts("verdict   sound: no line is missing and no message has two outcomes");
    else
        printf("verdict   sound from seq %" PRIu64 " on; 1 to %" PRIu64
               " are not in the files given (%srotated, deleted or cut)\n",
               first, first - 1, check->deliveries_omitted ? "left out, " : "");
}

static void print_remedies(const struct audit_check *check)
{
    bool ahead = false;

    for (uint64_t i = 0; i < check->problem_count && i < AUDIT_PROBLEMS_MAX; i++)
        ahead |= check->problems[i].is_ahead;
    puts("          Keep copies of these files and of the spool before anything else; then "
         "find\n"
         "          out what rotates or edits the file, and check the disk (journalctl -k).");
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

const char *audit_describe_end(const struct audit_check *check,
                               char text[static AUDIT_TEXT_MAX])
{
    bool is_running = check->database.running;

    if (check->open.zeros > 0)
        text_format(text, AUDIT_TEXT_MAX,
                    "%s ends with %" PRIu64 " zero byte%s from byte %" PRIu64
                    " on, as a power cut leaves them; %s the daemon: it cuts them and writes "
                    "again what it had not synced",
                    check->file, check->open.zeros, cli_plural(check->open.zeros),
                    check->open.zeros_at, is_running ? "restart" : "start");
    else
        text_format(text, AUDIT_TEXT_MAX, "the last line is half written%s",
                    is_running ? ", the daemon is at it"
                               : "; the daemon repairs it when it starts");
    return text;
}

void audit_print_page(const struct audit_check *check)
{
    char text[AUDIT_TEXT_MAX];

    print_history(check);
    print_seals(check);
    print_database(check);
    if (check->open.torn) {
        fputs("          ", stdout);
        text_put(stdout, audit_describe_end(check, text));
        puts("");
    }
    audit_print_answer(check);
    if (check->problem_count == 0) {
        print_sound(check);
        return;
    }
    printf("verdict   NOT SOUND: %" PRIu64 " problem%s\n", check->problem_count,
           cli_plural(check->problem_count));
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

static void write_seal(struct json *json, const char *name, const struct seals_seal *seal)
{
    json_open_object(json, name);
    json_unsigned(json, "seal", seal->number);
    json_text(json, "file", seal->place.file);
    json_unsigned(json, "line", seal->place.line);
    json_text(json, "time", seal->time);
    json_close_object(json);
}

static void write_far(struct json *json, const struct far_seals *far)
{
    json_open_object(json, "kept_elsewhere");
    json_unsigned(json, "count", far->count);
    json_unsigned(json, "found", far->found);
    json_unsigned(json, "unproved", far->unproved);
    json_unsigned(json, "older", far->older);
    json_unsigned(json, "missing", far->missing);
    json_close_object(json);
}

static void write_seals(struct json *json, const struct audit_check *check)
{
    const struct seals *seals = &check->seals;

    json_open_object(json, "seals");
    json_unsigned(json, "count", seals->count);
    json_unsigned(json, "hold", seals->held);
    json_unsigned(json, "lines_unsealed", seals->unsealed);
    json_unsigned(json, "lines_after_last", seals->before + seals->chain.lines);
    json_open_array(json, "runs");
    for (uint64_t i = 0; i < seals->run_count && i < SEALS_RUNS_MAX; i++) {
        json_open_object(json, NULL);
        write_seal(json, "from", &seals->runs[i].first);
        write_seal(json, "to", &seals->runs[i].last);
        json_unsigned(json, "lines", seals->runs[i].lines);
        json_close_object(json);
    }
    json_close_array(json);
    json_open_array(json, "starts");
    for (uint64_t i = 0; i < seals->start_count && i < SEALS_STARTS_MAX; i++) {
        json_open_object(json, NULL);
        write_seal(json, "at", &seals->starts[i].seal);
        json_text(json, "why", seals->starts[i].why);
        json_close_object(json);
    }
    json_close_array(json);
    if (check->seals.far.file)
        write_far(json, &check->seals.far);
    json_close_object(json);
}

static void write_database(struct json *json, const struct audit_database *database)
{
    json_open_object(json, "database");
    json_bool(json, "running", database->running);
    json_bool(json, "balanced", spool_ledger_balances(&database->ledger));
    json_bool(json, "counts_compared", database->counts_compared);
    json_unsigned(json, "accepted", database->ledger.accepted);
    json_unsigned(json, "ended", database->ended);
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
    json_bool(&json, "torn", check->open.torn);
    if (check->open.zeros > 0) {
        json_unsigned(&json, "zeros", check->open.zeros);
        json_unsigned(&json, "zeros_at", check->open.zeros_at);
    }
    json_open_object(&json, "outcomes");
    for (unsigned i = 0; i < SPOOL_OUTCOMES; i++)
        json_unsigned(&json, spool_outcome_name((enum spool_outcome)i), check->counts[i]);
    json_close_object(&json);
    json_unsigned(&json, "pruned", check->pruned);
    json_unsigned(&json, "admin", check->admin);
    if (check->database.compared)
        write_database(&json, &check->database);
    json_unsigned(&json, "problems", check->problem_count);
    write_problems(&json, check);
    write_seals(&json, check);
    audit_write_answer(&json, check);
    json_close_object(&json);
    return cli_print_json(&json);
}
