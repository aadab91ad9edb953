# SPDX-License-Identifier: MIT
"""Something else has the name of a file of ours: a FIFO, a socket, a folder, a device.

Nothing waits for another process to open or read it: the daemon serves or names what is in the way.
"""

import os
import re
import signal
import socket
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import processes  # noqa: E402
from broker import Certificates, Mosquitto  # noqa: E402
from gateway import Gateway  # noqa: E402
from tap import case, check, cleanup, equal, run_all, skip, wait_for  # noqa: E402

SECONDS = 20


def bind(path):
    listening = socket.socket(socket.AF_UNIX)
    cleanup(listening.close)
    listening.bind(path)


KINDS = {"fifo": os.mkfifo, "socket": bind, "folder": os.mkdir,
         "terminal": lambda path: os.symlink("/dev/ptmx", path),
         "dangling": lambda path: os.symlink("/nonexistent/file", path),
         "loop": lambda path: os.symlink(os.path.basename(path), path)}
SPOOL_KINDS = KINDS
KINDS = {kind: KINDS[kind] for kind in ("fifo", "socket", "folder", "terminal")}


def put(kind, path):
    """In its place; what was there goes aside. Returns how to take it away again."""
    if os.path.lexists(path):
        os.rename(path, path + ".aside")
    SPOOL_KINDS[kind](path)

    def away():
        (os.rmdir if kind == "folder" else os.unlink)(path)
        if os.path.lexists(path + ".aside"):
            os.rename(path + ".aside", path)
    return away


def try_start(gateway):
    """Does it serve? A start that hangs fails the case."""
    gateway.start(ready=False)
    wait_for(lambda: not gateway.is_running() or os.path.exists(gateway.socket)
             and any("READY=1" in text for text in gateway.read_notifications()),
             SECONDS, lambda: "served or ended:\n" + gateway.log())
    return gateway.is_running()


@case
def in_the_spool_it_is_named_and_the_start_works_when_it_is_gone():
    gateway = Gateway().start()
    client = gateway.client(5)
    for _ in range(3):
        client.publish_wait("plant/t", b"x")
    gateway.stop()
    for name in ("spool.db", "spool.db-wal", "spool.db-shm", "spool.db-journal", "spool.mark",
                 "lock"):
        for kind in SPOOL_KINDS:
            away = put(kind, os.path.join(gateway.spool, name))
            before = len(gateway.log())
            check(not try_start(gateway), "it serves with", kind, name)
            equal(gateway.process.wait(), 78, "exit code with %s %s" % (kind, name))
            lines = gateway.log()[before:]
            check(re.search(r"spool_not_opened .*error=\"[^\n]*%s: is no regular file\"" %
                            re.escape(name), lines) and "remedy=\"another kind of file has" in lines,
                  "the log names " + name, kind, lines)
            for verb in ("status", "failures", "check"):
                done = gateway.tool(verb, timeout=SECONDS)
                check(done.returncode != 0, "%s with %s %s" % (verb, kind, name), done.stdout)
            away()
    gateway.start()
    equal(gateway.ledger()["spooled"], 3)
    gateway.stop()


@case
def beside_the_target_of_a_link_it_is_named_too():
    gateway = Gateway().start()
    gateway.client(5).publish_wait("plant/t", b"x")
    gateway.stop()
    real = os.path.join(gateway.spool, "real")
    os.mkdir(real)
    os.rename(os.path.join(gateway.spool, "spool.db"), os.path.join(real, "spool.db"))
    os.symlink("real/spool.db", os.path.join(gateway.spool, "spool.db"))
    for suffix in ("-journal", "-wal", "-shm"):
        away = put("fifo", os.path.join(real, "spool.db" + suffix))
        check(not try_start(gateway), "it serves with", suffix)
        check("spool.db%s: is no regular file" % suffix in gateway.log(), "why", gateway.log())
        for verb in ("status", "failures", "check"):
            check(gateway.tool(verb, timeout=SECONDS).returncode != 0, verb, suffix)
        away()
    gateway.start()
    equal(gateway.ledger()["spooled"], 1)
    gateway.stop()


def junk(path):
    with open(path, "w", encoding="utf-8") as file:
        file.write("hello\n")


@case
def in_the_place_of_a_new_database_it_moves_aside_and_the_spool_stays():
    gateway = Gateway().start()
    client = gateway.client(5)
    for _ in range(3):
        client.publish_wait("plant/t", b"x")
    gateway.stop()
    for name in ("spool.db.salvaged", "spool.db.restored"):
        for kind in list(SPOOL_KINDS) + ["junk", "empty"]:
            path = os.path.join(gateway.spool, name)
            {"junk": junk, "empty": lambda path: open(path, "x").close()}.get(
                kind, SPOOL_KINDS.get(kind))(path)
            done = gateway.tool("check", timeout=SECONDS)
            equal(done.returncode, 1, "check with %s %s" % (kind, name))
            page = done.stdout.decode()
            check(name in page and "the next start gives it another name" in page,
                  "check names", name, kind, page)
            before = len(gateway.log())
            check(try_start(gateway), "it serves with", kind, name, gateway.log()[before:])
            equal(gateway.ledger()["spooled"], 3, "messages with %s %s" % (kind, name))
            gateway.stop()
            lines = gateway.log()[before:]
            check(re.search(r"spool_set_aside .*%s" % re.escape(name), lines) and
                  "spool_damaged" not in lines, "the log names", name, kind, lines)
            check(not os.path.lexists(path), "it moved", kind, name)
            refused = [n for n in os.listdir(gateway.spool) if n.startswith("spool.db.refused-")]
            equal(len(refused), 1, "names set aside")
            aside = os.path.join(gateway.spool, refused[0])
            (os.rmdir if kind == "folder" else os.unlink)(aside)
            equal(gateway.tool("check", timeout=SECONDS).returncode, 0, "check afterwards")


@case
def a_journal_that_no_spool_has_is_never_played_back():
    gateway = Gateway().start()
    gateway.client(5).publish_wait("plant/t", b"x")
    gateway.stop()
    junk(os.path.join(gateway.spool, "spool.db-journal"))
    for verb in ("status", "failures", "check"):
        done = gateway.tool(verb, timeout=SECONDS)
        check(done.returncode != 0 and b"spool.db-journal" in done.stdout + done.stderr,
              verb, "names it", done.stdout, done.stderr)
    gateway.start()
    check(re.search(r"spool_set_aside .*spool\.db-journal", gateway.log()), "said", gateway.log())
    equal(gateway.ledger()["spooled"], 1)
    equal(gateway.tool("check", timeout=SECONDS).returncode, 0, "check")
    gateway.stop()
    check(any(name.startswith("spool.db.refused-") for name in os.listdir(gateway.spool)),
          "it is kept", os.listdir(gateway.spool))


@case
def where_a_salvage_writes_a_folder_moves_aside():
    for name in ("spool.db.new", "spool.db.new-wal"):
        gateway = Gateway().start()
        client = gateway.client(5)
        for _ in range(3):
            client.publish_wait("plant/t", b"x")
        gateway.stop()
        with open(os.path.join(gateway.spool, "spool.db"), "r+b") as file:
            file.write(b"\0" * 100)
        os.mkdir(os.path.join(gateway.spool, name))
        check(try_start(gateway), "it serves with a folder", name, gateway.log())
        check(re.search(r"spool_set_aside .*%s" % re.escape(name), gateway.log()), "said")
        equal(gateway.ledger()["spooled"], 3)
        gateway.stop()


@case
def a_path_that_is_too_long_for_the_database_is_refused_with_the_reason():
    gateway = Gateway()
    place = gateway.spool + "-long"
    while len(os.path.realpath(place)) <= 486:
        place = os.path.join(place, "x" * 100)
    os.makedirs(place)
    os.symlink(place, gateway.spool)
    check(not try_start(gateway), "it serves")
    equal(gateway.process.wait(), 78, "exit code")
    check("SQLite takes 486" in gateway.log() and
          "remedy=\"name a folder with a shorter path" in gateway.log(), "why", gateway.log())


@case
def a_stop_ends_a_salvage():
    gateway = Gateway().start()
    gateway.client(5).publish_wait("plant/t", b"x")
    gateway.stop()
    database = os.path.join(gateway.spool, "spool.db")
    with open(database, "r+b") as file:
        file.write(b"\0" * 100)
        try:
            file.truncate(64 << 30)
        except OSError as error:
            skip("no sparse file of 64 GiB: %s" % error)
    before = sorted(os.listdir(gateway.spool))
    gateway.start(ready=False)
    wait_for(lambda: "spool_damaged" in gateway.log(), SECONDS, lambda: "salvage:\n" + gateway.log())
    gateway.process.send_signal(signal.SIGTERM)
    equal(gateway.process.wait(SECONDS), 0, "exit code")
    check("error=\"stopped before all was read\"" in gateway.log(), "why", gateway.log())
    equal(sorted(os.listdir(gateway.spool)), before, "files")
    os.truncate(database, 32768)
    gateway.start()
    check("spool_salvaged" in gateway.log(), "the next start begins again", gateway.log())
    gateway.stop()


@case
def at_the_status_file_it_holds_nothing_up():
    gateway = Gateway(status_interval="100ms")
    status = os.path.join(gateway.run_folder, "status.json")
    for kind in KINDS:
        for path in (status + ".new", status):
            away = put(kind, path)
            check(try_start(gateway), "it serves with", kind, path)
            equal(gateway.client(5).publish_wait("plant/t", b"x").reason, 0, "reason")
            if kind == "folder":
                wait_for(lambda: "status_not_written file=" in gateway.log(), 10, "a line")
                gateway.tool("status", timeout=SECONDS)  # by the spool, and without waiting
                away()
            wait_for(gateway.status, 10, "a status")
            gateway.stop()
    # The tool while no daemon runs.
    for kind in KINDS:
        away = put(kind, status)
        gateway.tool("status", timeout=SECONDS)
        away()


@case
def at_the_audit_file_the_records_wait():
    for kind in KINDS:
        gateway = Gateway()
        away = put(kind, gateway.audit)
        check(try_start(gateway), "it serves with", kind)
        client = gateway.client(5)
        equal(client.publish_wait("plant/t", b"x", properties={"message_expiry": 1}).reason, 0)
        wait_for(lambda made=gateway: "audit_waiting" in made.log(), 10, "a line")
        check("error=\"is no regular file\"" in gateway.log(), "why", gateway.log())
        for verb in ("check", "audit"):
            check(gateway.tool(verb, timeout=SECONDS).returncode != 0, verb, kind)
        away()
        equal(len(gateway.wait_audit(1)), 1, "records afterwards")
        gateway.stop()
        away = put(kind, gateway.audit + ".1")
        os.truncate(gateway.audit, 0)
        check(try_start(gateway), "it serves with a rotated file that is a", kind)
        gateway.stop()
        away()


@case
def as_the_configuration_it_is_an_error():
    for kind in KINDS:
        gateway = Gateway()
        away = put(kind, gateway.config)
        done = processes.run([processes.daemon_path(), "-c", gateway.config, "--test-config"],
                             SECONDS)
        equal(done.returncode, 78, "exit code with a " + kind)
        check(gateway.config.encode() in done.stderr, "the file is named", done.stderr)
        away()
        gateway.start()
        away = put(kind, gateway.config)
        gateway.hup()
        wait_for(lambda made=gateway: "reload_refused" in made.log(), 10, "refused")
        away()
        gateway.stop()


@case
def where_a_secret_or_a_certificate_is_looked_for_local_programs_are_served():
    tls = Certificates()
    broker = Mosquitto(tls=tls, client_certificates=True).start()
    secret = os.path.join(processes.folder(), "secret")
    for key in ("password_file", "ca_file", "cert_file", "key_file", "key_password_file"):
        for kind in KINDS:
            settings = {"tls": {"ca_file": tls.ca, "cert_file": tls.client_cert,
                                "key_file": tls.client_key}}
            if key == "password_file":
                settings.update(username="u", password_file=secret)
            else:
                settings["tls"][key] = secret
            away = put(kind, secret)
            gateway = Gateway("ssl://localhost:%d" % broker.port, uplink=settings)
            check(try_start(gateway), "it serves with", kind, key)
            wait_for(lambda made=gateway: "link_retry" in made.log(), 10, "a line")
            equal(gateway.client(5).publish_wait("plant/t", b"x").reason, 0, "reason")
            check("cannot read %s: is no regular file" % secret in gateway.log(), "why", key,
                  kind, gateway.log())
            gateway.process.send_signal(signal.SIGTERM)
            equal(gateway.process.wait(SECONDS), 0, "exit code")
            away()


run_all()
