/* SPDX-License-Identifier: MIT */
/*
 * log_sink.h - standard error, written without ever waiting for its reader
 *
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_BASE_LOG_SINK_H
#define MQTT_SPOOLD_BASE_LOG_SINK_H

#include <stdbool.h>
#include <stddef.h>

/* Of a line with its line break. */
#define LOG_LINE_MAX 2048

/* Looks at what standard error is. Without it each write is preceded by poll(). */
void log_sink_open(void);

/* Writes what is left of the last line. Return: whether nothing of it is left. */
bool log_sink_flush(void);

/* Writes one line. True: it was taken, or its rest will be before any other line; false: not a
 * byte of it was. */
bool log_sink_put(const char *line, size_t size);

/* Waits so long at the most until something can be taken. */
void log_sink_wait(int timeout_ms);

#endif
