/* SPDX-License-Identifier: MIT */
/*
 * output.h - a file that a verb writes: the whole file, or nothing
 *
 * What is written goes to a temporary file in the same folder, which takes the
 * name only when all of it is on disk. A reader sees the old file or the new
 * one, whole; if the tool is interrupted, the old one stays.
 *
 * Invariant: the name is never that of a file in the making. Thread: any one at a time.
 */
#ifndef MQTT_SPOOLD_CLI_OUTPUT_H
#define MQTT_SPOOLD_CLI_OUTPUT_H

#include <stdio.h>
#include <sys/types.h>

#include "base/attr.h"

struct output;

/*
 * output_open() - begin a file
 * @path:   its name; copied. What is there must be a regular file: a link, a
 *          device or a pipe is not replaced
 * @begins: how an older file of the same kind begins: only such a one is replaced, for
 *          a slip names a file of the spool. NULL: none may be there
 * @mode:   permission bits of the new file, less the umask; not those of the old one
 * @ret:    set on success; end it with output_commit() or output_discard()
 *
 * Return: EX_OK; EX_NOPERM, EX_USAGE or EX_UNAVAILABLE, reported by cli_error().
 */
MUST_CHECK int
output_open(const char *path, const char *begins, mode_t mode, struct output **ret);

/* To write to, also by its descriptor after a fflush(); owned by @output, do not close it. What
 * cannot be written is reported by output_commit(): ferror() may end a long work early. */
FILE *output_stream(struct output *output);

/*
 * output_commit() - give the file its name, and free @output in any case
 *
 * Return: EX_OK: the file is whole and on disk, and so is its name; EX_UNAVAILABLE or
 * EX_NOPERM, reported: the name is what it was, unless the text reads that only the
 * folder could not be synced.
 */
MUST_CHECK int output_commit(struct output *output);

/* Removes what was written; the name is what it was. NULL is allowed. */
void output_discard(struct output *output);

static inline void output_cleanup(struct output **output)
{
    output_discard(*output);
}

/* For a local: discards it at the end of the scope. Set it to NULL after output_commit(). */
#define AUTO_OUTPUT CLEANUP(output_cleanup)

#endif
