/* SPDX-License-Identifier: MIT */
/*
 * journal.h - entries for journald, by its native protocol and without waiting
 *
 * Entries wait in fixed memory until journald takes them, in order. Thread:
 * loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_HOST_JOURNAL_H
#define MQTT_SPOOLD_DAEMON_HOST_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

#include "base/cleanup.h"

/*
 * journal_put() - one entry, sent by the next journal_flush()
 * @fields: each "NAME=value"; the value may hold any bytes
 *
 * Return: false: there is no room, since journald does not read; it was left out.
 */
MUST_CHECK bool journal_put(const struct iovec *fields, size_t count);

/* Sends what journald takes now; without a journald all entries go nowhere. Return: how many still
 * wait. */
size_t journal_flush(void);

/* How many entries could not be sent and never can; counted from 0 again. */
unsigned journal_take_lost(void);

/* What the last flush found: no journald on this machine. */
bool journal_is_absent(void);

#endif
