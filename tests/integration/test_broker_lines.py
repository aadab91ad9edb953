# SPDX-License-Identifier: MIT
"""Slow and silent lines: what is progress, and what is a broker that does not answer."""

import os
import ssl
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

from broker import Certificates, Link  # noqa: E402
from fake_broker import FakeBroker  # noqa: E402
from gateway import Gateway  # noqa: E402
from tap import case, check, cleanup, equal, run_all, wait_for  # noqa: E402

BACKOFF = {"min": "10ms", "max": "50ms"}
# Longer than one second, so that the library's pings have their own pace; and the shortest that
# a case has to wait for.
KEEPALIVE_S = 2


def fake_broker(**options):
    made = FakeBroker(**options).start()
    cleanup(made.stop)
    return made


def gateway_for(broker, **uplink):
    return Gateway(broker.url, uplink=dict({"backoff": BACKOFF}, **uplink)).start()


def server_context(certificates):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server_cert, certificates.server_key)
    return context


def publish(gateway, payload):
    ack = gateway.client(5).publish_wait("plant/t", payload)
    equal(ack.reason, 0, "reason of a PUBACK")


def publishes_of(broker, size):
    return [entry for entry in broker.publishes() if entry["bytes"] == size]


def expect_once(broker, gateway, size):
    """It arrives once, on the first connection."""
    gateway.wait_drained(40)
    equal(len(publishes_of(broker, size)), 1, "how often it arrived")
    equal(gateway.status()["link"]["connects"], 1, "connects")
    equal(gateway.ledger()["delivered"], 1, "delivered")
    gateway.stop()


@case
def a_message_that_takes_many_ack_timeouts_and_keepalives_arrives_at_the_first_attempt():
    broker = fake_broker(slow=10000)
    gateway = gateway_for(broker, ack_timeout="2s", keepalive="%ds" % KEEPALIVE_S)
    gateway.wait_link()
    publish(gateway, bytes(100000))
    expect_once(broker, gateway, 100000)


@case
def such_a_message_arrives_over_tls_too():
    certificates = Certificates()
    broker = fake_broker(tls=server_context(certificates))
    link = Link(broker.port, rate=10000).restore()
    gateway = Gateway("ssl://127.0.0.1:%d" % link.port, uplink={
        "backoff": BACKOFF, "ack_timeout": "2s", "keepalive": "%ds" % KEEPALIVE_S,
        "tls": {"ca_file": certificates.ca, "verify": False}}).start()
    gateway.wait_link()
    publish(gateway, bytes(100000))
    expect_once(broker, gateway, 100000)


def publish_many(gateway, count):
    """More than the buffers of both ends hold."""
    with gateway.client(5) as client:
        messages = (("plant/t", b"%08d" % n + bytes(8000)) for n in range(count))
        for _, ack in client.publish_many(messages, 100):
            equal(ack.reason, 0, "reason of a PUBACK")


def survives_a_stall(broker, gateway):
    """The broker stops to read, and continues; then it stops for good on that connection."""
    gateway.wait_link()
    broker.change(deaf=True)
    publish(gateway, b"first")  # whatever the broker reads first makes it stop
    publish_many(gateway, 1000)
    wait_for(lambda: gateway.status()["tokens"]["in_flight"] >= 500, 20, "most are handed over")
    broker.change(deaf=False)
    gateway.wait_drained(40)
    equal(len(publishes_of(broker, 8008)), 1000, "how many arrived")
    equal(gateway.status()["link"]["connects"], 1, "connects")
    broker.change(deaf=True)
    publish(gateway, b"first")
    publish_many(gateway, 1000)
    wait_for(lambda: "link_lost" in gateway.log(), 30, "the stall is noticed")
    check("no answer for 2 s" in gateway.log(), "the reason", gateway.log())
    broker.change(deaf=False)
    gateway.wait_drained(40)
    equal(gateway.ledger()["delivered"], 2002, "delivered")
    gateway.stop()


STALL = {"window": 2000, "window_bytes": "32M", "ack_timeout": "2s"}


@case
def a_broker_that_stops_to_read_gets_all_of_it_when_it_continues():
    broker = fake_broker(deaf=True)
    broker.change(deaf=False)
    survives_a_stall(broker, gateway_for(broker, **STALL))


@case
def such_a_broker_gets_all_of_it_over_tls_too():
    certificates = Certificates()
    broker = fake_broker(deaf=True, tls=server_context(certificates))
    broker.change(deaf=False)
    gateway = Gateway("ssl://127.0.0.1:%d" % broker.port, uplink={
        "backoff": BACKOFF, "tls": {"ca_file": certificates.ca, "verify": False}, **STALL}).start()
    survives_a_stall(broker, gateway)


@case
def a_message_that_is_never_acknowledged_among_others_that_are_ends_the_connection():
    broker = fake_broker(skip=1)
    gateway = gateway_for(broker, ack_timeout="1s")
    gateway.wait_link()
    publish(gateway, b"never")
    with gateway.client(5) as client:
        deadline = time.monotonic() + 20
        while gateway.status()["link"]["connects"] < 2:
            equal(client.publish_wait("plant/t", b"always").reason, 0, "reason")
            check(time.monotonic() < deadline, "the stall is noticed", gateway.log())
    check("no answer for 1 s" in gateway.log(), "the reason", gateway.log())
    broker.change(skip=0)
    gateway.wait_drained()
    check(len(publishes_of(broker, 5)) >= 2, "it was sent again")
    gateway.stop()


@case
def qos_0_that_goes_on_does_not_hide_that_qos_1_is_never_acknowledged():
    broker = fake_broker(noack=True)
    gateway = gateway_for(broker, ack_timeout="1s")
    gateway.wait_link()
    publish(gateway, b"never")
    with gateway.client(5) as client:
        deadline = time.monotonic() + 20
        while gateway.status()["link"]["connects"] < 2:
            client.publish("plant/t", b"on and on", qos=0)
            client.ping()
            check(time.monotonic() < deadline, "the stall is noticed", gateway.log())
    check("no answer for 1 s" in gateway.log(), "the reason", gateway.log())
    broker.change(noack=False)
    gateway.wait_drained()
    gateway.stop()


def wait_silence(gateway):
    """The bound is the promise; the second more is the test's own."""
    wait_for(lambda: "link_lost" in gateway.log(), 3 * KEEPALIVE_S + 1,
             "silence noticed within three keep-alives")
    check("no answer to PINGREQ" in gateway.log(), "the reason", gateway.log())


@case
def a_broker_that_goes_silent_is_noticed_within_three_keepalives():
    broker = fake_broker()
    gateway = gateway_for(broker, keepalive="%ds" % KEEPALIVE_S, ack_timeout="60s")
    gateway.wait_link()
    publish(gateway, b"x")
    gateway.wait_drained()
    broker.change(mute=True)
    publish(gateway, b"y")
    wait_silence(gateway)
    check(" in_flight=1" in gateway.log(), "what was in flight", gateway.log())
    broker.change(mute=False)
    wait_for(lambda: gateway.status()["link"]["connects"] >= 2, 20, "a new connection")
    gateway.stop()


@case
def a_stall_while_a_ping_is_due_does_not_end_the_keepalive_for_good():
    broker = fake_broker(deaf=True)
    broker.change(deaf=False)
    gateway = gateway_for(broker, keepalive="%ds" % KEEPALIVE_S, ack_timeout="60s")
    gateway.wait_link()
    broker.change(deaf=True)
    publish(gateway, b"small")  # whatever the broker reads first makes it stop
    for _ in range(4):
        publish(gateway, bytes(250000))  # more than the socket takes: a write is pending
    time.sleep(KEEPALIVE_S + 1.3)  # the input of this case, not a wait
    broker.change(deaf=False)
    gateway.wait_drained()
    equal(gateway.status()["link"]["connects"], 1, "the stall was survived")
    broker.change(mute=True)
    wait_silence(gateway)
    gateway.stop()


if __name__ == "__main__":
    sys.exit(run_all())
