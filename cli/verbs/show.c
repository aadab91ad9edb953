/* SPDX-License-Identifier: MIT */
/*
 * show.c - mqtt-spool show: one message with all that it has
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/json.h"
#include "base/view.h"
#include "cli/cli.h"
#include "cli/verbs/command.h"
#include "cli/verbs/control.h"
#include "cli/verbs/message_json.h"
#include "cli/verbs/message_page.h"
#include "cli/verbs/reach.h"
#include "cli/verbs/selection.h"
#include "store/spool.h"

static const char help_text[] =
    "Usage: mqtt-spool show ID [OPTION]...\n"
    "\n"
    "One message that is spooled, or was rejected and is kept aside, with its\n"
    "properties. Works while the daemon is stopped too.\n"
    "\n"
    "      --payload         its payload too, in base64\n"
    "      --json            one object: the members of list, retain, expiry_ms, the\n"
    "                        MQTT 5 properties; payload\n"
    "      --directory DIR   from the files of this spool; what is in flight is not\n"
    "                        known there\n"
    "      --socket PATH     the daemon's socket, instead of the configured one\n"
    "\n"
    "Exit codes: 0 done; 65 there is no such message, or the spool is damaged; 69\n"
    "there is no spool; 75 try again; 77 not allowed; 78 configuration.\n";

struct show {
    uint64_t id;
    bool is_json;
    bool wants_payload;
    bool is_found;
    json_t *message; /* of the daemon, as far as it came; owned */
};

static int show_message(struct show *show, json_t *message)
{
    show->is_found = true;
    if (show->is_json)
        return command_print_json(message);
    message_page(message);
    return EX_OK;
}

static int take_file_message(void *userdata, const char *text)
{
    json_t *message = json_loads(text, 0, NULL);
    int code = EX_UNAVAILABLE;

    if (message)
        code = show_message(userdata, message);
    else
        cli_error("out of memory");
    json_decref(message);
    return code;
}

static void report_ended(const struct show *show)
{
    cli_error(SELECTION_NO_PAYLOAD "; mqtt-spool audit --id %" PRIu64 " shows its life",
              show->id);
}

static int show_from_files(struct show *show, struct spool *spool)
{
    static const enum spool_place places[] = {SPOOL_PLACE_SPOOLED, SPOOL_PLACE_KEPT};
    const struct spool_selection wanted = {.ids = &show->id, .id_count = 1};
    int code = EX_OK;

    for (size_t i = 0; i < 2 && code == EX_OK && !show->is_found; i++)
        code = message_json_each(spool, places[i], &wanted,
                                 show->wants_payload ? MESSAGE_PAYLOADS : MESSAGE_FULL, 1,
                                 take_file_message, show);
    if (code != EX_OK || show->is_found)
        return code;
    cli_error("there is no message %" PRIu64 " in the spool", show->id);
    report_ended(show);
    return EX_DATAERR;
}

/* Its payload comes in parts, each of whole groups of base64. Return: is there memory? */
static bool append_payload(struct show *show, const json_t *answer)
{
    const char *before = json_string_value(json_object_get(show->message, "payload"));
    const char *part = json_string_value(json_object_get(answer, "payload"));
    char *text = NULL;
    json_t *joined = NULL;

    if (asprintf(&text, "%s%s", before ? before : "", part ? part : "") >= 0)
        joined = json_string(text);
    free(text);
    return joined && json_object_set_new(show->message, "payload", joined) == 0;
}

/* The message is the answer, without what belongs to every answer. */
static int take_answer(void *userdata, json_t *answer)
{
    struct show *show = userdata;
    bool is_last = !json_is_false(json_object_get(answer, "last"));

    if (show->message) {
        if (!append_payload(show, answer)) {
            cli_error("out of memory");
            return EX_UNAVAILABLE;
        }
    } else {
        show->message = json_incref(answer);
        (void)json_object_del(answer, "command");
        (void)json_object_del(answer, "ok");
        (void)json_object_del(answer, "last");
    }
    return is_last ? show_message(show, show->message) : EX_OK;
}

static int show_from_daemon(struct show *show, struct control *control)
{
    char memory[256];
    struct json json;
    int code;

    json_init(&json, memory, sizeof(memory));
    json_open_object(&json, NULL);
    json_text(&json, "command", "show");
    json_unsigned(&json, "id", show->id);
    if (show->wants_payload)
        json_bool(&json, "payload", true);
    json_close_object(&json);
    code = control_request(control, view_of(memory, json_used(&json)), take_answer, show);
    if (code == EX_DATAERR)
        report_ended(show);
    return code;
}

int cli_show(const struct cli *cli, int argc, char **argv)
{
    struct show show = {0};
    struct reach reach = {0};
    const struct cli_option options[] = {
        {.name = "payload", .flag = &show.wants_payload},
        {.name = "json", .flag = &show.is_json},
        {.name = "directory", .text = &reach.directory},
        {.name = "socket", .text = &reach.socket},
        {.name = NULL},
    };
    int code = cli_parse("show", help_text, options, argc, argv);

    if (code != CLI_CONTINUE)
        return code;
    if (argc - optind != 1)
        return cli_usage("show", "give the id of one message, as list shows it");
    if (!cli_parse_number(argv[optind], 1, INT64_MAX, &show.id))
        return cli_usage("show", "\"%s\" is no id", argv[optind]);
    code = reach_either(cli, &reach);
    if (code == EX_OK)
        code = reach.control ? show_from_daemon(&show, reach.control)
                             : show_from_files(&show, reach.spool);
    json_decref(show.message);
    reach_done(&reach);
    return code;
}
