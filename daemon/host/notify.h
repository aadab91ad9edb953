/* SPDX-License-Identifier: MIT */
/*
 * notify.h - messages to the service manager ($NOTIFY_SOCKET), without waiting
 *
 * Invariant: no call waits for the manager. Logs nothing. Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_HOST_NOTIFY_H
#define MQTT_SPOOLD_DAEMON_HOST_NOTIFY_H

/*
 * notify_send() - one message, as sd_notify(3) describes them
 *
 * Return: 0: sent, or there is no manager; -EAGAIN: the manager does not read
 * now; other negative errno: not sent.
 */
int notify_send(const char *text);

#endif
