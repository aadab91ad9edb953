# SPDX-License-Identifier: MIT
"""mqtt-spool status --watch on a pseudo-terminal: what it shows, how it fits, how it ends."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

from broker import Mosquitto  # noqa: E402
from gateway import Gateway  # noqa: E402
import processes  # noqa: E402
from tap import case, check, cleanup, equal, run_all  # noqa: E402

SECONDS = 40  # for a condition
OK, USAGE = 0, 64
SEQUENCE = re.compile(rb"\x1b\[(\??)([0-9;]*)([A-Za-z])")


class Screen:
    """As much of a terminal as the watch uses; anything else is an error."""

    def __init__(self, columns, rows):
        self.columns, self.rows = columns, rows
        self.lines = [""] * rows
        self.row = self.column = 0
        self.modes = {}
        self.colours = set()
        self.frames = 0
        self.rest = b""

    def feed(self, data):
        data = self.rest + data
        self.rest = b""
        while data:
            if data[0] == 0x1b:
                found = SEQUENCE.match(data)
                if not found:
                    check(len(data) < 12, "a sequence", data[:20])
                    self.rest = data
                    return
                self.control(*found.groups())
                data = data[found.end():]
                continue
            size = 1 if data[0] < 0xc0 else 2 if data[0] < 0xe0 else 3 if data[0] < 0xf0 else 4
            if len(data) < size:
                self.rest = data
                return
            self.put(data[:size].decode())
            data = data[size:]

    def control(self, private, numbers, letter):
        if private:
            self.modes[int(numbers)] = letter == b"h"
        elif letter == b"H":
            self.row = self.column = 0
        elif letter == b"K":
            self.lines[self.row] = self.lines[self.row][:self.column]
        elif letter == b"J":
            if numbers == b"2":
                self.lines = [""] * self.rows
                return
            self.lines[self.row] = self.lines[self.row][:self.column]
            for row in range(self.row + 1, self.rows):
                self.lines[row] = ""
            self.frames += 1
        else:
            equal(letter, b"m", "a known sequence")
            self.colours.add(int(numbers))

    def put(self, character):
        if character == "\r":
            self.column = 0
        elif character == "\n":
            self.row += 1
            check(self.row < self.rows, "within the rows", self.lines)
        else:
            check(character.isprintable(), "visible", character)
            check(self.column < self.columns, "within the columns", self.lines[self.row])
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[:self.column] + character + line[self.column + 1:]
            self.column += 1

    def text(self):
        return "\n".join(self.lines)


class Watch:
    """The tool on a terminal of its own."""

    def __init__(self, gateway, columns=80, rows=24, env=None):
        self.screen = Screen(columns, rows)
        self.main, self.terminal = pty.openpty()
        self.resize(columns, rows)
        self.before = termios.tcgetattr(self.terminal)
        environment = dict(os.environ, TERM="xterm", LANG="C.UTF-8", LC_ALL="")
        environment.pop("NO_COLOR", None)
        environment.update(env or {})
        self.process = subprocess.Popen(
            [processes.tool_path(), "-c", gateway.config, "status", "--watch"],
            stdin=self.terminal, stdout=self.terminal, stderr=self.terminal, env=environment,
            start_new_session=True, preexec_fn=self.take_terminal)
        cleanup(self.close)
        self.raw = b""

    @staticmethod
    def take_terminal():
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def resize(self, columns, rows):
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds):
        if select.select([self.main], [], [], seconds)[0]:
            data = os.read(self.main, 65536)
            self.raw += data
            self.screen.feed(data)

    def wait(self, condition, what):
        """After a whole frame, so that no half of one is judged."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            if self.screen.frames > 0 and condition(self.screen.text()):
                return self.screen.text()
            self.read(0.2)
            check(self.process.poll() is None, "it runs", self.raw[-500:])
        raise AssertionError("%s: not in\n%s" % (what, self.screen.text()))

    def wait_for(self, *words):
        return self.wait(lambda text: all(word in text for word in words), " ".join(words))

    def press(self, keys):
        os.write(self.main, keys)

    def end(self):
        deadline = time.monotonic() + SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            self.read(0.1)
        while select.select([self.main], [], [], 0)[0]:
            self.read(0)
        return self.process.wait(1)

    def check_restored(self):
        equal(termios.tcgetattr(self.terminal), self.before, "the terminal's settings")
        equal((self.screen.modes[1049], self.screen.modes[25], self.screen.modes[7]),
              (False, True, True), "its screen, cursor and wrap")

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.main)
        os.close(self.terminal)


LANES = [{"name": "alarms", "topics": ["plant/alarm/#"]}]


def gateway_with_failures():
    gateway = Gateway(lanes=LANES, retention={"max_messages": 3}).start()
    client = gateway.client(5)
    for number in range(5):
        client.publish_wait("plant/%d" % number, b"x")
    client.publish_wait("plant/alarm/1", b"x")
    gateway.wait_audit(2)
    return gateway, client


@case
def it_shows_link_backlog_forecast_lanes_and_failures():
    gateway, client = gateway_with_failures()
    watch = Watch(gateway)
    text = watch.wait_for("mqtt-spoold", "link", "last error", "backlog   4 messages", "forecast",
                          "default", "alarms", "2 evicted", "evicted/max_messages plant/1")
    check("\u2581" in text or "\u2588" in text or "\u2587" in text, "the history", text)
    equal([line for line in text.split("\n") if len(line) > 80], [], "no line is wider")
    client.publish_wait("plant/alarm/2", b"x")
    watch.wait_for("backlog   5 messages")
    watch.press(b"q")
    equal(watch.end(), OK, "exit code")
    watch.check_restored()


@case
def an_online_link_is_green_and_a_stopped_daemon_is_shown():
    far = Mosquitto().start()
    cleanup(far.stop)
    gateway = Gateway("tcp://127.0.0.1:%d" % far.port).start()
    watch = Watch(gateway)
    watch.wait_for("online for", "nothing waits")
    check(32 in watch.screen.colours, "green", watch.screen.colours)
    gateway.stop()
    watch.wait_for("NOT RUNNING", "stopped")
    gateway.start()
    watch.wait_for("mqtt-spoold", "online for")
    watch.press(b"x")
    watch.press(b"\x03")
    equal(watch.end(), OK, "exit code after Ctrl-C")
    watch.check_restored()


@case
def it_fits_into_small_and_changed_terminals():
    gateway, _client = gateway_with_failures()
    watch = Watch(gateway, 30, 6)
    watch.wait_for("backlog   4 messages")
    watch.screen.columns, watch.screen.rows = 100, 30
    watch.screen.lines += [""] * 24
    watch.resize(100, 30)
    watch.wait_for("evicted/max_messages plant/1", "alarms")
    seen = watch.screen.frames
    watch.resize(12, 3)
    watch.wait(lambda _text: watch.screen.frames > seen + 1, "two more frames")
    watch.wait(lambda text: max(len(line) for line in text.split("\n")) <= 12, "narrow lines")
    watch.resize(1, 1)
    seen = watch.screen.frames
    watch.wait(lambda _text: watch.screen.frames > seen + 1, "two more frames")
    watch.press(b"Q")
    equal(watch.end(), OK, "exit code")
    watch.check_restored()


@case
def what_is_wrong_is_in_a_small_terminal_too():
    gateway = Gateway(retention={"max_messages": 1}).start()
    client = gateway.client(5)
    os.rename(gateway.audit, gateway.audit + ".1")
    os.mkdir(gateway.audit)
    equal(gateway.tool("hold").returncode, OK, "hold")
    gateway.hup()
    for number in range(3):
        client.publish_wait("plant/%d" % number, b"x")
    watch = Watch(gateway, 60, 6)
    watch.wait_for("NOT WRITTEN", "HELD by an operator", "q quits")
    watch.press(b"q")
    equal(watch.end(), OK, "exit code")


@case
def a_daemon_that_was_killed_is_shown_without_its_link():
    far = Mosquitto().start()
    cleanup(far.stop)
    gateway = Gateway("tcp://127.0.0.1:%d" % far.port).start()
    watch = Watch(gateway)
    watch.wait_for("online for")
    gateway.kill()
    os.rename(gateway.spool, gateway.spool + ".away")
    text = watch.wait_for("NOT RUNNING", "mqtt-spool status has why")
    check("online" not in text, "no link", text)
    watch.press(b"q")
    equal(watch.end(), OK, "exit code")


@case
def a_signal_restores_the_terminal_too():
    gateway = Gateway().start()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        watch = Watch(gateway)
        watch.wait_for("backlog")
        os.kill(watch.process.pid, number)
        equal(watch.end(), -number, "how it ended")
        watch.check_restored()


@case
def colours_and_blocks_follow_the_environment():
    gateway, _client = gateway_with_failures()
    watch = Watch(gateway, env={"NO_COLOR": "1", "LANG": "C"})
    text = watch.wait_for("backlog   4 messages", "failed")
    equal(watch.screen.colours, set(), "colours")
    check(text.isascii() and re.search(r"\n +[#*]+ *\n", text), "a history of letters", text)
    watch.press(b"q")
    equal(watch.end(), OK, "exit code")


@case
def texts_of_others_are_shown_in_their_visible_form():
    gateway = Gateway(retention={"max_messages": 1}).start()
    client = gateway.client(5)
    client.publish_wait("a/\u202egnp.exe", b"x")
    client.publish_wait("b", b"x")
    gateway.wait_audit(1)
    watch = Watch(gateway)
    watch.wait_for("evicted/max_messages a/")
    check("\u202e".encode() not in watch.raw, "a directional mark", watch.screen.text())
    watch.press(b"q")
    equal(watch.end(), OK, "exit code")


def on_terminal(gateway, *arguments, env):
    main, terminal = pty.openpty()
    done = subprocess.run([processes.tool_path(), "-c", gateway.config, *arguments], stdin=terminal,
                          stdout=terminal, stderr=subprocess.PIPE, timeout=SECONDS,
                          env=dict(os.environ, **env), check=False)
    os.close(terminal)
    os.close(main)
    return done


@case
def without_a_terminal_it_is_refused():
    gateway = Gateway().start()
    done = gateway.tool("status", "--watch")
    equal((done.returncode, done.stdout), (USAGE, b""), "no terminal")
    check(b"needs a terminal" in done.stderr and b"--json" in done.stderr, "words", done.stderr)
    for name in ("dumb", ""):
        done = on_terminal(gateway, "status", "--watch", env={"TERM": name})
        equal(done.returncode, USAGE, "TERM=" + name)
    done = gateway.tool("status", "--watch", "--json")
    equal(done.returncode, USAGE, "with --json")
    check(b"for people" in done.stderr, "words", done.stderr)


run_all()
