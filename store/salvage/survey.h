/* SPDX-License-Identifier: MIT */
/*
 * survey.h - which blocks of a spool's files cannot be read
 *
 * A bad block is one that fails in each of several rounds, some seconds in all, of
 * a file of which another block can be read: from the disk, not from memory. If no
 * block of the database can be read the disk is gone, or cut off, and the state of
 * the files is unknown.
 */
#ifndef MQTT_SPOOLD_STORE_SALVAGE_SURVEY_H
#define MQTT_SPOOLD_STORE_SALVAGE_SURVEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

enum { SURVEY_BLOCK = 4096 };

enum survey_file { SURVEY_DATABASE, SURVEY_LOG, SURVEY_MARK, SURVEY_FILES };

struct survey {
    struct survey_blocks {
        uint8_t *bad; /* a bit each; NULL: none is */
        uint64_t count;
        uint64_t bad_count;
        uint64_t first_bad;
    } files[SURVEY_FILES];
};

/*
 * survey_take() - read all of the files in the folder
 * @ret:   set in any case; free with survey_done()
 * @errmsg: SPOOL_ERRMSG_MAX bytes: why it failed, or what was found; else empty
 *
 * Return: 0, also if blocks are bad; -EIO: the disk cannot be read; other
 *         negative errno.
 */
MUST_CHECK int survey_take(int directory_fd, struct survey *ret, char *errmsg);
void survey_done(struct survey *survey);

/* A message may be lost by it: a place of the database or of its log. */
bool survey_found_damage(const struct survey *survey);
/* Is one of these bytes in a bad block? @survey NULL: no. */
bool survey_is_bad(const struct survey *survey,
                   enum survey_file file,
                   uint64_t from,
                   size_t size);

#endif
