/* SPDX-License-Identifier: MIT */
/*
 * terminal.h - what the terminal can show, and a screen of its own on it
 *
 * Colours and movements of the cursor are for terminals only: TERM=dumb has neither, and
 * NO_COLOR (https://no-color.org) turns colours off. Thread: the tool has one.
 */
#ifndef MQTT_SPOOLD_CLI_TERMINAL_H
#define MQTT_SPOOLD_CLI_TERMINAL_H

#include <stdbool.h>

#include "base/attr.h"

/* Is @fd a terminal on which the cursor can be moved? */
bool terminal_is_screen(int fd);
/* And do colours go there? */
bool terminal_has_colours(int fd);
/* Does the locale of the environment have the block characters? */
bool terminal_has_blocks(void);

/* Of standard output; 24 lines of 80 where that is not known. */
struct terminal_size {
    unsigned columns;
    unsigned rows;
};
struct terminal_size terminal_get_size(void);

/*
 * terminal_enter() - an empty screen, and single keys from standard input
 *
 * Ctrl-C and Ctrl-Z are keys then: signals of others arrive at the descriptor that
 * terminal_wait() reads. Return: 0; negative errno, and nothing was changed.
 */
MUST_CHECK int terminal_enter(void);
/* As it was before, also the screen. Does nothing without terminal_enter(). */
void terminal_leave(void);

enum terminal_event {
    TERMINAL_TIMEOUT,
    TERMINAL_KEY,
    TERMINAL_RESIZED,
    TERMINAL_ENDED, /* the terminal is gone, or a signal asks the program to end */
};

/*
 * terminal_wait() - what comes first
 * @ret_key:    set with TERMINAL_KEY
 * @ret_signal: set with TERMINAL_ENDED; 0: none
 */
enum terminal_event terminal_wait(int timeout_ms, char *ret_key, int *ret_signal);

#endif
