# SPDX-License-Identifier: MIT
"""What goes out is shaped: how fast, in which order, under which topic, with which properties."""

import os
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import processes  # noqa: E402
from fake_broker import FakeBroker  # noqa: E402
from gateway import Gateway, check_audit  # noqa: E402
from tap import case, check, cleanup, equal, run_all, wait_for  # noqa: E402


def fake_broker(**options):
    broker = FakeBroker(**options).start()
    cleanup(broker.stop)
    return broker


def test_config(gateway):
    """What the daemon says of the file."""
    done = subprocess.run([processes.daemon_path(), "-c", gateway.config, "--test-config"],
                          capture_output=True, text=True, timeout=60)
    equal(done.returncode, 78, "exit code of --test-config")
    return done.stdout + done.stderr


def publish(gateway, count, topic="plant/t", size=6, version=5):
    with gateway.client(version) as client:
        for _, ack in client.publish_many(
                ((topic, (b"%06d" % number).ljust(size, b".")) for number in range(count)), 200):
            equal(ack.reason, 0, "reason of a PUBACK")


def stamps(broker):
    """The user properties of each PUBLISH, in the order of arrival, as dictionaries."""
    return [dict(entry["user"]) for entry in broker.publishes()]


def marks(broker, since=0):
    """(backlog, repeat) of each PUBLISH."""
    return [("spool-backlog" in stamp, "spool-repeat" in stamp) for stamp in stamps(broker)[since:]]


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



# In which order


@case
def live_messages_go_before_the_backlog_which_gets_a_place_in_nine():
    broker = fake_broker(connack=0x88)
    gateway = Gateway(broker.url, uplink={"stamp": True, "window": 1}, lanes=[
        {"name": "plant", "topics": ["plant/#"], "drain": "live-first"}]).start()
    publish(gateway, 20)
    broker.change(connack=0, late=5000)
    wait_for(lambda: len(broker.publishes()) == 1, 20, "the first of the backlog, in flight")
    broker.change(late=0)
    publish(gateway, 18)
    check(len(broker.publishes()) == 1, "the machine is too slow for this case")
    equal(gateway.wait_drained()["delivered"], 38)
    seen = "".join("b" if backlog else "l" for backlog, _ in marks(broker))
    equal(seen, "b" + 2 * ("l" * 8 + "b") + "ll" + "b" * 17, "backlog and live")
    for half in (True, False):
        numbers = [entry["seq"] for entry in broker.publishes()
                   if ("spool-backlog" in dict(entry["user"])) == half]
        equal(numbers, sorted(numbers), "the order in one half")
    gateway.stop()
    check_audit(gateway.audit_lines())


# Topics


def reason_of(gateway, topic, version=5):
    with gateway.client(version) as client:
        return client.publish_wait(topic, b"x").reason


@case
def a_topic_too_long_with_its_prefix_is_refused_and_the_longest_arrives():
    host = os.uname().nodename
    broker = fake_broker()
    gateway = Gateway(broker.url, uplink={"topic_prefix": "%H/"}, lanes=[
        {"name": "own", "topics": ["own/#"], "prefix": "%H%%/p/", "max_qos": 0}]).start()
    gateway.wait_link()
    longest = {"a": 65535 - len(host + "/"), "own/": 65535 - len(host + "%/p/")}
    for start, size in longest.items():
        equal(reason_of(gateway, start.ljust(size + 1, "x")), 0x90, "one byte too many")
        equal(reason_of(gateway, start.ljust(size, "x")), 0, "the longest topic")
    gateway.wait_drained()
    wait_for(lambda: len(broker.publishes()) == 2, 20, "both at the broker")
    topics = {entry["topic"]: entry["qos"] for entry in broker.publishes()}
    equal(topics, {host + "/" + "a".ljust(longest["a"], "x"): 1,
                   host + "%/p/" + "own/".ljust(longest["own/"], "x"): 0}, "topics and QoS")
    equal(gateway.status()["producers"]["messages_refused"], 2, "refused at the intake")
    check("topic" in gateway.status()["producers"]["refused_reason"], "and why")
    gateway.stop()



@case
def a_lane_maps_topics_and_refuses_what_maps_to_none():
    broker = fake_broker()
    gateway = Gateway(broker.url, lanes=[{
        "name": "plant", "topics": ["plant/#"], "prefix": "site/",
        "map": ["plant/+/temp/+", "t/{2}/{1}", "plant/raw/#", "{#}{#}"]}]).start()
    gateway.wait_link()
    for topic in ("plant/7/temp/east", "plant/raw/x/y", "plant/other", "else"):
        equal(reason_of(gateway, topic), 0, topic)
    equal(reason_of(gateway, "plant/raw"), 0x90, "it maps to the empty topic")
    equal(reason_of(gateway, "plant/raw/" + 32766 * "x"), 0x90, "it maps to one that is too long")
    gateway.wait_drained()
    equal([entry["topic"] for entry in broker.publishes()],
          ["site/t/east/7", "site/x/yx/y", "site/plant/other", "else"], "topics at the broker")
    # One commit may end all four, lane by lane.
    equal(sorted(record["topic"] for record in gateway.wait_audit(4)),
          ["else", "plant/7/temp/east", "plant/other", "plant/raw/x/y"],
          "the records have the topics as they were published")
    gateway.configure(lanes=[{"name": "plant", "topics": ["plant/#"],
                              "map": ["plant/#", "{1}"]}])
    check("lanes.map" in test_config(gateway), "--test-config names the key")
    gateway.stop()


# Stamps


@case
def stamps_have_id_and_time_and_tell_backlog_and_repeats():
    broker = fake_broker(connack=0x88)
    gateway = Gateway(broker.url, uplink={"stamp": True}).start()
    publish(gateway, 3)
    broker.change(connack=0)
    gateway.wait_drained()
    publish(gateway, 2)
    gateway.wait_drained()
    equal(marks(broker), [(True, False)] * 3 + [(False, False)] * 2, "(backlog, repeat)")
    records = gateway.wait_audit(5)
    equal([(stamp["spool-id"], stamp["spool-accepted"]) for stamp in stamps(broker)],
          [(str(record["id"]), record["accepted"]) for record in records], "as in the records")
    broker.change(noack=True)
    publish(gateway, 2)
    wait_for(lambda: len(broker.publishes()) == 7, 20, "two in flight")
    broker.change(noack=False)
    broker.reset_all()
    gateway.wait_drained()
    equal(marks(broker, 5), [(False, False)] * 2 + [(True, True)] * 2, "sent again")
    gateway.stop()


@case
def after_a_restart_everything_left_may_have_been_sent():
    broker = fake_broker(noack=True)
    gateway = Gateway(broker.url, uplink={"stamp": True, "window": 1}).start()
    gateway.wait_link()
    publish(gateway, 3)
    wait_for(lambda: len(broker.publishes()) == 1, 20, "one in flight")
    gateway.kill()
    broker.change(noack=False)
    gateway.start()
    gateway.wait_drained()
    publish(gateway, 1)
    gateway.wait_drained()
    equal(marks(broker), [(False, False)] + [(True, True)] * 3 + [(False, False)])
    gateway.stop()


def numbers(broker, lane=None):
    """The spool-number of each PUBLISH of the lane, in the order of arrival."""
    return [int(stamp["spool-number"]) for stamp in stamps(broker)
            if stamp.get("spool-lane") == lane]


@case
def numbers_are_contiguous_in_each_lane_over_restarts():
    broker = fake_broker()
    gateway = Gateway(broker.url, uplink={"stamp": True}, lanes=[
        {"name": "alarms", "topics": ["alarm/#"]}]).start()
    gateway.wait_link()
    for life in range(3):
        publish(gateway, 3)
        publish(gateway, 2, topic="alarm/t")
        gateway.wait_drained()
        gateway.kill() if life == 1 else gateway.stop()
        gateway.start()
    equal(list(dict.fromkeys(numbers(broker))), list(range(1, 10)), "lane default")
    equal(list(dict.fromkeys(numbers(broker, "alarms"))), list(range(1, 7)), "lane alarms")
    gateway.stop()


@case
def a_number_that_is_missing_has_its_record_between_the_ids_of_its_neighbours():
    broker = fake_broker(connack=0x88)
    gateway = Gateway(broker.url, uplink={"stamp": True}, lanes=[
        {"name": "few", "topics": ["few/#"], "max_messages": 2}]).start()
    for _ in range(5):
        publish(gateway, 1, topic="few/t")
        publish(gateway, 1)
    gateway.wait_audit(3)
    gateway.stop()
    broker.change(connack=0)
    gateway.start()
    gateway.wait_drained()  # with two waiting the next one would evict
    publish(gateway, 1, topic="few/t")
    gateway.wait_drained()
    equal(numbers(broker), list(range(1, 6)), "lane default has no gap")
    equal(numbers(broker, "few"), [4, 5, 6], "1 to 3 were evicted")
    ids = [int(stamp["spool-id"]) for stamp in stamps(broker)
           if stamp.get("spool-lane") == "few"]
    lost = [record["id"] for record in gateway.wait_audit(11)
            if record["outcome"] == "evicted" and record["lane"] == "few"]
    equal(len([token for token in lost if token < ids[0]]), 3, "records before the first one")
    equal([token for token in lost if token > ids[0]], [], "and none after it")
    gateway.stop()


@case
def a_stamp_that_makes_a_packet_too_large_is_left_out():
    broker = fake_broker(maximum_packet=300)
    gateway = Gateway(broker.url, uplink={"stamp": True}).start()
    gateway.wait_link()
    publish(gateway, 1, size=280)
    publish(gateway, 1, size=100)
    equal(gateway.wait_drained()["delivered"], 2)
    equal([len(stamp) for stamp in stamps(broker)], [0, 3], "properties")
    gateway.stop()


if __name__ == "__main__":
    run_all()
