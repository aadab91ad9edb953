/* SPDX-License-Identifier: MIT */
/*
 * watch.c - mqtt-spool status --watch: the status in place, each second
 *
 * A frame is composed in memory and written at once. Nothing is printed beside it: a status
 * that cannot be had is shown as such, and comes back by itself.
 */
#include "cli/verbs/watch.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/terminal.h"
#include "cli/verbs/watch_failures.h"
#include "cli/verbs/watch_page.h"

enum { REFRESH_MS = 1000, CTRL_C = 3 };

struct watch {
    struct status_source *status;
    struct watch_history history;
    struct watch_failures failures;
    int signal; /* that ended it */
};

static void watch_load(struct watch *watch)
{
    const json_t *spool;

    cli_silence_errors(true);
    if (status_source_load(watch->status) == EX_OK) {
        spool = json_object_get(watch->status->root, "spool");
        watch_history_add(&watch->history,
                          (uint64_t)json_integer_value(json_object_get(spool, "messages")));
        watch_failures_read(&watch->failures, watch->status->directory);
    }
    cli_silence_errors(false);
}

static void watch_draw(const struct watch *watch)
{
    const struct status_source *status = watch->status;
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);

    if (!stream)
        return;
    watch_page_print(&(struct watch_page){.root = status->root,
                                          .now_ms = cli_now().wall_ms,
                                          .running = status->running,
                                          .is_own = status->is_own,
                                          .size = terminal_get_size(),
                                          .has_colours = terminal_has_colours(STDOUT_FILENO),
                                          .has_blocks = terminal_has_blocks(),
                                          .history = &watch->history,
                                          .failures = &watch->failures},
                     stream);
    if (fclose(stream) == 0)
        (void)fwrite(text, 1, size, stdout);
    free(text);
    (void)fflush(stdout);
}

static bool is_end(enum terminal_event event, char key)
{
    return event == TERMINAL_ENDED ||
           (event == TERMINAL_KEY && (key == 'q' || key == 'Q' || key == CTRL_C));
}

/* Until the next status is due; other keys and new sizes only draw again. Return: it ends. */
static bool watch_wait(struct watch *watch)
{
    int64_t due_ms = cli_now().boot_ms + REFRESH_MS;

    for (;;) {
        int64_t left_ms = due_ms - cli_now().boot_ms;
        enum terminal_event event;
        char key = '\0';

        if (left_ms <= 0)
            return false;
        event = terminal_wait((int)left_ms, &key, &watch->signal);
        if (is_end(event, key))
            return true;
        if (event == TERMINAL_RESIZED)
            watch_draw(watch);
    }
}

static int refuse(void)
{
    return cli_usage("status",
                     "--watch needs a terminal that is not \"dumb\"; for a script there "
                     "is mqtt-spool status --json");
}

int watch_run(struct status_source *status)
{
    struct watch watch = {.status = status};
    int code;

    if (!terminal_is_screen(STDOUT_FILENO) || !isatty(STDIN_FILENO))
        return refuse();
    code =
        status_source_load(status); /* what is wrong is reported before the screen is taken */
    if (code != EX_OK)
        return code;
    if (terminal_enter() < 0)
        return refuse();
    do {
        watch_load(&watch);
        watch_draw(&watch);
    } while (!watch_wait(&watch));
    terminal_leave();
    if (watch.signal != 0)
        (void)raise(watch.signal);
    return EX_OK;
}
