# SPDX-License-Identifier: MIT
"""The programs that a cell starts, and the scope that ends them."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from measure import counters, programs
from measure.counters import wait_for

sys.path.insert(0, str(programs.SOURCE / "tests" / "support"))
from journald import Journald, make_folder  # noqa: E402
from processes import die_with_parent  # noqa: E402

SIZE = 128
ROOM = 50_000_000  # messages
ARRIVAL_SECONDS = 300


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Process:
    """A program that a cell has started and that its scope ends."""

    def __init__(self, arguments, **options):
        self.child = subprocess.Popen(arguments, preexec_fn=die_with_parent, **options)
        self.pid = self.child.pid

    def stop(self, number=signal.SIGTERM):
        if self.child.poll() is None:
            self.child.send_signal(number)
            try:
                self.child.wait(60)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()

    def memory_bytes(self):
        return counters.memory_bytes(self.pid)


class Load(Process):
    """A program of bench/ that prints a JSON object and ends."""

    def __init__(self, scope, name, *arguments, is_ready_first=False):
        self._command = scope.tool(name, *arguments)
        super().__init__(self._command, stdout=subprocess.PIPE, text=True)
        if is_ready_first:
            assert self.child.stdout.readline().strip() == "ready"

    def result(self):
        """What it printed, with "cpu_ns" of all its life; exits if it failed."""
        printed = self.child.stdout.read()
        _, status, usage = os.wait4(self.pid, 0)
        self.child.returncode = os.waitstatus_to_exitcode(status)
        if self.child.returncode != 0:
            raise SystemExit(f"bench: failed: {' '.join(self._command)}\n{printed}")
        result = json.loads(printed.splitlines()[-1])
        result["cpu_ns"] = (usage.ru_utime + usage.ru_stime) * 1e9
        return result


class Broker(Process):
    """A mosquitto: the remote broker; with @remote a tuned bridge to it, at a Unix socket too."""

    def __init__(self, scope, port=None, remote=None, tls=None):
        self.port = port or free_port()
        self._log = scope.folder / f"mosquitto-{self.port}.log"
        lines = ["allow_anonymous true", "persistence false", "max_inflight_messages 0",
                 "max_queued_messages 0", "set_tcp_nodelay true", f"log_dest file {self._log}",
                 "log_type notice", "log_type error", f"listener {self.port} 127.0.0.1"]
        if remote:
            self.socket = str(scope.folder / f"bridge-{self.port}")
            lines += [f"listener 0 {self.socket}", "connection far",
                      f"address {'localhost' if tls else '127.0.0.1'}:{remote}", "topic # out 1",
                      "try_private false", "notifications false", "restart_timeout 1"]
            lines += [f"bridge_cafile {tls.ca}"] if tls else []
        lines += ["user root"] if os.geteuid() == 0 else []
        path = scope.folder / f"mosquitto-{self.port}.conf"
        path.write_text("\n".join(lines) + "\n")
        super().__init__([programs.find_mosquitto(), "-c", str(path)], stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL)
        wait_for(lambda: listens(self.port), "mosquitto")

    def connected(self):
        """How many clients have connected."""
        return self._log.read_text().count("New client connected")


class RemoteBroker:
    """A mosquitto with a subscriber to everything."""

    def __init__(self, scope, count, port=None, seconds=ARRIVAL_SECONDS):
        self._broker = scope.start(Broker(scope, port))
        self.port = self._broker.port
        self._subscriber = scope.start(
            Load(scope, "mqtt_load", "subscribe", self.port, count, seconds,
                 is_ready_first=True))
        self._count = count
        self._connected = self._broker.connected()
        self.pids = {"far": self._broker.pid}

    def wait_client(self):
        wait_for(lambda: self._broker.connected() > self._connected, "the gateway's connection")

    def arrivals(self):
        """What the subscriber has counted, once all is there."""
        result = self._subscriber.result()
        result["cpu_subscriber"] = result["cpu_ns"] / 1e3 / self._count
        return result

    def final_arrivals(self):
        return {}


class Sink(Process):
    """The ideal broker."""

    def __init__(self, scope, count, port=None, tls=None, seconds=ARRIVAL_SECONDS):
        self.port, self._seconds = port or free_port(), seconds
        self._output = scope.folder / f"sink-{self.port}"
        arguments = [tls.server_cert, tls.server_key] if tls else []
        with open(self._output, "w") as output:
            super().__init__(scope.tool("sink", self.port, count, *arguments), stdout=output)
        wait_for(lambda: "ready" in self._output.read_text(), "the sink")
        self.pids = {"far": self.pid}

    def wait_client(self):
        wait_for(lambda: "connected" in self._output.read_text(), "the gateway's connection")

    def _objects(self):
        return [json.loads(line) for line in self._output.read_text().splitlines()
                if line.startswith("{") and line.endswith("}")]

    def arrivals(self):
        """What it has counted, once all is there."""
        return wait_for(self._objects, "the arrival of all messages",
                        self._seconds)[0]

    def final_arrivals(self):
        """The counts at its end, with what was repeated later."""
        self.stop()
        return self._objects()[-1]


class Daemon(Process):
    """Its configuration is the default, except for the folders, room for all messages, short
    pauses between attempts to connect and a status that is written often."""

    def __init__(self, scope, port, spool=None, environment=None, slow_sync_ms=0, **settings):
        self._scope, self._port, self._settings = scope, port, settings
        self.folder = scope.new_folder("daemon")
        self.spool = pathlib.Path(spool or self.folder)
        self.socket = str(self.folder / "publish.sock")
        self.configure()
        self._environment = dict(os.environ, **(environment or self._slow_sync(slow_sync_ms)))
        self.launch()

    def launch(self):
        """Returns how many seconds it takes until producers can connect."""
        (self.folder / "status.json").unlink(missing_ok=True)
        began = time.monotonic()
        with open(self.folder / "log", "ab") as log:
            super().__init__([str(self._scope.bench.build / "daemon" / "mqtt-spoold"), "-c",
                              str(self.folder / "conf")], stderr=log, env=self._environment)
        wait_for(self._is_listening, "the daemon", 120)
        took = time.monotonic() - began
        wait_for(self.status, "the daemon's status", 60)
        return took

    def _is_listening(self):
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(self.socket) == 0

    def _slow_sync(self, slow_sync_ms):
        """With a library of the tests that makes each sync slower."""
        if not slow_sync_ms:
            return {}
        return {"LD_PRELOAD": str(self._scope.bench.build / "tests" / "libfault_io.so"),
                "FAULT_UNDER": str(self.spool), "FAULT_CALLS": "sync", "FAULT_AT": "0",
                "FAULT_DELAY_MS": str(slow_sync_ms), "FAULT_REPORT": str(self.folder / "faults")}

    def configure(self, **settings):
        """The limit is that of all except the lane of live/, which has room."""
        values = {"max_messages": ROOM, "backoff": ("100ms", "500ms"), "tls": None,
                  "journal": None, "commit_interval": None, **self._settings, **settings}
        scheme, tls = "tcp://127.0.0.1", ""
        if values["tls"]:
            scheme, tls = "ssl://localhost", f' tls: {{ ca_file = "{values["tls"].ca}"; }};'
        interval = (f' commit_interval = "{values["commit_interval"]}";'
                    if values["commit_interval"] else "")
        journal = f' journal = "{values["journal"]}";' if values["journal"] else ""
        (self.folder / "conf").write_text(
            f'spool: {{ directory = "{self.spool}/spool";{interval} }};\n'
            f'listen: {{ socket = "{self.socket}"; }};\n'
            f'retention: {{ max_messages = {values["max_messages"]}; max_bytes = "60G"; }};\n'
            f'lanes: ( {{ name = "live"; topics = ( "live/#" ); max_messages = {ROOM}; }} );\n'
            f'uplink: {{ brokers = ( "{scheme}:{self._port}" );{tls}'
            ' backoff: { min = "%s"; max = "%s"; }; };\n' % values["backoff"] +
            f'audit: {{ file = "{self.spool}/audit.jsonl";{journal} }};\n'
            'status_interval = "200ms";\n')

    def status(self):
        try:
            return json.loads((self.folder / "status.json").read_text())
        except (OSError, ValueError):
            return None

    def wait_online(self):
        wait_for(lambda: self.status()["link"]["state"] == "online", "the link")

    def wait_spooled(self, count, seconds=60):
        wait_for(lambda: self.status()["spool"]["messages"] == count, "the spool to fill", seconds)

    def wait_idle(self, count, seconds=60):
        """Until @count messages have ended and their lines are in the audit file."""
        def is_idle():
            status = self.status()
            return (status["spool"]["messages"] == 0 and status["audit"]["waiting"] == 0
                    and status["ledger"]["accepted"] == count)
        wait_for(is_idle, f"the end of {count} messages", seconds)
        if not self.status()["ledger"]["balanced"]:
            raise SystemExit("bench: the ledger does not balance")


class Scope:
    """One run of a cell: its folder, and the processes and devices that end with it."""

    def __init__(self, bench):
        self.bench = bench
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=bench.folder))
        self._stack = contextlib.ExitStack()
        self._count = 0

    def __enter__(self):
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        return self

    def __exit__(self, *_):
        self._stack.close()

    def new_folder(self, prefix):
        self._count += 1
        folder = self.folder / f"{prefix}-{self._count}"
        folder.mkdir()
        return folder

    def start(self, process):
        self._stack.callback(process.stop)
        return process

    def device(self):
        self._count += 1
        device = counters.Device(self.folder, f"device-{self._count}")
        self._stack.callback(device.close)
        return device

    def tool(self, name, *arguments):
        return [str(self.bench.build / "bench" / name), *map(str, arguments)]

    def run(self, name, *arguments):
        return self.start(Load(self, name, *arguments)).result()

    def daemon(self, port=None, **options):
        """Without a port its broker cannot be reached."""
        return self.start(Daemon(self, port or free_port(), **options))


class Bench:
    """What all cells share."""

    def __init__(self, build, folder, is_quick=False):
        self.build, self.folder, self.is_quick = build, folder, is_quick
        self.no_journald = make_folder()  # this process has its own mounts from here on
        self.no_device = counters.why_no_device(folder)
        self.certificates = None
        self._journald = None
        self.start_journald()

    def sized(self, count):
        """A number of messages, or of seconds, that --quick makes smaller."""
        return max(count // 5, 1) if self.is_quick else count

    def tls(self):
        """Certificates for localhost; made once."""
        if not self.certificates:
            from broker import Certificates
            self.certificates = Certificates()
        return self.certificates

    def has_key(self, line):
        """Does the daemon accept this line of a configuration?"""
        path = self.folder / "key.conf"
        path.write_text(line + '\nuplink: { brokers = ( "tcp://127.0.0.1" ); };\n')
        done = subprocess.run([str(self.build / "daemon" / "mqtt-spoold"), "-c", str(path),
                               "--test-config"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True)
        return "unknown" not in done.stdout

    def start_journald(self, rate=None, is_paused=False):
        """Ends the previous one. It reads as fast as it can, or @rate entries a second."""
        if self.no_journald:
            return
        self.stop_journald()
        self._journald = Journald(rate).start()
        if is_paused:
            self._journald.pause()

    def stop_journald(self):
        if self._journald:
            self._journald.kill()
            self._journald = None
