/* SPDX-License-Identifier: MIT */
/*
 * message_json.c - messages of the spool's files, each as an object of JSON
 *
 * Each is read in a snapshot of its own, so that a reader that waits for a pager does not keep
 * the daemon's log from being used again.
 */
#include "cli/verbs/message_json.h"

#include <stdlib.h>
#include <sysexits.h>

#include "base/json.h"
#include "cli/cli.h"
#include "daemon/record/selected.h"

struct message_walk {
    struct spool *spool;
    enum message_detail detail;
    char *memory;
    size_t size;
};

/* Each byte of a text may need six characters. */
static size_t message_size(const struct spool_selected *selected)
{
    const struct spool_message *message = &selected->message;

    return 6 * (message->client.size + message->topic.size + message->ref.size +
                message->properties.size * 2) +
           message->payload.size * 2 + 4096;
}

static int message_write(struct message_walk *walk, const struct spool_selected *selected)
{
    size_t size = message_size(selected);
    struct json json;

    if (!walk->memory || size > walk->size) {
        char *memory = realloc(walk->memory, size);

        if (!memory) {
            cli_error("out of memory");
            return EX_UNAVAILABLE;
        }
        walk->memory = memory;
        walk->size = size;
    }
    json_init(&json, walk->memory, walk->size - 1);
    json_open_object(&json, NULL);
    record_write_selected(&json, selected,
                          spool_is_held(walk->spool, selected->message.lane_name), UINT16_MAX);
    if (walk->detail != MESSAGE_BRIEF)
        record_write_details(&json, selected);
    if (walk->detail == MESSAGE_PAYLOADS)
        json_base64(&json, "payload", selected->message.payload.data,
                    selected->message.payload.size);
    json_close_object(&json);
    walk->memory[json_used(&json)] = '\0';
    if (!json.failed)
        return EX_OK;
    cli_error("message %llu is larger than the memory for it",
              (unsigned long long)selected->message.id);
    return EX_UNAVAILABLE;
}

static int walk_over(struct message_walk *walk,
                     struct spool_select *select,
                     uint64_t limit,
                     message_json_fn *fn,
                     void *userdata,
                     int *ret_result)
{
    struct spool_selected selected;
    int code = EX_OK;

    while (code == EX_OK && limit > 0) {
        struct spool_time now = cli_now();

        *ret_result = spool_select_next(select, &now, walk->detail != MESSAGE_BRIEF, &selected);
        if (*ret_result == SPOOL_E_AGAIN)
            continue;
        if (*ret_result != 0)
            return code;
        code = message_write(walk, &selected);
        if (code == EX_OK)
            code = fn(userdata, walk->memory);
        limit--;
    }
    return code;
}

int message_json_each(struct spool *spool,
                      enum spool_place place,
                      const struct spool_selection *selection,
                      enum message_detail detail,
                      uint64_t limit,
                      message_json_fn *fn,
                      void *userdata)
{
    struct message_walk walk = {.spool = spool, .detail = detail};
    struct spool_select *select = NULL;
    int result = spool_select_new(spool, place, selection, &select);
    int code = EX_OK;

    if (result == 0)
        code = walk_over(&walk, select, limit, fn, userdata, &result);
    spool_select_free(select);
    free(walk.memory);
    return result == 0 || result == SPOOL_E_EMPTY ? code : cli_report_read_error(spool, result);
}
