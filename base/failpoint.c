/* SPDX-License-Identifier: MIT */
/*
 * failpoint.c - kills the process at the place and passage that a test named
 *
 * SIGKILL and not abort(): no handler, no buffer flushed, no destructor, which
 * is what the kernel's OOM killer or an operator's kill -9 leaves behind. The
 * wish is read once, before main() begins, so that threads need no lock for it.
 * One that cannot be understood ends the process: ignored, it would make a test
 * that cannot fail.
 */
#include "base/failpoint.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *wanted; /* "NAME:N", or NULL */
static size_t wanted_size; /* of NAME */
static atomic_ulong left;  /* passages until the crash */

__attribute__((constructor)) static void read_wish(void)
{
    wanted = getenv("SPOOLD_FAILPOINT");
    if (!wanted)
        return;
    const char *colon = strrchr(wanted, ':');
    char *end = NULL;
    unsigned long passages = colon ? strtoul(colon + 1, &end, 10) : 0;
    if (passages == 0 || *end != '\0') {
        (void)fprintf(stderr, "SPOOLD_FAILPOINT=%s: it must be NAME:N\n", wanted);
        abort();
    }
    wanted_size = (size_t)(colon - wanted);
    atomic_store(&left, passages);
}

static bool is_time(const char *name)
{
    name += strlen(FAILPOINT_MARK);
    if (!wanted || strlen(name) != wanted_size || memcmp(name, wanted, wanted_size) != 0)
        return false;
    return atomic_fetch_sub(&left, 1) == 1;
}

static void crash(void)
{
    (void)kill(getpid(), SIGKILL);
}

void failpoint_pass(const char *name)
{
    if (is_time(name))
        crash();
}

void failpoint_pass_torn(const char *name, int fd, const void *data, size_t size)
{
    if (!is_time(name))
        return;
    if (write(fd, data, size / 2) < 0)
        perror(name); /* it crashes all the same */
    crash();
}
