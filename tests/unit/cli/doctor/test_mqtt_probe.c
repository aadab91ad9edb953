/* SPDX-License-Identifier: MIT */
/*
 * test_mqtt_probe.c - the packets of the doctor, over a pair of sockets
 */
#include <setjmp.h> /* cmocka needs these three before it */
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/cursor.h"
#include "base/view.h"
#include "cli/doctor/mqtt_probe.h"
#include "cli/doctor/net.h"
#include "cli/doctor/stream.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATIENCE_MS = 60000, SHORT_MS = 50, PACKET = 512 };

static struct stream near_end;
static int far_end;

static int open_ends(void **state)
{
    int ends[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    near_end = (struct stream){.fd = ends[0]};
    far_end = ends[1];
    return 0;
}

static int close_ends(void **state)
{
    (void)state;
    stream_close(&near_end);
    if (far_end >= 0)
        assert_int_equal(close(far_end), 0);
    return 0;
}

/* What the broker will have answered. */
static void answer(const char *bytes, size_t size)
{
    assert_int_equal(write(far_end, bytes, size), size);
}

static void assert_sent(const char *bytes, size_t size)
{
    char sent[PACKET];

    assert_int_equal(recv(far_end, sent, sizeof(sent), MSG_DONTWAIT), size);
    assert_memory_equal(sent, bytes, size);
}

static int64_t give_up(int64_t in_ms)
{
    return net_now_ms() + in_ms;
}

static int send_connect(unsigned version, struct mqtt_probe_connack *ret)
{
    const struct mqtt_probe_connect connect = {
        .version = version,
        .client_id = "gw",
        .username = "u",
        .password = view_of_text("pw"),
    };

    return mqtt_probe_connect(&near_end, &connect, give_up(PATIENCE_MS), ret);
}

#define BYTES(text) (text), sizeof(text) - 1

static void a_connect_has_what_it_was_given_and_starts_clean(void **state)
{
    struct mqtt_probe_connack connack;

    (void)state;
    answer(BYTES("\x20\x03\x00\x00\x00"));
    assert_int_equal(send_connect(5, &connack), 0);
    assert_sent(BYTES("\x10\x16\x00\x04MQTT\x05\xC2\x00\x3C\x00\x00\x02gw\x00\x01u\x00\x02pw"));
    assert_int_equal(connack.code, 0);
    assert_int_equal(connack.receive_maximum, UINT16_MAX);
    assert_int_equal(connack.maximum_qos, 2);
    assert_true(connack.has_retain);
    answer(BYTES("\x20\x02\x01\x05"));
    assert_int_equal(send_connect(4, &connack), 0);
    assert_sent(BYTES("\x10\x15\x00\x04MQTT\x04\xC2\x00\x3C\x00\x02gw\x00\x01u\x00\x02pw"));
    assert_int_equal(connack.code, 5);
    assert_true(connack.has_session);
}

static void what_is_announced_is_read(void **state)
{
    struct mqtt_probe_connack connack;

    (void)state;
    answer(BYTES("\x20\x2D\x00\x00\x2A"
                 "\x21\x00\x07"           /* Receive Maximum */
                 "\x22\x00\x0A"           /* Topic Alias Maximum */
                 "\x24\x01"               /* Maximum QoS */
                 "\x25\x00"               /* Retain Available */
                 "\x27\x00\x00\x10\x00"   /* Maximum Packet Size */
                 "\x13\x00\x1E"           /* Server Keep Alive */
                 "\x12\x00\x02id"         /* Assigned Client Identifier */
                 "\x1F\x00\x02ok"         /* Reason String */
                 "\x26\x00\x01k\x00\x01v" /* User Property */
                 "\x28\x01\x11\x00\x00\x00\x01"));
    assert_int_equal(send_connect(5, &connack), 0);
    assert_int_equal(connack.receive_maximum, 7);
    assert_int_equal(connack.alias_maximum, 10);
    assert_int_equal(connack.maximum_qos, 1);
    assert_false(connack.has_retain);
    assert_int_equal(connack.maximum_packet, 4096);
    assert_int_equal(connack.keepalive_s, 30);
    assert_string_equal(connack.client_id, "id");
    assert_string_equal(connack.words.reason, "ok");
    assert_string_equal(connack.words.reference, "");
}

static void a_broker_that_refuses_says_why_and_where_to_go(void **state)
{
    struct mqtt_probe_connack connack;

    (void)state;
    answer(BYTES("\x20\x13\x00\x9D\x10"
                 "\x1C\x00\x06host:1"  /* Server Reference */
                 "\x1F\x00\x04gone")); /* Reason String */
    assert_int_equal(send_connect(5, &connack), 0);
    assert_int_equal(connack.code, 0x9D);
    assert_string_equal(connack.words.reference, "host:1");
    assert_string_equal(connack.words.reason, "gone");
}

static void a_long_text_of_the_broker_is_cut(void **state)
{
    enum { LONG = 5000 };
    struct mqtt_probe_connack connack;
    char packet[3 + 2 + 2 + 3 + LONG];
    struct writer writer;
    char text[LONG];

    (void)state;
    memset(text, 'x', sizeof(text));
    text[MQTT_PROBE_TEXT_MAX - 2] = '\xC3'; /* half of it would fit */
    text[MQTT_PROBE_TEXT_MAX - 1] = '\xA4';
    writer_init(&writer, (uint8_t *)packet, sizeof(packet));
    writer_u8(&writer, 0x20);
    writer_varint(&writer, 2 + 2 + 3 + LONG);
    writer_u8(&writer, 0);
    writer_u8(&writer, 0x9C);
    writer_varint(&writer, 3 + LONG);
    writer_u8(&writer, 0x1C);
    writer_block(&writer, text, sizeof(text));
    assert_false(writer.failed);
    answer(packet, writer_used(&writer));
    assert_int_equal(send_connect(5, &connack), 0);
    assert_int_equal(strlen(connack.words.reference), MQTT_PROBE_TEXT_MAX - 2);
}

static void an_answer_that_is_wrong_is_no_answer(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
    } wrong[] = {
        {BYTES("HTTP/1.1 400")},
        {BYTES("\x20\x01\x00")},                 /* half of it */
        {BYTES("\x20\xFF\xFF\xFF\xFF\x01")},     /* a length of five bytes */
        {BYTES("\x20\xFF\xFF\xFF\x7F")},         /* too long */
        {BYTES("\x20\x05\x00\x00\x02\x7E\x00")}, /* an unknown property */
        {BYTES("\x20\x05\x00\x00\x02\x21\x00")}, /* half of one */
        {BYTES("\x20\x03\x00\x00\x05")},         /* more of them than the packet has */
    };
    struct mqtt_probe_connack connack;

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        answer(wrong[i].bytes, wrong[i].size);
        assert_int_equal(send_connect(5, &connack), -EBADMSG);
        close_ends(state);
        open_ends(state);
    }
}

static void a_connection_that_ends_or_is_silent_is_reported_as_such(void **state)
{
    const struct mqtt_probe_connect connect = {.version = 5, .client_id = "", .username = ""};
    struct mqtt_probe_connack connack;

    (void)state;
    assert_int_equal(mqtt_probe_connect(&near_end, &connect, give_up(SHORT_MS), &connack),
                     -ETIMEDOUT);
    answer(BYTES("\x20\x03\x00"));
    assert_int_equal(shutdown(far_end, SHUT_WR), 0);
    assert_int_equal(mqtt_probe_connect(&near_end, &connect, give_up(PATIENCE_MS), &connack),
                     -ECONNRESET);
}

static void a_message_is_sent_with_qos_1_and_its_code_is_read(void **state)
{
    struct mqtt_probe_puback puback;

    (void)state;
    answer(BYTES("\x40\x02\x00\x01"));
    assert_int_equal(mqtt_probe_publish(&near_end, 5, "t", "x", give_up(PATIENCE_MS), &puback),
                     0);
    assert_sent(BYTES("\x32\x07\x00\x01t\x00\x01\x00x"));
    assert_int_equal(puback.code, 0);
    answer(BYTES("\x40\x09\x00\x01\x97\x05\x1F\x00\x02no"));
    assert_int_equal(mqtt_probe_publish(&near_end, 5, "t", "x", give_up(PATIENCE_MS), &puback),
                     0);
    assert_int_equal(puback.code, 0x97);
    assert_string_equal(puback.words.reason, "no");
    assert_false(puback.is_disconnect);
    answer(BYTES("\x40\x02\x00\x02")); /* of another message */
    assert_int_equal(mqtt_probe_publish(&near_end, 4, "t", "x", give_up(PATIENCE_MS), &puback),
                     -EBADMSG);
    mqtt_probe_disconnect(&near_end, give_up(PATIENCE_MS));
}

static void a_disconnect_in_the_place_of_an_acknowledgement_is_read(void **state)
{
    struct mqtt_probe_puback puback;

    (void)state;
    answer(BYTES("\xE0\x0A\x9C\x08\x1C\x00\x05other"));
    assert_int_equal(mqtt_probe_publish(&near_end, 5, "t", "x", give_up(PATIENCE_MS), &puback),
                     0);
    assert_true(puback.is_disconnect);
    assert_int_equal(puback.code, 0x9C);
    assert_string_equal(puback.words.reference, "other");
    answer(BYTES("\xE0\x00")); /* without a code */
    assert_int_equal(mqtt_probe_publish(&near_end, 5, "t", "x", give_up(PATIENCE_MS), &puback),
                     0);
    assert_true(puback.is_disconnect);
    assert_int_equal(puback.code, 0);
    answer(BYTES("\xE0\x00")); /* in 3.1.1 a broker sends none */
    assert_int_equal(mqtt_probe_publish(&near_end, 4, "t", "x", give_up(PATIENCE_MS), &puback),
                     -EBADMSG);
}

static void assert_place(const char *uri, const char *host, const char *port, bool is_tls)
{
    struct net_place place;

    net_parse(uri, &place);
    assert_string_equal(place.host, host);
    assert_string_equal(place.port, port);
    assert_int_equal(place.is_tls, is_tls);
}

static void a_uri_is_host_and_port(void **state)
{
    (void)state;
    assert_place("tcp://host:1884", "host", "1884", false);
    assert_place("mqtt://host", "host", "1883", false);
    assert_place("ssl://host", "host", "8883", true);
    assert_place("mqtts://[::1]:443", "::1", "443", true);
    assert_place("ssl://[fe80::1]", "fe80::1", "8883", true);
    assert_place("tcp://10.0.0.1:1883/", "10.0.0.1", "1883", false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define OVER_SOCKETS(name) cmocka_unit_test_setup_teardown(name, open_ends, close_ends)
        OVER_SOCKETS(a_connect_has_what_it_was_given_and_starts_clean),
        OVER_SOCKETS(what_is_announced_is_read),
        OVER_SOCKETS(a_broker_that_refuses_says_why_and_where_to_go),
        OVER_SOCKETS(a_long_text_of_the_broker_is_cut),
        OVER_SOCKETS(an_answer_that_is_wrong_is_no_answer),
        OVER_SOCKETS(a_connection_that_ends_or_is_silent_is_reported_as_such),
        OVER_SOCKETS(a_message_is_sent_with_qos_1_and_its_code_is_read),
        OVER_SOCKETS(a_disconnect_in_the_place_of_an_acknowledgement_is_read),
        cmocka_unit_test(a_uri_is_host_and_port),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
