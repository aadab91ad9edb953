/* SPDX-License-Identifier: MIT */
/*
 * zero_tail.h - the zero bytes at the end of a file
 *
 * After a power cut some file systems keep the length of what was appended and not its
 * bytes, which then read as zeros. Thread: any.
 */
#ifndef MQTT_SPOOLD_BASE_ZERO_TAIL_H
#define MQTT_SPOOLD_BASE_ZERO_TAIL_H

#include <sys/types.h>

#include "base/attr.h"

/* How many bytes are looked at: they are read, so this bounds the time. */
#define ZERO_TAIL_MAX ((off_t)1 << 30)

/*
 * zero_tail_begin() - where the zeros begin with which the first @size bytes of a file end
 * @ret: @size if they end with another byte; @size - ZERO_TAIL_MAX at least
 *
 * Reads backward, in 16 KiB of the stack. Return: 0; -EIO also where the file is shorter; other
 * negative errno.
 */
MUST_CHECK int zero_tail_begin(int fd, off_t size, off_t *ret);

#endif
