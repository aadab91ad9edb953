/* SPDX-License-Identifier: MIT */
/*
 * change.c - what drop and requeue share: commands that change selected messages
 *
 * What cannot be undone is asked for, after the daemon has counted what it would change. What
 * has no terminal to ask on must say --yes.
 */
#include "cli/verbs/change.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/json.h"
#include "cli/progress.h"
#include "cli/verbs/command.h"
#include "cli/verbs/reach.h"
#include "cli/verbs/selection.h"

struct counts {
    uint64_t matched;
    uint64_t changed;
    uint64_t in_flight;
};

struct change_request {
    const struct change *change;
    struct selection selection;
    struct reach reach;
    bool is_json;
    bool is_dry_run;
    bool is_confirmed;
    struct counts done; /* by the requests that ended */
    struct counts open; /* by the one that runs */
    struct progress progress;
};

static uint64_t count_of(const json_t *answer, const char *name)
{
    json_int_t count = json_integer_value(json_object_get(answer, name));

    return count > 0 ? (uint64_t)count : 0;
}

/* Counts of an answer that is not the last one are those so far. */
static int take_counts(void *userdata, json_t *answer)
{
    struct change_request *request = userdata;

    request->open = (struct counts){
        .matched = count_of(answer, "matched"),
        .changed = count_of(answer, request->change->counted),
        .in_flight = count_of(answer, "in_flight"),
    };
    progress_show(&request->progress, request->change->counted,
                  request->done.changed + request->open.changed);
    if (json_is_false(json_object_get(answer, "last")))
        return EX_OK;
    request->done.matched += request->open.matched;
    request->done.changed += request->open.changed;
    request->done.in_flight += request->open.in_flight;
    request->open = (struct counts){0};
    return EX_OK;
}

static int change_send(struct change_request *request, bool is_dry_run)
{
    const struct command command = {.name = request->change->verb,
                                    .selection = &request->selection,
                                    .is_dry_run = is_dry_run};
    int code;

    request->done = (struct counts){0};
    progress_init(&request->progress, false);
    code = command_selected(request->reach.control, &command, take_counts, request);
    progress_end(&request->progress);
    return code;
}

static int print_counts_json(const struct change_request *request, bool is_ok)
{
    char memory[512];
    struct json json;

    json_init(&json, memory, sizeof(memory));
    json_open_object(&json, NULL);
    json_text(&json, "command", request->change->verb);
    json_bool(&json, "ok", is_ok);
    json_unsigned(&json, "matched", request->done.matched);
    json_unsigned(&json, request->change->counted, request->done.changed);
    if (request->change->asks)
        json_unsigned(&json, "in_flight", request->done.in_flight);
    if (request->is_dry_run)
        json_bool(&json, "dry_run", true);
    json_close_object(&json);
    return cli_print_json(&json);
}

static int print_counts(const struct change_request *request, bool is_ok)
{
    const struct counts *done = &request->done;

    if (request->is_json)
        return print_counts_json(request, is_ok);
    printf("%" PRIu64 " message%s matched, %" PRIu64 " %s%s", done->matched,
           cli_plural(done->matched), done->changed, request->is_dry_run ? "would be " : "",
           request->change->counted);
    if (done->in_flight > 0)
        printf("; %" PRIu64 " in flight stay%s", done->in_flight,
               done->in_flight == 1 ? "s" : "");
    putchar('\n');
    if (done->matched == 0)
        selection_print_ended(&request->selection, request->change->ended);
    return EX_OK;
}

/* Is it wanted, after all? */
static bool ask(const struct change_request *request)
{
    char answer[16] = "";

    fprintf(stderr, "%s %" PRIu64 " message%s? This cannot be undone. [y/N] ",
            request->change->verb, request->done.changed, cli_plural(request->done.changed));
    (void)fflush(stderr);
    if (!fgets(answer, sizeof(answer), stdin))
        return false;
    return strcmp(answer, "y\n") == 0 || strcmp(answer, "yes\n") == 0;
}

static int change_confirmed(struct change_request *request)
{
    bool asks = request->change->asks && !request->is_confirmed && !request->is_dry_run;

    if (asks) {
        int code = change_send(request, true);

        if (code != EX_OK)
            return code;
        if (request->done.changed > 0 && !ask(request)) {
            puts("Nothing was changed.");
            return EX_OK;
        }
    }
    int code = change_send(request, request->is_dry_run);
    if (code != EX_OK && request->done.matched == 0)
        return code;
    if (code == EX_OK && !request->is_dry_run)
        cli_note_change();
    int printed = print_counts(request, code == EX_OK);
    return code == EX_OK ? printed : code;
}

static int change_parse(struct change_request *request, int argc, char **argv)
{
    const struct change *change = request->change;
    const struct cli_option options[] = {
        SELECTION_OPTIONS(&request->selection),
        {.name = "all", .flag = &request->selection.takes_all},
        {.name = "dry-run", .flag = &request->is_dry_run},
        {.name = "json", .flag = &request->is_json},
        {.name = "socket", .text = &request->reach.socket},
        {.name = change->asks ? "yes" : NULL, .flag = &request->is_confirmed},
        {.name = NULL},
    };
    int code = cli_parse_all(change->verb, change->help, options, argc, argv);

    if (code == CLI_CONTINUE)
        code = selection_finish(change->verb, &request->selection, true);
    if (code != CLI_CONTINUE || !change->asks || request->is_confirmed || request->is_dry_run ||
        (isatty(STDIN_FILENO) && isatty(STDERR_FILENO)))
        return code;
    return cli_usage(change->verb,
                     "without a terminal to ask on, %s needs --yes (see what it "
                     "would do with --dry-run)",
                     change->verb);
}

int change_run(const struct change *change, const struct cli *cli, int argc, char **argv)
{
    struct change_request request = {.change = change};
    int code = change_parse(&request, argc, argv);

    if (code == CLI_CONTINUE)
        code = reach_daemon(cli, &request.reach);
    if (code == EX_OK && request.reach.control)
        code = change_confirmed(&request);
    reach_done(&request.reach);
    selection_done(&request.selection);
    return code;
}
