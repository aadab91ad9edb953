/* SPDX-License-Identifier: MIT */
/*
 * selection.h - which messages a verb is about: the options of SELECTION
 *
 * Thread: the tool has one.
 */
#ifndef MQTT_SPOOLD_CLI_VERBS_SELECTION_H
#define MQTT_SPOOLD_CLI_VERBS_SELECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/json.h"
#include "store/spool.h"

enum { SELECTION_IDS_MAX = 10000000 };

/* Texts are into argv. */
struct selection {
    uint64_t *ids; /* owned; rising, each once, after selection_finish() */
    size_t id_count;
    size_t id_capacity;
    bool has_ids; /* --id was given, even if standard input had none */
    const char *lane;
    const char *topic;
    const char *client;
    const char *user;
    const char *older_than;
    bool takes_all;
    uint32_t uid; /* of @user */
    uint64_t older_than_ms;
};

/* Of a message that is neither spooled nor kept aside. */
#define SELECTION_NO_PAYLOAD                                                                   \
    "one that has ended without being rejected has no payload any more and cannot be sent "    \
    "again"

/* For --id, see SELECTION_OPTIONS. @userdata: a struct selection. */
int selection_take_id(void *userdata, const char *verb, const char *text);

/* Entries for cli_parse(). */
#define SELECTION_OPTIONS(selection)                                                           \
    {.name = "id", .take = selection_take_id, .userdata = (selection)},                        \
        {.name = "lane", .text = &(selection)->lane},                                          \
        {.name = "topic", .text = &(selection)->topic},                                        \
        {.name = "client", .text = &(selection)->client},                                      \
        {.name = "user", .text = &(selection)->user},                                          \
    {                                                                                          \
        .name = "older-than", .text = &(selection)->older_than                                 \
    }
/* Their lines in the page of a verb. */
#define SELECTION_HELP                                                                         \
    "      --id N            this message; may be repeated; - reads standard input\n"          \
    "      --lane NAME       of this lane\n"                                                   \
    "      --topic FILTER    of topics that match, with + and #\n"                             \
    "      --client ID       of this client\n"                                                 \
    "      --user NAME|UID   of this user\n"                                                   \
    "      --older-than AGE  accepted at least so long ago: 90s, 1h, 2d\n"

/*
 * selection_finish() - checks the options after cli_parse()
 * @is_needed: one of them, or --all, must be given
 *
 * Return: CLI_CONTINUE; the exit code, reported.
 */
MUST_CHECK int selection_finish(const char *verb, struct selection *selection, bool is_needed);
void selection_done(struct selection *selection);

/* Does an option narrow? */
bool selection_is_narrowed(const struct selection *selection);

/* Nothing was found in the files: is there such a lane at all, if one was given?
 * Return: EX_OK; EX_DATAERR, reported; or why it cannot be read. */
MUST_CHECK int selection_check_lane(const struct selection *selection, struct spool *spool);

/* It has ids and nothing was found: where to look for one that has ended.
 * @what: why such a one was not found */
void selection_print_ended(const struct selection *selection, const char *what);

/* Borrows from @selection. */
struct spool_selection selection_for_spool(const struct selection *selection);

/* The members of a request; of the ids those from @first on, @count of them. */
void selection_write(struct json *json,
                     const struct selection *selection,
                     size_t first,
                     size_t count);

#endif
