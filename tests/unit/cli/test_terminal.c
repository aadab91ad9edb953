/* SPDX-License-Identifier: MIT */
/*
 * test_terminal.c - tests of the terminal: a pseudo-terminal is standard input and output
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "cli/terminal.h"

#define PATIENCE_MS 30000

static int master;
static int saved[2];

/* Standard input and output are the terminal until give_back(). Nothing is asserted meanwhile:
 * the reports go to standard output. */
static void take_terminal(void)
{
    master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(master >= 0);
    assert_int_equal(grantpt(master), 0);
    assert_int_equal(unlockpt(master), 0);
    int fd = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(fd >= 0);
    (void)fflush(stdout);
    for (int i = 0; i < 2; i++) {
        saved[i] = dup(i);
        (void)dup2(fd, i);
    }
    (void)close(fd);
}

static void give_back(void)
{
    (void)fflush(stdout);
    for (int i = 0; i < 2; i++) {
        (void)dup2(saved[i], i);
        (void)close(saved[i]);
    }
}

static void what_it_can_show_is_by_the_environment(void **state)
{
    bool is_screen[3], has_colours[2];

    (void)state;
    assert_int_equal(unsetenv("NO_COLOR"), 0);
    take_terminal();
    static const char *const names[] = {"xterm", "dumb", ""};
    for (int i = 0; i < 3; i++) {
        (void)setenv("TERM", names[i], 1);
        is_screen[i] = terminal_is_screen(STDOUT_FILENO);
    }
    (void)setenv("TERM", "xterm", 1);
    has_colours[0] = terminal_has_colours(STDOUT_FILENO);
    (void)setenv("NO_COLOR", "1", 1);
    has_colours[1] = terminal_has_colours(STDOUT_FILENO);
    give_back();
    (void)close(master);
    assert_true(is_screen[0] && !is_screen[1] && !is_screen[2]);
    assert_true(has_colours[0] && !has_colours[1]);
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    assert_false(terminal_is_screen(fds[1]));
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static void blocks_are_by_the_locale(void **state)
{
    (void)state;
    assert_int_equal(setenv("LC_ALL", "", 1), 0);
    assert_int_equal(setenv("LC_CTYPE", "de_DE.UTF-8", 1), 0);
    assert_int_equal(setenv("LANG", "C", 1), 0);
    assert_true(terminal_has_blocks());
    assert_int_equal(setenv("LC_ALL", "C", 1), 0);
    assert_false(terminal_has_blocks());
    assert_int_equal(unsetenv("LC_ALL"), 0);
    assert_int_equal(unsetenv("LC_CTYPE"), 0);
    assert_int_equal(unsetenv("LANG"), 0);
    assert_false(terminal_has_blocks());
}

static void its_size_is_asked_for(void **state)
{
    struct winsize size = {.ws_row = 33, .ws_col = 101};
    struct terminal_size unknown, known;

    (void)state;
    take_terminal();
    unknown = terminal_get_size();
    (void)ioctl(STDOUT_FILENO, TIOCSWINSZ, &size);
    known = terminal_get_size();
    give_back();
    (void)close(master);
    assert_int_equal(unknown.columns, 80);
    assert_int_equal(unknown.rows, 24);
    assert_int_equal(known.columns, 101);
    assert_int_equal(known.rows, 33);
}

static void keys_and_signals_arrive_and_it_is_restored(void **state)
{
    enum terminal_event events[4];
    struct termios before, raw, after;
    char key = 0, drawn[256] = "";
    int signal = 0;

    (void)state;
    take_terminal();
    (void)tcgetattr(STDIN_FILENO, &before);
    int entered = terminal_enter();
    (void)tcgetattr(STDIN_FILENO, &raw);
    events[0] = terminal_wait(0, &key, &signal);
    ssize_t written = write(master, "q", 1);
    events[1] = terminal_wait(PATIENCE_MS, &key, &signal);
    (void)raise(SIGWINCH);
    events[2] = terminal_wait(PATIENCE_MS, &key, &signal);
    (void)raise(SIGTERM);
    events[3] = terminal_wait(PATIENCE_MS, &key, &signal);
    terminal_leave();
    terminal_leave(); /* does nothing */
    (void)tcgetattr(STDIN_FILENO, &after);
    ssize_t size = read(master, drawn, sizeof(drawn) - 1);
    give_back();
    (void)close(master);
    assert_int_equal(entered, 0);
    assert_int_equal(written, 1);
    assert_int_equal(events[0], TERMINAL_TIMEOUT);
    assert_int_equal(events[1], TERMINAL_KEY);
    assert_int_equal(key, 'q');
    assert_int_equal(events[2], TERMINAL_RESIZED);
    assert_int_equal(events[3], TERMINAL_ENDED);
    assert_int_equal(signal, SIGTERM);
    assert_false(raw.c_lflag & (ICANON | ECHO | ISIG));
    assert_int_equal(after.c_lflag, before.c_lflag);
    assert_int_equal(after.c_iflag, before.c_iflag);
    assert_true(size > 0);
    assert_non_null(strstr(drawn, "\x1b[?1049h"));
}

static void a_terminal_that_is_gone_ends_it(void **state)
{
    enum terminal_event event;
    char key = 0;
    int signal = 0;

    (void)state;
    take_terminal();
    int entered = terminal_enter();
    (void)close(master);
    event = terminal_wait(PATIENCE_MS, &key, &signal);
    terminal_leave();
    give_back();
    assert_int_equal(entered, 0);
    assert_int_equal(event, TERMINAL_ENDED);
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    int kept = dup(STDIN_FILENO);
    assert_int_equal(dup2(fds[0], STDIN_FILENO), STDIN_FILENO);
    entered = terminal_enter(); /* no terminal */
    assert_int_equal(dup2(kept, STDIN_FILENO), STDIN_FILENO);
    (void)close(kept);
    (void)close(fds[0]);
    (void)close(fds[1]);
    assert_true(entered < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_it_can_show_is_by_the_environment),
        cmocka_unit_test(blocks_are_by_the_locale),
        cmocka_unit_test(its_size_is_asked_for),
        cmocka_unit_test(keys_and_signals_arrive_and_it_is_restored),
        cmocka_unit_test(a_terminal_that_is_gone_ends_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
