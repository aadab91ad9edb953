/* SPDX-License-Identifier: MIT */
/*
 * sealing.h - which lines of the audit file wait for a seal, and what chain it continues
 *
 * The chain follows the file: lines are added when they were written, taken back when a
 * sync failed, and read again from the end of a file that is opened. If what the last
 * seal stands on is not certain to be in the file, a new chain starts and has the reason.
 *
 * Invariant: now is the state behind the last whole line that the daemon wrote, synced
 * the state at the last sync. Logs nothing. Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_AUDIT_SEALING_H
#define MQTT_SPOOLD_DAEMON_AUDIT_SEALING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/view.h"
#include "daemon/seal/seal.h"

/* So much at the end of a file is read to find the last seal, when it is opened. */
#define SEALING_READ_MAX ((size_t)4 * 1024 * 1024)
/* A seal is due, whatever the time, after so much: less than is read. */
#define SEALING_LINES_MAX 4096
#define SEALING_BYTES_MAX ((uint64_t)1024 * 1024)

/* Why a chain starts. */
#define SEALING_NEW_FILE   SEAL_NEW_FILE   /* no seal in it, nor at the end of FILE.1 */
#define SEALING_NO_SEAL    "no_seal"       /* the file has lines, and no seal near its end */
#define SEALING_MISSING    "lines_missing" /* that were synced */
#define SEALING_OTHER      "other_file"    /* not the one that was written before */
#define SEALING_TRUNCATED  "truncated"
#define SEALING_DELETED    "deleted"
#define SEALING_SET_ASIDE  "set_aside"
#define SEALING_UNREADABLE "unreadable"

struct sealing_state {
    struct seal_chain chain;
    const char *why; /* a chain has to start, for this reason; NULL: it continues */
    bool needs_prev; /* the file began where the chain's last seal was */
    bool has_news;   /* lines that are to be sealed in time */
    int64_t due_ms;  /* boot time; if it has */
};

struct sealing {
    int64_t every_ms; /* 0: no seals */
    bool is_known;    /* a file was opened since seals are written */
    bool is_awaited;  /* the newest seal is to be synced soon */
    bool is_unsynced; /* the newest seal is not */
    int64_t unsynced_since_ms;
    struct sealing_state now;
    struct sealing_state synced;
    struct seal_text newest; /* size 0: none that is certain to be in the file */
};

/* @is_awaited: sealing_due_sync_ms() is to say when to sync for the newest seal. */
void sealing_set(struct sealing *sealing, int64_t every_ms, bool is_awaited);
/*
 * sealing_open() - the chain of a file that was opened, and synced
 * @fd, @size:  borrowed
 * @rotated:    the name of the file that was rotated before it
 * @is_missing: lines that were synced are not in it
 *
 * Reads at most SEALING_READ_MAX of each of both.
 */
void sealing_open(
    struct sealing *sealing, int fd, off_t size, const char *rotated, bool is_missing);
/* What the last seal stands on is not in the file. @why: static. */
void sealing_restart(struct sealing *sealing, const char *why);

/* Whole lines were written. @has_news: they are to be sealed in time. */
void sealing_add(struct sealing *sealing,
                 struct view lines,
                 bool has_news,
                 int64_t now_boot_ms);
/* What was written since the last sync is to be written again. */
void sealing_rewind(struct sealing *sealing);
/* All that was written is synced. */
void sealing_note_sync(struct sealing *sealing);

/* Are there lines without a seal? */
bool sealing_waits(const struct sealing *sealing);
bool sealing_is_due(const struct sealing *sealing, int64_t now_boot_ms);
/* So many lines wait that the seal cannot. */
bool sealing_is_full(const struct sealing *sealing);

/* The seal to write next. @time_ms: wall clock; @seq: of the last record. */
void sealing_write(const struct sealing *sealing,
                   int64_t time_ms,
                   uint64_t seq,
                   struct seal_text *ret);
/* It was written. */
void sealing_note_written(struct sealing *sealing,
                          const struct seal_text *text,
                          int64_t now_boot_ms);

/* When the newest seal is to be synced at the latest: @wait_ms after it was written, or when
 * the next one may come. */
int64_t sealing_due_sync_ms(const struct sealing *sealing, int64_t wait_ms);
/* The newest seal that is synced, without its line break; empty: none. */
struct view sealing_newest(const struct sealing *sealing);

#endif
