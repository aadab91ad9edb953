/* SPDX-License-Identifier: MIT */
/*
 * terminal.c - what the terminal can show, and a screen of its own on it
 *
 * Whatever ends the watch, except SIGKILL, passes terminal_leave(): signals are read from a
 * descriptor, so none interrupts between two writes.
 */
#include "cli/terminal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

/* The other screen, without cursor and without a break of long lines; and back. */
#define ENTER_SCREEN "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
#define LEAVE_SCREEN "\x1b[?7h\x1b[?25h\x1b[?1049l"

enum { DEFAULT_COLUMNS = 80, DEFAULT_ROWS = 24 };

static struct {
    bool is_entered;
    int signal_fd;
    struct termios before;
    sigset_t mask_before;
} terminal;

bool terminal_is_screen(int fd)
{
    const char *name = getenv("TERM");

    return isatty(fd) && name && *name != '\0' && strcmp(name, "dumb") != 0;
}

bool terminal_has_colours(int fd)
{
    const char *is_unwanted = getenv("NO_COLOR");

    return terminal_is_screen(fd) && (!is_unwanted || *is_unwanted == '\0');
}

/* The first of the three that is set decides, as for setlocale(3). */
bool terminal_has_blocks(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const char *locale = getenv(names[i]);

        if (locale && *locale != '\0')
            return strcasestr(locale, "utf-8") || strcasestr(locale, "utf8");
    }
    return false;
}

struct terminal_size terminal_get_size(void)
{
    struct winsize size = {0};
    struct terminal_size found = {.columns = DEFAULT_COLUMNS, .rows = DEFAULT_ROWS};

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0)
        return found;
    if (size.ws_col > 0)
        found.columns = size.ws_col;
    if (size.ws_row > 0)
        found.rows = size.ws_row;
    return found;
}

static int open_signals(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGWINCH};
    sigset_t mask;
    int fd;

    (void)sigemptyset(&mask);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        (void)sigaddset(&mask, signals[i]);
    (void)sigprocmask(SIG_BLOCK, &mask, &terminal.mask_before);
    fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        (void)sigprocmask(SIG_SETMASK, &terminal.mask_before, NULL);
    return fd;
}

int terminal_enter(void)
{
    struct termios raw;

    if (tcgetattr(STDIN_FILENO, &terminal.before) < 0)
        return -errno;
    terminal.signal_fd = open_signals();
    if (terminal.signal_fd < 0)
        return -errno;
    raw = terminal.before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG | IEXTEN);
    raw.c_iflag &= ~(tcflag_t)IXON; /* Ctrl-S would stop the output, and with it the program */
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw);
    terminal.is_entered = true;
    fputs(ENTER_SCREEN, stdout);
    (void)fflush(stdout);
    return 0;
}

void terminal_leave(void)
{
    if (!terminal.is_entered)
        return;
    terminal.is_entered = false;
    fputs(LEAVE_SCREEN, stdout);
    (void)fflush(stdout);
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &terminal.before);
    (void)close(terminal.signal_fd);
    (void)sigprocmask(SIG_SETMASK, &terminal.mask_before, NULL);
}

static enum terminal_event take_signal(int *ret_signal)
{
    struct signalfd_siginfo info;

    if (read(terminal.signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return TERMINAL_TIMEOUT;
    if (info.ssi_signo == SIGWINCH)
        return TERMINAL_RESIZED;
    if (info.ssi_signo == SIGTSTP) /* a stopped one would leave its screen behind */
        return TERMINAL_TIMEOUT;
    *ret_signal = (int)info.ssi_signo;
    return TERMINAL_ENDED;
}

enum terminal_event terminal_wait(int timeout_ms, char *ret_key, int *ret_signal)
{
    struct pollfd fds[] = {
        {.fd = terminal.signal_fd, .events = POLLIN},
        {.fd = STDIN_FILENO, .events = POLLIN},
    };

    *ret_signal = 0;
    if (poll(fds, sizeof(fds) / sizeof(fds[0]), timeout_ms) <= 0)
        return TERMINAL_TIMEOUT;
    if (fds[0].revents)
        return take_signal(ret_signal);
    return read(STDIN_FILENO, ret_key, 1) == 1 ? TERMINAL_KEY : TERMINAL_ENDED;
}
