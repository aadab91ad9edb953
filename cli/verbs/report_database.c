/* SPDX-License-Identifier: MIT */
/*
 * report_database.c - what a report takes from the database, and of the process that writes it
 */
#include "cli/verbs/report.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "cli/audit/check.h"
#include "cli/cli.h"
#include "cli/report/page.h"
#include "cli/report/summary.h"
#include "store/spool.h"

/* write_bytes of /proc/PID/io. False: not known, or not for this user. */
static bool read_written(int64_t pid, uint64_t *ret)
{
    char path[64], line[128];
    bool is_found = false;
    FILE *file;

    (void)snprintf(path, sizeof(path), "/proc/%" PRId64 "/io", pid);
    file = fopen(path, "re");
    while (file && !is_found && fgets(line, sizeof(line), file)) {
        char *number = line + strlen("write_bytes: ");

        line[strcspn(line, "\n")] = '\0';
        is_found = strncmp(line, "write_bytes: ", strlen("write_bytes: ")) == 0 &&
                   cli_parse_number(number, 0, UINT64_MAX, ret);
    }
    if (file)
        (void)fclose(file);
    return is_found;
}

/* Of the daemon whose status file is beside the configured socket. */
static void read_writes(struct page_writes *writes)
{
    json_t *root = cli_parse_status();
    int64_t pid = json_integer_value(json_object_get(root, "pid"));

    writes->span_ms = json_integer_value(json_object_get(root, "uptime_ms"));
    writes->is_known =
        writes->span_ms > 0 && cli_process_runs(pid) && read_written(pid, &writes->bytes);
    json_decref(root);
}

static int take_record(void *userdata, const struct spool_record *record)
{
    summary_add(userdata, record, 0);
    return 0;
}

static int take_waiting(struct spool *spool, struct summary *summary)
{
    const struct spool_selection all = {0};
    const struct spool_time now = cli_now();
    struct spool_select *select = NULL;
    struct spool_selected message;
    int result = spool_select_new(spool, SPOOL_PLACE_SPOOLED, &all, &select);

    summary->now_ms = now.wall_ms;
    while (result == 0 || result == SPOOL_E_AGAIN) {
        result = spool_select_next(select, &now, false, &message);
        if (result == 0)
            summary_add_waiting(summary, message.age_ms, message.bytes);
    }
    spool_select_free(select);
    return result == SPOOL_E_EMPTY ? 0 : result;
}

int report_read_database(const char *directory,
                         struct audit_check *check,
                         struct summary *summary,
                         struct page *page)
{
    AUTO_SPOOL struct spool *spool = NULL;
    const struct spool_time now = cli_now();
    int code = cli_open_spool(directory, &spool);
    int result;

    if (code != EX_OK)
        return code;
    result = spool_get_stats(spool, &now, &page->stats);
    page->ledger = check->database.ledger;
    if (result == 0 && !check->database.compared)
        result = spool_get_ledger(spool, &page->ledger);
    if (result == 0)
        result = spool_each_record(spool, audit_reached(check), check->deliveries_omitted, 0,
                                   take_record, summary);
    if (result == 0)
        result = take_waiting(spool, summary);
    if (result == SPOOL_E_OLDER) {
        cli_error("the spool in %s was written by an older version: start the daemon, which "
                  "migrates it, or name the audit files alone",
                  directory);
        return EX_UNAVAILABLE;
    }
    if (result != 0)
        return cli_report_read_error(spool, result);
    if (!check->database.compared && !spool_ledger_balances(&page->ledger))
        audit_add_general_problem(check, "the ledger does not balance");
    page->has_database = true;
    read_writes(&page->writes);
    return EX_OK;
}
