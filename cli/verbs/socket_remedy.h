/* SPDX-License-Identifier: MIT */
/*
 * socket_remedy.h - what a user does who may not open the daemon's socket
 *
 * Thread: the tool has one.
 */
#ifndef MQTT_SPOOLD_CLI_VERBS_SOCKET_REMEDY_H
#define MQTT_SPOOLD_CLI_VERBS_SOCKET_REMEDY_H

#define SOCKET_REMEDY_MAX 512

/* Names the group and the command that makes this user a member of it, if that is what is
 * missing. Returns @text. */
const char *socket_remedy(const char *socket, char text[static SOCKET_REMEDY_MAX]);

#endif
