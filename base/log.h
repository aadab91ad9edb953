/* SPDX-License-Identifier: MIT */
/*
 * log.h - one line per change of state
 *
 * Form: `event key=value ...` on standard error, led by `<N>` (the syslog
 * level, which journald reads) when standard error is the journal
 * (JOURNAL_STREAM is set), else by level and time for a person. No line waits
 * for its reader: what it does not take is dropped, and `log_dropped` says how
 * many lines once it reads again. Values that may hold spaces are quoted by the
 * caller with log_quote(); what is not text in the others is shown as text.h
 * says. Never payload, never secrets.
 *
 * Library code (store, packet, cursors) never logs. Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_BASE_LOG_H
#define MQTT_SPOOLD_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

/* The numbers are syslog's. */
enum log_level {
    LOG_LEVEL_ERROR = 3,
    LOG_LEVEL_WARNING = 4,
    LOG_LEVEL_NOTICE = 5,
    LOG_LEVEL_INFO = 6,
    LOG_LEVEL_DEBUG = 7
};

/* Once, before the first line, when standard error is what it will be. */
void log_open(void);
/* Once a second: what could not be written before may fit by now. */
void log_flush(void);
/* At the very end; waits a moment for a reader that is slow. */
void log_finish(void);

void log_set_level(enum log_level level);
bool log_enabled(enum log_level level);

void log_write(enum log_level level, const char *format, ...) PRINTF_LIKE(2, 3);

#define log_error(...)   log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...)  log_write(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...)    log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)                                                                         \
    do {                                                                                       \
        if (log_enabled(LOG_LEVEL_DEBUG))                                                      \
            log_write(LOG_LEVEL_DEBUG, __VA_ARGS__);                                           \
    } while (0)

/* Quotes bytes from outside for a value: in the visible form of text.h, with `\` before each `"`
 * and `\` of the text; cut with "..." if @text_size is too small. Returns @text. */
const char *log_quote(char *text, size_t text_size, const void *data, size_t size);

/*
 * A brake for warnings that a client can cause: at most @burst lines per
 * interval pass. log_limit_pass() tells whether this one may be written and
 * how many were held back since the last one that passed.
 */
struct log_limit {
    int64_t interval_ms;
    unsigned burst;
    int64_t window_start_ms;
    unsigned passed;
    uint64_t suppressed;
};
bool log_limit_pass(struct log_limit *limit, int64_t now_ms, uint64_t *ret_suppressed);

#endif
