# SPDX-License-Identifier: MIT
"""SIGKILL at random moments under load, with the link up, down and flapping.

Four producers publish all the time to a remote broker that refuses some messages, with stamps and
reports of failures; the daemon is killed at random instants and started again,
--rounds times in all cases together (50 in the suite, 500 in the long form). Then the ledgers are
judged: see tests/support/checker.py. One spool lives through SPOOL_ROUNDS kills at the most, then
the next one is created.
"""

import os
import random
import sys
import threading
import time

sys.dont_write_bytecode = True
os.environ.setdefault("SPOOLD_SEGMENT_ROWS", "50")  # so that many are filled and emptied
os.environ.setdefault("SPOOLD_SETTLE_MS", "2000")  # as in a release
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import processes  # noqa: E402
from broker import Link  # noqa: E402
from checker import History, collect_daemon, figures, hold, repeats_by_cut  # noqa: E402
from gateway import Gateway  # noqa: E402
from load import KEEPING, REFUSING, FarBroker, collect, start_producers  # noqa: E402
from tap import case, check, run_all, wait_for  # noqa: E402

WINDOW = 128
SPOOL_ROUNDS = 50
PAUSE = 0.001  # of each producer, if the spool must drain quickly at the end
QUICK = dict(KEEPING, window=WINDOW, backoff={"min": "10ms", "max": "50ms"})
KEEP = {"max_messages": 1000000, "max_bytes": "1G"}  # all that is rejected


def shares(share):
    """The kills of this case, by spools."""
    rounds = max(2, round(run_all.options.rounds * share))
    while rounds > 0:
        yield min(rounds, SPOOL_ROUNDS)
        rounds -= SPOOL_ROUNDS


def dice():
    return random.Random(run_all.options.seed)


def kill_and_restart(gateway, rounds, random_instants):
    for _ in range(rounds):
        time.sleep(random_instants.uniform(0, 0.3))
        gateway.kill()
        gateway.start()


class Flapping:
    """Cuts and restores a link at random instants until it is stopped; leaves it restored."""

    def __init__(self, link, random_instants):
        self.link, self.random_instants, self.cuts = link, random_instants, 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._ending.wait(self.random_instants.uniform(0.02, 0.3)):
            self.link.cut(reset=self.random_instants.random() < 0.5)
            self.cuts += 1
            self._ending.wait(self.random_instants.uniform(0, 0.15))
            self.link.restore()

    def stop(self):
        self._ending.set()
        self._thread.join(10)
        self.link.restore()


def finish(producers):
    for producer in producers:
        producer.finish()


def drain_and_stop(gateway):
    gateway.wait_drained(180)
    gateway.stop()


def judge(history, producers, gateway, rounds):
    collect(history, producers)
    collect_daemon(history, [gateway.audit], gateway.spool)
    history.window, history.is_exact = WINDOW, True
    print("# seed %d, %d kills: %s" % (run_all.options.seed, rounds, figures(history)))
    cuts = repeats_by_cut(history)
    if cuts:
        print("# repeats after each cut: %s" % " ".join(map(str, cuts)))
    check(len(history.acked) > 20 * rounds, "too little load to prove anything",
          len(history.acked))
    check(history.stamps and history.ledger["rejected"] > 0, "nothing was rejected", history.ledger)
    check(history.reports or history.tables["reports"], "nothing was reported")
    hold(history)


@case(seconds=1800)
def kills_with_the_link_up_lose_nothing_that_was_acknowledged():
    random_instants = dice()
    for rounds in shares(0.4):
        far, history = FarBroker(*REFUSING), History()
        gateway = Gateway(far.url, uplink=QUICK, rejected=KEEP).start()
        producers = start_producers(gateway.socket)  # more than the remote takes: a full window
        kill_and_restart(gateway, rounds, random_instants)
        time.sleep(0.3)
        finish(producers)
        drain_and_stop(gateway)
        far.collect(history)
        history.cuts, history.drained = rounds, True
        judge(history, producers, gateway, rounds)


@case(seconds=1800)
def kills_with_the_link_down_leave_a_record_of_each_message_that_was_evicted():
    random_instants = dice()
    for rounds in shares(0.2):
        far, history = FarBroker(*REFUSING), History()
        link = Link(far.port)
        gateway = Gateway(link.url, retention={"max_messages": 500}, uplink=QUICK,
                          rejected=KEEP).start()
        producers = start_producers(gateway.socket, pause=PAUSE)
        kill_and_restart(gateway, rounds // 2, random_instants)
        wait_for(lambda: gateway.ledger()["evicted"] > 0, 60, "an eviction before the link is up")
        check(not far.has_messages(), "the link was not down")
        link.restore()
        kill_and_restart(gateway, rounds - rounds // 2, random_instants)
        wait_for(far.has_messages, 20, "something forwarded")
        finish(producers)
        link.cut()
        gateway.kill()  # what is read now is what the last crash left
        far.collect(history)
        history.cuts = rounds + 2
        judge(history, producers, gateway, rounds + 1)
        check(history.ledger["evicted"] > 0, "nothing was evicted", history.ledger)


def settle_down(gateway):
    """Everything delivered and no client connected: what the daemon holds now is its level."""
    gateway.wait_drained(180)
    wait_for(lambda: gateway.status()["tokens"]["in_flight"] == 0, 20, "no token open")
    samples = []
    for _ in range(20):  # a file that is open for a moment does not count
        samples.append(processes.levels(gateway.process))
        time.sleep(0.02)
    seen = {name: min(sample[name] for sample in samples) for name in samples[0]}
    if gateway.is_sanitized():
        del seen["memory_kb"]  # a sanitizer keeps what was freed
    return seen


@case(seconds=3600)
def kills_with_the_link_flapping_lose_nothing_and_nothing_is_held_afterwards():
    random_instants = dice()
    for rounds in shares(0.4):
        far, history = FarBroker(*REFUSING), History()
        link = Link(far.port).restore()
        gateway = Gateway(link.url, uplink=QUICK, rejected=KEEP).start()
        producers = start_producers(gateway.socket, pause=PAUSE)
        flapping = Flapping(link, random.Random(run_all.options.seed + 1))
        kill_and_restart(gateway, rounds, random_instants)
        time.sleep(1)  # the last process sees cuts, too, before its level is taken
        finish(producers)
        flapping.stop()
        history.levels.append(settle_down(gateway))

        more = start_producers(gateway.socket, prefix="q", pause=PAUSE)
        again = Flapping(link, random.Random(run_all.options.seed + 2))
        time.sleep(2)
        finish(more)
        again.stop()
        history.levels.append(settle_down(gateway))
        gateway.stop()
        link.stop()
        far.collect(history)
        history.cuts, history.drained = rounds + flapping.cuts + again.cuts, True
        print("# %d link cuts; before and after %d of them: %s"
              % (flapping.cuts + again.cuts, again.cuts, history.levels))
        judge(history, producers + more, gateway, rounds)


def add_arguments(parser):
    parser.add_argument("--rounds", type=int, default=50, help="kills in all cases together")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the instants")


run_all(add_arguments)
