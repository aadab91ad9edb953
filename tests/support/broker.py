# SPDX-License-Identifier: MIT
"""The remote side: a real mosquitto on a free loopback port, and a link that can be cut."""

import contextlib
import datetime
import os
import select
import socket
import struct
import subprocess
import threading
import time

import processes
import tap


class Mosquitto:
    """A broker without persistence unless wanted, with no limit on what it queues.

    stop(), kill() and start() may follow each other: the port stays the same.
    """

    def __init__(self, tls=None, client_certificates=False, users=None, persistence=False,
                 options=""):
        self.program = processes.need("mosquitto")
        self.folder = processes.folder()
        self.port = processes.free_port()
        self.process = None
        self.log = os.path.join(self.folder, "mosquitto.log")
        self.config = os.path.join(self.folder, "mosquitto.conf")
        lines = ["listener %d 127.0.0.1" % self.port, "max_inflight_messages 0",
                 "max_queued_messages 0", "set_tcp_nodelay true",
                 "user %s" % ("root" if os.geteuid() == 0 else "nobody"),
                 "persistence %s" % ("true" if persistence else "false")]
        if persistence:
            lines.append("persistence_location %s/" % self.folder)
        lines += self._users(users)
        if tls:
            lines += ["cafile %s" % tls.ca, "certfile %s" % tls.server_cert,
                      "keyfile %s" % tls.server_key]
            lines += ["require_certificate true"] if client_certificates else []
        with open(self.config, "w") as out:
            out.write("\n".join(lines + [options]) + "\n")
        tap.cleanup(self.stop)

    def _users(self, users):
        if not users:
            return ["allow_anonymous true"]
        path = os.path.join(self.folder, "users")
        open(path, "w").close()
        os.chmod(path, 0o600)
        for name, password in users.items():
            processes.run([processes.need("mosquitto_passwd", "mosquitto"), "-b", path, name,
                           password])
        return ["allow_anonymous false", "password_file %s" % path]

    @property
    def address(self):
        return ("127.0.0.1", self.port)

    @property
    def url(self):
        return "tcp://127.0.0.1:%d" % self.port

    def start(self):
        with open(self.log, "ab") as log:
            self.process = processes.start([self.program, "-c", self.config],
                                           stdout=log, stderr=log)
        tap.wait_for(self._accepts, 10, self._last_words)
        return self

    def _accepts(self):
        if self.process.poll() is not None:
            raise AssertionError("mosquitto ended: " + self._last_words())
        with contextlib.suppress(OSError), socket.create_connection(self.address, 1):
            return True
        return False

    def _last_words(self):
        with open(self.log, errors="replace") as log:
            return "mosquitto says: " + log.read()[-2000:]

    def stop(self):
        processes.end(self.process)
        self.process = None

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()
        self.process = None

    def restart(self):
        self.stop()
        return self.start()


class Certificates:
    """A CA, a server certificate for one name or address only, and a client certificate."""

    def __init__(self, days=2, server_days=None, server="DNS:localhost"):
        """How long they are valid; a negative number: they have expired."""
        processes.need("openssl")
        self.folder = processes.folder()
        self.ca, self.ca_key = self._path("ca.crt"), self._path("ca.key")
        self._openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", str(days),
                      "-keyout", self.ca_key, "-out", self.ca, "-subj", "/CN=Test CA",
                      "-addext", "basicConstraints=critical,CA:TRUE",
                      "-addext", "keyUsage=critical,keyCertSign,cRLSign")  # Python 3.13 wants it
        self.server_cert, self.server_key = self.issue(
            "server", "localhost", "subjectAltName=" + server, server_days or days)
        self.client_cert, self.client_key = self.issue(
            "client", "gateway", "extendedKeyUsage=clientAuth", days)
        os.chmod(self.folder, 0o755)
        os.chmod(self.server_key, 0o644)

    def _path(self, name):
        return os.path.join(self.folder, name)

    def _openssl(self, *arguments):
        done = processes.run(["openssl"] + list(arguments))
        if done.returncode:
            raise AssertionError("openssl: " + done.stderr.decode(errors="replace"))

    def issue(self, name, common_name, extension, days):
        """The certificate and its key."""
        key, request, certificate = (self._path(name + end) for end in (".key", ".csr", ".crt"))
        extensions = self._path(name + ".ext")
        with open(extensions, "w") as out:
            out.write(extension + "\n")
        self._openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request,
                      "-subj", "/CN=" + common_name)
        self._openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.ca_key,
                      "-CAcreateserial", *self._validity(days), "-extfile", extensions,
                      "-out", certificate)
        return certificate, key

    @staticmethod
    def _validity(days):
        """From 3.4 on openssl refuses an end before the start, which is now if it is not given."""
        now = datetime.datetime.now(datetime.timezone.utc)
        if days < 0 and b"-not_before" in processes.run(["openssl", "x509", "-help"]).stderr:
            start, end = (now + datetime.timedelta(days=each) for each in (2 * days, days))
            return ["-not_before", start.strftime("%Y%m%d%H%M%SZ"),
                    "-not_after", end.strftime("%Y%m%d%H%M%SZ")]
        return ["-days", str(days)]


class Link:
    """A wire between gateway and broker that a test can cut, restore, stall or reset.

    A TCP relay in a thread of its own. While cut, no process listens at its port. With reset_after,
    each connection ends with RST once it has carried that many bytes upward. With rate, it takes so
    many bytes a second upward, through a small receive buffer.
    """

    def __init__(self, port, reset_after=None, rate=None):
        self.target = ("127.0.0.1", port)
        self.port = processes.free_port()
        self.stalled = False
        self.reset_after = reset_after
        self.rate = rate
        self.resets = 0
        self._next_upward = 0
        self._carried = 0
        self._lock = threading.Lock()
        self._listener = None
        self._pairs = {}
        self._ending = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        tap.cleanup(self.stop)

    @property
    def url(self):
        return "tcp://127.0.0.1:%d" % self.port

    @property
    def address(self):
        return ("127.0.0.1", self.port)

    def restore(self):
        with self._lock:
            self.stalled = False
            if self._listener is None:
                self._listener = socket.socket()
                self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if self.rate:
                    self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
                self._listener.bind(("127.0.0.1", self.port))
                self._listener.listen(16)
        return self

    def cut(self, reset=False):
        """Ends every connection and refuses new ones until restore()."""
        with self._lock:
            if self._listener:
                # A close alone waits for the select() of the other thread.
                self._listener.shutdown(socket.SHUT_RDWR)
                self._listener.close()
                self._listener = None
            self._drop_all(reset)

    def reset(self):
        """Ends every connection with RST; new ones are accepted at once."""
        with self._lock:
            self._drop_all(True)

    def stop(self):
        self._ending = True
        self.cut()
        self._thread.join(5)

    def _drop_all(self, reset):
        for sock in self._pairs:
            if reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        self._pairs.clear()

    def _run(self):
        while not self._ending:
            with self._lock:
                watched = [] if self.stalled else [
                    sock for sock, (_, upward) in self._pairs.items()
                    if not upward or time.monotonic() >= self._next_upward]
                watched += [self._listener] if self._listener else []
            try:
                ready = select.select(watched, [], [], 0.02)[0]
            except (OSError, ValueError):
                continue
            with self._lock:
                for sock in ready:
                    with contextlib.suppress(OSError):
                        self._on_ready(sock)

    def _on_ready(self, sock):
        if sock is self._listener:
            self._accept()
        elif sock in self._pairs:
            self._relay(sock)

    def _accept(self):
        near = self._listener.accept()[0]
        try:
            far = socket.create_connection(self.target, 2)
        except OSError:
            near.close()
            return
        for sock in (near, far):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(5)
        self._pairs[near], self._pairs[far] = (far, True), (near, False)

    def _count(self, moved):
        self._carried += moved
        if self.reset_after and self._carried >= self.reset_after:
            self._carried = 0
            self.resets += 1
            self._drop_all(True)

    def _relay(self, sock):
        other, upward = self._pairs[sock]
        try:
            moved = sock.recv(max(1, self.rate // 10) if self.rate and upward else 65536)
            if self.rate and upward:
                self._next_upward = time.monotonic() + len(moved) / self.rate
            if moved:
                other.sendall(moved)
                self._count(len(moved) if upward else 0)
                return
        except OSError:
            pass
        for end in (sock, other):
            self._pairs.pop(end, None)
            end.close()


def mosquitto_pub(socket_path, *arguments, stdin=None, timeout=30):
    """The real producer; check its output, because its exit code hides a refusal by an MQTT 5
    broker."""
    program = processes.need("mosquitto_pub", "mosquitto-clients")
    return subprocess.run([program, "--unix", socket_path] + list(arguments),
                          input=b"" if stdin is None else stdin, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=timeout,
                          preexec_fn=processes.die_with_parent)
