# SPDX-License-Identifier: MIT
"""Bytes written to flash: on the device with the journal of its file system, or, where no file
system can be mounted, what the daemon writes to its files."""

import signal

from measure.cells import Skipped, cell
from measure.counters import FileCounts, wait_for
from measure.flow import PRODUCER_WINDOW, Flow, check_arrivals
from measure.processes import Load

SIZE = 256
BULK = 100_000
FIRST = 60_000  # so many before the measurement: log and database have their size then
SECONDS = 30
PACES = (1, 10, 100, 1000)  # messages a second
NEW_PACE = 10
INTERVAL = "1s"


class Wear:
    """What one daemon writes between begin() and end(): database, log and audit file, and the
    temporary files of SQLite, are on the device; the status file, which most systems have in
    memory, is not."""

    def __init__(self, scope, **settings):
        self._device = None if scope.bench.no_device else scope.device()
        folder = self._device.path if self._device else scope.new_folder("spool")
        self._counts = FileCounts(scope.bench, scope.new_folder("counts"))
        environment = {**self._counts.environment, "SQLITE_TMPDIR": str(folder)}
        self.settings = {"spool": folder, "environment": environment, **settings}

    def begin(self):
        self._files = self._counts.read()
        self._bytes = self._device.written_bytes() if self._device else 0

    def end(self, count):
        """Bytes a message; "written" is the device's where there is one."""
        device = self._device.written_bytes() - self._bytes if self._device else None
        files = self._counts.since(self._files)
        del files["status"]
        values = {f"file/{kind}": counts[0] / count for kind, counts in files.items() if counts[0]}
        values["application"] = sum(values.values())
        values["written"] = values["application"] if device is None else device / count
        values["commits"] = files["log"][2]
        values["messages_per_sync"] = count / max(sum(counts[2] for counts in files.values()), 1)
        return values


@cell("wear/bulk")
def wear_under_load(scope):
    """One producer, 100 in flight, to the sink, which keeps up."""
    count = scope.bench.sized(BULK)
    wear = Wear(scope)
    flow = Flow(scope, "daemon", "sink", count, size=SIZE, **wear.settings)
    wear.begin()
    flow.run()
    values = wear.end(count)
    values["messages_per_commit"] = count / max(values["commits"], 1)
    return values


class Stream:
    """A paced producer, with a daemon, a sink and a device of its own."""

    def __init__(self, scope, pace, first=FIRST, interval=None):
        seconds = max(scope.bench.sized(SECONDS), 10)
        self._scope, self._pace, self._count, self._first = scope, pace, pace * seconds, first
        self._wear = Wear(scope)
        self._flow = Flow(scope, "daemon", "sink", first + self._count, size=SIZE,
                          **self._wear.settings)
        if first:
            scope.run("mqtt_load", "publish", self._flow.address, first, SIZE, PRODUCER_WINDOW)
            self._flow.gateway.wait_idle(first)
        if interval:  # after the first ones, which wait for a commit each time their window is full
            self._set_interval(self._flow.gateway, interval)

    @staticmethod
    def _set_interval(daemon, interval):
        daemon.configure(commit_interval=interval)
        daemon.child.send_signal(signal.SIGHUP)
        wait_for(lambda: "reloaded " in (daemon.folder / "log").read_text(), "the reload")

    def begin(self):
        self._wear.begin()
        self._load = self._scope.start(Load(self._scope, "mqtt_load", "pace", self._flow.address,
                                            self._count, SIZE, self._pace, self._first))

    def end(self):
        load = self._load.result()
        check_arrivals(self._flow.far.arrivals(), self._flow.count)
        self._flow.gateway.wait_idle(self._flow.count)
        values = self._wear.end(self._count)
        return {**values, "puback_p50_us": load["p50_us"],
                "repeated": self._flow.far.final_arrivals()["repeated"]}


def run_streams(streams):
    for stream in streams.values():
        stream.begin()
    return {f"{name}/{key}": value for name, stream in streams.items()
            for key, value in stream.end().items()}


@cell("wear/paced")
def wear_of_small_streams(scope):
    """Delivered at once; all at the same time, because devices count apart. One begins with a new
    spool, whose log still grows: each sync then writes the new size of the file to the journal of
    the file system."""
    streams = {str(pace): Stream(scope, pace) for pace in PACES}
    return run_streams({**streams, "new": Stream(scope, NEW_PACE, first=0)})


@cell("wear/interval")
def wear_with_commit_interval(scope):
    if not scope.bench.has_key(f'spool: {{ commit_interval = "{INTERVAL}"; }};'):
        raise Skipped("this daemon has no key spool.commit_interval")
    return run_streams({str(pace): Stream(scope, pace, interval=INTERVAL)
                        for pace in PACES[:3]})
