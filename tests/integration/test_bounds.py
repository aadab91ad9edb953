# SPDX-License-Identifier: MIT
"""The bounds of disk and memory: the formulas of docs/sizing.md are computed, and the largest
topics, client ids, references and properties try to exceed them.
"""

import contextlib
import os
import re
import shutil
import signal
import sys
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import mqtt  # noqa: E402
import processes  # noqa: E402
from fake_broker import FakeBroker  # noqa: E402
from gateway import Gateway, check_balance  # noqa: E402
from tap import case, check, cleanup, equal, run_all, skip, wait_for  # noqa: E402

SOURCE = os.environ.get("SPOOLD_SOURCE") or os.path.join(os.path.dirname(
    os.path.abspath(__file__)), "..", "..")
KIB, MIB = 1 << 10, 1 << 20
UNITS = {"KiB": KIB, "MiB": MIB, "MB": 10 ** 6}
TEXT = "x" * 65535
CLIENT_ID = "c" * 1024
QUOTA_EXCEEDED = 0x97
# By default; a case overrides what it sets.
VALUES = {"max_bytes": 1 << 30, "records": 1000000, "max_packet": 256 * KIB, "max_clients": 512,
          "window": 512, "window_bytes": MIB, "max_sessions": 0,  # that are kept
          "qos_2_sessions": 0}


def bound(name, **values):
    """The formula of that name in docs/sizing.md, in bytes."""
    with open(os.path.join(SOURCE, "docs", "sizing.md")) as seen:
        found = re.findall(r"^    %s <= (.*)$" % re.escape(name), seen.read(), re.MULTILINE)
    equal(len(found), 1, "formulas of %s in docs/sizing.md" % name)
    text = re.sub(r"(\d+) (%s)\b" % "|".join(UNITS), lambda m: str(int(m[1]) * UNITS[m[2]]),
                  found[0])
    check(re.fullmatch(r"[a-z_0-9 ()+*/]+", text), "a formula to compute", text)
    return int(eval(text, {"__builtins__": {}}, dict(VALUES, **values)))


def size_of(gateway, name):
    return os.stat(os.path.join(gateway.spool, name)).st_size


class Sizes:
    """The largest that the files of a spool have been."""

    def __init__(self, gateway, **values):
        self.gateway = gateway
        self.files = {name: bound(name, **values) for name in ("spool.db", "spool.db-wal")}

    def look(self, _=None):
        for name, most in self.files.items():
            size = size_of(self.gateway, name)
            check(size <= most, "%s above its bound" % name, size, most)

    def show(self):
        print("# " + ", ".join("%s %.1f of %.1f MiB" % (name, size_of(self.gateway, name) / MIB,
                                                       most / MIB)
                               for name, most in self.files.items()))


def largest(number):
    """No payload; the rest as large as MQTT allows."""
    return dict(topic="t%07d" % number + TEXT[8:], payload=b"",
                properties={"user": [("spool-ref", "r%07d" % number + TEXT[8:])]})


def publish_largest(gateway, sizes, count, qos=1):
    """Pipelined, a few at a time; the reasons of the PUBACKs."""
    reasons = []
    with gateway.client(5, client_id=CLIENT_ID, timeout=60) as client:
        for first in range(0, count, 20):
            for number in range(first, first + 20):
                client.publish(qos=qos, **largest(number))
            if qos:
                reasons += [client.expect(mqtt.PUBACK).reason for _ in range(20)]
            else:
                client.ping()
            sizes.look()
    return reasons


# The disk


@case(seconds=120)
def kept_failures_with_the_largest_texts_stay_below_the_bound():
    check(bound("spool.db", max_bytes=MIB) < 130 * 10 ** 6, "a small spool stays small")
    gateway = Gateway(retention={"max_bytes": "1M"}, audit={"max_waiting": 1000}).start()
    sizes = Sizes(gateway, max_bytes=MIB, records=250000)
    publish_largest(gateway, sizes, 260)
    publish_largest(gateway, sizes, 260, qos=0)
    ledger = gateway.ledger()
    check_balance(ledger)
    check(ledger["evicted"] >= 510, "evictions", ledger)
    gateway.wait_audit(ledger["evicted"], 60)
    publish_largest(gateway, sizes, 20)
    kept = gateway.tool("failures", "--json").stdout.count(b"\n")
    check(150 < kept < 250, "failures that are kept", kept)
    sizes.show()
    gateway.stop(30)
    sizes.look()
    equal(gateway.tool("check").returncode, 0, "the spool is sound")


def lose_audit_folder(gateway):
    folder = os.path.dirname(gateway.audit)
    shutil.rmtree(folder)
    return folder


def with_own_audit_folder(broker="tcp://127.0.0.1:9", **settings):
    gateway = Gateway(broker, **settings)
    folder = os.path.join(gateway.folder, "audit")
    os.mkdir(folder)
    gateway.audit = os.path.join(folder, "audit.jsonl")
    gateway.configure(audit={"file": gateway.audit})
    return gateway.start()


@case(seconds=120)
def records_that_wait_for_the_audit_file_stay_below_the_bound():
    gateway = with_own_audit_folder(retention={"max_bytes": "1M"}, audit={"max_waiting": 1000})
    sizes = Sizes(gateway, max_bytes=MIB, records=250000)
    publish_largest(gateway, sizes, 40)
    folder = lose_audit_folder(gateway)
    reasons = publish_largest(gateway, sizes, 400)
    taken = reasons.index(QUOTA_EXCEEDED)
    check(100 < taken < 250, "taken before the first refusal", taken)
    equal(set(reasons[taken:]), {QUOTA_EXCEEDED}, "then")
    with contextlib.suppress(OSError, mqtt.Closed):  # a refusal at QoS 0 is a DISCONNECT
        publish_largest(gateway, sizes, 20, qos=0)
    sizes.look()
    status = wait_for(lambda: gateway.status()
                      if gateway.status()["intake"]["refusing"] == "audit_waiting" else None)
    check(status["audit"]["waiting"] < 1000, "fewer than audit.max_waiting", status["audit"])
    check(status["audit"]["record_bytes"] >= status["audit"]["max_record_bytes"] > 0,
          "their bytes in the status", status["audit"])
    page = gateway.tool("status").stdout.decode()
    check("records take" in page, "mqtt-spool status says why", page)
    check("audit_half_full" in gateway.log(), "the log warns")
    gateway.kill()
    gateway.start()
    reasons = publish_largest(gateway, sizes, 20)
    equal(set(reasons), {QUOTA_EXCEEDED}, "after a restart")
    sizes.show()
    os.mkdir(folder)
    ledger = gateway.ledger()
    wait_for(lambda: gateway.status()["audit"]["healthy"], 20, "the audit file")
    wait_for(lambda: gateway.client(5).publish_wait("t", b"").reason == 0, 20, "room again")
    wait_for(lambda: gateway.status()["audit"]["waiting"] == 0, 30, "all written")
    publish_largest(gateway, sizes, 100)
    check_balance(ledger)
    gateway.stop(30)
    sizes.look()


@case(seconds=120)
def pruned_records_of_deliveries_stay_below_the_bound():
    broker = FakeBroker().start()
    cleanup(broker.stop)
    gateway = with_own_audit_folder(
        broker.url, retention={"max_bytes": "8M"},
        audit={"max_waiting": 1000, "when_full": "prune"})
    sizes = Sizes(gateway, max_bytes=8 * MIB, records=250000)
    gateway.wait_link()
    lose_audit_folder(gateway)
    reasons = publish_largest(gateway, sizes, 400)
    equal(set(reasons), {0}, "all are taken")
    gateway.wait_drained(60)
    wait_for(lambda: gateway.status()["audit"]["pruned"] > 100, 20, "records were pruned")
    sizes.look()
    sizes.show()
    check_balance(gateway.ledger())
    gateway.stop(30)
    sizes.look()


@case(seconds=120)
def a_batch_of_large_properties_is_no_larger_than_one_of_payloads():
    clients = 150
    gateway = Gateway(listen={"max_clients": 200}).start()
    sizes = Sizes(gateway)
    properties = {"user": [("k", TEXT[:64000])] * 3}
    socks = [gateway.client(5, timeout=60) for _ in range(clients)]
    packet = mqtt.publish_packet(5, "plant/t", b"x", 1, 1, properties=properties)
    gateway.process.send_signal(signal.SIGSTOP)  # all of them are ready at once
    threads = [threading.Thread(target=client.sock.sendall, args=(packet,)) for client in socks]
    for thread in threads:
        thread.start()
    gateway.process.send_signal(signal.SIGCONT)
    for thread, client in zip(threads, socks):
        thread.join()
        equal(client.expect(mqtt.PUBACK).reason, 0)
    sizes.look()
    sizes.show()
    gateway.stop(30)


def rows_of_outcomes(gateway):
    return gateway.query("SELECT count(*) FROM outcome")[0][0]


@case(seconds=120)
def exported_deliveries_are_pruned_without_further_traffic():
    broker = FakeBroker().start()
    cleanup(broker.stop)
    gateway = Gateway(broker.url, uplink={"window": 10000}).start()
    with gateway.client(5) as client:
        for _ in client.publish_many((("plant/t", b"x") for _ in range(20000)), 1000):
            pass
    gateway.wait_drained(60)
    wait_for(lambda: rows_of_outcomes(gateway) <= 1, 30, "no row but the newest")
    gateway.stop()


# Memory


@case(seconds=120)
def properties_without_number_stay_below_the_memory_bound():
    if Gateway.is_sanitized():
        skip("a sanitizer keeps what is freed: its memory says nothing")
    broker = FakeBroker(noack=True).start()
    cleanup(broker.stop)
    values = {"max_clients": 4, "window": 1000}
    gateway = Gateway(broker.url, listen={"max_clients": 4},
                      uplink={"window": 1000, "window_bytes": "32M"}).start()
    gateway.wait_link()
    most = bound("memory", window_bytes=32 * MIB, **values)
    raw = mqtt.publish_packet(5, "many", b"x", 1, 1, properties={"user": [("", "")] * 50000})
    with gateway.client(5, timeout=60) as client:
        for _ in range(30):
            client.send(raw)
            equal(client.expect(mqtt.PUBACK).reason, 0)
    wait_for(lambda: gateway.status()["tokens"]["in_flight"] >= 3, 20, "a full window")
    peak = processes.peak_kb(gateway.process) * KIB
    print("# %.1f of %.1f MB of memory" % (peak / 1e6, most / 1e6))
    check(peak <= most, "memory above its bound", peak, most)
    gateway.kill()


def publish_all_properties(clients, size, rounds):
    """Messages that are as many empty user properties as a packet of @size bytes holds."""
    properties = b"\x26\0\0\0\0" * ((size - 60) // 5)
    raw = [mqtt.packet(mqtt.PUBLISH, mqtt.data("t%d" % number) + b"\0\1"
                       + mqtt.varint(len(properties)) + properties, 2)
           for number in range(len(clients))]
    for _ in range(rounds):
        for client, packet in zip(clients, raw):
            client.send(packet)
        for client in clients:
            equal(client.expect(mqtt.PUBACK).reason, 0)


@case(seconds=300)
def messages_that_are_all_empty_properties_stay_below_the_memory_bound():
    if Gateway.is_sanitized():
        skip("a sanitizer keeps what is freed: its memory says nothing")
    for size, count, noack in ((64 * KIB, 8, False), (256 * KIB, 4, False), (256 * KIB, 4, True),
                               (MIB, 2, False), (4 * MIB, 1, False)):
        broker = FakeBroker(noack=noack).start()
        gateway = Gateway(broker.url, listen={"max_packet": size, "max_clients": count},
                          uplink={"ack_timeout": "2s"}).start()
        gateway.wait_link()
        most = bound("memory", max_clients=count, max_packet=size)
        clients = [gateway.client(5, timeout=60) for _ in range(count)]
        publish_all_properties(clients, size, 8)
        if noack:
            wait_for(lambda: gateway.status()["link"]["connects"] > 1, 30, "a second connection")
        else:
            gateway.wait_drained(60)
        peak = processes.peak_kb(gateway.process) * KIB
        print("# packets of %d KiB, %d clients: %.1f of %.1f MB of memory"
              % (size // KIB, count, peak / 1e6, most / 1e6))
        check(peak <= most, "memory above its bound", peak, most)
        gateway.kill()
        broker.stop()


@case(seconds=120)
def packets_of_all_clients_and_a_full_window_stay_below_the_memory_bound():
    if Gateway.is_sanitized():
        skip("a sanitizer keeps what is freed: its memory says nothing")
    broker = FakeBroker(noack=True).start()
    cleanup(broker.stop)
    clients = 40
    gateway = Gateway(broker.url, listen={"max_clients": clients, "max_packet": "1M"},
                      uplink={"window": 1000, "window_bytes": "16M"}).start()
    gateway.wait_link()
    most = bound("memory", max_clients=clients, max_packet=MIB, window=1000,
                 window_bytes=16 * MIB)
    crowd = [gateway.client(5, timeout=60) for _ in range(clients)]
    user = [("k", TEXT[:60000])] * 8
    for client in crowd:
        for _ in range(2):
            equal(client.publish_wait(TEXT, b"x" * 450000, properties={"user": user}).reason, 0)
    for client in crowd:  # as much as can be sent without an end
        packet = mqtt.publish_packet(5, TEXT, b"x" * 450000, 1, 9, properties={"user": user})
        client.sock.settimeout(2)
        with contextlib.suppress(OSError):
            client.sock.sendall(packet[:-1])
    wait_for(lambda: gateway.status()["tokens"]["in_flight"] >= 10, 20, "a full window")
    peak = processes.peak_kb(gateway.process) * KIB
    print("# %.1f of %.1f MB of memory" % (peak / 1e6, most / 1e6))
    check(peak <= most, "memory above its bound", peak, most)
    gateway.kill()


if __name__ == "__main__":
    run_all()
