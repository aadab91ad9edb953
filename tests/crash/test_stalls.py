# SPDX-License-Identifier: MIT
"""Other processes stand still, one at a time: what the daemon talks to or opens stops answering.

The reader of its log, journald, the manager behind the notify socket, a name server, a broker, a
producer; or a FIFO without a writer has the name of a file that it opens. While that lasts, under
load, producers get their acknowledgements, a new client is served, HUP works and TERM ends the
daemon in the documented time; afterwards, what was delayed arrives. Each deadline is far above the
usual time. At the end the three ledgers are judged.

The suite has each stall once; --rounds 20 is the long form: rounds of one to three stalls at once,
drawn by a seed that is printed and may be given with --seed.
"""

import contextlib
import os
import pty
import random
import re
import socket
import sys
import termios
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import journald  # noqa: E402
import mqtt  # noqa: E402
import processes  # noqa: E402
from broker import Link  # noqa: E402
from checker import History, collect_daemon, figures, hold  # noqa: E402
from gateway import Gateway  # noqa: E402
from load import FarBroker, Patient, collect, message, start_producers  # noqa: E402
from name_server import NameServers  # noqa: E402
from tap import case, check, cleanup, equal, run_all, skip, wait_for  # noqa: E402

WINDOW = 32
DEADLINE_S = 40  # for what takes milliseconds
STOP_S = 20  # TERM: documented as less than 10 s, on a machine that has time for it
DROPPED = re.compile(r" log_dropped lines=(\d+) ")
RELOADS = re.compile(r" (?:reloaded applied=|reload_refused )")


class Rig:
    """A daemon under load between two ledgers, and what stands still around it."""

    def __init__(self, *stalls):
        self.stalls = stalls
        self.far = FarBroker()
        self.link = Link(self.far.port).restore()
        self.gateway = Gateway(self.link.url, retention={"max_messages": 20000},
                               uplink={"window": WINDOW, "connect_timeout": "1s"})
        self.history = History()
        self.producers, self.probes, self.reloads, self.hups = [], 0, 0, 0
        self.audits = []
        self.start_options = {"wrap": []}
        for stall in stalls:
            stall.prepare(self)

    def start(self):
        self.gateway.start(**self.start_options)
        self.producers = start_producers(self.gateway.socket, 2, kind=Patient, window=16,
                                         pause=0.002)

    def last_error(self):
        return self.gateway.status()["link"]["last_error"] or ""

    # What must work at any time

    def probe(self):
        """A new client is accepted, and its message too."""
        self.probes += 1
        key, topic, payload = message("probe", self.probes)
        self.history.sent[key] = (topic, payload)
        with mqtt.Client(self.gateway.socket, 5, timeout=DEADLINE_S) as client:
            ack = client.publish_wait(topic, payload,
                                      properties={"user": [("spool-ref", key)]})
        equal(ack.reason, 0, "reason of the probe's PUBACK")
        self.history.acked[key] = mqtt.spool_id(ack)

    def check_served(self):
        before = [len(producer.acked) for producer in self.producers]
        self.probe()
        wait_for(lambda: all(len(producer.acked) > count + 50
                             for producer, count in zip(self.producers, before)), DEADLINE_S,
                 "50 PUBACKs more for each producer")

    def _reload_signs(self):
        """The effects of a completed HUP, except those that are stalled."""
        with contextlib.suppress(KeyError, IndexError):
            yield self.gateway.status()["lanes"][0]["max_messages"]
        yield self.gateway.log().count(" reloaded applied=")
        yield self.gateway.log().count(" reload_refused ")
        yield sum("READY=1" in text for text in list(self.gateway.notifications))

    def check_reloads(self):
        """HUP, with the present configuration."""
        before = list(self._reload_signs())
        self.gateway.hup()
        self.hups += 1
        wait_for(lambda: list(self._reload_signs()) != before, DEADLINE_S, "the HUP done")

    def change_limit(self):
        self.reloads += 1
        self.gateway.configure(retention={"max_messages": 20000 + self.reloads})

    # The end

    def stop(self):
        for producer in self.producers:
            producer.finish(DEADLINE_S)
        self.gateway.stop(STOP_S)

    def judge(self):
        for stall in self.stalls:
            stall.finish(self)
        self.link.stop()
        self.far.stop()
        self.history.window = WINDOW
        collect(self.history, self.producers)
        self.far.collect(self.history)
        # Each connection except the first follows a break.
        self.history.cuts = max(self.history.connections, default=0)
        collect_daemon(self.history, self.audits + [self.gateway.audit], self.gateway.spool)
        print("# %s" % figures(self.history), flush=True)
        hold(self.history)


class Stall:
    """One thing that stands still from begin() to end()."""

    def prepare(self, rig):
        """Before the daemon starts."""

    def begin(self, rig):
        raise NotImplementedError

    def end(self, rig):
        raise NotImplementedError

    def check_over(self, rig):
        """What was delayed has arrived; called after end()."""

    def finish(self, rig):
        """After the daemon has ended."""


# The reader of standard error


class Stderr(Stall):
    """Read into the log file of the gateway, until begin()."""

    def prepare(self, rig):
        self.reader, self.writer, self.filler = self.make()
        self.pending = b""
        for descriptor in (self.reader, self.writer, self.filler):
            cleanup(os.close, descriptor)
        os.set_blocking(self.reader, False)
        rig.start_options["stderr"] = self.writer

    def make(self):
        """(what is read, what the daemon gets, what fills it without waiting)"""
        raise NotImplementedError

    def fill(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(self.filler, b"\n" * 512)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(self.filler, b"\n")

    def read(self, rig):
        with open(rig.gateway.stderr, "ab") as log, contextlib.suppress(BlockingIOError, OSError):
            while True:
                seen = os.read(self.reader, 65536)
                if not seen:
                    break
                log.write(seen.replace(b"\r\n", b"\n"))

    def begin(self, rig):
        self.read(rig)
        for _ in range(5):  # a terminal has some room again after a moment
            self.fill()
            rig.change_limit()
            rig.check_reloads()

    def end(self, rig):
        self.read(rig)

    def check_over(self, rig):
        """Each HUP has its line, or it was counted as lost."""
        def all_there():
            self.read(rig)
            seen = len(RELOADS.findall(rig.gateway.log()))
            return seen + sum(map(int, DROPPED.findall(rig.gateway.log()))) >= rig.hups
        wait_for(all_there, DEADLINE_S, "the lines of all HUPs, or log_dropped")
        for line in rig.gateway.log().split("\n"):
            check(not line or re.match(r"\d{4}-\d\d-\d\dT[0-9:.]+Z [a-z]+ [a-z_]+( |$)", line),
                  "a line that is whole", line)

    def finish(self, rig):
        self.read(rig)
        rig.gateway.check_log()


class StderrPipe(Stderr):
    def make(self):
        reader, writer = os.pipe()
        filler = os.open("/proc/self/fd/%d" % writer, os.O_WRONLY | os.O_NONBLOCK)
        return reader, writer, filler


class StderrSocket(Stderr):
    def make(self):
        near, far = socket.socketpair()
        self.sock = far.dup()
        cleanup(self.sock.close)
        writer = far.detach()
        return near.detach(), writer, os.dup(writer)

    def fill(self):
        """Without O_NONBLOCK, which the daemon's descriptor would have, too."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.sock.send(b"\n", socket.MSG_DONTWAIT)


class StderrTerminal(Stderr):
    def make(self):
        reader, writer = pty.openpty()
        modes = termios.tcgetattr(writer)
        modes[3] &= ~termios.ECHO
        termios.tcsetattr(writer, termios.TCSANOW, modes)
        filler = os.open(os.ttyname(writer), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        return reader, writer, filler


# journald


class JournalStopped(Stall):
    """journald is stopped (SIGSTOP) and continues later."""

    def prepare(self, rig):
        need_journal()
        self.journald = journald.Journald().start()
        cleanup(self.journald.kill)
        rig.gateway.configure(audit={"journal": "all"})

    def begin(self, rig):
        self.journald.pause()

    def end(self, rig):
        self.journald.resume()

    def finish(self, rig):
        seen = self.journald.stop()
        print("# journald: %r" % seen)
        equal(seen["distinct"], seen["outcomes"], "outcomes in the journal, each once")
        check(seen["outcomes"] > 0, "outcomes in the journal")
        left_out = sum(int(number) for pair in re.findall(
            r" journal_left_out limited=(\d+) dropped=(\d+) .* over=yes", rig.gateway.log())
            for number in pair)
        if "stderr" not in rig.start_options:  # otherwise that line may be lost
            equal(seen["outcomes"] + left_out, len(rig.gateway.audit_lines()),
                  "outcomes in the journal, and left out")


class JournalNeverRead(Stall):
    """The socket exists, and is never read."""

    def prepare(self, rig):
        need_journal()
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        cleanup(self.close)
        self.sock.bind(journald.SOCKET)
        rig.gateway.configure(audit={"journal": "all"})
        self.sign = " journal_dropped "

    def close(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(journald.SOCKET)
        self.sock.close()

    def begin(self, rig):
        """Under load the memory for what waits is full in a few seconds."""
        wait_for(lambda: self.sign in rig.gateway.log(), DEADLINE_S, "it is logged")

    def end(self, rig):
        pass


class JournalAbsent(JournalNeverRead):
    """The journal is configured, and there is none: nothing is logged."""

    def prepare(self, rig):
        super().prepare(rig)
        self.close()
        self.sign = " ready"

    def check_over(self, rig):
        check(" journal_" not in rig.gateway.log(), "a line about a journal that is not there")


# The manager


class Manager(Stall):
    """The notify socket is not read."""

    def begin(self, rig):
        rig.gateway.stall_notifications()

    def end(self, rig):
        self.before = len(rig.gateway.notifications)
        rig.gateway.resume_notifications()

    def check_over(self, rig):
        def notified():
            seen = list(rig.gateway.notifications)[self.before:]
            at = next((at for at, text in enumerate(seen) if text.startswith("RELOADING=1")), None)
            return at is not None and "READY=1" in seen[at:]
        wait_for(notified, DEADLINE_S, "RELOADING=1 and READY=1, which it sent meanwhile")


# FIFOs


def fifo_instead(path, aside=None):
    """Puts a FIFO there; the previous file is kept as @aside, if that is given."""
    made = path + ".fifo"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(made)
    os.mkfifo(made, 0o644)
    if aside:
        os.rename(path, aside)
    os.rename(made, path)


def remove_fifo(path):
    """The daemon may have created its own file there."""
    with contextlib.suppress(FileNotFoundError):
        if not os.path.isfile(path):
            os.unlink(path)


class StatusFifo(Stall):
    """The next status takes its place."""

    def begin(self, rig):
        path = os.path.join(rig.gateway.run_folder, "status.json")
        fifo_instead(path)
        wait_for(lambda: os.path.isfile(path), DEADLINE_S, "a status file instead of the FIFO")

    def end(self, rig):
        pass

    def check_over(self, rig):
        rig.gateway.fresh_status()


class NewStatusFifo(Stall):
    """It has the name under which the next status is written."""

    def path(self, rig):
        return os.path.join(rig.gateway.run_folder, "status.json.new")

    def begin(self, rig):
        fifo_instead(self.path(rig))

    def end(self, rig):
        remove_fifo(self.path(rig))

    def check_over(self, rig):
        rig.gateway.fresh_status()


class AuditFifo(Stall):
    """After a rotation the name is a FIFO: records wait until it is gone."""

    def begin(self, rig):
        rig.audits.append(rig.gateway.audit + "-%d" % len(rig.audits))
        fifo_instead(rig.gateway.audit, rig.audits[-1])
        rig.change_limit()
        rig.check_reloads()

    def end(self, rig):
        remove_fifo(rig.gateway.audit)

    def check_over(self, rig):
        wait_for(lambda: rig.gateway.audit_lines(), DEADLINE_S, "records in the new file")

    def finish(self, rig):
        """The second begin() was not ended: the records are in the spool."""
        remove_fifo(rig.gateway.audit)


class ConfigurationFifo(Stall):
    def begin(self, rig):
        fifo_instead(rig.gateway.config)

    def end(self, rig):
        rig.change_limit()

    def finish(self, rig):
        self.end(rig)


class IncludeFifo(Stall):
    def begin(self, rig):
        self.path = os.path.join(rig.gateway.folder, "included.conf")
        os.mkfifo(self.path)
        with open(rig.gateway.config, "a") as out:
            out.write('@include "%s"\n' % self.path)

    def end(self, rig):
        os.unlink(self.path)
        rig.change_limit()

    def finish(self, rig):
        rig.change_limit()


class PasswordFifo(Stall):
    """Read with each connection."""

    def prepare(self, rig):
        self.path = os.path.join(rig.gateway.folder, "password")
        self.end(rig)
        rig.gateway.configure(uplink={"username": "gw", "password_file": self.path})

    def begin(self, rig):
        fifo_instead(self.path)
        rig.link.reset()
        wait_for(lambda: rig.gateway.status()["link"]["state"] != "online", DEADLINE_S,
                 "the link down")

    def end(self, rig):
        remove_fifo(self.path)
        with open(self.path, "w") as out:
            out.write("secret\n")

    def check_over(self, rig):
        rig.gateway.wait_link(seconds=DEADLINE_S)


class CertificateFifo(Stall):
    """Read by the TLS library on a thread of the MQTT library, which holds its mutex meanwhile."""

    KEY = "ca_file"

    def prepare(self, rig):
        self.path = os.path.join(rig.gateway.folder, "certificate.pem")
        with open(self.path, "w"):
            pass
        rig.gateway.configure(uplink={"brokers": ["ssl://127.0.0.1:%d" % rig.link.port],
                                      "tls": {self.KEY: self.path}})

    def begin(self, rig):
        """While the link is cut, so that no attempt has checked the file and is about to open
        it."""
        rig.link.cut()
        fifo_instead(self.path)
        wait_for(lambda: self.path in rig.last_error(), DEADLINE_S, "an error that names the file")
        self.error = rig.last_error()
        rig.link.restore()

    def end(self, rig):
        remove_fifo(self.path)
        with open(self.path, "w"):
            pass

    def check_over(self, rig):
        wait_for(lambda: rig.last_error() not in ("", self.error), DEADLINE_S, "another error")


class KeyPrompt(Stall):
    """An encrypted key and no password: the TLS library would prompt for it."""

    def prepare(self, rig):
        openssl = processes.need("openssl")
        self.key, certificate = (os.path.join(rig.gateway.folder, name) for name in ("key", "crt"))
        done = processes.run([openssl, "req", "-x509", "-newkey", "rsa:2048", "-passout",
                              "pass:secret", "-keyout", self.key, "-out", certificate,
                              "-subj", "/CN=gateway"])
        equal(done.returncode, 0, "openssl: %r" % done.stderr)
        rig.gateway.configure(uplink={"brokers": ["ssl://127.0.0.1:%d" % rig.link.port],
                                      "tls": {"ca_file": certificate, "cert_file": certificate,
                                              "key_file": self.key}})
        reader, self.writer = os.pipe()
        cleanup(os.close, reader)
        cleanup(os.close, self.writer)
        # Without a terminal the prompt would go there.
        rig.start_options.update(stdin=reader, start_new_session=True)

    def begin(self, rig):
        wait_for(lambda: self.key in rig.last_error(), DEADLINE_S, "an error that names the key")

    def end(self, rig):
        pass


# MQTT peers


class NameServer(Stall):
    """It does not answer."""

    def prepare(self, rig):
        self.servers = NameServers("timeout:30")
        rig.start_options["wrap"] = self.servers.wrap()
        rig.gateway.configure(uplink={"brokers": ["tcp://broker.test:1883"]})

    def begin(self, rig):
        wait_for(lambda: self.servers.asked, DEADLINE_S, "a question to the name server")

    def end(self, rig):
        pass


class DeafProducer(Stall):
    """It publishes as much as it can, and never reads an acknowledgement."""

    count = 0

    def begin(self, rig):
        self.client = mqtt.Client(rig.gateway.socket, 5, client_id="deaf")
        cleanup(self.client.close)
        self.client.connect()
        self.client.sock.settimeout(0.5)
        with contextlib.suppress(TimeoutError, OSError):
            for _ in range(20000):
                self.publish(rig)

    def publish(self, rig):
        DeafProducer.count += 1
        key, topic, payload = message("deaf", DeafProducer.count)
        rig.history.sent[key] = (topic, payload)
        rig.history.unknown.add(key)
        self.client.publish(topic, payload, properties={"user": [("spool-ref", key)]})

    def end(self, rig):
        self.client.close()


class DeafBroker(Stall):
    """It reads nothing more from the connection."""

    def begin(self, rig):
        rig.gateway.wait_link(seconds=DEADLINE_S)
        rig.link.stalled = True

    def end(self, rig):
        rig.link.stalled = False

    def check_over(self, rig):
        before = rig.gateway.status()["ledger"]["delivered"]
        wait_for(lambda: rig.gateway.status()["ledger"]["delivered"] > before, DEADLINE_S,
                 "deliveries")


journal_reason = []


def need_journal():
    """The socket of journald, for this process and those that it starts."""
    if not journal_reason:
        journal_reason.append(journald.make_folder())
    if journal_reason[0]:
        skip(journal_reason[0])


# Cases


def play(stall):
    """During the stall the work continues, afterwards what was delayed arrives, and TERM comes in
    the middle of a second one."""
    rig = Rig(stall)
    rig.start()
    rig.check_served()
    stall.begin(rig)
    rig.check_served()
    rig.check_reloads()
    rig.check_served()
    stall.end(rig)
    stall.check_over(rig)
    rig.change_limit()
    rig.check_reloads()
    rig.check_served()
    stall.begin(rig)
    rig.check_served()
    rig.stop()
    rig.judge()


@case
def a_pipe_behind_standard_error_that_is_not_read():
    play(StderrPipe())


@case
def a_socket_behind_standard_error_that_is_not_read():
    play(StderrSocket())


@case
def a_terminal_behind_standard_error_that_is_not_read():
    play(StderrTerminal())


@case
def a_journald_that_is_stopped_and_continues():
    play(JournalStopped())


@case
def a_journald_that_never_reads():
    play(JournalNeverRead())


@case
def no_journald_at_all():
    play(JournalAbsent())


@case
def a_manager_that_does_not_read():
    play(Manager())


@case
def a_fifo_with_the_name_of_the_status_file():
    play(StatusFifo())


@case
def a_fifo_with_the_name_of_the_next_status_file():
    play(NewStatusFifo())


@case
def a_fifo_with_the_name_of_the_audit_file():
    play(AuditFifo())


@case
def a_fifo_with_the_name_of_the_configuration():
    play(ConfigurationFifo())


@case
def a_fifo_with_the_name_of_an_included_file():
    play(IncludeFifo())


@case
def a_fifo_with_the_name_of_the_password_file():
    play(PasswordFifo())


@case
def a_fifo_with_the_name_of_a_certificate():
    play(CertificateFifo())


@case
def a_key_that_asks_for_a_password():
    play(KeyPrompt())


@case
def a_name_server_that_does_not_answer():
    play(NameServer())


@case
def a_producer_that_never_reads_its_acknowledgements():
    play(DeafProducer())


@case
def a_broker_that_does_not_read():
    play(DeafBroker())


# The long form

# No link to be stalled; no status to show one; nothing left that shows that a HUP is done.
NOT_TOGETHER = [{PasswordFifo, DeafBroker}, {StatusFifo, NewStatusFifo},
                {Stderr, Manager, NewStatusFifo}, {Stderr, Manager, ConfigurationFifo}]


def draw(rig, dice):
    while True:
        chosen = dice.sample(rig.stalls, dice.randint(1, 3))
        kinds = {Stderr if isinstance(stall, Stderr) else type(stall) for stall in chosen}
        if not any(together <= kinds for together in NOT_TOGETHER):
            return chosen


def play_round(rig, dice, number):
    chosen = draw(rig, dice)
    print("# round %d: %s" % (number, ", ".join(type(stall).__name__ for stall in chosen)),
          flush=True)
    for stall in chosen:
        stall.begin(rig)
        rig.check_served()
    rig.gateway.hup()
    rig.check_served()
    for stall in dice.sample(chosen, len(chosen)):
        stall.end(rig)
        rig.check_served()
    for stall in chosen:
        stall.check_over(rig)
    rig.change_limit()
    rig.check_reloads()


@case(seconds=3600)
def several_at_once():
    options = run_all.options
    if options.rounds == 0:
        skip("the long form: --rounds 20")
    print("# seed %d: --rounds %d --seed %d" % (options.seed, options.rounds, options.seed))
    dice = random.Random(options.seed)
    stderr = dice.choice([StderrPipe, StderrSocket, StderrTerminal])
    rig = Rig(stderr(), JournalStopped(), Manager(), NewStatusFifo(), StatusFifo(),
              AuditFifo(), ConfigurationFifo(), PasswordFifo(), DeafProducer(), DeafBroker())
    rig.start()
    for number in range(options.rounds):
        play_round(rig, dice, number)
    rig.gateway.wait_link(seconds=DEADLINE_S)
    rig.stop()
    rig.judge()


def add_arguments(parser):
    parser.add_argument("--rounds", type=int, default=0, help="of several stalls at once")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the rounds")


run_all(add_arguments)
