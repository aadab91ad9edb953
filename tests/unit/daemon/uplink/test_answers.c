/* SPDX-License-Identifier: MIT */
/*
 * test_answers.c - which answers of a broker are believed, and that storms of resets lose none
 *
 * The long form of the storm, with SPOOLD_LONG set, has 10,000 connections.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "daemon/mqtt/packet.h"
#include "daemon/uplink/paho/paho_link.h"
#include "daemon/uplink/uplink.h"
#include "tests/support/broker_fake.h"
#include "tests/support/emulated.h"
#include "tests/support/uplink_fixture.h"

#define MISFIT "the broker's answer does not fit the message"

/* --- answers that do not fit ------------------------------------------------ */

static uint16_t send_unanswered(struct fixture *f, uint8_t qos)
{
    f->goal = f->broker.publishes + 1;
    assert_int_equal(send_text(f, "t", "x", qos), 0);
    wait_for(f, has_published);
    return f->broker.packet_id;
}

struct in_flight {
    uint16_t one; /* QoS 1 */
    uint16_t two; /* QoS 2 */
};

static struct in_flight begin(struct fixture *f)
{
    struct in_flight ids;

    need_seam("which believes it");
    f->settings.protocol = 5;
    f->broker.withholds_acks = true;
    go_online(f);
    ids.one = send_unanswered(f, 1);
    ids.two = send_unanswered(f, 2);
    return ids;
}

/* Neither message ends, and nothing is freed twice. */
static void expect_misfit(struct fixture *f)
{
    wait_answers(f, 2);
    assert_int_equal(f->kinds[UPLINK_UNKNOWN], 2);
    assert_int_equal(f->last.cause, UPLINK_CAUSE_DROPPED);
    assert_string_equal(f->last_text, MISFIT);
    assert_each_once(f);
    f->broker.withholds_acks = false;
    wait_for(f, is_online);
    assert_int_equal(send_text(f, "t", "x", 2), 0);
    wait_answers(f, 3);
    assert_int_equal(f->last.kind, UPLINK_DELIVERED);
}

static void a_pubrec_of_failure_for_qos_1_ends_the_connection(void **state)
{
    struct in_flight ids = begin(*state);
    struct fixture *f = *state;

    broker_answer(&f->broker, PACKET_PUBREC, ids.one, MQTT_UNSPECIFIED_ERROR);
    expect_misfit(f);
}

static void a_pubrec_for_qos_1_ends_the_connection(void **state)
{
    struct in_flight ids = begin(*state);
    struct fixture *f = *state;

    broker_answer(&f->broker, PACKET_PUBREC, ids.one, 0);
    expect_misfit(f);
}

static void a_pubcomp_for_qos_1_ends_the_connection(void **state)
{
    struct in_flight ids = begin(*state);
    struct fixture *f = *state;

    broker_answer(&f->broker, PACKET_PUBCOMP, ids.one, 0);
    expect_misfit(f);
}

static void a_puback_for_qos_2_ends_the_connection(void **state)
{
    struct in_flight ids = begin(*state);
    struct fixture *f = *state;

    broker_answer(&f->broker, PACKET_PUBACK, ids.two, 0);
    expect_misfit(f);
}

static void a_puback_of_failure_for_qos_2_ends_the_connection(void **state)
{
    struct in_flight ids = begin(*state);
    struct fixture *f = *state;

    broker_answer(&f->broker, PACKET_PUBACK, ids.two, MQTT_QUOTA_EXCEEDED);
    expect_misfit(f);
}

static void a_pubcomp_before_the_pubrec_ends_the_connection(void **state)
{
    struct in_flight ids = begin(*state);
    struct fixture *f = *state;

    broker_answer(&f->broker, PACKET_PUBCOMP, ids.two, 0);
    expect_misfit(f);
}

/* Paho reads on before it waits, and finds that the rest is not there yet. No timer wakes the
 * loop meanwhile. */
static void an_answer_before_a_part_of_a_packet_is_not_late(void **state)
{
    struct fixture *f = *state;

    f->settings.keepalive_ms = f->settings.ack_timeout_ms = 0;
    struct in_flight ids = begin(f);
    const uint8_t bytes[] = {0x40, 2, (uint8_t)(ids.one >> 8), (uint8_t)ids.one, 0x50};

    assert_int_equal(send(f->broker.connections[0].fd, bytes, sizeof(bytes), MSG_NOSIGNAL),
                     sizeof(bytes));
    wait_answers(f, 1);
    assert_int_equal(f->last.kind, UPLINK_DELIVERED);
}

static void an_answer_that_no_message_awaits_is_ignored(void **state)
{
    struct in_flight ids = begin(*state);
    struct fixture *f = *state;

    broker_answer(&f->broker, PACKET_PUBACK, 1000, 0);
    broker_answer(&f->broker, PACKET_PUBREC, 1000, MQTT_UNSPECIFIED_ERROR);
    broker_answer(&f->broker, PACKET_PUBREC, ids.two, 0);
    /* A second one, and of failure: it would free what is still in flight. */
    broker_answer(&f->broker, PACKET_PUBREC, ids.two, 0);
    broker_answer(&f->broker, PACKET_PUBREC, ids.two, MQTT_UNSPECIFIED_ERROR);
    broker_answer(&f->broker, PACKET_PUBACK, ids.one, 0);
    broker_answer(&f->broker, PACKET_PUBACK, ids.one, MQTT_UNSPECIFIED_ERROR);
    broker_answer(&f->broker, PACKET_PUBCOMP, ids.two, 0);
    broker_answer(&f->broker, PACKET_PUBCOMP, ids.two, 0);
    wait_answers(f, 2);
    f->broker.withholds_acks = false;
    assert_int_equal(send_text(f, "t", "x", 1), 0);
    wait_answers(f, 3);
    assert_int_equal(f->kinds[UPLINK_DELIVERED], 3);
    assert_each_once(f);
    assert_int_equal(link_of(f).late_answers, 7); /* the broker answers our PUBREL, too */
    assert_int_equal(link_of(f).connects, 1);
}

/* --- what the peer has ------------------------------------------------------ */

#define LARGE (32u << 20) /* more than two socket buffers hold */

static void answer_of_a_message_that_was_not_written(struct fixture *f)
{
    assert_int_equal(f->last.id, 1);
    assert_false(f->last.was_written);
    assert_false(f->last.was_oldest);
    assert_int_equal(f->oldest_id, 0);
}

/* The small one is in the peer's buffer, though the peer has not read it. */
static void what_the_peer_has_not_taken_was_not_written(void **state)
{
    struct fixture *f = *state;

    need_seam("whose sockets are not known");
    uint8_t *payload = calloc(LARGE, 1);
    struct uplink_message message = {.id = 1,
                                     .topic = {(const uint8_t *)"t", 1},
                                     .payload = {payload, LARGE},
                                     .qos = 1,
                                     .expiry_ms = -1};

    need_tcp_info();
    assert_non_null(payload);
    f->settings.window_bytes = 2 * LARGE;
    f->broker.withholds_acks = true;
    go_online(f);
    (void)send_unanswered(f, 1);
    broker_stop_reading(&f->broker);
    assert_int_equal(uplink_send(f->uplink, &message), 0);
    f->next_id = 2;
    free(payload);
    struct paho_link_traffic traffic = {.is_blocked = false};
    while (!traffic.is_blocked) {
        assert_true(sd_event_run(f->event, 20000) >= 0);
        assert_true(paho_link_get_traffic(&traffic));
    }
    broker_reset(&f->broker);
    wait_answers(f, 2);
    assert_each_once(f);
    assert_int_equal(f->last.cause, UPLINK_CAUSE_BROKER_CLOSED);
    answer_of_a_message_that_was_not_written(f);
    assert_int_equal(f->oldest, 1);
    assert_int_equal(f->written, 1);
}

/* --- storms ----------------------------------------------------------------- */

#define STORM_WINDOW 64
#define STORM_BURST  40

static size_t resident_kb(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");

    assert_non_null(file);
    assert_int_equal(fscanf(file, "%*u %lu", &pages), 1);
    (void)fclose(file);
    return pages * 4;
}

static bool is_over(struct fixture *f)
{
    return f->answers == f->next_id;
}

/* One connection: messages of all sizes, of which the broker answers some before it resets. */
static void storm_once(struct fixture *f, unsigned round)
{
    static char text[BROKER_TEXT_MAX];
    unsigned burst = 1 + round * 7 % STORM_BURST;

    wait_for(f, is_online);
    f->broker.reset_after = 1 + round * 3 % STORM_BURST;
    for (unsigned i = 0; i < burst && is_online(f) && uplink_room(f->uplink) > 0; i++) {
        size_t size = 1 + (round * 31 + i * 17) % (sizeof(text) - 2);

        memset(text, 'a' + (int)(i % 26), size);
        text[size] = '\0';
        if (send_text(f, "storm/topic", text, (uint8_t)(1 + i % 2)) != 0)
            break;
    }
    if (burst < f->broker.reset_after)
        broker_reset(&f->broker);
    wait_for(f, is_over);
    assert_int_equal(link_of(f).in_flight, 0);
    assert_each_once(f);
    memset(f->times, 0, sizeof(f->times));
    f->next_id = f->answers = 0;
}

/* What arrives is what was sent: one letter, again and again. */
static void expect_intact(const struct broker_fake *broker)
{
    size_t size = strlen(broker->payload);

    if (broker->publishes == 0)
        return;
    assert_string_equal(broker->topic, "storm/topic");
    assert_int_equal(strspn(broker->payload, (char[]){broker->payload[0], '\0'}), size);
    assert_in_range(broker->payload[0], 'a', 'z');
}

static void a_storm_of_resets_answers_each_message_once_and_keeps_its_memory(void **state)
{
    struct fixture *f = *state;
    bool is_long = getenv("SPOOLD_LONG") != NULL;
    unsigned rounds = is_long ? 10000 : 100;
    size_t warm_kb = 0;

    f->settings.protocol = 5;
    f->settings.window = STORM_WINDOW;
    f->settings.backoff_min_ms = f->settings.backoff_max_ms = 1;
    start(f);
    for (unsigned round = 0; round < rounds; round++) {
        storm_once(f, round);
        expect_intact(&f->broker);
        if (round == rounds / 2)
            warm_kb = resident_kb();
    }
    size_t grown_kb = resident_kb() > warm_kb ? resident_kb() - warm_kb : 0;
    print_message("%u connections: %u delivered, %u unknown, %zu kB more in the second half\n",
                  (unsigned)link_of(f).connects, f->kinds[UPLINK_DELIVERED],
                  f->kinds[UPLINK_UNKNOWN], grown_kb);
    assert_true(f->kinds[UPLINK_DELIVERED] > 0);
    assert_true(f->kinds[UPLINK_UNKNOWN] > 0);
    assert_int_equal(f->kinds[UPLINK_REFUSED], 0);
/* A sanitizer keeps what is freed for a while. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    assert_true(grown_kb < 1024);
#endif
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_pubrec_of_failure_for_qos_1_ends_the_connection),
        CASE(a_pubrec_for_qos_1_ends_the_connection),
        CASE(a_pubcomp_for_qos_1_ends_the_connection),
        CASE(a_puback_for_qos_2_ends_the_connection),
        CASE(a_puback_of_failure_for_qos_2_ends_the_connection),
        CASE(a_pubcomp_before_the_pubrec_ends_the_connection),
        CASE(an_answer_before_a_part_of_a_packet_is_not_late),
        CASE(an_answer_that_no_message_awaits_is_ignored),
        CASE(what_the_peer_has_not_taken_was_not_written),
        CASE(a_storm_of_resets_answers_each_message_once_and_keeps_its_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
