/* SPDX-License-Identifier: MIT */
/*
 * members.h - members that the objects of JSON share
 *
 * Thread: any.
 */
#ifndef MQTT_SPOOLD_DAEMON_RECORD_MEMBERS_H
#define MQTT_SPOOLD_DAEMON_RECORD_MEMBERS_H

#include <stdint.h>

#include "base/json.h"

/* @wall_ms: as clock_format() has it. */
void record_write_time(struct json *json, const char *name, int64_t wall_ms);
/* "uid"; null if it is PEER_UID_UNKNOWN: always there, because the verification of audit files
 * requires it. */
void record_write_uid(struct json *json, uint32_t uid);

#endif
