/* SPDX-License-Identifier: MIT */
/*
 * journal.h - entries for journald, by its native protocol and without waiting
 *
 * Entries wait in fixed memory until journald takes them.
 *
 * Invariant: entries are sent whole and in order, and no call waits. Logs
 * nothing. Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_HOST_JOURNAL_H
#define MQTT_SPOOLD_DAEMON_HOST_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

#include "base/attr.h"

/*
 * journal_put() - one entry, sent by the next journal_flush()
 * @fields: copied; each "NAME=value", whose value may hold any bytes
 *
 * Return: false: no room, because journald does not read; the entry was left out.
 */
MUST_CHECK bool journal_put(const struct iovec *fields, size_t count);

/* Sends what journald takes now; all entries are discarded if there is no journald. Return: how
 * many still wait. */
size_t journal_flush(void);

/* How many entries were discarded since the last call because they can never be sent. */
unsigned journal_take_lost(void);

/* Did the last flush find no journald on this machine? */
bool journal_is_absent(void);

#endif
