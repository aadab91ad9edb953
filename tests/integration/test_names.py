"""Something else has the name of a file of ours: a FIFO, a socket, a folder, a device.

Nothing waits for another process to open or read it: the daemon serves or says what is in the way.
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
from tap import case, check, cleanup, equal, run_all, wait_for  # noqa: E402

SECONDS = 20


def bind(path):
    listening = socket.socket(socket.AF_UNIX)
    cleanup(listening.close)
    listening.bind(path)


KINDS = {"fifo": os.mkfifo, "socket": bind, "folder": os.mkdir,
         "terminal": lambda path: os.symlink("/dev/ptmx", path)}


def put(kind, path):
    """In its place; what was there goes aside. Returns how to take it away again."""
    if os.path.lexists(path):
        os.rename(path, path + ".aside")
    KINDS[kind](path)

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
    for name in ("spool.db", "spool.db-wal", "spool.db-shm", "spool.mark", "lock"):
        for kind in KINDS:
            away = put(kind, os.path.join(gateway.spool, name))
            before = len(gateway.log())
            check(not try_start(gateway), "it serves with", kind, name)
            equal(gateway.process.wait(), 1, "exit code with %s %s" % (kind, name))
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
