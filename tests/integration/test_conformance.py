# SPDX-License-Identifier: MIT
"""Packet sequences against the local socket, for both versions of MQTT.

Each row of a table: what the standard says, the version, the bytes sent in hex (after a CONNECT
if the table requires it), and what must come back: packets as "KIND reason" and whether the
connection closes. In version 3.1.1 an error closes without an answer.
"""

import contextlib
import os
import socket
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import mqtt  # noqa: E402
from broker import Mosquitto  # noqa: E402
from gateway import Gateway  # noqa: E402
from tap import case, check, cleanup, equal, quick_once, run_all, skip, wait_for  # noqa: E402

# "C:" stands for a CONNACK with that code, "D:" for a DISCONNECT, "A:" for a PUBACK,
# "P" for a PINGRESP, "S:" for a SUBACK, "U:" for an UNSUBACK; "X" closes.

CONNECTS = [
    # statement, version, bytes, wanted (any of them)
    ("a plain CONNECT is accepted", 4, "100d 0004 4d515454 04 02 003c 0001 61", ["C:00"]),
    ("a plain CONNECT is accepted", 5, "100e 0004 4d515454 05 02 003c 00 0001 61", ["C:00"]),
    ("3.1.1 without id, clean", 4, "100c 0004 4d515454 04 02 003c 0000", ["C:00"]),
    ("3.1.1 without id, not clean: 0x02 [MQTT-3.1.3-8]", 4,
     "100c 0004 4d515454 04 00 003c 0000", ["C:02 X"]),
    ("persistent session flag is accepted", 4, "100d 0004 4d515454 04 00 003c 0001 61", ["C:00"]),
    ("persistent session flag is accepted", 5, "100e 0004 4d515454 05 00 003c 00 0001 61",
     ["C:00"]),
    ("session expiry is accepted", 5,
     "1013 0004 4d515454 05 02 003c 05 1100000e10 0001 61", ["C:00"]),
    ("a wrong protocol name closes [MQTT-3.1.2-1]", 4, "100d 0004 4d515455 04 02 003c 0001 61",
     ["X", "C:01 X"]),
    ("version 3 is unsupported", 4, "100f 0006 4d5149736470 03 02 003c 0001 61",
     ["X", "C:01 X", "C:84 X"]),
    ("version 6 is unsupported [MQTT-3.1.2-2]", 5, "100e 0004 4d515454 06 02 003c 00 0001 61",
     ["X", "C:84 X", "C:01 X"]),
    ("a reserved flag of CONNECT closes [MQTT-3.1.2-3]", 4,
     "100d 0004 4d515454 04 03 003c 0001 61", ["X"]),
    ("a reserved flag of CONNECT is malformed [MQTT-3.1.2-3]", 5,
     "100e 0004 4d515454 05 03 003c 00 0001 61", ["C:81 X"]),
    ("fixed header flags of CONNECT are 0 [MQTT-2.1.3-1]", 4,
     "110d 0004 4d515454 04 02 003c 0001 61", ["X"]),
    ("fixed header flags of CONNECT are 0 [MQTT-2.1.3-1]", 5,
     "110e 0004 4d515454 05 02 003c 00 0001 61", ["X", "C:81 X"]),
    ("will QoS 3 [MQTT-3.1.2-12]", 5,
     "1015 0004 4d515454 05 1e 003c 00 0001 61 00 0001 74 0001 6d", ["C:81 X"]),
    ("will QoS 2", 5, "1015 0004 4d515454 05 16 003c 00 0001 61 00 0001 74 0001 6d", ["C:00"]),
    ("will QoS 1", 5, "1015 0004 4d515454 05 0e 003c 00 0001 61 00 0001 74 0001 6d", ["C:00"]),
    ("will QoS 2", 4,
     "1013 0004 4d515454 04 16 003c 0001 61 0001 74 0001 6d", ["C:00"]),
    ("a password without a user name [3.1.1 MQTT-3.1.2-22]", 4,
     "1010 0004 4d515454 04 42 003c 0001 61 0001 70", ["X"]),
    ("a CONNECT cut short", 4, "1009 0004 4d515454 04 02 00", ["X"]),
    ("bytes after the payload of CONNECT", 4, "100e 0004 4d515454 04 02 003c 0001 61 00", ["X"]),
    ("bytes after the payload of CONNECT", 5, "100f 0004 4d515454 05 02 003c 00 0001 61 00",
     ["C:81 X"]),
    ("a client id that is no UTF-8 [MQTT-1.5.4-1]", 5,
     "100f 0004 4d515454 05 02 003c 00 0002 c328", ["C:81 X"]),
    ("a property twice", 5,
     "1018 0004 4d515454 05 02 003c 0a 1100000e10 1100000e10 0001 61", ["C:82 X"]),
    ("Receive Maximum 0", 5, "1011 0004 4d515454 05 02 003c 03 210000 0001 61",
     ["C:82 X"]),
    ("a CONNECT cut short", 5, "1007 0004 4d515454 05", ["C:81 X"]),
    ("a CONNECT cut short", 5, "1009 0004 4d515454 05 02 00", ["C:81 X"]),
    ("a CONNECT without a property length", 5, "100a 0004 4d515454 05 02 003c", ["C:81 X"]),
    ("a CONNECT without a payload [MQTT-3.1.3-3]", 5, "100b 0004 4d515454 05 02 003c 00",
     ["C:81 X"]),
    ("a property of no packet", 5, "100f 0004 4d515454 05 02 003c 01 7f 0001 61", ["C:81 X"]),
    ("a property of another packet", 5, "1011 0004 4d515454 05 02 003c 03 230001 0001 61",
     ["C:81 X"]),
    ("a property of the will twice", 5,
     "1019 0004 4d515454 05 06 003c 00 0001 61 04 0100 0100 0001 74 0001 6d", ["C:82 X"]),
    ("a wildcard in the will topic", 5,
     "1015 0004 4d515454 05 06 003c 00 0001 61 00 0001 23 0001 6d", ["C:82 X"]),
    ("a control character in the will topic (1.5.4)", 5,
     "1015 0004 4d515454 05 06 003c 00 0001 61 00 0001 01 0001 6d", ["C:90 X"]),
    ("a control character in the will topic (1.5.4)", 4,
     "1013 0004 4d515454 04 06 003c 0001 61 0001 01 0001 6d", ["X"]),
    ("a will that is not the text it says (3.1.3.2.3)", 5,
     "1017 0004 4d515454 05 06 003c 00 0001 61 02 0101 0001 74 0001 ff", ["C:99 X"]),
    ("a will topic that begins with $", 5,
     "1015 0004 4d515454 05 06 003c 00 0001 61 00 0001 24 0001 6d", ["C:87 X"]),
    ("a will topic that begins with $", 4,
     "1013 0004 4d515454 04 06 003c 0001 61 0001 24 0001 6d", ["C:05 X"]),
    ("a will flag without a will", 5, "100e 0004 4d515454 05 06 003c 00 0001 61", ["C:81 X"]),
    ("a user name flag without a user name", 5, "100e 0004 4d515454 05 82 003c 00 0001 61",
     ["C:81 X"]),
    ("authentication data without a method", 5,
     "1012 0004 4d515454 05 02 003c 04 16000178 0001 61", ["C:82 X"]),
    ("an authentication method we do not know", 5,
     "1012 0004 4d515454 05 02 003c 04 15000178 0001 61", ["C:8c X", "C:87 X"]),
    ("a first packet that is no CONNECT [MQTT-3.1.0-1]", 4, "c000", ["X"]),
    ("a PUBLISH before CONNECT [MQTT-3.1.0-1]", 4, "3003 0001 74", ["X"]),
    ("packet type 0 is forbidden", 4, "0000", ["X"]),
    ("a remaining length of five bytes", 4, "10 ffffffff7f", ["X"]),
    ("an HTTP request", 4, "474554202f20485454502f312e310d0a0d0a", ["X"]),
]

AFTER_CONNECT = [
    ("PINGREQ is answered", 4, "c000", ["P"]),
    ("PINGREQ is answered", 5, "c000", ["P"]),
    ("QoS 1 is acknowledged with its id", 4, "3206 0001 74 1234 78", ["A:00"]),
    ("QoS 1 is acknowledged with its id", 5, "3207 0001 74 1234 00 78", ["A:00"]),
    ("QoS 0 is not acknowledged", 4, "3004 0001 74 78 c000", ["P"]),
    ("an empty payload", 4, "3205 0001 74 1234", ["A:00"]),
    ("DUP on QoS 1 is no error", 4, "3a06 0001 74 1234 78", ["A:00"]),
    ("two packets in one write", 4, "3206 0001 74 0001 78 3206 0001 74 0002 78", ["A:00 A:00"]),
    ("a second CONNECT [MQTT-3.1.0-2]", 4, "100d 0004 4d515454 04 02 003c 0001 61", ["X"]),
    ("a second CONNECT [MQTT-3.1.0-2]", 5, "100e 0004 4d515454 05 02 003c 00 0001 61", ["D:82 X"]),
    ("QoS 3 [MQTT-3.3.1-4]", 4, "3606 0001 74 1234 78", ["X"]),
    ("QoS 3 [MQTT-3.3.1-4]", 5, "3607 0001 74 1234 00 78", ["D:81 X"]),
    ("DUP on QoS 0 [MQTT-3.3.1-2]", 4, "3804 0001 74 78", ["X"]),
    ("DUP on QoS 0 [MQTT-3.3.1-2]", 5, "3805 0001 74 00 78", ["D:81 X", "D:82 X"]),
    ("packet id 0 [MQTT-2.2.1-3]", 4, "3206 0001 74 0000 78", ["X"]),
    ("packet id 0 [MQTT-2.2.1-3]", 5, "3207 0001 74 0000 00 78", ["D:81 X", "D:82 X"]),
    ("a wildcard in the topic [MQTT-3.3.2-2]", 4, "3206 0001 23 1234 78", ["X"]),
    ("a wildcard in the topic [MQTT-3.3.2-2]", 5, "3207 0001 23 1234 00 78",
     ["A:90"]),
    ("a plus in the topic [MQTT-3.3.2-2]", 5, "3209 0003 612f2b 1234 00 78",
     ["A:90"]),
    ("an empty topic without an alias", 4, "3205 0000 1234 78", ["X"]),
    ("an empty topic without an alias", 5, "3206 0000 1234 00 78", ["D:82 X", "D:90 X", "D:81 X"]),
    ("U+0000 in the topic [MQTT-1.5.4-2]", 4, "3206 0001 00 1234 78", ["X"]),
    ("U+0000 in the topic [MQTT-1.5.4-2]", 5, "3207 0001 00 1234 00 78", ["D:81 X", "D:90 X"]),
    ("an overlong form in the topic [MQTT-1.5.4-1]", 5, "3208 0002 c0af 1234 00 78",
     ["D:81 X", "D:90 X"]),
    ("a surrogate in the topic [MQTT-1.5.4-1]", 5, "3209 0003 eda080 1234 00 78",
     ["D:81 X", "D:90 X"]),
    ("a control character in the topic (1.5.4)", 4, "3206 0001 01 1234 78", ["X"]),
    ("a control character in the topic (1.5.4)", 5, "3207 0001 01 1234 00 78", ["A:90"]),
    ("a control character in the topic, QoS 0 (1.5.4)", 5, "3006 0002 c285 00 78", ["D:90 X"]),
    ("a non-character in the topic (1.5.4)", 5, "3209 0003 efbfbf 1234 00 78", ["A:90"]),
    ("a control character in the content type (1.5.4)", 5,
     "320b 0001 74 1234 04 03000109 78", ["D:81 X"]),
    ("a control character in the response topic (1.5.4)", 5,
     "320b 0001 74 1234 04 08000109 78", ["D:81 X"]),
    ("a control character in a user property (1.5.4)", 5,
     "320e 0001 74 1234 07 26000161 00010a 78", ["D:81 X"]),
    ("a topic longer than the packet", 4, "3206 00ff 74 1234 78", ["X"]),
    ("a topic longer than the packet", 5, "3207 00ff 74 1234 00 78", ["D:81 X"]),
    ("a topic alias stands for its topic", 5,
     "320a 0001 74 1234 03 230001 78 3209 0000 1235 03 230001 78", ["A:00 A:00"]),
    ("a topic alias is set again", 5,
     "320a 0001 74 1234 03 230001 78 320a 0001 24 1235 03 230001 78 3209 0000 1236 03 230001 78",
     ["A:00 A:87 A:87"]),
    ("a topic alias that was not set (3.3.2.3.4)", 5, "3209 0000 1234 03 230001 78", ["D:82 X"]),
    ("a topic alias above the maximum [MQTT-3.3.2-9]", 5, "320a 0001 74 1234 03 230021 78",
     ["D:94 X"]),
    ("a topic alias twice", 5, "320d 0001 74 1234 06 230001230001 78", ["D:82 X"]),
    ("a topic alias of 0 [MQTT-3.3.2-8]", 5, "320a 0001 74 1234 03 230000 78",
     ["D:94 X"]),
    ("a subscription identifier from a client [MQTT-3.3.4-6]", 5,
     "3209 0001 74 1234 02 0b01 78", ["D:82 X", "D:81 X"]),
    ("a property that is none", 5, "3209 0001 74 1234 02 7f01 78", ["D:81 X", "D:82 X"]),
    ("a property of another packet", 5, "320c 0001 74 1234 05 1100000001 78",
     ["D:81 X", "D:82 X"]),
    ("a property twice", 5, "320b 0001 74 1234 04 01000100 78", ["D:82 X", "D:81 X"]),
    ("payload format 2", 5, "3209 0001 74 1234 02 0102 78", ["D:82 X", "D:81 X"]),
    ("a property length beyond the packet", 5, "3207 0001 74 1234 7f 78", ["D:81 X"]),
    ("a wildcard in the response topic [MQTT-3.3.2-14]", 5,
     "320b 0001 74 1234 04 08000123 78", ["D:82 X", "D:81 X", "D:90 X"]),
    ("a user property twice is no error", 5,
     "3215 0001 74 1234 0e 260001610001622600016100 0163 78", ["A:00"]),
    ("SUBSCRIBE is refused", 4, "8206 0001 0001 74 00", ["S:80"]),
    ("SUBSCRIBE is refused", 5, "8207 0001 00 0001 74 00", ["S:87"]),
    ("SUBSCRIBE to two filters is refused for each", 5, "820b 0001 00 0001 74 00 0001 75 01",
     ["S:87,87"]),
    ("a shared subscription", 5, "8211 0001 00 000b 2473686172652f672f7374 00", ["S:9e"]),
    ("a subscription identifier", 5, "8209 0001 02 0b05 0001 74 00", ["S:a1"]),
    ("SUBSCRIBE with flags 0 [MQTT-3.8.1-1]", 4, "8006 0001 0001 74 00", ["X"]),
    ("SUBSCRIBE with flags 0 [MQTT-3.8.1-1]", 5, "8007 0001 00 0001 74 00", ["D:81 X"]),
    ("SUBSCRIBE without a filter [MQTT-3.8.3-2]", 4, "8202 0001", ["X"]),
    ("SUBSCRIBE without a filter [MQTT-3.8.3-2]", 5, "8203 0001 00", ["D:82 X", "D:81 X"]),
    ("UNSUBSCRIBE is answered", 4, "a205 0001 0001 74", ["U:"]),
    ("UNSUBSCRIBE is answered", 5, "a206 0001 00 0001 74", ["U:11", "U:87"]),
    ("a PUBACK for nothing has no effect", 4, "4002 0001 c000", ["P"]),
    ("a PUBACK for nothing has no effect", 5, "4002 0001 c000", ["P"]),
    ("a CONNACK from a client", 4, "2002 0000", ["X"]),
    ("a CONNACK from a client", 5, "2003 0000 00", ["D:82 X", "D:81 X"]),
    ("a PINGRESP from a client", 5, "d000", ["D:82 X", "D:81 X"]),
    ("packet type 0", 5, "0000", ["D:81 X", "D:82 X"]),
    ("packet type 15 in 3.1.1", 4, "f000", ["X"]),
    ("AUTH without a method", 5, "f000", ["D:82 X", "D:81 X"]),
    ("PINGREQ with a payload", 4, "c001 00", ["X"]),
    ("PINGREQ with a payload", 5, "c001 00", ["D:81 X"]),
    ("PINGREQ with flags", 5, "c100", ["D:81 X"]),
    ("a remaining length of five bytes", 5, "32 ffffffff7f", ["D:81 X"]),
    ("DISCONNECT closes", 4, "e000", ["X"]),
    ("DISCONNECT closes", 5, "e000", ["X"]),
    ("DISCONNECT with a reason closes", 5, "e002 04 00", ["X"]),
    ("DISCONNECT with flags [MQTT-3.14.1-1]", 5, "e100", ["D:81 X"]),
    ("a PUBREL for nothing", 5, "6202 0001", ["R:92"]),
    ("a PUBREL for nothing", 4, "6202 0001", ["R:00"]),
]


def shown(packet):
    code = "%02x" % packet.reason if packet.reason is not None else ""
    if packet.kind in (mqtt.SUBACK, mqtt.UNSUBACK):
        code = ",".join("%02x" % reason for reason in packet.reasons)
    letter = {mqtt.CONNACK: "C:", mqtt.DISCONNECT: "D:", mqtt.PUBACK: "A:", mqtt.PINGRESP: "P",
              mqtt.SUBACK: "S:", mqtt.UNSUBACK: "U:", mqtt.PUBCOMP: "R:"}.get(
                  packet.kind, "?%d:" % packet.kind)
    return letter + code


def answers(client, wanted):
    """What comes until it closes or, if no close is wanted, as many packets as wanted."""
    most = max(len(one.split()) for one in wanted if not one.endswith("X")) \
        if any(not one.endswith("X") for one in wanted) else 99
    seen = []
    while len(seen) < most:
        try:
            seen.append(shown(client.receive(20)))
        except mqtt.Closed:
            return " ".join(seen + ["X"])
        except socket.timeout:
            return " ".join(seen + ["nothing more"])
    return " ".join(seen)


def run_table(table, connected, chunk=None):
    gateway = Gateway().start()
    wrong = []
    for number, (statement, version, text, wanted) in enumerate(table):
        client = gateway.raw(version, client_id="t%d" % number)
        if connected:
            client.connect()
        raw = bytes.fromhex(text)
        try:
            for start in range(0, len(raw), chunk or len(raw)):
                client.send(raw[start:start + (chunk or len(raw))])
                if chunk:
                    time.sleep(0.001)
        except OSError:
            pass  # closed while we were still sending: what counts is what it answered
        seen = answers(client, wanted)
        if seen not in wanted:
            wrong.append("%s (version %d): %s, wanted %s" % (statement, version, seen, wanted))
        client.close()
    gateway.stop()
    check(not wrong, "%d of %d rows are wrong:\n" % (len(wrong), len(table)) + "\n".join(wrong))


@case
def each_row_of_the_table_of_connects_is_held():
    run_table(CONNECTS, connected=False)


@case
def each_row_of_the_table_of_packets_is_held():
    run_table(AFTER_CONNECT, connected=True)


# U+0001 to U+00A1, and the borders of what 1.5.4 (MQTT 5) calls disallowed.
CHARACTERS = [chr(point) for point in
              list(range(0x01, 0xA2)) + [0xFDCF, 0xFDD0, 0xFDEF, 0xFDF0, 0xFEFF, 0xFFFD, 0xFFFE,
                                         0xFFFF, 0x10000, 0x1FFFD, 0x1FFFE, 0x1FFFF, 0x20000,
                                         0x10FFFD, 0x10FFFE, 0x10FFFF] if chr(point) not in "+#"]


def takes(address, version, topic, properties):
    with mqtt.Client(address, version, client_id="strict") as client:
        client.publish(topic, b"x", properties=properties)
        try:
            found = client.receive(10)
            return found.kind == mqtt.PUBACK and found.reason < 0x80
        except mqtt.Closed:
            return False


@case(seconds=300)
def what_a_broker_closes_the_connection_for_is_not_taken_and_nothing_else():
    broker, gateway = Mosquitto().start(), Gateway().start()
    places = [("topic", 4, lambda text: (text, None)), ("topic", 5, lambda text: (text, None)),
              ("content type", 5, lambda text: ("t", {"content_type": text})),
              ("response topic", 5, lambda text: ("t", {"response_topic": text})),
              ("name of a user property", 5, lambda text: ("t", {"user": [(text, "v")]})),
              ("user property", 5, lambda text: ("t", {"user": [("n", text)]})),
              ("correlation data", 5, lambda text: ("t", {"correlation_data": text.encode()}))]
    for place, version, made in places:
        taken = [[takes(address, version, *made("a" + character + "z"))
                  for character in CHARACTERS] for address in (broker.address, gateway.socket)]
        wrong = ["U+%04X" % ord(character) for character, far, near in zip(CHARACTERS, *taken)
                 if far != near]
        check(not wrong, "%s in version %d: taken by only one of broker and gateway"
              % (place, version), wrong)
        equal(taken[1].count(False), 0 if place == "correlation data" else 72,
              "refused as " + place)
    gateway.stop()


@case
def both_tables_are_held_byte_by_byte():
    run_table(CONNECTS, connected=False, chunk=1)
    run_table(AFTER_CONNECT, connected=True, chunk=1)


@case
def packets_cut_anywhere_are_put_together():
    gateway = Gateway().start()
    stream = b"".join(mqtt.publish_packet(5, "plant/t", b"x" * (7 * number), 1, number)
                      for number in range(1, 40))
    for size in (1, 2, 3, 7, 100, 1000):
        client = gateway.client(5)
        for start in range(0, len(stream), size):
            client.send(stream[start:start + size])
        acks = [client.expect(mqtt.PUBACK) for _ in range(39)]
        equal([(ack.packet_id, ack.reason) for ack in acks],
              [(number, 0) for number in range(1, 40)])
        client.disconnect()
    gateway.stop()
    equal(gateway.ledger()["accepted"], 6 * 39)


@case
def a_packet_id_in_use_may_come_again_after_its_acknowledgement():
    gateway = Gateway().start()
    client = gateway.client(4)
    for _ in range(3):
        client.last_id = 16
        client.publish_wait("plant/t", b"x")
    gateway.stop()
    equal(gateway.ledger()["accepted"], 3)


@case
def a_silent_client_is_closed_after_one_and_a_half_keep_alives():
    gateway = Gateway().start()

    def closed_after(version):
        began = time.monotonic()
        last = gateway.client(version, keepalive=1).expect_closed(20)
        took = time.monotonic() - began
        check(took >= 1.4, "closed after", took)
        equal(last and (last.kind, last.reason), (mqtt.DISCONNECT, 0x8D) if version == 5 else None)
        return took

    for version in (4, 5):
        quick_once(5, lambda v=version: closed_after(v), "closed in version %d" % version)
    gateway.stop()


def longest_silence(client):
    """Pings and publishes for 3 s; (longest silence, was it closed)."""
    longest, spoke = 0, time.monotonic()
    try:
        for turn in range(6):
            time.sleep(0.5)
            client.ping() if turn % 2 else client.publish_wait("plant/t", b"x")
            longest, spoke = max(longest, time.monotonic() - spoke), time.monotonic()
    except (OSError, mqtt.Closed):
        return max(longest, time.monotonic() - spoke), True
    return longest, False


@case
def pings_and_publishes_keep_a_client_alive():
    gateway = Gateway().start()
    for _ in range(10):  # as long as it is this test that is held up
        longest, closed = longest_silence(gateway.client(4, keepalive=1))
        check(not closed or longest >= 1.4, "closed after a silence of", longest)
        if not closed:
            break
    check(not closed, "never kept alive")
    gateway.stop()


@case
def keep_alive_0_never_times_out():
    gateway = Gateway().start()
    client = gateway.client(4, keepalive=0)
    time.sleep(2.5)
    client.ping()
    gateway.stop()


@case
def a_connection_without_a_connect_is_closed_after_its_time():
    gateway = Gateway().start()

    def closed_after():
        began = time.monotonic()
        silent, slow = gateway.raw(), gateway.raw()
        raw = mqtt.connect_packet(5, "x" * 60)
        for byte in raw[:20]:
            slow.send(bytes([byte]))
        silent.expect_closed(30)
        slow.expect_closed(30)
        took = time.monotonic() - began
        check(took >= 8, "closed after", took)
        return took

    quick_once(15, closed_after, "closed", 3)
    gateway.stop()


@case
def a_client_that_never_reads_its_acknowledgements_is_bounded():
    gateway = Gateway().start()
    gateway.client(5).ping()
    before = resident(gateway.process.pid)
    greedy = gateway.client(5)
    greedy.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    greedy.sock.settimeout(3)
    packet = mqtt.publish_packet(5, "t", b"", 1, 1) * 1000
    sent = 0
    try:
        for _ in range(300):
            sent += greedy.sock.send(packet) // (len(packet) // 1000)
    except OSError:
        pass  # delayed, or closed: both bound it
    check(sent < 300000, "it could send without end", sent)
    other = gateway.client(5)
    equal(other.publish_wait("plant/t", b"x").reason, 0, "another producer")
    grown = resident(gateway.process.pid) - before
    check(grown < 30 << 20, "memory grew by", grown)
    gateway.stop()


def resident(pid):
    with open("/proc/%d/statm" % pid) as seen:
        return int(seen.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def crowd_of(gateway, raw, connected):
    made = []
    for number in range(300):
        client = gateway.client if connected else gateway.raw
        made.append(client(5, client_id="c%d" % number))
        made[-1].sock.settimeout(0.2)
        with contextlib.suppress(OSError):  # refused before all was sent, or not read any more
            made[-1].send(raw)
    return made


@case
def what_a_crowd_buffers_is_bounded_and_given_back():
    gateway = Gateway().start()
    connect = mqtt.packet(mqtt.CONNECT, b"\0\4MQTT\5\2\0\0" + b"x" * 262000)
    equal(crowd_of(gateway, connect[:100], False)[-1].expect(mqtt.CONNACK).reason, 0x95)
    if gateway.is_sanitized():
        skip("a sanitizer's memory says nothing")
    start = resident(gateway.process.pid)
    connect = mqtt.packet(mqtt.CONNECT, b"\0\4MQTT\5\2\0\0" + b"x" * 72000)
    large, small = (mqtt.publish_packet(5, "t", b"x" * size) for size in (262000, 60000))
    aliases = b"".join(mqtt.publish_packet(5, "x" * 2000, b"", properties={
        "topic_alias": number}) for number in range(1, 33))
    for raw, connected, limit in ((connect, False, 76), (large, True, 280), (small, True, 76),
                                  (aliases, True, 150)):
        crowd = crowd_of(gateway, raw[:-5], connected)
        most = resident(gateway.process.pid)
        check(most - start < 300 * limit << 10, "bytes for %d clients" % len(crowd), most - start)
        for client in crowd[::2] + crowd:  # half of them first, so that they leave holes
            client.close()
        wait_for(lambda: resident(gateway.process.pid) < start + (4 << 20), 10,
                 lambda: "back at %d, it has %d" % (start, resident(gateway.process.pid)))
    gateway.stop()


@case
def three_hundred_connections_at_once_are_served():
    gateway = Gateway().start()
    clients = [gateway.client(4 + number % 2, client_id="c%d" % number) for number in range(300)]
    for client in clients:
        client.publish("plant/t", b"x")
    for client in clients:
        client.expect(mqtt.PUBACK)
    for client in clients:
        client.disconnect()
    gateway.stop()
    equal(gateway.ledger()["accepted"], 300)


@case
def connections_without_a_connect_take_no_place_from_a_client():
    gateway = Gateway(listen={"max_clients": 2}).start()
    silent = [gateway.raw(5) for _ in range(2)]

    def is_served():
        late = gateway.raw(5)
        late.send(mqtt.connect_packet(5, "honest"))
        return late.expect(mqtt.CONNACK).reason == 0
    wait_for(is_served, 5, "a client is admitted, long before their CONNECT is overdue")
    silent[0].expect_closed(5)
    gateway.stop()


@case
def more_clients_than_max_clients_get_the_reason_and_the_others_stay():
    gateway = Gateway(listen={"max_clients": 10}).start()
    clients = [gateway.client(5, client_id="c%d" % number) for number in range(10)]
    for version, code in ((5, 0x97), (4, 0x03)):
        for name in ("late", "later"):
            late = gateway.raw(version)
            late.send(mqtt.connect_packet(version, name))
            last = late.expect_closed(5)
            check(last is not None and last.kind == mqtt.CONNACK, "a CONNACK", last)
            equal(last.reason, code, "reason of the CONNACK")
    check("client_refused reason=max_clients" in gateway.log(), "it is logged")
    wait_for(lambda: gateway.status()["producers"]["clients_refused"] == 4, 10, "4 in the status")
    for client in clients:
        equal(client.publish_wait("plant/t", b"x").reason, 0)
    clients.pop().disconnect()
    wait_for(lambda: served(gateway), 10, "a place for the next one")
    gateway.stop()


SURPLUS_S = 2  # an over-limit client has this long for its CONNECT


def connected_while_a_place_became_free(gateway, served_ones, before):
    """False: it took so long that the ones that wait may be gone."""
    began = time.monotonic()
    crowd = [gateway.raw(5) for _ in range(100)]
    for client in crowd[16:]:
        equal(client.expect_closed(20), None, "an answer to one too many")
    # Beside them a file or a connection of its own may be open for a moment.
    wait_for(lambda: len(os.listdir("/proc/%d/fd" % gateway.process.pid)) <= before + 16, 10,
             "few descriptors of those that wait", 0.005)
    served_ones.pop().disconnect()
    wait_for(lambda: gateway.fresh_status()["producers"]["connected"] == 1, 10, "a free place")
    try:
        crowd[0].connect()
    except (OSError, mqtt.Closed):
        check(time.monotonic() - began >= SURPLUS_S, "closed before its time")
    served_ones.append(crowd[0])
    for client in crowd[1:16]:
        equal(client.expect_closed(20), None, "an answer to silence")
    return crowd[0].connack is not None


@case
def a_crowd_that_is_not_served_costs_few_descriptors_and_not_for_long():
    gateway = Gateway(listen={"max_clients": 2}).start()
    served_ones = [gateway.client(5, client_id="c%d" % number) for number in range(2)]
    gateway.fresh_status()
    folder = "/proc/%d/fd" % gateway.process.pid
    before = len(os.listdir(folder))
    for number in range(10):
        # One that connects while a place becomes free has it.
        if connected_while_a_place_became_free(gateway, served_ones, before):
            break
        served_ones[-1] = gateway.client(5, client_id="again%d" % number)
    equal(served_ones[-1].publish_wait("plant/t", b"x").reason, 0)
    wait_for(lambda: len(os.listdir(folder)) <= before, 10, "descriptors back to %d" % before)
    gateway.stop()


def served(gateway):
    try:
        with mqtt.Client(gateway.socket, 5) as client:
            return client.publish_wait("plant/t", b"x").reason == 0
    except (OSError, mqtt.Closed, AssertionError):
        return False


@case
def clients_that_vanish_in_the_middle_leave_nothing_behind():
    gateway = Gateway().start()
    gateway.client(5).ping()
    before = len(os.listdir("/proc/%d/fd" % gateway.process.pid))
    raw = mqtt.connect_packet(5, "") + mqtt.publish_packet(5, "plant/t", b"x" * 5000, 1, 1)
    for cut in range(0, len(raw), 61):
        client = gateway.raw(5)
        client.send(raw[:cut])
        client.close()
    wait_for(lambda: len(os.listdir("/proc/%d/fd" % gateway.process.pid)) <= before, 20,
             "descriptors back to %d" % before)
    gateway.stop()


@case
def a_bad_producer_does_not_disturb_a_good_one():
    gateway = Gateway().start()
    ending = threading.Event()
    thread = threading.Thread(target=disturb, args=(gateway, ending), daemon=True)
    cleanup(ending.set)
    thread.start()
    good = gateway.client(5)
    for number in range(300):
        equal(good.publish_wait("plant/t", b"%d" % number).reason, 0)
    ending.set()
    thread.join(10)
    gateway.stop()


def disturb(gateway, ending):
    while not ending.is_set():
        try:
            with mqtt.Client(gateway.socket, 5, client_id="bad") as client:
                client.send(os.urandom(200))
                client.expect_closed(2)
        except Exception:
            pass


@case
def a_client_that_is_turned_away_is_named_in_the_log_and_one_that_leaves_is_not():
    gateway = Gateway().start()
    refused = gateway.client(4, client_id="meter-7")
    refused.send(mqtt.publish_packet(4, "plant/#", b"x", 1, 1))
    refused.expect_closed()
    wait_for(lambda: 'client_refused reason="PUBLISH refused: topic name invalid" client="meter-7"'
             in gateway.log(),
             10, "the line that says why")
    gateway.client(4).disconnect()
    gateway.client(5).close()
    wait_for(lambda: gateway.status()["producers"]["clients_refused"] == 1, 10, "one in the status")
    gateway.stop()
    equal(gateway.log().count("client_refused"), 1, "lines")


run_all()
