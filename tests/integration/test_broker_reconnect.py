# SPDX-License-Identifier: MIT
"""Reconnects: backoff by what a connection was worth, which broker is next, HUP, failback."""

import os
import socket
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

from broker import Mosquitto  # noqa: E402
from fake_broker import FakeBroker  # noqa: E402
from gateway import Gateway, check_audit  # noqa: E402
from tap import case, check, cleanup, equal, run_all, wait_for  # noqa: E402

HOURS = {"min": "1h", "max": "6h"}


def fake_broker(**options):
    broker = FakeBroker(**options).start()
    cleanup(broker.stop)
    return broker


def closed_port():
    """A port at which nothing listens, reserved until the case ends."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    cleanup(sock.close)
    return sock


def url(sock):
    return "tcp://127.0.0.1:%d" % sock.getsockname()[1]


def publish(gateway, count, size=10):
    with gateway.client(5) as client:
        payloads = (b"%06d " % number + b"x" * size for number in range(count))
        for _, ack in client.publish_many((("plant/t", payload) for payload in payloads), 200):
            equal(ack.reason, 0, "reason of a PUBACK")


def lines_of(gateway, event):
    return [line for line in gateway.log().split("\n") if " %s " % event in " %s " % line]


@case
def connections_that_last_only_moments_are_summed_up_in_the_log():
    broker = fake_broker(close_after=1)
    gateway = Gateway(broker.url, uplink={"window": 1, "backoff": {
        "min": "10ms", "max": "2s"}}).start()
    publish(gateway, 9)
    equal(gateway.wait_drained(60)["delivered"], 9)
    connects = len(broker.events("connect"))
    check(connects >= 9, "connects", connects)
    seen = lines_of(gateway, "link_online") + lines_of(gateway, "link_lost")
    check(len(seen) <= 8, "lines of link_online and link_lost", connects, seen)
    broker.change(close_after=0)
    gateway.wait_link()
    wait_for(lambda: "suppressed=" in gateway.log().split("link_lost")[-1], 20,
             "the connection that lasts, and how many lines are missing")
    check("link_online" in gateway.log().split("link_lost")[-1], "link_online is the last line")
    gateway.stop()
    check_audit(gateway.audit_lines())


def moves_on(code):
    first, second = fake_broker(dismiss=code), fake_broker()
    gateway = Gateway([first.url, second.url], uplink={"window": 1}).start()
    publish(gateway, 5)
    equal(gateway.wait_drained(30)["delivered"], 5)
    equal(len(first.events("connect")), 1, "connects to the first")
    equal(len(second.publishes()) > 0, True, "publishes at the second")
    gateway.stop()


@case
def a_broker_that_sends_its_clients_elsewhere_is_left_for_the_next():
    for code in (0x9C, 0x9D, 0x8B, 0x98, 0x89):
        moves_on(code)


@case
def a_hup_ends_a_long_pause():
    sock = closed_port()
    gateway = Gateway(url(sock), uplink={"backoff": HOURS}).start()
    wait_for(lambda: gateway.status()["link"]["last_error"], 10, "the first failure")
    sock.listen(16)
    gateway.hup()
    sock.settimeout(10)
    sock.accept()[0].close()


@case
def a_new_password_file_ends_a_long_pause():
    broker = fake_broker(connack=0x86)
    path = os.path.join(Gateway().folder, "password")
    with open(path, "w") as out:
        out.write("wrong\n")
    gateway = Gateway(broker.url, uplink={
        "username": "gw", "password_file": path, "backoff": HOURS}).start()
    wait_for(lambda: gateway.status()["link"]["last_error"], 10, "the refusal")
    broker.change(connack=0)
    with open(path + ".new", "w") as out:
        out.write("right\n")
    os.rename(path + ".new", path)
    gateway.wait_link(seconds=30)
    gateway.stop()


@case
def the_first_broker_is_used_again_when_it_is_back():
    first, second = Mosquitto(), fake_broker()
    gateway = Gateway([first.url, second.url], uplink={"failback": "1s"}).start()
    gateway.wait_link()
    equal(gateway.status()["link"]["broker"], second.url, "broker in use")
    publish(gateway, 100)
    first.start()
    wait_for(lambda: gateway.status()["link"]["broker"] == first.url, 20, "the first broker")
    gateway.wait_link()
    publish(gateway, 100)
    ledger = gateway.wait_drained()
    equal(ledger["delivered"], 200)
    equal(len(lines_of(gateway, "link_lost")), 0, "a failback is no loss")
    check(lines_of(gateway, "link_failback"), "a line of it")
    gateway.stop()
    check_audit(gateway.audit_lines())
    equal([line["attempts"] for line in gateway.audit_lines() if line["attempts"] > 1], [],
          "messages sent more than once")


@case
def a_first_broker_that_stays_away_costs_the_second_no_message():
    first, second = closed_port(), fake_broker()
    gateway = Gateway([url(first), second.url], uplink={"failback": "1s"}).start()
    gateway.wait_link()
    publish(gateway, 50)
    wait_for(lambda: len(second.events("connect")) >= 3, 30, "two failbacks without effect")
    gateway.wait_link()
    equal(gateway.status()["link"]["broker"], second.url, "broker in use")
    publish(gateway, 50)
    equal(gateway.wait_drained()["delivered"], 100)
    gateway.stop()
    check_audit(gateway.audit_lines())


@case
def a_failback_waits_until_nothing_is_in_flight():
    first, second = closed_port(), fake_broker(late=100)
    gateway = Gateway([url(first), second.url],
                      uplink={"failback": "1s", "window": 4}).start()
    gateway.wait_link()
    publish(gateway, 200)
    equal(gateway.wait_drained(60)["delivered"], 200)
    check(len(second.events("connect")) >= 2, "failbacks under load", second.events("connect"))
    gateway.stop()
    equal([line["attempts"] for line in gateway.audit_lines() if line["attempts"] > 1], [],
          "messages sent more than once")


if __name__ == "__main__":
    run_all()
