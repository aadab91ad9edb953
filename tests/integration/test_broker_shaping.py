# SPDX-License-Identifier: MIT
"""What goes out is shaped: how fast, in which order, under which topic, with which properties."""

import os
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

from fake_broker import FakeBroker  # noqa: E402
from gateway import Gateway, check_audit  # noqa: E402
from tap import case, check, cleanup, equal, run_all, wait_for  # noqa: E402


def fake_broker(**options):
    broker = FakeBroker(**options).start()
    cleanup(broker.stop)
    return broker


def publish(gateway, count, topic="plant/t", size=6, version=5):
    with gateway.client(version) as client:
        for _, ack in client.publish_many(
                ((topic, (b"%06d" % number).ljust(size, b".")) for number in range(count)), 200):
            equal(ack.reason, 0, "reason of a PUBACK")


# How fast


@case
def repeats_pay_for_the_rate_too():
    rate = 100
    broker = fake_broker(reset_after=40)
    began = time.monotonic()
    gateway = Gateway(broker.url, uplink={"rate": {"messages": rate}, "window": 20}).start()
    gateway.wait_link()
    publish(gateway, 200)
    equal(gateway.wait_drained()["delivered"], 200)
    seconds = time.monotonic() - began
    sent = len(broker.publishes())
    check(sent > 200, "some were sent again", sent)
    check(sent <= rate * (seconds + 1) + 1, "PUBLISHes within the rate", sent, seconds)
    gateway.stop()
    check_audit(gateway.audit_lines())


@case
def a_rate_of_bytes_lets_a_larger_message_pass_and_a_hup_lifts_it():
    rate = 2048
    broker = fake_broker()
    began = time.monotonic()
    gateway = Gateway(broker.url, uplink={"rate": {"bytes": "2k"}}).start()
    gateway.wait_link()
    publish(gateway, 3, size=5000)
    wait_for(lambda: len(broker.publishes()) == 2, 20, "the second message, above the rate")
    seconds = time.monotonic() - began
    check(5000 <= rate * (seconds + 1), "the first one was paid for before the second", seconds)
    publish(gateway, 100, size=5000)  # four minutes of the rate
    gateway.configure(uplink={"rate": {"bytes": "0"}})
    gateway.hup()
    equal(gateway.wait_drained()["delivered"], 103)
    gateway.stop()


if __name__ == "__main__":
    run_all()
