/* SPDX-License-Identifier: MIT */
/*
 * datagram.h - what a datagram to journald or to the service manager failed with
 */
#ifndef MQTT_SPOOLD_DAEMON_HOST_DATAGRAM_H
#define MQTT_SPOOLD_DAEMON_HOST_DATAGRAM_H

#include <errno.h>
#include <stdbool.h>

/* @error: negative errno. Of the reader, or of this machine now: the same datagram may go later.
 * Another error is the datagram's own, or no reader is there. */
static inline bool datagram_may_retry(int error)
{
    return error == -EAGAIN || error == -ECONNREFUSED || error == -ENOBUFS ||
           error == -ENOMEM || error == -EMFILE || error == -ENFILE;
}

#endif
