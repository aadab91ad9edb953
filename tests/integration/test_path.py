# SPDX-License-Identifier: MIT
"""The path of a message: producer, socket, spool, Paho, a real broker, outcome, audit."""

import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import mqtt  # noqa: E402
import npm  # noqa: E402
import processes  # noqa: E402
from broker import Link, Mosquitto, mosquitto_pub  # noqa: E402
from fake_broker import FakeBroker  # noqa: E402
from gateway import Gateway, check_audit  # noqa: E402
from mqtt import Subscriber, spool_id  # noqa: E402
from tap import case, check, cleanup, equal, run_all, skip, wait_for  # noqa: E402

EVERY_BYTE = bytes(range(256)) * 4


def whole_path(protocol=5, **settings):
    """Broker, subscriber, gateway, linked."""
    broker = Mosquitto().start()
    far = Subscriber(broker.address).start()
    cleanup(far.stop)
    settings.setdefault("uplink", {})["protocol"] = protocol
    gateway = Gateway(broker.url, **settings).start()
    gateway.wait_link()
    return gateway, far


def wait_far(far, count, seconds=20):
    wait_for(lambda: len(far.messages) >= count, seconds,
             lambda: "%d messages at the broker, there are %d" % (count, len(far.messages)))
    equal(len(far.messages), count, "messages at the broker")
    return far.messages


# What mosquitto_pub can do


@case
def mosquitto_pub_delivers_with_both_versions_and_both_qos():
    gateway, far = whole_path()
    wanted = []
    for version in ("mqttv311", "mqttv5"):
        for qos in (0, 1):
            topic = "plant/%s/%d" % (version, qos)
            done = mosquitto_pub(gateway.socket, "-V", version, "-q", str(qos), "-t", topic,
                                 "-m", "21.5")
            equal((done.returncode, done.stdout), (0, b""), "mosquitto_pub")
            wanted.append((topic, b"21.5", qos, False))
    seen = [(m.topic, m.payload, m.qos, m.retain) for m in wait_far(far, 4)]
    equal(sorted(seen), sorted(wanted))
    gateway.stop()
    equal(gateway.ledger()["delivered"], 4)


@case
def many_lines_of_one_mosquitto_pub_arrive_in_order():
    gateway, far = whole_path()
    lines = [b"line %d" % number for number in range(500)]
    done = mosquitto_pub(gateway.socket, "-q", "1", "-t", "plant/lines", "-l",
                         stdin=b"\n".join(lines) + b"\n")
    equal(done.returncode, 0, "exit code of mosquitto_pub")
    wait_far(far, 500)
    equal(far.payloads(), lines, "lines")
    gateway.stop()


@case
def binary_payloads_and_the_retain_flag_arrive_as_they_were():
    gateway, far = whole_path()
    folder = processes.folder()
    path = os.path.join(folder, "payload")
    with open(path, "wb") as out:
        out.write(EVERY_BYTE)
    mosquitto_pub(gateway.socket, "-q", "1", "-r", "-t", "plant/blob", "-f", path)
    mosquitto_pub(gateway.socket, "-q", "1", "-t", "plant/empty", "-n")
    first, second = wait_far(far, 2)
    equal((first.payload, first.retain), (EVERY_BYTE, True))
    equal((second.payload, second.retain), (b"", False))
    gateway.stop()


@case
def mqtt5_properties_given_to_mosquitto_pub_arrive():
    gateway, far = whole_path()
    arguments = []
    for name, value in (("content-type", "application/json"), ("response-topic", "plant/reply"),
                        ("correlation-data", "c-17"), ("payload-format-indicator", "1"),
                        ("message-expiry-interval", "600")):
        arguments += ["-D", "publish", name, value]
    arguments += ["-D", "publish", "user-property", "unit", "C"]
    began = time.monotonic()
    done = mosquitto_pub(gateway.socket, "-V", "mqttv5", "-q", "1", "-t", "plant/t", "-m", "{}",
                         *arguments)
    equal(done.returncode, 0, "exit code of mosquitto_pub")
    found = dict(wait_far(far, 1)[0].properties)
    expiry = found.pop("message_expiry")
    check(599 - (time.monotonic() - began) <= expiry <= 600, "remaining expiry", expiry)
    equal(found, {"content_type": "application/json", "response_topic": "plant/reply",
                  "correlation_data": b"c-17", "payload_format": 1, "user": [("unit", "C")]})
    gateway.stop()


# What the raw client shows


@case
def every_property_survives_byte_for_byte_and_user_properties_keep_their_order():
    gateway, far = whole_path()
    given = {"payload_format": 1, "content_type": "text/plain; charset=utf-8",
             "response_topic": "antwort/ü", "correlation_data": bytes(range(256)),
             "user": [("b", "2"), ("a", "1"), ("b", "1"), ("", "")]}
    client = gateway.client(5, client_id="sensor-1")
    ack = client.publish_wait("plant/ü/€", "grün".encode(), properties=given)
    equal(ack.reason, 0, "reason of the PUBACK")
    message = wait_far(far, 1)[0]
    equal((message.topic, message.payload), ("plant/ü/€", "grün".encode()))
    equal(message.properties, given)
    gateway.stop()


@case
def the_broker_gets_the_topic_and_not_its_alias():
    gateway, far = whole_path()
    client = gateway.client(5)
    for topic, alias in (("plant/a", 1), ("", 1), ("plant/b", 1), ("", 1), ("plant/a", 32), ("", 32)):
        client.publish_wait(topic, b"x", properties={"topic_alias": alias})
    messages = wait_far(far, 6)
    equal([message.topic for message in messages],
          ["plant/a", "plant/a", "plant/b", "plant/b", "plant/a", "plant/a"])
    equal([message.properties for message in messages], [{}] * 6)
    gateway.stop()


@case
def remaining_expiry_counts_the_time_in_the_spool():
    broker = Mosquitto().start()
    far = Subscriber(broker.address).start()
    cleanup(far.stop)
    link = Link(broker.port)
    gateway = Gateway(link.url).start()
    client = gateway.client(5)
    began = time.monotonic()
    client.publish_wait("plant/t", b"x", properties={"message_expiry": 100})
    time.sleep(2.1)
    link.restore()
    expiry = wait_far(far, 1)[0].properties["message_expiry"]
    check(99 - (time.monotonic() - began) <= expiry <= 98, "remaining expiry", expiry)
    gateway.stop()


@case
def an_uplink_of_version_3_1_1_leaves_properties_out_and_delivers():
    gateway, far = whole_path(protocol=4)
    client = gateway.client(5)
    client.publish_wait("plant/t", b"v5", properties={"content_type": "x", "user": [("a", "b")]})
    with gateway.client(4) as old:
        old.publish_wait("plant/t", b"v4", retain=True)
    first, second = wait_far(far, 2)
    equal((first.payload, first.properties), (b"v5", {}))
    equal((second.payload, second.retain), (b"v4", True))
    gateway.stop()


@case
def a_puback_carries_the_spool_id_that_the_audit_names():
    gateway, _ = whole_path()
    client = gateway.client(5, client_id="sensor-7")
    ids = [spool_id(client.publish_wait("plant/t", b"%d" % number,
                                        properties={"user": [("spool-ref", "ref-%d" % number)]}))
           for number in range(5)]
    equal(ids, sorted(set(ids)), "ids rise")
    lines = gateway.wait_audit(5)
    check_audit(lines)
    equal([line["id"] for line in lines], ids)
    equal([line["ref"] for line in lines], ["ref-%d" % number for number in range(5)])
    gateway.stop()


@case
def the_audit_line_says_everything_about_a_delivery():
    gateway, _ = whole_path()
    client = gateway.client(5, client_id="sensor-8")
    client.publish_wait("plant/secret", b"payload-not-shown")
    line = gateway.wait_audit(1)[0]
    wanted = {"seq": 1, "outcome": "delivered", "lane": "default", "client": "sensor-8",
              "uid": os.getuid(), "topic": "plant/secret", "qos": 1,
              "bytes": len(b"payload-not-shown"), "attempts": 1}
    equal({name: line.get(name) for name in wanted}, wanted)
    check(line["time"].endswith("Z") and line["accepted"].endswith("Z"), "times", line)
    check(line["age_ms"] >= 0, "age", line)
    for absent in ("reason", "code", "ref"):
        check(absent not in line, absent + " has no place in a delivery", line)
    with open(gateway.audit, "rb") as seen:
        check(b"payload-not-shown" not in seen.read(), "the payload is in the audit file")
    gateway.stop()


@case
def a_qos_1_publish_is_acknowledged_while_the_link_is_down():
    gateway = Gateway().start()
    for version in (4, 5):
        with gateway.client(version, client_id="c%d" % version) as client:
            for number in range(20):
                equal(client.publish_wait("plant/t", b"%d" % number).reason, 0)
    equal(gateway.ledger()["spooled"], 40)
    gateway.stop()
    equal(gateway.ledger()["spooled"], 40, "spooled after the stop")


@case
def qos_0_is_spooled_too_while_the_link_is_down():
    gateway = Gateway().start()
    client = gateway.client(4)
    for number in range(50):
        client.publish("plant/t", b"%d" % number, qos=0)
    client.ping()
    wait_for(lambda: gateway.ledger()["spooled"] == 50, 10, "50 spooled")
    gateway.stop()


@case
def a_pipeline_of_thousands_arrives_whole_and_in_order():
    gateway, far = whole_path()
    client = gateway.client(5)
    payloads = [b"%06d" % number for number in range(5000)]
    acks = list(client.publish_many((("plant/t", payload) for payload in payloads), 500))
    equal([index for index, _ in acks], list(range(5000)), "order of acknowledgements")
    wait_far(far, 5000, 60)
    equal(far.payloads(), payloads, "order at the broker")
    ledger = gateway.wait_drained()
    equal(ledger["delivered"], 5000)
    gateway.stop()
    check_audit(gateway.audit_lines())


@case
def a_duplicate_flag_from_the_producer_does_not_reach_the_broker():
    gateway, far = whole_path()
    client = gateway.client(4)
    client.publish("plant/t", b"again", qos=1, dup=True)
    client.expect(mqtt.PUBACK)
    equal(wait_far(far, 1)[0].dup, False, "DUP at the subscriber")
    gateway.stop()


# Other clients


@case
def libmosquitto_delivers_through_mqtt_spool_publish():
    gateway, far = whole_path()
    done = gateway.tool("publish", "-t", "plant/tool", "-q", "1", "-m", "from the tool")
    equal((done.returncode, done.stderr), (0, b""), "mqtt-spool publish")
    message = wait_far(far, 1)[0]
    equal((message.topic, message.payload), ("plant/tool", b"from the tool"))
    gateway.stop()


@case(seconds=180)
def mqttjs_delivers_with_both_versions():
    modules = npm.mqttjs_modules()
    gateway, far = whole_path()
    script = os.path.join(os.path.dirname(mqtt.__file__), "producer.js")
    environment = dict(os.environ, NODE_PATH=modules)
    for version in ("4", "5"):
        done = processes.run(["node", script, gateway.socket, version, "10", "plant/js"], 60,
                             env=environment)
        equal((done.returncode, done.stderr), (0, b""), "MQTT.js, version " + version)
        acks = [json.loads(line) for line in done.stdout.splitlines()]
        equal(len(acks), 10, "acknowledgements")
        if version == "5":
            check(all(int(ack["id"]) > 0 for ack in acks), "spool-id as MQTT.js sees it", acks)
    messages = wait_far(far, 20)
    equal([m.payload for m in messages], [bytes([0, i, 255]) for i in range(10)] * 2)
    equal(messages[-1].properties, {"content_type": "text/plain", "user": [("from", "mqttjs")]})
    gateway.stop()


# What is refused


@case
def a_subscription_is_refused_and_the_connection_stays():
    gateway = Gateway().start()
    client = gateway.client(5)
    equal(client.subscribe("plant/#").reasons, [0x87], "SUBACK of version 5")
    client.publish_wait("plant/t", b"x")
    old = gateway.client(4)
    equal(old.subscribe("plant/#").reasons, [0x80], "SUBACK of version 3.1.1")
    old.publish_wait("plant/t", b"x")
    gateway.stop()


@case
def topics_with_a_leading_dollar_are_refused():
    gateway = Gateway().start()
    client = gateway.client(5)
    for topic in ("$SYS/x", "$CONTROL/other/v1", "$share/a/b"):
        equal(client.publish_wait(topic, b"x").reason, 0x87, topic)
    equal(client.publish_wait("plant/$SYS", b"x").reason, 0, "a dollar further on")
    old = gateway.client(4)
    old.publish("$SYS/x", b"x")
    equal(old.expect_closed(), None, "packets before the close")
    gateway.stop()
    equal(gateway.ledger()["accepted"], 1)


@case
def mosquitto_pub_says_that_a_dollar_topic_is_not_authorized():
    gateway = Gateway().start()
    done = mosquitto_pub(gateway.socket, "-V", "mqttv5", "-q", "1", "-t", "$SYS/x", "-m", "x")
    check(b"Not authorized" in done.stdout, "mosquitto_pub prints it", done.stdout)
    gateway.stop()


@case
def a_packet_above_max_packet_is_refused_before_it_is_read():
    gateway = Gateway(listen={"max_packet": "4k"}).start()
    client = gateway.client(5)
    equal(client.connack.properties.get("maximum_packet_size"), 4096, "Maximum Packet Size")
    body = mqtt.data("plant/t") + struct.pack(">H", 1) + b"\0"
    fits = 4096 - 3 - len(body)
    client.send(mqtt.packet(mqtt.PUBLISH, body + b"x" * fits, 2))
    equal(client.expect(mqtt.PUBACK).reason, 0, "exactly the limit")
    client.send(b"\x32" + mqtt.varint(268435455) + b"only the head")
    last = client.expect_closed()
    equal((last and last.kind, last and last.reason), (mqtt.DISCONNECT, 0x95), "DISCONNECT")
    old = gateway.client(4)
    old.send(b"\x32" + mqtt.varint(5000) + b"only the head")
    equal(old.expect_closed(), None, "packets before the close")
    gateway.stop()
    equal(gateway.ledger()["accepted"], 1)


@case
def the_longest_topic_arrives_and_one_byte_above_max_packet_is_refused():
    broker = FakeBroker().start()
    cleanup(broker.stop)
    gateway = Gateway(broker.url).start()
    topic = "t" * 65535
    for version in (4, 5):
        client = gateway.client(version)
        equal(client.publish_wait(topic, b"x").reason, 0)
        head = len(mqtt.publish_packet(version, topic, b"", 1, 1))
        fits = (256 << 10) - head
        equal(client.publish_wait(topic, b"x" * fits).packet_id, 2, "exactly max_packet")
        with contextlib.suppress(OSError):  # refused before all of it was sent
            client.publish(topic, b"x" * (fits + 1))
        last = client.expect_closed()
        equal(last and last.reason, 0x95 if version == 5 else None, "one byte more")
    gateway.wait_drained()
    equal([entry["topic"] == topic for entry in broker.publishes()], [True] * 4, "at the broker")
    gateway.stop()
    equal([line["topic"] == topic for line in gateway.audit_lines()], [True] * 4, "on record")


@case
def the_same_client_id_takes_over_and_the_old_connection_gets_the_reason():
    gateway = Gateway().start()
    first = gateway.client(5, client_id="sensor")
    first.publish_wait("plant/t", b"1")
    second = gateway.client(5, client_id="sensor")
    last = first.expect_closed()
    equal((last and last.kind, last and last.reason), (mqtt.DISCONNECT, 0x8E), "DISCONNECT")
    second.publish_wait("plant/t", b"2")
    third = gateway.client(4, client_id="sensor")
    equal(second.expect_closed().reason, 0x8E, "reason of the second")
    third.publish_wait("plant/t", b"3")
    gateway.stop()
    equal(gateway.ledger()["accepted"], 3)


@case
def clients_without_an_id_do_not_take_each_other_over():
    gateway = Gateway().start()
    clients = [gateway.client(version) for version in (5, 5, 4, 4)]
    given = {client.connack.properties.get("assigned_client_id") for client in clients[:2]}
    check(len(given) == 2 and None not in given, "two assigned client ids", given)
    for client in clients:
        client.publish_wait("plant/t", b"x")
    gateway.stop()


@case
def another_uid_cannot_take_a_client_id_over_nor_keep_it_from_its_user():
    if os.geteuid() != 0:
        skip("needs root, to become another user")
    gateway = Gateway(listen={"mode": "0666"})
    for path in (gateway.folder, gateway.run_folder):
        os.chmod(path, 0o755)
    gateway.start()
    mine = gateway.client(5, client_id="sensor")
    equal(as_nobody(gateway.socket), 0, "CONNACK for the other user")
    equal(gateway.log().count("client_refused"), 0, "lines about it")
    mine.publish_wait("plant/t", b"still here")
    gateway.stop()


def as_nobody(path):
    """Connects as uid 65534 with the id "sensor"; the reason of the CONNACK."""
    near, far = socket.socketpair()
    child = os.fork()
    if child == 0:
        code = 255
        try:
            os.setgid(65534)
            os.setuid(65534)
            client = mqtt.Client(path, 5)
            client.send(mqtt.connect_packet(5, "sensor"))
            code = client.expect(mqtt.CONNACK).reason
        finally:
            far.send(bytes([code]))
            os._exit(0)
    os.waitpid(child, 0)
    far.close()
    with near:
        return near.recv(1)[0]


_FLOOD = """
import sys, threading
sys.path.insert(0, sys.argv[1])
import mqtt
client = mqtt.Client(sys.argv[2], 5)
client.connect()
client.sock.settimeout(None)
threading.Thread(target=lambda: all(iter(lambda: client.sock.recv(1 << 20), b"")),
                 daemon=True).start()
pings = mqtt.packet(mqtt.PINGREQ) * 8000
while True:
    client.sock.sendall(pings)
"""


@case
def a_client_that_floods_does_not_hold_back_what_is_forwarded():
    count = 4000
    broker = Mosquitto().start()
    link = Link(broker.port)
    gateway = Gateway(link.url, uplink={"window": 16}).start()
    with gateway.client(5) as client:
        for _ in client.publish_many((("plant/t", b"x") for _ in range(count)), 500):
            pass
    flood = processes.start([sys.executable, "-c", _FLOOD, os.path.dirname(mqtt.__file__),
                             gateway.socket], stderr=subprocess.DEVNULL)
    cleanup(flood.kill)
    used = processes.cpu_seconds(gateway.process)
    wait_for(lambda: processes.cpu_seconds(gateway.process) > used + 1, 30, "the flood")
    link.restore()
    # One that is held back gets a window a second through: it would take four minutes.
    wait_for(lambda: gateway.status()["ledger"]["delivered"] == count, 150,
             lambda: "all delivered, these are %d" % gateway.status()["ledger"]["delivered"])
    gateway.stop()


@case
def what_waits_for_room_in_the_window_is_no_attempt():
    count = 100
    gateway, far = whole_path(uplink={"window_bytes": "1k"})
    with gateway.client(5) as client:
        for _ in client.publish_many((("plant/t", b"x" * 300) for _ in range(count)), 100):
            pass
    wait_far(far, count)
    lines = gateway.wait_audit(count)
    equal({line["attempts"] for line in lines}, {1}, "attempts")
    gateway.stop()


run_all()
