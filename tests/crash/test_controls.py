# SPDX-License-Identifier: MIT
"""Controls: the judge must find loss where there is loss.

In place of the daemon there is a mosquitto that bridges to the remote broker, as most gateways do
today. Producers, link, SIGKILL and judge are those of the other rigs. It acknowledges first and
saves later, so a kill loses what it acknowledged; without a kill it loses nothing here, which shows
that the kill is detected, and not a fault of the rig.
"""

import contextlib
import os
import socket
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

from broker import Link, Mosquitto  # noqa: E402
from checker import History, figures, verdict  # noqa: E402
from load import collect, collect_remote, start_producers, wait_quiet  # noqa: E402
from mqtt import Subscriber  # noqa: E402
from tap import TooSlow, case, check, cleanup, equal, run_all, wait_for  # noqa: E402

# Nothing is dropped for lack of room, what it holds is saved when it stops, and it reconnects soon:
# with its defaults it loses messages without any kill. cleansession false keeps the queue. With
# mqttv50 it would announce a Receive Maximum of 0, which the remote side must refuse.
BRIDGE = """
connection far
address 127.0.0.1:%d
topic # out 1
bridge_protocol_version mqttv311
cleansession false
try_private false
notifications false
restart_timeout 1
autosave_interval 1800
listener 0 %s
"""


class Bridge:
    """The local broker with its bridge, as a subject of the rig; it keeps no records."""

    def __init__(self):
        self.far = Mosquitto().start()
        self.subscriber = Subscriber(self.far.address).start()
        cleanup(self.subscriber.stop)
        self.link = Link(self.far.port).restore()
        self.history = History()
        self.history.recorded = False
        self.history.window = 65535
        self.local = Mosquitto(persistence=True)
        self.socket = os.path.join(self.local.folder, "publish.sock")
        with open(self.local.config, "a") as out:
            out.write(BRIDGE % (self.link.port, self.socket))
        self.start()

    def start(self):
        """Returns when the bridge is connected: 2.0.11 gives up forever when its first try
        fails."""
        before = self.connections()
        self.local.start()
        wait_for(lambda: self.connections() > before, 20, "the bridge connected")

    def connections(self):
        with open(self.far.log) as log:
            return log.read().count(" as %s.far " % socket.gethostname())

    def serve(self, wanted):
        """Producers until @wanted messages are acknowledged."""
        producers = start_producers(self.socket, prefix="c", pause=0.001, ids=False)
        wait_for(lambda: sum(len(producer.acked) for producer in producers) >= wanted, 30,
                 "%d acknowledged" % wanted)
        return producers

    def wait_arrived(self, keys):
        """Or not: the judge decides."""
        with contextlib.suppress(TooSlow):
            wait_for(lambda: keys <= {message.payload.rstrip(b".").decode()
                                      for message in list(self.subscriber.messages)}, 60, every=0.5)

    def judge(self, producers):
        for producer in producers:
            producer.finish()
        if not self.history.cuts:  # what is lost never arrives
            self.wait_arrived(set().union(*(producer.acked for producer in producers)))
        wait_quiet(self.subscriber.messages, 2)
        collect(self.history, producers)
        collect_remote(self.history, self.subscriber.messages)
        print("# " + figures(self.history))
        return verdict(self.history)


@case
def a_bridge_that_is_not_killed_loses_nothing_here():
    bridge = Bridge()
    found = bridge.judge(bridge.serve(2000))
    equal(found, [], "findings of the checker")


@case
def a_bridge_under_sigkill_is_found_losing_what_it_acknowledged():
    bridge = Bridge()
    bridge.link.cut()
    producers = bridge.serve(2000)
    bridge.local.kill()
    bridge.link.restore()
    bridge.start()
    bridge.history.cuts = 1
    wait_for(lambda: bridge.subscriber.messages, 20, "the bridge at work again")
    found = bridge.judge(producers)
    print("# found: %s" % " | ".join(found))
    check(any(line.startswith("LOST:") for line in found), "the judge found no loss", found)
    lost = set(bridge.history.acked) - {key for key, _, _ in bridge.history.remote}
    print("# %d of %d acknowledged messages are lost" % (len(lost), len(bridge.history.acked)))
    check(len(lost) >= 2000, "all that was acknowledged before the kill", len(lost))


run_all()
