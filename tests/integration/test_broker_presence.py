# SPDX-License-Identifier: MIT
"""What the broker learns about the gateway itself: its presence, and what it will not get."""

import json
import os
import re
import socket
import sys
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import processes  # noqa: E402
from broker import Link, Mosquitto  # noqa: E402
from fake_broker import FakeBroker  # noqa: E402
from gateway import Gateway, check_audit  # noqa: E402
from mqtt import Subscriber  # noqa: E402
from tap import case, check, cleanup, equal, run_all, wait_for  # noqa: E402

LANE = "$report"
REPORTS = "gw/report"
REPORTING = {"report": {"topic": REPORTS}}


def subscribe(broker, **options):
    far = Subscriber(broker.address, **options).start()
    cleanup(far.stop)
    return far


def fake(**options):
    broker = FakeBroker(**options).start()
    cleanup(broker.stop)
    return broker


def publish(gateway, count, topic="plant/t"):
    with gateway.client(5) as client:
        for number in range(count):
            equal(client.publish_wait(topic, b"%06d" % number).reason, 0, "reason of a PUBACK")


# Presence

TOPIC = "gw/presence"
PRESENCE = {"presence": {"topic": TOPIC}}


def presence(broker):
    return [entry["head"] for entry in broker.publishes() if entry["topic"] == TOPIC]


def connects(broker):
    return [entry for entry in list(broker.ledger) if entry.get("event") == "connect"]


def wait_presence(broker, wanted):
    wait_for(lambda: presence(broker) == wanted, 10,
             lambda: "%r published, it is %r" % (wanted, presence(broker)))


@case
def a_connection_begins_with_birth_and_a_stop_ends_with_the_offline_message():
    for protocol in (5, 4):
        broker = fake()
        gateway = Gateway(broker.url, uplink=dict(PRESENCE, protocol=protocol,
                                                  topic_prefix="site/")).start()
        gateway.wait_link()
        publish(gateway, 3)
        gateway.wait_drained()
        gateway.stop()
        seen = broker.publishes()
        equal([(entry["topic"], entry["head"], entry["qos"], entry["retain"])
               for entry in (seen[0], seen[-1])],
              [("site/" + TOPIC, "online", 1, True), ("site/" + TOPIC, "offline", 1, True)],
              "first and last message")
        equal(len(seen), 5, "messages")
        events = [entry.get("event", entry.get("head")) for entry in broker.ledger]
        check(events.index("offline") < events.index("disconnect"), "the order", events)
        equal([entry["code"] for entry in broker.ledger if entry.get("event") == "disconnect"],
              [0], "DISCONNECT, which removes the will")
        delay = {5: 30, 4: None}[protocol]
        first = connects(broker)[0]
        equal(first["will"], {"topic": "site/" + TOPIC, "payload": "offline", "qos": 1,
                              "retain": True, "delay": delay}, "the will")
        equal(first["session_expiry"], delay or 0, "the session outlives the connection so long")
        equal(gateway.ledger()["accepted"], 3, "presence is no message of the spool")


@case
def without_a_topic_there_is_no_presence():
    broker = fake()
    gateway = Gateway(broker.url).start()
    gateway.wait_link()
    gateway.stop()
    equal((broker.publishes(), connects(broker)[0]["will"], connects(broker)[0]["session_expiry"]),
          ([], None, 0), "messages, will, session expiry")


@case
def the_texts_the_quality_and_the_flag_are_settings():
    broker = fake()
    gateway = Gateway(broker.url, uplink={"presence": {
        "topic": "gw/%m/" + TOPIC, "online": "1", "offline": "0", "qos": 0,
        "retain": False}}).start()
    wait_for(broker.publishes, 10, "birth")
    gateway.stop()
    wait_for(lambda: len(broker.publishes()) == 2, 10, "the offline message")
    with open("/etc/machine-id") as seen:
        topic = "gw/%s/%s" % (seen.read().strip(), TOPIC)
    equal([(entry["topic"], entry["head"], entry["qos"], entry["retain"])
           for entry in broker.publishes()], [(topic, "1", 0, False), (topic, "0", 0, False)],
          "messages")
    will = connects(broker)[0]["will"]
    equal((will["topic"], will["payload"], will["qos"], will["retain"]), (topic, "0", 0, False),
          "the will")


@case
def a_reconnect_does_not_flap():
    broker = Mosquitto().start()
    far = subscribe(broker)
    link = Link(broker.port).restore()
    gateway = Gateway(link.url, uplink=PRESENCE).start()
    gateway.wait_link()
    for count in (2, 3):
        link.cut()
        link.restore()
        wait_for(lambda: gateway.status()["link"]["connects"] == count, 10, "a new connection")
    publish(gateway, 1)
    wait_for(lambda: any(message.topic == "plant/t" for message in far.messages), 10, "a message")
    texts = [message.payload for message in far.messages if message.topic == TOPIC]
    equal(set(texts), {b"online"}, "what readers saw")
    gateway.stop()
    wait_for(lambda: far.payloads()[-1] == b"offline", 10, "offline")


@case
def the_will_stays_where_the_gateway_means_to_come_back_or_was_not_heard():
    broker = fake()
    gateway = Gateway(broker.url, uplink=dict(PRESENCE, ack_timeout="1s")).start()
    wait_presence(broker, ["online"])
    gateway.wait_link()
    broker.change(noack=True)
    publish(gateway, 1)
    wait_for(lambda: len(connects(broker)) == 2, 10, "a connection after the one that stalled")
    # One that stalls is asked to close, the next one is given up.
    wait_for(lambda: len(connects(broker)) == 3, 10, "a connection after the second")
    wait_presence(broker, ["online"] * 3)
    gateway.stop()
    codes = [entry["code"] for entry in broker.ledger if entry.get("event") == "disconnect"]
    equal(set(codes), {4}, "codes of DISCONNECT: with will")


@case
def a_gateway_that_dies_is_reported_by_the_broker():
    broker = Mosquitto().start()
    far = subscribe(broker)
    gateway = Gateway(broker.url, uplink=dict(PRESENCE, protocol=4)).start()
    wait_for(lambda: b"online" in far.payloads(), 10, "online")
    gateway.kill()
    wait_for(lambda: b"offline" in far.payloads(), 10, "offline")


@case
def a_session_with_an_open_message_of_qos_2_is_not_resumed():
    broker = fake(session_present=True)
    gateway = Gateway(broker.url, uplink=PRESENCE).start()
    gateway.wait_link()
    wait_presence(broker, ["online"])
    gateway.fresh_status()
    broker.reset_all()
    wait_for(lambda: len(connects(broker)) == 2, 10, "the second connection")
    equal(connects(broker)[1]["clean"], False, "clean start while nothing is open")
    gateway.wait_link()
    broker.change(noack=True)
    with gateway.client(5) as client:
        client.publish("plant/t", b"000001", qos=1)
        wait_for(lambda: any(entry["topic"] == "plant/t" for entry in broker.publishes()), 10,
                 "a message of QoS 1 in flight")
    broker.reset_all()
    wait_for(lambda: len(connects(broker)) == 3, 10, "the third connection")
    equal(connects(broker)[2]["clean"], False, "clean start after QoS 1")
    gateway.stop()
    count = len(broker.publishes())
    gateway = Gateway(broker.url, uplink={"presence": {"topic": TOPIC, "qos": 2}}).start()
    wait_for(lambda: len(broker.publishes()) > count, 10, "a message of QoS 2 in flight")
    known = len(connects(broker))
    broker.change(noack=False)
    broker.reset_all()
    wait_for(lambda: len(connects(broker)) > known, 10, "one more connection")
    equal(connects(broker)[known]["clean"], True, "clean start after QoS 2")
    gateway.stop()


@case
def a_broker_that_does_not_allow_the_topic_gets_all_other_messages():
    broker = fake(reason=0x87, reason_at=TOPIC)
    gateway = Gateway(broker.url, uplink=PRESENCE).start()
    wait_for(lambda: "presence_refused" in gateway.log(), 10, "the line")
    wait_for(lambda: gateway.status()["link"]["presence_error"] == "not authorized (code 0x87)", 10,
             "the reason in the status")
    check("refuses the message of uplink.presence" in gateway.tool("status").stdout.decode(),
          "the page")
    publish(gateway, 5)
    equal(gateway.wait_drained()["delivered"], 5, "delivered")
    gateway.stop()
    broker = fake(close_at=TOPIC)
    gateway = Gateway(broker.url, uplink=PRESENCE).start()
    publish(gateway, 5)
    equal(gateway.wait_drained()["delivered"], 5, "delivered")
    check("presence_refused" in gateway.log(), "the line")
    check(len(presence(broker)) <= 3, "how often it was sent", presence(broker))
    gateway.stop()


# Reports


def reports(far):
    return [json.loads(message.payload) for message in list(far.messages)
            if message.topic == REPORTS]


def reported(far):
    return [record for report in reports(far) for record in report["records"]]


def failures(gateway):
    """As the audit file has them, without those of the reports."""
    return [line for line in gateway.audit_lines()
            if line["outcome"] != "delivered" and line["lane"] != LANE]


def check_chain(far):
    """Each report begins where the one before it ended."""
    found = reports(far)
    equal([report["after"] for report in found[1:]], [report["to"] for report in found[:-1]],
          "where the reports begin")
    for report in found:
        check(all(report["after"] < record["seq"] <= report["to"]
                  for record in report["records"]), "seqs of a report", report)


def wait_reported(gateway, far, count):
    """Each failure once, in order, as in the audit file."""
    wait_for(lambda: len(reported(far)) >= count, 20,
             lambda: "%d records reported, there are %r" % (count, reported(far)))
    gateway.wait_drained()
    equal(reported(far), failures(gateway), "what is reported, and what the audit file has")
    check_chain(far)


@case
def whoever_reads_the_data_upstream_knows_of_every_gap():
    broker = Mosquitto()
    gateway = Gateway(broker.url, uplink=REPORTING, retention={"max_messages": 3}).start()
    publish(gateway, 150)  # more than one report holds
    broker.start()
    far = subscribe(broker)
    wait_reported(gateway, far, 147)
    equal({record["reason"] for record in reported(far)}, {"max_messages"}, "reasons")
    check("payload" not in str(reports(far)), "no payload is reported")
    check(any(message.topic == "plant/t" for message in far.messages), "the data comes, too")
    status = gateway.fresh_status()
    equal([lane["name"] for lane in status["lanes"]], ["default", LANE], "lanes")
    gateway.stop()
    check_audit(gateway.audit_lines())


@case
def what_happened_before_reports_were_switched_on_is_not_reported_and_what_follows_is():
    broker = Mosquitto()
    gateway = Gateway(broker.url, retention={"max_messages": 3}).start()
    publish(gateway, 10)
    gateway.configure(uplink=REPORTING)
    gateway.hup()
    wait_for(lambda: LANE in str(gateway.status()), 10, "the lane of the reports")
    publish(gateway, 5)
    broker.start()
    far = subscribe(broker)
    wait_for(lambda: len(reported(far)) >= 5, 20, lambda: "5 records, there are %r" % reported(far))
    gateway.wait_drained()
    equal(reported(far), failures(gateway)[7:], "what is reported")
    gateway.configure(uplink={"report": {"topic": ""}})
    gateway.hup()
    wait_for(lambda: "reloaded" in gateway.log().split("reloaded", 1)[1], 10, "the second reload")
    gateway.stop()


@case
def a_failed_report_makes_no_report():
    broker = fake(reason=0x87)
    gateway = Gateway(broker.url, uplink=dict(REPORTING, on_refusal="reject")).start()
    gateway.wait_link()
    publish(gateway, 1)
    wait_for(lambda: len(gateway.outcomes("rejected")) >= 2, 10, "the message and its report")
    publish(gateway, 1)
    wait_for(lambda: len(gateway.outcomes("rejected")) >= 4, 10, "the next one and its report")
    ledger = gateway.wait_drained()
    equal((ledger["accepted"], ledger["rejected"]), (4, 4), "accepted and rejected")
    equal([line["lane"] for line in gateway.outcomes("rejected")],
          ["default", LANE, "default", LANE], "lanes")
    gateway.stop()


def killed_at(point):
    """No report is left out, whenever the process dies."""
    processes.need_failpoint(point)
    broker = Mosquitto()
    gateway = Gateway(broker.url, uplink=REPORTING, retention={"max_messages": 3})
    gateway.start(env={"SPOOLD_FAILPOINT": point + ":1"})
    with gateway.client(5) as client:
        for number in range(10):
            client.publish("plant/t", b"%d" % number, qos=1)
        wait_for(lambda: not gateway.is_running(), 10, "the daemon died at " + point)
    gateway.check_log()
    broker.start()
    far = subscribe(broker)
    gateway.start()
    publish(gateway, 1)
    gateway.wait_drained()
    check(failures(gateway), "there were failures")
    wait_reported(gateway, far, len(failures(gateway)))
    gateway.stop()


@case
def no_report_is_left_out_by_a_crash_before_it_is_appended():
    killed_at("report.before_append")


@case
def no_report_is_left_out_by_a_crash_before_it_is_committed():
    killed_at("report.after_append")


# What the log and the status say of the link


def fields(gateway, event):
    """Of each line of the event: its keys and values."""
    return [dict(re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)', line))
            for line in gateway.log().split("\n") if (" %s " % event) in line]


@case
def what_was_in_flight_is_counted_and_our_own_end_is_named():
    def is_sending(status):
        link = status["link"]
        return link["state"] == "online" and link["connects"] > 3 and status["tokens"]["in_flight"] == 3

    broker = fake(noack=True)
    gateway = Gateway(broker.url, uplink={"ack_timeout": "1s"}).start()
    gateway.wait_link()
    publish(gateway, 3)
    wait_for(lambda: len(fields(gateway, "link_lost")) >= 3, 20, "three connections that stall")
    lost = fields(gateway, "link_lost")
    equal({line["in_flight"] for line in lost}, {"3"}, "in_flight")
    equal({line["reason"] for line in lost}, {'"no answer for 1 s"'}, "reasons")
    wait_for(lambda: is_sending(gateway.status()), 30, "one more connection, with all three on it")
    broker.reset_all()
    wait_for(lambda: any("closed" in line["reason"] for line in fields(gateway, "link_lost")), 10,
             "a connection that the broker closed")
    equal({line["in_flight"] for line in fields(gateway, "link_lost")}, {"3"}, "in_flight")
    gateway.stop()


@case
def each_line_of_a_failure_has_a_remedy():
    broker = fake(connack=0x87)
    gateway = Gateway([broker.url, "tcp://127.0.0.1:9"]).start()
    wait_for(lambda: len({line["broker"] for line in fields(gateway, "link_retry")}) == 2, 10,
             "a failure of each")
    remedies = {line["broker"].strip('"'): line["remedy"]
                for line in fields(gateway, "link_retry")}
    check("username" in remedies[broker.url], "not authorized", remedies)
    check("uplink.brokers" in remedies["tcp://127.0.0.1:9"], "refused", remedies)
    broker.change(connack=0)
    wait_for(lambda: fields(gateway, "link_online"), 10, "online")
    broker.reset_all()
    wait_for(lambda: fields(gateway, "link_lost"), 10, "lost")
    check(all("remedy" in line for line in fields(gateway, "link_lost")), "of link_lost")
    gateway.stop()


def remedy_of(gateway, reason):
    def found():
        return [line for line in fields(gateway, "link_retry") if reason in line["reason"]]
    wait_for(found, 20, lambda: "%r in %s" % (reason, fields(gateway, "link_retry")))
    return found()[0]["remedy"]


@case
def a_remedy_is_of_the_layer_that_failed():
    """TLS is no cause of a refused connection, nor the network one of a wrong port."""
    gateway = Gateway("ssl://127.0.0.1:9").start()
    remedy = remedy_of(gateway, "connection refused")
    check("host and port" in remedy and "certificate" not in remedy, "refused", remedy)
    gateway.stop()
    with socket.create_server(("127.0.0.1", 0)) as closing:
        threading.Thread(target=close_each, args=(closing,), daemon=True).start()
        for scheme, reason, word in (("tcp", "before it answered", "write ssl://"),
                                     ("ssl", "TLS", "or tcp://")):
            url = "%s://127.0.0.1:%d" % (scheme, closing.getsockname()[1])
            gateway = Gateway(url).start()
            remedy = remedy_of(gateway, reason)
            check(word in remedy, "another port", (url, remedy))
            gateway.stop()
        closing.shutdown(socket.SHUT_RDWR)


def close_each(listening):
    """As a port of the other kind does at what it cannot read."""
    while True:
        try:
            with listening.accept()[0] as connection:
                connection.recv(1000)
        except ConnectionResetError:
            pass
        except OSError:
            return


@case
def after_a_loss_the_first_attempt_that_fails_is_logged():
    broker = fake(close_after=1)
    gateway = Gateway(broker.url, uplink={"backoff": {"min": "1s", "max": "1m"}}).start()
    gateway.wait_link()
    publish(gateway, 1)
    wait_for(lambda: fields(gateway, "link_lost"), 10, "lost")
    broker.change(connack=0x87)
    wait_for(lambda: fields(gateway, "link_retry"), 15, "an attempt that failed")
    equal(fields(gateway, "link_retry")[0]["attempts"], "2", "attempts")
    gateway.stop()


@case
def what_ends_a_short_connection_after_many_attempts_is_logged_at_once():
    broker = fake(connack=0x88)
    gateway = Gateway(broker.url, uplink={"backoff": {"min": "100ms", "max": "10m"}}).start()
    wait_for(lambda: len(broker.events("connect")) >= 4, 30, "attempts that fail")
    broker.change(connack=0)
    gateway.wait_link(seconds=30)
    wait_for(lambda: fields(gateway, "link_online"), 10, "online")
    broker.change(connack=0x87, close_after=1)
    publish(gateway, 1)
    wait_for(lambda: fields(gateway, "link_lost"), 15, "lost")
    wait_for(lambda: "not authorized" in fields(gateway, "link_retry")[-1]["reason"], 30,
             lambda: "the new reason: %s" % fields(gateway, "link_retry"))
    check(int(fields(gateway, "link_retry")[-1]["attempts"]) < 10, "the first attempt since")
    gateway.stop()


@case
def a_link_that_flapped_is_logged_online_with_the_time_since():
    broker = fake(close_after=1)
    gateway = Gateway(broker.url, uplink={"backoff": {"min": "10ms", "max": "2s"}}).start()
    gateway.wait_link()
    publish(gateway, 6)
    gateway.wait_drained()
    broker.change(close_after=0)
    wait_for(lambda: "since" in (fields(gateway, "link_online") or [{}])[-1], 20, "the line")
    gateway.wait_link()
    since = fields(gateway, "link_online")[-1]["since"]
    equal(since[:19], gateway.fresh_status()["link"]["since"][:19], "since when")
    gateway.stop()


@case
def the_last_error_has_a_time_and_goes_when_the_link_is_good_again():
    broker = fake(connack=0x88)
    gateway = Gateway(broker.url).start()
    wait_for(lambda: gateway.status()["link"]["last_error"], 10, "an error")
    link = gateway.status()["link"]
    check("0x88" in link["last_error"] and link["last_error_time"], "with its time", link)
    equal(link["acknowledged"], "", "acknowledged")
    broker.change(connack=0)
    wait_for(lambda: gateway.status()["link"]["state"] == "online", 10, "online")
    wait_for(lambda: gateway.status()["link"]["last_error"] is None, 10, "no error any more")
    equal(gateway.fresh_status()["link"]["last_error_time"], None, "its time")
    publish(gateway, 1)
    wait_for(lambda: gateway.status()["link"]["acknowledged"], 10, "acknowledged")
    broker.stop()
    wait_for(lambda: gateway.status()["link"]["last_error"], 10, "an error again")
    gateway.stop()


run_all()
