/* SPDX-License-Identifier: MIT */
/*
 * selection.c - which messages a verb is about: the options of SELECTION
 *
 * The same options for each verb, for the files and for a request to the daemon. A value that
 * selects nothing by mistake is refused here: a wrong filter, a user that does not exist, an id
 * that is no number.
 */
#include "cli/verbs/selection.h"

#include <errno.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/view.h"
#include "cli/cli.h"
#include "cli/lines.h"
#include "daemon/config/config.h"
#include "daemon/mqtt/packet.h"

enum { ID_LINE_MAX = 128, IDS_GROWTH = 1024 };

static int selection_add_id(struct selection *selection, uint64_t id)
{
    if (selection->id_count == SELECTION_IDS_MAX) {
        cli_error("more than %d ids at a time", SELECTION_IDS_MAX);
        return EX_DATAERR;
    }
    if (selection->id_count == selection->id_capacity) {
        size_t capacity = selection->id_capacity * 2 + IDS_GROWTH;
        uint64_t *ids = realloc(selection->ids, capacity * sizeof(*ids));

        if (!ids) {
            cli_error("out of memory");
            return EX_UNAVAILABLE;
        }
        selection->ids = ids;
        selection->id_capacity = capacity;
    }
    selection->ids[selection->id_count++] = id;
    return CLI_CONTINUE;
}

/* Of a line; empty ones are passed over. */
static int take_line(struct selection *selection, const struct line *line, uint64_t number)
{
    char text[ID_LINE_MAX + 1];
    uint64_t id;

    memcpy(text, line->text, line->size);
    text[line->size] = '\0';
    text[strcspn(text, "\r")] = '\0';
    if (text[0] == '\0')
        return CLI_CONTINUE;
    if (!cli_parse_number(text, 1, INT64_MAX, &id)) {
        cli_error("standard input, line %" PRIu64 ": \"%s\" is no id", number, text);
        return EX_DATAERR;
    }
    return selection_add_id(selection, id);
}

static int read_ids(struct selection *selection)
{
    struct lines lines;
    struct line line;
    uint64_t number = 0;
    int code = CLI_CONTINUE;
    int result = 0;

    lines_init(&lines, STDIN_FILENO, ID_LINE_MAX);
    while (code == CLI_CONTINUE && (result = lines_next(&lines, &line)) > 0)
        code = take_line(selection, &line, ++number);
    lines_done(&lines);
    if (code == CLI_CONTINUE && result == -ENOBUFS) {
        cli_error("standard input, line %" PRIu64 ": this is no id", number + 1);
        return EX_DATAERR;
    }
    if (code == CLI_CONTINUE && result < 0) {
        cli_error("cannot read standard input: %s", strerror(-result));
        return EX_UNAVAILABLE;
    }
    return code;
}

int selection_take_id(void *userdata, const char *verb, const char *text)
{
    struct selection *selection = userdata;
    uint64_t id;

    selection->has_ids = true;
    if (strcmp(text, "-") == 0)
        return read_ids(selection);
    if (!cli_parse_number(text, 1, INT64_MAX, &id))
        return cli_usage(
            verb, "--id is a number from 1 on, or - for standard input, not \"%s\"", text);
    return selection_add_id(selection, id);
}

static int find_user(const char *verb, struct selection *selection)
{
    const struct passwd *user;
    uint64_t uid;

    if (cli_parse_number(selection->user, 0, UINT32_MAX - 1, &uid)) {
        selection->uid = (uint32_t)uid;
        return CLI_CONTINUE;
    }
    user = getpwnam(selection->user);
    if (!user)
        return cli_usage(verb, "there is no user \"%s\"", selection->user);
    selection->uid = user->pw_uid;
    return CLI_CONTINUE;
}

bool selection_is_narrowed(const struct selection *selection)
{
    return selection->has_ids || selection->lane || selection->topic || selection->client ||
           selection->user || selection->older_than;
}

static bool is_empty(const char *text)
{
    return text && text[0] == '\0';
}

/* The first option that names something and was given without a name; NULL: none. */
static const char *empty_option(const struct selection *selection)
{
    if (is_empty(selection->lane))
        return "lane";
    if (is_empty(selection->client))
        return "client";
    return is_empty(selection->user) ? "user" : NULL;
}

int selection_finish(const char *verb, struct selection *selection, bool is_needed)
{
    bool is_narrowed = selection_is_narrowed(selection);
    const char *empty = empty_option(selection);

    if (selection->takes_all && is_narrowed)
        return cli_usage(verb,
                         "--all takes all messages, and other options narrow: give either");
    if (is_needed && !is_narrowed && !selection->takes_all)
        return cli_usage(verb, "say which messages: --id, --lane, --topic, --client, --user or "
                               "--older-than; or --all");
    if (empty)
        return cli_usage(verb, "--%s is empty", empty);
    if (selection->topic && !packet_filter_is_valid(view_of_text(selection->topic)))
        return cli_usage(verb,
                         "--topic is a topic filter like plant/+/temp or plant/#, not \"%s\"",
                         selection->topic);
    if (selection->older_than &&
        (!config_parse_time(selection->older_than, &selection->older_than_ms) ||
         selection->older_than_ms > INT64_MAX))
        return cli_usage(verb, "--older-than is an age like 90s, 1h or 2d, not \"%s\"",
                         selection->older_than);
    selection->id_count = spool_sort_ids(selection->ids, selection->id_count);
    return selection->user ? find_user(verb, selection) : CLI_CONTINUE;
}

int selection_check_lane(const struct selection *selection, struct spool *spool)
{
    struct spool_time now = cli_now();

    if (!selection->lane)
        return EX_OK;
    for (size_t i = 0; i < spool_lane_count(spool); i++) {
        struct spool_lane_stats lane;
        int result = spool_get_lane_stats(spool, (unsigned)i, &now, &lane);

        if (result != 0)
            return cli_report_read_error(spool, result);
        if (strcmp(lane.name, selection->lane) == 0)
            return EX_OK;
    }
    cli_error("there is no lane \"%s\" in the spool: mqtt-spool status lists them",
              selection->lane);
    return EX_DATAERR;
}

void selection_done(struct selection *selection)
{
    free(selection->ids);
    *selection = (struct selection){0};
}

void selection_print_ended(const struct selection *selection, const char *what)
{
    if (selection->id_count == 1)
        printf("%s; mqtt-spool audit --id %" PRIu64 " shows its life\n", what,
               selection->ids[0]);
    else if (selection->id_count > 1)
        printf("%s; mqtt-spool audit --id N shows its life\n", what);
}

struct spool_selection selection_for_spool(const struct selection *selection)
{
    static const uint64_t none;

    return (struct spool_selection){
        .ids = selection->id_count > 0 ? selection->ids
               : selection->has_ids    ? &none
                                       : NULL,
        .id_count = selection->id_count,
        .lane = selection->lane,
        .client = selection->client,
        .topic = selection->topic,
        .topic_matches = packet_topic_matches,
        .has_uid = selection->user != NULL,
        .uid = selection->uid,
        .older_than_ms = selection->older_than_ms,
    };
}

void selection_write(struct json *json,
                     const struct selection *selection,
                     size_t first,
                     size_t count)
{
    if (selection->has_ids) {
        json_open_array(json, "ids");
        for (size_t i = first; i < first + count; i++)
            json_unsigned(json, NULL, selection->ids[i]);
        json_close_array(json);
    }
    if (selection->lane)
        json_text(json, "lane", selection->lane);
    if (selection->topic)
        json_text(json, "topic", selection->topic);
    if (selection->client)
        json_text(json, "client", selection->client);
    if (selection->user)
        json_unsigned(json, "user", selection->uid);
    if (selection->older_than)
        json_unsigned(json, "older_than_ms", selection->older_than_ms);
    if (selection->takes_all)
        json_bool(json, "all", true);
}
