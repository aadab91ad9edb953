# SPDX-License-Identifier: MIT
"""A real power cut: a separate kernel dies with everything in its page cache.

Four producers publish in a machine of tests/support/uml.py, to a remote broker that refuses some
messages, with stamps and reports of failures. The machine dies at random instants and is
booted again on the same disks, --cuts times: under load, with and without the remote broker, and
sometimes while the daemon starts. Then all is drained, and the judge has the ledgers: see
tests/support/checker.py. The same with synchronous=NORMAL must be found losing.

In the same machine: a disk that answers EIO, a slow one, and a clock that begins in 1970.
"""

import os
import random
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import load  # noqa: E402
import power  # noqa: E402
import uml  # noqa: E402
from checker import History, collect_daemon, figures, hold, verdict  # noqa: E402
from tap import case, check, equal, run_all  # noqa: E402

WINDOW, LIMIT = 64, 200
SETTINGS = {"retention": {"max_messages": LIMIT},
            "rejected": {"max_messages": 1000000},
            "uplink": dict(load.KEEPING, window=WINDOW, backoff={"min": "10ms", "max": "50ms"})}
LOAD = {"count": 4, "producers": {"window": 16}, "settings": SETTINGS}
# A cut comes after this number of acknowledgements since the boot, so that a slow machine has load
# too
FEWEST, MOST = 2 * LIMIT, 2500
MOST_CONTROLS = 10
COMMIT_MS = 10
DELAY_MS, SLOW_SECONDS, WATCHDOG_SECONDS = 50, 10, 3
HOUR = 3600
SPOOL_FILES = {"lock", "spool.db", "spool.db-wal", "spool.db-shm", "spool.mark"}


def dice():
    return random.Random(run_all.options.seed)


def publish(machine, **job):
    return machine.boot("publish", prefix="b%dp" % len(machine.boots), **dict(LOAD, **job))


def cut_under_load(machine, instants):
    count = instants.randint(FEWEST, MOST)
    machine.wait_count("acked", count)
    time.sleep(instants.uniform(0, 0.05))
    machine.cut()


def cut_at_start(machine, instants):
    """While the daemon starts on what the last cut has left, or soon after."""
    machine.wait_told("replayed")
    time.sleep(instants.uniform(0, 0.8))
    machine.cut()


def cut_again_and_again(machine, instants, cuts):
    """Each second time with a disk so slow that many cuts come in the middle of a commit."""
    for number in range(cuts):
        slow = {"delay_ms": COMMIT_MS} if number % 2 == 0 else {}
        publish(machine, broker=number % 3 > 0, **slow)
        (cut_at_start if number % 5 == 2 else cut_under_load)(machine, instants)


def drained(machine, **job):
    """The last life: all is delivered, and the daemon's files are here. Returns the complete
    history."""
    machine.boot("drain", **dict({"broker": True, "settings": SETTINGS}, **job))
    machine.wait_end()
    return history_of(machine)


def history_of(machine):
    history = History()
    uml.collect(history, machine.boots)
    history.cuts, history.window, history.drained = len(machine.boots), WINDOW, True
    history.is_exact = True
    collect_daemon(history, [os.path.join(machine.out, "log", "audit.jsonl")],
                   os.path.join(machine.out, "spool"))
    return history


def check_each_life(machine):
    """Nothing was treated as damage at any start, and no error logged."""
    for boot in machine.boots:
        for verb, code, said in boot.all("tool"):
            equal(code, 0, "boot %d: mqtt-spool %s: %s" % (boot.number, verb, said))
        for log, in boot.all("log"):
            wrong = [line for line in log.splitlines() if line.split(" ")[1:2] == ["error"]]
            equal(wrong, [], "errors, boot %d" % boot.number)
    equal(sorted(set(os.listdir(os.path.join(machine.out, "spool"))) - SPOOL_FILES), [],
          "beside the spool")


def show(machine, history, what):
    replayed = sum(count for boot in machine.boots for count, in boot.all("replayed"))
    ready = sum(bool(boot.all("ready")) for boot in machine.boots)
    print("# %s, seed %d: %d boots, %d journals replayed, %d starts of the daemon: %s, %r"
          % (what, run_all.options.seed, len(machine.boots), replayed, ready, figures(history),
             history.ledger), flush=True)


@case(seconds=3600)
def cuts_of_the_power_lose_nothing_that_was_acknowledged():
    cuts, machine = run_all.options.cuts, uml.Machine()
    cut_again_and_again(machine, dice(), cuts)
    history = drained(machine)
    show(machine, history, "%d cuts" % cuts)
    for outcome in ("evicted", "rejected"):
        check(history.ledger[outcome] > 0, "nothing was " + outcome, history.ledger)
    check(history.stamps and history.reports, "no stamps, or no reports")
    hold(history)
    check_each_life(machine)


@case(seconds=1800)
def synchronous_normal_is_found_losing():
    instants = dice()
    environment = dict(power.preload("/var/lib/mqtt-spoold", "/run/power.log"),
                       SPOOLD_POWER_NORMAL="1")
    for cut in range(1, MOST_CONTROLS + 1):
        machine = uml.Machine()
        publish(machine, environment=environment)
        cut_under_load(machine, instants)
        history = drained(machine)
        found = verdict(history)
        print("# synchronous=NORMAL, cut %d: %s: %s"
              % (cut, figures(history), " | ".join(found) or "nothing found"), flush=True)
        if any(finding.startswith("LOST") for finding in found):
            return
    check(False, "the rig is blind")


@case(seconds=900)
def a_disk_that_fails_ends_the_daemon_and_loses_nothing():
    machine = uml.Machine()
    machine.boot("error", prefix="e", before=500, broker=True, **LOAD)
    code, seconds = machine.wait_told("ended")
    print("# EIO at each write: ended with %d after %.2f s" % (code, seconds), flush=True)
    machine.wait_told("waiting")
    equal(code, 1, "exit code")
    machine.cut()
    history = drained(machine)
    show(machine, history, "EIO")
    hold(history)
    check_each_life(machine)


@case(seconds=900)
def a_slow_disk_is_shared_by_many_messages_and_hangs_nothing():
    machine = uml.Machine()
    machine.boot("slow", prefix="s", delay_ms=DELAY_MS, seconds=SLOW_SECONDS, broker=True,
                 environment={"WATCHDOG_USEC": str(WATCHDOG_SECONDS * 1000000)}, **LOAD)
    machine.wait_end()
    seen, history = machine.now.last("slow")[0], history_of(machine)
    print("# %d ms a write: %d acknowledged in %.1f s, %d flushes of the disk, %.1f messages each; "
          "watchdog of %d s fed %d times, after %.2f s at the latest"
          % (DELAY_MS, seen["acked"], seen["seconds"], seen["flushes"],
             seen["acked"] / max(seen["flushes"], 1), WATCHDOG_SECONDS, seen["fed"],
             seen["longest"]), flush=True)
    show(machine, history, "slow disk")
    check(seen["acked"] > seen["flushes"] > 0, "a sync for each message", seen)
    check(seen["fed"] > 0 and seen["longest"] < WATCHDOG_SECONDS, "the watchdog is hit", seen)
    hold(history)
    check_each_life(machine)


@case(seconds=900)
def a_clock_that_begins_in_1970_and_is_set_right_ends_nothing_early():
    machine = uml.Machine()
    settings = dict(SETTINGS, retention={"max_age": "1h"})
    job = {"prefix": "c", "before": 300, "settings": settings, "count": 2, "clock": 10,
           "producers": {"window": 16, "expiry": HOUR}}
    for number in range(2):
        machine.boot("clock", **dict(job, prefix="c%dp" % number, right=time.time()))
        ledger, = machine.wait_told("ledger")
        equal((ledger["expired"], ledger["evicted"]), (0, 0), "ended early, boot %d" % number)
        check(ledger["spooled"] >= 600 * (number + 1), "too few", ledger)
        machine.cut()
    history = drained(machine, settings=settings, clock=10, right=time.time())
    show(machine, history, "clock")
    equal((history.ledger["expired"], history.ledger["evicted"]), (0, 0), "ended early")
    hold(history)
    check_each_life(machine)


def add_arguments(parser):
    parser.add_argument("--cuts", type=int, default=5, help="of the power, on one spool")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the instants")


run_all(add_arguments)
