# SPDX-License-Identifier: MIT
"""The audit file rotated, deleted, cut, replaced, or impossible to write: the daemon continues.

The judge is `mqtt-spool audit`, over all files in the order of their rotation, with the ledger.
"""

import contextlib
import json
import os
import re
import shutil
import socket
import sqlite3
import sys
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import processes  # noqa: E402
from broker import Link, Mosquitto  # noqa: E402
from gateway import Gateway, all_of_the_disk, check_balance  # noqa: E402
from mqtt import PUBACK, Closed  # noqa: E402
from tap import case, check, cleanup, equal, run_all, skip, wait_for  # noqa: E402

QUOTA_EXCEEDED = 0x97


class Rig:
    """A gateway with its link up and an audit file in a folder of its own."""

    def __init__(self, link=True, **settings):
        self.broker = Mosquitto().start()
        self.link = Link(self.broker.port)
        self.folder = os.path.join(processes.folder(), "log")
        os.mkdir(self.folder)
        self.file = os.path.join(self.folder, "audit.jsonl")
        audit = {"file": self.file, "journal": "none"}
        audit.update(settings.pop("audit", {}))
        self.gateway = Gateway(self.link.url, audit=audit, status_interval="100ms", **settings)
        self.gateway.audit = self.file
        if link:
            self.link.restore()

    def start(self):
        self.gateway.start()
        return self

    def deliver(self, count):
        """@count messages, acknowledged and taken by the broker."""
        self.publish(count)
        return self.gateway.wait_drained(60)

    def publish(self, count):
        with self.gateway.client(5) as client:
            for _, ack in client.publish_many((("plant/t", b"%06d" % number)
                                               for number in range(count)), 200):
                equal(ack.reason, 0, "reason of a PUBACK")

    def fail(self, count):
        """@count messages that expire while the link is cut."""
        self.link.cut()
        before = self.gateway.ledger()["expired"]
        with self.gateway.client(5) as client:
            for number in range(count):
                client.publish("plant/f", b"%06d" % number, properties={"message_expiry": 1})
            for _ in range(count):
                client.receive()
        wait_for(lambda: self.gateway.ledger()["expired"] == before + count, 30, "expired")
        self.link.restore()

    def audit_status(self):
        return self.gateway.status().get("audit", {})

    def wait_healthy(self, healthy=True):
        wait_for(lambda: self.audit_status().get("healthy") is healthy, 15,
                 lambda: "audit healthy: %s, it is %r" % (healthy, self.audit_status()))

    def wait_written(self):
        """All rows in the file, synced, and the cursor committed."""
        wait_for(lambda: self.audit_status().get("waiting") == 0, 15,
                 lambda: "no row waiting, it is %r" % self.audit_status())

    def judge(self, *files, sound=True):
        """mqtt-spool audit; its findings."""
        done = self.gateway.tool("audit", "--json", *(files or (self.file,)))
        found = json.loads(done.stdout)
        equal((done.returncode, found["verdict"]), (0, "sound") if sound else (65, "wrong"),
              "mqtt-spool audit: %r" % (found["problem_list"],))
        return found

    def check_whole(self, count, *files):
        """The files hold @count records, each once, and the ledger agrees."""
        found = self.judge(*files)
        equal((found["lines"], found["first_seq"], found["last_seq"]), (count, 1, count))
        check(found["database"]["counts_compared"], "the counts were compared")
        return found

    def spool_is_sound(self):
        done = self.gateway.tool("check")
        equal(done.returncode, 0, "exit code of mqtt-spool check: %r" % done.stdout)

    def says(self, words):
        return self.gateway.log().count(words)


def small_disk(size):
    """A folder that is a file system of its own."""
    if os.geteuid() != 0:
        skip("needs root, for a small file system")
    folder = processes.folder()
    done = processes.run(["mount", "-t", "tmpfs", "-o", "size=" + size, "none", folder])
    if done.returncode:
        skip("no tmpfs can be mounted here: %s" % done.stderr.decode(errors="replace").strip())
    cleanup(processes.run, ["umount", "-l", folder])
    return folder


def remount(folder, options):
    done = processes.run(["mount", "-o", "remount," + options, folder])
    equal(done.returncode, 0, "remount: %r" % done.stderr)


# Compared


@case
def audit_beside_a_busy_daemon_is_exact_and_raises_no_false_alarm():
    rig = Rig().start()
    rig.gateway.wait_link()
    runs, rounds = 12, threading.Semaphore(0)

    def publish():
        for _ in range(runs):
            rounds.acquire()
            rig.publish(600)

    load = threading.Thread(target=publish)
    load.start()
    try:
        for run in range(runs):
            rounds.release()
            found = rig.judge()
            check(found["database"]["running"], "it runs", found["database"])
            check(found["lines"] == 0 or found["database"]["counts_compared"], "compared", found)
            if found["outcomes"]["delivered"] > 0 and run % 4 == 3:
                done = rig.gateway.tool("audit", "--id", str(found["last_seq"]), "--json")
                check(done.returncode in (0, 75), "the newest message is found", done.stdout)
    finally:
        rounds.release(runs)
        load.join()
    rig.gateway.wait_drained(60)
    rig.judge()
    rig.gateway.stop()
    rig.check_whole(600 * runs)


@case
def audit_beside_rotations_raises_no_false_alarm():
    rig = Rig().start()
    rig.gateway.wait_link()
    enough = threading.Event()

    def publish():
        for _ in range(300):
            if enough.is_set():
                break
            rig.publish(100)

    def rotate():
        before = rig.audit_status().get("last_seq", 0)
        wait_for(lambda: not load.is_alive() or rig.audit_status().get("last_seq", 0) > before, 30)
        reloads = rig.says(" reloaded ")
        for number in (2, 1, 0):
            name = "%s.%d" % (rig.file, number) if number else rig.file
            with contextlib.suppress(FileNotFoundError):
                os.rename(name, "%s.%d" % (rig.file, number + 1))
        with open(rig.file, "a"):
            pass  # as logrotate's create, unless the daemon was faster
        rig.gateway.hup()
        wait_for(lambda: rig.says(" reloaded ") > reloads, 30, "the reload")

    load = threading.Thread(target=publish)
    load.start()
    try:
        for run in range(8):
            rotation = threading.Thread(target=rotate)
            rotation.start()
            done = None
            while done is None or rotation.is_alive():
                done = rig.gateway.tool("audit", "--json")
                if done.returncode == 69:  # between a rename and the new file
                    check(b"cannot open the audit file" in done.stderr, "why", done.stderr)
                    continue
                found = json.loads(done.stdout)
                equal((done.returncode, found["problem_list"]), (0, []), "beside %d" % run)
            rotation.join()
    finally:
        enough.set()
        load.join()
    check(rig.says(" reloaded ") > 3, "rotations", rig.says(" reloaded "))
    print("# %d rotations" % rig.says(" reloaded "), flush=True)
    rig.gateway.wait_drained(60)
    rig.gateway.stop()


@case
def a_ledger_that_counts_too_much_is_found_beside_a_running_daemon():
    rig = Rig().start()
    rig.deliver(100)
    rig.wait_written()
    rig.judge()
    for counts, outcome in (("delivered = delivered + 2", "delivered"),
                            ("evicted = evicted + 1", "evicted")):
        rig.deliver(1)  # so the daemon writes its own counts
        rig.wait_written()
        rig.judge()
        number = counts.split()[-1]
        with contextlib.closing(sqlite3.connect(os.path.join(rig.gateway.spool, "spool.db"))) as db:
            db.execute("UPDATE lane SET %s, accepted = accepted + %s WHERE name = 'default'"
                       % (counts, number))
            db.commit()
        texts = [problem["text"] for problem in rig.judge(sound=False)["problem_list"]]
        check(any(text.startswith("the ledger counts ") for text in texts), "the sum", texts)
        check(any(text.startswith(outcome + ": ") for text in texts), "the outcome", texts)


# Rotated


@case
def logrotate_by_rename_and_hup_under_load_loses_no_line():
    logrotate = processes.need("logrotate")
    rig = Rig().start()
    rules = os.path.join(processes.folder(), "rules")
    with open(rules, "w") as out:
        out.write("%s {\n rotate 20\n nocompress\n create 0640\n nodateext\n"
                  " postrotate\n  kill -HUP %d\n endscript\n}\n"
                  % (rig.file, rig.gateway.process.pid))
    load = threading.Thread(target=rig.publish, args=(4000,))
    load.start()
    for _ in range(6):
        before = rig.audit_status().get("last_seq", 0)
        wait_for(lambda: not load.is_alive() or rig.audit_status().get("last_seq", 0) > before, 15)
        done = processes.run([logrotate, "-f", "-s", rules + ".state", rules])
        equal(done.returncode, 0, "logrotate: %r" % done.stderr)
    load.join()
    rig.gateway.wait_drained(60)
    rig.wait_written()
    files = ["%s.%d" % (rig.file, number) for number in range(6, 0, -1)] + [rig.file]
    check(all(os.path.exists(file) for file in files), "six rotated files", os.listdir(rig.folder))
    rig.gateway.stop()
    rig.check_whole(4000, *files)


@case
def copytruncate_is_logged_and_the_missing_lines_are_named():
    rig = Rig().start()
    rig.deliver(50)
    rig.wait_written()
    shutil.copy(rig.file, rig.file + ".1")
    rig.deliver(20)
    rig.wait_written()
    os.truncate(rig.file, 0)
    rig.deliver(30)
    wait_for(lambda: rig.says("audit_truncated"), 10, "audit_truncated in the log")
    rig.gateway.stop()
    found = rig.judge(rig.file + ".1", rig.file, sound=False)
    equal([problem["text"] for problem in found["problem_list"]][:1],
          ["seq jumps from 50 to 71: 20 lines are missing"])
    equal(found["lines"], 80, "lines, none of them twice")


@case
def renamed_without_a_hup():
    rig = Rig().start()
    rig.deliver(50)
    os.rename(rig.file, rig.file + ".1")
    rig.deliver(50)
    wait_for(lambda: os.path.exists(rig.file), 10, "a new file")
    rig.deliver(10)
    rig.gateway.stop()
    rig.check_whole(110, rig.file + ".1", rig.file)


# Removed


@case
def deleted_while_open_a_new_file_has_all_that_was_not_synced():
    rig = Rig().start()
    rig.deliver(40)
    rig.wait_written()
    os.unlink(rig.file)
    rig.deliver(40)
    wait_for(lambda: rig.says("audit_deleted"), 10, "audit_deleted in the log")
    rig.wait_written()
    rig.gateway.stop()
    found = rig.judge()
    equal((found["first_seq"], found["last_seq"], found["lines"]), (41, 80, 40))


@case
def its_folder_moved_away_and_put_back():
    rig = Rig().start()
    rig.deliver(30)
    rig.wait_written()
    os.rename(rig.folder, rig.folder + ".away")
    rig.deliver(30)
    rig.wait_healthy(False)
    rig.deliver(30)
    equal(rig.says("audit_waiting file="), 1, "warnings")
    equal(rig.says('remedy="make the folder %s, writable' % rig.folder), 1, "the remedy")
    equal(rig.audit_status()["error"], "No such file or directory")
    for verb in ("status", "check"):
        seen = rig.gateway.tool(verb).stdout.decode()
        check("make the folder of audit.file" in seen, verb, seen)
    rig.gateway.kill()
    rig.gateway.start()
    rig.deliver(10)
    rig.wait_healthy(False)
    os.rename(rig.folder + ".away", rig.folder)
    rig.wait_healthy()
    rig.wait_written()
    rig.gateway.stop()
    rig.check_whole(100)


@case
def cut_by_hand_within_a_line_no_later_line_is_spoiled():
    rig = Rig().start()
    rig.deliver(30)
    rig.wait_written()
    os.truncate(rig.file, os.path.getsize(rig.file) - 10)
    rig.deliver(30)
    rig.wait_written()
    equal(rig.says("audit_truncated"), 1)
    rig.gateway.stop()
    found = rig.judge(sound=False)
    equal([problem["text"] for problem in found["problem_list"]][:1],
          ["seq jumps from 29 to 31: 1 line is missing"])
    equal(found["lines"], 59, "lines")


# Something else in its place


@case
def a_directory_in_its_place():
    rig = Rig().start()
    rig.deliver(20)
    os.rename(rig.file, rig.file + ".1")
    os.mkdir(rig.file)
    rig.deliver(20)
    rig.wait_healthy(False)
    rig.deliver(20)
    equal(rig.says('remedy="something else has its name: move it away"'), 1, "the remedy")
    for verb in ("status", "check"):
        seen = rig.gateway.tool(verb).stdout.decode()
        check("something else has " in seen and "move it away" in seen, verb, seen)
    os.rmdir(rig.file)
    rig.wait_healthy()
    rig.wait_written()
    rig.gateway.stop()
    rig.check_whole(60, rig.file + ".1", rig.file)


@case
def a_symlink_to_another_place_is_followed_and_to_a_foreign_file_is_not_written():
    rig = Rig().start()
    rig.deliver(20)
    elsewhere = os.path.join(processes.folder(), "elsewhere.jsonl")
    os.rename(rig.file, rig.file + ".1")
    os.symlink(elsewhere, rig.file)
    rig.deliver(20)
    wait_for(lambda: os.path.exists(elsewhere), 10, "the file that the link names")
    rig.deliver(5)
    rig.wait_written()
    foreign = elsewhere + ".conf"
    with open(foreign, "w") as out:
        out.write("not = \"an audit file\"\nnor a line")
    os.rename(rig.file, rig.file + ".2")
    os.symlink(foreign, rig.file)
    rig.deliver(20)
    rig.wait_healthy(False)
    with open(foreign) as seen:
        equal(seen.read(), "not = \"an audit file\"\nnor a line", "the foreign file")
    os.unlink(rig.file)
    rig.wait_healthy()
    rig.wait_written()
    rig.gateway.stop()
    rig.check_whole(65, rig.file + ".1", elsewhere, rig.file)


@case
def half_a_line_at_the_end_when_it_starts():
    rig = Rig().start()
    rig.deliver(20)
    rig.gateway.kill()
    with open(rig.file, "ab") as out:
        out.write(b'{"seq":21,"time":"2026-')
    rig.gateway.start()
    equal(rig.says("audit_mended"), 1)
    rig.deliver(20)
    rig.gateway.stop()
    rig.check_whole(40)


@case
def deleted_while_no_daemon_runs_it_is_logged_at_the_start():
    rig = Rig().start()
    rig.deliver(20)
    rig.gateway.stop()
    os.rename(rig.file, rig.file + ".1")
    rig.gateway.start()
    equal(rig.says("audit_begun"), 0, "lines after a rotation")
    rig.gateway.stop()
    os.unlink(rig.file)
    os.unlink(rig.file + ".1")
    rig.gateway.start()
    equal(rig.says("audit_begun"), 1, "lines after both are gone")
    check("after_seq=20" in rig.gateway.log(), "from where on", rig.gateway.log())
    equal(rig.says("neither that file nor FILE.1 has a line"), 1, "lines with the cause")
    rig.deliver(5)
    rig.gateway.stop()
    found = rig.judge()
    equal((found["first_seq"], found["last_seq"]), (21, 25))


@case
def an_older_copy_put_back_is_reported_at_the_start_and_by_the_tool():
    rig = Rig().start()
    rig.deliver(10)
    rig.gateway.stop()
    with open(rig.file, "rb") as file:
        older = file.read()
    rig.gateway.start()
    rig.deliver(10)
    rig.gateway.stop()
    with open(rig.file, "wb") as file:
        file.write(older + b'{"seq":11,"time":"2026-')
    rig.gateway.start()
    equal(rig.says("audit_behind"), 1, rig.gateway.log())
    check("file_seq=10 spool_seq=20 missing_from=11 missing_to=20" in rig.gateway.log(),
          "what is missing", rig.gateway.log())
    equal(rig.says("records=written_again"), 0, "a claim that is not true")
    rig.deliver(5)
    rig.gateway.stop()
    found = rig.judge(sound=False)
    equal((found["lines"], found["last_seq"]), (15, 25))
    check(any("seq jumps from 10 to 21" in problem["text"] for problem in found["problem_list"]),
          "the missing numbers", found["problem_list"])
    rig.gateway.start()
    equal(rig.says("audit_behind"), 1, "lines once it reaches the cursor again")
    rig.gateway.stop()


# Its disk


@case
def its_disk_full_and_then_not():
    disk = small_disk("64k")
    rig = Rig(audit={"file": os.path.join(disk, "audit.jsonl")})
    rig.file = rig.gateway.audit = os.path.join(disk, "audit.jsonl")
    rig.start()
    ledger = rig.deliver(1000)
    equal(ledger["delivered"], 1000, "delivered anyway")
    rig.wait_healthy(False)
    wait_for(lambda: 500 < rig.audit_status()["waiting"] < 1000, 15, "the first lines synced")
    rig.judge()  # what is there is sound, and the rest is counted in the database
    rig.gateway.kill()
    rig.gateway.start()
    rig.wait_healthy(False)
    remount(disk, "size=4m")
    rig.wait_healthy()
    rig.wait_written()
    wait_for(lambda: rig.says("audit_resumed"), 10, "audit_resumed, once it has been over")
    equal(rig.says("audit_resumed"), 1)
    rig.gateway.stop()
    rig.check_whole(1000)


@case
def its_file_system_read_only_and_then_not():
    disk = small_disk("1m")
    rig = Rig(audit={"file": os.path.join(disk, "audit.jsonl")})
    rig.file = rig.gateway.audit = os.path.join(disk, "audit.jsonl")
    remount(disk, "ro")
    rig.start()
    rig.deliver(100)
    equal((rig.audit_status()["healthy"], rig.audit_status()["waiting"]), (False, 100))
    remount(disk, "rw")
    rig.wait_healthy()
    rig.wait_written()
    rig.gateway.stop()
    rig.check_whole(100)


# The bound


def publish_until_refused(rig, most):
    """How many were accepted before the first 0x97."""
    with rig.gateway.client(5) as client:
        for number in range(most):
            if client.publish_wait("plant/t", b"%06d" % number).reason == QUOTA_EXCEEDED:
                return number
    raise AssertionError("%d messages and none refused" % most)


@case
def at_the_bound_it_refuses_and_takes_messages_again_when_the_file_is_back():
    rig = Rig(audit={"max_waiting": 1000})
    os.rmdir(rig.folder)
    rig.start()
    rig.deliver(450)
    rig.wait_healthy(False)
    equal(rig.says("audit_half_full"), 0, "warnings before the half")
    rig.deliver(150)
    wait_for(lambda: rig.says("audit_half_full"), 10, "a warning at the half")
    rig.deliver(395)
    rig.gateway.kill()
    rig.gateway.start()
    rig.wait_healthy(False)
    rig.gateway.wait_link()  # only what is delivered has a record that waits
    taken = publish_until_refused(rig, 600)
    check(5 <= taken < 500, "taken before the first refusal", taken)
    old = rig.gateway.client(4)
    with contextlib.suppress(Closed):
        old.publish("plant/t", b"x")
        equal(old.expect_closed(), None, "3.1.1 is closed without an acknowledgement")
    check(rig.says("reason=audit_waiting"), "the log says why")
    wait_for(lambda: rig.gateway.status()["forecast"]["full_s"] == 0, 10, "a forecast of 0")
    page = rig.gateway.tool("status").stdout.decode()
    check("NOT WRITTEN" in page and "at most 1000" in page, "mqtt-spool status", page)
    check("intake    NO MESSAGE IS ACCEPTED: " in page and "audit.max_waiting is 1000" in page, "it", page)
    os.mkdir(rig.folder)
    rig.wait_healthy()
    rig.deliver(10)
    rig.wait_written()
    equal(rig.audit_status()["pruned"], 0)
    rig.gateway.stop()
    rig.check_whole(995 + taken + 10)


@case
def a_second_reason_is_logged_when_the_first_one_no_longer_holds():
    rig = Rig(audit={"max_waiting": 2000}, retention={"when_full": "refuse"},
              spool={"disk_reserve": "1M"})
    os.rmdir(rig.folder)
    rig.start()
    rig.deliver(1100)
    rig.wait_healthy(False)
    rig.gateway.configure(spool={"disk_reserve": all_of_the_disk()})
    rig.gateway.hup()
    publish_until_refused(rig, 2000)
    rig.gateway.configure(spool={"disk_reserve": "1M"}, audit={"max_waiting": 1000})
    rig.gateway.hup()
    wait_for(lambda: rig.says(" reloaded ") == 2, 15, "the reload")

    def second_reason():
        publish_until_refused(rig, 1)
        return re.findall(r" spool_full reason=(\S+)", rig.gateway.log())[1:]

    equal(wait_for(second_reason, 15, "a second reason in the log"), ["audit_waiting"])
    equal(rig.says(" spool_room "), 0, "lines about room")
    rig.gateway.stop()


@case
def at_the_bound_a_lane_that_blocks_holds_its_producers_back_until_the_file_is_back():
    rig = Rig(audit={"max_waiting": 1000},
              lanes=[{"name": "hold", "topics": ["hold/#"], "when_full": "block",
                      "max_bytes": "10k"}])
    os.rmdir(rig.folder)
    rig.start()
    rig.wait_healthy(False)
    rig.gateway.wait_link()
    rig.deliver(950)
    taken = publish_until_refused(rig, 600)
    clients = [rig.gateway.client(version) for version in (4, 5)]
    for client in clients:
        client.publish("hold/t", b"x")
    for client in clients:
        try:
            raise AssertionError("%s came while records wait" % client.receive(1))
        except socket.timeout:
            pass
    large = rig.gateway.client(5)
    equal(large.publish_wait("hold/t", b"x" * 20000).reason, QUOTA_EXCEEDED, "what never fits")
    os.mkdir(rig.folder)
    equal([client.expect(PUBACK).reason for client in clients], [0, 0], "reasons afterwards")
    rig.wait_healthy()
    rig.wait_written()
    rig.gateway.stop()
    rig.check_whole(950 + taken + 2)


@case
def at_the_bound_it_prunes_deliveries_explains_the_gap_and_keeps_every_failure():
    rig = Rig(audit={"max_waiting": 1000, "when_full": "prune"}).start()
    rig.deliver(30)
    rig.wait_written()
    os.rename(rig.folder, rig.folder + ".away")
    rig.fail(30)
    rig.wait_healthy(False)  # or a fast machine writes them to the renamed file
    rig.deliver(1800)
    rig.gateway.kill()
    os.mkdir(rig.folder)
    shutil.copy(os.path.join(rig.folder + ".away", "audit.jsonl"), rig.file)
    rig.spool_is_sound()  # also while the missing numbers are not yet explained
    shutil.rmtree(rig.folder)
    rig.gateway.start()
    rig.fail(30)
    ledger = rig.deliver(900)
    check_balance(ledger)
    equal((ledger["delivered"], ledger["expired"]), (2730, 60))
    wait_for(lambda: rig.audit_status()["waiting"] < 1000, 15, "the bound holds")
    check(rig.says("audit_pruning"), "it is logged")
    found = rig.judge(os.path.join(rig.folder + ".away", "audit.jsonl"))
    check(found["database"]["pruned"] > 1000, "what was pruned so far", found["database"])
    os.rename(rig.folder + ".away", rig.folder)
    rig.wait_healthy()
    rig.wait_written()
    wait_for(lambda: rig.says("audit_pruned records="), 10, "the sum in the log")
    rig.deliver(10)
    rig.gateway.stop()
    found = rig.judge()
    equal(found["last_seq"], 2800)
    equal(found["outcomes"]["expired"], 60, "failures in the file")
    equal(found["outcomes"]["delivered"] + found["pruned"], 2740)
    check(1700 < found["pruned"] < 1900, "pruned", found["pruned"])
    rig.spool_is_sound()
    lines = rig.gateway.audit_lines()
    gaps = [line for line in lines if "pruned" in line]
    check(1 <= len(gaps) <= 4, "one line for each run", gaps)
    rest = [line for line in lines if "pruned" not in line and "outcome" not in line]
    equal(rest, [], "lines that are neither")


@case
def a_gap_that_no_line_explains_is_still_found():
    rig = Rig(audit={"max_waiting": 1000, "when_full": "prune"})
    os.rmdir(rig.folder)
    rig.start()
    rig.deliver(1300)
    os.mkdir(rig.folder)
    rig.wait_healthy()
    rig.wait_written()
    rig.gateway.stop()
    rig.judge()
    with open(rig.file) as seen:
        lines = seen.readlines()
    at = next(number for number, line in enumerate(lines) if '"pruned"' in line)
    for spoiled in (lines[:at] + lines[at + 1:],
                    lines[:at] + [lines[at].replace('"pruned":', '"pruned":1')] + lines[at + 1:],
                    lines[:at + 1] + lines[at:]):
        with open(rig.file, "w") as out:
            out.writelines(spoiled)
        rig.judge("--from", "1", rig.file, sound=False)


@case
def where_only_failures_wait_it_refuses_under_either_choice():
    rig = Rig(link=False, audit={"max_waiting": 1000, "when_full": "prune"},
              retention={"max_messages": 1})
    os.rmdir(rig.folder)
    rig.start()
    with rig.gateway.client(5) as client:
        reasons = [ack.reason for _, ack in client.publish_many(
            (("plant/t", b"x") for _ in range(3500)), 200)]
    equal(set(reasons), {0, QUOTA_EXCEEDED}, "reasons")
    equal(reasons[-1], QUOTA_EXCEEDED, "the last one's")
    ledger = rig.gateway.ledger()
    equal(ledger["accepted"], reasons.count(0), "accepted are those with a positive PUBACK")
    check(1000 <= ledger["evicted"] < 2500, "evicted", ledger)
    os.mkdir(rig.folder)
    rig.wait_healthy()
    rig.wait_written()
    rig.gateway.stop()
    found = rig.judge()
    equal((found["pruned"], found["outcomes"]["evicted"]), (0, ledger["evicted"]))


run_all()
