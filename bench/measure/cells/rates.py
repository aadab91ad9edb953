# SPDX-License-Identifier: MIT
"""Rates and CPU time from end to end: daemon, bridge and bare Paho, to the sink and to mosquitto.

The daemon runs with the defaults; bare Paho has the daemon's window.
"""

from measure import counters, programs
from measure.cells import Skipped, cell
from measure.flow import Flow

MESSAGES = 150_000


def run(scope, gateway, far, **options):
    return Flow(scope, gateway, far, scope.bench.sized(MESSAGES), **options).run()


def run_bridge_at_unix_socket(scope, far):
    """The bench's producers reach the daemon in that way; a bridge mostly listens at a TCP port."""
    return run(scope, "bridge", far, is_unix=True)


@cell("sink/daemon")
def daemon_to_sink(scope):
    return run(scope, "daemon", "sink")


@cell("sink/bridge")
def bridge_to_sink(scope):
    return run(scope, "bridge", "sink")


@cell("sink/bridge, unix")
def unix_bridge_to_sink(scope):
    return run_bridge_at_unix_socket(scope, "sink")


@cell("sink/paho")
def paho_to_sink(scope):
    return run(scope, "paho", "sink", paho_window=programs.default_window())


@cell("tls/daemon")
def daemon_to_sink_by_tls(scope):
    return run(scope, "daemon", "sink", tls=scope.bench.tls())


@cell("tls/bridge")
def bridge_to_sink_by_tls(scope):
    return run(scope, "bridge", "sink", tls=scope.bench.tls())


@cell("mosquitto/daemon")
def daemon_to_mosquitto(scope):
    return run(scope, "daemon", "mosquitto")


@cell("mosquitto/bridge")
def bridge_to_mosquitto(scope):
    return run(scope, "bridge", "mosquitto")


@cell("mosquitto/bridge, unix")
def unix_bridge_to_mosquitto(scope):
    return run_bridge_at_unix_socket(scope, "mosquitto")


@cell("mosquitto/paho")
def paho_to_mosquitto(scope):
    return run(scope, "paho", "mosquitto", paho_window=programs.default_window())


@cell("calls")
def system_calls(scope):
    """Messages of 256 B to the sink. strace makes all slower, so batches are fuller."""
    if not programs.find("strace"):
        raise Skipped("strace is not installed")
    flow = Flow(scope, "daemon", "sink", scope.bench.sized(40_000), size=256)
    counter = counters.SystemCalls(flow.gateway.pid, scope.folder)
    flow.run()
    calls = counter.stop()
    return {"all": sum(calls.values()) / flow.count,
            **{f"call/{name}": number / flow.count for name, number in calls.items()}}
