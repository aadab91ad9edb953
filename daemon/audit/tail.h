/* SPDX-License-Identifier: MIT */
/*
 * tail.h - the last line of an audit file, and the end of its sound part
 *
 * Invariant: a file that is not an audit file is never changed, and a line that
 * was synced is never cut. Logs nothing. Thread: any.
 */
#ifndef MQTT_SPOOLD_DAEMON_AUDIT_TAIL_H
#define MQTT_SPOOLD_DAEMON_AUDIT_TAIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attr.h"

/* The number at the start of @text as record_write() writes it: digits, without a leading zero,
 * above 0 and below INT64_MAX. Return: how many digits; 0: no such number. */
size_t audit_number_parse(const char *text, size_t size, uint64_t *ret);

/* The seq of @line, which has no newline. False: it was not written by record_write(). */
bool audit_line_seq(const char *line, size_t size, uint64_t *ret_seq);

/* Was @line, which has no newline, written by record_write_admin()? It has no seq. */
bool audit_line_is_admin(const char *line, size_t size);

/* Is @line, which has no newline, a seal as seal_write() writes it? */
bool audit_line_is_seal(const char *line, size_t size);

/* The seq of the first line of the file, except lines about operators and seals; 0: there is
 * none, or it was not written by record_write(). */
uint64_t audit_first_seq(int fd);

/*
 * audit_tail_mend() - find the last line and cut off what a torn write left behind it
 * @fd:      read and write; its offset is not used
 * @cursor:  lines up to this seq were synced, so damage before them is no torn
 *           write and is kept
 * @ret_seq: of the last sound line that has one; 0: there is none
 * @ret_cut: how many bytes were cut
 *
 * The caller syncs. Return: 0; -EBADMSG: not empty and not an audit file, nothing
 * was changed; other negative errno.
 */
MUST_CHECK int audit_tail_mend(int fd, uint64_t cursor, uint64_t *ret_seq, off_t *ret_cut);

#endif
