/* SPDX-License-Identifier: MIT */
/*
 * log_sink.h - non-blocking writes to standard error
 *
 * Invariant: lines never mix: nothing is written before the rest of a line of
 * which only a part was taken. Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_BASE_LOG_SINK_H
#define MQTT_SPOOLD_BASE_LOG_SINK_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes of a line with its line break. */
#define LOG_LINE_MAX 2048

/* Finds out what standard error is. Without it each write is preceded by poll(). */
void log_sink_open(void);

/* Writes the rest of the last line. Return: is nothing of it left? */
bool log_sink_flush(void);

/* Writes one line of at most LOG_LINE_MAX bytes. Return: true: it was taken, or its rest is
 * kept and written before any other line; false: not a byte of it was taken. */
bool log_sink_put(const char *line, size_t size);

/* Waits until a write is possible, at most @timeout_ms. */
void log_sink_wait(int timeout_ms);

#endif
