/* SPDX-License-Identifier: MIT */
/*
 * failpoint.h - places at which a test lets the process crash
 *
 * Only a build with SPOOLD_FAILPOINTS has them; in every other the macros are
 * nothing. With SPOOLD_FAILPOINT=NAME:N in the environment the process kills
 * itself with SIGKILL when it passes the failpoint of that name for the Nth
 * time, in whatever thread. tests/crash/test_failpoints.py takes the names from
 * the program itself and sweeps over all of them, so a new one needs no list.
 *
 * The header is common ground: it knows nothing of the project.
 */
#ifndef MQTT_SPOOLD_BASE_FAILPOINT_H
#define MQTT_SPOOLD_BASE_FAILPOINT_H

#ifdef SPOOLD_FAILPOINTS

#include <stddef.h>

/* By this word in front the names are found in the program, and missed in a release. */
#define FAILPOINT_MARK "failpoint "

void failpoint_pass(const char *name);
/* The Nth passage leaves the first half of @data in @fd, as a write cut short would. */
void failpoint_pass_torn(const char *name, int fd, const void *data, size_t size);

#define FAILPOINT(name) failpoint_pass(FAILPOINT_MARK name)
#define FAILPOINT_TORN(name, fd, data, size)                                                   \
    failpoint_pass_torn(FAILPOINT_MARK name, fd, data, size)

#else

#define FAILPOINT(name)                      ((void)0)
#define FAILPOINT_TORN(name, fd, data, size) ((void)0)

#endif

#endif
