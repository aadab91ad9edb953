# SPDX-License-Identifier: MIT
"""Many gateways at one broker that goes away and comes back: how they come back, and what is lost.

The broker is a real mosquitto, killed without a warning. What was subscribed to before is in its
database, so it keeps the messages of gateways that are back before the subscriber is.
"""

import collections
import os
import re
import selectors
import signal
import threading
import time

import mqtt
import processes
from broker import Mosquitto
from gateway import Gateway
from mqtt import Subscriber
from tap import check, cleanup, wait_for

PATIENCE = 120  # seconds for a condition on a busy machine
PAYLOAD_BYTES = 64
CONNECTED = re.compile(r"^(\d+): New client connected from \S+ as (gw-\d+) ", re.MULTILINE)


class Producers:
    """One client at each gateway; each publishes with QoS 1 at its rate, in one thread."""

    def __init__(self, gateways, rate):
        self.clients = [gateway.client(5, client_id="meter", timeout=PATIENCE) for gateway in gateways]
        self.sent = [0] * len(gateways)
        self.accepted = [0] * len(gateways)
        self.refused = 0
        self.pause, self.ending = 1 / rate, threading.Event()
        self.failure = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            self._publish()
        except Exception as error:  # for the case that waits for it
            self.failure = error

    def _publish(self):
        selector = selectors.DefaultSelector()
        for index, client in enumerate(self.clients):
            selector.register(client.sock, selectors.EVENT_READ, index)
        start = time.monotonic()
        # Not all in one moment, as meters that know nothing of each other.
        due = [start + self.pause * index / len(self.clients) for index in range(len(self.clients))]
        while not self.ending.is_set() or self.sent != self.accepted:
            now = time.monotonic()
            for index, client in enumerate(self.clients):
                if due[index] <= now and not self.ending.is_set():
                    client.publish("meter/%d" % index, (b"%d %d " % (index, self.sent[index])).ljust(
                        PAYLOAD_BYTES, b"."))
                    self.sent[index] += 1
                    due[index] += self.pause
            for key, _ in selector.select(max(0, min(min(due) - time.monotonic(), 0.1))):
                self._take(key.data)

    def _take(self, index):
        """What has come is at least the rest of one packet."""
        ack = self.clients[index].expect(mqtt.PUBACK)
        self.refused += ack.reason != 0
        self.accepted[index] += 1

    def end(self):
        """When each message that was sent has its PUBACK."""
        self.ending.set()
        self.thread.join(PATIENCE)
        check(not self.thread.is_alive() and self.failure is None, "the producers ended",
              self.failure)
        for client in self.clients:
            client.close()


class Fleet:
    def __init__(self, count, rate, **uplink):
        self.count, self.rate = count, rate
        self.broker = Mosquitto(persistence=True, options="autosave_interval 0").start()
        self.far = Subscriber(self.broker.address, "meter/#", qos=1, session=True).start()
        cleanup(self.far.stop)
        self._save_subscription()
        settings = {"client_id": "", "keepalive": "30s", "connect_timeout": "10s",
                    "backoff": {"min": "1s", "max": "2m"}, **uplink}
        self.gateways = []
        for number in range(count):
            settings["client_id"] = "gw-%d" % number
            gateway = Gateway(self.broker.url, uplink=dict(settings), status_interval="1s")
            gateway.start(seconds=PATIENCE)
            self.gateways.append(gateway)

    def _save_subscription(self):
        path = os.path.join(self.broker.folder, "mosquitto.db")

        def saved():
            self.broker.process.send_signal(signal.SIGUSR1)
            if not os.path.exists(path):
                return False
            with open(path, "rb") as seen:
                return b"meter/#" in seen.read()

        wait_for(saved, PATIENCE, "the subscription in the broker's database", every=0.2)

    def _log(self, offset=0):
        with open(self.broker.log, errors="replace") as seen:
            seen.seek(offset)
            return seen.read()

    def online(self, offset=0):
        """The gateways that the broker's log has from there on: {client id: second}."""
        return {name: int(second) for second, name in CONNECTED.findall(self._log(offset))}

    def wait_online(self, offset=0):
        wait_for(lambda: len(self.online(offset)) == self.count, PATIENCE * 5,
                 lambda: "%d gateways online, and not %d" % (len(self.online(offset)), self.count),
                 every=0.1)

    def storm(self, outage_s):
        """The broker is killed and away for so long; the figures of how all come back."""
        producers = Producers(self.gateways, self.rate)
        wait_for(lambda: sum(producers.accepted) > self.count, PATIENCE, "each has published")
        self.broker.kill()
        ended = time.monotonic() + outage_s
        before = sum(producers.accepted)
        wait_for(lambda: time.monotonic() >= ended and sum(producers.accepted) > before,
                 outage_s + PATIENCE, "messages that are accepted without the broker")
        offset = os.path.getsize(self.broker.log)
        cpu = self._cpu()
        self.broker.start()
        start = time.monotonic()
        self.wait_online(offset)
        took = time.monotonic() - start
        cpu = {name: seconds - cpu[name] for name, seconds in self._cpu().items() if name in cpu}
        producers.end()
        wait_for(lambda: all(gateway.status()["spool"]["messages"] == 0 for gateway in self.gateways),
                 PATIENCE, "all spools empty", every=0.2)
        connects = collections.Counter(int(second) for second, _ in
                                       CONNECTED.findall(self._log(offset)))
        self.check_ledgers(producers)
        return {"outage_s": outage_s, "online_s": took, "peak": max(connects.values()),
                "accepted": sum(producers.accepted), "refused": producers.refused,
                "lost": len(self.missing(producers)), "repeated": self.repeated(),
                "gateways_cpu_s": cpu["gateways"], "memory": self.memory()}

    def _cpu(self):
        return {"gateways": sum(processes.cpu_seconds(gateway.process)
                                for gateway in self.gateways)}

    def missing(self, producers):
        """What was accepted and did not come out of the broker, after some patience."""
        wanted = {(index, number) for index, count in enumerate(producers.accepted)
                  for number in range(count)}
        wait_for(lambda: len(self._received()) >= len(wanted), PATIENCE,
                 lambda: "%d messages, of which came %d" % (len(wanted), len(self._received())),
                 every=0.5)
        return wanted - self._received()

    def _received(self):
        return {tuple(map(int, payload.split()[:2])) for payload in self.far.payloads()}

    def repeated(self):
        return len(self.far.messages) - len(self._received())

    def memory(self):
        """Of the gateways, in bytes: resident, and what is theirs alone or their part of it."""
        resident, part = [], []
        for gateway in self.gateways:
            with open("/proc/%d/smaps_rollup" % gateway.process.pid) as seen:
                fields = dict(line.split(":", 1) for line in seen.read().splitlines()[1:])
            resident.append(int(fields["Rss"].split()[0]) * 1024)
            part.append(int(fields["Pss"].split()[0]) * 1024)
        return {"rss_max": max(resident), "pss_mean": sum(part) // len(part), "pss_sum": sum(part)}

    def check_ledgers(self, producers):
        """Each gateway delivered what it accepted, and nothing ended otherwise."""
        def differing():
            ledgers = [gateway.status()["ledger"] for gateway in self.gateways]
            return ["gateway %d: %d accepted, %r" % (index, count, ledger)
                    for index, (count, ledger) in enumerate(zip(producers.accepted, ledgers))
                    if (ledger["accepted"], ledger["delivered"], ledger["spooled"])
                    != (count, count, 0)]

        wait_for(lambda: not differing(), PATIENCE, lambda: "\n".join(differing()), every=0.5)

    def stop(self):
        for gateway in self.gateways:  # all of them at once
            gateway.process.send_signal(signal.SIGTERM)
        for gateway in self.gateways:
            gateway.stop(PATIENCE)
