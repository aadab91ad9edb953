/* SPDX-License-Identifier: MIT */
/*
 * log.c - one line per change of state
 *
 * A line is built in a fixed buffer and written whole, so that lines never mix.
 * A line that is too long is cut with "...". All of its text is shown in the
 * visible form of text.h, so that a line break in it cannot forge a second line,
 * not even through a value that its caller forgot to quote.
 *
 * A log that is not read stops nothing (log_sink.c). Lines that do not fit are
 * dropped and counted; log_dropped is written as soon as a line fits again:
 * before the next line, in the next log_flush(), or at the end.
 *
 * Diagnostics: log_dropped.
 */
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/attr.h"
#include "base/clock.h"
#include "base/log_sink.h"
#include "base/text.h"

/* How long log_finish() waits for the reader. */
#define LOG_LAST_MS 100

static enum log_level log_level_now = LOG_LEVEL_INFO;
static uint64_t log_lost_lines;
static int64_t log_lost_since_ms; /* boot time of the first of them */

struct log_level_word {
    enum log_level level;
    const char *name;
};

static const struct log_level_word log_words[] = {
    {LOG_LEVEL_ERROR, "error"}, {LOG_LEVEL_WARNING, "warning"}, {LOG_LEVEL_NOTICE, "notice"},
    {LOG_LEVEL_INFO, "info"},   {LOG_LEVEL_DEBUG, "debug"},
};
#define LOG_WORDS (sizeof(log_words) / sizeof(log_words[0]))

void log_set_level(enum log_level level)
{
    log_level_now = level;
}

bool log_enabled(enum log_level level)
{
    return level <= log_level_now;
}

static const char *log_level_name(enum log_level level)
{
    for (size_t i = 0; i < LOG_WORDS; i++)
        if (log_words[i].level == level)
            return log_words[i].name;
    return "?";
}

/* The variable is inherited by every child, so the descriptor is compared too. */
static bool log_goes_to_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device;
    unsigned long long inode;
    struct stat st;

    return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
           fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

static size_t log_write_lead(char *line, size_t size, enum log_level level)
{
    int n;

    if (log_goes_to_journal()) {
        n = snprintf(line, size, "<%d>", (int)level);
    } else {
        struct clock_reading now;
        char time[CLOCK_TEXT_MAX];

        clock_read(&now);
        clock_format(now.wall_ms, time);
        n = snprintf(line, size, "%s %s ", time, log_level_name(level));
    }
    return (size_t)n;
}

/* @size: the length of the text before vsnprintf() cut it. Returns the length now. */
static size_t log_tidy(char *line, size_t room, size_t size)
{
    static const char dots[] = "...";
    bool is_cut = size >= room;
    char text[LOG_LINE_MAX];

    if (is_cut)
        size = text_whole_size(line, room - 1);
    memcpy(text, line, size);
    if (!is_cut)
        is_cut = text_show(line, room, text, size) < size;
    if (is_cut) {
        (void)text_show(line, room - strlen(dots), text, size);
        memcpy(line + strlen(line), dots, sizeof(dots));
    }
    return strlen(line);
}

/* Return: whether it was taken. */
PRINTF_LIKE(2, 0)
static bool log_put(enum log_level level, const char *format, va_list arguments)
{
    int saved_errno = errno;
    char line[LOG_LINE_MAX];
    size_t lead = log_write_lead(line, sizeof(line), level);

    errno = saved_errno; /* for %m */
    int n = vsnprintf(line + lead, sizeof(line) - lead, format, arguments);
    size_t size = lead + log_tidy(line + lead, sizeof(line) - lead, n < 0 ? 0 : (size_t)n);

    line[size++] = '\n';
    return log_sink_put(line, size);
}

PRINTF_LIKE(2, 3)
static bool log_emit(enum log_level level, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    bool is_taken = log_put(level, format, arguments);
    va_end(arguments);
    return is_taken;
}

static int64_t log_boot_ms(void)
{
    struct clock_reading now;

    clock_read(&now);
    return now.boot_ms;
}

static void log_count_lost(void)
{
    if (log_lost_lines++ == 0)
        log_lost_since_ms = log_boot_ms();
}

/* Logs how many lines were lost, if that fits. Return: may a line follow? */
static bool log_catch_up(void)
{
    if (log_lost_lines > 0 &&
        log_emit(LOG_LEVEL_WARNING,
                 "log_dropped lines=%" PRIu64 " during_ms=%" PRId64
                 " cause=\"standard error was "
                 "not read\" remedy=\"see whether journald, or what else reads the log, stood "
                 "still or is overloaded\"",
                 log_lost_lines, log_boot_ms() - log_lost_since_ms))
        log_lost_lines = 0;
    return log_lost_lines == 0;
}

void log_write(enum log_level level, const char *format, ...)
{
    int saved_errno = errno;
    va_list arguments;

    if (!log_enabled(level))
        return;
    bool is_taken = log_catch_up();
    errno = saved_errno; /* for %m */
    va_start(arguments, format);
    is_taken = is_taken && log_put(level, format, arguments);
    va_end(arguments);
    if (!is_taken)
        log_count_lost();
    errno = saved_errno;
}

void log_open(void)
{
    log_sink_open();
}

void log_flush(void)
{
    (void)log_catch_up();
    (void)log_sink_flush();
}

void log_finish(void)
{
    if (log_catch_up() && log_sink_flush())
        return;
    log_sink_wait(LOG_LAST_MS);
    (void)log_catch_up();
    (void)log_sink_flush(); /* what remains is lost */
}

/* One character of the source in quoted form. Returns its size in the source. */
static size_t log_escape(const uint8_t *at, size_t left, char text[static TEXT_SHOWN_MAX])
{
    struct text_character character = text_next(at, left);

    if (*at == '"' || *at == '\\')
        (void)snprintf(text, TEXT_SHOWN_MAX, "\\%c", *at);
    else
        (void)text_show_character(&character, at, text);
    return character.size;
}

const char *log_quote(char *text, size_t text_size, const void *data, size_t size)
{
    const uint8_t *from = data;
    size_t at = 1;
    size_t safe = 1; /* the last end after which "..." still fits */

    if (text_size < sizeof("\"...\"")) {
        if (text_size > 0)
            *text = '\0';
        return text;
    }
    text[0] = '"';
    for (size_t i = 0; i < size;) {
        char unit[TEXT_SHOWN_MAX];
        size_t step = log_escape(from + i, size - i, unit);
        size_t length = strlen(unit);

        if (at + length + 2 > text_size) {
            memcpy(text + safe, "...", 3);
            at = safe + 3;
            break;
        }
        memcpy(text + at, unit, length);
        at += length;
        i += step;
        if (at + 5 <= text_size)
            safe = at;
    }
    memcpy(text + at, "\"", 2);
    return text;
}

bool log_limit_pass(struct log_limit *limit, int64_t now_ms, uint64_t *ret_suppressed)
{
    if (limit->passed == 0 || now_ms - limit->window_start_ms >= limit->interval_ms) {
        limit->window_start_ms = now_ms;
        limit->passed = 0;
    }
    if (limit->passed >= limit->burst) {
        limit->suppressed++;
        return false;
    }
    limit->passed++;
    *ret_suppressed = limit->suppressed;
    limit->suppressed = 0;
    return true;
}
