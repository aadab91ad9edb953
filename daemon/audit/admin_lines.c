/* SPDX-License-Identifier: MIT */
/*
 * admin_lines.c - lines about operators' changes that are not safely in the file yet
 */
#include "daemon/audit/admin_lines.h"

#include <string.h>

#include "base/json.h"

bool admin_lines_add(struct admin_lines *lines, const struct record_admin *admin)
{
    struct json json;

    json_init(&json, lines->text + lines->used, sizeof(lines->text) - lines->used);
    record_write_admin(&json, admin);
    json_raw(&json, "\n");
    if (json.failed)
        return false;
    lines->used += json_used(&json);
    return true;
}

struct view admin_lines_unwritten(const struct admin_lines *lines)
{
    return view_of(lines->text + lines->written_bytes, lines->used - lines->written_bytes);
}

void admin_lines_note_written(struct admin_lines *lines)
{
    lines->written_bytes = lines->used;
}

void admin_lines_rewind(struct admin_lines *lines)
{
    lines->written_bytes = 0;
}

void admin_lines_note_synced(struct admin_lines *lines)
{
    lines->used -= lines->written_bytes;
    memmove(lines->text, lines->text + lines->written_bytes, lines->used);
    lines->written_bytes = 0;
}
