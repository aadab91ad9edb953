/* SPDX-License-Identifier: MIT */
/*
 * audit-private.h - what the sources of the audit file share
 *
 *   audit_open.c   the file, its tail, what the log says of both
 *   audit_write.c  lines into it; what others did to it meanwhile
 *   audit.c        syncing, and the functions of audit.h
 *
 * Each calls only those above it. The invariants are in audit.c. Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_AUDIT_AUDIT_PRIVATE_H
#define MQTT_SPOOLD_DAEMON_AUDIT_AUDIT_PRIVATE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attr.h"
#include "base/condition.h"
#include "base/log.h"
#include "daemon/audit/admin_lines.h"
#include "daemon/audit/audit.h"
#include "daemon/audit/sealing.h"
#include "daemon/record/outcome.h"
#include "store/spool.h"

#define AUDIT_FLUSH_BYTES  ((size_t)256 * 1024)
#define AUDIT_BUFFER_BYTES (AUDIT_FLUSH_BYTES + RECORD_PRUNED_MAX + RECORD_LINE_MAX + 2)
#define AUDIT_CALL_BYTES   ((size_t)4 * 1024 * 1024) /* of lines, in one call */
#define AUDIT_RETRY_MS     1000
#define AUDIT_DISK_TRIES   10 /* with EIO in a row: then the file gets another name */
#define AUDIT_ASIDE_MAX    1000
#define AUDIT_NAME_MAX     512 /* of a path in the log */
#define AUDIT_LOCKED       EUSERS

#define AUDIT_LOST_MAX 192
#define AUDIT_EXCEPT   ", except those that the file has that took its name"

/* The open file. */
struct audit_file {
    int fd;             /* -1: none is open */
    bool is_tail_known; /* a file was opened since the start, so written_seq is right */
    bool is_tail_dirty; /* bytes behind kept_bytes, to be cut */
    off_t kept_bytes;   /* of whole lines */
    off_t synced_bytes; /* of lines up to cursor_seq */
};

/* cursor_seq <= written_seq <= reported_seq; see the head of this file. */
struct audit_progress {
    uint64_t cursor_seq;
    uint64_t written_seq;
    uint64_t reported_seq;
    uint64_t unsynced_rows; /* written after cursor_seq */
    int64_t unsynced_since_ms;
};

/* While the file cannot be written. */
struct audit_outage {
    bool is_waiting;
    bool is_set_aside;     /* the file before this one, and this one was never written since */
    int error;             /* the cause, as of the last try */
    unsigned disk_errors;  /* EIO of reads and writes, in a row */
    int64_t retry_ms;      /* boot time */
    uint64_t resumed_rows; /* that waited during this condition: */
    struct condition unwritten;
};

/* Lines that are not yet written. */
struct audit_batch {
    size_t used;
    uint64_t last_seq; /* of the last row in the buffer or left out */
    uint64_t rows;
    bool has_news;                   /* a line that is to be sealed in time */
    size_t call_bytes;               /* of lines, in this call of audit_export() */
    int error;                       /* of the file */
    char buffer[AUDIT_BUFFER_BYTES]; /* pages that no line needed are never touched */
};

struct audit {
    char *name; /* "": no file is written */
    bool has_deliveries;
    bool had_gaps; /* the previous settings wrote no file, or no deliveries */
    struct spool *spool;
    struct audit_ops ops;
    void *userdata;
    int64_t now_ms; /* boot time of the current call */
    struct log_limit replacements;
    struct audit_file file;
    struct audit_progress progress;
    struct audit_outage outage;
    struct admin_lines admin;
    struct sealing sealing;
    const char *own_lane; /* borrowed */
    struct audit_batch batch;
};

static inline bool audit_writes_file(const struct audit *audit)
{
    return *audit->name != '\0';
}

/* audit_open.c */
const char *audit_quote_file(const struct audit *audit, char text[static AUDIT_NAME_MAX]);
const char *audit_error_text(int error);
/* The file cannot be written, because of @error; logged once. */
void audit_begin_waiting(struct audit *audit, int error);
/* It was written; @rows waited before. */
void audit_end_waiting(struct audit *audit, uint64_t rows);
bool audit_may_log_replacement(struct audit *audit, uint64_t *ret_suppressed);
void audit_log_behind(const struct audit *audit, uint64_t seq);
/* Return: 0; negative errno of the file, as all functions below. */
MUST_CHECK int audit_mend_tail(const struct audit *audit, int fd, uint64_t *ret_seq);
/* Opens and examines the file, unless it is open. */
MUST_CHECK int audit_open(struct audit *audit);
int audit_cut_tail(struct audit *audit);
void audit_close(struct audit *audit);
void audit_rewind_to_cursor(struct audit *audit);

/* audit_write.c */
MUST_CHECK int audit_detect_truncation(struct audit *audit);
/* The disk does not read or write it: it gets another name. */
void audit_set_aside(struct audit *audit);
MUST_CHECK int audit_write_admin(struct audit *audit);
/* Return: 0, also after an error of the file (batch.error); negative errno of the spool. */
MUST_CHECK int audit_append(struct audit *audit);
/* Seals what has no seal yet, if the file is open and can be written. */
int audit_seal(struct audit *audit);

#endif
