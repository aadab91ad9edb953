/* SPDX-License-Identifier: MIT */
/*
 * archive.h - writes a tar archive (ustar), compressed by gzip
 *
 * Its members are small texts in memory. libarchive would do the same and needs nine other
 * libraries; the header of a plain file in ustar is one block.
 */
#ifndef MQTT_SPOOLD_CLI_BUNDLE_ARCHIVE_H
#define MQTT_SPOOLD_CLI_BUNDLE_ARCHIVE_H

#include <stdint.h>
#include <stdio.h>

#include "base/attr.h"
#include "base/view.h"

/* Bytes of a member's name. */
#define ARCHIVE_NAME_MAX 99

struct archive;

/* @stream: borrowed. @ret: set on success; end with archive_close(). Return: 0; -ENOMEM. */
MUST_CHECK int archive_open(FILE *stream, int64_t time_s, struct archive **ret);
/* A file of mode 0600. Return: 0; -ENAMETOOLONG; -EIO: the stream has the error. */
MUST_CHECK int archive_add(struct archive *archive, const char *name, struct view data);
/* Writes the end, and frees @archive in any case. Return: 0; -EIO. */
MUST_CHECK int archive_close(struct archive *archive);
/* Of the library in use. */
const char *archive_library(void);

#endif
