#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Seals of the audit file with a real daemon: rotations, kills, HUP, and the broker's side."""

import contextlib
import json
import os
import signal
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

from broker import Mosquitto  # noqa: E402
from gateway import Gateway  # noqa: E402
from mqtt import Closed, Subscriber  # noqa: E402
from processes import need_failpoint  # noqa: E402
from seals import audit, evicting, publish, read, sealed_lines, written  # noqa: E402
from tap import case, check, cleanup, equal, run_all, wait_for  # noqa: E402


def publish_some(gateway):
    """False: the daemon is not there, or dies meanwhile."""
    with contextlib.suppress(OSError, AssertionError, Closed):
        publish(gateway, 2)
    return False


@case
def each_interval_with_lines_has_a_seal():
    gateway = evicting(audit={"seal": "1s"}).start()
    publish(gateway, 3)
    wait_for(lambda: len(gateway.audit_seals()) == 2, 30, "the seal of the first lines")
    publish(gateway, 3)
    wait_for(lambda: len(gateway.audit_seals()) == 3, 30, "the next one")
    gateway.stop()
    seals, chains, rest = sealed_lines(read(gateway.audit))
    equal((seals, chains, rest), (3, 1, []), "seals, chains, lines after the last")
    code, found = audit([gateway.audit])
    equal((code, found["seals"]["hold"]), (0, 3), "the tool")
    gateway.check_log()


@case
def seals_can_be_switched_off_and_on_by_a_signal():
    gateway = evicting(audit={"seal": "0"}).start()
    publish(gateway, 3)
    written(gateway, 2)
    equal(gateway.audit_seals(), [])
    gateway.configure(audit={"seal": "1s"})
    gateway.hup()
    wait_for(lambda: gateway.log_lines("reloaded"), 30, "the reload")
    publish(gateway, 2)
    wait_for(lambda: len(gateway.audit_seals()) == 2, 30, "a chain in a file without seals")
    equal(gateway.audit_seals()[0]["starts"], "no_seal", "why")
    gateway.stop()
    code, found = audit([gateway.audit])
    equal((code, found["seals"]["lines_unsealed"]), (0, 2), "lines before the chain")


@case
def rotations_and_kills_carry_the_chain_over():
    gateway = evicting().start()
    whole = b""
    for turn in range(4):
        publish(gateway, 4)
        written(gateway, 3)
        if turn == 1:
            gateway.kill()
            gateway.start()
        elif turn == 2:
            gateway.stop()
            gateway.start()
        os.rename(gateway.audit, gateway.audit + ".1")
        gateway.hup()
        wait_for(lambda: os.path.exists(gateway.audit), 30, "the new file")
        whole += read(gateway.audit + ".1")
    publish(gateway, 2)
    gateway.stop()
    whole += read(gateway.audit)
    seals, chains, rest = sealed_lines(whole)
    equal((chains, rest), (1, []), "chains, lines without a seal")
    check(seals >= 6, "seals", seals)
    # The last file alone is verified from its first line on, by the digest that it repeats.
    code, found = audit([gateway.audit])
    equal((code, found["seals"]["lines_unsealed"], found["seals"]["runs"][0]["lines"]),
          (0, 0, len(gateway.audit_lines())), "the newest file alone")


# Passage 1 is the seal with which the chain starts.
FAILPOINTS = (("seal.before_write", 2), ("seal.torn_write", 1), ("seal.torn_write", 2),
              ("seal.after_write", 1), ("seal.after_write", 2), ("export.torn_write", 1),
              ("export.before_sync", 1), ("seal_topic.before_append", 1))


@case
def a_kill_around_a_seal_breaks_no_chain():
    need_failpoint("seal.before_write")
    for name, passage in FAILPOINTS:
        what = "%s:%d" % (name, passage)
        gateway = evicting(audit={"seal": "100ms", "seal_topic": "gw/seals"})
        gateway.start(env={"SPOOLD_FAILPOINT": what}, ready=False)
        wait_for(lambda: publish_some(gateway) or not gateway.is_running(), 60, what)
        equal(gateway.process.wait(), -signal.SIGKILL, "the end at " + what)
        gateway.start()
        publish(gateway, 3)
        gateway.stop()
        seals, chains, rest = sealed_lines(read(gateway.audit))
        equal((chains, rest), (1, []), "%s: chains, rest" % what)
        code, found = audit([gateway.audit])
        equal((code, found["seals"]["hold"]), (0, seals), "%s: the tool" % what)
        gateway.discard()


# Seals at the broker


@case
def seals_are_published_and_end_by_themselves():
    broker = Mosquitto().start()
    far = Subscriber(broker.address, "gw/seals").start()
    cleanup(far.stop)
    gateway = Gateway(broker.url, audit={"seal": "1s", "seal_topic": "gw/seals"}).start()
    gateway.wait_link()
    publish(gateway, 3)
    wait_for(far.payloads, 60, "the first seal")
    publish(gateway, 3)
    wait_for(lambda: json.loads(far.payloads()[-1])["seal"] >= 3, 60, "a later seal")
    gateway.wait_drained()
    # Deliveries of seals are lines without a seal: none comes because of them.
    count = len(gateway.audit_seals())
    end_ms = gateway.status()["uptime_ms"] + 3000
    wait_for(lambda: gateway.status()["uptime_ms"] > end_ms, 60, "some intervals")
    check(len(gateway.audit_seals()) <= count + 1, "no seal because of a seal",
          gateway.audit_seals())
    kept = far.payloads()
    gateway.stop()
    lines = read(gateway.audit).splitlines()
    check(all(line in lines for line in kept), "each is in the file as it was published", kept)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "seals.jsonl")
        with open(path, "wb") as out:
            out.write(b"\n".join(kept) + b"\n")
        code, found = audit([gateway.audit], "--seals", path)
        equal((code, found["seals"]["kept_elsewhere"]["missing"]), (0, 0), "the far side's seals")
        # A file that was cut, with a chain of its own that holds.
        cut = os.path.join(folder, "cut.jsonl")
        end = max(at for at, line in enumerate(lines) if line == kept[-1])
        with open(cut, "wb") as out:
            out.write(b"".join(line + b"\n" for line in lines[:end]))
        code, found = audit([cut])
        equal(code, 0, "what the file alone says")
        code, found = audit([cut], "--seals", path)
        equal((code, found["seals"]["kept_elsewhere"]["missing"]), (65, 1), "against the seals")
        check("published" in found["problem_list"][0]["text"], "why", found["problem_list"])
    broker.stop()


if __name__ == "__main__":
    run_all()
