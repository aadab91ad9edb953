/* SPDX-License-Identifier: MIT */
/*
 * check.c - mqtt-spool audit: are the audit files the whole truth?
 *
 * The files are read line by line, in the order of their rotation. Then the sums
 * are compared with the ledger of the database.
 *
 * Memory depends on the ids, a bit each of those that are close together, without
 * deliveries also on the numbers, and on nothing else: id_set.h has the bound.
 */
#include "cli/audit/check.h"

#include "base/cleanup.h"
#include "cli/audit/files.h"
#include "cli/cli.h"
#include "cli/progress.h"
#include "daemon/config/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

static const char help_text[] =
    "Usage: mqtt-spool audit [OPTION]... [FILE]...\n"
    "\n"
    "Verifies audit files, given oldest first (default: the configured one, after the\n"
    "one that was rotated before it, FILE.1, or to answer a question all of these\n"
    "that are not compressed; - is standard input): nothing is missing, no message\n"
    "has two outcomes, the seals hold, the sums are those of the database. The\n"
    "database is compared when the file is the configured one, or -c or --directory\n"
    "says where it is.\n"
    "\n"
    "      --deliveries-off  the file was written with audit.deliveries = false: gaps\n"
    "                        are right\n"
    "      --from N          the first seq must be this one\n"
    "      --directory DIR   the spool to compare with\n"
    "      --since TIME|AGE  answers whether each message that was accepted from then\n"
    "      --until TIME|AGE  on and before then was delivered, or why not; by the\n"
    "                        gateway's wall clock: 2026-11-01T12:00:00Z, or 1h ago\n"
    "      --client ID       of this client only\n"
    "      --topic FILTER    of topics that match, with + and #\n"
    "      --id N            this message, and what became of it; also --ref TEXT,\n"
    "                        its spool-ref\n"
    "      --seals FILE      seals that were published (audit.seal_topic) and kept\n"
    "                        elsewhere, one a line: each must be in the files\n"
    "      --json            one JSON object with the result\n"
    "\n"
    "Exit codes: 0 sound, and what was asked for was delivered or is explained; 64\n"
    "usage; 65 something is wrong, or there is no such message; 69 or 77 a file\n"
    "cannot be read, or the result cannot be printed; 75 some are still spooled, or\n"
    "try again; 78 configuration.\n";

struct audit_request {
    struct audit_files files;
    const char *seals;
    bool is_json;
};

static int
audit_parse(struct audit_check *check, struct audit_request *request, int argc, char **argv)
{
    const struct cli_option options[] = {
        {.name = "deliveries-off", .flag = &check->deliveries_omitted},
        {.name = "from", .number = &check->from},
        {.name = "directory", .text = &request->files.directory},
        {.name = "since", .text = &check->question.since},
        {.name = "until", .text = &check->question.until},
        {.name = "client", .text = &check->question.client},
        {.name = "topic", .text = &check->question.topic},
        {.name = "id", .number = &check->question.id},
        {.name = "ref", .text = &check->question.ref},
        {.name = "seals", .text = &request->seals},
        {.name = "json", .flag = &request->is_json},
        {.name = NULL},
    };
    int code = cli_parse("audit", help_text, options, argc, argv);

    request->files.names = argv + optind;
    request->files.count = argc - optind;
    return code == CLI_CONTINUE ? audit_prepare_question(&check->question) : code;
}

/* A question may be about any time; --from is about the configured file alone. */
static int audit_configure(struct audit_check *check,
                           struct audit_request *request,
                           const struct cli *cli,
                           struct config **ret)
{
    unsigned rotated = check->question.is_asked ? AUDIT_ROTATED_MAX : 1;
    int code =
        audit_configure_files(check, &request->files, check->from == 0 ? rotated : 0, cli, ret);

    if (code != EX_OK || request->files.count > 0)
        return code;
    cli_error("the configuration says that no audit file is written (audit.file = \"\"); name "
              "a file, or see mqtt-spool failures");
    return EX_UNAVAILABLE;
}

int audit_check_files(struct audit_check *check, const struct audit_files *files)
{
    const char *directory = files->directory;
    int code = EX_OK, count = files->count;
    AUTO_FREE int *fds = calloc((size_t)count + 1, sizeof(*fds));

    if (!fds) {
        cli_error("out of memory");
        return EX_UNAVAILABLE;
    }
    audit_begin_seals(&check->seals);
    if (directory)
        code = audit_compare_before(check, directory);
    audit_open_files(files->names, count, fds);
    for (int i = 0; code == EX_OK && i < count; i++)
        code = audit_read_file(check, files->names[i], &fds[i], i + 1 == count);
    audit_close_files(fds, count);
    check->is_rotated = check->lines == 0 && count > 0 &&
                        strcmp(files->names[count - 1], "-") != 0 &&
                        audit_is_rotated(files->names[count - 1]);
    if (code == EX_OK && directory)
        code = audit_compare_after(check, directory);
    if (code == EX_OK && directory && check->question.is_asked)
        code = audit_ask_spool(check, directory);
    audit_close_last(check);
    audit_explain_order(check);
    audit_explain_seals(check);
    audit_compare_far(check);
    return code;
}

/* While the files are read. */
struct audit_reading {
    struct progress progress;
    uint64_t lines;
    uint64_t bytes;
    uint64_t all_bytes; /* 0: not known */
};

static void show_line(void *userdata, const struct json_t *object, size_t size)
{
    struct audit_reading *reading = userdata;

    (void)object;
    reading->bytes += size;
    if (++reading->lines % 1024 == 0)
        progress_show_share(&reading->progress, "reading", reading->bytes, reading->all_bytes,
                            reading->lines);
}

static int audit_run(struct audit_check *check, const struct audit_request *request)
{
    struct audit_reading reading = {.all_bytes = audit_sum_sizes(&request->files)};
    int code;

    progress_init(&reading.progress, false); /* the result comes after it */
    check->on_line = show_line;
    check->userdata = &reading;
    code = audit_check_files(check, &request->files);
    progress_end(&reading.progress);
    check->on_line = NULL;
    check->userdata = NULL;
    if (code != EX_OK)
        return code;
    if (request->is_json)
        code = audit_print_json(check);
    else
        audit_print_page(check);
    if (code == EX_OK && check->question.is_asked)
        return audit_answer_code(check);
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
    if (config && !config->is_partial)
        check.seals.every_ms = config->audit.seal_ms;
    if (code == EX_OK && request.seals)
        code = audit_read_far(&check, request.seals);
    if (code == EX_OK)
        code = audit_run(&check, &request);
    audit_free_files(&request.files);
    audit_free_far(&check);
    audit_free_question(&check.question);
    audit_forget_seen(&check);
    return code;
}
