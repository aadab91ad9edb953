/* SPDX-License-Identifier: MIT */
/*
 * emulated.h - cases that user-mode QEMU cannot run
 *
 * To be included after cmocka.h. SPOOLD_EMULATED is set by CMake for a build for another
 * processor.
 */
#ifndef MQTT_SPOOLD_TESTS_EMULATED_H
#define MQTT_SPOOLD_TESTS_EMULATED_H

#include <stdlib.h>

/* Skips the case under QEMU; @lack: what it does not do. */
static inline void need_kernel(const char *lack)
{
    if (!getenv("SPOOLD_EMULATED"))
        return;
    print_message("skipped: under QEMU, %s\n", lack);
    skip();
}

/* The link asks the kernel how much of what was written the peer has. */
static inline void need_tcp_info(void)
{
    need_kernel("which does not report how much the peer has taken (TCP_INFO)");
}

#endif
