/* SPDX-License-Identifier: MIT */
/*
 * secret.h - a password in a file of its own
 *
 * The file holds the password as it is sent; one line end is cut. What an editor or a
 * copy from another system adds is not cut, because a password of MQTT may have any
 * bytes; but it is recognized and reported.
 *
 * Ownership: the caller's, who wipes it. Thread: any.
 */
#ifndef MQTT_SPOOLD_DAEMON_UPLINK_SECRET_H
#define MQTT_SPOOLD_DAEMON_UPLINK_SECRET_H

#include <stddef.h>

#include "base/attr.h"
#include "daemon/mqtt/packet.h"

/* What MQTT can carry as a password. */
#define SECRET_MAX MQTT_TEXT_MAX

struct secret {
    size_t size;
    char text[SECRET_MAX + 2]; /* and a newline, and the end of a C string */
};

/* Return: 0 or negative errno, -REGULAR_OTHER; -EFBIG: longer than MQTT can carry. */
MUST_CHECK int secret_read(const char *path, struct secret *secret);
/* What is hardly meant as a part of the password, to stand behind the name of the file; NULL:
 * nothing. */
const char *secret_flaw(const struct secret *secret);

#endif
