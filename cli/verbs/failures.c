/* SPDX-License-Identifier: MIT */
/*
 * failures.c - mqtt-spool failures: what did not reach the broker, and why
 *
 * Reads the outcome table, with a daemon beside it or without one. Two passes,
 * so that "the newest N" needs no memory for them: the first counts what
 * matches, the second passes over all but the last N.
 */
#include "cli/cli.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "daemon/config/config.h"
#include "daemon/record/outcome.h"
#include "store/spool.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#define COLUMN_MAX 128

static const char help_text[] =
    "Usage: mqtt-spool failures [OPTION]...\n"
    "\n"
    "Messages that ended otherwise than delivered, oldest first. Works while the\n"
    "daemon is stopped too. Failures older than audit.keep are in the audit files\n"
    "only.\n"
    "\n"
    "      --since TIME|AGE  only since then: 2026-11-01T12:00:00Z, any RFC 3339\n"
    "                        time, or 1h, 2d\n"
    "      --limit N         the newest N only\n"
    "      --json            one JSON object a line, as in the audit file\n"
    "      --directory DIR   the spool, instead of the configured one\n"
    "\n"
    "Exit codes: 0 all were listed; 65 the spool is damaged or another program's;\n"
    "69 there is no spool; 75 locked, try again; 77 not allowed; 78 configuration.\n";

struct failures {
    const char *directory;
    bool is_json;
    int64_t since_ms;
    uint64_t limit; /* 0: all */
    /* while walking */
    uint64_t matched;
    uint64_t skip;
    char *line; /* of --json */
    int code;   /* what became of the last one */
};

static const char *reason_cell(const struct spool_record *record, char text[static COLUMN_MAX])
{
    const char *outcome = spool_outcome_name(record->outcome);
    const char *reason = spool_reason_name(record->reason);

    if (record->code == SPOOL_NO_CODE)
        (void)snprintf(text, COLUMN_MAX, "%s/%s", outcome, reason);
    else
        (void)snprintf(text, COLUMN_MAX, "%s/%s 0x%02X", outcome, reason,
                       (unsigned)record->code);
    return text;
}

static void print_heading(void)
{
    printf("%-24s %-25s %10s %10s %-10s %-23s %s\n", "TIME", "OUTCOME", "ID", "BYTES", "AGE",
           "CLIENT", "TOPIC");
}

static void print_record(const struct spool_record *record)
{
    char time[CLOCK_TEXT_MAX], span[CLOCK_SPAN_MAX], reason[COLUMN_MAX], client[COLUMN_MAX];
    char topic[1024];

    clock_format(record->time_ms, time);
    clock_format_span(record->age_ms, span);
    printf("%-24s %-25s %10" PRIu64 " %10" PRIu64 " %-10s %-23s %s\n", time,
           reason_cell(record, reason), record->id, record->bytes, span,
           cli_printable(client, sizeof(client), record->client),
           cli_printable(topic, sizeof(topic), record->topic));
}

static int print_json(const struct failures *failures, const struct spool_record *record)
{
    struct json json;

    json_init(&json, failures->line, RECORD_LINE_MAX + 1); /* and the newline */
    record_write(&json, record);
    return cli_print_json(&json);
}

static int count_failure(void *userdata, const struct spool_record *record)
{
    struct failures *failures = userdata;

    if (record->time_ms >= failures->since_ms)
        failures->matched++;
    return 0;
}

static int print_failure(void *userdata, const struct spool_record *record)
{
    struct failures *failures = userdata;

    if (record->time_ms < failures->since_ms)
        return 0;
    if (failures->skip > 0) {
        failures->skip--;
        return 0;
    }
    if (failures->is_json)
        failures->code = print_json(failures, record);
    else
        print_record(record);
    return failures->code != EX_OK || ferror(stdout); /* the reader is gone: stop */
}

static int failures_parse(struct failures *failures, int argc, char **argv)
{
    const char *since = NULL;
    const struct cli_option options[] = {
        {.name = "since", .text = &since},
        {.name = "limit", .number = &failures->limit},
        {.name = "json", .flag = &failures->is_json},
        {.name = "directory", .text = &failures->directory},
        {.name = NULL},
    };
    int code = cli_parse_all("failures", help_text, options, argc, argv);

    return code == CLI_CONTINUE
               ? cli_parse_moment("failures", "since", since, &failures->since_ms)
               : code;
}

static int failures_list(struct failures *failures, struct spool *spool)
{
    int result = 0;

    if (failures->limit > 0 || !failures->is_json)
        result = spool_each_record(spool, 0, true, 0, count_failure, failures);
    if (result != 0)
        return cli_report_read_error(spool, result);
    if (failures->limit > 0 && failures->matched > failures->limit)
        failures->skip = failures->matched - failures->limit;
    if (!failures->is_json && failures->matched == 0) {
        puts(failures->since_ms == INT64_MIN ? "No failure is recorded. Those older than "
                                               "audit.keep are in the audit files only."
                                             : "No failure is recorded since then.");
        return EX_OK;
    }
    if (!failures->is_json)
        print_heading();
    result = spool_each_record(spool, 0, true, 0, print_failure, failures);
    return result < 0 ? cli_report_read_error(spool, result) : failures->code;
}

int cli_failures(const struct cli *cli, int argc, char **argv)
{
    AUTO_CONFIG struct config *config = NULL;
    AUTO_SPOOL struct spool *spool = NULL;
    AUTO_FREE char *line = malloc(RECORD_LINE_MAX + 1);
    struct failures failures = {.since_ms = INT64_MIN, .line = line};
    int code = failures_parse(&failures, argc, argv);

    if (code != CLI_CONTINUE)
        return code;
    if (!line) {
        cli_error("out of memory");
        return EX_UNAVAILABLE;
    }
    if (!failures.directory) {
        static const char *const needed[] = {"spool.directory", NULL};

        code = cli_load_config(cli, needed, "--directory DIR", &config);
        if (code != EX_OK)
            return code;
        failures.directory = config->spool.directory;
    }
    code = cli_open_spool(failures.directory, &spool);
    if (code != EX_OK)
        return code;
    return failures_list(&failures, spool);
}
