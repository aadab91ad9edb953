/* SPDX-License-Identifier: MIT */
/*
 * log_sink.c - non-blocking writes to standard error
 *
 * The reader is another process: journald behind a socket, a supervisor behind
 * a pipe, a person behind a terminal. Each may stop reading, and a blocking write
 * would then wait for it. The inherited open file description is shared with
 * other processes, so it is never set to O_NONBLOCK. Instead:
 *
 *   a socket           send() with MSG_DONTWAIT
 *   a pipe, a terminal /proc/self/fd/2, reopened with O_NONBLOCK: a separate
 *                      open file description
 *   the rest, and a pipe or a terminal that cannot be reopened
 *                      poll() before each write. A pipe that polls writable
 *                      takes PIPE_BUF bytes, which is more than a line; a
 *                      terminal promises one byte only, so it gets single bytes.
 *                      Another writer can take that room in between.
 *
 * A regular file always polls writable: on a stalled disk a write waits, and no
 * flag changes that.
 *
 * A line of which only a part was taken is kept, and nothing is written before
 * its rest, so that lines never mix.
 */
#include "base/log_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_SINK_PATH "/proc/self/fd/2"

_Static_assert(LOG_LINE_MAX <= PIPE_BUF, "a pipe that polls writable takes a whole line");

struct log_sink {
    int fd;
    bool is_socket;
    bool is_reopened; /* a separate open file description, with O_NONBLOCK */
    bool is_terminal;
    size_t rest_from;
    size_t rest_size;
    char rest[LOG_LINE_MAX];
};

static struct log_sink log_sink = {.fd = STDERR_FILENO};

void log_sink_open(void)
{
    struct stat st;

    if (log_sink.is_reopened)
        (void)close(log_sink.fd);
    log_sink = (struct log_sink){.fd = STDERR_FILENO};
    if (fstat(STDERR_FILENO, &st) < 0)
        return;
    log_sink.is_socket = S_ISSOCK(st.st_mode);
    log_sink.is_terminal = isatty(STDERR_FILENO) == 1;
    if (!log_sink.is_terminal && !S_ISFIFO(st.st_mode))
        return;
    int fd = open(LOG_SINK_PATH, O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return; /* not permitted, or no /proc: poll() is used */
    log_sink.fd = fd;
    log_sink.is_reopened = true;
}

static bool log_sink_has_room(int timeout_ms)
{
    struct pollfd wait = {.fd = log_sink.fd, .events = POLLOUT};

    return poll(&wait, 1, timeout_ms) > 0; /* the write reports an error */
}

static ssize_t log_sink_write(const char *data, size_t size)
{
    if (log_sink.is_socket)
        return send(log_sink.fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (log_sink.is_reopened)
        return write(log_sink.fd, data, size);
    if (!log_sink_has_room(0))
        return -1;
    return write(log_sink.fd, data, log_sink.is_terminal ? 1 : size);
}

/* Return: how many bytes were written. The error does not matter: it is tried again. */
static size_t log_sink_write_some(const char *data, size_t size)
{
    size_t done = 0;

    while (done < size) {
        ssize_t n = log_sink_write(data + done, size - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    return done;
}

bool log_sink_flush(void)
{
    size_t done = log_sink_write_some(log_sink.rest + log_sink.rest_from, log_sink.rest_size);

    log_sink.rest_from += done;
    log_sink.rest_size -= done;
    return log_sink.rest_size == 0;
}

bool log_sink_put(const char *line, size_t size)
{
    if (!log_sink_flush())
        return false;
    size_t done = log_sink_write_some(line, size);

    if (done == 0 || done == size)
        return done == size;
    log_sink.rest_from = 0;
    log_sink.rest_size = size - done;
    memcpy(log_sink.rest, line + done, log_sink.rest_size);
    return true;
}

void log_sink_wait(int timeout_ms)
{
    (void)log_sink_has_room(timeout_ms);
}
