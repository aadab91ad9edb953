/* SPDX-License-Identifier: MIT */
/*
 * silence.c - see silence.h
 *
 * Invariant: count is the number of places with a key, in both tables. A place is taken over by
 * the newest key that falls on it.
 */
#include "daemon/gateway/silence.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "daemon/gateway/refusal.h"

/* What waits because its share of the window is used up is looked at again after this. */
#define SHARE_RECHECK_MS 1000

static uint64_t key_of_topic(uint64_t tag)
{
    return tag != 0 ? tag : UINT64_MAX;
}

static const struct silence_place *
find(const struct silence_place places[static SILENCE_PLACES], uint64_t key)
{
    const struct silence_place *place = &places[key % SILENCE_PLACES];

    return place->key == key ? place : NULL;
}

static const struct silence_place *
find_either(const struct silence *silence, uint64_t tag, uint64_t id)
{
    const struct silence_place *topic;

    if (silence->count == 0)
        return NULL;
    topic = find(silence->topics, key_of_topic(tag));
    return topic ? topic : find(silence->messages, id);
}

static struct silence_place *take_place(struct silence *silence,
                                        struct silence_place places[static SILENCE_PLACES],
                                        uint64_t key)
{
    struct silence_place *place = &places[key % SILENCE_PLACES];

    if (place->key == key)
        return place;
    silence->count += place->key == 0;
    *place = (struct silence_place){.key = key};
    return place;
}

static bool leave_place(struct silence *silence,
                        struct silence_place places[static SILENCE_PLACES],
                        uint64_t key)
{
    struct silence_place *place = &places[key % SILENCE_PLACES];

    if (place->key != key)
        return false;
    *place = (struct silence_place){0};
    silence->count--;
    return true;
}

void silence_forget(struct silence *silence)
{
    *silence = (struct silence){0};
}

void silence_begin(struct silence *silence)
{
    silence->in_flight_count = 0;
    silence->has_answered = false;
    silence->waits_for_answer = silence->count > 0;
    memset(silence->answered, 0, sizeof(silence->answered));
}

void silence_hasten(struct silence *silence)
{
    silence->waits_for_answer = false;
    for (unsigned i = 0; i < SILENCE_PLACES; i++)
        silence->topics[i].due_boot_ms = silence->messages[i].due_boot_ms = 0;
}

/* Once for each connection. */
static void blame(struct silence_place *place, const struct silence_event *event)
{
    if (place->connection == event->connection && place->rounds > 0)
        return;
    place->connection = event->connection;
    place->rounds++;
    place->due_boot_ms = event->boot_ms + (int64_t)refusal_backoff_ms(
                                              event->min_ms, event->max_ms, place->rounds - 1);
}

/* If the broker answers the topic, it is the message. */
static struct silence_place *place_to_blame(struct silence *silence,
                                            const struct silence_event *event)
{
    uint64_t topic = key_of_topic(event->tag);

    if (silence->answered[topic % SILENCE_PLACES] == topic)
        return take_place(silence, silence->messages, event->id);
    return take_place(silence, silence->topics, topic);
}

int64_t silence_note(struct silence *silence,
                     const struct silence_event *event,
                     bool *ret_is_first,
                     bool *ret_is_new)
{
    bool is_known = find_either(silence, event->tag, event->id);
    bool is_proven = event->was_passed || (is_known && silence->has_answered);

    *ret_is_first = *ret_is_new = false;
    if (silence->stalled_connection != event->connection)
        silence->stalls++;
    silence->stalled_connection = event->connection;
    if (!is_proven && silence->stalls < SILENCE_STALLS)
        return 0;
    struct silence_place *place = place_to_blame(silence, event);

    if (!is_proven)
        return 0;
    bool is_topic = place == &silence->topics[key_of_topic(event->tag) % SILENCE_PLACES];
    *ret_is_first = silence->blamed_connection != event->connection;
    *ret_is_new = place->rounds == 0 && (is_topic || *ret_is_first);
    silence->blamed_connection = event->connection;
    blame(place, event);
    return place->due_boot_ms;
}

static unsigned share_of(unsigned window)
{
    unsigned share = window / SILENCE_SHARE;

    if (share > SILENCE_IN_FLIGHT_MAX)
        return SILENCE_IN_FLIGHT_MAX;
    return share > 0 ? share : 1;
}

int64_t silence_hold_until(
    const struct silence *silence, uint64_t tag, uint64_t id, int64_t boot_ms, unsigned window)
{
    const struct silence_place *place = find_either(silence, tag, id);

    if (!place)
        return 0;
    if (silence->waits_for_answer)
        return INT64_MAX;
    if (place->due_boot_ms > boot_ms)
        return place->due_boot_ms;
    return silence->in_flight_count < share_of(window) ? 0 : boot_ms + SHARE_RECHECK_MS;
}

void silence_note_sent(struct silence *silence, uint64_t tag, uint64_t id)
{
    if (silence->in_flight_count < SILENCE_IN_FLIGHT_MAX && find_either(silence, tag, id))
        silence->in_flight[silence->in_flight_count++] = id;
}

void silence_note_ended(struct silence *silence, uint64_t id)
{
    for (unsigned i = 0; i < silence->in_flight_count; i++) {
        if (silence->in_flight[i] != id)
            continue;
        silence->in_flight[i] = silence->in_flight[--silence->in_flight_count];
        return;
    }
}

bool silence_end_wait(struct silence *silence)
{
    bool was_waiting = silence->waits_for_answer;

    silence->waits_for_answer = false;
    return was_waiting;
}

bool silence_note_answer(struct silence *silence, uint64_t tag, uint64_t id)
{
    bool is_topic_free = leave_place(silence, silence->topics, key_of_topic(tag));

    (void)leave_place(silence, silence->messages, id);
    silence->answered[key_of_topic(tag) % SILENCE_PLACES] = key_of_topic(tag);
    silence->has_answered = true;
    silence->stalls = 0;
    return silence_end_wait(silence) || is_topic_free;
}
