/* SPDX-License-Identifier: MIT */
/*
 * attr.h - compiler attributes under short names
 */
#ifndef MQTT_SPOOLD_BASE_ATTR_H
#define MQTT_SPOOLD_BASE_ATTR_H

#define MUST_CHECK        __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#define CLEANUP(function) __attribute__((cleanup(function)))

#endif
