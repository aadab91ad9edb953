/* SPDX-License-Identifier: MIT */
/*
 * reload.h - how a person makes the daemon read its configuration again
 *
 * The daemon reads it at HUP. A person at a gateway with systemd types systemctl reload, which
 * checks the file first; remedies name both, with the same words everywhere.
 */
#ifndef MQTT_SPOOLD_BASE_RELOAD_H
#define MQTT_SPOOLD_BASE_RELOAD_H

/* A verb in a remedy: "raise max_messages and " RELOAD_REMEDY. */
#define RELOAD_REMEDY "reload (systemctl reload mqtt-spoold, or HUP)"

/* What to do about keys that a HUP does not apply. */
#define RESTART_REMEDY "systemctl restart mqtt-spoold"

#endif
