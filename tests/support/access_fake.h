/* SPDX-License-Identifier: MIT */
/*
 * access_fake.h - files that may not be read, also by root
 */
#ifndef MQTT_SPOOLD_TESTS_ACCESS_FAKE_H
#define MQTT_SPOOLD_TESTS_ACCESS_FAKE_H

#include <stdbool.h>

/* While it is set, faccessat() fails with EACCES. Linked with --wrap=faccessat. */
extern bool access_fails;

#endif
