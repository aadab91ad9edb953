/* SPDX-License-Identifier: MIT */
/*
 * export.c - mqtt-spool export: messages as lines of JSON, for import
 *
 * From the files, so that a spool that was rescued needs no daemon.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sysexits.h>

#include "cli/cli.h"
#include "cli/progress.h"
#include "cli/verbs/message_json.h"
#include "cli/verbs/reach.h"
#include "cli/verbs/selection.h"
#include "store/spool.h"

static const char help_text[] =
    "Usage: mqtt-spool export [SELECTION] [OPTION]... > FILE\n"
    "\n"
    "Messages as JSON Lines, in the order of acceptance, for mqtt-spool import: all\n"
    "properties, what is left of the expiry, the payload in base64. Reads the files\n"
    "of the spool and changes nothing. Stop the daemon first, or hold it, or it may\n"
    "also deliver what is exported.\n"
    "\n" SELECTION_HELP "\n"
    "      --rejected        those that were rejected and are kept aside, instead\n"
    "      --json            accepted; the output is JSON in any case\n"
    "      --directory DIR   the spool, instead of the configured one\n"
    "\n"
    "Exit codes: 0 done; 65 the spool is damaged; 69 there is no spool; 75 try again;\n"
    "77 not allowed; 78 configuration.\n";

struct export
{
    struct progress progress;
    uint64_t count;
};

static int export_message(void *userdata, const char *json)
{
    struct export *export = userdata;

    if (puts(json) < 0)
        return cli_report_write_error(errno);
    progress_show(&export->progress, "exported", ++export->count);
    return EX_OK;
}

static int export_run(struct spool *spool, enum spool_place place, const struct selection *of)
{
    const struct spool_selection wanted = selection_for_spool(of);
    struct export export = {0};
    int code;

    progress_init(&export.progress, true);
    code = message_json_each(spool, place, &wanted, MESSAGE_PAYLOADS, UINT64_MAX,
                             export_message, &export);
    progress_end(&export.progress);
    if (code == EX_OK && export.count == 0)
        code = selection_check_lane(of, spool);
    if (code == EX_OK)
        fprintf(stderr, "exported %" PRIu64 " message%s\n", export.count,
                cli_plural(export.count));
    return code;
}

int cli_export(const struct cli *cli, int argc, char **argv)
{
    struct selection selection = {0};
    struct reach reach = {0};
    bool is_json = false;
    bool wants_rejected = false;
    const struct cli_option options[] = {
        SELECTION_OPTIONS(&selection),
        {.name = "rejected", .flag = &wants_rejected},
        {.name = "json", .flag = &is_json},
        {.name = "directory", .text = &reach.directory},
        {.name = NULL},
    };
    int code = cli_parse_all("export", help_text, options, argc, argv);

    if (code == CLI_CONTINUE)
        code = selection_finish("export", &selection, false);
    if (code == CLI_CONTINUE)
        code = reach_files(cli, &reach);
    if (code == EX_OK && reach.spool)
        code = export_run(reach.spool, wants_rejected ? SPOOL_PLACE_KEPT : SPOOL_PLACE_SPOOLED,
                          &selection);
    reach_done(&reach);
    selection_done(&selection);
    return code;
}
