/* SPDX-License-Identifier: MIT */
/*
 * fuzz_request.c - fuzz target of the requests of operators
 *
 * The input is the payload of a message to $CONTROL/spool/v1. It is either a request
 * that has all that its command needs, or rejected with an error that is text. A
 * broken promise aborts.
 *
 * Built twice: with libFuzzer, and with replay.c over the corpus.
 */
#include "tests/fuzz/promise.h"

#include <string.h>

#include "base/view.h"
#include "daemon/control/request.h"

static void selection_is_sound(const struct request *request)
{
    const struct request_selection *selection = &request->selection;
    bool is_narrowed = selection->ids || selection->lane || selection->topic ||
                       selection->client || selection->user || selection->older_than_ms >= 0;

    PROMISE((selection->ids != NULL) == (selection->id_count > 0));
    PROMISE(selection->id_count <= REQUEST_MAX);
    for (size_t i = 0; i < selection->id_count; i++)
        PROMISE(selection->ids[i] >= 1 && selection->ids[i] <= INT64_MAX);
    PROMISE(selection->older_than_ms >= -1);
    PROMISE(!selection->takes_all || !is_narrowed);
    if (request->command == REQUEST_DROP || request->command == REQUEST_REQUEUE)
        PROMISE(selection->takes_all || is_narrowed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char error[REQUEST_ERROR_MAX];
    struct request request;
    bool has_command = false;
    int r = request_parse((struct view){data, size}, &request, &has_command, error);

    PROMISE(r == 0 || r == REQUEST_E_INVALID);
    PROMISE(memchr(error, '\0', sizeof(error)) != NULL);
    PROMISE((r == 0) == (error[0] == '\0'));
    if (r != 0)
        return 0;
    PROMISE(has_command);
    PROMISE(request.command < REQUEST_COMMANDS);
    selection_is_sound(&request);
    PROMISE(request.limit >= 1);
    PROMISE(request.command != REQUEST_SHOW || request.id >= 1);
    PROMISE(request.command != REQUEST_LOG_LEVEL || *request_level_name(request.level));
    request_finish(&request);
    return 0;
}
