# SPDX-License-Identifier: MIT
"""mqtt-spool list, show, flush, hold, release, drop, requeue, log-level and rotate, with the
daemon that they ask.

What an operator does in a bad hour: hold the link, look, end one message, release, and read in
the audit file who did it.
"""

import base64
import grp
import json
import os
import pty
import pwd
import select
import shutil
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import processes  # noqa: E402
from broker import Mosquitto  # noqa: E402
from fake_broker import FakeBroker  # noqa: E402
from gateway import Gateway, check_balance  # noqa: E402
from mqtt import Subscriber, spool_id  # noqa: E402
from tap import case, check, cleanup, equal, run_all, skip, wait_for  # noqa: E402

OK, USAGE, DATA, UNAVAILABLE, TRY_AGAIN, NOT_ALLOWED = 0, 64, 65, 69, 75, 77
KEPT_ASIDE = {"max_messages": 1000, "max_bytes": "16M", "max_age": "30d"}


def run(gateway, *arguments, code=OK, **options):
    done = gateway.tool(*arguments, **options)
    equal(done.returncode, code, "exit code (it says: %s)" % done.stderr)
    return done


def objects(gateway, *arguments, **options):
    return [json.loads(line)
            for line in run(gateway, *arguments, "--json", **options).stdout.splitlines()]


def one(gateway, *arguments, **options):
    found = objects(gateway, *arguments, **options)
    equal(len(found), 1, "objects")
    return found[0]


def admin_lines(gateway):
    return [line for line in gateway.audit_lines() if "admin" in line]


def ids(found):
    return [line["id"] for line in found]


def start(**settings):
    far = Mosquitto().start()
    cleanup(far.stop)
    gateway = Gateway("tcp://127.0.0.1:%d" % far.port, **settings).start()
    gateway.wait_link()
    return far, gateway


def publish(gateway, topic, count, payload=b"x"):
    client = gateway.client(5)
    return [spool_id(client.publish_wait(topic, payload + b"%d" % number))
            for number in range(count)]


@case
def hold_list_drop_release_and_read_who_did_it():
    far, gateway = start()
    subscriber = Subscriber(("127.0.0.1", far.port)).start()
    cleanup(subscriber.stop)
    equal(one(gateway, "hold"), {"command": "hold", "ok": True}, "hold")
    mine = publish(gateway, "plant/1", 3)
    equal([(line["id"], line["state"]) for line in objects(gateway, "list")],
          [(number, "held") for number in mine], "held")
    equal(one(gateway, "drop", "--id", str(mine[1]), "--yes"),
          {"command": "drop", "ok": True, "matched": 1, "dropped": 1, "in_flight": 0}, "drop")
    equal(ids(objects(gateway, "list", "--topic", "plant/+")), [mine[0], mine[2]], "what is left")
    gateway.stop()
    equal([line["state"] for line in objects(gateway, "list")], ["held", "held"], "by the files")
    gateway.start()
    equal([line["state"] for line in objects(gateway, "list")], ["held", "held"], "after a restart")
    run(gateway, "release")
    check_balance(gateway.wait_drained())
    wait_for(lambda: len(subscriber.messages) == 2, 10, "both at the far side")
    equal(subscriber.payloads(), [b"x0", b"x2"], "what the far side got")
    done = admin_lines(gateway)
    equal([line["admin"] for line in done], ["hold", "drop", "release"], "lines of the operator")
    equal([line["uid"] for line in done], [os.getuid()] * 3, "who it was")
    equal((done[1]["ids"], done[1]["dropped"]), ([mine[1]], 1), "what was dropped")
    records = [line for line in gateway.wait_audit(6) if "seq" in line]
    equal([(line["id"], line["reason"]) for line in records if line["outcome"] == "dropped"],
          [(mine[1], "operator")], "its record")
    run(gateway, "audit")


@case
def a_status_sees_what_was_done_before_it():
    far, gateway = start(status_interval="1m",
                         lanes=[{"name": "bulk", "topics": ["log/#"]}])
    for _ in range(3):
        before = one(gateway, "status", "--json")["time"]
        run(gateway, "hold")
        status = one(gateway, "status", "--json")
        equal((status["link"]["state"], status["lanes"][0]["held"]), ("held", True), "held")
        check(status["link"]["since"] > before, "since when it is held", before, status["link"])
        spooled = status["spool"]["messages"]
        publish(gateway, "plant/1", 1)
        equal(one(gateway, "status", "--json")["spool"]["messages"], spooled + 1, "messages")
        before = status["time"]
        run(gateway, "release")
        status = one(gateway, "status", "--json")
        equal((status["link"]["state"], status["lanes"][0]["held"]), ("online", False),
              "released")
        check(status["link"]["since"] > before, "since when it sends", before, status["link"])


@case
def one_lane_is_held_and_others_are_sent():
    far, gateway = start(lanes=[{"name": "bulk", "topics": ["log/#"]}])
    subscriber = Subscriber(("127.0.0.1", far.port)).start()
    cleanup(subscriber.stop)
    run(gateway, "hold", "--lane", "bulk")
    bulk = publish(gateway, "log/a", 5)
    publish(gateway, "plant/1", 2)
    wait_for(lambda: len(subscriber.messages) == 2, 10, "those of the other lane")
    equal([(line["id"], line["lane"], line["state"]) for line in objects(gateway, "list")],
          [(number, "bulk", "held") for number in bulk], "the lane")
    done = run(gateway, "hold", "--lane", "none", code=DATA)
    check(b"there is no lane" in done.stderr, "the reason", done.stderr)
    run(gateway, "release", "--lane", "bulk")
    gateway.wait_drained()


@case
def a_message_is_shown_with_all_that_it_has_from_daemon_and_files():
    gateway = Gateway(listen={"max_packet": "1M"}).start()
    payload = bytes(range(256)) * 3000  # in two answers
    client = gateway.client(5)
    number = spool_id(client.publish_wait("plant/\u00fc", payload, properties={
        "content_type": "image/x", "message_expiry": 600, "correlation_data": b"\0\1",
        "user": [("k", "v"), ("spool-ref", "order 66")]}))
    asked = one(gateway, "show", str(number), "--payload")
    gateway.stop()
    read = one(gateway, "show", str(number), "--payload")
    equal(base64.b64decode(asked["payload"]), payload, "its payload")
    for line in (asked, read):
        for name in ("age_ms", "expiry_ms"):
            line.pop(name)
    equal(asked, read, "by the daemon, by the files")
    equal((read["ref"], read["user_properties"][0], read["content_type"]),
          ("order 66", ["k", "v"], "image/x"), "properties")
    check("payload" not in one(gateway, "show", str(number)), "only if asked for")
    run(gateway, "show", "4711", code=DATA)


@case
def what_was_rejected_is_listed_and_sent_again_under_a_new_id():
    far = FakeBroker(reason=0x87, reason_at="bad").start()
    cleanup(far.stop)
    gateway = Gateway(far.url, rejected=KEPT_ASIDE).start()
    gateway.wait_link()
    publish(gateway, "good", 3)
    mine = publish(gateway, "bad", 2)
    wait_for(lambda: gateway.ledger()["rejected"] == 2, 20, "both rejected")
    found = objects(gateway, "list", "--rejected")
    equal([(line["id"], line["state"]) for line in found],
          [(number, "rejected") for number in mine], "kept aside")
    equal(one(gateway, "show", str(mine[0]))["code"], 0x87, "the broker's code")
    far.change(reason=None, reason_at=None)
    equal(one(gateway, "requeue", "--all", "--dry-run")["requeued"], 2, "of a dry run")
    equal(one(gateway, "requeue", "--id", str(mine[1])),
          {"command": "requeue", "ok": True, "matched": 1, "requeued": 1}, "requeue")
    gateway.wait_drained()
    records = [line for line in gateway.wait_audit(6) if "requeued_from" in line]
    equal([(line["outcome"], line["requeued_from"]) for line in records],
          [("delivered", mine[1])], "its record")
    check(records[0]["id"] > mine[1], "a new id", records)
    equal(ids(objects(gateway, "list", "--rejected")), [mine[0]], "what is still kept")
    run(gateway, "audit")


@case
def ids_of_one_command_are_the_input_of_the_next():
    gateway = Gateway().start()
    client = gateway.client(5)
    count = 5000
    equal(len(list(client.publish_many(("a/%d" % (number % 2), b"") for number in range(count)))),
          count, "published")
    chosen = ids(objects(gateway, "list", "--topic", "a/1"))
    equal(len(chosen), count // 2, "of one topic")
    text = "".join("%d\n" % number for number in chosen).encode()
    equal(one(gateway, "drop", "--id", "-", "--yes", stdin=text)["dropped"], count // 2, "dropped")
    equal(gateway.ledger()["dropped"], count // 2, "in the ledger")
    equal(one(gateway, "drop", "--all", "--yes")["dropped"], count // 2, "the rest")
    check_balance(gateway.ledger())
    run(gateway, "audit")


def on_terminal(gateway, *arguments, keys=b""):
    """Runs the tool with a terminal for all three; its output, and the exit code."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(processes.tool_path(), [processes.tool_path(), "-c", gateway.config]
                 + list(arguments))
    seen, end = b"", time.monotonic() + 30
    while time.monotonic() < end:
        if not select.select([fd], [], [], 1)[0]:
            continue
        try:
            part = os.read(fd, 4096)
        except OSError:
            break
        if not part:
            break
        seen += part
        if keys and b"[y/N]" in seen:
            os.write(fd, keys)
            keys = b""
    os.close(fd)
    return seen, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@case
def a_drop_asks_on_a_terminal_and_without_one_needs_yes():
    gateway = Gateway().start()
    publish(gateway, "a", 3)
    done = run(gateway, "drop", "--all", code=USAGE)
    check(b"--yes" in done.stderr, "what is needed", done.stderr)
    seen, code = on_terminal(gateway, "drop", "--all", keys=b"n\n")
    equal(code, OK, "exit code of no")
    check(b"drop 3 messages?" in seen and b"Nothing was changed" in seen, "asked", seen)
    equal(gateway.ledger()["spooled"], 3, "spooled after no")
    seen, code = on_terminal(gateway, "drop", "--all", keys=b"y\n")
    check(code == OK and b"3 dropped" in seen, "dropped", seen, code)
    equal(gateway.ledger()["dropped"], 3, "after yes")
    equal([line["admin"] for line in admin_lines(gateway)], ["drop"], "one line")


def open_folders(gateway):
    """So that another user reaches the configuration and the socket; root only."""
    if os.geteuid() != 0:
        skip("needs root: it becomes another user")
    for folder in (gateway.folder, gateway.run_folder):
        os.chmod(folder, 0o755)
    os.chmod(gateway.config, 0o644)


def as_nobody(gateway, *arguments, gid=65534):
    def become():
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(65534, 65534, 65534)
    return subprocess.run([processes.tool_path(), "-c", gateway.config] + list(arguments),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=60, preexec_fn=become)


@case
def only_an_administrator_steers_and_a_daemon_that_is_stopped_is_69():
    gateway = Gateway(listen={"mode": "0666"}).start()
    publish(gateway, "a", 1)
    open_folders(gateway)
    for arguments in (("flush",), ("hold",), ("drop", "--all", "--yes"), ("list",), ("show", "1"),
                      ("requeue", "--all"), ("log-level", "info"), ("rotate",), ("release",)):
        done = as_nobody(gateway, *arguments)
        equal(done.returncode, NOT_ALLOWED, "%s (it says: %s)" % (arguments, done.stderr))
        check(b"only an administrator may ask the daemon for that: run this as" in done.stderr,
              "the reason", done.stderr)
    equal(gateway.ledger()["spooled"], 1, "nothing was changed")
    producers = gateway.fresh_status()["producers"]
    equal([producers["messages_refused"], producers["refused_reason"]], [0, None],
          "commands are no messages")
    gateway.stop()
    for arguments in (("flush",), ("hold",), ("release",), ("drop", "--all", "--yes"),
                      ("requeue", "--all"), ("log-level", "info"), ("rotate",)):
        done = run(gateway, *arguments, code=UNAVAILABLE)
        check(b"no daemon listens" in done.stderr, "the reason", done.stderr)


@case
def who_may_not_open_the_socket_is_told_how_to_become_a_member_of_its_group():
    gateway = Gateway(listen={"mode": "0660"}).start()
    open_folders(gateway)
    user, other = pwd.getpwuid(65534), grp.getgrnam("daemon")
    shutil.chown(gateway.socket, group=other.gr_gid)
    member = ("make this user a member of its group (sudo adduser %s %s), which holds from the "
              "next login on" % (user.pw_name, other.gr_name)).encode()
    for arguments in (("publish", "-t", "a", "-m", "b"), ("hold",)):
        done = as_nobody(gateway, *arguments)
        equal(done.returncode, NOT_ALLOWED, "%s (it says: %s)" % (arguments, done.stderr))
        check(b"may not open " + gateway.socket.encode() in done.stderr, "what", done.stderr)
        check(member in done.stderr, "the group", done.stderr)
    check(b"run this as an administrator" in done.stderr, "and what a command needs", done.stderr)
    shutil.chown(gateway.socket, group=user.pw_gid)
    done = as_nobody(gateway, "publish", "-t", "a", "-m", "b", gid=other.gr_gid)
    equal(done.returncode, NOT_ALLOWED, "one that was added since its login")
    check(b"log in again" in done.stderr, "when it holds", done.stderr)
    check(b"adduser" not in done.stderr, "it is a member", done.stderr)
    shutil.chown(gateway.socket, group=0)
    done = as_nobody(gateway, "publish", "-t", "a", "-m", "b")
    check(b"run this as root" in done.stderr, "not a member of root's group", done.stderr)


@case
def the_log_level_changes_and_the_audit_file_is_opened_again():
    gateway = Gateway().start()
    run(gateway, "log-level", "debug")
    os.rename(gateway.audit, gateway.audit + ".1")
    run(gateway, "rotate")
    wait_for(lambda: os.path.exists(gateway.audit), 10, "a new audit file")
    run(gateway, "flush")
    check("admin_flush" in gateway.log(), "in the log")
    run(gateway, "log-level", "error")


if __name__ == "__main__":
    run_all()
