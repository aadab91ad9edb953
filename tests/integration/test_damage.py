# SPDX-License-Identifier: MIT
"""A damaged spool, through the daemon: what can be read is kept, what cannot is recorded, nothing
is deleted, nothing starts empty silently. That single pages, the log and the mark are handled in
each combination is for tests/unit/store/salvage/test_salvage.c; here are the start, the log, the
status, the audit file and what must be refused."""

import contextlib
import glob
import os
import random
import shutil
import sqlite3
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import mqtt  # noqa: E402
import processes  # noqa: E402
from broker import Link, Mosquitto  # noqa: E402
from checker import History, collect_daemon, figures, hold  # noqa: E402
from gateway import Gateway, check_audit  # noqa: E402
from load import FarBroker, collect, start_producers  # noqa: E402
from mqtt import Subscriber, spool_id  # noqa: E402
from tap import case, check, cleanup, equal, quick_once, run_all, skip, wait_for  # noqa: E402

PAGE = 4096
COUNT = 400


def payload(number):
    return (b"%06d " % number) * (1 + number % 40 * (30 if number % 25 == 0 else 1))


def fill(gateway, count=COUNT, first=0, make=payload):
    """Publishes; returns {id: payload} of what was acknowledged."""
    stored = {}
    with gateway.client(5) as client:
        messages = [("plant/%d" % number, make(number)) for number in range(first, first + count)]
        for key, ack in client.publish_many(iter(messages), 100):
            equal(ack.reason, 0, "reason of a PUBACK")
            stored[spool_id(ack)] = messages[key][1]
    return stored


def stopped_spool(**settings):
    """A spool of COUNT messages that no broker took, at rest."""
    gateway = Gateway(**settings).start()
    stored = fill(gateway)
    gateway.stop()
    return gateway, stored


def database(gateway, name="spool.db"):
    return os.path.join(gateway.spool, name)


def aside(gateway):
    return sorted(path for path in glob.glob(database(gateway, "spool.db.damaged-*"))
                  if not path.endswith(("-wal", "-shm")))


def overwrite(path, at, size, noise):
    with open(path, "r+b") as out:
        out.seek(at)
        out.write(noise.randbytes(size))


def checkpointed(gateway):
    """Moves the log's pages into the file, so that damage to the file counts."""
    with contextlib.closing(sqlite3.connect(database(gateway))) as spool:
        spool.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def set_broker(gateway, broker):
    gateway.configure(uplink={"brokers": [broker.url]})


def drain(gateway, stored, broker):
    """Starts against a broker: each message comes as it was or has its record as damaged."""
    set_broker(gateway, broker)
    far = Subscriber(broker.address)
    far.start()
    cleanup(far.stop)
    gateway.start()
    ledger = gateway.wait_drained()
    gateway.stop()
    records = gateway.audit_lines()
    check_audit(records)
    check({line["id"] for line in records} >= set(stored), "every id has its outcome")
    taken = far.payloads()
    check(set(taken) <= set(stored.values()), "payloads that were never published",
          sorted(set(taken) - set(stored.values()))[:3])
    delivered = [line["id"] for line in records if line["outcome"] == "delivered"]
    equal(sorted(stored[key] for key in delivered if key in stored),
          sorted(value for value in taken), "what was delivered is what the broker took")
    return ledger


def wait_end(gateway, seconds=60):
    gateway.process.wait(seconds)
    gateway.check_log()
    return gateway.process.returncode


# Salvaged


@case
def overwritten_pages_cost_only_what_was_on_them():
    broker = Mosquitto().start()
    gateway, stored = stopped_spool()
    checkpointed(gateway)
    noise = random.Random(7)
    pages = os.path.getsize(database(gateway)) // PAGE
    for page in (3, pages // 2, pages - 2):  # the root of the messages, and two of its leaves
        overwrite(database(gateway), page * PAGE, PAGE, noise)
    before = os.path.getsize(database(gateway))
    ledger = drain(gateway, stored, broker)
    equal(ledger["accepted"], COUNT, "accepted")
    check(0 < ledger["damaged"] < COUNT / 4, "damaged", ledger)
    equal(ledger["delivered"] + ledger["damaged"], COUNT, "accounted for")
    equal([os.path.getsize(path) for path in aside(gateway)], [before], "the damaged file")
    log = gateway.log()
    for word in ("spool_damaged directory=\"%s\"" % gateway.spool, "spool_salvaged",
                 "salvaged=%d damaged=%d" % (COUNT - ledger["damaged"], ledger["damaged"]),
                 "moved_to=\"%s\"" % aside(gateway)[0], "remedy="):
        check(word in log, "the log lacks %r" % word, log)
    check(any("EXTEND_TIMEOUT_USEC=" in text for text in gateway.notifications), "time to do it")
    for line in gateway.outcomes("damaged"):
        equal(line["reason"], "corrupt")
        check(line["id"] in stored, "an id that was given out", line)


@case
def the_status_shows_it_until_the_file_is_moved_away():
    gateway, _ = stopped_spool()
    checkpointed(gateway)
    overwrite(database(gateway), 3 * PAGE, PAGE, random.Random(1))
    gateway.start()
    status = wait_for(lambda: gateway.status() or None, 10, "a status")
    equal(status["spool"]["damaged_files"], 1, "spool.damaged_files")
    equal(status["salvage"]["salvaged"] + status["salvage"]["damaged"], COUNT)
    equal(database(gateway, status["salvage"]["moved_to"]), aside(gateway)[0])
    page = gateway.tool("status").stdout.decode()
    check("DAMAGED: 1 database moved aside" in page and "mqtt-spool check" in page, "the page", page)
    gateway.stop()
    equal(gateway.tool_status()["spool"]["damaged_files"], 1, "while it is stopped")
    os.rename(aside(gateway)[0], os.path.join(gateway.folder, "kept"))
    equal(gateway.tool_status()["spool"]["damaged_files"], 0, "after it was moved away")
    check("DAMAGED" not in gateway.tool("status").stdout.decode(), "the page says nothing")


@case
def a_file_that_was_cut_short_is_salvaged():
    broker = Mosquitto().start()
    gateway, stored = stopped_spool()
    checkpointed(gateway)
    os.truncate(database(gateway), os.path.getsize(database(gateway)) // 2 // PAGE * PAGE + 99)
    ledger = drain(gateway, stored, broker)
    check(ledger["delivered"] > 0 and ledger["damaged"] > 0, "both", ledger)
    equal(ledger["accepted"], COUNT)


@case
def garbage_instead_of_a_database_is_moved_aside_and_counted():
    broker = Mosquitto().start()
    gateway, stored = stopped_spool()
    for name in ("spool.db", "spool.db-wal"):
        with open(database(gateway, name), "wb") as out:
            out.write(b"no database\n" * 1000)
    ledger = drain(gateway, stored, broker)
    equal((ledger["accepted"], ledger["damaged"]), (COUNT, COUNT))
    with open(aside(gateway)[0], "rb") as kept:
        equal(kept.read(12), b"no database\n", "the garbage is kept")


@case
def if_not_even_the_number_of_lost_messages_is_known_the_daemon_logs_that():
    gateway, stored = stopped_spool()
    for name in ("spool.db", "spool.db-wal"):
        with open(database(gateway, name), "wb") as out:
            out.write(b"no database\n" * 1000)
    os.unlink(database(gateway, "spool.mark"))
    gateway.start()
    check("spool_lost count=unknown" in gateway.log(), "in the log", gateway.log())
    equal(gateway.status()["salvage"]["damaged_unknown"], True, "in the status")
    check(b"HOW MANY THERE WERE IS UNKNOWN" in gateway.tool("status").stdout, "for people")
    gateway.stop()


@case
def a_log_that_is_gone_after_a_kill_is_noticed_and_counted():
    broker = Mosquitto().start()
    gateway = Gateway().start()
    stored = fill(gateway)
    gateway.kill()
    os.unlink(database(gateway, "spool.db-wal"))
    ledger = drain(gateway, stored, broker)
    equal(ledger["accepted"], COUNT, "accepted")
    check(ledger["damaged"] > 0, "what was in the log alone", ledger)


@case
def an_older_copy_sends_nothing_again_that_the_audit_file_has():
    broker = Mosquitto().start()
    gateway, stored = stopped_spool()
    copy = os.path.join(gateway.folder, "copy")
    os.mkdir(copy)
    for name in ("spool.db", "spool.db-wal"):
        shutil.copy(database(gateway, name), copy)
    set_broker(gateway, broker)
    gateway.start()
    gateway.wait_drained()
    stored.update(fill(gateway, 50, COUNT))
    gateway.wait_drained()
    gateway.stop()
    for name in ("spool.db", "spool.db-wal"):
        shutil.copy(os.path.join(copy, name), database(gateway, name))
    far = Subscriber(broker.address, client_id="far-too")
    far.start()
    cleanup(far.stop)
    gateway.start()
    ledger = gateway.wait_drained()
    equal((ledger["accepted"], ledger["delivered"]), (COUNT + 50, COUNT + 50))
    new = fill(gateway, 5, 5000)
    gateway.wait_drained()
    gateway.stop()
    equal(len(far.payloads()), 5, "only the new ones were sent")
    check(min(new) > max(stored), "new ids", min(new), max(stored))
    records = gateway.audit_lines()
    check_audit(records)
    equal(len(records), COUNT + 55, "records")
    equal(gateway.tool("audit").returncode, 0, "mqtt-spool audit")


def damaged_too_large_to_look_through(gateway):
    """330 messages, one or two of which are damaged in a way that a start does not detect."""
    noise = random.Random(3)
    gateway.start()
    stored = fill(gateway, 330, make=lambda number: b"%06d" % number + noise.randbytes(210000))
    gateway.stop()
    checkpointed(gateway)
    size = os.path.getsize(database(gateway))
    check(size > 64 << 20, "larger than what a start looks through", size)
    overwrite(database(gateway), size // 3 // PAGE * PAGE, 2 * PAGE, noise)
    return stored


def ends_over(gateway, what):
    gateway.start(ready=False)
    equal(wait_end(gateway), 1, "exit code when the damage is read")
    check("failed what=%s " % what in gateway.log(), "the step in the log", gateway.log()[-2000:])


@case(seconds=240)
def damage_that_retention_meets_is_not_called_a_failed_commit():
    gateway = Gateway(retention={"max_bytes": "1G"})
    damaged_too_large_to_look_through(gateway)
    gateway.configure(retention={"max_messages": 10})
    ends_over(gateway, "retain")


@case(seconds=240)
def damage_found_at_work_ends_the_daemon_and_the_next_start_salvages():
    broker = Mosquitto().start()
    gateway = Gateway(retention={"max_bytes": "1G"})
    stored = damaged_too_large_to_look_through(gateway)
    set_broker(gateway, broker)
    ends_over(gateway, "forward")
    equal(aside(gateway), [], "nothing moved by that")
    far = Subscriber(broker.address)
    far.start()
    cleanup(far.stop)
    gateway.start(60)
    ledger = gateway.wait_drained(60)
    gateway.stop()
    check(ledger["damaged"] in (1, 2), "damaged", ledger)
    equal(ledger["accepted"], 330)
    equal(len(aside(gateway)), 1, "moved aside")
    check(set(far.payloads()) <= set(stored.values()), "payloads that were never published")


# Refused


def refused(gateway, *words, code=1, **options):
    """Ends with @code and logs that; nothing is moved, nothing is created."""
    before = sorted(os.listdir(gateway.spool)) if os.access(gateway.spool, os.R_OK) else None
    gateway.start(ready=False, **options)
    equal(wait_end(gateway), code, "exit code")
    line = next((line for line in gateway.log().split("\n") if "spool_not_opened" in line), "")
    for word in words + ("remedy=",):
        check(word in line, "the line lacks %r" % word, line or gateway.log())
    if before is not None:  # SQLite creates its two working files again if they are missing
        left = [name for name in os.listdir(gateway.spool) if not name.endswith(("-wal", "-shm"))]
        equal(sorted(left), [name for name in before if not name.endswith(("-wal", "-shm"))])
    equal(aside(gateway), [], "moved aside")


@case
def a_newer_schema_is_refused_and_left_as_it_is():
    gateway, stored = stopped_spool()
    with contextlib.closing(sqlite3.connect(database(gateway))) as spool:
        spool.execute("PRAGMA user_version = 99")
    refused(gateway, "newer version", code=78)  # a restart cannot help


@case
def the_database_of_another_program_is_refused_and_left_as_it_is():
    gateway = Gateway()
    os.mkdir(gateway.spool)
    with contextlib.closing(sqlite3.connect(database(gateway))) as theirs:
        theirs.execute("CREATE TABLE theirs (x)")
    with open(database(gateway, "lock"), "w"):
        pass
    refused(gateway, "another program", code=78)
    check("spool_damaged" not in gateway.log(), "nothing is salvaged", gateway.log())


@case
def a_file_with_the_name_of_the_folder_ends_the_start_with_what_to_do():
    gateway = Gateway()
    with open(gateway.spool, "w"):
        pass
    gateway.start(ready=False)
    equal(wait_end(gateway), 78, "exit code")
    check("move that file away" in gateway.log(), "the remedy", gateway.log())


@case
def a_file_that_may_not_be_read_is_refused_and_left_as_it_is():
    if os.geteuid() != 0:
        skip("needs root, to run the daemon as another user")
    setpriv = processes.need("setpriv", "util-linux")
    gateway, stored = stopped_spool()
    for path in (gateway.folder, gateway.run_folder, gateway.spool):
        os.chmod(path, 0o777)
    os.chown(gateway.spool, 65534, 65534)
    for name in os.listdir(gateway.spool):
        os.chmod(database(gateway, name), 0o600 if name == "spool.db" else 0o666)
    refused(gateway, "ermission", "permissions", code=78,
            wrap=(setpriv, "--reuid=65534", "--regid=65534", "--clear-groups"))
    gateway.start()
    equal(gateway.ledger()["spooled"], COUNT)
    gateway.stop()


@case
def a_folder_whose_disk_is_mounted_later_is_tried_again():
    gateway, stored = stopped_spool()
    away = gateway.spool + "-away"
    mount = os.path.join(gateway.folder, "mount")
    os.rename(gateway.spool, away)
    os.symlink(os.path.join(mount, "spool"), gateway.spool)
    refused(gateway, "o such file", "mount its disk", code=1)
    os.mkdir(mount)
    os.rename(away, os.path.join(mount, "spool"))
    gateway.start()
    equal(gateway.ledger()["spooled"], COUNT)
    gateway.stop()


def lock(gateway):
    """A lock of another process on the whole database."""
    holder = sqlite3.connect(database(gateway), isolation_level=None)
    cleanup(holder.close)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    return holder


PATIENCE_S = 5  # with a lock, at the start and at work


def waits_for_3_s(gateway):
    """False: this test was delayed, and unlocked too late."""
    holder, began = lock(gateway), time.monotonic()
    gateway.start(ready=False)
    time.sleep(3)  # is what the case is about
    waits = gateway.process.poll() is None
    holder.execute("ROLLBACK")
    holder.close()
    held = time.monotonic() - began
    with contextlib.suppress(AssertionError):
        gateway.wait_ready()
    check(gateway.is_running() or held >= PATIENCE_S, "it waits", waits, held, gateway.log())
    return gateway.is_running()


@case
def a_database_locked_for_3_s_is_waited_for():
    gateway, stored = stopped_spool()
    check(any(waits_for_3_s(gateway) for _ in range(5)), "never in time")
    equal(gateway.ledger()["spooled"], COUNT)
    gateway.stop()


@case
def a_database_locked_for_30_s_is_refused_and_nothing_is_lost():
    gateway, stored = stopped_spool()
    holder = lock(gateway)
    began = time.monotonic()
    refused(gateway, "locked")
    check(time.monotonic() - began < 30, "it gives up within the 30 s")
    holder.execute("ROLLBACK")
    holder.close()
    gateway.start()
    equal(gateway.ledger()["spooled"], COUNT)
    gateway.stop()


def hold_write_lock(gateway):
    holder = sqlite3.connect(database(gateway), isolation_level=None)
    cleanup(holder.close)
    holder.execute("BEGIN IMMEDIATE")
    return holder


def log_count(gateway, words):
    return gateway.log().count(words)


def let_go(gateway, holder, began, client, sent):
    """Unlocks; returns the acknowledgements. None is refused before the daemon's timeout."""
    holder.execute("ROLLBACK")
    held = time.monotonic() - began
    acks = [client.expect(mqtt.PUBACK) for _ in sent]
    equal([ack.packet_id for ack in acks], sent, "all have their answer")
    check(held >= PATIENCE_S or not any(ack.reason for ack in acks), "refused after", held, acks)
    wait_for(lambda: log_count(gateway, " database_unlocked ")
             == log_count(gateway, " database_locked "), 10, "the log says that it is over")
    return acks


@case
def a_database_locked_for_a_while_keeps_only_producers_waiting():
    gateway = Gateway().start()
    producer, other = gateway.client(5), gateway.client(5)
    taken, rounds = [producer.publish_wait("plant/t", b"before")], []

    def slowest_ping():
        rounds.append(1)
        began, holder, slowest = time.monotonic(), hold_write_lock(gateway), 0
        sent = [producer.publish("plant/t", b"%d" % number) for number in range(20)]
        wait_for(lambda: log_count(gateway, " database_locked ") == len(rounds), 10, "the log")
        for _ in range(10):
            before = time.monotonic()
            other.ping()
            slowest = max(slowest, time.monotonic() - before)
        acks = let_go(gateway, holder, began, producer, sent)
        taken.extend(ack for ack in acks if ack.reason == 0)
        return slowest if all(ack.reason == 0 for ack in acks) else PATIENCE_S

    quick_once(1, slowest_ping, "a ping")
    equal(log_count(gateway, " database_locked "), len(rounds), "one line for each lock")
    equal(gateway.ledger()["spooled"], len(taken))
    gateway.stop()


@case
def a_database_locked_for_long_is_a_clear_refusal_and_heals_by_itself():
    gateway = Gateway(lanes=[{"name": "hold", "topics": ["hold/#"], "when_full": "block"}]).start()
    producer, old, patient = (gateway.client(version, timeout=30) for version in (5, 4, 5))
    holder = hold_write_lock(gateway)
    held = patient.publish("hold/t", b"x")
    equal(producer.publish_wait("plant/t", b"x").reason, 0x97, "after the patience")
    old.publish("plant/t", b"x")
    old.expect_closed()
    wait_for(lambda: "spool_full reason=database_locked" in gateway.log(), 5, "a line")
    holder.execute("ROLLBACK")
    equal(patient.expect(mqtt.PUBACK).packet_id, held, "a lane that blocks waits for the end")
    equal(producer.publish_wait("plant/t", b"x").reason, 0, "and continues")
    equal(gateway.ledger()["spooled"], 2)
    gateway.stop()


@case
def deliveries_under_a_locked_database_are_recorded_when_it_is_free():
    broker = Mosquitto().start()
    gateway = Gateway(broker.url).start()
    gateway.wait_link()
    client, refused = gateway.client(5), 0
    for number in range(10):
        client.publish_wait("plant/t", b"%d" % number)
    gateway.wait_drained()
    for turn in range(1, 6):
        for number in range(10):
            client.publish("plant/t", b"%d" % number)
        for _ in range(10):
            client.expect(mqtt.PUBACK)
        began, holder = time.monotonic(), hold_write_lock(gateway)
        late = client.publish("plant/t", b"late")
        wait_for(lambda: log_count(gateway, " database_locked ") >= turn, 10, "the lock is noticed")
        if let_go(gateway, holder, began, client, [late])[0].reason == 0:
            break
        refused += 1
    check(refused < turn, "never in time")
    equal(gateway.wait_drained()["delivered"], 10 + 11 * turn - refused)
    gateway.stop()
    check_audit(gateway.audit_lines())


def operate(gateway, statement, seconds=30):
    """What an operator does with sqlite3 beside the daemon; waits for a moment without a writer."""
    def done():
        with contextlib.closing(sqlite3.connect(database(gateway), isolation_level=None)) as db:
            try:
                rows = db.execute(statement).fetchall()
            except sqlite3.OperationalError as error:
                check("locked" in str(error), statement, error)
                return False
            return not rows or rows[0][0] == 0  # a checkpoint that was not busy
    wait_for(done, seconds, statement)


@case
def an_operator_who_vacuums_and_checkpoints_under_load_costs_nothing():
    far, history = FarBroker(), History()
    link = Link(far.port).restore()
    gateway = Gateway(link.url, uplink={"window": 64}).start()
    producers = start_producers(gateway.socket, 2, pause=0.002, size=600)
    for turn in range(8):
        if turn % 2:
            link.restore()  # deliveries leave free pages, so that a VACUUM moves everything
        else:
            link.cut()
        before = [len(producer.acked) for producer in producers]
        wait_for(lambda: all(len(producer.acked) > count + 200
                             for producer, count in zip(producers, before)), 30, "load")
        for statement in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)",
                          "PRAGMA wal_checkpoint(RESTART)"):
            operate(gateway, statement)
    for producer in producers:
        producer.finish()
    gateway.wait_drained(60)
    equal(gateway.tool("check").returncode, 0, "mqtt-spool check")
    gateway.stop()
    far.collect(history)
    collect(history, producers)
    collect_daemon(history, [gateway.audit], gateway.spool)
    history.window, history.cuts, history.drained = 64, 4, True
    print("# " + figures(history))
    equal(history.refused, {}, "refused")
    hold(history)
    for sign in ("failed what=", "spool_damaged", "spool_salvaged"):
        check(sign not in gateway.log(), sign, gateway.log())
    gateway.start()
    check("spool_damaged" not in gateway.log(), "damage at the next start", gateway.log())
    gateway.stop()


run_all()
