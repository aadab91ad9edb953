/* SPDX-License-Identifier: MIT */
/*
 * throttle.c - producers above the rate of their user wait
 *
 * One timer for all users that have clients waiting, set for the first bucket that will hold
 * a token, but not sooner than TURN_MS: what a bucket has got by then passes in one run, so
 * that a rate of thousands costs no more wakes than a hundred a second.
 *
 * Invariant: a user is in the list while a client of it waits, and the timer runs while the
 * list is not empty. A client that is resumed waits again behind the others.
 */
#include "daemon/gateway/throttle.h"

#include <stdint.h>

#include "daemon/uplink/pacer.h"
#include "daemon/uplink/settings.h"

#define TURN_MS 10
#define RUN_MS  40

static int64_t user_wait_ms(const struct throttle *throttle, const struct throttled *throttled)
{
    const struct uplink_rate rate = {.messages = throttled->rate};

    return throttled->rate == 0
               ? 0
               : pacer_wait_ms(&throttled->user->pacer, &rate, throttle->turn->now.boot_ms);
}

static void throttle_arm(struct throttle *throttle, int64_t after_ms)
{
    int r =
        turn_set_deadline(throttle->timer, (uint64_t)(after_ms > TURN_MS ? after_ms : TURN_MS));

    throttle->is_armed = true;
    if (r < 0)
        turn_fail(throttle->turn, r, "throttle");
}

static void throttle_add(struct throttle *throttle, struct throttled *throttled)
{
    struct user *user = throttled->user;

    throttled->is_waiting = true;
    if (!user->is_throttled)
        TAILQ_INSERT_TAIL(&throttle->users, user, throttled_link);
    user->is_throttled = true;
    TAILQ_INSERT_TAIL(&user->throttled, throttled, link);
    if (!throttle->is_armed)
        throttle_arm(throttle, user_wait_ms(throttle, throttled));
}

static void throttle_take(struct throttled *throttled)
{
    throttled->is_waiting = false;
    TAILQ_REMOVE(&throttled->user->throttled, throttled, link);
}

static void throttle_forget_user(struct throttle *throttle, struct user *user)
{
    if (!user->is_throttled || !TAILQ_EMPTY(&user->throttled))
        return;
    user->is_throttled = false;
    TAILQ_REMOVE(&throttle->users, user, throttled_link);
}

void throttle_remove(struct throttle *throttle, struct throttled *throttled)
{
    if (!throttled->is_waiting)
        return;
    throttle_take(throttled);
    throttle_forget_user(throttle, throttled->user);
}

bool throttle_admit(struct throttle *throttle, struct throttled *throttled)
{
    const struct uplink_rate rate = {.messages = throttled->rate};
    struct user *user = throttled->user;
    bool has_turn = throttled->has_turn;

    throttled->has_turn = false;
    if (throttled->rate == 0)
        return true;
    turn_read_clock(throttle->turn);
    if ((!has_turn && !TAILQ_EMPTY(&user->throttled)) ||
        user_wait_ms(throttle, throttled) > 0) {
        throttle_add(throttle, throttled);
        return false;
    }
    pacer_charge(&user->pacer, &rate, throttle->turn->now.boot_ms, 0);
    return true;
}

void throttle_set_rate(struct throttle *throttle, struct throttled *throttled, unsigned rate)
{
    if (throttled->rate == rate)
        return;
    throttled->rate = rate;
    if (throttled->is_waiting)
        throttle_arm(throttle, 0);
}

/* One message each in turns, while the bucket has tokens: what it gets in RUN_MS at most, so
 * that other work of the loop has its turn, too. */
static void throttle_resume_user(struct throttle *throttle, struct user *user)
{
    struct throttled *throttled = TAILQ_FIRST(&user->throttled);
    unsigned left = throttled->rate / (1000 / RUN_MS) + 1;

    while (throttled && (left > 0 || throttled->rate == 0) &&
           user_wait_ms(throttle, throttled) == 0) {
        throttle_take(throttled);
        throttled->has_turn = true;
        throttle->resume(throttled);
        throttled->has_turn = false;
        throttled = TAILQ_FIRST(&user->throttled);
        left -= left > 0;
    }
}

static int on_throttle_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct throttle *throttle = userdata;
    struct user *user, *next;
    int64_t first_ms = INT64_MAX;

    (void)source;
    (void)usec;
    throttle->is_armed = true; /* none of those that wait again sets the timer */
    turn_read_clock(throttle->turn);
    for (user = TAILQ_FIRST(&throttle->users); user; user = next) {
        next = TAILQ_NEXT(user, throttled_link);
        throttle_resume_user(throttle, user);
        throttle_forget_user(throttle, user);
    }
    throttle->is_armed = false;
    TAILQ_FOREACH(user, &throttle->users, throttled_link) {
        int64_t wait_ms = user_wait_ms(throttle, TAILQ_FIRST(&user->throttled));

        first_ms = wait_ms < first_ms ? wait_ms : first_ms;
    }
    if (!TAILQ_EMPTY(&throttle->users))
        throttle_arm(throttle, first_ms);
    return 0;
}

void throttle_init(struct throttle *throttle, struct turn *turn, throttle_resume_fn *resume)
{
    *throttle = (struct throttle){.turn = turn, .resume = resume};
    TAILQ_INIT(&throttle->users);
}

int throttle_start(struct throttle *throttle)
{
    return turn_add_timer(throttle->turn, 0, on_throttle_timer, throttle, SD_EVENT_OFF,
                          &throttle->timer);
}

void throttle_finish(struct throttle *throttle)
{
    throttle->timer = sd_event_source_disable_unref(throttle->timer);
}
