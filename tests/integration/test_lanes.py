# SPDX-License-Identifier: MIT
"""Lanes: each with its own limits, policy and priority, which can change while in use."""

import collections
import contextlib
import datetime
import os
import re
import socket
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import mqtt  # noqa: E402
from broker import Link, Mosquitto  # noqa: E402
from fake_broker import FakeBroker  # noqa: E402
from gateway import Gateway, check_audit, check_balance  # noqa: E402
from load import start_producers  # noqa: E402
from mqtt import Subscriber, spool_id  # noqa: E402
from tap import case, check, cleanup, equal, run_all, wait_for  # noqa: E402

# What a batch may evict in addition to as many messages as it has appended
# (daemon/gateway/limits.h).
RETAIN_BUDGET = 50

ALARMS = {"name": "alarms", "topics": ["+/alarm/#"], "priority": 10}
BULK = {"name": "bulk", "topics": ["log/#", "debug/#"], "priority": -10}


def publish(gateway, topics, client=None):
    """One message for each topic, each alone; their ids."""
    client = client or gateway.client(5)
    return [spool_id(client.publish_wait(topic, b"%06d" % number))
            for number, topic in enumerate(topics)]


def lanes_of(gateway):
    """{name: lane of a fresh status}; their ledgers balance and add up to that of the spool."""
    gateway.ledger()
    status = gateway.tool_status()
    for lane in status["lanes"]:
        check_balance(lane["ledger"])
        equal(lane["ledger"]["spooled"], lane["messages"], "spooled in lane " + lane["name"])
    for term in ("accepted", "delivered", "evicted", "expired", "rejected", "dropped", "damaged",
                 "spooled"):
        equal(sum(lane["ledger"][term] for lane in status["lanes"]), status["ledger"][term], term)
    return {lane["name"]: lane for lane in status["lanes"]}


def spooled(gateway):
    return {name: lane["messages"] for name, lane in lanes_of(gateway).items()}


def reload(gateway, **settings):
    """The settings in force, from the log."""
    count = gateway.log().count("reloaded")
    gateway.configure(**settings)
    gateway.hup()
    wait_for(lambda: gateway.log().count("reloaded") > count, 10, "reloaded in the log")


def far_side(broker, **options):
    far = Subscriber(broker.address, **options).start()
    cleanup(far.stop)
    return far


# Which lane takes it


@case
def the_first_lane_that_matches_takes_the_message_and_the_rest_is_default():
    broker = Mosquitto().start()
    link = Link(broker.port)
    press = {"name": "press", "topics": ["press/#"]}
    gateway = Gateway(link.url, lanes=[ALARMS, press, BULK]).start()
    topics = {"press/alarm/hot": "alarms", "oven/alarm": "alarms", "press/1/t": "press",
              "press": "press", "alarm/x": "default", "a/b/alarm": "default", "log": "bulk",
              "debug/x/y": "bulk", "logs/x": "default"}
    ids = dict(zip(publish(gateway, topics), topics))
    equal(spooled(gateway), {"default": 3, "alarms": 2, "press": 2, "bulk": 2})
    page = gateway.tool("status").stdout.decode()
    equal(re.findall(r"^(?:lanes)? +(\w+) +(\d) of \d+ messages, ", page, re.MULTILINE),
          [("default", "3"), ("alarms", "2"), ("press", "2"), ("bulk", "2")], "lanes for people")
    link.restore()
    gateway.wait_drained()
    lines = gateway.wait_audit(len(topics))
    equal({line["topic"]: line["lane"] for line in lines}, topics, "lanes in the records")
    equal({line["id"]: line["topic"] for line in lines}, ids)
    check_audit(lines)
    equal({name: lane["ledger"]["delivered"] for name, lane in lanes_of(gateway).items()},
          {"default": 3, "alarms": 2, "press": 2, "bulk": 2})
    gateway.stop()
    equal(spooled(gateway), {"default": 0, "alarms": 0, "press": 0, "bulk": 0},
          "as the tool reads it from the database")


# Limits and policies


@case
def each_lane_evicts_by_its_own_limits_and_the_records_name_it():
    alarms = dict(ALARMS, max_messages=5)
    bulk = dict(BULK, max_age="1s")
    gateway = Gateway(lanes=[alarms, bulk], retention={"max_messages": 20}).start()
    ids = publish(gateway, ["x/alarm"] * 12 + ["plant/t"] * 25 + ["log/x"] * 3)
    lines = gateway.wait_audit(7 + 5 + 3)
    equal(collections.Counter((line["lane"], line["reason"]) for line in lines),
          {("alarms", "max_messages"): 7, ("default", "max_messages"): 5, ("bulk", "max_age"): 3})
    equal({line["id"] for line in lines}, set(ids[:7] + ids[12:17] + ids[37:]), "the oldest ones")
    equal(spooled(gateway), {"default": 20, "alarms": 5, "bulk": 0})
    gateway.stop()
    check_audit(gateway.audit_lines())


@case
def each_lane_refuses_blocks_or_evicts_by_its_own_policy():
    broker = Mosquitto().start()
    link = Link(broker.port)
    alarms = dict(ALARMS, max_messages=3, when_full="refuse")
    bulk = dict(BULK, max_messages=3, when_full="block")
    gateway = Gateway(link.url, lanes=[alarms, bulk], retention={"max_messages": 3}).start()
    client = gateway.client(5)
    reasons = [client.publish_wait("x/alarm", b"x").reason for _ in range(5)]
    equal(reasons, [0, 0, 0, 0x97, 0x97], "reasons of the lane that refuses")
    blocked = gateway.client(5)
    sent = [blocked.publish("log/x", b"x") for _ in range(5)]
    equal([blocked.expect(mqtt.PUBACK).packet_id for _ in range(3)], sent[:3], "before it is full")
    try:
        raise AssertionError("%s came while the lane is full" % blocked.receive(1))
    except socket.timeout:
        pass
    publish(gateway, ["plant/t"] * 5, client)
    equal({line["lane"] for line in gateway.wait_audit(2)}, {"default"}, "lane that evicted")
    equal(spooled(gateway), {"default": 3, "alarms": 3, "bulk": 3})
    wait_for(lambda: any("LANE alarms IS FULL" in text for text in gateway.read_notifications()),
             10, "the full lane in systemd's status line")
    for lane, policy in (("alarms", "refused"), ("bulk", "blocked")):
        check("spool_full reason=limits lane=%s new_messages=%s" % (lane, policy) in gateway.log(),
              "the log names lane " + lane)
    link.restore()
    equal([blocked.expect(mqtt.PUBACK).packet_id for _ in range(2)], sent[3:], "afterwards")
    equal(client.publish_wait("x/alarm", b"x").reason, 0, "reason with room again")
    gateway.wait_drained()
    gateway.stop()


def keep_publishing(gateway, topic, ending):
    """A producer that never pauses: it sends again what is refused."""
    client = gateway.client(5, timeout=30)

    def run():
        while not ending.is_set():
            with contextlib.suppress(mqtt.Closed, OSError):
                client.publish_wait(topic, b"x")

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    cleanup(thread.join, 40)
    cleanup(ending.set)
    return thread


@case
def a_lane_that_drains_at_its_limit_is_reported_full_once_and_once_when_it_has_room():
    broker = FakeBroker(late=20).start()
    cleanup(broker.stop)
    for policy in ("refuse", "block"):
        gateway = Gateway(broker.url, uplink={"window": 1},
                          lanes=[dict(BULK, max_messages=3, when_full=policy)]).start()
        gateway.wait_link()
        ending = threading.Event()
        began = time.monotonic()
        threads = [keep_publishing(gateway, "log/x", ending) for _ in range(6)]
        wait_for(lambda made=gateway: made.ledger()["delivered"] > 100, 60, "100 delivered")
        full = gateway.log().count("spool_full reason=limits lane=bulk")
        # A machine that stands still for a second ends the condition; a fault repeats it each time.
        check(1 <= full <= 1 + (time.monotonic() - began) / 2, "lines with " + policy, full)
        check(gateway.log().count("spool_room lane=bulk") < full, "and of its end", gateway.log())
        ending.set()
        for thread in threads:
            thread.join(40)
        wait_for(lambda made=gateway: made.log().count("spool_room lane=bulk")
                 == made.log().count("spool_full reason=limits lane=bulk"), 20, "the end, once")
        equal({lane["name"]: lane["full"] for lane in gateway.fresh_status()["lanes"]}["bulk"],
              False, "full in the status")
        gateway.stop()


@case
def a_full_lane_whose_limit_is_raised_is_reported_to_have_room():
    refusing = dict(BULK, max_messages=2, when_full="refuse")
    gateway = Gateway(lanes=[refusing]).start()
    client = gateway.client(5)
    equal([client.publish_wait("log/x", b"x").reason for _ in range(3)], [0, 0, 0x97], "reasons")
    wait_for(lambda: "spool_full reason=limits lane=bulk" in gateway.log(), 10, "a full lane")
    reload(gateway, lanes=[ALARMS, dict(refusing, max_messages=10)])
    wait_for(lambda: "spool_room lane=bulk" in gateway.log(), 10, "room after HUP")
    gateway.stop()


@case
def a_client_that_ends_while_a_full_lane_blocks_it_gives_its_place_back():
    gateway = Gateway(listen={"max_clients": 5}, lanes=[dict(ALARMS, when_full="refuse")],
                      retention={"max_messages": 2, "when_full": "block"}).start()
    stays = gateway.client(5)
    publish(gateway, ["plant/t"] * 2, stays)

    def producers():
        return gateway.fresh_status()["producers"]

    waiting = stays.publish("plant/t", b"stays")
    for turn in range(5):
        for number in range(4):
            client = gateway.client(4 + turn % 2, keepalive=number)
            client.publish("plant/t", b"goes", qos=number % 2)
            client.publish("plant/t", b"behind it", qos=number % 2)
            client.close()
        wait_for(lambda: producers()["connected"] == 1, 10, "the others' places are free")
    equal(gateway.client(5).publish_wait("x/alarm", b"x").reason, 0, "reason for the alarm")
    wait_for(lambda: producers()["messages_refused"] == 20, 10, "those that were not taken")
    check(producers()["refused_reason"] and producers()["refused_time"], "why", producers())
    equal(producers()["clients_refused"], 0, "clients refused")
    equal(spooled(gateway), {"default": 2, "alarms": 1})
    gateway.configure(retention={"max_messages": 3})
    gateway.hup()
    equal(stays.expect(mqtt.PUBACK).packet_id, waiting, "the one that stayed is taken")
    gateway.stop()


@case
def each_lane_has_its_part_of_the_disk_while_it_runs_and_while_it_is_stopped():
    def shares(status):
        whole = status["spool"]
        wanted = {lane["name"]: whole["disk_bytes"] * lane["bytes"] // whole["bytes"]
                  for lane in status["lanes"]}
        equal({lane["name"]: lane["disk_bytes"] for lane in status["lanes"]}, wanted, "disk_bytes")
        return wanted

    gateway = Gateway(lanes=[ALARMS, BULK]).start()
    publish(gateway, ["x/alarm"] * 3 + ["plant/t"] * 6)
    wait_for(lambda: gateway.status()["spool"]["messages"] == 9, 10, "9 messages in the status")
    seen = shares(gateway.status())
    check(seen["default"] > seen["alarms"] > 0 and seen["bulk"] == 0, "parts by bytes", seen)
    gateway.stop()
    shares(gateway.tool_status())


@case
def the_forecast_is_that_of_the_lane_that_is_full_first():
    gateway = Gateway(lanes=[dict(ALARMS, max_messages=100000)]).start()
    client = gateway.client(5)

    def status_under_load():
        publish(gateway, ["x/alarm"] * 20, client)
        status = gateway.status()
        return status if status["forecast"]["full_s"] else None

    status = wait_for(status_under_load, 20, "a forecast", 0.05)
    room = status["forecast"]["full_s"] * status["rates"]["in"]
    check(50000 < room < 110000, "room for 100,000 at this rate, not for 1,000,000", status)
    gateway.stop()


@case
def the_forecast_says_0_while_a_lane_is_at_a_limit_under_each_policy():
    for policy in ("refuse", "evict-oldest", "block"):
        broker = Mosquitto().start()
        link = Link(broker.port)
        gateway = Gateway(link.url, lanes=[dict(ALARMS, max_messages=3, when_full=policy)]).start()

        def full(wanted, gateway=gateway):
            def forecast_is():
                return gateway.status()["forecast"]["full_s"] in wanted
            wait_for(forecast_is, 10, "full_s in %r with %s" % (wanted, policy), 0.02)

        client = gateway.client(5)
        publish(gateway, ["x/alarm"] * 2, client)
        for _ in range(2):
            client.publish("x/alarm", b"x")
        full([0])
        # It stays so when nothing grows any longer.
        full_since = gateway.status()["time"]
        wait_for(lambda made=gateway, since=full_since: made.status()["time"] > since, 10, "status")
        full([0])
        link.restore()
        gateway.wait_drained()
        full([None])
        gateway.stop()


@case
def a_producer_that_a_full_lane_blocks_continues_when_hup_makes_room():
    for change in ({"max_messages": 5}, {"topics": ["other/#"]}, {"when_full": "evict-oldest"}):
        bulk = dict(BULK, max_messages=3, when_full="block")
        gateway = Gateway(lanes=[bulk]).start()
        client = gateway.client(5)
        sent = [client.publish("log/x", b"x") for _ in range(5)]
        seen = [client.expect(mqtt.PUBACK).packet_id for _ in range(3)]
        wait_for(lambda made=gateway: "spool_full" in made.log(), 10, "a full lane")
        reload(gateway, lanes=[dict(bulk, **change)])
        seen += [client.expect(mqtt.PUBACK).packet_id for _ in range(2)]
        equal(seen, sent, "acknowledged, after %r" % change)
        gateway.stop()


# Priority


@case
def of_nine_messages_eight_are_of_the_highest_priority_and_each_lane_keeps_its_order():
    broker = Mosquitto().start()
    far = far_side(broker)
    link = Link(broker.port)
    gateway = Gateway(link.url, lanes=[BULK, ALARMS], uplink={"window": 7}).start()
    publish(gateway, ["log/x"] * 40 + ["plant/t"] * 40 + ["x/alarm"] * 40)
    link.restore()
    gateway.wait_drained()
    wait_for(lambda: len(far.messages) == 120, 10, "all at the far side")
    order = "".join({"log/x": "b", "plant/t": "d", "x/alarm": "A"}[message.topic]
                    for message in far.messages)
    equal(order[:45], "AAAAAAAAdAAAAAAAAbAAAAAAAAdAAAAAAAAbAAAAAAAAd")
    # 37 of default are left, and 38 of bulk.
    equal(order[45:], "ddddddddb" * 4 + "ddddd" + "b" * 34)
    for topic, first in (("log/x", 0), ("plant/t", 40), ("x/alarm", 80)):
        equal([message.payload for message in far.messages if message.topic == topic],
              [b"%06d" % number for number in range(first, first + 40)], "order in " + topic)
    gateway.stop()


@case
def a_large_message_that_seldom_fits_the_window_gets_its_place():
    broker = Mosquitto().start()
    far = far_side(broker)
    link = Link(broker.port)
    gateway = Gateway(link.url, lanes=[ALARMS], uplink={"window_bytes": "64k"}).start()
    with gateway.client(5) as client:
        for _ in client.publish_many([("plant/t", b"L" * 60000)] * 5
                                     + [("x/alarm", b"s" * 2000)] * 200):
            pass
    link.restore()
    gateway.wait_drained()
    wait_for(lambda: len(far.messages) == 205, 10, "all at the far side")
    equal([index for index, message in enumerate(far.messages) if message.topic == "plant/t"],
          [8, 17, 26, 35, 44], "places of the large ones")
    gateway.stop()


# Lanes that come and go


@case
def a_removed_lane_that_is_held_waits_for_its_release():
    gateway = Gateway(lanes=[ALARMS, BULK]).start()
    publish(gateway, ["x/alarm"] * 3)
    gateway.stop()
    gateway.configure(lanes=[BULK])
    gateway.start()
    done = gateway.tool("hold", "--lane", "alarms").stdout.decode()
    check("nothing of lane \"alarms\" is sent" in done and "accepted" not in done, "hold", done)
    page = gateway.tool("status").stdout.decode()
    check("nothing new comes in; what is left waits until mqtt-spool release" in page, "held", page)
    equal(gateway.tool("release", "--lane", "alarms").returncode, 0, "release")
    page = gateway.tool("status").stdout.decode()
    check("nothing new comes in; what is left is sent" in page, "released", page)
    gateway.stop()


@case
def a_lane_removed_before_a_restart_still_delivers_what_it_holds_under_its_name():
    broker = Mosquitto().start()
    link = Link(broker.port)
    gateway = Gateway(link.url, lanes=[ALARMS, BULK]).start()
    ids = publish(gateway, ["x/alarm"] * 4 + ["log/x"] * 3)
    gateway.stop()
    gateway.configure(lanes=[BULK], retention={"max_messages": 3})
    gateway.start()
    # Under the limits of default, which it is counted against alone.
    lines = gateway.wait_audit(1)
    equal([(line["id"], line["lane"], line["reason"]) for line in lines],
          [(ids[0], "alarms", "max_messages")])
    check("lane_not_configured lane=alarms spooled=4 limits=default" in gateway.log(),
          "it is logged", gateway.log())
    publish(gateway, ["x/alarm"])
    equal(spooled(gateway), {"default": 1, "bulk": 3, "alarms": 3})
    equal({lane["name"]: lane["configured"] for lane in gateway.status()["lanes"]},
          {"default": True, "bulk": True, "alarms": False}, "as configured now")
    page = gateway.tool("status").stdout.decode()
    check(re.search(r"alarms +3 messages, .*, no longer configured$", page, re.MULTILINE)
          and page.count("EVICTS") == 1, "bulk evicts, and not the lane at the limits of default", page)
    link.restore()
    gateway.wait_drained()
    lines = gateway.wait_audit(8)
    check_audit(lines)
    equal(collections.Counter((line["lane"], line["outcome"]) for line in lines),
          {("alarms", "evicted"): 1, ("alarms", "delivered"): 3, ("bulk", "delivered"): 3,
           ("default", "delivered"): 1})
    gateway.stop()


@case
def lanes_are_added_reordered_and_removed_by_hup_under_load_and_nothing_is_lost():
    broker = Mosquitto().start()
    far = far_side(broker)
    gateway = Gateway(broker.url, lanes=[], audit={"deliveries": True}).start()
    gateway.wait_link()
    loads = [{"name": "load%d" % number, "topics": ["load/p%d/#" % number],
              "priority": number - 1} for number in range(3)]
    changes = [loads[:1], loads[:2], [loads[1], loads[0]], loads, loads[2:], [],
               [{"name": "load0", "topics": ["load/#"]}], loads]
    producers = start_producers(gateway.socket, 3, window=16, pause=0.005)
    for lanes in changes:
        accepted = gateway.ledger()["accepted"]
        reload(gateway, lanes=lanes)
        wait_for(lambda before=accepted: gateway.ledger()["accepted"] > before, 10,
                 "messages under the new lanes", 0.1)
    for producer in producers:
        producer.finish()
        equal(producer.connections, 1, "connections: none was lost")
        equal((producer.refused, producer.unknown), ({}, set()), "refused and unknown")
    acked = {key: identity for producer in producers for key, identity in producer.acked.items()}
    ledger = gateway.wait_drained()
    equal((ledger["accepted"], ledger["delivered"]), (len(acked), len(acked)))
    lines = gateway.wait_audit(len(acked))
    check_audit(lines)
    equal({line["ref"]: line["id"] for line in lines}, acked, "ids by key")
    equal({line["lane"] for line in lines}, {"default", "load0", "load1", "load2"}, "lanes used")
    wait_for(lambda: len(far.messages) >= len(acked), 10, "all at the far side")
    equal(len(far.messages), len(acked), "and none twice")
    lanes_of(gateway)
    gateway.stop()


@case
def more_lanes_than_can_be_known_are_refused_by_hup_and_everything_continues():
    gateway = Gateway().start()
    client = gateway.client(5)
    taken = []
    for round_number in range(6):
        lanes = [{"name": "l%d-%d" % (round_number, number), "topics": ["t/%d" % number],
                  "max_messages": 7} for number in range(63)]
        reload(gateway, lanes=lanes)
        publish(gateway, ["t/%d" % number for number in range(63)], client)
        taken.append("reload_partial" not in gateway.log())
    equal(taken, [True] * 4 + [False] * 2, "reloads that were taken")
    check(re.search(r"reload_partial keys=lanes error=\"more than 256 lanes.* remedy=",
                    gateway.log()), "the log says why", gateway.log())
    equal(gateway.fresh_status()["configuration"]["refused"], "lanes", "and the status")
    seen = spooled(gateway)
    equal((len(seen), seen["l3-0"], seen["l0-0"]), (1 + 4 * 63, 3, 1), "lanes, as they were")
    gateway.stop()
    equal(sum(spooled(gateway).values()), 6 * 63, "messages")


@case
def a_bad_lane_in_a_reload_changes_nothing():
    gateway = Gateway(lanes=[dict(ALARMS, max_messages=2)]).start()
    gateway.configure(lanes=[dict(ALARMS, name="default")])
    gateway.hup()
    wait_for(lambda: "lanes.name" in gateway.log(), 10, "the error in the log")
    publish(gateway, ["x/alarm"] * 4)
    equal({line["lane"] for line in gateway.wait_audit(2)}, {"alarms"})
    gateway.stop()


# A limit lowered under a full spool


@case
def a_limit_lowered_under_twenty_thousand_evicts_in_bounded_steps_while_producers_are_served():
    gateway = Gateway(lanes=[dict(ALARMS, max_messages=100000)]).start()
    with gateway.client(5) as client:
        ids = [spool_id(ack) for _, ack in
               client.publish_many((("plant/t", b"x" * 100) for _ in range(20000)), 500)]
    # The status file has its own interval: its contents below must be those of the eviction.
    wait_for(lambda: gateway.status()["lanes"][0]["messages"] == 20000, 10, "a status of them all")
    gateway.configure(retention={"max_messages": 100})
    client = gateway.client(5)
    gateway.hup()
    served = []
    while gateway.status()["lanes"][0]["messages"] > 100:
        alarm = spool_id(client.publish_wait("x/alarm", b"now"))
        served.append((alarm, datetime.datetime.now(datetime.timezone.utc)))
    lines = gateway.wait_audit(19900)
    equal([line["id"] for line in lines], ids[:19900], "evicted ids, oldest first")
    equal({(line["lane"], line["outcome"], line["reason"]) for line in lines},
          {("default", "evicted", "max_messages")})
    check_audit(lines)
    # All records of a batch have one time. Two batches can share a millisecond, twenty cannot.
    batches = collections.Counter(line["time"] for line in lines)
    check(max(batches.values()) <= 20 * RETAIN_BUDGET, "messages evicted at once", batches)
    first, last = (datetime.datetime.fromisoformat(time.replace("Z", "+00:00"))
                   for time in (min(batches), max(batches)))
    between = [alarm for alarm, at in served if first < at < last]
    check(len(between) >= 20, "acknowledged between the first and the last eviction", len(between))
    seen = lanes_of(gateway)
    equal(seen["default"]["ledger"]["evicted"], 19900)
    equal(seen["alarms"]["messages"], len(served), "what was accepted meanwhile")
    equal([alarm for alarm, _ in served], list(range(20001, 20001 + len(served))), "ids meanwhile")
    print("# %d times of eviction, %d messages acknowledged between the first and the last"
          % (len(batches), len(between)))
    gateway.stop()


run_all()
