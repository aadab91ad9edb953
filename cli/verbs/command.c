/* SPDX-License-Identifier: MIT */
/*
 * command.c - requests to the daemon that the verbs share
 */
#include "cli/verbs/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "base/json.h"
#include "base/text.h"
#include "base/view.h"
#include "cli/verbs/reach.h"
#include "cli/verbs/status_member.h"

enum {
    ID_BYTES = 20,       /* of one in a request, with its comma */
    MEMBER_BYTES = 1024, /* of all that is no text and no id */
};

/* The hexadecimal digits of the escapes \\uXXXX, which jansson writes in capitals and json.h
 * does not. */
static void lower_escapes(char *text)
{
    while ((text = strchr(text, '\\'))) {
        if (text[1] == 'u') {
            for (int i = 2; i < 6 && text[i]; i++) {
                if (text[i] >= 'A' && text[i] <= 'F')
                    text[i] = (char)(text[i] - 'A' + 'a');
            }
        }
        text += text[1] ? 2 : 1;
    }
}

static int print_text(const char *text)
{
    size_t size = 6 * strlen(text) + 2;
    char *memory = malloc(size);
    struct json json;
    int code;

    if (!memory) {
        cli_error("out of memory");
        return EX_UNAVAILABLE;
    }
    json_init(&json, memory, size);
    json_verbatim(&json, text);
    code = cli_print_json(&json);
    free(memory);
    return code;
}

int command_print_json(const json_t *answer)
{
    char *text = json_dumps(answer, JSON_COMPACT);
    int code = EX_UNAVAILABLE;

    if (text) {
        lower_escapes(text);
        code = print_text(text);
    } else {
        cli_error("out of memory");
    }
    free(text);
    return code;
}

struct simple {
    const struct command_options *options;
    const char *done;
};

static int print_done(void *userdata, json_t *answer)
{
    const struct simple *simple = userdata;

    (void)json_object_del(answer, "last");
    cli_note_change();
    if (simple->options->is_json)
        return command_print_json(answer);
    if (simple->done) {
        text_put(stdout, simple->done);
        putchar('\n');
    }
    return EX_OK;
}

static int send_simple(struct control *control,
                       const char *name,
                       const struct command_member *member,
                       const struct simple *simple)
{
    char memory[4096];
    struct json json;

    json_init(&json, memory, sizeof(memory));
    json_open_object(&json, NULL);
    json_text(&json, "command", name);
    if (member && member->text)
        json_text(&json, member->name, member->text);
    json_close_object(&json);
    if (json.failed) {
        cli_error("the argument is too long");
        return EX_DATAERR;
    }
    return control_request(control, view_of(memory, json_used(&json)), print_done,
                           (void *)(uintptr_t)simple);
}

struct holds {
    bool is_held;  /* everything is, by an operator */
    bool is_stuck; /* no commit has room */
    bool has_held_lane;
};

static int take_holds(void *userdata, json_t *answer)
{
    struct holds *holds = userdata;
    const json_t *status = json_object_get(answer, "status");
    const json_t *lane;
    size_t i;

    holds->is_held = json_is_true(status_member(status, "link", "all_held"));
    holds->is_stuck = json_is_true(status_member(status, "link", "held"));
    json_array_foreach(json_object_get(status, "lanes"), i, lane)
        holds->has_held_lane |= json_is_true(json_object_get(lane, "held"));
    return EX_OK;
}

/* What is held a flush does not send. Without an answer it is not known, and that is no error:
 * the flush is done. */
static void print_flushed(struct control *control)
{
    static const char request[] = "{\"command\":\"status\"}";
    struct holds holds = {0};

    cli_silence_errors(true);
    if (control_request(control, view_of(request, sizeof(request) - 1), take_holds, &holds) !=
        EX_OK)
        holds = (struct holds){0};
    cli_silence_errors(false);
    if (holds.is_held)
        puts("The daemon connects, but all is held: nothing is sent until mqtt-spool release.");
    else if (holds.is_stuck)
        puts("The daemon connects, but nothing is sent until a commit has room: see mqtt-spool "
             "status.");
    else if (holds.has_held_lane)
        puts("The daemon connects, and sends what waits, but nothing of a lane that is held "
             "(mqtt-spool status shows it; mqtt-spool release --lane NAME).");
    else
        puts("The daemon connects, and sends what waits.");
}

int command_simple(const struct cli *cli,
                   const struct command_options *options,
                   const char *name,
                   const struct command_member *member,
                   const char *done)
{
    struct reach reach = {.socket = options->socket};
    const struct simple simple = {.options = options, .done = done};
    int code = reach_daemon(cli, &reach);

    if (code == EX_OK)
        code = send_simple(reach.control, name, member, &simple);
    if (code == EX_OK && !done && !options->is_json)
        print_flushed(reach.control);
    reach_done(&reach);
    return code;
}

int command_run(const struct command_verb *verb, const struct cli *cli, int argc, char **argv)
{
    struct command_options command = {0};
    struct command_member lane = {.name = "lane"};
    const struct cli_option options[] = {
        {.name = "json", .flag = &command.is_json},
        {.name = "socket", .text = &command.socket},
        {.name = verb->lane_done[0] ? lane.name : NULL, .text = &lane.text},
        {.name = NULL},
    };
    char done[4096];
    int code = cli_parse_all(verb->name, verb->help, options, argc, argv);

    if (code != CLI_CONTINUE)
        return code;
    if (!lane.text)
        return command_simple(cli, &command, verb->name, NULL, verb->done);
    if (lane.text[0] == '\0')
        return cli_usage(verb->name, "--lane is empty: give the name of a lane");
    text_format(done, sizeof(done), "%s \"%s\" %s", verb->lane_done[0], lane.text,
                verb->lane_done[1]);
    return command_simple(cli, &command, verb->name, &lane, done);
}

/* ---- with a selection ---- */

static size_t text_bytes(const char *text)
{
    return text ? 6 * strlen(text) : 0;
}

/* How many ids a request has room for; 0: its texts are too long already. */
static size_t ids_in_request(const struct selection *selection)
{
    size_t used = MEMBER_BYTES + text_bytes(selection->lane) + text_bytes(selection->topic) +
                  text_bytes(selection->client);

    return used < CONTROL_REQUEST_MAX ? (CONTROL_REQUEST_MAX - used) / ID_BYTES : 0;
}

static void
write_request(struct json *json, const struct command *command, size_t first, size_t count)
{
    json_open_object(json, NULL);
    json_text(json, "command", command->name);
    selection_write(json, command->selection, first, count);
    if (command->is_dry_run)
        json_bool(json, "dry_run", true);
    if (command->wants_rejected)
        json_bool(json, "rejected", true);
    if (command->limit > 0)
        json_unsigned(json, "limit", command->limit);
    json_close_object(json);
}

static int send_parts(struct control *control,
                      const struct command *command,
                      char *memory,
                      size_t most,
                      control_answer_fn *fn,
                      void *userdata)
{
    size_t first = 0;
    size_t left = command->selection->id_count;
    int code;

    do {
        size_t count = left < most ? left : most;
        struct json json;

        json_init(&json, memory, CONTROL_REQUEST_MAX);
        write_request(&json, command, first, count);
        code = control_request(control, view_of(memory, json_used(&json)), fn, userdata);
        first += count;
        left -= count;
    } while (code == EX_OK && left > 0);
    return code;
}

int command_selected(struct control *control,
                     const struct command *command,
                     control_answer_fn *fn,
                     void *userdata)
{
    const struct selection *selection = command->selection;
    size_t most = ids_in_request(selection);
    char *memory;
    int code;

    if (selection->has_ids && selection->id_count == 0)
        return EX_OK;
    if (most == 0) {
        cli_error("the values are too long");
        return EX_DATAERR;
    }
    memory = malloc(CONTROL_REQUEST_MAX);
    if (!memory) {
        cli_error("out of memory");
        return EX_UNAVAILABLE;
    }
    code = send_parts(control, command, memory, most, fn, userdata);
    free(memory);
    return code;
}
