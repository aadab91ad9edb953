/* SPDX-License-Identifier: MIT */
/*
 * power_record.h - the log that the recorder writes and the replayer reads
 *
 * Records one behind the other, each a head and @size bytes. Their order is the order in which
 * things happened, over all processes that share the log: each record is one append. Names are
 * relative to the recorded folder, "" is that folder itself.
 */
#ifndef POWER_RECORD_H
#define POWER_RECORD_H

#include <stdint.h>

#define POWER_MAGIC 0x52574f50u /* "POWR" */

enum power_kind {
    POWER_CREATE = 1, /* @object: inode; the name */
    POWER_MKDIR,      /* @object: inode; the name */
    POWER_WRITE,      /* @object: inode, @offset; the bytes */
    POWER_TRUNCATE,   /* @object: inode, @offset: the new size */
    POWER_SYNC,       /* @object: inode of a file or a folder */
    POWER_RENAME,     /* the old name, NUL, the new name */
    POWER_UNLINK,     /* the name */
    POWER_SENT,       /* @object: connection; bytes that left for a producer */
    POWER_BLIND,      /* words: something happened that no image can show */
    POWER_START,      /* a process begins; before the first one stands what it found */
};

struct power_head {
    uint32_t magic;
    uint32_t kind;
    uint64_t object;
    uint64_t offset;
    uint64_t size;
};

#endif
