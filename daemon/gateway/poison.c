/* SPDX-License-Identifier: MIT */
/*
 * poison.c - see poison.h
 */
#include "daemon/gateway/poison.h"

#include <stdbool.h>
#include <stdint.h>

/* Each proof is two: see struct poison_broker. */
enum {
    PROOF = 2,
    PROOFS_IN_BURST = PROOF,
    PROOFS_ENOUGH = 2 * PROOF,
    PROOFS_IN_DOUBT = 4 * PROOF
};

/* So unlikely may it be that the proofs are chance; the chance of each is not believed to be
 * lower than the second. */
static const double chance_max = 1e-6, chance_min = 1.0 / 16;

static struct poison_broker *in_use(struct poison *poison)
{
    return &poison->brokers[poison->broker];
}

static unsigned count_innocent(const struct poison *poison)
{
    const struct poison_broker *broker = &poison->brokers[poison->broker];
    unsigned unexplained =
        broker->unexplained > POISON_UNEXPLAINED ? broker->unexplained - POISON_UNEXPLAINED : 0;

    return broker->innocent + unexplained;
}

static void forget_innocent(struct poison_broker *broker, int64_t boot_ms)
{
    if (boot_ms - broker->innocent_boot_ms < POISON_MEMORY_MS)
        return;
    broker->answers = broker->innocent = broker->unexplained = 0;
    broker->closes_at_innocent = false;
    broker->innocent_boot_ms = boot_ms;
}

/* Only while the broker has closed at no other one: then one proof is little. */
static bool is_burst(const struct poison *poison)
{
    const struct poison_broker *broker = &poison->brokers[poison->broker];

    return poison->has_condemned && poison->condemned_answers < POISON_BURST_ANSWERS &&
           !broker->closes_at_innocent;
}

/* The broker closed at another one that was alone, too, and has not answered it. */
static bool has_undecided(const struct poison *poison)
{
    for (unsigned i = 0; i < POISON_DOUBTS; i++) {
        if (poison->doubts[i].alone > 0 && poison->doubts[i].id != poison->suspect_id)
            return true;
    }
    return false;
}

/* Varies, so that no quota fits each time. Few, if others are closed at as well: then more
 * proofs are wanted. */
static unsigned others_wanted(const struct poison *poison)
{
    unsigned vary = (unsigned)poison->suspect_id * 7 + poison->turns * 5 + poison->turns / 4;

    if (poison->is_process || is_burst(poison))
        return 1;
    if (count_innocent(poison) > 0)
        return 1 + vary % (2 * POISON_OTHERS_MIN);
    return (has_undecided(poison) ? 1 : POISON_OTHERS_MIN) + vary % POISON_OTHERS_MIN;
}

static unsigned proofs_wanted(struct poison *poison)
{
    const struct poison_broker *broker = in_use(poison);
    unsigned innocent = count_innocent(poison), proofs = 0;
    double chance = (double)(innocent + 1) / (double)(broker->answers + innocent + 1);
    double together = 1;

    if (is_burst(poison))
        return PROOFS_IN_BURST;
    if (innocent == 0)
        return has_undecided(poison) ? PROOFS_IN_DOUBT : PROOFS_ENOUGH;
    if (chance >= 1)
        return UINT32_MAX;
    if (chance < chance_min)
        chance = chance_min;
    while (together > chance_max) {
        together *= chance;
        proofs += PROOF;
    }
    return proofs;
}

static void poison_enter(struct poison *poison, enum poison_step step, uint64_t suspect_id)
{
    poison->step = step;
    poison->suspect_id = suspect_id;
    poison->other_id = 0;
    poison->answered = poison->turns = 0;
    poison->is_owed_turn = poison->is_process = poison->is_certain = false;
    for (unsigned i = 0; i < POISON_BROKERS; i++)
        poison->brokers[i].proofs = poison->brokers[i].pending = 0;
}

/* On a connection on which nothing has been answered yet. */
static void begin_turn(struct poison *poison)
{
    poison->answered = 0;
    poison->other_id = 0;
    if (poison->step == POISON_NONE || poison->is_process)
        return;
    poison->step = poison->is_owed_turn ? POISON_SUSPECT : POISON_OTHER;
    poison->left = others_wanted(poison);
}

void poison_set_broker(struct poison *poison, unsigned broker)
{
    poison->broker = broker % POISON_BROKERS;
    begin_turn(poison);
}

bool poison_begin(struct poison *poison, uint64_t id, unsigned closings)
{
    unsigned enough = is_burst(poison) ? 1 : POISON_CLOSINGS;

    if (poison->step != POISON_NONE || closings < enough)
        return false;
    poison_enter(poison, POISON_OTHER, id);
    poison->is_process = closings >= POISON_ALONE;
    poison->is_certain = closings >= POISON_CERTAIN;
    poison->left = others_wanted(poison);
    return true;
}

/* The oldest is overwritten. */
static struct poison_doubt *doubt_of(struct poison *poison, uint64_t id)
{
    struct poison_doubt *doubt;

    for (unsigned i = 0; i < POISON_DOUBTS; i++) {
        if (poison->doubts[i].id == id)
            return &poison->doubts[i];
    }
    doubt = &poison->doubts[poison->next_doubt++ % POISON_DOUBTS];
    poison->doubt_count += doubt->id == 0;
    *doubt = (struct poison_doubt){.id = id};
    return doubt;
}

/* Return: what was noted of the message. Asked at each answer, and mostly there is none. */
static struct poison_doubt take_doubt(struct poison *poison, uint64_t id)
{
    for (unsigned i = 0; poison->doubt_count > 0 && i < POISON_DOUBTS; i++) {
        struct poison_doubt doubt = poison->doubts[i];

        if (doubt.id != id)
            continue;
        poison->doubts[i] = (struct poison_doubt){0};
        poison->doubt_count--;
        return doubt;
    }
    return (struct poison_doubt){0};
}

static void on_closing_at_suspect(struct poison *poison)
{
    struct poison_broker *broker = in_use(poison);
    bool has_all = poison->step == POISON_SUSPECT && poison->answered > 0;

    if (poison->answered > 0)
        broker->pending = has_all ? PROOF : 1;
    poison->is_owed_turn = poison->is_process = poison->is_certain = false;
    poison->turns++;
    doubt_of(poison, poison->suspect_id)->alone++;
    begin_turn(poison);
}

static void on_closing_at_other(struct poison *poison)
{
    doubt_of(poison, poison->other_id)->alone++;
    if (!is_burst(poison)) {
        in_use(poison)->pending = 0;
        poison->is_owed_turn = true;
    }
    poison->is_process = poison->is_certain = false;
    begin_turn(poison);
}

enum poison_verdict poison_on_closing(struct poison *poison, uint64_t id, unsigned closings)
{
    if (poison->step != POISON_NONE && id == poison->suspect_id) {
        on_closing_at_suspect(poison);
        return POISON_CONTINUES;
    }
    if (poison->step == POISON_OTHER && id == poison->other_id) {
        on_closing_at_other(poison);
        return POISON_WAITS;
    }
    doubt_of(poison, id)->in_window++;
    return poison_begin(poison, id, closings) ? POISON_BEGINS : POISON_CONTINUES;
}

void poison_on_end(struct poison *poison, int64_t boot_ms)
{
    forget_innocent(in_use(poison), boot_ms);
    in_use(poison)->unexplained++;
    in_use(poison)->closes_at_innocent = true;
    in_use(poison)->innocent_boot_ms = boot_ms;
    begin_turn(poison);
}

/* It may be why the broker closed while others were the oldest, in a full window. */
static enum poison_verdict condemn(struct poison *poison, int64_t boot_ms)
{
    struct poison_broker *broker = in_use(poison);

    broker->unexplained -=
        broker->unexplained < POISON_EXPLAINED ? broker->unexplained : POISON_EXPLAINED;
    poison->has_condemned = true;
    poison->condemned_boot_ms = boot_ms;
    poison->condemned_answers = 0;
    (void)take_doubt(poison, poison->suspect_id);
    return POISON_CONDEMNS;
}

/* The first answer is half of what was pending, all that were wanted are the rest. */
static enum poison_verdict on_answer_of_other(struct poison *poison, int64_t boot_ms)
{
    struct poison_broker *broker = in_use(poison);
    bool has_all = poison->left <= 1;
    unsigned part = has_all || broker->pending == 0 ? broker->pending : 1;

    poison->other_id = 0;
    poison->answered++;
    if (poison->answered == 1 || has_all) {
        broker->proofs += part;
        broker->pending -= part;
    }
    if (poison->is_certain || (part > 0 && broker->proofs >= proofs_wanted(poison)))
        return condemn(poison, boot_ms);
    if (!has_all) {
        poison->left--;
        return POISON_CONTINUES;
    }
    poison->step = POISON_SUSPECT;
    return POISON_RETRIES;
}

/* The broker answered a message that it had closed at. */
static void note_answered(struct poison *poison, const struct poison_doubt *doubt, int64_t ms)
{
    struct poison_broker *broker = in_use(poison);
    bool is_suspect = poison->step != POISON_NONE && doubt->id == poison->suspect_id;

    if (doubt->id == 0)
        return;
    broker->innocent_boot_ms = ms;
    broker->closes_at_innocent = true;
    broker->innocent += doubt->alone + (is_suspect ? doubt->in_window : 0);
    broker->unexplained += is_suspect ? 0 : doubt->in_window;
}

enum poison_verdict poison_on_answer(struct poison *poison, uint64_t id, int64_t boot_ms)
{
    struct poison_doubt doubt = take_doubt(poison, id);

    forget_innocent(in_use(poison), boot_ms);
    in_use(poison)->answers++;
    poison->condemned_answers++;
    if (boot_ms - poison->condemned_boot_ms >= POISON_BURST_MS)
        poison->has_condemned = false;
    note_answered(poison, &doubt, boot_ms);
    if (poison->step != POISON_NONE && id == poison->suspect_id) {
        poison->has_condemned = false;
        return POISON_ACQUITS;
    }
    if (poison->step != POISON_OTHER || id != poison->other_id)
        return POISON_CONTINUES;
    return on_answer_of_other(poison, boot_ms);
}

void poison_end(struct poison *poison)
{
    poison_enter(poison, POISON_NONE, 0);
}
