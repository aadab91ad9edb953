/* SPDX-License-Identifier: MIT */
/*
 * list.c - mqtt-spool list: which messages are spooled, or kept aside
 *
 * From the daemon while one runs, because only it knows what is in flight; else from the files.
 */
#include <stdio.h>
#include <sysexits.h>

#include "cli/cli.h"
#include "cli/verbs/command.h"
#include "cli/verbs/message_json.h"
#include "cli/verbs/message_page.h"
#include "cli/verbs/reach.h"
#include "cli/verbs/selection.h"
#include "store/spool.h"

static const char help_text[] =
    "Usage: mqtt-spool list [SELECTION] [OPTION]...\n"
    "\n"
    "The messages that are spooled, oldest first. Works while the daemon is stopped\n"
    "too.\n"
    "\n" SELECTION_HELP "\n"
    "      --rejected        those that were rejected and are kept aside, instead\n"
    "      --limit N         the first N only\n"
    "      --json            one object a line: id, lane, client, uid, topic, qos,\n"
    "                        bytes, accepted, age_ms, attempts, state, ref\n"
    "      --directory DIR   from the files of this spool; what is in flight is not\n"
    "                        known there\n"
    "      --socket PATH     the daemon's socket, instead of the configured one\n"
    "\n"
    "Exit codes: 0 done; 65 the spool is damaged; 69 there is no spool; 75 try again;\n"
    "77 not allowed; 78 configuration.\n";

struct list {
    bool is_json;
    bool wants_rejected;
    uint64_t limit; /* 0: none */
    uint64_t count;
};

static int list_message(struct list *list, const json_t *message)
{
    if (list->limit > 0 && list->count >= list->limit)
        return EX_OK;
    if (list->count++ == 0 && !list->is_json)
        message_page_heading();
    if (list->is_json)
        return command_print_json(message);
    message_page_row(message);
    return ferror(stdout) ? cli_report_write_error(0) : EX_OK;
}

static int take_file_message(void *userdata, const char *text)
{
    json_t *message = json_loads(text, 0, NULL);
    int code = EX_UNAVAILABLE;

    if (message)
        code = list_message(userdata, message);
    else
        cli_error("out of memory");
    json_decref(message);
    return code;
}

static int take_answer(void *userdata, json_t *answer)
{
    const json_t *messages = json_object_get(answer, "messages");
    const json_t *message;
    size_t i;
    int code = EX_OK;

    json_array_foreach(messages, i, message) {
        code = list_message(userdata, message);
        if (code != EX_OK)
            break;
    }
    return code;
}

static const char *none_text(const struct list *list, const struct selection *of)
{
    if (selection_is_narrowed(of))
        return "There is no such message.";
    return list->wants_rejected ? "No rejected messages are kept." : "No messages are spooled.";
}

static int
list_run(const struct cli *cli, struct list *list, struct reach *reach, struct selection *of)
{
    int code = reach_either(cli, reach);

    if (code != EX_OK)
        return code;
    if (reach->control) {
        const struct command command = {.name = "list",
                                        .selection = of,
                                        .wants_rejected = list->wants_rejected,
                                        .limit = list->limit};
        code = command_selected(reach->control, &command, take_answer, list);
    } else {
        const struct spool_selection wanted = selection_for_spool(of);

        code = message_json_each(
            reach->spool, list->wants_rejected ? SPOOL_PLACE_KEPT : SPOOL_PLACE_SPOOLED,
            &wanted, MESSAGE_BRIEF, list->limit > 0 ? list->limit : UINT64_MAX,
            take_file_message, list);
    }
    if (code == EX_OK && list->count == 0 && reach->spool)
        code = selection_check_lane(of, reach->spool);
    if (code == EX_OK && list->count == 0 && !list->is_json) {
        puts(none_text(list, of));
        selection_print_ended(
            of, "one that has ended is listed only if it was rejected, by --rejected");
    }
    return code;
}

int cli_list(const struct cli *cli, int argc, char **argv)
{
    struct list list = {0};
    struct selection selection = {0};
    struct reach reach = {0};
    const struct cli_option options[] = {
        SELECTION_OPTIONS(&selection),
        {.name = "rejected", .flag = &list.wants_rejected},
        {.name = "limit", .number = &list.limit},
        {.name = "json", .flag = &list.is_json},
        {.name = "directory", .text = &reach.directory},
        {.name = "socket", .text = &reach.socket},
        {.name = NULL},
    };
    int code = cli_parse_all("list", help_text, options, argc, argv);

    if (code == CLI_CONTINUE)
        code = selection_finish("list", &selection, false);
    if (code == CLI_CONTINUE)
        code = list_run(cli, &list, &reach, &selection);
    reach_done(&reach);
    selection_done(&selection);
    return code;
}
