/* SPDX-License-Identifier: MIT */
/*
 * datagram.h - which failed datagrams to journald or the service manager may be retried
 */
#ifndef MQTT_SPOOLD_DAEMON_HOST_DATAGRAM_H
#define MQTT_SPOOLD_DAEMON_HOST_DATAGRAM_H

#include <errno.h>
#include <stdbool.h>

/* @error: negative errno. True: the reader or this machine is short of a resource now, so
 * the same datagram may succeed later. False: the datagram itself is wrong, or there is no
 * reader. */
static inline bool datagram_may_retry(int error)
{
    return error == -EAGAIN || error == -ECONNREFUSED || error == -ENOBUFS ||
           error == -ENOMEM || error == -EMFILE || error == -ENFILE;
}

#endif
