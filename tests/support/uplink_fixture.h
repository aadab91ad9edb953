/* SPDX-License-Identifier: MIT */
/*
 * uplink_fixture.h - an uplink between a test and two fake brokers, on one event loop
 *
 * The test decides what the brokers do and when. The fixture counts the answers to each
 * message. Each test program includes it once, after cmocka.h, and is linked with
 * broker_fake.c.
 */
#ifndef MQTT_SPOOLD_TESTS_UPLINK_FIXTURE_H
#define MQTT_SPOOLD_TESTS_UPLINK_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/view.h"
#include "daemon/uplink/settings.h"
#include "daemon/uplink/uplink-private.h"
#include "daemon/uplink/uplink.h"
#include "tests/support/broker_fake.h"
#include "tests/support/uplink_settings.h"

#define DEADLINE_S 60
#define IDS_MAX    4096

struct fixture {
    sd_event *event;
    struct broker_fake broker;
    struct broker_fake second;
    char *uris[2];
    struct uplink_settings settings;
    struct uplink *uplink;
    char folder[64];
    char password_file[96];
    uint8_t times[IDS_MAX]; /* how often each id was answered */
    struct uplink_answer last;
    char last_text[UPLINK_TEXT_MAX]; /* of the last answer */
    uint64_t oldest_id;              /* of the last answer that was_oldest */
    unsigned oldest;                 /* answers that were */
    unsigned written;                /* answers whose message was written */
    unsigned answers;
    unsigned kinds[3];
    unsigned changes;
    uint64_t next_id;
    unsigned goal; /* for the conditions */
    bool in_send;
    bool refills;
    const char *blames; /* a topic, at each end for want of an answer; NULL: none */
};

static inline void on_answered(void *userdata, const struct uplink_answer *answer)
{
    struct fixture *f = userdata;

    assert_false(f->in_send);
    assert_true(answer->id < IDS_MAX);
    f->times[answer->id]++;
    f->last = *answer;
    (void)snprintf(f->last_text, sizeof(f->last_text), "%s", answer->text);
    f->last.text = f->last_text;
    f->written += answer->was_written;
    if (answer->was_oldest) {
        assert_int_equal(answer->kind, UPLINK_UNKNOWN);
        f->oldest++;
        f->oldest_id = answer->id;
    }
    f->answers++;
    f->kinds[answer->kind]++;
    if (f->blames && answer->cause == UPLINK_CAUSE_STALLED)
        uplink_blame_topic(f->uplink, f->blames);
}

static inline int send_text(struct fixture *f, const char *topic, const char *text, uint8_t qos)
{
    struct uplink_message message = {.id = f->next_id,
                                     .prefix = view_of_text(f->settings.topic_prefix),
                                     .topic = {(const uint8_t *)topic, strlen(topic)},
                                     .payload = {(const uint8_t *)text, strlen(text)},
                                     .qos = qos,
                                     .expiry_ms = -1};

    f->in_send = true;
    int r = uplink_send(f->uplink, &message);
    f->in_send = false;
    if (r == 0)
        f->next_id++;
    return r;
}

static inline void refill(struct fixture *f)
{
    while (f->next_id < f->goal && uplink_room(f->uplink) > 0) {
        if (send_text(f, "t", "payload", 1) != 0)
            return;
    }
}

static inline void on_changed(void *userdata)
{
    struct fixture *f = userdata;

    assert_false(f->in_send);
    f->changes++;
    if (f->refills)
        refill(f);
}

static const struct uplink_ops ops = {.answered = on_answered, .changed = on_changed};

static inline int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    (void)snprintf(f->folder, sizeof(f->folder), "/tmp/spoold-uplink-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    (void)snprintf(f->password_file, sizeof(f->password_file), "%s/password", f->folder);
    assert_int_equal(sd_event_new(&f->event), 0);
    broker_start(&f->broker, f->event);
    broker_start(&f->second, f->event);
    f->uris[0] = f->broker.uri;
    f->uris[1] = f->second.uri;
    f->settings = uplink_test_settings(f->uris);
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;

    uplink_free(f->uplink);
    broker_stop(&f->broker);
    broker_stop(&f->second);
    sd_event_unref(f->event);
    (void)unlink(f->password_file);
    (void)rmdir(f->folder);
    free(f);
    return 0;
}

/* Skips the case in a build against Paho's shared library, @lack says why. */
static inline void need_seam(const char *lack)
{
    if (uplink_build_limitations()) {
        print_message("skipped: linked to the shared library, %s\n", lack);
        skip();
    }
}

typedef bool condition_fn(struct fixture *f);

static inline void wait_until(struct fixture *f, condition_fn *condition, const char *what)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t end_s = now.tv_sec + DEADLINE_S;

    while (!condition(f)) {
        assert_true(sd_event_run(f->event, 20000) >= 0);
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec > end_s)
            fail_msg("waited without effect for: %s", what);
    }
}
#define wait_for(f, condition) wait_until((f), (condition), #condition)

static inline struct uplink_link link_of(struct fixture *f)
{
    struct uplink_link link;

    uplink_get_link(f->uplink, &link);
    return link;
}

static inline bool is_online(struct fixture *f)
{
    return link_of(f).state == UPLINK_ONLINE;
}
static inline bool is_not_online(struct fixture *f)
{
    return !is_online(f);
}
static inline bool is_idle(struct fixture *f)
{
    return link_of(f).state == UPLINK_IDLE;
}
static inline bool has_error(struct fixture *f)
{
    return link_of(f).last_error[0] != '\0';
}
static inline bool has_goal(struct fixture *f)
{
    return f->answers >= f->goal;
}
static inline bool has_published(struct fixture *f)
{
    return f->broker.publishes >= f->goal;
}
static inline bool has_connects(struct fixture *f)
{
    return link_of(f).connects >= f->goal;
}
static inline bool has_disconnected(struct fixture *f)
{
    return f->broker.disconnects == 1;
}
static inline bool was_accepted(struct fixture *f)
{
    return f->broker.accepted > 0;
}
static inline bool has_connect_packet(struct fixture *f)
{
    return f->broker.connect_packets > 0;
}

static inline void start(struct fixture *f)
{
    assert_int_equal(uplink_new(f->event, &f->settings, &ops, f, &f->uplink), 0);
    assert_int_equal(uplink_start(f->uplink), 0);
}

static inline void go_online(struct fixture *f)
{
    start(f);
    wait_for(f, is_online);
}

static inline void wait_answers(struct fixture *f, unsigned goal)
{
    f->goal = goal;
    wait_for(f, has_goal);
}

static inline void assert_each_once(struct fixture *f)
{
    for (uint64_t id = 0; id < f->next_id; id++)
        assert_int_equal(f->times[id], 1);
    assert_int_equal(f->answers, f->next_id);
    assert_int_equal(link_of(f).in_flight, 0);
}

#endif
