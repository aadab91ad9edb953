/* SPDX-License-Identifier: MIT */
/*
 * users.c - a user for each uid that has clients: what its clients share
 *
 * A user without a client is kept for a while, since its budget of log lines must
 * not be a new one with each connection; USERS_IDLE_MAX of them at most.
 *
 * Invariant: a user with a client stays where it is in memory.
 */
#include "daemon/gateway/users.h"

#include <assert.h>
#include <stdlib.h>

#define USERS_IDLE_MAX      64
#define WARNINGS_EVERY_MS   10000
#define WARNINGS_PER_PERIOD 5
#define NOTICES_EVERY_MS    60000

static void user_init(struct user *user, uid_t uid)
{
    *user = (struct user){
        .uid = uid,
        .warnings = {.interval_ms = WARNINGS_EVERY_MS, .burst = WARNINGS_PER_PERIOD},
        .notices = {.interval_ms = NOTICES_EVERY_MS, .burst = 1},
    };
    TAILQ_INIT(&user->throttled);
}

void users_init(struct users *users)
{
    TAILQ_INIT(&users->list);
    user_init(&users->others, (uid_t)-1);
}

void users_finish(struct users *users)
{
    struct user *user;

    while ((user = TAILQ_FIRST(&users->list))) {
        TAILQ_REMOVE(&users->list, user, link);
        free(user);
    }
}

static void forget_oldest(struct users *users)
{
    struct user *user = TAILQ_FIRST(&users->list);

    while (user && user->clients > 0)
        user = TAILQ_NEXT(user, link);
    if (!user)
        return;
    TAILQ_REMOVE(&users->list, user, link);
    users->idle--;
    free(user);
}

struct user *users_find(struct users *users, uid_t uid)
{
    struct user *user;

    TAILQ_FOREACH(user, &users->list, link) {
        if (user->uid != uid)
            continue;
        TAILQ_REMOVE(&users->list, user, link);
        TAILQ_INSERT_TAIL(&users->list, user, link);
        return user;
    }
    if (users->idle >= USERS_IDLE_MAX)
        forget_oldest(users);
    user = malloc(sizeof(*user));
    if (!user)
        return &users->others;
    user_init(user, uid);
    TAILQ_INSERT_TAIL(&users->list, user, link);
    users->idle++;
    return user;
}

const struct user *users_find_most_silent(const struct users *users)
{
    const struct user *user, *most = NULL;

    TAILQ_FOREACH(user, &users->list, link) {
        if (user->silent > (most ? most->silent : 0))
            most = user;
    }
    return most;
}

void users_add_client(struct users *users, struct user *user)
{
    if (user->clients == 0 && user != &users->others)
        users->idle--;
    user->clients++;
}

void users_remove_client(struct users *users, struct user *user)
{
    assert(user->clients > 0);
    user->clients--;
    if (user->clients > 0 || user == &users->others)
        return;
    users->idle++;
    if (users->idle > USERS_IDLE_MAX)
        forget_oldest(users);
}

void users_add_active(struct users *users, struct user *user)
{
    if (user->active == 0)
        users->active++;
    user->active++;
}

void users_remove_active(struct users *users, struct user *user)
{
    assert(user->active > 0);
    user->active--;
    if (user->active == 0)
        users->active--;
}
