/* SPDX-License-Identifier: MIT */
/*
 * spool-private.h - what the sources of the spool share
 *
 * Each counter exists twice: as the last commit left it, and as it will be when
 * the open batch commits. A rollback copies the first over the second.
 *
 * Functions here return 0, SPOOL_E_DISK or SPOOL_E_BUSY, or a negative errno,
 * which sticks: a spool that failed once refuses everything afterwards.
 */
#ifndef MQTT_SPOOLD_STORE_SPOOL_PRIVATE_H
#define MQTT_SPOOLD_STORE_SPOOL_PRIVATE_H

#include <sqlite3.h>

#include "store/identity.h"
#include "store/names.h"
#include "store/plan.h"
#include "store/salvage/mark.h"
#include "store/spool.h"
#include "store/spool_clock.h"
#include "store/stmt.h"

#define SPOOL_APPLICATION_ID 0x6d717370 /* "mqsp" */
#define SCHEMA_NEW_NAME      DATABASE_NAME ".new"

#define SPOOL_ID_BITS 48
#define SPOOL_ID_MAX  ((UINT64_C(1) << SPOOL_ID_BITS) - 1)
/* No spool comes to half of all ids in a hundred years: what is beyond is damage. */
#define SPOOL_LAST_MAX     (SPOOL_ID_MAX / 2)
#define SPOOL_IDS_LEFT_OUT (1 << 20) /* in a row, at most: what lost batches would have had */
#define SPOOL_LANE_MAX     0x7fff    /* lane numbers: a key stays positive */

enum {
    SPOOL_PLAN_MAX = 65536,     /* unresolved messages; above the largest window by far */
    SPOOL_PLAN_SHARE = 256,     /* what each lane may have of them in any case */
    SPOOL_NEXT_BUDGET = 1024,   /* rows that one spool_next() looks at; */
    SPOOL_NEXT_BYTES = 4 << 20, /* or so many bytes and one message */
    SPOOL_PAGE_BYTES = 4096,
    SPOOL_WORDS_MAX = 256,
    SPOOL_DISK_CREDIT_BYTES = 1 << 20, /* see room.c */
    SPOOL_WAL_LARGE_PAGES = 4000, /* only by a reader: then a checkpoint cuts the file, too */
};

/* Of column flags of table message. */
enum { FLAGS_QOS = 3, FLAGS_RETAIN = 4, FLAGS_MAX = 7 };

struct spool_counters {
    uint64_t accepted;
    uint64_t ended[SPOOL_OUTCOMES];
    uint64_t messages;
    uint64_t bytes;
    uint64_t last_id;
    uint64_t last_seq;
};

/* Configured lanes come first, in their order; behind them what the database knows besides. */
struct lane {
    char *name;
    unsigned number; /* in keys and in the table, stable for ever */
    bool is_stored;  /* the table has it */
    unsigned index;  /* as told outside: lanes that are not configured go as "default" */
    int priority;
    struct spool_limits limits;
    struct spool_counters committed;
    struct spool_counters working;
    uint64_t batch_charge; /* of what the open batch has appended */
    struct plan plan;
    int64_t cursor;     /* every message with a key below is in the plan, or ended */
    bool is_cut;        /* the open batch has ended messages from the cursor on */
    int64_t age_due_ms; /* no message outside the plan's pins reaches max_age before */
};

/* Whose message goes out next: see turns.c. */
struct turns {
    struct lane **by_priority; /* highest first; of one priority, whose turn it is */
    struct lane **by_wait;     /* who had the ninth place longest ago first */
    size_t count;
    unsigned places;    /* in a row that went to the front */
    int priority;       /* of the lane that had the newest of them */
    struct lane *taker; /* of the newest message; NULL: it is counted, or came back */
    uint64_t taker_id;
    bool is_ninth; /* was it a place for those below? */
};

/* What the single row of table spool holds, besides the clock. */
struct spool_progress {
    uint64_t exported_seq;
    uint64_t pruned_seq;      /* no delivered row up to here is left */
    uint64_t failures_pruned; /* how many other rows are gone */
    uint64_t record_bytes;    /* what the rows of table outcome take: see charge.c */
    /* Not in the table, but derived: */
    uint64_t waiting_kept;      /* rows after exported_seq up to pruned_seq: failures */
    uint64_t pruned_unexported; /* since the open */
};

/* Can the end of what is handed out be recorded? */
enum spool_proof {
    SPOOL_PROVEN,   /* the newest commit succeeded */
    SPOOL_UNPROVEN, /* there was none since spool_require_proof() */
    SPOOL_REFUSED,  /* it had no room: the next one is what ended and nothing new */
};

struct spool {
    sqlite3 *db;
    struct stmt_table stmts;
    int busy_wait_ms;
    int lock_fd; /* the lock of a writer, else -1 */
    int mark_fd; /* of a writer whose database was found sound, else -1 */
    int directory_fd;
    int database_fd; /* of a writer; closed after SQLite's, or SQLite's locks go with it */
    char *directory; /* as configured */
    char *path;      /* of the database */
    bool is_reader;
    int failed;               /* sticky negative errno */
    uint64_t bad_writes;      /* reads_bad_writes() when it was opened */
    bool met_bad_place;       /* by a read or a write that failed */
    bool is_explained;        /* a reader: what did not read was looked for */
    struct identity identity; /* of a writer */
    int64_t verify_due_ms;    /* no commit looks for them before */
    bool is_moved;            /* sticky: the files are not where they were */
    int restore_fd;      /* the directory that spool_restore() works in, where it is another */
    int restore_lock_fd; /* and its lock */
    bool is_mark_restored; /* the one that is there is written by us */
    char words[SPOOL_WORDS_MAX];

    struct lane *lanes;
    size_t lane_count;
    size_t configured_count;
    bool has_new_lane; /* one that the table does not have yet */
    struct turns turns;

    bool in_transaction;
    bool is_committing; /* the only time at which the commit hook lets a commit pass */
    bool is_doomed;     /* the open batch is lost: its commit will say so */
    unsigned batch_messages;
    uint64_t batch_charge;

    uint64_t last_id;  /* the newest ever given out, also in a batch rolled back */
    uint64_t last_seq; /* of the open batch */
    uint64_t committed_last_seq;
    int64_t expiry_due_ms; /* no message outside the plan's pins expires before */

    struct spool_clock clock;
    bool is_clock_written; /* since the open */
    uint64_t shift_end;    /* while the clock is to jump: up to which id a commit moves */
    bool is_clock_wanted;  /* by the next commit, whatever else it has to write */
    int64_t opened_clock_ms;
    struct spool_clock_state written_clock; /* as it is on disk */
    struct spool_progress committed_progress;
    struct spool_progress progress;
    int64_t keep_due_ms;    /* no kept failure is too old before */
    bool has_more_to_prune; /* the last commit's budget ended before the failures that go */
    uint64_t records_max;   /* what the rows may take; 0: any number of bytes */
    uint64_t record_tally;  /* of the statement that runs: see charge.c */
    uint64_t waiting_max;   /* rows that may wait for the export; 0: any number */
    uint64_t keep_failures_ms;
    uint64_t keep_failures_count;

    enum spool_proof proof;
    int refused_error; /* why the newest write that had no room had none */
    int full_error;    /* why the last allocation or write had no room; 0: it had */
    int64_t full_tried_ms;
    uint64_t full_tried_free;
    uint64_t disk_reserve;
    uint64_t disk_free; /* when last looked at */
    uint64_t disk_room; /* charges that may still be appended */
    bool disk_room_known;
    bool disk_is_low;            /* below the reserve, or full, when last looked at */
    uint64_t disk_credit;        /* charges that may go for the disk before more is accepted */
    uint64_t disk_evicted;       /* for the disk since the open, those of lost batches too */
    unsigned disk_evictions;     /* since spool_retain() last told of them */
    uint64_t disk_debt;          /* exported failures that are to go for those that came */
    uint64_t disk_credit_before; /* as the three were when the open batch began */
    unsigned disk_evictions_before;
    uint64_t disk_debt_before;
    int wal_pages;            /* after the last commit */
    uint64_t allocated_pages; /* of the database file, at least */
    uint64_t batch_pages;     /* that the database will have by the open batch */
    uint64_t committed_pages;

    struct lane *scan_lane; /* whose messages STMT_SCAN is walking, or NULL */
    uint64_t in_flight;
    uint64_t in_flight_peak;
};

/* A run of neighbours that ends in one way. */
struct ending {
    int64_t first_key;
    int64_t last_key;
    uint64_t messages;
    uint64_t charge;
    uint32_t attempts;
    struct spool_verdict verdict;
};

static inline int64_t lane_first_key(const struct lane *lane)
{
    return (int64_t)lane->number << SPOOL_ID_BITS;
}

static inline int64_t lane_last_key(const struct lane *lane)
{
    return lane_first_key(lane) | (int64_t)SPOOL_ID_MAX;
}

static inline struct stmt *spool_stmt(struct spool *spool, enum stmt_id id)
{
    return &spool->stmts.all[id];
}

static inline int64_t spool_clock_ms(struct spool *spool, const struct spool_time *now)
{
    return spool_clock_read(&spool->clock, now, spool->last_id);
}

/* What each file offers to those above it, from the lowest to the highest. append.c, handout.c,
 * commit.c, stats.c, check.c, restore.c and open.c stand on these and offer nothing. */

/* connection.c */
MUST_CHECK int spool_result(struct spool *spool, int sqlite_rc);
/* The one number of a statement without parameters; 0 where there is no row. */
MUST_CHECK int spool_read_number(struct spool *spool, enum stmt_id id, uint64_t *ret);
__attribute__((format(printf, 3, 4))) int
spool_fail(struct spool *spool, int error, const char *format, ...);
/* Notes why there is no room. Return: SPOOL_E_DISK. */
int spool_note_full(struct spool *spool, int error);
/* The survey for one who only looks. */
MUST_CHECK int spool_explain_unread(struct spool *spool);
/* What the mark has to say of the database as it stands. */
struct mark spool_get_mark(const struct spool *spool);
MUST_CHECK int spool_note_mark(const struct spool *spool);
/* Frees the read snapshot that spool_next() may hold. */
void spool_end_scan(struct spool *spool);
/* Waits for no reader, and does not cut the file. */
MUST_CHECK int spool_checkpoint_passive(struct spool *spool);

/* examine.c */
/* Errors of the file's content are a condition at open, not the end of the process. */
MUST_CHECK int examine_result(struct spool *spool, int sqlite_rc);
/* Before anything is written. Return: 0; SPOOL_E_DAMAGED; negative errno. */
MUST_CHECK int examine(struct spool *spool, const struct mark *mark);

/* successor.c; @name: SALVAGED_NAME or RESTORED_NAME. Return: 0: it may take the place of the
 * database; SPOOL_E_DAMAGED: it may not, for what @words say; -ENOMEM. */
MUST_CHECK int
successor_judge(int directory_fd, const char *directory, const char *name, char *words);

/* lock.c */
MUST_CHECK int spool_open_directory(const char *directory, bool create, int *ret_fd);
/* Is each file of the spool a regular one, and can SQLite open it? */
MUST_CHECK int spool_look_at_names(struct spool *spool, const char *directory);
/* Locks the directory and the file in it. Return: 0; SPOOL_E_LOCKED; negative errno. */
MUST_CHECK int spool_take_locks(int directory_fd, int *ret_lock_fd);
/* The same for the writer, with an error text. */
MUST_CHECK int spool_take_lock(struct spool *spool);

/* charge.c: record_charge() of SQL adds to @tally, too; NULL: it does not. */
MUST_CHECK int charge_register(sqlite3 *db, uint64_t *tally);

/* schema.c; the database is closed and left as it was unless 0 comes back */
MUST_CHECK int schema_create(const char *directory, int directory_fd, char *words);
MUST_CHECK int schema_probe(int directory_fd, char *words);
/* Does a regular file have that name, and the head of a spool? */
bool schema_is_ours(int directory_fd, const char *name);
/* Does the head of the database, which is ours, say so? */
bool schema_is_in_wal_mode(int directory_fd);
/* SQLITE_SCHEMA: it is newer than schema_known(). */
MUST_CHECK int schema_check(sqlite3 *db, int *ret_version);
int schema_known(void);
MUST_CHECK int schema_migrate(sqlite3 *db, int version);
/* Tables in a database that is new. */
MUST_CHECK int schema_lay_out(sqlite3 *db);
void schema_remove_leftovers(int directory_fd);
/* After a directory was made. */
MUST_CHECK int schema_sync_parent(int directory_fd, char *words);
/* What a new database failed with, in words. Return: SPOOL_E_DISK; negative errno. */
MUST_CHECK int schema_tell(sqlite3 *db, int rc, char *words);

/* turns.c */
enum { TURNS_PLACES = 8 }; /* docs/design.md and the manual say eight of nine */
MUST_CHECK int turns_new(struct lane *lanes, size_t count, struct turns *ret);
void turns_done(struct turns *turns);
/* Counts the place of the newest message, which was kept. */
void turns_count_place(struct turns *turns);
/* The message came back: its place does not count if it was the newest. */
void turns_give_back(struct turns *turns, uint64_t id);

/* lanes.c */
struct lane *lanes_find(const struct spool *spool, const char *name);
MUST_CHECK int lanes_add(struct spool *spool, const char *name, struct lane **ret);
MUST_CHECK int
lanes_add_configured(struct spool *spool, const struct spool_lane *lanes, size_t count);
/* In the transaction of the open: forgets and numbers lanes; ledger_write() stores them. */
MUST_CHECK int lanes_settle(struct spool *spool);

/* ledger.c */
MUST_CHECK int ledger_refresh(struct spool *spool);
/* Do the counters agree with each other, and with the ends of the tables? */
MUST_CHECK int ledger_verify(struct spool *spool);
MUST_CHECK int ledger_load_state(struct spool *spool, struct spool_clock_state *ret);
MUST_CHECK int ledger_write(struct spool *spool);
void ledger_commit(struct spool *spool);
void ledger_rollback(struct spool *spool);
struct spool_ledger ledger_from_counters(const struct spool_counters *counters);

/* batch.c */
/* Opens the batch when none is open. */
MUST_CHECK int spool_begin(struct spool *spool);
/* Forgets the open batch and brings all memory back to the last commit. */
MUST_CHECK int spool_rollback(struct spool *spool);
/* Rolls back in the middle of a batch, if one is open; who appended to it learns so from the
 * commit. Return: @condition, a positive one, or what went wrong with that. */
MUST_CHECK int spool_lose_batch_for(struct spool *spool, int condition);
/* After a commit or a rollback. */
void spool_end_batch(struct spool *spool);
/* Retention looks at all messages again. */
void spool_forget_due_times(struct spool *spool);

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
void room_took(struct spool *spool, uint64_t charge);
/* Takes the disk space that moving the WAL will need, before the commit. 0; SPOOL_E_DISK. */
MUST_CHECK int room_allocate(struct spool *spool);
/* After a write that had no room: is there any for more? Says so to room_for(). */
MUST_CHECK int room_try(struct spool *spool);

/* outcome.c */
MUST_CHECK int outcome_prune(struct spool *spool, const struct spool_time *now);
/* After the state was loaded: what of it is not in the table. */
MUST_CHECK int outcome_load(struct spool *spool);
/* Do rows wait that a commit would remove? */
bool outcome_has_surplus(const struct spool *spool);

/* shift.c; only if the clock is to jump */
/* In the transaction of the commit. */
MUST_CHECK int shift_new_messages(struct spool *spool);
/* After it: the same for what is in memory. */
void shift_plans(struct spool *spool);
/* What @clock is by that commit. */
void shift_clock(const struct spool *spool, struct spool_clock *clock);

#endif
