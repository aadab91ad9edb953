/* SPDX-License-Identifier: MIT */
/*
 * spool.h - the durable truth of the gateway: messages, outcomes, ledger
 *
 * The only public header of store/. A spool is one SQLite database,
 * "<directory>/spool.db", in WAL mode with synchronous=FULL. Exactly one
 * process may open it for writing (locks on the directory and on a file in it
 * keep the others out), with one connection, which is also the only one that
 * checkpoints: Debian 12's SQLite 3.40.1 is inside the range of the WAL-reset bug
 * (fixed in 3.51.3), which needs two of either. Tools open it read-only.
 *
 * Words: a message is accepted by spool_append() and the commit after it; from
 * then on it is tracked by its token, the id, until it ends in exactly one
 * outcome. To end is one transaction: message deleted, outcome row written,
 * ledger changed. What is in flight is known in memory only; after a crash it
 * is simply pending again.
 *
 * Results: 0 success; negative errno: fatal, the caller passes it on and stops
 * (never commits again on this connection); positive SPOOL_E_*: a condition
 * that the function's comment lists and its direct caller handles.
 *
 * Thread: all functions belong to one thread. This library never logs.
 * Time is an argument: nothing here reads a clock.
 */
#ifndef MQTT_SPOOLD_STORE_SPOOL_H
#define MQTT_SPOOLD_STORE_SPOOL_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/view.h"

enum {
    SPOOL_E_EMPTY = 1, /* nothing pending */
    SPOOL_E_FULL,      /* the lane's limit is reached and its policy does not evict */
    SPOOL_E_DISK,      /* disk full, quota, size of a file; or free space below the reserve */
    SPOOL_E_BUSY,      /* another process holds the database locked */
    SPOOL_E_LOCKED,    /* another daemon runs on this spool */
    SPOOL_E_NEWER,     /* written by a newer version of the program */
    SPOOL_E_DAMAGED,   /* not a sound spool database */
    SPOOL_E_ABSENT,    /* there is no spool here (read-only open) */
    SPOOL_E_UNKNOWN,   /* no such id in flight: settled already, or never handed out */
    SPOOL_E_LANES,     /* too many lanes, with those that something is left of */
    SPOOL_E_FOREIGN,   /* a sound database, of another program */
    SPOOL_E_UNREAD,    /* a read error */
    SPOOL_E_MOVED,     /* the files at the configured path are not those that are open */
    SPOOL_E_AGAIN,     /* a bounded step has ended: call again */
    SPOOL_E_OLDER,     /* written by an older version: a daemon has to migrate it first */
};

#define SPOOL_LANES_MAX 64
/* Bytes of the folder's path, without symbolic links: SQLite takes no longer names of files,
 * and that of the longest one and a suffix follow it. */
#define SPOOL_DIRECTORY_MAX 486
#define SPOOL_NO_EXPIRY     INT64_C(-1)
#define SPOOL_NO_CODE       (-1)
#define SPOOL_BOOT_ID_MAX   37
/* With those that are not configured any more, but that messages or records are left of. */
enum { SPOOL_LANES_KNOWN_MAX = 4 * SPOOL_LANES_MAX };

/*
 * One reading of the clocks. boot_ms is CLOCK_BOOTTIME and alone decides ages;
 * wall_ms (UTC since 1970) is written into records and, only where
 * wall_credible, shows how long the machine was switched off.
 */
struct spool_time {
    int64_t wall_ms;
    int64_t boot_ms;
    bool wall_credible;
};

enum spool_policy { SPOOL_EVICT_OLDEST, SPOOL_REFUSE, SPOOL_BLOCK };

struct spool_limits {
    uint64_t max_messages;
    uint64_t max_bytes; /* sum of charges, see spool_charge() */
    uint64_t max_age_ms;
    enum spool_policy when_full;
};

/* Which messages of a lane are handed out first: the oldest; or what was accepted since
 * spool_begin_live(), with one place in nine for what is older. */
enum spool_drain { SPOOL_FIFO, SPOOL_LIVE_FIRST };

struct spool_lane {
    const char *name; /* copied */
    int priority;     /* higher is forwarded first */
    enum spool_drain drain;
    struct spool_limits limits;
};

/* Of rejected messages that are kept with their payload. Any of them 0: none is kept. */
struct spool_kept_limits {
    uint64_t max_messages;
    uint64_t max_bytes; /* sum of charges: that of the message, and 32 */
    uint64_t max_age_ms;
};

struct spool_options {
    const char *directory;        /* made (mode 0700) when only its last part is missing */
    uint64_t disk_reserve;        /* bytes of the file system that stay free */
    uint64_t keep_failures_ms;    /* how long exported failure rows stay */
    uint64_t keep_failures_count; /* and how many at most */
    struct spool_kept_limits kept;
    const struct spool_lane *lanes;  /* [0] is lane "default" */
    size_t lane_count;               /* 1..SPOOL_LANES_MAX */
    char boot_id[SPOOL_BOOT_ID_MAX]; /* /proc/sys/kernel/random/boot_id; of boot_ms */
    struct spool_time now;
    uint64_t segment_rows;    /* messages in one of the tables that are emptied as a whole, */
    uint64_t segment_backlog; /* and in none of a lane that holds so many; 0: as usual */
};
#define SPOOL_NO_SEGMENTS UINT64_MAX /* segment_backlog: table message has all */

/* Stored in the database: append only. */
enum spool_outcome {
    SPOOL_DELIVERED = 0,
    SPOOL_EVICTED = 1,
    SPOOL_EXPIRED = 2,
    SPOOL_REJECTED = 3,
    SPOOL_DROPPED = 4,
    SPOOL_DAMAGED = 5,
    SPOOL_OUTCOMES /* how many there are */
};

/* Stored in the database: append only. */
enum spool_reason {
    SPOOL_REASON_NONE = 0, /* delivered */
    SPOOL_REASON_MAX_MESSAGES = 1,
    SPOOL_REASON_MAX_BYTES = 2,
    SPOOL_REASON_MAX_AGE = 3,
    SPOOL_REASON_DISK = 4,
    SPOOL_REASON_MESSAGE_EXPIRY = 5,
    SPOOL_REASON_REASON_CODE = 6,
    SPOOL_REASON_TOO_LARGE = 7,
    SPOOL_REASON_POISON = 8,
    SPOOL_REASON_ATTEMPTS = 9,
    SPOOL_REASON_OPERATOR = 10,
    SPOOL_REASON_CORRUPT = 11,
    SPOOL_REASONS
};

/* The names in the outcome record ("delivered", "max_age"); never NULL; "" for no reason. */
const char *spool_outcome_name(enum spool_outcome outcome);
const char *spool_reason_name(enum spool_reason reason);
/* The inverse; false if it is none of them. */
bool spool_outcome_parse(const char *name, enum spool_outcome *ret_outcome);
bool spool_reason_parse(const char *name, enum spool_reason *ret_reason);
/* Does the reason go with the outcome? False for unknown numbers, too. */
bool spool_reason_fits(enum spool_outcome outcome, enum spool_reason reason);

/*
 * A message on its way in (append) or out (next).
 *
 * number: the messages that a lane accepts are numbered 1, 2, 3 and so on. Numbers survive
 * restarts and are not assigned twice; a salvage that cannot know the newest one leaves some
 * out. A lane that was forgotten begins again. 0: accepted before schema version 8.
 */
struct spool_message {
    uint64_t id;           /* out only; never 0 */
    uint64_t number;       /* out only: within its lane, or 0 */
    unsigned lane;         /* index into spool_options.lanes */
    const char *lane_name; /* out only: also of one that is not configured any more */
    uint32_t uid;          /* of the producer, from the kernel */
    uint8_t qos;           /* as published, 0..2 */
    bool retain;
    int64_t expiry_ms;  /* in: interval; out: what is left of it, > 0; SPOOL_NO_EXPIRY: none */
    struct view client; /* client id, UTF-8 */
    struct view topic;  /* UTF-8 */
    struct view properties; /* opaque here: MQTT 5 property bytes, may be empty */
    struct view ref;        /* the producer's spool-ref, size 0: none */
    struct view payload;
    uint64_t session;    /* in only: with QoS 2, the id of a session that is kept; else 0 */
    uint16_t packet_id;  /* in only, with a session: not released, see spool_release_packet() */
    int64_t accepted_ms; /* out only: wall clock at acceptance */
    uint32_t attempts;   /* out only: this one included, counted since the daemon started */
    unsigned closings;   /* out only: see spool_count_closing() */
};

/* How a message ended. */
struct spool_verdict {
    enum spool_outcome outcome;
    enum spool_reason reason;
    int code; /* the broker's reason code, or SPOOL_NO_CODE */
};

/*
 * Records are in the order of commits, and their times are those at which messages ended. So
 * one may follow another one that ended later: by less than this, unless the database was
 * locked or the disk was full. The wall clock may have been set, too.
 */
#define SPOOL_RECORDS_LATE_MS 10000

/* One row of the outcome table. Pointers are valid during the callback only. */
struct spool_record {
    uint64_t seq; /* contiguous from 1 */
    uint64_t id;
    int64_t time_ms; /* when it ended, by the wall clock, UTC */
    enum spool_outcome outcome;
    enum spool_reason reason;
    const char *lane;
    const char *client;
    const char *topic;
    const char *ref; /* NULL: none */
    uint32_t uid;
    uint8_t qos;
    uint64_t bytes; /* of payload */
    int64_t accepted_ms;
    int64_t age_ms;
    uint32_t attempts;
    int code;               /* or SPOOL_NO_CODE */
    uint64_t requeued_from; /* the id of the rejected message that it was; 0: none */
};

/* accepted = the sum of all the others, always. */
struct spool_ledger {
    uint64_t accepted;
    uint64_t ended[SPOOL_OUTCOMES];
    uint64_t spooled;
};

bool spool_ledger_balances(const struct spool_ledger *ledger);

/* The ages in the records of deliveries. Each is in one bucket; the last one has no upper
 * bound. The bounds are stored with the schema: they never change. */
enum { SPOOL_DELAY_BUCKETS = 19 };
struct spool_delays {
    uint64_t counts[SPOOL_DELAY_BUCKETS];
    uint64_t sum_ms;
};
/* @bucket: not the last one. Delays up to and with this one are in it, if in none before. */
int64_t spool_delay_bound_ms(unsigned bucket);

struct spool_lane_stats {
    const char *name; /* valid until close */
    uint64_t messages;
    uint64_t bytes;
    int64_t oldest_age_ms; /* 0 when empty */
    struct spool_ledger ledger;
    /* Of what ended since schema version 12; a salvage may lose them. */
    struct spool_delays delays;
    uint64_t reasons[SPOOL_REASONS];
};

struct spool_stats {
    uint64_t messages;
    uint64_t bytes;         /* sum of charges */
    uint64_t disk_bytes;    /* database and WAL files */
    uint64_t disk_free;     /* of the file system, for us */
    unsigned damaged_files; /* databases that were moved aside and are still there */
    int64_t oldest_age_ms;
    uint64_t in_flight;
    uint64_t in_flight_peak;
    uint64_t kept_messages; /* rejected, and kept with their payload */
    uint64_t kept_bytes;    /* sum of their charges */
    uint64_t last_id;
    uint64_t last_seq;
    uint64_t exported_seq;
};

struct spool;

/*
 * spool_charge() - what a message counts against max_bytes
 *
 * The sizes of payload, topic, client id, properties and ref, and what of its
 * pages such a message leaves empty, plus SPOOL_CHARGE_OVERHEAD for the row
 * itself. So the database file is about as large as the charges, see
 * docs/sizing.md.
 */
#define SPOOL_CHARGE_OVERHEAD 64
/* The same of an outcome row, besides its topic, client id and ref. */
#define SPOOL_RECORD_OVERHEAD 64
uint64_t spool_charge(const struct spool_message *message);

/*
 * spool_open() - open for writing, create or migrate
 * @options: borrowed during the call, all of it copied
 * @ret:     set on success; free with spool_close()
 *
 * Return: 0; SPOOL_E_LOCKED, _NEWER, _DAMAGED, _FOREIGN, _BUSY, _DISK, _LANES: nothing
 *         was changed, spool_open_error() has the details; SPOOL_E_UNREAD: a read
 *         failed READS_TRIES times just now, or a read or a write failed when
 *         the spool was last in use: spool_survey() finds the cause; negative
 *         errno.
 */
MUST_CHECK int spool_open(const struct spool_options *options, struct spool **ret);

/*
 * spool_survey() - which blocks cannot be read? After SPOOL_E_UNREAD
 *
 * Reads all of database, log and mark, and what fails several times again, with
 * pauses: takes seconds if there is a bad block, else as long as reading takes.
 * Changes nothing, except that it clears the read error that the last use noted if
 * everything can be read, and gives an unreadable mark another name.
 *
 * Return: 0: everything can be read now, open it; SPOOL_E_DAMAGED: there are bad
 *         blocks, which spool_open_error() lists, and the rest can be read:
 *         salvage it; SPOOL_E_LOCKED; -EIO: no block of the disk can be read, the
 *         state of the spool is unknown; other negative errno.
 */
MUST_CHECK int spool_survey(const char *directory);

/* An outcome that is recorded outside of the spool: a line of the audit file. */
struct spool_ended {
    uint64_t seq;
    uint64_t id;
    enum spool_outcome outcome;
    const char *lane;
};
typedef int spool_ended_fn(void *userdata, const struct spool_ended *ended);

/* Calls @fn for all of them that are available, in any order. Is called more than once. A
 * non-zero result of @fn ends the walk and is returned. */
struct spool_history {
    int (*each)(void *owner, spool_ended_fn *fn, void *userdata);
    void *owner;
};

#define SPOOL_NAME_MAX       64
#define SPOOL_DAMAGED_PREFIX "spool.db.damaged-"
/* Of another database that was in the place of one that spool_restore() put back. */
#define SPOOL_REPLACED_PREFIX "spool.db.replaced-"

struct spool_salvage {
    char moved_to[SPOOL_NAME_MAX]; /* the damaged database's new name, its -wal has it too; or
                                      its log's, if only that was left. Empty: neither was */
    uint64_t salvaged;             /* messages that are kept */
    uint64_t damaged;              /* those that are lost: each has its record now */
    uint64_t kept_lost; /* rejected ones that were kept; their outcomes are not affected */
    /* Neither the counters nor the mark could be read, or they count more than the lanes may
     * hold: how many other messages there were is unknown. */
    bool is_count_unknown;
};

/*
 * spool_salvage() - make a sound spool of a damaged one, after SPOOL_E_DAMAGED
 * @history: what is in the audit file, NULL: nothing
 *
 * Builds a new database of all that can be read, then moves the damaged files
 * aside in the same folder. Ids and seqs continue where they were; a message that
 * cannot be read any more is recorded as damaged, under its id if that can be
 * inferred. Needs room on the disk for the new one, which it checks before it
 * writes anything. Survives a crash at any point: the next spool_open()
 * finishes it, or finds the spool as it was.
 *
 * Return: 0, open it now; SPOOL_E_LOCKED, SPOOL_E_DISK (no room: what was written is
 *         removed), SPOOL_E_FOREIGN: nothing was changed; negative errno: nothing
 *         was changed, or the next open finishes it. spool_open_error() has the
 *         details.
 */
MUST_CHECK int spool_salvage(const struct spool_options *options,
                             const struct spool_history *history,
                             struct spool_salvage *ret);

/*
 * spool_stop_if() - lets the caller cancel a survey or a salvage
 * @should_stop: called now and then while one reads; true: it ends with -ECANCELED and
 *               has changed nothing. NULL: they cannot be cancelled
 *
 * Per thread.
 */
void spool_stop_if(bool (*should_stop)(void));

/* How many reads had to be repeated and then succeeded, in this thread: the disk begins to
 * fail. */
uint64_t spool_reads_repeated(void);

/* For tests: how many damaged databases lie in the folder of @directory. */
unsigned spool_count_damaged(const char *directory);

/*
 * spool_open_reader() - open for reading beside a daemon or without one
 *
 * Never writes and never checkpoints. Only the functions marked "reader too"
 * may be called.
 *
 * Return: as spool_open(), as far as it concerns a reader; SPOOL_E_ABSENT;
 *         SPOOL_E_FOREIGN. SPOOL_E_DAMAGED is what a daemon would salvage,
 *         including a database that is gone while the mark beside it is left, and
 *         one with bad blocks. Never SPOOL_E_UNREAD: the survey is made at once.
 */
MUST_CHECK int spool_open_reader(const char *directory, struct spool **ret);

/* Describes the newest failure of an open, or of @spool; valid until the next call. Reader
 * too. */
const char *spool_open_error(void);
const char *spool_error(const struct spool *spool);

/* Rolls an open batch back, closes, frees. NULL is accepted. Reader too. */
void spool_close(struct spool *spool);

/* Does a daemon use the spool in @directory? Tests the locks only. */
bool spool_is_in_use(const char *directory);

#define SPOOL_SET_ASIDE_MAX 512
/*
 * spool_take_set_aside() - what was in the way in the folder and has another name now
 *
 * By opens, salvages and restores since the last call, described. Return: was there anything?
 */
bool spool_take_set_aside(char ret[static SPOOL_SET_ASIDE_MAX]);

/* What happened to a file or to the directory; of several, to the most important one. */
enum spool_move {
    SPOOL_REMOVED,
    SPOOL_REPLACED, /* there is another one of that name */
    SPOOL_RENAMED,
    SPOOL_UNMOUNTED, /* its file system was, or another one covers it */
};

struct spool_moved {
    enum spool_move what;
    char file[PATH_MAX + 64]; /* path of the one that it happened to */
    char lives_at[PATH_MAX];  /* empty: none that is known */
    /* Database or log have no name any more, so only open descriptors hold them; or both are in
     * their place, and what is missing is created again. Else they are whole under other
     * names. */
    bool is_restorable;
    int database_fd; /* in /proc/self/fd */
    int log_fd;
};

/*
 * spool_verify_files() - are the open files still those at the configured path?
 *
 * spool_commit() checks once a second, so this is for times without one.
 * Once they are not, that is final, whatever happens to the path: nothing is
 * written any more, and all that would write returns SPOOL_E_MOVED.
 *
 * Return: 0; SPOOL_E_MOVED.
 */
MUST_CHECK int spool_verify_files(struct spool *spool);
/* What happened, after SPOOL_E_MOVED. */
void spool_get_moved(const struct spool *spool, struct spool_moved *ret);

struct spool_restored {
    uint64_t bytes; /* that it needs on the disk; set in any case */
    char set_aside
        [SPOOL_NAME_MAX]; /* what another database that was there is called now, its -wal
                                       has it too; empty: there was none */
};

/*
 * spool_restore() - put back what only the open descriptors hold, after SPOOL_E_MOVED
 * @progress: called now and then, because it takes as long as writing the
 *            database takes; NULL: not
 *
 * The open batch is lost. What was committed becomes a whole spool at the
 * configured path, for the next spool_open(); the directory is made when it is
 * missing. Another database that is there moves aside. Survives a crash at any
 * point: the next open finishes it, or finds what was there, with a mark that
 * shows what is missing.
 *
 * Return: 0; SPOOL_E_MOVED: the files live under another name, nothing was
 *         changed; SPOOL_E_DISK: not enough room; SPOOL_E_LOCKED: another
 *         process has locked what is there now, nothing was changed; negative
 *         errno. All but the second may be tried again, spool_error() has the details.
 */
MUST_CHECK int spool_restore(struct spool *spool,
                             void (*progress)(void *userdata),
                             void *userdata,
                             struct spool_restored *ret);

/*
 * spool_set_lanes() - other lanes, in another order, with other limits
 * @lanes: as in spool_options: [0] is lane "default"; copied
 *
 * Lanes are known by their names. What is in a lane, in flight or in the open
 * batch stays in it; a lane that is left out lives on as after a new open. The
 * limits hold from the next spool_retain() on, a new lane is stored with the
 * next commit. Indexes that spool_next() returned before are of the old order.
 *
 * Return: 0; SPOOL_E_LANES: nothing was changed; negative errno.
 */
MUST_CHECK int
spool_set_lanes(struct spool *spool, const struct spool_lane *lanes, size_t count);
void spool_set_keep(struct spool *spool, uint64_t keep_failures_ms);
/*
 * spool_set_kept() - limits of the rejected messages that are kept
 *
 * What is above them goes with the next commits, the oldest first: its outcome is
 * recorded, only the payload is gone. While the disk is short none is added.
 */
void spool_set_kept(struct spool *spool, const struct spool_kept_limits *limits);
/* Holds from the next append on. */
void spool_set_disk_reserve(struct spool *spool, uint64_t disk_reserve);
/* Bytes of messages that can be appended while the file system has @disk_free bytes, of which
 * @disk_reserve are kept; without what is free inside the database. Thread: any. */
uint64_t spool_disk_room(uint64_t disk_free, uint64_t disk_reserve);

/*
 * spool_append() - store one message in the open batch
 * @message: borrowed; everything is copied before return
 * @ret_id:  set on success, never 0; strictly increasing, not given out again
 *           while the spool is open, even if the batch is lost. Once committed
 *           it is never given out again; one of a lost batch may be after the
 *           next open, because it was never acknowledged
 *
 * Opens the batch when none is open. Durable only after the next successful
 * spool_commit(); until then the caller must not acknowledge the message.
 *
 * Return: 0; SPOOL_E_FULL: the limit of the lane is reached and its policy
 *         does not evict, or the message alone is above max_bytes: nothing
 *         stored, the caller refuses or blocks; SPOOL_E_MOVED: nothing stored, the
 *         commit returns it, too; SPOOL_E_DISK, SPOOL_E_BUSY: nothing stored, and
 *         what was appended before waits for the commit as it did (if SQLite had
 *         to drop the batch that commit returns SPOOL_E_DISK, too); negative
 *         errno: the batch is lost, the caller stops.
 */
MUST_CHECK int spool_append(struct spool *spool,
                            const struct spool_message *message,
                            const struct spool_time *now,
                            uint64_t *ret_id);

/* Has the lane room for a message of this charge, by its limits (always true for evict-oldest
 * unless the charge alone is above max_bytes)? What a blocked connection checks before it
 * continues to read. */
bool spool_has_room(const struct spool *spool, unsigned lane, uint64_t charge);

/*
 * spool_set_hold() - hold a lane, so that nothing of it is handed out, or release it
 * @lane: its name; NULL: all lanes together. To release all releases each one as well
 *
 * Durable with the next commit, which writes it even if this batch is lost. Until then a hold
 * counts already, and a release does not yet. What is in flight is not affected, nor is
 * anything that appends or ends messages. The hold of a lane that is forgotten is forgotten.
 * Return: 0, also if it was so; SPOOL_E_UNKNOWN: there is no such lane.
 */
int spool_set_hold(struct spool *spool, const char *lane, bool is_held);
/* Is nothing of the lane handed out, because it or all of them are held? NULL: are all
 * together? Reader too: as of its open. */
bool spool_is_held(const struct spool *spool, const char *lane);

/*
 * spool_next() - hand out the next message to forward
 * @ret: on success borrows from the spool until the next call of any function
 *
 * Of nine messages in a row eight are of the highest priority that has any, one
 * comes from the lanes below, which take that place in turn; lanes of equal
 * priority take turns of eight. Within a lane returned ones that are due come
 * first, then the oldest; see spool_begin_live() for a lane with live ones. What comes
 * back before the next call gives its place in this order back. The message is in flight
 * (pinned against retention, its token open) until spool_settle() or spool_return(). Only
 * committed messages are handed out, so what an open batch has appended is not. A message
 * whose expiry has passed is not handed out but noted as expired; see spool_has_work().
 *
 * Return: 0; SPOOL_E_EMPTY: nothing is due in a lane that is not held, or so many had
 * expired that they shall be committed first, or the open batch has ended messages of the
 * only lanes that hold more, or another process locks the database; negative errno.
 */
MUST_CHECK int
spool_next(struct spool *spool, const struct spool_time *now, struct spool_message *ret);

/*
 * spool_return() - the message was not delivered, its outcome is open: pending again
 * @not_before_boot_ms: boot clock before which spool_next() skips it; 0: at once
 *
 * Keeps its place in the order. Memory only. Return: 0; SPOOL_E_UNKNOWN.
 */
int spool_return(struct spool *spool, uint64_t id, int64_t not_before_boot_ms);

/* All that was returned is due at once, in its place in the order. Return: how many are. */
size_t spool_release_returned(struct spool *spool);

/*
 * spool_next_of() - hand out one message that was returned, due or not
 * @ret: as by spool_next()
 *
 * Takes no place in the order of the lanes. Return: 0; SPOOL_E_UNKNOWN: it was not returned,
 * or has ended since, or expires now, or its lane is held; SPOOL_E_EMPTY: nothing can be handed
 * out now; SPOOL_E_BUSY; negative errno.
 */
MUST_CHECK int spool_next_of(struct spool *spool,
                             const struct spool_time *now,
                             uint64_t id,
                             struct spool_message *ret);

/*
 * spool_count_refusal() - the broker refused a message that is in flight, and may take it later
 * @mark:         kept with the message in memory, for the next refusal
 * @ret_refusals: how often, with this time, counted since the daemon started
 * @ret_mark:     of the refusal before; 0: this is the first one
 *
 * Return: 0; SPOOL_E_UNKNOWN.
 */
int spool_count_refusal(struct spool *spool,
                        uint64_t id,
                        uint64_t mark,
                        unsigned *ret_refusals,
                        uint64_t *ret_mark);

/*
 * spool_mark_refused() - add to the marks of a message that is in flight
 * @marks: bits of the caller's, kept with the message in memory until it ends
 *
 * Return: all that it has; @marks, if it is not in flight.
 */
uint32_t spool_mark_refused(struct spool *spool, uint64_t id, uint32_t marks);

/* Was a message that is in flight refused before? False for one that is not in flight. */
bool spool_was_refused(const struct spool *spool, uint64_t id);

/* How many messages that have not ended were refused at their last try (spool_count_refusal(),
 * spool_mark_refused()), as far as this process has tried them. */
uint64_t spool_refused_messages(const struct spool *spool);

/*
 * spool_count_closing() - the broker closed the connection at a message that is in flight
 * @ret_closings: how often, with this time
 *
 * Durable with the next commit, and kept until the message ends; of the newest 1024 such
 * messages. Return: 0; SPOOL_E_UNKNOWN; negative errno.
 */
MUST_CHECK int spool_count_closing(struct spool *spool, uint64_t id, unsigned *ret_closings);
/* The count is 0 again, durable with the next commit. Return: 0; negative errno. */
MUST_CHECK int spool_forget_closings(struct spool *spool, uint64_t id);
/* The same of all messages. */
MUST_CHECK int spool_forget_all_closings(struct spool *spool);
/* Of a message that is in flight, durable with the next commit. Return: 0; SPOOL_E_UNKNOWN;
 * negative errno. */
MUST_CHECK int spool_set_closings(struct spool *spool, uint64_t id, unsigned closings);
/* Are all counts committed? */
bool spool_closings_are_durable(const struct spool *spool);
/* How many messages have so many closings or more. */
size_t spool_count_suspects(const struct spool *spool, unsigned closings);

/*
 * spool_note_sending() - the daemon is about to send its first message
 *
 * Nothing is handed out before the next commit. If the process then ends before any message
 * was delivered or rejected, and without spool_note_orderly_end(), that life is counted.
 */
void spool_note_sending(struct spool *spool);
/* With the next commit. */
void spool_note_orderly_end(struct spool *spool);
/* How many lives in a row were counted, this one included once it is noted. */
uint64_t spool_cut_lives(const struct spool *spool);

/* What is known of the records that a session's client has not acknowledged: outbox.c. */
struct spool_outbox {
    uint64_t bytes; /* that its rows take, */
    bool is_known;  /* if that is known */
    bool is_touched;
    uint64_t sent_seq;  /* on the connection of now */
    uint64_t tried_seq; /* on any connection, maybe of an earlier process */
    uint64_t acknowledged_seq;
    uint64_t dropped_seq;  /* of these the rows are gone */
    uint64_t batch_missed; /* counted by the open batch */
    struct spool_session *next_touched;
};

/*
 * A session of a producer that outlives its connection. Owned by the spool, which changes it;
 * all members that follow are for reading. Valid until spool_session_drop() and spool_close().
 */
struct spool_session {
    uint64_t id;
    uint32_t uid;
    struct view client; /* together with uid unique */
    uint32_t expiry_s;  /* after the client left; SPOOL_SESSION_NO_EXPIRY: no own limit */
    int64_t left_at;    /* on the spool's clock, or SPOOL_SESSION_CONNECTED */
    uint64_t missed;    /* as the owner set it, and what spool_outbox_add() counted since */
    struct view subscriptions;     /* likewise; opaque here */
    unsigned wanted;               /* likewise, of spool_session_set_wanted(); not stored */
    uint8_t *subscriptions_memory; /* of sessions.c, all that follow */
    struct spool_outbox outbox;
    struct spool_session *next;
    struct spool_session *next_changed;
    bool is_stored;
    bool is_changed;
    bool is_dropped;
};
#define SPOOL_SESSION_CONNECTED INT64_MIN
#define SPOOL_SESSION_NO_EXPIRY UINT32_MAX

/* Each change becomes durable with a later commit; none is lost with a batch. The number of
 * the newest change, and of the newest that is durable: what waits for a change compares the
 * two. After a commit without room only dropped sessions are written until one succeeds. */
uint64_t spool_session_changes(const struct spool *spool);
uint64_t spool_session_durable(const struct spool *spool);

size_t spool_session_count(const struct spool *spool);
/* NULL: there is none. Takes the same time however many there are. */
struct spool_session *
spool_session_find(const struct spool *spool, uint32_t uid, struct view client);
/* All, in any order. @session: NULL: the first one. Return: NULL: that was the last. @session
 * may be dropped after the call. */
struct spool_session *spool_session_next(const struct spool *spool,
                                         const struct spool_session *session);

/*
 * spool_session_create() - a new session, of a client that is connected
 * @client: copied; there must be no session with it and @uid
 *
 * Return: 0; -ENOMEM, and nothing was changed.
 */
MUST_CHECK int spool_session_create(struct spool *spool,
                                    uint32_t uid,
                                    struct view client,
                                    uint32_t expiry_s,
                                    struct spool_session **ret);
/* The client is connected, and has asked for this expiry. */
void spool_session_connect(struct spool *spool,
                           struct spool_session *session,
                           uint32_t expiry_s);
void spool_session_leave(struct spool *spool,
                         struct spool_session *session,
                         const struct spool_time *now);
/* Copied. Return: 0; -ENOMEM, and nothing was changed. */
MUST_CHECK int spool_session_set_subscriptions(struct spool *spool,
                                               struct spool_session *session,
                                               struct view subscriptions);
void spool_session_set_missed(struct spool *spool,
                              struct spool_session *session,
                              uint64_t missed);
/* With what belongs to it. @session is not valid any more. */
void spool_session_drop(struct spool *spool, struct spool_session *session);
/* It has expired and was not dropped yet. @limit_s: none is kept for longer after its client
 * left. */
bool spool_session_is_overdue(struct spool *spool,
                              const struct spool_session *session,
                              const struct spool_time *now,
                              uint32_t limit_s);
/* Any of them; NULL: there is none. */
struct spool_session *
spool_session_find_overdue(struct spool *spool, const struct spool_time *now, uint32_t limit_s);
/*
 * spool_session_expire() - drop sessions that are overdue, some before each commit
 *
 * So many that the commit stays short: some 1000, fewer if they have many rows, one at least.
 *
 * Return: how many.
 */
unsigned
spool_session_expire(struct spool *spool, const struct spool_time *now, uint32_t limit_s);

/*
 * spool_session_set_wanted() - records of which kinds are kept for the client of the session
 * @kinds: bits 1 << SPOOL_OUTBOX_FAILURE and 1 << SPOOL_OUTBOX_DELIVERY
 *
 * For the owner, which adds them: to be set again after an open.
 */
enum { SPOOL_OUTBOX_FAILURE, SPOOL_OUTBOX_DELIVERY, SPOOL_OUTBOX_KINDS };
void spool_session_set_wanted(struct spool *spool,
                              struct spool_session *session,
                              unsigned kinds);
/* How many sessions want records of this kind. */
size_t spool_sessions_wanting(const struct spool *spool, unsigned kind);

/*
 * spool_outbox_add() - keep a record until the client of the session has acknowledged it
 * @record:    UTF-8, opaque here
 * @max_bytes: of the session: each record counts its size and SPOOL_OUTBOX_OVERHEAD; the oldest
 *             that were not sent yet go for it, and are counted in session->missed
 *
 * Only inside of the function of spool_watch_records(): it is written, or counted as missed, by
 * that commit. Return: 0; what that function returns: a condition of the commit, or a negative
 * errno.
 */
#define SPOOL_OUTBOX_OVERHEAD 32
MUST_CHECK int spool_outbox_add(struct spool *spool,
                                struct spool_session *session,
                                uint64_t seq,
                                unsigned kind,
                                struct view record,
                                uint64_t max_bytes);
/* The records behind @after that are not acknowledged, in the order of seq, until @fn returns
 * false; @ret_more: it did. It must not call the spool. Return: 0; SPOOL_E_BUSY; negative
 * errno; with either *ret_more is untouched. */
typedef bool spool_outbox_fn(void *userdata, uint64_t seq, unsigned kind, struct view record);
MUST_CHECK int spool_outbox_read(struct spool *spool,
                                 const struct spool_session *session,
                                 uint64_t after,
                                 spool_outbox_fn *fn,
                                 void *userdata,
                                 bool *ret_more);
/* Up to here they were sent on the connection of now: they are not removed for room. 0: there
 * is no connection. */
void spool_outbox_set_sent(struct spool_session *session, uint64_t seq);
/* Up to here they were acknowledged: they go with the next commit. */
void spool_outbox_acknowledge(struct spool *spool, struct spool_session *session, uint64_t seq);

/* The packet ids of QoS 2 that a session has not released, and their messages; those of the
 * open batch, too, and those that were released since the last commit. @fn must not call the
 * spool. Return: 0; SPOOL_E_BUSY; negative errno. */
typedef void spool_unreleased_fn(void *userdata, uint16_t packet_id, uint64_t message);
MUST_CHECK int spool_each_unreleased(struct spool *spool,
                                     const struct spool_session *session,
                                     spool_unreleased_fn *fn,
                                     void *userdata);
/* One of them. @ret_message: 0: it is none. */
MUST_CHECK int spool_find_unreleased(struct spool *spool,
                                     const struct spool_session *session,
                                     uint16_t packet_id,
                                     uint64_t *ret_message);
/* The packet id is free with the next commit. Return: 0; -ENOMEM, and nothing was noted. */
MUST_CHECK int spool_release_packet(struct spool *spool,
                                    const struct spool_session *session,
                                    uint16_t packet_id);

/*
 * spool_uncount_attempt() - the message was handed out and never left: no attempt is counted
 *
 * Before spool_return() or spool_settle(). Does nothing for one that is not in flight.
 */
void spool_uncount_attempt(struct spool *spool, uint64_t id);

/*
 * spool_settle() - the message has ended
 * @boot_ms: when it ended, by the clock of boot_ms
 *
 * Noted now, written by the next spool_commit(): runs of neighbours with the
 * same verdict and attempts become one INSERT and one range DELETE. The first
 * verdict stands. The record has the time at which it ended; of neighbours that ended within a
 * tenth of a second, or in a lane with RUNS_MANY runs, that of the newest one.
 *
 * Return: 0; SPOOL_E_UNKNOWN: not in flight, nothing noted; negative errno.
 */
MUST_CHECK int spool_settle(struct spool *spool,
                            uint64_t id,
                            const struct spool_verdict *verdict,
                            int64_t boot_ms);

/*
 * spool_retain() - enforce the limits: evict by count, bytes and age, expire by message expiry
 * @budget:      besides what compensates for the messages and bytes that the batch
 *               has appended to each lane, at most so many messages end by this
 *               call, of which each 64 KiB count as one more: a limit lowered by
 *               a million stalls no producer
 * @ret_evicted: how many ended by this call, in the open batch: a commit makes it true
 * @ret_more:    limits are still exceeded: call again in the next batch
 *
 * For each message, in this order: find the token, mark it failed (outcome row
 * and ledger), report (the row is what the audit exports after the commit),
 * release message and token; all in the open batch. Messages in flight are
 * pinned. max_age and expiry hold under every policy, count and bytes only
 * evict where the policy is evict-oldest.
 *
 * Return: 0; SPOOL_E_DISK, SPOOL_E_BUSY, SPOOL_E_MOVED: not now (after
 * SPOOL_E_DISK the commit of a batch with appends returns SPOOL_E_DISK, too); negative errno.
 */
MUST_CHECK int spool_retain(struct spool *spool,
                            const struct spool_time *now,
                            unsigned budget,
                            unsigned *ret_evicted,
                            bool *ret_more);

/*
 * spool_commit() - end the batch: the one fsync
 *
 * Writes what was settled, prunes exported outcome rows, advances the spool's
 * clock, commits. Does nothing, and touches no file, when there is nothing to
 * write.
 *
 * Return: 0: everything appended, settled and evicted since the last commit is
 *         durable; SPOOL_E_MOVED: it went to files that are not at the
 *         configured path any more, nothing may be acknowledged, see
 *         spool_verify_files(); SPOOL_E_DISK, SPOOL_E_BUSY: the batch was rolled back,
 *         every append in it is gone (refuse them), settlements stay noted for
 *         the next commit; after SPOOL_E_DISK nothing is appended, evicted or
 *         handed out until a commit succeeds, and there is work for one;
 *         negative errno: nothing may be acknowledged, the
 *         process must end (after a failed fsync the kernel may have dropped
 *         the pages: a retry that succeeds proves nothing).
 */
MUST_CHECK int spool_commit(struct spool *spool, const struct spool_time *now);

/*
 * spool_begin_live() - what is committed now is the backlog, what follows is live
 *
 * For lanes of SPOOL_LIVE_FIRST: of nine messages that such a lane hands out, eight are live
 * ones and one is of the backlog, while there are both; in each half returned ones that are
 * due come first, then the oldest. What was live before becomes backlog. Memory only: after
 * an open there is no backlog. For when the link is back.
 */
void spool_begin_live(struct spool *spool);

/* The id of the newest committed message; 0: there was none yet. */
uint64_t spool_last_id(const struct spool *spool);

/* How many messages were evicted for the disk since the open, those of lost batches too. */
uint64_t spool_disk_evictions(const struct spool *spool);

/*
 * spool_disk_is_short() - does a new message still find no room, or cost an old one?
 *
 * To be called now and then once a message was refused or evicted for the disk: tries
 * whether there is room again, and is false only if there is for more than a few
 * messages. While it is true, spool_describe_disk() describes the cause, with the
 * errno if a write or an allocation failed; valid until the next call of any
 * function.
 */
bool spool_disk_is_short(struct spool *spool, const struct spool_time *now);
const char *spool_describe_disk(struct spool *spool);
/* When last measured: was less free than the reserve, or did a write find no room? If it is not
 * short even so, there is room inside the database. */
bool spool_disk_is_low(const struct spool *spool);

/* Hand nothing out until a commit has succeeded, for which spool_has_work() is true: if none
 * can, what is sent would be sent again after each restart. For a start. */
void spool_require_commit(struct spool *spool);

/* The next commit writes the clock, though nothing else may have changed: for an orderly stop,
 * after which the machine may be switched off. */
void spool_request_clock_write(struct spool *spool);

/*
 * spool_checkpoint() - move what the write-ahead log holds to the database
 *
 * Commits do so by themselves from time to time, and spool_close() at the end,
 * but that one cannot report an error. Waits for no other process. Return: 0, also
 * if a reader, a full disk or SPOOL_E_MOVED prevents it; negative errno.
 */
MUST_CHECK int spool_checkpoint(struct spool *spool);

/* The same while the caller has nothing else to do, if one would be due soon and no batch is
 * open. */
MUST_CHECK int spool_checkpoint_idle(struct spool *spool);

/* Would spool_commit() write: appends, settlements, evictions, an export cursor that moved,
 * rows that one commit's budget left to be pruned? */
bool spool_has_work(const struct spool *spool);
/* Is it settlements alone? They may wait for a commit that something else needs. */
bool spool_has_settled_alone(const struct spool *spool);
/* Messages appended in the open batch, and the sum of their charges. */
unsigned spool_batch_messages(const struct spool *spool);
uint64_t spool_batch_bytes(const struct spool *spool);

/* Of what is settled and not yet committed: the sum of charges. */
uint64_t spool_settled_bytes(const struct spool *spool);

/* How long another process's lock on the database is waited for; 5 s after an open. */
void spool_set_busy_wait(struct spool *spool, unsigned ms);

/* Committed figures. Reader too (in_flight is 0 there). Return: 0; SPOOL_E_BUSY; negative
 * errno. */
MUST_CHECK int spool_get_ledger(struct spool *spool, struct spool_ledger *ret);
MUST_CHECK int
spool_get_stats(struct spool *spool, const struct spool_time *now, struct spool_stats *ret);
/* The configured lanes in their order, then those that the database knows besides and that live
 * under the limits of "default". Reader too: all that the database knows; one that is forgotten
 * while the reader is open stays, with zeros. */
size_t spool_lane_count(const struct spool *spool);
MUST_CHECK int spool_get_lane_stats(struct spool *spool,
                                    unsigned lane,
                                    const struct spool_time *now,
                                    struct spool_lane_stats *ret);

/*
 * spool_each_record() - committed outcome rows in the order of seq, from after @after
 * @failures_only: leave delivered ones out
 * @limit:         at most so many; 0: all
 * @fn:            gets each row; non-zero ends the walk and is returned. Must
 *                 not call the spool.
 *
 * Delivered rows are pruned once exported, failures stay longer
 * (spool_options.keep_*): the audit file is the complete history. Reader too.
 *
 * Return: 0, what @fn returned, or negative errno.
 */
typedef int spool_record_fn(void *userdata, const struct spool_record *record);
MUST_CHECK int spool_each_record(struct spool *spool,
                                 uint64_t after,
                                 bool failures_only,
                                 uint64_t limit,
                                 spool_record_fn *fn,
                                 void *userdata);

/*
 * spool_watch_records() - be passed the records of each batch, before it is committed
 * @failures_only: leave delivered ones out
 * @fn:            gets each in the order of seq, inside of spool_commit(), whose result it is
 *                 unless it is 0. Must not call the spool. NULL: no more is passed
 *
 * If the commit then fails these records are void: what ended is passed again by a later one,
 * with other numbers perhaps. Costs a read of each record.
 */
void spool_watch_records(struct spool *spool,
                         bool failures_only,
                         spool_record_fn *fn,
                         void *userdata);

/*
 * spool_read_newest_kept() - the rejected message that was kept last, by its record
 * @fn: gets it, if there is one, with seq, id, time_ms, outcome, reason, code and topic only.
 *      Must not call the spool.
 *
 * Of a batch that is open as well. Reader too. Return: 0, what @fn returned; SPOOL_E_BUSY;
 * negative errno.
 */
MUST_CHECK int spool_read_newest_kept(struct spool *spool, spool_record_fn *fn, void *userdata);

/*
 * Which messages an operator means: what is set narrows, all of it zero means every one.
 * Everything is borrowed by the selection until it is freed.
 */
struct spool_selection {
    const uint64_t *ids; /* rising, each once; NULL: any */
    size_t id_count;
    const char *lane;   /* NULL: any; by its name */
    const char *client; /* NULL: any */
    const char *topic;  /* NULL: any; a filter that @topic_matches knows */
    bool (*topic_matches)(const char *filter, struct view topic);
    bool has_uid;
    uint32_t uid;
    uint64_t older_than_ms; /* accepted at least so long ago, by the spool's clock; 0: any */
};

/* Puts ids in the order that a selection needs. Return: how many are left, each once. @ids may
 * be NULL if there are none. */
MUST_CHECK size_t spool_sort_ids(uint64_t *ids, size_t count);

/* Where they are. */
enum spool_place {
    SPOOL_PLACE_SPOOLED, /* what has not ended, in the order of ids */
    SPOOL_PLACE_KEPT,    /* rejected and kept, in the order in which they ended */
};

enum spool_state { SPOOL_PENDING, SPOOL_IN_FLIGHT, SPOOL_KEPT };

struct spool_selected {
    struct spool_message message; /* its payload is empty unless it was asked for; expiry_ms is
                                     0 if it has expired; attempts 0: unknown, or none */
    enum spool_state state;       /* a reader cannot know what is in flight: SPOOL_PENDING */
    uint64_t bytes;               /* of payload */
    int64_t age_ms;               /* of a kept one: when it ended */
    /* Of a kept one; else 0. */
    uint64_t seq;
    int64_t ended_ms; /* wall clock, UTC */
    enum spool_reason reason;
    int code; /* or SPOOL_NO_CODE */
};

/* What was done to selected messages. */
struct spool_changes {
    uint64_t matched;
    uint64_t changed;
    uint64_t in_flight; /* of those that matched: passed over */
};

struct spool_select;

/*
 * spool_select_new() - begin to walk over selected messages
 * @spool: outlives the walk
 * @ret:   free with spool_select_free()
 *
 * What is accepted, or kept, after this call is not part of it. What the open batch changes is
 * visible to a writer only. The walk holds no lock and no snapshot between two calls, so
 * messages may end meanwhile: they are left out. Reader too.
 *
 * Return: 0; SPOOL_E_OLDER; SPOOL_E_BUSY; negative errno.
 */
MUST_CHECK int spool_select_new(struct spool *spool,
                                enum spool_place place,
                                const struct spool_selection *selection,
                                struct spool_select **ret);
/* NULL is accepted. Reader too. */
void spool_select_free(struct spool_select *select);

/*
 * spool_select_next() - the next of them
 * @with_payload: with payload and properties. What then is not what was stored is left out
 * @ret:          borrows from @select until the next call with it
 *
 * A call examines at most 256 messages. Reader too. Return: 0; SPOOL_E_AGAIN: none so far;
 * SPOOL_E_EMPTY: there is none any more; SPOOL_E_BUSY: call again later; negative errno.
 */
MUST_CHECK int spool_select_next(struct spool_select *select,
                                 const struct spool_time *now,
                                 bool with_payload,
                                 struct spool_selected *ret);

/*
 * spool_select_drop() - end the next of them by the operator's will
 * @select:     of SPOOL_PLACE_SPOOLED; not after spool_select_next()
 * @is_dry_run: count only
 * @changes:    counts up what the step did; a step that fails adds nothing
 *
 * Outcome dropped, reason operator, in the open batch, as spool_retain() ends messages. What
 * is in flight stays, and is counted. A step examines at most 256 messages, and ends some with
 * 1 MiB of charges and one message. Durable with the next commit: if that loses the batch,
 * what was counted since the commit before is not dropped, and a new walk finds it.
 *
 * Return: SPOOL_E_AGAIN; SPOOL_E_EMPTY: that was all; SPOOL_E_DISK, SPOOL_E_BUSY,
 *         SPOOL_E_MOVED: not now, as spool_retain(), and the walk stands where it stood;
 *         negative errno.
 */
MUST_CHECK int spool_select_drop(struct spool_select *select,
                                 const struct spool_time *now,
                                 bool is_dry_run,
                                 struct spool_changes *changes);

/*
 * spool_select_requeue() - accept the next of the kept ones again
 * @select:     of SPOOL_PLACE_KEPT; not after spool_select_next()
 * @is_dry_run: count only; what the limits would refuse is counted as changed
 * @changes:    counts up, also what a step did before it failed
 *
 * Each gets a new id, in the open batch, as by spool_append(): in its lane, or in "default" if
 * that is not configured any more. The record of the new message has requeued_from, and the
 * kept row is gone with the same commit. What has expired, or is not what was stored, matches
 * and stays. A step examines at most 256 messages and appends 1 MiB of charges and one message.
 *
 * Return: SPOOL_E_AGAIN; SPOOL_E_EMPTY: that was all; SPOOL_E_FULL: the lane has no room, what
 *         was appended before stays in the batch; SPOOL_E_DISK, SPOOL_E_BUSY, SPOOL_E_MOVED:
 *         as spool_append(); negative errno. After a positive one the walk stands at the
 *         message that was not appended.
 */
MUST_CHECK int spool_select_requeue(struct spool_select *select,
                                    const struct spool_time *now,
                                    bool is_dry_run,
                                    struct spool_changes *changes);

/* What a finding of spool_check() or spool_check_names() is about. */
enum spool_part {
    SPOOL_PART_DISK,     /* unreadable blocks */
    SPOOL_PART_DATABASE, /* pages, commits that are missing */
    SPOOL_PART_MESSAGE,  /* one that can be read and is not what was stored */
    SPOOL_PART_LEDGER,
    SPOOL_PART_IDS,
    SPOOL_PART_OUTCOMES,
    SPOOL_PART_NAMES,   /* files that the next start acts upon */
    SPOOL_PART_TALLIES, /* counts by delay and by reason: no message depends on them */
};
typedef void spool_finding_fn(void *userdata, enum spool_part part, const char *text);

/*
 * spool_check_names() - what will the next start do about files beside the database?
 *
 * Of a spool that need not open: a new database that a crash left, or what else
 * has its name or one that the daemon writes to. Reads only.
 */
void spool_check_names(const char *directory, spool_finding_fn *fn, void *userdata);

/*
 * spool_check() - check everything: pages, messages, ledger, ids, outcomes
 * @fn: called for each finding, with its text
 *
 * Consequences of a failed read are no findings of their own: the damage is reported once.
 * For a reader only. Takes as long as reading the whole database takes.
 * Return: 0, whatever was found; negative errno: it could not be checked.
 */
MUST_CHECK int spool_check(struct spool *spool, spool_finding_fn *fn, void *userdata);
/* Is called now and then during spool_check() as a sign of life; must not call the spool. */
typedef void spool_progress_fn(void *userdata);
void spool_set_check_progress(struct spool *spool, spool_progress_fn *fn, void *userdata);

/*
 * spool_set_exported() - every row up to @seq is safely in the audit file
 *
 * The caller has synced that file. Durable, and the rows prunable, with the
 * next commit.
 */
void spool_set_exported(struct spool *spool, uint64_t seq);
/*
 * spool_set_waiting_max() - how many rows may wait for the export
 * @rows: when there are so many, commits remove the oldest delivered rows that
 *        are not exported; 0: none is removed. Failures never are.
 *
 * The numbers of what was removed are missing up to spool_pruned_seq().
 */
void spool_set_waiting_max(struct spool *spool, uint64_t rows);
/*
 * spool_set_records_max() - how many bytes outcome rows may take, as spool_charge() counts
 * @bytes: when they take so many, commits remove the oldest exported failures,
 *         then deliveries that wait, if spool_set_waiting_max() allows that;
 *         0: any number
 *
 * If neither is left the rows may take more: the caller accepts no message that
 * would add one.
 */
void spool_set_records_max(struct spool *spool, uint64_t bytes);
/*
 * spool_set_reported() - the failures up to @seq are in messages of the open batch
 * @seq: or SPOOL_NOT_REPORTED, which stays so until it is set again
 *
 * For an owner that publishes failures as messages: the cursor becomes durable with the next
 * commit, which is that of these messages, and is rolled back with them.
 */
#define SPOOL_NOT_REPORTED INT64_C(-1)
void spool_set_reported(struct spool *spool, int64_t seq);
/* As the last commit holds it. */
int64_t spool_reported(const struct spool *spool);
/* From now on no commit removes a failure after @seq; UINT64_MAX, as after the open: any. */
void spool_keep_unreported(struct spool *spool, uint64_t seq);
/* What the committed rows take. */
uint64_t spool_record_bytes(const struct spool *spool);
/* Committed rows that wait for the export. */
uint64_t spool_waiting(const struct spool *spool);
/* Do deliveries wait for spool_set_exported() whose rows would be removed by it, or whose
 * number is limited? Then an early sync of the export pays. */
bool spool_awaits_export(const struct spool *spool);
/* No delivered row up to this seq is left, exported or not. Reader too: as of its newest
 * figures. */
uint64_t spool_pruned_seq(const struct spool *spool);
/* How many rows went unexported since the open. */
uint64_t spool_pruned_unexported(const struct spool *spool);

/* The cursor as the last commit holds it. Reader too: as of its open or its newest figures. */
uint64_t spool_exported(const struct spool *spool);
/* seq of the newest committed outcome row, 0 when there was none yet. Reader too: as above. */
uint64_t spool_last_seq(const struct spool *spool);

#endif
