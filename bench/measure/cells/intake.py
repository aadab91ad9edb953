# SPDX-License-Identifier: MIT
"""What disturbs a producer: evictions, a slow journald, greedy producers."""

import signal
import sys

from measure.cells import Skipped, cell
from measure.counters import wait_for
from measure.processes import SIZE, Load

EVICTING, EVICTING_ROOM = 100_000, 1_000
WINDOW = 1_000
LOWERED_BACKLOG, LOWERED_ROOM = 50_000, 10
JOURNALD_RATE = 2_000
GREEDY = (1, 8, 40)
SLOW_MS = (0, 20)  # by how much a sync is slowed down


def run_evicting(scope, journal=None):
    """PUBACKs a second while each message evicts another."""
    daemon = scope.daemon(max_messages=EVICTING_ROOM, journal=journal)
    return {"rate": scope.run("mqtt_load", "publish", daemon.socket, scope.bench.sized(EVICTING),
                              SIZE, WINDOW)["rate"]}


@cell("evicting/none")
def evicting_without_journal(scope):
    return run_evicting(scope, "none")


@cell("evicting/fast")
def evicting(scope):
    return run_evicting(scope)


def run_evicting_beside(scope, **options):
    if scope.bench.no_journald:
        raise Skipped(scope.bench.no_journald)
    scope.bench.start_journald(**options)
    try:
        return run_evicting(scope)
    finally:
        scope.bench.start_journald()


@cell("evicting/slow")
def evicting_beside_a_slow_journald(scope):
    return run_evicting_beside(scope, rate=JOURNALD_RATE)


@cell("evicting/stopped")
def evicting_beside_a_stopped_journald(scope):
    return run_evicting_beside(scope, is_paused=True)


def run_lowered(scope, window, count):
    """PUBACK of a producer beside a backlog; the same while a new limit ends it."""
    daemon = scope.daemon()
    live = ("mqtt_load", "publish", daemon.socket, count, SIZE, window, "live/t")
    scope.run("mqtt_load", "publish", daemon.socket, LOWERED_BACKLOG, SIZE, WINDOW)
    before = scope.run(*live)["p99_us"]
    daemon.configure(max_messages=LOWERED_ROOM)
    daemon.child.send_signal(signal.SIGHUP)
    wait_for(lambda: daemon.status()["ledger"]["evicted"] > 0, "an eviction")
    during = scope.run(*live)["p99_us"]
    if daemon.status()["lanes"][0]["messages"] <= LOWERED_ROOM:
        print("  note: the evictions ended before the producer did", file=sys.stderr)
    return {"before": before, "during": during}


@cell("lowered/1")
def lowered_limit_beside_a_lone_producer(scope):
    return run_lowered(scope, 1, 8_000)


@cell("lowered/100")
def lowered_limit_beside_a_busy_producer(scope):
    return run_lowered(scope, 100, 40_000)


def run_fairness(scope, greedy_count, slow_sync_ms):
    """PUBACK p50 of an honest producer, window 1, alone; and beside greedy ones of QoS 0."""
    daemon = scope.daemon(slow_sync_ms=slow_sync_ms)
    honest = ("mqtt_load", "publish", daemon.socket, 100 if slow_sync_ms else 1_000, SIZE, 1)
    alone = scope.run(*honest)["p50_us"]
    greedy = scope.start(Load(scope, "mqtt_load", "greedy", daemon.socket, greedy_count, 5,
                              is_ready_first=True))
    beside = scope.run(*honest)["p50_us"]
    greedy.stop(signal.SIGKILL)
    return {"alone": alone, "beside": beside}


def add_fairness(count, slow_ms):
    cell(f"fairness/{count}, {slow_ms} ms")(lambda scope: run_fairness(scope, count, slow_ms))


for _slow_ms in SLOW_MS:
    for _count in GREEDY:
        add_fairness(_count, _slow_ms)
