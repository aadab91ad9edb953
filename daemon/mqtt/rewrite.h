/* SPDX-License-Identifier: MIT */
/*
 * rewrite.h - another topic made of the levels of a topic
 *
 * A target is a topic in which {1} stands for the level that the first + of the filter
 * matched, {2} for that of the second, and {#} for all levels that the # matched. All
 * other text stands for itself. If # matched no level, as "a/#" does "a", {#} is empty and
 * a slash before it is left out.
 *
 * Pure: no memory but the caller's. Thread: any.
 */
#ifndef MQTT_SPOOLD_DAEMON_MQTT_REWRITE_H
#define MQTT_SPOOLD_DAEMON_MQTT_REWRITE_H

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/view.h"

/*
 * rewrite_check() - can @target be made of what @filter matches?
 * @filter: a valid topic filter
 *
 * Return: NULL, or what is wrong with @target: "must ...".
 */
const char *rewrite_check(const char *filter, const char *target);

/*
 * rewrite_topic() - the topic that @target makes of @topic
 * @filter, @target: as rewrite_check() accepts them
 * @topic:  a topic name that @filter matches
 * @memory: of @size bytes
 *
 * Return: the bytes of the new topic, in @memory; 0: it is empty, or longer than @size.
 */
MUST_CHECK size_t rewrite_topic(
    const char *filter, const char *target, struct view topic, uint8_t *memory, size_t size);

#endif
