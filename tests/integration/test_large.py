# SPDX-License-Identifier: MIT
"""Files over 2 GiB, which a signed offset of 32 bits cannot address.

Database and audit file are made that large without being written: what is between is a hole. With
SPOOLD_LONG=1 a database is also filled with messages.
"""

import contextlib
import itertools
import json
import os
import sqlite3
import struct
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import processes  # noqa: E402
from broker import Mosquitto  # noqa: E402
from gateway import Gateway, check_audit  # noqa: E402
from mqtt import spool_id  # noqa: E402
from tap import case, check, equal, run_all, skip  # noqa: E402

PAGE = 4096
GIB = 1 << 30
LIMIT = 2 * GIB
LOCK_PAGE = GIB // PAGE + 1  # SQLite never uses it
LEAVES = PAGE // 4 - 2 - 6  # free pages that one page of the list names; SQLite leaves six empty
PAYLOAD = 1000000


def need_room(size):
    disk = os.statvfs(processes.folder())
    if disk.f_bavail * disk.f_frsize < size:
        skip("less than %d GiB of disk are free" % (size / GIB))


def free_pages(first, count):
    """The pages of @count lists: each with its own page, and with those that it names."""
    numbers = (page for page in itertools.count(first) if page != LOCK_PAGE)
    return [list(itertools.islice(numbers, LEAVES + 1)) for _ in range(count)]


def enlarge(path, more):
    """At least @more bytes of free pages at the end of a database. Those that are used next, which
    the first page of the list names, are the last ones. What they hold counts for nothing."""
    with contextlib.closing(sqlite3.connect(path)) as database:  # page 1 is not in the log
        equal(database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0], 0, "checkpoint")
    lists = free_pages(os.path.getsize(path) // PAGE + 1, more // PAGE // (LEAVES + 1) + 1)
    last = lists[-1][-1]
    with open(path, "r+b") as database:
        head = bytearray(database.read(100))
        before, old_free = struct.unpack_from(">II", head, 32)
        for pages in lists:
            database.seek((pages[0] - 1) * PAGE)
            database.write(struct.pack(">II%dI" % LEAVES, before, LEAVES, *pages[1:]))
            before = pages[0]
        changes = struct.unpack_from(">I", head, 24)[0] + 1
        struct.pack_into(">IIII", head, 24, changes, last, before,
                         old_free + len(lists) * (LEAVES + 1))
        struct.pack_into(">I", head, 92, changes)
        database.seek(0)
        database.write(head)
        database.truncate(last * PAGE)


def database_of(gateway):
    return os.path.join(gateway.spool, "spool.db")


def is_used_beyond(gateway):
    """Has the database data beyond 2 GiB that are no list of free pages?"""
    with open(database_of(gateway), "rb") as database:
        size = os.fstat(database.fileno()).st_size
        last = max(LIMIT, size - (LEAVES + 1) * PAGE + PAGE)
        database.seek(last)
        return size > LIMIT and database.read(size - last).strip(b"\0") != b""


def well(gateway):
    done = gateway.tool("check", timeout=300)
    equal(done.returncode, 0, "mqtt-spool check: %r %r" % (done.stdout, done.stderr))


def publish(gateway, count, size=PAYLOAD):
    with gateway.client(5) as client:
        return [spool_id(client.publish_wait("plant/t", b"%07d" % number + b"." * (size - 7)))
                for number in range(count)]


def delivers(gateway, count):
    """A broker comes; all that is spooled is delivered."""
    broker = Mosquitto().start()
    gateway.configure(uplink={"brokers": [broker.url]})
    gateway.start(seconds=60)
    ledger = gateway.wait_drained(600)
    equal((ledger["accepted"], ledger["delivered"]), (count, count), "accepted and delivered")
    gateway.stop(30)


def large_gateway(**settings):
    return Gateway(retention={"max_bytes": "6G"}, listen={"max_packet": "2M"},
                   uplink={"window_bytes": "8M"}, **settings)


@case(seconds=300)
def a_database_over_2_gib_is_written_opened_checked_and_drained():
    need_room(4 * GIB)
    gateway = large_gateway().start()
    publish(gateway, 1)
    gateway.stop()
    enlarge(database_of(gateway), LIMIT)
    gateway.start()
    publish(gateway, 8)
    gateway.stop(30)
    check(is_used_beyond(gateway), "messages beyond 2 GiB")
    well(gateway)
    gateway.start()
    publish(gateway, 1)
    gateway.stop(30)
    delivers(gateway, 10)


@case(seconds=1800)
def a_database_filled_beyond_2_gib_loses_nothing():
    if not os.environ.get("SPOOLD_LONG"):
        skip("2 GiB of messages are written: only with SPOOLD_LONG=1")
    need_room(8 * GIB)
    gateway = large_gateway().start()
    count = LIMIT // PAYLOAD + 50
    publish(gateway, count)
    check(os.path.getsize(database_of(gateway)) > LIMIT, "a database over 2 GiB")
    gateway.kill()
    gateway.start(seconds=120)
    publish(gateway, 1)
    gateway.stop(60)
    well(gateway)
    delivers(gateway, count + 1)


def text_beyond(path):
    with open(path, "rb") as seen:
        seen.seek(LIMIT + 1)
        return seen.read()


@case
def an_audit_file_over_2_gib_gets_each_line():
    gateway = Gateway(retention={"max_messages": 1}).start()
    publish(gateway, 4, 100)
    gateway.wait_audit(3)
    gateway.stop()
    with open(gateway.audit, "rb") as seen:
        text = seen.read()
    with open(gateway.audit, "wb") as out:
        out.seek(LIMIT)
        out.write(b"\n" + text)
    gateway.start()
    publish(gateway, 3, 100)
    equal(gateway.ledger()["evicted"], 6, "evicted")
    gateway.stop()
    check(text_beyond(gateway.audit).startswith(text), "what was there stays")
    lines = [json.loads(line) for line in text_beyond(gateway.audit).splitlines()]
    records = [line for line in lines if "seal" not in line]
    equal(len(records), 6, "records")
    check_audit(records)
    seals = [line["seal"] for line in lines if "seal" in line]
    equal(seals, list(range(1, len(seals) + 1)), "one chain of seals")


if __name__ == "__main__":
    run_all()
