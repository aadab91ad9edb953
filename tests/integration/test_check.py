# SPDX-License-Identifier: MIT
"""mqtt-spool check: what is wrong is found and reported, what is not wrong is not."""

import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import sqlite3
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import processes  # noqa: E402
from broker import Mosquitto  # noqa: E402
from gateway import Gateway  # noqa: E402
from tap import case, check, cleanup, equal, run_all, skip  # noqa: E402

PAGE = 4096
WELL, FINDINGS, UNCHECKED = 0, 1, 2


class Spool:
    """Ten messages, seven outcomes, five of them exported (tests/support/make_spool.c)."""

    def __init__(self, exported=5):
        self.folder = processes.folder()
        self.directory = os.path.join(self.folder, "spool")
        self.audit = os.path.join(self.folder, "audit.jsonl")
        self.config = os.path.join(self.folder, "conf")
        with open(self.config, "w") as out:
            out.write('uplink = { brokers = ( "tcp://127.0.0.1:9" ); };\n'
                      'spool = { directory = "%s"; };\naudit = { file = "%s"; };\n'
                      % (self.directory, self.audit))
        build = os.environ.get("SPOOLD_BUILD") or skip("SPOOLD_BUILD is not set (run by ctest)")
        done = processes.run([os.path.join(build, "tests", "make_spool"), self.directory,
                              self.audit, str(exported)])
        equal(done.returncode, 0, "make_spool (%r)" % done.stderr)

    def path(self, name="spool.db"):
        return os.path.join(self.directory, name)

    def tamper(self, *statements):
        with contextlib.closing(sqlite3.connect(self.path())) as spool:
            spool.executescript(";".join(statements))

    def check(self, *arguments, wrap=(), config=True):
        command = list(wrap) + [processes.tool_path()] + (["-c", self.config] if config else [])
        done = processes.run(command + ["check"] + list(arguments), 60)
        done.out, done.err = done.stdout.decode(), done.stderr.decode()
        check("ERROR: " not in done.err and "runtime error" not in done.err, "sanitizer", done.err)
        return done

    def finds(self, *words):
        """Exit code 1, and each word in the page; returns the parts that are concerned."""
        done = self.check()
        equal(done.returncode, FINDINGS, "exit code (%s%s)" % (done.out, done.err))
        for word in words + ("NOT WELL", "->"):
            check(word in done.out, "the page lacks %r" % word, done.out)
        found = json.loads(self.check("--json").stdout)
        equal(found["verdict"], "wrong")
        equal(found["findings"], len(found["finding_list"]), "findings")
        for entry in found["finding_list"]:
            check(entry["text"] and entry["remedy"], "text and remedy", entry)
        return {entry["part"] for entry in found["finding_list"]}


def well(done):
    equal(done.returncode, WELL, "exit code (%s%s)" % (done.out, done.err))
    check("verdict   all is well" in done.out, "the verdict", done.out)


def image(folder):
    """Names, sizes and contents of all files but SQLite's index of the log, which is memory."""
    seen = {}
    for name in os.listdir(folder):
        if not name.endswith("-shm"):
            with open(os.path.join(folder, name), "rb") as entry:
                seen[name] = hashlib.sha256(entry.read()).hexdigest()
    return seen


def theirs(directory):
    """Another program's database in the place of the spool's."""
    for name in os.listdir(directory):
        if name.startswith("spool.db"):
            os.unlink(os.path.join(directory, name))
    with contextlib.closing(sqlite3.connect(os.path.join(directory, "spool.db"))) as database:
        database.executescript("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)")


@case
def a_sound_spool_is_well_whatever_is_exported():
    for exported in (0, 5, 7):
        well(Spool(exported).check())


@case
def it_is_reported_in_json_too():
    found = json.loads(Spool().check("--json").stdout)
    equal(found, {"verdict": "sound", "running": False, "audit_checked": True, "messages": 3,
                  "last_seq": 7, "exported_seq": 5, "audit_first_seq": 1, "audit_last_seq": 5,
                  "damaged_files": 0, "findings": 0, "finding_list": []})


@case
def what_is_said_of_the_audit_file_is_of_one_that_was_compared():
    spool = Spool()
    page = spool.check().out
    check("7, up to 5 in the audit file" in page and spool.audit in page, "the page", page)
    page = spool.check("--directory", spool.directory, config=False).out
    check("no audit file was compared" in page and "in the audit file" not in page, "it", page)
    for name in os.listdir(spool.directory):
        if name.startswith("spool.db"):
            os.unlink(spool.path(name))
    page = spool.check().out
    check("what it holds is not known" in page and " 0 messages" not in page, "it", page)


@case
def what_is_in_the_audit_file_is_counted_there():
    spool = Spool(exported=7)
    spool.tamper("UPDATE spool SET exported_seq = 5")  # the sync is done, its commit is to come
    done = spool.check()
    well(done)
    check("7, up to 7 in the audit file" in done.out, "the page", done.out)
    with open(spool.config) as seen:
        text = seen.read()
    with open(spool.config, "w") as out:
        out.write(text.replace(spool.audit, ""))
    done = spool.check()
    well(done)
    check("no audit file is written" in done.out, "the page", done.out)


@case
def it_changes_nothing():
    spool = Spool()
    before = image(spool.directory)
    well(spool.check())
    equal(image(spool.directory), before, "files of the spool")


@case
def a_running_daemon_under_load_is_well():
    broker = Mosquitto().start()
    gateway = Gateway(broker.url).start()
    gateway.wait_link()
    for _ in range(5):
        with gateway.client(5) as client:
            for _, ack in client.publish_many((("plant/t", b"%06d" % n) for n in range(300)), 200):
                equal(ack.reason, 0)
            done = gateway.tool("check")
            equal(done.returncode, WELL, "exit code (%s)" % (done.stdout + done.stderr).decode())
            check(b"the daemon runs" in done.stdout, "the page", done.stdout)
    gateway.wait_drained()
    gateway.stop()
    equal(gateway.tool("check").returncode, WELL)


@case
def a_spool_that_was_never_used_is_well():
    gateway = Gateway().start()
    equal(gateway.tool("check").returncode, WELL)
    gateway.stop()
    equal(gateway.tool("check").returncode, WELL)


@case
def a_spool_that_was_salvaged_is_well_and_its_damaged_file_is_noted():
    gateway = Gateway().start()
    with gateway.client(5) as client:
        for _, ack in client.publish_many((("plant/t", b"%06d" % n * 50) for n in range(500)), 200):
            equal(ack.reason, 0)
    gateway.stop()
    path = os.path.join(gateway.spool, "spool.db")
    with contextlib.closing(sqlite3.connect(path)) as spool:
        spool.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with open(path, "r+b") as out:
        out.seek(10 * PAGE)
        out.write(random.Random(5).randbytes(3 * PAGE))
    equal(gateway.tool("check").returncode, FINDINGS)
    gateway.start()
    done = gateway.tool("check")
    equal(done.returncode, WELL, "exit code (%r)" % done.stdout)
    check(b"moved aside by the daemon: 1" in done.stdout, "the note", done.stdout)
    gateway.stop()
    equal(gateway.tool("check").returncode, WELL)


# Findings


@case
def an_overwritten_page_is_found():
    spool = Spool()
    with contextlib.closing(sqlite3.connect(spool.path())) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with open(spool.path(), "r+b") as out:
        out.seek(3 * PAGE)
        out.write(random.Random(5).randbytes(PAGE))
    check("database" in spool.finds("damaged", "journalctl -k"), "the part")


@case
def several_damaged_pages_are_one_finding_in_words():
    gateway = Gateway().start()
    with gateway.client(5) as client:
        for _, ack in client.publish_many(("plant/t", b"x" * 1500) for _ in range(200)):
            equal(ack.reason, 0, "reason")
    gateway.stop()
    path = os.path.join(gateway.spool, "spool.db")
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with open(path, "r+b") as out:
        out.seek(49 * PAGE)
        out.write(random.Random(5).randbytes(20 * PAGE))
    done = gateway.tool("check")
    page = done.stdout.decode()
    equal(done.returncode, FINDINGS, page)
    check(re.search(r"the database is damaged: page \d+ is not sound; 20 pages( or more)? are not",
                    page), "in words", page)
    equal(page.count("the database is damaged"), 1, "findings about it")
    check("x0A" not in page and "btree" not in page, "SQLite's words", page)
    check("up to twice the room of spool.db must be free" in page, "the room it needs", page)


def roots(spool):
    """The root page of each table and index, all of the log being in the database."""
    with contextlib.closing(sqlite3.connect(spool.path())) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return dict(database.execute("SELECT name, rootpage FROM sqlite_schema"
                                     " WHERE rootpage > 0"))


@case
def damage_is_reported_once_and_nothing_is_concluded_from_what_was_unreadable():
    for table in roots(Spool()):
        spool = Spool()
        page = roots(spool)[table]
        with open(spool.path(), "r+b") as out:
            out.seek((page - 1) * PAGE)
            out.write(random.Random(5).randbytes(PAGE))
        done = spool.check("--json")
        equal((done.returncode, done.err), (FINDINGS, ""), "with a bad page of %s" % table)
        found = json.loads(done.stdout)["finding_list"]
        texts = [entry["text"] for entry in found]
        equal(len(texts), len(set(texts)), "one line came twice, of %r" % texts)
        equal({entry["part"] for entry in found}, {"database"}, "parts, of %r" % texts)
        check(not [text for text in texts if "missing" in text or "come to" in text],
              "a bad page of %s" % table, texts)
        check(" 0 messages" not in spool.check().out, "a figure that was not read",
              spool.check().out)


@case
def what_to_do_is_reported_for_a_daemon_that_is_stopped():
    spool = Spool()
    with open(spool.path(), "w") as out:
        out.write("garbage")
    spool.finds("then start the daemon")
    spool = Spool()
    spool.tamper("UPDATE lane SET accepted = accepted + 1")
    page = spool.check().out
    check("then start the daemon" in page and "restart" not in page, "it does not run", page)


@case
def garbage_instead_of_a_database_is_found():
    spool = Spool()
    with open(spool.path(), "w") as out:
        out.write("garbage")
    equal(spool.finds("not a spool database"), {"database"})


@case
def a_database_that_is_gone_is_found():
    spool = Spool()
    os.unlink(spool.path())
    equal(spool.finds("spool.db-wal exists but spool.db is missing", "salvages",
                      "put back what was moved away"), {"database"})
    os.unlink(spool.path("spool.db-wal"))
    equal(spool.finds("spool.db is missing, and ids up to 10 were given out", "salvages",
                      "records the rest as damaged"), {"database"})
    os.unlink(spool.path("spool.mark"))
    equal(spool.check().returncode, UNCHECKED, "a spool that never was")


@case
def the_database_of_another_program_is_found():
    spool = Spool()
    theirs(spool.directory)
    before = image(spool.directory)
    equal(spool.finds("of another program", "does not start", "move that file away"), {"database"})
    equal(image(spool.directory), before, "files of the spool")


@case
def a_changed_payload_is_found():
    spool = Spool()
    spool.tamper("UPDATE segment0 SET payload = CAST('21.6' AS BLOB) WHERE key = 9")
    equal(spool.finds("message 9 is not what was stored", "nothing to do for it",
                      "recorded as damaged and not sent"), {"database"})
    check("start the daemon" not in spool.check().out, "it does not salvage for that", "")


@case
def missing_commits_are_found():
    spool = Spool(exported=0)
    spool.tamper("DELETE FROM segment0 WHERE key > 8", "DELETE FROM outcome WHERE seq > 5",
                 "UPDATE lane SET accepted = 8, evicted = 0, messages = 3, bytes = bytes * 1, "
                 "last_id = 8, last_seq = 5")
    check("database" in spool.finds("the newest commits are missing", "id 8", "id 10"), "the part")


@case
def a_ledger_that_does_not_balance_is_found():
    for exported in (0, 5, 7):
        for wrong in ("accepted = accepted + 1", "delivered = delivered + 1"):
            spool = Spool(exported)
            spool.tamper("UPDATE lane SET " + wrong)
            spool.finds("lane \"default\" does not balance: 1")
            found = json.loads(spool.check("--json").stdout)["finding_list"]
            balance = [entry for entry in found if "balance" in entry["text"]]
            equal([entry["part"] for entry in balance], ["ledger"], "reported once, of %r" % found)
            check("audit" not in [entry["part"] for entry in found], "the file is right", found)


@case
def messages_that_the_ledger_does_not_count_are_found():
    spool = Spool()
    spool.tamper("DELETE FROM segment0 WHERE key = 9")
    equal(spool.finds("lane \"default\" counts 3 messages and holds 2"), {"ledger"})
    spool = Spool()
    spool.tamper("UPDATE lane SET bytes = bytes + 5")
    equal(spool.finds("bytes and holds"), {"ledger"})


@case
def a_message_of_no_lane_is_found():
    spool = Spool()
    spool.tamper("UPDATE segment0 SET key = key + (5 << 48) WHERE key = 9")
    check("ledger" in spool.finds("1 messages are in lane 5, which there is not"), "the part")


@case
def an_id_that_was_never_given_out_is_found():
    spool = Spool()
    spool.tamper("UPDATE segment0 SET key = 77 WHERE key = 10")
    check("ledger" in spool.finds("holds message 77, but ids were given out up to 10 only"),
          "the part")


@case
def two_outcomes_of_one_message_are_found():
    spool = Spool()
    spool.tamper("UPDATE outcome SET id = 6 WHERE seq = 7")
    check("ids" in spool.finds("message 6 has 2 outcomes"), "the part")


@case
def an_outcome_of_a_spooled_message_is_found():
    spool = Spool()
    spool.tamper("UPDATE outcome SET id = 9 WHERE seq = 7")
    check("ids" in spool.finds("message 9 has an outcome and is still spooled"), "the part")


@case
def a_missing_outcome_is_found():
    spool = Spool()
    spool.tamper("DELETE FROM outcome WHERE seq = 6")
    parts = spool.finds("of the outcomes from 6 to 7", "1 are missing")
    check("outcomes" in parts, "the part", parts)
    spool = Spool()
    spool.tamper("DELETE FROM outcome WHERE seq = 7")
    check("outcomes" in spool.finds("the newest outcome is 6, the ledger has come to 7"), "it")


@case
def a_cut_audit_file_is_found():
    spool = Spool()
    with open(spool.audit) as seen:
        lines = seen.readlines()
    with open(spool.audit, "w") as out:
        out.writelines(lines[:3] + lines[4:])
    equal(spool.finds("audit.jsonl:4", "seq jumps from 3 to 5"), {"audit"})


@case
def an_audit_file_that_is_gone_is_found():
    spool = Spool()
    os.unlink(spool.audit)
    equal(spool.finds("the audit file is missing"), {"audit"})
    spool = Spool(exported=0)
    os.unlink(spool.audit)
    well(spool.check())


@case
def what_is_in_the_way_of_the_audit_file_is_found():
    for make in (os.mkdir, os.mkfifo):
        spool = Spool()
        os.unlink(spool.audit)
        make(spool.audit)
        equal(spool.finds("the audit file is missing", "3 messages"), {"audit"})
        spool.tamper("UPDATE lane SET accepted = accepted + 1")
        equal(spool.finds("does not balance"), {"audit", "ledger"})


@case
def many_problems_of_the_audit_file_are_counted_and_each_is_shown_once():
    spool = Spool(exported=7)
    with open(spool.audit) as seen:
        lines = seen.readlines()
    with open(spool.audit, "w") as out:
        out.writelines(lines[:5] + ["no line %d\n" % n for n in range(60)] + lines[5:])
    page = spool.check().out
    shown = [line for line in page.splitlines() if "audit.jsonl:" in line]
    equal((len(shown), len(set(shown))), (20, 20), "lines shown, of %s" % page)
    check("60 findings" in page and "and 40 more" in page, "the counts", page)


@case
def a_start_that_nothing_rotated_explains_is_noted():
    spool = Spool(exported=7)
    with open(spool.audit) as seen:
        lines = seen.readlines()
    with open(spool.audit, "w") as out:
        out.writelines(lines[4:])
    done = spool.check()
    well(done)
    check("starts at seq 5, and no rotated one" in done.out, "the note", done.out)
    equal(json.loads(spool.check("--json").out)["audit_first_seq"], 5, "audit_first_seq")
    for name in ("audit.jsonl.2.gz", "audit.jsonl-20261101.gz", "audit.jsonl.1.xz"):
        path = os.path.join(spool.folder, name)
        with open(path, "w"):
            pass
        check("note" not in spool.check().out, "no note beside " + name, spool.check().out)
        os.unlink(path)


@case
def what_to_do_about_a_restored_copy_is_the_same_everywhere_and_helps():
    remedy = ("stop the daemon, move the file away under another name (not FILE.1), start it, and "
              "keep that file")
    with open(os.path.join(os.environ.get("SPOOLD_SOURCE", "."), "docs", "audit.md")) as seen:
        check(remedy in seen.read().replace("`", "").replace("\n", " "), "docs/audit.md")
    broker = Mosquitto().start()
    gateway = Gateway(broker.url).start()

    def deliver(count):
        before = len(gateway.audit_lines()) if os.path.exists(gateway.audit) else 0
        with gateway.client(5) as client:
            for _ in range(count):
                equal(client.publish_wait("plant/t", b"x").reason, 0)
        gateway.wait_audit(before + count)

    deliver(3)
    gateway.stop()
    copy = os.path.join(gateway.folder, "copy")
    shutil.copytree(gateway.spool, copy)
    gateway.start()
    deliver(4)
    gateway.stop()
    shutil.rmtree(gateway.spool)
    shutil.copytree(copy, gateway.spool)
    page = gateway.tool("check").stdout.decode()
    check("the files go to seq 7, but the database only to 3" in page and remedy in page, "it", page)
    gateway.start()
    check("audit_ahead" in gateway.log() and remedy in gateway.log(), "the log", gateway.log())
    deliver(2)
    page = gateway.tool("check").stdout.decode()
    check("seq 4 comes after 7" in page and remedy in page, "the doubled lines", page)
    gateway.stop()
    os.rename(gateway.audit, gateway.audit + ".old")
    gateway.start()
    deliver(2)
    gateway.stop()
    equal(gateway.log().count("audit_ahead"), 1, "lines of the log, which has all three starts")
    done = gateway.tool("check")
    equal(done.returncode, WELL, "exit code (%s)" % done.stdout.decode())
    done = gateway.tool("audit")
    equal(done.returncode, WELL, "exit code (%s)" % done.stdout.decode())
    check(b"sound from seq 6 on; 1 to 5 are not in" in done.stdout, "the verdict", done.stdout)


@case
def a_rotated_audit_file_is_read_first():
    spool = Spool(exported=7)
    with open(spool.audit) as seen:
        lines = seen.readlines()
    with open(spool.audit + ".1", "w") as out:
        out.writelines(lines[:4])
    with open(spool.audit, "w") as out:
        out.writelines(lines[4:])
    well(spool.check())
    with open(spool.audit + ".1", "w") as out:
        out.writelines(lines[:3])
    equal(spool.finds("seq jumps from 3 to 5"), {"audit"})


# Not checked


@case
def what_cannot_be_checked_exits_2_and_says_why():
    spool = Spool()
    nowhere = os.path.join(spool.folder, "nowhere")
    done = spool.check("--directory", nowhere, config=False)
    equal(done.returncode, UNCHECKED)
    check("there is no spool" in done.err, "the reason", done.err)
    check("look for spool_moved in the log before you start" in done.err, "no advice", done.err)
    with open(spool.config, "a") as out:
        out.write("nonsense = 1;\n")
    done = spool.check()
    equal(done.returncode, WELL)
    check("nonsense" in done.err, "a setting that the check does not need", done.err)
    with open(spool.config, "a") as out:
        out.write("spool: {\n")
    done = spool.check()
    equal(done.returncode, UNCHECKED)
    check("--directory" in done.err, "the reason, and what works without the file", done.err)
    well(spool.check("--directory", spool.directory, config=False))


@case
def wrong_usage_exits_2_for_no_other_code_is_used():
    spool = Spool()
    for arguments in (["surplus"], ["--nope"], ["--directory"]):
        done = spool.check(*arguments)
        equal((done.returncode, done.out), (UNCHECKED, ""), "of %r" % arguments)
        check("mqtt-spool help check" in done.err, "where to read more", done.err)
    equal(spool.check("--help").returncode, WELL)


@case
def an_output_that_cannot_be_written_exits_2_where_all_is_well():
    spool = Spool()
    full = ("sh", "-c", 'exec "$@" > /dev/full', "sh")
    for arguments in ([], ["--json"], ["--help"]):
        done = spool.check(*arguments, wrap=full)
        equal(done.returncode, UNCHECKED, "exit code of %r" % arguments)
        check("cannot write the output" in done.err, "the reason", done.err)
    spool.tamper("UPDATE lane SET accepted = accepted + 1")
    done = spool.check(wrap=full)
    equal(done.returncode, FINDINGS, "what was found counts")
    check("cannot write the output" in done.err, "the reason", done.err)


@case
def a_spool_of_another_user_exits_2():
    if os.geteuid() != 0:
        skip("needs root, to run the tool as another user")
    setpriv = processes.need("setpriv", "util-linux")
    spool = Spool()
    os.chmod(spool.folder, 0o755)
    done = spool.check(wrap=(setpriv, "--reuid=65534", "--regid=65534", "--clear-groups"))
    equal(done.returncode, UNCHECKED)
    check(re.search("root|sudo", done.err), "the remedy", done.err)


@case
def a_locked_database_exits_2():
    spool = Spool()
    holder = sqlite3.connect(spool.path(), isolation_level=None)
    cleanup(holder.close)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    done = spool.check()
    equal(done.returncode, UNCHECKED)
    check("locked" in done.err, "the reason", done.err)


run_all()
