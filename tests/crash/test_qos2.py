# SPDX-License-Identifier: MIT
"""QoS 2 from producers against the rule of the standard: what a session published is stored once.

A client follows the standard and nothing else: it sends again what has no PUBREC, and the release
of what has no PUBCOMP, after each connection that ended. Connections end by the dice: the client
drops it, takes it over, or the daemon dies, by SIGKILL or at a failpoint. At the end each message
is in the spool once, and no packet id is left.
"""

import contextlib
import os
import random
import socket
import sqlite3
import struct
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import mqtt  # noqa: E402
import processes  # noqa: E402
from gateway import Gateway  # noqa: E402
from tap import case, check, equal, run_all, skip, wait_for  # noqa: E402

# What a PUBLISH and a PUBREL pass on their way.
ON_THE_WAY = ("receive.", "append.", "commit.", "acknowledge.")
MESSAGES = 60
IN_FLIGHT = 12


def failpoints():
    return [name for name in processes.failpoints() if name.startswith(ON_THE_WAY)]


class Producer:
    """One session, and what the client must send again: [packet id, payload, is released]."""

    def __init__(self, gateway, version, dice, prefix=""):
        self.gateway, self.version, self.dice, self.prefix = gateway, version, dice, prefix
        self.client = None
        self.open, self.made, self.done, self.ids = [], 0, [], {}
        self.has_session = False
        self.last_id = dice.choice((0, 65530))
        self.repeated = self.connects = 0

    def dial(self):
        expiry = {"session_expiry": 3600} if self.version == 5 else None
        client = mqtt.Client(self.gateway.socket, self.version, "once" + self.prefix, clean=False,
                             properties=expiry)
        client.connect()
        equal(bool(client.connack.session_present), self.has_session, "Session Present")
        self.has_session = True
        self.client, self.connects = client, self.connects + 1
        for entry in self.open:
            self.send(entry, again=True)

    def send(self, entry, again=False):
        packet_id, payload, is_released = entry
        self.repeated += again
        if is_released:
            self.client.send(mqtt.packet(mqtt.PUBREL, struct.pack(">H", packet_id), 2))
        else:
            self.client.send(mqtt.publish_packet(self.version, "plant/once", payload, 2, packet_id,
                                                 dup=again))

    def publish(self):
        self.last_id = self.last_id % 65535 + 1
        self.open.append([self.last_id, b"%s-%d" % (self.prefix.encode(), self.made), False])
        self.made += 1
        self.send(self.open[-1])

    def answer(self, packet):
        found = [entry for entry in self.open if entry[0] == packet.packet_id]
        if packet.kind == mqtt.PUBREC:
            equal(packet.reason, 0, "PUBREC")
            equal(len(found), 1, "messages of the PUBREC")
            spool_id = dict(packet.properties.get("user", ())).get("spool-id")
            first = self.ids.setdefault(found[0][1], spool_id)
            equal(spool_id, first, "spool-id of %r" % found[0][1])
            if not found[0][2]:
                found[0][2] = True
                self.send(found[0])
        elif packet.kind == mqtt.PUBCOMP:
            check(packet.reason in (0, 0x92), "PUBCOMP", packet)
            for entry in found:
                check(entry[2], "a PUBCOMP before the PUBREL", packet)
                self.open.remove(entry)
                self.done.append(entry[1])
        else:
            check(packet.kind == mqtt.DISCONNECT, "what came", packet)

    def listen(self, seconds):
        with contextlib.suppress(socket.timeout):
            while True:
                self.answer(self.client.receive(seconds))

    def step(self):
        choice = self.dice.random()
        if choice < 0.5 and self.made < MESSAGES and len(self.open) < IN_FLIGHT:
            self.publish()
        elif choice < 0.9:
            self.listen(self.dice.choice((0, 0.001, 0.01)))
        elif choice < 0.95:
            self.client.close()  # whatever is under way
            self.dial()
        else:
            older = self.client
            self.dial()  # takes it over
            older.close()

    def is_over(self):
        return self.made == MESSAGES and not self.open


def restart(gateway, producer, wish=None):
    if gateway.process.poll() is None:
        gateway.kill()
    gateway.start(env={"SPOOLD_FAILPOINT": wish} if wish else None, ready=not wish)
    if wish:
        wait_for(lambda: os.path.exists(gateway.socket) or gateway.process.poll() is not None, 20,
                 "the socket")
    producer.client = None


def run_history(gateway, producer, kills, wishes):
    """Kills at random and at the failpoints of @wishes, until all is acknowledged."""
    gateway.start()
    while not producer.is_over():
        try:
            if producer.client is None:
                producer.dial()
            producer.step()
            if kills > 0 and producer.made > 5 and producer.dice.random() < 0.03:
                kills -= 1
                restart(gateway, producer)
            elif wishes and producer.made > 5:
                restart(gateway, producer, wishes.pop(0))
        except (mqtt.Closed, OSError):
            producer.client = None
            if gateway.process.poll() is not None:
                restart(gateway, producer)
    if producer.client:  # None: the last step was a kill
        producer.client.close()


def judge(gateway, producers):
    gateway.kill()  # what was acknowledged is on disk
    gateway.start()
    gateway.stop()
    with contextlib.closing(sqlite3.connect(os.path.join(gateway.spool, "spool.db"))) as database:
        stored = [row[0] for row in database.execute("SELECT payload FROM spooled")]
        left = database.execute("SELECT count(*) FROM unreleased").fetchone()[0]
    wanted = sorted(payload for producer in producers for payload in producer.done)
    equal(len(wanted), MESSAGES * len(producers), "messages that were acknowledged")
    equal(sorted(stored), wanted, "messages in the spool")
    equal(left, 0, "packet ids that are left")
    done = gateway.tool("check")
    equal(done.returncode, 0, "check: %r" % (done.stdout + done.stderr))


@case(seconds=300)
def what_a_session_publishes_is_stored_once_whatever_ends_connections_and_lives():
    dice = random.Random(run_all.options.seed)
    print("# seed %d" % run_all.options.seed)
    repeated = connects = 0
    for number in range(6):
        gateway = Gateway()
        producer = Producer(gateway, (4, 5)[number % 2], dice, "h%d" % number)
        run_history(gateway, producer, 6, [])
        judge(gateway, [producer])
        repeated, connects = repeated + producer.repeated, connects + producer.connects
    print("# %d packets were repeated over %d connections" % (repeated, connects))
    check(repeated > 50, "repetitions", repeated)


@case(seconds=600)
def what_a_session_publishes_is_stored_once_whichever_failpoint_it_meets():
    names = failpoints()
    if not names:
        skip("this build holds no failpoints (SPOOLD_FAILPOINTS)")
    check(len(names) > 6, "failpoints on the way", names)
    dice = random.Random(run_all.options.seed)
    print("# seed %d" % run_all.options.seed)
    for number, name in enumerate(names):
        gateway = Gateway()
        producer = Producer(gateway, (4, 5)[number % 2], dice, "f%d" % number)
        run_history(gateway, producer, 0, ["%s:%d" % (name, dice.randint(*within))
                                           for within in ((1, 2), (2, 6), (5, 20))])
        judge(gateway, [producer])


def add_arguments(parser):
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of all that is random")


run_all(add_arguments)
