# SPDX-License-Identifier: MIT
"""Clocks that are wrong, set, stepped or absent: nothing ends early, nothing stays forever.

The daemon is the real one; the clocks under it are moved while it runs.
"""

import calendar
import contextlib
import json
import os
import signal
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import mqtt  # noqa: E402
import processes  # noqa: E402
from broker import Link, Mosquitto  # noqa: E402
from fake_broker import FakeBroker  # noqa: E402
from fake_clock import FakeClock  # noqa: E402
from gateway import Gateway, check_audit, check_balance  # noqa: E402
from mqtt import Subscriber, spool_id  # noqa: E402
from tap import case, check, cleanup, equal, run_all, wait_for  # noqa: E402

MINUTE, HOUR, DAY = 60, 3600, 86400
# How long a test may take in addition to the time that it lets pass.
SLACK = 60


def seconds_of(text):
    """A record's time in seconds since 1970."""
    return calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S"))


def near(seen, wanted, what):
    check(wanted <= seen <= wanted + SLACK, "%s: %s, wanted %s or a little more"
          % (what, seen, wanted))


def publish(gateway, *expiries):
    """One message for each expiry in seconds, None: none; their ids."""
    with gateway.client(5) as client:
        return [spool_id(client.publish_wait(
            "plant/t", b"%d" % number,
            properties={} if expiry is None else {"message_expiry": expiry}))
                for number, expiry in enumerate(expiries)]


def wait_synchronized(gateway, wanted=True):
    wait_for(lambda: gateway.status().get("clock", {}).get("synchronized") is wanted, 10,
             lambda: "clock.synchronized %s, it is %r" % (wanted, gateway.status().get("clock")))


def wait_age(gateway, seconds):
    def reached():
        age = gateway.status().get("spool", {}).get("oldest_age_ms", 0) / 1000
        return seconds <= age <= seconds + SLACK
    wait_for(reached, 10, lambda: "the oldest message %d s old, it is %r"
             % (seconds, gateway.status().get("spool")))


def ticks(gateway, seconds=2.5):
    """The daemon checks its limits each second; it had a chance to err."""
    before = gateway.status()["uptime_ms"]
    wait_for(lambda: gateway.status()["uptime_ms"] > before + seconds * 1000, 20, "some ticks")


def far_side():
    broker = Mosquitto().start()
    far = Subscriber(broker.address).start()
    cleanup(far.stop)
    return broker, far


def audit_is_sound(gateway):
    done = gateway.tool("audit", "--json")
    equal(done.returncode, 0, "exit code of mqtt-spool audit: %r" % done.stdout)


@case
def booted_in_1970_and_set_right_later_nothing_goes_early_and_the_broker_gets_what_is_left():
    broker, far = far_side()
    link = Link(broker.port)
    clock = FakeClock()
    clock.set_1970()
    gateway = Gateway(link.url).start(env=clock.env())
    ids = publish(gateway, HOUR, 2 * DAY, None)
    wait_synchronized(gateway, False)
    clock.pass_time(30 * MINUTE)
    wait_age(gateway, 30 * MINUTE)
    clock.synchronize(time.time())
    wait_synchronized(gateway)
    ticks(gateway)
    equal(gateway.audit_lines(), [], "records, 56 years later")
    wait_age(gateway, 30 * MINUTE)
    clock.pass_time(30 * MINUTE)
    line = gateway.wait_audit(1)[0]
    equal((line["id"], line["outcome"], line["reason"]), (ids[0], "expired", "message_expiry"))
    near(line["age_ms"] / 1000, HOUR, "age in the record")
    check(line["accepted"].startswith("1970-"), "accepted as the clock then said", line)
    near(seconds_of(line["time"]), int(time.time()) + 30 * MINUTE - SLACK // 2, "time")
    link.restore()
    gateway.wait_drained()
    wait_for(lambda: len(far.messages) == 2, 10, "two at the broker")
    left = far.messages[0].properties["message_expiry"]
    check(2 * DAY - HOUR - SLACK <= left <= 2 * DAY - HOUR, "expiry that is sent on", left)
    check("message_expiry" not in far.messages[1].properties, "none where there was none")
    gateway.stop()
    check_audit(gateway.audit_lines())
    audit_is_sound(gateway)


@case
def days_switched_off_count_when_the_clock_is_right_again_and_only_for_what_was_there():
    broker, far = far_side()
    link = Link(broker.port)
    clock = FakeClock()
    gateway = Gateway(link.url, retention={"max_age": "5d"}).start(env=clock.env())
    publish(gateway, 2 * DAY, 10 * DAY, None)
    wait_synchronized(gateway)
    gateway.stop()
    clock.set_1970()
    clock.reboot()
    gateway.start(env=clock.env())
    publish(gateway, 2 * DAY, 10 * DAY, None)
    ticks(gateway)
    equal(gateway.audit_lines(), [], "records while the time is unknown")
    clock.synchronize(time.time() + 3 * DAY)
    wait_synchronized(gateway)
    lines = gateway.wait_audit(1)
    equal([(line["id"], line["outcome"]) for line in lines], [(1, "expired")])
    near(lines[0]["age_ms"] / 1000, 3 * DAY, "age of what expired meanwhile")
    wait_age(gateway, 3 * DAY)
    link.restore()
    gateway.wait_drained()
    wait_for(lambda: len(far.messages) == 5, 10, "five at the broker")
    left = [message.properties.get("message_expiry") for message in far.messages]
    for seen, wanted in zip(left, (7 * DAY, None, 2 * DAY, 10 * DAY, None)):
        check(seen == wanted or wanted and wanted - SLACK <= seen <= wanted,
              "what is left of the expiries: %r" % left)
    gateway.stop()
    check_audit(gateway.audit_lines())
    audit_is_sound(gateway)


@case
def max_age_ends_at_the_sync_what_lay_through_the_days_off():
    clock = FakeClock()
    gateway = Gateway(retention={"max_age": "5d"}).start(env=clock.env())
    publish(gateway, None, None)
    gateway.kill()
    clock.set_1970()
    clock.reboot()
    gateway.start(env=clock.env())
    publish(gateway, None, None)
    clock.synchronize(time.time() + 6 * DAY)
    lines = gateway.wait_audit(2)
    ticks(gateway)
    equal([(line["id"], line["reason"]) for line in gateway.audit_lines()],
          [(1, "max_age"), (2, "max_age")])
    near(lines[0]["age_ms"] / 1000, 6 * DAY, "age")
    near(seconds_of(lines[0]["time"]) - seconds_of(lines[0]["accepted"]), 6 * DAY, "times")
    clock.pass_time(5 * DAY)
    gateway.wait_audit(4)
    gateway.stop()
    check_audit(gateway.audit_lines())


@case
def ntp_steps_both_ways_while_it_runs_and_over_sigkill():
    broker, far = far_side()
    link = Link(broker.port)
    clock = FakeClock()
    gateway = Gateway(link.url, retention={"max_age": "1d"}).start(env=clock.env())
    ids = publish(gateway, HOUR, None)
    for seconds in (-3 * DAY, 400 * DAY, -397 * DAY, -3 * DAY):
        clock.step(seconds)
        ticks(gateway, 1.2)
        ids += publish(gateway, HOUR, None)
        gateway.kill()
        gateway.start(env=clock.env())
    equal(gateway.audit_lines(), [], "records")
    clock.step(3 * DAY)
    link.restore()
    ledger = gateway.wait_drained()
    check_balance(ledger)
    equal(ledger["delivered"], 10)
    wait_for(lambda: len(far.messages) == 10, 10, "all at the broker")
    left = [message.properties["message_expiry"] for message in far.messages[::2]]
    check(all(HOUR - 2 * SLACK <= seen <= HOUR for seen in left), "expiries", left)
    lines = gateway.wait_audit(10)
    gateway.stop()
    check_audit(lines)
    equal([line["id"] for line in lines], ids, "in the order of acceptance")
    check(all(line["age_ms"] < 2 * SLACK * 1000 for line in lines), "ages", lines[0])
    accepted = [seconds_of(line["accepted"]) for line in lines]
    check(accepted != sorted(accepted), "times of acceptance stepped", accepted)


@case
def a_step_back_shows_in_the_times_of_the_audit_and_not_in_its_order():
    broker, far = far_side()
    clock = FakeClock()
    gateway = Gateway(broker.url).start(env=clock.env())
    publish(gateway, None)
    gateway.wait_audit(1)
    for seconds in (2 * DAY, -5 * DAY):
        clock.step(seconds)
        status = gateway.fresh_status()
        age = seconds_of(status["time"]) - seconds_of(status["link"]["acknowledged"])
        check(0 <= age <= SLACK, "age of the acknowledgement after a step", status)
        page = processes.run([processes.tool_path(), "-c", gateway.config, "status"],
                             env=dict(os.environ, **clock.env())).stdout  # by the same clock
        check(b" d ago" not in page and b"last acknowledgement" in page, "the page", page)
    publish(gateway, None)
    gateway.wait_audit(2)
    gateway.stop()
    first, second = gateway.audit_lines()
    check_audit([first, second])
    near(seconds_of(first["time"]) - seconds_of(second["time"]), 3 * DAY - SLACK // 2, "step")
    done = gateway.tool("audit")
    equal(done.returncode, 0, "exit code of the tool")
    check(b"set back 1 time" in done.stdout, "the tool reports the step", done.stdout)
    equal(len(far.messages), 2)


@case
def without_any_clock_the_time_with_power_counts_over_cuts():
    clock = FakeClock()
    clock.set_1970()
    gateway = Gateway(retention={"max_age": "2h"}).start(env=clock.env())
    publish(gateway, None)
    database = os.path.join(gateway.spool, "spool.db-wal")
    for hours in (0, 1):
        wait_age(gateway, hours * 50 * MINUTE)
        before = os.stat(database).st_mtime_ns
        clock.pass_time(50 * MINUTE)
        wait_age(gateway, (hours + 1) * 50 * MINUTE)
        wait_for(lambda: os.stat(database).st_mtime_ns != before, 10, "the clock is written")
        gateway.kill()
        clock.set_1970()
        clock.reboot()
        gateway.start(env=clock.env())
    wait_age(gateway, 100 * MINUTE)
    equal(gateway.audit_lines(), [], "records")
    clock.pass_time(20 * MINUTE)
    near(gateway.wait_audit(1)[0]["age_ms"] / 1000, 2 * HOUR, "age")
    wait_synchronized(gateway, False)
    gateway.stop()


def evict(gateway, count):
    """Publishes so many more than fit; waits until they are evicted."""
    wanted = gateway.ledger()["evicted"] + count
    publish(gateway, *[None] * count)
    wait_for(lambda: gateway.ledger()["evicted"] == wanted, 20, "%d evicted" % wanted)


def failures_kept(gateway):
    done = gateway.tool("failures", "--json", "--limit", "1000")
    equal(done.returncode, 0, "exit code of mqtt-spool failures")
    return [json.loads(line)["seq"] for line in done.stdout.splitlines()]


@case
def failure_records_are_kept_for_their_time_and_not_removed_before_they_are_exported():
    clock = FakeClock()
    gateway = Gateway(retention={"max_messages": 10}, audit={"keep": "1h"})
    gateway.start(env=clock.env())
    publish(gateway, *[None] * 10)
    evict(gateway, 50)
    equal(failures_kept(gateway), list(range(1, 51)), "kept at first")
    gateway.wait_audit(50)
    clock.pass_time(2 * HOUR)
    evict(gateway, 1)
    # The newest row always stays: it was 50 when the old ones went.
    wait_for(lambda: failures_kept(gateway) in ([50, 51], [51]), 20,
             lambda: "the old ones gone, there are %r" % failures_kept(gateway))
    # An hour without an audit file: those that it does not have stay, however old.
    os.rename(gateway.audit, gateway.audit + ".1")
    os.mkdir(gateway.audit)
    evict(gateway, 1)
    wait_for(lambda: gateway.status()["audit"]["healthy"] is False, 20, "the file missed")
    evict(gateway, 29)
    clock.pass_time(2 * HOUR)
    evict(gateway, 1)
    ticks(gateway)
    equal(failures_kept(gateway)[-30:], list(range(53, 83)), "those that wait for the file")
    os.rmdir(gateway.audit)
    gateway.wait_audit(30)
    ticks(gateway)
    evict(gateway, 1)
    wait_for(lambda: failures_kept(gateway) in ([82, 83], [83]), 20,
             lambda: "the old ones gone, there are %r" % failures_kept(gateway))
    gateway.wait_audit(31)
    ledger = gateway.ledger()
    equal((ledger["accepted"], ledger["evicted"], ledger["spooled"]), (93, 83, 10), "counted")
    gateway.stop()
    check_audit(gateway.audit_lines(gateway.audit + ".1") + gateway.audit_lines())
    audit_is_sound(gateway)


# A process that stands still


@contextlib.contextmanager
def standing_still(gateway, seconds):
    """Stopped for at least this long; what the body does falls into that time."""
    gateway.process.send_signal(signal.SIGSTOP)
    until = time.monotonic() + seconds
    try:
        yield
        wait_for(lambda: time.monotonic() > until, seconds + 10, "the time to pass")
    finally:
        gateway.process.send_signal(signal.SIGCONT)


@case
def a_message_is_stamped_when_it_is_accepted_not_when_the_turn_of_the_loop_began():
    gateway = Gateway().start()
    leaving = [gateway.client(5) for _ in range(5)]
    client = gateway.client(5)
    sent = {}
    for number in range(3):
        with standing_still(gateway, 3):
            if leaving:
                leaving.pop().close()  # in the same turn, and before it
            wait_for(lambda end=time.monotonic() + 2.9: time.monotonic() > end, 10, "late in it")
            sent[number] = time.time()
            client.publish("plant/t", b"%d" % number, properties={"message_expiry": 2})
        client.expect(mqtt.PUBACK)
    lines = gateway.wait_audit(3)
    for line, at in zip(lines, sent.values()):
        accepted = seconds_of(line["accepted"]) + float(line["accepted"][19:-1])
        check(accepted >= at - 0.1, "accepted before it was sent", accepted - at, line)
        equal(line["outcome"], "expired")
        check(line["age_ms"] >= 2000, "expired before its time", line)
    gateway.stop()
    check_audit(lines)


@case
def a_local_client_does_not_pay_for_a_daemon_that_stood_still():
    gateway = Gateway().start()
    client, timid = gateway.client(5, keepalive=1, timeout=30), gateway.raw(4)
    for number in range(3):
        failed = []

        def publish_large():
            try:
                client.publish("plant/t", b"x" * 250000)
            except OSError as error:
                failed.append(error)

        publisher = threading.Thread(target=publish_large)
        with standing_still(gateway, 3 if number < 2 else 12):
            publisher.start()
        publisher.join(10)
        equal(failed, [], "errors of the publisher")
        equal(client.expect(mqtt.PUBACK).reason, 0, "reason")
        client.ping()
    equal(gateway.status()["producers"]["connected"], 2, "both are there")
    timid.connect()  # its ten seconds were those of the daemon
    gateway.stop()


@case
def an_answer_that_came_while_the_daemon_stood_still_is_taken():
    broker = FakeBroker(late=300).start()
    cleanup(broker.stop)
    gateway = Gateway(broker.url, uplink={"ack_timeout": "1s", "keepalive": "60s"}).start()
    gateway.wait_link()
    client = gateway.client(5)
    for number in range(1, 6):
        client.publish_wait("plant/t", b"%d" % number)
        wait_for(lambda wanted=number: len(broker.publishes()) >= wanted, 10, "it is sent")
        with standing_still(gateway, 3):
            pass
        wait_for(lambda wanted=number: gateway.status()["ledger"]["delivered"] == wanted, 10,
                 "delivered")
    check("link_lost" not in gateway.log(), "the link was given up", gateway.log())
    equal(len(broker.publishes()), 5, "each sent once")
    gateway.stop()


run_all()
