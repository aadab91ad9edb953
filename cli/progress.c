/* SPDX-License-Identifier: MIT */
/*
 * progress.c - a line on a terminal that says how far a long command is
 *
 * Nothing is shown unless standard error is a terminal, and not a "dumb" one: a log of a
 * script has no use for it.
 */
#include "cli/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/terminal.h"

#define PROGRESS_MS  250
#define PROGRESS_BAR 30

/* @has_output: the command prints lines, which the progress must not disturb. */
void progress_init(struct progress *progress, bool has_output)
{
    *progress = (struct progress){
        .is_shown = terminal_is_screen(STDERR_FILENO) && !(has_output && isatty(STDOUT_FILENO)),
        .due_ms = cli_now().boot_ms + PROGRESS_MS,
    };
}

static bool progress_is_due(struct progress *progress)
{
    int64_t now_ms;

    if (!progress->is_shown || (now_ms = cli_now().boot_ms) < progress->due_ms)
        return false;
    progress->is_begun = true;
    progress->due_ms = now_ms + PROGRESS_MS;
    return true;
}

void progress_show(struct progress *progress, const char *what, uint64_t count)
{
    if (progress_is_due(progress))
        fprintf(stderr, "\r%s %" PRIu64 "\x1b[K", what, count);
}

void progress_show_share(
    struct progress *progress, const char *what, uint64_t done, uint64_t all, uint64_t count)
{
    static const char marks[PROGRESS_BAR + 1] = "==============================";
    int part;

    if (!progress_is_due(progress))
        return;
    if (all == 0 || done > all) {
        fprintf(stderr, "\r%s %" PRIu64 "\x1b[K", what, count);
        return;
    }
    part = (int)((double)done / (double)all * PROGRESS_BAR);
    fprintf(stderr, "\r%s [%.*s%*s] %.0f %%, %" PRIu64 "\x1b[K", what, part, marks,
            PROGRESS_BAR - part, "", (double)done * 100 / (double)all, count);
}

void progress_end(struct progress *progress)
{
    if (progress->is_begun)
        fputs("\r\x1b[K", stderr);
    progress->is_begun = false;
}
