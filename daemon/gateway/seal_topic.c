/* SPDX-License-Identifier: MIT */
/*
 * seal_topic.c - publishes the seals of the audit file to the broker
 *
 * Which seal was published last is not stored: after a start the last one of the file is
 * published again, because a crash may have come before its message was committed.
 *
 * Invariant: only a seal that is synced is published, so the file has each of them.
 */
#include "daemon/gateway/seal_topic.h"

#include <string.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/view.h"
#include "daemon/config/spool_lanes.h"
#include "daemon/gateway/limits.h"

#define SEAL_TOPIC_CLIENT "mqtt-spoold"

/* Payload Format Indicator 1 and Content Type, as a PUBLISH has them. */
static const unsigned char properties[] = "\x01\x01\x03\x00\x10"
                                          "application/json";

/* Return: 0; SPOOL_E_*: not now; negative errno. */
static int seal_topic_append(struct seal_topic *topic, unsigned lane, struct view seal)
{
    const struct spool_time now = turn_spool_time(topic->turn);
    const struct spool_message message = {
        .lane = lane,
        .uid = geteuid(),
        .qos = 1,
        .expiry_ms = SPOOL_NO_EXPIRY,
        .client = view_of_text(SEAL_TOPIC_CLIENT),
        .topic = view_of_text(topic->config->audit.seal_topic),
        .properties = {properties, sizeof(properties) - 1},
        .payload = seal,
    };
    uint64_t id;

    FAILPOINT("seal_topic.before_append");
    int r = spool_append(topic->spool, &message, &now, &id);
    if (r != 0)
        return r;
    topic->edge->appended++;
    edge_timer_arm(topic->edge_timer);
    return 0;
}

int seal_topic_run(struct seal_topic *topic)
{
    unsigned lane = config_report_lane(topic->config);
    struct view seal = audit_newest_seal(topic->audit);
    int64_t now_ms = topic->turn->now.boot_ms;

    if (topic->config->audit.seal_topic[0] == '\0' || lane == 0 || now_ms < topic->next_ms ||
        seal.size < SEAL_TOPIC_END || stop_has_begun(topic->stop))
        return 0;
    const uint8_t *end = seal.data + seal.size - SEAL_TOPIC_END;
    if (memcmp(topic->published, end, SEAL_TOPIC_END) == 0)
        return 0;
    int r = seal_topic_append(topic, lane, seal);
    if (r != 0) {
        topic->next_ms = now_ms + GATEWAY_FULL_RETRY_MS;
        return r < 0 ? r : 0;
    }
    memcpy(topic->published, end, SEAL_TOPIC_END);
    topic->next_ms = now_ms + (int64_t)topic->config->audit.seal_ms;
    return 0;
}
