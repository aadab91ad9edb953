/* SPDX-License-Identifier: MIT */
/*
 * sound_status.h - the status object of a daemon without a fault, for tests of pages
 */
#ifndef MQTT_SPOOLD_TESTS_SOUND_STATUS_H
#define MQTT_SPOOLD_TESTS_SOUND_STATUS_H

static const char sound_status[] =
    "{\"version\":\"1.2.3\",\"pid\":4711,\"uptime_ms\":65000,"
    "\"time\":\"2026-11-01T12:01:05.000Z\","
    "\"link\":{\"state\":\"online\",\"broker\":\"ssl://b:8883\","
    "\"since\":\"2026-11-01T12:00:10.000Z\",\"connects\":1,\"last_error\":null,"
    "\"last_error_time\":null,\"remedy\":null,\"held\":false,\"all_held\":false,"
    "\"presence_error\":null,\"refused_code\":null,\"certificate_expires\":\"\"},"
    "\"spool\":{\"messages\":1,\"bytes\":2048,\"disk_bytes\":1048576,\"oldest_age_ms\":90000,"
    "\"disk_free_bytes\":1073741824,\"disk_reserve_bytes\":16777216,\"disk_short\":\"\","
    "\"damaged_files\":0},"
    "\"salvage\":{\"salvaged\":1,\"damaged\":2,\"damaged_unknown\":false,\"time\":\"\"},"
    "\"intake\":{\"refusing\":\"\"},"
    "\"lanes\":[{\"name\":\"default\",\"messages\":3,\"bytes\":2048,\"oldest_age_ms\":90000,"
    "\"max_messages\":1000,\"max_bytes\":1048576,\"when_full\":\"refuse\",\"full\":false,"
    "\"held\":false}],"
    "\"ledger\":{\"accepted\":10,\"delivered\":4,\"evicted\":0,\"expired\":0,\"rejected\":0,"
    "\"dropped\":0,\"damaged\":0,\"spooled\":6,\"balanced\":true},"
    "\"rejected\":{\"messages\":0},"
    "\"producers\":{\"messages_refused\":0,\"clients_refused\":0,\"refused_reason\":null},"
    "\"tokens\":{\"in_flight\":1},\"rates\":{\"in\":1.5,\"out\":2.5},"
    "\"forecast\":{\"full_s\":null,\"drained_s\":0},"
    "\"audit\":{\"healthy\":true,\"error\":\"\",\"waiting\":2,\"max_waiting\":100}}";

#endif
