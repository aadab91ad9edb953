/* SPDX-License-Identifier: MIT */
/*
 * seals.c - do the seals of audit files hold, and if not, from which line on?
 *
 * A seal has the number of lines since the one before it and a mark for each. The first
 * mark that differs is at the first line that was changed, removed or added, or by a
 * chance of one in 64 at the next. If all marks are equal, the digest differs because of
 * the seal's own line, or because of the seal before it.
 */
#include "cli/audit/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "base/view.h"
#include "cli/audit/seals.h"
#include "cli/audit/spans.h"
#include "cli/cli.h"
#include "cli/lines.h"
#include "daemon/seal/seal.h"
#include "daemon/seal/sha256.h"

void audit_begin_seals(struct seals *seals)
{
    seal_begin(&seals->chain);
    seals->is_first = true;
}

/* From now on there was a seal, or a place that could not be read. */
static void seals_end_first(struct seals *seals)
{
    seals->is_first = false;
    seals->unsealed += seals->before;
    seals->before = 0;
}

void audit_lose_seals(struct seals *seals)
{
    seals_end_first(seals);
    seals->is_chained = false;
    seals->is_run_open = false;
}

static struct seals_place seals_here(const struct audit_check *check)
{
    return (struct seals_place){.file = check->file, .line = check->line};
}

/* While no seal was read, the lines of each file are apart: the first seal of a file that
 * continues a chain covers those of its file alone, or begins in one before it. */
static void seals_begin_file(struct seals *seals)
{
    if (!seals->is_first || seals->chain.lines == 0)
        return;
    seals->before += seals->chain.lines;
    seals->before_file = seals->places[0].file;
    seal_begin(&seals->chain);
}

static void seals_add_line(struct audit_check *check, const struct line *line)
{
    struct seals *seals = &check->seals;

    if (check->line == 1)
        seals_begin_file(seals);
    if (seals->chain.lines < SEAL_MARKS_MAX)
        seals->places[seals->chain.lines] = seals_here(check);
    seal_add(&seals->chain, view_of(line->text, line->size + !line->torn));
}

static struct seals_seal seals_describe(const struct audit_check *check,
                                        const struct seal *seal)
{
    struct seals_seal described = {.number = seal->number, .place = seals_here(check)};

    (void)snprintf(described.time, sizeof(described.time), "%.*s", (int)seal->time.size,
                   view_chars(seal->time));
    return described;
}

/* ---- where they differ ---- */

static uint64_t lowest(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* How many lines since the last seal have the marks that @seal has. */
static uint64_t seals_equal_marks(const struct seal_chain *chain, const struct seal *seal)
{
    uint64_t count = lowest(lowest(chain->lines, SEAL_MARKS_MAX), seal->marks.size);
    uint64_t equal = 0;

    while (equal < count && chain->marks[equal] == view_chars(seal->marks)[equal])
        equal++;
    return equal;
}

/* "between the seals 12 (FILE:3) and 13 (FILE:9)" */
static const char *seals_between(const struct audit_check *check,
                                 const struct seal *seal,
                                 char text[static AUDIT_TEXT_MAX])
{
    const struct seals_seal *last = &check->seals.last;
    char place[AUDIT_TEXT_MAX] = "in no file before it";

    if (last->place.file)
        (void)snprintf(place, sizeof(place), "%.150s:%" PRIu64, last->place.file,
                       last->place.line);
    (void)snprintf(text, AUDIT_TEXT_MAX,
                   "between the seals %" PRIu64 " (%.180s) and %" PRIu64 " (%.150s:%" PRIu64
                   ")",
                   last->number, place, seal->number, check->file, check->line);
    return text;
}

/* The line @at since the last seal is not what was sealed there. */
static void seals_report_line(struct audit_check *check, const struct seal *seal, uint64_t at)
{
    const struct seals *seals = &check->seals;
    const struct seals_place *place = &seals->places[at];
    uint64_t lines = seals->chain.lines;
    char between[AUDIT_TEXT_MAX];

    (void)seals_between(check, seal, between);
    if (lines == seal->lines)
        audit_add_problem_at(check, place->file, place->line,
                             "this is the first line that was changed, %s", between);
    else if (lines < seal->lines)
        audit_add_problem_at(check, place->file, place->line,
                             "%" PRIu64 " line%s removed; this is the first line that is not "
                             "what was sealed, %s",
                             seal->lines - lines, seal->lines - lines == 1 ? " was" : "s were",
                             between);
    else
        audit_add_problem_at(
            check, place->file, place->line,
            "%" PRIu64 " line%s added; this is the first line that is not what "
            "was sealed, %s",
            lines - seal->lines, lines - seal->lines == 1 ? " was" : "s were", between);
}

/* It was written after another seal than the one that was read last, or that one was changed
 * with all before it. */
static bool seals_is_of_other_chain(const struct seals *seals, const struct seal *seal)
{
    return seal->has_prev && !seals->is_doubtful &&
           memcmp(seals->chain.digest, seal->prev, sizeof(seal->prev)) != 0;
}

static void seals_report_chain(struct audit_check *check, const struct seal *seal)
{
    char between[AUDIT_TEXT_MAX];

    audit_add_problem(check,
                      "this seal does not continue the one before it, %s: one of the two files "
                      "is another one, or was written anew",
                      seals_between(check, seal, between));
}

/* The numbers of a chain rise by one, from file to file, too. */
static void seals_report_number(struct audit_check *check, const struct seal *seal)
{
    const struct seals_seal *last = &check->seals.last;
    bool is_one_file = last->place.file == check->file;
    char between[AUDIT_TEXT_MAX];

    (void)seals_between(check, seal, between);
    if (seal->number <= last->number) {
        audit_add_problem(check,
                          "seals were added, or the files are not in order (oldest "
                          "first), %s",
                          between);
        return;
    }
    audit_add_problem(check, "%s", between);
    audit_mark_problem_gap(check, is_one_file ? AUDIT_GAP_FILE_SEALS : AUDIT_GAP_SEALS,
                           last->number, seal->number);
}

static void seals_report(struct audit_check *check, const struct seal *seal)
{
    struct seals *seals = &check->seals;
    uint64_t lines = seals->chain.lines, equal = seals_equal_marks(&seals->chain, seal);
    char between[AUDIT_TEXT_MAX];

    (void)seals_between(check, seal, between);
    if (equal < lowest(lowest(lines, seal->lines), seal->marks.size))
        seals_report_line(check, seal, equal);
    else if (lines < seal->lines)
        audit_add_problem(check, "%" PRIu64 " line%s removed before this seal, %s",
                          seal->lines - lines, seal->lines - lines == 1 ? " was" : "s were",
                          between);
    else if (lines > seal->lines && seal->lines < SEAL_MARKS_MAX)
        seals_report_line(check, seal, seal->lines);
    else if (lines > SEAL_MARKS_MAX)
        audit_add_problem(check, "a line beyond the first %d was changed, %s", SEAL_MARKS_MAX,
                          between);
    else if (!seals->is_doubtful)
        audit_add_problem(check, "this seal was changed: its digest is not that of the lines "
                                 "before it and of its own, which do agree with its marks");
    seals->is_doubtful = equal == lines && lines == seal->lines;
}

/* ---- seals ---- */

static void seals_hold(struct seals *seals, const struct seals_seal *here, uint64_t lines)
{
    bool is_new = !seals->is_run_open;

    seals->held++;
    seals->is_run_open = true;
    seals->run_count += is_new;
    if (seals->run_count > SEALS_RUNS_MAX)
        return;
    struct seals_run *run = &seals->runs[seals->run_count - 1];
    if (is_new)
        *run = (struct seals_run){.first = *here};
    run->last = *here;
    run->lines += lines;
}

static void seals_note_start(struct audit_check *check,
                             const struct seal *seal,
                             const struct seals_seal *here)
{
    struct seals *seals = &check->seals;

    seals->unsealed += seals->chain.lines;
    seals->is_run_open = false;
    if (seals->start_count++ >= SEALS_STARTS_MAX)
        return;
    struct seals_start *start = &seals->starts[seals->start_count - 1];
    start->seal = *here;
    (void)snprintf(start->why, sizeof(start->why), "%.*s", (int)seal->why.size,
                   view_chars(seal->why));
}

/* The first seal of files that begin within a chain: it is verified if it has the digest
 * before it, which it has if its lines begin with the file. */
static bool seals_take_prev(struct seals *seals, const struct seal *seal)
{
    if (!seals->is_first || !seal->has_prev)
        return false;
    memcpy(seals->chain.digest, seal->prev, sizeof(seal->prev));
    seals->last.number = seal->number - 1;
    return true;
}

/* What a seal without a digest before it, or the first of a chain, cannot be. */
static const char *seals_impossible(const struct audit_check *check, const struct seal *seal)
{
    const struct seals *seals = &check->seals;
    bool starts = seal->why.size > 0;

    if (starts != (seal->number == 1))
        return "this seal was changed: a chain starts with seal 1, and only there";
    if (!starts)
        return seals->is_first && check->first_seq == 1 && !seal->has_prev
                   ? "the seal with which the chain starts was removed: the files begin with "
                     "the first record, and this is the first seal"
                   : NULL;
    if (seals->is_chained && seals->chain.lines == 0 &&
        memcmp(seals->chain.digest, seal->digest, sizeof(seal->digest)) == 0)
        return "this seal is doubled";
    /* It is the first line that the daemon writes. */
    if (view_is(seal->why, SEAL_NEW_FILE) && check->line > 1)
        return "lines were added before this seal, with which a new file starts";
    return NULL;
}

/* What is before it is in no file given, or could not be read. */
static void seals_trust(struct seals *seals, const struct seals_seal *here)
{
    seals->unsealed += seals->chain.lines;
    seals_hold(seals, here, 0);
}

/* The first seal that is read, within a chain: lines before those that it covers had seals of
 * their own. */
static void seals_report_missing(struct audit_check *check, const struct seal *seal)
{
    const struct seals *seals = &check->seals;
    uint64_t all = seals->before + seals->chain.lines;
    uint64_t lines = seal->has_prev ? seals->before : all - lowest(all, seal->lines);
    bool is_whole = check->first_seq == 1;
    uint64_t count = is_whole ? seal->number - 1 : 1;

    if (!seals->is_first || lines == 0)
        return;
    audit_add_problem(check,
                      "%s%" PRIu64 " seal%s missing: this is the first one, number %" PRIu64
                      ", and the %" PRIu64
                      " line%s before those that it seals had seals, which "
                      "were removed%s%s",
                      is_whole ? "" : "at least ", count, cli_counted(count, " is", "s are"),
                      seal->number, lines, cli_plural(lines), seals->before > 0 ? " from " : "",
                      seals->before > 0 ? seals->before_file : "");
}

/* Return: all lines since the seal before it, or since the start of the chain, are what was
 * sealed. */
static bool seals_check(struct audit_check *check, const struct seal *seal)
{
    struct seals *seals = &check->seals;
    struct seals_seal here = seals_describe(check, seal);
    const char *impossible = seals_impossible(check, seal);
    bool starts = seal->why.size > 0;
    uint8_t expected[SHA256_SIZE];

    if (impossible) {
        audit_add_problem(check, "%s", impossible);
        seals->is_run_open = false;
        return false;
    }
    if (starts)
        seals_note_start(check, seal, &here);
    else if (!seals->is_chained) {
        seals_report_missing(check, seal);
        if (!seals_take_prev(seals, seal)) {
            seals_trust(seals, &here);
            return false;
        }
    }
    seal_expect(&seals->chain, seal, expected);
    bool is_next = starts || seal->number == seals->last.number + 1;
    if (is_next && memcmp(expected, seal->digest, sizeof(expected)) == 0) {
        seals_hold(seals, &here, starts ? 0 : seals->chain.lines);
        seals->is_doubtful = false;
        return true;
    }
    seals->is_run_open = false;
    if (starts)
        audit_add_problem(check, "this seal, with which a chain starts, was changed");
    else if (!is_next)
        seals_report_number(check, seal);
    else if (seals_is_of_other_chain(seals, seal))
        seals_report_chain(check, seal);
    else
        seals_report(check, seal);
    return false;
}

static void seals_take(struct audit_check *check, const struct line *line)
{
    struct seals *seals = &check->seals;
    struct seal seal;

    seals->count++;
    if (line->torn || !seal_parse(line->text, line->size, &seal)) {
        audit_add_problem(check, "this seal is unreadable: it was changed");
        audit_lose_seals(seals);
        return;
    }
    spans_add(&seals->numbers, seal.number, seal.number);
    audit_find_far(check, &seal, seals_check(check, &seal));
    seals->last = seals_describe(check, &seal);
    seals->is_chained = true;
    seals_end_first(seals);
    seal_resume(&seals->chain, seal.number, seal.digest);
}

bool audit_take_seal_line(struct audit_check *check, const struct line *line)
{
    bool is_seal = seal_is_line(line->text, line->size);

    if (is_seal)
        seals_take(check, line);
    else
        seals_add_line(check, line);
    return is_seal;
}

/* Each chain has the same numbers: with more than one it is not known whose stand elsewhere. */
static void seals_explain_gap(const struct seals *seals, struct audit_problem *problem)
{
    uint64_t all = problem->before - problem->after - 1;
    uint64_t found = spans_count(&seals->numbers, problem->after + 1, problem->before - 1);
    uint64_t elsewhere = seals->start_count > 1 ? 0 : found;
    bool is_one_file = problem->gap == AUDIT_GAP_FILE_SEALS;
    char between[AUDIT_TEXT_MAX];

    (void)snprintf(between, sizeof(between), "%s", problem->text);
    if (elsewhere == all) {
        text_format(problem->text, sizeof(problem->text),
                    "%" PRIu64 " seal%s %s stand%s elsewhere in the files: a line was moved, "
                    "or the files are not in order (oldest first)",
                    all, cli_counted(all, " that belongs", "s that belong"), between,
                    cli_counted(all, "s", ""));
        return;
    }
    text_format(problem->text, sizeof(problem->text), "%" PRIu64 " seal%s missing %s",
                all - elsewhere, cli_counted(all - elsewhere, " is", "s are"), between);
    if (elsewhere > 0)
        text_append(problem->text, sizeof(problem->text),
                    ", and %" PRIu64 " other%s stand%s elsewhere in the files", elsewhere,
                    cli_plural(elsewhere), cli_counted(elsewhere, "s", ""));
    text_append(problem->text, sizeof(problem->text), ": %s%s%s",
                is_one_file ? "removed from the file"
                            : "removed from one of the two files, or a file between them is "
                              "not given",
                found > 0 ? ", or the files are not in order (oldest first)" : "",
                found > 0 && is_one_file ? ", or a line was moved" : "");
}

void audit_explain_seals(struct audit_check *check)
{
    for (uint64_t i = 0; i < check->problem_count && i < AUDIT_PROBLEMS_MAX; i++) {
        struct audit_problem *problem = &check->problems[i];

        if (problem->gap == AUDIT_GAP_SEALS || problem->gap == AUDIT_GAP_FILE_SEALS)
            seals_explain_gap(&check->seals, problem);
    }
}
