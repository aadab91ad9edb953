# SPDX-License-Identifier: MIT
"""The life of the daemon: arguments, readiness, stop, HUP, a second one, sockets from systemd."""

import contextlib
import json
import os
import re
import signal
import socket
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import mqtt  # noqa: E402
import processes  # noqa: E402
from broker import Link, Mosquitto  # noqa: E402
from checker import History, collect_daemon, figures, hold  # noqa: E402
from gateway import Gateway, all_of_the_disk, check_audit, check_balance  # noqa: E402
from load import FarBroker, Patient, collect, start_producers  # noqa: E402
from mqtt import Client, Subscriber  # noqa: E402
from tap import case, check, cleanup, equal, quick_once, run_all, skip, wait_for  # noqa: E402

LOG_LIMIT = 64 << 20  # bytes; the files of a small spool stay below it


def daemon(*arguments, env=None):
    return processes.run([processes.daemon_path()] + list(arguments), env=env)


def publish(gateway, count):
    with gateway.client(5) as client:
        for _, ack in client.publish_many((("plant/t", b"%06d" % number)
                                           for number in range(count)), 200):
            equal(ack.reason, 0, "reason of a PUBACK")


# Arguments


@case
def version_is_printed_and_exits_0():
    done = daemon("--version")
    equal(done.returncode, 0)
    check(re.match(rb"mqtt-spoold \d+\.\d+\.\d+\b", done.stdout), "version", done.stdout)


@case
def a_wrong_argument_exits_2_and_shows_the_usage():
    for arguments in (["--no-such-option"], ["surplus"], ["-c"]):
        done = daemon(*arguments)
        equal(done.returncode, 2, "exit code of %r" % arguments)
        check(b"sage" in done.stderr, "usage", done.stderr)


@case
def a_good_configuration_passes_the_test_and_leaves_no_trace():
    gateway = Gateway()
    done = daemon("-c", gateway.config, "--test-config")
    equal((done.returncode, done.stderr), (0, b""))
    check(not os.path.exists(gateway.spool), "a spool was made")
    check(not os.path.exists(gateway.socket), "a socket was made")


@case
def the_sample_configuration_passes_the_test():
    source = os.environ.get("SPOOLD_SOURCE") or os.path.join(os.path.dirname(__file__), "../..")
    done = daemon("-c", os.path.join(source, "etc", "mqtt-spoold.conf"), "--test-config")
    equal((done.returncode, done.stderr), (0, b""))


@case
def a_bad_configuration_exits_78_and_names_file_line_key_and_reason():
    gateway = Gateway()
    bad = [("retention = { max_mesages = 5; };", b"max_mesages"),
           ("retention = { max_messages = \"many\"; };", b"max_messages"),
           ("retention = { max_messages = 0; };", b"max_messages"),
           ("retention = { when_full = \"panic\"; };", b"when_full"),
           ("status_interval = \"5 parsecs\";", b"status_interval"),
           ("no_such_key = 1;", b"no_such_key"),
           ("lanes = ( { name = \"alarms\"; topics = ( \"a/#/b\" ); } );", b"lanes.topics"),
           ("uplink = {", b"")]
    path = os.path.join(gateway.folder, "bad.conf")
    for line, key in bad:
        with open(path, "w") as out:
            brokers = "" if line.startswith("uplink") else "uplink = { brokers = (\"tcp://a\"); };"
            out.write(brokers + "\n\n" + line + "\n")
        for arguments in (["--test-config"], []):
            done = daemon("-c", path, *arguments)
            equal(done.returncode, 78, "exit code for %s %r" % (line, arguments))
            check(b"bad.conf:" in done.stderr and key in done.stderr, "the message",
                  line, done.stderr)
            check(re.search(rb"bad\.conf:[34]:", done.stderr), "its line", line, done.stderr)


@case
def a_configuration_that_is_not_there_exits_78():
    done = daemon("-c", "/nonexistent/mqtt-spoold.conf")
    equal(done.returncode, 78)
    check(b"/nonexistent/mqtt-spoold.conf" in done.stderr, "the file's name", done.stderr)


# Readiness and stop


@case
def systemd_is_notified_of_readiness_status_and_stop():
    gateway = Gateway().start()
    wait_for(lambda: any("STATUS=" in text for text in gateway.read_notifications()), 10,
             "a STATUS= line")
    gateway.stop()
    seen = "\n".join(gateway.notifications)
    check("READY=1" in seen and "STOPPING=1" in seen, "notifications", seen)
    check(seen.index("READY=1") < seen.index("STOPPING=1"), "their order", seen)


@case
def the_watchdog_is_fed_when_systemd_asks_for_it():
    gateway = Gateway()
    gateway.start(env={"WATCHDOG_USEC": "1000000"})
    wait_for(lambda: sum("WATCHDOG=1" in text for text in gateway.read_notifications()) >= 3, 10,
             "WATCHDOG=1")
    gateway.stop()


@case
def no_listener_for_notifications_is_needed():
    gateway = Gateway()
    gateway.start(env={"NOTIFY_SOCKET": ""}, ready=False)
    wait_for(lambda: os.path.exists(gateway.socket), 10, "the socket")
    publish(gateway, 3)
    gateway.stop()


@case
def term_stops_at_once_when_nothing_is_in_flight():
    broker = Mosquitto().start()
    gateway = Gateway(broker.url).start()
    gateway.wait_link()
    publish(gateway, 10)
    gateway.wait_drained()
    gateway.stop(8)
    check(not os.path.exists(gateway.socket), "the socket is gone")


@case
def term_under_load_delivers_or_keeps_everything():
    broker = Mosquitto().start()
    far = Subscriber(broker.address).start()
    cleanup(far.stop)
    gateway = Gateway(broker.url).start()
    gateway.wait_link()
    client = gateway.client(5)
    for number in range(client.connack.properties["receive_maximum"]):
        client.publish("plant/t", b"%06d" % number)
    gateway.process.send_signal(signal.SIGTERM)
    acked = read_acks(client)
    gateway.stop()
    ledger = gateway.ledger()
    check_balance(ledger)
    check(ledger["accepted"] >= acked, "what was acknowledged is accepted", ledger, acked)
    equal(len(set(far.payloads())) >= ledger["delivered"], True, "what is delivered arrived")
    gateway.start()
    ledger = gateway.wait_drained()
    equal(ledger["delivered"], ledger["accepted"], "delivered after all")
    wait_for(lambda: len(set(far.payloads())) == ledger["accepted"], 10, "all at the broker")
    gateway.stop()
    check_audit(gateway.audit_lines())


def read_acks(client):
    """How many positive PUBACKs come before the connection closes."""
    count = 0
    try:
        while True:
            packet = client.receive(15)
            count += packet.kind == 4 and packet.reason == 0
    except Exception:
        return count


@case
def a_producer_is_notified_of_the_shutdown():
    gateway = Gateway().start()
    client = gateway.client(5)
    client.ping()
    gateway.stop()
    last = client.expect_closed()
    equal((last and last.kind, last and last.reason), (14, 0x8B), "DISCONNECT")


@case
def a_producer_that_waits_is_notified_of_the_shutdown_and_not_refused():
    gateway = Gateway(retention={"max_messages": 1, "when_full": "block"}).start()
    client = gateway.client(5)
    first = client.publish("plant/t", b"taken")
    equal(client.expect(mqtt.PUBACK).packet_id, first)
    client.publish("plant/t", b"waits")
    other = gateway.client(5)
    other.ping()
    gateway.stop()
    last = client.receive(5)
    equal((last.kind, last.reason), (mqtt.DISCONNECT, 0x8B), "what comes instead of a PUBACK")


@case
def the_status_can_be_read_while_it_is_stopped():
    gateway = Gateway().start()
    publish(gateway, 7)
    gateway.stop()
    status = gateway.tool_status()
    equal(status["ledger"]["spooled"], 7)
    equal(status["spool"]["messages"], 7)
    done = gateway.tool("status")
    equal(done.returncode, 0)
    check(b"7" in done.stdout, "status for people", done.stdout)


@case
def the_status_file_has_every_field():
    broker = Mosquitto().start()
    gateway = Gateway(broker.url).start()
    gateway.wait_link()
    publish(gateway, 5)
    gateway.wait_drained()
    wait_for(lambda: gateway.status()["ledger"]["delivered"] == 5, 10, "5 in the status file")
    status = gateway.status()
    wanted = {"version": [], "uptime_ms": [], "link": ["state", "broker", "since", "connects",
                                                       "last_error"],
              "spool": ["messages", "bytes", "disk_bytes", "oldest_age_ms"], "lanes": [],
              "ledger": ["accepted", "delivered", "evicted", "expired", "rejected", "dropped",
                         "damaged", "spooled"],
              "tokens": ["in_flight", "peak"], "rates": ["in", "out"], "memory": ["rss_bytes"],
              "clock": ["synchronized"]}
    for name, fields in wanted.items():
        check(name in status, "no " + name, status)
        for field in fields:
            check(field in status[name], "no %s.%s" % (name, field), status)
    check_balance(status["ledger"])
    gateway.stop()


# A disk that is slow


class SlowSyncs:
    """Each sync of a running daemon takes this much longer, until end()."""

    def __init__(self, gateway, seconds):
        self.trace = os.path.join(gateway.folder, "syncs")
        calls = "fdatasync,fsync"
        self.process = processes.start(
            [processes.need("strace"), "-f", "-qq", "-o", self.trace, "-e", "trace=" + calls, "-e",
             "inject=%s:delay_enter=%d" % (calls, seconds * 1000000),
             "-p", str(gateway.process.pid)], stderr=processes.PIPE)
        cleanup(self.end)
        wait_for(lambda: self._is_attached(gateway), 10, "strace attached")

    def _is_attached(self, gateway):
        if self.process.poll() is not None:
            skip("strace cannot trace here: %r" % self.process.stderr.read())
        with open("/proc/%d/status" % gateway.process.pid) as seen:
            return "TracerPid:\t%d\n" % self.process.pid in seen.read()

    def count(self):
        with open(self.trace) as seen:
            return len(re.findall(r"f(?:data)?sync\(", seen.read()))

    def end(self):
        processes.end(self.process)
        self.process.stderr.close()


def flood(path, ending):
    """Publishes at QoS 0 as fast as the daemon reads."""
    packets = mqtt.publish_packet(5, "flood", b"x" * 1000, 0, 0) * 50
    with Client(path, 5) as client:
        while not ending.is_set():
            client.sock.sendall(packets)


def longest_without_a_ping(gateway, seconds):
    """Of so many seconds, the last included."""
    def count():
        return sum("WATCHDOG=1" in text for text in list(gateway.notifications))

    fed, began, longest = count(), time.monotonic(), 0
    last_ping = began
    while last_ping < began + seconds and longest < 4:
        time.sleep(0.05)
        now, pings = time.monotonic(), count()
        longest = max(longest, now - last_ping)
        if pings > fed:
            fed, last_ping = pings, now
    return longest


@case
def on_a_slow_disk_batches_grow_memory_does_not_and_the_watchdog_is_fed():
    far, history, ending = FarBroker(), History(), threading.Event()
    gateway = Gateway(far.url, retention={"max_messages": 20000}, uplink={"window": 64})
    gateway.start(env={"WATCHDOG_USEC": "4000000"})
    gateway.wait_link()
    start = processes.levels(gateway.process)["memory_kb"]
    slow = SlowSyncs(gateway, 0.2)
    producers = start_producers(gateway.socket, 4)
    flooding = threading.Thread(target=flood, args=(gateway.socket, ending), daemon=True)
    cleanup(ending.set)
    flooding.start()
    quick_once(4, lambda: longest_without_a_ping(gateway, 8), "seconds without a ping", 3)
    grown = processes.levels(gateway.process)["memory_kb"] - start
    syncs, acked = slow.count(), sum(len(producer.acked) for producer in producers)
    slow.end()
    ending.set()
    flooding.join(20)
    for producer in producers:
        producer.finish()
    check(acked > 5 * syncs > 20, "several messages a sync (acknowledged, syncs)", acked, syncs)
    check(gateway.is_sanitized() or grown < 16384, "kB of memory more", grown)
    gateway.wait_drained(60)
    gateway.stop()
    far.stop()
    collect(history, producers)
    collect_daemon(history, [gateway.audit], gateway.spool)
    lost = set(history.acked) - {record.get("ref") for record in history.outcomes}
    print("# %d syncs of 200 ms, %d acknowledged at QoS 1, memory %+d kB" % (syncs, acked, grown))
    equal(lost, set(), "acknowledged and without an outcome")
    check_audit(history.outcomes)


def is_stuck(gateway):
    """Its first thread, which runs the loop, is held by the tracer for a while now."""
    for _ in range(10):
        with open("/proc/%d/task/%d/stat" % ((gateway.process.pid,) * 2)) as seen:
            if seen.read().rpartition(")")[2].split()[0] != "t":
                return False
        time.sleep(0.05)
    return True


def pings_of(gateway):
    return sum("WATCHDOG=1" in text for text in gateway.read_notifications())


def pings_while_the_loop_hangs(gateway, client):
    """In 2.5 s of one sync of 8 s; None: the machine stood still, and the sync ended meanwhile."""
    began = time.monotonic()
    slow = SlowSyncs(gateway, 8)
    client.publish("plant/t", b"x")
    wait_for(lambda: is_stuck(gateway), 20, "the loop held in a sync")
    fed = pings_of(gateway)
    time.sleep(2.5)  # is what the case is about
    stuck, more = is_stuck(gateway), pings_of(gateway) - fed
    is_one_sync = time.monotonic() < began + 8
    check(stuck or not is_one_sync, "the loop hung all that time")
    slow.end()
    equal(client.expect(mqtt.PUBACK, 20).reason, 0)
    fed += more
    wait_for(lambda: pings_of(gateway) > fed, 10, "it continues")
    return more if is_one_sync else None


@case
def no_thread_feeds_the_watchdog_while_the_loop_hangs():
    gateway = Gateway()
    gateway.start(env={"WATCHDOG_USEC": "1000000"})
    client = gateway.client(5)
    seen = None
    for _ in range(5):
        seen = pings_while_the_loop_hangs(gateway, client)
        if seen is not None:
            break
    equal(seen, 0, "pings")
    gateway.stop()


# A second daemon, leftovers


@case
def a_second_daemon_on_the_same_spool_exits_1_and_says_why():
    gateway = Gateway().start()
    other = Gateway(spool={"directory": gateway.spool})
    done = daemon("-c", other.config)
    equal(done.returncode, 1)
    check(b"another" in done.stderr and gateway.spool.encode() in done.stderr, "why", done.stderr)
    check(b" not_started\n" in done.stderr, "a second, vague reason", done.stderr)
    publish(gateway, 1)
    gateway.stop()


@case
def a_socket_left_behind_by_a_crash_is_replaced():
    gateway = Gateway().start()
    publish(gateway, 5)
    gateway.kill()
    check(os.path.exists(gateway.socket), "the socket file is left behind")
    gateway.start()
    publish(gateway, 5)
    equal(gateway.ledger()["spooled"], 10)
    gateway.stop()


@case
def a_socket_in_use_is_not_taken_away():
    gateway = Gateway().start()
    other = Gateway(listen={"socket": gateway.socket})
    done = daemon("-c", other.config)
    equal(done.returncode, 1)
    check(gateway.socket.encode() in done.stderr, "the socket's path", done.stderr)
    publish(gateway, 1)
    gateway.stop()


@case
def ids_go_on_after_a_restart_with_an_empty_spool():
    broker = Mosquitto().start()
    gateway = Gateway(broker.url).start()
    publish(gateway, 5)
    gateway.wait_drained()
    gateway.stop()
    gateway.start()
    publish(gateway, 5)
    gateway.wait_drained()
    gateway.stop()
    equal([line["id"] for line in gateway.audit_lines()], list(range(1, 11)))


# HUP


@case
def hup_reopens_the_audit_file_and_no_line_is_lost_or_doubled():
    broker = Mosquitto().start()
    gateway = Gateway(broker.url).start()
    gateway.wait_link()
    rotated = []
    for turn in range(5):
        publish(gateway, 400)
        rotated.append("%s.%d" % (gateway.audit, turn))
        os.rename(gateway.audit, rotated[-1])
        gateway.hup()
        wait_for(lambda: os.path.exists(gateway.audit), 10, "a new audit file")
    gateway.wait_drained()
    wait_for(lambda: sum(len(gateway.audit_lines(path)) for path in rotated)
             + len(gateway.audit_lines()) >= 2000, 10, "2000 lines")
    gateway.stop()
    lines = [line for path in rotated + [gateway.audit] for line in gateway.audit_lines(path)]
    equal(len(lines), 2000)
    check_audit(lines)


@case
def hup_changes_the_limits():
    gateway = Gateway().start()
    publish(gateway, 50)
    gateway.configure(retention={"max_messages": 20})
    gateway.hup()
    wait_for(lambda: gateway.ledger()["spooled"] == 20, 10, "20 left")
    equal(len(gateway.wait_audit(30)), 30)
    seen = gateway.read_notifications()
    check(any("RELOADING=1" in text for text in seen), "RELOADING=1", seen)
    gateway.stop()


@case
def hup_with_a_bad_file_keeps_the_old_settings_and_logs_that():
    gateway = Gateway().start()
    publish(gateway, 10)
    gateway.configure(retention={"max_messages": 0})
    gateway.hup()
    wait_for(lambda: "reload_refused" in gateway.log(), 10, "the refusal in the log")
    check("max_messages" in gateway.log(), "the error in the log", gateway.log())
    publish(gateway, 10)
    equal(gateway.fresh_status()["configuration"]["refused"], "file", "the status")
    gateway.configure(retention={"max_messages": 1000})  # the tool reads the file too
    check("THE LAST RELOAD CHANGED NOTHING" in gateway.tool("status").stdout.decode(), "the page")
    equal(gateway.ledger()["spooled"], 20)
    gateway.stop()


@case
def hup_names_all_that_needs_a_restart_in_one_line():
    gateway = Gateway().start()
    gateway.hup()
    wait_for(lambda: "reloaded applied=all\n" in gateway.log(), 10, "nothing left over")
    gateway.configure(uplink={"window": 77, "topic_prefix": "site/"}, listen={"mode": "0600"},
                      retention={"max_messages": 12345})
    gateway.hup()
    wait_for(lambda: "reloaded applied=part\n" in gateway.log(), 10, "something left over")
    equal(re.findall("reload_partial (.*)", gateway.log()),
          ['keys=listen.mode,uplink.window,uplink.topic_prefix '
           'remedy="to apply them: systemctl restart mqtt-spoold"'])
    equal(gateway.log().count("reloaded applied=all"), 1, "claims that all was taken over")
    equal(gateway.tool_status()["configuration"],
          {"restart_keys": "listen.mode,uplink.window,uplink.topic_prefix", "refused": None})
    for verb in ("status", "doctor"):
        page = gateway.tool(verb).stdout.decode()
        check("systemctl restart mqtt-spoold" in page, verb, page)
    gateway.stop()
    gateway.start()
    equal(gateway.tool_status()["configuration"], {"restart_keys": None, "refused": None})
    gateway.stop()


def reload_in_part(gateway, **settings):
    gateway.configure(**settings)
    gateway.hup()
    wait_for(lambda: "reloaded applied=part\n" in gateway.log(), 10, "something left over")


def finds(gateway, *words):
    """The page of the doctor has all @words, and no fault that is none."""
    page = " ".join(gateway.tool("doctor").stdout.decode().split())
    for word in words:
        check(word in page, "doctor says " + word, page)
    for word in ("does not run", "process 0", "limit on clients"):
        check(word not in page, "doctor says nothing of " + word, page)


@case
def a_directory_that_waits_for_a_restart_hides_no_daemon_that_runs():
    gateway = Gateway().start()
    with gateway.client(5) as client:
        client.publish_wait("plant/t1", b"x")
    other = os.path.join(gateway.folder, "spool2")
    reload_in_part(gateway, spool={"directory": other})
    for is_made in (False, True):
        if is_made:
            os.mkdir(other)
        wait_for(lambda: gateway.status()["configuration"]["restart_keys"] == "spool.directory", 10,
                 gateway.status)
        page = gateway.tool("status").stdout.decode()
        for word in ("RESTART NEEDED: a reload does not change spool.directory", "spool     1 of"):
            check(word in page, word, page)
        done = gateway.tool("list")
        check(b"plant/t1" in done.stdout, "list asks the daemon", done)
        for verb in ("check", "audit"):
            done = gateway.tool(verb)
            check(done.returncode not in (0, 1), "exit code of " + verb, done)
            for word in ("there is no spool in %s" % other, "process %d" % gateway.process.pid,
                         "systemctl restart mqtt-spoold", "--directory"):
                check(word in done.stderr.decode(), verb + " says " + word, done.stderr)
        finds(gateway, "a reload does not change spool.directory")
    gateway.stop()
    done = gateway.tool("check")
    check(b"the daemon never ran with this directory" in done.stderr, "without a daemon", done)


@case
def a_socket_that_waits_for_a_restart_is_named_by_the_tool():
    gateway = Gateway().start()
    reload_in_part(gateway, listen={"socket": os.path.join(gateway.run_folder, "other.sock")})
    page = gateway.tool("status").stdout.decode()
    check("a reload does not change listen.socket" in page, "the page", page)
    finds(gateway, "a reload does not change listen.socket", "process %d" % gateway.process.pid)
    done = gateway.tool("flush")
    check(b"no daemon listens" in done.stderr and b"restart mqtt-spoold" in done.stderr, "flush", done)
    gateway.stop()


@case
def a_socket_in_another_folder_is_told_from_a_daemon_that_does_not_answer():
    gateway = Gateway().start()
    reload_in_part(gateway, listen={"socket": os.path.join(gateway.folder, "publish.sock")})
    page = " ".join(gateway.tool("status").stdout.decode().split())
    check("A changed listen.socket holds from the next restart on" in page, "the page", page)
    finds(gateway, "systemctl restart mqtt-spoold", "listen.socket")
    gateway.stop()


def reload(gateway, **settings):
    count = gateway.log().count("reloaded")
    gateway.configure(**settings)
    gateway.hup()
    wait_for(lambda: gateway.log().count("reloaded") > count, 10, "reloaded in the log")


def connected(gateway):
    with contextlib.suppress(AssertionError):
        return gateway.client(5)
    return None


def with_descriptors(soft, hard):
    """For wrap=: what the shell, or LimitNOFILE=, allows the daemon."""
    return ["sh", "-c", "ulimit -S -n %d && ulimit -H -n %d && exec \"$@\"" % (soft, hard), "sh"]


@case
def descriptors_for_its_own_work_are_kept_from_the_clients():
    broker = Mosquitto().start()
    gateway = Gateway(broker.url).start(wrap=with_descriptors(76, 76))
    gateway.wait_link()
    check("clients_limited max_clients=512 served=12 descriptors=76" in gateway.log(),
          "the log says how many are served", gateway.log())
    check("LimitNOFILE=576" in gateway.log(), "and what to do")
    clients = [gateway.client(5, client_id="c%d" % number) for number in range(12)]
    for _ in range(2):
        crowd = [gateway.raw(5)]
        crowd[0].send(mqtt.connect_packet(5, "late0"))  # it has 2 s for that
        crowd += [gateway.raw(5) for _ in range(39)]
        equal(crowd[0].expect(mqtt.CONNACK).reason, 0x97, "reason for one too many")
        equal(gateway.fresh_status()["producers"]["connected"], 12, "clients")
        # All there are, and the link and the audit file need new ones.
        broker.restart()
        with contextlib.suppress(FileNotFoundError):
            os.rename(gateway.audit, gateway.audit + ".1")
        reload(gateway, listen={"max_clients": 5000})
        wait_for(lambda: gateway.status()["link"]["state"] == "online", 30, "the link")
        equal(clients[0].publish_wait("plant/t", b"x").reason, 0)
        wait_for(lambda: os.path.exists(gateway.audit), 10, "the new audit file")
        wait_for(lambda: gateway.status()["ledger"]["spooled"] == 0, 10, "delivered")
        for client in crowd:
            client.close()
    check("clients_limited max_clients=5000 served=12" in gateway.log(), "logged again after HUP")
    for sign in ("listen_pausing", "Too many open files"):
        check(sign not in gateway.log(), "never out of descriptors", gateway.log())
    gateway.stop()


@case
def with_32_descriptors_a_crowd_of_64_costs_neither_the_link_nor_the_processor():
    broker = Mosquitto().start()
    # A late ping ends no connection: they are counted.
    gateway = Gateway(broker.url, uplink={"keepalive": "60s", "connect_timeout": "30s"})
    gateway.start(wrap=with_descriptors(32, 32))
    gateway.wait_link()
    good = gateway.client(5)
    equal(good.publish_wait("plant/t", b"x").reason, 0)
    gateway.wait_audit(1)
    crowd = [gateway.raw(4) for _ in range(64)]
    wait_for(lambda: gateway.status()["producers"]["clients_refused"] > 0, 10, "refusals")
    broker.restart()
    os.rename(gateway.audit, gateway.audit + ".1")
    gateway.hup()
    before, began = processes.cpu_seconds(gateway.process), time.monotonic()
    while time.monotonic() < began + 4:
        equal(good.publish_wait("plant/t", b"x").reason, 0)
        crowd = crowd[4:] + [gateway.raw(4) for _ in range(4)]
        time.sleep(0.2)
    used = (processes.cpu_seconds(gateway.process) - before) / (time.monotonic() - began)
    check(used < 0.1 or gateway.is_sanitized(), "part of the processor", used)
    gateway.wait_drained()
    equal(gateway.status()["link"]["connects"], 2, "connects")
    wait_for(gateway.audit_lines, 10, "the new audit file")
    good.disconnect()
    for client in crowd:
        client.close()
    wait_for(lambda: connected(gateway), 20, "a place for the next one")
    for sign in ("Too many open files", "listen_pausing"):
        check(sign not in gateway.log(), sign, gateway.log())
    gateway.stop()


def start_that_lacks(gateway, descriptors):
    """The error lines of the daemon; None: nothing was missing."""
    at = len(gateway.log())
    gateway.start(ready=False, wrap=with_descriptors(descriptors, descriptors))
    wait_for(lambda: not gateway.is_running() or " ready\n" in gateway.log()[at:], 30,
             "ready, or the end")
    if gateway.is_running():
        return None
    equal(gateway.process.returncode, 1, "exit code with %d descriptors" % descriptors)
    return [line for line in gateway.log()[at:].split("\n") if " error " in line]


@case
def a_start_that_lacks_descriptors_logs_that_at_each_step():
    gateway = Gateway()
    said, descriptors = set(), 7
    while True:
        lines = start_that_lacks(gateway, descriptors)
        if lines is None:
            break
        check("error=" in "".join(lines), "why, with %d descriptors" % descriptors, lines)
        said.add(lines[0].split()[2])
        descriptors += 1
    print("# with %d it starts; the first words before: %s" % (descriptors, sorted(said)))
    check(len(said) > 2, "different parts lacked one", said)
    gateway.stop()


@case
def the_soft_limit_of_descriptors_is_raised_to_the_hard_one():
    gateway = Gateway(listen={"max_clients": 100}).start(wrap=with_descriptors(70, 200))
    clients = [gateway.client(5, client_id="c%d" % number) for number in range(100)]
    for client in clients:
        client.ping()
    check("clients_limited" not in gateway.log(), "all fit", gateway.log())
    gateway.stop()


@case
def hup_changes_what_the_socket_takes():
    gateway = Gateway(listen={"max_clients": 1, "max_packet": "4k"}).start()
    first = wait_for(lambda: connected(gateway), 10, "the only place")
    late = gateway.raw(5)
    late.send(mqtt.connect_packet(5, "late"))
    equal(late.expect_closed(5).reason, 0x97, "one too many")
    reload(gateway, listen={"max_clients": 2, "max_packet": "64k"})
    second = gateway.client(5)
    equal(second.publish_wait("plant/t", b"x" * 10000).reason, 0, "by the new size")
    reload(gateway, listen={"max_clients": 1})
    equal(first.publish_wait("plant/t", b"x").reason, 0, "connected clients stay")
    equal(second.publish_wait("plant/t", b"x").reason, 0, "connected clients stay")
    check("reload_partial" not in gateway.log(), "no restart is asked for")
    gateway.stop()


@case
def hup_changes_the_commit_interval():
    gateway = Gateway(spool={"commit_interval": "5s"}).start()
    client = gateway.client(5)
    client.publish_wait("plant/t", b"the first")
    began = time.monotonic()
    client.publish_wait("plant/t", b"the second")
    check(time.monotonic() - began > 2, "it waits for the interval", time.monotonic() - began)
    packet_id = client.publish("plant/t", b"the third")
    began = time.monotonic()
    reload(gateway, spool={"commit_interval": "0"})
    equal(client.receive(10).packet_id, packet_id, "its PUBACK")
    check(time.monotonic() - began < 4, "it waits no longer", time.monotonic() - began)
    check("reload_partial" not in gateway.log(), "no restart is asked for")
    gateway.stop()
    equal(gateway.ledger()["accepted"], 3, "accepted")


@case
def hup_changes_the_disk_reserve():
    gateway = Gateway(spool={"disk_reserve": "1M"}, retention={"when_full": "refuse"}).start()
    client = gateway.client(5)
    equal(client.publish_wait("plant/t", b"x" * 5000).reason, 0)
    reload(gateway, spool={"disk_reserve": all_of_the_disk()})
    wait_for(lambda: client.publish_wait("plant/t", b"x" * 5000).reason == 0x97, 10, "refusals")
    reload(gateway, spool={"disk_reserve": "1M"})
    wait_for(lambda: client.publish_wait("plant/t", b"x" * 5000).reason == 0, 10, "room again")
    check("reload_partial" not in gateway.log(), "no restart is asked for")
    gateway.stop()
    gateway.stop()


@case
def two_gateways_with_sockets_in_one_folder_say_that_they_share_the_status_file():
    first = Gateway(status_interval="100ms").start()
    other = os.path.join(first.run_folder, "other.sock")
    second = Gateway(status_interval="100ms", listen={"socket": other}, audit={"file": ""})
    second.run_folder, second.socket = first.run_folder, other
    second.start()
    wait_for(lambda: " status_shared " in first.log() and " status_shared " in second.log(), 15,
             "a line of both")
    alone = Gateway(status_interval="100ms").start()
    for _ in range(5):
        alone.fresh_status()
    check(" status_shared " not in alone.log(), "a gateway of its own", alone.log())
    equal(first.log().count(" status_shared "), 1, "lines about it")
    for gateway in (first, second, alone):
        gateway.stop()


# Sockets from systemd


@case
def a_passed_unix_socket_is_used_and_stays():
    gateway = Gateway()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(gateway.socket)
    listening.listen(64)
    cleanup(listening.close)
    gateway.start_with_sockets([listening])
    publish(gateway, 5)
    gateway.stop()
    check(os.path.exists(gateway.socket), "the socket file stays")
    waiting = Client(gateway.socket)  # connects while the daemon is down, is served after it
    cleanup(waiting.close)
    gateway.start_with_sockets([listening])
    waiting.connect()
    waiting.publish_wait("plant/t", b"x")
    gateway.stop()
    equal(gateway.ledger()["accepted"], 6)


@case
def a_passed_loopback_tcp_socket_is_used_beside_it():
    gateway = Gateway()
    local = socket.socket(socket.AF_UNIX)
    local.bind(gateway.socket)
    local.listen(64)
    tcp = socket.create_server(("127.0.0.1", 0))
    for sock in (local, tcp):
        cleanup(sock.close)
    gateway.start_with_sockets([local, tcp])
    with Client(tcp.getsockname(), 5) as client:
        client.publish("plant/t", b"x", properties={"message_expiry": 1})
        client.expect(mqtt.PUBACK)
    publish(gateway, 1)
    # The user of a TCP connection is not known.
    wait_for(lambda: gateway.outcomes("expired"), 10, "a record of the first")
    equal(gateway.outcomes("expired")[0]["uid"], None, "uid over TCP")
    gateway.stop()
    equal(gateway.ledger()["accepted"], 2)
    done = gateway.tool("audit")
    equal(done.returncode, 0, "mqtt-spool audit says %r" % (done.stdout + done.stderr))


@case
def a_passed_socket_that_is_of_no_use_is_refused_with_what_speaks_against_it():
    gateway = Gateway()
    letters = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    letters.bind(os.path.join(gateway.folder, "letters"))
    gateway.start_with_sockets([letters], ready=False)
    equal(gateway.process.wait(20), 78, "exit code")
    check("listen_failed passed=0 fd=3 error=\"not a stream socket (use ListenStream=)\""
          in gateway.log(), "why", gateway.log())


class Knocking(threading.Thread):
    """Connects again and again; errors are the reasons of refusals."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path, self.count, self.errors, self.ending = path, 0, [], threading.Event()

    def run(self):
        while not self.ending.wait(0.002):
            try:
                mqtt.dial(self.path, 30).close()
                self.count += 1
            except OSError as error:
                self.errors.append(error)


@case(seconds=300)
def thirty_restarts_under_load_behind_a_passed_socket_refuse_no_client_and_lose_nothing():
    far, history, took = FarBroker(), History(), []
    gateway = Gateway(far.url, uplink={"window": 32, "backoff": {"min": "10ms", "max": "50ms"}})
    listening = socket.socket(socket.AF_UNIX)
    cleanup(listening.close)
    listening.bind(gateway.socket)
    listening.listen(4096)
    gateway.start_with_sockets([listening])
    producers = start_producers(gateway.socket, kind=Patient, pause=0.001)
    knocking = Knocking(gateway.socket)
    cleanup(knocking.ending.set)
    knocking.start()
    for _ in range(30):
        acked = sum(len(producer.acked) for producer in producers)
        wait_for(lambda: sum(len(producer.acked) for producer in producers) > acked + 20, 30,
                 "load")
        began = time.monotonic()
        gateway.stop()
        took.append(time.monotonic() - began)
        gateway.start_with_sockets([listening])
    for producer in producers:
        producer.finish()
    knocking.ending.set()
    knocking.join(40)
    gateway.wait_drained(60)
    gateway.stop()
    print("# 30 stops under load, %.2f s at most; %d connects" % (max(took), knocking.count))
    equal(knocking.errors, [], "refused connects")
    far.collect(history)
    collect(history, producers)
    collect_daemon(history, [gateway.audit], gateway.spool)
    history.window, history.cuts, history.drained = 32, 30, True
    print("# " + figures(history))
    hold(history)


@case
def systemd_socket_activate_starts_it_with_the_first_producer():
    activate = processes.need("systemd-socket-activate", "systemd")
    gateway = Gateway()
    gateway.start(wrap=[activate, "-l", gateway.socket, "-E", "NOTIFY_SOCKET"], ready=False)
    wait_for(lambda: os.path.exists(gateway.socket), 10, "the socket")
    publish(gateway, 5)
    gateway.stop()
    equal(gateway.ledger()["accepted"], 5)


# A crash between commit and export


@case
def kills_between_commit_and_export_leave_each_line_once():
    broker = Mosquitto().start()
    link = Link(broker.port).restore()
    gateway = Gateway(link.url, retention={"max_messages": 300}).start()
    for turn in range(6):
        gateway.wait_link()
        client = gateway.client(5)
        for number in range(client.connack.properties["receive_maximum"]):
            client.publish("plant/t", b"%d %d" % (turn, number))
        time.sleep(0.02 * (turn + 1))
        gateway.kill()
        gateway.start()
    gateway.wait_drained()
    gateway.stop()
    ledger = gateway.ledger()
    check_balance(ledger)
    lines = gateway.audit_lines()
    check_audit(lines)
    equal(len(lines), ledger["accepted"] - ledger["spooled"], "records")


@case
def an_incomplete_line_at_the_end_of_the_audit_file_is_corrected():
    gateway = Gateway(retention={"max_messages": 5}).start()
    publish(gateway, 20)
    gateway.wait_audit(15)
    gateway.kill()
    with open(gateway.audit, "rb+") as file:
        file.truncate(os.path.getsize(gateway.audit) - 7)
    gateway.start()
    publish(gateway, 5)
    gateway.wait_audit(20)
    gateway.stop()
    with open(gateway.audit) as seen:
        lines = [json.loads(line) for line in seen if not line.startswith('{"seal":')]
    equal(len(lines), 20)
    check_audit(lines)


@case
def closed_standard_descriptors_become_dev_null_and_no_file_of_the_spool():
    for closed in ("2>&-", "1>&- 2>&-", "0<&-", "0<&- 1>&- 2>&-"):
        gateway = Gateway()
        gateway.start(wrap=["sh", "-c", 'exec "$@" ' + closed, "sh"])
        equal(gateway.client(5).publish_wait("plant/t", b"x").reason, 0, "reason")
        gateway.hup()
        folder = "/proc/%d/fd/" % gateway.process.pid
        for number in re.findall(r"(\d)[<>]&-", closed):
            equal(os.readlink(folder + number), "/dev/null", "descriptor %s with %s"
                  % (number, closed))
        gateway.stop()
        equal(os.path.getsize(os.path.join(gateway.spool, "lock")), 0, "bytes in lock")
        gateway.start()
        equal(gateway.ledger()["spooled"], 1)
        gateway.stop()


@case
def a_log_without_a_reader_or_that_may_not_grow_keeps_no_client_from_being_served():
    """From the first line on, which comes before anything else is created."""
    gateway = Gateway()
    reader, pipe = os.pipe()
    cleanup(os.close, pipe)
    os.close(reader)
    serves_with_log(gateway, pipe)
    with open(os.path.join(gateway.folder, "full.log"), "ab") as full:
        full.truncate(2 * LOG_LIMIT)  # a file with a hole, already above the limit
        serves_with_log(gateway, full, wrap=["prlimit", "--fsize=%d" % LOG_LIMIT])
        equal(os.fstat(full.fileno()).st_size, 2 * LOG_LIMIT, "bytes of the log")
    for arguments, code in ((["-c", "/nonexistent.conf"], 78), (["--no-such-option"], 2)):
        done = processes.start([processes.daemon_path()] + arguments, stderr=pipe)
        equal(done.wait(20), code, "exit code of %r" % arguments)


def serves_with_log(gateway, log, **options):
    gateway.start(stderr=log, **options)
    equal(gateway.client(5).publish_wait("plant/t", b"x").reason, 0, "reason")
    gateway.stop()


@case
def the_tool_without_a_standard_output_ends_with_a_failure():
    gateway = Gateway().start()
    for verb in ("status", "failures", "check", "help"):
        for closed in ("1>&-", "1>&- 2>&-", "0<&- 1>&- 2>&-", ">/dev/full"):
            done = processes.run(["sh", "-c", 'exec "$@" ' + closed, "sh", processes.tool_path(),
                                  "-c", gateway.config, verb])
            check(done.returncode != 0, verb, closed, done)
    gateway.stop()
    equal(os.path.getsize(os.path.join(gateway.spool, "lock")), 0, "bytes in lock")


run_all()
