# SPDX-License-Identifier: MIT
"""What a broker may send that Paho must not believe, and what it may make the daemon allocate."""

import os
import socket
import ssl
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import processes  # noqa: E402
from broker import Certificates  # noqa: E402
from fake_broker import FakeBroker  # noqa: E402
from gateway import Gateway, check_audit  # noqa: E402
from mqtt import PUBACK, PUBCOMP, PUBREC, publish_packet, varint  # noqa: E402
from tap import case, check, cleanup, equal, run_all, skip, wait_for  # noqa: E402

BACKOFF = {"min": "10ms", "max": "50ms"}
NO_SUBSCRIBER = 0x10


def fake_broker(**options):
    made = FakeBroker(**options).start()
    cleanup(made.stop)
    return made


def gateway_for(broker, **uplink):
    return Gateway(broker.url, uplink=dict({"backoff": BACKOFF, "protocol": 5}, **uplink)).start()


def publish(gateway, *payloads):
    with gateway.client(5) as client:
        for payload in payloads:
            equal(client.publish_wait("plant/t", payload).reason, 0, "reason of a PUBACK")


def ack(kind, pid, code=None):
    body = pid.to_bytes(2, "big") + (b"" if code is None else bytes([code]))
    return bytes([kind << 4]) + varint(len(body)) + body


def connects(gateway):
    return gateway.status()["link"]["connects"]


def wait_dropped(gateway, reason):
    wait_for(lambda: connects(gateway) >= 2, 20, lambda: "a new connection: " + gateway.log())
    check(reason in gateway.log(), "the reason", gateway.log())


# What is unasked


@case
def a_packet_of_250_mb_ends_the_connection_before_it_is_read():
    broker = fake_broker()
    gateway = gateway_for(broker)
    gateway.wait_link()
    publish(gateway, b"x")
    gateway.wait_drained()
    start = processes.levels(gateway.process)["memory_kb"]
    broker.send_all(b"\x30" + varint(250000000) + b"\x00\x01t\x00" + bytes(30 << 20))
    wait_dropped(gateway, "a packet that is too large")
    grown = processes.levels(gateway.process)["memory_kb"] - start
    check(grown < (60 << 10 if gateway.is_sanitized() else 4 << 10), "kB of memory more", grown)
    publish(gateway, b"y")
    gateway.wait_drained()
    gateway.stop()


@case
def messages_of_qos_2_that_are_never_released_are_bounded():
    broker = fake_broker()
    gateway = gateway_for(broker)
    gateway.wait_link()
    for pid in range(1, 17):
        broker.send_all(publish_packet(5, "t", bytes(60000), qos=2, packet_id=pid))
    broker.send_all(publish_packet(5, "t", b"small", qos=1, packet_id=1))
    publish(gateway, b"x")
    gateway.wait_drained()
    equal(connects(gateway), 1, "so many are accepted")
    broker.send_all(publish_packet(5, "t", b"one too many", qos=2, packet_id=17))
    wait_dropped(gateway, "many messages to a client that subscribes to nothing")
    publish(gateway, b"y")
    gateway.wait_drained()
    gateway.stop()


# Answers


def in_flight(broker, gateway):
    """A message without an answer; its packet id."""
    publish(gateway, b"one")
    wait_for(lambda: broker.publishes(), 20, "it is at the broker")
    return broker.publishes()[-1]["pid"]


@case
def an_answer_that_does_not_fit_its_message_frees_and_delivers_nothing():
    for name, kind, code in (("PUBREC of failure", PUBREC, 0x80), ("PUBREC", PUBREC, None),
                             ("PUBCOMP", PUBCOMP, None)):
        broker = fake_broker(noack=True)
        gateway = gateway_for(broker)
        gateway.wait_link()
        broker.send_all(ack(kind, in_flight(broker, gateway), code))
        wait_dropped(gateway, "the broker's answer does not fit the message")
        equal(gateway.ledger()["delivered"], 0, "delivered after " + name)
        broker.change(noack=False)
        broker.reset_all()
        equal(gateway.wait_drained()["delivered"], 1, "delivered after " + name)
        gateway.stop()
        check_audit(gateway.audit_lines())


@case
def an_answer_to_no_message_is_ignored_and_counted():
    broker = fake_broker(noack=True)
    gateway = gateway_for(broker)
    gateway.wait_link()
    pid = in_flight(broker, gateway)
    for raw in (ack(PUBACK, pid + 100), ack(PUBREC, pid + 100, 0x80), ack(PUBCOMP, pid + 100),
                ack(PUBACK, pid), ack(PUBACK, pid), ack(PUBREC, pid, 0x80)):
        broker.send_all(raw)
    equal(gateway.wait_drained()["delivered"], 1, "delivered")
    wait_for(lambda: gateway.status()["link"]["late_answers"] >= 5, 20, "ignored answers")
    equal(gateway.status()["link"]["late_answers"], 5, "ignored answers")
    equal(connects(gateway), 1, "connects")
    gateway.stop()
    check_audit(gateway.audit_lines())


@case
def no_answer_is_believed_for_an_id_that_is_open_no_longer():
    """The ids restart with each connection: right after CONNACK none is open."""
    broker = fake_broker(noack=True)
    gateway = gateway_for(broker)
    gateway.wait_link()
    publish(gateway, *(b"%06d" % number for number in range(20)))
    wait_for(lambda: len(broker.publishes()) == 20, 20, "all at the broker")
    broker.change(after_connack=b"".join(ack(PUBACK, pid) for pid in range(1, 40)).hex())
    broker.reset_all()
    # After a loss with unanswered messages a connection begins with a window of 8.
    wait_for(lambda: len(broker.publishes()) >= 28, 20, "sent again")
    ledger = gateway.ledger()
    equal((ledger["delivered"], ledger["spooled"]), (0, 20))
    broker.change(after_connack="", noack=False)
    broker.reset_all()
    equal(gateway.wait_drained()["delivered"], 20)
    gateway.stop()


@case
def a_delivery_without_a_subscriber_has_its_code_and_is_counted():
    broker = fake_broker(reason=NO_SUBSCRIBER, each=2)
    gateway = gateway_for(broker)
    gateway.wait_link()
    publish(gateway, *(b"%06d" % number for number in range(10)))
    equal(gateway.wait_drained()["delivered"], 10)
    gateway.wait_audit(10)
    codes = [line.get("code") for line in gateway.audit_lines() if "outcome" in line]
    equal(sorted(codes, key=str), [NO_SUBSCRIBER] * 5 + [None] * 5, "codes")
    wait_for(lambda: gateway.fresh_status()["link"]["no_subscriber"] == 5, 20, "the status")
    page = gateway.tool("status").stdout.decode()
    check("5 messages delivered since the start had no subscriber at the broker" in page,
          "the page", page)
    gateway.stop()
    check_audit(gateway.audit_lines())


# A broker without a name


@case
def tls_to_an_ipv6_address_is_verified():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        skip("no ::1")
    certificates = Certificates(server="IP:::1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server_cert, certificates.server_key)
    broker = fake_broker(host="::1", tls=context)
    gateway = gateway_for(broker, tls={"ca_file": certificates.ca})
    gateway.wait_link()
    publish(gateway, b"x")
    gateway.wait_drained()
    gateway.stop()

    other = Certificates(server="IP:::2")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(other.server_cert, other.server_key)
    broker = fake_broker(host="::1", tls=context)
    gateway = gateway_for(broker, tls={"ca_file": other.ca})
    wait_for(lambda: gateway.log().count("link_retry") >= 2, 20, "another address is refused")
    equal(connects(gateway), 0, "connects")
    gateway.stop()


if __name__ == "__main__":
    sys.exit(run_all())
