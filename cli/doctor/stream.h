/* SPDX-License-Identifier: MIT */
/*
 * stream.h - a connection to a broker, plain or by TLS, with a time for each call
 */
#ifndef MQTT_SPOOLD_CLI_DOCTOR_STREAM_H
#define MQTT_SPOOLD_CLI_DOCTOR_STREAM_H

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "cli/doctor/tls_probe.h"

struct stream {
    int fd;                /* owned; -1: not connected */
    struct tls_probe *tls; /* owned; NULL: plain */
};

/* Reads all of @size. Return: 0; -ECONNRESET: closed before; -ETIMEDOUT; negative errno. */
MUST_CHECK int stream_read(struct stream *stream, void *to, size_t size, int64_t give_up_ms);
/* Writes all of @size. Return: the same. */
MUST_CHECK int
stream_write(struct stream *stream, const void *from, size_t size, int64_t give_up_ms);
void stream_close(struct stream *stream);

#endif
