/* SPDX-License-Identifier: MIT */
/*
 * history.h - which messages have ended, by what the audit file says
 *
 * For a spool whose database is damaged: the file is a second witness. Reads
 * the file and the one that was rotated before it. Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_AUDIT_HISTORY_H
#define MQTT_SPOOLD_DAEMON_AUDIT_HISTORY_H

#include "base/cleanup.h"
#include "store/spool.h"

/*
 * audit_history_each() - tell each sound line; for spool_history.each
 * @file: of audit_settings; "" tells nothing, and so does one that cannot be read
 *
 * What the disk does not give in some seconds is left out, and logged.
 *
 * Return: 0, or what @fn returned.
 */
MUST_CHECK int audit_history_each(const char *file, spool_ended_fn *fn, void *context);

#endif
