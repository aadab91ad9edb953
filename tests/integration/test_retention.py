# SPDX-License-Identifier: MIT
"""Retention: what leaves the spool before it was delivered has a record, and the ledger balances."""

import os
import socket
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import mqtt  # noqa: E402
from broker import Link, Mosquitto, mosquitto_pub  # noqa: E402
from gateway import Gateway, check_audit, check_balance  # noqa: E402
from mqtt import Subscriber, spool_id  # noqa: E402
from tap import case, check, cleanup, equal, run_all, wait_for  # noqa: E402


def publish(gateway, count, size=0, **options):
    """@count messages, each alone; their ids."""
    with gateway.client(5) as client:
        return [spool_id(client.publish_wait("plant/t", (b"%06d" % number).ljust(size, b"."),
                                             **options))
                for number in range(count)]


def balanced(gateway):
    ledger = gateway.ledger()
    check_balance(ledger)
    return ledger


@case
def evict_oldest_by_count_records_each_message_oldest_first():
    gateway = Gateway(retention={"max_messages": 30}).start()
    ids = publish(gateway, 100)
    lines = gateway.wait_audit(70)
    equal(len(lines), 70, "failure records")
    check_audit(lines)
    equal([line["id"] for line in lines], ids[:70], "evicted ids, oldest first")
    equal({(line["outcome"], line["reason"]) for line in lines}, {("evicted", "max_messages")})
    ledger = balanced(gateway)
    equal((ledger["accepted"], ledger["evicted"], ledger["spooled"]), (100, 70, 30))
    gateway.stop()
    equal(balanced(gateway), ledger, "ledger after the stop")


@case
def evict_oldest_by_bytes_keeps_the_newest():
    gateway = Gateway(retention={"max_bytes": "64k"}).start()
    ids = publish(gateway, 200, size=1000)
    ledger = wait_for(lambda: balanced(gateway) if balanced(gateway)["evicted"] else None)
    lines = gateway.wait_audit(ledger["evicted"])
    equal({line["reason"] for line in lines}, {"max_bytes"})
    equal([line["id"] for line in lines], ids[:len(lines)], "oldest first")
    check(40 <= ledger["spooled"] <= 65, "how many of about 1 kB fit into 64k", ledger)
    status = gateway.tool_status()
    check(status["spool"]["bytes"] <= 65536, "bytes in the spool", status["spool"])
    gateway.stop()


@case
def max_age_evicts_without_any_traffic():
    gateway = Gateway(retention={"max_age": "2s"}).start()
    began = time.monotonic()
    ids = publish(gateway, 20)
    early = gateway.outcomes("evicted")
    check(not early or time.monotonic() - began >= 2, "evicted at once", early)
    lines = gateway.wait_audit(20)
    check(time.monotonic() - began >= 2, "not before their age")
    equal([line["id"] for line in lines], ids)
    equal({line["reason"] for line in lines}, {"max_age"})
    check(all(line["age_ms"] >= 2000 for line in lines), "age in the record", lines[0])
    equal(balanced(gateway)["spooled"], 0)
    gateway.stop()


@case
def a_message_expires_by_its_own_expiry():
    gateway = Gateway().start()
    publish(gateway, 3, properties={"message_expiry": 1})
    publish(gateway, 2)
    lines = gateway.wait_audit(3)
    equal({(line["outcome"], line["reason"]) for line in lines}, {("expired", "message_expiry")})
    ledger = balanced(gateway)
    equal((ledger["expired"], ledger["spooled"]), (3, 2))
    gateway.stop()


@case
def refuse_answers_quota_exceeded_and_keeps_what_it_has():
    gateway = Gateway(retention={"max_messages": 10, "when_full": "refuse"}).start()
    client = gateway.client(5)
    reasons = [client.publish_wait("plant/t", b"%d" % number).reason for number in range(15)]
    equal(reasons, [0] * 10 + [0x97] * 5, "reasons of the PUBACKs")
    old = gateway.client(4)
    old.publish("plant/t", b"x")
    equal(old.expect_closed(), None, "packets before the close")
    ledger = balanced(gateway)
    equal((ledger["accepted"], ledger["spooled"], ledger["evicted"]), (10, 10, 0))
    gateway.stop()
    equal(gateway.audit_lines(), [], "audit lines")


@case
def mosquitto_pub_says_that_the_quota_is_exceeded():
    gateway = Gateway(retention={"max_messages": 1, "when_full": "refuse"}).start()
    for _ in range(2):
        done = mosquitto_pub(gateway.socket, "-V", "mqttv5", "-q", "1", "-t", "a", "-m", "x")
    check(b"Quota exceeded" in done.stdout, "mosquitto_pub prints it", done.stdout)
    gateway.stop()


@case
def refuse_takes_new_messages_again_when_the_link_has_drained():
    broker = Mosquitto().start()
    link = Link(broker.port)
    gateway = Gateway(link.url, retention={"max_messages": 10, "when_full": "refuse"}).start()
    client = gateway.client(5)
    reasons = [client.publish_wait("plant/t", b"x").reason for _ in range(11)]
    equal(reasons[-1], 0x97, "reason when full")
    link.restore()
    gateway.wait_drained()
    equal(client.publish_wait("plant/t", b"x").reason, 0, "reason after the drain")
    equal(gateway.wait_drained()["delivered"], 11)
    gateway.stop()


@case
def block_holds_the_producer_back_until_the_link_drains():
    broker = Mosquitto().start()
    far = Subscriber(broker.address).start()
    cleanup(far.stop)
    link = Link(broker.port)
    gateway = Gateway(link.url, retention={"max_messages": 10, "when_full": "block"}).start()
    for version in (4, 5):
        link.cut()
        wait_for(lambda: gateway.status().get("link", {}).get("state") != "online")
        client = gateway.client(version)
        sent = [client.publish("plant/t", b"%d/%02d" % (version, number)) for number in range(25)]
        acked = [client.expect(mqtt.PUBACK) for _ in range(10)]
        try:
            late = client.receive(1)
            raise AssertionError("%s came while the spool is full" % late)
        except socket.timeout:
            pass
        equal(gateway.ledger()["spooled"], 10, "spooled while blocked")
        link.restore()
        acked += [client.expect(mqtt.PUBACK) for _ in range(15)]
        equal([ack.packet_id for ack in acked], sent, "acknowledged ids")
        equal({ack.reason for ack in acked}, {0}, "reasons")
        gateway.wait_drained()
        client.disconnect()
    equal(far.payloads(), [b"%d/%02d" % (version, number) for version in (4, 5)
                           for number in range(25)], "what arrived")
    gateway.stop()


@case
def a_blocked_producer_does_not_hold_others_pings_or_the_stop_back():
    gateway = Gateway(retention={"max_messages": 5, "when_full": "block"}).start()
    blocked = gateway.client(5)
    for number in range(50):
        blocked.publish("plant/t", b"%d" % number)
    for _ in range(5):
        blocked.expect(mqtt.PUBACK)
    other = gateway.client(5)
    other.ping()
    gateway.stop()
    equal(balanced(gateway)["spooled"], 5)


@case
def a_message_that_can_never_fit_is_refused_under_every_policy():
    for policy in ("evict-oldest", "refuse", "block"):
        gateway = Gateway(retention={"max_bytes": "2k", "when_full": policy}).start()
        client = gateway.client(5)
        equal(client.publish_wait("plant/t", b"x" * 4000).reason, 0x97, policy)
        equal(client.publish_wait("plant/t", b"x").reason, 0, policy)
        gateway.stop()
        equal(balanced(gateway)["accepted"], 1)


@case
def of_twenty_sends_with_room_for_five_fifteen_are_recorded_and_five_arrive():
    broker = Mosquitto().start()
    far = Subscriber(broker.address).start()
    cleanup(far.stop)
    link = Link(broker.port)
    gateway = Gateway(link.url, retention={"max_messages": 5}).start()
    ids = publish(gateway, 20)
    lines = gateway.wait_audit(15)
    equal([(line["id"], line["outcome"], line["reason"]) for line in lines],
          [(identity, "evicted", "max_messages") for identity in ids[:15]])
    link.restore()
    ledger = gateway.wait_drained()
    equal((ledger["accepted"], ledger["evicted"], ledger["delivered"]), (20, 15, 5))
    wait_for(lambda: len(far.messages) == 5, 10, "five at the broker")
    equal(far.payloads(), [b"%06d" % number for number in range(15, 20)])
    lines = gateway.wait_audit(20)
    check_audit(lines)
    equal({line["id"] for line in lines}, set(ids), "each id has its outcome")
    wait_for(lambda: gateway.status()["tokens"]["in_flight"] == 0, 10, "tokens back to 0")
    gateway.stop()


@case
def messages_in_flight_are_pinned_against_eviction():
    broker = Mosquitto().start()
    far = Subscriber(broker.address).start()
    cleanup(far.stop)
    link = Link(broker.port).restore()
    # Nor does an unanswered ping end the connection meanwhile.
    gateway = Gateway(link.url, retention={"max_messages": 5},
                      uplink={"window": 5, "keepalive": "60s"}).start()
    gateway.wait_link()
    link.stalled = True
    ids = publish(gateway, 5)
    wait_for(lambda: gateway.status()["tokens"]["in_flight"] == 5, 10, "five in flight")
    ids += publish(gateway, 20)
    evicted = {line["id"] for line in gateway.wait_audit(15)}
    check(not evicted & set(ids[:5]), "none in flight was evicted", evicted)
    link.stalled = False
    ledger = gateway.wait_drained()
    check_balance(ledger)
    check(set(far.payloads()) >= {b"%06d" % number for number in range(5)},
          "what was in flight arrived", far.payloads())
    gateway.stop()
    check_audit(gateway.audit_lines())


@case
def a_limit_lowered_by_thousands_is_worked_off_while_producers_are_served():
    gateway = Gateway().start()
    with gateway.client(5) as client:
        for _ in client.publish_many((("plant/t", b"x" * 100) for _ in range(20000)), 500):
            pass
    gateway.configure(retention={"max_messages": 100})
    gateway.hup()
    equal(publish(gateway, 10)[-1], 20010, "newest id")
    wait_for(lambda: gateway.ledger()["spooled"] == 100, 30, "100 left")
    ledger = balanced(gateway)
    equal(ledger["evicted"], 19910)
    lines = gateway.wait_audit(19910)
    check_audit(lines)
    gateway.stop()


run_all()
