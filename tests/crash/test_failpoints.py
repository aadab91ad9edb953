# SPDX-License-Identifier: MIT
"""SIGKILL at every failpoint between receive, append, commit, acknowledge, send, answer, settle,
export and prune, one after the other, at its first and later passages.

The names are read from the program itself, so a new failpoint is swept without being listed here.
Each run has a spool of its own: the daemon serves producers, evicts and delivers until it dies at
the failpoint, starts again without one, drains, and the ledgers are judged. Then pairs: the daemon
that recovers from one death dies at another failpoint.
"""

import contextlib
import functools
import os
import random
import re
import signal
import sqlite3
import sys
import threading
import time

sys.dont_write_bytecode = True
os.environ.setdefault("SPOOLD_SEGMENT_ROWS", "50")  # so that many are filled and emptied
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import processes  # noqa: E402
from checker import History, collect_daemon, hold, measured_repeats, verdict  # noqa: E402
from gateway import Gateway  # noqa: E402
from load import FarBroker, collect, start_producers  # noqa: E402
from tap import case, check, equal, forget_notes, run_all, skip, wait_for  # noqa: E402

SOURCE = os.environ.get("SPOOLD_SOURCE") or os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "..", "..")
MACRO = re.compile(r'\bFAILPOINT(?:_TORN)?\("([^"]+)"')

WINDOW = 16
# Few enough that eviction and delivery run side by side.
MAX_MESSAGES = 60
# What is larger is rejected, and kept with its payload.
LARGE = 1000
AFTER_LARGE = 300
# What a failpoint needs to be reached: an incomplete line at the end of the audit file ...
BEFORE = {"export.after_mend": "export.torn_write:2"}
# ... or a damaged database, for all names with this prefix.
AFTER_DAMAGE = "salvage."
ONLY_NEW = ("create.", "migrate.")  # unless an older program made the spool
# Reached when files are removed under the daemon, which by itself may lose: see test_ground.py; or
# when failures are reported, in messages that no producer sent: see test_broker_presence.py; or
# when a session keeps the outcomes of its messages: see test_outcomes.py.
OTHER_RIG = ("restore.", "report.", "outbox.", "seal_topic.")
SHOWN = 6
NEVER_S, LATER_S = 30, 3  # waited for the first passage, for a later one


def read(path):
    with open(path, "rb") as seen:
        return seen.read()


def written():
    """All names in the source of the daemon."""
    found = set()
    for top in ("store", "daemon"):
        for folder, _, names in os.walk(os.path.join(SOURCE, top)):
            for name in names:
                if name.endswith(".c"):
                    found.update(MACRO.findall(read(os.path.join(folder, name)).decode()))
    return sorted(found)


def is_test_build():
    folder = os.environ.get("SPOOLD_BUILD") or os.path.join(
        os.path.dirname(processes.daemon_path()), "..")
    cache = read(os.path.join(folder, "CMakeCache.txt"))
    return re.search(rb"^SPOOLD_FAILPOINTS:BOOL=(ON|TRUE|1)$", cache, re.MULTILINE) is not None


@case
def failpoints_are_in_test_builds_and_no_trace_of_them_in_others():
    check(len(written()) > 25, "names in the source", written())
    if is_test_build():
        equal(processes.failpoints(), written(), "names in the program")
        return
    equal(processes.failpoints(), [], "names in the program")
    for path in (processes.daemon_path(), processes.tool_path()):
        program = read(path)
        for trace in (b"failpoint", b"FAILPOINT"):
            check(trace not in program, "%r is in %s" % (trace, path))


@case
def a_wish_that_cannot_be_understood_ends_the_program():
    if not processes.failpoints():
        skip("this build holds no failpoints (SPOOLD_FAILPOINTS)")
    for wish in ("", "commit.before", "commit.before:", "commit.before:0", "commit.before:x",
                 "commit.before:1x"):
        done = processes.run([processes.daemon_path(), "--version"],
                             env=dict(os.environ, SPOOLD_FAILPOINT=wish))
        check(done.returncode < 0 and b"NAME:N" in done.stderr, "ignored", wish, done)


class Run:
    """One daemon that dies at each of @wishes ("NAME:N") in turn, and its history."""

    def __init__(self, number, wishes, protocol, far):
        self.wishes = wishes
        self.prefix = "r%dp" % number
        self.history = History()
        self.history.window, self.history.drained = WINDOW, True
        self.seconds = 0  # until it died last
        self.reached = self.ended = False
        self.large = None  # the producer of large messages
        self.gateway = Gateway(far.url, retention={"max_messages": MAX_MESSAGES},
                               audit={"keep": "1s", "seal": "1s"}, status_interval="100ms",
                               uplink={"window": WINDOW, "client_id": self.prefix,
                                       "protocol": protocol,
                                       "backoff": {"min": "10ms", "max": "50ms"}})

    def __str__(self):
        return " ".join(self.wishes)

    def crash(self, wish, seconds):
        """True: it died there, while it served or while it stopped."""
        began = time.monotonic()
        self.gateway.start(ready=False, env={"SPOOLD_FAILPOINT": wish})
        process = self.gateway.process
        while process.poll() is None and time.monotonic() < began + seconds:
            time.sleep(0.01)
        self.seconds = time.monotonic() - began
        code = processes.end(process)
        self.gateway.check_log()
        if code == 0:
            return False
        equal(code, -signal.SIGKILL, "how it ended")
        self.history.cuts += 1
        return True

    def damage(self):
        """Serves for a while, stops, and overwrites a page that holds no message of its own."""
        self.gateway.start()
        time.sleep(0.3)
        self.gateway.stop()
        path = os.path.join(self.gateway.spool, "spool.db")
        with contextlib.closing(sqlite3.connect("file:%s?mode=ro" % path, uri=True)) as database:
            page = database.execute("SELECT rootpage FROM sqlite_schema "
                                    "WHERE name = 'message_expiry'").fetchone()[0]
            size = database.execute("PRAGMA page_size").fetchone()[0]
        with open(path, "r+b") as out:
            out.seek((page - 1) * size)
            out.write(b"\x55" * size)

    def end_large(self, producer):
        """What the broker excludes ends while it accepts others: these come for a while longer."""
        producer.finish()
        before = self.gateway.ledger()["delivered"]
        wait_for(lambda: self.gateway.ledger()["delivered"] > before + AFTER_LARGE, 60,
                 "deliveries after the last large message")
        self.large = producer

    def go(self, seconds):
        """Waits @seconds for each death."""
        producers = start_producers(self.gateway.socket, 3, self.prefix, window=32, pause=0.001)
        producers += start_producers(self.gateway.socket, 1, self.prefix + "large", window=2,
                                     size=LARGE, pause=0.01)
        try:
            if any(wish.startswith(AFTER_DAMAGE) for wish in self.wishes):
                self.damage()
            self.reached = all([self.crash(wish, seconds) for wish in self.wishes])
            self.gateway.start()
            self.end_large(producers.pop())
        finally:
            for producer in producers:
                producer.finish()
        self.gateway.wait_drained(60)
        self.gateway.stop()
        collect(self.history, producers + [self.large])
        collect_daemon(self.history, [self.gateway.audit], self.gateway.spool)


class Sweep:
    """Processes a list of visits, each a function that makes runs, by several threads."""

    def __init__(self):
        self.far = FarBroker("--maximum-packet", str(LARGE))
        self.visits, self.runs, self.errors, self.skipped = [], [], [], []
        self._lock = threading.Lock()

    def _next(self):
        with self._lock:
            return self.visits.pop(0) if self.visits else None

    def run(self, wishes, protocol, seconds):
        with self._lock:
            run = Run(len(self.runs), wishes, protocol, self.far)
            self.runs.append(run)
        try:
            run.go(seconds)
            run.ended = True
        except Exception as error:
            self.errors.append("%s: %r\n%s" % (run, error, run.gateway.last_words()))
        return run

    def visit(self, name, passages, limit_s):
        """Later passages of rare failpoints are left to the long form."""
        before = [BEFORE[name]] if name in BEFORE else []
        first = self.run(before + ["%s:%d" % (name, passages[0])], 5, NEVER_S)
        if not first.reached:
            self.errors.append("%s: never passed: nothing is proved about it" % first)
            return
        for passage in passages[1:]:
            wish = "%s:%d" % (name, passage)
            if passage > 2 and first.seconds * passage > limit_s:
                self.skipped.append(wish)
            elif not self.run(before + [wish], 5 if passage % 2 else 4,
                              max(LATER_S, limit_s)).reached:
                return  # nor will it reach a later one

    def _work(self):
        while visit := self._next():
            visit()

    def go(self, jobs):
        threads = [threading.Thread(target=self._work) for _ in range(jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def judge(self):
        """Findings of all runs, each named by its failpoint."""
        whole = History()
        self.far.collect(whole)
        by_prefix = {run.prefix: run for run in self.runs}
        for entry, connection in zip(whole.remote, whole.connections):
            history = by_prefix[re.match(r"r\d+p", entry[0]).group()].history
            history.remote.append(entry)
            history.connections.append(connection)
        return whole.faults + ["%s: %s" % (run, line) for run in self.runs if run.ended
                               for line in verdict(run.history)]


def swept(sweep):
    """Processes the visits, judges, and prints the figures."""
    sweep.go(run_all.options.jobs)
    forget_notes()
    reached = [run for run in sweep.runs if run.reached]
    found = sweep.errors + sweep.judge()
    check(not found, "%d findings\n%s" % (len(found), "\n".join(found[:SHOWN])))
    repeats = [measured_repeats(run.history) for run in reached]
    records = [record["outcome"] for run in reached for record in run.history.outcomes]
    print("# %d kills in %d runs: %d acknowledged, %d delivered, %d evicted, %d rejected, at most "
          "%d repeats in a run, its window %d"
          % (sum(run.history.cuts for run in sweep.runs), len(sweep.runs),
             sum(len(run.history.acked) for run in reached), records.count("delivered"),
             records.count("evicted"), records.count("rejected"), max(repeats, default=0),
             WINDOW))
    missed = [str(run) for run in sweep.runs if not run.reached]
    print("# %d runs did not reach all of theirs: %s" % (len(missed), ", ".join(missed[:SHOWN])))
    for outcome in ("delivered", "evicted", "rejected"):
        check(not reached or outcome in records, "the runs saw none " + outcome)


def chosen():
    names = [name for name in processes.failpoints()
             if run_all.options.only in name and not name.startswith(OTHER_RIG)]
    if not names:
        skip("this build holds no failpoints (SPOOLD_FAILPOINTS)")
    return names


@case(seconds=7200)
def a_kill_at_any_failpoint_loses_nothing_and_ends_nothing_twice():
    names = chosen()
    passages = [int(text) for text in run_all.options.passages.split(",")]
    sweep = Sweep()
    for name in names:
        sweep.visits.append(functools.partial(sweep.visit, name, passages,
                                              run_all.options.limit))
    swept(sweep)
    print("# %d failpoints at passages %s; left to the long form: %s"
          % (len(names), run_all.options.passages, ", ".join(sweep.skipped) or "none"))


@case(seconds=7200)
def a_kill_at_a_failpoint_after_a_kill_at_another_loses_nothing():
    names = [name for name in chosen() if not name.startswith(AFTER_DAMAGE)]
    random_pairs = random.Random(run_all.options.seed)
    print("# seed %d" % run_all.options.seed)
    sweep = Sweep()
    for _ in range(run_all.options.pairs):
        first = "%s:%d" % (random_pairs.choice(names), random_pairs.randint(1, 5))
        # A spool is new only once.
        second = random_pairs.choice([name for name in names if not name.startswith(ONLY_NEW)])
        wishes = [first, "%s:%d" % (second, random_pairs.randint(1, 3))]
        sweep.visits.append(functools.partial(sweep.run, wishes, random_pairs.choice((4, 5)),
                                              LATER_S))
    swept(sweep)


def make_older(gateway):
    """Rewrites the stopped spool in the first schema, with the same rows."""
    path = os.path.join(gateway.spool, "spool.db")
    newer = os.path.join(gateway.folder, "newer.db")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        settings = [(name, database.execute("PRAGMA " + name).fetchone()[0])
                    for name in ("page_size", "application_id")]
        database.execute("VACUUM INTO ?", (newer,))
    for end in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path + end)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        for name, value in settings + [("user_version", 1)]:
            database.execute("PRAGMA %s = %d" % (name, value))
        database.execute("PRAGMA journal_mode = WAL")
        database.executescript(read(os.path.join(SOURCE, "store", "schema.sql")).decode())
        database.execute("ATTACH ? AS newer", (newer,))
        for table, source in (("lane", "lane"), ("message", "spooled"), ("outcome", "outcome"),
                              ("spool", "spool")):
            rows = database.execute("SELECT name FROM pragma_table_info(?)", (table,)).fetchall()
            columns = ", ".join(row[0] for row in rows)
            database.execute("DELETE FROM main." + table)
            database.execute("INSERT INTO main.%s (%s) SELECT %s FROM newer.%s"
                             % (table, columns, columns, source))
    os.unlink(newer)


def version_of(gateway):
    return gateway.query("PRAGMA user_version")[0][0]


@case(seconds=600)
def a_full_spool_of_the_first_schema_is_migrated_as_a_whole_or_not_at_all():
    if not processes.failpoints():
        skip("this build holds no failpoints (SPOOLD_FAILPOINTS)")
    far, history = FarBroker(), History()
    gateway = Gateway(retention={"max_messages": 3000}).start()
    producers = start_producers(gateway.socket, 3)
    wait_for(lambda: gateway.ledger()["evicted"] > 0, 60, "the spool full")
    for producer in producers:
        producer.finish()
    gateway.stop()
    current = version_of(gateway)
    for wish, left in (("migrate.before_commit:1", 1), ("migrate.after_commit:1", current)):
        make_older(gateway)
        equal(version_of(gateway), 1, "before")
        gateway.start(ready=False, env={"SPOOLD_FAILPOINT": wish})
        equal(gateway.process.wait(60), -signal.SIGKILL, "how it ended")
        equal(version_of(gateway), left, "after " + wish)
        equal(gateway.tool("check").returncode, 0, "mqtt-spool check after " + wish)
        gateway.start()
        equal(version_of(gateway), current, "after the next start")
        gateway.stop()
    gateway.configure(uplink={"brokers": [far.url]})
    gateway.start()
    gateway.wait_drained(60)
    gateway.stop()
    check("spool_damaged" not in gateway.log(), "taken for damage", gateway.log())
    collect(history, producers)
    far.collect(history)
    collect_daemon(history, [gateway.audit], gateway.spool)
    history.drained = True
    hold(history)


def add_arguments(parser):
    parser.add_argument("--passages", default="1,2,5",
                        help="which passages of each failpoint; long form: 1,2,3,4,5,8,13,21,34,55")
    parser.add_argument("--limit", type=float, default=2.0, metavar="SECONDS",
                        help="passages above 2 only when they should come within; long form: 15")
    parser.add_argument("--pairs", type=int, default=16, help="random pairs; long form: 300")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the pairs")
    parser.add_argument("--only", default="", metavar="WORD", help="failpoints with this in them")
    parser.add_argument("--jobs", type=int, default=8, help="daemons at a time")


run_all(add_arguments)
