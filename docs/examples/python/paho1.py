#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Publish one message with paho-mqtt 1.6 (Debian 12: python3-paho-mqtt), and wait for its outcome.

    paho1.py SOCKET CLIENT_ID TOPIC PAYLOAD

Version 1.6 knows no Unix socket, so its method that opens the socket is replaced. It does not
report the reason code of a PUBACK either: with MQTT 5 a refused message would look accepted. With
MQTT 3.1.1 each PUBACK means that the message is on disk, and a refusal closes the connection.

Exit status: 0 delivered, 1 not delivered, 2 refused or no connection.
"""

import socket
import sys

import paho.mqtt.client as mqtt


class UnixClient(mqtt.Client):
    """connect(PATH) connects to a Unix socket."""

    def _create_socket_connection(self):
        unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        unix.connect(self._host)
        return unix


class Producer:
    def __init__(self, path, client_id, topic, payload):
        self.topics = ["$SYS/spool/%s/%s" % (kind, client_id) for kind in ("outcome", "delivered")]
        self.topic, self.payload = topic, payload
        self.exit_code = 2
        self.client = UnixClient(client_id, protocol=mqtt.MQTTv311)
        self.client.on_connect = self.on_connect
        self.client.on_subscribe = self.on_subscribe
        self.client.on_publish = self.on_publish
        self.client.on_message = self.on_message
        self.client.on_disconnect = self.on_disconnect
        self.client.connect(path)

    def finish(self, exit_code):
        self.exit_code = exit_code
        self.client.disconnect()

    def on_connect(self, client, userdata, flags, code):
        if code != 0:
            print("connection refused 0x%02X" % code)
            self.finish(2)
            return
        # First the subscription: an outcome is sent once, when the message ends.
        client.subscribe([(topic, 1) for topic in self.topics])

    def on_subscribe(self, client, userdata, mid, granted):
        if any(qos >= 0x80 for qos in granted):
            print("subscription refused")
            self.finish(2)
            return
        client.publish(self.topic, self.payload, qos=1)

    def on_publish(self, client, userdata, mid):
        """PUBACK: the message is on disk."""
        print("accepted", flush=True)

    def on_message(self, client, userdata, message):
        """One JSON object: how the message ended. It may take days until it comes."""
        print(message.payload.decode())
        self.finish(0 if "/delivered/" in message.topic else 1)

    def on_disconnect(self, client, userdata, code):
        """A refusal, or the end of the daemon. A program that stays would let loop_forever() connect
        again: the library then repeats what has no PUBACK, also what was refused."""
        if code != 0:
            print("disconnected")
            self.finish(2)


if __name__ == "__main__":
    producer = Producer(*sys.argv[1:])
    producer.client.loop_forever()
    sys.exit(producer.exit_code)
