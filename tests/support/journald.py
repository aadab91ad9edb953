#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A stand-in for journald: it reads entries from the journal's socket, at a given rate, or stands
still.

From Python: Journald().start(), then .pause(), .resume(), .stop(). The path of the socket is fixed,
so this process gets its own mount namespace with a /run/systemd that only it and the programs that
it starts see; that needs root. As a program: journald.py SOCKET [--rate N]; it prints "ready",
reads until its standard input ends, and prints then what it has read, as JSON.
"""

import argparse
import array
import contextlib
import ctypes
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time

SOCKET = "/run/systemd/journal/socket"
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 0x40000
ENTRY_MAX = 1 << 20
SEQ = re.compile(rb"^MQTT_SPOOL_SEQ=(\d+)$", re.MULTILINE)
_libc = ctypes.CDLL(None, use_errno=True)


def make_folder():
    """Returns None, or why the socket cannot be created here. Once in a process."""
    hidden = "/run/systemd" if os.path.isdir("/run/systemd") else "/run"
    if _libc.unshare(CLONE_NEWNS) or _libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) \
            or _libc.mount(b"none", hidden.encode(), b"tmpfs", 0, b"size=1m,mode=755"):
        return "needs root: a mount namespace of its own (%s)" % os.strerror(ctypes.get_errno())
    os.makedirs(os.path.dirname(SOCKET))
    return None


class Journald:
    """Starts the stand-in as a process, so that it can be stopped as journald can be."""

    def __init__(self, rate=None):
        self._command = [sys.executable, os.path.abspath(__file__), SOCKET]
        self._command += ["--rate", str(rate)] if rate else []
        self.process = None

    def start(self):
        self.process = subprocess.Popen(self._command, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"ready\n"
        return self

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        """Returns {"entries": all, "outcomes": those of outcomes, "distinct": their numbers}."""
        if self.process.poll() is None:
            self.resume()
        return json.loads(self.process.communicate(timeout=60)[0])

    def kill(self):
        """However the case ended."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(SOCKET)


# The program


def receive(sock):
    """The bytes of an entry; a large one comes as a file."""
    data, ancillary, _, _ = sock.recvmsg(ENTRY_MAX, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptor, = array.array("i", content[:4])
            with open(descriptor, "rb") as entry:
                return entry.read()
    return data


def serve(sock, rate):
    numbers, entries, began = [], 0, time.monotonic()
    while True:
        ready = select.select([sock, sys.stdin], [], [])[0]
        if sock not in ready:
            return {"entries": entries, "outcomes": len(numbers), "distinct": len(set(numbers))}
        found = SEQ.search(receive(sock))
        entries += 1
        if found:
            numbers.append(int(found.group(1)))
        ahead = began + entries / rate - time.monotonic() if rate else 0
        if ahead > 0:
            time.sleep(ahead)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("socket")
    parser.add_argument("--rate", type=float, help="entries a second at the most")
    options = parser.parse_args()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(options.socket)
        print("ready", flush=True)
        print(json.dumps(serve(sock, options.rate)))


if __name__ == "__main__":
    main()
