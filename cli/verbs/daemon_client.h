/* SPDX-License-Identifier: MIT */
/*
 * daemon_client.h - the client of libmosquitto, and its connection to the
 * daemon
 *
 * For the verbs that speak to a daemon. Thread: the tool has one.
 */
#ifndef MQTT_SPOOLD_CLI_VERBS_DAEMON_CLIENT_H
#define MQTT_SPOOLD_CLI_VERBS_DAEMON_CLIENT_H

#include <mosquitto.h>
#include <stdint.h>

#include "base/attr.h"

/*
 * daemon_client_new() - a client, not connected yet
 * @client_id: NULL: one that no other client has
 * @version:   of MQTT: 4 or 5
 * @ret:       set on success; free with mosquitto_destroy()
 *
 * Return: EX_OK; EX_DATAERR or EX_UNAVAILABLE, reported.
 */
MUST_CHECK int daemon_client_new(const char *client_id,
                                 unsigned version,
                                 unsigned send_maximum,
                                 void *userdata,
                                 struct mosquitto **ret);

/*
 * daemon_client_connect() - connects to the socket
 * @keepalive_s: the daemon answers no ping while it works at a request
 * @timeout_ms:  of the system call; the daemon's answer comes by the callback on_connect
 * @remedy:      what a user needs besides the right to open the socket: a text before
 *               socket_remedy() if that is missing, or ""
 *
 * Return: EX_OK; EX_NOPERM, EX_TEMPFAIL or EX_UNAVAILABLE, reported.
 */
MUST_CHECK int daemon_client_connect(struct mosquitto *client,
                                     const char *socket,
                                     int keepalive_s,
                                     uint64_t timeout_ms,
                                     const char *remedy);

/* For poll(2): what the client waits for. */
struct pollfd daemon_client_pollfd(struct mosquitto *client);

/*
 * daemon_client_serve() - lets the library read and write
 * @revents: of the client, by poll(2)
 *
 * Return: MOSQ_ERR_SUCCESS; another of MOSQ_ERR_*: the connection is lost.
 */
MUST_CHECK int daemon_client_serve(struct mosquitto *client, short revents);

#endif
