/* SPDX-License-Identifier: MIT */
/*
 * salvage.h - moves a damaged database aside and keeps what can be read of it
 *
 * salvage_finish() and salvage() need the lock of the folder. Words for a failure
 * go to @errmsg, SPOOL_ERRMSG_MAX bytes. Thread: that of the spool.
 */
#ifndef MQTT_SPOOLD_STORE_SALVAGE_SALVAGE_H
#define MQTT_SPOOLD_STORE_SALVAGE_SALVAGE_H

#include "base/attr.h"
#include "store/spool.h"

/* How many damaged databases lie in the folder. */
unsigned salvage_count_damaged(int directory_fd);

/* Would salvage() refuse what lies there, for another program's database? Reads only. Return:
 * 0; negative errno. */
#define SALVAGE_FOREIGN_ERRMSG "spool.db is the database of another program"
MUST_CHECK int salvage_is_foreign(int directory_fd, bool *ret);

/* Finishes what a crash cut short between two names: a whole new database takes the place of
 * the other one, anything else that has its name moves aside. */
MUST_CHECK int salvage_finish(int directory_fd, const char *directory, char *errmsg);

/* The second half of a restore: RESTORED_NAME is there, whole and synced, and takes the place
 * of what is left there, which moves aside as @name; empty: there was no database. */
MUST_CHECK int
salvage_put_restored(int directory_fd, char *errmsg, char name[static SPOOL_NAME_MAX]);
MUST_CHECK int salvage_sync_file(int directory_fd, const char *name);

/* Return: as spool_salvage(). */
MUST_CHECK int salvage(int directory_fd,
                       const struct spool_options *options,
                       const struct spool_history *history,
                       char *errmsg,
                       struct spool_salvage *ret);

#endif
