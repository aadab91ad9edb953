/* SPDX-License-Identifier: MIT */
/*
 * check.c - mqtt-spool audit: are the audit files the whole truth?
 *
 * Reads the files line by line, in the order of their rotation, and checks what
 * the contract promises: each line is an outcome record with all its fields, seq
 * rises by one without a gap, no message has two outcomes. Then the sums are
 * compared with the ledger of the database. Time may step back, because the wall clock of a gateway
 * may be set: that is counted and no problem.
 *
 * Memory depends on the span of ids, one bit each, and on nothing else.
 */
#include "cli/audit/check.h"

#include "base/clock.h"
#include "base/regular.h"
#include "base/text.h"
#include "cli/lines.h"
#include "daemon/record/outcome.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

static const char help_text[] =
    "Usage: mqtt-spool audit [OPTION]... [FILE]...\n"
    "\n"
    "Verifies audit files, given oldest first (default: the configured one; - is standard\n"
    "input): nothing is missing, no message has two outcomes, the sums are those of the\n"
    "database. The database is compared when the file is the configured one, or -c or\n"
    "--directory says where it is.\n"
    "\n"
    "      --deliveries-off  the file was written with audit.has_deliveries = false: gaps are "
    "right\n"
    "      --from N          the first line must have this seq\n"
    "      --directory DIR   the spool to compare with\n"
    "      --json            one JSON object with the result\n"
    "\n"
    "Exit codes: 0 sound; 65 something is wrong; 69 or 77 a file cannot be read, or the result\n"
    "cannot be printed.\n";

/* The library reports a line that it has no memory for as one that is no JSON. */
static bool is_out_of_memory;

static void *allocate_for_json(size_t size)
{
    void *memory = malloc(size);

    if (!memory)
        is_out_of_memory = true;
    return memory;
}

/* A whole number from @minimum to @maximum, else a problem. */
static bool get_number(struct audit_check *check,
                       const json_t *object,
                       const char *name,
                       int64_t minimum,
                       int64_t maximum,
                       int64_t *ret)
{
    const json_t *value = json_object_get(object, name);

    if (json_is_integer(value) && json_integer_value(value) >= minimum &&
        json_integer_value(value) <= maximum) {
        *ret = json_integer_value(value);
        return true;
    }
    if (!value)
        audit_add_problem(check, "the field \"%s\" is missing", name);
    else
        audit_add_problem(check, "\"%s\" is not a whole number from %" PRId64 " to %" PRId64,
                          name, minimum, maximum);
    return false;
}

/* A text, else a problem and NULL. */
static const char *get_text(struct audit_check *check, const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);

    if (!value)
        audit_add_problem(check, "the field \"%s\" is missing", name);
    else if (!json_is_string(value))
        audit_add_problem(check, "\"%s\" is not a text", name);
    return json_string_value(value);
}

static bool
get_time(struct audit_check *check, const json_t *object, const char *name, int64_t *ret)
{
    const char *text = get_text(check, object, name);

    if (!text)
        return false;
    if (clock_parse(text, ret))
        return true;
    audit_add_problem(check, "\"%s\" is no time in UTC like 2026-11-01T12:34:56.789Z", name);
    return false;
}

static void check_outcome(struct audit_check *check, const json_t *object)
{
    const char *text = get_text(check, object, "outcome");
    const json_t *reason_value = json_object_get(object, "reason");
    enum spool_reason reason = SPOOL_REASON_NONE;
    enum spool_outcome outcome;

    if (!text)
        return;
    if (!spool_outcome_parse(text, &outcome)) {
        audit_add_problem(check, "there is no outcome \"%.*s\"", text_prefix_size(text, 32), text);
        return;
    }
    check->counts[outcome]++;
    if (reason_value && (!json_is_string(reason_value) ||
                         !spool_reason_parse(json_string_value(reason_value), &reason)))
        audit_add_problem(check, "\"reason\" is none that there is");
    else if (!spool_reason_fits(outcome, reason))
        audit_add_problem(check, "the reason \"%s\" does not go with the outcome \"%s\"",
                          spool_reason_name(reason), text);
}

/* A line takes the numbers @seq to @end. */
static void check_seq(struct audit_check *check, uint64_t seq, uint64_t end)
{
    uint64_t last = check->last_seq;

    check->last_seq = end;
    if (check->first_seq == 0) {
        check->first_seq = seq;
        if (check->from != 0 && seq != check->from)
            audit_add_problem(check, "the first seq is %" PRIu64 " and should be %" PRIu64, seq,
                              check->from);
        return;
    }
    if (seq == last + 1 || (check->deliveries_omitted && seq > last))
        return;
    if (seq > last) {
        audit_add_problem(
            check, "seq jumps from %" PRIu64 " to %" PRIu64 ": %" PRIu64 " lines are missing",
            last, seq, seq - last - 1);
        return;
    }
    audit_add_problem(check,
                      "seq %" PRIu64 " comes after %" PRIu64
                      ": a line came twice, the files are not in order (oldest first), or the "
                      "database was restored from an older copy",
                      seq, last);
    audit_mark_problem_ahead(check);
}

static void check_id(struct audit_check *check, uint64_t id)
{
    switch (id_set_add(&check->ids, id)) {
    case 0:
        break;
    case -EEXIST:
        audit_add_problem(check, "the message %" PRIu64 " already had an outcome", id);
        break;
    case -ENOMEM:
        is_out_of_memory = true;
        break;
    default:
        audit_add_problem(check, "the id %" PRIu64 " is too far from the others to be followed",
                          id);
        break;
    }
}

static void check_time(struct audit_check *check, int64_t time_ms)
{
    if (check->lines == 1)
        check->first_ms = time_ms;
    else if (time_ms < check->last_ms)
        check->clock_steps++;
    check->last_ms = time_ms;
}

static void check_members(struct audit_check *check, const json_t *object)
{
    int64_t number;

    (void)get_text(check, object, "lane"); /* noted as a problem when it is not there */
    (void)get_text(check, object, "client");
    (void)get_text(check, object, "topic");
    (void)get_time(check, object, "accepted", &number);
    if (!json_is_null(json_object_get(object, "uid"))) /* unknown: it came over TCP */
        (void)get_number(check, object, "uid", 0, UINT32_MAX, &number);
    (void)get_number(check, object, "qos", 0, 2, &number);
    (void)get_number(check, object, "bytes", 0, INT64_MAX, &number);
    (void)get_number(check, object, "age_ms", 0, INT64_MAX, &number);
    (void)get_number(check, object, "attempts", 0, UINT32_MAX, &number);
    if (json_object_get(object, "code"))
        (void)get_number(check, object, "code", 0, 255, &number);
    if (json_object_get(object, "ref"))
        (void)get_text(check, object, "ref");
}

/* Stands for the records of deliveries from "from" to "seq". */
static void check_pruned(struct audit_check *check, const json_t *object)
{
    int64_t seq, from, count, time_ms;

    check->lines++;
    if (!get_number(check, object, "seq", 1, INT64_MAX, &seq) ||
        !get_number(check, object, "from", 1, seq, &from) ||
        !get_number(check, object, "pruned", 1, INT64_MAX, &count))
        return;
    if (count != seq - from + 1)
        audit_add_problem(check,
                          "\"pruned\" is %" PRId64 ", but from %" PRId64 " to %" PRId64
                          " there are %" PRId64 " numbers",
                          count, from, seq, seq - from + 1);
    check_seq(check, (uint64_t)from, (uint64_t)seq);
    check->pruned += (uint64_t)(seq - from + 1);
    if (get_time(check, object, "time", &time_ms))
        check_time(check, time_ms);
}

/* Members that are not known are left alone: a later version may write more. */
static void check_record(struct audit_check *check, const json_t *object)
{
    int64_t number;

    check->lines++;
    if (get_number(check, object, "seq", 1, INT64_MAX, &number))
        check_seq(check, (uint64_t)number, (uint64_t)number);
    if (get_number(check, object, "id", 1, INT64_MAX, &number))
        check_id(check, (uint64_t)number);
    if (get_time(check, object, "time", &number))
        check_time(check, number);
    check_outcome(check, object);
    check_members(check, object);
}

static void check_line(struct audit_check *check, const struct line *line)
{
    json_error_t error;
    json_t *object = json_loadb(line->text, line->size, JSON_REJECT_DUPLICATES, &error);

    check->line++;
    if (json_is_object(object) && json_object_get(object, "pruned"))
        check_pruned(check, object);
    else if (json_is_object(object))
        check_record(check, object);
    else if (object)
        audit_add_problem(check, "this is JSON, but no outcome record");
    else
        audit_add_problem(check, "this is no JSON: %s", error.text);
    json_decref(object);
}

static bool is_compressed(const struct line *line)
{
    return line->size >= 2 && memcmp(line->text, "\x1f\x8b", 2) == 0;
}

static int report_compressed(const struct audit_check *check)
{
    cli_error("%s is compressed and not read as it is: zcat %s | mqtt-spool audit - ... (- is "
              "standard input, the files that follow it come after)",
              check->file, check->file);
    return EX_DATAERR;
}

/* @last: no other file comes after this one. */
static int check_lines(struct audit_check *check, struct lines *lines, bool last)
{
    struct line line;
    int result;

    while ((result = lines_next(lines, &line)) == 1) {
        if (check->line == 0 && is_compressed(&line))
            return report_compressed(check);
        if (line.torn && last) {
            check->torn = true;
            return EX_OK;
        }
        check_line(check, &line);
        if (is_out_of_memory) { /* what was found in this line means nothing */
            cli_error("out of memory while reading %s", check->file);
            return EX_UNAVAILABLE;
        }
    }
    if (result == -ENOBUFS) {
        check->line++;
        audit_add_problem(check,
                          "this line is longer than any record; what follows was not read");
        return EX_OK;
    }
    if (result == -EIO) {
        check->line++;
        audit_add_problem(check,
                          "the disk does not give this line (journalctl -k says more); what "
                          "follows was not read");
        return EX_OK;
    }
    if (result < 0) {
        cli_error("cannot read %s: %s", check->file, strerror(-result));
        return EX_UNAVAILABLE;
    }
    return EX_OK;
}

static int check_file(struct audit_check *check, const char *file, bool last)
{
    AUTO_CLOSE int fd = -1;
    struct lines lines;
    int code;

    check->file = strcmp(file, "-") == 0 ? "standard input" : file;
    check->line = 0;
    check->files++;
    if (strcmp(file, "-") != 0) {
        fd = open(file, O_RDONLY | O_CLOEXEC);
        if (fd < 0) {
            code = errno == EACCES ? EX_NOPERM : EX_UNAVAILABLE;
            cli_error("cannot open the audit file %s: %m; %s", file,
                      code == EX_NOPERM ? "run this as root or as the user of the service"
                                        : "is audit.file, or the name given, right?");
            return code;
        }
    }
    lines_init(&lines, fd < 0 ? STDIN_FILENO : fd, RECORD_LINE_MAX + 1);
    code = check_lines(check, &lines, last);
    lines_done(&lines);
    return code;
}

struct audit_request {
    char **files;
    int file_count;
    const char *directory;
    bool is_json;
};

static int
audit_parse(struct audit_check *check, struct audit_request *request, int argc, char **argv)
{
    const struct cli_option options[] = {
        {.name = "deliveries-off", .flag = &check->deliveries_omitted},
        {.name = "from", .number = &check->from},
        {.name = "directory", .text = &request->directory},
        {.name = "json", .flag = &request->is_json},
        {.name = NULL},
    };
    int code = cli_parse("audit", help_text, options, argc, argv);

    request->files = argv + optind;
    request->file_count = argc - optind;
    return code;
}

/* What was not given comes from the configuration. Files that were given alone are not compared
 * with the database of this machine: they may be of another one. */
static int audit_configure(struct audit_check *check,
                           struct audit_request *request,
                           const struct cli *cli,
                           struct config **ret)
{
    int code;

    if (request->file_count > 0 && !cli->config_path)
        return EX_OK;
    code = cli_load_config(cli, "the audit FILE", ret);
    if (code != EX_OK)
        return code;
    if (!(*ret)->audit.has_deliveries)
        check->deliveries_omitted = true;
    if (!request->directory)
        request->directory = (*ret)->spool.directory;
    if (request->file_count > 0)
        return EX_OK;
    if (*(*ret)->audit.file == '\0') {
        cli_error(
            "the configuration says that no audit file is written (audit.file = \"\"); name "
            "a file, or see mqtt-spool failures");
        return EX_UNAVAILABLE;
    }
    if (regular_is_other(AT_FDCWD, (*ret)->audit.file)) { /* a FIFO that is named is read */
        cli_error("the audit file %s is no regular file; move it away", (*ret)->audit.file);
        return EX_UNAVAILABLE;
    }
    request->files = &(*ret)->audit.file;
    request->file_count = 1;
    return EX_OK;
}

int audit_check_files(struct audit_check *check, char **files, int count, const char *directory)
{
    int code = EX_OK;

    is_out_of_memory = false;
    json_set_alloc_funcs(allocate_for_json, free);
    if (directory)
        code = audit_compare_before(check, directory);
    for (int i = 0; code == EX_OK && i < count; i++)
        code = check_file(check, files[i], i + 1 == count);
    if (code == EX_OK && directory)
        code = audit_compare_after(check, directory);
    return code;
}

static int audit_run(struct audit_check *check, const struct audit_request *request)
{
    int code =
        audit_check_files(check, request->files, request->file_count, request->directory);

    if (code != EX_OK)
        return code;
    if (request->is_json)
        code = audit_print_json(check);
    else
        audit_print_page(check);
    return check->problem_count == 0 ? code : EX_DATAERR;
}

int cli_audit(const struct cli *cli, int argc, char **argv)
{
    AUTO_CONFIG struct config *config = NULL;
    struct audit_check check = {0};
    struct audit_request request = {0};
    int code = audit_parse(&check, &request, argc, argv);

    if (code != CLI_CONTINUE)
        return code;
    code = audit_configure(&check, &request, cli, &config);
    if (code == EX_OK)
        code = audit_run(&check, &request);
    id_set_done(&check.ids);
    return code;
}
