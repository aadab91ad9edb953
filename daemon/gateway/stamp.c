/* SPDX-License-Identifier: MIT */
/*
 * stamp.c - user properties that say what a message is to the far side: uplink.stamp
 *
 * Invariant: a message that was sent before is never without spool-repeat. What was in flight
 * when the process before this one ended is not known, so all that it left counts as sent.
 */
#include "daemon/gateway/stamp.h"

#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/cursor.h"
#include "daemon/mqtt/packet.h"

static void stamp_put(struct writer *writer, const char *name, const char *value)
{
    writer_u8(writer, PROPERTY_USER);
    writer_block(writer, name, strlen(name));
    writer_block(writer, value, strlen(value));
}

/* The name of a lane that is not configured any more comes from the database alone, and brokers
 * close at text that no topic may hold either. */
static bool stamp_may_name(const char *lane)
{
    size_t size = strlen(lane);
    return size <= STAMP_LANE_MAX && packet_topic_is_valid(view_of(lane, size));
}

static void stamp_put_number(struct writer *writer, const struct spool_message *message)
{
    char number[24];

    if (message->number == 0 || !stamp_may_name(message->lane_name))
        return;
    (void)snprintf(number, sizeof(number), "%" PRIu64, message->number);
    stamp_put(writer, "spool-number", number);
    if (strcmp(message->lane_name, "default") != 0)
        stamp_put(writer, "spool-lane", message->lane_name);
}

static bool stamp_is_repeat(const struct stamp *stamp, const struct spool_message *message)
{
    return message->attempts > 1 || message->id <= stamp->start_id;
}

struct view stamp_write(struct stamp *stamp, const struct spool_message *message)
{
    struct writer writer;
    char id[24];
    char accepted[CLOCK_TEXT_MAX];

    writer_init(&writer, stamp->bytes, sizeof(stamp->bytes));
    (void)snprintf(id, sizeof(id), "%" PRIu64, message->id);
    clock_format(message->accepted_ms, accepted);
    stamp_put(&writer, "spool-id", id);
    stamp_put(&writer, "spool-accepted", accepted);
    stamp_put_number(&writer, message);
    if (message->id <= stamp->link_id)
        stamp_put(&writer, "spool-backlog", "true");
    if (stamp_is_repeat(stamp, message))
        stamp_put(&writer, "spool-repeat", "true");
    assert(!writer.failed); /* STAMP_BYTES_MAX holds all of them */
    return view_of(stamp->bytes, writer_used(&writer));
}
