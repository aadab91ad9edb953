/* SPDX-License-Identifier: MIT */
/*
 * subprocess.h - the output of a program, within a time and a size
 */
#ifndef MQTT_SPOOLD_CLI_BUNDLE_SUBPROCESS_H
#define MQTT_SPOOLD_CLI_BUNDLE_SUBPROCESS_H

#include "base/attr.h"
#include "base/bytes.h"

/*
 * subprocess_read() - run a program of PATH and read its standard output
 * @argv: up to NULL
 * @ret:  its output is appended, as far as the cap allows; what came until a failure, too
 *
 * Its standard error is dropped; it reads nothing.
 * Return: 0: it ended with 0; -ETIMEDOUT; -ENOBUFS: more than the cap; -ENOEXEC: it cannot be
 *         run, or ended otherwise; negative errno.
 */
MUST_CHECK int
subprocess_read(const char *const argv[], unsigned timeout_ms, struct bytes *ret);

#endif
