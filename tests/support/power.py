# SPDX-License-Identifier: MIT
"""Power loss: one recorded run, then thousands of disks as a cut may have left them.

record() runs the daemon with power_recorder.c preloaded. power_replay.c makes the images; its head
says what a disk may do. judge_many() opens each image with the daemon itself, stops it, and asks
the judge (checker.py), which knows what had been acknowledged to the producers when the power
failed:

- before the daemon: no line of the audit files describes what the database does not have;
- it starts, logs no error, stops with 0;
- after: every message that was acknowledged before the cut is spooled or has its outcome, under
  its id; no id exists twice, and acknowledged ids will never be assigned again; the ledger
  balances; the audit files hold the lines 1, 2, 3 ... to the newest outcome, each once; the
  numbers of each lane are contiguous; what was rejected is kept as it was; closings are counted of
  spooled messages only; each failure that counts as reported is in a report.
"""

import atexit
import bisect
import collections
import concurrent.futures
import contextlib
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time

import checker
import load
import mqtt
import processes
import tap
from broker import Link
from gateway import Gateway, libconfig, merge

CREATE, MKDIR, WRITE, TRUNCATE, SYNC, RENAME, UNLINK, SENT, BLIND, START = range(1, 11)
_MAGIC = 0x52574F50
_HEAD = struct.Struct("<IIQQQ")
# Of payloads: one producer each. The largest make checkpoints due while producers wait.
SIZES = (40, 200, 1500, 30000)
LIMIT = 150  # messages spooled, so that an outage evicts
WINDOW = 32
_POISON = "poison/"  # in topics at which the remote broker closes the connection
_NEAR = 12  # steps around a rare one
_START_SECONDS = 20
_PAGE, _PAGES_DAMAGED = 4096, 12
_AUDIT = ("log/audit.jsonl.1", "log/audit.jsonl")  # oldest first
_SPOOL_FILES = ("lock", "spool.db", "spool.db-wal", "spool.db-shm", "spool.mark")


def built(name):
    path = os.path.join(os.environ.get("SPOOLD_BUILD", ""), "tests", name)
    if not os.path.exists(path):
        tap.skip("%s is not built here: what is preloaded does not go together with sanitizers; "
                 "the release build runs this" % name)
    return path


# The recorded run


class Recording:
    """A recorder's log, with what the producers and the remote broker recorded of the run."""

    def __init__(self, log, history, settings):
        self.log, self.history, self.settings = log, history, settings
        self.steps = 0
        self.acks = []  # (step, id), in order
        # By kind, steps that a random cut would hardly hit.
        self.rare = collections.defaultdict(list)
        self.counts = collections.Counter()
        self._names, self._streams, self._latest = {}, {}, None
        with open(log, "rb") as seen:
            self._read(seen.read())
        self.keys = {record["id"]: record.get("ref") for record in history.outcomes}
        self.keys.update(history.spooled)
        unseen = set(history.acked.values()) - {identity for _, identity in self.acks}
        tap.equal(sorted(unseen), [], "acknowledgements that the recorder did not see")

    def _read(self, log):
        at = 0
        while at < len(log):
            magic, kind, thing, _, size = _HEAD.unpack_from(log, at)
            if magic != _MAGIC:
                raise AssertionError("the recorder's log is torn at %d" % at)
            at += _HEAD.size
            self.steps += 1
            if kind in (CREATE, MKDIR, RENAME, UNLINK, SENT, BLIND):
                self._take(kind, thing, log[at:at + size])
            self._count(kind, self._names.get(thing, ""))
            at += size

    def _take(self, kind, thing, data):
        if kind == BLIND:
            raise AssertionError("the model does not know: " + data.decode())
        if kind in (CREATE, MKDIR):
            self._names[thing] = data.decode()
        elif kind == RENAME:
            old, new = data.decode().split("\0")
            self._names.update({inode: new for inode, name in self._names.items() if name == old})
        elif kind == SENT:
            self._take_sent(self._streams.setdefault(thing, bytearray()), data)

    def _take_sent(self, stream, data):
        stream += data
        while len(stream) >= 2 and len(stream) >= 2 + stream[1]:
            tap.check(stream[1] < 128, "an acknowledgement that is longer than any is")
            found = mqtt.Packet(stream[0] >> 4, stream[0] & 15, bytes(stream[2:2 + stream[1]]), 5)
            del stream[:2 + stream[1]]
            if found.kind == mqtt.PUBACK and found.reason == 0:
                self.acks.append((self.steps, mqtt.spool_id(found)))

    def _count(self, kind, name):
        what = {WRITE: "writes", SYNC: "syncs", RENAME: "renames", CREATE: "creations",
                TRUNCATE: "truncations", START: "starts"}.get(kind)
        if what:
            self.counts[what] += 1
        is_checkpoint = kind == WRITE and name == "spool/spool.db"
        if is_checkpoint and not self._latest == (WRITE, "spool/spool.db"):
            self.counts["checkpoints"] += 1
        if is_checkpoint or kind in (CREATE, MKDIR, TRUNCATE, RENAME, UNLINK, START):
            self.rare["start" if kind == START else "checkpoint" if is_checkpoint else "name"].append(
                self.steps)
        if kind == SYNC and name == "spool/spool.db-wal":
            self.counts["WAL syncs"] += 1
        self._latest = (kind, name)

    def save(self, folder):
        """For inspection: load() reads it again."""
        os.makedirs(folder, exist_ok=True)
        shutil.copy(self.log, os.path.join(folder, "power.log"))
        self.history.save(os.path.join(folder, "history"))
        with open(os.path.join(folder, "settings.json"), "w") as out:
            json.dump(self.settings, out)

    @staticmethod
    def load(folder):
        with open(os.path.join(folder, "settings.json")) as seen:
            return Recording(os.path.join(folder, "power.log"),
                             checker.load(os.path.join(folder, "history")), json.load(seen))

    def acked_before(self, cut):
        """Ids in order of acknowledgement."""
        return [identity for _, identity in self.acks[:bisect.bisect(self.acks, (cut, 0))]]

    def choose_cut(self, dice):
        if dice.random() < 0.4:
            steps = self.rare[dice.choice(sorted(self.rare))]
            near = dice.choice(steps) + dice.randint(-_NEAR, _NEAR)
            return min(max(near, 0), self.steps)
        return dice.randint(0, self.steps)

    def figures(self):
        return "%d steps, %d acknowledgements, %s" % (
            self.steps, len(self.acks),
            ", ".join("%d %s" % (count, what) for what, count in sorted(self.counts.items())))


class _Run:
    """The daemon with the recorder, four producers, a remote broker behind a link."""

    def __init__(self, environment):
        self.far = load.FarBroker("--close-at", _POISON, *load.REFUSING)
        self.link = Link(self.far.port)
        self.folder = processes.folder()
        self.disk = os.path.join(self.folder, "disk")
        os.makedirs(os.path.join(self.disk, "log"))
        self.gateway = Gateway(
            self.link.url, spool={"directory": os.path.join(self.disk, "spool")},
            audit={"file": os.path.join(self.disk, _AUDIT[1])},
            retention={"max_messages": LIMIT},
            lanes=[{"name": "large", "topics": ["load/p%d/#" % (len(SIZES) - 1)], "priority": 10,
                    "max_messages": LIMIT // 5}],
            uplink=dict(load.KEEPING, window=WINDOW, backoff={"min": "10ms", "max": "50ms"}))
        self.gateway.spool = os.path.join(self.disk, "spool")
        self.log = os.path.join(self.folder, "power.log")
        self.die = os.path.join(self.folder, "die")
        self.environment = dict(environment, SPOOLD_POWER_DIE=self.die,
                                **preload(self.disk, self.log))
        self.producers = []
        self.poisoned = {}  # key -> spool id

    def start(self):
        self.gateway.start(env=self.environment)

    def produce(self):
        self.producers = [load.Producer(self.gateway.socket, "p%d" % number, window=4, size=size,
                                        pause=0.015)
                          for number, size in enumerate(SIZES)]
        for producer in self.producers:
            producer.start()

    def more(self, count):
        """@count further acknowledgements."""
        target = sum(len(producer.acked) for producer in self.producers) + count
        tap.wait_for(lambda: sum(len(producer.acked) for producer in self.producers) >= target,
                     60, "%d acknowledgements" % target)

    def poison(self):
        """A message at which the remote broker closes the connection again and again."""
        key = "%s%d" % (_POISON, len(self.poisoned))
        with mqtt.Client(self.gateway.socket, 5, client_id="poison") as client:
            client.send(mqtt.publish_packet(5, key, key.encode(), 1, 1,
                                            properties={"user": [("spool-ref", key)]}))
            self.poisoned[key] = mqtt.spool_id(client.expect(mqtt.PUBACK))

    def has_found_poison(self):
        for name in _AUDIT:
            with contextlib.suppress(FileNotFoundError):
                with open(os.path.join(self.disk, name), encoding="utf-8") as audit:
                    if any('"reason":"poison"' in line for line in audit):
                        return True
        return False

    def await_poison(self):
        """On a slow machine all so far may have been evicted before the broker closed often
        enough: then one more is sent."""
        for _ in range(6):
            with contextlib.suppress(tap.TooSlow):
                tap.wait_for(self.has_found_poison, 20, "a message that ends as poison")
                return
            self.poison()

    def rotate(self):
        """As logrotate does it, before the eyes of the recorder."""
        path = os.path.join(self.disk, _AUDIT[1])
        done = processes.run([sys.executable, "-c", "import os, sys; os.rename(*sys.argv[1:])",
                              path, path + ".1"], env=dict(os.environ, **self.environment))
        tap.equal(done.returncode, 0, "exit code of the rename: %r" % done.stderr)
        self.gateway.hup()
        tap.wait_for(lambda: os.path.exists(path), 10, "a new audit file")

    def kill(self):
        """SIGKILL by its own hand, so that the log ends with what it did last: a commit that it
        has written and not synced."""
        open(self.die, "w").close()
        self.gateway.process.wait(20)
        os.unlink(self.die)

    def restore(self):
        self.link.restore()
        self.gateway.wait_link()

    def finish(self):
        """What was recorded must be right itself."""
        for producer in self.producers:
            producer.finish()
        self.gateway.stop()
        history = checker.History()
        load.collect(history, self.producers)
        history.sent.update((key, (key, key.encode())) for key in self.poisoned)
        history.acked.update(self.poisoned)
        self.far.collect(history)
        history.cuts, history.window = max(history.connections), WINDOW
        history.is_exact = "SPOOLD_POWER_NORMAL" not in self.environment  # it loses by a kill
        checker.collect_daemon(history, [os.path.join(self.disk, name) for name in _AUDIT],
                               self.gateway.spool)
        checker.hold(history, "the recorded run")
        return history


def record(messages, normal=False):
    """@messages: how many each part of the run takes; @normal: synchronous=NORMAL, the control.
    The log outlives the case."""
    built("power_recorder.so")
    run = _Run({"SPOOLD_POWER_NORMAL": "1"} if normal else {})
    run.start()
    run.produce()
    run.more(messages)  # the link is down: they are spooled, then evicted
    tap.wait_for(lambda: run.gateway.status()["ledger"]["evicted"] > 0, 60, "an eviction")
    run.restore()
    run.poison()
    run.more(messages)
    run.rotate()
    run.more(messages)
    run.poison()
    run.kill()
    run.start()
    run.more(messages)
    run.link.cut()
    run.poison()
    run.more(messages)
    run.gateway.stop()
    run.start()
    run.restore()
    run.more(messages)
    run.await_poison()
    history = run.finish()
    # No NamedTemporaryFile: the processes of a pool drop it, and from Python 3.13 on remove the file.
    handle, kept = tempfile.mkstemp(prefix="spoold-power-", suffix=".log")
    os.close(handle)
    atexit.register(_remove_own, kept, os.getpid())
    shutil.copy(run.log, kept)
    return Recording(kept, history, run.gateway.settings)


def _remove_own(path, owner):
    if os.getpid() == owner:
        os.unlink(path)


# One image


def _start_replay(log):
    return processes.start([built("power_replay"), log], text=True, stdin=subprocess.PIPE,
                           stdout=subprocess.PIPE)


def _end_replay(replay):
    replay.stdin.close()
    replay.stdout.close()
    replay.wait(10)


def preload(root, log):
    """The environment in which a program is recorded."""
    return {"LD_PRELOAD": built("power_recorder.so"), "SPOOLD_POWER_ROOT": root,
            "SPOOLD_POWER_LOG": log}


def _in_short(found):
    if isinstance(found, str):
        return found
    records, spooled, ledger, faults, _ = found
    return "%d records, %d spooled, %r, %r" % (len(records), len(spooled), ledger, faults)


def _span(log):
    """(step at which the process began, last step)."""
    begin = steps = at = 0
    with open(log, "rb") as seen:
        content = seen.read()
    while at < len(content):
        _, kind, _, _, size = _HEAD.unpack_from(content, at)
        at, steps = at + _HEAD.size + size, steps + 1
        begin = steps if kind == START else begin
        if kind == BLIND:
            raise AssertionError("the model does not know: " + content[at - size:at].decode())
    return begin, steps


class Bench:
    """Makes images in a folder of its own and has the daemon open each."""

    def __init__(self, recording):
        self.recording = recording
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.folder = tempfile.mkdtemp(prefix="spoold-power-", dir=memory)
        self.disk = os.path.join(self.folder, "disk")
        self.spool = os.path.join(self.disk, "spool")
        self.audit = [os.path.join(self.disk, name) for name in _AUDIT]
        os.mkdir(self.disk)
        tempfile.tempdir = self.folder  # where the checker makes its copies: in memory
        self._configure()
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(os.path.join(self.folder, "notify"))
        self.notify.settimeout(0.05)
        self.held = set()  # which tables of the image that was judged last have rows
        self.replay = _start_replay(recording.log)
        self.sent = recording.history.sent_digests()
        self.remote = {key: (key, topic, checker.digest(payload))
                       for key, topic, payload in recording.history.remote}

    def close(self):
        _end_replay(self.replay)
        self.notify.close()
        shutil.rmtree(self.folder, True)

    def _configure(self):
        settings = merge(self.recording.settings, {
            "spool": {"directory": self.spool}, "audit": {"file": self.audit[1]},
            "listen": {"socket": os.path.join(self.folder, "socket")},
            "uplink": {"brokers": ["tcp://127.0.0.1:9"]}})
        self.config = os.path.join(self.folder, "conf")
        with open(self.config, "w") as out:
            for key, value in settings.items():
                out.write("%s = %s;\n" % (key, libconfig(value)))

    def make(self, cut, seed, disk, replay=None):
        """Returns what was done to which file."""
        replay = replay or self.replay
        replay.stdin.write("%d %d %s %s\n" % (cut, seed, disk, self.disk))
        replay.stdin.flush()
        answer = replay.stdout.readline().strip()
        if not answer.startswith("ok"):
            raise AssertionError("power_replay: %r" % answer)
        return answer[3:]

    def make_twice(self, cut, dice, disk):
        """The power fails a second time, while the daemon recovers from the first time."""
        first = self.make(cut, dice.getrandbits(63), disk)
        log = os.path.join(self.folder, "second.log")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(log)
        self._open_and_stop(checker.History(), preload(self.disk, log))
        begin, end = _span(log)
        replay = _start_replay(log)
        try:
            again = dice.randint(begin, end)
            return "%s, then %d of %d:%s" % (first, again - begin, end - begin, self.make(
                again, dice.getrandbits(63), disk, replay))
        finally:
            _end_replay(replay)

    def judge(self, cut):
        """Findings about the image that was made last."""
        history = self._history(cut)
        self._check_lines_before(history)
        last_words = self._open_and_stop(history)
        if not os.path.exists(os.path.join(self.spool, "spool.db")):
            return history.faults + ["LOST: there is no spool.db: " + last_words]
        try:
            checker.collect_daemon(history, self.audit, self.spool)
        except (TypeError, IndexError) as error:  # values that none of our programs wrote
            return history.faults + ["UNSOUND: spool.db: %r" % error]
        self.held = {name for name in ("kept", "suspects", "reports")
                     if history.tables and history.tables[name]}
        self._check_lines_after(history)
        self._check_ids(history, cut)
        self._check_undamaged(history)
        return checker.verdict(history)

    def _history(self, cut):
        history = checker.History()
        recording = self.recording
        history.sent, history.remote = self.sent, list(self.remote.values())
        history.acked = {recording.keys[identity]: identity
                         for identity in recording.acked_before(cut)}
        history.unknown = set(self.sent) - set(history.acked)
        history.cuts, history.window = 1, len(self.remote)  # what the broker took later, too
        history.reports, history.is_exact = recording.history.reports, True
        return history

    # A damaged spool

    def _mend(self, environment=None):
        """Opens the spool without a daemon; returns (was it salvaged, what is in it now)."""
        done = processes.run([built("mend_spool"), self.spool],
                             env=dict(os.environ, **environment or {}))
        if done.returncode:
            return False, done.stderr.decode(errors="replace")
        faults = []
        *found, tables = checker.read_spool(self.spool, faults)
        return done.stdout != b"", (*found, faults, tables)

    def _damage(self, dice):
        path = os.path.join(self.spool, "spool.db")
        with open(path, "r+b") as database:
            for _ in range(_PAGES_DAMAGED):
                database.seek(_PAGE * dice.randrange(1, os.path.getsize(path) // _PAGE))
                database.write(dice.randbytes(_PAGE))

    def judge_salvages(self, dice, disk, cuts):
        """The power fails while a damaged spool is salvaged: each time the next opening must give
        the result of an undisturbed salvage. Returns (salvaged, [(cut, what was done,
        findings)])."""
        kept, log = (os.path.join(self.folder, name) for name in ("kept", "second.log"))
        self.make(dice.randint(self.recording.steps // 4, self.recording.steps), 0, "honest")
        self._mend()
        self._damage(dice)
        shutil.rmtree(kept, True)
        shutil.copytree(self.disk, kept)
        salvaged, wanted = self._mend()
        shutil.rmtree(self.disk)
        shutil.copytree(kept, self.disk)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(log)
        self._mend(preload(self.disk, log))
        begin, end = _span(log)
        seen, replay = [], _start_replay(log)
        try:
            for _ in range(cuts if salvaged else 0):
                cut = dice.randint(begin, end)
                done = self.make(cut, dice.getrandbits(63), disk, replay)
                found = self._mend()[1]
                same = found == wanted
                seen.append((cut - begin, done, [] if same else [
                    "SALVAGE: %s, undisturbed: %s" % (_in_short(found), _in_short(wanted))]))
        finally:
            _end_replay(replay)
        return salvaged, seen

    # Before: lines that the database does not know

    def _check_lines_before(self, history):
        known, newest, exported = self._known()
        for path in self.audit:
            for line in _whole_lines(path, exported):
                twin = known.get(line["seq"])
                if twin is None or line["seq"] > newest:
                    history.faults.append("AHEAD: the audit file has seq %d, the database ends "
                                          "at %d" % (line["seq"], newest))
                    return
                if twin != line["id"]:
                    history.faults.append("DIFFERS: seq %d is id %d in the file and id %d in the "
                                          "table" % (line["seq"], line["id"], twin))
                    return

    def _known(self):
        """({seq: id}, newest seq, export cursor), of a database that is not changed."""
        path = os.path.join(self.spool, "spool.db")
        if not os.path.exists(path):
            return {}, 0, 0
        with contextlib.closing(sqlite3.connect("file:%s?mode=ro" % path, uri=True)) as database:
            try:
                known = dict(database.execute("SELECT seq, id FROM outcome"))
                known.update((record["seq"], record["id"]) for record in checker.run_records(database))
                newest = database.execute("SELECT max(last_seq) FROM lane").fetchone()[0]
                exported = database.execute("SELECT exported_seq FROM spool").fetchone()[0]
            except sqlite3.Error:  # the daemon will log it
                return {}, 1 << 62, 1 << 62
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path + "-shm")
        return known, newest or 0, exported

    # The daemon

    def _open_and_stop(self, history, environment=None):
        with contextlib.suppress(BlockingIOError, TimeoutError):
            while True:
                self.notify.recv(4096, socket.MSG_DONTWAIT)
        log = os.path.join(self.folder, "stderr")
        environment = dict(os.environ, NOTIFY_SOCKET=os.path.join(self.folder, "notify"),
                           **environment or {})
        with open(log, "wb") as stderr:
            daemon = processes.start([processes.daemon_path(), "-c", self.config],
                                     stdout=stderr, stderr=stderr, env=environment)
        ready = self._wait_ready(daemon)
        daemon.send_signal(signal.SIGTERM)
        try:
            code = daemon.wait(_START_SECONDS)
        except subprocess.TimeoutExpired:
            daemon.kill()
            code = daemon.wait()
        with open(log, errors="replace") as seen:
            lines = seen.read().splitlines()
        wrong = [line for line in lines if line.split(" ")[1:2] == ["error"]]
        if not ready or code or wrong:
            history.faults.append("DAEMON: %s, exit code %d: %s"
                                  % ("ready" if ready else "never ready", code,
                                     " | ".join(wrong or lines[-3:])))
        return lines[-1] if lines else ""

    def _wait_ready(self, daemon):
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                if b"READY=1" in self.notify.recv(4096):
                    return True
            if daemon.poll() is not None:
                return False
        return False

    # After

    def _check_lines_after(self, history):
        """Each outcome is in the files, once: what the checker read from the table instead comes
        last, and has no time."""
        in_files = [record["seq"] for record in history.outcomes if "time" in record]
        wanted = list(range(1, len(history.outcomes) + 1))
        if in_files != wanted:
            history.faults.append("AUDIT: " + tap.first_difference(in_files, wanted))

    def _check_undamaged(self, history):
        """A cut damages nothing: nothing may be treated as damaged, or moved aside."""
        aside = sorted(name for name in os.listdir(self.spool) if name not in _SPOOL_FILES)
        if aside or history.ledger.get("damaged"):
            history.faults.append("DAMAGED: %r messages, beside the spool: %r"
                                  % (history.ledger.get("damaged"), aside))

    def _check_ids(self, history, cut):
        path = os.path.join(self.spool, "spool.db")
        with contextlib.closing(sqlite3.connect(path)) as database, \
                contextlib.suppress(sqlite3.Error):
            newest = database.execute("SELECT max(last_id) FROM lane").fetchone()[0] or 0
            acknowledged = max(self.recording.acked_before(cut), default=0)
            if newest < acknowledged:
                history.faults.append("ID: acknowledged up to %d, the database would continue "
                                      "after %d" % (acknowledged, newest))


_LINE = re.compile(rb'^\{"seq":(\d+),[^\n\0]*\}$', re.MULTILINE)


def _whole_lines(path, after):
    """Records after seq @after that stand in a line of their own; what a cut has torn is none."""
    with contextlib.suppress(FileNotFoundError), open(path, "rb") as audit:
        for line in _LINE.finditer(audit.read()):
            if int(line.group(1)) > after:
                with contextlib.suppress(ValueError):
                    yield json.loads(line.group())


# Many images


class Result:
    def __init__(self):
        self.images = 0
        self.cuts = set()
        self.acked = 0
        self.bad = []  # (number of the image, cut, what was done, findings)
        self.seconds = 0.0
        self.held = collections.Counter()  # in how many images the tables had rows

    def kinds(self):
        """{kind of finding: in how many images}."""
        return collections.Counter(kind for *_, findings in self.bad
                                   for kind in {finding.split(":")[0] for finding in findings})

    def show(self, what):
        kinds = ", ".join("%s in %d" % pair for pair in sorted(self.kinds().items()))
        asked = ", %.0f acknowledged messages asked for in each" % (self.acked / self.images) \
            if self.acked else ""
        held = "".join(", %d with %s" % (count, name) for name, count in sorted(self.held.items()))
        print("# %s: %d images of %d cuts%s%s, %d bad%s, %.1f s"
              % (what, self.images, len(self.cuts), asked, held, len(self.bad),
                 " (%s)" % kinds if kinds else "", self.seconds), flush=True)


def _judge_some(recording, seed, numbers, disk, twice):
    """In a process of its own: (number, cut, acknowledged, what was done, findings, which tables
    have rows) of each."""
    bench = Bench(recording)
    try:
        seen = []
        for number in numbers:
            dice = random.Random("%s %s" % (seed, number))
            cut = recording.choose_cut(dice)
            done = bench.make_twice(cut, dice, disk) if twice else bench.make(
                cut, dice.getrandbits(63), disk)
            findings = bench.judge(cut)
            seen.append((number, cut, len(recording.acked_before(cut)), done, findings,
                         bench.held))
        return seen
    finally:
        bench.close()


def judge_many(recording, seed, numbers, disk="honest", twice=False):
    """The images with @numbers of @seed. Most of the time is spent waiting for a daemon's end, so
    there are more workers than processors."""
    began, result = time.monotonic(), Result()
    workers = 3 * (os.cpu_count() or 1)
    parts = [list(numbers)[start::workers] for start in range(workers)]
    with concurrent.futures.ProcessPoolExecutor(
            workers, multiprocessing.get_context("fork"), processes.die_with_parent) as pool:
        waiting = [pool.submit(_judge_some, recording, seed, part, disk, twice)
                   for part in parts if part]
        for future in waiting:
            for number, cut, acked, done, findings, held in future.result():
                result.held.update(held)
                result.images += 1
                result.cuts.add(cut)
                result.acked += acked
                if findings:
                    result.bad.append((number, cut, done, findings))
    result.bad.sort()
    result.seconds = time.monotonic() - began
    return result


_CUTS_A_SPOOL = 20


def _salvage_some(recording, seed, number, disk):
    bench = Bench(recording)
    try:
        return bench.judge_salvages(random.Random("%s salvage %s" % (seed, number)), disk,
                                    _CUTS_A_SPOOL)
    finally:
        bench.close()


def judge_salvages(recording, seed, numbers, disk="honest"):
    """The damaged spools with @numbers of @seed: (result, how many of them were salvaged). The
    damage of the others hit nothing that is read. See Bench.judge_salvages()."""
    began, result, salvaged = time.monotonic(), Result(), 0
    with concurrent.futures.ProcessPoolExecutor(
            os.cpu_count(), multiprocessing.get_context("fork"),
            processes.die_with_parent) as pool:
        waiting = [pool.submit(_salvage_some, recording, seed, number, disk)
                   for number in numbers]
        for number, future in zip(numbers, waiting):
            was_salvaged, seen = future.result()
            salvaged += was_salvaged
            for cut, done, findings in seen:
                result.images += 1
                result.cuts.add((number, cut))
                if findings:
                    result.bad.append((number, cut, done, findings))
    result.seconds = time.monotonic() - began
    return result, salvaged
