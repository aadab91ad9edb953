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
#include "base/regular.h"
#include "cli/audit/check.h"
#include "cli/audit/id_set.h"
#include "cli/output.h"
#include "cli/report/page.h"
#include "cli/report/summary.h"
#include "cli/verbs/progress.h"
#include "cli/verbs/report.h"
#include "daemon/config/config.h"
#include "store/spool.h"

#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

#define ROTATED_MAX 400

struct report_request {
    const char *output;
    char **files;
    int file_count;
    char *owned[ROTATED_MAX + 1]; /* names of rotated files, and the configured one */
    const char *directory;
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

static int parse_moment(const char *option, const char *text, int64_t *ret_ms)
{
    uint64_t age_ms;

    if (!text || cli_parse_time(text, ret_ms))
        return CLI_CONTINUE;
    if (!config_parse_time(text, &age_ms) || age_ms > INT64_MAX)
        return cli_usage(
            "report",
            "--%s is a time (RFC 3339) like 2026-11-01T12:00:00Z, or an age like 1h, "
            "not \"%s\"",
            option, text);
    *ret_ms = cli_now().wall_ms - (int64_t)age_ms;
    return CLI_CONTINUE;
}

static int
report_parse(struct audit_check *check, struct report_request *request, int argc, char **argv)
{
    const char *since = NULL, *until = NULL;
    const struct cli_option options[] = {
        {.name = "since", .text = &since},
        {.name = "until", .text = &until},
        {.name = "deliveries-off", .flag = &check->deliveries_omitted},
        {.name = "directory", .text = &request->directory},
        {.name = "json", .flag = &request->is_json},
        {.name = NULL},
    };
    int code = cli_parse("report", help_text, options, argc, argv);

    if (code == CLI_CONTINUE)
        code = parse_moment("since", since, &request->period.since_ms);
    if (code == CLI_CONTINUE)
        code = parse_moment("until", until, &request->period.until_ms);
    if (code != CLI_CONTINUE)
        return code;
    if (optind == argc)
        return cli_usage("report", "the name of the page is missing, for instance report.html");
    if (request->period.since_ms >= request->period.until_ms)
        return cli_usage("report", "--since is not before --until");
    request->output = argv[optind];
    request->files = argv + optind + 1;
    request->file_count = argc - optind - 1;
    return CLI_CONTINUE;
}

/* The configured file, after FILE.2, FILE.1 and so on as far as they can be read. */
static int find_files(struct report_request *request, const char *file)
{
    int count = 1;

    while (count <= ROTATED_MAX) {
        char name[PATH_MAX];

        if (!audit_find_numbered(file, (unsigned)count, name))
            break;
        request->owned[ROTATED_MAX - count] = strdup(name);
        if (!request->owned[ROTATED_MAX - count])
            return -ENOMEM;
        count++;
    }
    request->owned[ROTATED_MAX] = strdup(file);
    request->files = &request->owned[ROTATED_MAX + 1 - count];
    request->file_count = count;
    return request->owned[ROTATED_MAX] ? 0 : -ENOMEM;
}

/* Files that were given alone are not compared with the database of this machine: they may be
 * of another one. */
static int report_configure(struct audit_check *check,
                            struct report_request *request,
                            const struct cli *cli,
                            struct config **ret)
{
    static const char *const needed[] = {"spool.directory", "audit.file", "audit.deliveries",
                                         NULL};
    int code;

    if (request->file_count > 0 && !cli->config_path)
        return EX_OK;
    code = cli_load_config(cli, needed, "the audit files", ret);
    if (code != EX_OK)
        return code;
    if (!(*ret)->audit.has_deliveries)
        check->deliveries_omitted = true;
    if (!request->directory)
        request->directory = (*ret)->spool.directory;
    if (request->file_count > 0 || *(*ret)->audit.file == '\0')
        return EX_OK;
    if (regular_is_other(AT_FDCWD, (*ret)->audit.file)) {
        cli_error("the audit file %s is no regular file; move it away", (*ret)->audit.file);
        return EX_UNAVAILABLE;
    }
    if (find_files(request, (*ret)->audit.file) == 0)
        return EX_OK;
    cli_error("out of memory");
    return EX_UNAVAILABLE;
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

/* 0: not known, because a pipe is among them. */
static uint64_t sum_sizes(const struct report_request *request)
{
    uint64_t sum = 0;

    for (int i = 0; i < request->file_count; i++) {
        struct stat st;

        if (stat(request->files[i], &st) < 0 || !S_ISREG(st.st_mode))
            return 0;
        sum += (uint64_t)st.st_size;
    }
    return sum;
}

static int read_all(struct audit_check *check,
                    const struct report_request *request,
                    struct summary *summary,
                    struct page *page)
{
    struct report_reading reading = {.summary = summary, .all_bytes = sum_sizes(request)};
    int code = EX_OK;

    progress_init(&reading.progress, true);
    check->on_line = take_line;
    check->userdata = &reading;
    if (request->file_count > 0)
        code =
            audit_check_files(check, request->files, request->file_count, request->directory);
    if (code == EX_OK && request->directory)
        code = report_read_database(request->directory, check, summary, page);
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
    int code = output_open(request->output, 0640, &output);

    if (code != EX_OK)
        return code;
    if (!summary) {
        cli_error("out of memory");
        return EX_UNAVAILABLE;
    }
    page.now_ms = cli_now().wall_ms;
    page.zone_ms = localtime_r(&now, &local) ? (int64_t)local.tm_gmtoff * 1000 : 0;
    page.stream = output_stream(output);
    page.has_files = request->file_count > 0;
    page.files = request->files;
    page.file_count = request->file_count;
    page.host = gethostname(host, sizeof(host) - 1) == 0 ? host : "";
    summary_init(summary, &request->period, page.now_ms, page.zone_ms);
    code = read_all(check, request, summary, &page);
    if (code != EX_OK)
        return code;
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
    code = report_configure(&check, &request, cli, &config);
    if (code == EX_OK)
        code = report_run(&check, &request);
    id_set_done(&check.ids);
    for (size_t i = 0; i <= ROTATED_MAX; i++)
        free(request.owned[i]);
    return code;
}
