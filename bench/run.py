#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures the daemon and what limits it, alternating in one run, and prints ratios.

    bench/run.py [--build DIR] [--repeats N] [--messages N] [--million] [--folder DIR]

Machines are shared and noisy, so nothing here is compared with a figure of another day: every line
is the median of ratios of consecutive measurements. docs/performance.md explains the table.
Everything runs on loopback and in a temporary folder; servers are started and ended here. The
journal is on, as it is by default: as root beside a stand-in for journald that only the programs
started here see, which reads as fast as it can unless a line says otherwise. What is measured is
built first: the preset "release", or what --build names.
"""
import argparse
import json
import os
import pathlib
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

SOURCE = pathlib.Path(__file__).resolve().parent.parent
RELEASE = SOURCE / "build" / "release"
sys.path.insert(0, str(SOURCE / "tests" / "support"))

from journald import Journald, make_folder  # noqa: E402

PROGRAMS = ("mqtt-spoold", "mqtt_load", "paho_load", "disk_load", "fault_io")
SAID_LINES = 30
WINDOW = 128  # the default of uplink.window
GREEDY = (1, 8, 40)
SLOW_MS = (0, 20)  # by how much a sync is slowed down
FAIRNESS = [(count, slow_ms) for slow_ms in SLOW_MS for count in GREEDY]
WIDE = 200  # where the library alone is fastest
SIZE = 128


def run_cmake(*arguments):
    command = ["cmake", *map(str, arguments)]
    try:
        done = subprocess.run(command, cwd=SOURCE, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace")
    except FileNotFoundError:
        raise SystemExit("bench: cmake is not installed; scripts/quickstart installs what is needed")
    if done.returncode != 0:
        print(*done.stdout.splitlines()[-SAID_LINES:], sep="\n", file=sys.stderr)
        raise SystemExit(f"bench: nothing was measured, because this failed: {shlex.join(command)}")


def build(folder):
    """Builds the programs from the present source, so that no older ones are measured."""
    print("building ...", file=sys.stderr, flush=True)
    if folder == RELEASE:
        run_cmake("--preset", "release")
    elif not (folder / "CMakeCache.txt").exists():
        make = ("cmake", "-S", str(SOURCE), "-B", str(folder))
        raise SystemExit(f"bench: {folder} is no build folder; make it one: {shlex.join(make)}")
    run_cmake("--build", folder, "--target", *PROGRAMS)


def find_mosquitto():
    found = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if not found:
        raise SystemExit("bench: mosquitto is not installed; scripts/quickstart installs what is needed")
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, what, seconds=30.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        result = condition()
        if result:
            return result
        time.sleep(0.01)
    raise SystemExit(f"bench: waited {seconds:.0f} s for {what}")


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Process:
    """A program of ours that is ended, whatever happens."""

    def __init__(self, arguments, **options):
        self.child = subprocess.Popen(arguments, **options)

    def stop(self, number=signal.SIGTERM):
        if self.child.poll() is None:
            self.child.send_signal(number)
            try:
                self.child.wait(20)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()

    def memory_bytes(self):
        for line in open(f"/proc/{self.child.pid}/status"):
            if line.startswith("VmRSS"):
                return int(line.split()[1]) * 1024
        return 0

    def written_bytes(self):
        for line in open(f"/proc/{self.child.pid}/io"):
            if line.startswith("write_bytes"):
                return int(line.split()[1])
        return 0


class Broker(Process):
    """A mosquitto: the remote broker, or with `remote` a tuned bridge to it."""

    def __init__(self, folder, port, remote=None):
        lines = [f"listener {port} 127.0.0.1", "allow_anonymous true", "persistence false",
                 "max_inflight_messages 0", "max_queued_messages 0", "set_tcp_nodelay true",
                 "log_type error"]
        if remote:
            lines += ["connection far", f"address 127.0.0.1:{remote}", "topic # out 1",
                      "try_private false", "notifications false", "restart_timeout 1"]
        path = folder / f"mosquitto-{port}.conf"
        path.write_text("\n".join(lines) + "\n")
        super().__init__([find_mosquitto(), "-c", str(path)], stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL)
        wait_for(lambda: listens(port), "mosquitto")


class Daemon(Process):
    def __init__(self, bench, port, name, max_messages=5000000, window=WINDOW,
                 journal="failures", slow_sync_ms=0):
        self.folder = bench.folder / name
        self.folder.mkdir(exist_ok=True)
        self.socket = str(self.folder / "publish.sock")
        self.port, self.window, self.journal = port, window, journal
        self.configure(max_messages)
        self.log = open(self.folder / "log", "ab")
        super().__init__([str(bench.build / "daemon" / "mqtt-spoold"), "-c",
                          str(self.folder / "conf")], stderr=self.log,
                         env=self.environment(bench, slow_sync_ms))
        wait_for(lambda: self.status() is not None, "the daemon")

    def environment(self, bench, slow_sync_ms):
        """With a library of the tests that makes each sync of the spool slower."""
        if not slow_sync_ms:
            return None
        return dict(os.environ, LD_PRELOAD=str(bench.build / "tests" / "libfault_io.so"),
                    FAULT_UNDER=f"{self.folder}/spool", FAULT_CALLS="sync", FAULT_AT="0",
                    FAULT_DELAY_MS=str(slow_sync_ms), FAULT_REPORT=str(self.folder / "faults"))

    def configure(self, max_messages):
        """The limit is that of all but the lane of live/, which has room."""
        (self.folder / "conf").write_text(
            f'spool: {{ directory = "{self.folder}/spool"; }};\n'
            f'listen: {{ socket = "{self.socket}"; }};\n'
            f'retention: {{ max_messages = {max_messages}; max_bytes = "4G"; }};\n'
            'lanes: ( { name = "live"; topics = ( "live/#" ); max_messages = 5000000; } );\n'
            f'uplink: {{ brokers = ( "tcp://127.0.0.1:{self.port}" ); window = {self.window};'
            ' backoff: { min = "100ms"; max = "500ms"; }; };\n'
            f'audit: {{ file = "{self.folder}/audit.jsonl"; journal = "{self.journal}"; }};\n'
            'status_interval = "200ms";\n')

    def status(self):
        try:
            return json.loads((self.folder / "status.json").read_text())
        except (OSError, ValueError):
            return None

    def wait_online(self):
        wait_for(lambda: self.status()["link"]["state"] == "online", "the link")


class Bench:
    def __init__(self, arguments, folder):
        self.build = arguments.build
        self.folder = folder
        self.messages = arguments.messages
        self.count = 0
        self.no_journald = make_folder()
        self.journald = None
        self.start_journald()

    def start_journald(self, rate=None):
        """Ends the previous one; @rate in entries a second."""
        if self.no_journald:
            return
        self.stop_journald()
        self.journald = Journald(rate).start()

    def stop_journald(self):
        if self.journald:
            self.journald.kill()
            self.journald = None

    def tool(self, name, *arguments, **options):
        return [str(self.build / "bench" / name), *map(str, arguments)]

    def run(self, name, *arguments):
        done = subprocess.run(self.tool(name, *arguments), stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise SystemExit(f"bench: {name} {arguments} failed")
        return json.loads(done.stdout.splitlines()[-1])

    def new_name(self, prefix):
        self.count += 1
        return f"{prefix}-{self.count}"

    def subscriber(self, port, count, seconds=300):
        child = subprocess.Popen(self.tool("mqtt_load", "subscribe", port, count, seconds),
                                 stdout=subprocess.PIPE, text=True)
        assert child.stdout.readline().strip() == "ready"
        return child

    @staticmethod
    def end_to_end(start, subscriber, count):
        result = json.loads(subscriber.communicate()[0].splitlines()[-1])
        if result["distinct"] != count:
            print(f"  note: {count - result['distinct']} of {count} never arrived")
        return result["distinct"] * 1e9 / (result["last_ns"] - start)

    # --- the cells ---

    def cell_sqlite(self):
        return self.disk("insert", 200000, 256, 100)["rate"]

    def cell_sync(self):
        return self.disk("sync", 2000)["p50_us"]

    def disk(self, kind, *arguments):
        folder = self.folder / self.new_name("disk")
        folder.mkdir()
        result = self.run("disk_load", kind, folder, *arguments)
        shutil.rmtree(folder)
        return result

    def cell_ingress(self, count, size, window):
        """PUBACKs with the link down: nothing but receive, commit, acknowledge."""
        daemon = Daemon(self, free_port(), self.new_name("ingress"))
        try:
            return self.run("mqtt_load", "publish", daemon.socket, count, size, window)
        finally:
            daemon.stop()
            shutil.rmtree(daemon.folder)

    def cell_paho(self, window=WINDOW):
        port = free_port()
        broker = Broker(self.folder, port)
        try:
            subscriber = self.subscriber(port, self.messages)
            result = self.run("paho_load", port, self.messages, SIZE, window)
            return self.end_to_end(result["start_ns"], subscriber, self.messages)
        finally:
            broker.stop()

    def cell_bridge(self):
        port, local = free_port(), free_port()
        broker = Broker(self.folder, port)
        bridge = Broker(self.folder, local, remote=port)
        try:
            subscriber = self.subscriber(port, self.messages)
            time.sleep(1.5)  # the bridge does not report when it is connected
            result = self.run("mqtt_load", "publish", local, self.messages, SIZE, 100)
            return self.end_to_end(result["start_ns"], subscriber, self.messages)
        finally:
            bridge.stop()
            broker.stop()

    def cell_daemon(self, size=SIZE, window=WINDOW):
        """End to end through the daemon: rate, and bytes written for each byte of payload."""
        port = free_port()
        broker = Broker(self.folder, port)
        daemon = Daemon(self, port, self.new_name("daemon"), window=window)
        try:
            daemon.wait_online()
            subscriber = self.subscriber(port, self.messages)
            before = daemon.written_bytes()
            result = self.run("mqtt_load", "publish", daemon.socket, self.messages, size, 100)
            rate = self.end_to_end(result["start_ns"], subscriber, self.messages)
            wait_for(lambda: daemon.status()["spool"]["messages"] == 0, "the drain")
            return rate, (daemon.written_bytes() - before) / (self.messages * size)
        finally:
            daemon.stop()
            broker.stop()
            shutil.rmtree(daemon.folder)

    def cell_drain(self, count):
        """Spool `count` with the link down, then bring the broker up: drain rate and memory."""
        port = free_port()
        daemon = Daemon(self, port, self.new_name("drain"))
        broker = None
        try:
            self.run("mqtt_load", "publish", daemon.socket, count, SIZE, 1000)
            wait_for(lambda: daemon.status()["spool"]["messages"] == count, "the spool to fill")
            spooled = daemon.memory_bytes()
            # The daemon tries again within 500 ms; the rate is counted from the first arrival on.
            broker = Broker(self.folder, port)
            subscriber = self.subscriber(port, count)
            result = json.loads(subscriber.communicate()[0].splitlines()[-1])
            drained = daemon.memory_bytes()
            wait_for(lambda: daemon.status()["spool"]["messages"] == 0, "the drain")
            span = result["last_ns"] - result["first_ns"]
            missed = count - result["distinct"]
            return result["distinct"] * 1e9 / span, spooled, drained, missed
        finally:
            daemon.stop()
            if broker:
                broker.stop()
            shutil.rmtree(daemon.folder)

    def cell_evictions(self, count, kept):
        """`count` messages evicted with the link down: memory before and after, tokens open."""
        daemon = Daemon(self, free_port(), self.new_name("evict"), max_messages=kept)
        try:
            self.run("mqtt_load", "publish", daemon.socket, 2 * kept, SIZE, 1000)
            before = daemon.memory_bytes()
            self.run("mqtt_load", "publish", daemon.socket, count, SIZE, 1000)
            wait_for(lambda: daemon.status()["ledger"]["evicted"] == count + kept, "evictions")
            status = daemon.status()
            return before, daemon.memory_bytes(), status["tokens"]["in_flight"], status["ledger"]
        finally:
            daemon.stop()
            shutil.rmtree(daemon.folder)

    def cell_evicting(self, journal="failures"):
        """PUBACKs/s while each message evicts another."""
        daemon = Daemon(self, free_port(), self.new_name("evicting"), max_messages=1000,
                        journal=journal)
        try:
            return self.run("mqtt_load", "publish", daemon.socket, 100000, SIZE, 1000)["rate"]
        finally:
            daemon.stop()
            shutil.rmtree(daemon.folder)

    def cell_evicting_beside(self, rate, is_paused=False):
        """The same beside a journald that is slow, or does not read at all."""
        self.start_journald(rate)
        if is_paused:
            self.journald.pause()
        try:
            return self.cell_evicting()
        finally:
            self.start_journald()

    def cell_lowered(self, window, messages, kept=10):
        """PUBACK p99 of a producer beside 50,000 messages; the same while a new limit ends them."""
        daemon = Daemon(self, free_port(), self.new_name("lowered"))
        live = ("publish", daemon.socket, messages, SIZE, window, "live/t")
        try:
            self.run("mqtt_load", "publish", daemon.socket, 50000, SIZE, 1000)
            before = self.run("mqtt_load", *live)["p99_us"]
            daemon.configure(max_messages=kept)
            daemon.child.send_signal(signal.SIGHUP)
            wait_for(lambda: daemon.status()["ledger"]["evicted"] > 0, "an eviction")
            during = self.run("mqtt_load", *live)["p99_us"]
            if daemon.status()["lanes"][0]["messages"] <= kept:
                print("  note: the evictions ended before the producer did")
            return before, during
        finally:
            daemon.stop()
            shutil.rmtree(daemon.folder)


    def greedy(self, daemon, count):
        """Producers that send messages of QoS 0, of 5 bytes, as fast as they are taken."""
        child = Process(self.tool("mqtt_load", "greedy", daemon.socket, count, 5),
                        stdout=subprocess.PIPE, text=True)
        assert child.child.stdout.readline().strip() == "ready"
        return child

    def cell_fairness(self, greedy_count, slow_sync_ms):
        """PUBACK p50 of an honest producer, window 1, alone; and beside greedy ones."""
        daemon = Daemon(self, free_port(), self.new_name("fairness"), slow_sync_ms=slow_sync_ms)
        honest = ("publish", daemon.socket, 100 if slow_sync_ms else 1000, SIZE, 1)
        greedy = None
        try:
            alone = self.run("mqtt_load", *honest)["p50_us"]
            greedy = self.greedy(daemon, greedy_count)
            beside = self.run("mqtt_load", *honest)["p50_us"]
            return alone, beside
        finally:
            if greedy:
                greedy.stop(signal.SIGKILL)
            daemon.stop()
            shutil.rmtree(daemon.folder)


def spread(values, digits=2):
    middle = statistics.median(values)
    return f"{middle:,.{digits}f} [{min(values):,.{digits}f}..{max(values):,.{digits}f}]"


def line(figure, wanted, value, detail):
    print(f"| {figure} | {value} | {wanted} | {detail} |", flush=True)


def collect(bench, repeats):
    rows = []
    for repeat in range(repeats):
        print(f"round {repeat + 1} of {repeats} ...", file=sys.stderr, flush=True)
        row = {"sqlite": bench.cell_sqlite(), "ingress": bench.cell_ingress(200000, 256, 100)["rate"]}
        row["sync"] = bench.cell_sync()
        row["lone"] = bench.cell_ingress(3000, 256, 1)["p50_us"]
        row["paho"] = bench.cell_paho()
        row["daemon"], _ = bench.cell_daemon()
        row["paho, wide"] = bench.cell_paho(WIDE)
        row["daemon, wide"], _ = bench.cell_daemon(window=WIDE)
        row["bridge"] = bench.cell_bridge()
        _, row["written"] = bench.cell_daemon(256)
        row["drain"] = bench.cell_drain(10000)[0]
        row["calm"], row["lowered"] = bench.cell_lowered(1, 8000)
        row["calm, 100"], row["lowered, 100"] = bench.cell_lowered(100, 40000)
        row["evicting, none"] = bench.cell_evicting("none")
        row["evicting"] = bench.cell_evicting()
        for count, slow_ms in FAIRNESS:
            row[f"alone, {count}, {slow_ms}"], row[f"beside, {count}, {slow_ms}"] = (
                bench.cell_fairness(count, slow_ms))
        if not bench.no_journald:
            row["slow journald"] = bench.cell_evicting_beside(2000)
            row["stopped journald"] = bench.cell_evicting_beside(None, is_paused=True)
        rows.append(row)
    return rows


def ratios(rows, a, b):
    return [row[a] / row[b] for row in rows]


def absolute(rows, *names):
    return ", ".join(f"{name} {statistics.median([row[name] for row in rows]):,.0f}" for name in names)


def report(rows):
    print("| figure, as a ratio in one run | median [min..max] | wanted | medians |")
    print("|---|---|---|---|")
    line("PUBACKs/s, one producer, window 100, to plain SQLite batch inserts of 100", ">= 0.6",
         spread(ratios(rows, "ingress", "sqlite")), absolute(rows, "ingress", "sqlite"))
    line(f"end to end, QoS 1, 128 B, to bare Paho through the same link seam, window {WIDE}", ">= 0.9",
         spread(ratios(rows, "daemon, wide", "paho, wide")),
         absolute(rows, "daemon, wide", "paho, wide"))
    line(f"the same with the default window of {WINDOW}", "",
         spread(ratios(rows, "daemon", "paho")), absolute(rows, "daemon", "paho"))
    line("end to end, durable, to a tuned mosquitto bridge that is not", ">= 1.3",
         spread(ratios(rows, "daemon", "bridge")), absolute(rows, "daemon", "bridge"))
    line("bytes written to disk per payload byte, 256 B, delivered at once", "<= 5",
         spread([row["written"] for row in rows]), "")
    line("PUBACK p50 of a lone producer, window 1, to one fdatasync of 4 KiB", "<= 1.3",
         spread(ratios(rows, "lone", "sync")), absolute(rows, "lone", "sync") + " us")
    line("PUBACK p99 of a lone producer while a lowered limit evicts, to that before", "<= 2",
         spread(ratios(rows, "lowered", "calm")), absolute(rows, "lowered", "calm") + " us")
    line("the same with 100 in flight", "<= 2", spread(ratios(rows, "lowered, 100", "calm, 100")),
         absolute(rows, "lowered, 100", "calm, 100") + " us")
    line('PUBACKs/s while each message evicts another, to audit.journal = "none"', ">= 0.33",
         spread(ratios(rows, "evicting", "evicting, none")),
         absolute(rows, "evicting", "evicting, none"))
    for count, slow_ms in FAIRNESS:
        names = (f"beside, {count}, {slow_ms}", f"alone, {count}, {slow_ms}")
        line(f"PUBACK p50 of an honest producer beside {count} greedy ones of QoS 0, each sync "
             f"{slow_ms} ms slower, to that without them", "<= 5", spread(ratios(rows, *names)),
             absolute(rows, *names) + " us")
    if "slow journald" in rows[0]:
        line("the same beside a journald that reads 2,000 entries a second", ">= 0.33",
             spread(ratios(rows, "slow journald", "evicting, none")),
             absolute(rows, "slow journald"))
        line("the same beside a journald that is stopped", ">= 0.33",
             spread(ratios(rows, "stopped journald", "evicting, none")),
             absolute(rows, "stopped journald"))


def report_million(bench, rows):
    rate, spooled, drained, missed = bench.cell_drain(1000000)
    small = statistics.median([row["drain"] for row in rows])
    line("drain rate with 1,000,000 spooled to that with 10,000", ">= 0.9", f"{rate / small:.2f}",
         f"{rate:,.0f}, {small:,.0f}; not arrived at the subscriber: {missed}")
    line("resident memory with 1,000,000 spooled of 128 B", "<= 24 MB",
         f"{spooled / 1e6:.1f} MB", f"after the drain {drained / 1e6:.1f} MB")
    before, after, open_tokens, ledger = bench.cell_evictions(1000000, 10000)
    line("resident memory over 1,000,000 evictions", "flat",
         f"{before / 1e6:.1f} MB, then {after / 1e6:.1f} MB",
         f"evicted {ledger['evicted']:,}, tokens open {open_tokens}, balanced {ledger['balanced']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--build", type=lambda name: pathlib.Path(name).resolve(), default=RELEASE)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--messages", type=int, default=200000)
    parser.add_argument("--million", action="store_true", help="also spool and drain 1,000,000")
    parser.add_argument("--folder", help="where to write: the disk that is measured")
    arguments = parser.parse_args()
    if arguments.folder and not os.path.isdir(arguments.folder):
        parser.error(f"--folder: {arguments.folder} is no folder")
    if arguments.repeats < 1 or arguments.messages < 1:
        parser.error("--repeats and --messages are at least 1")
    find_mosquitto()
    build(arguments.build)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="spoold-bench-", dir=arguments.folder))
    try:
        bench = Bench(arguments, folder)
        rows = collect(bench, arguments.repeats)
        report(rows)
        if arguments.million:
            report_million(bench, rows)
        bench.stop_journald()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
