/* SPDX-License-Identifier: MIT */
/*
 * request.c - what an operator asks of the daemon, read from JSON
 *
 * jansson reads the text, because it was written by others; nothing of its objects
 * outlives request_parse(). It allocates up to a hundred bytes for a few bytes of
 * text, so what it has in use is counted and bounded.
 *
 * Invariant: a request that is returned has all that its command needs, and no
 * member that its command does not have.
 */
#include "daemon/control/request.h"

#include <errno.h>
#include <jansson.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"

#define SHOWN_MAX 64 /* of a text of the request, in an error */

enum member {
    MEMBER_IDS,
    MEMBER_LANE,
    MEMBER_TOPIC,
    MEMBER_CLIENT,
    MEMBER_USER,
    MEMBER_OLDER_THAN,
    MEMBER_ALL,
    MEMBER_DRY_RUN,
    MEMBER_REJECTED,
    MEMBER_LIMIT,
    MEMBER_ID,
    MEMBER_PAYLOAD,
    MEMBER_LEVEL,
    MEMBERS
};
#define BIT(member) (1u << MEMBER_##member)
#define NARROWING_BITS                                                                         \
    (BIT(IDS) | BIT(LANE) | BIT(TOPIC) | BIT(CLIENT) | BIT(USER) | BIT(OLDER_THAN))

static const char *const member_names[] = {
    [MEMBER_IDS] = "ids",
    [MEMBER_LANE] = "lane",
    [MEMBER_TOPIC] = "topic",
    [MEMBER_CLIENT] = "client",
    [MEMBER_USER] = "user",
    [MEMBER_OLDER_THAN] = "older_than_ms",
    [MEMBER_ALL] = "all",
    [MEMBER_DRY_RUN] = "dry_run",
    [MEMBER_REJECTED] = "rejected",
    [MEMBER_LIMIT] = "limit",
    [MEMBER_ID] = "id",
    [MEMBER_PAYLOAD] = "payload",
    [MEMBER_LEVEL] = "level",
};

static const struct {
    const char *name;
    unsigned members;
    bool changes; /* something, unless it is a dry run */
} commands[] = {
    [REQUEST_STATUS] = {"status", 0, false},
    [REQUEST_FLUSH] = {"flush", 0, false},
    [REQUEST_HOLD] = {"hold", BIT(LANE), true},
    [REQUEST_RELEASE] = {"release", BIT(LANE), true},
    [REQUEST_DROP] = {"drop", NARROWING_BITS | BIT(ALL) | BIT(DRY_RUN), true},
    [REQUEST_REQUEUE] = {"requeue", NARROWING_BITS | BIT(ALL) | BIT(DRY_RUN), true},
    [REQUEST_LIST] = {"list", NARROWING_BITS | BIT(REJECTED) | BIT(LIMIT), false},
    [REQUEST_SHOW] = {"show", BIT(ID) | BIT(PAYLOAD), false},
    [REQUEST_LOG_LEVEL] = {"log_level", BIT(LEVEL), true},
    [REQUEST_ROTATE] = {"rotate", 0, true},
};

static const struct {
    const char *name;
    int level;
} levels[] = {
    {"error", LOG_LEVEL_ERROR}, {"warning", LOG_LEVEL_WARNING}, {"notice", LOG_LEVEL_NOTICE},
    {"info", LOG_LEVEL_INFO},   {"debug", LOG_LEVEL_DEBUG},
};
#define LEVEL_COUNT (sizeof(levels) / sizeof(levels[0]))

const char *request_command_name(enum request_command command)
{
    return commands[command].name;
}

bool request_changes(const struct request *request)
{
    return commands[request->command].changes && !request->is_dry_run;
}

const char *request_level_name(int level)
{
    for (size_t i = 0; i < LEVEL_COUNT; i++) {
        if (levels[i].level == level)
            return levels[i].name;
    }
    return "";
}

/* ---- memory of jansson ---- */

static size_t bytes_in_use;
static bool is_out_of_memory;

static void *request_allocate(size_t size)
{
    void *memory = bytes_in_use + size <= REQUEST_MEMORY_MAX ? malloc(size) : NULL;

    if (!memory)
        is_out_of_memory = true;
    else
        bytes_in_use += malloc_usable_size(memory);
    return memory;
}

static void request_release(void *memory)
{
    if (memory)
        bytes_in_use -= malloc_usable_size(memory);
    free(memory);
}

/* ---- members ---- */

struct parse {
    struct request *request;
    char *error;
};

static int request_invalid(const struct parse *parse, const char *format, ...)
    PRINTF_LIKE(2, 3);
static int request_invalid(const struct parse *parse, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    text_vformat(parse->error, REQUEST_ERROR_MAX, format, arguments);
    va_end(arguments);
    return REQUEST_E_INVALID;
}

static int wrong_type(const struct parse *parse, enum member member, const char *right)
{
    return request_invalid(parse, "\"%s\" is not %s", member_names[member], right);
}

static int
take_text(const struct parse *parse, enum member member, const json_t *value, char **ret)
{
    if (!json_is_string(value) || json_string_length(value) == 0)
        return wrong_type(parse, member, "a text that is not empty");
    *ret = strdup(json_string_value(value));
    return *ret ? 0 : -ENOMEM;
}

static int take_number(const struct parse *parse,
                       enum member member,
                       const json_t *value,
                       json_int_t minimum,
                       uint64_t *ret)
{
    if (!json_is_integer(value) || json_integer_value(value) < minimum)
        return request_invalid(parse, "\"%s\" is not a whole number from %d on",
                               member_names[member], (int)minimum);
    *ret = (uint64_t)json_integer_value(value);
    return 0;
}

static int
take_bool(const struct parse *parse, enum member member, const json_t *value, bool *ret)
{
    if (!json_is_boolean(value))
        return wrong_type(parse, member, "true or false");
    *ret = json_is_true(value);
    return 0;
}

static int take_ids(const struct parse *parse, const json_t *value)
{
    struct request_selection *selection = &parse->request->selection;
    size_t count = json_array_size(value); /* 0: no array */

    if (count == 0)
        return wrong_type(parse, MEMBER_IDS, "an array of ids, as list shows them");
    selection->ids = calloc(count, sizeof(*selection->ids));
    if (!selection->ids)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        const json_t *id = json_array_get(value, i);

        if (!json_is_integer(id) || json_integer_value(id) < 1)
            return wrong_type(parse, MEMBER_IDS, "an array of whole numbers from 1 on");
        selection->ids[i] = (uint64_t)json_integer_value(id);
    }
    selection->id_count = count;
    return 0;
}

/* As a number, or as a text. */
static int take_user(const struct parse *parse, const json_t *value)
{
    struct request_selection *selection = &parse->request->selection;
    char digits[24];

    if (json_is_integer(value) && json_integer_value(value) >= 0 &&
        json_integer_value(value) < UINT32_MAX) {
        (void)snprintf(digits, sizeof(digits), "%" JSON_INTEGER_FORMAT,
                       json_integer_value(value));
        selection->user = strdup(digits);
        return selection->user ? 0 : -ENOMEM;
    }
    if (!json_is_string(value) || json_string_length(value) == 0)
        return wrong_type(parse, MEMBER_USER, "a uid or the name of a user");
    return take_text(parse, MEMBER_USER, value, &selection->user);
}

static int take_level(const struct parse *parse, const json_t *value)
{
    const char *text = json_string_value(value); /* NULL: no text */

    for (size_t i = 0; text && i < LEVEL_COUNT; i++) {
        if (strcmp(levels[i].name, text) == 0) {
            parse->request->level = levels[i].level;
            return 0;
        }
    }
    return wrong_type(parse, MEMBER_LEVEL, "one of error, warning, notice, info, debug");
}

static int take_age(const struct parse *parse, const json_t *value)
{
    uint64_t age_ms = 0;
    int r = take_number(parse, MEMBER_OLDER_THAN, value, 0, &age_ms);

    if (r == 0)
        parse->request->selection.older_than_ms = (int64_t)age_ms;
    return r;
}

static int take_member(const struct parse *parse, enum member member, const json_t *value)
{
    struct request *request = parse->request;
    struct request_selection *selection = &request->selection;

    switch (member) {
    case MEMBER_IDS:
        return take_ids(parse, value);
    case MEMBER_LANE:
        return take_text(parse, member, value, &selection->lane);
    case MEMBER_TOPIC:
        return take_text(parse, member, value, &selection->topic);
    case MEMBER_CLIENT:
        return take_text(parse, member, value, &selection->client);
    case MEMBER_USER:
        return take_user(parse, value);
    case MEMBER_OLDER_THAN:
        return take_age(parse, value);
    case MEMBER_ALL:
        return take_bool(parse, member, value, &selection->takes_all);
    case MEMBER_DRY_RUN:
        return take_bool(parse, member, value, &request->is_dry_run);
    case MEMBER_REJECTED:
        return take_bool(parse, member, value, &request->wants_rejected);
    case MEMBER_PAYLOAD:
        return take_bool(parse, member, value, &request->wants_payload);
    case MEMBER_LIMIT:
        return take_number(parse, member, value, 1, &request->limit);
    case MEMBER_ID:
        return take_number(parse, member, value, 1, &request->id);
    case MEMBER_LEVEL:
        return take_level(parse, value);
    case MEMBERS:
        break;
    }
    return -EINVAL;
}

/* ---- the object ---- */

static int unknown_member(const struct parse *parse, const char *name)
{
    unsigned members = commands[parse->request->command].members;
    int shown = text_prefix_size(name, SHOWN_MAX);

    if (members == 0)
        return request_invalid(parse, "\"%.*s\" is unknown: %s has no members but \"command\"",
                               shown, name, commands[parse->request->command].name);
    (void)request_invalid(parse, "\"%.*s\" is unknown: the members of %s are", shown, name,
                          commands[parse->request->command].name);
    for (unsigned i = 0; i < MEMBERS; i++) {
        if (members & (1u << i))
            text_append(parse->error, REQUEST_ERROR_MAX, " %s", member_names[i]);
    }
    return REQUEST_E_INVALID;
}

/* Return: MEMBERS: the command has none of that name. */
static enum member find_member(const struct request *request, const char *name)
{
    unsigned i = 0;

    while (i < MEMBERS && (strcmp(member_names[i], name) != 0 ||
                           !(commands[request->command].members & (1u << i))))
        i++;
    return (enum member)i;
}

static int take_members(const struct parse *parse, json_t *object, unsigned *ret_members)
{
    const char *name;
    json_t *value;
    unsigned members = 0;

    json_object_foreach(object, name, value)
    {
        enum member member = find_member(parse->request, name);

        if (strcmp(name, "command") == 0)
            continue;
        if (member == MEMBERS)
            return unknown_member(parse, name);
        int r = take_member(parse, member, value);
        if (r != 0)
            return r;
        members |= 1u << member;
    }
    *ret_members = members;
    return 0;
}

/* What a command cannot do without. */
static int check_members(const struct parse *parse, unsigned members)
{
    const struct request *request = parse->request;
    const char *name = commands[request->command].name;
    bool is_narrowed = (members & NARROWING_BITS) != 0;

    if (request->command == REQUEST_LOG_LEVEL && !(members & BIT(LEVEL)))
        return request_invalid(parse, "log_level needs \"level\": one of error, warning, "
                                      "notice, info, debug");
    if (request->command == REQUEST_SHOW && !(members & BIT(ID)))
        return request_invalid(parse, "show needs \"id\": that of a message, as list shows it");
    if (request->command != REQUEST_DROP && request->command != REQUEST_REQUEUE)
        return 0;
    if (request->selection.takes_all && is_narrowed)
        return request_invalid(parse, "\"all\" takes all messages and the other members "
                                      "narrow: give either");
    if (!request->selection.takes_all && !is_narrowed)
        return request_invalid(parse,
                               "%s needs a selection: ids, lane, topic, client, user or "
                               "older_than_ms; or \"all\": true",
                               name);
    return 0;
}

static int find_command(const struct parse *parse, const json_t *object)
{
    const json_t *value = json_object_get(object, "command");
    const char *name = json_string_value(value); /* NULL: absent, or no text */

    if (!value)
        return request_invalid(parse, "\"command\" is missing");
    for (unsigned i = 0; name && i < REQUEST_COMMANDS; i++) {
        if (strcmp(commands[i].name, name) == 0) {
            parse->request->command = (enum request_command)i;
            return 0;
        }
    }
    if (name)
        (void)request_invalid(parse, "the command \"%.*s\" is unknown: there are",
                              text_prefix_size(name, SHOWN_MAX), name);
    else
        (void)request_invalid(parse, "\"command\" is not a text: there are");
    for (unsigned i = 0; i < REQUEST_COMMANDS; i++)
        text_append(parse->error, REQUEST_ERROR_MAX, " %s", commands[i].name);
    return REQUEST_E_INVALID;
}

static int take_object(const struct parse *parse, json_t *object, bool *ret_has_command)
{
    unsigned members = 0;

    if (!json_is_object(object))
        return request_invalid(parse, "this is no JSON object like {\"command\": \"status\"}");
    int r = find_command(parse, object);
    if (r != 0)
        return r;
    *ret_has_command = true;
    r = take_members(parse, object, &members);
    return r == 0 ? check_members(parse, members) : r;
}

/* The caller has bounded the size. */
static int take_text_of(const struct parse *parse, struct view text, bool *ret_has_command)
{
    json_error_t error;
    int r;

    bytes_in_use = 0;
    is_out_of_memory = false;
    json_set_alloc_funcs(request_allocate, request_release);
    json_t *object = json_loadb((const char *)text.data, text.size,
                                JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);

    if (object)
        r = take_object(parse, object, ret_has_command);
    else if (is_out_of_memory)
        r = request_invalid(parse, "this takes too much memory to read: give less at a time");
    else
        r = request_invalid(parse, "this is no JSON: line %d, column %d: %.*s", error.line,
                            error.column, text_prefix_size(error.text, 160), error.text);
    json_decref(object);
    json_set_alloc_funcs(malloc, free);
    return r;
}

int request_parse(struct view text,
                  struct request *ret,
                  bool *ret_has_command,
                  char error[static REQUEST_ERROR_MAX])
{
    struct request request = {.selection = {.older_than_ms = -1}, .limit = UINT64_MAX};
    const struct parse parse = {.request = &request, .error = error};
    int r;

    error[0] = '\0';
    *ret_has_command = false;
    if (text.size > REQUEST_MAX)
        r = request_invalid(&parse, "%zu bytes are too many: a request has %zu at most",
                            text.size, REQUEST_MAX);
    else
        r = take_text_of(&parse, text, ret_has_command);
    if (r == 0) {
        *ret = request;
        return 0;
    }
    if (*ret_has_command)
        ret->command = request.command;
    request_finish(&request);
    return r;
}

void request_finish(struct request *request)
{
    struct request_selection *selection = &request->selection;

    free(selection->ids);
    free(selection->lane);
    free(selection->topic);
    free(selection->client);
    free(selection->user);
    *request = (struct request){0};
}
