/* SPDX-License-Identifier: MIT */
/*
 * listener.h - where producers connect
 *
 * Makes the Unix socket, or uses the sockets that systemd passed as they are,
 * and accepts in a drain loop (a non-blocking connect() to a Unix socket with a
 * full backlog fails at once with EAGAIN, so the backlog is 4,096). Asks the
 * kernel for the peer. Without descriptors it pauses accepting instead of
 * spinning.
 *
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_INGRESS_LISTENER_H
#define MQTT_SPOOLD_DAEMON_INGRESS_LISTENER_H

#include <stddef.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "base/attr.h"
#include "base/peer.h"

struct listener_settings {
    const char *path; /* not used if sockets are passed */
    mode_t mode;
    const char *group; /* "": leave it */
    const int *passed; /* descriptors from systemd, taken over on success; may be NULL */
    size_t passed_count;
};

struct listener_ops {
    /* Takes @fd over (non-blocking, close-on-exec), whatever it returns; negative errno ends
     * the loop. */
    int (*accepted)(void *userdata, int fd, const struct peer *peer);
};

struct listener;

enum {
    LISTENER_E_LOGGED = 1, /* logged, with what to do */
    LISTENER_E_OPERATOR,   /* the same, and no restart mends it */
};

/*
 * listener_new() - bind and listen, or adopt
 * @settings: borrowed during the call
 *
 * A socket file left behind by a crash is replaced; one on which a process
 * listens is an error, and so is a file that is no socket, a missing parent
 * folder, an unknown group, and a passed descriptor that is not a listening
 * stream socket, Unix or TCP on loopback.
 *
 * Return: 0; LISTENER_E_LOGGED, LISTENER_E_OPERATOR: one of these; negative errno: not logged.
 */
MUST_CHECK int listener_new(sd_event *event,
                            const struct listener_settings *settings,
                            const struct listener_ops *ops,
                            void *userdata,
                            struct listener **ret);
/* Closes; removes the socket file that listener_new() made, not one that was passed. NULL is
 * accepted. */
void listener_free(struct listener *listener);
/*
 * listener_verify() - is the socket file still there? Every second or so
 *
 * A file of our own that was removed is made again when its name is free; what is
 * done is logged. Of one that was passed it can only be said.
 */
void listener_verify(struct listener *listener);
/* Stop accepting for good, keep the socket file. */
void listener_pause(struct listener *listener);

#endif
