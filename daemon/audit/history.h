/* SPDX-License-Identifier: MIT */
/*
 * history.h - reads from the audit file which messages have ended
 *
 * For a spool whose database is damaged: the file is a second source. Reads the
 * file and the one that was rotated before it. Thread: loop thread only.
 *
 * Invariant: only whole lines of the audit file are reported. Diagnostics:
 * audit_unread.
 */
#ifndef MQTT_SPOOLD_DAEMON_AUDIT_HISTORY_H
#define MQTT_SPOOLD_DAEMON_AUDIT_HISTORY_H

#include "base/attr.h"
#include "store/spool.h"

/*
 * audit_history_each() - call @fn with each sound line; for spool_history.each
 * @file: of audit_settings; no line is reported for "" or a file that cannot be opened
 *
 * Blocks that are unreadable for some seconds are skipped, and logged.
 *
 * Return: 0; what @fn returned, which ends the walk; -ENOMEM.
 */
MUST_CHECK int audit_history_each(const char *file, spool_ended_fn *fn, void *userdata);

#endif
