/* SPDX-License-Identifier: MIT */
/*
 * test_uplink.c - delivery, the window, losses, deadlines, stop: the real Paho and real sockets
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/mailbox.h"
#include "base/view.h"
#include "daemon/mqtt/packet.h"
#include "daemon/uplink/paho/paho_link.h"
#include "daemon/uplink/uplink-private.h"
#include "daemon/uplink/uplink.h"
#include "tests/support/broker_fake.h"
#include "tests/support/emulated.h"
#include "tests/support/uplink_fixture.h"
#include "tests/support/uplink_settings.h"

static bool is_at_second(struct fixture *f)
{
    return is_online(f) && strcmp(link_of(f).broker, f->second.uri) == 0;
}

static bool is_at_first(struct fixture *f)
{
    return is_online(f) && strcmp(link_of(f).broker, f->broker.uri) == 0;
}

static void write_password(struct fixture *f, const char *text)
{
    AUTO_CLOSE int fd = open(f->password_file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

/* --- delivery ------------------------------------------------------------- */

static void deliver_each_qos(struct fixture *f, unsigned protocol)
{
    f->settings.protocol = protocol;
    f->settings.topic_prefix = uplink_test_text("site/");
    go_online(f);
    assert_true(f->broker.clean_start);
    assert_int_equal(f->broker.client_keepalive_s, 60);
    for (uint8_t qos = 0; qos <= 2; qos++) {
        assert_int_equal(send_text(f, "a/b", "some payload", qos), 0);
        wait_answers(f, qos + 1u);
        assert_int_equal(f->last.kind, UPLINK_DELIVERED);
        assert_int_equal(f->last.id, qos);
        assert_int_equal(f->last.code, -1);
        f->goal = qos + 1u;
        wait_for(f, has_published); /* QoS 0 is answered before it arrives */
        assert_int_equal(f->broker.qos, qos);
        assert_string_equal(f->broker.topic, "site/a/b");
        assert_string_equal(f->broker.payload, "some payload");
        assert_false(f->broker.has_expiry);
    }
    assert_each_once(f);
    assert_string_equal(link_of(f).last_error, "");
    assert_string_equal(link_of(f).broker, f->broker.uri);
    assert_int_equal(link_of(f).connects, 1);
}

static void each_qos_is_delivered_on_3_1_1(void **state)
{
    deliver_each_qos(*state, 4);
}
static void each_qos_is_delivered_on_5(void **state)
{
    deliver_each_qos(*state, 5);
}

static void an_empty_payload_is_delivered_with_its_retain_flag(void **state)
{
    struct fixture *f = *state;
    struct uplink_message message = {
        .topic = {(const uint8_t *)"t", 1}, .qos = 1, .retain = true, .expiry_ms = -1};

    go_online(f);
    assert_int_equal(uplink_send(f->uplink, &message), 0);
    wait_answers(f, 1);
    assert_int_equal(f->last.kind, UPLINK_DELIVERED);
    assert_true(f->broker.retain);
    assert_string_equal(f->broker.payload, "");
}

static void refuse_with(struct fixture *f, uint8_t code, uint8_t qos)
{
    f->broker.ack_code = code;
    assert_int_equal(send_text(f, "t", "x", qos), 0);
    wait_answers(f, (unsigned)f->next_id);
    assert_int_equal(f->last.kind, UPLINK_REFUSED);
    assert_int_equal(f->last.code, code);
}

static void a_reason_code_of_failure_is_a_refusal_with_that_code(void **state)
{
    struct fixture *f = *state;

    f->settings.protocol = 5;
    go_online(f);
    refuse_with(f, MQTT_NOT_AUTHORIZED, 1);
    refuse_with(f, MQTT_QUOTA_EXCEEDED, 1);
    refuse_with(f, MQTT_TOPIC_NAME_INVALID, 2);
    refuse_with(f, MQTT_UNSPECIFIED_ERROR, 1);
    assert_each_once(f);
    assert_true(is_online(f));
}

static void a_refusal_carries_the_broker_s_words(void **state)
{
    struct fixture *f = *state;

    f->settings.protocol = 5;
    go_online(f);
    f->broker.ack_code = MQTT_QUOTA_EXCEEDED;
    f->broker.ack_text = "no more than 5 a day";
    for (uint8_t qos = 1; qos <= 2; qos++) {
        refuse_with(f, MQTT_QUOTA_EXCEEDED, qos);
        assert_string_equal(f->last_text, "no more than 5 a day");
    }
    f->broker.ack_text = NULL;
    refuse_with(f, MQTT_QUOTA_EXCEEDED, 1);
    assert_string_equal(f->last_text, "");
    assert_int_equal(f->last.cause, UPLINK_CAUSE_NONE);
    f->broker.ack_code = 0;
    assert_int_equal(send_text(f, "t", "x", 1), 0);
    wait_answers(f, 4);
    assert_int_equal(f->last.cause, UPLINK_CAUSE_NONE);
    assert_string_equal(f->last_text, "");
}

static int64_t boot_ms(void)
{
    struct clock_reading now;

    clock_read(&now);
    return now.boot_ms;
}

static void the_broker_s_answer_has_its_time(void **state)
{
    struct fixture *f = *state;
    int64_t before_ms = boot_ms(), error_ms;

    f->settings.protocol = 5;
    go_online(f);
    assert_int_equal(link_of(f).last_error_boot_ms, 0);
    assert_int_equal(send_text(f, "t", "x", 0), 0);
    wait_answers(f, 1);
    assert_int_equal(f->last.acknowledged_boot_ms, 0); /* to the kernel: no broker answers it */
    assert_in_range(f->last.boot_ms, before_ms, boot_ms());
    assert_int_equal(send_text(f, "t", "x", 1), 0);
    wait_answers(f, 2);
    assert_in_range(f->last.acknowledged_boot_ms, before_ms, boot_ms());
    refuse_with(f, MQTT_QUOTA_EXCEEDED, 1);
    error_ms = link_of(f).last_error_boot_ms;
    assert_in_range(error_ms, before_ms, boot_ms());
    assert_in_range(f->last.acknowledged_boot_ms, before_ms, error_ms);
    f->broker.ack_code = 0;
    f->broker.withholds_acks = true;
    assert_int_equal(send_text(f, "t", "x", 1), 0);
    uplink_stop(f->uplink);
    wait_answers(f, 4);
    assert_int_equal(f->last.kind, UPLINK_UNKNOWN);
    assert_int_equal(f->last.acknowledged_boot_ms, 0);
    assert_int_equal(link_of(f).last_error_boot_ms, error_ms); /* our own wish is no error */
}

/* Dispatches one event that waits, some time after it came. Return: when it had come. */
static int64_t dispatch_late(struct fixture *f)
{
    int r = sd_event_prepare(f->event);

    if (r == 0)
        r = sd_event_wait(f->event, UINT64_MAX);
    assert_true(r > 0);
    int64_t came_ms = boot_ms();
    while (boot_ms() == came_ms)
        continue;
    assert_true(sd_event_dispatch(f->event) >= 0);
    return came_ms;
}

/* While a commit syncs the loop reads no answer. One that comes between another event and its
 * dispatch shows nothing, so there are several. */
static void an_answer_has_the_time_at_which_it_came_however_late_it_is_read(void **state)
{
    struct fixture *f = *state;
    bool is_early = false;

    go_online(f);
    for (unsigned i = 1; i <= 50 && !is_early; i++) {
        int64_t came_ms = 0;

        assert_int_equal(send_text(f, "t", "x", 1), 0);
        while (f->answers < i)
            came_ms = dispatch_late(f);
        is_early = f->last.boot_ms <= came_ms;
        assert_int_equal(f->last.acknowledged_boot_ms, f->last.boot_ms);
    }
    assert_true(is_early);
}

static void no_matching_subscribers_is_a_delivery(void **state)
{
    struct fixture *f = *state;

    f->settings.protocol = 5;
    f->broker.ack_code = MQTT_NO_MATCHING_SUBSCRIBERS;
    go_online(f);
    for (uint8_t qos = 1; qos <= 2; qos++) {
        assert_int_equal(send_text(f, "t", "x", qos), 0);
        wait_answers(f, qos);
        assert_int_equal(f->last.kind, UPLINK_DELIVERED);
        /* Without the seam it is lost. */
        assert_int_equal(f->last.code,
                         paho_link_limitations() ? -1 : MQTT_NO_MATCHING_SUBSCRIBERS);
    }
    f->broker.ack_code = 0;
    for (uint8_t qos = 0; qos <= 2; qos++) {
        assert_int_equal(send_text(f, "t", "x", qos), 0);
        wait_answers(f, 3u + qos);
        assert_int_equal(f->last.code, -1);
    }
}

static void properties_and_remaining_expiry_are_carried(void **state)
{
    struct fixture *f = *state;
    static const uint8_t properties[] = {0x01, 1,                             /* format */
                                         0x03, 0, 2, 'c', 't',                /* content */
                                         0x08, 0, 3, 'r', '/', 't',           /* response */
                                         0x09, 0, 2, 0,   255,                /* correlation */
                                         0x26, 0, 1, 'k', 0,   2,   'v', '1', /* user */
                                         0x26, 0, 1, 'k', 0,   2,   'v', '2'};
    struct uplink_message message = {.topic = {(const uint8_t *)"t", 1},
                                     .payload = {(const uint8_t *)"x", 1},
                                     .properties = {properties, sizeof(properties)},
                                     .qos = 1,
                                     .expiry_ms = 4001};

    f->settings.protocol = 5;
    go_online(f);
    assert_int_equal(uplink_send(f->uplink, &message), 0);
    wait_answers(f, 1);
    assert_int_equal(f->broker.properties_size, sizeof(properties));
    assert_memory_equal(f->broker.properties, properties, sizeof(properties));
    assert_true(f->broker.has_expiry);
    assert_int_equal(f->broker.expiry_s, 5);

    message.id = 1;
    message.expiry_ms = 0;
    assert_int_equal(uplink_send(f->uplink, &message), 0);
    wait_answers(f, 2);
    assert_int_equal(f->broker.expiry_s, 1);

    message.id = 2;
    message.expiry_ms = INT64_MAX - 999;
    assert_int_equal(uplink_send(f->uplink, &message), 0);
    wait_answers(f, 3);
    assert_int_equal(f->broker.expiry_s, 0x7FFFFFFF);
}

static void properties_are_left_out_on_3_1_1(void **state)
{
    struct fixture *f = *state;
    static const uint8_t properties[] = {0x01, 1};
    struct uplink_message message = {.topic = {(const uint8_t *)"t", 1},
                                     .payload = {(const uint8_t *)"x", 1},
                                     .properties = {properties, sizeof(properties)},
                                     .qos = 1,
                                     .expiry_ms = 5000};

    go_online(f);
    assert_int_equal(uplink_send(f->uplink, &message), 0);
    wait_answers(f, 1);
    assert_string_equal(f->broker.payload, "x");
    assert_false(f->broker.has_expiry);
}

/* --- limits --------------------------------------------------------------- */

static void receive_maximum_bounds_what_is_in_flight(void **state)
{
    struct fixture *f = *state;

    f->settings.protocol = 5;
    f->broker.receive_maximum = 3;
    f->broker.withholds_acks = true;
    go_online(f);
    assert_int_equal(link_of(f).window, 3);
    assert_int_equal(uplink_room(f->uplink), 3);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(send_text(f, "t", "x", 1), 0);
    assert_int_equal(uplink_room(f->uplink), 0);
    assert_int_equal(send_text(f, "t", "x", 1), UPLINK_E_FULL);
    f->goal = 3;
    wait_for(f, has_published);
    broker_reset(&f->broker);

    f->broker.withholds_acks = false;
    f->refills = true;
    f->goal = 300;
    wait_for(f, has_goal);
    assert_int_equal(f->broker.unanswered_max, 3);
    assert_each_once(f);
}

static void the_window_bounds_what_is_in_flight(void **state)
{
    struct fixture *f = *state;

    f->broker.withholds_acks = true;
    go_online(f);
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(uplink_room(f->uplink), 10 - i);
        assert_int_equal(send_text(f, "t", "x", 1), 0);
    }
    assert_int_equal(uplink_room(f->uplink), 0);
    assert_int_equal(send_text(f, "t", "x", 1), UPLINK_E_FULL);
    assert_int_equal(link_of(f).in_flight, 10);
    f->goal = 10;
    wait_for(f, has_published);
}

static void window_bytes_bound_what_is_in_flight_but_one_goes_alone(void **state)
{
    struct fixture *f = *state;

    f->settings.window_bytes = 10;
    go_online(f);
    assert_int_equal(send_text(f, "t", "larger than the window", 1), 0);
    assert_int_equal(uplink_room(f->uplink), 0);
    assert_int_equal(send_text(f, "t", "", 1), UPLINK_E_FULL);
    wait_answers(f, 1);
    assert_int_equal(send_text(f, "t", "", 1), 0);
    assert_int_equal(send_text(f, "t", "x", 1), UPLINK_E_FULL);
    wait_answers(f, 2);
}

static void properties_count_in_the_window_with_the_memory_they_take(void **state)
{
    static uint8_t empty_pairs[400 * 5];
    struct fixture *f = *state;
    struct uplink_message message = {.id = 1,
                                     .topic = {(const uint8_t *)"t", 1},
                                     .properties = {empty_pairs, sizeof(empty_pairs)},
                                     .qos = 1,
                                     .expiry_ms = -1};

    for (size_t i = 0; i < sizeof(empty_pairs); i += 5)
        empty_pairs[i] = PROPERTY_USER;
    f->settings.protocol = 5;
    f->settings.window_bytes = 200000;
    f->broker.withholds_acks = true;
    go_online(f);
    assert_int_equal(uplink_send(f->uplink, &message), 0);
    message.id = 2;
    assert_int_equal(uplink_send(f->uplink, &message), 0);
    message.id = 3;
    assert_int_equal(uplink_send(f->uplink, &message), UPLINK_E_FULL);
}

static void the_lowest_qos_of_message_settings_and_broker_is_sent(void **state)
{
    struct fixture *f = *state;

    f->settings.protocol = 5;
    f->broker.announces_qos = true;
    f->broker.maximum_qos = 1;
    go_online(f);
    assert_int_equal(send_text(f, "t", "x", 2), 0);
    wait_answers(f, 1);
    assert_int_equal(f->broker.qos, 1);

    uplink_free(f->uplink);
    f->uplink = NULL;
    f->settings.max_qos = 0;
    go_online(f);
    assert_int_equal(send_text(f, "t", "x", 2), 0);
    f->goal = 2;
    wait_for(f, has_published);
    assert_int_equal(f->broker.qos, 0);
}

static void what_the_broker_cannot_take_is_refused_before_it_is_sent(void **state)
{
    struct fixture *f = *state;
    char topic[600];

    memset(topic, 't', sizeof(topic) - 1);
    topic[sizeof(topic) - 1] = '\0';
    f->settings.protocol = 5;
    f->broker.maximum_packet = 20; /* 2 header, 2+1 topic, 2 id, 1 properties: 12 payload */
    f->broker.refuses_retain = true;
    go_online(f);
    assert_int_equal(send_text(f, "t", "1234567890123", 1), UPLINK_E_TOO_LARGE);
    assert_int_equal(send_text(f, topic, "", 1), UPLINK_E_TOO_LARGE);
    struct uplink_message message = {
        .topic = {(const uint8_t *)"t", 1}, .qos = 1, .retain = true, .expiry_ms = -1};
    assert_int_equal(uplink_send(f->uplink, &message), UPLINK_E_RETAIN);
    assert_int_equal(send_text(f, "t", "123456789012", 1), 0);
    wait_answers(f, 1);
    assert_int_equal(f->broker.publishes, 1);
    assert_int_equal(f->broker.payload[11], '2');
}

/* The first broker is down, the second takes little. */
static void what_another_broker_may_take_waits_and_that_one_is_tried(void **state)
{
    struct fixture *f = *state;
    struct uplink_message message = {
        .topic = {(const uint8_t *)"t", 1}, .qos = 1, .retain = true, .expiry_ms = -1};

    f->settings.protocol = 5;
    f->settings.broker_count = 2;
    f->broker.connack_code = MQTT_SERVER_UNAVAILABLE;
    f->second.maximum_packet = 20;
    f->second.refuses_retain = true;
    start(f);
    wait_for(f, is_at_second);
    assert_int_equal(send_text(f, "t", "1234567890123", 1), UPLINK_E_OTHER_BROKER);
    f->goal = 2;
    wait_for(f, has_connects); /* away and back, because the first is still down */
    wait_for(f, is_at_second);
    assert_int_equal(uplink_send(f->uplink, &message), UPLINK_E_OTHER_BROKER);
    f->broker.connack_code = 0;
    f->broker.maximum_packet = 20;
    for (int i = 0; i < 5; i++) /* not again so soon */
        assert_true(sd_event_run(f->event, 20000) >= 0);
    assert_true(is_at_second(f));
    uplink_retry_now(f->uplink); /* but if the operator wants it */
    wait_for(f, is_at_first);
    /* Now both have announced what they take. */
    assert_int_equal(send_text(f, "t", "1234567890123", 1), UPLINK_E_TOO_LARGE);
    assert_int_equal(uplink_send(f->uplink, &message), 0);
    f->next_id++;
    wait_answers(f, 1);
    assert_int_equal(f->last.kind, UPLINK_DELIVERED);
}

static void a_broker_of_qos_0_is_left_when_the_settings_exclude_it(void **state)
{
    struct fixture *f = *state;

    f->settings.protocol = 5;
    f->settings.broker_count = 2;
    f->settings.max_qos = 0;
    f->broker.announces_qos = true;
    go_online(f);
    assert_true(is_at_first(f));
    f->settings.max_qos = 1;
    uplink_retry_now(f->uplink);
    wait_for(f, is_at_second);
    assert_int_equal(send_text(f, "t", "x", 1), 0);
    wait_answers(f, 1);
    assert_int_equal(f->second.qos, 1);
    assert_int_equal(f->broker.publishes, 0);
}

static void a_version_that_is_refused_is_not_tried_again_before_a_hup(void **state)
{
    struct fixture *f = *state;

    f->settings.protocol = 0;
    f->broker.connack_code5 = MQTT_UNSUPPORTED_VERSION;
    go_online(f);
    assert_int_equal(f->broker.connect_packets, 2);
    assert_string_equal(link_of(f).protocol, "3.1.1");
    assert_int_equal(send_text(f, "t", "x", 1), 0);
    wait_answers(f, 1);
    broker_reset(&f->broker);
    f->goal = 2;
    wait_for(f, has_connects);
    assert_int_equal(f->broker.connect_packets, 3);
    f->broker.connack_code5 = 0;
    uplink_retry_now(f->uplink);
    broker_reset(&f->broker);
    f->goal = 3;
    wait_for(f, has_connects);
    assert_string_equal(link_of(f).protocol, "5");
}

/* MQTT 3.1.1 has no password without a user name. */
static void what_3_1_1_cannot_carry_keeps_the_link_from_it(void **state)
{
    struct fixture *f = *state;

    f->settings.protocol = 0;
    f->settings.password_file = f->password_file;
    write_password(f, "secret");
    f->broker.connack_code5 = MQTT_UNSUPPORTED_VERSION;
    start(f);
    wait_for(f, has_error);
    assert_non_null(strstr(link_of(f).remedy, "set uplink.username"));
    assert_string_equal(link_of(f).protocol, "5");
}

/* --- a broker that closes at version 5 without an answer ------------------- */

#define SILENCE_IS_UNKNOWN "where it is not known how a connection ended"

static struct uplink_version *version_of(struct fixture *f)
{
    return &f->uplink->brokers.list[0].version;
}

static void go_online_past_silence(struct fixture *f)
{
    need_seam(SILENCE_IS_UNKNOWN);
    need_tcp_info();
    f->settings.protocol = 0;
    f->broker.closes_at_5 = true;
    go_online(f);
    assert_string_equal(link_of(f).protocol, "3.1.1");
    assert_int_equal(f->broker.connect_packets, 4);
    assert_int_equal(link_of(f).connects, 1);
}

static void silence_at_5_is_confirmed_before_3_1_1_is_used(void **state)
{
    struct fixture *f = *state;

    go_online_past_silence(f);
    assert_int_equal(f->broker.connects, 2);
    assert_int_equal(f->broker.disconnects, 1);
    assert_true(f->uplink->retry.online_timer.is_armed);
    assert_true(version_of(f)->trial_ms > uplink_now_ms() + 3000000);
    broker_reset(&f->broker);
    f->goal = 2;
    wait_for(f, has_connects);
    assert_int_equal(f->broker.connect_packets, 5);
    assert_string_equal(link_of(f).protocol, "3.1.1");
}

static void a_due_trial_of_5_leaves_a_link_when_nothing_is_in_flight(void **state)
{
    struct fixture *f = *state;

    go_online_past_silence(f);
    f->broker.withholds_acks = true;
    assert_int_equal(send_text(f, "t", "x", 1), 0);
    version_of(f)->trial_ms = 0;
    uplink_on_online_timer(f->uplink);
    uplink_leave_if_due(f->uplink);
    f->goal = 1;
    wait_for(f, has_published);
    assert_true(is_online(f));
    broker_acknowledge(&f->broker);
    f->goal = 2;
    wait_for(f, has_connects);
    assert_string_equal(link_of(f).protocol, "3.1.1");
    assert_int_equal(f->broker.connect_packets, 6);
    assert_int_equal(f->uplink->brokers.list[0].failures, 1); /* before it was known */
    assert_true(version_of(f)->trial_ms > uplink_now_ms() + 7000000);
    assert_each_once(f);
}

static void a_broker_that_answers_5_again_is_spoken_to_in_5(void **state)
{
    struct fixture *f = *state;

    go_online_past_silence(f);
    f->broker.closes_at_5 = false;
    version_of(f)->trial_ms = 0;
    uplink_on_online_timer(f->uplink);
    uplink_leave_if_due(f->uplink);
    f->goal = 2;
    wait_for(f, has_connects);
    assert_string_equal(link_of(f).protocol, "5");
    assert_false(version_of(f)->closes_at_5);
    assert_int_equal(uplink_trial_due_ms(f->uplink), INT64_MAX);
}

/* The trial ends with the deadline of the attempt, and is then as good as closed. */
static void a_trial_of_5_that_is_not_answered_ends_in_3_1_1(void **state)
{
    struct fixture *f = *state;

    go_online_past_silence(f);
    f->settings.connect_timeout_ms = 100;
    f->broker.closes_at_5 = false;
    f->broker.is_silent_at_5 = true;
    version_of(f)->trial_ms = 0;
    broker_reset(&f->broker);
    f->goal = 2;
    wait_for(f, has_connects);
    assert_string_equal(link_of(f).protocol, "3.1.1");
    assert_true(version_of(f)->trial_ms > uplink_now_ms());
}

static bool has_six_connect_packets(struct fixture *f)
{
    return f->broker.connect_packets >= 6;
}

static void a_broker_that_closes_at_each_version_is_asked_in_turn(void **state)
{
    struct fixture *f = *state;

    need_seam(SILENCE_IS_UNKNOWN);
    need_tcp_info();
    f->settings.protocol = 0;
    f->broker.closes_at_5 = f->broker.closes_at_3_1_1 = true;
    start(f);
    wait_for(f, has_six_connect_packets);
    assert_int_equal(f->broker.connect_packets_5, 3);
    f->broker.closes_at_5 = f->broker.closes_at_3_1_1 = false;
    wait_for(f, is_online);
    assert_string_equal(link_of(f).protocol, "5");
}

static void a_port_that_is_closed_is_no_silence(void **state)
{
    struct fixture *f = *state;

    need_seam("which does not report why it cannot connect");
    f->settings.protocol = 0;
    broker_stop(&f->broker);
    start(f);
    wait_for(f, has_error);
    assert_false(version_of(f)->closes_at_5);
    assert_null(strstr(link_of(f).last_error, "closed"));
}

static void a_hup_forgets_that_a_broker_closed_at_5(void **state)
{
    struct fixture *f = *state;

    go_online_past_silence(f);
    f->broker.closes_at_5 = false;
    uplink_retry_now(f->uplink);
    broker_reset(&f->broker);
    f->goal = 2;
    wait_for(f, has_connects);
    assert_string_equal(link_of(f).protocol, "5");
}

static void a_topic_longer_than_mqtt_allows_is_impossible(void **state)
{
    struct fixture *f = *state;
    static char prefix[65535];

    memset(prefix, 'p', sizeof(prefix) - 1);
    f->settings.topic_prefix = prefix;
    go_online(f);
    assert_int_equal(send_text(f, "tt", "x", 1), UPLINK_E_IMPOSSIBLE);
    assert_int_equal(send_text(f, "t", "x", 1), 0);
    wait_answers(f, 1);
    assert_int_equal(f->last.kind, UPLINK_DELIVERED);
}

/* --- what the library refuses --------------------------------------------- */

static void a_run_of_sends_arrives_although_the_library_is_woken_at_its_end(void **state)
{
    struct fixture *f = *state;

    go_online(f);
    uplink_cork(f->uplink);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(send_text(f, "t", "x", 1), 0);
    uplink_uncork(f->uplink);
    wait_answers(f, 3);
    assert_int_equal(f->kinds[UPLINK_DELIVERED], 3);
}

static void what_no_packet_can_hold_is_impossible_and_keeps_no_slot(void **state)
{
    static const uint8_t cut_short[] = {0x26, 0x00};
    struct fixture *f = *state;
    struct uplink_message message = {
        .topic = {(const uint8_t *)"a\0b", 3}, .qos = 1, .expiry_ms = -1};

    f->settings.protocol = 5;
    go_online(f);
    assert_int_equal(uplink_send(f->uplink, &message), UPLINK_E_IMPOSSIBLE);
    message.topic.size = 0;
    assert_int_equal(uplink_send(f->uplink, &message), UPLINK_E_IMPOSSIBLE);
    message.topic.size = 1;
    message.properties = (struct view){cut_short, sizeof(cut_short)};
    assert_int_equal(uplink_send(f->uplink, &message), UPLINK_E_IMPOSSIBLE);
    message.properties.size = 0;
    message.topic = (struct view){(const uint8_t *)"\xff", 1};
    assert_int_equal(uplink_send(f->uplink, &message), UPLINK_E_IMPOSSIBLE);
    assert_int_equal(link_of(f).in_flight, 0);
    assert_int_equal(uplink_room(f->uplink), f->settings.window);
}

/* The library knows of the loss before the loop has read its report. */
static void lose_connection_unread(struct fixture *f)
{
    struct pollfd report = {.fd = mailbox_fd(&f->uplink->inbox.mailbox), .events = POLLIN};

    broker_reset(&f->broker);
    assert_int_equal(poll(&report, 1, DEADLINE_S * 1000), 1);
}

static void a_send_after_an_unread_loss_is_refused_and_the_report_ends_it(void **state)
{
    struct fixture *f = *state;

    go_online(f);
    lose_connection_unread(f);
    assert_int_equal(send_text(f, "t", "x", 1), UPLINK_E_OFFLINE);
    assert_int_equal(send_text(f, "t", "x", 1), UPLINK_E_OFFLINE);
    assert_int_equal(link_of(f).in_flight, 0);
    wait_for(f, is_not_online);
    wait_for(f, is_online);
    assert_int_equal(link_of(f).connects, 2);
}

static void a_loss_whose_report_is_lost_is_noticed_by_a_refused_send(void **state)
{
    struct fixture *f = *state;

    go_online(f);
    lose_connection_unread(f);
    assert_non_null(mailbox_take(&f->uplink->inbox.mailbox)); /* and never read */
    assert_int_equal(send_text(f, "t", "x", 1), UPLINK_E_OFFLINE);
    assert_true(f->uplink->timer.is_armed);
    uplink_timer_set(&f->uplink->timer, uplink_now_ms()); /* as if it were due */
    wait_for(f, is_not_online);
    assert_string_equal(link_of(f).last_error, "broker closed the connection");
    wait_for(f, is_online);
}

static bool is_dropping(struct fixture *f)
{
    return f->uplink->state == LINK_DROPPING;
}

static void a_stop_during_our_own_disconnect_ends_idle(void **state)
{
    struct fixture *f = *state;

    f->settings.ack_timeout_ms = 100;
    f->broker.withholds_acks = true;
    go_online(f);
    assert_int_equal(send_text(f, "t", "x", 1), 0);
    wait_for(f, is_dropping);
    uplink_stop(f->uplink);
    assert_int_equal(link_of(f).state, UPLINK_CLOSING);
    uplink_stop(f->uplink);
    wait_for(f, is_idle);
    assert_int_equal(f->kinds[UPLINK_UNKNOWN], 1);
    assert_each_once(f);
    assert_int_equal(uplink_start(f->uplink), 0);
    wait_for(f, is_online);
}

/* --- loss ----------------------------------------------------------------- */

static void resets_mid_stream(struct fixture *f, unsigned protocol)
{
    f->settings.protocol = protocol;
    f->settings.window = 50;
    f->broker.reset_after = 70;
    f->refills = true;
    f->goal = 600; /* it takes Paho a second to connect again */
    start(f);
    wait_for(f, has_goal);
    assert_each_once(f);
    assert_true(f->kinds[UPLINK_UNKNOWN] > 0);
    assert_true(f->kinds[UPLINK_DELIVERED] > 0);
    assert_int_equal(f->kinds[UPLINK_REFUSED], 0);
    assert_true(link_of(f).connects >= 600 / (70 + 50));
}

static void resets_mid_stream_answer_each_id_once_on_3_1_1(void **state)
{
    resets_mid_stream(*state, 4);
}

static void resets_mid_stream_answer_each_id_once_on_5(void **state)
{
    resets_mid_stream(*state, 5);
}

/* The peer's TCP may acknowledge what the broker has read already up to 40 ms later. */
static bool has_taken(struct fixture *f)
{
    return paho_link_is_taken(f->broker.packet_id);
}

/* All five are published and none is answered. */
static void send_five_unanswered(struct fixture *f)
{
    f->broker.withholds_acks = true;
    f->goal = f->broker.publishes + 5;
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(send_text(f, "t", "x", 1), 0);
    wait_for(f, has_published);
    wait_for(f, has_taken);
}

static void expect_ended(struct fixture *f, enum uplink_cause cause, int code, const char *text)
{
    wait_answers(f, (unsigned)f->next_id);
    assert_int_equal(f->last.kind, UPLINK_UNKNOWN);
    assert_int_equal(f->last.cause, cause);
    assert_int_equal(f->last.code, code);
    assert_string_equal(f->last_text, text);
    assert_true(f->last.was_written);
    assert_int_equal(f->oldest_id, f->next_id - 5);
    assert_each_once(f);
}

static void an_end_without_answers_has_its_cause_and_its_oldest(unsigned protocol,
                                                                struct fixture *f)
{
    f->settings.protocol = protocol;
    go_online(f);
    send_five_unanswered(f);
    broker_reset(&f->broker);
    expect_ended(f, UPLINK_CAUSE_BROKER_CLOSED, -1, "broker closed the connection");
    assert_int_equal(f->oldest, 1);

    wait_for(f, is_online);
    f->settings.ack_timeout_ms = 200;
    send_five_unanswered(f);
    expect_ended(f, UPLINK_CAUSE_STALLED, -1, "no answer for 1 s");
    assert_int_equal(f->oldest, 2);
    f->settings.ack_timeout_ms = 30000;

    wait_for(f, is_online);
    send_five_unanswered(f);
    uplink_stop(f->uplink);
    expect_ended(f, UPLINK_CAUSE_DROPPED, -1, "disconnected by the daemon");
    assert_int_equal(f->oldest, 3);
}

static void an_end_has_its_cause_on_3_1_1(void **state)
{
    an_end_without_answers_has_its_cause_and_its_oldest(4, *state);
}

static void an_end_has_its_cause_on_5(void **state)
{
    an_end_without_answers_has_its_cause_and_its_oldest(5, *state);
}

static void a_disconnect_of_the_broker_gives_its_code_to_what_is_unanswered(void **state)
{
    struct fixture *f = *state;

    f->settings.protocol = 5;
    go_online(f);
    send_five_unanswered(f);
    broker_dismiss(&f->broker, MQTT_SESSION_TAKEN_OVER);
    expect_ended(f, UPLINK_CAUSE_BROKER_CLOSED, MQTT_SESSION_TAKEN_OVER,
                 "broker closed the connection: session taken over (code 0x8E)");
    assert_int_equal(f->oldest, 1);
}

static void the_oldest_is_the_first_without_an_answer(void **state)
{
    struct fixture *f = *state;

    go_online(f);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(send_text(f, "t", "x", 1), 0);
    wait_answers(f, 3);
    send_five_unanswered(f);
    broker_reset(&f->broker);
    expect_ended(f, UPLINK_CAUSE_BROKER_CLOSED, -1, "broker closed the connection");
    assert_int_equal(f->oldest_id, 3);
}

static void send_while_offline_is_refused_and_never_answered(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(uplink_new(f->event, &f->settings, &ops, f, &f->uplink), 0);
    assert_int_equal(send_text(f, "t", "x", 1), UPLINK_E_OFFLINE);
    assert_int_equal(uplink_room(f->uplink), 0);
    assert_int_equal(uplink_start(f->uplink), 0);
    assert_int_equal(send_text(f, "t", "x", 1), UPLINK_E_OFFLINE);
    wait_for(f, is_online);
    assert_int_equal(f->broker.publishes, 0);
    assert_int_equal(f->answers, 0);
}

static void a_lost_connection_is_explained_and_made_again(void **state)
{
    struct fixture *f = *state;

    go_online(f);
    broker_reset(&f->broker);
    wait_for(f, is_not_online);
    assert_string_equal(link_of(f).last_error, "broker closed the connection");
    wait_for(f, is_online);
    assert_int_equal(link_of(f).connects, 2);

    f->broker.withholds_acks = true;
    assert_int_equal(send_text(f, "t", "x", 1), 0);
    f->goal = 1;
    wait_for(f, has_published);
    broker_reset(&f->broker);
    wait_answers(f, 1);
    assert_int_equal(f->last.kind, UPLINK_UNKNOWN);
}

static void new_numbers_hold_without_a_new_uplink(void **state)
{
    struct fixture *f = *state;

    go_online(f);
    f->settings.keepalive_ms = 20500;
    f->settings.max_qos = 0;
    assert_true(is_online(f));
    assert_int_equal(f->broker.client_keepalive_s, 60);
    assert_int_equal(send_text(f, "t", "x", 2), 0);
    f->goal = 1;
    wait_for(f, has_published);
    assert_int_equal(f->broker.qos, 0);
    broker_reset(&f->broker);
    wait_for(f, is_not_online);
    wait_for(f, is_online);
    assert_int_equal(f->broker.client_keepalive_s, 21);
}

/* The thread of this process that Paho names so; 0: there is none. */
static int thread_called(const char *name)
{
    DIR *tasks = opendir("/proc/self/task");
    int found = 0;

    assert_non_null(tasks);
    for (struct dirent *entry = readdir(tasks); entry; entry = readdir(tasks)) {
        char path[300], seen[32] = "";
        (void)snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
        FILE *file = fopen(path, "re");
        if (!file)
            continue;
        if (fgets(seen, sizeof(seen), file) && strncmp(seen, name, strlen(name)) == 0)
            found = atoi(entry->d_name);
        (void)fclose(file);
    }
    (void)closedir(tasks);
    return found;
}

/* A new client after a loss must cost the loop no wait for the library's threads to end. */
static void the_library_s_threads_outlive_a_loss_with_messages_in_flight(void **state)
{
    struct fixture *f = *state;

    go_online(f);
    int sender = thread_called("MQTTAsync_send");
    int receiver = thread_called("MQTTAsync_rcv");
    assert_true(sender > 0 && receiver > 0);
    f->broker.withholds_acks = true;
    assert_int_equal(send_text(f, "t", "x", 1), 0);
    f->goal = 1;
    wait_for(f, has_published);
    broker_reset(&f->broker);
    wait_answers(f, 1);
    wait_for(f, is_online);
    assert_int_equal(link_of(f).late_answers, 0); /* what the old client reported at its end */
    assert_int_equal(thread_called("MQTTAsync_send"), sender);
    assert_int_equal(thread_called("MQTTAsync_rcv"), receiver);
}

static bool has_tried_often(struct fixture *f)
{
    return f->uplink->retry.failed_attempts > 10;
}

/* What a lack of memory leaves wrong inside of it would otherwise remain. */
static void after_many_failures_the_library_restarts(void **state)
{
    struct fixture *f = *state;
    char *uri = f->uris[0];

    f->uris[0] = uplink_test_text("tcp://127.0.0.1:1");
    start(f);
    wait_for(f, has_error);
    int receiver = thread_called("MQTTAsync_rcv");
    assert_true(receiver > 0);
    wait_for(f, has_tried_often);
    assert_int_not_equal(thread_called("MQTTAsync_rcv"), receiver);
    f->uris[0] = uri;
}

static void the_broker_s_reason_to_disconnect_is_reported(void **state)
{
    struct fixture *f = *state;

    f->settings.protocol = 5;
    go_online(f);
    broker_dismiss(&f->broker, MQTT_SERVER_SHUTTING_DOWN);
    wait_for(f, is_not_online);
    assert_string_equal(link_of(f).last_error,
                        "broker closed the connection: server shutting down (code 0x8B)");
}

/* One that was answered later than it was sent shows that the broker works. */
static void what_a_later_message_has_passed_is_reported_so(void **state)
{
    struct fixture *f = *state;

    f->settings.ack_timeout_ms = 300;
    f->broker.withholds_acks = true;
    go_online(f);
    f->goal = f->broker.publishes + 1;
    assert_int_equal(send_text(f, "silent", "x", 1), 0);
    wait_for(f, has_published);
    f->broker.withholds_acks = false;
    assert_int_equal(send_text(f, "t", "x", 1), 0);
    wait_answers(f, 1);
    assert_int_equal(f->last.kind, UPLINK_DELIVERED);
    f->blames = "\"silent\"";
    wait_answers(f, 2);
    assert_int_equal(f->last.cause, UPLINK_CAUSE_STALLED);
    assert_true(f->last.was_passed);
    wait_for(f, has_error);
    assert_string_equal(link_of(f).last_error,
                        "no answer for 1 s to topic \"silent\", while others were answered");
}

static void no_answer_within_the_ack_timeout_ends_the_connection(void **state)
{
    struct fixture *f = *state;

    f->settings.ack_timeout_ms = 300;
    f->broker.withholds_acks = true;
    go_online(f);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(send_text(f, "t", "x", 1), 0);
    wait_answers(f, 5);
    assert_int_equal(f->kinds[UPLINK_UNKNOWN], 5);
    wait_for(f, has_error);
    assert_string_equal(link_of(f).last_error, "no answer for 1 s");
    wait_for(f, is_online);
    assert_int_equal(link_of(f).connects, 2);

    /* The second time in a row the client goes, and the link still comes back. */
    assert_int_equal(send_text(f, "t", "x", 1), 0);
    wait_answers(f, 6);
    f->broker.withholds_acks = false;
    f->settings.ack_timeout_ms = 30000; /* what is answered now is so in time */
    wait_for(f, is_online);
    assert_int_equal(send_text(f, "t", "x", 1), 0);
    wait_answers(f, 7);
    assert_int_equal(f->last.kind, UPLINK_DELIVERED);
    assert_each_once(f);
}

static void an_idle_link_outlives_the_ack_timeout(void **state)
{
    struct fixture *f = *state;

    f->settings.ack_timeout_ms = 1;
    go_online(f);
    for (unsigned i = 1; i <= 20; i++) {
        f->settings.ack_timeout_ms = 1;
        uplink_timer_set(&f->uplink->timer, uplink_now_ms());
        assert_true(sd_event_run(f->event, 20000) >= 0);
    }
    assert_true(is_online(f));
    assert_int_equal(link_of(f).connects, 1);
}

/* --- attempts ------------------------------------------------------------- */

/* No other process is given the port before the descriptor is closed. */
static int refuse_at_a_port(char uri[static 64])
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    (void)snprintf(uri, 64, "tcp://127.0.0.1:%u", (unsigned)ntohs(address.sin_port));
    return fd;
}

static void brokers_are_tried_in_turn(void **state)
{
    struct fixture *f = *state;
    char uri[64];

    f->settings.broker_count = 2;
    f->settings.backoff_min_ms = 60000; /* only a pause would take long, and there is none */
    f->settings.backoff_max_ms = 60000;
    AUTO_CLOSE int refusing = refuse_at_a_port(uri);
    assert_true(refusing >= 0);
    f->uris[0] = uri;
    go_online(f);
    assert_string_equal(link_of(f).broker, f->second.uri);
    assert_string_equal(link_of(f).last_error,
                        uplink_build_limitations()
                            ? "connection refused or closed before an answer"
                            : "connection refused");
    assert_int_equal(f->second.connects, 1);
}

static void the_pause_doubles_up_to_its_limit_with_full_jitter(void **state)
{
    uint64_t limit = 100;

    (void)state;
    for (unsigned round = 0; round < 200; round++) {
        assert_int_equal(uplink_backoff_ms(100, 5000, round, limit), limit);
        assert_int_equal(uplink_backoff_ms(100, 5000, round, limit + 1), 0);
        assert_int_equal(uplink_backoff_ms(100, 5000, round, limit / 2), limit / 2);
        assert_true(uplink_backoff_ms(100, 5000, round, UINT64_MAX) <= limit);
        limit = limit * 2 > 5000 ? 5000 : limit * 2;
    }
    assert_int_equal(uplink_backoff_ms(0, 5000, 7, 12345), 0);
    assert_int_equal(
        uplink_backoff_ms(UINT64_MAX / 2, UINT64_MAX / 2 + 2, 3, UINT64_MAX / 2 + 2),
        UINT64_MAX / 2 + 2);
}

static bool backed_off(struct fixture *f)
{
    return f->uplink->brokers.list[0].backoff_round >= 4;
}

static void a_broker_that_closes_at_once_is_not_asked_ever_faster(void **state)
{
    struct fixture *f = *state;

    f->settings.backoff_min_ms = 1;
    f->settings.backoff_max_ms = 60000;
    f->broker.closes_after_connack = true;
    start(f);
    wait_for(f, backed_off);
    f->broker.closes_after_connack = false;
    wait_for(f, is_online);
    assert_int_equal(send_text(f, "t", "x", 0), 0); /* proves nothing */
    wait_answers(f, 1);
    assert_true(f->uplink->brokers.list[0].backoff_round >= 4);
}

/* Two gateways with one client id, or a broker that closes at each message that it denies. */
static void an_acknowledgement_does_not_shorten_the_pause_of_a_broker_that_closes(void **state)
{
    struct fixture *f = *state;

    f->settings.backoff_max_ms = 60000;
    start(f);
    for (unsigned round = 1; round <= 4; round++) {
        wait_for(f, is_online);
        assert_int_equal(send_text(f, "t", "x", 1), 0);
        wait_answers(f, round);
        assert_int_equal(f->last.kind, UPLINK_DELIVERED);
        broker_reset(&f->broker);
        wait_for(f, is_not_online);
        assert_int_equal(f->uplink->brokers.list[0].backoff_round, round);
        assert_int_equal(f->uplink->brokers.list[0].failures, round);
        uplink_timer_set(&f->uplink->timer, uplink_now_ms()); /* as if it were due */
        f->uplink->retry.due_ms = 0;
    }
    /* Online for the longest pause: it is a good one. */
    wait_for(f, is_online);
    f->uplink->connection.online_ms -= 60000;
    broker_reset(&f->broker);
    wait_for(f, is_not_online);
    assert_int_equal(f->uplink->brokers.list[0].backoff_round, 1);
    assert_int_equal(f->uplink->brokers.list[0].failures, 0);
}

static bool is_settled(struct fixture *f)
{
    return f->uplink->connection.is_settled;
}

static void a_connection_that_lasts_is_forgiven_what_was_before(void **state)
{
    struct fixture *f = *state;

    f->settings.backoff_max_ms = 300;
    f->broker.closes_after_connack = true;
    start(f);
    wait_for(f, backed_off);
    f->broker.closes_after_connack = false;
    wait_for(f, is_settled);
    assert_int_equal(f->uplink->brokers.list[0].backoff_round, 0);
    assert_int_equal(f->uplink->brokers.list[0].failures, 0);
}

static void a_broker_that_sends_us_away_has_the_next_one_tried(void **state)
{
    static const uint8_t codes[] = {0x89, 0x8B, 0x98, 0x9C, 0x9D};
    struct fixture *f = *state;

    f->settings.protocol = 5;
    f->settings.broker_count = 2;
    f->settings.backoff_min_ms = f->settings.backoff_max_ms = 60000;
    start(f);
    for (unsigned i = 0; i < sizeof(codes); i++) {
        wait_for(f, is_at_first);
        f->uplink->connection.online_ms -= 60000; /* a good one */
        f->uplink->brokers.list[1].next_try_ms = 0;
        broker_dismiss(&f->broker, codes[i]);
        wait_for(f, is_at_second);
        f->uplink->connection.online_ms -= 60000;
        f->uplink->brokers.list[0].next_try_ms = 0;
        broker_dismiss(&f->second, codes[i]);
    }
    wait_for(f, is_at_first);
    /* Any other reason is no reason to move. */
    f->uplink->connection.online_ms -= 60000;
    broker_dismiss(&f->broker, MQTT_SESSION_TAKEN_OVER);
    wait_for(f, is_not_online);
    assert_int_equal(f->uplink->brokers.current, 0);
}

static bool has_left_the_second(struct fixture *f)
{
    return f->second.disconnects == 1;
}

static void the_first_broker_is_returned_to_when_nothing_is_in_flight(void **state)
{
    struct fixture *f = *state;
    uint8_t code = MQTT_SERVER_UNAVAILABLE;

    f->settings.protocol = 5;
    f->settings.broker_count = 2;
    f->settings.failback_ms = 100;
    f->broker.connack_code = code;
    f->second.withholds_acks = true;
    start(f);
    wait_for(f, is_at_second);
    assert_int_equal(send_text(f, "t", "x", 1), 0);
    f->broker.connack_code = 0;
    while (uplink_room(f->uplink) > 0) /* nothing more is sent */
        assert_true(sd_event_run(f->event, 20000) >= 0);
    assert_true(is_at_second(f));
    assert_int_equal(link_of(f).in_flight, 1);
    f->second.withholds_acks = false;
    broker_acknowledge(&f->second);
    wait_for(f, is_at_first);
    assert_int_equal(f->kinds[UPLINK_DELIVERED], 1);
    wait_for(f, has_left_the_second);
    assert_each_once(f);
    assert_int_equal(uplink_room(f->uplink), f->settings.window);
}

static bool was_tried_again(struct fixture *f)
{
    return f->second.connects >= 2 && is_at_second(f);
}

static void a_failback_that_fails_returns_at_once(void **state)
{
    struct fixture *f = *state;

    f->settings.broker_count = 2;
    f->settings.failback_ms = 100;
    f->settings.backoff_min_ms = f->settings.backoff_max_ms = 3600000;
    f->broker.connack_code = 3;
    start(f);
    wait_for(f, was_tried_again);
    assert_int_equal(send_text(f, "t", "x", 1), 0);
    wait_answers(f, 1);
    assert_int_equal(f->last.kind, UPLINK_DELIVERED);
}

static void without_failback_the_second_broker_stays(void **state)
{
    struct fixture *f = *state;

    f->settings.broker_count = 2;
    f->settings.failback_ms = 0;
    f->broker.connack_code = 3;
    start(f);
    wait_for(f, is_at_second);
    wait_for(f, is_settled);
    assert_false(f->uplink->retry.online_timer.is_armed);
    assert_true(is_at_second(f));
}

static void send_some(struct fixture *f, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(send_text(f, "t", "x", 1), 0);
}

static void lose_in_mid_window(struct fixture *f, unsigned sent)
{
    f->broker.withholds_acks = true;
    send_some(f, sent);
    broker_reset(&f->broker);
    wait_for(f, is_not_online);
    f->broker.withholds_acks = false;
    wait_for(f, is_online);
}

static void after_a_loss_in_mid_window_the_window_begins_small_and_grows(void **state)
{
    struct fixture *f = *state;

    f->settings.window = 64;
    go_online(f);
    assert_int_equal(uplink_room(f->uplink), f->settings.window);
    send_some(f, 2);
    wait_answers(f, 2);
    lose_in_mid_window(f, 20);
    assert_int_equal(uplink_room(f->uplink), 8);
    send_some(f, 8);
    wait_answers(f, 30);
    assert_int_equal(uplink_room(f->uplink), 16);
    send_some(f, 16);
    wait_answers(f, 46);
    assert_int_equal(uplink_room(f->uplink), 32);
    lose_in_mid_window(f, 5); /* it has acknowledged 24 */
    assert_int_equal(uplink_room(f->uplink), 24);
    broker_reset(&f->broker); /* nothing was in flight */
    wait_for(f, is_not_online);
    wait_for(f, is_online);
    assert_int_equal(uplink_room(f->uplink), f->settings.window);
}

static void a_broker_that_answers_nothing_in_time_has_the_next_one_tried(void **state)
{
    struct fixture *f = *state;

    f->settings.broker_count = 2;
    f->settings.ack_timeout_ms = 300;
    f->settings.backoff_min_ms = f->settings.backoff_max_ms = 60000;
    f->broker.withholds_acks = true;
    start(f);
    wait_for(f, is_at_first);
    f->uplink->connection.online_ms -= 60000; /* it has lasted, and is no good one */
    assert_int_equal(send_text(f, "t", "x", 1), 0);
    wait_for(f, is_at_second);
    assert_int_equal(f->kinds[UPLINK_UNKNOWN], 1);
    assert_int_equal(f->uplink->brokers.list[0].failures, 1);
    /* One that has accepted something since it was connected to is tried again. */
    assert_int_equal(send_text(f, "t", "x", 1), 0);
    wait_answers(f, 2);
    f->second.withholds_acks = true;
    f->uplink->connection.online_ms -= 60000;
    assert_int_equal(send_text(f, "t", "x", 1), 0);
    wait_for(f, is_not_online);
    assert_int_equal(f->uplink->brokers.current, 1);
}

static void a_broker_that_accepts_no_message_is_left_if_another_one_may_be_tried(void **state)
{
    struct fixture *f = *state;

    f->settings.broker_count = 2;
    f->settings.backoff_min_ms = f->settings.backoff_max_ms = 60000;
    start(f);
    wait_for(f, is_at_first);
    f->uplink->brokers.list[1].next_try_ms = INT64_MAX;
    uplink_set_refused(f->uplink, true);
    assert_true(uplink_room(f->uplink) > 0); /* there is none, it stays */
    f->uplink->brokers.list[1].next_try_ms = 0;
    uplink_set_refused(f->uplink, true);
    assert_int_equal(uplink_room(f->uplink), 0);
    uplink_set_refused(f->uplink, false);
    assert_true(uplink_room(f->uplink) > 0);
    f->uplink->connection.online_ms -= 60000;
    uplink_set_refused(f->uplink, true);
    uplink_leave_if_due(f->uplink);
    wait_for(f, is_at_second);
    assert_string_equal(link_of(f).last_error, "the broker accepts no message");
    assert_int_equal(f->uplink->brokers.list[0].failures, 1);
}

static void a_message_that_waits_for_a_broker_respects_its_pause(void **state)
{
    struct fixture *f = *state;

    f->settings.broker_count = 2;
    start(f);
    wait_for(f, is_at_first);
    f->uplink->brokers.list[1].next_try_ms = uplink_now_ms() + 3600000;
    uplink_want_other(f->uplink, 1);
    for (int i = 0; i < 5; i++)
        assert_true(sd_event_run(f->event, 20000) >= 0);
    assert_true(is_at_first(f));
    f->uplink->brokers.list[1].next_try_ms = 0;
    uplink_timer_set(&f->uplink->retry.online_timer, uplink_now_ms());
    wait_for(f, is_at_second);
}

static void a_broker_is_away_after_ten_minutes_of_failed_attempts(void **state)
{
    struct fixture *f = *state;

    f->settings.broker_count = 2;
    f->broker.connack_code = 3;
    start(f);
    wait_for(f, is_at_second);
    assert_false(uplink_is_away(f->uplink, 0));
    f->uplink->brokers.list[0].away_since_ms -= 600000; /* as if it had been so long ago */
    assert_true(uplink_is_away(f->uplink, 0));
    assert_false(uplink_is_away(f->uplink, 1));
    f->broker.connack_code = 0;
    f->uplink->brokers.list[0].next_try_ms = 0;
    uplink_want_other(f->uplink, 0);
    wait_for(f, is_at_first);
    assert_false(uplink_is_away(f->uplink, 0));
}

static void the_operator_ends_the_pause(void **state)
{
    struct fixture *f = *state;

    f->settings.backoff_min_ms = f->settings.backoff_max_ms = UINT64_C(1) << 45;
    f->broker.connack_code = 3;
    start(f);
    wait_for(f, has_error);
    assert_true(link_of(f).next_attempt_boot_ms > uplink_now_ms());
    f->broker.connack_code = 0;
    uplink_retry_now(f->uplink);
    assert_int_equal(link_of(f).next_attempt_boot_ms, 0);
    wait_for(f, is_online);
    uplink_retry_now(f->uplink);
    assert_true(is_online(f));
    assert_int_equal(link_of(f).next_attempt_boot_ms, 0);
    assert_int_equal(link_of(f).connects, 1);
}

static void expect_refusal(struct fixture *f, unsigned protocol, uint8_t code, const char *text)
{
    f->settings.protocol = protocol;
    f->broker.connack_code = code;
    start(f);
    wait_for(f, has_error);
    assert_string_equal(link_of(f).last_error, text);
    assert_int_equal(link_of(f).connects, 0);
    uplink_free(f->uplink);
    f->uplink = NULL;
}

static void a_refused_connect_is_explained(void **state)
{
    struct fixture *f = *state;

    expect_refusal(f, 4, 4, "bad user name or password (code 0x04)");
    expect_refusal(f, 4, 5, "not authorized (code 0x05)");
    expect_refusal(f, 5, 0x86, "bad user name or password (code 0x86)");
    expect_refusal(f, 5, 0x88, "server unavailable (code 0x88)");
    expect_refusal(f, 4, 0x84, "unsupported protocol version (code 0x84)");
    expect_refusal(f, 4, 0x87, "not authorized (code 0x87)");
}

/* Without the seam it is not known that it has connected. */
static void expect_silence(struct fixture *f, const char *span)
{
    const bool is_known = paho_link_limitations() == NULL;
    char text[UPLINK_TEXT_MAX];

    (void)snprintf(text, sizeof(text), "%s within %s",
                   is_known ? "connected, but no CONNACK" : "no connection", span);
    assert_string_equal(link_of(f).last_error, text);
    assert_int_equal(strstr(link_of(f).remedy, "firewall") == NULL, is_known);
}

static void a_broker_that_says_nothing_is_given_up(void **state)
{
    struct fixture *f = *state;

    need_seam("whose connections take up to 1 s longer");
    need_tcp_info();
    f->settings.broker_count = 2;
    f->settings.connect_timeout_ms = 1000;
    f->broker.is_silent = true;
    int64_t began_ms = uplink_now_ms();
    start(f);
    wait_for(f, has_error);
    assert_true(uplink_now_ms() - began_ms >= 1000);
    expect_silence(f, "1 s");
    wait_for(f, is_online);
    assert_string_equal(link_of(f).broker, f->second.uri);
}

static void the_watchdog_replaces_a_client_that_never_reports(void **state)
{
    struct fixture *f = *state;

    need_tcp_info();
    f->broker.is_silent = true;
    start(f);
    wait_for(f, has_connect_packet); /* which is not answered */
    f->broker.is_silent = false;
    uplink_timer_set(&f->uplink->timer, uplink_now_ms()); /* as if it were due */
    wait_for(f, is_online);
    expect_silence(f, "10 s");
    assert_int_equal(send_text(f, "t", "x", 1), 0);
    wait_answers(f, 1);
    assert_int_equal(f->last.kind, UPLINK_DELIVERED);
}

static bool is_extended(struct fixture *f)
{
    return f->uplink->timer.is_extended;
}

static void what_comes_late_because_the_loop_stood_still_is_waited_for_once(void **state)
{
    struct fixture *f = *state;

    f->settings.ack_timeout_ms = 1000;
    f->broker.withholds_acks = true;
    go_online(f);
    assert_int_equal(send_text(f, "t", "x", 1), 0);
    f->uplink->progress.answer_ms -= 5000; /* sent before it stood still */
    uplink_timer_set(&f->uplink->timer, uplink_now_ms() - 4000);
    wait_for(f, is_extended);
    assert_true(is_online(f));
    wait_answers(f, 1);
    assert_int_equal(f->kinds[UPLINK_UNKNOWN], 1);
}

/* No stack of that size can be had, so no thread. A processor of 32 bits has 4 GiB for all;
 * a user-mode emulation of 64 bits would give this one, and fill memory for it. */
#define HUGE_STACK ((size_t)1 << (sizeof(size_t) > 4 ? 46 : 31))

static void allow_threads(bool allowed)
{
    static pthread_attr_t usual;
    static bool is_known;
    pthread_attr_t huge;

    if (!is_known)
        assert_int_equal(pthread_getattr_default_np(&usual), 0);
    is_known = true;
    assert_int_equal(pthread_attr_init(&huge), 0);
    assert_int_equal(pthread_attr_setstacksize(&huge, HUGE_STACK), 0);
    assert_int_equal(pthread_setattr_default_np(allowed ? &usual : &huge), 0);
    assert_int_equal(pthread_attr_destroy(&huge), 0);
}

static void threads_that_cannot_be_made_are_made_at_a_later_attempt(void **state)
{
    struct fixture *f = *state;

    need_seam("which starts its threads by itself");
    allow_threads(false);
    start(f);
    wait_for(f, has_error);
    assert_true(strstr(link_of(f).last_error, "cannot start a thread") != NULL);
    allow_threads(true);
    wait_for(f, is_online);
    assert_int_equal(send_text(f, "t", "x", 1), 0);
    wait_answers(f, 1);
    assert_int_equal(f->last.kind, UPLINK_DELIVERED);
}

/* How often this thread slept for the library, which at its end waits for its threads. */
static _Thread_local unsigned sleeps;

int usleep(useconds_t us)
{
    struct timespec wish = {.tv_nsec = (long)(us % 1000000) * 1000};

    sleeps++;
    return clock_nanosleep(CLOCK_MONOTONIC, 0, &wish, NULL) == 0 ? 0 : -1;
}

/* A hundred sleeps of 0.1 s would be the library's wait for a thread that was never made. */
static void the_loop_never_waits_for_threads_that_were_not_made(void **state)
{
    struct fixture *f = *state;

    need_seam("which starts its threads by itself");
    allow_threads(false);
    sleeps = 0;
    start(f);
    wait_for(f, has_tried_often);
    assert_true(sleeps < 50);
    uplink_free(f->uplink);
    f->uplink = NULL;
    assert_true(sleeps < 50);
    allow_threads(true);
    start(f);
    wait_for(f, is_online);
}

static bool has_no_descriptor(struct fixture *f)
{
    return strcmp(link_of(f).last_error, "too many open files") == 0;
}

static void a_lack_of_descriptors_is_reported(void **state)
{
    struct fixture *f = *state;
    struct rlimit usual, few;

    need_seam("whose calls of the system are not seen");
    go_online(f);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
    few = (struct rlimit){.rlim_cur = 3, .rlim_max = usual.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    broker_reset(&f->broker);
    wait_for(f, has_no_descriptor);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
    wait_for(f, is_online);
}

static void the_password_is_read_anew_for_each_attempt(void **state)
{
    struct fixture *f = *state;

    f->settings.username = uplink_test_text("user");
    f->settings.password_file = f->password_file;
    write_password(f, "other\n");
    go_online(f);
    assert_false(f->broker.has_secret);
    write_password(f, "secret\n");
    broker_reset(&f->broker);
    f->goal = 2;
    wait_for(f, has_connects);
    assert_true(f->broker.has_secret); /* and so without the newline */
}

static void a_new_password_ends_the_pause(void **state)
{
    struct fixture *f = *state;

    f->settings.username = uplink_test_text("user");
    f->settings.password_file = f->password_file;
    f->settings.backoff_min_ms = f->settings.backoff_max_ms = UINT64_C(1) << 45;
    f->broker.connack_code = 4;
    write_password(f, "other\n");
    start(f);
    wait_for(f, has_error);
    uplink_timer_set(&f->uplink->timer, uplink_now_ms()); /* as if it were due */
    assert_true(sd_event_run(f->event, 1000000) >= 0);
    assert_int_equal(f->uplink->state, LINK_WAITING);
    assert_int_equal(f->broker.accepted, 1);
    write_password(f, "a secret");
    f->broker.connack_code = 0;
    uplink_timer_set(&f->uplink->timer, uplink_now_ms());
    wait_for(f, is_online);
    assert_true(f->broker.has_secret);
}

static void a_lower_keepalive_of_the_broker_is_obeyed(void **state)
{
    struct fixture *f = *state;

    f->settings.protocol = 5;
    f->broker.keepalive_s = 7;
    go_online(f);
    assert_int_equal(f->broker.accepted, 2);
    assert_int_equal(f->broker.client_keepalive_s, 7);
    assert_string_equal(link_of(f).last_error, "");
    assert_int_equal(link_of(f).connects, 1);
}

static void tls_errors_are_cut_to_what_a_person_can_use(void **state)
{
    static const char line[] = "40B7C2:error:0A000086:SSL routines:tls_post_process_server_"
                               "certificate:certificate verify failed:../ssl/x.c:1883:\n";
    char text[UPLINK_TEXT_MAX];

    (void)state;
    uplink_tls_text(line, sizeof(line) - 1, text);
    assert_string_equal(text, "TLS: certificate verify failed");
    uplink_tls_text("odd\nline", 8, text);
    assert_string_equal(text, "TLS: odd");
    uplink_tls_text("", 0, text);
    assert_string_equal(text, "TLS: ");
}

/* --- life ----------------------------------------------------------------- */

static void stop_disconnects_and_reports_idle(void **state)
{
    struct fixture *f = *state;

    f->broker.withholds_acks = true;
    go_online(f);
    assert_int_equal(send_text(f, "t", "x", 1), 0);
    f->goal = 1;
    wait_for(f, has_published);
    uplink_stop(f->uplink);
    assert_int_equal(link_of(f).state, UPLINK_CLOSING);
    assert_int_equal(send_text(f, "t", "x", 1), UPLINK_E_OFFLINE);
    f->changes = 0;
    wait_for(f, is_idle);
    assert_true(f->changes > 0);
    assert_int_equal(f->last.kind, UPLINK_UNKNOWN);
    assert_each_once(f);
    wait_for(f, has_disconnected);
}

static void stop_is_immediate_when_not_connected(void **state)
{
    struct fixture *f = *state;

    f->broker.is_silent = true;
    start(f);
    wait_for(f, was_accepted);
    f->changes = 0;
    uplink_stop(f->uplink);
    assert_int_equal(link_of(f).state, UPLINK_IDLE);
    assert_int_equal(f->changes, 1);
    f->broker.is_silent = false;
    assert_int_equal(uplink_start(f->uplink), 0);
    assert_int_equal(uplink_start(f->uplink), -EALREADY);
    wait_for(f, is_online);
}

static void free_answers_what_is_in_flight_unknown(void **state)
{
    struct fixture *f = *state;

    f->broker.withholds_acks = true;
    go_online(f);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(send_text(f, "t", "x", (uint8_t)(1 + i % 2)), 0);
    f->goal = 10;
    wait_for(f, has_published); /* what Paho still holds in its queue it would leak */
    uplink_free(f->uplink);
    f->uplink = NULL;
    assert_int_equal(f->answers, 10);
    assert_int_equal(f->kinds[UPLINK_UNKNOWN], 10);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(f->times[i], 1);
}

static void free_takes_null_and_what_was_never_started(void **state)
{
    struct fixture *f = *state;

    uplink_free(NULL);
    assert_int_equal(uplink_new(f->event, &f->settings, &ops, f, &f->uplink), 0);
    assert_string_equal(link_of(f).broker, "");
    assert_int_equal(link_of(f).state, UPLINK_IDLE);
}

static void there_is_one_uplink_in_a_process(void **state)
{
    struct fixture *f = *state;
    struct uplink *other = NULL;

    start(f);
    assert_int_equal(uplink_new(f->event, &f->settings, &ops, f, &other), -EBUSY);
    assert_null(other);
}

static void settings_that_cannot_work_are_refused(void **state)
{
    struct fixture *f = *state;

    f->uris[0] = uplink_test_text("http://127.0.0.1");
    assert_int_equal(uplink_new(f->event, &f->settings, &ops, f, &f->uplink),
                     UPLINK_E_SETTINGS);
    f->uris[0] = f->broker.uri;
    f->settings.window = 0;
    assert_int_equal(uplink_new(f->event, &f->settings, &ops, f, &f->uplink),
                     UPLINK_E_SETTINGS);
    f->settings.window = 65536;
    assert_int_equal(uplink_new(f->event, &f->settings, &ops, f, &f->uplink),
                     UPLINK_E_SETTINGS);
    assert_null(f->uplink);
}

static void proxies_of_the_environment_are_ignored(void **state)
{
    struct fixture *f = *state;

    go_online(f);
    assert_null(getenv("http_proxy"));
    assert_null(getenv("HTTPS_PROXY"));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(proxies_of_the_environment_are_ignored),
        CASE(each_qos_is_delivered_on_3_1_1),
        CASE(each_qos_is_delivered_on_5),
        CASE(an_empty_payload_is_delivered_with_its_retain_flag),
        CASE(a_reason_code_of_failure_is_a_refusal_with_that_code),
        CASE(a_refusal_carries_the_broker_s_words),
        CASE(the_broker_s_answer_has_its_time),
        CASE(an_answer_has_the_time_at_which_it_came_however_late_it_is_read),
        CASE(no_matching_subscribers_is_a_delivery),
        CASE(properties_and_remaining_expiry_are_carried),
        CASE(properties_are_left_out_on_3_1_1),
        CASE(receive_maximum_bounds_what_is_in_flight),
        CASE(the_window_bounds_what_is_in_flight),
        CASE(window_bytes_bound_what_is_in_flight_but_one_goes_alone),
        CASE(properties_count_in_the_window_with_the_memory_they_take),
        CASE(the_lowest_qos_of_message_settings_and_broker_is_sent),
        CASE(what_the_broker_cannot_take_is_refused_before_it_is_sent),
        CASE(what_another_broker_may_take_waits_and_that_one_is_tried),
        CASE(a_broker_of_qos_0_is_left_when_the_settings_exclude_it),
        CASE(a_version_that_is_refused_is_not_tried_again_before_a_hup),
        CASE(what_3_1_1_cannot_carry_keeps_the_link_from_it),
        CASE(silence_at_5_is_confirmed_before_3_1_1_is_used),
        CASE(a_due_trial_of_5_leaves_a_link_when_nothing_is_in_flight),
        CASE(a_broker_that_answers_5_again_is_spoken_to_in_5),
        CASE(a_trial_of_5_that_is_not_answered_ends_in_3_1_1),
        CASE(a_broker_that_closes_at_each_version_is_asked_in_turn),
        CASE(a_port_that_is_closed_is_no_silence),
        CASE(a_hup_forgets_that_a_broker_closed_at_5),
        CASE(a_topic_longer_than_mqtt_allows_is_impossible),
        CASE(a_run_of_sends_arrives_although_the_library_is_woken_at_its_end),
        CASE(what_no_packet_can_hold_is_impossible_and_keeps_no_slot),
        CASE(a_send_after_an_unread_loss_is_refused_and_the_report_ends_it),
        CASE(a_loss_whose_report_is_lost_is_noticed_by_a_refused_send),
        CASE(a_stop_during_our_own_disconnect_ends_idle),
        CASE(resets_mid_stream_answer_each_id_once_on_3_1_1),
        CASE(resets_mid_stream_answer_each_id_once_on_5),
        CASE(an_end_has_its_cause_on_3_1_1),
        CASE(an_end_has_its_cause_on_5),
        CASE(a_disconnect_of_the_broker_gives_its_code_to_what_is_unanswered),
        CASE(the_oldest_is_the_first_without_an_answer),
        CASE(send_while_offline_is_refused_and_never_answered),
        CASE(a_lost_connection_is_explained_and_made_again),
        CASE(the_library_s_threads_outlive_a_loss_with_messages_in_flight),
        CASE(the_broker_s_reason_to_disconnect_is_reported),
        CASE(what_a_later_message_has_passed_is_reported_so),
        CASE(no_answer_within_the_ack_timeout_ends_the_connection),
        CASE(an_idle_link_outlives_the_ack_timeout),
        CASE(brokers_are_tried_in_turn),
        CASE(the_pause_doubles_up_to_its_limit_with_full_jitter),
        CASE(a_broker_that_closes_at_once_is_not_asked_ever_faster),
        CASE(an_acknowledgement_does_not_shorten_the_pause_of_a_broker_that_closes),
        CASE(a_connection_that_lasts_is_forgiven_what_was_before),
        CASE(a_broker_that_sends_us_away_has_the_next_one_tried),
        CASE(the_first_broker_is_returned_to_when_nothing_is_in_flight),
        CASE(a_failback_that_fails_returns_at_once),
        CASE(without_failback_the_second_broker_stays),
        CASE(after_a_loss_in_mid_window_the_window_begins_small_and_grows),
        CASE(a_broker_that_answers_nothing_in_time_has_the_next_one_tried),
        CASE(a_broker_that_accepts_no_message_is_left_if_another_one_may_be_tried),
        CASE(a_message_that_waits_for_a_broker_respects_its_pause),
        CASE(a_broker_is_away_after_ten_minutes_of_failed_attempts),
        CASE(the_operator_ends_the_pause),
        CASE(a_new_password_ends_the_pause),
        CASE(a_refused_connect_is_explained),
        CASE(a_broker_that_says_nothing_is_given_up),
        CASE(the_watchdog_replaces_a_client_that_never_reports),
        CASE(what_comes_late_because_the_loop_stood_still_is_waited_for_once),
        CASE(threads_that_cannot_be_made_are_made_at_a_later_attempt),
        CASE(the_loop_never_waits_for_threads_that_were_not_made),
        CASE(a_lack_of_descriptors_is_reported),
        CASE(after_many_failures_the_library_restarts),
        CASE(the_password_is_read_anew_for_each_attempt),
        CASE(a_lower_keepalive_of_the_broker_is_obeyed),
        CASE(new_numbers_hold_without_a_new_uplink),
        CASE(tls_errors_are_cut_to_what_a_person_can_use),
        CASE(stop_disconnects_and_reports_idle),
        CASE(stop_is_immediate_when_not_connected),
        CASE(free_answers_what_is_in_flight_unknown),
        CASE(free_takes_null_and_what_was_never_started),
        CASE(there_is_one_uplink_in_a_process),
        CASE(settings_that_cannot_work_are_refused),
    };

    (void)setenv("http_proxy", "http://127.0.0.1:9", 1);
    (void)setenv("HTTPS_PROXY", "http://127.0.0.1:9", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
