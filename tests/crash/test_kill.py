"""SIGKILL under load: no acknowledged message is lost, each id has one outcome, seq has no gap.

Four producers publish all the time; the daemon is killed at a random instant and started again,
--rounds times. At the end three ledgers are compared: see tests/support/checker.py.
"""

import os
import random
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

from broker import Link, Mosquitto  # noqa: E402
from checker import History, collect_daemon, measured_repeats, verdict  # noqa: E402
from gateway import Gateway  # noqa: E402
from load import collect, collect_remote, start_producers, wait_quiet  # noqa: E402
from mqtt import Subscriber  # noqa: E402
from tap import case, check, cleanup, equal, run_all, wait_for  # noqa: E402

WINDOW = 128


def options():
    return run_all.options


def kill_and_restart(gateway, rounds, dice):
    for _ in range(rounds):
        time.sleep(dice.uniform(0, 0.3))
        gateway.kill()
        gateway.start()


def judge(history, rounds):
    print("# %d rounds, seed %d: %d sent, %d acknowledged, %d unknown, %d at the broker, "
          "%d repeats, %d records, %d spooled"
          % (rounds, options().seed, len(history.sent), len(history.acked),
             len(history.unknown), len(history.remote), measured_repeats(history),
             len(history.outcomes), len(history.spooled)))
    check(len(history.acked) > 50 * rounds, "too little load to prove anything",
          len(history.acked))
    equal(verdict(history), [], "findings of the checker")


@case(seconds=600)
def kills_under_load_lose_nothing_that_was_acknowledged():
    rounds = options().rounds
    broker = Mosquitto().start()
    far = Subscriber(broker.address).start()
    cleanup(far.stop)
    gateway = Gateway(broker.url, uplink={"window": WINDOW, "backoff": {"min": "10ms"}}).start()
    producers = start_producers(gateway.socket)
    kill_and_restart(gateway, rounds, random.Random(options().seed))
    time.sleep(0.3)
    for producer in producers:
        producer.finish()
    ledger = gateway.wait_drained(120)
    wait_for(lambda: gateway.status().get("tokens", {}).get("in_flight") == 0, 10, "no token open")
    wait_quiet(far.messages)
    gateway.stop()

    history = History()
    history.cuts, history.window = rounds, WINDOW
    collect(history, producers)
    collect_remote(history, far.messages)
    collect_daemon(history, [gateway.audit], gateway.spool)
    history.ledger = gateway.ledger()
    equal(history.ledger, ledger, "ledger after the stop")
    judge(history, rounds)


@case(seconds=300)
def kills_while_evicting_leave_a_record_of_each_message_that_went():
    rounds = max(3, options().rounds // 4)
    broker = Mosquitto().start()
    far = Subscriber(broker.address).start()
    cleanup(far.stop)
    link = Link(broker.port)
    gateway = Gateway(link.url, retention={"max_messages": 500},
                      uplink={"window": WINDOW}).start()
    producers = start_producers(gateway.socket)
    kill_and_restart(gateway, rounds, random.Random(options().seed))
    link.mend()
    kill_and_restart(gateway, rounds, random.Random(options().seed))
    for producer in producers:
        producer.finish()
    link.cut()
    gateway.kill()  # what is read now is what the last crash left, in the middle of things
    wait_quiet(far.messages)

    history = History()
    history.cuts, history.window = rounds + 2, WINDOW
    collect(history, producers)
    collect_remote(history, far.messages)
    collect_daemon(history, [gateway.audit], gateway.spool)
    history.ledger = gateway.ledger()
    judge(history, rounds)
    check(history.ledger["evicted"] > 0, "nothing was evicted", history.ledger)


def add_arguments(parser):
    parser.add_argument("--rounds", type=int, default=40, help="kills in the long case")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the instants")


run_all(add_arguments)
