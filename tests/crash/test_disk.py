# SPDX-License-Identifier: MIT
"""The disk fails: full, filled by another program, I/O errors at each call in turn; and memory.

Full disks are real ones, a tmpfs of a few MB in a mount namespace of this test alone. Errors come
from tests/support/fault_io.c, preloaded into the daemon: in run N the Nth call that writes or syncs
below the spool's folder fails. After each run the three ledgers are judged. Bad sectors, places of
one file that fail each time they are read, come from the same library.
"""

import collections
import contextlib
import ctypes
import errno
import math
import os
import random
import re
import resource
import signal
import socket
import sqlite3
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import mqtt  # noqa: E402
import processes  # noqa: E402
from broker import Link  # noqa: E402
from checker import History, collect_daemon, verdict  # noqa: E402
from fake_broker import FakeBroker  # noqa: E402
from faults import Faults, sanitizer  # noqa: E402
from gateway import Gateway, check_audit, check_balance  # noqa: E402
from load import FarBroker, collect, start_producers  # noqa: E402
from mqtt import spool_id  # noqa: E402
from tap import case, check, cleanup, equal, run_all, skip, wait_for  # noqa: E402

CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 0x40000
PAGE_RECORDS = 4096 // 64  # outcome rows have 64 bytes and three texts
MIB = 1 << 20
libc = ctypes.CDLL(None, use_errno=True)
SIZE = 1000  # of a payload
SMALL, LAST = "load/x/0", "x/100000"  # the topic of those of a few bytes, and the key of the last


def options():
    return run_all.options


# A disk of its own


def private_mounts():
    """Once: mounts of this process are not visible to others and end with the process."""
    if libc.unshare(CLONE_NEWNS) or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None):
        skip("needs root: a mount namespace of its own (%s)" % os.strerror(ctypes.get_errno()))


class JudgedGateway(Gateway):
    def judge(self, producers, far, **more):
        """The checker's findings of all that happened since the start."""
        history = History()
        history.drained = True
        for name, value in more.items():
            setattr(history, name, value)
        collect(history, producers)
        far.collect(history)
        collect_daemon(history, [self.audit], self.spool)
        equal(verdict(history), [], "findings of the checker")
        return history


class SmallDisk(JudgedGateway):
    """A gateway whose spool has a disk of @mib MiB to itself, and another program that fills it."""

    def __init__(self, broker="tcp://127.0.0.1:9", mib=12, reserve="2M", **settings):
        private_mounts()
        super().__init__(broker, **settings)
        self.configure(spool={"disk_reserve": reserve})
        os.mkdir(self.spool)
        size = b"size=%dm" % mib
        if libc.mount(b"tmpfs", self.spool.encode(), b"tmpfs", 0, size):
            skip("needs root: mounting a tmpfs (%s)" % os.strerror(ctypes.get_errno()))
        cleanup(libc.umount2, self.spool.encode(), 2)
        self.filler = os.path.join(self.spool, "filler")

    def free(self):
        disk = os.statvfs(self.spool)
        return disk.f_bavail * disk.f_frsize

    def fill(self, leave=0):
        with open(self.filler, "ab", 0) as out:
            while (size := self.free() - leave) > 0:
                try:
                    out.write(b"\0" * min(size, 65536))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise  # else the daemon took it first

    def empty(self):
        os.unlink(self.filler)


def fill_with_load(gateway, count=2):
    """Producers until the spool has refused some of each; they have finished when it returns."""
    producers = start_producers(gateway.socket, count, size=SIZE, window=32)
    wait_for(lambda: all(len(producer.refused) > 100 for producer in producers), 60,
             lambda: "refusals, there are %r" % [len(each.refused) for each in producers])
    for producer in producers:
        producer.finish()
    return producers


def publish_small(client, key):
    """The reason code of its PUBACK."""
    return client.publish_wait(SMALL, key.encode(),
                               properties={"user": [("spool-ref", key)]}).reason


def fill_with_small(gateway):
    """A small message may fit if no large one does; returns the keys of those accepted until none
    was."""
    client, taken, refused = gateway.client(5), [], 0
    for number in range(100000):
        key = "x/%d" % number
        if publish_small(client, key) == 0:
            taken.append(key)
            refused = 0
        else:
            refused += 1
        if refused == 20:
            return taken
    raise AssertionError("there is room for ever")


@case
def a_full_disk_refuses_drains_and_recovers_by_itself():
    far = FarBroker()
    link = Link(far.port)
    gateway = SmallDisk(link.url, retention={"when_full": "refuse"}).start()
    producers = fill_with_load(gateway)
    equal({reason for producer in producers for reason in producer.refused.values()}, {0x97},
          "reasons of the refusals")
    check(gateway.free() >= MIB, "most of the reserve is left", gateway.free())
    small = fill_with_small(gateway)
    old = gateway.client(4)
    old.publish("plant/t", b"x")
    equal(old.expect_closed(), None, "3.1.1: packets before the close")
    gateway.fill()  # not a byte is left, not even of the reserve
    link.restore()
    ledger = gateway.wait_drained(60)
    equal(ledger["delivered"], len(small) + sum(len(producer.acked) for producer in producers),
          "delivered")
    gateway.empty()
    equal(publish_small(gateway.client(5), LAST), 0, "reason once there is room")
    gateway.wait_drained()
    gateway.stop()
    small.append(LAST)
    history = gateway.judge(producers, far, sent={key: (SMALL, key.encode()) for key in small},
                            acked=dict.fromkeys(small))
    print("# %d acknowledged, %d refused, all of them on a disk of 12 MiB"
          % (len(history.acked), len(history.refused)))


@case
def failure_records_fit_into_the_reserve():
    far = FakeBroker(reason=0x87).start()
    cleanup(far.stop)
    link = Link(int(far.url.rpartition(":")[2]))
    gateway = SmallDisk(link.url, retention={"when_full": "refuse"}, reserve="2M",
                        uplink={"on_refusal": "reject"}).start()
    accepted = sum(len(producer.acked) for producer in fill_with_load(gateway))
    gateway.fill(leave=2 * MIB)
    link.restore()
    ledger = gateway.wait_drained(60)
    equal((ledger["accepted"], ledger["rejected"]), (accepted, accepted), "accepted, rejected")
    # The log grows by its largest commit: some 512 messages that end, 1,000 bytes of each kept aside.
    check(gateway.free() >= MIB // 4, "what is left of the reserve", gateway.free())
    lines = gateway.wait_audit(accepted)
    check_audit(lines)
    gateway.stop()


@case
def a_full_disk_holds_producers_back_where_the_policy_blocks():
    far = FarBroker()
    link = Link(far.port)
    gateway = SmallDisk(link.url, retention={"when_full": "block"}).start()
    clients = [gateway.client(version) for version in (4, 5)]
    gateway.fill(leave=MIB)
    for client in clients:
        client.publish("plant/t", b"%d" % client.version)
        try:
            raise AssertionError("%s came from a full disk" % client.receive(1))
        except socket.timeout:
            pass
    gateway.empty()
    for client in clients:
        equal(client.expect(mqtt.PUBACK, 10).reason, 0, "reason once there is room")
    link.restore()
    equal(gateway.wait_drained()["delivered"], 2)
    gateway.stop()


@case
def a_short_disk_evicts_the_oldest_with_its_reason():
    gateway = SmallDisk(mib=24, retention={"when_full": "evict-oldest"}).start()
    client = gateway.client(5)
    payload = b"x" * SIZE

    def publish(count):
        acks = client.publish_many((("plant/t", payload) for _ in range(count)), 100)
        seen = [ack.reason for _, ack in acks]
        check(not any(seen), "reasons", next((i for i, r in enumerate(seen) if r), None),
              sum(1 for r in seen if r))

    publish(4000)
    gateway.fill(leave=MIB)  # another program fills the disk: that alone evicts nothing
    before = gateway.ledger()
    equal((before["spooled"], before["evicted"]), (4000, 0), "spooled, evicted")
    publish(4000)
    ledger = gateway.ledger()
    check_balance(ledger)
    equal(ledger["accepted"], 8000)
    check(3000 <= ledger["spooled"] < 4000, "the spool keeps its size", ledger)
    lines = gateway.wait_audit(ledger["evicted"])
    check_audit(lines)
    equal({(line["outcome"], line["reason"]) for line in lines}, {("evicted", "disk")})
    equal([line["id"] for line in lines], list(range(1, len(lines) + 1)), "oldest first")
    gateway.stop()


def burst(client, count):
    """The reason codes of so many PUBACKs, of messages that come at once."""
    return [ack.reason for _, ack in
            client.publish_many((("plant/t", b"x" * 200) for _ in range(count)), count)]


def logged_as_ended(gateway):
    return sum(int(count) for count in re.findall(r"ended_undelivered messages=(\d+)", gateway.log()))


@case
def the_log_counts_no_eviction_of_a_batch_that_found_the_disk_full():
    gateway = SmallDisk(retention={"when_full": "evict-oldest", "max_messages": 100}).start()
    client = gateway.client(5)
    equal(set(burst(client, 2000)), {0}, "reasons while there is room")
    for _ in range(3):
        gateway.fill()
        wait_for(lambda: 0x97 in burst(client, 50), 30, "a batch that found no room")
        check("no space to write" in gateway.log(), "the disk was full at a commit", gateway.log())
        gateway.empty()
        wait_for(lambda: set(burst(client, 50)) == {0}, 30, "room again")
    evicted = gateway.ledger()["evicted"]
    wait_for(lambda: logged_as_ended(gateway) >= evicted, 30, "all of them in the log")
    equal(logged_as_ended(gateway), evicted, "messages that the log reports")
    equal(len(gateway.wait_audit(evicted)), evicted, "records")
    gateway.stop()


@case
def a_start_on_a_disk_that_is_full_to_the_last_byte_is_logged():
    gateway = SmallDisk().start()
    equal(gateway.client(5).publish_wait("plant/t", b"x").reason, 0)
    gateway.kill()
    os.unlink(os.path.join(gateway.spool, "spool.db-shm"))  # the power failed: it was never synced
    gateway.fill()
    gateway.start(ready=False)
    equal(gateway.process.wait(20), 1, "exit code")
    check("the disk is full; free some space" in gateway.log(), "no remedy", gateway.log())
    gateway.empty()
    gateway.start()
    equal(gateway.ledger()["spooled"], 1)
    gateway.stop()


# A salvage needs room for a second database


def spoil_database(gateway):
    """A page in its middle is lost, and no image of it is in the log."""
    path = os.path.join(gateway.spool, "spool.db")
    with contextlib.closing(sqlite3.connect(path)) as spool:
        spool.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with open(path, "r+b") as database:
        database.seek(os.path.getsize(path) // 2 // 4096 * 4096)
        database.write(b"\xa5" * 4096)


def files_of(gateway):
    """What may not change. SQLite creates its index and its log again if they are missing."""
    seen = {}
    for name in os.listdir(gateway.spool):
        status = os.stat(os.path.join(gateway.spool, name))
        if not name.endswith(("-shm", "-wal")) and name != "filler":
            seen[name] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return seen


def fill_by_bytes(gateway, count, size):
    client = gateway.client(5)
    taken = [ack.reason for _, ack in client.publish_many(
        (("plant/t", os.urandom(size)) for _ in range(count)), 10)]
    equal(set(taken), {0}, "reasons")
    client.close()


def ends_with_78(gateway, *words, **options):
    before = len(gateway.log())
    gateway.start(ready=False, **options)
    equal(gateway.process.wait(30), 78, "exit code")
    said = gateway.log()[before:]
    line = next((line for line in said.split("\n") if "spool_not_opened" in line), "")
    for word in words + ("remedy=",):
        check(re.search(word, line), "the line lacks %r" % word, line or said)
    return line


@case
def a_salvage_that_has_no_room_writes_nothing_and_says_how_much_it_needs():
    gateway = SmallDisk(mib=40).start()
    fill_by_bytes(gateway, 70, 200000)
    gateway.stop()
    spoil_database(gateway)
    size = os.path.getsize(os.path.join(gateway.spool, "spool.db"))
    check(size > 13 * MIB, "size of the database", size)
    gateway.fill(leave=6 * MIB)
    before, free = files_of(gateway), gateway.free()
    for _ in range(2):
        line = ends_with_78(gateway, r"needs up to \d+ bytes", r"\d+ bytes are free")
        needed, logged = map(int, re.search(r"up to (\d+) .*, (\d+) bytes are free", line).groups())
        check(size * 0.9 <= needed <= size + MIB, "needed", needed, size)
        check(abs(logged - free) < MIB, "free", logged, free)
        equal(files_of(gateway), before, "files")
    gateway.empty()
    gateway.start(60)
    check("spool_salvaged" in gateway.log(), "salvaged when there is room", gateway.log())
    ledger = gateway.ledger()
    equal((ledger["accepted"], ledger["spooled"] + ledger["damaged"]), (70, 70), "accepted")
    gateway.stop()


@case
def a_salvage_without_the_trees_of_pages_needs_no_more_room_than_it_says():
    gateway = SmallDisk(mib=40).start()
    fill_by_bytes(gateway, 3000, 1500)  # two on a page; out of order some pages get one
    gateway.stop()
    spoil_database(gateway)
    with open(os.path.join(gateway.spool, "spool.db"), "r+b") as database:
        database.write(b"\xa5" * 4096 * 20)  # the first page, and all roots
    gateway.fill(leave=4 * MIB)
    before = files_of(gateway)
    line = ends_with_78(gateway, r"needs up to \d+ bytes", r"\d+ bytes are free")
    needed = int(re.search(r"up to (\d+) ", line).group(1))
    equal(files_of(gateway), before, "files")
    gateway.empty()
    gateway.fill(leave=needed + MIB // 8)
    gateway.start(60)
    check("spool_salvaged" in gateway.log(), "salvaged with the room that it named", gateway.log())
    size = os.path.getsize(os.path.join(gateway.spool, "spool.db"))
    check(needed / 3 < size < needed, "the new database", size, needed)
    gateway.stop()


@case
def a_salvage_that_finds_the_disk_full_removes_what_it_wrote():
    gateway = JudgedGateway().start()
    fill_by_bytes(gateway, 20, 200000)
    gateway.stop()
    spoil_database(gateway)
    before = files_of(gateway)
    for error, name in ((errno.ENOSPC, "ENOSPC"), (errno.EDQUOT, "EDQUOT")):
        faults = Faults(gateway.folder, gateway.spool, "write", 100, 0, error)
        ends_with_78(gateway, name, "removed again", env=faults.environment)
        equal(files_of(gateway), before, "files")
    gateway.start()
    check("spool_salvaged" in gateway.log(), "salvaged when there is room", gateway.log())
    gateway.stop()


# Limits that statvfs does not report


class QuotaDisk(JudgedGateway):
    """A gateway whose spool lies in a subvolume that has a quota of @mib MiB."""

    def __init__(self, *arguments, mib=16, **settings):
        private_mounts()
        super().__init__(*arguments, **settings)
        image, self.disk = os.path.join(self.folder, "image"), os.path.join(self.folder, "disk")
        with open(image, "wb") as out:
            out.truncate(300 * MIB)
        os.mkdir(self.disk)
        self.spool = os.path.join(self.disk, "volume")
        self.command("mkfs.btrfs", "-q", image)
        self.command("mount", "-o", "loop", image, self.disk)
        cleanup(libc.umount2, self.disk.encode(), 2)
        self.command("btrfs", "quota", "enable", self.disk)
        self.command("btrfs", "subvolume", "create", self.spool)
        self.limit(mib)
        self.configure(spool={"directory": self.spool})

    def command(self, name, *arguments):
        if not processes.find(name):
            skip("%s is not installed" % name)
        done = processes.run([name, *arguments])
        if done.returncode:
            skip("no quota here: %s: %s" % (name, done.stderr.decode(errors="replace").strip()))

    def limit(self, mib):
        self.command("btrfs", "qgroup", "limit", "%dM" % mib if mib else "none", self.spool)


@case
def a_real_quota_refuses_drains_and_recovers_by_itself():
    far = FarBroker()
    link = Link(far.port)
    gateway = QuotaDisk(link.url, retention={"when_full": "refuse"}).start()
    producers = fill_with_load(gateway)
    equal({reason for producer in producers for reason in producer.refused.values()}, {0x97},
          "reasons of the refusals")
    check('disk_short detail="Disk quota exceeded (EDQUOT)' in gateway.log(), "the errno",
          gateway.log())
    link.restore()
    ledger = gateway.wait_drained(60)
    equal(ledger["delivered"], sum(len(producer.acked) for producer in producers), "delivered")
    gateway.limit(None)
    more = start_producers(gateway.socket, 1, "more", size=SIZE, window=32)
    wait_for(lambda: len(more[0].acked) > 20000, 60, "more than the quota had let in")
    more[0].finish()
    gateway.wait_drained(60)
    gateway.stop()
    equal(gateway.process.returncode, 0, "exit code")
    history = gateway.judge(producers + more, far)
    print("# %d acknowledged, %d refused" % (len(history.acked), len(history.refused)))


def limit_files(gateway, size):
    """From now on no file of the daemon grows beyond so many bytes."""
    hard = resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE,
                     (size if size else hard, hard))


@case
def a_limit_of_the_file_size_refuses_drains_and_recovers_by_itself():
    far = FarBroker()
    link = Link(far.port)
    gateway = JudgedGateway(link.url, retention={"when_full": "refuse"}).start()
    limit_files(gateway, 3 * MIB)
    producers = fill_with_load(gateway)
    equal({reason for producer in producers for reason in producer.refused.values()}, {0x97},
          "reasons of the refusals")
    check(re.search(r'disk_short detail="File too large \(EFBIG\)', gateway.log()),
          "the errno", gateway.log())
    link.restore()
    ledger = gateway.wait_drained(60)
    equal(ledger["delivered"], sum(len(producer.acked) for producer in producers), "delivered")
    limit_files(gateway, None)
    more = start_producers(gateway.socket, 1, "more", size=SIZE, window=32)
    wait_for(lambda: "spool_room" in gateway.log(), 60, "messages to be accepted again")
    wait_for(lambda: len(more[0].acked) > 10000, 60, "more than the limit had let in")
    more[0].finish()
    gateway.wait_drained(60)
    gateway.stop()
    equal(gateway.process.returncode, 0, "exit code")
    history = gateway.judge(producers + more, far)
    print("# %d acknowledged, %d refused, with files of 3 MiB at the most"
          % (len(history.acked), len(history.refused)))


def page(gateway):
    return gateway.tool("status").stdout.decode()


@case
def evictions_for_a_limit_of_the_file_size_name_their_cause():
    far = FarBroker()
    link = Link(far.port)
    gateway = JudgedGateway(link.url, status_interval="200ms").start()
    limit_files(gateway, 3 * MIB)
    client = gateway.client(5)

    def costs_old_ones():
        for _ in range(50):  # some are refused: those of a commit that had no room
            client.publish_wait("load/e", b"x" * 2000)
        return any(line["reason"] == "disk" for line in gateway.audit_lines())

    wait_for(costs_old_ones, 60, "evictions for the disk")
    wait_for(lambda: "(EFBIG)" in gateway.status()["spool"]["disk_short"], 20, "the status")
    wait_for(lambda: gateway.status()["intake"]["refusing"] == "", 20, "none is refused any more")
    equal(gateway.status()["forecast"]["full_s"], 0, "full_s while each message costs old ones")
    seen = page(gateway)
    for part in ("NEW MESSAGES MAY EVICT OLD ONES, too little disk space:", "(EFBIG)",
                 "raise the limit of the file size"):
        check(part in seen, part, seen)
    lines = re.findall(r"disk_short .*", gateway.log())
    equal(len(lines), 1, "lines: %s" % lines)
    check('detail="File too large (EFBIG)' in lines[0], "the errno", lines[0])
    check("disk_room" not in gateway.log(), "it is not over", gateway.log())
    limit_files(gateway, None)
    wait_for(lambda: "disk_room after_ms=" in gateway.log(), 20, "its end, without a message")
    wait_for(lambda: gateway.status()["spool"]["disk_short"] == "", 20, "the status")
    check("too little disk space" not in page(gateway), "the page", page(gateway))
    gateway.stop()


@case
def nothing_is_sent_whose_end_cannot_be_recorded():
    far = FarBroker()
    link = Link(far.port)
    gateway = JudgedGateway(link.url).start()
    producers = start_producers(gateway.socket, 1, size=SIZE, window=32)
    wait_for(lambda: len(producers[0].acked) > 500, 60, "a backlog")
    producers[0].finish()
    gateway.kill()
    link.restore()
    for _ in range(3):  # as often as it is started again
        before = len(gateway.log())
        gateway.start(wrap=["prlimit", "--fsize=65536"])  # below the end of the write-ahead log
        wait_for(lambda: gateway.status()["link"]["state"] == "online", 20, "the link")
        wait_for(lambda: "disk_short" in gateway.log()[before:], 20, "the full disk")
        wait_for(lambda: "sending_stopped" in gateway.log()[before:], 20, "what it stops")
        wait_for(lambda: gateway.status()["link"]["held"], 20, "the status")
        seen = page(gateway)
        for part in ("NOTHING IS SENT until a commit has room", "(EFBIG)",
                     "raise the limit of the file size"):
            check(part in seen, part, seen)
        check("the newest message" not in seen, "no message came", seen)
        client = gateway.client(5)
        equal(client.publish_wait(SMALL, b"x").reason, 0x97, "reason while nothing is written")
        equal(gateway.ledger()["delivered"], 0, "delivered")
        gateway.stop()
        equal(gateway.process.returncode, 0, "exit code")
    gateway.start(wrap=["prlimit", "--fsize=65536:%d" % (64 * MIB)])
    wait_for(lambda: gateway.status()["link"]["held"], 20, "the status")
    limit_files(gateway, 64 * MIB)
    wait_for(lambda: "sending_resumed after_ms=" in gateway.log(), 20, "its end")
    gateway.wait_drained()
    wait_for(lambda: not gateway.status()["link"]["held"], 20, "the status")
    gateway.stop()
    history = gateway.judge(producers, far)
    equal(len(history.remote), len(history.acked), "what reached the broker: each once")


# Errors at each call


# What SQLite and the spool may ignore: the folder is synced once more by the spool itself.
HARMLESS = ("fdatasync folder",)


class Run:
    """One daemon with one fault, started again without; and its history."""

    def __init__(self, number, far, calls, at, times=1, error=errno.EIO):
        self.key, self.at = "r%dp/" % number, at
        self.history = History()
        self.history.window, self.history.drained, self.history.cuts = 16, True, 1
        self.gateway = Gateway(far.url, uplink={"window": 16, "client_id": "r%d" % number,
                                                "ack_timeout": "2s",
                                                "backoff": {"min": "10ms", "max": "50ms"}})
        self.faults = Faults(self.gateway.folder, self.gateway.spool, calls, at, times, error)
        self.calls = self.failed = self.acks_after = self.code = 0
        self.first, self.size = 0, 300
        # Allocations are many with few messages, calls on files few with many.
        self.count = 32 if calls == "alloc" else 96
        self.what = ""
        self.error = error
        self.exit_s = 0.0

    def __str__(self):
        return "call %d (%s)" % (self.at, self.what)

    def publish(self, client, first, count):
        """Acknowledged or refused or unknown; False when the daemon has ended."""
        open_ids = {}
        for number in range(first, first + count):
            key = self.key + str(number)
            sent = ("load/t", key.encode().ljust(self.size, b"."))
            self.history.sent[key] = sent
            self.history.unknown.add(key)
            open_ids[client.publish(*sent, properties={"user": [("spool-ref", key)]})] = key
        while open_ids:
            ack = client.receive(10)
            if ack.kind != mqtt.PUBACK:
                raise mqtt.Closed(ack)
            key = open_ids.pop(ack.packet_id)
            self.history.unknown.discard(key)
            if ack.reason:
                self.history.refused[key] = ack.reason
            else:
                self.history.acked[key] = spool_id(ack)

    def load(self):
        """Out of memory the daemon may reject a client, once; the producer reconnects."""
        batches = iter(range(self.first, self.first + self.count, 8))
        may_fail = self.error == errno.ENOMEM
        while True:
            try:
                with mqtt.Client(self.gateway.socket, 5, client_id="load") as client:
                    for first in batches:
                        self.publish(client, first, 8)
                break
            except (OSError, mqtt.Closed, AssertionError):
                if not may_fail or self.ends(self.gateway.process, 0.1):
                    raise
                may_fail = False
        wait_for(self.drained_or_gone, 60, "drained, or ended")

    def drained_or_gone(self):
        ledger = self.gateway.status().get("ledger", {"accepted": 0})
        return self.gateway.process.poll() is not None or (
            ledger["accepted"] >= len(self.history.acked) and ledger["spooled"] == 0)

    def with_fault(self):
        process = None
        try:
            self.gateway.start(env=self.faults.environment, ready=False)
            process = self.gateway.process
            self.gateway.wait_ready(30)
            self.load()
        except (OSError, mqtt.Closed, AssertionError):
            if process is None or (process.poll() is None and not self.ends(process, 5)):
                raise
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        check(self.ends(process, 15), "it does not end")
        self.code = process.returncode
        self.calls, self.failed, when, self.acks_after, self.what = self.faults.report()
        self.exit_s = self.ended - when if self.failed else 0.0
        self.gateway.check_log()

    def ends(self, process, seconds):
        deadline = time.monotonic() + seconds
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        self.ended = time.monotonic()
        return process.poll() is not None

    def again(self):
        """Without the fault: nothing is lost, nothing has two outcomes."""
        self.gateway.start()
        self.gateway.wait_drained(30)
        self.gateway.stop()
        collect_daemon(self.history, [self.gateway.audit], self.gateway.spool)
        self.gateway.discard()


class Sweep:
    """Runs with N = 1, 2, 3 ... (or each step-th) by several threads, until one has no fault."""

    def __init__(self, calls, step=1, times=1, error=errno.EIO, skipped=0,
                 limit_s=math.inf, kind=Run):
        """@skipped: so many calls later than the first; @limit_s: how soon it has to end."""
        self.kind = kind
        self.calls, self.step, self.times, self.error = calls, step, times, error
        self.next, self.last, self.limit_s = options().first + skipped, options().last, limit_s
        self.far = FarBroker()
        self.runs, self.errors = [], []
        self._over, self._lock = False, threading.Lock()

    def _take(self):
        with self._lock:
            if self._over or self.next > self.last or len(self.errors) > 3:
                return None
            self.next += self.step
            return self.next - self.step

    def _try(self, at):
        """False: it ended, but late."""
        with self._lock:
            run = self.kind(len(self.runs), self.far, self.calls, at, self.times, self.error)
            self.runs.append(run)
        try:
            run.with_fault()
            if not run.failed:
                self._over = True
            run.again()
        except Exception as error:
            self.errors.append("%s: %r\n%s" % (run, error, run.gateway.last_words()))
        return not run.code or run.exit_s <= self.limit_s

    def _work(self):
        while (at := self._take()) is not None:
            # Being late once may be due to the machine.
            if not any(self._try(at) for _ in range(3)):
                self.errors.append("call %d: each time it ended later than %g s after it"
                                   % (at, self.limit_s))

    def go(self):
        threads = [threading.Thread(target=self._work) for _ in range(options().jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        check(not self.errors, "\n".join(self.errors))
        self.judge()
        return [run for run in self.runs if run.failed]

    def counts(self, finding):
        """Paho, out of memory, may leave one message of a window out: it is sent again later."""
        return self.error != errno.ENOMEM or not finding.startswith("ORDER")

    def judge(self):
        whole = History()
        self.far.collect(whole)
        by_key = {run.key: run.history for run in self.runs}
        for entry, connection in zip(whole.remote, whole.connections):
            history = by_key[entry[0].partition("/")[0] + "/"]
            history.remote.append(entry)
            history.connections.append(connection)
        found = whole.faults + ["%s: %s" % (run, line) for run in self.runs
                                for line in verdict(run.history) if self.counts(line)]
        found += ["%s: %d acknowledgements after it" % (run, run.acks_after)
                  for run in self.runs if run.acks_after and self.error == errno.EIO
                  and self.calls != "read" and run.what not in HARMLESS]
        check(not found, "\n".join(found))


def print_failed(what, failed):
    print("# %s: %d points of failure, the daemon ended %.3f s after it at the latest; %d "
          "acknowledged" % (what, len(failed), max(run.exit_s for run in failed if run.code),
                            sum(len(run.history.acked) for run in failed)))


@case(seconds=3600)
def an_error_at_any_write_or_sync_ends_the_daemon_and_loses_nothing():
    limit_s = 10 if sanitizer() else 1
    failed = Sweep("write,sync,truncate", step=options().step, limit_s=limit_s).go()
    check(len(failed) > 100 / options().step, "points of failure", len(failed))
    print_failed("EIO, each %s call" % options().step, failed)
    wrong = ["%s: exit code %d" % (run, run.code) for run in failed
             if run.code != 1 and run.what not in HARMLESS]
    check(not wrong, "\n".join(wrong))


def sweep_full(error, step):
    failed = Sweep("write,truncate", step, times=8, error=error).go()
    check(len(failed) > 50 / step, "points of failure", len(failed))
    refused = sum(len(run.history.refused) for run in failed)
    print("# %s for 8 calls, from each %s call on: %d points of failure; %d refused, %d "
          "acknowledged" % (errno.errorcode[error], step, len(failed), refused,
                            sum(len(run.history.acked) for run in failed)))
    check(refused > 0, "no commit found the disk full")
    equal({reason for run in failed for reason in run.history.refused.values()}, {0x97},
          "reasons of the refusals")
    wrong = ["%s: exit code %d" % (run, run.code) for run in failed
             if run.code != (0 if run.history.sent else 1)]
    check(not wrong, "\n".join(wrong))


@case(seconds=3600)
def a_disk_full_for_some_writes_in_a_row_is_no_false_acknowledgement():
    sweep_full(errno.ENOSPC, options().step)


@case(seconds=3600)
def a_quota_used_up_for_some_writes_in_a_row_is_a_full_disk():
    sweep_full(errno.EDQUOT, 2 * options().step)


def writes_of_a_start():
    """How many calls a start takes until it serves: the next ones are those of the first batch."""
    gateway = Gateway()
    faults = Faults(gateway.folder, gateway.spool, "write", 1 << 40)
    gateway.start(env=faults.environment)
    gateway.stop()
    return faults.report()[0]


def refused_batch(version, at):
    """QoS 0 until a commit finds the disk full: True when that was seen, and judged."""
    gateway = Gateway()
    faults = Faults(gateway.folder, gateway.spool, "write", at, 8, errno.ENOSPC)
    gateway.start(env=faults.environment)
    client, sent = gateway.client(version), 0
    while sent < 60 and gateway.is_running():
        seen = None
        with contextlib.suppress(OSError):
            client.send(b"".join(mqtt.publish_packet(version, "plant/t", b"x", 0, 0)
                                 for _ in range(10)) + mqtt.packet(mqtt.PINGREQ))
            sent += 10
        before = gateway.status().get("time")
        wait_for(lambda at=before: not gateway.is_running() or gateway.status().get("time") != at, 10,
                 "a status after the batch")
        with contextlib.suppress(mqtt.Closed):
            seen = client.receive()
        if not seen or seen.kind != mqtt.PINGRESP:
            break
    if not gateway.is_running() or not faults.report()[1] or (seen and seen.kind == mqtt.PINGRESP):
        return False
    if version == 5:
        equal((seen.kind, seen.reason), (mqtt.DISCONNECT, 0x97), "what a client of 5 gets")
    else:
        equal(seen, None, "what a client of 3.1.1 gets")
    status = gateway.fresh_status()
    # The ten that were sent while it closed are not read.
    check(status["ledger"]["accepted"] + status["producers"]["messages_refused"]
          in (sent - 10, sent), "each is accepted or counted as refused", status, sent)
    check(status["producers"]["messages_refused"] > 0, "refused")
    wait_for(lambda: "client_refused reason=\"batch was not stored: quota exceeded\""
             in gateway.log(), 5, "a line that says why")
    gateway.stop()
    return True


@case(seconds=600)
def messages_of_qos_0_that_a_full_disk_rolled_back_are_reported_and_counted():
    first = writes_of_a_start()
    for version in (4, 5):
        check(any(refused_batch(version, first + more) for more in range(1, 60, 2)),
              "no commit found the disk full")


@case(seconds=4 * 3600)
def memory_that_runs_out_anywhere_loses_nothing():
    if sanitizer():
        skip("AddressSanitizer has its own malloc; the release build runs this")
    step, failed, codes = options().allocation_step, [], collections.Counter()
    for part in range(5):  # a few calls may happen to be mostly those of the libraries below
        more = Sweep("alloc", step, error=errno.ENOMEM, skipped=part * step // 5).go()
        check(more, "points of failure")
        failed += more
        codes.update(run.code for run in more)
        if codes[-signal.SIGSEGV] < len(failed) / 4:
            break
    print("# no memory, each %d call: %d points of failure; exit codes %r"
          % (step, len(failed), dict(codes)))
    # libconfig's scanner, out of memory, ends the process with 2 by itself; its parser and Paho's
    # MQTTProperties_copy(), MQTTProperties_add() and writeMQTTLenString() use the memory that they
    # did not get.
    check(set(codes) <= {0, 1, 2, 78, -signal.SIGSEGV}, "it ends or continues", codes)
    check(codes[-signal.SIGSEGV] < len(failed) / 4, "only the libraries crash", codes)


# Reads


class ReadRun(Run):
    """With a spool that is larger than what SQLite keeps of it in memory, left by a kill; the audit
    file lies in its folder, so that its reads count too."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.history.cuts, self.size = 5, 2500
        gateway = self.gateway
        gateway.audit = os.path.join(gateway.spool, "audit.jsonl")
        gateway.configure(audit={"file": gateway.audit})

    def fill(self, backlog=1000):
        """100 are delivered, then so many wait."""
        gateway = self.gateway.start()
        self.publish_all(100)
        gateway.wait_drained()
        gateway.kill()
        brokers = gateway.settings["uplink"]["brokers"]
        gateway.configure(uplink={"brokers": ["tcp://127.0.0.1:9"]})
        gateway.start()
        self.publish_all(backlog)
        gateway.kill()
        gateway.configure(uplink={"brokers": brokers})

    def publish_all(self, count):
        numbers = range(self.first, self.first + count, 50)
        self.first += count  # a message sent by a failed attempt is not sent again
        with mqtt.Client(self.gateway.socket, 5, client_id="load") as client:
            for first in numbers:
                self.publish(client, first, 50)

    def with_fault(self):
        self.fill()
        super().with_fault()
        self.log = self.gateway.log()

    def says(self, words):
        return words in self.log


def sweep_reads(times, codes):
    failed = Sweep("read", step=options().read_step, times=times, kind=ReadRun).go()
    check(len(failed) > 1000 / options().read_step, "points of failure", len(failed))
    files = collections.Counter(run.what.split()[-1] for run in failed)
    print("# EIO for %d reads in a row, from each %s on: %d points of failure %r; exit codes %r; "
          "%d acknowledged" % (times, options().read_step, len(failed), dict(files),
                            dict(collections.Counter(run.code for run in failed)),
                            sum(len(run.history.acked) for run in failed)))
    wrong = ["%s: exit code %d" % (run, run.code) for run in failed if run.code not in codes]
    wrong += ["%s: taken for damage" % run for run in failed if run.says("spool_damaged")]
    check(not wrong, "\n".join(wrong))
    return failed


@case(seconds=3600)
def a_read_that_fails_once_stops_nothing():
    failed = sweep_reads(1, {0})
    check(any(run.says("spool_reads_repeated failed=1 lost=no") for run in failed),
          "the log says that the disk begins to fail")


@case(seconds=3600)
def reads_that_fail_in_a_row_cost_a_restart_and_nothing_else():
    sweep_reads(3, {0, 1})


class BadPlace(ReadRun):
    """A bad sector in the file of a spool that was left by a kill."""

    def __init__(self, number, far, name, blocks=1):
        super().__init__(number, far, "", 0)
        self.name, self.blocks = name, blocks

    def __str__(self):
        return "%s, block %s" % (self.name, self.at)

    def spoil(self, block):
        self.at = block
        self.file = os.path.join(self.gateway.spool, self.name)
        self.seen = os.stat(self.file)
        self.faults.environment["FAULT_PLACE"] = "%d:%d:%d:0" % (
            self.seen.st_ino, block * 4096, self.blocks * 4096)

    def serve(self):
        """Until all is delivered; False: it ended with 1 before that."""
        self.gateway.start(env=self.faults.environment, ready=False)
        process = self.gateway.process
        try:
            self.gateway.wait_ready(30)
            self.publish_all(50)
        except (OSError, mqtt.Closed, AssertionError):
            if not self.ends(process, 20):
                raise
        wait_for(self.drained_or_gone, 60, "drained, or ended")
        if process.poll() is not None:
            equal(process.returncode, 1, "exit code")
        return process.poll() is None

    def tool(self, *arguments):
        """(exit code, output); it reads the bad sector too."""
        done = processes.run([processes.tool_path(), "-c", self.gateway.config, *arguments],
                             env=dict(os.environ, **self.faults.environment))
        return done.returncode, (done.stdout + done.stderr).decode()


def try_bad_place(sweep, name, draw):
    """The result: its outcome records name what was damaged, and the next start is an ordinary
    one."""
    run = BadPlace(len(sweep.runs), sweep.far, name)
    sweep.runs.append(run)
    try:
        run.fill()
        size = os.stat(os.path.join(run.gateway.spool, name)).st_size
        run.spoil(draw.randrange(size // 4096 + (size % 4096 > 0)))
        gateway = run.gateway
        run.restarts = 0
        while not run.serve():  # as systemd does it
            run.restarts += 1
            check(run.restarts <= 2, "it ends again and again")
        run.damaged = gateway.wait_drained(40)["damaged"]
        run.was_salvaged = "spool_salvaged" in gateway.log()
        gateway.stop()
        salvages = gateway.log().count("spool_salvaged")
        gateway.start(env=run.faults.environment)
        gateway.stop()
        equal(gateway.log().count("spool_salvaged"), salvages, "salvages after the next start")
        left = [os.path.join(gateway.spool, each) for each in os.listdir(gateway.spool)]
        check(run.seen.st_ino in [os.stat(each).st_ino for each in left], "the file is kept")
        aside = [each for each in left if ".jsonl.unread" in each]
        collect_daemon(run.history, aside + [gateway.audit], gateway.spool)
        gateway.discard()
    except Exception as error:
        sweep.errors.append("%s: %r\n%s" % (run, error, run.gateway.last_words()))
    return run


@case(seconds=1800)
def a_bad_sector_costs_what_lies_there_and_no_more():
    draw = random.Random(options().seed)
    sweep = Sweep("read")
    for name in ("spool.db", "spool.db-wal", "spool.mark"):
        runs = [try_bad_place(sweep, name, draw) for _ in range(options().bad_places)]
        check(not sweep.errors, "\n".join(sweep.errors))
        damaged = [run.damaged for run in runs]
        print("# a bad sector in %s: %d of %d spools salvaged, %d restarts, %d messages damaged, "
              "%d at a time at the most, %d acknowledged"
              % (name, sum(run.was_salvaged for run in runs), len(runs),
                 sum(run.restarts for run in runs), sum(damaged), max(damaged),
                 sum(len(run.history.acked) for run in runs)))
        # Mostly a message or two. The records of one page are more, if they ended in the last commit
        # before the kill, so that the audit file does not have them.
        check(max(damaged) <= PAGE_RECORDS, "damaged", damaged)
    sweep.judge()


@case
def a_bad_sector_at_the_end_of_the_audit_file_ends_in_a_new_file():
    sweep = Sweep("read")
    run = BadPlace(0, sweep.far, "audit.jsonl")
    sweep.runs.append(run)
    run.fill(backlog=100)
    run.spoil((os.stat(run.gateway.audit).st_size - 1) // 4096)
    gateway = run.gateway.start(env=run.faults.environment)
    gateway.wait_drained()
    wait_for(lambda: "audit_resumed" in gateway.log(), 40, "the audit file to be written again")
    gateway.stop()
    aside = gateway.audit + ".unread-1"
    equal(os.stat(aside).st_ino, run.seen.st_ino, "inode of the file that was given another name")
    collect_daemon(run.history, [aside, gateway.audit], gateway.spool)
    sweep.judge()


@case
def a_disk_that_is_gone_is_not_taken_for_a_damaged_spool():
    sweep = Sweep("read")
    run = BadPlace(0, sweep.far, "spool.db", blocks=1 << 20)
    sweep.runs.append(run)
    run.fill(backlog=100)
    run.spoil(0)
    gateway = run.gateway
    for _ in range(3):  # as systemd starts it again
        gateway.start(env=run.faults.environment, ready=False)
        check(run.ends(gateway.process, 20), "it ends")
        equal(gateway.process.returncode, 1, "exit code")
    check("spool_not_opened" in gateway.log() and "spool_damaged" not in gateway.log(),
          gateway.log())
    for verb, code in (("check", 2), ("status", 69), ("failures", 69)):
        seen, said = run.tool(verb)
        equal(seen, code, "exit code of %s: %s" % (verb, said))
    equal(os.stat(run.file).st_ino, run.seen.st_ino, "inode of the database")
    run.again()
    sweep.judge()


@case
def the_tools_name_the_places_that_do_not_read():
    sweep = Sweep("read")
    for name in ("spool.db", "spool.db-wal"):
        run = BadPlace(len(sweep.runs), sweep.far, name)
        sweep.runs.append(run)
        run.fill(backlog=100)
        run.spoil(0)
        words = r"1 of \d+ blocks of %s cannot be read" % re.escape(name)
        for verb, code in (("check", 1), ("status", 65), ("failures", 65)):
            seen, said = run.tool(verb)
            equal(seen, code, "exit code of %s: %s" % (verb, said))
            check(re.search(words, " ".join(said.split())), said)
        run.again()
    run = BadPlace(len(sweep.runs), sweep.far, "audit.jsonl")
    sweep.runs.append(run)
    run.fill(backlog=100)
    run.spoil(2)
    for verb, code in (("check", 1), ("audit", 65), ("status", 0), ("failures", 0)):
        seen, said = run.tool(verb)
        equal(seen, code, "exit code of %s: %s" % (verb, said))
        check(code == 0 or "the disk does not give this line" in " ".join(said.split()), said)
    run.again()
    sweep.judge()


def add_arguments(parser):
    parser.add_argument("--step", type=int, default=5,
                        help="each so-many-th call below the spool's folder fails; long form: 1")
    parser.add_argument("--allocation-step", type=int, default=331,
                        help="each so-many-th allocation fails; long form: 1")
    parser.add_argument("--read-step", type=int, default=499,
                        help="each so-many-th read fails; long form: 7")
    parser.add_argument("--bad-places", type=int, default=4,
                        help="bad sectors for each file of the spool; long form: 60")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the bad sectors")
    parser.add_argument("--first", type=int, default=1, help="the first call that fails")
    parser.add_argument("--last", type=int, default=1 << 30, help="and the last")
    parser.add_argument("--jobs", type=int, default=4, help="daemons at a time")


run_all(add_arguments)
