#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A producer that stays: each line of standard input is stored once, whatever restarts meanwhile.

    lasting.py SOCKET CLIENT_ID TOPIC

For paho-mqtt 1.6 (Debian 12: python3-paho-mqtt), see paho1.py. It publishes with QoS 2 in a session
that is kept, so that the library may repeat what has no answer without storing it twice. It prints
"accepted LINE" for each line that is on disk, and each outcome as a JSON object. It runs until it
is interrupted.

paho keeps messages in memory: lines without "accepted" are lost if this program is killed. A program
that must not lose them keeps them until on_publish().
"""

import socket
import sys
import threading

import paho.mqtt.client as mqtt


class UnixClient(mqtt.Client):
    """connect(PATH) connects to a Unix socket."""

    def _create_socket_connection(self):
        unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        unix.connect(self._host)
        return unix


class Producer:
    def __init__(self, path, client_id):
        self.topics = [("$SYS/spool/%s/%s" % (kind, client_id), 1)
                       for kind in ("outcome", "delivered")]
        self.lines = {}  # by packet id: what publish() or on_publish() knows before the other
        self.lock = threading.Lock()
        self.is_subscribed = threading.Event()
        self.client = UnixClient(client_id, clean_session=False, protocol=mqtt.MQTTv311)
        self.client.reconnect_delay_set(1, 30)
        self.client.on_connect = self.on_connect
        self.client.on_subscribe = self.on_subscribe
        self.client.on_publish = self.on_publish
        self.client.on_message = self.on_message
        self.client.connect(path)
        self.client.loop_start()  # connects again after each loss

    def publish(self, topic, line):
        self.is_subscribed.wait()  # an outcome that comes before is not heard
        # Without the lock: paho holds one of its own, which publish() takes, while it calls
        # on_publish().
        self.complete(self.client.publish(topic, line, qos=2).mid, line)

    def complete(self, packet_id, line=None):
        """Called twice for each message, in either order: with its line, and when it is on disk."""
        with self.lock:
            if packet_id not in self.lines:
                self.lines[packet_id] = line
                return
            other = self.lines.pop(packet_id)
        print("accepted " + (other if line is None else line), flush=True)

    def on_connect(self, client, userdata, flags, code):
        if code != 0:
            print("connection refused 0x%02X" % code, file=sys.stderr)
            return
        client.subscribe(self.topics)

    def on_subscribe(self, client, userdata, mid, granted):
        self.is_subscribed.set()

    def on_publish(self, client, userdata, mid):
        """PUBCOMP: the message is on disk, once."""
        self.complete(mid)

    def on_message(self, client, userdata, message):
        """Each outcome comes at least once: `seq` shows repetitions."""
        print(message.payload.decode(), flush=True)


if __name__ == "__main__":
    producer = Producer(*sys.argv[1:3])
    for text in sys.stdin:
        producer.publish(sys.argv[3], text.rstrip("\n"))
    threading.Event().wait()
