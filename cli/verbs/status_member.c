/* SPDX-License-Identifier: MIT */
/*
 * status_member.c - members of the status object, as the pages of the tool read them
 */
#include "cli/verbs/status_member.h"

#include "base/clock.h"
#include "base/reload.h"
#include "base/text.h"
#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <string.h>

const json_t *status_member(const json_t *root, const char *part, const char *name)
{
    return json_object_get(part ? json_object_get(root, part) : root, name);
}

int64_t status_integer(const json_t *root, const char *part, const char *name)
{
    return json_integer_value(status_member(root, part, name));
}

const char *status_text(const json_t *root,
                        const char *part,
                        const char *name,
                        char text[static STATUS_CELL_MAX])
{
    const char *value = json_string_value(status_member(root, part, name));

    return cli_printable(text, STATUS_CELL_MAX, value ? value : "");
}

const char *status_size(const json_t *root,
                        const char *part,
                        const char *name,
                        char text[static STATUS_CELL_MAX])
{
    int64_t size = status_integer(root, part, name);

    return cli_size(size > 0 ? (uint64_t)size : 0, text);
}

const char *status_refused_waiting(const json_t *root, char text[static STATUS_CELL_MAX])
{
    const char *state = json_string_value(status_member(root, "link", "state"));
    int64_t refused = status_integer(root, "link", "refused_waiting");
    int64_t messages = status_integer(root, "spool", "messages");

    text[0] = '\0';
    if (refused > 0 && (!state || strcmp(state, "refused") != 0))
        text_format(text, STATUS_CELL_MAX,
                    "THE BROKER REFUSES %" PRId64 " of %" PRId64 " message%s at %s last try; "
                    "each is sent again after a pause",
                    refused, messages, cli_plural((uint64_t)messages),
                    cli_counted((uint64_t)messages, "its", "their"));
    return text;
}

const char *status_no_subscriber(const json_t *root, char text[static STATUS_CELL_MAX])
{
    int64_t count = status_integer(root, "link", "no_subscriber");

    text[0] = '\0';
    if (count > 0)
        text_format(text, STATUS_CELL_MAX,
                    "%" PRId64 " message%s delivered since the start had no subscriber at the "
                    "broker",
                    count, cli_plural((uint64_t)count));
    return text;
}

/* Is the time of the member @name of the link after that of its last error? */
static bool is_after_error(const json_t *root, const char *name)
{
    const char *error = json_string_value(status_member(root, "link", "last_error_time"));
    const char *time = json_string_value(status_member(root, "link", name));
    int64_t error_ms, time_ms;

    return error && time && clock_parse(error, &error_ms) && clock_parse(time, &time_ms) &&
           time_ms > error_ms;
}

bool status_link_error_is_over(const json_t *root)
{
    const char *state = json_string_value(status_member(root, "link", "state"));
    bool is_held = state && strcmp(state, "held") == 0;
    bool is_idle = is_held || status_integer(root, "spool", "messages") == 0;

    if (!is_held && (!state || strcmp(state, "online") != 0))
        return false;
    if (status_integer(root, "link", "refused_waiting") > 0)
        return false;
    return is_after_error(root, "acknowledged") || (is_idle && is_after_error(root, "since"));
}

const char *status_next_attempt(const json_t *root, char text[static STATUS_CELL_MAX])
{
    const char *due = json_string_value(status_member(root, "link", "next_attempt"));
    const char *now = json_string_value(status_member(root, NULL, "time"));
    char span[CLOCK_SPAN_MAX];
    int64_t due_ms, now_ms;

    text[0] = '\0';
    if (!due || !now || !clock_parse(due, &due_ms) || !clock_parse(now, &now_ms))
        return text;
    clock_format_span(due_ms > now_ms ? (due_ms - now_ms + 999) / 1000 * 1000 : 0, span);
    text_format(text, STATUS_CELL_MAX, "next attempt in %s; at once: mqtt-spool flush", span);
    return text;
}

bool status_lane_has_left(const json_t *lane)
{
    return json_is_false(json_object_get(lane, "configured"));
}

bool status_lane_evicts(const json_t *lane)
{
    const char *policy = json_string_value(json_object_get(lane, "when_full"));
    int64_t messages = status_integer(lane, NULL, "messages");
    int64_t bytes = status_integer(lane, NULL, "bytes");

    if (!policy || strcmp(policy, "evict-oldest") != 0 || messages <= 0 ||
        status_lane_has_left(lane) || !json_is_boolean(json_object_get(lane, "full")))
        return false;
    return status_lane_is_full_by_messages(lane) ||
           bytes / messages > status_integer(lane, NULL, "max_bytes") - bytes;
}

bool status_lane_is_full_by_messages(const json_t *lane)
{
    return status_integer(lane, NULL, "messages") >= status_integer(lane, NULL, "max_messages");
}

const char *status_lane_remedy(const json_t *lane, char text[static STATUS_CELL_MAX])
{
    const char *name = json_string_value(json_object_get(lane, "name"));

    text_format(text, STATUS_CELL_MAX, "%s, or raise %s%s and " RELOAD_REMEDY,
                json_is_true(json_object_get(lane, "held")) ? "release it (mqtt-spool release)"
                                                            : "bring the link back",
                name && strcmp(name, "default") == 0 ? "retention." : "its ",
                status_lane_is_full_by_messages(lane) ? "max_messages" : "max_bytes");
    return text;
}

const char *status_refused_remedy(const char *refused)
{
    if (strcmp(refused, "lanes") == 0)
        return "use the names of older lanes again, or wait until their records are gone "
               "(audit.keep)";
    return "correct what mqtt-spoold --test-config names, then " RELOAD_REMEDY;
}

const char *status_disk_shortage(const json_t *root, char text[static STATUS_SHORTAGE_MAX])
{
    static const char measured[] = "; the file system reports ";
    const char *value = json_string_value(status_member(root, "spool", "disk_short"));
    bool is_low = status_integer(root, "spool", "disk_free_bytes") <
                  status_integer(root, "spool", "disk_reserve_bytes");
    char detail[STATUS_SHORTAGE_MAX], left[STATUS_CELL_MAX], reserve[STATUS_CELL_MAX];
    const char *end;

    (void)cli_printable(detail, sizeof(detail), value ? value : "");
    end = strstr(detail, measured);
    (void)status_size(root, "spool", "disk_free_bytes", left);
    (void)status_size(root, "spool", "disk_reserve_bytes", reserve);
    if (end)
        text_format(text, STATUS_SHORTAGE_MAX, "%.*s; the file system has %s free",
                    (int)(end - detail), detail, left);
    else if (*detail != '\0' && !strstr(detail, "disk_reserve"))
        text_format(text, STATUS_SHORTAGE_MAX, "%s", detail);
    else if (*detail == '\0' || is_low)
        text_format(text, STATUS_SHORTAGE_MAX, "%s free, spool.disk_reserve is %s", left,
                    reserve);
    else
        text_format(text, STATUS_SHORTAGE_MAX,
                    "%s free, of which spool.disk_reserve keeps %s; a third of the rest is for "
                    "messages, which is too little",
                    left, reserve);
    return text;
}

const char *status_disk_remedy(const char *detail)
{
    if (strstr(detail, "(EFBIG)"))
        return "raise the limit of the file size (LimitFSIZE= of the unit, ulimit -f)";
    if (strstr(detail, "(EDQUOT)"))
        return "raise the quota, or make room in it";
    if (strstr(detail, "another program reads"))
        return "end that program (fuser -v spool.db names it)";
    return "make room on the disk of the spool (docs/disk.md); deliveries continue as long as "
           "commits have room";
}

const char *status_audit_remedy(const char *error)
{
    if (strcmp(error, strerror(ENOSPC)) == 0 || strcmp(error, strerror(EDQUOT)) == 0)
        return "make room on the disk of audit.file; its records wait in the spool";
    if (strcmp(error, strerror(ENOENT)) == 0 || strcmp(error, strerror(ENOTDIR)) == 0)
        return "make the folder of audit.file, writable for the daemon";
    if (strstr(error, "another process"))
        return "two daemons have the same audit.file: name another one for one of the two";
    if (strstr(error, "no regular file") || strstr(error, "no audit file"))
        return "something else has the name of audit.file: move it away";
    return "check audit.file, its folder's owner and the free space (journalctl -u mqtt-spoold "
           "says more)";
}
