/* SPDX-License-Identifier: MIT */
/*
 * shape.c - mqtt-spool shape: count, bytes and age of what is spooled, by topic
 *
 * As qshape shows a mail queue. From the files, also while the daemon runs: each step is a
 * short read.
 *
 * Bounds: SHAPE_PREFIXES_MAX prefixes of SHAPE_BYTES_MAX bytes together; topics beyond them are
 * counted in one line, "(others)".
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/view.h"
#include "cli/cli.h"
#include "cli/progress.h"
#include "cli/verbs/reach.h"
#include "cli/verbs/selection.h"
#include "store/spool.h"

static const char help_text[] =
    "Usage: mqtt-spool shape [SELECTION] [OPTION]...\n"
    "\n"
    "How many messages are spooled, how large and how old, by the first levels of\n"
    "their topics; the largest groups first. Works while the daemon is stopped too.\n"
    "\n" SELECTION_HELP "\n"
    "      --levels N        so many levels of the topic; 1 if not given\n"
    "      --rejected        those that were rejected and are kept aside, instead\n"
    "      --limit N         the N largest groups only\n"
    "      --json            one object a line: prefix, messages, bytes,\n"
    "                        oldest_age_ms, ages (of messages up to 1m, 10m, 1h, 6h,\n"
    "                        1d, 7d, and older)\n"
    "      --directory DIR   the spool, instead of the configured one\n"
    "\n"
    "Exit codes: 0 done; 65 the spool is damaged; 69 there is no spool; 75 try again;\n"
    "77 not allowed; 78 configuration.\n";

#define MINUTE_MS INT64_C(60000)
#define HOUR_MS   (60 * MINUTE_MS)
#define DAY_MS    (24 * HOUR_MS)

enum {
    SHAPE_AGES = 7,
    SHAPE_PREFIXES_MAX = 10000,
    SHAPE_BYTES_MAX = 4 << 20,
    SHAPE_SLOTS = 16384, /* a power of two */
    CELL_MAX = 256,
};

static const struct {
    int64_t up_to_ms;
    const char *name;
} shape_ages[SHAPE_AGES] = {
    {MINUTE_MS, "1m"}, {10 * MINUTE_MS, "10m"}, {HOUR_MS, "1h"},    {6 * HOUR_MS, "6h"},
    {DAY_MS, "1d"},    {7 * DAY_MS, "7d"},      {INT64_MAX, "7d+"},
};

struct group {
    char *prefix; /* NULL: the slot is empty; owned */
    uint64_t messages;
    uint64_t bytes;
    int64_t oldest_ms;
    uint64_t ages[SHAPE_AGES];
};

struct shape {
    uint64_t levels;
    uint64_t limit;
    bool is_json;
    bool wants_rejected;
    struct group total;
    struct group others;
    struct group *slots;
    size_t count;
    size_t bytes;
};

static void group_add(struct group *group, const struct spool_selected *selected)
{
    unsigned age = 0;

    while (selected->age_ms > shape_ages[age].up_to_ms)
        age++;
    group->messages++;
    group->bytes += selected->bytes;
    group->ages[age]++;
    if (selected->age_ms > group->oldest_ms)
        group->oldest_ms = selected->age_ms;
}

/* The first levels of a topic. */
static struct view prefix_of(const struct shape *shape, struct view topic)
{
    uint64_t levels = 0;

    for (size_t i = 0; i < topic.size; i++) {
        if (topic.data[i] == '/' && ++levels == shape->levels)
            return view_of(topic.data, i);
    }
    return topic;
}

static uint64_t hash_of(struct view text)
{
    uint64_t hash = UINT64_C(14695981039346656037);

    for (size_t i = 0; i < text.size; i++)
        hash = (hash ^ text.data[i]) * UINT64_C(1099511628211);
    return hash;
}

/* "plant/#" for what is below it, which is not what was published as "plant". */
static struct group *find_group(struct shape *shape, struct view topic)
{
    struct view prefix = prefix_of(shape, topic);
    const char *rest = prefix.size < topic.size ? "/#" : "";
    size_t size = prefix.size + strlen(rest);
    size_t slot = (hash_of(prefix) + strlen(rest)) % SHAPE_SLOTS;

    for (; shape->slots[slot].prefix; slot = (slot + 1) % SHAPE_SLOTS) {
        const char *found = shape->slots[slot].prefix;
        if (strlen(found) == size && memcmp(found, prefix.data, prefix.size) == 0 &&
            strcmp(found + prefix.size, rest) == 0)
            return &shape->slots[slot];
    }
    if (shape->count == SHAPE_PREFIXES_MAX || shape->bytes + size > SHAPE_BYTES_MAX)
        return &shape->others;
    char *text = malloc(size + 1);
    if (!text)
        return &shape->others;
    memcpy(text, prefix.data, prefix.size);
    memcpy(text + prefix.size, rest, strlen(rest) + 1);
    shape->slots[slot].prefix = text;
    shape->count++;
    shape->bytes += size;
    return &shape->slots[slot];
}

static int compare_groups(const void *a, const void *b)
{
    const struct group *left = a;
    const struct group *right = b;

    if (left->messages != right->messages)
        return left->messages < right->messages ? 1 : -1;
    if (!left->prefix || !right->prefix)
        return 0;
    return strcmp(left->prefix, right->prefix);
}

/* ---- the page ---- */

static void print_heading(void)
{
    printf("%10s %10s %10s", "MESSAGES", "BYTES", "OLDEST");
    for (unsigned i = 0; i < SHAPE_AGES; i++)
        printf(" %7s", shape_ages[i].name);
    puts(" TOPIC");
}

static void print_group(const struct group *group, const char *name)
{
    char size[CLI_SIZE_MAX], span[CLOCK_SPAN_MAX], prefix[CELL_MAX];

    clock_format_span(group->oldest_ms, span);
    printf("%10" PRIu64 " %10s %10s", group->messages, cli_size(group->bytes, size), span);
    for (unsigned i = 0; i < SHAPE_AGES; i++)
        printf(" %7" PRIu64, group->ages[i]);
    printf(" %s\n", cli_printable(prefix, sizeof(prefix), name));
}

static int print_group_json(const struct group *group, const char *name)
{
    size_t size = 6 * strlen(name) + 1024;
    struct json json;
    char *memory;
    int code = cli_open_json(&json, size, &memory);

    if (code != EX_OK)
        return code;
    json_text(&json, "prefix", name);
    json_unsigned(&json, "messages", group->messages);
    json_unsigned(&json, "bytes", group->bytes);
    json_signed(&json, "oldest_age_ms", group->oldest_ms);
    json_open_object(&json, "ages");
    for (unsigned i = 0; i < SHAPE_AGES; i++)
        json_unsigned(&json, shape_ages[i].name, group->ages[i]);
    json_close_object(&json);
    json_close_object(&json);
    code = cli_print_json(&json);
    free(memory);
    return code;
}

static int print_one(const struct shape *shape, const struct group *group, const char *name)
{
    if (group->messages == 0)
        return EX_OK;
    if (shape->is_json)
        return print_group_json(group, name);
    print_group(group, name);
    return EX_OK;
}

static int shape_print(struct shape *shape)
{
    uint64_t limit = shape->limit > 0 ? shape->limit : UINT64_MAX;
    int code = EX_OK;

    qsort(shape->slots, SHAPE_SLOTS, sizeof(*shape->slots), compare_groups);
    if (!shape->is_json) {
        print_heading();
        print_group(&shape->total, "(all)");
    }
    for (size_t i = 0; i < shape->count && i < limit && code == EX_OK; i++)
        code = print_one(shape, &shape->slots[i], shape->slots[i].prefix);
    return code == EX_OK ? print_one(shape, &shape->others, "(others)") : code;
}

/* ---- */

static int shape_walk(struct shape *shape, struct spool_select *select)
{
    struct spool_selected selected;
    struct progress progress;
    int result;

    progress_init(&progress, false);
    for (;;) {
        struct spool_time now = cli_now();

        result = spool_select_next(select, &now, false, &selected);
        if (result == SPOOL_E_AGAIN)
            continue;
        if (result != 0)
            break;
        group_add(&shape->total, &selected);
        group_add(find_group(shape, selected.message.topic), &selected);
        progress_show(&progress, "counted", shape->total.messages);
    }
    progress_end(&progress);
    return result;
}

static int shape_run(struct shape *shape, struct spool *spool, const struct selection *of)
{
    const struct spool_selection wanted = selection_for_spool(of);
    struct spool_select *select = NULL;
    int result;

    shape->slots = calloc(SHAPE_SLOTS, sizeof(*shape->slots));
    if (!shape->slots) {
        cli_error("out of memory");
        return EX_UNAVAILABLE;
    }
    result =
        spool_select_new(spool, shape->wants_rejected ? SPOOL_PLACE_KEPT : SPOOL_PLACE_SPOOLED,
                         &wanted, &select);
    if (result == 0)
        result = shape_walk(shape, select);
    spool_select_free(select);
    int code = result == SPOOL_E_EMPTY ? EX_OK : cli_report_read_error(spool, result);
    if (code == EX_OK && shape->total.messages == 0)
        code = selection_check_lane(of, spool);
    if (code == EX_OK)
        code = shape_print(shape);
    for (size_t i = 0; i < SHAPE_SLOTS; i++)
        free(shape->slots[i].prefix);
    free(shape->slots);
    return code;
}

int cli_shape(const struct cli *cli, int argc, char **argv)
{
    struct shape shape = {.levels = 1};
    struct selection selection = {0};
    struct reach reach = {0};
    const struct cli_option options[] = {
        SELECTION_OPTIONS(&selection),
        {.name = "levels", .number = &shape.levels},
        {.name = "rejected", .flag = &shape.wants_rejected},
        {.name = "limit", .number = &shape.limit},
        {.name = "json", .flag = &shape.is_json},
        {.name = "directory", .text = &reach.directory},
        {.name = NULL},
    };
    int code = cli_parse_all("shape", help_text, options, argc, argv);

    if (code == CLI_CONTINUE)
        code = selection_finish("shape", &selection, false);
    if (code == CLI_CONTINUE)
        code = reach_files(cli, &reach);
    if (code == EX_OK && reach.spool)
        code = shape_run(&shape, reach.spool, &selection);
    reach_done(&reach);
    selection_done(&selection);
    return code;
}
