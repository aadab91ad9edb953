/* SPDX-License-Identifier: MIT */
/*
 * reads.h - repeats reads that fail, and reports a write without room as a full disk
 *
 * A read changes nothing: one that succeeds at the second try is as good as one
 * that succeeds at the first, other than a sync. So each is tried READS_TRIES
 * times. What still fails is an error of I/O, and never damage by itself: see
 * survey.h.
 *
 * Thread: each counts its own.
 */
#ifndef MQTT_SPOOLD_STORE_SALVAGE_READS_H
#define MQTT_SPOOLD_STORE_SALVAGE_READS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attr.h"

enum { READS_TRIES = 3 };

/* Return: how many bytes were read, fewer than @size only at the end of the file; negative
 * errno. */
MUST_CHECK ssize_t reads_at(int fd, void *to, size_t size, uint64_t from);

/* As spool_stop_if() says; asks at each 256th call, each of which goes with a read of a
 * page. */
bool reads_is_stopped(void);

/* How many reads were given up since the thread began, by reads_at() and by SQLite. */
uint64_t reads_given_up(void);

/* How many writes of SQLite failed with EIO: where a write begins or ends in a block, it
 * reads. */
uint64_t reads_bad_writes(void);

/* Why the newest write of SQLite that had no room had none: an errno, see full.h. */
int reads_full_error(void);

/* The same of the call that ended with @rc; 0: it did not fail for want of room. A file that
 * could not be made for want of it, too; a sync that failed not. */
struct sqlite3;
int reads_full_of(struct sqlite3 *db, int rc);

/* For sqlite3_open_v2(): the name of a VFS that is the default one except for this. NULL: out
 * of memory. */
const char *reads_vfs(void);

/*
 * reads_join_log() - until @db is closed, neighbouring writes of its log are joined, up to 96
 * KiB of memory, and the log is not synced again if nothing was written since it was
 *
 * Once for a connection that uses reads_vfs(), has opened the log, and has synchronous=FULL:
 * see reads.c.
 * Return: SQLITE_OK; SQLITE_NOMEM; SQLITE_MISUSE: it has no such log.
 */
MUST_CHECK int reads_join_log(struct sqlite3 *db);
/* Syncs the log, also what another process has left in it. Return: 0; a positive errno. */
MUST_CHECK int reads_sync_log(struct sqlite3 *db);

#endif
