# SPDX-License-Identifier: MIT
"""Name servers that are silent until they get an address, and a machine that asks them.

NameServers() has two sockets on port 53 of loopback addresses of its own. wrap() is what to start a
program with, so that it sees a resolv.conf that names them: that needs root, and the case is
skipped without it.
"""

import os
import random
import select
import socket
import struct
import subprocess
import threading

import processes
import tap

_TYPE_A, _CLASS_IN = 1, 1
_FLAGS_ANSWER = 0x8180
_SCRIPT = """
mount --bind "$0/resolv.conf" /etc/resolv.conf || exit 1
! [ -e /etc/nsswitch.conf ] || mount --bind "$0/nsswitch.conf" /etc/nsswitch.conf || exit 1
exec "$@"
"""


class NameServers:
    def __init__(self, options=""):
        self.address = None
        self.left = None
        self.asked = []
        self._folder = processes.folder()
        self._sockets = [self._listen(), self._listen()]
        self._write("nsswitch.conf", "hosts: files dns\n")
        self._write("resolv.conf", "".join("nameserver %s\n" % sock.getsockname()[0]
                                           for sock in self._sockets)
                    + (options and "options %s\n" % options))
        self._need_namespace()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        tap.cleanup(self._stop)

    @staticmethod
    def _listen():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        tap.cleanup(sock.close)
        address = "127.%d.%d.%d" % (random.randrange(100, 255), random.randrange(255),
                                    random.randrange(1, 255))
        try:
            sock.bind((address, 53))
        except OSError as error:
            tap.skip("no name server can be made here: port 53 of loopback: %s" % error)
        return sock

    def _write(self, name, text):
        with open(os.path.join(self._folder, name), "w") as out:
            out.write(text)

    def wrap(self):
        return ["unshare", "--mount", "sh", "-c", _SCRIPT, self._folder]

    def _need_namespace(self):
        try:
            done = subprocess.run(self.wrap() + ["true"], capture_output=True, timeout=30)
        except FileNotFoundError:
            tap.skip("no unshare(1)")
        if done.returncode:
            tap.skip("no resolv.conf of its own for a program: "
                     + done.stderr.decode(errors="replace").strip())

    def answer(self, address, questions=None):
        """From now on, for each name; with @questions so many, and then silence."""
        self.left = questions
        self.address = address

    def _run(self):
        while not self._ends.is_set():
            for sock in select.select(self._sockets, [], [], 0.1)[0]:
                question, sender = sock.recvfrom(4096)
                if self.address and self.left != 0:
                    sock.sendto(self._reply(question), sender)
                    self.left = self.left and self.left - 1
                self.asked.append(question)

    def _reply(self, question):
        """The address for a question for IPv4, nothing for others."""
        end = question.index(b"\0", 12) + 5
        kind, = struct.unpack_from("!H", question, end - 4)
        count = 1 if kind == _TYPE_A else 0
        reply = question[:2] + struct.pack("!HHHHH", _FLAGS_ANSWER, 1, count, 0, 0) \
            + question[12:end]
        if count:
            reply += struct.pack("!HHHIH", 0xC00C, _TYPE_A, _CLASS_IN, 0, 4) \
                + socket.inet_aton(self.address)
        return reply

    def _stop(self):
        self._ends.set()
        self._thread.join(5)
