/* SPDX-License-Identifier: MIT */
/*
 * log.h - one line per change of state
 *
 * Form: `event key=value ...` on standard error, led by `<N>` (the syslog
 * level, which journald reads) when standard error is the journal
 * (JOURNAL_STREAM is set), else by time and level for a person. No line waits
 * for its reader: what the reader does not take is dropped, and `log_dropped`
 * has the number of lines when it reads again. Values that may hold spaces are
 * quoted by the caller with log_quote(); other values are shown as in text.h.
 * Never payload, never secrets.
 *
 * Invariant: lines never mix, and no text from outside can forge one.
 * Diagnostics: log_dropped.
 *
 * Library code (store, packet, cursors) never logs. Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_BASE_LOG_H
#define MQTT_SPOOLD_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

/* The numbers are syslog's. */
enum log_level {
    LOG_LEVEL_ERROR = 3,
    LOG_LEVEL_WARNING = 4,
    LOG_LEVEL_NOTICE = 5,
    LOG_LEVEL_INFO = 6,
    LOG_LEVEL_DEBUG = 7
};

/* Call it once, before the first line and after all redirections of standard error. */
void log_open(void);
/* Call it once a second: tries again what could not be written. */
void log_flush(void);
/* Call it last: waits up to 100 ms for a slow reader. */
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

/* Quotes bytes from outside for a value: in the visible form of text.h, with `\` before each
 * `"` and `\` of the text; cut with "..." if @text_size is too small. Returns @text. */
const char *log_quote(char *text, size_t text_size, const void *data, size_t size);

/*
 * A rate limit for warnings that a client can cause: at most @burst lines pass in
 * an interval. log_limit_pass() returns whether this line may be written, and how
 * many were suppressed since the last one that passed.
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
