/* SPDX-License-Identifier: MIT */
/*
 * read_full.h - reads until the memory is full or the file ends
 *
 * A read may be cut short, and a signal may interrupt it; who wants all of a
 * small file would else have a part of it, or none.
 *
 * Return of both: how many bytes were read, fewer than @size only at the end of
 * the file; negative errno.
 */
#ifndef MQTT_SPOOLD_BASE_READ_FULL_H
#define MQTT_SPOOLD_BASE_READ_FULL_H

#include <stddef.h>
#include <sys/types.h>

#include "base/cleanup.h"

/* From where the descriptor stands. */
MUST_CHECK ssize_t read_full(int fd, void *to, size_t size);
/* From the offset @from, and the descriptor stands where it stood. */
MUST_CHECK ssize_t read_full_at(int fd, void *to, size_t size, off_t from);

#endif
