# SPDX-License-Identifier: MIT
"""How long a producer waits for its PUBACK, and a message until it is at the subscriber; and
ingress, which is the same with the link down."""

import shutil

from measure.cells import cell
from measure.counters import CpuMeter
from measure.flow import PRODUCER_WINDOW, Flow
from measure.processes import SIZE

LOAD_SIZE = 256
DOWN, UP = 300_000, 600_000
DOWN_SLOW, UP_SLOW = 50_000, 120_000
SLOW_MS = 5
LONE = 3_000
LONE_PACE, LONE_SECONDS = 100, 10
# While no broker answers, the library is restarted now and then; that is another figure.
NO_ATTEMPTS = ("60s", "60s")


def run_disk_load(scope, kind, count, *arguments):
    folder = scope.new_folder("disk")
    result = scope.run("disk_load", kind, folder, count, *arguments)
    shutil.rmtree(folder)
    result["cpu"] = result.pop("cpu_ns") / 1e3 / count
    return result


@cell("sqlite")
def plain_sqlite(scope):
    """Batches of as many messages as a producer has in flight."""
    return run_disk_load(scope, "insert", scope.bench.sized(DOWN), LOAD_SIZE, PRODUCER_WINDOW)


@cell("sync")
def one_sync(scope):
    return run_disk_load(scope, "sync", scope.bench.sized(2_000))


def publish_down(scope, count, size, window, slow_sync_ms=0):
    daemon = scope.daemon(backoff=NO_ATTEMPTS, slow_sync_ms=slow_sync_ms)
    meter = CpuMeter(gateway=daemon.pid)
    load = scope.run("mqtt_load", "publish", daemon.socket, count, size, window)
    daemon.wait_spooled(count)
    values = meter.per_message(count)
    values["rate"] = load["rate"]
    values.update({f"puback_{key}": value for key, value in load.items() if key.endswith("_us")})
    return values


@cell("puback/down")
def puback_with_the_link_down(scope):
    """Nothing but receive, commit, acknowledge."""
    return publish_down(scope, scope.bench.sized(DOWN), LOAD_SIZE, PRODUCER_WINDOW)


@cell("puback/down, slow")
def puback_with_the_link_down_and_a_slow_disk(scope):
    return publish_down(scope, scope.bench.sized(DOWN_SLOW), LOAD_SIZE, PRODUCER_WINDOW, SLOW_MS)


@cell("puback/up")
def puback_with_the_link_up(scope):
    return Flow(scope, "daemon", "sink", scope.bench.sized(UP), LOAD_SIZE).run()


@cell("puback/up, slow")
def puback_with_the_link_up_and_a_slow_disk(scope):
    return Flow(scope, "daemon", "sink", scope.bench.sized(UP_SLOW), LOAD_SIZE,
                slow_sync_ms=SLOW_MS).run()


@cell("lone/puback")
def puback_of_a_lone_message(scope):
    return publish_down(scope, scope.bench.sized(LONE), LOAD_SIZE, 1)


def run_lone(scope, gateway):
    count = LONE_PACE * scope.bench.sized(LONE_SECONDS)
    return Flow(scope, gateway, "mosquitto", count, SIZE).run("pace", LONE_PACE)


@cell("lone/daemon")
def lone_messages_through_the_daemon(scope):
    return run_lone(scope, "daemon")


@cell("lone/bridge")
def lone_messages_through_the_bridge(scope):
    return run_lone(scope, "bridge")
