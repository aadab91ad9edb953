# SPDX-License-Identifier: MIT
"""What a broker announces: limits, protocol version, keep-alive, texts."""

import os
import ssl
import struct
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

from broker import Certificates  # noqa: E402
from fake_broker import FakeBroker  # noqa: E402
from gateway import Gateway, check_audit  # noqa: E402
from tap import case, check, cleanup, equal, run_all, wait_for  # noqa: E402

NO_RETAIN = "2500"
QUICK = {"min": "10ms", "max": "50ms"}


def fake_broker(**options):
    broker = FakeBroker(**options).start()
    cleanup(broker.stop)
    return broker


def text_property(code, text):
    return "%02x" % code + (struct.pack(">H", len(text)) + text.encode()).hex()


def publish(gateway, count=1, size=10, **options):
    with gateway.client(5) as client:
        for number in range(count):
            payload = b"%06d " % number + b"x" * size
            ack = client.publish_wait("plant/t", payload, **options)
            equal(ack.reason, 0, "reason of a PUBACK")


def error_of(gateway, words):
    """In the status, as long as the link is not online again."""
    wait_for(lambda: words in (gateway.status()["link"]["last_error"] or ""), 15,
             lambda: "%r in %r" % (words, gateway.status()["link"]))


def logged(gateway, words):
    wait_for(lambda: words in gateway.log(), 15, lambda: "%r in the log" % words)


@case
def a_receive_maximum_of_zero_is_a_protocol_error_and_the_next_broker_is_used():
    first, second = fake_broker(announce="210000"), fake_broker()
    gateway = Gateway([first.url, second.url]).start()
    publish(gateway)
    equal(gateway.wait_drained(20)["delivered"], 1)
    equal(len(second.publishes()), 1, "PUBLISHes at the second")
    wait_for(lambda: first.events("disconnect"), 5, "a DISCONNECT at the first")
    equal(first.events("disconnect")[0]["code"], 0x82, "its code")
    logged(gateway, "Receive Maximum 0")
    gateway.stop()


@case
def qos_1_is_never_lowered_to_0_unless_the_configuration_has_it_so():
    first, second = fake_broker(maximum_qos=0), fake_broker()
    gateway = Gateway([first.url, second.url]).start()
    publish(gateway)
    equal(gateway.wait_drained(20)["delivered"], 1)
    equal([entry["qos"] for entry in second.publishes()], [1], "QoS at the second")
    equal(first.publishes(), [], "PUBLISHes at the first")
    logged(gateway, "uplink.max_qos = 0")
    gateway.stop()
    asked = Gateway(first.url, uplink={"max_qos": 0}).start()
    publish(asked)
    equal(asked.wait_drained(20)["delivered"], 1)
    equal([entry["qos"] for entry in first.publishes()], [0], "QoS at the first")
    asked.stop()


@case
def what_this_broker_cannot_take_waits_for_one_that_can():
    first = fake_broker(connack=0x88)
    second = fake_broker(maximum_packet=1000, announce=NO_RETAIN)
    gateway = Gateway([first.url, second.url], uplink={"backoff": QUICK}).start()
    gateway.wait_link()
    publish(gateway, 3, size=2000)
    publish(gateway, 3, retain=True)
    publish(gateway, 20)
    wait_for(lambda: len(second.publishes()) >= 20, 20, "what the second takes")
    first.change(connack=0)
    gateway.hup()
    equal(gateway.wait_drained(40)["delivered"], 26)
    equal(len(first.publishes()), 6, "PUBLISHes at the first")
    check(not [e for e in second.events("violation")], "violations", second.events("violation"))
    gateway.stop()
    check_audit(gateway.audit_lines())


@case
def what_no_broker_can_take_is_rejected():
    first, second = (fake_broker(maximum_packet=1000, announce=NO_RETAIN) for _ in range(2))
    gateway = Gateway([first.url, second.url], uplink={"backoff": QUICK}).start()
    gateway.wait_link()
    publish(gateway, 1)
    equal(gateway.wait_drained(40)["delivered"], 1)
    publish(gateway, 2, size=2000)
    publish(gateway, 2, retain=True)
    wait_for(lambda: second.events("connect"), 20, "the second broker is tried")
    publish(gateway, 1)  # it shows that what is excluded is not all
    ledger = gateway.wait_drained(40)
    equal((ledger["rejected"], ledger["delivered"]), (4, 2))
    gateway.stop()


def falls_back(connack_raw):
    broker = fake_broker(connack_raw=connack_raw, connack_raw_versions="5")
    gateway = Gateway(broker.url).start()
    publish(gateway, 3)
    equal(gateway.wait_drained(20)["delivered"], 3)
    equal({entry["version"] for entry in broker.publishes()}, {4}, "versions")
    equal(gateway.fresh_status()["link"]["protocol"], "3.1.1", "protocol in the status")
    broker.reset_all()
    wait_for(lambda: gateway.status()["link"]["connects"] >= 2, 20, "a second connect")
    equal([entry["version"] for entry in broker.events("connect")], [5, 4, 4], "versions tried")
    equal(gateway.log().count(" link_protocol "), 1, "lines of it")
    gateway.stop()


@case
def a_broker_of_3_1_1_alone_is_spoken_to_in_3_1_1():
    falls_back("20020001")
    falls_back("20020005")


@case
def a_broker_that_refuses_version_5_by_a_reason_code_is_spoken_to_in_3_1_1():
    falls_back("2003008400")


def versions(broker):
    return [entry["version"] for entry in broker.events("connect")]


def falls_back_from_silence(**options):
    """It closes at 5, accepts 3.1.1, and closes at 5 again: only then is it believed."""
    broker = fake_broker(close_connect="5", **options)
    gateway = Gateway(broker.url, uplink={"backoff": QUICK}).start()
    publish(gateway, 3)
    equal(gateway.wait_drained(20)["delivered"], 3)
    equal(versions(broker), [5, 4, 5, 4], "versions tried")
    equal(gateway.fresh_status()["link"]["protocol"], "3.1.1", "protocol in the status")
    for connects in (2, 3):
        broker.reset_all()
        wait_for(lambda: gateway.fresh_status()["link"]["connects"] >= connects, 20, "a connect")
    equal(versions(broker), [5, 4, 5, 4, 4, 4], "versions tried")
    lines = [line for line in gateway.log().split("\n") if " link_protocol " in line]
    equal(len(lines), 1, "lines of it")
    check("costs=" in lines[0] and "remedy=" in lines[0], "what it costs", lines)
    gateway.hup()
    wait_for(lambda: " reload" in gateway.log(), 10, "the reload")
    broker.change(close_connect="")
    broker.reset_all()
    wait_for(lambda: gateway.fresh_status()["link"]["protocol"] == "5", 20, "5 after a HUP")
    gateway.stop()


@case
def a_broker_that_closes_at_version_5_is_spoken_to_in_3_1_1():
    falls_back_from_silence()
    falls_back_from_silence(reset_connect=True)


@case
def such_a_broker_is_found_behind_tls_too():
    certificates = Certificates()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server_cert, certificates.server_key)
    broker = fake_broker(tls=context, close_connect="5")
    gateway = Gateway(broker.url, uplink={"backoff": QUICK, "tls": {"ca_file": certificates.ca}})
    gateway.start()
    publish(gateway)
    equal(gateway.wait_drained(20)["delivered"], 1)
    equal(versions(broker), [5, 4, 5, 4], "versions tried")
    gateway.stop()


@case
def a_broker_that_closes_every_connection_is_used_with_5_once_it_answers():
    """As a load balancer without a backend does: whichever version comes when it has one again."""
    for count in (3, 4):
        broker = fake_broker(close_connect="45", reset_connect=count == 4)
        gateway = Gateway(broker.url, uplink={"backoff": {"min": "200ms", "max": "200ms"}})
        gateway.start()
        wait_for(lambda: len(versions(broker)) >= count, 20, "attempts")
        broker.change(close_connect="")
        publish(gateway)
        equal(gateway.wait_drained(20)["delivered"], 1)
        equal(versions(broker)[:count], [5, 4, 5, 4][:count], "versions tried")
        equal({entry["version"] for entry in broker.publishes()}, {5}, "versions used")
        equal(gateway.log().count(" link_protocol "), 0, "lines of it")
        gateway.stop()


@case
def a_broker_that_refuses_3_1_1_after_it_closed_at_5_is_not_taken_for_one_of_3_1_1():
    broker = fake_broker(close_connect="5", connack=5)
    gateway = Gateway(broker.url, uplink={"backoff": QUICK}).start()
    wait_for(lambda: len(versions(broker)) >= 4, 20, "attempts")
    equal(versions(broker)[:4], [5, 4, 5, 4], "versions tried")
    equal(gateway.log().count(" link_protocol "), 0, "lines of it")
    gateway.stop()


@case
def with_a_version_set_no_other_is_tried():
    broker = fake_broker(close_connect="5")
    gateway = Gateway(broker.url, uplink={"protocol": 5, "backoff": QUICK}).start()
    wait_for(lambda: len(versions(broker)) >= 4, 20, "attempts")
    logged(gateway, "set uplink.protocol to auto if the broker speaks MQTT 3.1.1 only")
    equal(set(versions(broker)), {5}, "versions tried")
    gateway.stop()


@case
def a_broker_that_cannot_be_used_has_its_remedy_and_the_line_only_what_was_announced():
    rows = (("210000", ["receive_maximum=0"], "messages in flight"),
            ("2700000000", ["maximum_packet=0"], "packet size"),
            ("2400", ["maximum_qos=0"], "uplink.max_qos = 0"),
            ("22000a" + NO_RETAIN, ["retain=no", "topic_aliases=10"], None))
    for announce, pairs, remedy in rows:
        broker = fake_broker(announce=announce)
        gateway = Gateway(broker.url, uplink={"rate": {"messages": 70}}).start()
        logged(gateway, " link_limits ")
        line = gateway.log().split(" link_limits ")[1].split("\n")[0]
        equal(line.split(" "), ["broker=\"%s\"" % broker.url] + pairs, "what is logged")
        if remedy:
            logged(gateway, " link_retry ")
            line = gateway.log().split(" link_retry ")[1].split("\n")[0]
            check(remedy in line.split("remedy=")[1], "the remedy", line)
            wait_for(lambda: gateway.status()["link"]["remedy"], 10, "one in the status")
            check(remedy in gateway.status()["link"]["remedy"], "that of the status")
        equal(gateway.status()["link"]["rate"], {"messages": 70, "bytes": 0}, "rate")
        gateway.stop()


@case
def with_protocol_5_the_remedy_is_named():
    broker = fake_broker(connack_raw="20020001", connack_raw_versions="5")
    gateway = Gateway(broker.url, uplink={"protocol": 5}).start()
    error_of(gateway, "the broker speaks MQTT 3.1.1 only")
    equal(gateway.status()["link"]["remedy"], "set uplink.protocol to auto", "the remedy")
    equal({entry["version"] for entry in broker.events("connect")}, {5}, "versions tried")
    gateway.stop()


@case
def what_3_1_1_costs_is_logged_at_a_start_with_protocol_4():
    broker = fake_broker()
    gateway = Gateway(broker.url, uplink={"protocol": 4}).start()
    wait_for(lambda: " link_protocol " in gateway.log(), 10, "the line")
    check("expiry" in gateway.log().split(" link_protocol ")[1].split("\n")[0], "what it costs")
    gateway.stop()


@case
def the_broker_s_own_words_are_shown():
    words = text_property(0x1F, "maintenance until noon") + text_property(0x1C, "b2.test:1883")
    broker = fake_broker(dismiss=0x9C, dismiss_properties=words)
    gateway = Gateway(broker.url).start()
    publish(gateway)
    logged(gateway, "maintenance until noon")
    logged(gateway, "b2.test:1883")
    gateway.stop()
    properties = bytes.fromhex(words)
    refusing = fake_broker(connack_raw=(bytes([0x20, 3 + len(properties), 0, 0x9D,
                                               len(properties)]) + properties).hex())
    gateway = Gateway(refusing.url).start()
    error_of(gateway, "server moved (code 0x9D): \"maintenance until noon\"")
    error_of(gateway, "b2.test:1883")
    gateway.stop()


@case
def the_keep_alive_of_one_broker_is_not_that_of_another():
    first = fake_broker(announce="130002")
    second = fake_broker()
    gateway = Gateway([first.url, second.url], uplink={"keepalive": "60s"}).start()
    gateway.wait_link()
    equal([entry["keepalive"] for entry in first.events("connect")], [60, 2], "at the first")
    first.change(connack=0x88)
    first.reset_all()
    wait_for(lambda: second.events("connect"), 20, "a connect to the second")
    equal(second.events("connect")[0]["keepalive"], 60, "at the second")
    gateway.stop()


@case
def another_client_id_of_the_broker_is_logged():
    broker = fake_broker(announce=text_property(0x12, "assigned-7"))
    gateway = Gateway(broker.url).start()
    gateway.wait_link()
    wait_for(lambda: "assigned-7" in gateway.log(), 10, "the id in the log")
    gateway.stop()


def aliased(broker, count=300, topics=3):
    """Bytes at the broker for @count messages, each of which arrives under its own topic."""
    gateway = Gateway(broker.url, uplink={"window": 8}).start()
    gateway.wait_link()
    with gateway.client(5) as client:
        messages = [("plant/line-%d/temperature/celsius" % (number % topics), b"%06d" % number)
                    for number in range(count)]
        for _, ack in client.publish_many(messages):
            equal(ack.reason, 0, "reason of a PUBACK")
    equal(gateway.wait_drained(30)["delivered"], count)
    gateway.stop()
    equal(broker.events("violation"), [], "violations")
    wrong = [entry for entry in broker.publishes()
             if entry["topic"] != messages[entry["seq"]][0]]
    equal(wrong, [], "messages under another topic")
    return broker.received


@case
def a_topic_that_the_broker_knows_is_sent_as_its_alias():
    known, unknown = fake_broker(announce="22000a"), fake_broker()
    saved = 1 - aliased(known) / aliased(unknown)
    check(known.aliased >= 200, "PUBLISHes without a topic", known.aliased)
    equal(unknown.aliased, 0, "aliases at a broker that allows none")
    check(saved > 0.25, "part of the bytes that is saved", saved)


@case
def aliases_end_with_their_connection():
    broker = fake_broker(announce="22000a", close_after=40)
    aliased(broker)
    check(len(broker.events("connect")) > 3, "connections", broker.events("connect"))


@case
def more_topics_than_aliases_arrive_each_under_its_own():
    broker = fake_broker(announce="220002")
    aliased(broker, topics=7)


@case
def an_alias_that_the_broker_calls_invalid_is_not_used_again():
    broker = fake_broker(announce="22000a", dismiss=0x94)
    gateway = Gateway(broker.url, uplink={"window": 1, "backoff": QUICK}).start()
    publish(gateway, 3)
    wait_for(lambda: len(broker.events("connect")) >= 2, 10, "the second connection")
    broker.change(dismiss=0)
    publish(gateway, 5)
    gateway.wait_drained(20)
    equal(broker.aliased, 0, "PUBLISHes without a topic")
    gateway.stop()


if __name__ == "__main__":
    run_all()
