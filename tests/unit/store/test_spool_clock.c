/* SPDX-License-Identifier: MIT */
/*
 * test_spool_clock.c - what ages messages: histories of boots, power cuts and wrong clocks
 *
 * A history is a list of steps under a true time that only the test knows. The
 * spool sees the boot clock, and a wall clock that may say anything while it is
 * not credible. After each step every record is held against the true time:
 * nothing may have ended before its time. Each history ends with what must have
 * gone, or must be left, by then: nothing stays for ever.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdbool.h>

#include "store/spool.h"
#include "tests/support/spool_fixture.h"

#define SECOND    INT64_C(1000)
#define MINUTE    (60 * SECOND)
#define DAY       (24 * HOUR)
#define YEAR      (365 * DAY)
#define MAX_AGE   (7 * DAY)
#define TRUE_TIME INT64_C(1793536496789) /* November 2026 */

enum {
    MESSAGES_MAX = 256,
    STEPS_MAX = 40,
};

enum what {
    NOTHING,
    ACCEPT, /* a message; ms: its expiry, 0: none */
    RUN,    /* time passes, the daemon ticks */
    SLEEP,  /* suspended: the boot clock runs, the daemon does not */
    STEP,   /* the wall clock is moved and stays as credible as it was */
    SET,    /* the wall clock is set to ms by hand and is not credible */
    SYNC,   /* NTP has set the wall clock right */
    DOUBT,  /* NTP was not heard for long: right still, but no longer credible */

    RESTART, /* of the daemon */
    CRASH,   /* the same by SIGKILL */

    OFF,      /* an orderly stop; ms: how long it is off. Then one of the three: */
    CUT,      /* power fails; ms as above */
    BOOT,     /* a clock that runs without power, credible at once */
    BOOT_RTC, /* the same, but not credible yet */
    BOOT_70,  /* 1970 */

    HIDE, /* the boot id, from the next start of the daemon on */
    SHOW,

    AGE,     /* the oldest message is ms old */
    LEFT,    /* ms messages are spooled */
    EVICTED, /* so many by max_age */
    EXPIRED,
    KEPT, /* so many records of failures */
};

struct step {
    enum what what;
    int64_t ms;
};

struct history {
    const char *name;
    struct step steps[STEPS_MAX];
};

struct world {
    const struct history *history;
    struct fixture *f;
    int64_t true_ms;
    int64_t accepted_ms[MESSAGES_MAX];
    int64_t expiry_ms[MESSAGES_MAX];
    uint64_t last_id;
    unsigned boots;
    bool is_hidden;
    uint64_t seed; /* of a random history */
};

/* ---- the daemon, as far as time is concerned ---- */

static void edge(struct world *world)
{
    struct fixture *f = world->f;
    unsigned ended;
    bool more;

    assert_int_equal(spool_retain(f->spool, &f->now, 1000, &ended, &more), 0);
    commit(f);
    spool_set_exported(f->spool, spool_last_seq(f->spool));
}

static void pass(struct world *world, int64_t ms)
{
    world->true_ms += ms;
    pass_time(world->f, ms);
}

static void run(struct world *world, int64_t ms)
{
    int64_t tick = ms > DAY ? HOUR : MINUTE;

    for (; ms > 0; ms -= tick) {
        pass(world, ms < tick ? ms : tick);
        edge(world);
    }
}

static void accept_one(struct world *world, int64_t expiry_ms)
{
    struct fixture *f = world->f;
    struct spool_message message = make_message("payload");
    uint64_t id = 0;

    message.expiry_ms = expiry_ms > 0 ? expiry_ms : SPOOL_NO_EXPIRY;
    assert_int_equal(spool_append(f->spool, &message, &f->now, &id), 0);
    assert_int_equal(id, ++world->last_id);
    assert_true(id < MESSAGES_MAX);
    world->accepted_ms[id] = world->true_ms;
    world->expiry_ms[id] = expiry_ms;
    edge(world);
}

static void stop(struct world *world)
{
    spool_request_clock_write(world->f->spool);
    commit(world->f);
    close_spool(world->f);
}

static void start(struct world *world)
{
    struct fixture *f = world->f;

    (void)snprintf(f->options.boot_id, sizeof(f->options.boot_id),
                   "%08x-0000-0000-0000-000000000000", world->boots);
    if (world->is_hidden)
        f->options.boot_id[0] = '\0';
    open_spool(f);
    edge(world);
}

static void boot(struct world *world, int64_t wall_ms, bool credible)
{
    struct fixture *f = world->f;

    world->boots++;
    world->true_ms += 5 * SECOND; /* until the daemon starts */
    f->now = (struct spool_time){
        .boot_ms = 5 * SECOND, .wall_ms = wall_ms + 5 * SECOND, .wall_credible = credible};
    start(world);
}

/* ---- what must be true after each step ---- */

struct seen {
    const struct world *world;
    unsigned evicted;
    unsigned expired;
    unsigned failures;
};

static int look_at_record(void *context, const struct spool_record *record)
{
    struct seen *seen = context;
    const struct world *world = seen->world;
    int64_t age_ms = world->true_ms - world->accepted_ms[record->id];

    seen->failures += record->outcome != SPOOL_DELIVERED;
    assert_true(record->age_ms <= age_ms);
    if (record->outcome == SPOOL_EVICTED) {
        assert_int_equal(record->reason, SPOOL_REASON_MAX_AGE);
        assert_true(age_ms >= MAX_AGE && record->age_ms >= MAX_AGE);
        seen->evicted++;
    }
    if (record->outcome == SPOOL_EXPIRED) {
        assert_true(age_ms >= world->expiry_ms[record->id]);
        seen->expired++;
    }
    return 0;
}

static struct seen look(struct world *world)
{
    struct seen seen = {.world = world};

    assert_int_equal(spool_each_record(world->f->spool, 0, false, 0, look_at_record, &seen), 0);
    return seen;
}

/* ---- one function a step ---- */

static void suspend(struct world *world, int64_t ms)
{
    pass(world, ms);
    edge(world);
}

static void step_wall(struct world *world, int64_t ms)
{
    world->f->now.wall_ms += ms;
    edge(world);
}

static void set_wall(struct world *world, int64_t ms)
{
    world->f->now.wall_ms = ms;
    world->f->now.wall_credible = false;
    edge(world);
}

/* Limits are held before the commit that moves the clock, so the second edge holds them. */
static void sync_wall(struct world *world, int64_t ms)
{
    (void)ms;
    world->f->now.wall_ms = world->true_ms;
    world->f->now.wall_credible = true;
    edge(world);
    edge(world);
}

static void doubt_wall(struct world *world, int64_t ms)
{
    (void)ms;
    world->f->now.wall_credible = false;
}

static void restart(struct world *world, int64_t ms)
{
    (void)ms;
    stop(world);
    start(world);
}

static void crash(struct world *world, int64_t ms)
{
    (void)ms;
    close_spool(world->f);
    start(world);
}

static void switch_off(struct world *world, int64_t ms)
{
    stop(world);
    world->true_ms += ms;
}

static void cut_power(struct world *world, int64_t ms)
{
    close_spool(world->f);
    world->true_ms += ms;
}

static void boot_credible(struct world *world, int64_t ms)
{
    (void)ms;
    boot(world, world->true_ms, true);
}

static void boot_unsure(struct world *world, int64_t ms)
{
    (void)ms;
    boot(world, world->true_ms, false);
}

static void boot_1970(struct world *world, int64_t ms)
{
    (void)ms;
    boot(world, 0, false);
}

static void hide_boot_id(struct world *world, int64_t ms)
{
    (void)ms;
    world->is_hidden = true;
}

static void show_boot_id(struct world *world, int64_t ms)
{
    (void)ms;
    world->is_hidden = false;
}

static void expect_age(struct world *world, int64_t ms)
{
    assert_int_equal(stats_of(world->f).oldest_age_ms, ms);
}

static void expect_left(struct world *world, int64_t count)
{
    assert_int_equal(stats_of(world->f).messages, count);
}

static void expect_evicted(struct world *world, int64_t count)
{
    assert_int_equal(look(world).evicted, count);
}

static void expect_expired(struct world *world, int64_t count)
{
    assert_int_equal(look(world).expired, count);
}

static void expect_kept(struct world *world, int64_t count)
{
    assert_int_equal(look(world).failures, count);
}

typedef void step_fn(struct world *world, int64_t ms);

static step_fn *const step_fns[] = {
    [ACCEPT] = accept_one,
    [RUN] = run,
    [SLEEP] = suspend,
    [STEP] = step_wall,
    [SET] = set_wall,
    [SYNC] = sync_wall,
    [DOUBT] = doubt_wall,
    [RESTART] = restart,
    [CRASH] = crash,
    [OFF] = switch_off,
    [CUT] = cut_power,
    [BOOT] = boot_credible,
    [BOOT_RTC] = boot_unsure,
    [BOOT_70] = boot_1970,
    [HIDE] = hide_boot_id,
    [SHOW] = show_boot_id,
    [AGE] = expect_age,
    [LEFT] = expect_left,
    [EVICTED] = expect_evicted,
    [EXPIRED] = expect_expired,
    [KEPT] = expect_kept,
};

/* ---- the histories ---- */

#define BOOT_TIME (5 * SECOND) /* from power to the daemon's start */

/* clang-format off */
static const struct history histories[] = {
    {"boot in 1970, set right later: what came before and after it stays its whole time",
     {{BOOT_70, 0}, {ACCEPT, 0}, {RUN, HOUR}, {ACCEPT, DAY}, {RUN, HOUR}, {SYNC, 0},
      {AGE, 2 * HOUR}, {RUN, 6 * DAY}, {LEFT, 1}, {EXPIRED, 1}, {EVICTED, 0},
      {RUN, 22 * HOUR}, {EVICTED, 1}, {LEFT, 0}}},
    {"the same with messages from before the boot: days off count once the clock is right",
     {{BOOT, 0}, {ACCEPT, 0}, {ACCEPT, 10 * DAY}, {OFF, 3 * DAY}, {BOOT_70, 0},
      {AGE, BOOT_TIME}, {ACCEPT, 4 * DAY}, {RUN, HOUR}, {LEFT, 3}, {SYNC, 0},
      {AGE, 3 * DAY + HOUR + BOOT_TIME}, {LEFT, 3}, {RUN, 3 * DAY + 20 * HOUR}, {LEFT, 3},
      {RUN, 4 * HOUR}, {EVICTED, 2}, {EXPIRED, 1}, {LEFT, 0}}},
    {"off longer than max_age: all goes at the sync, what came since the boot stays",
     {{BOOT, 0}, {ACCEPT, 0}, {ACCEPT, DAY}, {OFF, 20 * DAY}, {BOOT_70, 0}, {ACCEPT, 0},
      {ACCEPT, DAY}, {RUN, HOUR}, {LEFT, 4}, {SYNC, 0}, {LEFT, 2}, {EVICTED, 1},
      {EXPIRED, 1}, {AGE, HOUR}, {RUN, DAY}, {EXPIRED, 2}, {RUN, 6 * DAY}, {LEFT, 0}}},
    {"a clock with a battery, credible at the boot: days off count at once",
     {{BOOT, 0}, {ACCEPT, 0}, {OFF, 5 * DAY}, {BOOT, 0}, {AGE, 5 * DAY + BOOT_TIME},
      {CUT, 2 * DAY}, {BOOT, 0}, {EVICTED, 1}}},
    {"a right clock that is not credible yet counts nothing",
     {{BOOT, 0}, {ACCEPT, 0}, {OFF, 20 * DAY}, {BOOT_RTC, 0}, {AGE, BOOT_TIME}, {RUN, DAY},
      {LEFT, 1}, {SYNC, 0}, {EVICTED, 1}}},
    {"never credible: time with power counts, over stops, cuts and crashes",
     {{BOOT_70, 0}, {ACCEPT, 0}, {ACCEPT, 2 * DAY}, {RUN, DAY}, {OFF, 30 * DAY},
      {BOOT_70, 0}, {AGE, DAY + BOOT_TIME}, {RUN, DAY}, {EXPIRED, 1}, {CRASH, 0},
      {RUN, DAY}, {RESTART, 0}, {OFF, YEAR}, {BOOT_70, 0}, {RUN, 3 * DAY + 23 * HOUR},
      {LEFT, 1}, {RUN, HOUR}, {EVICTED, 1}}},
    {"NTP steps back and forth while it runs: no message ages",
     {{BOOT, 0}, {ACCEPT, 0}, {ACCEPT, HOUR}, {STEP, -3 * DAY}, {RUN, MINUTE},
      {STEP, 3 * DAY}, {RUN, MINUTE}, {STEP, 56 * YEAR}, {RUN, MINUTE}, {STEP, -56 * YEAR},
      {AGE, 3 * MINUTE}, {LEFT, 2}, {RUN, HOUR}, {EXPIRED, 1}, {RUN, MAX_AGE}, {EVICTED, 1}}},
    {"a step back over a restart and a crash of the daemon",
     {{BOOT, 0}, {ACCEPT, 0}, {STEP, -3 * DAY}, {RESTART, 0}, {STEP, 3 * DAY}, {CRASH, 0},
      {AGE, 0}, {RUN, HOUR}, {AGE, HOUR}}},
    {"stepped by NTP, then off: the newest credible reading counts",
     {{BOOT, 0}, {STEP, -3 * DAY}, {ACCEPT, 0}, {RUN, HOUR}, {STEP, 3 * DAY},
      {OFF, 2 * DAY}, {BOOT, 0}, {AGE, 2 * DAY + HOUR + BOOT_TIME}}},
    {"stepped by NTP, then the power fails before anything else happens",
     {{BOOT, 0}, {STEP, -3 * DAY}, {ACCEPT, 0}, {RUN, HOUR}, {STEP, 3 * DAY}, {RUN, MINUTE},
      {CUT, 2 * DAY}, {BOOT, 0}, {AGE, 2 * DAY + HOUR + MINUTE + BOOT_TIME}}},
    {"set by hand before it goes off: that reading is not believed",
     {{BOOT, 0}, {ACCEPT, 0}, {RUN, HOUR}, {SET, 0}, {RUN, HOUR}, {ACCEPT, 0},
      {OFF, 2 * DAY}, {BOOT_70, 0}, {RUN, HOUR}, {SYNC, 0},
      {AGE, 2 * DAY + 3 * HOUR + BOOT_TIME}, {LEFT, 2}}},
    {"a credible clock that was ahead: one night is not counted, the next one is",
     {{BOOT, 0}, {STEP, 2 * DAY}, {ACCEPT, 0}, {OFF, DAY}, {BOOT, 0}, {AGE, BOOT_TIME},
      {OFF, DAY}, {BOOT, 0}, {AGE, DAY + 2 * BOOT_TIME}}},
    {"NTP unheard for long: the last credible reading of the boot is enough",
     {{BOOT, 0}, {ACCEPT, 0}, {DOUBT, 0}, {RUN, 2 * DAY}, {CUT, DAY}, {BOOT_70, 0},
      {RUN, HOUR}, {SYNC, 0}, {AGE, 3 * DAY + HOUR + BOOT_TIME}}},
    {"many boots in 1970 between two credible clocks",
     {{BOOT, 0}, {ACCEPT, 0}, {ACCEPT, 6 * DAY}, {OFF, DAY}, {BOOT_70, 0}, {ACCEPT, 0},
      {RUN, HOUR}, {CUT, DAY}, {BOOT_70, 0}, {ACCEPT, 0}, {RUN, HOUR}, {OFF, DAY},
      {BOOT_70, 0}, {RUN, HOUR}, {CRASH, 0}, {RESTART, 0}, {LEFT, 4}, {SYNC, 0},
      {AGE, 3 * DAY + 3 * HOUR + 3 * BOOT_TIME}, {RUN, 4 * DAY}, {LEFT, 2}, {RUN, 3 * DAY},
      {LEFT, 0}, {EVICTED, 3}, {EXPIRED, 1}}},
    {"the missing days are remembered while the daemon restarts, and added once",
     {{BOOT, 0}, {ACCEPT, 0}, {OFF, 2 * DAY}, {BOOT_70, 0}, {ACCEPT, 0}, {RESTART, 0},
      {CRASH, 0}, {SYNC, 0}, {AGE, 2 * DAY + BOOT_TIME}, {RESTART, 0}, {CRASH, 0},
      {SYNC, 0}, {AGE, 2 * DAY + BOOT_TIME}, {DOUBT, 0}, {RUN, HOUR}, {SYNC, 0},
      {AGE, 2 * DAY + HOUR + BOOT_TIME}}},
    {"suspended time counts, credible or not",
     {{BOOT_70, 0}, {ACCEPT, 0}, {ACCEPT, DAY}, {SLEEP, 3 * DAY}, {EXPIRED, 1},
      {AGE, 3 * DAY}, {SYNC, 0}, {SLEEP, 3 * DAY}, {LEFT, 1}, {SLEEP, DAY}, {EVICTED, 1}}},
    {"idle for days without a clock, then the power fails: the days are not forgotten",
     {{BOOT_70, 0}, {ACCEPT, 0}, {RUN, 3 * DAY}, {CUT, DAY}, {BOOT_70, 0}, {RUN, 3 * DAY},
      {CUT, DAY}, {BOOT_70, 0}, {RUN, DAY + 2 * HOUR}, {EVICTED, 1}}},
    {"a few minutes of power each day, orderly stopped, never a clock",
     {{BOOT_70, 0}, {ACCEPT, 9 * MINUTE}, {RUN, 3 * MINUTE}, {OFF, DAY}, {BOOT_70, 0},
      {RUN, 3 * MINUTE}, {OFF, DAY}, {BOOT_70, 0}, {RUN, 3 * MINUTE}, {EXPIRED, 1}}},
    {"a few minutes of power at a time, always cut: late, but not for ever",
     {{BOOT_70, 0}, {ACCEPT, 5 * MINUTE}, {RUN, 3 * MINUTE}, {CUT, DAY}, {BOOT_70, 0},
      {RUN, 3 * MINUTE}, {CUT, DAY}, {BOOT_70, 0}, {RUN, 3 * MINUTE}, {CUT, DAY},
      {BOOT_70, 0}, {RUN, 3 * MINUTE}, {EXPIRED, 1}}},
    {"records of failures since the boot are kept their whole time, too",
     {{BOOT, 0}, {ACCEPT, HOUR}, {RUN, 2 * HOUR}, {KEPT, 1}, {OFF, 40 * DAY}, {BOOT_70, 0},
      {ACCEPT, MINUTE}, {ACCEPT, MINUTE}, {RUN, 2 * MINUTE}, {KEPT, 3}, {ACCEPT, 0},
      {SYNC, 0}, {RUN, HOUR}, {KEPT, 2}, {RUN, 31 * DAY}, {ACCEPT, 0}, {KEPT, 1}}},
    {"and so are those of messages from before the boot, over a restart at the sync",
     {{BOOT, 0}, {ACCEPT, DAY}, {ACCEPT, DAY}, {OFF, 40 * DAY}, {BOOT_70, 0},
      {RUN, DAY + HOUR}, {EXPIRED, 2}, {RESTART, 0}, {SYNC, 0}, {RUN, HOUR}, {KEPT, 2},
      {RUN, 31 * DAY}, {ACCEPT, 0}, {KEPT, 1}}},
    {"a kernel without a boot id: a boot clock that went back is another boot",
     {{HIDE, 0}, {BOOT, 0}, {ACCEPT, 0}, {RUN, DAY}, {RESTART, 0}, {RUN, DAY}, {OFF, DAY},
      {BOOT_70, 0}, {RUN, DAY}, {AGE, 3 * DAY + BOOT_TIME}, {RESTART, 0}, {RUN, DAY},
      {AGE, 4 * DAY + BOOT_TIME}, {SYNC, 0}, {AGE, 5 * DAY + BOOT_TIME}}},
    {"a gap that no boot id shows ages no message at a later jump",
     {{HIDE, 0}, {BOOT, 0}, {ACCEPT, 0}, {SHOW, 0}, {OFF, DAY}, {BOOT_70, 0},
      {ACCEPT, 2 * HOUR}, {OFF, HOUR}, {BOOT, 0}, {RUN, MINUTE}, {LEFT, 2}}},
    {"a boot id that is unreadable for once ages no message",
     {{BOOT_70, 0}, {RUN, 6 * DAY}, {ACCEPT, 0}, {RUN, DAY}, {HIDE, 0}, {RESTART, 0},
      {AGE, DAY}, {SHOW, 0}, {RESTART, 0}, {AGE, DAY}, {RUN, HOUR}, {AGE, DAY + HOUR}}},
};
/* clang-format on */

static int begin(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    void *fixture = NULL;

    if (!world || setup_closed(&fixture) != 0)
        return -1;
    world->history = *state;
    world->f = fixture;
    world->true_ms = TRUE_TIME;
    world->f->lane.limits.max_age_ms = MAX_AGE;
    world->f->options.keep_failures_ms = 30 * DAY;
    *state = world;
    return 0;
}

static int end(void **state)
{
    struct world *world = *state;
    void *fixture = world->f;

    free(world);
    return teardown(&fixture);
}

static void run_history(void **state)
{
    struct world *world = *state;

    for (const struct step *step = world->history->steps; step->what != NOTHING; step++) {
        step_fns[step->what](world, step->ms);
        if (world->f->spool)
            look(world);
    }
    ledger_of(world->f);
}

/* ---- random histories ---- */

enum { RANDOM_STEPS = 60 };

static uint64_t below(uint64_t *seed, uint64_t limit)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed % limit;
}

static void random_power_cycle(struct world *world, uint64_t *seed)
{
    static const enum what boots[] = {BOOT, BOOT_RTC, BOOT_70, BOOT_70};
    static const int64_t offs[] = {MINUTE, HOUR, 3 * DAY, 20 * DAY};

    step_fns[below(seed, 2) ? OFF : CUT](world, offs[below(seed, 4)]);
    step_fns[boots[below(seed, 4)]](world, 0);
}

/* A step of NTP is soon followed by the right time: what cannot be known is left out. */
static void random_step(struct world *world, uint64_t *seed)
{
    static const int64_t spans[] = {MINUTE, HOUR, 12 * HOUR, 2 * DAY};
    static const int64_t walls[] = {0, TRUE_TIME - 3 * DAY, TRUE_TIME + 400 * DAY};
    static const enum what others[] = {DOUBT, RESTART, CRASH, HIDE, SHOW};

    switch (below(seed, 8)) {
    case 0:
        random_power_cycle(world, seed);
        break;
    case 1:
        sync_wall(world, 0);
        break;
    case 2:
        set_wall(world, walls[below(seed, 3)]);
        break;
    case 3:
        sync_wall(world, 0);
        step_wall(world, spans[below(seed, 4)] - DAY);
        sync_wall(world, 0);
        break;
    case 4:
        step_fns[below(seed, 2) ? RUN : SLEEP](world, spans[below(seed, 4)]);
        break;
    case 5:
        step_fns[others[below(seed, 5)]](world, 0);
        break;
    default:
        accept_one(world, below(seed, 2) ? spans[below(seed, 4)] : 0);
    }
}

/* look() says that nothing went early; a week after the clock was right at last, nothing is
 * left. */
static void whatever_happens_nothing_goes_early_and_nothing_stays(void **state)
{
    struct world *world = *state;
    uint64_t seed = world->seed;

    boot_1970(world, 0);
    for (int i = 0; i < RANDOM_STEPS; i++) {
        random_step(world, &seed);
        look(world);
    }
    sync_wall(world, 0);
    run(world, MAX_AGE);
    look(world);
    assert_int_equal(stats_of(world->f).messages, 0);
    ledger_of(world->f);
}

static int begin_random(void **state)
{
    static uint64_t seed = 20261123;
    int r = begin(state);

    if (r == 0) {
        struct world *world = *state;
        world->seed = seed++ * UINT64_C(0x9e3779b97f4a7c15);
    }
    return r;
}

/* ---- many messages since a boot in 1970 ---- */

enum { MANY = 10000 };

static void boot_in_1970_with_many(struct fixture *f)
{
    append_many(f, 1);
    spool_request_clock_write(f->spool);
    commit(f);
    close_spool(f);
    f->now = (struct spool_time){.boot_ms = 1000, .wall_ms = 1000};
    memcpy(f->options.boot_id, BOOT_B, sizeof(BOOT_B));
    open_spool(f);
    append_many(f, MANY);
    pass_time(f, HOUR);
    for (uint64_t id = 1; id <= 10; id++)
        assert_int_equal(next_id(f), id);
    assert_int_equal(spool_return(f->spool, 1, 0), 0); /* their ages are in memory, too */
    assert_int_equal(spool_return(f->spool, 5, 0), 0);
    f->now.wall_ms = INT64_C(1700000000000) + 3 * DAY;
    f->now.wall_credible = true;
    (void)stats_of(f);
    assert_true(spool_has_work(f->spool));
}

static unsigned commits_until_quiet(struct fixture *f)
{
    unsigned commits = 0;

    for (; spool_has_work(f->spool) && commits < 100; commits++)
        commit(f);
    return commits;
}

static unsigned retain_once(struct fixture *f)
{
    unsigned ended;
    bool more;

    assert_int_equal(spool_retain(f->spool, &f->now, 2 * MANY, &ended, &more), 0);
    commit(f);
    return ended;
}

/* The first is as old as the days off, all others are an hour old, by max_age. */
static void check_ages(struct fixture *f)
{
    struct spool_limits limits = f->lane.limits;

    assert_in_range(stats_of(f).oldest_age_ms, 3 * DAY - HOUR, 3 * DAY);
    limits.max_age_ms = 2 * (uint64_t)HOUR;
    set_limits(f, limits);
    assert_int_equal(retain_once(f), 1);
    pass_time(f, HOUR - 1);
    assert_int_equal(retain_once(f), 0);
    pass_time(f, 1);
    assert_in_range(retain_once(f), MANY - 10, MANY);
}

static void they_are_moved_in_steps_that_hold_nobody_up(void **state)
{
    struct fixture *f = *state;

    boot_in_1970_with_many(f);
    assert_in_range(commits_until_quiet(f), 3, 20);
    check_ages(f);
}

static void a_crash_between_the_steps_moves_nobody_twice(void **state)
{
    struct fixture *f = *state;

    boot_in_1970_with_many(f);
    for (int i = 0; i < 2; i++) {
        commit(f);
        reopen_spool(f);
        (void)stats_of(f);
        assert_true(spool_has_work(f->spool));
        append_many(f, 1);
    }
    (void)commits_until_quiet(f);
    check_ages(f);
}

static unsigned temporary_files;

static int open_and_look(const char *path, int flags, int mode)
{
    if (strstr(path, "etilqs_"))
        temporary_files++;
    return open(path, flags, mode);
}

/* They are in a folder that is none of the spool's: it may be full, or read-only. */
static void to_move_and_to_evict_many_needs_no_temporary_file(void **state)
{
    struct fixture *f = *state;
    sqlite3_vfs *system = sqlite3_vfs_find(NULL);
    struct spool_limits limits = f->lane.limits;

    boot_in_1970_with_many(f);
    limits.max_messages = MANY / 2; /* records of failures are moved, too */
    set_limits(f, limits);
    assert_int_equal(system->xSetSystemCall(system, "open", (sqlite3_syscall_ptr)open_and_look),
                     SQLITE_OK);
    temporary_files = 0;
    assert_in_range(retain_once(f), MANY / 2, MANY);
    assert_in_range(commits_until_quiet(f), 1, 20);
    assert_int_equal(system->xSetSystemCall(system, "open", NULL), SQLITE_OK);
    assert_int_equal(temporary_files, 0);
}

static void to_prune_many_needs_no_temporary_file(void **state)
{
    struct fixture *f = *state;
    sqlite3_vfs *system = sqlite3_vfs_find(NULL);

    append_many(f, MANY);
    commit(f);
    unsigned count = deliver_all(f);
    assert_in_range(count, MANY - 1, MANY + 1);
    commit(f);
    spool_set_exported(f->spool, spool_last_seq(f->spool));
    assert_int_equal(system->xSetSystemCall(system, "open", (sqlite3_syscall_ptr)open_and_look),
                     SQLITE_OK);
    temporary_files = 0;
    commit(f);
    assert_in_range(commits_until_quiet(f), 0, 20);
    assert_int_equal(system->xSetSystemCall(system, "open", NULL), SQLITE_OK);
    assert_in_range(spool_pruned_seq(f->spool), count - 1, count);
    assert_int_equal(temporary_files, 0);
}

enum { HISTORIES = sizeof(histories) / sizeof(*histories), RANDOM_HISTORIES = 16 };

int main(void)
{
    struct CMUnitTest tests[HISTORIES + 4 + RANDOM_HISTORIES] = {
        [HISTORIES] = cmocka_unit_test_setup_teardown(
            they_are_moved_in_steps_that_hold_nobody_up, setup, teardown),
        [HISTORIES + 1] = cmocka_unit_test_setup_teardown(
            a_crash_between_the_steps_moves_nobody_twice, setup, teardown),
        [HISTORIES + 2] = cmocka_unit_test_setup_teardown(
            to_move_and_to_evict_many_needs_no_temporary_file, setup, teardown),
        [HISTORIES + 3] = cmocka_unit_test_setup_teardown(to_prune_many_needs_no_temporary_file,
                                                          setup, teardown),
    };

    for (size_t i = 0; i < HISTORIES; i++)
        tests[i] = (struct CMUnitTest){.name = histories[i].name,
                                       .test_func = run_history,
                                       .setup_func = begin,
                                       .teardown_func = end,
                                       .initial_state = (void *)(uintptr_t)&histories[i]};
    for (size_t i = HISTORIES + 4; i < HISTORIES + 4 + RANDOM_HISTORIES; i++)
        tests[i] = (struct CMUnitTest)cmocka_unit_test_setup_teardown(
            whatever_happens_nothing_goes_early_and_nothing_stays, begin_random, end);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
