# SPDX-License-Identifier: MIT
"""What the broker is told about the gateway itself: its presence, and what it will not get."""

import json
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

from broker import Mosquitto  # noqa: E402
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
    gateway = Gateway(broker.url, uplink=REPORTING).start()
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


run_all()
