# SPDX-License-Identifier: MIT
"""Several faults at once, drawn by a seed: rounds of one to three of them under load, then
recovery.

In each round the seed draws the faults and their instants; the schedule is printed, and the same
seed draws it again. After a round all faults are removed, and the daemon must be ready, online,
accepting and delivering messages within HEAL_S. One spool lives through all of them; at the end the
three ledgers are judged. The suite has 6 short rounds; --rounds 20 --length 30 is the long form.
"""

import ctypes
import json
import math
import os
import random
import signal
import sqlite3
import sys
import time

sys.dont_write_bytecode = True
os.environ.setdefault("SPOOLD_SEGMENT_ROWS", "50")  # so that many are filled and emptied
os.environ.setdefault("SPOOLD_SETTLE_MS", "2000")  # as in a release
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

from broker import Link  # noqa: E402
from checker import History, collect_daemon, figures, hold  # noqa: E402
from fake_clock import FakeClock  # noqa: E402
from gateway import Gateway  # noqa: E402
from load import FarBroker, Patient, collect, start_producers  # noqa: E402
from tap import case, check, cleanup, equal, run_all, wait_for  # noqa: E402

WINDOW = 32
MESSAGES = 20000  # kept at most, without faults
DISK_MIB = 64
HEAL_S = 60
LOCK_S = 8  # longer than the daemon waits
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 0x40000
libc = ctypes.CDLL(None, use_errno=True)


class Far(FarBroker):
    """Controlled while it runs."""

    def change(self, **options):
        self.process.stdin.write(json.dumps(options).encode() + b"\n")
        self.process.stdin.flush()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            super().stop()

    def entries(self):
        with open(self.ledger) as seen:
            return [json.loads(line) for line in seen if line.endswith("\n")]


class Rig:
    """The daemon, its broker and the link between them; and their present faults."""

    def __init__(self):
        self.clock = FakeClock()
        self.fars = [Far()]
        self.link = Link(self.fars[0].port).restore()
        self.gateway = Gateway(self.link.url, retention={"max_messages": MESSAGES},
                               uplink={"window": WINDOW, "ack_timeout": "1s",
                                       "backoff": {"min": "10ms", "max": "50ms"}})
        self.has_disk = self._mount()
        self.producers = []
        self.kills = self.stops = 0
        self.audits = []
        self.holders = {}  # other connections to the database, by their fault
        self._disk_was_full = self._lock_was_held = 0.0

    def _mount(self):
        """A disk of its own below the spool, in a mount namespace of this process; needs root."""
        if libc.unshare(CLONE_NEWNS) or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None):
            return False
        spool = self.gateway.spool.encode()
        os.mkdir(spool)
        if libc.mount(b"tmpfs", spool, b"tmpfs", 0, b"size=%dm" % DISK_MIB):
            return False
        cleanup(libc.umount2, spool, 2)
        return True

    # The daemon, as systemd would run it

    def start(self):
        self.gateway.start(ready=False, env=self.clock.env())

    def is_ready(self):
        return self.gateway.is_running() and any(
            "READY=1" in text.split("\n") for text in self.gateway.read_notifications())

    def keep_running(self):
        """Starts it again if a start failed for a known reason."""
        code = self.gateway.process.poll()
        if code is None:
            return
        self.gateway.check_log()
        was_ready = any("READY=1" in text for text in self.gateway.read_notifications())
        why = "the daemon ended with %d by itself, ready before: %s" % (code, was_ready)
        check(code == 1 and not was_ready and self._may_fail_to_start(), why)
        self.start()

    def _may_fail_to_start(self):
        """Also a little later: the failure may end, and be seen, when its cause is gone."""
        return time.monotonic() < max(self._disk_was_full, self._lock_was_held) + 10

    def kill(self):
        self.gateway.kill()
        self.kills += 1
        self.start()

    def terminate(self):
        if self.is_ready():
            self.gateway.stop(30)
            self.stops += 1
        else:
            self.gateway.kill()
            self.kills += 1
        self.start()

    def signal(self, number):
        if number != signal.SIGHUP or self.is_ready():  # earlier a HUP would end it
            self.gateway.process.send_signal(number)

    def reload(self, rotate=False, **retention):
        self.gateway.configure(retention=retention)
        if rotate and os.path.exists(self.gateway.audit) and self.is_ready():
            name = "audit-%d.jsonl" % len(self.audits)  # not a name that logrotate gives
            self.audits.append(os.path.join(self.gateway.folder, name))
            os.rename(self.gateway.audit, self.audits[-1])
        self.signal(signal.SIGHUP)

    # What is around it

    def restart_broker(self):
        self.fars[-1].kill()
        self.fars.append(Far())
        self.link.target = ("127.0.0.1", self.fars[-1].port)

    def stall(self, stalled):
        self.link.stalled = stalled

    def fill_disk(self):
        self._disk_was_full = math.inf
        with open(os.path.join(self.gateway.spool, "filler"), "wb", 0) as out:
            try:
                while out.write(b"\0" * 65536) == 65536:
                    pass
            except OSError:
                pass  # not a byte is left

    def free_disk(self):
        os.unlink(os.path.join(self.gateway.spool, "filler"))
        self._disk_was_full = time.monotonic()

    def begin(self, fault, statements):
        """An operator with sqlite3, until end(). A busy lock is not waited for."""
        database = sqlite3.connect(os.path.join(self.gateway.spool, "spool.db"), timeout=0.5,
                                   isolation_level=None)
        self.holders[fault] = database
        try:
            for statement in statements:
                database.execute(statement).fetchall()
        except sqlite3.OperationalError as error:
            # On a full disk it may also lack room for its index of the log, an I/O error.
            check("locked" in str(error) or "full" in str(error)
                  or self._disk_was_full == math.inf, "sqlite3", error)

    def end(self, fault):
        if fault == "lock":
            self._lock_was_held = time.monotonic()
        self.holders.pop(fault).close()

    def lock(self):
        self._lock_was_held = time.monotonic() + LOCK_S
        self.begin("lock", ["BEGIN IMMEDIATE"])


# Faults: each draws its instants within a round and returns (second, what, action, ...)


def within(dice, length, most=1e9):
    """(begin, end) of something that also ends in the round."""
    begin = dice.uniform(0, 0.6 * length)
    return begin, begin + min(most, dice.uniform(0.1, 0.9) * (length - begin))


def killed(rig, dice, length):
    return [(dice.uniform(0, length), "SIGKILL", rig.kill) for _ in range(dice.randint(1, 3))]


def terminated(rig, dice, length):
    return [(dice.uniform(0, length), "SIGTERM", rig.terminate)]


def suspended(rig, dice, length):
    begin, end = within(dice, length, 9)
    return [(begin, "SIGSTOP", rig.signal, signal.SIGSTOP),
            (end, "SIGCONT", rig.signal, signal.SIGCONT)]


def broker_restarted(rig, dice, length):
    return [(dice.uniform(0, length), "broker killed", rig.restart_broker)
            for _ in range(dice.randint(1, 2))]


def link_cut(rig, dice, length):
    begin, end = within(dice, length)
    return [(begin, "link cut", rig.link.cut, dice.random() < 0.5),
            (end, "restored", rig.link.restore)]


def link_reset(rig, dice, length):
    return [(dice.uniform(0, length), "reset", rig.link.reset) for _ in range(dice.randint(1, 5))]


def link_stalled(rig, dice, length):
    begin, end = within(dice, length)
    return [(begin, "link stalled", rig.stall, True), (end, "flows", rig.stall, False)]


def broker_misbehaves(rig, dice, length):
    name, value, normal = dice.choice([
        ("noack", True, False), ("late", 200, 0), ("half", True, False), ("twice", True, False),
        ("wrong_id", True, False), ("garbage", "b0 02 ID", ""), ("garbage", "ff ff ff ff ff", ""),
        ("connack", 0x88, 0), ("silent", True, False), ("reset_after", 50, 0)])
    begin, end = within(dice, length)

    def change(value):
        rig.fars[-1].change(**{name: value})

    return [(begin, "broker %s=%s" % (name, value), change, value),
            (end, "broker good", change, normal)]


def disk_full(rig, dice, length):
    begin, end = within(dice, length)
    return [(begin, "disk full", rig.fill_disk), (end, "disk free", rig.free_disk)]


def log_held(rig, dice, length):
    begin, end = within(dice, length)
    return [(begin, "reader", rig.begin, "reader", ["BEGIN", "SELECT count(*) FROM message"]),
            (end, "reader gone", rig.end, "reader")]


def locked(rig, dice, length):
    begin, end = within(dice, length, LOCK_S)
    return [(begin, "lock", rig.lock), (end, "unlocked", rig.end, "lock")]


def operated(rig, dice, length):
    at = dice.uniform(0, length)
    statement = dice.choice(["VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA optimize"])
    return [(at, statement, rig.begin, "operator", [statement]), (at, "done", rig.end, "operator")]


def reloaded(rig, dice, length):
    events = []
    for _ in range(dice.randint(1, 3)):
        count, rotate = dice.choice([100, 2000, MESSAGES]), dice.random() < 0.5
        what = "HUP max_messages=%d%s" % (count, " rotated" if rotate else "")
        events.append((dice.uniform(0, length), what,
                       lambda count=count, rotate=rotate: rig.reload(rotate, max_messages=count)))
    return events


def clock_stepped(rig, dice, length):
    return [(dice.uniform(0, length), "clock %+d s" % seconds, rig.clock.step, seconds)
            for seconds in dice.sample([-3 * 86400, -3600, 3600, 86400, 40 * 365 * 86400], 2)]


FAULTS = [killed, terminated, suspended, broker_restarted, link_cut, link_reset, link_stalled,
          broker_misbehaves, disk_full, log_held, locked, operated, reloaded, clock_stepped]
# A daemon that stops must end with 0 in time: not while a fault hinders it.
NOT_TOGETHER = [{terminated, suspended}, {terminated, locked}, {terminated, disk_full}]


def draw(rig, dice, length):
    """The schedule of a round, in order."""
    known = [fault for fault in FAULTS if rig.has_disk or fault is not disk_full]
    while True:
        chosen = dice.sample(known, dice.randint(1, 3))
        if not any(pair <= set(chosen) for pair in NOT_TOGETHER):
            break
    events = [event for fault in chosen for event in fault(rig, dice, length)]
    return sorted(events, key=lambda event: event[0])


def play(rig, events):
    began = time.monotonic()
    for at, _, action, *arguments in events:
        while time.monotonic() < began + at:
            rig.keep_running()
            time.sleep(min(0.05, max(0, began + at - time.monotonic())))
        action(*arguments)
        rig.keep_running()


def heal(rig):
    """Each fault has ended itself; what is left is to see that everything works again."""
    def ready():
        rig.keep_running()
        return rig.is_ready()

    wait_for(ready, HEAL_S, "the daemon ready after the round")
    rig.reload(max_messages=MESSAGES)
    acked = [len(producer.acked) for producer in rig.producers]
    size = os.path.getsize(rig.fars[-1].ledger)
    wait_for(lambda: all(len(producer.acked) > count
                         for producer, count in zip(rig.producers, acked)), HEAL_S,
             "each producer served after the round")
    wait_for(lambda: os.path.getsize(rig.fars[-1].ledger) > size, HEAL_S,
             "something delivered after the round")


def collect_far(rig, history):
    """What all the brokers received, on connections numbered consecutively."""
    before = 0
    for far in rig.fars:
        far.stop()
        entries = far.entries()
        for entry in entries:
            if "event" not in entry:
                history.remote.append((entry["head"].split(".")[0], entry["topic"],
                                       entry["sha256"]))
                history.connections.append(before + entry["conn"])
        before += max((entry["conn"] for entry in entries), default=0)
    return before


def judge(rig):
    history = History()
    history.window, history.drained = WINDOW, True
    # Each connection except the first follows a break, and each process except the first an end.
    history.cuts = collect_far(rig, history) + rig.kills + rig.stops
    collect(history, rig.producers)
    collect_daemon(history, rig.audits + [rig.gateway.audit], rig.gateway.spool)
    print("# %d kills, %d stops, %d brokers: %s" % (rig.kills, rig.stops, len(rig.fars),
                                                    figures(history)))
    hold(history)
    seen = {record["outcome"] for record in history.outcomes}
    check(seen <= {"delivered", "evicted"}, "outcomes", seen)
    reasons = {record["reason"] for record in history.outcomes if "reason" in record}
    check(reasons <= {None, "max_messages", "disk"}, "reasons", reasons)


@case(seconds=3600)
def a_few_faults_at_once_lose_nothing_and_heal():
    options = run_all.options
    print("# seed %d: --rounds %d --length %g --seed %d"
          % (options.seed, options.rounds, options.length, options.seed))
    rig, dice = Rig(), random.Random(options.seed)
    if not rig.has_disk:
        print("# no full disks: that needs root")
    rig.start()
    rig.gateway.wait_ready()
    rig.gateway.wait_link()
    rig.producers = start_producers(rig.gateway.socket, 3, kind=Patient, window=16, pause=0.002)
    for number in range(options.rounds):
        events = draw(rig, dice, options.length)
        print("# round %d: %s" % (number, ", ".join("%.2f %s" % event[:2] for event in events)),
              flush=True)
        play(rig, events)
        heal(rig)
    for producer in rig.producers:
        producer.finish(60)
    rig.gateway.wait_drained(180)
    done = rig.gateway.tool("check")
    equal(done.returncode, 0, "mqtt-spool check: %r" % done.stdout)
    rig.gateway.stop(30)
    rig.link.stop()
    judge(rig)


def add_arguments(parser):
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--length", type=float, default=2.5, metavar="SECONDS", help="of a round")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the schedule")


run_all(add_arguments)
