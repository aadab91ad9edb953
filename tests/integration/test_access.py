# SPDX-License-Identifier: MIT
"""The access list: who may connect and publish, as the kernel reports user and groups.

The kernel notes the credentials of a peer when it connects. So this process becomes another user
for that moment, which needs root.
"""

import contextlib
import os
import re
import socket
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import mqtt  # noqa: E402
from faults import sanitizer  # noqa: E402
from gateway import Gateway  # noqa: E402
from tap import case, check, cleanup, equal, run_all, skip, wait_for  # noqa: E402

ALICE, BOB, CAROL = 64001, 64002, 64003
SENSORS, OTHERS = 64100, 64200
ROOT = {"user": "root", "admin": True}
NOT_AUTHORIZED, RETURN_NOT_AUTHORIZED = 0x87, 5
QUOTA_EXCEEDED, RETURN_UNAVAILABLE, TAKEN_OVER = 0x97, 3, 0x8E


@contextlib.contextmanager
def user(uid, gid=OTHERS, groups=()):
    before = os.getgroups()
    os.setgroups(groups)
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(before)


def start(*entries, **settings):
    if os.geteuid() != 0:
        skip("needs root, to become another user")
    gateway = Gateway(listen={"mode": "0666"}, access=entries, **settings)
    for path in (gateway.folder, gateway.run_folder):
        os.chmod(path, 0o755)
    return gateway.start()


def connect(gateway, uid, version=5, client_id="", **ids):
    with user(uid, **ids):
        return gateway.client(version, client_id=client_id)


def connack(gateway, uid, version=5, client_id="", **ids):
    """The reason of the CONNACK."""
    with user(uid, **ids):
        client = gateway.raw(version, client_id=client_id)
    client.send(mqtt.connect_packet(version, client_id))
    reason = client.expect(mqtt.CONNACK).reason
    if reason:
        equal(client.expect_closed(), None, "packets behind the CONNACK")
    return reason


@case
def the_first_entry_that_fits_the_user_or_a_group_decides():
    gateway = start(ROOT, {"user": ALICE, "publish": ["a/#"]},
                    {"group": SENSORS, "publish": ["sensors/+"]})
    equal(connack(gateway, ALICE), 0, "by user")
    equal(connack(gateway, BOB, gid=SENSORS), 0, "by the primary group")
    equal(connack(gateway, BOB, groups=(OTHERS + 1, SENSORS)), 0, "by a supplementary group")
    equal(connack(gateway, BOB, client_id="refused"), NOT_AUTHORIZED, "by nothing")
    equal(connack(gateway, BOB, 4), RETURN_NOT_AUTHORIZED, "by nothing, MQTT 3.1.1")
    client = connect(gateway, ALICE, groups=(SENSORS,))
    equal(client.publish_wait("a/b", b"x").reason, 0, "what the first entry allows")
    equal(client.publish_wait("sensors/b", b"x").reason, NOT_AUTHORIZED, "what the second does")
    client = connect(gateway, BOB, groups=(SENSORS,))
    equal(client.publish_wait("sensors/b", b"x").reason, 0, "what the second entry allows")
    equal(gateway.client().publish_wait("anything", b"x").reason, 0, "root, by its entry")
    refused = gateway.log_lines("client_refused reason=no_access")
    equal(len(refused), 2, "lines")
    check(re.search(r'client="refused" uid=%d pid=%d ' % (BOB, os.getpid()), refused[0]),
          "client id, user and process", refused[0])
    gateway.stop()


@case
def without_an_entry_root_is_refused_too():
    gateway = start({"user": ALICE})
    equal(connack(gateway, 0, gid=0), NOT_AUTHORIZED, "root")
    equal(connack(gateway, ALICE), 0, "the user of the entry")
    gateway.stop()


@case
def without_a_list_every_user_may_publish():
    gateway = start()
    client = connect(gateway, CAROL)
    equal(client.publish_wait("anything", b"x").reason, 0, "a topic")
    equal(client.publish_wait("$SYS/x", b"x").reason, NOT_AUTHORIZED, "a topic with $")
    gateway.stop()


@case
def a_topic_outside_of_the_filters_is_refused():
    gateway = start({"user": ALICE, "publish": ["a/#", "+/b"]}, {"user": BOB, "publish": []},
                    {"user": "*"})
    client = connect(gateway, ALICE, client_id="alice")
    for topic in ("a", "a/x/y", "z/b"):
        equal(client.publish_wait(topic, b"x").reason, 0, topic)
    for topic in ("b", "z/b/c", "A"):
        equal(client.publish_wait(topic, b"x").reason, NOT_AUTHORIZED, topic)
    client.publish("secret/x", b"x", qos=0)
    equal(client.expect(mqtt.DISCONNECT).reason, NOT_AUTHORIZED, "with QoS 0")
    old = connect(gateway, ALICE, 4, "old")
    old.publish_wait("a", b"x")
    old.publish("b", b"x")
    equal(old.expect_closed(), None, "packets before the end, MQTT 3.1.1")
    equal(connect(gateway, BOB).publish_wait("a", b"x").reason, NOT_AUTHORIZED, "no filter at all")
    equal(connect(gateway, CAROL).publish_wait("b", b"x").reason, 0, "the default, all topics")
    equal(gateway.fresh_status()["ledger"]["accepted"], 5, "messages accepted")
    refused = gateway.log_lines("message_refused")[0]
    check(re.search(r'topic b\)" client="alice" uid=%d pid=%d ' % (ALICE, os.getpid()), refused),
          "topic, client id, user and process", refused)
    wait_for(lambda: gateway.log_lines("client_refused"), 5, "lines of those that were closed")
    gateway.stop()


@case
def each_user_has_a_budget_of_lines_of_its_own():
    gateway = start({"group": SENSORS, "publish": ["a"]})
    bob = connect(gateway, BOB, gid=SENSORS)
    for _ in range(20):
        bob.publish_wait("b", b"x")
        equal(connack(gateway, CAROL), NOT_AUTHORIZED, "CONNACK")
    check(0 < len(gateway.log_lines("uid=%d" % BOB)) <= 10, "lines for one user", gateway.log())
    check(0 < len(gateway.log_lines("uid=%d" % CAROL)) <= 10, "lines for the other", gateway.log())
    gateway.stop()


@case
def a_user_has_as_many_clients_as_its_entry_allows():
    gateway = start({"group": SENSORS, "max_clients": 2}, {"user": "*"})
    alice = [connect(gateway, ALICE, client_id="a%d" % i, gid=SENSORS) for i in range(2)]
    equal(connack(gateway, ALICE, gid=SENSORS), QUOTA_EXCEEDED, "one more")
    equal(connack(gateway, ALICE, 4, gid=SENSORS), RETURN_UNAVAILABLE, "one more, MQTT 3.1.1")
    equal(connack(gateway, BOB, gid=SENSORS), 0, "another user of the same entry")
    check("reason=access.max_clients" in gateway.log(), "the reason", gateway.log())
    again = connect(gateway, ALICE, client_id="a0", gid=SENSORS)
    equal(alice[0].expect(mqtt.DISCONNECT).reason, TAKEN_OVER, "its own connection")
    again.disconnect()
    wait_for(lambda: connack(gateway, ALICE, client_id="a2", gid=SENSORS) == 0, 10, "a place")
    gateway.stop()


RATE = 50


@case
def what_is_sent_above_the_rate_is_read_later_and_nothing_is_lost():
    gateway = start({"user": ALICE, "rate": RATE}, {"user": "*"})
    alice, again = (connect(gateway, ALICE, client_id="a%d" % i) for i in range(2))
    bob = connect(gateway, BOB)
    began, before = time.monotonic(), cpu_seconds(gateway)
    for _ in range(2 * RATE):
        alice.publish("flood", b"x", qos=0)
    alice.close()  # with QoS 0 no client sends them again
    again.publish("one", b"x")
    again.send(mqtt.packet(mqtt.PINGREQ))
    equal(again.receive().kind, mqtt.PINGRESP, "the answer before that of its turn")
    again.expect(mqtt.PUBACK)
    for _ in range(5 * RATE):
        equal(bob.publish_wait("free", b"x").reason, 0, "another user")
    wait_for(lambda: gateway.ledger()["accepted"] == 7 * RATE + 1, 30, "all of them accepted")
    lasted, worked = time.monotonic() - began, cpu_seconds(gateway) - before
    check(lasted >= 1, "seconds that two seconds' worth take at least", lasted)
    equal(len(gateway.log_lines("client_throttled")), 1, "lines about it")
    equal(gateway.status()["producers"]["messages_refused"], 0, "messages refused")
    check(worked < max(1, lasted / 2), "it does not spin: seconds of work", worked, lasted)
    gateway.stop()


@case
def clients_that_share_a_high_rate_get_all_of_it():
    rate = 10000
    gateway = start({"user": ALICE, "rate": rate})
    for version in (4, 5):
        flood = connect(gateway, ALICE, version)
        flood.sock.settimeout(60)
        flood.send(mqtt.publish_packet(version, "flood", b"x") * 2 * rate)
    wait_for(lambda: gateway.ledger()["accepted"] == 4 * rate, 60, "all of them accepted")
    gateway.stop()


@case
def a_throttled_client_costs_no_work_while_it_waits():
    gateway = start({"user": ALICE, "rate": 1})
    alice = connect(gateway, ALICE)
    for _ in range(200):
        alice.publish("flood", b"x", qos=0)
    wait_for(lambda: gateway.log_lines("client_throttled"), 10, "that it is throttled")
    began, before = time.monotonic(), cpu_seconds(gateway)
    accepted = gateway.ledger()["accepted"]
    wait_for(lambda: gateway.ledger()["accepted"] >= accepted + 2, 30, "two more")
    lasted, worked = time.monotonic() - began, cpu_seconds(gateway) - before
    check(worked < lasted / 2, "it does not spin: seconds of work", worked, lasted)
    gateway.stop()


def cpu_seconds(gateway):
    with open("/proc/%d/stat" % gateway.process.pid) as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def reload(gateway, *entries):
    count = len(gateway.log_lines("reloaded"))
    gateway.configure(access=entries)
    gateway.hup()
    wait_for(lambda: len(gateway.log_lines("reloaded")) > count, 10, "reloaded")


@case
def hup_closes_those_that_lost_their_access_and_keeps_the_others():
    gateway = start({"user": "*"})
    alice, bob = connect(gateway, ALICE), connect(gateway, BOB, groups=(SENSORS,))
    old, carol = connect(gateway, CAROL, 4), connect(gateway, CAROL, client_id="carol")
    carol.publish("last/words", b"x")
    carol.expect(mqtt.PUBACK)
    reload(gateway, {"group": SENSORS, "publish": ["a"]}, {"user": ALICE, "publish": ["b"]})
    equal(carol.expect(mqtt.DISCONNECT).reason, NOT_AUTHORIZED, "who lost it")
    carol.expect_closed()
    equal(old.expect_closed(), None, "packets before the end, MQTT 3.1.1")
    for client, topic in ((alice, "b"), (bob, "a")):
        equal(client.publish_wait(topic, b"x").reason, 0, "what the new entry allows")
        equal(client.publish_wait("c", b"x").reason, NOT_AUTHORIZED, "what it does not")
    withdrawn = gateway.log_lines("reason=access_withdrawn")
    equal(len(withdrawn), 2, "lines")
    check(any('client="carol" uid=%d' % CAROL in line for line in withdrawn), "client and user",
          withdrawn)
    reload(gateway)
    equal(alice.publish_wait("c", b"x").reason, 0, "a topic, without a list")
    gateway.stop()


@case
def a_name_that_does_not_exist_changes_nothing_at_hup():
    gateway = start(ROOT, {"user": ALICE, "publish": ["a"]})
    alice = connect(gateway, ALICE)
    gateway.configure(access=[ROOT, {"user": "no-such-user"}])
    gateway.hup()
    wait_for(lambda: gateway.log_lines("reload_refused"), 10, "reload_refused")
    check("access.user: there is no user" in gateway.log(), "the reason", gateway.log())
    equal(alice.publish_wait("a", b"x").reason, 0, "its entry still holds")
    gateway.stop()


@case
def a_name_service_that_does_not_answer_at_hup_delays_no_producer():
    library = os.path.join(os.environ.get("SPOOLD_BUILD", ""), "tests", "libslow_names.so")
    if not os.path.exists(library):
        skip("libslow_names.so of the tests is not built (SPOOLD_BUILD names the build)")
    gateway = Gateway(access=[ROOT], log_level="info")
    slow = os.path.join(gateway.folder, "slow")
    gateway.start(env={"SLOW_NAMES": slow, "LD_PRELOAD": " ".join(sanitizer() + [library])})
    client = gateway.client()
    gateway.configure(access=[{"user": "root", "publish": ["a"]}])
    hup_with_slow_names(gateway, slow)
    for _ in range(20):
        equal(client.publish_wait("b", b"x").reason, 0, "by the old list")
    equal(gateway.log_lines("reloaded"), [], "lines before the answer")
    gateway.hup()
    client.ping()
    gateway.hup()
    client.ping()
    os.unlink(slow)
    wait_for(lambda: len(gateway.log_lines("reloaded")) == 2, 10, "one reload for those that waited")
    equal(client.publish_wait("b", b"x").reason, NOT_AUTHORIZED, "by the new list")
    hup_with_slow_names(gateway, slow)
    gateway.stop()
    equal(len(gateway.log_lines("reloaded")), 2, "reloads")


def hup_with_slow_names(gateway, slow):
    open(slow, "w").close()
    before = len(gateway.read_notifications())
    gateway.hup()
    wait_for(lambda: any("RELOADING=1" in text for text in gateway.notifications[before:]), 10,
             "that it reloads")


@case
def a_tcp_client_has_no_user_and_is_fitted_by_the_entry_for_all_only():
    def code(*entries):
        gateway = Gateway(access=entries)
        local, tcp = socket.socket(socket.AF_UNIX), socket.create_server(("127.0.0.1", 0))
        for listening in (local, tcp):
            cleanup(listening.close)
        local.bind(gateway.socket)
        local.listen(64)
        gateway.start_with_sockets([local, tcp])
        client = mqtt.Client(tcp.getsockname())
        cleanup(client.close)
        client.send(mqtt.connect_packet(5, "tcp"))
        reason = client.expect(mqtt.CONNACK).reason
        if not reason:
            equal(client.publish_wait("a", b"x").reason, 0, "an allowed topic")
            equal(client.publish_wait("b", b"x").reason, NOT_AUTHORIZED, "another topic")
        gateway.stop()
        return reason

    equal(code(ROOT, {"user": os.getuid()}, {"group": os.getgid()}), NOT_AUTHORIZED, "by user")
    equal(code(ROOT, {"user": "*", "publish": ["a"]}), 0, "by the entry for all")


run_all()
