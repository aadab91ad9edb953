#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Every kind of change of an audit file, at random places, is found and named by its seals.

The places are drawn from a seed that is printed, or given as SPOOLD_SEED.
"""

import functools
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

from processes import tool_path  # noqa: E402
from seals import audit, evicting, is_seal, publish, read, written  # noqa: E402
from tap import case, check, equal, run_all, wait_for  # noqa: E402

SEED = int(os.environ.get("SPOOLD_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 30)


@functools.lru_cache(maxsize=1)
def sealed_contents():
    """Two files, the second continuing the chain of the first, with seals every few lines."""
    gateway = evicting().start()
    for turn in range(14):
        publish(gateway, 5)
        written(gateway, 4)
        seals = len(gateway.audit_seals())
        if turn == 7:
            os.rename(gateway.audit, gateway.audit + ".1")
        gateway.hup()  # a seal comes before the file is closed
        wait_for(lambda: len(gateway.log_lines("reloaded")) > turn, 30, "the reload")
        check(turn == 7 or len(gateway.audit_seals()) > seals, "a seal", turn)
    gateway.stop()
    return read(gateway.audit + ".1"), read(gateway.audit)


def sealed_files(folder):
    files = [os.path.join(folder, "audit.jsonl.1"), os.path.join(folder, "audit.jsonl")]
    for path, content in zip(files, sealed_contents()):
        with open(path, "wb") as out:
            out.write(content)
    return files


def change_digit(line, dice):
    """Another value of a member that no other check looks at."""
    record = json.loads(line)
    for _ in range(9):
        name = dice.choice([name for name in ("uid", "bytes", "age_ms") if name in record])
        old = b'"%s":%d' % (name.encode(), record[name])
        new = b'"%s":%d' % (name.encode(), record[name] + 1)
        return line.replace(old, new)
    return line


def tamper(lines, at, kind, dice):
    """What @kind does to the line @at; returns the lines, and where they first differ."""
    if kind == "edit":
        return lines[:at] + [change_digit(lines[at], dice)] + lines[at + 1:]
    if kind == "remove":
        return lines[:at] + lines[at + 1:]
    if kind == "remove many":
        return lines[:at] + lines[at + 2:]
    if kind == "insert":
        admin = b'{"admin":"hold","time":"2026-11-01T12:34:58.120Z","uid":0}\n'
        return lines[:at] + [admin] + lines[at:]
    if kind == "repeat":
        return lines[:at + 1] + lines[at:]
    assert kind == "swap"
    return lines[:at] + [lines[at + 1], lines[at]] + lines[at + 2:]


def first_difference(before, after):
    return next((at for at, (one, other) in enumerate(zip(before, after)) if one != other),
                min(len(before), len(after)))


def sealing_words(found, path):
    """The lines that the seals accuse."""
    words = ("changed", "what was sealed", "removed", "added")
    return [problem for problem in found["problem_list"]
            if problem.get("file") == path and any(word in problem["text"] for word in words)
            and "seal" in problem["text"]]


@case
def every_change_is_found_and_named():
    dice = random.Random(SEED)
    print("# SPOOLD_SEED=%d" % SEED, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        files = sealed_files(folder)
        whole = [read(path) for path in files]
        code, found = audit(files)
        equal((code, found["problem_list"]), (0, []), "files that were not changed")
        for kind in ("edit", "remove", "remove many", "insert", "repeat", "swap"):
            for turn in range(6):
                which = turn % 2
                lines = whole[which].splitlines(keepends=True)
                # A record that has another one behind it and is before the last seal.
                places = [at for at in range(len(lines) - 6)
                          if not any(is_seal(line) for line in lines[at:at + 3])]
                at = dice.choice(places)
                changed = tamper(lines, at, kind, dice)
                first = first_difference(lines, changed)
                with open(files[which], "wb") as out:
                    out.write(b"".join(changed))
                code, found = audit(files)
                with open(files[which], "wb") as out:
                    out.write(whole[which])
                named = sealing_words(found, files[which])
                what = "%s at line %d of %s" % (kind, first + 1, os.path.basename(files[which]))
                equal(code, 65, "exit code, " + what)
                # By chance a mark is equal, once in 64: then the next line is named.
                check(named and first + 1 <= named[0]["line"] <= first + 5, what, named,
                      found["problem_list"])
        code, found = audit(files)
        equal((code, found["problem_list"]), (0, []), "files as they were")


@case
def a_seal_that_was_changed_or_removed_is_found():
    with tempfile.TemporaryDirectory() as folder:
        files = sealed_files(folder)
        whole = read(files[0])
        lines = whole.splitlines(keepends=True)
        places = [at for at, line in enumerate(lines) if is_seal(line)]
        for at in (places[0], places[2], places[-1]):
            digest = lines[at].index(b'"sha256":"') + 10
            other = b"0" if lines[at][digest:digest + 1] != b"0" else b"1"
            for changed in (lines[at][:digest] + other + lines[at][digest + 1:],
                            lines[at].replace(b'"time":"20', b'"time":"19'), b""):
                with open(files[0], "wb") as out:
                    out.write(b"".join(lines[:at] + [changed] + lines[at + 1:]))
                code, found = audit(files)
                if at == 0 and not changed:
                    continue  # then the chain is known from the second seal on
                equal(code, 65, "exit code: %r" % changed[:60])
                check("seal" in found["problem_list"][0]["text"], "it is named",
                      found["problem_list"])
        with open(files[0], "wb") as out:
            out.write(whole)


@case
def compressed_files_are_read_from_a_pipe():
    with tempfile.TemporaryDirectory() as folder:
        files = sealed_files(folder)
        packed = gzip.compress(read(files[0]))
        done = subprocess.run([tool_path(), "audit", "--json", "-", files[1]],
                              input=gzip.decompress(packed), capture_output=True, timeout=60)
        equal(done.returncode, 0, done.stdout)
        check(json.loads(done.stdout)["seals"]["count"] > 6, "seals", done.stdout)


if __name__ == "__main__":
    run_all()
