/* SPDX-License-Identifier: MIT */
/*
 * report.c - mqtt-spool report: the history of the spool as one page of HTML
 *
 * The files are verified as by mqtt-spool audit, and each line is added to the summary
 * meanwhile: one pass, in memory that does not depend on their length. Then the records
 * that the files lack, and what waits, are read from the database.
 */
#include "cli/cli.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "cli/audit/check.h"
#include "cli/audit/files.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/report/page.h"
#include "cli/report/summary.h"
#include "cli/verbs/report.h"
#include "daemon/config/config.h"
#include "store/spool.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

static const char help_text[] =
    "Usage: mqtt-spool report [OPTION]... FILE.html [AUDIT-FILE]...\n"
    "\n"
    "Writes one page of HTML, which needs nothing besides itself: what was accepted,\n"
    "delivered and not delivered over time, outages, backlog, delays, reasons, wear,\n"
    "and the ledger with its proof. Audit files are given oldest first (default: the\n"
    "configured one, after those that were rotated before it and are not compressed;\n"
    "- is standard input).\n"
    "\n"
    "      --since TIME|AGE  the charts begin there: 2026-11-01T12:00:00Z, any RFC\n"
    "                        3339 time, or 1h, 2d. The files are verified whole\n"
    "      --until TIME|AGE  and end there\n"
    "      --deliveries-off  the files were written with audit.deliveries = false\n"
    "      --directory DIR   the spool, instead of the configured one\n"
    "      --json            print one JSON object with the key figures\n"
    "\n"
    "Exit codes: 0 written; 65 written, and the page says NOT SOUND; 64 usage; 69 a\n"
    "file cannot be read or written; 75 try again; 77 not allowed; 78 configuration.\n";

struct report_request {
    const char *output;
    struct audit_files files;
    struct summary_period period;
    bool is_json;
};

/* What is read while the files are. */
struct report_reading {
    struct summary *summary;
    struct progress progress;
    uint64_t lines;
    uint64_t bytes;
    uint64_t all_bytes; /* 0: not known */
};

static int
report_parse(struct audit_check *check, struct report_request *request, int argc, char **argv)
{
    const char *since = NULL, *until = NULL;
    const struct cli_option options[] = {
        {.name = "since", .text = &since},
        {.name = "until", .text = &until},
        {.name = "deliveries-off", .flag = &check->deliveries_omitted},
        {.name = "directory", .text = &request->files.directory},
        {.name = "json", .flag = &request->is_json},
        {.name = NULL},
    };
    int code = cli_parse("report", help_text, options, argc, argv);

    if (code == CLI_CONTINUE)
        code = cli_parse_moment("report", "since", since, &request->period.since_ms);
    if (code == CLI_CONTINUE)
        code = cli_parse_moment("report", "until", until, &request->period.until_ms);
    if (code != CLI_CONTINUE)
        return code;
    if (optind == argc)
        return cli_usage("report", "the name of the page is missing, for instance report.html");
    if (request->period.since_ms >= request->period.until_ms)
        return cli_usage("report", "--since is not before --until");
    request->output = argv[optind];
    request->files.names = argv + optind + 1;
    request->files.count = argc - optind - 1;
    return CLI_CONTINUE;
}

static void take_line(void *userdata, const struct json_t *object, size_t size)
{
    struct report_reading *reading = userdata;

    summary_add_line(reading->summary, object, size);
    reading->bytes += size;
    if (++reading->lines % 1024 == 0)
        progress_show_share(&reading->progress, "reading", reading->bytes, reading->all_bytes,
                            reading->lines);
}

static int read_all(struct audit_check *check,
                    const struct report_request *request,
                    struct summary *summary,
                    struct page *page)
{
    struct report_reading reading = {.summary = summary,
                                     .all_bytes = audit_sum_sizes(&request->files)};
    int code = EX_OK;

    progress_init(&reading.progress, true);
    check->on_line = take_line;
    check->userdata = &reading;
    if (request->files.count > 0)
        code = audit_check_files(check, &request->files);
    if (code == EX_OK && request->files.directory)
        code = report_read_database(request->files.directory, check, summary, page);
    progress_end(&reading.progress);
    check->on_line = NULL;
    check->userdata = NULL;
    summary_end(summary);
    return code;
}

static int print_result(const struct report_request *request, const struct page *page)
{
    const struct summary *summary = page->summary;
    AUTO_FREE char *memory = NULL;
    char sentence[PAGE_SENTENCE_MAX];
    enum page_verdict verdict = page_judge(page, sentence);
    struct json json;
    int code;

    if (!request->is_json) {
        printf("%s: %s. %s\n", request->output, page_verdict_word(verdict), sentence);
        return EX_OK;
    }
    code = cli_open_json(&json, (size_t)64 * 1024, &memory);
    if (code != EX_OK)
        return code;
    json_text(&json, "file", request->output);
    json_text(&json, "verdict", page_verdict_word(verdict));
    json_text(&json, "text", sentence);
    json_unsigned(&json, "problems", page->check->problem_count);
    json_unsigned(&json, "lines", page->check->lines);
    json_unsigned(&json, "accepted", summary->accepted);
    json_unsigned(&json, "delivered", summary->ended[SPOOL_DELIVERED]);
    json_unsigned(&json, "failed", summary_failed(summary));
    json_unsigned(&json, "waiting", summary->waiting);
    json_close_object(&json);
    return cli_print_json(&json);
}

/* The page is opened first: what cannot be written is not read for minutes. */
static int report_run(struct audit_check *check, const struct report_request *request)
{
    AUTO_OUTPUT struct output *output = NULL;
    AUTO_FREE struct summary *summary = malloc(sizeof(*summary));
    char host[256] = "";
    time_t now = time(NULL);
    struct tm local = {0};
    struct page page = {.summary = summary, .check = check};
    int code = output_open(request->output, PAGE_BEGINS, 0640, &output);

    if (code != EX_OK)
        return code;
    if (!summary) {
        cli_error("out of memory");
        return EX_UNAVAILABLE;
    }
    page.zone_ms = localtime_r(&now, &local) ? (int64_t)local.tm_gmtoff * 1000 : 0;
    page.stream = output_stream(output);
    page.has_files = request->files.count > 0;
    page.files = request->files.names;
    page.file_count = request->files.count;
    page.host = gethostname(host, sizeof(host) - 1) == 0 ? host : "";
    summary_init(summary, &request->period, cli_now().wall_ms, page.zone_ms);
    code = read_all(check, request, summary, &page);
    if (code != EX_OK)
        return code;
    page.now_ms = cli_now().wall_ms;
    page_put(&page);
    code = output_commit(output);
    output = NULL;
    if (code == EX_OK)
        code = print_result(request, &page);
    return code == EX_OK && check->problem_count > 0 ? EX_DATAERR : code;
}

int cli_report(const struct cli *cli, int argc, char **argv)
{
    AUTO_CONFIG struct config *config = NULL;
    struct audit_check check = {0};
    struct report_request request = {.period = {INT64_MIN, INT64_MAX}};
    int code = report_parse(&check, &request, argc, argv);

    if (code != CLI_CONTINUE)
        return code;
    code = audit_configure_files(&check, &request.files, AUDIT_ROTATED_MAX, cli, &config);
    if (code == EX_OK)
        code = report_run(&check, &request);
    audit_forget_seen(&check);
    audit_free_files(&request.files);
    return code;
}
