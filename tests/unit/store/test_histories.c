/* SPDX-License-Identifier: MIT */
/*
 * test_histories.c - whatever happens to a spool, in any order, held against a model
 *
 * A history is some thousand random steps: messages come, go out, come back, end; the link
 * comes and goes; lanes and limits change; the disk is short, or full; others lock the
 * database; clocks are wrong; the daemon stops or is killed, with or without a reboot, and
 * the spool is salvaged though it is sound. Meanwhile: only what is committed and waits goes
 * out, and only once at a time, with the number that it has in its lane and the closings
 * that were counted of it; each accepted message ends once, in its lane, with a seq of
 * its own, and nothing else ends; the ledger is the model's. In the end all goes out, and
 * nothing is left.
 *
 * Seeds are printed; SPOOL_TEST_SEED repeats one. SPOOLD_LONG=1: many histories, and longer
 * ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the above */
#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>

#include "base/view.h"
#include "store/spool.h"
#include "tests/support/fault_io.h"
#include "tests/support/spool_fixture.h"

enum {
    HISTORIES = 6,
    STEPS = 1500,
    HISTORIES_LONG = 300,
    STEPS_LONG = 5000,
    IDS = 1 << 16,
    NAMES = 7,
    WINDOW = 200,
    KEPT_LISTED = 64, /* more than are ever kept */
    RESERVE = 16 << 20,
};

static const char *const names[NAMES] = {"default", "a", "b", "c", "d", "e", "f"};

/* ---- the disk ---- */

static uint64_t disk_free;

int fstatvfs(int fd, struct statvfs *ret)
{
    (void)fd;
    *ret = (struct statvfs){.f_frsize = 1, .f_bavail = disk_free};
    return 0;
}

static void fill_disk(const struct fixture *f, bool is_full)
{
    fault_io_arm(f->directory, FAULT_WRITE | FAULT_TRUNCATE, is_full, 0, ENOSPC);
}

/* ---- the model ---- */

/* As it will be, and as the last commit left it. */
struct twice {
    unsigned working;
    unsigned committed;
};

enum fate { NOWHERE, IN_BATCH, WAITING, IN_FLIGHT, SETTLED, ENDED };

struct model {
    struct fixture *f;
    uint64_t random;
    unsigned seed;
    unsigned step;
    struct spool_lane lanes[NAMES]; /* as configured */
    size_t lane_count;
    const char *lane[IDS]; /* by id */
    unsigned char fate[IDS];
    unsigned number[IDS];         /* within its lane */
    struct twice numbered[NAMES]; /* by lane */
    struct twice closings[IDS];
    uint64_t window[WINDOW]; /* what is in flight */
    unsigned window_count;
    struct spool_ended history[IDS]; /* as the audit file has it: by seq - 1 */
    size_t history_from;             /* and from where a salvage gets it */
    uint64_t last_id;
    uint64_t last_seq;
    uint64_t accepted;
    uint64_t ended[SPOOL_OUTCOMES];
    uint64_t origin[IDS]; /* which rejected message it was, or 0 */
    uint64_t kept;        /* rejected messages that are kept, */
    uint64_t taken;       /* of them, requeued in the open batch, */
    uint64_t rejected;    /* and those of the commit that is compared */
    bool has_room;        /* since the commit before */
    unsigned boot;
    bool is_short;
    bool is_full;
    bool is_offline; /* nothing goes out: a backlog grows */
    sqlite3 *lock;
};

/* What came up at all. */
static struct {
    uint64_t accepted, ended[SPOOL_OUTCOMES];
    unsigned for_disk, lost_batches, locked, salvages, forgotten, suspects, requeued;
    uint64_t kept;
} totals;

static unsigned roll(struct model *m, unsigned sides)
{
    m->random ^= m->random << 13;
    m->random ^= m->random >> 7;
    m->random ^= m->random << 17;
    return (unsigned)(m->random >> 16) % sides;
}

/* What must be so. */
static void hold(const struct model *m, bool is_so, const char *what, int64_t number)
{
    if (is_so)
        return;
    print_error("SPOOL_TEST_SEED=%u, step %u: %s: %lld; %s\n", m->seed, m->step, what,
                (long long)number, m->f->spool ? spool_error(m->f->spool) : spool_open_error());
    fail();
}

static void roll_lanes(struct model *m)
{
    unsigned order[NAMES] = {0, 1, 2, 3, 4, 5, 6};
    for (unsigned i = NAMES - 1; i > 1; i--) {
        unsigned other = 1 + roll(m, i);
        unsigned kept = order[i];
        order[i] = order[other];
        order[other] = kept;
    }
    m->lane_count = 1 + roll(m, NAMES);
    for (size_t i = 0; i < m->lane_count; i++)
        m->lanes[i] = (struct spool_lane){
            .name = names[order[i]],
            .priority = (int)roll(m, 3),
            .drain = roll(m, 2) ? SPOOL_LIVE_FIRST : SPOOL_FIFO,
            .limits = {.max_messages = roll(m, 4) ? 20 + roll(m, 500) : IDS,
                       .max_bytes = roll(m, 4) ? 5000 + roll(m, 200000) : 1 << 30,
                       .max_age_ms = roll(m, 3) ? 10000 + roll(m, 100000) : UINT64_MAX,
                       .when_full = roll(m, 3) ? SPOOL_EVICT_OLDEST : SPOOL_REFUSE},
        };
    m->f->options.lanes = m->lanes;
    m->f->options.lane_count = m->lane_count;
    m->f->options.segment_rows = 2 + roll(m, 40);
    m->f->options.segment_backlog = roll(m, 4) ? 10 + roll(m, 300) : SPOOL_NO_SEGMENTS;
}

/* ---- what is on record ---- */

static int note_record(void *context, const struct spool_record *record)
{
    struct model *m = context;
    uint64_t id = record->id;
    hold(m, record->seq == m->last_seq + 1, "a seq is missing before", (int64_t)record->seq);
    hold(m, id < IDS && (m->fate[id] == WAITING || m->fate[id] == SETTLED),
         "what ends was not there, or in flight, or has ended", (int64_t)id);
    hold(m,
         (m->fate[id] == SETTLED) ==
             (record->outcome == SPOOL_DELIVERED || record->outcome == SPOOL_REJECTED),
         "it ended otherwise than it should", (int64_t)id);
    hold(m, strcmp(record->lane, m->lane[id]) == 0, "it is in another lane", (int64_t)id);
    hold(m, record->requeued_from == m->origin[id], "it was another one",
         (int64_t)record->requeued_from);
    m->fate[id] = ENDED;
    m->rejected += record->outcome == SPOOL_REJECTED;
    totals.ended[record->outcome]++;
    m->ended[record->outcome]++;
    totals.for_disk += record->reason == SPOOL_REASON_DISK;
    m->history[m->last_seq++] = (struct spool_ended){
        .seq = record->seq, .id = id, .outcome = record->outcome, .lane = m->lane[id]};
    return 0;
}

/* All that was rejected is kept, up to the limit; none of it where there was no room. */
static void compare_kept(struct model *m, const struct spool_stats *stats)
{
    uint64_t limit = m->f->options.kept.max_messages;
    uint64_t most = m->kept + m->rejected < limit ? m->kept + m->rejected : limit;
    uint64_t least = m->has_room ? most : m->kept < limit ? m->kept : limit;

    hold(m, stats->kept_messages >= least && stats->kept_messages <= most, "kept",
         (int64_t)stats->kept_messages);
    m->kept = stats->kept_messages;
    m->rejected = 0;
    totals.kept += most == limit ? 0 : m->kept;
}

static void compare(struct model *m)
{
    struct spool *spool = m->f->spool;
    struct spool_ledger ledger;
    struct spool_stats stats;
    int r = spool_each_record(spool, m->last_seq, false, 0, note_record, m);
    hold(m, r == 0, "spool_each_record", r);
    hold(m, spool_last_seq(spool) == m->last_seq, "last seq", (int64_t)m->last_seq);
    r = spool_get_ledger(spool, &ledger);
    hold(m, r == 0 && spool_ledger_balances(&ledger), "the ledger does not balance", r);
    hold(m, ledger.accepted == m->accepted, "accepted", (int64_t)ledger.accepted);
    for (int i = 0; i < SPOOL_OUTCOMES; i++)
        hold(m, ledger.ended[i] == m->ended[i], spool_outcome_name((enum spool_outcome)i),
             (int64_t)ledger.ended[i]);
    hold(m, ledger.spooled == m->accepted - m->last_seq, "spooled", (int64_t)ledger.spooled);
    r = spool_get_stats(spool, &m->f->now, &stats);
    hold(m, r == 0 && stats.in_flight == m->window_count, "in flight",
         (int64_t)stats.in_flight);
    compare_kept(m, &stats);
}

static void tell_finding(void *context, enum spool_part part, const char *text)
{
    const struct model *m = context;
    print_error("%s\n", text);
    hold(m, false, "spool_check", part);
}

static void check_at_rest(struct model *m)
{
    struct spool *reader;
    int r = spool_open_reader(m->f->directory, &reader);
    hold(m, r == 0, "spool_open_reader", r);
    r = spool_check(reader, tell_finding, m);
    hold(m, r == 0, "spool_check", r);
    spool_close(reader);
}

/* ---- steps ---- */

static unsigned index_of(const char *lane)
{
    unsigned at = 0;
    while (strcmp(names[at], lane) != 0)
        at++;
    return at;
}

static void end_numbers(struct model *m, bool is_committed)
{
    for (unsigned i = 0; i < NAMES; i++) {
        struct twice *numbered = &m->numbered[i];
        if (is_committed)
            numbered->committed = numbered->working;
        else
            numbered->working = numbered->committed;
    }
}

/* Closings outlive a batch that is lost: a commit writes them whatever else it writes. */
static void end_closings(struct model *m, bool is_committed)
{
    for (uint64_t id = 1; id <= m->last_id; id++) {
        struct twice *closings = &m->closings[id];
        if (is_committed)
            closings->committed = closings->working;
        else
            closings->working = closings->committed;
    }
}

static void end_batch(struct model *m, enum fate fate)
{
    for (uint64_t id = m->last_id; id > 0 && m->fate[id] <= IN_BATCH; id--) {
        m->accepted += m->fate[id] == IN_BATCH && fate == WAITING;
        if (m->fate[id] == IN_BATCH)
            m->fate[id] = (unsigned char)fate;
    }
}

static void step_commit(struct model *m)
{
    int r = spool_commit(m->f->spool, &m->f->now);
    hold(m, r == 0 || r == SPOOL_E_DISK || r == SPOOL_E_BUSY, "spool_commit", r);
    m->has_room &= r != SPOOL_E_DISK;
    totals.lost_batches += r == SPOOL_E_DISK;
    totals.locked += r == SPOOL_E_BUSY;
    end_batch(m, r == 0 ? WAITING : NOWHERE);
    end_numbers(m, r == 0);
    m->kept -= r == 0 ? m->taken : 0;
    m->taken = 0;
    if (r == 0) {
        end_closings(m, true);
        compare(m);
        m->has_room = !m->is_short && !m->is_full;
    }
}

/* @origin: which message it was; 0: it is new. */
static void note_append(struct model *m, uint64_t id, const char *lane, uint64_t origin)
{
    hold(m, id < IDS && m->fate[id] == NOWHERE, "an id comes again", (int64_t)id);
    m->fate[id] = IN_BATCH;
    m->lane[id] = lane;
    m->number[id] = ++m->numbered[index_of(lane)].working;
    m->origin[id] = origin;
    m->last_id = id;
}

/* Return: was there room for the last one? */
static bool step_append(struct model *m)
{
    static const char bytes[8000];
    bool is_accepted = false;
    for (unsigned n = 1 + roll(m, 10); n > 0; n--) {
        unsigned lane = roll(m, (unsigned)m->lane_count);
        uint64_t id = 0;
        struct spool_message message = make_message("");
        message.lane = lane;
        message.payload = view_of(bytes, roll(m, roll(m, 4) ? 300 : sizeof(bytes)));
        message.expiry_ms = roll(m, 5) ? SPOOL_NO_EXPIRY : (int64_t)roll(m, 20000);
        int r = spool_append(m->f->spool, &message, &m->f->now, &id);
        hold(m, r >= 0, "spool_append", r);
        is_accepted = r == 0;
        if (!is_accepted)
            continue;
        note_append(m, id, m->lanes[lane].name, 0);
    }
    return is_accepted;
}

static void step_next(struct model *m)
{
    for (unsigned n = 1 + roll(m, 30); n > 0 && m->window_count < WINDOW; n--) {
        struct spool_message message;
        if (m->is_offline)
            return;
        int r = spool_next(m->f->spool, &m->f->now, &message);
        if (r == SPOOL_E_EMPTY)
            return;
        hold(m, r == 0, "spool_next", r);
        hold(m, message.id < IDS && m->fate[message.id] == WAITING,
             "what goes out does not wait", (int64_t)message.id);
        hold(m, message.number == m->number[message.id], "it has another number",
             (int64_t)message.number);
        hold(m, strcmp(message.lane_name, m->lane[message.id]) == 0, "it has another lane",
             (int64_t)message.id);
        hold(m, message.closings == m->closings[message.id].working, "closings",
             message.closings);
        totals.suspects += message.closings > 0;
        hold(m, message.expiry_ms > 0 || message.expiry_ms == SPOOL_NO_EXPIRY, "it has expired",
             message.expiry_ms);
        m->fate[message.id] = IN_FLIGHT;
        m->window[m->window_count++] = message.id;
    }
}

static void answer(struct model *m, uint64_t id)
{
    static const struct spool_verdict verdicts[] = {
        {SPOOL_DELIVERED, SPOOL_REASON_NONE, SPOOL_NO_CODE},
        {SPOOL_REJECTED, SPOOL_REASON_REASON_CODE, 0x87},
    };
    struct spool *spool = m->f->spool;
    bool is_final = roll(m, 4) > 0;
    unsigned closings = 0;
    if (roll(m, 20) == 0)
        hold(m,
             spool_count_closing(spool, id, &closings) == 0 &&
                 closings == ++m->closings[id].working,
             "closings", (int64_t)id);
    int r = is_final ? spool_settle(spool, id, &verdicts[roll(m, 10) == 0], m->f->now.boot_ms)
                     : spool_return(spool, id, roll(m, 2) * (m->f->now.boot_ms + roll(m, 500)));
    hold(m, r == 0, "an answer for what is in flight", r);
    m->fate[id] = is_final ? SETTLED : WAITING;
}

/* Mostly in order. */
static void step_answers(struct model *m)
{
    for (unsigned n = roll(m, m->window_count + 1); n > 0; n--) {
        unsigned at = roll(m, 3) ? 0 : roll(m, m->window_count);
        answer(m, m->window[at]);
        m->window_count--;
        memmove(m->window + at, m->window + at + 1,
                (m->window_count - at) * sizeof(*m->window));
    }
}

static void step_retain(struct model *m)
{
    unsigned ended;
    bool more;
    int r = spool_retain(m->f->spool, &m->f->now, roll(m, 50), &ended, &more);
    hold(m, r >= 0, "spool_retain", r);
    if (roll(m, 2))
        step_commit(m);
}

/* What is dropped ends with the commit, as what retention ends. */
static void step_drop(struct model *m)
{
    const struct spool_selection wanted = {.lane = roll(m, 3) ? names[roll(m, NAMES)] : NULL,
                                           .older_than_ms = roll(m, 2) * roll(m, 20000)};
    struct spool_changes changes = {0};
    struct spool_select *select = NULL;
    int r = spool_select_new(m->f->spool, SPOOL_PLACE_SPOOLED, &wanted, &select);
    hold(m, r == 0, "spool_select_new", r);
    for (unsigned n = 1 + roll(m, 4); n > 0 && r >= 0; n--) {
        r = spool_select_drop(select, &m->f->now, roll(m, 4) == 0, &changes);
        if (roll(m, 2))
            step_commit(m);
    }
    hold(m, r >= 0, "spool_select_drop", r);
    hold(m, changes.matched == changes.changed + changes.in_flight, "matched",
         (int64_t)changes.matched);
    spool_select_free(select);
}

/* Of these, in this order. Return: how many. */
static unsigned list_kept(struct model *m,
                          const struct spool_selection *wanted,
                          uint64_t origins[static KEPT_LISTED],
                          const char *lane_names[static KEPT_LISTED])
{
    struct spool_select *select = NULL;
    struct spool_selected selected;
    unsigned count = 0;
    int r = spool_select_new(m->f->spool, SPOOL_PLACE_KEPT, wanted, &select);
    hold(m, r == 0, "spool_select_new", r);
    while ((r = spool_select_next(select, &m->f->now, true, &selected)) != SPOOL_E_EMPTY) {
        hold(m, r == 0 || r == SPOOL_E_AGAIN, "spool_select_next", r);
        if (r != 0 || selected.message.expiry_ms == 0 || count == KEPT_LISTED)
            continue;
        hold(m, strcmp(selected.message.lane_name, m->lane[selected.message.id]) == 0,
             "it is kept in another lane", (int64_t)selected.message.id);
        lane_names[count] = m->lanes[selected.message.lane].name;
        origins[count++] = selected.message.id;
    }
    spool_select_free(select);
    return count;
}

/* All that can be in one step. The ids follow that of the last message. */
static void step_requeue(struct model *m)
{
    if (!step_append(m))
        return;
    uint64_t origins[KEPT_LISTED];
    const char *lane_names[KEPT_LISTED];
    const struct spool_selection wanted = {.lane = roll(m, 3) ? names[roll(m, NAMES)] : NULL};
    struct spool_changes changes = {0};
    struct spool_select *select = NULL;
    unsigned count = list_kept(m, &wanted, origins, lane_names);
    int r = spool_select_new(m->f->spool, SPOOL_PLACE_KEPT, &wanted, &select);
    hold(m, r == 0, "spool_select_new", r);
    r = spool_select_requeue(select, &m->f->now, false, &changes);
    hold(m, r > 0, "spool_select_requeue", r);
    hold(m, changes.changed <= count && changes.changed <= changes.matched, "requeued",
         (int64_t)changes.changed);
    for (unsigned i = 0; i < changes.changed; i++)
        note_append(m, m->last_id + 1, lane_names[i], origins[i]);
    m->taken += changes.changed;
    totals.requeued += (unsigned)changes.changed;
    spool_select_free(select);
    if (roll(m, 2))
        step_commit(m);
}

static void step_lanes(struct model *m)
{
    roll_lanes(m);
    int r = spool_set_lanes(m->f->spool, m->lanes, m->lane_count);
    hold(m, r == 0, "spool_set_lanes", r);
}

static void set_disk(struct model *m, bool is_short, bool is_full)
{
    m->is_short = is_short;
    m->is_full = is_full;
    m->has_room &= !is_short && !is_full;
    disk_free = is_short ? roll(m, 2) * (RESERVE + roll(m, 200000)) : UINT64_C(1) << 40;
    fill_disk(m->f, is_full);
}

static void step_upkeep(struct model *m)
{
    spool_set_keep(m->f->spool, roll(m, 100000));
    spool_set_exported(m->f->spool, m->last_seq);
    int r = spool_checkpoint(m->f->spool);
    hold(m, r == 0, "spool_checkpoint", r);
}

static void unlock(struct model *m)
{
    (void)sqlite3_close(m->lock); /* rolls back; NULL is accepted */
    m->lock = NULL;
}

/* Another process locks the database for a while, when no batch is open. */
static void step_lock(struct model *m)
{
    char path[128];
    if (m->lock) {
        unlock(m);
        return;
    }
    (void)snprintf(path, sizeof(path), "%s/spool.db", m->f->directory);
    hold(m, sqlite3_open(path, &m->lock) == SQLITE_OK, "sqlite3_open", 0);
    if (sqlite3_exec(m->lock, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
        unlock(m);
}

static void step_link(struct model *m)
{
    m->is_offline = !m->is_offline;
    if (!m->is_offline)
        spool_begin_live(m->f->spool);
}

static void step_clock(struct model *m)
{
    m->f->now.wall_credible = roll(m, 2);
    if (roll(m, 3) == 0)
        m->f->now.wall_ms += (int64_t)roll(m, 20000000) - 1000000;
}

/* ---- a stop, or a kill ---- */

static int read_history(void *owner, spool_ended_fn *fn, void *context)
{
    const struct model *m = owner;
    int r = 0;
    for (size_t i = m->history_from; i < m->last_seq && r == 0; i++)
        r = fn(context, &m->history[i]);
    return r;
}

static void remove_aside(const struct model *m, const char *name)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < 3; i++) {
        char path[192];
        (void)snprintf(path, sizeof(path), "%s/%s%s", m->f->directory, name, suffixes[i]);
        (void)unlink(path);
    }
}

/* Of what is sound nothing is lost, however little of the audit file is left. */
static void salvage(struct model *m)
{
    const struct spool_history history = {read_history, m};
    struct spool_salvage result;
    m->history_from = roll(m, 2) ? 0 : roll(m, (unsigned)m->last_seq + 1);
    int r = spool_salvage(&m->f->options, roll(m, 3) ? &history : NULL, &result);
    hold(m, r == 0, "spool_salvage", r);
    hold(m, result.salvaged == m->accepted - m->last_seq, "salvaged", (int64_t)result.salvaged);
    hold(m, result.damaged == 0, "damaged by the salvage", (int64_t)result.damaged);
    hold(m, result.kept_lost == 0, "kept and lost by the salvage", (int64_t)result.kept_lost);
    remove_aside(m, result.moved_to);
    memset(m->closings, 0, sizeof(m->closings)); /* a salvage does not keep them, */
    memset(m->origin, 0, sizeof(m->origin));     /* nor these */
    totals.salvages++;
}

/* A lane that was forgotten begins again. */
static void note_forgotten(struct model *m)
{
    bool is_known[NAMES] = {false};
    for (unsigned i = 0; i < spool_lane_count(m->f->spool); i++) {
        struct spool_lane_stats stats;
        int r = spool_get_lane_stats(m->f->spool, i, &m->f->now, &stats);
        hold(m, r == 0, "spool_get_lane_stats", r);
        is_known[index_of(stats.name)] = true;
    }
    for (unsigned i = 0; i < NAMES; i++) {
        if (is_known[i])
            continue;
        totals.forgotten += m->numbered[i].committed > 0;
        m->numbered[i] = (struct twice){0};
    }
}

static void start(struct model *m)
{
    struct fixture *f = m->f;
    f->options.disk_reserve = RESERVE;
    f->options.keep_failures_count = 50 + roll(m, 500);
    f->options.keep_failures_ms = roll(m, 2) ? 5000 : 1000000000;
    f->options.now = f->now;
    (void)snprintf(f->options.boot_id, sizeof(f->options.boot_id), "boot %u", m->boot);
    int r = spool_open(&f->options, &f->spool);
    hold(m, r == 0, "spool_open", r);
    spool_set_busy_wait(f->spool, 0);
    note_forgotten(m);
    compare(m);
}

static void reboot(struct model *m)
{
    m->boot++;
    m->f->now.boot_ms = roll(m, 100000);
    m->f->now.wall_ms += roll(m, 3000000);
    m->f->now.wall_credible = roll(m, 2);
}

static void step_restart(struct model *m)
{
    unlock(m);
    if (roll(m, 2))
        step_commit(m);
    end_batch(m, NOWHERE);
    end_numbers(m, false);
    end_closings(m, false);
    m->taken = 0;
    close_spool(m->f);
    m->window_count = 0;
    for (uint64_t id = 1; id <= m->last_id; id++) {
        if (m->fate[id] == IN_FLIGHT || m->fate[id] == SETTLED)
            m->fate[id] = WAITING;
    }
    set_disk(m, false, false);
    check_at_rest(m);
    if (roll(m, 2))
        reboot(m);
    if (roll(m, 2))
        roll_lanes(m);
    if (roll(m, 3) == 0)
        salvage(m);
    start(m);
}

static void step(struct model *m)
{
    unsigned what = roll(m, 1000);
    pass_time(m->f, roll(m, 30));
    if (what < 350)
        (void)step_append(m);
    else if (what < 600)
        step_next(m);
    else if (what < 800)
        step_answers(m);
    else if (what < 880)
        step_retain(m);
    else if (what < 940)
        step_commit(m);
    else if (what < 943)
        step_upkeep(m);
    else if (what < 945)
        step_drop(m);
    else if (what < 947)
        step_requeue(m);
    else if (what < 950)
        step_lanes(m);
    else if (what < 960)
        set_disk(m, !m->is_short, m->is_full);
    else if (what < 975)
        set_disk(m, m->is_short, !m->is_full && roll(m, 2));
    else if (what < 980)
        step_link(m);
    else if (what < 985)
        step_lock(m);
    else if (what < 990)
        step_clock(m);
    else if (what < 995)
        step_restart(m);
}

/* All that waits goes out, or has expired; nothing is left. */
static void drain(struct model *m)
{
    static const struct spool_verdict delivered = {SPOOL_DELIVERED, SPOOL_REASON_NONE,
                                                   SPOOL_NO_CODE};
    unlock(m);
    set_disk(m, false, false);
    m->is_offline = false;
    step_commit(m);
    while (m->window_count > 0) {
        uint64_t id = m->window[--m->window_count];
        hold(m, spool_return(m->f->spool, id, 0) == 0, "spool_return", (int64_t)id);
        m->fate[id] = WAITING;
    }
    pass_time(m->f, 1000);
    for (uint64_t left = m->accepted - m->last_seq, before = left + 1; left < before;) {
        before = left;
        for (unsigned i = 0; i < 50; i++)
            step_next(m);
        while (m->window_count > 0) {
            uint64_t id = m->window[--m->window_count];
            hold(m, spool_settle(m->f->spool, id, &delivered, m->f->now.boot_ms) == 0,
                 "spool_settle", (int64_t)id);
            m->fate[id] = SETTLED;
        }
        step_commit(m);
        left = m->accepted - m->last_seq;
    }
    hold(m, m->accepted == m->last_seq, "left", (int64_t)(m->accepted - m->last_seq));
    close_spool(m->f);
    check_at_rest(m);
}

static void empty_folder(struct fixture *f)
{
    assert_int_equal(nftw(f->directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
    assert_int_equal(mkdir(f->directory, 0700), 0);
}

static void run_history(struct fixture *f, unsigned seed, unsigned steps)
{
    static struct model model;
    struct model *m = &model;
    *m =
        (struct model){.f = f, .seed = seed, .random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1};
    empty_folder(f);
    roll_lanes(m);
    f->options.kept = (struct spool_kept_limits){roll(m, 3) * 20, UINT64_MAX, UINT64_MAX};
    set_disk(m, false, false);
    start(m);
    for (m->step = 1; m->step <= steps && m->last_id < IDS - 64; m->step++)
        step(m);
    drain(m);
    totals.accepted += m->accepted;
}

static void in_any_history_each_message_ends_once_and_nothing_is_lost(void **state)
{
    struct fixture *f = *state;
    const char *given = getenv("SPOOL_TEST_SEED");
    bool is_long = getenv("SPOOLD_LONG") != NULL;
    unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
    unsigned count = given ? 1 : is_long ? HISTORIES_LONG : HISTORIES;
    print_message("# SPOOL_TEST_SEED=%u and the next %u\n", seed, count - 1);
    for (unsigned i = 0; i < count; i++)
        run_history(f, seed + i, is_long ? STEPS_LONG : STEPS);
    fault_io_disarm();
    print_message(
        "# accepted %llu: delivered %llu, evicted %llu (%u for the disk), expired %llu,"
        " rejected %llu, dropped %llu; batches lost %u, locked out %u, salvages %u, lanes forgotten %u,"
        " kept at times %llu, requeued %u, handed out with closings %u\n",
        (unsigned long long)totals.accepted, (unsigned long long)totals.ended[SPOOL_DELIVERED],
        (unsigned long long)totals.ended[SPOOL_EVICTED], totals.for_disk,
        (unsigned long long)totals.ended[SPOOL_EXPIRED],
        (unsigned long long)totals.ended[SPOOL_REJECTED],
        (unsigned long long)totals.ended[SPOOL_DROPPED], totals.lost_batches, totals.locked,
        totals.salvages, totals.forgotten, (unsigned long long)totals.kept, totals.requeued,
        totals.suspects);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            in_any_history_each_message_ends_once_and_nothing_is_lost, setup_fast, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
