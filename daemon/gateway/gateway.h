/* SPDX-License-Identifier: MIT */
/*
 * gateway.h - the policy: what becomes of a message, from socket to outcome
 *
 * Owns the spool, the listener, the connections, the uplink and the audit, and
 * decides everything between them. The path of a message reads in publish.c,
 * edge.c and forward.c. Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_GATEWAY_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_GATEWAY_H

#include <stddef.h>
#include <systemd/sd-event.h>

#include "base/attr.h"
#include "daemon/config/config.h"

struct gateway;

/*
 * gateway_new() - open the spool and the audit, listen, prepare the uplink
 * @config:  taken over on success
 * @passed:  sockets from systemd, taken over on success; may be empty
 *
 * Return: 0; GATEWAY_E_LOGGED: the log has the obstacle and the remedy;
 * GATEWAY_E_OPERATOR: the same, and no restart helps; GATEWAY_E_STOPPED: SIGTERM
 * or SIGINT came while a damaged spool was read; negative errno.
 */
enum { GATEWAY_E_LOGGED = 1, GATEWAY_E_OPERATOR, GATEWAY_E_STOPPED };
MUST_CHECK int gateway_new(sd_event *event,
                           struct config *config,
                           const int *passed,
                           size_t passed_count,
                           struct gateway **ret);
/* Connects the uplink; from now on the daemon serves. */
MUST_CHECK int gateway_start(struct gateway *gateway);

/* What is in force; borrowed until the next reload. */
const struct config *gateway_config(const struct gateway *gateway);

/* HUP: takes over what can change while running from @config (always taken over), logs what
 * cannot, reopens the audit file. */
void gateway_reload(struct gateway *gateway, struct config *config);
/* HUP, and the configuration had an error, which the caller logs: only the status changes. */
void gateway_refuse_reload(struct gateway *gateway);

/*
 * gateway_stop() - TERM: accept nothing more, give what is in flight up to
 * GATEWAY_DRAIN_MS, then disconnect and end the loop with exit code 0
 */
#define GATEWAY_DRAIN_MS 3000
void gateway_stop(struct gateway *gateway);

/*
 * gateway_free() - commit what is settled, sync the audit file, free all
 *
 * NULL is accepted. Return: 0; negative errno: that commit failed. Nothing is
 * lost then, because it is repeated at the next start, but the disk must be checked.
 */
int gateway_free(struct gateway *gateway);

#endif
