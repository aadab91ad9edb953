# SPDX-License-Identifier: MIT
"""Seals of the audit file: a second opinion on them, and gateways that make some."""

import hashlib
import json
import subprocess

from gateway import Gateway
from processes import tool_path
from tap import check, equal, wait_for

MARKS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def is_seal(line):
    return line.startswith(b'{"seal":')


def digest_of(lines, head, before):
    return hashlib.sha256(b"".join(lines) + head + before).hexdigest()


def sealed_lines(data):
    """Verifies every seal; returns (seals, chains, lines after the last seal)."""
    before, since, seals, chains = None, [], 0, 0
    for line in data.splitlines(keepends=True):
        if not is_seal(line):
            since.append(line)
            continue
        seal, head = json.loads(line), line[:line.rindex(b'"sha256":"') + 10]
        if "starts" in seal:
            before, since = bytes(32), []
            chains += 1
        check(before is not None, "the chain has a start", line)
        equal(seal["lines"], len(since), "lines of the seal")
        equal(seal["sha256"], digest_of(since, head, before), "digest of %r" % seal)
        marks = "".join(chr(MARKS[hashlib.sha256(b"".join(since[:at + 1])).digest()[0] & 63])
                        for at in range(len(since)))
        equal(seal.get("marks", ""), marks, "marks")
        before, since, seals = bytes.fromhex(seal["sha256"]), [], seals + 1
    return seals, chains, since


def read(path):
    with open(path, "rb") as file:
        return file.read()


def publish(gateway, count, topic="plant/7/t"):
    with gateway.client(5, client_id="press") as client:
        for _ in range(count):
            equal(client.publish_wait(topic, b"x").reason, 0, "PUBACK")


def evicting(**settings):
    """A gateway without a broker, of which each message evicts the one before: a record each."""
    audit = dict({"seal": "1h"}, **settings.pop("audit", {}))
    return Gateway(retention={"max_messages": 1}, audit=audit, **settings)


def written(gateway, count):
    wait_for(lambda: len(gateway.audit_lines()) >= count, 30, "%d lines" % count)


def audit(files, *options):
    """Exit code, and the JSON, of the verification of files alone."""
    done = subprocess.run([tool_path(), "audit", "--json", *options, *files], stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=60)
    check(done.returncode in (0, 65), "exit code of audit", done.returncode, done.stderr)
    return done.returncode, json.loads(done.stdout)
