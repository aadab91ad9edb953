# SPDX-License-Identifier: MIT
"""The outer two ledgers, kept under load while the daemon between them is killed.

Producers send each message once, under a key of its own; what is open when their connection dies is
unknown. FarBroker records what it receives, in order, and on which connection.
"""

import json
import os
import sys
import threading
import time

import mqtt
import processes
import tap


SIZE = 120
REPORTS = "reports/spool"  # uplink.report.topic
# Of a gateway of which all is checked that it keeps of its messages.
KEEPING = {"stamp": True, "report": {"topic": REPORTS}}
# A broker that refuses one topic of one producer, and has the reports as they came.
REFUSES = {"reason": 0x87, "reason_at": "p1/2", "keep_at": REPORTS}
REFUSING = ("--reason", "87", "--reason-at", REFUSES["reason_at"], "--keep-at", REPORTS)


def message(producer, number, size=SIZE):
    """(key, topic, payload) of the message with this number."""
    key = "%s/%d" % (producer, number)
    return key, "load/%s/%d" % (producer, number % 3), key.encode().ljust(size, b".")


class Producer(threading.Thread):
    """One producer: pipelined QoS 1 publishes over as many connections as it takes.

    Without @ids the acknowledgements are those of any broker, which name no spool-id. @expiry, in
    seconds, goes with each message.
    """

    def __init__(self, path, name, window=64, size=SIZE, pause=0.0, ids=True, expiry=None):
        super().__init__(daemon=True)
        self.path, self.producer, self.window, self.size = path, name, window, size
        self.pause, self.ids, self.expiry = pause, ids, expiry
        self.sent, self.acked, self.refused, self.unknown = {}, {}, {}, set()
        self.connections = 0
        self.error = None
        self._number = 0
        self._ending = threading.Event()

    def finish(self, seconds=20):
        """No new messages; waits for the acknowledgements of those that are open."""
        self._ending.set()
        self.join(seconds)
        if self.is_alive() or self.error:
            raise AssertionError("producer %s: %r" % (self.producer, self.error or "hangs"))

    def run(self):
        try:
            while not self._ending.is_set():
                self._connect_and_publish()
        except BaseException as error:  # shown by finish()
            self.error = error

    def _connect_and_publish(self):
        open_keys = {}
        try:
            with mqtt.Client(self.path, 5, client_id="load-" + self.producer) as client:
                self.connections += 1
                while not self._ending.is_set() or open_keys:
                    self._fill(client, open_keys)
                    if open_keys:
                        self._take_ack(client, open_keys)
        except (OSError, mqtt.Closed):
            time.sleep(0.005)
        self.unknown.update(open_keys.values())

    def _fill(self, client, open_keys):
        batch = bytearray()
        while len(open_keys) < self.window and not self._ending.is_set():
            self._number += 1
            key, topic, payload = message(self.producer, self._number, self.size)
            packet_id = client.next_id()
            self.sent[key] = (topic, payload)
            open_keys[packet_id] = key
            properties = {"user": [("spool-ref", key)]}
            if self.expiry is not None:
                properties["message_expiry"] = self.expiry
            batch += mqtt.publish_packet(5, topic, payload, 1, packet_id, properties=properties)
        if batch:
            self.before_sending(self._number)
            client.send(batch)
            if self.pause:
                time.sleep(self.pause)

    def _take_ack(self, client, open_keys):
        ack = client.receive(20)
        if ack.kind == mqtt.DISCONNECT:
            raise mqtt.Closed(ack)
        key = open_keys.pop(ack.packet_id)
        if ack.reason == 0:
            self.acked[key] = mqtt.spool_id(ack) if self.ids else None
        else:
            self.refused[key] = ack.reason
        self.after_answer(key)

    # For a ledger that is kept elsewhere

    def before_sending(self, number):
        """All up to @number may be sent from now on."""

    def after_answer(self, key):
        """It is in .acked or .refused."""


class Patient(Producer):
    """Reconnects after a stopping daemon has disconnected it."""

    def _connect_and_publish(self):
        try:
            super()._connect_and_publish()
        except AssertionError as error:
            if not str(error).startswith("refused"):
                raise
            time.sleep(0.005)


def start_producers(path, count=4, prefix="p", kind=Producer, **options):
    producers = [kind(path, prefix + str(number), **options) for number in range(count)]
    for producer in producers:
        producer.start()
    return producers


def collect(history, producers):
    """Puts the producers' ledgers into @history."""
    for producer in producers:
        history.sent.update(producer.sent)
        history.acked.update(producer.acked)
        history.refused.update(producer.refused)
        history.unknown |= producer.unknown


def collect_remote(history, messages):
    for message in messages:
        key = message.payload.rstrip(b".").decode()
        history.remote.append((key, message.topic, message.payload))


def collect_far(history, entries):
    """Puts into @history what a fake broker has recorded."""
    for entry in entries:
        if entry.get("event") == "violation":
            history.faults.append("STRANGE: not MQTT: %r" % entry)
        elif entry.get("topic") == REPORTS:
            history.reports.append(entry["payload"])
        elif "event" not in entry:
            stamp = dict(map(tuple, entry.get("user", ())))
            if "spool-number" in stamp:
                history.stamps.append((int(stamp["spool-id"]), stamp.get("spool-lane", "default"),
                                       int(stamp["spool-number"])))
            history.remote.append((entry["head"].split(".")[0], entry["topic"], entry["sha256"]))
            history.connections.append(entry["conn"])


class FarBroker:
    """A broker in a process of its own that keeps the ledger of the remote side."""

    def __init__(self, *options):
        self.ledger = os.path.join(processes.folder(), "far.jsonl")
        program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fake_broker.py")
        self.process = processes.start([sys.executable, program, "--ledger", self.ledger, *options],
                                       stdin=processes.PIPE, stdout=processes.PIPE)
        tap.cleanup(self.stop)
        self.port = int(self.process.stdout.readline())

    @property
    def url(self):
        return "tcp://127.0.0.1:%d" % self.port

    def has_messages(self):
        with open(self.ledger) as seen:
            return any('"event"' not in line for line in seen)

    def stop(self):
        """Ends it; the ledger is complete then."""
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait(20)
            self.process.stdout.close()

    def collect(self, history):
        """Puts the remote ledger into @history."""
        self.stop()
        with open(self.ledger) as seen:
            collect_far(history, map(json.loads, seen))


def wait_quiet(messages, seconds=0.3):
    """The remote side has read what the broker had for it: nothing new for a while."""
    count = -1
    while count != len(messages):
        count = len(messages)
        time.sleep(seconds)
