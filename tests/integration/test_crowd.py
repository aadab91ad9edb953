# SPDX-License-Identifier: MIT
"""Crowds at the local socket: storms, thousands of idle clients, slow ones, endless takeovers. What
one client may send and what it is answered is in test_conformance.py.
"""

import contextlib
import os
import resource
import signal
import socket
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import mqtt  # noqa: E402
import processes  # noqa: E402
from checker import History, collect_daemon, hold  # noqa: E402
from gateway import Gateway  # noqa: E402
from tap import case, check, cleanup, equal, quick_once, run_all, skip, wait_for  # noqa: E402


def dial_many(gateway, count, blocking=True):
    """Plain connections, without waiting for one that is not accepted at once."""
    made = []
    for _ in range(count):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        cleanup(sock.close)
        sock.setblocking(blocking)
        sock.connect(gateway.socket)  # BlockingIOError: the backlog is full
        made.append(sock)
    return made


def serve_all(socks):
    """Each sends its CONNECT and is answered; ids are assigned. Without keepalive: they stay idle
    for as long as the others take."""
    for sock in socks:
        sock.setblocking(True)
        sock.settimeout(30)
        sock.sendall(mqtt.connect_packet(4, "", keepalive=0))
    for sock in socks:
        equal(sock.recv(100), b"\x20\x02\x00\x00", "the CONNACK")


def idle_levels(gateway):
    """When all are open that the daemon keeps: some are made with its first try to connect."""
    wait_for(lambda: "link_retry" in gateway.log(), 30, "the first try to connect")
    return processes.levels(gateway.process)


def wait_descriptors(gateway, count):
    wait_for(lambda: processes.levels(gateway.process)["descriptors"] <= count, 30,
             "descriptors back at %d" % count)


def need_descriptors(count):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count:
        skip("needs %d descriptors, the hard limit is %d" % (count, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))


@case(seconds=240)
def four_thousand_impatient_clients_at_once_find_room_in_the_backlog():
    with open("/proc/sys/net/core/somaxconn") as seen:
        if int(seen.read()) < 4096:
            skip("net.core.somaxconn of this machine cuts the backlog")
    need_descriptors(5000)
    gateway = Gateway(listen={"max_clients": 4200}).start()
    gateway.process.send_signal(signal.SIGSTOP)  # the daemon is stopped: all must find room
    storm = dial_many(gateway, 4090, blocking=False)
    gateway.process.send_signal(signal.SIGCONT)
    serve_all(storm)
    equal(gateway.client(5).publish_wait("plant/t", b"x").reason, 0, "one more")
    gateway.stop()


@case(seconds=240)
def ten_thousand_idle_clients_cost_little_and_leave_nothing_behind():
    need_descriptors(10200)
    gateway = Gateway(listen={"max_clients": 10000}).start()
    gateway.client(4).disconnect()
    before = idle_levels(gateway)
    crowd = []
    while len(crowd) < 9999:
        some = dial_many(gateway, min(303, 9999 - len(crowd)))
        serve_all(some)
        crowd += some
    good = gateway.client(5)
    equal(good.publish_wait("plant/t", b"x").reason, 0)
    late = gateway.raw(5)
    late.send(mqtt.connect_packet(5, "late"))
    equal(late.expect_closed(10).reason, 0x97, "one too many")
    each = (processes.levels(gateway.process)["memory_kb"] - before["memory_kb"]) / 10000
    print("# %.1f kB for each of 10000 clients" % each)
    check(gateway.is_sanitized() or each < 8, "kB of memory for an idle client", each)
    equal(good.publish_wait("plant/t", b"x").reason, 0, "the one among them")
    good.close()
    while crowd:
        for sock in crowd[-303:]:
            sock.close()
        del crowd[-303:]
        wait_descriptors(gateway, before["descriptors"] + len(crowd))
    equal(gateway.client(5).publish_wait("plant/t", b"x").reason, 0)
    gateway.stop()


class Slowloris:
    """500 clients of three kinds: a CONNECT, and a PUBLISH, that never end; and pings without
    number, by one who reads no answer."""

    def __init__(self, gateway):
        self.connects = dial_many(gateway, 167)
        self.publishes, self.greedy = dial_many(gateway, 167), dial_many(gateway, 166)
        serve_all(self.publishes + self.greedy)
        for sock in self.connects + self.publishes + self.greedy:
            sock.setblocking(False)
        self.connect = mqtt.connect_packet(5, "x" * 1000)
        self.publish = mqtt.publish_packet(4, "t", b"x" * 60000, 1, 1)
        self.pings = mqtt.packet(mqtt.PINGREQ) * 4096
        self.turn = self.pinged = 0

    def drip(self):
        """One byte more of each, and as many pings as are taken."""
        for socks, raw in ((self.connects, self.connect), (self.publishes, self.publish)):
            for sock in socks:
                with contextlib.suppress(OSError):
                    sock.send(raw[self.turn:self.turn + 1])
        for sock in self.greedy:
            with contextlib.suppress(OSError):
                self.pinged += sock.send(self.pings)
        self.turn += 1

    def closed(self):
        """How many of those with an endless CONNECT were closed."""
        count = 0
        for sock in self.connects:
            with contextlib.suppress(BlockingIOError):
                with contextlib.suppress(ConnectionResetError):
                    check(sock.recv(100) == b"", "an answer to half a CONNECT")
                count += 1
        return count


def slowest_puback_among_slow_clients(gateway, good, before):
    """In seconds, while those with an endless CONNECT are waited out."""
    slow, took = Slowloris(gateway), []
    began = time.monotonic()
    while slow.closed() < len(slow.connects):
        slow.drip()
        check(time.monotonic() - began < 40, "CONNECTs that never end are closed", slow.closed())
        second = time.monotonic() + 1
        while time.monotonic() < second:
            sent = time.monotonic()
            equal(good.publish_wait("plant/t", b"x").reason, 0)
            took.append(time.monotonic() - sent)
    took.sort()
    median = took[len(took) // 2]
    print("# %d PUBACKs among 500 slow clients: p50 %.1f ms, p99 %.1f ms, at most %.1f ms"
          % (len(took), 1000 * median, 1000 * took[len(took) * 99 // 100], 1000 * took[-1]))
    grown = processes.levels(gateway.process)["memory_kb"] - before["memory_kb"]
    check(gateway.is_sanitized() or grown < 500 * 140, "kB for 500 slow clients", grown)
    check(slow.pinged < 166 * (1 << 20), "pings without end were taken", slow.pinged)
    for sock in slow.publishes + slow.greedy:
        sock.close()
    wait_descriptors(gateway, before["descriptors"])
    return max(took[-1], 25 * median)  # 200 ms as a rule


@case(seconds=240)
def five_hundred_slow_clients_do_not_keep_a_good_one_waiting():
    need_descriptors(1000)
    gateway = Gateway().start()
    good = gateway.client(5, timeout=30)
    good.ping()
    before = idle_levels(gateway)
    quick_once(5, lambda: slowest_puback_among_slow_clients(gateway, good, before), "a PUBACK", 3)
    gateway.stop()


@case
def connects_that_come_byte_by_byte_take_no_place_from_others():
    """More than are admitted, each with a will; they send one byte in each round."""
    gateway = Gateway(listen={"max_clients": 20}).start()
    honest = gateway.client(5, client_id="honest")
    raw = mqtt.connect_packet(5, "slow", will={"topic": "plant/will", "payload": b"x" * 60000})
    slow = dial_many(gateway, 19 + 16)
    took = []
    for byte in raw[:300]:
        for sock in slow:
            with contextlib.suppress(OSError):  # closed, because its place was needed
                sock.sendall(bytes([byte]))
        began = time.monotonic()
        equal(honest.publish_wait("plant/t", b"x").reason, 0)
        took.append(time.monotonic() - began)
    check(sorted(took)[len(took) * 99 // 100] < 0.5, "p99 of the other client", max(took))
    others = []

    def one_more():
        client = gateway.raw(5)
        with contextlib.suppress(OSError, mqtt.Closed):  # so many are answered at a time
            client.send(mqtt.connect_packet(5, "c%d" % len(others)))
            if client.expect(mqtt.CONNACK).reason == 0:
                others.append(client)
        return len(others) == 15
    wait_for(one_more, 20, lambda: "15 more clients, there are %d" % len(others))
    gateway.stop()
    equal(gateway.ledger()["accepted"], len(took), "messages, and no will")


@case
def packets_that_announce_their_largest_size_cost_no_memory():
    gateway = Gateway().start()
    gateway.client(5).ping()
    before = processes.levels(gateway.process)["memory_kb"]
    for number in range(300):
        client = gateway.client(5 if number % 2 else 4)
        head = b"\x32" if number % 3 else b"\x10"
        client.send(head + mqtt.varint(268435455) + b"\0\7plant/t")
        last = client.expect_closed()
        equal(last and last.reason, 0x95 if number % 2 else None, "reason of the DISCONNECT")
        client.close()
    grown = processes.levels(gateway.process)["memory_kb"] - before
    check(gateway.is_sanitized() or grown < 4096, "kB of memory more", grown)
    gateway.stop()


def publish_keyed(client, number, history):
    key = "p/%d" % number
    history.sent[key] = ("t", key.encode())
    client.send(mqtt.publish_packet(5, "t", key.encode(), 1, number + 1,
                                    properties={"user": [("spool-ref", key)]}))


def take_farewell(client, history):
    """What comes before the DISCONNECT may be the acknowledgement, and nothing else."""
    last = client.receive()
    if last.kind == mqtt.PUBACK:
        equal(last.reason, 0, "reason of the PUBACK")
        history.acked["p/%d" % (last.packet_id - 1)] = mqtt.spool_id(last)
        last = client.receive()
    equal((last.kind, last.reason), (mqtt.DISCONNECT, 0x8E), "session taken over")
    client.expect_closed()
    client.close()


@case
def a_thousand_takeovers_store_each_message_once():
    gateway, history = Gateway().start(), History()
    before = idle_levels(gateway)["descriptors"]
    old = gateway.client(5, client_id="sensor")
    for number in range(1000):
        gateway.process.send_signal(signal.SIGSTOP)  # both come in one turn of its loop
        publish_keyed(old, number, history)
        new = gateway.raw(5, client_id="sensor")
        new.send(mqtt.connect_packet(5, "sensor"))
        gateway.process.send_signal(signal.SIGCONT)
        equal(new.expect(mqtt.CONNACK).reason, 0)
        take_farewell(old, history)
        old = new
    old.disconnect()
    wait_descriptors(gateway, before)
    gateway.stop()
    history.unknown = set(history.sent) - set(history.acked)
    collect_daemon(history, [], gateway.spool)
    print("# 1000 takeovers: %d acknowledged, %d stored" % (len(history.acked),
                                                           len(history.spooled)))
    hold(history)


run_all()
