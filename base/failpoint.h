/* SPDX-License-Identifier: MIT */
/*
 * failpoint.h - places at which a test lets the process crash
 *
 * Only a build with SPOOLD_FAILPOINTS has them; in all others the macros are
 * empty. With SPOOLD_FAILPOINT=NAME:N in the environment the process kills
 * itself with SIGKILL when it passes the failpoint of that name for the Nth
 * time, in whatever thread. tests/crash/test_failpoints.py takes the names from
 * the program itself and sweeps over all of them, so a new one needs no list.
 *
 * A size that would take a test long to reach can be made smaller by the environment.
 *
 * Thread: any.
 */
#ifndef MQTT_SPOOLD_BASE_FAILPOINT_H
#define MQTT_SPOOLD_BASE_FAILPOINT_H

#ifdef SPOOLD_FAILPOINTS

#include <stddef.h>

/* Prefix by which a test finds the names in the program, and none in a release. */
#define FAILPOINT_MARK "failpoint "

void failpoint_pass(const char *name);
/* The Nth passage writes the first half of @data to @fd, as a torn write would, then
 * crashes. */
void failpoint_pass_torn(const char *name, int fd, const void *data, size_t size);

/* As @variable in the environment says, else @size. */
unsigned long failpoint_size(const char *variable, unsigned long size);

#define FAILPOINT_SIZE(variable, size) failpoint_size(variable, size)
#define FAILPOINT(name)                failpoint_pass(FAILPOINT_MARK name)
#define FAILPOINT_TORN(name, fd, data, size)                                                   \
    failpoint_pass_torn(FAILPOINT_MARK name, fd, data, size)

#else

#define FAILPOINT_SIZE(variable, size)       (size)
#define FAILPOINT(name)                      ((void)0)
#define FAILPOINT_TORN(name, fd, data, size) ((void)0)

#endif

#endif
