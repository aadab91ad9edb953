/* SPDX-License-Identifier: MIT */
/*
 * failpoint.c - kills the process at the place and passage that a test selects
 *
 * SIGKILL and not abort(): no handler, no flushed buffer, no destructor, as after
 * the kernel's OOM killer or an operator's kill -9. The variable is read once,
 * before main() begins, so that threads need no lock. A malformed value ends the
 * process: ignored, it would make a test that cannot fail.
 */
#include "base/failpoint.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *failpoint_selected;       /* "NAME:N", or NULL */
static size_t failpoint_selected_size;       /* of NAME */
static atomic_ulong failpoint_passages_left; /* passages until the crash */

__attribute__((constructor)) static void failpoint_read_variable(void)
{
    failpoint_selected = getenv("SPOOLD_FAILPOINT");
    if (!failpoint_selected)
        return;
    const char *colon = strrchr(failpoint_selected, ':');
    char *end = NULL;
    unsigned long passages = colon ? strtoul(colon + 1, &end, 10) : 0;
    if (passages == 0 || *end != '\0') {
        (void)fprintf(stderr, "SPOOLD_FAILPOINT=%s: it must be NAME:N\n", failpoint_selected);
        abort();
    }
    failpoint_selected_size = (size_t)(colon - failpoint_selected);
    atomic_store(&failpoint_passages_left, passages);
}

static bool failpoint_is_due(const char *name)
{
    name += strlen(FAILPOINT_MARK);
    if (!failpoint_selected || strlen(name) != failpoint_selected_size ||
        memcmp(name, failpoint_selected, failpoint_selected_size) != 0)
        return false;
    return atomic_fetch_sub(&failpoint_passages_left, 1) == 1;
}

static void failpoint_crash(void)
{
    (void)kill(getpid(), SIGKILL);
}

void failpoint_pass(const char *name)
{
    if (failpoint_is_due(name))
        failpoint_crash();
}

void failpoint_pass_torn(const char *name, int fd, const void *data, size_t size)
{
    if (!failpoint_is_due(name))
        return;
    if (write(fd, data, size / 2) < 0)
        perror(name); /* it crashes anyway */
    failpoint_crash();
}

unsigned long failpoint_size(const char *variable, unsigned long size)
{
    const char *text = getenv(variable);
    char *end = NULL;
    if (!text)
        return size;
    size = strtoul(text, &end, 10);
    if (end == text || *end != '\0') {
        (void)fprintf(stderr, "%s=%s: it must be a number\n", variable, text);
        abort();
    }
    return size;
}
