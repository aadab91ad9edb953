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
    if (message->id <= stamp->link_id)
        stamp_put(&writer, "spool-backlog", "true");
    if (stamp_is_repeat(stamp, message))
        stamp_put(&writer, "spool-repeat", "true");
    assert(!writer.failed); /* STAMP_BYTES_MAX holds all of them */
    return view_of(stamp->bytes, writer_used(&writer));
}
