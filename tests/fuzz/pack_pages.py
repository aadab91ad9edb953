#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes the corpus of fuzz_pages from small spools: pack_pages.py MAKE_SPOOL FOLDER

MAKE_SPOOL is the program of that name in the build's tests/. Each input is what
fuzz_pages.c describes: files of zeros, and the pieces that are not zero.
"""
import os
import sqlite3
import subprocess
import sys
import tempfile

USE_NONE, USE_SOUND, USE_ALL = 0, 1, 2
SUMS, SURVEY, NO_LOG = 4, 8, 16
GAP = 12  # so many zeros end a piece: its head is shorter


def read(folder, name):
    try:
        with open(os.path.join(folder, name), "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def pieces(content, number):
    """The parts of a file that are not zero."""
    at = 0
    while at < len(content):
        if content[at] == 0:
            at += 1
            continue
        end = content.find(bytes(GAP), at)
        end = min(len(content) if end < 0 else end, at + 0xFFFF)
        yield bytes([number]) + at.to_bytes(3, "big") + (end - at).to_bytes(2, "big")
        yield content[at:end]
        at = end


def pack(folder, mode, bad=(0, 0)):
    database, log = read(folder, "spool.db"), read(folder, "spool.db-wal")
    head = bytes([mode, bad[0], bad[1]])
    head += len(database).to_bytes(3, "big") + len(log).to_bytes(3, "big")
    return head + b"".join(pieces(database, 0)) + b"".join(pieces(log, 1))


def change(folder, sql):
    with sqlite3.connect(os.path.join(folder, "spool.db")) as db:
        db.executescript(sql)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


def make(make_spool, folder):
    """Yields the name and the content of each input."""
    audit = os.path.join(folder, "audit.jsonl")
    spool = os.path.join(folder, "spool")
    daemon = subprocess.Popen([make_spool, spool, audit, "3", "hold"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    daemon.stdout.readline()
    yield "log", pack(spool, USE_SOUND)
    yield "log_sums", pack(spool, USE_ALL | SUMS)
    yield "log_bad_block", pack(spool, USE_ALL | SURVEY, (0, 4))
    daemon.communicate()
    yield "database", pack(spool, USE_NONE | NO_LOG)
    yield "bad_block", pack(spool, USE_NONE | NO_LOG | SURVEY, (8, 0))
    row = ("INSERT INTO message (key, accepted, accepted_at, charge, uid, flags, client, topic,"
           " payload) SELECT key + %d, accepted, accepted_at, charge, uid, flags, client, topic,"
           " zeroblob(%d) FROM spooled WHERE key = (SELECT max(key) FROM spooled);")
    change(spool, row % (1, 9000))
    yield "chain", pack(spool, USE_NONE | NO_LOG)
    change(spool, "".join(row % (1, 2500) for _ in range(6)))
    yield "tree", pack(spool, USE_NONE | NO_LOG)
    change(spool, "DELETE FROM message")
    yield "free_pages", pack(spool, USE_NONE | NO_LOG)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in make(os.path.abspath(sys.argv[1]), folder):
            with open(os.path.join(sys.argv[2], name), "wb") as file:
                file.write(content)


main()
