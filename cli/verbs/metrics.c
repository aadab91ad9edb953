/* SPDX-License-Identifier: MIT */
/*
 * metrics.c - mqtt-spool metrics: the status as metrics of Prometheus
 */
#include "cli/cli.h"

#include <stdio.h>
#include <sysexits.h>

#include "cli/output.h"
#include "cli/verbs/metrics_page.h"
#include "cli/verbs/status_source.h"

enum { FILE_MODE = 0644 };

static const char help_text[] =
    "Usage: mqtt-spool metrics [OPTION]...\n"
    "\n"
    "Metrics in the text format of Prometheus: of the daemon if it runs, else of the\n"
    "files. Counters come from the database, so they continue over restarts.\n"
    "\n"
    "      --output FILE    write this file instead, whole or not at all: for the\n"
    "                       textfile collector of node_exporter\n"
    "      --json           one object a sample: name, type, labels, value\n"
    "      --directory DIR  the spool, instead of the configured one\n"
    "      --socket PATH    the daemon's socket (its status lies beside it)\n"
    "\n"
    "Exit codes: 0 printed or written; 65 the spool is damaged; 69 there is no\n"
    "spool, or FILE cannot be written; 75 locked, try again; 77 not allowed; 78\n"
    "configuration.\n";

static int metrics_write(const struct metrics_page *page, const char *path)
{
    struct output *output;
    int code;

    if (!path) {
        metrics_page_print(page, stdout);
        return EX_OK;
    }
    code = output_open(path, METRICS_PAGE_BEGINS, FILE_MODE, &output);
    if (code != EX_OK)
        return code;
    metrics_page_print(page, output_stream(output));
    return output_commit(output);
}

int cli_metrics(const struct cli *cli, int argc, char **argv)
{
    struct status_source status = {.interval_ms = STATUS_SOURCE_INTERVAL_MS};
    const char *path = NULL;
    bool is_json = false;
    const struct cli_option options[] = {
        {.name = "output", .text = &path},
        {.name = "json", .flag = &is_json},
        {.name = "directory", .text = &status.directory},
        {.name = "socket", .text = &status.socket},
        {.name = NULL},
    };
    int code = cli_parse_all("metrics", help_text, options, argc, argv);

    if (code != CLI_CONTINUE)
        return code;
    code = status_source_configure(&status, cli);
    if (code == EX_OK)
        code = status_source_load(&status);
    if (code == EX_OK)
        code = metrics_write(&(struct metrics_page){.root = status.root,
                                                    .running = status.running,
                                                    .is_own = status.is_own,
                                                    .is_json = is_json},
                             path);
    status_source_done(&status);
    return code;
}
