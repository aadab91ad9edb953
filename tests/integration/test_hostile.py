# SPDX-License-Identifier: MIT
"""Clients of one user that misuse sessions, QoS 2 and subscriptions, beside an honest one.

Each case bounds what they can make the daemon hold. How long the honest client waits is printed,
as a ratio to its time alone. Storms of connections are in test_crowd.py, clients that do not read
in test_conformance.py and test_control.py.
"""

import os
import resource
import struct
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import mqtt  # noqa: E402
import processes  # noqa: E402
from gateway import Gateway, check_balance  # noqa: E402
from tap import case, check, cleanup, equal, run_all, wait_for  # noqa: E402

HOUR = 3600
UNRELEASED_MAX = 4096
QUOTA_EXCEEDED = 0x97


def kept(gateway, version, name):
    """A client whose session is kept, before its CONNECT."""
    properties = {"session_expiry": HOUR} if version == 5 else None
    client = mqtt.Client(gateway.socket, version, name, clean=False, properties=properties,
                         timeout=30)
    cleanup(client.close)
    return client


def rows(gateway, table):
    return gateway.query("SELECT count(*) FROM " + table)[0][0]


class Honest:
    """Publishes one message after the other, alone at first; then between those of others."""

    def __init__(self, gateway):
        self.client = gateway.client(5, client_id="honest", timeout=30)
        self.alone = sorted(self.publish() for _ in range(100))
        self.beside = []

    def publish(self):
        began = time.monotonic()
        equal(self.client.publish_wait("plant/t", b"x").reason, 0, "the honest client")
        return time.monotonic() - began

    def take_turn(self):
        self.beside.append(self.publish())

    def report(self, what):
        self.beside.sort()
        slow, fast = (took[len(took) * 99 // 100] for took in (self.beside, self.alone))
        print("# beside %s: p99 %.1f ms, %.1f times that of alone" % (what, 1000 * slow,
                                                                      slow / fast))


def publish_unreleased(client, first, count):
    """Return: the reasons of the PUBRECs; a 3.1.1 client may be closed before the end."""
    for packet_id in range(first, first + count):
        client.send(mqtt.publish_packet(client.version, "plant/q", b"x", 2, packet_id))
    return [client.expect(mqtt.PUBREC).reason for _ in range(count)]


@case(seconds=120)
def packet_ids_that_are_never_released_are_bounded_for_each_session():
    gateway = Gateway().start()
    honest = Honest(gateway)
    reasons, first = [], 1
    while first <= UNRELEASED_MAX + 500:  # Receive Maximum counts on each connection
        with kept(gateway, 5, "greedy") as client:
            for _ in range(9):
                reasons += publish_unreleased(client, first, 100)
                first += 100
                honest.take_turn()
    equal(reasons, [0] * UNRELEASED_MAX + [QUOTA_EXCEEDED] * (len(reasons) - UNRELEASED_MAX))
    equal(rows(gateway, "unreleased"), UNRELEASED_MAX)
    with kept(gateway, 5, "greedy") as client:
        client.send(mqtt.packet(mqtt.PUBREL, struct.pack(">H", 1), 2))
        equal(client.expect(mqtt.PUBCOMP).reason, 0)
        equal(publish_unreleased(client, 1, 1), [0], "after a release there is room for one")
    honest.report("QoS 2 without release")
    gateway.stop()
    equal(gateway.tool("check").returncode, 0, "the spool is sound")


@case(seconds=120)
def sessions_without_number_are_bounded_and_keep_no_honest_client_away():
    limit = 50
    gateway = Gateway(listen={"max_sessions": limit}).start()
    honest = Honest(gateway)
    mine = kept(gateway, 5, "mine")
    mine.connect()
    for number in range(6 * limit):
        client = kept(gateway, 5 if number % 2 else 4, "one of many %d" % number)
        client.connect()
        client.close()
        if number % 3 == 0:
            honest.take_turn()
    check(rows(gateway, "session") <= limit, "sessions in the spool", rows(gateway, "session"))
    mine.publish_wait("plant/t", b"x")
    mine.close()
    with kept(gateway, 5, "mine") as mine:
        check(mine.connack.session_present, "a connected client keeps its session")
    with kept(gateway, 4, "late") as late:
        equal(late.publish_wait("plant/t", b"x").packet_id, 1, "a new client at the limit")
    honest.report("a new session with each connection")
    gateway.stop()


@case(seconds=120)
def subscriptions_come_and_go_without_end():
    gateway = Gateway().start()
    honest = Honest(gateway)
    with kept(gateway, 5, "restless") as client:
        for number in range(300):
            client.subscribe("$SYS/spool/outcome/restless")
            body = struct.pack(">HB", 9, 0) + mqtt.data("$SYS/spool/outcome/restless")
            client.send(mqtt.packet(mqtt.UNSUBSCRIBE, body, 2))
            equal(client.expect(mqtt.UNSUBACK).reasons, [0])
            if number % 3 == 0:
                honest.take_turn()
        filters = b"".join(mqtt.data("$SYS/spool/outcome/restless/%d" % number) + b"\1"
                           for number in range(1000))
        client.send(mqtt.packet(mqtt.SUBSCRIBE, b"\0\1\0" + filters, 2))
        codes = client.expect(mqtt.SUBACK).reasons
        check(codes.count(QUOTA_EXCEEDED) > 900, "filters above the limit", codes[:30])
    honest.report("subscriptions that come and go")
    gateway.stop()


@case(seconds=120)
def a_subscriber_that_never_acknowledges_takes_nothing_from_another():
    gateway = Gateway(retention={"max_messages": 1}).start()
    idle = [gateway.client(5, client_id="idle %d" % number, timeout=30) for number in range(4)]
    for client in idle:
        client.subscribe("$SYS/spool/outcome/" + client.client_id)
    reader = gateway.client(5, client_id="reader", timeout=30)
    reader.subscribe("$SYS/spool/outcome/reader")
    for client in idle:  # each message evicts the one before; no outcome is acknowledged
        for _ in range(500):
            client.publish("plant/t", b"x")
    for number in range(50):
        reader.publish("plant/t", b"x")
    seen, acked = 0, 0
    while seen < 49 or acked < 50:
        packet = reader.receive()
        if packet.kind == mqtt.PUBACK:
            acked += 1
        elif packet.kind == mqtt.PUBLISH:
            check(b'"missed"' not in packet.payload, "nothing was missed", packet.payload)
            reader.send(mqtt.packet(mqtt.PUBACK, struct.pack(">H", packet.packet_id)))
            seen += 1
    check_balance(gateway.ledger())
    gateway.stop()


@case(seconds=120)
def commands_that_are_large_and_deep_cost_little():
    gateway = Gateway().start()
    honest = Honest(gateway)
    with gateway.client(5, client_id="deep", timeout=30) as client:
        before = processes.levels(gateway.process)["memory_kb"]
        for number in range(100):
            payload = (b"[" if number % 2 else b'{"a":') * 1000
            reason = client.publish_wait("$CONTROL/spool/v1", payload.ljust(65536)).reason
            check(reason >= 0x80, "a command that is nested 1,000 deep", reason)
            honest.take_turn()
        equal(client.publish_wait("$CONTROL/spool/v1", b'{"command": "status"}').reason, 0)
        grown = processes.levels(gateway.process)["memory_kb"] - before
    print("# 100 such commands: %d kB more" % grown)
    honest.report("commands that are large and deep")
    gateway.stop()


@case(seconds=120)
def a_daemon_without_descriptors_serves_those_that_are_connected():
    gateway = Gateway().start()
    honest = Honest(gateway)
    few = processes.levels(gateway.process)["descriptors"] + 5
    limits = resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE, (few, limits[1]))
    crowd = [mqtt.Client(gateway.socket, 5, "crowd %d" % number) for number in range(40)]
    for client in crowd:
        cleanup(client.close)
    wait_for(lambda: "listen_pausing" in gateway.log(), 20, gateway.log)
    for _ in range(50):
        honest.take_turn()
    honest.report("a crowd that takes all descriptors")
    for client in crowd:
        client.close()
    resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE, limits)
    with gateway.client(5, client_id="late", timeout=30) as late:
        equal(late.publish_wait("plant/t", b"x").reason, 0, "a new client afterwards")
    gateway.stop()


if __name__ == "__main__":
    run_all()
