/* SPDX-License-Identifier: MIT */
/*
 * read_full.h - reads until the memory is full or the file ends
 *
 * A single read() may be short, and a signal may interrupt it.
 *
 * Both return the number of bytes read, fewer than @size only at the end of the
 * file, or negative errno. Thread: any.
 */
#ifndef MQTT_SPOOLD_BASE_READ_FULL_H
#define MQTT_SPOOLD_BASE_READ_FULL_H

#include <stddef.h>
#include <sys/types.h>

#include "base/attr.h"

/* From the offset of the descriptor, which advances. */
MUST_CHECK ssize_t read_full(int fd, void *to, size_t size);
/* From the offset @from; that of the descriptor does not change. */
MUST_CHECK ssize_t read_full_at(int fd, void *to, size_t size, off_t from);

#endif
