# SPDX-License-Identifier: MIT
"""Wills of local programs: which end of a connection publishes them, with what, and what they cost."""

import os
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import mqtt  # noqa: E402
from broker import Mosquitto  # noqa: E402
from gateway import Gateway  # noqa: E402
from mqtt import Subscriber  # noqa: E402
from tap import case, check, cleanup, equal, run_all, wait_for  # noqa: E402

WILL = {"topic": "plant/will", "payload": b"gone", "qos": 1}


def whole_path(**settings):
    broker = Mosquitto().start()
    far = Subscriber(broker.address).start()
    cleanup(far.stop)
    gateway = Gateway(broker.url, **settings).start()
    gateway.wait_link()
    return gateway, far


def wait_far(far, count):
    wait_for(lambda: len(far.messages) >= count, 20,
             lambda: "%d messages at the broker, there are %d" % (count, len(far.messages)))
    equal(len(far.messages), count, "messages at the broker")
    return far.messages


def wait_accepted(gateway, count):
    wait_for(lambda: gateway.status()["ledger"]["accepted"] >= count, 15,
             lambda: "%d accepted messages, not %d"
             % (count, gateway.status()["ledger"]["accepted"]))


@case
def a_will_arrives_with_its_properties_and_behind_the_messages_of_its_client():
    gateway, far = whole_path()
    given = {"payload_format": 1, "content_type": "text/plain", "response_topic": "answer",
             "correlation_data": b"\0\1", "user": [("b", "2"), ("a", "1")]}
    for qos in (0, 1, 2):
        client = gateway.client(4 if qos == 2 else 5, client_id="one", will=dict(
            WILL, qos=qos, retain=qos == 1, properties=dict(given, message_expiry=100)))
        client.publish("plant/last", b"x")
        client.expect(mqtt.PUBACK)
        client.close()
        last, will = wait_far(far, 2 + 2 * qos)[-2:]
        equal((last.topic, will.topic, will.payload), ("plant/last", "plant/will", b"gone"))
        equal((will.qos, will.retain), (min(qos, far.qos if hasattr(far, "qos") else 1), qos == 1))
        if qos < 2:
            expiry = will.properties.pop("message_expiry")
            check(90 <= expiry <= 100, "remaining expiry", expiry)
            equal(will.properties, given)
    gateway.stop()
    equal(gateway.ledger()["accepted"], 6)


def ends(gateway, version):
    """Ways to end a connection, by name: does it leave its will?"""
    def connect(**options):
        return gateway.client(version, client_id="one", will=WILL, **options)

    connect().close()
    yield "the end of its stream", True
    connect().disconnect()
    yield "DISCONNECT", False
    connect(keepalive=1).expect_closed(10)
    yield "silence", True
    client = connect()
    client.send(b"\xf0\x01\x80")
    client.expect_closed(5)
    yield "a malformed packet", True
    client = connect()
    client.send(mqtt.connect_packet(version, "one"))
    client.expect_closed(5)
    yield "a second CONNECT", True
    client = connect()
    gateway.client(version, client_id="one").disconnect()
    client.expect_closed(5)
    yield "a take-over", True
    if version == 5:
        client = connect()
        client.send(bytes.fromhex("e00104"))
        client.expect_closed(5)
        yield "DISCONNECT 0x04", True


@case
def every_end_but_an_orderly_disconnect_leaves_the_will():
    for version in (4, 5):
        gateway = Gateway().start()
        count = 0
        for name, leaves in ends(gateway, version):
            count += leaves
            wait_for(lambda: gateway.status()["ledger"]["accepted"] >= count, 15, name)
        gateway.stop()
        equal(gateway.ledger()["accepted"], count, "wills of version %d" % version)


@case
def a_will_is_delayed_while_the_session_may_be_resumed():
    gateway = Gateway().start()

    def connect(clean, delay=2, expiry=60):
        return gateway.client(5, client_id="one", clean=clean,
                              properties={"session_expiry": expiry},
                              will=dict(WILL, properties={"will_delay": delay}))
    connect(True).close()
    resumed = connect(False)
    equal(resumed.connack.session_present, True)
    began = time.monotonic()
    resumed.close()
    wait_accepted(gateway, 1)
    check(time.monotonic() - began >= 2, "the delay", time.monotonic() - began)
    connect(True, delay=600).close()
    connect(True, delay=600).close()  # a clean start ends the session, and its delay
    wait_accepted(gateway, 2)
    gateway.stop()  # and so does a stop
    equal(gateway.ledger()["accepted"], 3)


@case
def a_will_that_may_not_be_published_is_refused_at_connect():
    gateway = Gateway(lanes=({"name": "small", "topics": ["small/#"], "max_bytes": "1k"},)).start()
    for will, code, code_3_1_1 in (
            (dict(WILL, topic="$SYS/x"), 0x87, 5),
            (dict(WILL, topic="small/x", payload=b"x" * 2000), 0x97, 3),
            (dict(WILL, topic="a\x01"), 0x90, None)):
        for version, wanted in ((5, code), (4, code_3_1_1)):
            client = gateway.raw(version, will=will)
            client.send(mqtt.connect_packet(version, "one", will=will))
            last = client.expect_closed(5)
            equal(last and (last.kind, last.reason), wanted and (mqtt.CONNACK, wanted),
                  "version %d, %r" % (version, will["topic"][:9]))
    check("client_refused reason=will_topic_with_dollar" in gateway.log(), "it is logged")
    gateway.stop()
    equal(gateway.ledger()["accepted"], 0)


@case
def a_daemon_that_stops_stores_the_wills_and_one_that_is_killed_does_not():
    gateway = Gateway().start()
    for number in range(70):
        gateway.client(5, client_id="c%d" % number, will=WILL)
    gateway.stop()
    equal(gateway.ledger()["accepted"], 70)
    gateway.start()
    client = gateway.client(5, will=WILL)
    equal(client.publish_wait("plant/t", b"x").reason, 0)
    gateway.kill()
    client.close()
    gateway.start()
    gateway.stop()
    equal(gateway.ledger()["accepted"], 71)


@case
def a_will_waits_where_the_lane_blocks_and_is_refused_where_it_refuses():
    gateway = Gateway(lanes=(
        {"name": "b", "topics": ["b/#"], "max_messages": 1, "when_full": "block"},
        {"name": "r", "topics": ["r/#"], "max_messages": 1, "when_full": "refuse"})).start()
    for number in range(2):
        for lane in "br":
            gateway.client(5, client_id=lane, will=dict(WILL, topic=lane + "/x")).close()
            wait_accepted(gateway, 1)
    wait_accepted(gateway, 2)
    wait_for(lambda: "will_refused reason=\"limits of its lane\" client=\"r\"" in gateway.log(), 10,
             "the refusal is logged")
    gateway.stop()
    equal(gateway.ledger()["accepted"], 2)
    check("wills_lost wills=1 " in gateway.log(), "the loss is logged")


def take_over_for(gateway, seconds, ret):
    """Each connection takes the one before over, which leaves a will of 60 KiB."""
    until = time.monotonic() + seconds
    last = None
    while time.monotonic() < until:
        client = mqtt.Client(gateway.socket, 5, client_id="same",
                             will=dict(WILL, payload=b"x" * 60000))
        client.send(mqtt.connect_packet(5, "same", **client.connect_options))
        ret.append(client.expect(mqtt.CONNACK).reason)
        if last:
            last.close()
        last = client
    last.disconnect()


@case(seconds=240)
def a_storm_of_take_overs_with_wills_disturbs_no_other():
    gateway = Gateway(retention={"max_bytes": "4M"}).start()
    honest = gateway.client(5, client_id="honest")
    taken = []
    storm = threading.Thread(target=take_over_for, args=(gateway, 4, taken))
    storm.start()
    waits = []
    while storm.is_alive():
        began = time.monotonic()
        equal(honest.publish_wait("plant/t", b"x").reason, 0)
        waits.append(time.monotonic() - began)
    storm.join()
    waits.sort()
    check(len(taken) > 20, "take-overs", len(taken))
    equal(set(taken), {0}, "reasons of CONNACK")
    check(waits[len(waits) * 99 // 100] < 0.5, "p99 of the other client", waits[-3:])
    # A DISCONNECT that the daemon has not read when it stops would leave a will, too.
    wait_for(lambda: gateway.fresh_status()["producers"]["connected"] == 1, 30,
             "the end of the last one")
    gateway.stop()
    equal(gateway.ledger()["accepted"], len(waits) + len(taken) - 1, "wills and messages")


@case(seconds=240)
def wills_that_cannot_be_stored_are_bounded_in_memory():
    """A lane that blocks is full: clients with wills are rejected before these take too much."""
    gateway = Gateway(retention={"max_messages": 1, "when_full": "block"}).start()
    gateway.client(5).publish_wait("plant/t", b"x")
    reasons = []
    for number in range(200):
        client = gateway.raw(5, client_id="c%d" % number,
                             will=dict(WILL, payload=b"x" * 60000))
        client.send(mqtt.connect_packet(5, client.client_id, **client.connect_options))
        reasons.append(client.expect(mqtt.CONNACK).reason)
        client.close()
    admitted = reasons.index(0x97)
    check(60 <= admitted <= 80, "clients whose wills wait", admitted)
    equal(set(reasons[admitted:]), {0x97}, "the others")
    gateway.client(5).disconnect()
    check("client_refused reason=wills_wait" in gateway.log(), "it is logged")
    gateway.stop()


run_all()
