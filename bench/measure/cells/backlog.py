# SPDX-License-Identifier: MIT
"""What depends on the backlog, or should not: drain, start, memory."""

from measure.cells import cell
from measure.counters import wait_for
from measure.flow import check_arrivals
from measure.processes import SIZE, Sink, free_port

SMALL, MILLION, MOST = 10_000, 1_000_000, 10_000_000
FILL_WINDOW = 1_000
EVICTION_ROOM = 10_000
SECONDS = 1_800  # a drain may take


def fill(scope, count):
    """A daemon whose broker is away, with @count messages; and the broker's port."""
    port = free_port()
    daemon = scope.daemon(port)
    scope.run("mqtt_load", "publish", daemon.socket, count, SIZE, FILL_WINDOW)
    daemon.wait_spooled(count, SECONDS)
    return daemon, port


def drain(daemon, far, count):
    """The daemon connects within 500 ms; the rate is counted from the first arrival on."""
    arrivals = far.arrivals()
    check_arrivals(arrivals, count)
    drained = daemon.memory_bytes()
    daemon.wait_idle(count, SECONDS)
    rate = count * 1e9 / (arrivals["last_ns"] - arrivals["first_ns"])
    return {"rate": rate, "memory_drained": drained,
            "repeated": {**arrivals, **far.final_arrivals()}["repeated"]}


def run_backlog(scope, count):
    """Memory while the link is down, start, and drain."""
    daemon, port = fill(scope, count)
    values = {"memory": daemon.memory_bytes()}
    daemon.stop()
    values["start_ms"] = daemon.launch() * 1e3
    sink = scope.start(Sink(scope, count, port, seconds=SECONDS))
    return {**values, **drain(daemon, sink, count)}


@cell("backlog/small")
def small_backlog(scope):
    return run_backlog(scope, SMALL)


@cell("backlog/million", is_long=True)
def backlog_of_a_million(scope):
    return run_backlog(scope, MILLION)


@cell("backlog/most", is_long=True)
def backlog_of_ten_million(scope):
    return run_backlog(scope, MOST)


@cell("backlog/evictions", is_long=True)
def memory_over_a_million_evictions(scope):
    """With the link down, and room for few messages."""
    daemon = scope.daemon(max_messages=EVICTION_ROOM)
    publish = ("mqtt_load", "publish", daemon.socket)
    scope.run(*publish, 2 * EVICTION_ROOM, SIZE, FILL_WINDOW)
    before = daemon.memory_bytes()
    scope.run(*publish, MILLION, SIZE, FILL_WINDOW)
    wait_for(lambda: daemon.status()["ledger"]["evicted"] == MILLION + EVICTION_ROOM, "evictions")
    if not daemon.status()["ledger"]["balanced"]:
        raise SystemExit("bench: the ledger does not balance")
    return {"memory_before": before, "memory": daemon.memory_bytes()}
