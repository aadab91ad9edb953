# SPDX-License-Identifier: MIT
"""What the gateway sends to producers: its status, and how their messages ended."""

import contextlib
import json
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import mqtt  # noqa: E402
import processes  # noqa: E402
from broker import Mosquitto  # noqa: E402
from gateway import Gateway, as_user, check_audit  # noqa: E402
from tap import case, check, equal, run_all, wait_for  # noqa: E402

STATUS = "$SYS/spool/status"


@case
def the_status_comes_at_once_and_then_each_interval():
    gateway = Gateway().start()
    for version in (4, 5):
        client = gateway.client(version)
        equal(client.subscribe(STATUS).reasons, [1], "SUBACK")
        seen = [client.expect(mqtt.PUBLISH) for _ in range(3)]
        equal([m.topic for m in seen], [STATUS] * 3, "topics")
        statuses = [json.loads(m.payload) for m in seen]
        equal([status["pid"] for status in statuses], [gateway.process.pid] * 3)
        check(statuses[0]["time"] < statuses[2]["time"], "the status moves on", statuses)
        equal(sorted(statuses[2]), sorted(gateway.status()), "members as in the file")
    gateway.stop()


@case
def a_status_that_was_published_long_ago_comes_at_once():
    gateway = Gateway(status_interval="1h").start()
    client = gateway.client(5)
    client.subscribe(STATUS, options=0)
    equal(client.expect(mqtt.PUBLISH, timeout=5).topic, STATUS)
    gateway.stop()


@case
def only_what_is_ones_own_can_be_subscribed_to():
    gateway = Gateway().start()
    for version, refused in ((4, 0x80), (5, 0x87)):
        client = gateway.client(version, client_id="one")
        for topic in ("plant/#", "#", "$SYS/#", "$SYS/spool/#", "$SYS/spool/+"):
            equal(client.subscribe(topic).reasons, [refused], topic)
        for topic in ("$CONTROL/spool/v1/response/#", STATUS):
            equal(client.subscribe(topic, options=2).reasons, [1], topic)
        client.close()
    gateway.stop()


# How messages ended


def subscribed(gateway, kind, version=5, client_id="one", qos=1, **options):
    client = gateway.client(version, client_id=client_id, **options)
    equal(client.subscribe("$SYS/spool/%s/%s" % (kind, client_id), options=qos).reasons, [qos],
          "SUBACK")
    return client


def next_record(client, acknowledge=True):
    """The record of the next PUBLISH; PUBACKs before it are passed over."""
    while True:
        came = client.receive()
        if came.kind == mqtt.PUBLISH:
            if acknowledge and came.qos == 1:
                client.send(mqtt.packet(mqtt.PUBACK, came.packet_id.to_bytes(2, "big")))
            return came, json.loads(came.payload)
        equal(came.kind, mqtt.PUBACK, "kind of packet")


@case
def an_eviction_is_sent_to_its_producer():
    gateway = Gateway(retention={"max_messages": 2}).start()
    for version in (4, 5):
        client_id = "v%d" % version
        client = subscribed(gateway, "outcome", version, client_id)
        other = subscribed(gateway, "outcome", 5, "other")
        for number in range(4):
            client.publish("plant/%s" % client_id, b"%d" % number, properties=(
                {"user": [("spool-ref", "r%d" % number)]} if version == 5 else None))
        seen = [next_record(client) for _ in range(2)]
        equal([came.topic for came, _ in seen], ["$SYS/spool/outcome/%s" % client_id] * 2)
        equal([came.qos for came, _ in seen], [1, 1])
        equal([record["outcome"] for _, record in seen], ["evicted"] * 2)
        equal([record["client"] for _, record in seen], [client_id] * 2)
        if version == 5:
            equal([record["ref"] for _, record in seen], ["r0", "r1"])
        for _, record in seen:
            wait_for(lambda record=record: record in gateway.audit_lines(), 10,
                     "the same line in the audit file")
        other.ping()
        other.close()
        client.disconnect()
    gateway.stop()


@case
def a_delivery_is_sent_with_qos_0_too():
    broker = Mosquitto().start()
    gateway = Gateway(broker.url).start()
    gateway.wait_link()
    for qos in (0, 1):
        client = subscribed(gateway, "delivered", client_id="q%d" % qos, qos=qos)
        failures = subscribed(gateway, "outcome", client_id="f%d" % qos)
        mqtt_id = mqtt.spool_id(client.publish_wait("plant/t", b"x"))
        came, record = next_record(client)
        equal((came.topic, came.qos), ("$SYS/spool/delivered/q%d" % qos, qos))
        equal((record["outcome"], record["id"]), ("delivered", mqtt_id))
        failures.ping()
        client.disconnect()
    gateway.stop()
    check_audit(gateway.audit_lines())


@case
def the_records_do_not_need_the_audit_file():
    gateway = Gateway(retention={"max_messages": 1}, audit={"file": "/proc/none"}).start()
    client = subscribed(gateway, "outcome")
    for number in range(3):
        client.publish("plant/t", b"%d" % number)
    equal([next_record(client)[1]["id"] for _ in range(2)], [1, 2])
    gateway.stop()


@case
def a_window_of_one_is_kept():
    gateway = Gateway(retention={"max_messages": 1}).start()
    client = subscribed(gateway, "outcome", properties={"receive_maximum": 1})
    for number in range(5):
        client.publish("plant/t", b"%d" % number)
    for number in range(1, 5):
        came, record = next_record(client, acknowledge=False)
        equal(record["id"], number)
        for _ in range(20):  # nothing follows while it is not acknowledged
            client.send(mqtt.packet(mqtt.PINGREQ))
            answer = client.receive()
            while answer.kind == mqtt.PUBACK:
                answer = client.receive()
            equal(answer.kind, mqtt.PINGRESP)
        client.send(mqtt.packet(mqtt.PUBACK, came.packet_id.to_bytes(2, "big")))
    gateway.stop()


@case
def outcomes_of_others_are_for_administrators():
    gateway = Gateway(retention={"max_messages": 1}).start()
    os.chmod(gateway.socket, 0o666)
    os.chmod(gateway.run_folder, 0o755)
    os.chmod(gateway.folder, 0o755)

    def connect_others():
        one, two = gateway.client(5, client_id="one"), gateway.client(5, client_id="two")
        for topic in ("$SYS/spool/outcome/#", "$SYS/spool/outcome/two", "$SYS/spool/delivered/+"):
            equal(one.subscribe(topic).reasons, [0x87], topic)
        equal(one.subscribe("$SYS/spool/outcome/one").reasons, [1])
        return one, two
    one, two = as_user(1001, connect_others)
    root = gateway.client(5, client_id="root")
    equal(root.subscribe("$SYS/spool/outcome/#").reasons, [1])
    for client in (two, one, two):
        client.publish_wait("plant/t", b"x")
    equal([(came.topic, record["client"], record["uid"]) for came, record
           in (next_record(root) for _ in range(2))],
          [("$SYS/spool/outcome/two", "two", 1001), ("$SYS/spool/outcome/one", "one", 1001)])
    equal(next_record(one)[1]["id"], 2)
    one.ping()
    gateway.stop()


@case
def a_client_that_does_not_read_is_informed_of_what_it_missed():
    gateway = Gateway(retention={"max_messages": 1}).start()
    client = subscribed(gateway, "outcome", qos=0)
    count = 30000
    topic = "plant/" + "x" * 200
    for number in range(count):  # its own PUBACKs are not read either: QoS 0 has none
        client.publish(topic, b"", qos=0)
    wait_for(lambda: gateway.status()["ledger"]["evicted"] == count - 1, 60, "all evicted")
    seen, missed = [], 0
    while len(seen) + missed < count - 1:
        record = next_record(client)[1]
        if "missed" in record:
            equal(list(record), ["missed"])
            check(record["missed"] > 0, "some were missed", record)
            missed += record["missed"]
        else:
            seen.append(record["seq"])
            equal(seen[-1], len(seen) + missed, "seq")
    check(missed > 0, "some were missed")
    equal(len(seen) + missed, count - 1)
    gateway.stop()


# Sessions that are kept

HOUR = 3600


def kept(gateway, version=5, client_id="one", present=None, **options):
    properties = dict(options.pop("properties", {}))
    if version == 5:
        properties["session_expiry"] = HOUR
    client = gateway.client(version, client_id=client_id, clean=False, properties=properties,
                            **options)
    if present is not None:
        equal(bool(client.connack.session_present), present, "Session Present")
    return client


def subscribe(client, kind="outcome"):
    equal(client.subscribe("$SYS/spool/%s/%s" % (kind, client.client_id)).reasons, [1], "SUBACK")


def publish_expiring(client, count, first=0):
    """They end as expired, a second later; acknowledged."""
    for number in range(first, first + count):
        client.publish("plant/t", b"%d" % number, properties={"message_expiry": 1})
    for _ in range(count):
        came = client.receive()
        while came.kind == mqtt.PUBLISH:
            came = client.receive()
        equal(came.kind, mqtt.PUBACK)


def wait_ended(gateway, count, seconds=20):
    wait_for(lambda: len(gateway.outcomes("expired")) >= count, seconds, "%d expired" % count)


@case
def a_session_is_sent_what_it_missed_in_order():
    gateway = Gateway().start()
    for round_number, version in enumerate((4, 5)):
        name = "v%d" % version
        client = kept(gateway, version, name, present=False)
        subscribe(client)
        with gateway.client(5, client_id="other") as other:
            publish_expiring(other, 2)
        client.close()
        client = kept(gateway, version, name, present=True)
        for number in range(5):  # by this client, of either version
            client.publish_wait("plant/%s" % name, b"%d" % number)
        client.close()
        gateway.configure(retention={"max_age": "1s"})
        gateway.hup()
        wait_for(lambda name=name: len([line for line in gateway.outcomes("evicted")
                                        if line["client"] == name]) == 5, 20, "5 evicted")
        gateway.kill()
        gateway.configure(retention={"max_age": "7d"})
        gateway.start()
        client = kept(gateway, version, name, present=True)
        seen = [next_record(client)[1] for _ in range(5)]
        equal(seen, [line for line in gateway.outcomes("evicted") if line["client"] == name],
              "round %d: the records, as in the audit file" % round_number)
        client.ping()
        client.close()
    gateway.stop()


@case
def what_is_acknowledged_does_not_come_again():
    gateway = Gateway().start()
    client = kept(gateway)
    subscribe(client)
    publish_expiring(client, 6)
    client.close()
    wait_ended(gateway, 6)
    client = kept(gateway, present=True)
    first = [next_record(client) for _ in range(3)]
    rest = [next_record(client, acknowledge=False) for _ in range(3)]
    client.ping()
    wait_for(lambda: outbox_rows(gateway) == 3, 10, "those that were acknowledged are gone")
    gateway.kill()
    gateway.start()
    client = kept(gateway, present=True)
    again = [next_record(client) for _ in range(3)]
    equal([record["seq"] for _, record in again], [record["seq"] for _, record in rest])
    equal([came.packet_id for came, _ in again], [came.packet_id for came, _ in rest],
          "packet ids [MQTT-4.4.0-1]")
    equal([came.dup for came, _ in first + rest + again], [False] * 6 + [True] * 3, "DUP")
    client.ping()
    gateway.stop()
    equal(outbox_rows(gateway), 0)


def outbox_rows(gateway):
    return gateway.query("SELECT count(*) FROM outbox")[0][0]


def killed_at(point, times):
    """Whenever the daemon dies, the session gets the record of each message that ended."""
    processes.need_failpoint(point)
    gateway = Gateway(retention={"max_messages": 3}).start()
    client = kept(gateway)
    subscribe(client)
    subscribe(client, "delivered")
    gateway.stop()
    gateway.start(env={"SPOOLD_FAILPOINT": "%s:%d" % (point, times)})
    client = kept(gateway, present=True)
    with contextlib.suppress(OSError):
        for number in range(3000):
            client.publish("plant/t", b"%d" % number)
    wait_for(lambda: not gateway.is_running(), 20, "the daemon died at " + point)
    gateway.check_log()
    client.close()
    gateway.start()
    client = kept(gateway, present=True)
    client.publish("plant/t", b"last", qos=0)
    wait_for(lambda: gateway.fresh_status()["audit"]["waiting"] == 0, 20, "all exported")
    wanted = [line["seq"] for line in gateway.audit_lines()]
    got = set()
    while len(got) < len(wanted):
        got.add(next_record(client)[1]["seq"])
    equal(sorted(got), wanted)
    client.ping()
    gateway.stop()
    done = gateway.tool("check")
    equal(done.returncode, 0, "check: %s" % done.stdout)


@case(seconds=120)
def no_record_is_lost_by_a_crash_before_it_is_kept():
    killed_at("outbox.before_add", 4)


@case(seconds=120)
def no_record_is_lost_by_a_crash_before_the_commit():
    killed_at("commit.before", 3)


@case(seconds=120)
def no_record_is_lost_by_a_crash_after_the_commit():
    killed_at("commit.after", 3)


@case
def a_session_that_reads_too_little_is_informed_of_what_it_missed():
    gateway = Gateway(listen={"session_backlog": "8k"}, retention={"max_messages": 1}).start()
    client = kept(gateway)
    subscribe(client)
    client.close()
    client = kept(gateway, present=True)
    for number in range(500):
        client.publish("plant/t", b"%d" % number, qos=0)
    wait_for(lambda: gateway.fresh_status()["ledger"]["evicted"] == 499, 30, "all evicted")
    client.close()
    gateway.kill()
    gateway.start()
    client = kept(gateway, present=True)
    seen, missed = set(), 0
    while len(seen) + missed < 499:
        record = next_record(client)[1]
        missed += record.get("missed", 0)
        if "seq" in record:
            seen.add(record["seq"])
    check(missed > 400, "some were missed", missed)
    client.ping()
    client.close()
    client = kept(gateway, present=True)
    client.ping()
    gateway.stop()


@case
def a_session_that_acknowledges_nothing_does_not_stop_its_producer():
    gateway = Gateway(retention={"max_messages": 1}).start()
    client = kept(gateway)
    subscribe(client)
    count = 3000
    for number in range(count):
        client.publish("plant/t", b"%d" % number, qos=0)
    wait_for(lambda: gateway.fresh_status()["ledger"]["evicted"] == count - 1, 60, "all evicted")
    seen = [next_record(client, acknowledge=False) for _ in range(64)]
    client.ping()  # nothing more comes
    client.send(b"".join(mqtt.packet(mqtt.PUBACK, came.packet_id.to_bytes(2, "big"))
                         for came, _ in seen))
    seen += [next_record(client) for _ in range(count - 1 - 64)]
    equal([record["seq"] for _, record in seen], list(range(1, count)))
    gateway.stop()


@case
def unsubscribing_ends_it_for_the_session():
    gateway = Gateway().start()
    client = kept(gateway)
    subscribe(client)
    equal(client.unsubscribe("$SYS/spool/outcome/one").reasons, [0], "UNSUBACK")
    gateway.kill()
    gateway.start()
    client = kept(gateway, present=True)
    publish_expiring(client, 2)
    wait_ended(gateway, 2)
    client.ping()
    equal(outbox_rows(gateway), 0)
    gateway.stop()


@case
def a_reload_changes_the_backlog_of_sessions():
    gateway = Gateway(listen={"session_backlog": "1M"}, retention={"max_messages": 1}).start()
    client = kept(gateway)
    subscribe(client)
    for number in range(101):
        client.publish("plant/t", b"%d" % number, qos=0)
    wait_for(lambda: outbox_rows(gateway) == 100, 20, "100 rows")
    gateway.configure(listen={"session_backlog": "4k"})
    gateway.hup()
    wait_for(lambda: "reloaded applied=all" in gateway.log(), 10, "the reload")
    client.publish("plant/t", b"one more", qos=0)
    wait_for(lambda: outbox_rows(gateway) < 90, 20, "fewer rows")
    gateway.stop()


if __name__ == "__main__":
    run_all()
