/* SPDX-License-Identifier: MIT */
/*
 * peer.h - the credentials of a local peer, as the kernel reports them
 */
#ifndef MQTT_SPOOLD_BASE_PEER_H
#define MQTT_SPOOLD_BASE_PEER_H

#include <sys/types.h>

/* A peer over TCP on loopback has no credentials: its uid is PEER_UID_UNKNOWN. */
#define PEER_UID_UNKNOWN ((uid_t)-1)

struct peer {
    uid_t uid;
    gid_t gid;
    pid_t pid; /* 0: unknown */
};

#endif
