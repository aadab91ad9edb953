/* SPDX-License-Identifier: MIT */
/*
 * spool-private.h - what the sources of the spool share
 *
 * struct spool is made of named parts, each for one concern; a function that needs
 * only one part takes that part. What a rollback brings back is in struct
 * spool_totals and in the counters of the lanes (lane_set.h), which exist twice: as the
 * last commit left them, and as they will be when the open batch commits.
 *
 * Functions here return 0, SPOOL_E_DISK or SPOOL_E_BUSY, or a negative errno,
 * which sticks: a spool that failed once refuses everything afterwards.
 */
#ifndef MQTT_SPOOLD_STORE_SPOOL_PRIVATE_H
#define MQTT_SPOOLD_STORE_SPOOL_PRIVATE_H

#include <errno.h>
#include <sqlite3.h>

#include "base/attr.h"
#include "store/identity.h"
#include "store/lane_set.h"
#include "store/names.h"
#include "store/salvage/mark.h"
#include "store/segments.h"
#include "store/spool.h"
#include "store/spool_clock.h"
#include "store/stmt.h"

#define SPOOL_APPLICATION_ID 0x6d717370 /* "mqsp" */
#define SCHEMA_NEW_NAME      DATABASE_NAME ".new"

enum {
    VERSION_OF_SEGMENTS = 9, /* of the schema */
    VERSION_OF_SESSIONS = 10,
    VERSION_OF_REQUEUED = 11,
    VERSION_OF_TALLIES = 12,
    SPOOL_PLAN_MAX = 65536,     /* unresolved messages; above the largest window by far */
    SPOOL_PLAN_SHARE = 256,     /* what each lane may have of them in any case */
    SPOOL_NEXT_BUDGET = 1024,   /* rows that one spool_next() looks at; */
    SPOOL_NEXT_BYTES = 4 << 20, /* or so many bytes and one message */
    SPOOL_PAGE_BYTES = 4096,
    SPOOL_ERRMSG_MAX = 256,
    SPOOL_DISK_CREDIT_BYTES = 1 << 20, /* see room.c */
    SPOOL_WAL_LARGE_PAGES = 4000, /* only by a reader: then a checkpoint cuts the file, too */
};

/* Of column flags of table message. */
enum { FLAGS_QOS = 3, FLAGS_RETAIN = 4, FLAGS_MAX = 7 };

/* What the single row of table spool holds, besides the clock. */
struct spool_progress {
    uint64_t exported_seq;
    uint64_t pruned_seq;      /* no delivered row up to here is left */
    uint64_t failures_pruned; /* how many other rows are gone */
    uint64_t record_bytes;    /* what the rows of table outcome take: see charge.c */
    uint64_t kept_messages;   /* rows of table rejected: see kept.c */
    uint64_t kept_bytes;      /* the sum of their charges */
    int64_t reported_seq;     /* or SPOOL_NOT_REPORTED: see spool_set_reported() */
    uint64_t cut_lives;       /* see spool_note_sending() */
    uint64_t requeued;        /* rows of table requeued: see origin.c; not in the table */
    /* Not in the table, but derived: */
    uint64_t waiting_kept;      /* rows after exported_seq up to pruned_seq: failures */
    uint64_t pruned_unexported; /* since the open */
};

/* Of deliveries up to this seq no row is needed: they are in the audit file, or pruned. */
static inline uint64_t progress_gone_seq(const struct spool_progress *progress)
{
    return progress->exported_seq > progress->pruned_seq ? progress->exported_seq
                                                         : progress->pruned_seq;
}

/* Can the end of what is handed out be recorded? */
enum spool_commit_state {
    SPOOL_COMMIT_SUCCEEDED, /* the newest commit succeeded */
    SPOOL_COMMIT_REQUIRED,  /* there was none since spool_require_commit() */
    SPOOL_COMMIT_REFUSED,   /* it had no room: the next one is what ended and nothing new */
};

/* One of the two streams of a scan: the segments in the order of their ids, or table
 * message. */
struct scan_source {
    unsigned table; /* whose statement is open, or TABLES */
    bool has_row;   /* that was not handed out yet */
};

/* Reads the messages of a lane in the order of their keys, whatever table they are in. */
struct scan {
    struct lane *lane; /* whose messages are walked, or NULL */
    bool is_live;      /* those from live_from on */
    int64_t last_key;
    struct scan_source segments;
    struct scan_source message;
    struct scan_source *current; /* which has the row */
};

/* SQLite's handle, and what went wrong with it. */
struct connection {
    sqlite3 *db;
    struct stmt_table stmts;
    int busy_wait_ms;
    bool is_reader;
    int failed;           /* sticky negative errno */
    uint64_t bad_writes;  /* reads_bad_writes() when it was opened */
    bool has_media_error; /* a read or a write of one place failed */
    bool is_surveyed;     /* a reader: bad blocks were searched for */
    int wal_pages;        /* after the last commit */
    struct scan scan;
    struct stmt *fetch;    /* the last TABLE_FETCH, whose row the caller may hold; or NULL */
    uint64_t record_seq;   /* of the newest outcome row that the statement has written */
    uint64_t record_tally; /* of the statement that runs: see charge.c */
    char errmsg[SPOOL_ERRMSG_MAX];
};

/* The files at the configured path. Descriptors are -1 where there is none. */
struct spool_files {
    char *directory; /* as configured; of a writer */
    char *path;      /* of the database */
    int directory_fd;
    int database_fd; /* of a writer; closed after SQLite's, or SQLite's locks go with it */
    int lock_fd;     /* of a writer */
    int mark_fd;     /* of a writer whose database was found sound */
    struct identity identity; /* of a writer */
    int64_t verify_due_ms;    /* no commit compares them before */
    bool is_moved;            /* sticky: they are not where they were */
};

/* Where spool_restore() works, if that is another directory. */
struct restore_place {
    int directory_fd;
    int lock_fd;
    bool is_mark_written; /* the one that is there is written by us */
};

/* The open batch, and the result of the newest one. */
struct batch {
    bool is_open;       /* a transaction is */
    bool is_committing; /* the only time at which the commit hook lets a commit pass */
    bool is_lost;       /* its commit will report it */
    unsigned messages;
    uint64_t charge;
    enum spool_commit_state commit_state;
};

/* What was evicted because the disk is short: see room.c. */
struct eviction_account {
    uint64_t credit; /* charges that may go for the disk before more is accepted */
    uint64_t debt;   /* exported failures that are to go for those that came */
};

/* What a commit makes true and a rollback brings back as a whole. */
struct spool_totals {
    uint64_t last_seq;
    struct spool_progress progress;
    struct eviction_account evicting;
    struct segments segments;
};

/* The clock, and what the database holds of it. */
struct spool_timekeeping {
    struct spool_clock clock;
    struct spool_clock_state written; /* as it is on disk */
    int64_t opened_ms;                /* the clock at the open */
    uint64_t shift_end;   /* while the clock is to jump: up to which id a commit moves */
    bool is_written;      /* since the open */
    bool is_write_wanted; /* by the next commit, whatever else it has to write */
};

/* Which outcome rows go, and when: outcome.c. */
struct pruning {
    uint64_t exported_seq; /* as the owner reported it; the next commit writes it */
    uint64_t keep_failures_ms;
    uint64_t keep_failures_count;
    uint64_t records_max;  /* bytes that the rows may take; 0: any number */
    uint64_t waiting_max;  /* rows that may wait for the export; 0: any number */
    int64_t keep_due_ms;   /* no kept failure is too old before */
    uint64_t reported_seq; /* failures after it are not removed */
    bool has_more;         /* the last commit's budget ended before the failures that go */
    int64_t origin_after;  /* the last key that was examined: origin.c */
    int64_t origin_due_ms; /* no row of it is examined before */
};

/* Rejected messages that are kept: kept.c. */
struct kept {
    struct spool_kept_limits limits;
    int64_t due_ms; /* none is too old before */
};

/* A message at which the broker closed the connection. */
struct suspect {
    int64_t key;
    unsigned closings; /* 0: the row goes with the next commit */
    bool has_ended;    /* in the open batch: it goes, too, unless that is lost */
    bool is_changed;   /* since the last one */
};

/* suspects.c */
struct suspects {
    struct suspect *all;
    size_t count;
    size_t capacity;
    bool has_changed;
};
enum { SUSPECTS_MAX = 1024 };

/* Sessions that outlive their connections: sessions.c. */
struct sessions {
    struct spool_session **buckets; /* by user and client id */
    size_t bucket_count;            /* a power of two, or 0 */
    size_t count;
    struct spool_session *changed; /* since the last commit; dropped ones are here only */
    struct spool_session *touched; /* whose outbox the open batch, or the next one, changes */
    size_t wanting[SPOOL_OUTBOX_KINDS];
    uint64_t last_id;
    uint64_t changes;      /* so many were noted */
    uint64_t durable;      /* and so many are on disk */
    bool is_written_whole; /* by the commit that runs: new and changed ones, too */
    int64_t *releases;     /* keys of table unreleased that go with the next commit */
    size_t release_count;
    size_t release_capacity;
    size_t released;       /* so many of them are gone by the open batch */
    int64_t due_ms;        /* none expires before, */
    uint32_t limit_s;      /* with this limit */
    uint64_t expired_work; /* that spool_session_expire() has left to the next commit */
};

/* What the disk still holds: room.c. */
struct room {
    uint64_t reserve;
    uint64_t disk_free;       /* when last measured */
    uint64_t available;       /* charges that may still be appended */
    bool is_measured;         /* for the open batch */
    bool is_low;              /* below the reserve, or full, when last measured */
    int full_error;           /* why the last allocation or write had no room; 0: it had */
    int refused_error;        /* why the newest write that had no room had none */
    int64_t tried_ms;         /* when it was last tried whether there is room again, */
    uint64_t tried_free;      /* and how much was free */
    uint64_t evicted;         /* for the disk since the open, those of lost batches too */
    uint64_t allocated_pages; /* of the database file, at least */
    uint64_t batch_pages;     /* that the database will have by the open batch */
    uint64_t committed_pages;
};

/* What is handed out and has not come back. */
struct handout {
    uint64_t in_flight;
    uint64_t in_flight_peak;
};

/* Who is notified that a check continues. */
struct check_progress {
    spool_progress_fn *fn; /* NULL: no one */
    void *userdata;
};

/* Who is passed the records of each batch. */
struct record_watch {
    spool_record_fn *fn; /* NULL: no one */
    void *userdata;
    bool failures_only;
};

struct spool {
    struct connection conn;
    struct spool_files files;
    struct restore_place restore;
    struct lane_set lanes;
    struct batch batch;
    struct spool_totals committed;
    struct spool_totals working;
    struct spool_timekeeping time;
    struct pruning pruning;
    struct kept kept;
    struct suspects suspects;
    struct hold hold; /* of all lanes together */
    struct sessions sessions;
    struct room room;
    struct handout handout;
    struct record_watch watch;
    struct check_progress check_progress;
    struct segment_limits segment_limits;
    unsigned moved_segment; /* by the open batch, or TABLE_SEGMENTS */
};

/* A run of neighbours of one table that ends in one way. */
struct ending {
    unsigned table;
    bool is_oldest; /* delivered, and nothing older of the lane is pending in a segment */
    int64_t first_key;
    int64_t last_key;
    uint64_t messages;
    uint64_t charge;
    uint32_t attempts;
    struct spool_verdict verdict;
    int64_t ago_ms; /* it ended so long before this moment */
};

static inline struct stmt *spool_stmt(struct spool *spool, enum stmt_id id)
{
    return &spool->conn.stmts.all[id];
}

static inline struct stmt *
spool_table_stmt(struct spool *spool, unsigned table, enum table_stmt_id id)
{
    return stmt_of_table(&spool->conn.stmts, table, id);
}

static inline int64_t spool_clock_ms(struct spool *spool, const struct spool_time *now)
{
    return spool_clock_read(&spool->time.clock, now, spool->lanes.last_id);
}

/* The same for a reader, too, who has read the state. */
static inline int64_t spool_clock_guess_ms(struct spool *spool, const struct spool_time *now)
{
    return spool->conn.is_reader ? spool_clock_guess(&spool->time.clock.state, now)
                                 : spool_clock_ms(spool, now);
}

/* What each file offers to those above it, from the lowest to the highest. append.c, handout.c,
 * commit.c, stats.c, check.c, restore.c and open.c stand on these and offer nothing. */

/* connection.c */
MUST_CHECK int spool_result(struct spool *spool, int sqlite_rc);
/* The one number of a statement without parameters; 0 where there is no row. */
MUST_CHECK int spool_read_number(struct spool *spool, enum stmt_id id, uint64_t *ret);
__attribute__((format(printf, 3, 4))) int
spool_fail(struct spool *spool, int error, const char *format, ...);
/* Return: -ENOMEM. */
static inline int spool_fail_memory(struct spool *spool)
{
    (void)spool_fail(spool, -ENOMEM, "out of memory");
    return -ENOMEM;
}

/* Notes why there is no room. Return: SPOOL_E_DISK. */
int spool_note_full(struct spool *spool, int error);
/* The survey, for a reader. */
MUST_CHECK int spool_survey_for_reader(struct spool *spool);
/* The mark of the database as it is now. */
struct mark spool_get_mark(const struct spool *spool);
MUST_CHECK int spool_note_mark(const struct spool *spool);
/* Frees the read snapshot that spool_next() may hold. */
void spool_end_scan(struct spool *spool);
/* That of the message that was handed out again. */
void spool_end_fetch(struct spool *spool);

/* checkpoint.c */
/* Moves what the log holds to the database, so that the next commit can use the log from its
 * start. Waits for no reader, and does not cut the file. */
MUST_CHECK int checkpoint_passive(struct spool *spool);
/* If it is due: see the head of that file. Also after each commit while the disk is short of
 * room, because deliveries must continue. */
MUST_CHECK int checkpoint_after_commit(struct spool *spool);
/* The open batch was committed, and its charges are still known. */
void checkpoint_note_commit(struct lane_set *lanes);
/* The database holds all that the log does. */
void checkpoint_note_moved(struct lane_set *lanes);

/* examine.c */
/* Errors of the file's content are a condition at open, not the end of the process. */
MUST_CHECK int examine_result(struct spool *spool, int sqlite_rc);
/* Before anything is written. Return: 0; SPOOL_E_DAMAGED; negative errno. */
MUST_CHECK int examine(struct spool *spool, const struct mark *mark);

/* successor.c; @name: SALVAGED_NAME or RESTORED_NAME. Return: 0: it may take the place of the
 * database; SPOOL_E_DAMAGED: it may not, @errmsg has the reason; -ENOMEM. */
MUST_CHECK int
successor_judge(int directory_fd, const char *directory, const char *name, char *errmsg);

/* lock.c */
MUST_CHECK int spool_open_directory(const char *directory, bool create, int *ret_fd);
/* Is each file of the spool a regular one, and can SQLite open it? */
MUST_CHECK int spool_require_regular_files(struct spool *spool, const char *directory);
/* Locks the directory and the file in it. Return: 0; SPOOL_E_LOCKED; negative errno. */
MUST_CHECK int spool_take_locks(int directory_fd, int *ret_lock_fd);
/* The same for the writer, with an error text. */
MUST_CHECK int spool_take_lock(struct spool *spool);

/* charge.c: record_charge() of SQL adds to @tally, too; NULL: it does not. */
MUST_CHECK int charge_register(sqlite3 *db, uint64_t *tally);

/* functions.c: that, and record_seq(), which counts @seq up; and others. */
MUST_CHECK int functions_register(sqlite3 *db, uint64_t *tally, uint64_t *seq);

/* schema.c; the database is closed and left as it was unless 0 comes back */
MUST_CHECK int schema_create(const char *directory, int directory_fd, char *errmsg);
MUST_CHECK int schema_probe(int directory_fd, char *errmsg);
/* Does a regular file have that name, and the head of a spool? */
bool schema_is_ours(int directory_fd, const char *name);
/* By the head of the database, which is ours. */
bool schema_is_in_wal_mode(int directory_fd);
/* SQLITE_SCHEMA: it is newer than schema_newest_version(). */
MUST_CHECK int schema_check(sqlite3 *db, int *ret_version);
int schema_newest_version(void);
/* What has a row for each message that is pending, in a database of this version. */
const char *schema_pending_table(int version);
/* A SELECT of how many deliveries are neither exported nor rows of table outcome; for a
 * statement over table spool. */
const char *schema_runs_behind_sql(int version);
/* The functions of charge.c must be registered. */
MUST_CHECK int schema_migrate(sqlite3 *db, int version);
/* Tables in a database that is new; registers them without a tally. */
MUST_CHECK int schema_lay_out(sqlite3 *db);
void schema_remove_leftovers(int directory_fd);
/* After a directory was made. */
MUST_CHECK int schema_sync_parent(int directory_fd, char *errmsg);
/* Describes why a new database failed. Return: SPOOL_E_DISK; negative errno. */
MUST_CHECK int schema_describe_error(sqlite3 *db, int rc, char *errmsg);

/* lanes.c */
MUST_CHECK int lanes_add(struct spool *spool, const char *name, struct lane **ret);
MUST_CHECK int
lanes_add_configured(struct spool *spool, const struct spool_lane *lanes, size_t count);
/* In the transaction of the open: forgets and numbers lanes; ledger_write() stores them. */
MUST_CHECK int lanes_reconcile(struct spool *spool);

/* ledger.c */
MUST_CHECK int ledger_refresh(struct spool *spool);
/* Before a call that reads: frees the snapshot of a scan. A reader reads counters and clock
 * again, which a writer knows. */
MUST_CHECK int ledger_refresh_reader(struct spool *spool);
/* Do the counters agree with each other, and with the ends of the tables? */
MUST_CHECK int ledger_verify(struct spool *spool);
/* When the newest outcome was, on the spool's clock; 0: there is none. */
MUST_CHECK int ledger_load_last_ended(struct spool *spool, int64_t *ret);
MUST_CHECK int ledger_load_state(struct spool *spool, struct spool_clock_state *ret);
MUST_CHECK int ledger_write(struct spool *spool);
void ledger_commit(struct spool *spool);
void ledger_rollback(struct spool *spool);
struct spool_ledger ledger_from_counters(const struct spool_counters *counters);

/* segments.c */
/* Of the lane's pending messages from @first_key to @last_key, in order: key, accepted_at,
 * charge, table. */
struct stmt *segments_oldest(struct spool *spool,
                             const struct lane *lane,
                             int64_t first_key,
                             int64_t last_key);
/* How many rows table @table has from @first_key to @last_key. */
MUST_CHECK int segments_count_rows(
    struct spool *spool, unsigned table, int64_t first_key, int64_t last_key, uint64_t *ret);
/* After the lanes were read: what the segments hold. */
MUST_CHECK int segments_load(struct spool *spool);
/* In the transaction of the open: what was delivered of lanes that may be forgotten goes. */
MUST_CHECK int segments_release_lanes(struct spool *spool);
/* In the transaction of a commit, after the cursor of the export was moved: empties those of
 * which nothing is needed any more. */
MUST_CHECK int segments_empty(struct spool *spool);
/* After that: if no segment can be used, moves what is pending in one, if that is little. */
MUST_CHECK int segments_unpin(struct spool *spool);
/* After the commit. */
void segments_commit(struct spool *spool);
/* The open batch is lost: what ended in it has not. Here, because suspects.c uses batch.c. */
static inline void suspects_rollback(struct suspects *suspects)
{
    for (size_t i = 0; i < suspects->count; i++)
        suspects->all[i].has_ended = false;
}

/* The same of what was released: its rows are there again. */
static inline void sessions_rollback(struct sessions *sessions)
{
    sessions->released = 0;
}

/* And of the outboxes. */
static inline void outbox_rollback(struct sessions *sessions)
{
    for (struct spool_session *session = sessions->touched; session;
         session = session->outbox.next_touched) {
        session->missed -= session->outbox.batch_missed;
        session->outbox.batch_missed = 0;
        session->outbox.is_known = false;
    }
}

/* batch.c */
/* Can messages be ended besides those that were settled? Return: 0; SPOOL_E_DISK: not in a
 * batch that is lost, nor after a commit that had no room; negative errno. */
MUST_CHECK int spool_check_batch(const struct spool *spool);
/* Opens the batch when none is open. */
MUST_CHECK int spool_begin(struct spool *spool);
/* Forgets the open batch and brings all memory back to the last commit. */
MUST_CHECK int spool_rollback(struct spool *spool);
/* Rolls back in the middle of a batch, if one is open; the commit reports it to the caller.
 * Return: @condition, a positive one, or what went wrong with that. */
MUST_CHECK int spool_lose_batch(struct spool *spool, int condition);
/* After a commit or a rollback. */
void spool_end_batch(struct spool *spool);

/* suspects.c */
void suspects_done(struct suspects *suspects);
MUST_CHECK int suspects_load(struct spool *spool);
unsigned suspects_closings(const struct suspects *suspects, int64_t key);
/* Return: 0; -ENOMEM. */
MUST_CHECK int suspects_set(struct spool *spool, int64_t key, unsigned closings);
/* In the transaction of a commit, and after it. */
MUST_CHECK int suspects_write(struct spool *spool);
void suspects_commit(struct suspects *suspects);
/* Messages with these keys have ended. */
void suspects_end(struct suspects *suspects, int64_t first_key, int64_t last_key);

/* hold.c */
MUST_CHECK int hold_load(struct spool *spool);
/* Is it, or are all lanes? */
bool hold_of_lane(const struct spool *spool, const struct lane *lane);
/* Has the next commit something to write? */
bool hold_is_unwritten(const struct spool *spool);
/* In the transaction of a commit, and after it. */
MUST_CHECK int hold_write(struct spool *spool);
void hold_commit(struct spool *spool);

/* origin.c */
MUST_CHECK int origin_load(struct spool *spool);
/* The message with this key, which the open batch has accepted, is message @origin again. */
MUST_CHECK int origin_add(struct spool *spool, int64_t key, uint64_t origin);
/* In the transaction that ends messages, the last of them as @last_seq. */
MUST_CHECK int
origin_end(struct spool *spool, int64_t first_key, int64_t last_key, uint64_t last_seq);
/* 0: it was published. Return: 0; SPOOL_E_BUSY; negative errno. */
MUST_CHECK int origin_find(struct spool *spool, int64_t key, uint64_t *ret);
/* In the transaction of a commit: removes what no record needs any more. */
MUST_CHECK int origin_prune(struct spool *spool, int64_t clock_ms);
/* sessions.c */
void sessions_done(struct sessions *sessions);
/* @newest_left_ms: raised to when the newest of those left, on the spool's clock. */
MUST_CHECK int sessions_load(struct spool *spool, int64_t *newest_left_ms);
/* Something of it is to be written by the next commit. */
void sessions_note_change(struct sessions *sessions, struct spool_session *session);
/* When the clock runs: those that were connected when the last process ended have left. */
void sessions_start(struct spool *spool);
/* In the open batch, with the message of the packet. */
MUST_CHECK int sessions_add_unreleased(struct spool *spool,
                                       uint64_t session,
                                       uint16_t packet_id,
                                       uint64_t message);
/* In the transaction of a commit, and after it. */
MUST_CHECK int sessions_write(struct spool *spool);
MUST_CHECK int sessions_write_releases(struct spool *spool);
void sessions_commit(struct sessions *sessions);
bool sessions_have_work(const struct sessions *sessions);
/* After a commit that moved the clock: those that left since its newest credible reading. */
void sessions_shift(struct spool *spool);

/* outbox.c */
/* In the transaction of a commit, and after it. */
MUST_CHECK int outbox_write(struct spool *spool);
void outbox_commit(struct sessions *sessions);

/* kept.c */
/* In the transaction that ends messages: copies those with these seqs from @table, as far as
 * they are to be kept. */
MUST_CHECK int
kept_store(struct spool *spool, unsigned table, uint64_t first_seq, uint64_t last_seq);
/* In the transaction of a commit: removes what is above the limits. */
MUST_CHECK int kept_prune(struct spool *spool, int64_t clock_ms);
/* Would a commit remove any? */
bool kept_has_surplus(const struct spool *spool);
/* Reads the counters. */
MUST_CHECK int kept_load(struct spool *spool);

/* ending.c */
MUST_CHECK int ending_write_run(struct spool *spool,
                                struct lane *lane,
                                const struct ending *ending,
                                const struct spool_time *now);
MUST_CHECK int ending_write_settled(struct spool *spool, const struct spool_time *now);
/* What the lane will hold once everything settled is written. */
uint64_t ending_count_ahead(const struct lane *lane);
uint64_t ending_bytes_ahead(const struct lane *lane);

/* retention.c: the oldest go, of about so many bytes; only where the lane evicts. */
MUST_CHECK int retention_evict_for_disk(struct spool *spool,
                                        struct lane *lane,
                                        const struct spool_time *now,
                                        uint64_t bytes,
                                        uint64_t *ret_freed);

/* room.c: is there room for so much more in the batch, or can it be made? 0; SPOOL_E_DISK. */
MUST_CHECK int room_for(struct spool *spool,
                        const struct lane *lane,
                        const struct spool_time *now,
                        uint64_t charge);
/* Once a batch; again if there is none. */
MUST_CHECK int room_measure_for_batch(struct spool *spool);
/* So much was accepted. */
void room_credit(struct eviction_account *account, uint64_t charge);
/* Takes the disk space that moving the WAL will need, before the commit. 0; SPOOL_E_DISK. */
MUST_CHECK int room_allocate(struct spool *spool);
/* After a write that had no room: tries again, and notes the result for room_for(). */
MUST_CHECK int room_retry(struct spool *spool);

/* restore.c */
void restore_leave(struct restore_place *place);

/* outcome.c */
MUST_CHECK int outcome_prune(struct spool *spool, const struct spool_time *now);
/* After the state was loaded: what of it is not in the table. */
MUST_CHECK int outcome_load(struct spool *spool);
/* Do rows wait that a commit would remove? */
bool outcome_has_surplus(const struct spool *spool);

/* walk.c: in the transaction of a commit, after all that ended was written and before anything
 * is pruned: passes the new records on. */
MUST_CHECK int walk_batch(struct spool *spool);

/* shift.c; only if the clock is to jump */
/* In the transaction of the commit. */
MUST_CHECK int shift_new_messages(struct spool *spool);
/* After it: the same for what is in memory. */
void shift_plans(struct spool *spool);
/* What @clock is by that commit. */
void shift_clock(const struct spool *spool, struct spool_clock *clock);

#endif
