# SPDX-License-Identifier: MIT
"""All producers get their turn: what greedy, blocked and misbehaving ones cost an honest one.

Commits and messages are counted, never milliseconds: each sync of the spool is made so slow that
everything else happens between two of them.
"""

import contextlib
import os
import select
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import mqtt  # noqa: E402
import processes  # noqa: E402
from fake_broker import FakeBroker  # noqa: E402
from faults import Faults  # noqa: E402
from gateway import Gateway, as_user  # noqa: E402
from tap import case, check, cleanup, equal, run_all, wait_for  # noqa: E402

SYNC_MS = 20
# What an honest client may wait for. A checkpoint, which comes now and then, syncs twice more.
COMMITS, CHECKPOINT_SYNCS = 3, 2
FULL = {"name": "full", "topics": ["full/#"], "max_messages": 4, "when_full": "block"}


class SlowGateway(Gateway):
    """Each of its syncs takes SYNC_MS longer, and is counted."""

    def start(self, **options):
        self.faults = Faults(self.folder, self.spool, "sync", 0, delay_ms=SYNC_MS)
        return super().start(env=self.faults.environment, **options)

    def syncs(self):
        return self.faults.report()[0]


class Greedy(threading.Thread):
    """Producers that send messages of QoS 0 as fast as they are taken."""

    BLOCK = mqtt.publish_packet(4, "plant/greedy", b"x" * 5) * 3000

    def __init__(self, gateway, count):
        super().__init__(daemon=True)
        self.clients = [gateway.client(4, timeout=60) for _ in range(count)]
        self.blocked = set()
        self._at = {}
        self._ending = threading.Event()
        cleanup(self.finish)
        self.start()
        wait_for(lambda: len(self.blocked) == count, 60, "each of them has filled its socket")

    def run(self):
        poll = select.poll()
        socks = {client.sock.fileno(): client.sock for client in self.clients}
        for number, sock in socks.items():
            sock.setblocking(False)
            poll.register(number, select.POLLOUT)
        while not self._ending.is_set():
            ready = [number for number, _ in poll.poll(100)]
            self.blocked |= set(socks).difference(ready)
            for number in ready:
                with contextlib.suppress(OSError):
                    self._send(socks[number], number)

    def _send(self, sock, number):
        at = self._at.get(number, 0)
        sent = sock.send(memoryview(self.BLOCK)[at:])
        self._at[number] = (at + sent) % len(self.BLOCK)

    def finish(self):
        self._ending.set()
        self.join(10)


def few(syncs, what):
    """Most of the time no more than COMMITS; a checkpoint may come between."""
    syncs = sorted(syncs)
    check(syncs[len(syncs) // 2] <= COMMITS, what + ": commits, as a rule", syncs)
    check(syncs[-1] <= COMMITS + CHECKPOINT_SYNCS, what + ": commits at most", syncs)


def syncs_of(gateway, act):
    before = gateway.syncs()
    act()
    return gateway.syncs() - before


def honest_beside(greedy_count):
    gateway = SlowGateway(retention={"max_messages": 10000000, "max_bytes": "8G"}).start()
    probe = gateway.client(5, timeout=60)
    Greedy(gateway, greedy_count)
    few([syncs_of(gateway, lambda: probe.publish_wait("plant/probe", b"x")) for _ in range(15)],
        "a PUBACK beside %d" % greedy_count)
    few([syncs_of(gateway, lambda: gateway.client(5, timeout=60)) for _ in range(5)],
        "a CONNACK beside %d" % greedy_count)
    few([syncs_of(gateway, probe.ping) for _ in range(5)], "a PINGRESP beside %d" % greedy_count)
    return gateway


@case(seconds=200)
def a_client_waits_for_a_few_commits_beside_one_greedy_producer():
    honest_beside(1).stop()


@case(seconds=200)
def a_client_waits_for_a_few_commits_beside_eight_greedy_producers():
    honest_beside(8).stop()


@case(seconds=200)
def a_client_waits_for_a_few_commits_beside_forty_greedy_producers_and_so_does_the_stop():
    gateway = honest_beside(40)
    before = gateway.syncs()
    gateway.stop()
    check(gateway.syncs() - before <= 3 * COMMITS, "syncs from TERM to the exit",
          gateway.syncs() - before)


# Lanes that block


def slow_link(late_ms=100):
    """A broker that answers one message after the other, each so late."""
    broker = FakeBroker(late=late_ms).start()
    cleanup(broker.stop)
    return broker


def fill(client, messages):
    client.send(b"".join(mqtt.publish_packet(5, "full/bulk", b"%d" % number, 1, number + 1)
                         for number in range(messages)))


def id_of_next(client):
    return mqtt.spool_id(client.expect(mqtt.PUBACK, 30))


def wait_full(gateway):
    wait_for(lambda: "spool_full reason=limits lane=full" in gateway.log(), 30, "the lane full")


@case(seconds=120)
def clients_of_a_full_lane_take_turns():
    gateway = Gateway(slow_link().url, uplink={"window": 1}, lanes=[FULL]).start()
    bulk = [gateway.client(5, timeout=60) for _ in range(3)]
    for client in bulk:
        fill(client, 400)
    wait_full(gateway)
    single = gateway.client(5, timeout=60)
    accepted = gateway.fresh_status()["ledger"]["accepted"]
    single.publish("full/one", b"x")
    passed = id_of_next(single) - accepted
    check(passed <= 2 * len(bulk) + 4, "messages that passed one that waited for its turn", passed)
    gateway.stop()


def open_to_all(**settings):
    gateway = Gateway(listen=dict({"mode": "0666"}, **settings.pop("listen", {})), **settings)
    os.chmod(gateway.folder, 0o711)
    os.chmod(gateway.run_folder, 0o711)
    return gateway


@case(seconds=120)
def users_take_turns_however_many_clients_they_have():
    broker = slow_link()
    gateway = open_to_all(broker=broker.url, uplink={"window": 1}, lanes=[FULL]).start()
    crowd = as_user(1001, lambda: [gateway.client(5, timeout=60) for _ in range(30)])
    for client in crowd:
        fill(client, 40)
    wait_full(gateway)
    wait_for(lambda: gateway.fresh_status()["link"]["acknowledged"], 20, "it drains")
    single = as_user(1002, lambda: gateway.client(5, timeout=60))
    accepted = gateway.fresh_status()["ledger"]["accepted"]
    single.publish("full/one", b"x")
    passed = id_of_next(single) - accepted
    check(passed <= 8, "messages that passed that of another user", passed)
    gateway.stop()


@case(seconds=120)
def a_blocked_message_is_not_read_again_until_its_lane_has_room():
    processes.need_failpoint("receive.before_append")
    gateway = Gateway(lanes=[FULL])
    blocked, others = 30, 20
    # The process ends when messages are looked at more often than each once.
    allowed = FULL["max_messages"] + blocked + others + 10
    gateway.start(env={"SPOOLD_FAILPOINT": "receive.before_append:%d" % allowed})
    honest = gateway.client(5)
    for _ in range(FULL["max_messages"]):
        honest.publish_wait("full/x", b"x")
    clients = [gateway.client(5) for _ in range(blocked)]
    for client in clients:
        client.publish("full/x", b"x" * 200000)
        client.send(b"\xc0\0")
    for client in clients:
        client.expect(mqtt.PINGRESP)
    for _ in range(others):
        equal(honest.publish_wait("plant/t", b"x").reason, 0)
    check(gateway.is_running(), "the daemon has looked at messages again", allowed)
    gateway.stop()


@case(seconds=60)
def what_was_blocked_is_accepted_in_order_when_there_is_room():
    gateway = Gateway(lanes=[FULL]).start()
    clients = [gateway.client(5) for _ in range(3)]
    for client in clients:
        fill(client, 5)
    wait_full(gateway)
    gateway.configure(lanes=[dict(FULL, max_messages=100)])
    gateway.hup()
    for client in clients:
        acks = [client.expect(mqtt.PUBACK) for _ in range(5)]
        equal([ack.packet_id for ack in acks], [1, 2, 3, 4, 5], "packet ids")
        ids = [mqtt.spool_id(ack) for ack in acks]
        equal(ids, sorted(ids), "order of what was stored")
    gateway.stop()


@case(seconds=60)
def mosquitto_pub_with_a_short_keepalive_waits_at_a_full_lane():
    gateway = Gateway(lanes=[FULL]).start()
    client = gateway.client(5)
    for _ in range(FULL["max_messages"]):
        client.publish_wait("full/x", b"x")
    child = processes.start(["mosquitto_pub", "--unix", gateway.socket, "-k", "5", "-q", "1",
                             "-t", "full/y", "-m", "patient"])
    wait_full(gateway)
    began = time.monotonic()
    # It pings after 5 s and leaves after 5 more without an answer.
    wait_for(lambda: time.monotonic() - began > 11 or child.poll() is not None, 30, "its pings")
    check(child.poll() is None, "it waits", child.poll())
    gateway.configure(lanes=[dict(FULL, max_messages=100)])
    gateway.hup()
    equal(child.wait(20), 0, "exit code of mosquitto_pub")
    gateway.stop()


# The limit of clients, and the log


@case
def at_the_limit_a_client_takes_its_own_session_over():
    gateway = Gateway(listen={"max_clients": 2}).start()
    other = gateway.client(5, client_id="other")
    mine = gateway.client(5, client_id="mine")
    for _ in range(5):
        mine.publish("plant/t", b"x")
        again = gateway.client(5, client_id="mine")
        equal(mine.expect(mqtt.PUBACK).reason, 0, "what it had sent before")
        last = mine.expect_closed()
        equal((last.kind, last.reason), (mqtt.DISCONNECT, 0x8E), "session taken over")
        mine = again
    equal(mine.publish_wait("plant/t", b"x").reason, 0, "the newest one")
    equal(other.publish_wait("plant/t", b"x").reason, 0, "the other one")
    third = gateway.raw(5)
    third.send(mqtt.connect_packet(5, "third"))
    equal(third.expect_closed().reason, 0x97, "one more than the limit")
    other.send(mqtt.packet(mqtt.DISCONNECT))
    other.expect_closed()
    gateway.client(5, client_id="third").ping()
    gateway.stop()


@case
def lines_about_one_user_leave_room_for_those_about_another():
    gateway = open_to_all().start()

    def misbehave():
        bad = gateway.raw(5)
        bad.send(mqtt.connect_packet(5, "bad") + b"\0\0")
        bad.expect_closed()

    for _ in range(8):
        as_user(1001, misbehave)
    honest = as_user(1002, lambda: gateway.client(4, client_id="honest"))
    honest.send(mqtt.publish_packet(4, "$forbidden", b"x", 1, 1))
    honest.expect_closed()
    wait_for(lambda: 'client="honest"' in gateway.log(), 10, "a line that names it")
    check(gateway.log().count('client="bad"') <= 5, "lines about the other one", gateway.log())
    gateway.stop()


run_all()
