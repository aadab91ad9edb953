/* SPDX-License-Identifier: MIT */
/*
 * tail.h - how far an audit file reaches, and where its sound part ends
 */
#ifndef MQTT_SPOOLD_DAEMON_AUDIT_TAIL_H
#define MQTT_SPOOLD_DAEMON_AUDIT_TAIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"

/* @line: as record_write() wrote it, without its newline. False when it is none of ours. */
bool audit_line_seq(const char *line, size_t size, uint64_t *ret_seq);

/*
 * audit_tail_mend() - find the last line, cut off what a torn write left behind it
 * @fd:      read and write; its offset is not used
 * @cursor:  lines up to this seq were synced, so damage before them is no torn
 *           write and is left alone
 * @ret_seq: of the last sound line; 0: there is none
 * @ret_cut: how many bytes were cut
 *
 * Return: 0; -EBADMSG: it is not empty and no audit file, nothing was changed; other
 * negative errno.
 */
MUST_CHECK int audit_tail_mend(int fd, uint64_t cursor, uint64_t *ret_seq, off_t *ret_cut);

#endif
