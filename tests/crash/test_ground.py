# SPDX-License-Identifier: MIT
"""Files and folders are removed, renamed, replaced and covered under the running daemon.

Under load each round makes one change, drawn by the seed. The daemon must find it, name the file in
the log, and end with exit code 1; or continue if the spool is not affected. The rig starts it
again, as its unit does. Files that exist under another name are put back before that, as the log
says. In half of the rounds the daemon is stopped during the change, and a second one tries to open
the same spool. At the end the three ledgers are judged: all that was acknowledged is there. The
suite makes each change once; --rounds 200 --seed 7 is the long form.

Other cases: a kill at each step of putting files back; a spool that cannot be put back for a while,
or at all; an older copy written over the open file, which cannot be detected by names.
"""

import concurrent.futures
import ctypes
import glob
import json
import os
import random
import re
import shutil
import signal
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import processes  # noqa: E402
from checker import History, collect_daemon, figures, hold  # noqa: E402
from gateway import Gateway, all_of_the_disk  # noqa: E402
from load import FarBroker, Patient, collect, start_producers  # noqa: E402
from tap import case, check, cleanup, equal, run_all, skip, wait_for  # noqa: E402

WINDOW = 32
PATIENCE_S = 60
DATABASE_FILES = ("spool.db", "spool.db-wal", "spool.db-shm")
ALL_FILES = DATABASE_FILES + ("spool.mark", "lock")
CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 0x20000, 0x1000, 0x4000, 0x40000, 2
libc = ctypes.CDLL(None, use_errno=True)


def mount(source, target, kind, flags=0, data=None):
    return libc.mount(source.encode(), target.encode(), kind.encode(), flags, data) == 0


class Rig:
    """The daemon, its broker, and the folders that are changed under it."""

    def __init__(self):
        self.folder = processes.folder()
        self.disk = os.path.join(self.folder, "disk")
        os.mkdir(self.disk)
        self.has_mounts = self._mount_disk()
        self.spool = os.path.join(self.disk, "spool")
        self.log_folder = os.path.join(self.folder, "log")
        os.mkdir(self.log_folder)
        self.audit = os.path.join(self.log_folder, "audit.jsonl")
        self.far = FarBroker()
        self.gateway = Gateway(self.far.url, spool={"directory": self.spool},
                               audit={"file": self.audit}, retention={"max_messages": 100000},
                               uplink={"window": WINDOW, "ack_timeout": "5s",
                                       "backoff": {"min": "10ms", "max": "50ms"}})
        self.gateway.spool, self.gateway.audit = self.spool, self.audit
        self.second = Gateway(spool={"directory": self.spool})
        self.audits = []  # kept by the rig, oldest first
        self.undo = []  # what the operator does before the next start
        self.older = os.path.join(self.folder, "older")
        self.producers, self.ends, self.seconds = [], 0, 0

    def _mount_disk(self):
        """A file system of its own, in a mount namespace of this process; needs root."""
        if libc.unshare(CLONE_NEWNS) or not mount("none", "/", "none", MS_REC | MS_PRIVATE):
            return False
        if not mount("tmpfs", self.disk, "tmpfs", 0, b"size=256m"):
            return False
        cleanup(libc.umount2, self.disk.encode(), MNT_DETACH)
        return True

    def path(self, name):
        return os.path.join(self.spool, name)

    # What the daemon does

    def begin(self):
        self.gateway.start()
        self.gateway.wait_link()
        self.producers = start_producers(self.gateway.socket, 3, kind=Patient, window=16,
                                         pause=0.003)

    def lines(self, event, since):
        return [line for line in self.gateway.log()[since:].split("\n") if " %s " % event in line]

    def wait_line(self, event, since):
        return wait_for(lambda: self.lines(event, since), PATIENCE_S, lambda: "%s in the log: %r"
                        % (event, self.gateway.log()[since:]))[0]

    def heal(self):
        """Each producer is served, and something is delivered."""
        acked = [len(producer.acked) for producer in self.producers]
        size = os.path.getsize(self.far.ledger)
        wait_for(lambda: all(len(producer.acked) > count
                             for producer, count in zip(self.producers, acked)), PATIENCE_S,
                 "each producer served after the round")
        wait_for(lambda: os.path.getsize(self.far.ledger) > size, PATIENCE_S,
                 "something delivered after the round")

    def keep_older(self):
        """A copy of the spool as a backup makes it, of a moment at which it stands still."""
        shutil.rmtree(self.older, ignore_errors=True)
        shutil.copytree(self.spool, self.older)

    def try_second(self):
        """Another daemon on the same spool: it must not start, and the tool reports a running
        one."""
        self.seconds += 1
        self.second.start(ready=False)
        equal(self.second.process.wait(PATIENCE_S), 1, "exit code of a second daemon:\n"
              + self.second.log()[-2000:])
        check("another daemon runs on this spool" in self.second.log(), "why it did not start",
              self.second.log())
        done = self.gateway.tool("check", "--json")
        check(not done.stdout or b'"running":true' in done.stdout.replace(b" ", b""),
              "the tool takes the daemon for stopped", done.stdout, done.stderr)


# Changes of the spool: each returns what the log may say of it, and whether the files still exist


def removed(*names):
    def change(rig):
        for name in names:
            os.unlink(rig.path(name))
        return {"removed"}, False
    change.__name__ = "removed " + (" ".join(names) if len(names) < 5 else "all files")
    return change


def renamed(name, lives):
    def change(rig):
        other = rig.path(name + ".other")
        os.rename(rig.path(name), other)
        rig.undo.append((os.rename, other, rig.path(name)) if lives else (os.unlink, other))
        return {"renamed"}, lives
    change.__name__ = "renamed " + name
    return change


def replaced(*names):
    """By older copies, which are other files, as mv puts them there."""
    def change(rig):
        for name in names:
            shutil.copy2(os.path.join(rig.older, name), rig.path(name + ".copy"))
            os.rename(rig.path(name + ".copy"), rig.path(name))
        return {"replaced"}, False
    change.__name__ = "replaced " + " ".join(names)
    # An older log that appears beside the restored database counts as its log, for SQLite too: that
    # is damage, which the start salvages, and not a subject of this rig.
    change.is_one = len(names) == 1
    return change


def removed_folder(rig):
    shutil.rmtree(rig.spool)
    return {"removed"}, False


def replaced_folder(rig):
    """rm -rf, then an older copy of all."""
    shutil.rmtree(rig.spool)
    shutil.copytree(rig.older, rig.spool)
    return {"removed", "replaced"}, False


replaced_folder.is_one = False


def renamed_folder(rig):
    os.rename(rig.spool, rig.spool + ".other")
    rig.undo.append((os.rename, rig.spool + ".other", rig.spool))
    return {"renamed"}, True


def copied_folder(rig):
    """Renamed, and a copy takes its place."""
    os.rename(rig.spool, rig.spool + ".other")
    rig.undo += [(shutil.rmtree, rig.spool), (os.rename, rig.spool + ".other", rig.spool)]
    shutil.copytree(rig.spool + ".other", rig.spool)
    return {"renamed", "replaced"}, True


def covered(rig):
    check(mount("tmpfs", rig.disk, "tmpfs"), "mount", ctypes.get_errno())
    rig.undo.append((libc.umount2, rig.disk.encode(), MNT_DETACH))
    return {"unmounted"}, True


def unmounted(rig):
    keep = os.path.join(rig.folder, "keep")
    os.makedirs(keep, exist_ok=True)
    check(mount(rig.disk, keep, "none", MS_BIND), "bind", ctypes.get_errno())
    check(libc.umount2(rig.disk.encode(), MNT_DETACH) == 0, "umount", ctypes.get_errno())
    rig.undo += [(mount, keep, rig.disk, "none", MS_BIND),
                 (libc.umount2, keep.encode(), MNT_DETACH)]
    return {"unmounted"}, True



SPOOL_CHANGES = [removed(name) for name in ALL_FILES] + [
    removed("spool.db", "spool.db-wal"), removed(*ALL_FILES), removed_folder,
    renamed("spool.db", True), renamed("spool.db-wal", True), renamed("spool.db-shm", False),
    renamed("spool.mark", False), renamed("lock", False), renamed_folder, copied_folder,
    replaced("spool.db"), replaced("spool.db-wal"), replaced("spool.mark"), replaced("lock"),
    replaced("spool.db", "spool.db-wal", "spool.mark"), replaced_folder]
MOUNT_CHANGES = [covered, unmounted]


# Changes beside the spool: the daemon continues


def keep_audit(rig):
    """The rig knows the contents of the file, as a reader of it would."""
    rig.audits.append(os.path.join(rig.folder, "audit-%d.jsonl" % len(rig.audits)))
    shutil.copy(rig.audit, rig.audits[-1])


def audit_removed(rig):
    keep_audit(rig)
    os.unlink(rig.audit)
    return "audit_deleted"


def audit_renamed(rig):
    rig.audits.append(os.path.join(rig.folder, "audit-%d.jsonl" % len(rig.audits)))
    os.rename(rig.audit, rig.audits[-1])
    return "audit_moved"


def audit_folder_removed(rig):
    keep_audit(rig)
    shutil.rmtree(rig.log_folder)
    return "audit_deleted"


def audit_folder_renamed(rig):
    other = os.path.join(rig.folder, "log-%d" % len(rig.audits))
    os.rename(rig.log_folder, other)
    rig.audits.append(os.path.join(other, "audit.jsonl"))
    return "audit_moved"


def socket_removed(rig):
    os.unlink(rig.gateway.socket)
    return "socket_moved"


def run_folder_removed(rig):
    shutil.rmtree(rig.gateway.run_folder)
    return "socket_moved"


OTHER_CHANGES = [audit_removed, audit_renamed, audit_folder_removed, audit_folder_renamed,
                 socket_removed, run_folder_removed]


# Rounds


def is_same_folder(rig, before):
    """A second daemon finds the folder of the first one: otherwise it may start, in another."""
    try:
        seen = os.stat(rig.spool)
    except OSError:
        return False
    return (seen.st_dev, seen.st_ino) == (before.st_dev, before.st_ino)


def play_spool(rig, dice, change):
    gateway = rig.gateway
    stands_still = dice.random() < 0.5 or not getattr(change, "is_one", True)
    time.sleep(dice.uniform(0, 0.2))
    gateway.process.send_signal(signal.SIGSTOP)
    rig.keep_older()
    gateway.process.send_signal(signal.SIGCONT)
    time.sleep(dice.uniform(0.02, 0.1))  # so that the copy is an older one
    since, folder = len(gateway.log()), os.stat(rig.spool)
    if stands_still:
        gateway.process.send_signal(signal.SIGSTOP)
    allowed, lives = change(rig)
    if stands_still:
        if is_same_folder(rig, folder) and os.path.exists(rig.path("spool.db")):
            rig.try_second()
            allowed = allowed | {"replaced"}  # the tool, which reads it, makes a new index
        gateway.process.send_signal(signal.SIGCONT)
    line = rig.wait_line("spool_moved", since)
    check(re.search(r" what=(\w+) ", line).group(1) in allowed, "what it says", line)
    if not lives:
        rig.wait_line("spool_restored", since)
    if dice.random() < 0.5:
        gateway.process.kill()
    code = gateway.process.wait(PATIENCE_S)
    check(code in (1, -signal.SIGKILL), "how the daemon ended", code)
    check(lives == (not rig.lines("spool_restored", since)), "put back", line)
    if lives and "unmounted" not in allowed:
        check(re.search(r' lives_at="(.+?)" ', line), "where it lives", line)
    gateway.check_log()
    for action, *arguments in rig.undo:
        action(*arguments)
    rig.undo.clear()
    rig.ends += 1
    gateway.start()
    check(not rig.lines("spool_damaged", since), "taken for damage", gateway.log()[since:])
    for name in glob.glob(rig.path("*.replaced-*")):
        os.unlink(name)


def play_other(rig, dice, change):
    gateway = rig.gateway
    time.sleep(dice.uniform(0, 0.2))
    wait_for(lambda: os.path.exists(rig.audit), PATIENCE_S, "an audit file")
    since = len(gateway.log())
    gateway.process.send_signal(signal.SIGSTOP)
    event = change(rig)
    gateway.process.send_signal(signal.SIGCONT)
    rig.wait_line(event, since)
    if not os.path.isdir(rig.log_folder):
        rig.wait_line("audit_waiting", since)
        os.mkdir(rig.log_folder)
        rig.wait_line("audit_resumed", since)
    os.makedirs(gateway.run_folder, exist_ok=True)
    wait_for(lambda: os.path.exists(gateway.socket), PATIENCE_S, "a socket")
    gateway.client().close()
    gateway.fresh_status()
    check(gateway.is_running(), "it ended", gateway.log()[since:])


def merged_audit(rig):
    """One file of all. A line that was not synced when its file was deleted is written twice."""
    seen, merged = {}, os.path.join(rig.folder, "merged.jsonl")
    for path in rig.audits + [rig.audit]:
        with open(path, "rb") as lines:
            for line in lines.read().split(b"\n")[:-1]:
                seen.setdefault(json.loads(line)["seq"], set()).add(line)
    with open(merged, "wb") as out:
        for seq in sorted(seen):
            for line in seen[seq]:
                out.write(line + b"\n")
    return merged


def judge(rig):
    history = History()
    history.window, history.drained, history.cuts = WINDOW, True, rig.ends + 1
    collect(history, rig.producers)
    rig.far.collect(history)
    collect_daemon(history, [merged_audit(rig)], rig.spool)
    print("# %d restarts, %d second daemons refused: %s"
          % (rig.ends, rig.seconds, figures(history)))
    hold(history)
    equal({record["outcome"] for record in history.outcomes}, {"delivered"}, "outcomes")
    check(len(history.acked) > 10 * rig.ends, "too little load to prove anything",
          len(history.acked))


def schedule(rig, dice, rounds):
    known = SPOOL_CHANGES + OTHER_CHANGES + (MOUNT_CHANGES if rig.has_mounts else [])
    if not rig.has_mounts:
        print("# no changes of mounts: they need root")
    if rounds == 0:
        return dice.sample(known, len(known))
    return [dice.choice(known) for _ in range(rounds)]


@case(seconds=7200)
def what_is_removed_renamed_or_replaced_under_load_is_found_and_nothing_is_lost():
    options = run_all.options
    print("# seed %d: --rounds %d --seed %d" % (options.seed, options.rounds, options.seed))
    rig, dice = Rig(), random.Random(options.seed)
    rig.begin()
    for number, change in enumerate(schedule(rig, dice, options.rounds)):
        print("# round %d: %s" % (number, change.__name__), flush=True)
        play = play_other if change in OTHER_CHANGES else play_spool
        play(rig, dice, change)
        rig.heal()
    for producer in rig.producers:
        producer.finish(60)
    rig.gateway.wait_drained(180)
    done = rig.gateway.tool("check")
    equal(done.returncode, 0, "mqtt-spool check: %r" % done.stdout)
    rig.gateway.stop(30)
    judge(rig)


# Single cases


def filled(messages=200, **options):
    """A daemon without a broker that has acknowledged so many messages."""
    gateway = Gateway(**options).start()
    publish(gateway, messages)
    return gateway


def publish(gateway, messages):
    client = gateway.client()
    for _, ack in client.publish_many(("a/b", b"%d" % number) for number in range(messages)):
        equal(ack.reason, 0, "reason of the PUBACK")


def remove_all(gateway):
    for name in os.listdir(gateway.spool):
        os.unlink(os.path.join(gateway.spool, name))


def assert_all_there(gateway, messages):
    gateway.start()
    ledger = gateway.ledger()
    equal((ledger["accepted"], ledger["spooled"]), (messages, messages), "what is there")
    equal(gateway.tool("check").returncode, 0, "mqtt-spool check")
    gateway.stop()


@case
def with_the_lock_removed_no_second_daemon_starts_and_the_tool_sees_the_first():
    gateway = filled(10)
    second = Gateway(spool={"directory": gateway.spool})
    gateway.process.send_signal(signal.SIGSTOP)  # it would find it itself
    os.unlink(os.path.join(gateway.spool, "lock"))
    second.start(ready=False)
    equal(second.process.wait(PATIENCE_S), 1, "exit code")
    check("another daemon runs on this spool" in second.log(), "why", second.log())
    done = gateway.tool("status", "--require-running")
    equal(done.returncode, 0, "mqtt-spool status --require-running: %r" % done.stderr)
    check(b"the daemon runs" in gateway.tool("check").stdout, "what the tool says of the daemon")
    gateway.process.send_signal(signal.SIGCONT)
    equal(gateway.process.wait(PATIENCE_S), 1, "exit code")
    assert_all_there(gateway, 10)


@case
def files_removed_while_nothing_comes_in_are_found_and_put_back():
    gateway = filled(50)
    remove_all(gateway)
    equal(gateway.process.wait(PATIENCE_S), 1, "exit code")
    check("spool_moved" in gateway.log() and "spool_restored" in gateway.log(), gateway.log())
    assert_all_there(gateway, 50)


@case
def files_removed_just_before_the_daemon_stops_are_put_back():
    gateway = filled(50)
    gateway.process.send_signal(signal.SIGSTOP)
    remove_all(gateway)
    gateway.process.send_signal(signal.SIGTERM)
    gateway.process.send_signal(signal.SIGCONT)
    equal(gateway.process.wait(PATIENCE_S), 1, "exit code")
    assert_all_there(gateway, 50)


def block(gateway):
    """Removed, and a file takes the folder's name: nothing can be put back there."""
    since = len(gateway.log())
    gateway.process.send_signal(signal.SIGSTOP)
    shutil.rmtree(gateway.spool)
    open(gateway.spool, "w").close()
    gateway.process.send_signal(signal.SIGCONT)
    wait_for(lambda: "spool_not_restored" in gateway.log()[since:], PATIENCE_S,
             "spool_not_restored in the log")


@case
def the_recipe_for_the_copy_that_was_set_aside_opens_it_without_damage():
    gateway = filled(20)
    gateway.stop()
    older = gateway.spool + ".older"
    shutil.copytree(gateway.spool, older)
    gateway.start()
    publish(gateway, 30)
    for name in ("spool.db", "spool.db-wal"):
        os.rename(os.path.join(older, name), os.path.join(gateway.spool, name))
    equal(gateway.process.wait(PATIENCE_S), 1, "exit code")
    line = next(line for line in gateway.log().split("\n") if "spool_restored" in line)
    check("move all files of the folder away, spool.mark included" in line, "no recipe", line)
    aside = re.search(r" set_aside=(\S+) ", line).group(1)
    away = gateway.spool + ".away"
    os.rename(gateway.spool, away)
    os.mkdir(gateway.spool, 0o700)
    for end in ("", "-wal"):
        if os.path.exists(os.path.join(away, aside + end)):
            os.rename(os.path.join(away, aside + end),
                      os.path.join(gateway.spool, "spool.db" + end))
    gateway.start()
    check("spool_damaged" not in gateway.log(), "taken for damage", gateway.log())
    ledger = gateway.ledger()
    equal((ledger["accepted"], ledger["spooled"], ledger["damaged"]), (20, 20, 0))
    gateway.stop()


@case
def what_cannot_be_put_back_yet_is_kept_and_nothing_more_is_taken():
    gateway = filled(100)
    client = gateway.client()
    block(gateway)
    equal(client.publish_wait("a/b", b"refused").reason, 0x97, "reason")
    wait_for(lambda: gateway.status().get("intake", {}).get("refusing") == "spool_moved",
             PATIENCE_S, lambda: "the status saying so, it is %r" % gateway.status())
    line = next(line for line in gateway.log().split("\n") if "spool_not_restored" in line)
    for name in ("database", "log"):
        path = re.search(r" %s=(\S+) " % name, line).group(1)
        with open(path, "rb") as seen:
            check(len(seen.read()) > 0, "nothing to read in", path)
    check(gateway.is_running(), "it ended")
    for verb in ("failures", "check", "audit"):
        done = gateway.tool(verb)
        said = (done.stdout + done.stderr).decode()
        check(done.returncode != 0 and "do not end it" in said and "systemctl start" not in said,
              verb, done.returncode, said)
    page = gateway.tool("status").stdout.decode()
    check("do not end the daemon" in page, "status", page)
    os.unlink(gateway.spool)
    equal(gateway.process.wait(PATIENCE_S), 1, "exit code")
    equal(gateway.log().count("spool_not_restored"), 1, "lines about it")
    assert_all_there(gateway, 100)


def accepted_until_refused(client):
    """How many messages were accepted before the HUP applied."""
    accepted = []

    def is_refused():
        reason = client.publish_wait("a/b", b"x").reason
        accepted.extend([reason] if reason != 0x97 else [])
        return reason == 0x97

    wait_for(is_refused, PATIENCE_S, "refusals")
    return len(accepted)


def reasons_in(log):
    return re.findall(r" spool_full reason=(\S+)", log)


@case
def removed_files_outrank_a_disk_that_was_short_before():
    gateway = filled(100, retention={"when_full": "refuse"})
    client = gateway.client()
    gateway.configure(spool={"disk_reserve": all_of_the_disk()})
    gateway.hup()
    stored = 100 + accepted_until_refused(client)
    equal(reasons_in(gateway.log()), ["disk"], "reasons before")
    block(gateway)
    equal(client.publish_wait("a/b", b"refused").reason, 0x97, "reason")
    wait_for(lambda: gateway.status().get("intake", {}).get("refusing") == "spool_moved",
             PATIENCE_S, lambda: "the status saying so, it is %r" % gateway.status())
    check(b"spool's files were removed" in gateway.tool("status").stdout, "it is on the page")
    wait_for(lambda: any("DO NOT END THE DAEMON" in text for text in gateway.read_notifications()),
             PATIENCE_S, "a STATUS= line")
    equal(reasons_in(gateway.log()), ["disk", "spool_moved"], "reasons")
    gateway.configure(spool={"disk_reserve": "1M"})
    gateway.hup()  # free disk space does not help a spool that is missing
    wait_for(lambda: gateway.log().count(" reloaded") == 2, PATIENCE_S, "the reload")
    before = gateway.fresh_status()["uptime_ms"]
    wait_for(lambda: gateway.fresh_status()["uptime_ms"] > before + 3000, PATIENCE_S, "three ticks")
    equal(gateway.status()["intake"]["refusing"], "spool_moved", "what the status says then")
    check(" spool_room " not in gateway.log(), "nothing says that there is room", gateway.log())
    os.unlink(gateway.spool)
    equal(gateway.process.wait(PATIENCE_S), 1, "exit code")
    check(" spool_room " not in gateway.log(), "nothing says that there is room", gateway.log())
    assert_all_there(gateway, stored)


def fill(folder):
    with open(os.path.join(folder, "filler"), "wb", 0) as out:
        try:
            while out.write(b"\0" * 65536) == 65536:
                pass
        except OSError:
            pass  # not a byte is left


@case
def what_has_no_room_is_put_back_when_there_is_room_and_the_disk_is_not_filled_by_tries():
    rig = Rig()
    if not rig.has_mounts:
        skip("mounts a small file system: needs root")
    gateway = rig.gateway
    gateway.configure(uplink={"brokers": ["tcp://127.0.0.1:9"]})
    gateway.start()
    publish(gateway, 3000)
    gateway.process.send_signal(signal.SIGSTOP)
    os.unlink(rig.path("spool.db"))
    os.unlink(rig.path("spool.db-wal"))
    fill(rig.disk)
    gateway.process.send_signal(signal.SIGCONT)
    line = rig.wait_line("spool_not_restored", 0)
    needed = int(re.search(r" bytes=(\d+) ", line).group(1))
    os.truncate(os.path.join(rig.disk, "filler"),
                os.path.getsize(os.path.join(rig.disk, "filler")) - needed // 2)
    equal(gateway.client().publish_wait("a/b", b"refused").reason, 0x97, "reason")
    check(not glob.glob(rig.path("spool.db.new*")), "half a copy is left", os.listdir(rig.spool))
    os.unlink(os.path.join(rig.disk, "filler"))
    equal(gateway.process.wait(PATIENCE_S), 1, "exit code")
    assert_all_there(gateway, 3000)


@case
def what_cannot_be_put_back_at_all_is_counted_as_lost_at_the_end():
    gateway = filled(100)
    block(gateway)
    gateway.stop(PATIENCE_S, code=1)
    check(" spool_lost count=100 " in gateway.log(), "how many are lost", gateway.log())


def kill_at(wish):
    """The log is gone, and a copy of the database without it has its name."""
    gateway = Gateway().start(env={"SPOOLD_FAILPOINT": wish})
    publish(gateway, 30)
    keep = os.path.join(gateway.folder, "keep")
    shutil.copy(os.path.join(gateway.spool, "spool.db"), keep)
    os.unlink(os.path.join(gateway.spool, "spool.db-wal"))
    os.rename(keep, os.path.join(gateway.spool, "spool.db"))
    equal(gateway.process.wait(PATIENCE_S), -signal.SIGKILL, "how it ended at " + wish)
    check("spool_moved" in gateway.log(), wish)
    since = len(gateway.log())
    gateway.start()
    ledger = gateway.ledger()
    gateway.stop()
    if wish in ("restore.begun:1", "restore.synced:1"):  # only what was there is left
        check("spool_damaged" in gateway.log()[since:], "said by the start after " + wish,
              gateway.log()[since:])
    else:
        check("spool_damaged" not in gateway.log(), "taken for damage after " + wish)
        equal((ledger["accepted"], ledger["spooled"]), (30, 30), "after " + wish)
    equal(gateway.tool("check").returncode, 0, "mqtt-spool check after " + wish)


@case
def a_kill_while_files_are_put_back_leaves_all_of_them_or_says_what_is_missing():
    names = [name for name in processes.failpoints() if name.startswith("restore.")]
    if not names:
        skip("this build holds no failpoints (SPOOLD_FAILPOINTS)")
    wishes = ["%s:1" % name for name in names]
    wishes += ["restore.removed:2", "restore.removed:3", "salvage.moved:1", "salvage.moved:2",
               "salvage.moved:3"]
    with concurrent.futures.ThreadPoolExecutor(len(wishes)) as pool:
        list(pool.map(kill_at, wishes))  # raises the exception of one of them


@case
def a_kill_while_all_files_are_put_back_leaves_a_record_of_each_message():
    processes.need_failpoint("restore.synced")
    gateway = Gateway().start(env={"SPOOLD_FAILPOINT": "restore.synced:1"})
    publish(gateway, 30)
    gateway.process.send_signal(signal.SIGSTOP)
    shutil.rmtree(gateway.spool)
    gateway.process.send_signal(signal.SIGCONT)
    equal(gateway.process.wait(PATIENCE_S), -signal.SIGKILL, "how it ended")
    gateway.start()
    ledger = gateway.ledger()
    check("spool_damaged" in gateway.log(), "what the start says", gateway.log())
    equal((ledger["accepted"], ledger["damaged"]), (30, 30), "what is recorded")
    gateway.stop()


@case
def an_older_copy_written_over_the_open_file_is_never_taken_for_the_spool():
    for is_killed in (False, True):
        gateway = filled(1500)
        gateway.stop()  # a checkpoint: all is in the database
        older = os.path.join(gateway.folder, "older.db")
        shutil.copy(os.path.join(gateway.spool, "spool.db"), older)
        gateway.start()
        publish(gateway, 1500)
        with open(older, "rb") as seen, open(os.path.join(gateway.spool, "spool.db"), "r+b") as out:
            out.write(seen.read())
            out.truncate()
        publish(gateway, 20)
        since = len(gateway.log())
        if is_killed:
            gateway.kill()
        else:
            gateway.process.send_signal(signal.SIGTERM)
            gateway.process.wait(PATIENCE_S)
        gateway.start()
        ledger = gateway.ledger()
        check(ledger["spooled"] == 3020 or "spool_damaged" in gateway.log()[since:],
              "messages are missing, and nothing reports it", ledger, gateway.log()[since:])
        equal(ledger["accepted"], 3020, "accepted, of all that was acknowledged")
        equal(gateway.tool("check").returncode, 0, "mqtt-spool check")
        gateway.stop()
        gateway.discard()


def add_arguments(parser):
    parser.add_argument("--rounds", type=int, default=0, help="0: each change once")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the changes")


run_all(add_arguments)
