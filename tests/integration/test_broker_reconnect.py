# SPDX-License-Identifier: MIT
"""Reconnects: backoff by what a connection was worth, which broker is next, HUP, failback."""

import os
import re
import socket
import sys
import time

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
def the_end_of_an_outage_is_logged_at_once():
    broker = Mosquitto().start()
    gateway = Gateway("tcp://127.0.0.1:%d" % broker.port, uplink={"backoff": {
        "min": "10ms", "max": "2s"}}).start()
    gateway.wait_link()
    broker.stop()
    wait_for(lambda: "attempts=10 " in gateway.log(), 60, "ten attempts that failed")
    broker.start()
    wait_for(lambda: len(lines_of(gateway, "link_online")) == 2, 60, "a second link_online")
    check(" since=" not in lines_of(gateway, "link_online")[1], "it did not wait",
          lines_of(gateway, "link_online"))


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
    wait_for(lambda: "link_online" in gateway.log().split("link_lost")[-1], 20,
             "the connection that lasts is the last line")
    check(re.search(r" suppressed=[1-9]", lines_of(gateway, "link_online")[-1]),
          "how many lines are missing", lines_of(gateway, "link_online"))
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


@case
def what_one_broker_refused_for_now_is_offered_to_the_other_at_once():
    first, second = fake_broker(connack=0x88), fake_broker(reason=0x97, reason_at="full")
    gateway = Gateway([first.url, second.url], uplink={
        "failback": "1s", "backoff": {"min": "1m", "max": "1h"}}).start()
    gateway.wait_link()
    with gateway.client(5) as client:
        client.publish("plant/full", b"0;")
        equal(client.receive(20).reason, 0, "PUBACK")
    wait_for(second.publishes, 10, "the message at the second broker")
    first.change(connack=0)
    wait_for(first.publishes, 15, "the message at the first broker")
    equal(gateway.wait_drained()["delivered"], 1)
    gateway.stop()


@case
def a_failback_waits_for_what_only_this_broker_takes():
    first, second = fake_broker(maximum_packet=500), fake_broker(late=100)
    gateway = Gateway([first.url, second.url], uplink={"failback": "1s", "window": 4}).start()
    gateway.wait_link()
    publish(gateway, 160, 1000)
    equal(gateway.wait_drained(60)["delivered"], 160)
    visits = len({entry["conn"] for entry in second.publishes()})
    print("# %d visits" % visits)
    check(visits <= 2, "visits", visits)
    gateway.wait_link()
    wait_for(lambda: gateway.status()["link"]["broker"] == first.url, 20, "the first broker again")
    gateway.stop()


# Each pause is short, so a connection of a second has lasted.
SHORT = {"backoff": {"min": "100ms", "max": "1s"}}


@case
def a_broker_that_acknowledges_nothing_is_left_for_the_next():
    first, second = fake_broker(noack=True), fake_broker()
    gateway = Gateway([first.url, second.url], uplink=dict(SHORT, ack_timeout="2s")).start()
    publish(gateway, 20)
    equal(gateway.wait_drained(30)["delivered"], 20)
    equal(len(first.events("connect")), 1, "connects to the first")
    gateway.stop()


@case
def a_broker_that_refuses_everything_costs_no_message_if_the_next_takes_them():
    for code in (0x87, 0x97):
        first, second = fake_broker(reason=code), fake_broker()
        gateway = Gateway([first.url, second.url]).start()
        publish(gateway, 50)
        equal(gateway.wait_drained(30)["delivered"], 50, "delivered at %02X" % code)
        equal(len(first.events("connect")), 1, "connects to the first")
        gateway.stop()


@case
def a_broker_that_refuses_everything_later_is_left_and_returned_to():
    first, second = fake_broker(), fake_broker()
    gateway = Gateway([first.url, second.url], uplink=dict(SHORT, failback="1s")).start()
    publish(gateway, 20)
    gateway.wait_drained(20)
    first.change(reason=0x87)
    for _ in range(3):
        publish(gateway, 20)
        gateway.wait_drained(30)
    equal(gateway.ledger()["delivered"], 80)
    first.change(reason=0)
    wait_for(lambda: gateway.status()["link"]["broker"] == first.url, 20, "the first broker again")
    publish(gateway, 20)
    equal(gateway.wait_drained(30)["delivered"], 100)
    check(len(lines_of(gateway, "link_refused")) <= 1, "lines of link_refused",
          lines_of(gateway, "link_refused"))
    gateway.stop()


def two_topics(gateway, count):
    with gateway.client(5) as client:
        entries = (("plant/%s" % ("bad" if i % 4 == 0 else "good"), b"%d;" % i)
                   for i in range(count))
        for _, ack in client.publish_many(entries, 200):
            equal(ack.reason, 0, "reason of a PUBACK")


@case
def a_topic_that_one_broker_refuses_is_delivered_by_the_other():
    for code in (0x87, 0x97):
        first, second = fake_broker(reason=code, reason_at="bad"), fake_broker()
        gateway = Gateway([first.url, second.url], uplink=dict(SHORT, failback="5s")).start()
        two_topics(gateway, 200)
        equal(gateway.wait_drained(40)["delivered"], 200, "delivered at %02X" % code)
        check(len(first.events("connect")) <= 2, "connects to the first",
              first.events("connect"))
        gateway.stop()


@case
def a_topic_that_each_broker_refuses_ends_rejected_and_moves_the_link_no_more():
    bad = {"reason": 0x87, "reason_at": "bad"}
    first, second = fake_broker(**bad), fake_broker(**bad)
    gateway = Gateway([first.url, second.url], uplink=dict(SHORT, failback="0s")).start()
    two_topics(gateway, 20)
    wait_for(second.publishes, 20, "what the first refused, at the second")
    two_topics(gateway, 160)
    ledger = gateway.wait_drained(30)
    equal((ledger["delivered"], ledger["rejected"]), (135, 45))
    connects = len(first.events("connect") + second.events("connect"))
    equal(connects, 2, "connects")
    gateway.stop()


@case
def two_brokers_that_refuse_everything_are_asked_seldom_and_end_nothing():
    first, second = fake_broker(reason=0x97), fake_broker(reason=0x87)
    gateway = Gateway([first.url, second.url], uplink={
        "backoff": {"min": "100ms", "max": "2s"}}).start()
    publish(gateway, 50)
    wait_for(lambda: len(second.publishes()) >= 12, 30, "tries at the second")
    wait_for(lambda: len(first.publishes()) >= 60, 30, "tries at the first again")
    began, before = time.monotonic(), len(first.events("connect") + second.events("connect"))
    wait_for(lambda: time.monotonic() - began >= 6, 10, "a while")
    connects = len(first.events("connect") + second.events("connect")) - before
    check(connects <= 12, "connects in six seconds", connects)
    equal(gateway.ledger()["rejected"], 0, "rejected")
    second.change(reason=0)
    equal(gateway.wait_drained(30)["delivered"], 50)
    gateway.stop()


if __name__ == "__main__":
    run_all()
