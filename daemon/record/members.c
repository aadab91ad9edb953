/* SPDX-License-Identifier: MIT */
/*
 * members.c - members that the objects of JSON share
 */
#include "daemon/record/members.h"

#include "base/clock.h"
#include "base/peer.h"

void record_write_time(struct json *json, const char *name, int64_t wall_ms)
{
    char text[CLOCK_TEXT_MAX];

    clock_format(wall_ms, text);
    json_text(json, name, text);
}

void record_write_uid(struct json *json, uint32_t uid)
{
    if (uid == PEER_UID_UNKNOWN)
        json_null_value(json, "uid");
    else
        json_unsigned(json, "uid", uid);
}
