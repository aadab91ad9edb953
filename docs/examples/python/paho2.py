#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Publish one message with paho-mqtt 2, and wait for its outcome.

    paho2.py SOCKET CLIENT_ID TOPIC PAYLOAD

Exit status: 0 delivered, 1 refused or not delivered, 2 no connection.
"""

import sys

import paho.mqtt.client as mqtt


class Producer:
    def __init__(self, socket, client_id, topic, payload):
        self.topics = ["$SYS/spool/%s/%s" % (kind, client_id) for kind in ("outcome", "delivered")]
        self.topic, self.payload = topic, payload
        self.exit_code = 2
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id,
                                  protocol=mqtt.MQTTv5, transport="unix")
        self.client.on_connect = self.on_connect
        self.client.on_subscribe = self.on_subscribe
        self.client.on_publish = self.on_publish
        self.client.on_message = self.on_message
        self.client.on_disconnect = self.on_disconnect
        self.client.connect(socket)

    def finish(self, exit_code):
        self.exit_code = exit_code
        self.client.disconnect()

    def on_connect(self, client, userdata, flags, reason, properties):
        if reason.is_failure:
            print("connection refused 0x%02X" % reason.value)
            self.finish(2)
            return
        # First the subscription: an outcome is sent once, when the message ends.
        client.subscribe([(topic, 1) for topic in self.topics])

    def on_subscribe(self, client, userdata, mid, reasons, properties):
        if any(reason.is_failure for reason in reasons):
            print("subscription refused 0x%02X" % reasons[0].value)
            self.finish(2)
            return
        client.publish(self.topic, self.payload, qos=1)

    def on_publish(self, client, userdata, mid, reason, properties):
        """PUBACK: the message is on disk, or refused."""
        if reason.is_failure:
            print("refused 0x%02X" % reason.value)
            self.finish(1)
            return
        print("accepted id=%s" % dict(properties.UserProperty)["spool-id"], flush=True)

    def on_message(self, client, userdata, message):
        """One JSON object: how the message ended. It may take days until it comes."""
        print(message.payload.decode())
        self.finish(0 if "/delivered/" in message.topic else 1)

    def on_disconnect(self, client, userdata, flags, reason, properties):
        """A program that stays would let loop_forever() connect again: the library then repeats
        what has no PUBACK."""
        if reason.value != 0:
            print("disconnected 0x%02X" % reason.value)
            self.finish(2)


if __name__ == "__main__":
    producer = Producer(*sys.argv[1:])
    producer.client.loop_forever()
    sys.exit(producer.exit_code)
