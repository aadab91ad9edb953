/* SPDX-License-Identifier: MIT */
/*
 * admin.c - what an operator changed, as a line of JSON
 */
#include "daemon/record/admin.h"

#include <string.h>

#include "base/text.h"
#include "daemon/record/members.h"

static void admin_write_text(struct json *json, const char *name, const char *text)
{
    if (text)
        json_bytes(json, name, text, (size_t)text_prefix_size(text, RECORD_ADMIN_TEXT_MAX));
}

static void admin_write_ids(struct json *json, const struct record_admin *admin)
{
    if (admin->id_count == 0)
        return;
    json_open_array(json, "ids");
    for (size_t i = 0; i < admin->id_count && i < RECORD_ADMIN_IDS_MAX; i++)
        json_unsigned(json, NULL, admin->ids[i]);
    json_close_array(json);
    if (admin->id_count > RECORD_ADMIN_IDS_MAX)
        json_unsigned(json, "id_count", admin->id_count);
}

static void admin_write_counts(struct json *json, const struct record_admin *admin)
{
    if (!admin->done_name)
        return;
    json_unsigned(json, "matched", admin->matched);
    json_unsigned(json, admin->done_name, admin->done);
    json_unsigned(json, "in_flight", admin->in_flight);
    if (admin->was_cut_short)
        json_bool(json, "cut_short", true);
    admin_write_text(json, "error", admin->error);
}

void record_write_admin(struct json *json, const struct record_admin *admin)
{
    json_open_object(json, NULL);
    json_text(json, "admin", admin->admin);
    record_write_time(json, "time", admin->time_ms);
    record_write_uid(json, admin->uid);
    admin_write_ids(json, admin);
    admin_write_text(json, "lane", admin->lane);
    admin_write_text(json, "topic", admin->topic);
    admin_write_text(json, "client", admin->client);
    admin_write_text(json, "user", admin->user);
    if (admin->older_than_ms >= 0)
        json_signed(json, "older_than_ms", admin->older_than_ms);
    if (admin->takes_all)
        json_bool(json, "all", true);
    admin_write_text(json, "level", admin->level);
    admin_write_counts(json, admin);
    json_close_object(json);
}
