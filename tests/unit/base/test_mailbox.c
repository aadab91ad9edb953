/* SPDX-License-Identifier: MIT */
/*
 * test_mailbox.c - posting from foreign threads; meant to run under TSan too
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/mailbox.h"

#define MAILS       20000
#define DEADLINE_MS 20000

/* As the uplink does it: the mail is the first member of the object it speaks of. */
struct slot {
    struct mail mail;
    unsigned generation; /* guarded by the mailbox's mutex */
    unsigned
        answer; /* the generation that was answered; written once for each, under the mutex */
};

struct answer {
    struct slot *slot;
    unsigned generation;
};

static bool accept_current(void *context)
{
    struct answer *answer = context;

    if (answer->slot->generation != answer->generation ||
        answer->slot->answer == answer->generation)
        return false;
    answer->slot->answer = answer->generation;
    return true;
}

static void next_generation(void *context)
{
    struct slot *slot = context;

    slot->generation++;
}

static int setup(void **state)
{
    static struct mailbox mailbox;

    assert_int_equal(mailbox_init(&mailbox), 0);
    *state = &mailbox;
    return 0;
}

static int teardown(void **state)
{
    mailbox_done(*state);
    return 0;
}

static bool is_readable(const struct mailbox *mailbox, int timeout_ms)
{
    struct pollfd poller = {.fd = mailbox_fd(mailbox), .events = POLLIN};

    return poll(&poller, 1, timeout_ms) == 1;
}

static void an_empty_mailbox_is_silent_and_gives_nothing(void **state)
{
    struct mailbox *mailbox = *state;

    assert_false(is_readable(mailbox, 0));
    assert_null(mailbox_take(mailbox));
}

static void mails_come_in_the_order_they_were_posted(void **state)
{
    struct mailbox *mailbox = *state;
    struct mail mails[3] = {0};
    struct mail *taken;

    for (int i = 0; i < 3; i++)
        assert_true(mailbox_post_if(mailbox, &mails[i], NULL, NULL));
    assert_true(is_readable(mailbox, 0));
    taken = mailbox_take(mailbox);
    for (int i = 0; i < 3; i++, taken = taken->next)
        assert_ptr_equal(taken, &mails[i]);
    assert_null(taken);
    assert_false(is_readable(mailbox, 0));
    assert_null(mailbox_take(mailbox));
}

static void the_eventfd_is_written_only_when_the_first_mail_comes(void **state)
{
    struct mailbox *mailbox = *state;
    struct mail mails[3] = {0};
    uint64_t count = 0;

    for (int i = 0; i < 3; i++)
        (void)mailbox_post_if(mailbox, &mails[i], NULL, NULL);
    assert_int_equal(read(mailbox_fd(mailbox), &count, sizeof(count)), sizeof(count));
    assert_int_equal(count, 1);
    assert_non_null(mailbox_take(mailbox)); /* even though the counter was read */
}

static void quiet_mails_wake_the_loop_once(void **state)
{
    struct mailbox *mailbox = *state;
    struct mail mails[3] = {0};
    struct mail *taken;
    uint64_t count = 0;

    mailbox_wake(mailbox);
    assert_false(is_readable(mailbox, 0));
    assert_true(mailbox_post_quietly_if(mailbox, &mails[0], NULL, NULL));
    assert_false(mailbox_post_quietly_if(mailbox, &mails[0], NULL, NULL));
    assert_true(mailbox_post_quietly_if(mailbox, &mails[1], NULL, NULL));
    assert_false(is_readable(mailbox, 0));
    mailbox_wake(mailbox);
    mailbox_wake(mailbox);
    assert_true(mailbox_post_quietly_if(mailbox, &mails[2], NULL, NULL));
    mailbox_wake(mailbox);
    assert_int_equal(read(mailbox_fd(mailbox), &count, sizeof(count)), sizeof(count));
    assert_int_equal(count, 1);
    taken = mailbox_take(mailbox);
    for (int i = 0; i < 3; i++, taken = taken->next)
        assert_ptr_equal(taken, &mails[i]);
    mailbox_wake(mailbox);
    assert_false(is_readable(mailbox, 0));
}

/* The list is not empty then, but the loop does not know of it. */
static void a_mail_behind_a_quiet_one_wakes_the_loop(void **state)
{
    struct mailbox *mailbox = *state;
    struct mail mails[2] = {0};

    assert_true(mailbox_post_quietly_if(mailbox, &mails[0], NULL, NULL));
    assert_true(mailbox_post_if(mailbox, &mails[1], NULL, NULL));
    assert_true(is_readable(mailbox, 0));
    assert_ptr_equal(mailbox_take(mailbox), &mails[0]);
    assert_true(mailbox_post_if(mailbox, &mails[0], NULL, NULL));
    assert_true(is_readable(mailbox, 0));
}

static void a_mail_that_is_posted_already_is_left_alone(void **state)
{
    struct mailbox *mailbox = *state;
    struct slot slot = {.generation = 1};
    struct answer first = {&slot, 1};

    assert_true(mailbox_post_if(mailbox, &slot.mail, accept_current, &first));
    slot.answer = 77;
    assert_false(mailbox_post_if(mailbox, &slot.mail, accept_current, &first));
    assert_int_equal(slot.answer, 77);
    assert_ptr_equal(mailbox_take(mailbox), &slot.mail);
    assert_null(mailbox_take(mailbox));
}

static void a_mail_posted_again_during_the_walk_does_not_break_it(void **state)
{
    struct mailbox *mailbox = *state;
    struct mail mails[3] = {0};
    struct mail *taken;

    for (int i = 0; i < 3; i++)
        (void)mailbox_post_if(mailbox, &mails[i], NULL, NULL);
    taken = mailbox_take(mailbox);
    assert_true(mailbox_post_if(mailbox, &mails[1], NULL, NULL));
    for (int i = 0; i < 3; i++, taken = taken->next)
        assert_ptr_equal(taken, &mails[i]);
    assert_null(taken);
    assert_true(is_readable(mailbox, 0));
    taken = mailbox_take(mailbox);
    assert_ptr_equal(taken, &mails[1]);
    assert_null(taken->next);
}

static void an_answer_for_an_older_generation_is_refused_and_writes_nothing(void **state)
{
    struct mailbox *mailbox = *state;
    struct slot slot = {.generation = 5};
    struct answer late = {&slot, 5};

    mailbox_run_locked(mailbox, next_generation, &slot);
    assert_false(mailbox_post_if(mailbox, &slot.mail, accept_current, &late));
    assert_int_equal(slot.answer, 0);
    assert_false(is_readable(mailbox, 0));
    assert_null(mailbox_take(mailbox));
}

struct poster {
    pthread_t thread;
    struct mailbox *mailbox;
    struct mail *mails;
};

static void *post_all(void *context)
{
    struct poster *poster = context;

    for (size_t i = 0; i < MAILS; i++)
        (void)mailbox_post_if(poster->mailbox, &poster->mails[i], NULL, NULL);
    return NULL;
}

/* Takes by the eventfd alone, so a lost wake-up ends in the deadline. */
static void two_threads_lose_no_mail_and_keep_their_order(void **state)
{
    static struct mail mails[2][MAILS];
    struct poster posters[2];
    size_t seen[2] = {0};

    for (int i = 0; i < 2; i++) {
        posters[i] = (struct poster){.mailbox = *state, .mails = mails[i]};
        assert_int_equal(pthread_create(&posters[i].thread, NULL, post_all, &posters[i]), 0);
    }
    while (seen[0] + seen[1] < 2 * (size_t)MAILS) {
        assert_true(is_readable(*state, DEADLINE_MS));
        for (struct mail *mail = mailbox_take(*state); mail; mail = mail->next) {
            int who = mail >= mails[1] && mail < mails[1] + MAILS;

            assert_ptr_equal(mail, &mails[who][seen[who]]);
            seen[who]++;
        }
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(posters[i].thread, NULL), 0);
    assert_null(mailbox_take(*state));
}

struct answerer {
    pthread_t thread;
    struct mailbox *mailbox;
    struct slot *slot;
    unsigned *published; /* the generation a message was sent with, as the context carries it */
    unsigned rounds;
};

/* Answers every generation again and again, so most answers are late. */
static void *answer_all(void *context)
{
    struct answerer *answerer = context;
    unsigned generation;

    do {
        struct answer answer = {answerer->slot, 0};

        generation = __atomic_load_n(answerer->published, __ATOMIC_RELAXED);
        answer.generation = generation;
        (void)mailbox_post_if(answerer->mailbox, &answerer->slot->mail, accept_current,
                              &answer);
    } while (generation < answerer->rounds);
    return NULL;
}

static void no_late_answer_reaches_a_slot_that_is_used_again(void **state)
{
    struct mailbox *mailbox = *state;
    struct slot slot = {.generation = 0};
    unsigned published = 0;
    struct answerer answerers[2];
    unsigned rounds = 3000;

    for (int i = 0; i < 2; i++) {
        answerers[i] = (struct answerer){
            .mailbox = mailbox, .slot = &slot, .published = &published, .rounds = rounds};
        assert_int_equal(pthread_create(&answerers[i].thread, NULL, answer_all, &answerers[i]),
                         0);
    }
    for (unsigned round = 1; round <= rounds; round++) {
        struct mail *mail;

        mailbox_run_locked(mailbox, next_generation, &slot);
        (void)mailbox_take(mailbox); /* what was answered before the slot was used again */
        __atomic_store_n(&published, round, __ATOMIC_RELAXED);
        do { /* a wake-up may find that its mail was taken before */
            assert_true(is_readable(mailbox, DEADLINE_MS));
            mail = mailbox_take(mailbox);
        } while (!mail);
        assert_null(mail->next);
        assert_int_equal(slot.answer, round);
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(answerers[i].thread, NULL), 0);
}

struct overlap {
    struct mailbox *mailbox;
    struct mail mail;
    atomic_bool entered;
    atomic_bool changed;
    bool saw_change;
};

/* Gives a change that is not held off by the lock every chance to come in between. */
static bool accept_slowly(void *context)
{
    struct overlap *overlap = context;

    atomic_store(&overlap->entered, true);
    for (int i = 0; i < 2000 && !overlap->saw_change; i++) {
        (void)sched_yield();
        overlap->saw_change = atomic_load(&overlap->changed);
    }
    return true;
}

static void *post_slowly(void *context)
{
    struct overlap *overlap = context;

    (void)mailbox_post_if(overlap->mailbox, &overlap->mail, accept_slowly, overlap);
    return NULL;
}

static void note_change(void *context)
{
    struct overlap *overlap = context;

    atomic_store(&overlap->changed, true);
}

static void a_change_waits_for_the_accept_that_is_running(void **state)
{
    struct overlap overlap = {.mailbox = *state};
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, post_slowly, &overlap), 0);
    while (!atomic_load(&overlap.entered))
        (void)sched_yield();
    mailbox_run_locked(*state, note_change, &overlap);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_false(overlap.saw_change);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(an_empty_mailbox_is_silent_and_gives_nothing),
        CASE(mails_come_in_the_order_they_were_posted),
        CASE(the_eventfd_is_written_only_when_the_first_mail_comes),
        CASE(quiet_mails_wake_the_loop_once),
        CASE(a_mail_behind_a_quiet_one_wakes_the_loop),
        CASE(a_mail_that_is_posted_already_is_left_alone),
        CASE(a_mail_posted_again_during_the_walk_does_not_break_it),
        CASE(an_answer_for_an_older_generation_is_refused_and_writes_nothing),
        CASE(two_threads_lose_no_mail_and_keep_their_order),
        CASE(a_change_waits_for_the_accept_that_is_running),
        CASE(no_late_answer_reaches_a_slot_that_is_used_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
