# SPDX-License-Identifier: MIT
"""A broker that refuses: everything for a while, for now, or one topic for ever.

What must hold: nothing is lost because the broker's rights or its quota are wrong; what is refused
while others pass is rejected, kept with its payload, and delays nothing else; order is kept.
"""

import os
import signal
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


def restart_with(gateway, broker):
    """What was spooled without a broker is a backlog for this one."""
    gateway.stop()
    gateway.configure(uplink={"brokers": [broker.url]})
    gateway.start()


def kept(gateway):
    return gateway.query("SELECT payload FROM rejected ORDER BY seq")


@case
def a_broker_that_refuses_everything_is_not_believed():
    broker = fake_broker(reason=0x87)
    gateway = Gateway(broker.url, uplink={"brokers": ["tcp://127.0.0.1:9"]}).start()
    publish(gateway, numbered(0, 3000))
    restart_with(gateway, broker)
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
def a_wrong_packet_size_in_a_connack_destroys_no_backlog():
    broker = fake_broker(maximum_packet=10)
    gateway = Gateway("tcp://127.0.0.1:9", uplink={"backoff": {"min": "100ms", "max": "1s"}}).start()
    publish(gateway, numbered(0, 3000))
    restart_with(gateway, broker)
    wait_for(lambda: link(gateway)["state"] == "refused", 20, "the state refused")
    equal(link(gateway)["refused_code"], 0x95, "the code in the status")
    equal(gateway.log().count("link_refused code=0x95 "), 1, "lines of the log")
    ledger = gateway.ledger()
    equal(ledger["rejected"], 0, "rejected though nothing passes")
    broker.change(maximum_packet=0)
    broker.reset_all()
    ledger = gateway.wait_drained(30)
    equal((ledger["delivered"], ledger["rejected"]), (3000, 0))
    gateway.stop()


SILENT = {"ack_timeout": "1s", "backoff": {"min": "100ms", "max": "500ms"}}


def others_pass_a_silent_topic(entries, window):
    """None of the messages with "silent" in their topic is answered until all others have been."""
    broker = fake_broker(noack_at="silent")
    gateway = Gateway("tcp://127.0.0.1:9", uplink=dict(SILENT, window=window)).start()
    publish(gateway, entries)
    restart_with(gateway, broker)
    good = sum("silent" not in topic for topic, _ in entries)
    wait_for(lambda: gateway.ledger()["delivered"] == good, 40, lambda: gateway.ledger())
    wait_for(lambda: "topic_unanswered topic=\"silent/" in gateway.log(), 20, "the line")
    wait_for(lambda: "to topic \"silent/" in (link(gateway)["last_error"] or ""), 20, "last_error")
    broker.change(noack_at="")
    ledger = gateway.wait_drained(30)
    equal((ledger["delivered"], ledger["rejected"]), (len(entries), 0))
    for topic in sorted({topic for topic, _ in entries}):
        order = [entry["seq"] for entry in broker.publishes() if entry["topic"] == topic]
        last = {seq: at for at, seq in enumerate(order)}
        equal(sorted(last, key=last.get), sorted(last), "the order of " + topic)
    gateway.stop()
    return broker


def mixed(count, silent):
    """@silent: which of the numbers are of the topic that is not answered."""
    return [("silent/x" if number in silent else "good/%d" % (number % 4), b"%d;" % number)
            for number in range(count)]


@case
def a_topic_that_is_not_answered_holds_no_other_topic_up():
    broker = others_pass_a_silent_topic(mixed(200, range(2, 200, 5)), 10)
    silent = [entry["conn"] for entry in broker.publishes() if "silent" in entry["topic"]]
    check(silent.count(max(silent)) > 2, "the last connection takes all of them", silent)


@case
def more_messages_without_an_answer_than_the_window_holds_stop_no_other():
    others_pass_a_silent_topic(mixed(100, range(0, 40)), 10)
    others_pass_a_silent_topic(mixed(100, range(30, 70)), 10)


@case
def with_a_window_of_one_a_topic_that_is_not_answered_lets_others_pass():
    others_pass_a_silent_topic(mixed(30, range(5, 15)), 1)


@case
def messages_without_an_answer_on_many_topics_stop_no_other():
    others_pass_a_silent_topic([("%s/%d" % ("silent" if number % 2 else "good", number),
                                 b"%d;" % number) for number in range(60)], 10)


@case
def a_broker_that_answers_nothing_blames_no_topic():
    broker = fake_broker(noack=True)
    gateway = Gateway(broker.url, uplink=dict(SILENT, window=10)).start()
    gateway.wait_link()
    publish(gateway, mixed(100, range(0)))
    wait_for(lambda: broker.connections >= 5, 40, "five connections")
    check("topic_unanswered" not in gateway.log(), "a topic is blamed", gateway.log())
    broker.change(noack=False)
    equal(gateway.wait_drained(30)["delivered"], 100)
    check("topic_unanswered" not in gateway.log(), "a topic is blamed", gateway.log())
    gateway.stop()


@case
def what_is_refused_while_others_pass_is_rejected_and_kept():
    broker = fake_broker(reason=0x87, reason_at="secret")
    gateway = Gateway(broker.url).start()
    entries = [("plant/%s" % ("secret" if i % 3 == 1 else "open"), b"%d;" % i) for i in range(300)]
    publish(gateway, entries)
    ledger = gateway.wait_drained()
    equal((ledger["delivered"], ledger["rejected"]), (200, 100))
    wait_for(lambda: gateway.status()["rejected"]["messages"] == 100, 5, "kept in the status")
    check("link_refused" not in gateway.log(), "refused though others pass", gateway.log())
    gateway.kill()
    equal([row[0] for row in kept(gateway)], [b"%d;" % i for i in range(1, 300, 3)],
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
    restart_with(gateway, broker)
    ledger = gateway.wait_drained(30)
    equal((ledger["delivered"], ledger["rejected"]), (300, 300))
    for number in range(40):
        publish(gateway, numbered(600 + 20 * number, 620 + 20 * number, "bad/x"))
        publish(gateway, numbered(2000 + number, 2001 + number, "good/x"))
    ledger = gateway.wait_drained(30)
    equal((ledger["delivered"], ledger["rejected"]), (340, 1100))
    gateway.stop()


@case
def many_refused_topics_beside_few_accepted_ones_do_not_make_the_link_refused():
    broker = fake_broker(reason=0x87, reason_at="bad")
    gateway = Gateway(broker.url).start()
    bad, good = 0, 0
    publish(gateway, [("bad/%d" % i, b"%d;" % i) for i in range(50)])
    began = time.monotonic()
    while time.monotonic() < began + 8:
        publish(gateway, [("bad/%d" % i, b"%d;" % i) for i in range(50 + bad, 150 + bad)])
        publish(gateway, [("good/x", b"%d;" % (1000000 + good))])
        bad, good = bad + 100, good + 1
        wait_for(lambda: gateway.ledger()["delivered"] == good, 10, "the good one delivered")
        time.sleep(0.2)
    ledger = gateway.wait_drained(30)
    equal((ledger["delivered"], ledger["rejected"]), (good, bad + 50))
    check("link_refused" not in gateway.log(), "refused though others pass", gateway.log())
    check(len(broker.publishes()) <= 3 * (bad + 50) + good, "sent", len(broker.publishes()))
    gateway.stop()


@case
def a_backlog_of_refused_topics_holds_up_no_message_behind_it():
    broker = fake_broker(reason=0x87, reason_at="bad")
    gateway = Gateway(broker.url, uplink={"brokers": ["tcp://127.0.0.1:9"]}).start()
    publish(gateway, [("bad/%d" % i, b"%d;" % i) for i in range(2000)] + numbered(2000, 2010))
    restart_with(gateway, broker)
    ledger = gateway.wait_drained(30)
    equal((ledger["delivered"], ledger["rejected"]), (10, 2000))
    gateway.stop()


@case
def many_topics_refused_for_now_beside_few_accepted_ones_delay_none_of_these():
    broker = fake_broker(reason=0x97, reason_at="bad")
    gateway = Gateway(broker.url).start()
    publish(gateway, numbered(0, 1, "good/x"))
    wait_for(lambda: gateway.ledger()["delivered"] == 1, 10, "the first one delivered")
    for number in range(1, 9):
        publish(gateway, [("bad/%d.%d" % (number, i), b"%d;" % i) for i in range(100)])
        publish(gateway, numbered(number, number + 1, "good/x"))
        wait_for(lambda: gateway.ledger()["delivered"] == number + 1, 5, "the next one delivered")
        time.sleep(0.5)
    check("link_refused" not in gateway.log(), "refused though others pass", gateway.log())
    gateway.stop()


@case
def a_broker_that_accepted_and_then_refuses_everything_gets_few_tries_and_then_all():
    broker = fake_broker()
    gateway = Gateway(broker.url, uplink={"backoff": {"min": "100ms", "max": "1s"}}).start()
    topics = ["plant/%d" % i for i in range(5)]
    entries = [(topics[i % 5], b"%d;" % i) for i in range(2000)]
    publish(gateway, entries[:1000])
    wait_for(lambda: gateway.ledger()["delivered"] == 1000, 20, "the first ones delivered")
    broker.change(reason=0x87)
    publish(gateway, entries[1000:])
    wait_for(lambda: link(gateway)["state"] == "refused", 5, "the state refused")
    wait_for(lambda: gateway.status()["tokens"]["in_flight"] == 0, 20, "no token in flight")
    before, began = len(broker.publishes()), time.monotonic()
    wait_for(lambda: len(broker.publishes()) >= before + 6, 30, "six more tries")
    check(len(broker.publishes()) - before <= 4 * (time.monotonic() - began + 2), "too many tries",
          len(broker.publishes()) - before)
    broker.change(reason=0)
    ledger = gateway.wait_drained(30)
    check(ledger["rejected"] < IN_A_ROW, "rejected though nothing passed", ledger)
    equal(ledger["delivered"] + ledger["rejected"], 2000)
    gateway.stop()


@case
def what_ends_rejected_is_logged_and_shown():
    broker = fake_broker(reason=0x87, reason_at="bad")
    gateway = Gateway(broker.url).start()
    publish(gateway, numbered(0, 5, "good/x") + [("bad/\"x", b"5;")] + numbered(6, 9, "bad/y"))
    equal(gateway.wait_drained()["rejected"], 4)
    wait_for(lambda: "ended_rejected" in gateway.log(), 10, "a line of the log")
    line = [line for line in gateway.log().split("\n") if "ended_rejected" in line][0]
    for part in ("messages=", "reason=reason_code", "code=0x87", 'text="not authorized"',
                 "kept=4", "remedy=", "and has accepted others since the start: "):
        check(part in line, part, line)
    check('topic="bad/\\"x"' in line or 'topic="bad/y"' in line, "topic", line)
    last = gateway.status()["rejected"]["last"]
    equal((last["topic"], last["reason"], last["code"]), ("bad/y", "reason_code", 0x87), "last")
    page = gateway.tool("status").stdout.decode()
    check("rejected  4 kept aside" in page and "bad/y" in page and "not authorized" in page,
          "the page", page)
    gateway.stop()
    page = gateway.tool("status").stdout.decode()
    check("rejected  4 kept aside" in page and "bad/y" in page, "the page without a daemon", page)
    equal(gateway.log().count("ended_rejected"), 1, "lines: of a burst one")


@case
def an_accepted_report_is_no_acceptance_of_messages():
    broker = fake_broker(reason_at="plant")
    gateway = Gateway(broker.url, uplink={"report": {"topic": "gw/report"},
                                          "backoff": {"min": "50ms", "max": "200ms"}}).start()
    topics = [("plant/%d" % number, b"%d;" % number) for number in range(40)]
    publish(gateway, topics)
    wait_for(lambda: gateway.ledger()["delivered"] == 40, 20, "all accepted before")
    broker.change(reason=0x87)
    publish(gateway, topics)
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
    publish(gateway, [("plant/full", b"0;")])

    def ended():  # only while others are accepted
        publish(gateway, numbered(1, 10))
        return gateway.ledger()["rejected"]
    wait_for(ended, 30, "the record")
    gateway.wait_drained()
    gateway.stop()
    line, = [line for line in gateway.audit_lines() if line["outcome"] == "rejected"]
    equal((line["reason"], line["code"]), ("attempts", 0x97), "the record")
    check(line["attempts"] >= 3, "attempts", line)
    equal([row[0] for row in kept(gateway)], [b"0;"], "what is kept")


@case
def no_number_of_attempts_ends_a_message_of_a_broker_that_accepts_none():
    broker = fake_broker(reason=0x97)
    gateway = Gateway(broker.url, uplink={"backoff": {"min": "10ms", "max": "20ms"},
                                          "max_attempts": 2}).start()
    publish(gateway, numbered(0, 4))
    wait_for(lambda: len(broker.publishes()) >= 30, 30, "30 tries")
    equal(gateway.ledger()["rejected"], 0, "rejected")
    broker.change(reason=0)
    ledger = gateway.wait_drained()
    equal((ledger["delivered"], ledger["rejected"]), (4, 0))
    gateway.stop()


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
    restart_with(gateway, broker)
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
def a_burst_of_bad_messages_costs_few_connections_and_no_long_pauses():
    broker = fake_broker(close_at="bad")
    gateway = Gateway(uplink={"backoff": {"min": "50ms", "max": "1m"}, "window": 128}).start()
    entries = numbered(0, 300)
    bad = list(range(20, 40)) + list(range(100, 200, 10))
    for number in bad:
        entries[number] = ("plant/bad%d" % number, b"%d;" % number)
    publish(gateway, entries)
    restart_with(gateway, broker)
    ledger = gateway.wait_drained(60)
    equal((ledger["delivered"], ledger["rejected"]), (270, 30))
    gateway.stop()
    equal(sorted(entry[0] for entry in rejected(gateway)),
          sorted("plant/bad%d" % number for number in bad), "the records")
    print("# %d connections, %d messages" % (broker.connections, len(broker.publishes())))
    check(broker.connections <= 3 * len(bad), "connections", broker.connections)
    good = [entry["seq"] for entry in broker.publishes() if "bad" not in entry["topic"]]
    check(len(good) - 270 <= 128 * len(bad), "repeats", len(good) - 270)


@case
def a_burst_that_comes_first_ends_too():
    broker = fake_broker(close_at="bad")
    gateway = Gateway(broker.url, uplink=QUICK).start()
    publish(gateway, [("bad/%d" % i, b"%d;" % i) for i in range(12)] + numbered(12, 52))
    ledger = gateway.wait_drained(60)
    equal((ledger["delivered"], ledger["rejected"]), (40, 12))
    check(broker.connections <= 5 * 12, "connections", broker.connections)


def two_brokers_with_bad(second, **options_of_first):
    """@second: its options."""
    first = fake_broker(close_at="bad", **options_of_first)
    second = fake_broker(**second)
    gateway = Gateway([first.url, second.url], uplink=dict(QUICK, failback="1s")).start()
    entries = numbered(0, 100)
    entries[10], entries[60] = ("plant/bad1", b"10;"), ("plant/bad2", b"60;")
    publish(gateway, entries)
    more = []

    def are_ended():
        spooled = gateway.ledger()["spooled"]
        if 0 < spooled <= 5:  # others show that a broker takes them
            publish(gateway, numbered(0, 10))
            more.append(10)
        return spooled == 0
    wait_for(are_ended, 90, lambda: "an end of all, it is %r" % gateway.ledger(), 0.1)
    ledger = gateway.ledger()
    gateway.stop()
    return ledger["delivered"] - sum(more), ledger["rejected"], first.connections + second.connections


@case
def a_message_at_which_one_of_two_brokers_closes_is_delivered_by_the_other():
    equal(two_brokers_with_bad({})[:2], (100, 0), "delivered and rejected")


@case
def one_at_which_the_first_broker_closes_late_is_delivered_by_the_other():
    # After a connection that lasted, here for the longest backoff, the same broker is next.
    equal(two_brokers_with_bad({}, slow=300)[:2], (100, 0), "delivered and rejected")


@case
def two_brokers_that_close_at_the_same_messages_take_all_others():
    delivered, rejected_count, connections = two_brokers_with_bad({"close_at": "bad"})
    equal((delivered, rejected_count), (98, 2), "delivered and rejected")
    check(connections <= 2 * 2 * 8, "connections", connections)


@case
def what_one_broker_closes_at_and_the_other_refuses_ends():
    delivered, rejected_count, _ = two_brokers_with_bad({"reason": 0x87, "reason_at": "bad"},
                                                        slow=300)
    equal((delivered, rejected_count), (98, 2), "delivered and rejected")


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
def a_broker_that_closes_by_chance_condemns_nothing():
    for percent in (50, 20):
        broker = fake_broker(close_percent=percent)
        gateway = Gateway(broker.url, uplink=QUICK).start()
        publish(gateway, numbered(0, 100))
        ledger = gateway.wait_drained(60)
        equal((ledger["delivered"], ledger["rejected"]), (100, 0), "at %d percent" % percent)
        check(broker.connections > 15, "connections", broker.connections)
        gateway.stop()


@case
def a_quota_condemns_nothing():
    broker = fake_broker(close_after=3)
    gateway = Gateway(broker.url, uplink=QUICK).start()
    publish(gateway, numbered(0, 100))
    ledger = gateway.wait_drained(60)
    equal((ledger["delivered"], ledger["rejected"]), (100, 0))


@case
def a_broker_that_flaps_condemns_nothing():
    broker = fake_broker(late=100)
    gateway = Gateway(broker.url, uplink=dict(QUICK, window=4)).start()
    publish(gateway, numbered(0, 60))
    until = time.monotonic() + 20
    while time.monotonic() < until and gateway.ledger()["delivered"] < 60:
        time.sleep(0.15)
        broker.reset_all()
    broker.change(late=0)
    ledger = gateway.wait_drained(30)
    equal((ledger["delivered"], ledger["rejected"]), (60, 0))


@case
def a_disconnect_for_a_quota_suspects_no_message():
    for code in (0x96, 0x97):
        broker = fake_broker(dismiss=code)
        gateway = Gateway(broker.url, uplink=QUICK).start()
        publish(gateway, numbered(0, 40))
        wait_for(lambda: broker.connections >= 10, 60, "10 connections")
        equal(closings(gateway), 0, "closings in the database")
        gateway.stop()


@case
def a_bad_message_without_another_one_is_tried_until_there_is_one():
    broker = fake_broker(close_at="bad")
    gateway = Gateway(broker.url, uplink=QUICK).start()
    publish(gateway, [("plant/bad", b"0;")])
    wait_for(lambda: broker.connections >= 10, 60, "10 connections")
    equal(gateway.ledger()["rejected"], 0, "rejected though no other was taken")
    publish(gateway, numbered(1, 2))
    wait_for(lambda: gateway.ledger()["delivered"] == 1, 30, "the other one")
    equal(gateway.ledger()["rejected"], 0, "rejected though it may have been an outage")
    publish(gateway, numbered(2, 20))
    ledger = gateway.wait_drained(30)
    equal((ledger["delivered"], ledger["rejected"]), (19, 1))


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
    publish(gateway, numbered(5, 40))
    ledger = gateway.wait_drained(60)
    equal((ledger["delivered"], ledger["rejected"]), (39, 1))


def closings(gateway):
    return gateway.query("SELECT coalesce(max(closings), 0) FROM suspect")[0][0]


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
    return gateway.query("SELECT sum(messages) FROM lane")[0][0]


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
