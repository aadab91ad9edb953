/* SPDX-License-Identifier: MIT */
/*
 * sum.h - the checksum that a stored message carries
 *
 * CRC-32C over everything that never changes while the message is spooled: key,
 * time of acceptance, producer, flags, topic, properties, ref, payload and number. What
 * the clock moves (accepted_at, expires_at) is not in it. Thread: that of the
 * spool.
 */
#ifndef MQTT_SPOOLD_STORE_SUM_H
#define MQTT_SPOOLD_STORE_SUM_H

#include <stdint.h>

#include "base/view.h"

struct sum_facts {
    int64_t key;
    int64_t accepted;
    int64_t uid;
    int64_t flags;
    uint64_t number; /* within its lane; 0, of an earlier schema: not part of the sum */
    struct view client;
    struct view topic;
    struct view properties;
    struct view ref;
    struct view payload;
};

uint32_t sum_of(const struct sum_facts *facts);
/* Of plain bytes. @from: 0, or the sum of what comes before them. */
uint32_t sum_bytes(uint32_t from, const void *bytes, size_t size);
/* The same on any processor. */
uint32_t sum_bytes_by_tables(uint32_t from, const void *bytes, size_t size);

#endif
