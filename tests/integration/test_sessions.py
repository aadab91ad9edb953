# SPDX-License-Identifier: MIT
"""Sessions that are kept, and QoS 2 from producers, as a client sees them."""

import os
import struct
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import mqtt  # noqa: E402
from fake_broker import FakeBroker  # noqa: E402
from gateway import Gateway  # noqa: E402
from tap import case, check, cleanup, equal, run_all, wait_for  # noqa: E402

HOUR = 3600
DAY = 24 * HOUR


def raw(gateway, version, name="c", clean=False, expiry=HOUR):
    properties = {"session_expiry": expiry} if version == 5 and expiry else None
    return mqtt.Client(gateway.socket, version, name, clean=clean, properties=properties)


def connected(gateway, version, name="c", clean=False, expiry=HOUR, present=None):
    client = raw(gateway, version, name, clean, expiry)
    client.connect()
    if present is not None:
        equal(bool(client.connack.session_present), present,
              "Session Present, version %d" % version)
    return client


def publish_2(client, packet_id, payload=b"x", dup=False):
    """Return: the PUBREC."""
    client.send(mqtt.publish_packet(client.version, "plant/t", payload, 2, packet_id, dup=dup))
    answer = client.expect(mqtt.PUBREC)
    equal(answer.packet_id, packet_id, "packet id of the PUBREC")
    return answer


def release(client, packet_id):
    client.send(mqtt.packet(mqtt.PUBREL, struct.pack(">H", packet_id), 2))
    answer = client.expect(mqtt.PUBCOMP)
    equal(answer.packet_id, packet_id, "packet id of the PUBCOMP")
    return answer.reason


def accepted(gateway):
    return gateway.ledger()["accepted"]


@case
def qos_2_is_stored_once_over_reconnects_and_kills():
    for version in (4, 5):
        gateway = Gateway().start()
        client = connected(gateway, version, present=False)
        first = publish_2(client, 7)
        client.close()
        client = connected(gateway, version, present=True)
        again = publish_2(client, 7, dup=True)
        if version == 5:
            equal(mqtt.spool_id(again), mqtt.spool_id(first), "the id of the repetition")
        gateway.kill()
        gateway.start()
        client = connected(gateway, version, present=True)
        publish_2(client, 7, dup=True)
        equal(release(client, 7), 0)
        gateway.kill()
        gateway.start()
        client = connected(gateway, version, present=True)
        equal(release(client, 7), 0x92 if version == 5 else 0, "a release that is repeated")
        publish_2(client, 7, b"another")
        gateway.stop()
        equal(accepted(gateway), 2)


@case
def without_a_session_packet_ids_end_with_the_connection():
    for version in (4, 5):
        gateway = Gateway().start()
        client = connected(gateway, version, clean=True, expiry=0, present=False)
        publish_2(client, 7)
        publish_2(client, 7, dup=True)
        equal(release(client, 7), 0)
        publish_2(client, 8)
        client.close()
        client = connected(gateway, version, clean=True, expiry=0, present=False)
        publish_2(client, 8)
        gateway.stop()
        equal(accepted(gateway), 3)


@case
def a_clean_start_discards_and_an_end_of_expiry_too():
    gateway = Gateway().start()
    client = connected(gateway, 5, present=False)
    publish_2(client, 7)
    client.close()
    client = connected(gateway, 5, clean=True, present=False)
    publish_2(client, 7)
    gateway.stop()
    equal(accepted(gateway), 2, "messages")
    gateway.start()
    client = connected(gateway, 5, present=True)
    client.send(mqtt.packet(mqtt.DISCONNECT, b"\0" + mqtt.encode_properties(
        {"session_expiry": 0})))
    client.expect_closed()
    client = connected(gateway, 5, expiry=1, present=False)
    client.close()

    def is_gone():
        with raw(gateway, 5, expiry=1) as client:
            return not client.connack.session_present
    wait_for(is_gone, 20, "the session expired", 1.5)
    client = connected(gateway, 4, clean=False)
    client.close()
    connected(gateway, 4, clean=True, present=False).close()
    connected(gateway, 4, present=False).close()
    gateway.stop()


@case
def another_connection_takes_the_session_over():
    gateway = Gateway().start()
    older = connected(gateway, 5)
    publish_2(older, 7)
    newer = connected(gateway, 5, present=True)
    equal(older.expect_closed().reason, 0x8E)
    publish_2(newer, 7, dup=True)
    gateway.stop()
    equal(accepted(gateway), 1)


@case
def connack_announces_the_expiry_that_is_granted():
    gateway = Gateway(listen={"session_expiry": "1d", "max_sessions": 1}).start()
    first = connected(gateway, 5, expiry=0xFFFFFFFF)
    granted = first.connack.properties
    equal(granted.get("session_expiry"), DAY, "above the limit")
    check("maximum_qos" not in granted, "QoS 2 is offered", granted)
    second = connected(gateway, 5)
    equal(second.connack.properties.get("session_expiry"), None, "as requested")
    third = connected(gateway, 5, "d")
    equal(third.connack.properties.get("session_expiry"), 0, "not kept")
    refused = raw(gateway, 4, "e")
    refused.send(mqtt.connect_packet(4, "e", clean=False))
    equal(refused.expect(mqtt.CONNACK).reason, 3, "return code of 3.1.1")
    connected(gateway, 4, "e", clean=True).close()
    check('sessions_limited max_sessions=1 session=not_kept client="d"' in gateway.log(), "log")
    gateway.configure(listen={"session_expiry": "2d", "max_sessions": 2})
    gateway.hup()
    wait_for(lambda: "reloaded applied=all" in gateway.log(), 20, "the reload")
    last = connected(gateway, 5, "d", expiry=0xFFFFFFFF)
    equal(last.connack.properties.get("session_expiry"), 2 * DAY, "after a HUP")
    gateway.stop()


@case
def a_refused_message_of_qos_2_leaves_its_packet_id_free():
    gateway = Gateway(retention={"max_messages": 1, "when_full": "refuse"}).start()
    client = connected(gateway, 5)
    publish_2(client, 1)
    equal(publish_2(client, 2).reason, 0x97, "full")
    equal(release(client, 2), 0x92)
    client.send(mqtt.publish_packet(5, "$x", b"x", 2, 3))
    equal(client.expect(mqtt.PUBREC).reason, 0x87, "a topic of the broker")
    old = connected(gateway, 4, "old")
    old.send(mqtt.publish_packet(4, "plant/t", b"x", 2, 2))
    equal(old.expect_closed(), None, "packets before the close")
    gateway.stop()
    equal(accepted(gateway), 1)


@case
def qos_2_goes_on_as_max_qos_allows():
    for most in (2, 1, 0):
        broker = FakeBroker().start()
        cleanup(broker.stop)
        gateway = Gateway(broker.url, uplink={"max_qos": most}).start()
        client = connected(gateway, 5)
        publish_2(client, 7)
        gateway.wait_drained()
        equal([one["qos"] for one in broker.publishes()], [most], "QoS at the broker")
        publish_2(client, 7, dup=True)  # it was delivered meanwhile
        gateway.stop()
        equal(accepted(gateway), 1)


run_all()
