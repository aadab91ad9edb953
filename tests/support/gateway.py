# SPDX-License-Identifier: MIT
"""One mqtt-spoold in a temporary folder, as systemd would run it: readiness by NOTIFY_SOCKET."""

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import threading

import mqtt
import processes
import tap

# Short times, so that a test waits for conditions and not for backoff.
_QUICK = {
    "retention": {},
    "uplink": {"client_id": "gw-test", "keepalive": "5s", "connect_timeout": "2s",
               "backoff": {"min": "100ms", "max": "300ms"}},
    "audit": {"journal": "none"},
    "status_interval": "200ms",
    "log_level": "info",
}
_SANITIZER_SIGNS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error:",
                    "WARNING: ThreadSanitizer")


def merge(base, more):
    merged = dict(base)
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            value = merge(merged[key], value)
        merged[key] = value
    return merged


def libconfig(value, indent=0):
    """Python values as libconfig writes them."""
    pad = " " * indent
    if isinstance(value, dict):
        rows = ["%s%s = %s;" % (pad + "    ", key, libconfig(entry, indent + 4))
                for key, entry in value.items()]
        return "{\n" + "\n".join(rows) + "\n" + pad + "}"
    if isinstance(value, (list, tuple)):
        return "( " + ", ".join(libconfig(entry, indent) for entry in value) + " )"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return "%d%s" % (value, "L" if abs(value) > 0x7FFFFFFF else "")
    return json.dumps(value)


class Gateway:
    """start(), stop(), kill(), hup() may follow each other; the spool stays until the case ends."""

    def __init__(self, broker="tcp://127.0.0.1:9", **settings):
        self.folder = processes.folder()
        self.spool = os.path.join(self.folder, "spool")
        self.run_folder = os.path.join(self.folder, "run")
        os.mkdir(self.run_folder)
        self.socket = os.path.join(self.run_folder, "publish.sock")
        self.audit = os.path.join(self.folder, "audit.jsonl")
        self.config = os.path.join(self.folder, "mqtt-spoold.conf")
        self.stderr = os.path.join(self.folder, "stderr")
        self.process = None
        self.notifications = []
        self._notify = self._reader = None
        self._notify_lock, self._reader_ends = threading.Lock(), threading.Event()
        brokers = [broker] if isinstance(broker, str) else list(broker)
        fixed = {"spool": {"directory": self.spool}, "listen": {"socket": self.socket},
                 "uplink": {"brokers": brokers}, "audit": {"file": self.audit}}
        self.settings = merge(merge(_QUICK, fixed), settings)
        self.configure()
        tap.cleanup(self._clean)
        tap.on_failure(self.last_words)

    def configure(self, **settings):
        """Changes settings in the file; a running daemon sees them after hup()."""
        self.settings = merge(self.settings, settings)
        with open(self.config + ".new", "w") as out:
            for key, value in self.settings.items():
                out.write("%s = %s;\n" % (key, libconfig(value)))
        os.rename(self.config + ".new", self.config)  # it may be read just now

    # Life

    def start(self, seconds=20, wrap=(), env=None, pass_fds=(), ready=True, **options):
        """@options go to Popen; with a stderr of its own the log is the caller's."""
        self._open_notify()
        environment = {key: value for key, value in os.environ.items()
                       if not key.startswith(("LISTEN_", "NOTIFY_", "WATCHDOG_"))}
        environment["NOTIFY_SOCKET"] = self._notify.getsockname()
        environment.setdefault("SPOOLD_SETTLE_MS", "250")  # most cases wait for a delivery
        environment.update(env or {})
        command = list(wrap) + [processes.daemon_path(), "-c", self.config]
        with open(self.stderr, "ab") as stderr:
            options = dict({"stdout": stderr, "stderr": stderr}, **options)
            self.process = processes.start(command, env=environment, pass_fds=pass_fds,
                                           **options)
        if ready:
            self.wait_ready(seconds)
        return self

    def start_with_sockets(self, sockets, ready=True):
        """As systemd does: descriptors from 3 on, LISTEN_FDS and LISTEN_PID.

        The shell that sets LISTEN_PID becomes the daemon, so the number is right. Descriptors are
        moved down from numbers that cannot collide.
        """
        high = [os.dup2(sock.fileno(), 200 + index, True) for index, sock in enumerate(sockets)]
        moves = " ".join("%d<&%d %d<&-" % (3 + index, fd, fd) for index, fd in enumerate(high))
        script = "LISTEN_PID=$$; export LISTEN_PID; exec \"$@\" " + moves
        shell = processes.need("bash")
        self.start(wrap=[shell, "-c", script, "sh"], pass_fds=high, ready=ready,
                   env={"LISTEN_FDS": str(len(sockets))})
        for fd in high:
            os.close(fd)

    def wait_ready(self, seconds=20):
        """It serves, and there is a status of its own."""
        tap.wait_for(self._is_ready, seconds, "the daemon ready (READY=1 and its socket open)")
        tap.wait_for(self._has_status, seconds, "the first status file")

    def _check_alive(self):
        if self.process.poll() is not None:
            raise AssertionError("the daemon ended with %d before it was ready:\n%s"
                                 % (self.process.returncode, self.log()))

    def _has_status(self):
        self._check_alive()
        return self.status()

    def _is_ready(self):
        self._check_alive()
        if not any("READY=1" in text.split("\n") for text in self.read_notifications()):
            return False
        # No trial connection: it would take a client's place for a moment.
        return os.path.exists(self.socket)

    # Read all the time, as systemd does: of a full socket's messages only the newest state would
    # come later.

    def _open_notify(self):
        self._close_notify()
        self.notifications = []
        path = os.path.join(self.folder, "notify")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(path)
        self._notify.setblocking(False)
        self._reader = threading.Thread(target=self._read_until_closed, daemon=True)
        self._reader.start()

    def _close_notify(self):
        if self._notify:
            self._reader_ends.set()
            self._reader.join(5)
            self._notify.close()
            self._notify = None
            self._reader_ends.clear()

    def _read_until_closed(self):
        while not self._reader_ends.is_set():
            if select.select([self._notify], [], [], 0.1)[0]:
                self.read_notifications()

    def read_notifications(self):
        with self._notify_lock, contextlib.suppress(BlockingIOError):
            while True:
                self.notifications.append(self._notify.recv(4096).decode())
        return self.notifications

    def stall_notifications(self):
        """They are not read from now on, and the socket is full."""
        self._reader_ends.set()
        self._reader.join(5)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    filler.sendto(b"X=1", self._notify.getsockname())

    def resume_notifications(self):
        self._reader_ends.clear()
        self._reader = threading.Thread(target=self._read_until_closed, daemon=True)
        self._reader.start()

    def stop(self, seconds=10, code=0):
        """TERM; the exit code and the time are part of the promise."""
        self.process.send_signal(signal.SIGTERM)
        try:
            seen = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError("still running %g s after TERM" % seconds) from None
        self.read_notifications()
        self.check_log()
        tap.equal(seen, code, "exit code after TERM")

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.check_log()

    def hup(self):
        self.process.send_signal(signal.SIGHUP)

    @staticmethod
    def is_sanitized():
        with open(processes.daemon_path(), "rb") as seen:
            program = seen.read()
        return b"__asan_init" in program or b"__tsan_init" in program

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def _clean(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._close_notify()

    def discard(self):
        """Before the case ends: for a case with thousands, each with its descriptors and its
        folder."""
        self._clean()
        shutil.rmtree(self.folder)

    # What it reports

    def log(self):
        with contextlib.suppress(FileNotFoundError), open(self.stderr, errors="replace") as seen:
            return seen.read()
        return ""

    def log_lines(self, event):
        return [line for line in self.log().splitlines() if event in line]

    def last_words(self):
        return "daemon's log:\n" + self.log()[-4000:]

    def check_log(self):
        seen = self.log()
        for sign in _SANITIZER_SIGNS:
            if sign in seen:
                raise AssertionError("the sanitizer found something:\n"
                                     + seen[seen.index(sign):][:6000])

    def status(self):
        """The newest status file; {} before the first. The status of a killed daemon does not count
        for the next one."""
        with contextlib.suppress(FileNotFoundError):
            with open(os.path.join(self.run_folder, "status.json")) as seen:
                found = json.load(seen)
            if not self.is_running() or found["pid"] == self.process.pid:
                return found
        return {}

    def fresh_status(self):
        """One that was written after this call began: all that the daemon has answered is in it."""
        before = self._status_written()
        tap.wait_for(lambda: self._status_written() != before, 10, "a new status file")
        return self.status()

    def tool(self, *arguments, stdin=None, timeout=60):
        return processes.run([processes.tool_path(), "-c", self.config] + list(arguments),
                             timeout, stdin)

    def tool_status(self):
        done = self.tool("status", "--json")
        if done.returncode:
            raise AssertionError("mqtt-spool status exits %d: %s"
                                 % (done.returncode, done.stderr.decode(errors="replace")))
        return json.loads(done.stdout)

    def ledger(self):
        """By the tool; of a running daemon one that was written after this call began."""
        if self.is_running():
            self.fresh_status()
        return self.tool_status()["ledger"]

    def _status_written(self):
        with contextlib.suppress(FileNotFoundError):
            seen = os.stat(os.path.join(self.run_folder, "status.json"))
            return (seen.st_ino, seen.st_mtime_ns)
        return None

    def audit_lines(self, path=None):
        """The records of the audit file; an incomplete last line, while it is written, is
        omitted, and so are seals."""
        return [line for line in self._audit_objects(path) if "seal" not in line]

    def audit_seals(self, path=None):
        return [line for line in self._audit_objects(path) if "seal" in line]

    def _audit_objects(self, path):
        with contextlib.suppress(FileNotFoundError):
            with open(path or self.audit, "rb") as seen:
                return [json.loads(line) for line in seen.read().split(b"\n")[:-1]]
        return []

    def query(self, statement):
        """The rows of the database, which is only read."""
        path = "file:%s?mode=ro" % os.path.join(self.spool, "spool.db")
        with contextlib.closing(sqlite3.connect(path, uri=True)) as database:
            return database.execute(statement).fetchall()

    def outcomes(self, name):
        return [line for line in self.audit_lines() if line["outcome"] == name]

    # Conditions to wait for

    def wait_link(self, state="online", seconds=20):
        def reached():
            return self.status().get("link", {}).get("state") == state
        tap.wait_for(reached, seconds, lambda: "link %s, it is %r" % (state, self.status()))

    def wait_drained(self, seconds=30):
        """Nothing spooled; returns the ledger, which balances."""
        def drained():
            ledger = self.ledger()
            return ledger if ledger["spooled"] == 0 else None
        ledger = tap.wait_for(drained, seconds, lambda: "drained, it is %r" % self.ledger(), 0.1)
        check_balance(ledger)
        return ledger

    def wait_audit(self, count, seconds=15):
        """At least @count records in the audit file; returns them all."""
        def there():
            lines = self.audit_lines()
            return lines if len(lines) >= count else None
        return tap.wait_for(there, seconds,
                            lambda: "%d audit lines, there are %d" % (count,
                                                                      len(self.audit_lines())))

    def client(self, version=5, **options):
        """A connected raw client that closes with the case."""
        made = mqtt.Client(self.socket, version, **options)
        tap.cleanup(made.close)
        made.connect()
        return made

    def raw(self, version=5, **options):
        """A client that has not sent its CONNECT yet."""
        made = mqtt.Client(self.socket, version, **options)
        tap.cleanup(made.close)
        return made


def all_of_the_disk():
    """A disk_reserve above what is free: the largest that there is."""
    disk = os.statvfs(tempfile.gettempdir())
    if disk.f_bavail * disk.f_frsize >= 1 << 40:
        tap.skip("more than 1 TiB is free: no disk_reserve makes this disk short")
    return "1024G"


def as_user(uid, act):
    """What @act connects belongs to @uid."""
    if os.geteuid() != 0:
        tap.skip("needs root, to be another user")
    os.seteuid(uid)
    try:
        return act()
    finally:
        os.seteuid(0)


def check_balance(ledger):
    ended = sum(ledger[name] for name in ("delivered", "evicted", "expired", "rejected",
                                          "dropped", "damaged"))
    if ledger["accepted"] != ended + ledger["spooled"]:
        raise AssertionError("the ledger does not balance: %r" % ledger)


def check_audit(lines):
    """seq contiguous from 1, one outcome per id."""
    tap.equal([line["seq"] for line in lines], list(range(1, len(lines) + 1)), "seq of the lines")
    seen = {}
    for line in lines:
        if line["id"] in seen:
            raise AssertionError("id %d has two outcomes: %r and %r"
                                 % (line["id"], seen[line["id"]], line))
        seen[line["id"]] = line

