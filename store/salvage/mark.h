/* SPDX-License-Identifier: MIT */
/*
 * mark.h - the high-water mark beside the database
 *
 * A few bytes in "spool.mark" that say which id and seq the spool has reached,
 * written without a sync after each commit. The mark may lag behind the
 * database (after a power cut), it is never ahead of it. So a database that is
 * behind its mark has lost commits: its write-ahead log is gone, was cut, or is
 * that of an older copy, which SQLite itself takes for a database in order.
 *
 * It also keeps what happened to a daemon while it ran, for the next one to act upon:
 * damage, or a media error.
 */
#ifndef MQTT_SPOOLD_STORE_SALVAGE_MARK_H
#define MQTT_SPOOLD_STORE_SALVAGE_MARK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"

#define MARK_NAME "spool.mark"

struct mark {
    bool is_known;   /* there was one, and it was whole */
    bool is_suspect; /* damage was found */
    bool is_unread;  /* a read or a write failed */
    uint64_t last_id;
    uint64_t last_seq;
};

/* Reads; a file that is not there or not whole gives a mark that is not known. */
MUST_CHECK int mark_read(int directory_fd, struct mark *ret);
/* Opens for writing, makes the file when it is missing. Return: a descriptor; negative errno.
 */
MUST_CHECK int mark_open(int directory_fd);
/* Another name for a mark that is "unread", so that its place on the disk is not used again, or
 * "replaced", by one of another spool. Return: 0; negative errno. */
MUST_CHECK int mark_set_aside(int directory_fd, const char *why);
/* Not synced. A full disk is no error: the mark then lags. Return: 0; negative errno. */
MUST_CHECK int mark_write(int fd, const struct mark *mark);

#endif
