# SPDX-License-Identifier: MIT
"""A broker that refuses: everything for a while, for now, or one topic for ever.

What must hold: nothing is lost because the broker's rights or its quota are wrong; what is refused
while others pass is rejected, kept with its payload, and delays nothing else; order is kept.
"""

import contextlib
import os
import signal
import sqlite3
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import mqtt  # noqa: E402
import tap  # noqa: E402
from fake_broker import FakeBroker  # noqa: E402
from gateway import Gateway  # noqa: E402
from tap import case, check, equal, run_all, wait_for  # noqa: E402

IN_A_ROW = 8


def fake_broker(**options):
    broker = FakeBroker(**options).start()
    tap.cleanup(broker.stop)
    return broker


def publish(gateway, entries):
    """@entries: (topic, payload); all of them are acknowledged."""
    with mqtt.Client(gateway.socket, 5, client_id="pub") as client:
        window = 500
        for first in range(0, len(entries), window):
            part = entries[first:first + window]
            client.send(b"".join(mqtt.publish_packet(5, topic, payload, 1, client.next_id())
                                 for topic, payload in part))
            for _ in part:
                equal(client.receive(20).reason, 0, "PUBACK")


def numbered(first, last, topic="plant/x"):
    return [(topic, b"%d;" % number) for number in range(first, last)]


def firsts(broker):
    """The numbers that arrived, each by its last arrival: the one that was acknowledged."""
    order = {}
    for entry in broker.publishes():
        order.pop(entry["seq"], None)
        order[entry["seq"]] = True
    return list(order)


def link(gateway):
    return gateway.status()["link"]


def kept(gateway):
    path = "file:%s?mode=ro" % os.path.join(gateway.spool, "spool.db")
    with contextlib.closing(sqlite3.connect(path, uri=True)) as database:
        return database.execute("SELECT payload FROM rejected ORDER BY seq").fetchall()


@case
def a_broker_that_refuses_everything_is_not_believed():
    broker = fake_broker(reason=0x87)
    gateway = Gateway(broker.url, uplink={"brokers": ["tcp://127.0.0.1:9"]}).start()
    publish(gateway, numbered(0, 3000))
    gateway.configure(uplink={"brokers": [broker.url]})
    gateway.stop()
    gateway.start()
    wait_for(lambda: link(gateway)["state"] == "refused", 20, "the state refused")
    equal(link(gateway)["refused_code"], 0x87, "the code in the status")
    check("not authorized" in link(gateway)["last_error"], "last_error", link(gateway))
    wait_for(lambda: gateway.status()["tokens"]["in_flight"] == 0, 20, "the window answered")
    before = len(broker.publishes())
    began = time.monotonic()
    wait_for(lambda: len(broker.publishes()) >= before + 6, 30, "six more tries")
    check(len(broker.publishes()) - before <= 4 * (time.monotonic() - began + 2), "too many tries",
          len(broker.publishes()) - before)
    ledger = gateway.ledger()
    check(ledger["rejected"] < IN_A_ROW, "rejected though nothing passes", ledger)
    equal(gateway.log().count("link_refused code=0x87 "), 1, "lines of the log")
    broker.change(reason=0)
    ledger = gateway.wait_drained(30)
    equal(ledger["delivered"] + ledger["rejected"], 3000)
    check(ledger["rejected"] < IN_A_ROW, "rejected", ledger)
    equal(gateway.log().count("link_accepts "), 1, "lines of the log")
    wait_for(lambda: link(gateway)["state"] == "online", 5, "the state online")
    equal(link(gateway)["refused_code"], None, "the code in the status")
    equal(gateway.status()["rejected"]["messages"], ledger["rejected"], "what is kept")
    gateway.stop()
    equal([row[0] for row in kept(gateway)], [b"%d;" % i for i in range(ledger["rejected"])],
          "what is kept")


@case
def what_is_refused_while_others_pass_is_rejected_and_kept():
    broker = fake_broker(reason=0x87, reason_at="secret")
    gateway = Gateway(broker.url).start()
    entries = [("plant/%s" % ("secret" if i % 3 == 0 else "open"), b"%d;" % i) for i in range(300)]
    publish(gateway, entries)
    ledger = gateway.wait_drained()
    equal((ledger["delivered"], ledger["rejected"]), (200, 100))
    wait_for(lambda: gateway.status()["rejected"]["messages"] == 100, 5, "kept in the status")
    check("link_refused" not in gateway.log(), "refused though others pass", gateway.log())
    gateway.kill()
    equal([row[0] for row in kept(gateway)], [b"%d;" % i for i in range(0, 300, 3)],
          "what is kept")
    gateway.start()
    equal(gateway.status()["rejected"]["messages"], 100, "after a kill")
    gateway.configure(rejected={"max_messages": 10})
    gateway.hup()
    wait_for(lambda: gateway.status()["rejected"]["messages"] == 10, 10, "the lower limit")
    gateway.stop()
    equal(gateway.tool("check").returncode, 0, "mqtt-spool check")


@case
def a_refused_topic_with_a_backlog_holds_no_other_topic_up():
    broker = fake_broker(reason=0x87, reason_at="bad")
    gateway = Gateway(broker.url, uplink={"brokers": ["tcp://127.0.0.1:9"]}).start()
    publish(gateway, numbered(0, 300, "bad/x") + numbered(300, 600, "good/x"))
    gateway.configure(uplink={"brokers": [broker.url]})
    gateway.stop()
    gateway.start()
    ledger = gateway.wait_drained(30)
    equal((ledger["delivered"], ledger["rejected"]), (300, 300))
    for number in range(40):
        publish(gateway, numbered(600 + 20 * number, 620 + 20 * number, "bad/x"))
        publish(gateway, numbered(2000 + number, 2001 + number, "good/x"))
    ledger = gateway.wait_drained(30)
    equal((ledger["delivered"], ledger["rejected"]), (340, 1100))
    gateway.stop()


@case
def an_accepted_report_is_no_acceptance_of_messages():
    broker = fake_broker(reason=0x87, reason_at="plant")
    gateway = Gateway(broker.url, uplink={"report": {"topic": "gw/report"},
                                          "backoff": {"min": "50ms", "max": "200ms"}}).start()
    for number in range(40):
        publish(gateway, numbered(number, number + 1, "plant/%d" % number))
    wait_for(lambda: link(gateway)["state"] == "refused", 20, "the state refused")
    wait_for(lambda: [entry for entry in broker.publishes() if entry["topic"] == "gw/report"], 20,
             "a report")
    tries = len(broker.publishes())
    wait_for(lambda: len(broker.publishes()) >= tries + 12, 30, "more tries")
    ledger = gateway.ledger()
    check(ledger["rejected"] < IN_A_ROW, "rejected", ledger)
    check("link_accepts" not in gateway.log(), "opened by a report", gateway.log())
    gateway.stop()


@case
def a_broker_that_is_busy_with_everything_is_tried_seldom_and_then_gets_all_in_order():
    broker = fake_broker(reason=0x97)
    gateway = Gateway(broker.url, uplink={"backoff": {"min": "100ms", "max": "1s"}}).start()
    publish(gateway, numbered(0, 1000))
    wait_for(lambda: link(gateway)["state"] == "refused", 20, "the state refused")
    wait_for(lambda: gateway.status()["tokens"]["in_flight"] == 0, 20, "no token in flight")
    before, began = len(broker.publishes()), time.monotonic()
    wait_for(lambda: len(broker.publishes()) >= before + 6, 30, "six more tries")
    check(len(broker.publishes()) - before <= 4 * (time.monotonic() - began + 2), "too many tries",
          len(broker.publishes()) - before)
    # Between two rounds, of which each begins with the oldest message
    count = -1
    while count != len(broker.publishes()):
        count = len(broker.publishes())
        time.sleep(0.5)
    broker.change(reason=0)
    ledger = gateway.wait_drained(30)
    equal((ledger["delivered"], ledger["rejected"]), (1000, 0))
    equal(firsts(broker), list(range(1000)), "the order")


@case
def one_topic_refused_for_now_delays_no_other():
    broker = fake_broker(reason=0x97, reason_at="full")
    gateway = Gateway(broker.url, uplink={"backoff": {"min": "200ms", "max": "1m"}}).start()
    publish(gateway, [("plant/full", b"0;")] + numbered(1, 200))
    wait_for(lambda: gateway.ledger()["delivered"] == 199, 20, "all others delivered")
    began, number = time.monotonic(), 200
    while time.monotonic() < began + 6:  # acceptances, which say nothing about that message
        publish(gateway, numbered(number, number + 1))
        number += 1
        wait_for(lambda: len(firsts(broker)) == number, 20, "the next one delivered")
    tries = [entry for entry in broker.publishes() if entry["topic"] == "plant/full"]
    check(len(tries) <= 8, "tries in 6 s of a message whose pause doubles from 0.2 s", len(tries))
    equal([seq for seq in firsts(broker) if seq], list(range(1, number)), "the order of the others")
    equal(link(gateway)["state"], "online", "the link")


@case
def a_bounded_number_of_attempts_is_a_record_with_its_reason():
    broker = fake_broker(reason=0x97, reason_at="full")
    gateway = Gateway(broker.url, uplink={"backoff": {"min": "10ms", "max": "20ms"},
                                          "max_attempts": 3}).start()
    publish(gateway, [("plant/full", b"0;")] + numbered(1, 10))
    ledger = gateway.wait_drained()
    equal((ledger["delivered"], ledger["rejected"]), (9, 1))
    gateway.stop()
    line = [line for line in gateway.audit_lines() if line["outcome"] == "rejected"][0]
    equal((line["reason"], line["code"], line["attempts"]), ("attempts", 0x97, 3), "the record")
    equal([row[0] for row in kept(gateway)], [b"0;"], "what is kept")


@case
def an_operator_may_have_each_refusal_believed():
    broker = fake_broker(reason=0x87)
    gateway = Gateway(broker.url, uplink={"on_refusal": "reject"},
                      rejected={"max_messages": 0}).start()
    publish(gateway, numbered(0, 50))
    equal(gateway.wait_drained()["rejected"], 50)
    gateway.stop()
    equal(kept(gateway), [], "what is kept")


@case
def the_retain_flag_can_be_left_out():
    broker = fake_broker()
    gateway = Gateway(broker.url, uplink={"retain": False}).start()
    publish_retained(gateway, b"0;")
    gateway.wait_drained()
    gateway.configure(uplink={"retain": True})
    gateway.hup()
    publish_retained(gateway, b"1;")
    gateway.wait_drained()
    equal([entry["retain"] for entry in broker.publishes()], [False, True], "the flags")


def rejected(gateway):
    return [(line["topic"], line["reason"]) for line in gateway.audit_lines()
            if line["outcome"] == "rejected"]


QUICK = {"backoff": {"min": "10ms", "max": "50ms"}}


@case
def of_500_messages_the_two_at_which_the_broker_closes_end_as_poison():
    broker = fake_broker(close_at="bad")
    gateway = Gateway(uplink=dict(QUICK, window=128)).start()
    entries = numbered(0, 500)
    entries[40], entries[300] = ("plant/bad1", b"40;"), ("plant/bad2", b"300;")
    publish(gateway, entries)
    gateway.stop()
    gateway.configure(uplink={"brokers": [broker.url]})
    gateway.start()
    ledger = gateway.wait_drained(60)
    equal((ledger["delivered"], ledger["rejected"]), (498, 2))
    gateway.stop()
    equal(rejected(gateway), [("plant/bad1", "poison"), ("plant/bad2", "poison")], "the records")
    equal([row[0] for row in kept(gateway)], [b"40;", b"300;"], "what is kept")
    check(broker.connections <= 2 * 5, "connections for two bad messages", broker.connections)
    good = [entry["seq"] for entry in broker.publishes() if "bad" not in entry["topic"]]
    check(len(good) - 498 <= 2 * 128, "repeats: above a window for each", len(good) - 498)
    equal(gateway.log().count("message_poison id="), 2, "lines of the log")


@case
def a_broker_that_closes_at_everything_condemns_nothing():
    broker = fake_broker(close_at="plant")
    gateway = Gateway(broker.url, uplink=QUICK).start()
    publish(gateway, numbered(0, 50))
    wait_for(lambda: broker.connections >= 25, 60, "25 connections")
    equal(gateway.ledger()["rejected"], 0, "rejected")
    broker.change(close_at="")
    ledger = gateway.wait_drained(30)
    equal((ledger["delivered"], ledger["rejected"]), (50, 0))


@case
def a_bad_message_without_another_one_is_tried_until_there_is_one():
    broker = fake_broker(close_at="bad")
    gateway = Gateway(broker.url, uplink=QUICK).start()
    publish(gateway, [("plant/bad", b"0;")])
    wait_for(lambda: broker.connections >= 10, 60, "10 connections")
    equal(gateway.ledger()["rejected"], 0, "rejected though no other was taken")
    publish(gateway, numbered(1, 2))
    ledger = gateway.wait_drained(30)
    equal((ledger["delivered"], ledger["rejected"]), (1, 1))


@case
def closings_are_counted_over_restarts():
    broker = fake_broker(close_at="bad")
    gateway = Gateway(broker.url, uplink={"backoff": {"min": "5s", "max": "5s"}}).start()
    publish(gateway, [("plant/bad", b"0;")] + numbered(1, 5))
    for wanted in (1, 2, 3, 4):  # one connection in each life
        wait_for(lambda: closings(gateway) >= wanted, 20, "%d closings in the database" % wanted)
        gateway.kill()
        gateway.start()
    gateway.configure(uplink=QUICK)
    gateway.hup()
    ledger = gateway.wait_drained(60)
    equal((ledger["delivered"], ledger["rejected"]), (4, 1))


def closings(gateway):
    path = "file:%s?mode=ro" % os.path.join(gateway.spool, "spool.db")
    with contextlib.closing(sqlite3.connect(path, uri=True)) as database:
        return database.execute("SELECT coalesce(max(closings), 0) FROM suspect").fetchone()[0]


@case
def a_line_that_is_cut_or_a_server_that_shuts_down_suspects_no_message():
    broker = fake_broker(noack=True)
    gateway = Gateway(broker.url, uplink=dict(QUICK, ack_timeout="1s")).start()
    publish(gateway, numbered(0, 5))
    wait_for(lambda: broker.connections >= 5, 60, "5 connections")
    equal(closings(gateway), 0, "closings of stalls")
    broker.change(noack=False)
    equal(gateway.wait_drained(30)["delivered"], 5)


def spooled(gateway):
    path = "file:%s?mode=ro" % os.path.join(gateway.spool, "spool.db")
    with contextlib.closing(sqlite3.connect(path, uri=True)) as database:
        return database.execute("SELECT sum(messages) FROM lane").fetchone()[0]


def serve_until_drained(gateway, most):
    """Starts the daemon again each time it dies, as systemd does. Returns how often it did."""
    deaths = 0
    while spooled(gateway) > 0:
        if gateway.process.poll() is not None:
            deaths += 1
            check(deaths <= most, "deaths", deaths)
            gateway.start(ready=False)
            tap.wait_for(lambda: gateway.process.poll() is not None or gateway.status(), 20,
                         "a status, or its end")
        time.sleep(0.02)
    return deaths


def killer(gateway, word):
    """As if the daemon crashed at this message: before the broker's answer."""
    def on_publish(topic):
        if word in topic:
            os.kill(gateway.process.pid, signal.SIGKILL)
            gateway.process.wait()
    return on_publish


@case
def a_message_that_kills_the_process_is_found():
    broker = fake_broker()
    gateway = Gateway(broker.url, uplink=dict(QUICK, window=16)).start()
    gateway.stop()
    broker.on_publish = killer(gateway, "bad")
    gateway.configure(uplink={"brokers": ["tcp://127.0.0.1:9"]})
    gateway.start()
    entries = numbered(0, 60)
    entries[0], entries[40] = ("plant/bad1", b"0;"), ("plant/bad2", b"40;")
    publish(gateway, entries)
    gateway.configure(uplink={"brokers": [broker.url]})
    gateway.stop()
    gateway.start(ready=False)
    deaths = serve_until_drained(gateway, 25)
    print("# %d deaths" % deaths)
    ledger = gateway.ledger()
    equal((ledger["delivered"], ledger["rejected"]), (58, 2))
    gateway.stop()
    equal(rejected(gateway), [("plant/bad1", "poison"), ("plant/bad2", "poison")], "the records")


@case
def a_process_that_dies_at_whatever_is_sent_condemns_nothing():
    broker = fake_broker()
    gateway = Gateway(broker.url, uplink=dict(QUICK, window=16))
    broker.on_publish = killer(gateway, "plant")
    gateway.configure(uplink={"brokers": ["tcp://127.0.0.1:9"]})
    gateway.start()
    publish(gateway, numbered(0, 20))
    gateway.configure(uplink={"brokers": [broker.url]})
    gateway.stop()
    for _ in range(10):
        gateway.start(ready=False)
        wait_for(lambda: gateway.process.poll() is not None, 20, "its end")
    broker.on_publish = None
    gateway.start()
    ledger = gateway.wait_drained(30)
    equal((ledger["delivered"], ledger["rejected"]), (20, 0))


def publish_retained(gateway, payload):
    done = gateway.tool("publish", "-t", "plant/x", "-m", payload.decode(), "--retain")
    equal(done.returncode, 0, "publish (%r)" % done.stderr)


run_all()
